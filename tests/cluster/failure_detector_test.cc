#include "tests/cluster/bench.h"

namespace tessera::cluster {
namespace {

TEST(FailureDetector, SuspectsANodeSilentForTheNodeTimeout) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.dead.insert('b');
  Millis silent_since = b.now;
  while (!b.View('b').is(kPfail) && b.now < silent_since + 5000) b.Run(100);
  EXPECT_GE(b.now - silent_since, 1000);
  EXPECT_LE(b.now - silent_since, 1800);
}

TEST(FailureDetector, CountsTheTimeOfANodeNobodyCanDial) {
  Bench b(SixNodes('a'));
  b.dead.insert('b');
  b.Run(1500);
  EXPECT_TRUE(b.View('b').is(kPfail));
  EXPECT_FALSE(b.View('b').is(kFail)) << "one of three is no majority, not even right after the start";
}

TEST(FailureDetector, TakesAnyTrafficAsASignOfLife) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.dead.insert('b');
  for (int i = 0; i < 30; ++i) {
    Message m = b.From('b', MessageType::kPublish);
    m.body = PublishBody{"channel", "message"};
    b.Deliver(m);
    b.Run(100);
  }
  EXPECT_FALSE(b.View('b').is(kPfail));
}

TEST(FailureDetector, TrustsThePongsOthersSaw) {
  Options options = Bench::DefaultOptions();
  options.node_timeout_ms = 100000;
  Bench b(SixNodes('a'), options);
  b.Settle();
  b.now += 30000;
  Millis before = b.View('b').pong_received_ms;
  Message m = b.From('c');
  std::get<GossipBody>(m.body).entries.push_back(b.About('b', kPrimary));
  b.Deliver(m);
  EXPECT_GT(b.View('b').pong_received_ms, before);
  EXPECT_LE(b.View('b').pong_received_ms, b.now);
}

TEST(FailureDetector, DoesNotBelieveAPongFromTheFuture) {
  Bench b(SixNodes('a'));
  b.Settle();
  Millis before = b.View('b').pong_received_ms;
  Message m = b.From('c');
  auto g = b.About('b', kPrimary);
  g.pong_received_s += 100;
  std::get<GossipBody>(m.body).entries.push_back(g);
  b.Deliver(m);
  EXPECT_EQ(b.View('b').pong_received_ms, before);
}

TEST(FailureDetector, ClearsSuspicionByAPong) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.dead.insert('b');
  b.Run(2500);
  ASSERT_TRUE(b.View('b').is(kPfail));
  b.dead.clear();
  b.Run(300);
  EXPECT_FALSE(b.View('b').is(kPfail));
}

TEST(FailureDetector, DeclaresFailureWhenAMajorityOfPrimariesAgrees) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.dead.insert('b');
  b.Run(2500);
  b.ReportFailing('b', "c");
  EXPECT_TRUE(b.View('b').is(kFail));
  EXPECT_FALSE(b.View('b').is(kPfail));
  auto fails = b.SentOf(b.last, MessageType::kFail);
  ASSERT_EQ(fails.size(), 4u);  // c d e f
  EXPECT_EQ(std::get<FailBody>(fails[0].message.body).node, Id('b'));
}

TEST(FailureDetector, DoesNotCountReplicasReports) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.dead.insert('b');
  b.Run(2500);
  b.ReportFailing('b', "def");
  EXPECT_FALSE(b.View('b').is(kFail));
  EXPECT_EQ(b.core->FailureReports(b.now, IdText('b'), nullptr), 0);
}

TEST(FailureDetector, DoesNotDeclareWhatItCanReachItself) {
  Bench b(SixNodes('d'));
  b.Settle();
  b.ReportFailing('b', "ac");
  EXPECT_FALSE(b.View('b').is(kFail));
  EXPECT_EQ(b.core->FailureReports(b.now, IdText('b'), nullptr), 2);
}

