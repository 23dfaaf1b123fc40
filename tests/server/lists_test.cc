#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

using Lines = std::vector<std::string>;

struct Waiter {
  explicit Waiter(CommandFixture& server) : server(server), session(server.clients.NextId()) {
    server.clients.Add(session);
  }
  ~Waiter() {
    server.blocking.Forget(session);
    server.clients.Remove(session);
  }
  std::string operator()(std::string_view line) {
    const auto words = protocol::SplitArgs(line);
    const std::vector<std::string_view> argv(words->begin(), words->end());
    server.dispatcher.Execute(session, argv, server.now_ms);
    return state();
  }
  std::string state() {
    if (session.out.empty() && session.is_blocked()) return "waits";
    return server.TakeReply(session).DebugText();
  }
  CommandFixture& server;
  Session session;
};

TEST(Lists, PushesAndPopsAtBothEnds) {
  CommandFixture server;
  EXPECT_EQ(server("RPUSH l a b c"), ":3");
  EXPECT_EQ(server("LPUSH l x y"), ":5");
  EXPECT_EQ(server("LRANGE l 0 -1"), R"(["y", "x", "a", "b", "c"])");
  EXPECT_EQ(server("LPOP l"), "\"y\"");
  EXPECT_EQ(server("RPOP l 2"), R"(["c", "b"])");
  EXPECT_EQ(server("LPOP l 0"), "[]");
  EXPECT_EQ(server("LPOP l 10"), R"(["x", "a"])");
  EXPECT_EQ(server("EXISTS l"), ":0");
  EXPECT_EQ(server("LPOP l"), "(nil)");
  EXPECT_EQ(server("LPUSHX l a"), ":0");
  EXPECT_EQ(server("EXISTS l"), ":0");
}

TEST(Lists, OtherTypesAreRefused) {
  CommandFixture server;
  server("SET s v");
  for (const char* line : {"LPUSH s a", "RPUSHX s a", "LPOP s", "LLEN s", "LINDEX s 0", "LRANGE s 0 1", "LPOS s a",
                           "LSET s 0 a", "LTRIM s 0 1", "LREM s 0 a", "LINSERT s BEFORE a b", "LMOVE s t LEFT LEFT",
                           "LMPOP 1 s LEFT", "BLPOP s 0", "BLMOVE s t LEFT LEFT 0", "BLMPOP 0 1 s LEFT"})
    EXPECT_EQ(server(line), "-WRONGTYPE Operation against a key holding the wrong kind of value") << line;
  server("RPUSH l a");
  EXPECT_EQ(server("LMOVE l s LEFT LEFT"), "-WRONGTYPE Operation against a key holding the wrong kind of value");
  EXPECT_EQ(server("GET l"), "-WRONGTYPE Operation against a key holding the wrong kind of value");
  EXPECT_EQ(server("LLEN l"), ":1");
}

TEST(Lists, EncodingFollowsTheOption) {
  CommandFixture server;
  server("CONFIG SET list-max-listpack-size 2");
  server("RPUSH l a b");
  EXPECT_EQ(server("OBJECT ENCODING l"), "\"listpack\"");
  server("RPUSH l c");
  EXPECT_EQ(server("OBJECT ENCODING l"), "\"quicklist\"");
  server("LPOP l");
  EXPECT_EQ(server("OBJECT ENCODING l"), "\"quicklist\"");
  server("LPOP l");
  EXPECT_EQ(server("OBJECT ENCODING l"), "\"listpack\"");
}

