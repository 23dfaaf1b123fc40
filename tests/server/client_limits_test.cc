#include "server/client_limits.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

// A client without a socket that can be sent away.
class FakeClient : public SessionLink {
 public:
  FakeClient(CommandFixture& server, ClientLimits& limits) : server_(server), limits_(limits), session(server.clients.NextId()) {
    session.link = this;
    server_.clients.Add(session);
  }
  ~FakeClient() override {
    if (!gone) CloseNow("end of test");
  }
  void Hold(size_t bytes) {
    session.reply.Bulk(std::string(bytes, 'x'));
    limits_.Update(session);
  }
  void OutputPending() override {}
  void CloseAfterReply() override {}
  void CloseNow(std::string_view) override {
    gone = true;
    server_.clients.Remove(session);
    limits_.Forget(session);
  }
  void Resume() override {}
  Figures figures() const override { return {}; }

 private:
  CommandFixture& server_;
  ClientLimits& limits_;

 public:
  Session session;
  bool gone = false;
};

class ClientLimitsTest : public testing::Test {
 protected:
  ClientLimitsTest() { server.services.client_limits = &limits; }
  ~ClientLimitsTest() override { server.services.client_limits = nullptr; }
  void Limit(std::string_view text) {
    ASSERT_EQ(server("CONFIG SET maxmemory-clients " + std::string(text)), "+OK");
    limits.OptionsChanged();
  }

  CommandFixture server;
  ClientLimits limits{server.services};
};

TEST_F(ClientLimitsTest, TheLargestGoFirstAndOnlyAsManyAsNeeded) {
  Limit("1mb");
  FakeClient small(server, limits), medium(server, limits), large(server, limits);
  small.Hold(100'000);
  medium.Hold(500'000);
  limits.EvictIfOver();
  EXPECT_FALSE(medium.gone);
  large.Hold(700'000);
  limits.EvictIfOver();
  EXPECT_TRUE(large.gone);
  EXPECT_FALSE(medium.gone);
  EXPECT_FALSE(small.gone);
  EXPECT_EQ(server.stats.evicted_clients, 1u);
}

TEST_F(ClientLimitsTest, SparesThoseThatAskForItAndReplicas) {
  Limit("1mb");
  FakeClient spared(server, limits), replica(server, limits), other(server, limits);
  spared.session.no_evict = true;
  replica.session.kind = SessionKind::kReplica;
  replica.Hold(5'000'000);
  other.Hold(300'000);
  limits.EvictIfOver();
  EXPECT_FALSE(other.gone);
  spared.Hold(900'000);
  limits.EvictIfOver();
  EXPECT_TRUE(other.gone);
  EXPECT_FALSE(spared.gone);
  EXPECT_FALSE(replica.gone);
}

TEST_F(ClientLimitsTest, AClientCanFallToItsOwnCommand) {
  Limit("1mb");
  FakeClient client(server, limits);
  client.session.reply.Bulk(std::string(2'000'000, 'x'));
  EXPECT_TRUE(limits.Check(client.session));
  EXPECT_TRUE(client.gone);
}

TEST_F(ClientLimitsTest, PercentagesAreOfMaxmemory) {
  Limit("10%");
  EXPECT_EQ(limits.limit(), 0u);
  EXPECT_FALSE(limits.on());
  server.options.mutable_config().maxmemory = 100 << 20;
  EXPECT_EQ(limits.limit(), size_t{10} << 20);
  Limit("1");  // too little to talk to the server
  EXPECT_EQ(limits.limit(), size_t{128} << 10);
}

TEST_F(ClientLimitsTest, CountsEveryoneWhenItIsSwitchedOn) {
  FakeClient large(server, limits), small(server, limits);
  large.session.reply.Bulk(std::string(3'000'000, 'x'));
  small.session.reply.Bulk(std::string(1'000, 'x'));
  Limit("1mb");
  limits.EvictIfOver();
  EXPECT_TRUE(large.gone);
  EXPECT_FALSE(small.gone);
}

}  // namespace
}  // namespace tessera
