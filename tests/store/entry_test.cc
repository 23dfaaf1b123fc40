#include "server/store/entry.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/store/entry_block.h"

namespace tessera::store {
namespace {

std::vector<uint8_t> Build(const std::string& key, int64_t expiry_ms, const EntryValue& value, uint32_t bits = 0) {
  const EntryKey entry_key{.text = key};
  std::vector<uint8_t> block(EntryBytes(entry_key, expiry_ms != kNoExpiry, value));
  WriteEntry(block.data(), entry_key, expiry_ms, bits, value);
  return block;
}

TEST(Entry, TakesThirtyEightBytesForSixteenAndSixteen) {
  const std::string text(16, 'x');
  EXPECT_EQ(Build(text, kNoExpiry, {.bytes = text}).size(), 38u);
  EXPECT_EQ(Build(text, 1, {.bytes = text}).size(), 44u);
}

TEST(Entry, ReadsBackWhatWasWritten) {
  for (const size_t key_size : {0, 1, 127, 128, 500}) {
    for (const size_t value_size : {0, 1, 44, 45, 127, 128, 400}) {
      for (const int64_t expiry : {kNoExpiry, int64_t{0}, int64_t{1700000000123}, kExpiryMsMax}) {
        const std::string key(key_size, 'k');
        const std::string value(value_size, 'v');
        const auto block = Build(key, expiry, {.bytes = value}, 0xabcdef);
        const EntryRef entry(block.data());
        IntScratch scratch;
        EXPECT_EQ(entry.key(), key);
        EXPECT_EQ(entry.AsString(scratch), value);
        EXPECT_EQ(entry.string_length(), value_size);
        EXPECT_EQ(entry.expiry_ms(), expiry);
        EXPECT_EQ(entry.access_bits(), 0xabcdefu);
        EXPECT_EQ(entry.encoding_name(), value_size <= 44 ? "embstr" : "raw");
        EXPECT_EQ(entry.type(), Type::kString);
      }
    }
  }
}

TEST(Entry, PacksIntegersInTheFewestBytes) {
  const struct {
    int64_t value;
    size_t bytes;
  } cases[] = {{0, 1},         {-128, 1},      {127, 1},
               {128, 2},       {-32768, 2},    {32768, 4},
               {INT32_MIN, 4}, {INT32_MAX, 4}, {int64_t{INT32_MAX} + 1, 8},
               {INT64_MIN, 8}, {INT64_MAX, 8}};
  for (const auto& c : cases) {
    const auto block = Build("k", kNoExpiry, EntryValue::Integer(c.value));
    EXPECT_EQ(block.size(), 6 + c.bytes) << c.value;
    const EntryRef entry(block.data());
    IntScratch scratch;
    EXPECT_EQ(entry.AsInteger(), c.value);
    EXPECT_EQ(entry.AsString(scratch), std::to_string(c.value));
    EXPECT_EQ(entry.string_length(), std::to_string(c.value).size());
    EXPECT_EQ(entry.encoding_name(), "int");
  }
}

TEST(Entry, ShowsStringsModifiedInPlaceAsRaw) {
  const auto block = Build("k", kNoExpiry, {.modified = true, .bytes = "short"});
  EXPECT_EQ(EntryRef(block.data()).encoding_name(), "raw");
}

TEST(ParseCanonicalInteger, AcceptsOnlyWhatRendersTheSame) {
  EXPECT_EQ(ParseCanonicalInteger("0"), 0);
  EXPECT_EQ(ParseCanonicalInteger("-1"), -1);
  EXPECT_EQ(ParseCanonicalInteger("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(ParseCanonicalInteger("-9223372036854775808"), INT64_MIN);
  for (const char* text : {"", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1.0", "9223372036854775808", "a", "0x1",
                           "--1", "123456789012345678901"}) {
    EXPECT_EQ(ParseCanonicalInteger(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace tessera::store
