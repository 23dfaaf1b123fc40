#include "server/store/bits.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

namespace tessera::store {
namespace {

bool BitAt(std::string_view bytes, uint64_t at) {
  return at / 8 < bytes.size() && (static_cast<uint8_t>(bytes[at / 8]) >> (7 - at % 8) & 1) != 0;
}

// A block of exactly this size, so that a step too far shows.
struct Block {
  explicit Block(std::string_view text) : memory(new char[text.size()]), size(text.size()) {
    std::copy(text.begin(), text.end(), memory.get());
  }
  std::string_view view() const { return {memory.get(), size}; }
  std::span<char> span() { return {memory.get(), size}; }
  std::unique_ptr<char[]> memory;
  size_t size;
};

std::string RandomText(std::mt19937_64& random, size_t size) {
  std::string text(size, '\0');
  const int style = static_cast<int>(random() % 4);
  for (char& c : text) c = style == 0 ? '\0' : style == 1 ? '\xff' : static_cast<char>(random());
  if (style < 2 && size > 0 && random() % 2) text[random() % size] ^= static_cast<char>(1 << random() % 8);
  return text;
}

TEST(Bits, CountAndSearchAgreeWithLookingAtEachBit) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 3000; ++round) {
    const Block block(RandomText(random, 1 + random() % 90));
    uint64_t first = random() % (block.size * 8), last = random() % (block.size * 8);
    if (first > last) std::swap(first, last);
    uint64_t count = 0;
    std::optional<uint64_t> found[2];
    for (uint64_t at = first; at <= last; ++at) {
      const bool bit = BitAt(block.view(), at);
      count += bit;
      if (!found[bit]) found[bit] = at;
    }
    EXPECT_EQ(CountBits(block.view(), first, last), count);
    EXPECT_EQ(FindBit(block.view(), true, first, last), found[1]);
    EXPECT_EQ(FindBit(block.view(), false, first, last), found[0]);
  }
}

TEST(Bits, CombineAgreesWithCombiningEachByte) {
  std::mt19937_64 random(8);
  for (int round = 0; round < 2000; ++round) {
    const Block source(RandomText(random, random() % 90));
    const std::string before = RandomText(random, source.size + random() % 20);
    for (BitOperation operation : {BitOperation::kAnd, BitOperation::kOr, BitOperation::kXor}) {
      Block target(before);
      CombineBits(target.span(), source.view(), operation);
      for (size_t i = 0; i < before.size(); ++i) {
        const char b = i < source.size ? source.view()[i] : '\0';
        const int expected = operation == BitOperation::kAnd  ? before[i] & b
                             : operation == BitOperation::kOr ? before[i] | b
                                                              : before[i] ^ b;
        ASSERT_EQ(target.view()[i], static_cast<char>(expected)) << i;
      }
    }
    Block target(before);
    InvertBits(target.span());
    for (size_t i = 0; i < before.size(); ++i) ASSERT_EQ(target.view()[i], static_cast<char>(~before[i]));
  }
}

TEST(Bits, FieldsOfAnyWidthReadBackAndLeaveTheirNeighboursAlone) {
  std::mt19937_64 random(9);
  for (int round = 0; round < 20000; ++round) {
    Block block(RandomText(random, 9 + random() % 12));
    const std::string before(block.view());
    const auto width = static_cast<unsigned>(1 + random() % 64);
    const uint64_t offset = random() % (block.size * 8 - width + 1);
    const uint64_t value = random();
    WriteBits(block.span(), offset, width, value);
    EXPECT_EQ(ReadBits(block.view(), offset, width), width == 64 ? value : value & ((uint64_t{1} << width) - 1));
    for (uint64_t at = 0; at < block.size * 8; ++at) {
      if (at < offset || at >= offset + width) {
        ASSERT_EQ(BitAt(block.view(), at), BitAt(before, at));
      }
    }
  }
}

TEST(Bits, ReadZerosBehindTheEnd) {
  EXPECT_EQ(ReadBits("\xff", 4, 8), 0xf0u);
  EXPECT_EQ(ReadBits("\xff", 8, 64), 0u);
  EXPECT_EQ(ReadBits("", 4294967295u, 63), 0u);
}

}  // namespace
}  // namespace tessera::store
