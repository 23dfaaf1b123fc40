#include <gtest/gtest.h>

#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

using Commands = std::vector<std::string>;

TEST(Expire, LetsTheKeyGoWhenItsTimeHasCome) {
  CommandFixture server;
  server("SET k v");
  EXPECT_EQ(server("PEXPIRE k 100"), ":1");
  EXPECT_EQ(server("PTTL k"), ":100");
  server.now_ms += 100;
  EXPECT_EQ(server("GET k"), "\"v\"");
  server.TakePropagated();
  server.now_ms += 1;
  EXPECT_EQ(server("GET k"), "(nil)");
  EXPECT_EQ(server.TakePropagated(), Commands{"DEL k"});
}

TEST(Expire, GoesDownTheStreamAsAnInstant) {
  CommandFixture server;
  server("SET k v");
  server.TakePropagated();
  server("EXPIRE k 10");
  server("PEXPIRE k 10");
  server("EXPIREAT k 1800000000");
  server("PEXPIREAT k 1800000000001");
  server("PERSIST k");
  server("PERSIST k");
  EXPECT_EQ(server.TakePropagated(), (Commands{"PEXPIREAT k 1700000010000", "PEXPIREAT k 1700000000010",
                                               "PEXPIREAT k 1800000000000", "PEXPIREAT k 1800000000001", "PERSIST k"}));
}

TEST(Expire, InThePastDeletes) {
  CommandFixture server;
  server("SET k v");
  server.TakePropagated();
  EXPECT_EQ(server("EXPIRE k -1"), ":1");
  EXPECT_EQ(server("EXISTS k"), ":0");
  EXPECT_EQ(server.TakePropagated(), Commands{"DEL k"});
}

TEST(Expire, InThePastIsOnlySetOnAReplica) {
  CommandFixture server;
  server("SET k v");
  server.keyspace.SetExpiryMode(store::ExpiryMode::kHideExpired);
  Session primary(99, SessionKind::kPrimary);
  EXPECT_EQ(server(primary, "PEXPIREAT k 1"), ":1");
  EXPECT_EQ(server("GET k"), "(nil)");
  EXPECT_EQ(server("DBSIZE"), ":1");
  EXPECT_EQ(server(primary, "GET k"), "\"v\"");
  EXPECT_EQ(server(primary, "DEL k"), ":1");
  EXPECT_EQ(server("DBSIZE"), ":0");
}

TEST(Expire, ConditionsCompareWithThePresentExpiry) {
  CommandFixture server;
  server("SET k v");
  EXPECT_EQ(server("EXPIRE k 10 XX"), ":0");
  EXPECT_EQ(server("EXPIRE k 10 GT"), ":0");
  EXPECT_EQ(server("EXPIRE k 10 LT"), ":1");
  EXPECT_EQ(server("EXPIRE k 20 LT"), ":0");
  EXPECT_EQ(server("EXPIRE k 20 NX"), ":0");
  EXPECT_EQ(server("EXPIRE k 20 XX GT"), ":1");
  EXPECT_EQ(server("TTL k"), ":20");
  EXPECT_EQ(server("EXPIRE k 10 NX GT"), "-ERR NX and XX, GT or LT options at the same time are not compatible");
  EXPECT_EQ(server("EXPIRE k 10 GT LT"), "-ERR GT and LT options at the same time are not compatible");
  EXPECT_EQ(server("EXPIRE k 10 foo"), "-ERR Unsupported option foo");
}

TEST(Expire, RefusesWhatDoesNotFitInto64Bits) {
  CommandFixture server;
  server("SET k v");
  for (const char* name : {"expire", "expireat"})
    EXPECT_EQ(server(std::string(name) + " k 9223372036854775807"),
              "-ERR invalid expire time in '" + std::string(name) + "' command");
  EXPECT_EQ(server("PEXPIRE k 9223372036854775807"), "-ERR invalid expire time in 'pexpire' command");
  EXPECT_EQ(server("TTL k"), ":-1");
}

TEST(Ttl, RoundsAndTellsMissingFromUnlimited) {
  CommandFixture server;
  server("SET k v PX 1499");
  server("SET forever v");
  EXPECT_EQ(server("TTL k"), ":1");
  EXPECT_EQ(server("PTTL k"), ":1499");
  EXPECT_EQ(server("EXPIRETIME k"), ":1700000001");
  EXPECT_EQ(server("PEXPIRETIME k"), ":1700000001499");
  EXPECT_EQ(server("TTL forever"), ":-1");
  EXPECT_EQ(server("PEXPIRETIME none"), ":-2");
}

}  // namespace
}  // namespace tessera
