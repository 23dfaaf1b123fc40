#include <gtest/gtest.h>

#include "server/commands/client_info.h"
#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

// Notes what the session asks of its socket.
struct RecordingLink : SessionLink {
  void OutputPending() override {}
  void CloseAfterReply() override { close_after_reply = true; }
  void CloseNow(std::string_view) override { closed = true; }
  void Resume() override {}
  Figures figures() const override { return {.fd = 7}; }
  bool close_after_reply = false, closed = false;
};

struct OtherClient {
  explicit OtherClient(CommandFixture& server) : server(server), session(server.clients.NextId()) {
    session.link = &link;
    session.peer = "10.0.0.1:5000";
    server.clients.Add(session);
  }
  ~OtherClient() { server.clients.Remove(session); }
  CommandFixture& server;
  RecordingLink link;
  Session session;
};

TEST(ClientList, ShowsTheFieldsOf72InTheirOrder) {
  CommandFixture server;
  server.session.peer = "127.0.0.1:4000";
  server("CLIENT SETINFO LIB-NAME lib");
  server("CLIENT SETINFO lib-ver 1.0");
  server("CLIENT NO-EVICT on");
  const protocol::Reply reply = server.Execute(server.session, {"CLIENT", "INFO"});
  std::string names;
  for (size_t at = 0; at < reply.text.size();) {
    const size_t end = reply.text.find_first_of(" \n", at);
    names += reply.text.substr(at, reply.text.find('=', at) - at) + ' ';
    at = end + 1;
  }
  EXPECT_EQ(names,
            "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem rbs rbp obl "
            "oll omem tot-mem events cmd user redir resp lib-name lib-ver ");
  EXPECT_NE(reply.text.find("cmd=client|info user=default redir=-1 resp=2 lib-name=lib lib-ver=1.0\n"),
            std::string::npos);
  EXPECT_NE(reply.text.find(" flags=e "), std::string::npos);
}

TEST(ClientList, FiltersByTypeAndId) {
  CommandFixture server;
  OtherClient replica_like(server);
  EXPECT_EQ(server("CLIENT LIST TYPE pubsub"), "\"\"");
  replica_like.session.subscribed.channels = 2;
  EXPECT_NE(server("CLIENT LIST TYPE pubsub").find("addr=10.0.0.1:5000"), std::string::npos);
  EXPECT_EQ(server("CLIENT LIST TYPE bad"), "-ERR Unknown client type 'bad'");
  EXPECT_EQ(server("CLIENT LIST ID x"), "-ERR Invalid client ID");
  EXPECT_EQ(server("CLIENT LIST ID"), "-ERR syntax error");
  EXPECT_EQ(server("CLIENT LIST ID 99 2").substr(0, 6), "\"id=2 ");
}

TEST(ClientKill, SparesTheCallerUnlessTold) {
  CommandFixture server;
  RecordingLink own;
  server.session.link = &own;
  OtherClient other(server);
  EXPECT_EQ(server("CLIENT KILL ID 99"), ":0");
  EXPECT_EQ(server("CLIENT KILL TYPE normal"), ":1");
  EXPECT_TRUE(other.link.closed);
  EXPECT_FALSE(own.close_after_reply);
  EXPECT_EQ(server("CLIENT KILL TYPE normal SKIPME no"), ":2");
  EXPECT_TRUE(own.close_after_reply);
  EXPECT_FALSE(own.closed);
  server.session.link = nullptr;
}

TEST(ClientKill, RefusesWhatItDoesNotUnderstand) {
  CommandFixture server;
  EXPECT_EQ(server("CLIENT KILL 1.2.3.4:5"), "-ERR No such client");
  EXPECT_EQ(server("CLIENT KILL ID 0"), "-ERR client-id should be greater than 0");
  EXPECT_EQ(server("CLIENT KILL ID 1 ADDR"), "-ERR syntax error");
  EXPECT_EQ(server("CLIENT KILL USER nobody"), "-ERR No such user 'nobody'");
  EXPECT_EQ(server("CLIENT KILL SKIPME maybe"), "-ERR syntax error");
  EXPECT_EQ(server("CLIENT KILL WHAT x"), "-ERR syntax error");
}

TEST(ClientReply, SilencesCommandsButNotItsOwnReturn) {
  CommandFixture server;
  auto silent = [&](const std::vector<std::string>& words) {
    const std::vector<std::string_view> argv(words.begin(), words.end());
    server.dispatcher.Execute(server.session, argv, server.now_ms);
    return server.session.out.empty();
  };
  EXPECT_TRUE(silent({"CLIENT", "REPLY", "SKIP"}));
  EXPECT_TRUE(silent({"PING"}));
  EXPECT_EQ(server("PING"), "+PONG");
  EXPECT_TRUE(silent({"CLIENT", "REPLY", "OFF"}));
  EXPECT_TRUE(silent({"PING"}));
  EXPECT_TRUE(silent({"NOSUCH"}));
  EXPECT_TRUE(silent({"CLIENT", "REPLY", "SKIP"}));
  EXPECT_TRUE(silent({"PING"}));
  EXPECT_EQ(server("CLIENT REPLY ON"), "+OK");
  EXPECT_EQ(server("PING"), "+PONG");
}

TEST(ClientPause, HoldsBackWritesOnly) {
  CommandFixture server;
  OtherClient other(server);
  server("PING");  // from here on the dispatcher knows the time
  EXPECT_EQ(server("CLIENT PAUSE 100000 WRITE"), "+OK");
  const std::string_view set[] = {"SET", "a", "1"}, get[] = {"GET", "a"};
  EXPECT_EQ(server.dispatcher.Execute(other.session, set, server.now_ms), Dispatcher::Outcome::kPostponed);
  EXPECT_TRUE(other.session.is_blocked());
  EXPECT_EQ(server.dispatcher.Execute(server.session, get, server.now_ms), Dispatcher::Outcome::kDone);
  server.TakeReply(server.session);
  EXPECT_EQ(server("CLIENT UNPAUSE"), "+OK");
  EXPECT_EQ(server("SET a 1"), "+OK");
  EXPECT_EQ(server("CLIENT PAUSE x"), "-ERR timeout is not an integer or out of range");
  EXPECT_EQ(server("CLIENT PAUSE -1"), "-ERR timeout is negative");
  EXPECT_EQ(server("CLIENT PAUSE 1 SOME"), "-ERR CLIENT PAUSE mode must be WRITE or ALL");
}

TEST(ClientUnblock, WakesOnlyWhoWaitsInACommand) {
  CommandFixture server;
  OtherClient other(server);
  EXPECT_EQ(server("CLIENT UNBLOCK 2"), ":0");
  WakeReason seen = WakeReason::kReady;
  server.blocking.Block(other.session, BlockKind::kWait, 0, [&seen](Session&, WakeReason reason) { seen = reason; });
  EXPECT_EQ(server("CLIENT UNBLOCK 2 ERROR"), ":1");
  EXPECT_EQ(seen, WakeReason::kUnblockError);
  EXPECT_EQ(server("CLIENT UNBLOCK 2 LATER"), "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
}

TEST(ClientTracking, IsRefusedClearly) {
  CommandFixture server;
  EXPECT_EQ(server("CLIENT TRACKING off"), "+OK");
  EXPECT_EQ(server("CLIENT TRACKING on"), "-ERR client side caching is not supported by this server yet");
  EXPECT_EQ(server("CLIENT GETREDIR"), ":-1");
  EXPECT_EQ(server("CLIENT TRACKINGINFO"), R"(["flags", ["off"], "redirect", :-1, "prefixes", []])");
}

}  // namespace
}  // namespace tessera
