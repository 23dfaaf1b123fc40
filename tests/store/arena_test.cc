#include "server/store/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <set>
#include <vector>

namespace tessera::store {
namespace {

TEST(Arena, RoundsSmallSizesToEight) {
  EXPECT_EQ(Arena::RoundUp(1), 8u);
  EXPECT_EQ(Arena::RoundUp(38), 40u);
  EXPECT_EQ(Arena::RoundUp(44), 48u);
  EXPECT_EQ(Arena::RoundUp(256), 256u);
  EXPECT_EQ(Arena::RoundUp(257), 288u);
  EXPECT_EQ(Arena::RoundUp(Arena::kBlockBytesMax), Arena::kBlockBytesMax);
}

TEST(Arena, WastesAtMostAnEighthAboveTheSmallClasses) {
  for (size_t bytes = 257; bytes <= Arena::kBlockBytesMax; ++bytes) {
    ASSERT_GE(Arena::RoundUp(bytes), bytes);
    ASSERT_LE(Arena::RoundUp(bytes) - bytes, bytes / 8 + 1) << bytes;
  }
}

TEST(Arena, AlignsBlocksOfWholeCacheLines) {
  Arena arena(1 << 24);
  for (size_t lines = 1; lines <= 64; ++lines) {
    if (Arena::RoundUp(lines * 64) != lines * 64) continue;
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.At(arena.Allocate(lines * 64))) % 64, 0u) << lines;
    }
  }
}

TEST(Arena, KeepsContentsApartUnderRandomUse) {
  Arena arena(size_t{1} << 28);
  std::mt19937 random(1);
  std::map<uint32_t, std::pair<size_t, uint8_t>> live;
  size_t expected_bytes = 0;
  for (int i = 0; i < 100000; ++i) {
    if (live.empty() || random() % 5 < 3) {
      const size_t bytes = 1 + random() % (random() % 8 == 0 ? Arena::kBlockBytesMax : 100);
      const uint32_t handle = arena.Allocate(bytes);
      ASSERT_NE(handle, 0u);
      ASSERT_FALSE(live.contains(handle));
      const uint8_t fill = static_cast<uint8_t>(random());
      memset(arena.At(handle), fill, bytes);
      live[handle] = {bytes, fill};
      expected_bytes += Arena::RoundUp(bytes);
    } else {
      auto it = live.lower_bound(random());
      if (it == live.end()) it = live.begin();
      const auto [handle, what] = *it;
      for (size_t k = 0; k < what.first; ++k) ASSERT_EQ(arena.At(handle)[k], what.second);
      arena.Free(handle);
      expected_bytes -= Arena::RoundUp(what.first);
      live.erase(it);
    }
    ASSERT_EQ(arena.used_bytes(), expected_bytes);
  }
}

TEST(Arena, ReportsExhaustionAndRecovers) {
  Arena arena(1 << 20);
  std::vector<uint32_t> handles;
  for (;;) {
    const uint32_t handle = arena.Allocate(1000);
    if (handle == 0) break;
    handles.push_back(handle);
  }
  EXPECT_GT(handles.size(), 900u);
  EXPECT_EQ(arena.Allocate(1000), 0u);
  for (const uint32_t handle : handles) arena.Free(handle);
  EXPECT_EQ(arena.used_bytes(), 0u);
  // The pages serve another class now.
  size_t count = 0;
  while (arena.Allocate(40) != 0) ++count;
  EXPECT_GT(count, (size_t{30} << 15) / 40);
}

TEST(Arena, GivesEmptyPagesBack) {
  Arena arena(size_t{1} << 28);
  std::vector<uint32_t> handles;
  for (int i = 0; i < 200000; ++i) handles.push_back(arena.Allocate(40));
  EXPECT_GE(arena.held_bytes(), 200000u * 40);
  for (const uint32_t handle : handles) arena.Free(handle);
  // Freeing itself is no work for the kernel.
  EXPECT_GE(arena.held_bytes(), 200000u * 40);
  while (arena.ReleaseStep(16)) {
  }
  EXPECT_LE(arena.held_bytes(), 64 * Arena::kPageBytes);
}

}  // namespace
}  // namespace tessera::store
