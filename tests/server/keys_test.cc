#include <gtest/gtest.h>

#include <set>

#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

using Commands = std::vector<std::string>;
using protocol::Reply;

TEST(Del, CountsWhatWasThere) {
  CommandFixture server;
  server("MSET a 1 b 2");
  server.TakePropagated();
  EXPECT_EQ(server("DEL none"), ":0");
  EXPECT_EQ(server("UNLINK a a b"), ":2");
  EXPECT_EQ(server.TakePropagated(), Commands{"UNLINK a a b"});
  EXPECT_EQ(server("DBSIZE"), ":0");
}

TEST(Rename, CarriesTheExpiryAlong) {
  CommandFixture server;
  server("SET a 1 EX 10");
  server("SET b 2");
  EXPECT_EQ(server("RENAMENX a b"), ":0");
  EXPECT_EQ(server("RENAME a b"), "+OK");
  EXPECT_EQ(server("GET b"), "\"1\"");
  EXPECT_EQ(server("TTL b"), ":10");
  EXPECT_EQ(server("RENAME a b"), "-ERR no such key");
  EXPECT_EQ(server("RENAME b b"), "+OK");
}

TEST(Copy, ReplacesOnlyWhenTold) {
  CommandFixture server;
  server("SET a 1 EX 10");
  server("SET b 2");
  EXPECT_EQ(server("COPY a b"), ":0");
  EXPECT_EQ(server("COPY a b REPLACE"), ":1");
  EXPECT_EQ(server("TTL b"), ":10");
  EXPECT_EQ(server("COPY a a"), "-ERR source and destination objects are the same");
  EXPECT_EQ(server("COPY a a DB 3"), ":1");
  EXPECT_EQ(server("COPY a a DB 16"), "-ERR DB index is out of range");
}

TEST(Move, TakesTheKeyToAnotherDatabase) {
  CommandFixture server;
  server("SET a 1");
  EXPECT_EQ(server("MOVE a 0"), "-ERR source and destination objects are the same");
  EXPECT_EQ(server("MOVE a 1"), ":1");
  EXPECT_EQ(server("MOVE a 1"), ":0");
  EXPECT_EQ(server("EXISTS a"), ":0");
  EXPECT_EQ(server.keyspace.db(1).size(), 1u);
}

TEST(Move, IsRefusedInClusterMode) {
  CommandFixture server({.databases = 1,
                         .cluster = true,
                         .slot_of = [](std::string_view) { return uint16_t{0}; },
                         .arena_bytes_max = size_t{1} << 30});
  EXPECT_EQ(server("MOVE a 1"), "-ERR MOVE is not allowed in cluster mode");
  EXPECT_EQ(server("SWAPDB 0 0"), "-ERR SWAPDB is not allowed in cluster mode");
}

TEST(SwapDb, ExchangesDatabases) {
  CommandFixture server;
  server("SET a 1");
  server.TakePropagated();
  EXPECT_EQ(server("SWAPDB 0 1"), "+OK");
  EXPECT_EQ(server("DBSIZE"), ":0");
  EXPECT_EQ(server.TakePropagated(), Commands{"SWAPDB 0 1"});
  EXPECT_EQ(server("SWAPDB x 1"), "-ERR invalid first DB index");
  EXPECT_EQ(server("SWAPDB 0 16"), "-ERR DB index is out of range");
}

TEST(FlushAll, IsPropagatedEvenWhenEmpty) {
  CommandFixture server;
  EXPECT_EQ(server("FLUSHALL NOW"), "-ERR syntax error");
  EXPECT_EQ(server("FLUSHALL ASYNC"), "+OK");
  EXPECT_EQ(server.TakePropagated(), Commands{"FLUSHALL ASYNC"});
}

TEST(Scan, SeesEveryKeyOnce) {
  CommandFixture server;
  std::set<std::string> expected, seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string key = "key:" + std::to_string(i);
    server("SET " + key + " 1");
    if (i % 2 == 0) server("EXPIRE " + key + " 1");
    if (i % 2 == 1 && key.back() == '7') expected.insert(key);
  }
  server.now_ms += 1001;
  std::string cursor = "0";
  int steps = 0;
  do {
    const Reply reply =
        server.Execute(server.session, {"SCAN", cursor, "COUNT", "50", "MATCH", "key:*7", "TYPE", "string"});
    ASSERT_EQ(reply.elements.size(), 2u) << reply.DebugText();
    cursor = reply.elements[0].text;
    for (const Reply& key : reply.elements[1].elements) seen.insert(key.text);
  } while (cursor != "0" && ++steps < 1000);
  EXPECT_EQ(seen, expected);
  EXPECT_GT(steps, 5);
}

