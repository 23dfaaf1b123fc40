#include "server/eviction.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

constexpr int kKeys = 4000;
constexpr std::string_view kOom = "-OOM command not allowed when used memory > 'maxmemory'.";

class EvictionTest : public testing::Test {
 protected:
  // What the fixture keeps of the stream is memory as well.
  EvictionTest() { server.stream.RemoveSink(server.sink()); }
  ~EvictionTest() override {
    if (!server.stream.active()) server.stream.AddSink(server.sink());
  }
  void Set(std::string_view option, std::string_view value) {
    ASSERT_EQ(server(fmt::format("CONFIG SET {} {}", option, value)), "+OK");
    const auto policy = server.options.config().maxmemory_policy;
    const bool lfu = policy == config::MaxmemoryPolicy::kAllKeysLfu || policy == config::MaxmemoryPolicy::kVolatileLfu;
    server.keyspace.SetAccessPolicy(lfu ? store::AccessPolicy::kLfu : store::AccessPolicy::kLru, 10, 1);
  }
  void Fill(int from, int to, std::string_view also = "") {
    for (int i = from; i < to; ++i)
      ASSERT_EQ(server(fmt::format("SET key:{} {} {}", i, std::string(100, 'v'), also)), "+OK") << i;
  }
  // Leaves room for `bytes` more than what is used now.
  void LimitTo(int64_t more_bytes) {
    const auto used = static_cast<int64_t>(server.memory.Measure());
    ASSERT_GT(used + more_bytes, 0);
    server.options.mutable_config().maxmemory = static_cast<uint64_t>(used + more_bytes);
  }
  bool Has(int i) { return static_cast<bool>(server.keyspace.db(0).Peek(fmt::format("key:{}", i))); }
  int Count(int from, int to) {
    int count = 0;
    for (int i = from; i < to; ++i) count += Has(i) ? 1 : 0;
    return count;
  }
  void RunSteps() {
    server.eviction.Check();
    while (server.eviction.Step()) {
    }
  }

  CommandFixture server;
};

TEST_F(EvictionTest, KeepsMemoryUnderTheLimitWhileKeysAreAdded) {
  Set("maxmemory-policy", "allkeys-lru");
  Fill(0, kKeys);
  LimitTo(0);
  Fill(kKeys, 3 * kKeys);
  EXPECT_LE(server.memory.Measure(), server.options.config().maxmemory + 1024);
  EXPECT_GT(server.stats.evicted_keys, static_cast<uint64_t>(kKeys));
  EXPECT_EQ(server.keyspace.size() + server.stats.evicted_keys, 3u * kKeys);
}

TEST_F(EvictionTest, RefusesWritesWithoutAPolicyButNotReadsAndDeletions) {
  Fill(0, 10);
  LimitTo(-1);
  EXPECT_EQ(server("SET a b"), kOom);
  EXPECT_EQ(server("GET key:1"), fmt::format("\"{}\"", std::string(100, 'v')));
  EXPECT_EQ(server("DEL key:1"), ":1");
  EXPECT_EQ(server.stats.evicted_keys, 0u);
}

