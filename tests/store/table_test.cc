#include "server/store/table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/store/entry_block.h"

namespace tessera::store {
namespace {

class TableTest : public testing::Test {
 protected:
  ~TableTest() override {
    uint64_t progress = 0;
    size_t budget = SIZE_MAX;
    EXPECT_TRUE(table_.FreeStep(context_, progress, budget));
    EXPECT_EQ(context_.arena.used_bytes(), 0u);
    EXPECT_EQ(context_.table_bytes, 0u);
  }

  void Add(uint64_t n) {
    const std::string key = std::to_string(n);
    const EntryKey entry_key{.text = key};
    const EntryValue value = EntryValue::Integer(static_cast<int64_t>(n));
    const uint32_t handle = context_.arena.Allocate(EntryBytes(entry_key, false, value));
    WriteEntry(context_.arena.At(handle), entry_key, kNoExpiry, 0, value);
    ASSERT_TRUE(table_.Insert(context_, HashKey(key, context_.hash_seed), handle));
  }
  bool Has(uint64_t n) const {
    const std::string key = std::to_string(n);
    return table_.Find(context_, HashKey(key, context_.hash_seed), key) != nullptr;
  }
  void Take(uint64_t n) {
    const std::string key = std::to_string(n);
    const uint64_t hash = HashKey(key, context_.hash_seed);
    const uint32_t handle = *table_.Find(context_, hash, key);
    table_.Remove(context_, hash, handle);
    FreeEntry(context_, handle);
  }

  StoreContext context_{size_t{1} << 30, 7};
  Table table_;
};

TEST_F(TableTest, KeepsTablesOfASlotMoreThanThreeQuartersFull) {
  for (uint64_t n = 0; n < 700; ++n) {
    Add(n);
    if (n >= 100) {
      ASSERT_GT(table_.size(), table_.bucket_count() * Bucket::kPlaces * 3 / 4) << n;
    }
  }
}

TEST_F(TableTest, FindsEverythingWhileStreamingEitherWay) {
  constexpr uint64_t kKeys = 60000;
  int resizes = 0;
  for (uint64_t n = 0; n < kKeys; ++n) {
    Add(n);
    resizes += table_.resizing();
    if (n % 37 == 0) {
      for (uint64_t k = n % 101; k <= n; k += 101) ASSERT_TRUE(Has(k)) << k << " of " << n;
      ASSERT_FALSE(Has(n + 1));
    }
  }
  EXPECT_GT(resizes, 100);
  const uint32_t largest = table_.bucket_count();
  for (uint64_t n = 0; n < kKeys - 100; ++n) {
    Take(n);
    ASSERT_FALSE(Has(n));
    if (n % 997 == 0) {
      for (uint64_t k = n + 1; k < kKeys; k += 97) ASSERT_TRUE(Has(k)) << k << " of " << n;
    }
  }
  while (table_.ResizeStep(context_, 100)) {
  }
  EXPECT_LT(table_.bucket_count(), largest / 100);
  for (uint64_t k = kKeys - 100; k < kKeys; ++k) EXPECT_TRUE(Has(k));
}

TEST_F(TableTest, NeverRebuildsALargeTableInOneGo) {
  // While a large table grows, the number of entries moved per insert stays small: bucket counts only change by
  // starting to stream, never in the middle of it.
  uint32_t buckets = 0;
  bool was_resizing = false;
  for (uint64_t n = 0; n < 400000; ++n) {
    Add(n);
    if (buckets > 1000 && table_.bucket_count() != buckets) {
      ASSERT_FALSE(was_resizing) << n;
      ASSERT_TRUE(table_.resizing()) << n;
    }
    buckets = table_.bucket_count();
    was_resizing = table_.resizing();
  }
}

TEST_F(TableTest, ShrinksWithoutRebuildingWhenKeysGoInHashOrder) {
  // Just below the limit of growth, so that the full half of the table has no room in a smaller one.
  uint64_t count = 0;
  while (count < 100000 || table_.resizing()) Add(count++);
  for (const uint64_t room = uint64_t{table_.bucket_count()} * Bucket::kPlaces * 85 / 100; count < room;) Add(count++);
  std::vector<std::pair<uint32_t, uint64_t>> order;
  for (uint64_t n = 0; n < count; ++n) order.emplace_back(PositionOf(HashKey(std::to_string(n), context_.hash_seed)), n);
  std::sort(order.begin(), order.end());
  uint32_t buckets = table_.bucket_count();
  bool was_resizing = table_.resizing();
  for (size_t i = 0; i < order.size(); ++i) {
    Take(order[i].second);
    if (buckets > 1000 && table_.bucket_count() != buckets) {
      ASSERT_LT(table_.bucket_count(), buckets) << i;
      ASSERT_FALSE(was_resizing) << i;
    }
    buckets = table_.bucket_count();
    was_resizing = table_.resizing();
    if (i % 1000 == 0 && i + 1 < order.size()) {
      ASSERT_TRUE(Has(order[i + 1].second));
      ASSERT_TRUE(Has(order.back().second));
    }
  }
  EXPECT_EQ(table_.size(), 0u);
  while (table_.ResizeStep(context_, 256)) {
  }
  EXPECT_LT(table_.bucket_count(), 100u);
}

TEST_F(TableTest, DrawsEveryEntry) {
  for (uint64_t n = 0; n < 1000; ++n) Add(n);
  std::vector<int> draws(1000);
  for (int i = 0; i < 50000; ++i) {
    ++draws[static_cast<size_t>(*EntryRef(context_.arena.At(table_.RandomHandle(context_))).AsInteger())];
  }
  for (const int count : draws) {
    EXPECT_GT(count, 15);
    EXPECT_LT(count, 100);
  }
}

}  // namespace
}  // namespace tessera::store
