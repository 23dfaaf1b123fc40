#include "persistence/rdb_reader.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

#include "fmt/core.h"
#include "persistence/crc64.h"
#include "persistence/rdb_writer.h"
#include "tests/persistence/samples.h"

namespace tessera::persistence {
namespace {

// What came out of a reader, as text: one line per record, the last one tells how it ended.
struct Reading {
  std::vector<std::string> lines;
  RdbRead end = RdbRead::kNeedMore;
  RdbError error;
  std::string rest;
};

std::string Line(const RdbRecord& record) {
  switch (record.kind) {
    case RdbRecord::Kind::kAux:
      return fmt::format("aux {}={}", record.name, record.value);
    case RdbRecord::Kind::kSelectDb:
      return fmt::format("db {}", record.database);
    case RdbRecord::Kind::kResizeDb:
      return fmt::format("sizes {} {}", record.key_count, record.expiring_count);
    case RdbRecord::Kind::kFunction:
      return fmt::format("function {}", record.value);
    case RdbRecord::Kind::kModuleAux:
      return "module";
    case RdbRecord::Kind::kNoValue:
    case RdbRecord::Kind::kValuePart:
    case RdbRecord::Kind::kValue:
      return fmt::format("value {}", record.entry.key);
    case RdbRecord::Kind::kString:
      break;
  }
  std::string line = fmt::format("{}:{}={}", record.database, record.entry.key, record.value);
  if (record.entry.expiry_ms != kNoExpiry) line += fmt::format(" expiry {}", record.entry.expiry_ms);
  if (record.entry.idle_seconds) line += fmt::format(" idle {}", *record.entry.idle_seconds);
  if (record.entry.frequency) line += fmt::format(" frequency {}", *record.entry.frequency);
  return line;
}

Reading Read(std::string_view bytes, size_t piece = std::string_view::npos, RdbReaderOptions options = {}) {
  RdbReader reader(options);
  Reading reading;
  while (true) {
    reading.end = reader.Next();
    if (reading.end == RdbRead::kRecord) {
      reading.lines.push_back(Line(reader.record()));
    } else if (reading.end == RdbRead::kNeedMore && !bytes.empty()) {
      // From a block of exactly this size, so that a read beyond its end is noticed.
      std::vector<char> block(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(std::min(piece, bytes.size())));
      bytes.remove_prefix(block.size());
      reader.Feed({block.data(), block.size()});
    } else {
      break;
    }
  }
  reading.error = reading.end == RdbRead::kNeedMore ? reader.CutShort() : reader.error();
  if (reading.end == RdbRead::kEnd) reading.rest = std::string(reader.Rest()) + std::string(bytes);
  return reading;
}

// A file of version 10 whose records are `records`, with a correct checksum.
std::string File(std::string_view records, std::string_view version = "0010") {
  std::string file = "REDIS" + std::string(version) + std::string(records) + "\xff";
  uint64_t sum = Crc64(0, file);
  for (int i = 0; i < 8; ++i) file += static_cast<char>(sum >> (8 * i));
  return file;
}

std::string SampleFile() {
  std::string out;
  RdbWriter writer(&out, {});
  writer.Header({.created_s = 1, .replication_id = "0123456789012345678901234567890123456789"});
  writer.Database(0, 3, 1);
  writer.String({.key = "a", .expiry_ms = 1234567890123}, "12");
  writer.String({.key = std::string(60, 'k'), .idle_seconds = 77}, std::string(500, 'z'));
  writer.Database(9, 1, 0);
  writer.String({.key = "f", .frequency = 3}, "some text of a value");
  writer.End();
  return out;
}

TEST(RdbReader, ReadsTheFileThatRedisWrote) {
  Reading reading = Read(RedisFile());
  ASSERT_EQ(reading.end, RdbRead::kEnd) << reading.error.ToText();
  std::vector<std::string> expected = {"aux redis-ver=7.0.15",
                                       "aux redis-bits=64",
                                       "aux ctime=1795414873",
                                       "aux used-mem=989232",
                                       "aux aof-base=0",
                                       "db 0",
                                       "sizes 7 1",
                                       "0:e=",
                                       "0:z=" + std::string(100, 'a'),
                                       "0:i8=-5",
                                       "0:i32=-70000",
                                       "0:i16=300",
                                       "0:i64=5000000000",
                                       "0:k=v expiry 4102444800123"};
  EXPECT_EQ(reading.lines, expected);
}

TEST(RdbReader, ReadsTheSameInPiecesOfEverySize) {
  std::string file = SampleFile() + "tail";
  Reading whole = Read(file);
  ASSERT_EQ(whole.end, RdbRead::kEnd) << whole.error.ToText();
  EXPECT_EQ(whole.rest, "tail");
  for (size_t piece = 1; piece < 100; ++piece) {
    Reading reading = Read(file, piece);
    EXPECT_EQ(reading.end, RdbRead::kEnd);
    EXPECT_EQ(reading.lines, whole.lines);
    EXPECT_EQ(reading.rest, "tail");
  }
}

TEST(RdbReader, YieldsAPrefixOfAFileCutAnywhere) {
  std::string file = SampleFile();
  Reading whole = Read(file);
  for (size_t length = 0; length < file.size(); ++length) {
    Reading reading = Read(std::string_view(file).substr(0, length));
    EXPECT_EQ(reading.end, RdbRead::kNeedMore) << length;
    EXPECT_LE(reading.error.offset, length);
    ASSERT_LE(reading.lines.size(), whole.lines.size());
    EXPECT_TRUE(std::equal(reading.lines.begin(), reading.lines.end(), whole.lines.begin()));
  }
}

TEST(RdbReader, NoticesEveryFlippedBit) {
  std::string file = SampleFile();
  for (size_t i = 0; i < file.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string broken = file;
      broken[i] = static_cast<char>(broken[i] ^ (1 << bit));
      Reading reading = Read(broken);
      EXPECT_NE(reading.end, RdbRead::kEnd) << "byte " << i << " bit " << bit;
    }
  }
}

TEST(RdbReader, SurvivesMutationWithoutTheChecksumsHelp) {
  std::string file = SampleFile();
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string broken = file;
    for (unsigned i = 0; i <= random() % 4; ++i) {
      size_t at = kRdbHeaderBytes + random() % (broken.size() - kRdbHeaderBytes);
      switch (random() % 3) {
        case 0:
          broken[at] = static_cast<char>(random());
          break;
        case 1:
          broken.erase(at, random() % 4);
          break;
        default:
          broken.insert(at, 1 + random() % 3, static_cast<char>(random()));
      }
    }
    Reading reading = Read(broken, 1 + random() % 64, {.verify_checksum = false});
    EXPECT_EQ(reading.end == RdbRead::kEnd, reading.error.reason.empty());
  }
}

