#include "cluster/slot.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace tessera::cluster {
namespace {

// The definition, a bit at a time.
uint16_t SlowCrc16(std::string_view bytes) {
  uint16_t crc = 0;
  for (unsigned char c : bytes) {
    crc = static_cast<uint16_t>(crc ^ (c << 8));
    for (int bit = 0; bit < 8; ++bit) crc = static_cast<uint16_t>((crc << 1) ^ ((crc & 0x8000) ? 0x1021 : 0));
  }
  return crc;
}

TEST(Crc16, GivesTheCheckValueOfTheSpecification) {
  EXPECT_EQ(Crc16("123456789"), 0x31c3);
  EXPECT_EQ(Crc16(""), 0);
}

TEST(Crc16, AgreesWithItsDefinitionForEveryLength) {
  std::mt19937 random(1);
  std::string bytes;
  for (int n = 0; n < 300; ++n) {
    EXPECT_EQ(Crc16(bytes), SlowCrc16(bytes)) << n;
    bytes.push_back(static_cast<char>(random()));
  }
}

TEST(SlotOf, GivesTheSlotsOfTheWalkthrough) {
  EXPECT_EQ(SlotOf("k1"), 12706);
  EXPECT_EQ(SlotOf("k2"), 449);
  EXPECT_EQ(SlotOf("k3"), 4576);
  EXPECT_EQ(SlotOf("k4"), 8455);
}

TEST(SlotOf, HashesOnlyTheHashTag) {
  EXPECT_EQ(SlotOf("{user1000}.following"), SlotOf("user1000"));
  EXPECT_EQ(SlotOf("{user1000}.following"), SlotOf("{user1000}.followers"));
  EXPECT_EQ(SlotOf("a{b}c{d}"), SlotOf("b"));          // the first tag counts
  EXPECT_EQ(SlotOf("foo{{bar}}zap"), SlotOf("{bar"));  // to the first closing brace
}

TEST(SlotOf, HashesTheWholeKeyWhenTheTagIsEmptyOrOpen) {
  for (std::string key : {"foo{}{bar}", "{}", "{", "}", "a{b", "a}b{", "{}x"})
    EXPECT_EQ(SlotOf(key), Crc16(key) & 16383) << key;
}

TEST(SlotOf, TakesBinaryAndEmptyKeys) {
  EXPECT_EQ(SlotOf(""), 0);
  std::string key("\0{\xff}", 4);
  EXPECT_EQ(SlotOf(key), SlotOf("\xff"));
}

}  // namespace
}  // namespace tessera::cluster
