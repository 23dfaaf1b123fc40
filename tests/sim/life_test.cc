#include "tests/sim/life.h"

#include <gtest/gtest.h>

namespace tessera::sim {
namespace {

TEST(Life, SameSeedGivesTheSameTrace) {
  for (uint64_t seed : {7, 8, 9}) {
    LifeResult first = Live(seed, false);
    LifeResult second = Live(seed, false);
    EXPECT_EQ(first.trace_hash, second.trace_hash) << "seed " << seed;
    EXPECT_EQ(first.counters, second.counters) << "seed " << seed;
  }
}

TEST(Life, OtherSeedsGiveOtherTraces) { EXPECT_NE(Live(7, false).trace_hash, Live(8, false).trace_hash); }

}  // namespace
}  // namespace tessera::sim
