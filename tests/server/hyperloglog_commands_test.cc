#include <gtest/gtest.h>

#include <random>

#include "server/config/config.h"
#include "server/store/hyperloglog.h"
#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

using Commands = std::vector<std::string>;

TEST(PfAdd, TellsWhetherAnythingChanged) {
  CommandFixture server;
  EXPECT_EQ(server("PFADD h"), ":1");
  EXPECT_EQ(server("PFADD h"), ":0");
  EXPECT_EQ(server("PFADD h a b"), ":1");
  EXPECT_EQ(server("PFADD h b a"), ":0");
  EXPECT_EQ(server("OBJECT ENCODING h"), "\"raw\"");
  EXPECT_EQ(server("TYPE h"), "+string");
  EXPECT_EQ(server.TakePropagated(), (Commands{"PFADD h", "PFADD h a b"}));
}

TEST(PfCount, KeepsTheCountInTheValueAndSaysSo) {
  CommandFixture server;
  server("PFADD h a b c");
  server.TakePropagated();
  EXPECT_EQ(server("PFCOUNT h"), ":3");
  EXPECT_EQ(server("PFCOUNT h"), ":3");
  EXPECT_EQ(server.TakePropagated(), Commands{"PFCOUNT h"});
  EXPECT_EQ(server("GETRANGE h 8 15"), R"("\x03\x00\x00\x00\x00\x00\x00\x00")");
  server("PFADD h d");
  EXPECT_EQ(server("GETRANGE h 8 15"), R"("\x03\x00\x00\x00\x00\x00\x00\x80")");
  server("PFADD g a e");
  EXPECT_EQ(server("PFCOUNT h g none"), ":5");
  EXPECT_EQ(server("PFCOUNT none"), ":0");
}

TEST(PfCount, OnAReplicaLeavesTheValueAlone) {
  CommandFixture server;
  server("PFADD h a");
  server.keyspace.SetExpiryMode(store::ExpiryMode::kHideExpired);
  EXPECT_EQ(server("PFCOUNT h"), ":1");
  EXPECT_EQ(server("GETRANGE h 8 15"), R"("\x00\x00\x00\x00\x00\x00\x00\x80")");
}

TEST(PfMerge, KeepsTheExpiryOfItsTargetAndMayBeDense) {
  CommandFixture server;
  server("PFADD a 1 2 3");
  server("PFADD b 3 4 5");
  server("EXPIRE a 100");
  EXPECT_EQ(server("PFMERGE a b"), "+OK");
  EXPECT_EQ(server("PFCOUNT a"), ":5");
  EXPECT_EQ(server("TTL a"), ":100");
  EXPECT_EQ(server("PFDEBUG TODENSE b"), ":1");
  EXPECT_EQ(server("PFDEBUG TODENSE b"), ":0");
  EXPECT_EQ(server("PFMERGE c a b"), "+OK");
  EXPECT_EQ(server("PFDEBUG ENCODING c"), "+dense");
  EXPECT_EQ(server("PFCOUNT c"), ":5");
  EXPECT_EQ(server("PFDEBUG DECODE c"), "-ERR HLL encoding is not sparse");
  EXPECT_EQ(server("PFMERGE d"), "+OK");
  EXPECT_EQ(server("PFDEBUG DECODE d"), "\"Z:16384\"");
}

TEST(PfAdd, HonoursTheSparseLimit) {
  CommandFixture server;
  EXPECT_EQ(server("CONFIG SET hll-sparse-max-bytes 22"), "+OK");
  server("PFADD h a");
  EXPECT_EQ(server("PFDEBUG ENCODING h"), "+sparse");
  server("PFADD h b c d");
  EXPECT_EQ(server("PFDEBUG ENCODING h"), "+dense");
  EXPECT_EQ(server("PFCOUNT h"), ":4");
}

TEST(HyperLogLogCommands, RefuseOtherStringsAndCorruptOnes) {
  CommandFixture server;
  server("SET s hello");
  server("SET n 12");
  const char* other = "-WRONGTYPE Key is not a valid HyperLogLog string value.";
  for (const char* line : {"PFADD s a", "PFCOUNT s", "PFCOUNT n s", "PFMERGE x s", "PFMERGE s", "PFDEBUG GETREG n"})
    EXPECT_EQ(server(line), other) << line;
  server(R"(SET h "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x00")");
  const char* corrupt = "-INVALIDOBJ Corrupted HLL object detected";
  for (const char* line : {"PFADD h a", "PFCOUNT h", "PFCOUNT h h", "PFMERGE x h", "PFDEBUG TODENSE h"})
    EXPECT_EQ(server(line), corrupt) << line;
  EXPECT_EQ(server("EXISTS x"), ":0");
  EXPECT_EQ(server("PFDEBUG WHAT h"), "-ERR Unknown PFDEBUG subcommand 'WHAT'");
  EXPECT_EQ(server("PFDEBUG GETREG none"), "-ERR The specified key does not exist");
  EXPECT_EQ(server("PFSELFTEST"), "+OK");
}

// Commands on damaged values answer or refuse, and the value stays recognisable.
TEST(HyperLogLogCommands, SurviveDamage) {
  CommandFixture server;
  std::mt19937_64 random(5);
  for (int round = 0; round < 300; ++round) {
    std::string value = store::hyperloglog::Empty();
    for (int i = 0; i < 50; ++i)
      store::hyperloglog::Raise(value, store::hyperloglog::Observe(std::to_string(random() % 500)), 3000);
    for (int i = 0; i < 3; ++i) value[random() % value.size()] = static_cast<char>(random());
    if (random() % 2) value.resize(random() % (value.size() + 1));
    server.Execute(server.session, {"SET", "h", value});
    for (const char* line : {"PFCOUNT h", "PFADD h a b c", "PFCOUNT h g", "PFMERGE g h", "PFDEBUG DECODE h",
                             "PFMERGE h g", "PFDEBUG GETREG h", "PFADD h d"})
      EXPECT_NE(server(line).substr(0, 15), "not exactly one") << line;
  }
}

}  // namespace
}  // namespace tessera