TEST(FailureDetector, ForgetsReportsAfterTwoNodeTimeouts) {
  Bench b(SixNodes('d'));
  b.Settle();
  b.ReportFailing('b', "ac");
  b.now += 2000;
  EXPECT_EQ(b.core->FailureReports(b.now, IdText('b'), nullptr), 2);
  b.now += 1;
  EXPECT_EQ(b.core->FailureReports(b.now, IdText('b'), nullptr), 0);
}

TEST(FailureDetector, WithdrawsAReportWhenTheReporterSeesTheNodeAgain) {
  Bench b(SixNodes('d'));
  b.Settle();
  b.ReportFailing('b', "ac");
  Message m = b.From('a');
  std::get<GossipBody>(m.body).entries.push_back(b.About('b', kPrimary));
  b.Deliver(m);
  EXPECT_EQ(b.core->FailureReports(b.now, IdText('b'), nullptr), 1);
}

TEST(FailureDetector, BelievesAFailMessageOfAKnownNodeOnly) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.DeclareFailed('b', '9');
  EXPECT_FALSE(b.View('b').is(kFail));
  b.DeclareFailed('b', 'd');
  EXPECT_TRUE(b.View('b').is(kFail));
  b.DeclareFailed('a', 'd');
  EXPECT_FALSE(b.core->me().is(kFail));
}

TEST(FailureDetector, ClearsTheFailureOfAReplicaAtOnce) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.DeclareFailed('e', 'b');
  b.Run(1000);
  EXPECT_FALSE(b.View('e').is(kFail));
}

TEST(FailureDetector, ClearsTheFailureOfAPrimaryNobodyReplacedAfterTwoNodeTimeouts) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.DeclareFailed('b', 'c');
  b.Run(1900);
  EXPECT_TRUE(b.View('b').is(kFail));
  b.Run(1000);
  EXPECT_FALSE(b.View('b').is(kFail));
}

TEST(FailureDetector, DialsAnewAfterHalfATimeoutOfSilence) {
  Bench b(SixNodes('a'));
  b.Settle();
  LinkId before = b.View('b').outbound;
  b.dead.insert('b');
  Effects effects = b.Run(1500);
  bool closed = false;
  for (const CloseLink& c : All<CloseLink>(effects)) closed |= c.link == before;
  EXPECT_TRUE(closed);
}

TEST(FailureDetector, FindsFailedReplicasAloneInAClusterOfOnePrimary) {
  Bench b({{'a', "master", '-', 1, "0-16383"}, {'d', "slave", 'a', 1}});
  b.Settle();
  b.dead.insert('d');
  b.Run(2000);
  EXPECT_TRUE(b.View('d').is(kFail));
}

// ---- cluster_state ----

TEST(ClusterState, WaitsTwoSecondsAfterAPrimarysStart) {
  Bench b(SixNodes('a'));
  b.Run(1900);
  EXPECT_FALSE(b.core->ok());
  b.Run(1000);
  EXPECT_TRUE(b.core->ok());
}

TEST(ClusterState, IsOkAtOnceForAReplica) {
  Bench b(SixNodes('d'));
  b.Run(200);
  EXPECT_TRUE(b.core->ok());
}

TEST(ClusterState, FailsInAMinorityAndReturnsAfterTheRejoinDelay) {
  Bench b(SixNodes('a'));
  b.Settle();
  for (char dead : {'b', 'c', 'e', 'f'}) b.dead.insert(dead);
  Millis from = b.now;
  while (b.core->ok() && b.now < from + 5000) b.Run(100);
  EXPECT_LE(b.now - from, 1800) << "a primary cut off stops about a node timeout later";
  b.dead.clear();
  Millis healed = b.now;
  while (!b.core->ok() && b.now < healed + 10000) b.Run(100);
  EXPECT_GE(b.now - healed, 1000);
  EXPECT_LE(b.now - healed, 1500);
}

