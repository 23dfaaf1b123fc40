#include <gtest/gtest.h>

#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

using Commands = std::vector<std::string>;

TEST(SetBit, GrowsAndTellsTheBitBefore) {
  CommandFixture server;
  EXPECT_EQ(server("SETBIT k 7 1"), ":0");
  EXPECT_EQ(server("SETBIT k 7 0"), ":1");
  EXPECT_EQ(server("SETBIT k 100 1"), ":0");
  EXPECT_EQ(server("STRLEN k"), ":13");
  EXPECT_EQ(server("OBJECT ENCODING k"), "\"raw\"");
  EXPECT_EQ(server("GETBIT k 100"), ":1");
  EXPECT_EQ(server("GETBIT k 4294967295"), ":0");
}

TEST(SetBit, CountsAndPropagatesOnlyWhatChanges) {
  CommandFixture server;
  server("SET k 12");
  server.TakePropagated();
  const uint64_t dirty = server.services.stats.dirty;
  EXPECT_EQ(server("SETBIT k 0 0"), ":0");
  EXPECT_EQ(server("OBJECT ENCODING k"), "\"raw\"");
  EXPECT_EQ(server.services.stats.dirty, dirty);
  EXPECT_EQ(server.TakePropagated(), Commands{});
  server("SETBIT k 0 1");
  server("SETBIT k 99 0");
  EXPECT_EQ(server.TakePropagated(), (Commands{"SETBIT k 0 1", "SETBIT k 99 0"}));
}

TEST(SetBit, KeepsTheExpiryAndRefusesNonsense) {
  CommandFixture server;
  server("SET k v EX 100");
  server("SETBIT k 0 1");
  EXPECT_EQ(server("TTL k"), ":100");
  for (const char* offset : {"-1", "4294967296", "abc", "#1", "1.5", ""})
    EXPECT_EQ(server(std::string("SETBIT k \"") + offset + "\" 1"),
              "-ERR bit offset is not an integer or out of range");
  for (const char* bit : {"2", "-1", "x"})
    EXPECT_EQ(server(std::string("SETBIT k 0 ") + bit), "-ERR bit is not an integer or out of range");
}

TEST(BitCount, CountsInBytesAndBits) {
  CommandFixture server;
  server("SET k foobar");
  EXPECT_EQ(server("BITCOUNT k"), ":26");
  EXPECT_EQ(server("BITCOUNT k 1 1"), ":6");
  EXPECT_EQ(server("BITCOUNT k -2 -1 BYTE"), ":7");
  EXPECT_EQ(server("BITCOUNT k 5 30 BIT"), ":17");
  EXPECT_EQ(server("BITCOUNT k -1 -2"), ":0");
  EXPECT_EQ(server("BITCOUNT k -100 -200"), ":0");
  server("SET n 12");
  EXPECT_EQ(server("BITCOUNT n"), ":6");
}

TEST(BitCount, ReadsItsArgumentsBeforeItsKey) {
  CommandFixture server;
  EXPECT_EQ(server("BITCOUNT none 1"), "-ERR syntax error");
  EXPECT_EQ(server("BITCOUNT none a 1"), "-ERR value is not an integer or out of range");
  EXPECT_EQ(server("BITCOUNT none 0 1 WORD"), "-ERR syntax error");
  EXPECT_EQ(server("BITCOUNT none 0 1 BIT x"), "-ERR syntax error");
  EXPECT_EQ(server("BITPOS none 1 0 1 WORD"), "-ERR syntax error");
  EXPECT_EQ(server("BITCOUNT none 0 1 BIT"), ":0");
}

TEST(BitPos, GoesBehindTheStringOnlyWithoutAnEnd) {
  CommandFixture server;
  server(R"(SET k "\xff\xf0\x00")");
  EXPECT_EQ(server("BITPOS k 0"), ":12");
  EXPECT_EQ(server("BITPOS k 1 2"), ":-1");
  EXPECT_EQ(server("BITPOS k 0 5 9 BIT"), ":-1");
  EXPECT_EQ(server("BITPOS k 1 5 9 BIT"), ":5");
  server(R"(SET ones "\xff\xff\xff")");
  EXPECT_EQ(server("BITPOS ones 0"), ":24");
  EXPECT_EQ(server("BITPOS ones 0 1"), ":24");
  EXPECT_EQ(server("BITPOS ones 0 0 -1"), ":-1");
  EXPECT_EQ(server("BITPOS ones 0 3"), ":-1");
  EXPECT_EQ(server("BITPOS none 0"), ":0");
  EXPECT_EQ(server("BITPOS none 1"), ":-1");
  server("SET empty \"\"");
  EXPECT_EQ(server("BITPOS empty 0"), ":-1");
}

