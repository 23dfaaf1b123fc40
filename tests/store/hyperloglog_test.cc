#include "server/store/hyperloglog.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

namespace tessera::store::hyperloglog {
namespace {

constexpr size_t kSparseMax = 3000;

std::string Header(char encoding, uint64_t cache = 0) {
  std::string header = "HYLL";
  header += encoding;
  header.append(3, '\0');
  for (int i = 0; i < 8; ++i) header += static_cast<char>(cache >> (8 * i) & 0xff);
  return header;
}

Registers RegistersOf(std::string_view value) {
  Registers registers{};
  EXPECT_TRUE(MergeInto(registers, value));
  return registers;
}

TEST(HyperLogLog, EmptyValueIsThatOfRedis) {
  EXPECT_EQ(Empty(), Header(1) + "\x7f\xff");
  EXPECT_TRUE(IsHyperLogLog(Empty()));
  EXPECT_EQ(Count(Empty()), 0u);
  EXPECT_EQ(CachedCount(Empty()), 0u);
}

// The value redis-server holds after PFADD key a b.
TEST(HyperLogLog, ElementsFallIntoTheRegistersOfRedis) {
  std::string value = Empty();
  EXPECT_EQ(Raise(value, Observe("a"), kSparseMax), Change::kRaised);
  EXPECT_EQ(Raise(value, Observe("b"), kSparseMax), Change::kRaised);
  EXPECT_EQ(Raise(value, Observe("b"), kSparseMax), Change::kNone);
  EXPECT_EQ(SparseText(value), "Z:12711 v:2,1 Z:3068 v:1,1 Z:603");
  EXPECT_EQ(Count(value), 2u);
  EXPECT_FALSE(CachedCount(value));
  StoreCachedCount(value, 2);
  EXPECT_EQ(CachedCount(value), 2u);
}

TEST(HyperLogLog, SparseRunsSplitAndJoin) {
  std::string value = Empty();
  for (uint16_t index : {10, 12, 11, 13, 14}) Raise(value, {index, 3}, kSparseMax);
  EXPECT_EQ(SparseText(value), "z:10 v:3,4 v:3,1 Z:16369");
  Raise(value, {12, 4}, kSparseMax);
  EXPECT_EQ(SparseText(value), "z:10 v:3,2 v:4,1 v:3,2 Z:16369");
  Raise(value, {0, 1}, kSparseMax);
  Raise(value, {16383, 32}, kSparseMax);
  EXPECT_EQ(SparseText(value), "v:1,1 z:9 v:3,2 v:4,1 v:3,2 Z:16368 v:32,1");
}

TEST(HyperLogLog, BecomesDenseWhenARunIsTooLongOrTheValueTooLarge) {
  std::string value = Empty();
  Raise(value, {5, 32}, kSparseMax);
  EXPECT_FALSE(IsDense(value));
  Raise(value, {6, 33}, kSparseMax);
  ASSERT_TRUE(IsDense(value));
  EXPECT_TRUE(IsHyperLogLog(value));
  EXPECT_EQ(RegistersOf(value)[5], 32);
  EXPECT_EQ(RegistersOf(value)[6], 33);

  value = Empty();
  for (uint16_t index = 0; !IsDense(value); index += 2) {
    ASSERT_LE(value.size(), 100u);
    Raise(value, {index, 1}, 100);
  }
  EXPECT_FALSE(CachedCount(value));
}

TEST(HyperLogLog, SparseAndDenseAgree) {
  std::mt19937_64 random(3);
  std::string sparse = Empty(), dense = Empty();
  ASSERT_TRUE(MakeDense(dense));
  for (int i = 0; i < 3000; ++i) {
    const Observation seen{static_cast<uint16_t>(random() % 700), static_cast<uint8_t>(1 + random() % 6)};
    EXPECT_EQ(Raise(sparse, seen, 1 << 20) == Change::kRaised, RaiseDense(dense, seen));
  }
  EXPECT_FALSE(IsDense(sparse));
  EXPECT_EQ(RegistersOf(sparse), RegistersOf(dense));
  EXPECT_EQ(Count(std::string_view(sparse)), Count(RegistersOf(dense)));
  std::string stored = dense;
  StoreDense(stored, RegistersOf(sparse));
  EXPECT_EQ(stored, dense);
}

TEST(HyperLogLog, RegistersOutsideTheHashsReachStillCountSomething) {
  Registers registers;
  registers.fill(63);
  EXPECT_EQ(Count(registers), uint64_t{1} << 63);
  registers.fill(51);
  EXPECT_EQ(Count(registers), uint64_t{1} << 63);
}

TEST(HyperLogLog, RefusesRunsThatDoNotCoverAllRegisters) {
  for (const char* runs : {"", "\x3f", "\x7f\xfe", "\x7f\xff\x80", "\x7f"}) {
    std::string value = Header(1) + runs;
    ASSERT_TRUE(IsHyperLogLog(value));
    EXPECT_FALSE(Count(value));
    Registers registers{};
    EXPECT_FALSE(MergeInto(registers, value));
    const std::string before = value;
    EXPECT_FALSE(MakeDense(value));
    EXPECT_EQ(value, before);
  }
  std::string value = Header(1) + "\x3f";
  EXPECT_EQ(Raise(value, {63, 1}, kSparseMax), Change::kRaised);
  EXPECT_EQ(Raise(value, {64, 1}, kSparseMax), Change::kCorrupt);
  EXPECT_EQ(Raise(value, {2, 60}, kSparseMax), Change::kCorrupt);
}

TEST(HyperLogLog, RefusesWhatOnlyLooksSimilar) {
  EXPECT_FALSE(IsHyperLogLog(""));
  EXPECT_FALSE(IsHyperLogLog("HYLL"));
  EXPECT_FALSE(IsHyperLogLog(Header(2) + "\x7f\xff"));
  EXPECT_FALSE(IsHyperLogLog(Header(0) + "\x7f\xff"));
  EXPECT_FALSE(IsHyperLogLog(Header(0) + std::string(kDenseBytes - kHeaderBytes + 1, '\0')));
  EXPECT_TRUE(IsHyperLogLog(Header(0) + std::string(kDenseBytes - kHeaderBytes, '\0')));
}

// Every function on every kind of damage; AddressSanitizer watches the ends.
TEST(HyperLogLog, SurvivesDamage) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 1500; ++round) {
    std::string value = Empty();
    const int additions = static_cast<int>(random() % 200);
    for (int i = 0; i < additions; ++i) Raise(value, Observe(std::to_string(random() % 1000)), kSparseMax);
    if (random() % 8 == 0) MakeDense(value);
    for (int i = static_cast<int>(random() % 4); i > 0; --i)
      value[kHeaderBytes + random() % (value.size() - kHeaderBytes)] = static_cast<char>(random());
    if (!IsDense(value)) {
      if (random() % 3 == 0) value.resize(kHeaderBytes + random() % (value.size() - kHeaderBytes + 1));
      if (random() % 3 == 0) value.insert(kHeaderBytes + random() % (value.size() - kHeaderBytes + 1), 1, '\x7f');
      if (random() % 4 == 0) value += static_cast<char>(random());
    }
    ASSERT_TRUE(IsHyperLogLog(value));
    const std::unique_ptr<char[]> memory(new char[value.size()]);
    std::copy(value.begin(), value.end(), memory.get());
    const std::string_view exact(memory.get(), value.size());
    const auto count = Count(exact);
    Registers registers{};
    const bool merged = MergeInto(registers, exact);
    EXPECT_EQ(count.has_value(), merged);
    if (merged) {
      EXPECT_EQ(*count, Count(registers));
    }
    CachedCount(exact);
    if (!IsDense(value)) SparseText(exact);
    for (int i = 0; i < 20; ++i) {
      const size_t limit = random() % 2 ? kSparseMax : 40;
      Raise(value, {static_cast<uint16_t>(random() % kRegisters), static_cast<uint8_t>(1 + random() % 51)}, limit);
      ASSERT_TRUE(IsHyperLogLog(value));
    }
    if (merged) {
      EXPECT_TRUE(Count(value));
    }
    MakeDense(value);
  }
}

TEST(HyperLogLog, PassesItsOwnTest) { EXPECT_EQ(SelfTest(), ""); }

}  // namespace
}  // namespace tessera::store::hyperloglog