TEST(Scan, RefusesNonsense) {
  CommandFixture server;
  EXPECT_EQ(server("SCAN x"), "-ERR invalid cursor");
  EXPECT_EQ(server("SCAN 18446744073709551616"), "-ERR invalid cursor");
  EXPECT_EQ(server("SCAN 0 COUNT 0"), "-ERR syntax error");
  EXPECT_EQ(server("SCAN 0 COUNT x"), "-ERR value is not an integer or out of range");
  EXPECT_EQ(server("SCAN 0 TYPE nothing"), "[\"0\", []]");
}

TEST(RandomKey, NeverShowsAnExpiredKey) {
  CommandFixture server;
  for (int i = 0; i < 20; ++i) server("SET dead:" + std::to_string(i) + " 1 PX 1");
  server("SET alive 1");
  server.now_ms += 10;
  for (int i = 0; i < 50; ++i) EXPECT_EQ(server("RANDOMKEY"), "\"alive\"");
  server("DEL alive");
  EXPECT_EQ(server("RANDOMKEY"), "(nil)");
}

TEST(Object, TellsHowAValueIsKept) {
  CommandFixture server;
  server("SET i 12345");
  server("SET e abc");
  server("SET r " + std::string(45, 'x'));
  EXPECT_EQ(server("OBJECT ENCODING i"), "\"int\"");
  EXPECT_EQ(server("OBJECT ENCODING e"), "\"embstr\"");
  EXPECT_EQ(server("OBJECT ENCODING r"), "\"raw\"");
  server.now_ms += 100'000;
  EXPECT_EQ(server("OBJECT IDLETIME e"), ":100");
  EXPECT_EQ(server("GET e"), "\"abc\"");
  EXPECT_EQ(server("OBJECT IDLETIME e"), ":0");
  EXPECT_EQ(server("OBJECT ENCODING none"), "(nil)");
  EXPECT_EQ(server("OBJECT FREQ e").substr(0, 31), "-ERR An LFU maxmemory policy is");
}

TEST(Restore, TakesWhatDumpGave) {
  CommandFixture server;
  server("SET k hello EX 10");
  const Reply dump = server.Execute(server.session, {"DUMP", "k"});
  EXPECT_EQ(server.Execute(server.session, {"RESTORE", "k", "0", dump.text}).text,
            "BUSYKEY Target key name already exists.");
  server.TakePropagated();
  EXPECT_EQ(server.Execute(server.session, {"RESTORE", "n", "5000", dump.text, "IDLETIME", "7"}).text, "OK");
  EXPECT_EQ(server.TakePropagated(), Commands{"RESTORE n 1700000005000 " + dump.text + " IDLETIME 7 ABSTTL"});
  EXPECT_EQ(server("OBJECT IDLETIME n"), ":7");
  EXPECT_EQ(server("GET n"), "\"hello\"");
  EXPECT_EQ(server("PTTL n"), ":5000");
  EXPECT_EQ(server.Execute(server.session, {"RESTORE", "n", "1", dump.text, "REPLACE", "ABSTTL"}).text, "OK");
  EXPECT_EQ(server.TakePropagated(), Commands{"DEL n"});
  EXPECT_EQ(server("EXISTS n"), ":0");
}

TEST(Restore, RefusesADamagedPayload) {
  CommandFixture server;
  server("SET k hello");
  std::string payload = server.Execute(server.session, {"DUMP", "k"}).text;
  EXPECT_EQ(server("RESTORE n -1 x"), "-ERR Invalid TTL value, must be >= 0");
  for (char& byte : payload) {
    byte = static_cast<char>(byte ^ 1);
    EXPECT_EQ(server.Execute(server.session, {"RESTORE", "n", "0", payload}).text,
              "ERR DUMP payload version or checksum are wrong");
    byte = static_cast<char>(byte ^ 1);
  }
  EXPECT_EQ(server("EXISTS n"), ":0");
}

}  // namespace
}  // namespace tessera
