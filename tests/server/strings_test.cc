#include <gtest/gtest.h>

#include "server/config/config.h"
#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

using Commands = std::vector<std::string>;

TEST(Set, StoresAndReplacesValueAndExpiry) {
  CommandFixture server;
  EXPECT_EQ(server("SET k v EX 100"), "+OK");
  EXPECT_EQ(server("TTL k"), ":100");
  EXPECT_EQ(server("SET k w"), "+OK");
  EXPECT_EQ(server("TTL k"), ":-1");
  EXPECT_EQ(server("GET k"), "\"w\"");
}

TEST(Set, ConditionsLeaveTheKeyAlone) {
  CommandFixture server;
  EXPECT_EQ(server("SET k v XX"), "(nil)");
  EXPECT_EQ(server("SET k v NX"), "+OK");
  server.TakePropagated();
  EXPECT_EQ(server("SET k w NX GET"), "\"v\"");
  EXPECT_EQ(server("SET k w NX"), "(nil)");
  EXPECT_EQ(server.TakePropagated(), Commands{});
  EXPECT_EQ(server("SET k w XX GET"), "\"v\"");
  EXPECT_EQ(server("GET k"), "\"w\"");
}

TEST(Set, GoesDownTheStreamWithAnInstant) {
  CommandFixture server;
  server("SET k v EX 10");
  server("SETEX k 10 w");
  server("PSETEX k 10 x");
  server("SET k y KEEPTTL GET");
  server("SET k z PXAT 1800000000000");
  EXPECT_EQ(server.TakePropagated(),
            (Commands{"SET k v PXAT 1700000010000", "SET k w PXAT 1700000010000", "SET k x PXAT 1700000000010",
                      "SET k y KEEPTTL", "SET k z PXAT 1800000000000"}));
}

TEST(Set, RefusesOptionsThatContradictEachOther) {
  CommandFixture server;
  for (const char* line :
       {"SET k v NX XX", "SET k v EX 1 PX 1", "SET k v EX 1 KEEPTTL", "SET k v EX", "SET k v PERSIST"})
    EXPECT_EQ(server(line), "-ERR syntax error") << line;
  for (const char* line : {"SET k v EX 0", "SET k v PX -1", "SET k v EX 9223372036854775807", "SET k v EXAT 0"})
    EXPECT_EQ(server(line), "-ERR invalid expire time in 'set' command") << line;
  EXPECT_EQ(server("SETEX k 0 v"), "-ERR invalid expire time in 'setex' command");
  EXPECT_EQ(server("EXISTS k"), ":0");
}

TEST(GetEx, ChangesTheExpiryAsTold) {
  CommandFixture server;
  server("SET k v");
  server.TakePropagated();
  EXPECT_EQ(server("GETEX k"), "\"v\"");
  EXPECT_EQ(server("GETEX k PERSIST"), "\"v\"");
  EXPECT_EQ(server.TakePropagated(), Commands{});
  EXPECT_EQ(server("GETEX k EX 5"), "\"v\"");
  EXPECT_EQ(server("GETEX k PERSIST"), "\"v\"");
  EXPECT_EQ(server("GETEX k EXAT 1"), "\"v\"");
  EXPECT_EQ(server("GET k"), "(nil)");
  EXPECT_EQ(server.TakePropagated(), (Commands{"PEXPIREAT k 1700000005000", "PERSIST k", "DEL k"}));
}

TEST(GetDel, AnswersAndDeletes) {
  CommandFixture server;
  server("SET k v");
  server.TakePropagated();
  EXPECT_EQ(server("GETDEL k"), "\"v\"");
  EXPECT_EQ(server("GETDEL k"), "(nil)");
  EXPECT_EQ(server.TakePropagated(), Commands{"DEL k"});
}

TEST(MSetNx, DoesAllOrNothing) {
  CommandFixture server;
  server("SET b 1");
  EXPECT_EQ(server("MSETNX a 1 b 2"), ":0");
  EXPECT_EQ(server("MGET a b"), "[(nil), \"1\"]");
  EXPECT_EQ(server("MSETNX a 1 c 2"), ":1");
  EXPECT_EQ(server("MSET a 1 b"), "-ERR wrong number of arguments for 'mset' command");
}