TEST(RdbReader, AcceptsZeroInPlaceOfTheChecksum) {
  std::string file = SampleFile();
  file.replace(file.size() - 8, 8, 8, '\0');
  EXPECT_EQ(Read(file).end, RdbRead::kEnd);
}

TEST(RdbReader, IgnoresAWrongChecksumWhenToldSo) {
  std::string file = SampleFile();
  file.back() ^= 1;
  EXPECT_EQ(Read(file).end, RdbRead::kError);
  EXPECT_EQ(Read(file, 10, {.verify_checksum = false}).end, RdbRead::kEnd);
}

TEST(RdbReader, ReadsVersionsBeforeTheChecksum) {
  Reading reading = Read("REDIS0003" + Bytes("fe 02 fd 01 00 00 00 00 01 6b 01 76 ff"));
  ASSERT_EQ(reading.end, RdbRead::kEnd) << reading.error.ToText();
  EXPECT_EQ(reading.lines, (std::vector<std::string>{"db 2", "2:k=v expiry 1000"}));
}

TEST(RdbReader, RefusesOtherFilesAndVersionsAtOnce) {
  EXPECT_EQ(Read("RX").end, RdbRead::kError);
  EXPECT_EQ(Read("REDIS0000").end, RdbRead::kError);
  EXPECT_EQ(Read("REDISabcd").end, RdbRead::kError);
  EXPECT_EQ(Read(File("", "0012")).end, RdbRead::kEnd);
  Reading newer = Read(File("", "0013"));
  EXPECT_EQ(newer.end, RdbRead::kError);
  EXPECT_NE(newer.error.ToText().find("version 13"), std::string::npos) << newer.error.ToText();
}

