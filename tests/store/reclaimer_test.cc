#include "server/store/reclaimer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/store/keyspace.h"

namespace tessera::store {
namespace {

class Weighed : public Object {
 public:
  Weighed(size_t effort, int& alive) : effort_(effort), alive_(alive) { ++alive_; }
  ~Weighed() override { --alive_; }
  Type type() const override { return Type::kHash; }
  std::string_view encoding() const override { return "hashtable"; }
  uint64_t size() const override { return 1; }
  size_t MemoryBytes() const override { return sizeof(*this); }
  std::unique_ptr<Object> Clone() const override { return std::make_unique<Weighed>(effort_, alive_); }
  size_t FreeEffort() const override { return effort_; }

 private:
  size_t effort_;
  int& alive_;
};

class Collector : public Reclaimer {
 public:
  ~Collector() override {
    for (void* block : heap) free(block);
  }
  void Free(std::unique_ptr<Object> object) override { objects.push_back(std::move(object)); }
  void FreeHeap(void* malloced) override { heap.push_back(malloced); }

  std::vector<std::unique_ptr<Object>> objects;
  std::vector<void*> heap;
};

class ReclaimerTest : public testing::Test {
 protected:
  ReclaimerTest() { keyspace_.SetReclaimer(&collector_); }
  ~ReclaimerTest() override { keyspace_.SetReclaimer(nullptr); }
  Database& db() { return keyspace_.db(0); }
  void Put(const char* key, size_t effort) {
    ASSERT_TRUE(db().SetObject(key, std::make_unique<Weighed>(effort, alive_), Expiry::None()));
  }

  int alive_ = 0;
  Collector collector_;
  Keyspace keyspace_{KeyspaceOptions{.databases = 1}};
};

TEST_F(ReclaimerTest, GetsObjectsThatAreDearToFree) {
  Put("large", kReclaimEffortMin + 1);
  EXPECT_TRUE(db().Erase("large"));
  ASSERT_EQ(collector_.objects.size(), 1u);
  EXPECT_EQ(alive_, 1);
  collector_.objects.clear();
  EXPECT_EQ(alive_, 0);
}

TEST_F(ReclaimerTest, DoesNotSeeObjectsThatAreCheapToFree) {
  Put("small", kReclaimEffortMin);
  EXPECT_TRUE(db().Erase("small"));
  EXPECT_TRUE(collector_.objects.empty());
  EXPECT_EQ(alive_, 0);
}

TEST_F(ReclaimerTest, GetsWhatIsOverwrittenAndFlushed) {
  Put("a", 1000);
  ASSERT_TRUE(db().SetString("a", "short", Expiry::None()));
  EXPECT_EQ(collector_.objects.size(), 1u);
  Put("b", 1000);
  keyspace_.FlushAll();
  while (keyspace_.FreeStep()) {
  }
  EXPECT_EQ(collector_.objects.size(), 2u);
  EXPECT_EQ(alive_, 2);
}

TEST_F(ReclaimerTest, GetsLongStringsAndTheirBytesAreGivenUpAtOnce) {
  ASSERT_TRUE(db().SetString("long", std::string(kReclaimHeapBytesMin * 2, 'x'), Expiry::None()));
  ASSERT_TRUE(db().SetString("shorter", std::string(kReclaimHeapBytesMin / 2, 'x'), Expiry::None()));
  const size_t before = keyspace_.memory().heap_bytes;
  EXPECT_TRUE(db().Erase("long"));
  EXPECT_TRUE(db().Erase("shorter"));
  EXPECT_EQ(collector_.heap.size(), 1u);
  EXPECT_GE(before - keyspace_.memory().heap_bytes, kReclaimHeapBytesMin * 2 + kReclaimHeapBytesMin / 2);
}

TEST(Reclaimer, WithoutOneEverythingIsFreedInPlace) {
  int alive = 0;
  Keyspace keyspace(KeyspaceOptions{.databases = 1});
  ASSERT_TRUE(keyspace.db(0).SetObject("large", std::make_unique<Weighed>(1'000'000, alive), Expiry::None()));
  EXPECT_TRUE(keyspace.db(0).Erase("large"));
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace tessera::store
