// What listeners get, byte for byte, and when. Replies and counts are compared with the reference in tests/compat.
#include "server/pubsub.h"

#include <gtest/gtest.h>

#include "cluster/slot.h"
#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

using Kind = PubSub::Kind;

std::string Drain(Session& session) {
  std::string bytes;
  iovec part;
  while (session.out.Peek(&part, 1) > 0) {
    bytes.append(static_cast<const char*>(part.iov_base), part.iov_len);
    session.out.Consume(part.iov_len);
  }
  return bytes;
}

class Fixture : public CommandFixture {
 public:
  Fixture() : listener(clients.NextId()) { clients.Add(listener); }
  // Commands whose replies do not matter.
  void Do(Session& client, std::string_view line) {
    (*this)(client, line);
    Drain(client);
  }
  Session listener;
};

TEST(PubSub, EncodesAMessageForEachProtocolVersion) {
  Fixture server;
  Session third(server.clients.NextId());
  third.reply.set_version(3);
  server.Do(server.listener, "SUBSCRIBE c");
  server.Do(third, "SUBSCRIBE c");
  EXPECT_EQ(server("PUBLISH c hi"), ":2");
  EXPECT_EQ(Drain(server.listener), "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n");
  EXPECT_EQ(Drain(third), ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n");
  server.pubsub.Forget(third);
}

TEST(PubSub, TellsTheOthersWhenOneLeavesTheMiddle) {
  Fixture server;
  std::vector<std::unique_ptr<Session>> many;
  for (int i = 0; i < 5; ++i) {
    many.push_back(std::make_unique<Session>(server.clients.NextId()));
    server.pubsub.Subscribe(*many.back(), Kind::kChannel, "c");
    server.pubsub.Subscribe(*many.back(), Kind::kPattern, "p*");
  }
  server.pubsub.Unsubscribe(*many[1], Kind::kChannel, "c");
  server.pubsub.Forget(*many[3]);
  server.pubsub.Unsubscribe(*many[4], Kind::kChannel, "c");
  EXPECT_EQ(server("PUBLISH c x"), ":2");
  EXPECT_EQ(server("PUBLISH pp x"), ":4");
  EXPECT_FALSE(Drain(*many[0]).empty());
  EXPECT_TRUE(Drain(*many[3]).empty());
  for (auto& session : many) server.pubsub.Forget(*session);
  EXPECT_EQ(server.pubsub.size(Kind::kChannel) + server.pubsub.size(Kind::kPattern), 0u);
}

TEST(PubSub, HoldsAClientsOwnMessageBackUntilItsReplyIsComplete) {
  Fixture server;
  server.listener.reply.set_version(3);
  server.Do(server.listener, "SUBSCRIBE c");
  server.Do(server.listener, "MULTI");
  server.Do(server.listener, "PUBLISH c x");
  server.Do(server.listener, "ECHO y");
  server.dispatcher.Execute(server.listener, std::vector<std::string_view>{"EXEC"}, server.now_ms);
  EXPECT_EQ(Drain(server.listener), "*2\r\n:1\r\n$1\r\ny\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n");
}

TEST(PubSub, GoesToReplicasInItsPlaceWithinATransaction) {
  Fixture server;
  server("PUBLISH c x");
  EXPECT_EQ(server.TakePropagated(), std::vector<std::string>());  // control: the sink here is a log of data
  server("MULTI");
  server("SET k v");
  server("PUBLISH c x");
  server("EXEC");
  EXPECT_EQ(server.TakePropagated(), (std::vector<std::string>{"MULTI", "SET k v", "EXEC"}));
}

TEST(PubSub, TakesShardChannelsOfLostSlotsFromTheirListeners) {
  Fixture server;
  server.Do(server.listener, "SSUBSCRIBE a");
  server.Do(server.listener, "SSUBSCRIBE b");
  const uint16_t lost = cluster::SlotOf("a");
  server.pubsub.DropShardChannels([lost](uint16_t slot) { return slot != lost; });
  EXPECT_EQ(Drain(server.listener), "*3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:1\r\n");
  EXPECT_EQ(server("SPUBLISH a x"), ":0");
  EXPECT_EQ(server("SPUBLISH b x"), ":1");
}

TEST(PubSub, TellsOfExpiredKeysBeforeTheCommandThatFoundThem) {
  Fixture server;
  server("CONFIG SET notify-keyspace-events Ex$");
  server("SET k v PX 10");
  server.Do(server.listener, "PSUBSCRIBE __keyevent@0__:*");
  server.now_ms += 20;
  server("SET k w");
  const std::string told = Drain(server.listener);
  EXPECT_LT(told.find("__keyevent@0__:expired"), told.find("__keyevent@0__:set")) << told;
}

TEST(PubSub, TellsNothingThatWasNotAskedFor) {
  Fixture server;
  server.Do(server.listener, "PSUBSCRIBE *");
  server("SET k v");
  server("CONFIG SET notify-keyspace-events K");
  server("SET k v");
  server("CONFIG SET notify-keyspace-events KEg");
  server("SET k v");
  EXPECT_EQ(Drain(server.listener), "");
  server("DEL k");
  EXPECT_NE(Drain(server.listener), "");
}

TEST(Monitors, ShowCommandsBehindTheirExecutionWithoutSecrets) {
  Fixture server;
  server.session.peer = "10.0.0.1:5";
  server.Do(server.listener, "MONITOR");
  server("SELECT 3");
  server("AUTH user secret");
  const std::string shown = Drain(server.listener);
  EXPECT_NE(shown.find("[3 10.0.0.1:5] \"SELECT\" \"3\"\r\n"), std::string::npos) << shown;
  EXPECT_NE(shown.find("\"AUTH\" \"(redacted)\" \"(redacted)\"\r\n"), std::string::npos) << shown;
  server("CONFIG SET maxclients 100");
  EXPECT_EQ(Drain(server.listener), "") << "administration is not shown";
  server.monitors.Remove(server.listener);
  EXPECT_TRUE(server.monitors.empty());
}

TEST(SlowLog, ShowsNoSecrets) {
  Fixture server;
  server("CONFIG SET slowlog-log-slower-than 0");
  server("CONFIG SET requirepass secret");
  server("AUTH secret");
  const std::string log = server("SLOWLOG GET 10");
  EXPECT_EQ(log.find("secret"), std::string::npos) << log;
  EXPECT_NE(log.find("(redacted)"), std::string::npos) << log;
}

}  // namespace
}  // namespace tessera
