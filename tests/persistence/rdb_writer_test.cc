#include "persistence/rdb_writer.h"
#include "persistence/dump.h"

#include <gtest/gtest.h>

#include "persistence/crc64.h"
#include "tests/persistence/samples.h"

namespace tessera::persistence {
namespace {

std::string Entry(const EntryHeader& header, std::string_view value, bool compress = true) {
  std::string out;
  RdbWriter(&out, {.compress = compress}).String(header, value);
  return out;
}

TEST(RdbWriter, WritesTheFileThatRedisWrites) {
  std::string out;
  RdbWriter writer(&out, {});
  writer.Header({.redis_version = "7.0.15", .created_s = 0x6b03db59, .used_memory = 0xf1830});
  writer.Database(0, 7, 1);
  writer.String({.key = "e"}, "");
  writer.String({.key = "z"}, std::string(100, 'a'));
  writer.String({.key = "i8"}, "-5");
  writer.String({.key = "i32"}, "-70000");
  writer.String({.key = "i16"}, "300");
  writer.String({.key = "i64"}, "5000000000");
  writer.String({.key = "k", .expiry_ms = 4102444800123}, "v");
  writer.End();
  EXPECT_EQ(out, RedisFile());
}

TEST(RdbWriter, PutsReplicationFieldsAndAofBaseIntoTheHeader) {
  std::string out;
  RdbWriter(&out, {}).Header({.aof_base = true,
                              .replication_id = "6f1b0c9e3d27a845b1fe09c2783d5a46e8107bfc",
                              .replication_offset = 300,
                              .replication_database = -1});
  EXPECT_NE(out.find(Bytes("fa 0e") + "repl-stream-db" + Bytes("c0 ff")), std::string::npos);
  EXPECT_NE(out.find(Bytes("fa 07") + "repl-id" + Bytes("28") + "6f1b0c9e3d"), std::string::npos);
  EXPECT_NE(out.find(Bytes("fa 0b") + "repl-offset" + Bytes("c1 2c 01")), std::string::npos);
  EXPECT_NE(out.find(Bytes("fa 08") + "aof-base" + Bytes("c0 01")), std::string::npos);
}

TEST(RdbWriter, EncodesOnlyTextThatIsExactlyAnIntegerAsInteger) {
  EXPECT_EQ(Entry({.key = "k"}, "127"), Bytes("00 01 6b c0 7f"));
  EXPECT_EQ(Entry({.key = "k"}, "-128"), Bytes("00 01 6b c0 80"));
  EXPECT_EQ(Entry({.key = "k"}, "128"), Bytes("00 01 6b c1 80 00"));
  EXPECT_EQ(Entry({.key = "k"}, "-32768"), Bytes("00 01 6b c1 00 80"));
  EXPECT_EQ(Entry({.key = "k"}, "32768"), Bytes("00 01 6b c2 00 80 00 00"));
  EXPECT_EQ(Entry({.key = "k"}, "-2147483648"), Bytes("00 01 6b c2 00 00 00 80"));
  EXPECT_EQ(Entry({.key = "k"}, "2147483648"), Bytes("00 01 6b 0a") + "2147483648");
  for (std::string text : {"007", "-0", "+1", " 1", "1 ", "-", "00", "1.0"}) {
    EXPECT_EQ(Entry({.key = "k"}, text), Bytes("00 01 6b") + static_cast<char>(text.size()) + text) << text;
  }
}

TEST(RdbWriter, EncodesLengthsInTheShortestForm) {
  auto head = [](size_t length) { return Entry({.key = "k"}, std::string(length, 'x'), false).substr(3, 6); };
  EXPECT_EQ(head(63).substr(0, 2), Bytes("3f 78"));
  EXPECT_EQ(head(64).substr(0, 3), Bytes("40 40 78"));
  EXPECT_EQ(head(16383).substr(0, 3), Bytes("7f ff 78"));
  EXPECT_EQ(head(16384).substr(0, 6), Bytes("80 00 00 40 00 78"));
}

TEST(RdbWriter, CompressesFromTwentyOneBytesWhenAllowed) {
  EXPECT_EQ(Entry({.key = "k"}, std::string(20, 'a')).substr(3, 1), Bytes("14"));
  EXPECT_EQ(Entry({.key = "k"}, std::string(21, 'a')).substr(3, 1), Bytes("c3"));
  EXPECT_EQ(Entry({.key = "k"}, std::string(21, 'a'), false).substr(3, 1), Bytes("15"));
}

TEST(RdbWriter, PutsExpiryAndUsageBeforeTheType) {
  EXPECT_EQ(Entry({.key = "k", .expiry_ms = 1, .idle_seconds = 100}, "v"),
            Bytes("fc 01 00 00 00 00 00 00 00 f8 40 64 00 01 6b 01 76"));
  EXPECT_EQ(Entry({.key = "k", .frequency = 255}, "v"), Bytes("f9 ff 00 01 6b 01 76"));
}

TEST(RdbWriter, WritesNoChecksumWhenToldSo) {
  std::string out;
  RdbWriter writer(&out, {.checksum = false});
  writer.Header({});
  writer.End();
  EXPECT_EQ(out.substr(out.size() - 9), Bytes("ff 00 00 00 00 00 00 00 00"));
}

TEST(RdbWriter, SumsOverEverythingThoughTheCallerDrains) {
  std::string whole, buffer;
  RdbWriter writer(&buffer, {});
  auto drain = [&] { whole += std::exchange(buffer, {}); };
  writer.Header({});
  drain();
  writer.Database(3, 1, 0);
  drain();
  writer.String({.key = "a"}, "b");
  writer.End();
  drain();
  uint64_t sum = Crc64(0, std::string_view(whole).substr(0, whole.size() - 8));
  std::string tail;
  for (int i = 0; i < 8; ++i) tail += static_cast<char>(sum >> (8 * i));
  EXPECT_EQ(whole.substr(whole.size() - 8), tail);
}

TEST(RdbWriter, DumpsWhatRedisDumps) {
  std::string out;
  DumpWriter dump(&out, true);
  dump.String({}, "v");
  dump.Finish();
  EXPECT_EQ(out.substr(0, 5), Bytes("00 01 76 0a 00"));
  uint64_t sum = Crc64(0, std::string_view(out).substr(0, 5));
  EXPECT_EQ(out.size(), 13u);
  EXPECT_EQ(static_cast<unsigned char>(out[5]), sum & 0xff);
}

}  // namespace
}  // namespace tessera::persistence
