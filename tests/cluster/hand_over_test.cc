#include "tests/cluster/bench.h"

namespace tessera::cluster {
namespace {

constexpr Millis kLimit = 5000;

// We are primary a; d and 7 are its replicas.
struct Leaving : Bench {
  explicit Leaving(uint16_t abilities = kTakesOverWhenAsked) : Bench(Nodes()) {
    Settle();
    for (char name : {'d', '7'}) Deliver(By(name, MessageType::kPing, abilities));
  }
  static std::vector<Node> Nodes() {
    auto nodes = SixNodes('a');
    nodes.push_back({'7', "slave", 'a', 1});
    return nodes;
  }
  Message By(char name, MessageType type, uint16_t abilities = kTakesOverWhenAsked) {
    Message m = From(name, type);
    m.header.abilities = abilities;
    return m;
  }
  Effects Leave(std::vector<ReplicaProgress> online = {{Id('d'), 500}, {Id('7'), 400}}) {
    Effects effects;
    error = core->HandOver(now, kLimit, std::move(online), effects);
    return effects;
  }
  Effects TookOver(char name) {
    Message m = By(name, MessageType::kPong);
    m.header.primary = NodeId();
    m.header.flags = kPrimary;
    m.header.config_epoch = m.header.current_epoch = 11;
    return Deliver(m);
  }
  std::string error;
};

TEST(HandOver, AsksTheReplicaWithMostData) {
  Leaving b;
  auto asked = b.SentOf(b.Leave(), MessageType::kMfStart);
  ASSERT_EQ(b.error, "");
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].to, 'd');
  EXPECT_EQ(b.core->hand_over(), HandOverState::kUnderWay);
}

TEST(HandOver, PausesWritesOnlyWhenTheReplicaBegins) {
  Leaving b;
  EXPECT_FALSE(Has<PauseWrites>(b.Leave()));
  EXPECT_TRUE(Has<PauseWrites>(b.Deliver(b.By('d', MessageType::kMfStart))));
}

TEST(HandOver, IsDoneWhenTheReplicaTookOver) {
  Leaving b;
  b.Leave();
  b.Deliver(b.By('d', MessageType::kMfStart));
  Effects effects = b.TookOver('d');
  EXPECT_EQ(b.core->hand_over(), HandOverState::kDone);
  EXPECT_TRUE(Has<ResumeWrites>(effects)) << "clients that waited are redirected";
}

// The others go on seeing a primary, which then fails, as in any other failover.
TEST(HandOver, IsFollowedBySilenceUnlessTheNodeStays) {
  Leaving b;
  b.Leave();
  b.Deliver(b.By('d', MessageType::kMfStart));
  EXPECT_TRUE(All<Send>(b.TookOver('d')).empty());
  EXPECT_TRUE(b.core->me().is(kReplica));
  EXPECT_TRUE(All<Send>(b.Deliver(b.From('b'))).empty());
  Effects effects;
  b.core->CancelHandOver(b.now, effects);
  EXPECT_FALSE(b.SentOf(b.Deliver(b.From('b')), MessageType::kPong).empty());
}

TEST(HandOver, AsksAReplicaOfAnotherMakeAsAClient) {
  Leaving b(0);
  Effects effects = b.Leave();
  EXPECT_TRUE(b.SentOf(effects, MessageType::kMfStart).empty());
  auto asked = All<AskToTakeOver>(effects);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].id, Id('d'));
  EXPECT_EQ(asked[0].endpoint.port, 7000);
}

TEST(HandOver, TurnsToTheNextReplicaWhenOneRefuses) {
  Leaving b(0);
  b.Leave();
  auto asked = All<AskToTakeOver>(b.core->Handle(b.now, TakeOverRefused{Id('d'), "it answers '-NOAUTH'"}));
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].id, Id('7'));
  EXPECT_TRUE(Noted(b.core->Handle(b.now, TakeOverRefused{Id('7'), "no"}), "does not take over"));
  EXPECT_EQ(b.core->hand_over(), HandOverState::kFailed);
}