TEST(BitOp, StoresTheOutcomeOrDeletes) {
  CommandFixture server;
  server("SET a abc");
  server("SET b xyzw EX 100");
  EXPECT_EQ(server("BITOP AND b a b"), ":4");
  EXPECT_EQ(server("GET b"), R"("``b\x00")");
  EXPECT_EQ(server("TTL b"), ":-1");
  EXPECT_EQ(server("OBJECT ENCODING b"), "\"raw\"");
  EXPECT_EQ(server("BITOP NOT a a"), ":3");
  server.TakePropagated();
  EXPECT_EQ(server("BITOP OR a none none2"), ":0");
  EXPECT_EQ(server("BITOP OR a none none2"), ":0");
  EXPECT_EQ(server("EXISTS a"), ":0");
  EXPECT_EQ(server.TakePropagated(), Commands{"BITOP OR a none none2"});
  EXPECT_EQ(server("BITOP NOT a b b"), "-ERR BITOP NOT must be called with a single source key.");
  EXPECT_EQ(server("BITOP NAND a b"), "-ERR syntax error");
}

TEST(BitField, WrapsSaturatesAndFails) {
  CommandFixture server;
  EXPECT_EQ(server("BITFIELD k INCRBY u2 100 1 OVERFLOW SAT INCRBY u2 102 1"), "[:1, :1]");
  EXPECT_EQ(server("BITFIELD k INCRBY u2 100 1 OVERFLOW SAT INCRBY u2 102 1"), "[:2, :2]");
  EXPECT_EQ(server("BITFIELD k INCRBY u2 100 1 OVERFLOW SAT INCRBY u2 102 1"), "[:3, :3]");
  EXPECT_EQ(server("BITFIELD k INCRBY u2 100 1 OVERFLOW SAT INCRBY u2 102 1"), "[:0, :3]");
  EXPECT_EQ(server("BITFIELD k OVERFLOW FAIL INCRBY u2 102 1 GET u2 102"), "[(nil), :3]");
  EXPECT_EQ(server("BITFIELD k SET i64 #2 -9223372036854775808 INCRBY i64 #2 -1"), "[:0, :9223372036854775807]");
  EXPECT_EQ(server("BITFIELD k OVERFLOW SAT SET i8 0 -300 GET i8 0"), "[:0, :-128]");
}

TEST(BitField, PropagatesOnlyWhatChanges) {
  CommandFixture server;
  EXPECT_EQ(server("BITFIELD k GET u8 0"), "[:0]");
  EXPECT_EQ(server("EXISTS k"), ":0");
  server("BITFIELD k SET u8 0 5");
  server("BITFIELD k SET u8 0 5");
  server("BITFIELD k OVERFLOW FAIL INCRBY u8 0 255");
  EXPECT_EQ(server.TakePropagated(), Commands{"BITFIELD k SET u8 0 5"});
}

TEST(BitField, RefusesNonsense) {
  CommandFixture server;
  const char* type =
      "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
  for (const char* text : {"u64", "i65", "i0", "8", "x8", "u-1", "u08"})
    EXPECT_EQ(server(std::string("BITFIELD k GET ") + text + " 0"), type);
  EXPECT_EQ(server("BITFIELD k GET u8 #-1"), "-ERR bit offset is not an integer or out of range");
  EXPECT_EQ(server("BITFIELD k GET u8 #9223372036854775807"), "-ERR bit offset is not an integer or out of range");
  EXPECT_EQ(server("BITFIELD k OVERFLOW NONE"), "-ERR Invalid OVERFLOW type specified");
  EXPECT_EQ(server("BITFIELD k SET u8 0"), "-ERR syntax error");
  EXPECT_EQ(server("BITFIELD_RO k SET u8 0 1"), "-ERR BITFIELD_RO only supports the GET subcommand");
  EXPECT_EQ(server("EXISTS k"), ":0");
}

TEST(BitField, KeyFlagsFollowTheOperations) {
  CommandFixture server;
  EXPECT_EQ(server("COMMAND GETKEYSANDFLAGS BITFIELD k GET u8 0"), R"([["k", [+RO, +access]]])");
  EXPECT_EQ(server("COMMAND GETKEYSANDFLAGS BITFIELD k GET u8 0 SET u8 0 1"), R"([["k", [+RW, +access, +update]]])");
}

}  // namespace
}  // namespace tessera