TEST(Lists, FindsPositions) {
  CommandFixture server;
  server("RPUSH l a b c 1 2 3 c c");
  EXPECT_EQ(server("LPOS l c"), ":2");
  EXPECT_EQ(server("LPOS l c RANK 2"), ":6");
  EXPECT_EQ(server("LPOS l c RANK -1"), ":7");
  EXPECT_EQ(server("LPOS l c COUNT 2"), "[:2, :6]");
  EXPECT_EQ(server("LPOS l c COUNT 0 RANK -2"), "[:6, :2]");
  EXPECT_EQ(server("LPOS l c MAXLEN 2"), "(nil)");
  EXPECT_EQ(server("LPOS l c COUNT 0 MAXLEN 7"), "[:2, :6]");
  EXPECT_EQ(server("LPOS l 2"), ":4");
  EXPECT_EQ(server("LPOS l 02"), "(nil)");
  EXPECT_EQ(server("LPOS l c RANK -9223372036854775808"),
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
}

TEST(Lists, PropagateWhatWasDone) {
  CommandFixture server;
  server("RPUSH l a b c d e f g");
  server("BLPOP none l 0");
  server("BRPOP l 0");
  server("LMPOP 2 none l LEFT COUNT 2");
  server("BLMPOP 0 1 l RIGHT COUNT 100");
  server("RPUSH l a");
  server("BLMOVE l m LEFT RIGHT 0");
  server("BRPOPLPUSH m l 0");
  server("LTRIM l 0 -1");
  server("LREM l 0 none");
  server("LINSERT l BEFORE none x");
  EXPECT_EQ(server.TakePropagated(),
            (Lines{"RPUSH l a b c d e f g", "LPOP l", "RPOP l", "LPOP l 2", "RPOP l 3", "RPUSH l a",
                   "LMOVE l m LEFT RIGHT", "RPOPLPUSH m l"}));
}

TEST(Lists, MovesWithinOneList) {
  CommandFixture server;
  server("RPUSH l a b c");
  EXPECT_EQ(server("RPOPLPUSH l l"), "\"c\"");
  EXPECT_EQ(server("LMOVE l l LEFT LEFT"), "\"c\"");
  EXPECT_EQ(server("LRANGE l 0 -1"), R"(["c", "a", "b"])");
  server("RPUSH one x");
  EXPECT_EQ(server("LMOVE one one LEFT RIGHT"), "\"x\"");
  EXPECT_EQ(server("LRANGE one 0 -1"), R"(["x"])");
}

TEST(Lists, WaitersAreServedInOrderAndElementByElement) {
  CommandFixture server;
  Waiter a(server), b(server), c(server);
  EXPECT_EQ(a("BLPOP l 0"), "waits");
  EXPECT_EQ(b("BRPOP l 0"), "waits");
  EXPECT_EQ(c("BLMPOP 0 1 l LEFT COUNT 5"), "waits");
  EXPECT_EQ(server("RPUSH l 1 2 3 4"), ":4");
  EXPECT_EQ(a.state(), R"(["l", "1"])");
  EXPECT_EQ(b.state(), R"(["l", "4"])");
  EXPECT_EQ(c.state(), R"(["l", ["2", "3"]])");
  EXPECT_EQ(server.TakePropagated(), (Lines{"RPUSH l 1 2 3 4", "LPOP l", "RPOP l", "LPOP l 2"}));
  EXPECT_EQ(server("EXISTS l"), ":0");
}

TEST(Lists, AWaiterStaysWhenTheKeyBecomesSomethingElse) {
  CommandFixture server;
  Waiter a(server);
  EXPECT_EQ(a("BLPOP l 0"), "waits");
  server("SET l x");
  EXPECT_EQ(a.state(), "waits");
  server("DEL l");
  server("RPUSH l x");
  EXPECT_EQ(a.state(), R"(["l", "x"])");
}

TEST(Lists, AMoveThatWaitedIsRefusedByItsTarget) {
  CommandFixture server;
  Waiter a(server);
  server("SET t x");
  EXPECT_EQ(a("BLMOVE l t LEFT LEFT 0"), "waits");
  server("RPUSH l x");
  EXPECT_EQ(a.state(), "-WRONGTYPE Operation against a key holding the wrong kind of value");
  EXPECT_EQ(server("LRANGE l 0 -1"), R"(["x"])");
}

TEST(Lists, LoadedAndCopiedListsAreTheSame) {
  CommandFixture server;
  server("RPUSH l a 1 \"\" -5 99999999999 b");
  EXPECT_EQ(server("COPY l m"), ":1");
  const protocol::Reply dump = server.Execute(server.session, {"DUMP", "l"});
  EXPECT_EQ(server.Execute(server.session, {"RESTORE", "n", "0", dump.text}).DebugText(), "+OK");
  server("LPOP l");
  for (const char* line : {"LRANGE m 0 -1", "LRANGE n 0 -1"})
    EXPECT_EQ(server(line), R"(["a", "1", "", "-5", "99999999999", "b"])");
  EXPECT_EQ(server("OBJECT ENCODING n"), "\"listpack\"");
}

}  // namespace
}  // namespace tessera
