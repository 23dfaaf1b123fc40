#include "persistence/packed_reader.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/persistence/crafted_values.h"
#include "tests/persistence/samples.h"

namespace tessera::persistence {
namespace {

struct Packed {
  Texts texts;
  std::string reason;  // empty when in order
};

Packed ReadAll(PackedFormat format, std::string_view bytes) {
  // From a block of exactly this size, so that a read beyond its end is noticed.
  auto block = std::make_unique<char[]>(bytes.size());
  bytes.copy(block.get(), bytes.size());
  PackedReader reader(format, {block.get(), bytes.size()});
  Packed packed;
  PackedElement element;
  PackedReader::Got got;
  while ((got = reader.Next(&element)) == PackedReader::Got::kElement) {
    char scratch[PackedElement::kNumberTextMax];
    packed.texts.emplace_back(element.ToText(scratch));
  }
  if (got == PackedReader::Got::kBad) packed.reason = reader.reason();
  return packed;
}

Texts ManyTexts() {
  Texts texts = {"", "a", "0", "12", "13", "127", "128", "-1", "4095", "4096", "-4096", "-4097", "007", "-0"};
  for (int bits = 7; bits < 64; ++bits) {
    for (int64_t delta : {-1, 0, 1}) {
      int64_t number = static_cast<int64_t>((uint64_t{1} << bits) + static_cast<uint64_t>(delta));
      texts.push_back(std::to_string(number));
      texts.push_back(std::to_string(-(number / 2)));
    }
  }
  // Around each length whose form or back-length changes.
  for (size_t length : {63, 64, 125, 126, 127, 128, 253, 254, 4095, 4096, 16378, 16379, 16383, 16384, 70000}) {
    texts.push_back(std::string(length, 'x'));
  }
  return texts;
}

TEST(PackedReader, ReadsEveryFormOfElement) {
  EXPECT_EQ(ReadAll(PackedFormat::kListpack, Listpack(ManyTexts())).reason, "");
  EXPECT_EQ(ReadAll(PackedFormat::kListpack, Listpack(ManyTexts())).texts, ManyTexts());
  EXPECT_EQ(ReadAll(PackedFormat::kZiplist, Ziplist(ManyTexts())).reason, "");
  EXPECT_EQ(ReadAll(PackedFormat::kZiplist, Ziplist(ManyTexts())).texts, ManyTexts());
  Texts pairs = ManyTexts();
  if (pairs.size() % 2 == 1) pairs.pop_back();
  EXPECT_EQ(ReadAll(PackedFormat::kZipmap, Zipmap(pairs)).reason, "");
  EXPECT_EQ(ReadAll(PackedFormat::kZipmap, Zipmap(pairs)).texts, pairs);
  for (int width : {2, 4, 8}) {
    EXPECT_EQ(ReadAll(PackedFormat::kIntset, Intset(width, {-300, -1, 0, 7})).texts, (Texts{"-300", "-1", "0", "7"}));
  }
}

TEST(PackedReader, ReadsBytesAsRedisWroteThem) {
  // DUMP of a hash {a: 1} and of a list [1 "two"] in redis-server 7.0.15; the ziplist is the format's own example.
  EXPECT_EQ(ReadAll(PackedFormat::kListpack, Bytes("0c 00 00 00 02 00 81 61 02 01 01 ff")).texts, (Texts{"a", "1"}));
  EXPECT_EQ(ReadAll(PackedFormat::kListpack, Bytes("0e 00 00 00 02 00 01 01 83 74 77 6f 04 ff")).texts,
            (Texts{"1", "two"}));
  EXPECT_EQ(ReadAll(PackedFormat::kZiplist, Bytes("0f 00 00 00 0c 00 00 00 02 00 00 f3 02 f6 ff")).texts,
            (Texts{"2", "5"}));
}

TEST(PackedReader, CountsWhatAHeaderCannotCount) {
  Texts many(70000, "1");
  Packed packed = ReadAll(PackedFormat::kListpack, Listpack(many));
  EXPECT_EQ(packed.reason, "");
  EXPECT_EQ(packed.texts.size(), many.size());
}

TEST(PackedReader, RefusesEveryCutAndEveryWrongLength) {
  const Texts texts = {"a", "300", std::string(70, 'b'), "5"};
  const std::pair<PackedFormat, std::string> samples[] = {{PackedFormat::kListpack, Listpack(texts)},
                                                          {PackedFormat::kZiplist, Ziplist(texts)},
                                                          {PackedFormat::kZipmap, Zipmap(texts)},
                                                          {PackedFormat::kIntset, Intset(2, {1, 2, 3})}};
  for (const auto& [format, bytes] : samples) {
    ASSERT_EQ(ReadAll(format, bytes).reason, "");
    for (size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_NE(ReadAll(format, std::string_view(bytes).substr(0, length)).reason, "") << length;
    }
    EXPECT_NE(ReadAll(format, bytes + "\xff").reason, "");
    EXPECT_NE(ReadAll(format, bytes + '\0').reason, "");
    // All single-byte changes end in order or with a reason, and never outside the block.
    for (size_t i = 0; i < bytes.size(); ++i) {
      for (int value = 0; value < 256; ++value) {
        std::string broken = bytes;
        broken[i] = static_cast<char>(value);
        ReadAll(format, broken);
      }
    }
  }
}

TEST(PackedReader, SaysWhatIsWrong) {
  auto listpack = [](std::string_view hex) { return ReadAll(PackedFormat::kListpack, Bytes(hex)).reason; };
  EXPECT_EQ(listpack("0c 00 00 00 03 00 81 61 02 01 01 ff"), "the count in its header is wrong");
  EXPECT_EQ(listpack("0d 00 00 00 02 00 81 61 02 01 01 ff"), "its size is not the one in its header");
  EXPECT_EQ(listpack("0c 00 00 00 02 00 81 61 03 01 01 ff"), "an element's back-length is wrong");
  EXPECT_EQ(listpack("0c 00 00 00 02 00 81 61 02 f8 01 ff"), "an element of unknown kind");
  EXPECT_EQ(listpack("0c 00 00 00 02 00 81 61 02 84 01 ff"), "an element is cut short");
  EXPECT_EQ(listpack("0c 00 00 00 01 00 81 61 02 ff 01 ff"), "something follows its end mark");
  auto ziplist = [](std::string_view hex) { return ReadAll(PackedFormat::kZiplist, Bytes(hex)).reason; };
  EXPECT_EQ(ziplist("0f 00 00 00 0b 00 00 00 02 00 00 f3 02 f6 ff"), "its header misses the last entry");
  EXPECT_EQ(ziplist("0f 00 00 00 0c 00 00 00 02 00 00 f3 03 f6 ff"), "an entry's back-length is wrong");
  auto intset = [](const std::string& bytes) { return ReadAll(PackedFormat::kIntset, bytes).reason; };
  EXPECT_EQ(intset(Intset(2, {2, 1})), "its numbers are not in ascending order");
  EXPECT_EQ(intset(Intset(2, {2, 2})), "its numbers are not in ascending order");
  EXPECT_EQ(intset(Intset(2, {})), "it is empty");
  EXPECT_EQ(intset(Intset(3, {1})), "its numbers are not 2, 4 or 8 bytes wide");
  EXPECT_EQ(ReadAll(PackedFormat::kZipmap, Bytes("01 01 61 ff")).reason, "a field has no value");
}

}  // namespace
}  // namespace tessera::persistence
