#include "tests/cluster/bench.h"
#include "tests/cluster/net.h"

namespace tessera::cluster {
namespace {

// ---- handshakes, between real cores ----

TEST(Handshake, MakesTwoNodesKnowEachOtherByTheirRealIds) {
  Net net(2);
  net.Meet(0, 1);
  EXPECT_NE(net.core(0).NodesText(net.now, {}).find(":7000@17000 handshake - 0 0 0 disconnected"),
            std::string::npos);
  EXPECT_EQ(net.core(0).StateText().find("handshake"), std::string::npos) << "temporary names are not saved";
  net.Run(3000);
  for (int i : {0, 1}) {
    ASSERT_EQ(net.core(i).nodes().size(), 2u);
    const NodeView* other = net.core(i).Find(net.core(1 - i).self().view());
    ASSERT_TRUE(other);
    EXPECT_TRUE(other->is(kPrimary));
    EXPECT_FALSE(other->is(kHandshake));
    EXPECT_EQ(other->shard_id, net.core(1 - i).me().shard_id);
  }
}

TEST(Handshake, TellsANodeItsOwnAddress) {
  Net net(2);
  EXPECT_EQ(net.core(1).me().endpoint.ip, "");
  net.Meet(0, 1);
  net.Run(500);
  EXPECT_EQ(net.core(1).me().endpoint.ip, "10.0.0.2");
  EXPECT_EQ(net.core(0).me().endpoint.ip, "10.0.0.1");
}

TEST(Handshake, SpreadsByGossip) {
  Net net(5);
  for (size_t i = 1; i < 5; ++i) net.Meet(i - 1, i);
  net.Run(5000);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(net.core(i).nodes().size(), 5u) << net.core(i).NodesText(net.now, {});
}

TEST(Handshake, WithItselfEndsQuietly) {
  Net net(1);
  net.Meet(0, 0);
  net.Run(500);
  EXPECT_EQ(net.core(0).nodes().size(), 1u);
}

TEST(Handshake, WithAKnownNodeEndsQuietly) {
  Net net(2);
  net.Meet(0, 1);
  net.Run(500);
  net.Meet(0, 1);
  net.Meet(1, 0);
  net.Run(500);
  EXPECT_EQ(net.core(0).nodes().size(), 2u);
  EXPECT_EQ(net.core(1).nodes().size(), 2u);
}

TEST(Handshake, TimesOut) {
  Net net(1);
  Effects effects;
  ASSERT_EQ(net.core(0).Meet(net.now, "10.0.0.9", 7000, 17000, effects), "");
  EXPECT_EQ(net.core(0).nodes().size(), 2u);
  ASSERT_EQ(net.core(0).Meet(net.now, "10.0.0.9", 7000, 17000, effects), "");
  EXPECT_EQ(net.core(0).nodes().size(), 2u) << "one is under way already";
  net.Run(1200);
  EXPECT_EQ(net.core(0).nodes().size(), 1u);
}

// A node joins by another one, which leaves before it told the rest.
struct Orphan : testing::Test {
  Orphan() : net(4) {
    for (size_t i : {1, 2}) net.Meet(0, i);
    net.Run(4000);
    net.Meet(3, 0);
    for (int i = 0; i < 20 && net.core(3).nodes().size() < 4; ++i) net.CarryOut(3, net.core(3).Handle(net.now, Tick{}));
    const std::string left = net.core(0).self().str();
    for (size_t i : {1, 2, 3}) {
      Effects effects;
      EXPECT_EQ(net.core(i).Forget(net.now, left, effects), "");
      net.CarryOut(i, effects);
    }
    net.Stop(0);
    net.hosts[0].ip = "switched off";
  }
  void ExpectKnown(size_t nodes) {
    EXPECT_EQ(net.core(1).nodes().size(), nodes) << net.core(1).NodesText(net.now, {});
    EXPECT_EQ(net.core(2).nodes().size(), nodes) << net.core(2).NodesText(net.now, {});
    EXPECT_EQ(net.core(3).nodes().size(), 3u) << net.core(3).NodesText(net.now, {});
  }
  Net net;
};

TEST_F(Orphan, IntroducesItselfWhenNobodyCallsIt) {
  net.Run(900);
  ExpectKnown(2);
  net.Run(2000);
  ExpectKnown(3);
}

TEST_F(Orphan, DoesNotWhenItCameBackWithItsNodesConf) {
  const Net::Disk disk = net.DiskOf(3);
  net.Stop(3);
  net.Start(3, disk, "10.0.0.4");
  net.Run(5000);
  ExpectKnown(2);
}

TEST(Handshake, IsNotAskedForByANodeThatWasRemoved) {
  Net net(3);
  for (size_t i : {1, 2}) net.Meet(0, i);
  net.Run(4000);
  const std::string removed = net.core(2).self().str();
  for (size_t i : {0, 1}) {
    Effects effects;
    ASSERT_EQ(net.core(i).Forget(net.now, removed, effects), "");
    net.CarryOut(i, effects);
  }
  net.Run(90000);
  for (size_t i : {0, 1}) EXPECT_EQ(net.core(i).nodes().size(), 2u) << net.core(i).NodesText(net.now, {});
  EXPECT_EQ(net.core(2).nodes().size(), 3u) << "nobody told it";
}

TEST(Handshake, ForgottenNodesAreForgottenByAll) {
  Net net(4);
  for (size_t i = 1; i < 4; ++i) net.Meet(0, i);
  net.Run(4000);
  std::string gone = net.core(3).self().str();
  Effects effects;
  ASSERT_EQ(net.core(0).Forget(net.now, gone, effects), "");
  net.CarryOut(0, effects);
  net.hosts[3].ip = "10.9.9.9";  // switched off
  std::erase_if(net.links, [](auto& l) { return l.from == 3 || l.to == 3; });
  net.Run(4000);
  for (size_t i : {0, 1, 2}) EXPECT_FALSE(net.core(i).Find(gone)) << i;
  effects.clear();
  EXPECT_EQ(net.core(1).Forget(net.now, gone, effects), "") << "told by gossip, so the wish is fulfilled";
}

// ---- trust ----

TEST(Gossip, IntroducesNodesOnlyWhenAKnownNodeTells) {
  Bench b(SixNodes('a'));
  b.Settle();
  Message stranger = b.From('9');
  std::get<GossipBody>(stranger.body).entries.push_back(b.About('8', kPrimary));
  Effects effects = b.Deliver(stranger);
  EXPECT_FALSE(b.Knows('8'));
  EXPECT_FALSE(b.Knows('9'));
  EXPECT_EQ(b.SentOf(effects, MessageType::kPong).size(), 1u) << "a ping is answered all the same";
  Message known = b.From('b');
  std::get<GossipBody>(known.body).entries.push_back(b.About('8', kPrimary));
  b.Deliver(known);
  EXPECT_TRUE(b.Knows('8'));
  EXPECT_EQ(b.View('8').endpoint.ip, Bench::Ip('8'));
}

TEST(Gossip, DoesNotIntroduceNodesWithoutAddressOrForgottenOnes) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects;
  ASSERT_EQ(b.core->Forget(b.now, IdText('f'), effects), "");
  Message m = b.From('b');
  std::get<GossipBody>(m.body).entries = {b.About('8', kPrimary | kNoAddress), b.About('f', kReplica)};
  b.Deliver(m);
  EXPECT_FALSE(b.Knows('8'));
  EXPECT_FALSE(b.Knows('f'));
  b.now += 61000;
  b.Deliver(m);
  EXPECT_TRUE(b.Knows('f')) << "forgotten for sixty seconds";
}

TEST(Gossip, AStrangersMeetStartsAHandshake) {
  Bench b(SixNodes('a'));
  b.Settle();
  size_t before = b.core->nodes().size();
  b.Deliver(b.From('9', MessageType::kMeet), "10.1.1.1");
  EXPECT_EQ(b.core->nodes().size(), before + 1);
  bool dialled = false;
  for (const OpenLink& open : All<OpenLink>(b.core->Handle(b.now, Tick{})))
    dialled |= open.ip == "10.1.1.1" && open.bus_port == 17000;
  EXPECT_TRUE(dialled);
}

// ---- addresses ----

TEST(Address, IsGivenUpWhenAnotherNodeAnswersThere) {
  Bench b(SixNodes('a'));
  b.Settle();
  Message m = b.From('9', MessageType::kPong);
  std::string bytes = Encode(m);
  Effects effects = b.core->Handle(b.now, MessageReceived{b.View('b').outbound, bytes, Bench::Ip('b'), "10.0.0.1"});
  EXPECT_TRUE(b.View('b').is(kNoAddress));
  EXPECT_EQ(b.View('b').outbound, 0u);
  EXPECT_TRUE(Has<CloseLink>(effects));
  EXPECT_NE(b.core->NodesText(b.now, {}).find(IdText('b') + " :0@0 master,noaddr"), std::string::npos);
  auto dialled = All<OpenLink>(b.Deliver(b.From('b'), "10.6.6.6"));
  ASSERT_EQ(dialled.size(), 1u) << "it calls from its new address: see who answers there";
  EXPECT_EQ(dialled[0].ip, "10.6.6.6");
}

TEST(Address, OwnOneIsForgottenWhenNoLongerAnnounced) {
  Options options = Bench::DefaultOptions();
  options.announced.ip = "203.0.113.1";
  Bench b(SixNodes('a'), options);
  EXPECT_EQ(b.core->me().endpoint.ip, "203.0.113.1");
  Effects effects;
  b.core->SetOptions(b.now, Bench::DefaultOptions(), effects);
  EXPECT_EQ(b.core->me().endpoint.ip, "");
  b.Deliver(b.From('b'));
  EXPECT_EQ(b.core->me().endpoint.ip, "10.0.0.1");
}

// ---- what is sent ----

TEST(Ping, CarriesThreeNodesOrATenthAndEverySuspect) {
  std::vector<Node> nodes = {{'a', "master", '-', 1, "0-16383"}};
  for (char c : std::string("bcdef0123456789")) nodes.push_back({c, "master", '-', 2});
  Bench b(nodes);
  b.Settle();
  for (char c : {'0', '1', '2', '3', '4'}) b.dead.insert(c);
  b.Run(800);
  auto pings = b.SentOf(b.Run(1000), MessageType::kPing);
  ASSERT_FALSE(pings.empty());
  size_t suspects = 0;
  for (const auto& [id, node] : b.core->nodes()) suspects += node.is(kPfail);
  for (auto& sent : b.SentOf(b.Deliver(b.From('b')), MessageType::kPong)) {
    std::set<NodeId> told;
    size_t told_suspects = 0;
    for (auto& g : std::get<GossipBody>(sent.message.body).entries) {
      EXPECT_TRUE(told.insert(g.id).second) << "nobody twice";
      EXPECT_NE(g.id, Id('a'));
      told_suspects += (g.flags & kPfail) != 0;
    }
    EXPECT_EQ(told_suspects, suspects);
    EXPECT_LE(told.size(), suspects + 3);
  }
}

TEST(Ping, ExtensionsGoToWhoeverUnderstandsThem) {
  Options options = Bench::DefaultOptions();
  options.announced.hostname = "host-a";
  options.human_nodename = "blue";
  Bench b(SixNodes('a'), options);
  Message old = b.From('b');
  old.header.extensions = false;
  std::get<GossipBody>(old.body).extensions = {};
  auto pongs = b.SentOf(b.Deliver(old), MessageType::kPong);
  ASSERT_EQ(pongs.size(), 1u);
  EXPECT_TRUE(pongs[0].message.header.extensions) << "says that it would understand them";
  EXPECT_FALSE(std::get<GossipBody>(pongs[0].message.body).extensions.shard_id);
  pongs = b.SentOf(b.Deliver(b.From('c')), MessageType::kPong);
  ASSERT_EQ(pongs.size(), 1u);
  const Extensions& x = std::get<GossipBody>(pongs[0].message.body).extensions;
  EXPECT_EQ(x.hostname, "host-a");
  EXPECT_EQ(x.human_nodename, "blue");
  EXPECT_EQ(x.shard_id, Id('a'));
}

TEST(Ping, TellsAndLearnsWhatClientsAreTold) {
  Options options = Bench::DefaultOptions();
  options.announced.client = {.ipv4 = "203.0.113.7", .port = 30001};
  Bench b(SixNodes('a'), options);
  Message ping = b.From('c');
  std::get<GossipBody>(ping.body).extensions.client = {.ipv6 = "2001:db8::7", .port = 30003};
  const auto pongs = b.SentOf(b.Deliver(ping), MessageType::kPong);
  ASSERT_EQ(pongs.size(), 1u);
  EXPECT_EQ(std::get<GossipBody>(pongs[0].message.body).extensions.client, options.announced.client);
  EXPECT_EQ(pongs[0].message.header.port, 7000) << "peers go on using the real port";
  const Endpoint& c = b.core->Find(IdText('c'))->endpoint;
  EXPECT_EQ(c.client.ipv6, "2001:db8::7");
  EXPECT_EQ(PortFor(c, {}), 30003);
  EXPECT_EQ(IpFor(c, {}), c.ip);
  b.Deliver(b.From('c'));
  EXPECT_EQ(b.core->Find(IdText('c'))->endpoint.client, ClientEndpoint()) << "what a sender does not say it does not have";
}

TEST(Ping, OfAReplicaSpeaksForItsPrimary) {
  Bench b(SixNodes('d'));
  auto pongs = b.SentOf(b.Deliver(b.From('b')), MessageType::kPong);
  ASSERT_EQ(pongs.size(), 1u);
  const Header& h = pongs[0].message.header;
  EXPECT_EQ(h.slots, Slots(0, 5460));
  EXPECT_EQ(h.config_epoch, 1u);
  EXPECT_EQ(h.primary, Id('a'));
  EXPECT_TRUE(h.flags & kReplica);
}

TEST(Extensions, SetNamesAndShardsAndClearThemAgain) {
  Bench b(SixNodes('a'));
  Message m = b.From('b');
  auto& x = std::get<GossipBody>(m.body).extensions;
  x.hostname = "host-b";
  x.human_nodename = "green";
  x.shard_id = Id('7');
  b.Deliver(m);
  EXPECT_EQ(b.View('b').endpoint.hostname, "host-b");
  EXPECT_EQ(b.View('b').human_nodename, "green");
  EXPECT_EQ(b.View('b').shard_id, Id('7'));
  b.Deliver(b.From('b'));
  EXPECT_EQ(b.View('b').endpoint.hostname, "");
  EXPECT_EQ(b.View('b').human_nodename, "");
}

TEST(Extensions, MoveAReplicaToItsPrimarysShard) {
  Bench b(SixNodes('d'));
  Message m = b.From('a');
  std::get<GossipBody>(m.body).extensions.shard_id = Id('7');
  b.Deliver(m);
  EXPECT_EQ(b.core->me().shard_id, Id('7'));
}

TEST(Extensions, DoNotMakeUsForgetOurPrimaryOurselvesOrTheTeller) {
  Bench b(SixNodes('d'));
  Message m = b.From('b');
  std::get<GossipBody>(m.body).extensions.forgotten = {{Id('a'), 60}, {Id('d'), 60}, {Id('b'), 60}, {Id('c'), 60}};
  b.Deliver(m);
  EXPECT_TRUE(b.Knows('a'));
  EXPECT_TRUE(b.Knows('b'));
  EXPECT_TRUE(b.Knows('d'));
  EXPECT_FALSE(b.Knows('c'));
}

TEST(Publish, GoesToEverybodyOrToTheShard) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects;
  b.core->BroadcastPublish(b.now, false, "c", "m", effects);
  EXPECT_EQ(b.SentOf(effects, MessageType::kPublish).size(), 5u);
  effects.clear();
  b.core->BroadcastPublish(b.now, true, "c", "m", effects);
  auto sharded = b.SentOf(effects, MessageType::kPublishShard);
  ASSERT_EQ(sharded.size(), 1u);
  EXPECT_EQ(sharded[0].to, 'd');
  Message m = b.From('b', MessageType::kPublishShard);
  m.body = PublishBody{"c", "m"};
  auto heard = All<Publish>(b.Deliver(m));
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_TRUE(heard[0].sharded);
  m.header.sender = Id('9');
  EXPECT_FALSE(Has<Publish>(b.Deliver(m))) << "strangers are not heard";
}

TEST(Core, IsTheSameAgainFromTheSameSeed) {
  auto life = [] {
    Net net(4);
    for (size_t i = 1; i < 4; ++i) net.Meet(0, i);
    net.Run(5000);
    std::string all;
    for (auto& host : net.hosts) all += host.core->NodesText(net.now, {}) + host.core->InfoText(net.now);
    return all;
  };
  EXPECT_EQ(life(), life());
}

}  // namespace
}  // namespace tessera::cluster