TEST(HandOver, TurnsToTheNextReplicaWhenOneIsSilent) {
  Leaving b;
  b.Leave();
  EXPECT_TRUE(Noted(b.Run(1200), "Asking replica 7777"));
}

TEST(HandOver, TurnsToTheNextReplicaAtOnceWhenOneIsLost) {
  Leaving b;
  b.Leave();
  b.dead.insert('d');
  Effects effects = b.core->Handle(b.now, LinkClosed{b.View('d').outbound});
  auto asked = b.SentOf(effects, MessageType::kMfStart);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].to, '7');
}

// The first replica might win its election late: no write may have been acknowledged that it does not have.
TEST(HandOver, KeepsWritesPausedBetweenTwoReplicas) {
  Leaving b;
  b.Leave();
  b.Deliver(b.By('d', MessageType::kMfStart));
  b.dead.insert('d');
  Effects effects = b.core->Handle(b.now, LinkClosed{b.View('d').outbound});
  EXPECT_FALSE(Has<ResumeWrites>(effects));
  b.dead.insert('7');
  effects = b.core->Handle(b.now, LinkClosed{b.View('7').outbound});
  EXPECT_EQ(b.core->hand_over(), HandOverState::kFailed);
  EXPECT_TRUE(Has<ResumeWrites>(effects));
}

TEST(HandOver, FailsAtOnceWithoutAMajorityThatCouldVote) {
  Leaving b;
  for (char gone : {'b', 'c'}) {
    b.dead.insert(gone);
    b.core->Handle(b.now, LinkClosed{b.View(gone).outbound});
  }
  Effects effects = b.Leave();
  EXPECT_EQ(b.core->hand_over(), HandOverState::kFailed);
  EXPECT_TRUE(Noted(effects, "no majority of primaries"));
}

TEST(HandOver, EndsAtItsLimit) {
  Leaving b;
  b.Leave({{Id('d'), 500}});
  b.Deliver(b.By('d', MessageType::kMfStart));
  b.Run(kLimit + 100);
  EXPECT_EQ(b.core->hand_over(), HandOverState::kFailed);
  EXPECT_TRUE(b.core->me().is(kPrimary));
}

TEST(HandOver, WantsASynchronisedReplicaOfItsOwn) {
  Leaving b;
  b.Leave({});
  EXPECT_EQ(b.error, "ERR no replica is synchronised and well");
  b.Leave({{Id('e'), 1}});
  EXPECT_EQ(b.error, "ERR no replica is synchronised and well");
  Bench replica(SixNodes('d'));
  replica.Settle();
  Effects effects;
  EXPECT_EQ(replica.core->HandOver(replica.now, kLimit, {}, effects), "ERR this node serves no slots");
}

TEST(HandOver, CanBeCancelled) {
  Leaving b;
  b.Leave();
  b.Deliver(b.By('d', MessageType::kMfStart));
  Effects effects;
  b.core->CancelHandOver(b.now, effects);
  EXPECT_TRUE(Has<ResumeWrites>(effects));
  EXPECT_EQ(b.core->hand_over(), HandOverState::kNone);
}

TEST(HandOver, AReplicaBeginsAManualFailoverWhenItsPrimaryAsks) {
  Bench b(SixNodes('d'));
  b.core->Handle(b.now, ReplicationStatus{.offset = 100, .primary_link_up = true, .primary_last_io_ms = b.now});
  b.Settle();
  auto starts = b.SentOf(b.Deliver(b.From('a', MessageType::kMfStart)), MessageType::kMfStart);
  ASSERT_EQ(starts.size(), 1u);
  EXPECT_EQ(starts[0].to, 'a');
  EXPECT_TRUE(b.SentOf(b.Deliver(b.From('b', MessageType::kMfStart)), MessageType::kMfStart).empty());
}

TEST(HandOver, AReplicaThatIsNotSynchronisedLeavesItToOthers) {
  Bench b(SixNodes('d'));
  b.Settle();
  EXPECT_TRUE(b.SentOf(b.Deliver(b.From('a', MessageType::kMfStart)), MessageType::kMfStart).empty());
}

}  // namespace
}  // namespace tessera::cluster