TEST(RdbReader, NamesTypeKeyAndOffsetOfWhatItCannotKeep) {
  Reading reading = Read(File(Bytes("fe 00 fc 01 00 00 00 00 00 00 00 12 03 6b 0a 31 01 02")));
  ASSERT_EQ(reading.end, RdbRead::kError);
  EXPECT_EQ(reading.error.offset, 20u);
  EXPECT_NE(reading.error.reason.find("\"k\\n1\" holds a list as quicklist of listpacks (type 18)"), std::string::npos)
      << reading.error.ToText();
}

TEST(RdbReader, RefusesImpossibleLengthsWithoutWaitingForThem) {
  // A string of 2^62 bytes; a compressed one that would grow too much; lengths of reserved form.
  EXPECT_EQ(Read("REDIS0010" + Bytes("00 81 40 00 00 00 00 00 00 00")).end, RdbRead::kError);
  EXPECT_EQ(Read("REDIS0010" + Bytes("00 01 6b c3 05 80 7f ff ff ff 61")).end, RdbRead::kError);
  EXPECT_EQ(Read("REDIS0010" + Bytes("00 82")).end, RdbRead::kError);
  EXPECT_EQ(Read("REDIS0010" + Bytes("00 c4")).end, RdbRead::kError);
  // A length that may be true only makes it wait.
  EXPECT_EQ(Read("REDIS0010" + Bytes("00 80 7f ff ff ff 61")).end, RdbRead::kNeedMore);
}

TEST(RdbReader, SkipsModuleDataAndHandsOutFunctions) {
  Reading reading = Read(File(Bytes("f7 81 00 00 00 00 00 00 00 05 02 02 01 07 02 40 80 03 01 02 03 04"
                                    "04 01 02 03 04 05 06 07 08 05 02 68 69 00 f5 03 61 62 63 fe 00 00 01 6b 01 76")),
                         1);
  ASSERT_EQ(reading.end, RdbRead::kEnd) << reading.error.ToText();
  EXPECT_EQ(reading.lines, (std::vector<std::string>{"module", "function abc", "db 0", "0:k=v"}));
}

TEST(RdbReader, RefusesAnExpiryWithoutEntry) {
  EXPECT_EQ(Read(File(Bytes("fc 01 00 00 00 00 00 00 00 fe 00"))).end, RdbRead::kError);
  EXPECT_EQ(Read(File(Bytes("fc 01 00 00 00 00 00 00 00"))).end, RdbRead::kError);
}

TEST(RdbReader, ReadsALargeStringInSmallPiecesInLinearTime) {
  std::string value(64 << 20, '\0');
  std::mt19937_64 random(3);
  for (size_t i = 0; i + 8 <= value.size(); i += 4096) value[i] = static_cast<char>(random());
  std::string file;
  RdbWriter writer(&file, {.compress = false});
  writer.Header({});
  writer.Database(0, 1, 0);
  writer.String({.key = "large"}, value);
  writer.End();
  RdbReader reader;
  size_t found = 0;
  for (size_t at = 0; at < file.size(); at += 4096) {
    reader.Feed(std::string_view(file).substr(at, 4096));
    RdbRead read;
    while ((read = reader.Next()) == RdbRead::kRecord) {
      if (reader.record().kind == RdbRecord::Kind::kString) found += reader.record().value == value;
    }
    ASSERT_NE(read, RdbRead::kError);
  }
  EXPECT_EQ(reader.Next(), RdbRead::kEnd);
  EXPECT_EQ(found, 1u);
}

}  // namespace
}  // namespace tessera::persistence