TEST(ClusterState, NeedsAllSlotsUnlessToldOtherwise) {
  std::vector<Node> nodes = SixNodes('a');
  nodes[2].slots = "10923-16382";
  Bench strict(nodes);
  strict.Run(4000);
  EXPECT_FALSE(strict.core->ok());
  Options options = Bench::DefaultOptions();
  options.require_full_coverage = false;
  Bench lax(nodes, options);
  lax.Run(4000);
  EXPECT_TRUE(lax.core->ok());
}

TEST(ClusterState, FailsWhileSlotsBelongToAFailedNode) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.dead.insert('b');
  Effects effects = b.DeclareFailed('b', 'c');
  EXPECT_FALSE(b.core->ok());
  EXPECT_TRUE(Has<SlotMapChanged>(effects));
  EXPECT_NE(b.core->InfoText(b.now).find("cluster_slots_fail:5462\r\n"), std::string::npos);
}

}  // namespace
// Each of three primaries was alone. When the partition heals, the suspicions of two must not condemn the third.
TEST(FailureDetector, DoesNotCondemnByWhatItSuspectedInAMinority) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.dead = {'b', 'c'};
  b.Run(2500);
  ASSERT_TRUE(b.View('b').is(kPfail));
  b.dead = {'b'};  // c is back first, with its own old suspicion
  b.Run(200);
  b.ReportFailing('b', "c");
  EXPECT_FALSE(b.View('b').is(kFail));
  b.Run(1500);  // b stays silent
  b.ReportFailing('b', "c");
  EXPECT_TRUE(b.View('b').is(kFail));
}

// ---- the lease ----

TEST(Lease, EndsANodeTimeoutAfterTheLastAnswers) {
  Bench b(SixNodes('a'));
  b.Settle();
  ASSERT_TRUE(b.core->ok());
  b.dead = {'b', 'c'};
  b.Run(b.node_timeout_ms - 300);
  EXPECT_TRUE(b.core->ok());
  b.Run(400);
  EXPECT_FALSE(b.core->ok()) << "the others may have a new primary from now on";
}

TEST(Lease, GoesOnWithAMajority) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.dead = {'b'};
  for (int i = 0; i < 50; ++i) {
    b.Run(100);
    EXPECT_TRUE(b.core->ok());
  }
}

TEST(Lease, ComesFromAnswersOnly) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.dead = {'b', 'c'};
  for (int i = 0; i < 12; ++i) {  // heard, but not hearing us
    b.Deliver(b.From('b'));
    b.Deliver(b.From('c'));
    b.Run(100);
  }
  EXPECT_FALSE(b.core->ok());
}

TEST(Lease, IsOverForAProcessThatSlept) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.now += b.node_timeout_ms + 1;
  EXPECT_GT(b.now, b.core->lease_until_ms());
  Effects effects;
  b.core->CheckLease(b.now, effects);
  EXPECT_FALSE(b.core->ok());
  EXPECT_TRUE(Has<SlotMapChanged>(effects));
  b.Run(500);
  EXPECT_FALSE(b.core->ok()) << "news of a successor may be on its way";
  b.Run(1000);
  EXPECT_TRUE(b.core->ok());
}

TEST(Lease, IsOverBeforeALateAnswerIsHeard) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.now += b.node_timeout_ms + 1;
  b.Deliver(b.From('b'));
  EXPECT_FALSE(b.core->ok());
}

TEST(Lease, IsNotLengthenedByAClockSetBack) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.dead = {'b', 'c'};
  b.now -= 100'000;
  b.Run(b.node_timeout_ms + 300);
  EXPECT_FALSE(b.core->ok());
}

TEST(Lease, IsOnesOwnWithoutOtherPrimaries) {
  Bench b({{'a', "master", '-', 1, "0-16383"}});
  b.Settle();
  ASSERT_TRUE(b.core->ok());
  b.now += 100'000;
  Effects effects;
  b.core->CheckLease(b.now, effects);
  EXPECT_TRUE(b.core->ok());
}

}  // namespace tessera::cluster