TEST(Append, GrowsUpToTheLimit) {
  CommandFixture server;
  EXPECT_EQ(server("APPEND k 12"), ":2");
  EXPECT_EQ(server("OBJECT ENCODING k"), "\"int\"");
  EXPECT_EQ(server("APPEND k 3"), ":3");
  EXPECT_EQ(server("OBJECT ENCODING k"), "\"raw\"");
  server.options.mutable_config().proto_max_bulk_len = 4;
  EXPECT_EQ(server("APPEND k 4"), ":4");
  EXPECT_EQ(server("APPEND k 5"), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
  EXPECT_EQ(server("SETRANGE k 4 5"), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
  EXPECT_EQ(server("SETRANGE k 9223372036854775807 5"),
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
  EXPECT_EQ(server("GET k"), "\"1234\"");
}

TEST(GetRange, ClampsBothEnds) {
  CommandFixture server;
  server("SET k hello");
  EXPECT_EQ(server("GETRANGE k 1 3"), "\"ell\"");
  EXPECT_EQ(server("GETRANGE k -3 -1"), "\"llo\"");
  EXPECT_EQ(server("GETRANGE k -100 100"), "\"hello\"");
  EXPECT_EQ(server("GETRANGE k 3 1"), "\"\"");
  EXPECT_EQ(server("GETRANGE k -100 -200"), "\"\"");
  EXPECT_EQ(server("GETRANGE none 0 -1"), "\"\"");
  EXPECT_EQ(server("SUBSTR k 0 0"), "\"h\"");
}

TEST(SetRange, FillsTheGapWithZeros) {
  CommandFixture server;
  EXPECT_EQ(server("SETRANGE k 2 x"), ":3");
  EXPECT_EQ(server("GET k"), "\"\\x00\\x00x\"");
  EXPECT_EQ(server("SETRANGE k -1 x"), "-ERR offset is out of range");
  EXPECT_EQ(server("SETRANGE none 5 \"\""), ":0");
  EXPECT_EQ(server("EXISTS none"), ":0");
}

TEST(Incr, CountsWithin64Bits) {
  CommandFixture server;
  EXPECT_EQ(server("INCR k"), ":1");
  EXPECT_EQ(server("DECRBY k 3"), ":-2");
  EXPECT_EQ(server("INCRBY k 9223372036854775807"), ":9223372036854775805");
  EXPECT_EQ(server("INCRBY k 3"), "-ERR increment or decrement would overflow");
  EXPECT_EQ(server("DECRBY k -9223372036854775808"), "-ERR decrement would overflow");
  server("SET k \" 1\"");
  EXPECT_EQ(server("INCR k"), "-ERR value is not an integer or out of range");
}

TEST(IncrByFloat, GoesDownTheStreamAsItsResult) {
  CommandFixture server;
  server("SET k 10.5 EX 10");
  server.TakePropagated();
  EXPECT_EQ(server("INCRBYFLOAT k 0.1"), "\"10.6\"");
  EXPECT_EQ(server("TTL k"), ":10");
  EXPECT_EQ(server("INCRBYFLOAT k inf"), "-ERR increment would produce NaN or Infinity");
  EXPECT_EQ(server.TakePropagated(), Commands{"SET k 10.6 KEEPTTL"});
}

TEST(Lcs, AnswersTextLengthAndRanges) {
  CommandFixture server;
  server("MSET a ohmytext b mynewtext");
  EXPECT_EQ(server("LCS a b"), "\"mytext\"");
  EXPECT_EQ(server("LCS a b LEN"), ":6");
  EXPECT_EQ(server("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN"), "[\"matches\", [[[:4, :7], [:5, :8], :4]], \"len\", :6]");
  EXPECT_EQ(server("LCS a none"), "\"\"");
  EXPECT_EQ(server("LCS a b LEN IDX"), "-ERR If you want both the length and indexes, please just use IDX.");
}

}  // namespace
}  // namespace tessera
