// Values through the RDB writer and back through the reader.
#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "fmt/core.h"
#include "persistence/rdb_reader.h"
#include "persistence/rdb_writer.h"
#include "tests/persistence/crafted_values.h"
#include "tests/persistence/value_model.h"

namespace tessera::persistence {
namespace {

std::string Image(const std::map<uint32_t, ModelDatabase>& databases, RdbWriterOptions options = {}) {
  std::string out;
  RdbWriter writer(&out, options);
  writer.Header({});
  Walk(databases, writer);
  writer.End();
  return out;
}

struct Reading {
  ModelBuilder values;
  RdbRead end = RdbRead::kNeedMore;
  RdbError error;
  uint64_t steps = 0;
};

void Read(std::string_view bytes, size_t piece, RdbReaderOptions options, Reading* reading) {
  RdbReader reader(options);
  while (true) {
    reading->end = reader.Next(&reading->values);
    if (reading->end == RdbRead::kRecord) {
      ++reading->steps;
      const RdbRecord& record = reader.record();
      if (record.kind == RdbRecord::Kind::kSelectDb) reading->values.Select(record.database);
      if (record.kind == RdbRecord::Kind::kString) reading->values.PutString(record.entry, record.value);
      if (record.kind == RdbRecord::Kind::kValue) {
        EXPECT_EQ(record.entry.key, reading->values.last_key);
        EXPECT_FALSE(reading->values.in_value());
      }
      if (record.kind == RdbRecord::Kind::kValuePart) {
        EXPECT_FALSE(record.entry.key.empty());
      }
    } else if (reading->end == RdbRead::kNeedMore && !bytes.empty()) {
      std::vector<char> block(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(std::min(piece, bytes.size())));
      bytes.remove_prefix(block.size());
      reader.Feed({block.data(), block.size()});
    } else {
      break;
    }
  }
  reading->error = reading->end == RdbRead::kNeedMore ? reader.CutShort() : reader.error();
}

Reading Read(std::string_view bytes, size_t piece = std::string_view::npos, RdbReaderOptions options = {}) {
  Reading reading;
  Read(bytes, piece, options, &reading);
  return reading;
}

std::map<uint32_t, ModelDatabase> Sample() { return {{0, SampleValues()}, {7, SampleValues()}}; }

TEST(RdbValues, ComeBackAsTheyWere) {
  auto sample = Sample();
  for (bool compress : {false, true}) {
    Reading reading = Read(Image(Sample(), {.compress = compress}));
    ASSERT_EQ(reading.end, RdbRead::kEnd) << reading.error.ToText();
    for (const auto& [key, value] : sample[0]) EXPECT_TRUE(reading.values.databases[0][key] == value) << key;
    EXPECT_TRUE(reading.values.databases == Sample());
  }
}

TEST(RdbValues, ComeBackFromPiecesOfAnySize) {
  std::string image = Image(Sample());
  for (size_t piece : {1, 2, 3, 5, 17, 100, 1000, 4096}) {
    Reading reading = Read(image, piece);
    ASSERT_EQ(reading.end, RdbRead::kEnd) << reading.error.ToText();
    EXPECT_TRUE(reading.values.databases == Sample());
  }
}

TEST(RdbValues, OfAFileCutAnywhereAreAPrefix) {
  // Fed byte by byte, a reader is at each of them what it would be at the end of a file cut there.
  const std::string image = Image({{0, SampleValues()}});
  const ModelDatabase whole = SampleValues();
  RdbReader reader;
  ModelBuilder values;
  for (size_t length = 0; length < image.size(); ++length) {
    RdbRead read;
    while ((read = reader.Next(&values)) == RdbRead::kRecord) {
      if (reader.record().kind == RdbRecord::Kind::kString) {
        values.PutString(reader.record().entry, reader.record().value);
      }
    }
    ASSERT_EQ(read, RdbRead::kNeedMore) << length << " " << reader.error().ToText();
    ASSERT_LE(reader.CutShort().offset, length);
    const ModelDatabase& before = values.databases[0];
    ASSERT_LE(before.size(), whole.size());
    ASSERT_TRUE(before.empty() || values.last == whole.at(values.last_key)) << length;
    reader.Feed(std::string_view(image).substr(length, 1));
  }
  EXPECT_EQ(reader.Next(&values), RdbRead::kEnd);
  EXPECT_EQ(values.databases[0].size(), whole.size());
}

TEST(RdbValues, SurviveMutationWithoutTheChecksumsHelp) {
  std::string image = Image({{0, SampleValues()}}, {.compress = false});
  std::mt19937 random(3);
  for (int round = 0; round < 800; ++round) {
    std::string broken = image;
    for (unsigned i = 0; i <= random() % 4; ++i)
      broken[9 + random() % (broken.size() - 9)] = static_cast<char>(random());
    Reading reading = Read(broken, 1 + random() % 20000, {.verify_checksum = false});
    if (reading.end == RdbRead::kError) {
      ASSERT_FALSE(reading.error.reason.empty());
      ASSERT_LE(reading.error.offset, broken.size());
    }
  }
}

TEST(RdbValues, FlowInBoundedSteps) {
  // 200,000 members of a set, drained part by part and read in small pieces.
  constexpr uint64_t kMembers = 200000;
  std::string out, image;
  RdbWriter writer(&out, {});
  writer.Header({});
  writer.Database(0, 1, 0);
  writer.BeginSet({.key = "large"}, kMembers);
  for (uint64_t i = 0; i < kMembers; ++i) {
    writer.Item(fmt::format("member:{}", i));
    EXPECT_LT(out.size(), 200u);
    image += out;
    out.clear();
  }
  writer.EndValue();
  writer.End();
  image += out;
  Reading reading = Read(image, 10000);
  ASSERT_EQ(reading.end, RdbRead::kEnd) << reading.error.ToText();
  EXPECT_EQ(reading.values.last.items.size(), kMembers);
  EXPECT_GT(reading.steps, 100u);
}

TEST(RdbValues, StreamNodesHoldAHundredEntries) {
  for (uint64_t length : {1, 99, 100, 101, 200, 201}) {
    ModelValue stream;
    stream.kind = ModelValue::Kind::kStream;
    for (uint64_t i = 1; i <= length; ++i) stream.entries.push_back({{i, 0}, {"f", std::to_string(i)}});
    stream.first_id = {1, 0};
    stream.last_id = {length, 0};
    stream.entries_added = length;
    Reading reading = Read(Image({{0, {{"s", stream}}}}));
    ASSERT_EQ(reading.end, RdbRead::kEnd) << reading.error.ToText();
    EXPECT_TRUE(reading.values.last == stream) << length;
  }
}

TEST(RdbValues, ErrorsNameTheKeyAndTheValueCanBeRefused) {
  std::string image = Image({{0, {{"list", SampleValues()["list"]}}}}, {.compress = false});
  RdbReader reader;
  ModelBuilder values;
  reader.Feed(image);
  while (reader.Next(&values) == RdbRead::kRecord && reader.record().kind != RdbRecord::Kind::kValue) {
  }
  EXPECT_EQ(reader.RefuseValue("out of memory").reason, "key \"list\": out of memory");
  EXPECT_EQ(reader.Next(&values), RdbRead::kError);

  Reading cut = Read(image.substr(0, image.size() - 500));
  EXPECT_NE(cut.error.reason.find("inside the value of key \"list\""), std::string::npos) << cut.error.reason;
}

std::string FileWith(std::string_view records) {
  return "REDIS0012" + std::string(records) + "\xff" + std::string(8, '\0');
}

TEST(RdbValues, StopWithNameAndPositionAtTypesThatCannotBeRead) {
  const std::string before =
      "\xfa\x01"
      "a\x01"
      "b";
  const std::string module_id = "\x81" + Big(0x4a51e5f7c2d5b401, 8);
  Reading module = Read(FileWith(before +
                                 "\x07\x03"
                                 "key" +
                                 module_id + "\x00"));
  EXPECT_EQ(module.end, RdbRead::kError);
  EXPECT_EQ(module.error.offset, 9 + before.size());
  EXPECT_EQ(module.error.reason, "key \"key\" holds a value of the module " + RdbModuleName(0x4a51e5f7c2d5b401) +
                                     " (type 7), which is not there");
  EXPECT_FALSE(module.error.advice.empty());
  Reading newer =
      Read(FileWith("\x1a\x03"
                    "key\x01"
                    "v"));
  EXPECT_EQ(newer.error.reason, "key \"key\" is of type 26, which is newer than this version");
  EXPECT_EQ(Read(FileWith("\x08\x03"
                          "key\x01"
                          "v"))
                .error.reason,
            "unknown record type 8");
  EXPECT_EQ(Read(FileWith("\x06\x03"
                          "key\x01"
                          "v"))
                .error.reason,
            "key \"key\" holds a module value before its release (type 6)");
  EXPECT_EQ(RdbModuleName(0), "AAAAAAAAA");
  Reading broken =
      Read(FileWith("\x0b\x03"
                    "key" +
                    RdbText(Intset(2, {2, 1}))));
  EXPECT_EQ(
      broken.error.reason,
      "key \"key\" (set of integers, type 11): its set of integers is broken: its numbers are not in ascending order");
  EXPECT_EQ(broken.error.offset, 14u);
}

TEST(RdbValues, WithoutElementsAreSkippedAndSlotHintsToo) {
  RdbReader reader;
  ModelBuilder values;
  reader.Feed(FileWith("\xf4\x05\x01\x01\xfc" + Little(4102444800123, 8) + "\x01\x01k" + RdbLength(0) + "\x02\x01s" +
                       RdbLength(1) + RdbText("m")));
  ASSERT_EQ(reader.Next(&values), RdbRead::kRecord);
  EXPECT_EQ(reader.record().kind, RdbRecord::Kind::kNoValue);
  EXPECT_EQ(reader.record().entry.key, "k");
  ASSERT_EQ(reader.Next(&values), RdbRead::kRecord);
  EXPECT_EQ(reader.record().kind, RdbRecord::Kind::kValue);
  EXPECT_EQ(reader.record().entry.expiry_ms, kNoExpiry);
  EXPECT_EQ(values.last.items, Texts{"m"});
  EXPECT_EQ(reader.Next(&values), RdbRead::kEnd);
}

TEST(RdbValues, OfEveryCraftedTypeComeInPiecesAsTheyComeWhole) {
  std::string records;
  for (const CraftedValue& value : CraftedValues()) {
    records += static_cast<char>(value.type) + RdbText(value.name) + value.body;
  }
  Reading whole = Read(FileWith(records));
  ASSERT_EQ(whole.end, RdbRead::kEnd) << whole.error.ToText();
  EXPECT_EQ(whole.values.databases[0].size(), CraftedValues().size());
  for (size_t piece : {1, 3, 100})
    EXPECT_TRUE(Read(FileWith(records), piece).values.databases == whole.values.databases);
  const ModelValue& expiring = whole.values.databases[0]["hash with field expiries"];
  EXPECT_EQ(expiring.pairs[1], std::make_tuple("first", "2", 4102444800000));
  EXPECT_EQ(expiring.pairs[2], std::make_tuple("later", "3", 4102444800000 + 69999));
  const ModelValue& stream = whole.values.databases[0]["stream of the third kind"];
  EXPECT_EQ(stream.entries.size(), 4u);
  EXPECT_EQ(stream.entries[1].first, (StreamId{1001, 0}));
  EXPECT_EQ(stream.entries[1].second, (std::vector<std::string>{"other", "value"}));
  EXPECT_EQ(stream.groups[0].consumers[0].active_ms, 1700000000001);
}

}  // namespace
}  // namespace tessera::persistence
