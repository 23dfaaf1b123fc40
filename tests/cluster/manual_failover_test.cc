#include "tests/cluster/bench.h"

namespace tessera::cluster {
namespace {

struct Replica : Bench {
  Replica() : Bench(SixNodes('d')) {
    Offset(100);
    Settle();
    Offset(100);
  }
  Effects Offset(ReplicationOffset offset) {
    return core->Handle(now, ReplicationStatus{.offset = offset, .primary_link_up = true, .primary_last_io_ms = now});
  }
  Effects PausedPing(ReplicationOffset offset) {
    Message m = From('a');
    m.header.paused = true;
    m.header.offset = offset;
    return Deliver(m);
  }
};

TEST(ManualFailover, IsForReplicas) {
  Bench b(SixNodes('a'));
  Effects effects;
  EXPECT_EQ(b.core->Failover(b.now, FailoverMode::kPlain, effects),
            "ERR You should send CLUSTER FAILOVER to a replica");
}

TEST(ManualFailover, NeedsAPrimaryThatAnswersUnlessForced) {
  Replica b;
  b.dead.insert('a');
  b.DeclareFailed('a', 'b');
  Effects effects;
  EXPECT_EQ(b.core->Failover(b.now, FailoverMode::kPlain, effects),
            "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE");
  EXPECT_EQ(b.core->Failover(b.now, FailoverMode::kForce, effects), "");
}

TEST(ManualFailover, AsksThePrimaryAndWaitsForItsOffset) {
  Replica b;
  Effects effects;
  ASSERT_EQ(b.core->Failover(b.now, FailoverMode::kPlain, effects), "");
  auto starts = b.SentOf(effects, MessageType::kMfStart);
  ASSERT_EQ(starts.size(), 1u);
  EXPECT_EQ(starts[0].to, 'a');
  b.PausedPing(150);
  EXPECT_EQ(b.core->current_epoch(), 10u) << "50 bytes of the stream are missing";
  Effects ready = b.Offset(150);
  auto requests = b.SentOf(ready, MessageType::kFailoverAuthRequest);
  ASSERT_FALSE(requests.empty());
  EXPECT_TRUE(requests[0].message.header.force_ack);
  b.Deliver(b.From('b', MessageType::kFailoverAuthAck));
  Effects won = b.Deliver(b.From('c', MessageType::kFailoverAuthAck));
  EXPECT_TRUE(Has<BecomePrimary>(won));
  EXPECT_FALSE(b.core->ManualFailoverInProgress());
}

TEST(ManualFailover, IgnoresAnOffsetFromBeforeThePause) {
  Replica b;
  Effects effects;
  ASSERT_EQ(b.core->Failover(b.now, FailoverMode::kPlain, effects), "");
  Message m = b.From('a');
  m.header.offset = 100;
  b.Deliver(m);
  b.Offset(100);
  EXPECT_EQ(b.core->current_epoch(), 10u);
}

// It was a primary itself, came back, and is not synchronised yet: its own history has the length of its primary's.
TEST(ManualFailover, WaitsForTheLinkWhateverTheOffset) {
  Replica b;
  Effects effects;
  b.core->Handle(b.now, ReplicationStatus{.offset = 100, .primary_last_io_ms = b.now});
  ASSERT_EQ(b.core->Failover(b.now, FailoverMode::kPlain, effects), "");
  b.PausedPing(100);
  b.core->Handle(b.now, ReplicationStatus{.offset = 100, .primary_last_io_ms = b.now});
  EXPECT_EQ(b.core->current_epoch(), 10u);
  b.Offset(100);  // with the link
  EXPECT_EQ(b.core->current_epoch(), 11u);
}

// The primary died when all was ready, came back, and sends its data anew: what the replica was to hold, it holds no more.
TEST(ManualFailover, IsOffWhileTheDataIsReplaced) {
  Replica b;
  Effects effects;
  ASSERT_EQ(b.core->Failover(b.now, FailoverMode::kPlain, effects), "");
  b.PausedPing(100);
  b.Offset(100);
  ASSERT_EQ(b.core->current_epoch(), 11u);
  b.core->Handle(b.now, ReplicationStatus{});
  b.Deliver(b.From('b', MessageType::kFailoverAuthAck));
  b.Deliver(b.From('c', MessageType::kFailoverAuthAck));
  b.Run(4900);
  EXPECT_TRUE(b.core->me().is(kReplica));
}

TEST(ManualFailover, GivesUpAfterFiveSeconds) {
  Replica b;
  Effects effects;
  ASSERT_EQ(b.core->Failover(b.now, FailoverMode::kPlain, effects), "");
  b.Run(5000);
  EXPECT_TRUE(b.core->ManualFailoverInProgress());
  EXPECT_TRUE(Noted(b.Run(100), "Manual failover timed out"));
  EXPECT_FALSE(b.core->ManualFailoverInProgress());
}

TEST(ManualFailover, ForcedDoesNotWaitForThePrimary) {
  Replica b;
  Effects effects;
  ASSERT_EQ(b.core->Failover(b.now, FailoverMode::kForce, effects), "");
  EXPECT_TRUE(b.SentOf(effects, MessageType::kMfStart).empty());
  EXPECT_FALSE(b.SentOf(effects, MessageType::kFailoverAuthRequest).empty());
}

TEST(ManualFailover, ForcedWorksEvenWhenFailoverIsOff) {
  Replica b;
  Options options = Bench::DefaultOptions();
  options.replica_no_failover = true;
  Effects effects;
  b.core->SetOptions(b.now, options, effects);
  effects.clear();
  ASSERT_EQ(b.core->Failover(b.now, FailoverMode::kForce, effects), "");
  EXPECT_FALSE(b.SentOf(effects, MessageType::kFailoverAuthRequest).empty());
}

TEST(ManualFailover, TakeoverAsksNobody) {
  Replica b;
  Effects effects;
  ASSERT_EQ(b.core->Failover(b.now, FailoverMode::kTakeover, effects), "");
  EXPECT_TRUE(b.core->me().is(kPrimary));
  EXPECT_EQ(b.core->me().config_epoch, 11u);
  EXPECT_EQ(b.core->me().slots, Slots(0, 5460));
  EXPECT_EQ(Position<SaveState>(effects), 1) << "only StopFollowing stands before it";
  EXPECT_LT(Position<BecomePrimary>(effects), Position<Send>(effects));
}

TEST(ManualFailover, PrimaryPausesAndTellsItsOffsetOnlyOnceThePauseHolds) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects = b.Deliver(b.From('d', MessageType::kMfStart));
  auto pauses = All<PauseWrites>(effects);
  ASSERT_EQ(pauses.size(), 1u);
  EXPECT_EQ(pauses[0].until_ms, b.now + 10000);
  Effects pong = b.Deliver(b.From('d'));
  for (auto& sent : b.SentOf(pong, MessageType::kPong)) EXPECT_FALSE(sent.message.header.paused);
  Effects confirmed = b.core->Handle(b.now, ReplicationStatus{.offset = 777});
  auto pings = b.SentOf(confirmed, MessageType::kPing);
  ASSERT_EQ(pings.size(), 1u);
  EXPECT_EQ(pings[0].to, 'd');
  EXPECT_TRUE(pings[0].message.header.paused);
  EXPECT_EQ(pings[0].message.header.offset, 777);
}

TEST(ManualFailover, PrimaryListensToItsOwnReplicasOnly) {
  Bench b(SixNodes('a'));
  b.Settle();
  EXPECT_FALSE(Has<PauseWrites>(b.Deliver(b.From('e', MessageType::kMfStart))));
}

TEST(ManualFailover, PrimaryResumesWhenTheReplicaDoesNotTakeOver) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.Deliver(b.From('d', MessageType::kMfStart));
  EXPECT_FALSE(Has<ResumeWrites>(b.Run(5000)));
  EXPECT_TRUE(Has<ResumeWrites>(b.Run(100)));
}

TEST(ManualFailover, PrimaryResumesAsReplicaWhenTheReplicaTookOver) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.Deliver(b.From('d', MessageType::kMfStart));
  Message m = b.From('d', MessageType::kPong);
  m.header.primary = NodeId();
  m.header.flags = kPrimary;
  m.header.config_epoch = m.header.current_epoch = 11;
  Effects effects = b.Deliver(m);
  ASSERT_TRUE(Has<ResumeWrites>(effects));
  EXPECT_LT(Position<FollowPrimary>(effects), Position<ResumeWrites>(effects)) << "no write goes to the old primary";
}

}  // namespace
}  // namespace tessera::cluster