TEST_F(EvictionTest, RefusesWhatWouldBeQueuedAndEndsTheTransaction) {
  LimitTo(-100'000);
  EXPECT_EQ(server("MULTI"), "+OK");
  EXPECT_EQ(server("GET a"), kOom);
  EXPECT_EQ(server("EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
}

TEST_F(EvictionTest, KeepsWhatWasUsedRecently) {
  Set("maxmemory-policy", "allkeys-lru");
  Fill(0, kKeys);
  server.now_ms += 3'600'000;
  for (int i = 0; i < kKeys / 4; ++i) server(fmt::format("GET key:{}", i));
  server.now_ms += 10'000;
  LimitTo(0);
  Fill(kKeys, kKeys + kKeys / 2);
  const int used = Count(0, kKeys / 4), unused = Count(kKeys / 4, kKeys);
  EXPECT_GT(used, kKeys / 4 * 95 / 100);
  EXPECT_LT(unused, kKeys * 3 / 4 - kKeys / 4);
}

TEST_F(EvictionTest, KeepsWhatIsUsedOften) {
  Set("maxmemory-policy", "allkeys-lfu");
  Fill(0, kKeys);
  for (int round = 0; round < 30; ++round)
    for (int i = 0; i < kKeys / 4; ++i) server(fmt::format("GET key:{}", i));
  // Newer, but used only once.
  server.now_ms += 30'000;
  for (int i = kKeys / 4; i < kKeys; ++i) server(fmt::format("GET key:{}", i));
  LimitTo(0);
  Fill(kKeys, kKeys + kKeys / 2);
  EXPECT_GT(Count(0, kKeys / 4), kKeys / 4 * 95 / 100);
}

TEST_F(EvictionTest, VolatileTtlTakesTheSoonestToExpire) {
  Set("maxmemory-policy", "volatile-ttl");
  Fill(0, kKeys, "EX 1000");
  Fill(kKeys, 2 * kKeys, "EX 100000");
  LimitTo(0);
  Fill(2 * kKeys, 2 * kKeys + kKeys / 2);
  EXPECT_EQ(Count(2 * kKeys, 2 * kKeys + kKeys / 2), kKeys / 2);
  EXPECT_GT(Count(kKeys, 2 * kKeys), kKeys * 97 / 100);
  EXPECT_LT(Count(0, kKeys), kKeys * 2 / 3);
}

TEST_F(EvictionTest, VolatilePoliciesNeverTakeOtherKeys) {
  for (const char* policy : {"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"}) {
    server("FLUSHALL");
    while (server.keyspace.FreeStep()) {
    }
    Set("maxmemory-policy", policy);
    server.options.mutable_config().maxmemory = 0;
    Fill(0, kKeys);
    Fill(kKeys, kKeys + 10, "EX 1000");
    LimitTo(-100'000);
    RunSteps();
    EXPECT_EQ(server("SET a b"), kOom) << policy;
    EXPECT_EQ(Count(0, kKeys), kKeys) << policy;
    EXPECT_EQ(Count(kKeys, kKeys + 10), 0) << policy;
  }
}

TEST_F(EvictionTest, RandomPolicyTakesFromAllDatabases) {
  Set("maxmemory-policy", "allkeys-random");
  Fill(0, kKeys);
  server("SELECT 5");
  Fill(0, kKeys);
  const uint64_t before = server.keyspace.size();
  LimitTo(-200'000);
  RunSteps();
  EXPECT_LT(server.keyspace.size(), before);
  EXPECT_LT(server.keyspace.db(0).size(), static_cast<uint64_t>(kKeys));
  EXPECT_LT(server.keyspace.db(5).size(), static_cast<uint64_t>(kKeys));
}

TEST_F(EvictionTest, PropagatesWhatItDeletes) {
  Set("maxmemory-policy", "allkeys-lru");
  Fill(0, 100);
  server.stream.AddSink(server.sink());
  LimitTo(-1);
  RunSteps();
  ASSERT_GE(server.stats.evicted_keys, 1u);
  const auto commands = server.TakePropagated();
  ASSERT_EQ(commands.size(), server.stats.evicted_keys);
  EXPECT_TRUE(commands[0].starts_with("DEL key:"));
  Set("lazyfree-lazy-eviction", "yes");
  LimitTo(-1);
  RunSteps();
  EXPECT_TRUE(server.TakePropagated().at(0).starts_with("UNLINK key:"));
}

TEST_F(EvictionTest, EvictionIsNoChangeOfTheDataset) {
  Set("maxmemory-policy", "allkeys-random");
  Fill(0, 100);
  const uint64_t dirty = server.stats.dirty;
  LimitTo(-1);
  RunSteps();
  EXPECT_GE(server.stats.evicted_keys, 1u);
  EXPECT_EQ(server.stats.dirty, dirty);
}

TEST_F(EvictionTest, ALoweredLimitIsReachedInSteps) {
  Set("maxmemory-policy", "allkeys-lru");
  Fill(0, 5 * kKeys);
  Set("maxmemory-eviction-tenacity", "0");
  LimitTo(-1'000'000);
  server.eviction.Check();
  ASSERT_TRUE(server.eviction.Step());
  const uint64_t first = server.stats.evicted_keys;
  EXPECT_GT(first, 0u);
  EXPECT_LT(first, 1000u);
  // Meanwhile commands go on.
  EXPECT_EQ(server("SET a b"), "+OK");
  while (server.eviction.Step()) {
  }
  EXPECT_GT(server.stats.evicted_keys, first);
  EXPECT_LE(server.memory.Measure(), server.options.config().maxmemory + 1024);
}

TEST_F(EvictionTest, FindsTheFewKeysThatMayGo) {
  Set("maxmemory-policy", "volatile-random");
  Fill(0, 20 * kKeys);
  Fill(20 * kKeys, 20 * kKeys + 3, "EX 100000");
  LimitTo(-1);
  RunSteps();
  EXPECT_LT(Count(20 * kKeys, 20 * kKeys + 3), 3);
}

TEST_F(EvictionTest, TellsHowLongTheLimitIsExceeded) {
  LimitTo(-100'000);
  server("SET a b");
  EXPECT_GE(server.eviction.exceeded_now_ms(MonotonicUs() + 5'000), 5);
  LimitTo(100'000);
  server("SET a b");
  EXPECT_EQ(server.eviction.exceeded_now_ms(MonotonicUs() + 5'000), 0);
}

}  // namespace
}  // namespace tessera
