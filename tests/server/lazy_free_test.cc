#include "server/lazy_free.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>

#include "server/store/keyspace.h"

namespace tessera {
namespace {

class Counted : public store::Object {
 public:
  Counted(std::atomic<int>& destroyed, std::atomic<std::thread::id>& where) : destroyed_(destroyed), where_(where) {}
  ~Counted() override {
    where_ = std::this_thread::get_id();
    ++destroyed_;
  }
  store::Type type() const override { return store::Type::kHash; }
  std::string_view encoding() const override { return "hashtable"; }
  uint64_t size() const override { return 1; }
  size_t MemoryBytes() const override { return sizeof(*this); }
  std::unique_ptr<store::Object> Clone() const override { return std::make_unique<Counted>(destroyed_, where_); }
  size_t FreeEffort() const override { return 1000; }

 private:
  std::atomic<int>& destroyed_;
  std::atomic<std::thread::id>& where_;
};

TEST(LazyFree, FreesOnItsOwnThreadAndCounts) {
  std::atomic<int> destroyed = 0;
  std::atomic<std::thread::id> where;
  LazyFree lazy_free;
  for (int i = 0; i < 100; ++i) lazy_free.Free(std::make_unique<Counted>(destroyed, where));
  lazy_free.FreeHeap(malloc(100'000));
  lazy_free.Drain();
  EXPECT_EQ(destroyed, 100);
  EXPECT_NE(where.load(), std::this_thread::get_id());
  EXPECT_EQ(lazy_free.pending(), 0u);
  EXPECT_EQ(lazy_free.freed(), 101u);
  lazy_free.ResetCount();
  EXPECT_EQ(lazy_free.freed(), 0u);
}

TEST(LazyFree, FinishesWhatIsQueuedWhenItEnds) {
  std::atomic<int> destroyed = 0;
  std::atomic<std::thread::id> where;
  {
    LazyFree lazy_free;
    for (int i = 0; i < 1000; ++i) lazy_free.Free(std::make_unique<Counted>(destroyed, where));
  }
  EXPECT_EQ(destroyed, 1000);
}

TEST(LazyFree, TakesWhatAKeyspaceDeletes) {
  std::atomic<int> destroyed = 0;
  std::atomic<std::thread::id> where;
  LazyFree lazy_free;
  store::Keyspace keyspace(store::KeyspaceOptions{.databases = 1});
  keyspace.SetReclaimer(&lazy_free);
  ASSERT_TRUE(keyspace.db(0).SetObject("h", std::make_unique<Counted>(destroyed, where), store::Expiry::None()));
  EXPECT_TRUE(keyspace.db(0).Erase("h"));
  lazy_free.Drain();
  EXPECT_EQ(destroyed, 1);
  EXPECT_NE(where.load(), std::this_thread::get_id());
}

}  // namespace
}  // namespace tessera
