#include "tests/cluster/bench.h"

namespace tessera::cluster {
namespace {

// d is our node: a replica of a, which just failed.
struct ReplicaOfFailed : Bench {
  explicit ReplicaOfFailed(Options options = DefaultOptions()) : Bench(SixNodes('d'), options) {
    Heard();
    Settle();
    dead.insert('a');
    Heard();
    started = DeclareFailed('a', 'b');
  }
  void Heard(ReplicationOffset offset = 100) {
    core->Handle(now, ReplicationStatus{.offset = offset, .primary_link_up = true, .primary_last_io_ms = now});
  }
  // Until the votes are asked for.
  Effects RunUntilRequest(Millis limit = 5000) {
    for (Millis end = now + limit; now < end;) {
      now += 50;
      Effects effects = Tick();
      if (!SentOf(effects, MessageType::kFailoverAuthRequest).empty()) return effects;
    }
    return {};
  }
  Effects Vote(char voter) { return Deliver(From(voter, MessageType::kFailoverAuthAck)); }
  Effects started;
};

TEST(Election, AsksForVotesAfterADelayOfHalfASecondToASecond) {
  ReplicaOfFailed b;
  Millis failed_at = b.now;
  Effects effects = b.RunUntilRequest();
  EXPECT_GE(b.now - failed_at, 500);
  EXPECT_LE(b.now - failed_at, 1050);
  auto requests = b.SentOf(effects, MessageType::kFailoverAuthRequest);
  ASSERT_FALSE(requests.empty());
  EXPECT_EQ(requests[0].message.header.current_epoch, 11u);
  EXPECT_EQ(requests[0].message.header.slots, Slots(0, 5460));
  EXPECT_FALSE(requests[0].message.header.force_ack);
}

TEST(Election, TellsItsOffsetToSiblingsWhenItStands) {
  Bench b({{'d', "slave", 'a', 1},
           {'a', "master", '-', 1, "0-100"},
           {'b', "master", '-', 2, "101-200"},
           {'c', "master", '-', 3, "201-16383"},
           {'7', "slave", 'a', 1}});
  b.Settle();
  b.core->Handle(b.now, ReplicationStatus{.offset = 77, .primary_link_up = true, .primary_last_io_ms = b.now});
  b.dead.insert('a');
  auto pongs = b.SentOf(b.DeclareFailed('a', 'b'), MessageType::kPong);
  ASSERT_EQ(pongs.size(), 1u);
  EXPECT_EQ(pongs[0].to, '7');
  EXPECT_EQ(pongs[0].message.header.offset, 77);
}

TEST(Election, SavesTheEpochDurablyBeforeTheRequestLeaves) {
  ReplicaOfFailed b;
  Effects effects = b.RunUntilRequest();
  int save = Position<SaveState>(effects);
  ASSERT_GE(save, 0);
  EXPECT_TRUE(std::get<SaveState>(effects[static_cast<size_t>(save)]).must_sync);
  EXPECT_LT(save, Position<Send>(effects));
}

TEST(Election, WinsWithAMajorityAndTakesAllSlots) {
  ReplicaOfFailed b;
  b.RunUntilRequest();
  EXPECT_FALSE(Has<BecomePrimary>(b.Vote('b')));
  Effects won = b.Vote('c');
  EXPECT_TRUE(Has<BecomePrimary>(won));
  EXPECT_TRUE(b.core->me().is(kPrimary));
  EXPECT_EQ(b.core->me().slots, Slots(0, 5460));
  EXPECT_EQ(b.core->me().config_epoch, 11u);
  EXPECT_EQ(Position<StopFollowing>(won), 0) << "a disk that fails now must not cost the data while it is waited for";
  EXPECT_EQ(Position<SaveState>(won), 1);
  EXPECT_GT(Position<BecomePrimary>(won), 1);
  auto pongs = b.SentOf(won, MessageType::kPong);
  EXPECT_EQ(pongs.size(), 4u) << "everybody reachable is told: b, c, e, f";
  EXPECT_EQ(pongs[0].message.header.config_epoch, 11u);
}

TEST(Election, CountsAVoterOnce) {
  ReplicaOfFailed b;
  b.RunUntilRequest();
  b.Vote('b');
  EXPECT_FALSE(Has<BecomePrimary>(b.Vote('b')));
  EXPECT_TRUE(b.core->me().is(kReplica));
}

TEST(Election, DoesNotCountReplicasOrOldEpochs) {
  ReplicaOfFailed b;
  b.RunUntilRequest();
  b.Vote('e');
  b.Vote('f');
  Message old = b.From('b', MessageType::kFailoverAuthAck);
  old.header.current_epoch = 10;
  b.Deliver(old);
  b.Vote('c');
  EXPECT_TRUE(b.core->me().is(kReplica));
}

// As the primary it becomes it could vote for another candidate of that epoch, in which its shard has voted for it already.
TEST(Election, GivesNoVoteInTheEpochItStandsIn) {
  ReplicaOfFailed b;
  b.RunUntilRequest();
  EXPECT_NE(b.core->StateText().find("vars currentEpoch 11 lastVoteEpoch 11"), std::string::npos);
}

TEST(Election, AsksAgainInAFreshEpochAfterFourNodeTimeouts) {
  ReplicaOfFailed b;
  b.RunUntilRequest();
  Millis first = b.now;
  for (int i = 0; i < 200 && b.core->current_epoch() == 11; ++i) {
    b.now += 50;
    b.Heard();
    b.Tick();
  }
  EXPECT_EQ(b.core->current_epoch(), 12u);
  EXPECT_GT(b.now - first, 4000);
  EXPECT_LT(b.now - first, 4000 + 1100 + 100);
}

TEST(Election, WaitsASecondPerSiblingWithMoreData) {
  Bench b({{'d', "slave", 'a', 1},
           {'a', "master", '-', 1, "0-100"},
           {'b', "master", '-', 2, "101-200"},
           {'c', "master", '-', 3, "201-16383"},
           {'7', "slave", 'a', 1}});
  b.offsets['7'] = 500;
  b.Settle();
  b.core->Handle(b.now, ReplicationStatus{.offset = 77, .primary_link_up = true, .primary_last_io_ms = b.now});
  b.dead.insert('a');
  b.DeclareFailed('a', 'b');
  Millis from = b.now;
  while (b.core->current_epoch() == 10 && b.now < from + 5000) {
    b.now += 50;
    b.Tick();
  }
  EXPECT_GE(b.now - from, 1500);
  EXPECT_LE(b.now - from, 2100);
}

TEST(Election, DelaysWhenASiblingTurnsOutToHaveMoreData) {
  Bench b({{'d', "slave", 'a', 1},
           {'a', "master", '-', 1, "0-100"},
           {'b', "master", '-', 2, "101-200"},
           {'c', "master", '-', 3, "201-16383"},
           {'7', "slave", 'a', 1}});
  b.Settle();
  b.core->Handle(b.now, ReplicationStatus{.offset = 77, .primary_link_up = true, .primary_last_io_ms = b.now});
  b.dead.insert('a');
  b.DeclareFailed('a', 'b');
  b.offsets['7'] = 500;
  b.Deliver(b.From('7', MessageType::kPong));
  EXPECT_TRUE(Noted(b.Tick(), "Rank is now #1"));
}

TEST(Election, DoesNotStandWithDataOlderThanTheValidityFactorAllows) {
  Options options = Bench::DefaultOptions();
  options.repl_ping_replica_period_ms = 100;
  options.replica_validity_factor = 2;
  ReplicaOfFailed b(options);
  b.core->Handle(b.now, ReplicationStatus{.offset = 100, .primary_last_io_ms = b.now - 1000 - 2100 - 1});
  EXPECT_TRUE(Noted(b.Tick(), "link to the primary has been down for too long"));
  b.Run(3000);
  EXPECT_EQ(b.core->current_epoch(), 10u);
}

TEST(Election, StandsWithOldDataWhenTheFactorIsZero) {
  Options options = Bench::DefaultOptions();
  options.replica_validity_factor = 0;
  ReplicaOfFailed b(options);
  b.core->Handle(b.now, ReplicationStatus{.offset = 100, .primary_last_io_ms = 0});
  EXPECT_FALSE(b.RunUntilRequest().empty());
}

TEST(Election, DoesNotStandWhenToldNotTo) {
  Options options = Bench::DefaultOptions();
  options.replica_no_failover = true;
  ReplicaOfFailed b(options);
  EXPECT_TRUE(b.RunUntilRequest().empty());
  EXPECT_NE(b.core->NodesText(b.now, {}).find("myself,slave,nofailover"), std::string::npos);
}

TEST(Election, DoesNotStandForAPrimaryWithoutSlots) {
  Bench b({{'d', "slave", 'a', 1}, {'a', "master", '-', 1}, {'b', "master", '-', 2, "0-16383"}});
  b.Settle();
  b.core->Handle(b.now, ReplicationStatus{.offset = 77, .primary_last_io_ms = b.now});
  b.dead.insert('a');
  b.DeclareFailed('a', 'b');
  b.Run(3000);
  EXPECT_EQ(b.core->current_epoch(), 10u);
}

// Its primary came back without what it had not written to disk, and a full synchronisation began.
TEST(Election, IsNotWonWithDataThatIsBeingReplaced) {
  ReplicaOfFailed b;
  b.RunUntilRequest();
  b.core->Handle(b.now, ReplicationStatus{.offset = 0, .primary_last_io_ms = 0});
  b.Vote('b');
  b.Vote('c');
  EXPECT_TRUE(b.core->me().is(kReplica));
}

// The voter c is replaced: for a moment its slots are nobody's, and there are two voters, and one vote a half.
TEST(Election, NeedsTheMajorityOfAllWhoWereAsked) {
  Bench b({{'d', "slave", 'a', 1},
           {'a', "master", '-', 1, "0-100"},
           {'b', "master", '-', 2, "101-200"},
           {'c', "master", '-', 3, "201-300"},
           {'e', "master", '-', 4, "301-16383"},
           {'f', "slave", 'c', 3}});
  b.Settle();
  Effects effects;
  ASSERT_EQ(b.core->Failover(b.now, FailoverMode::kForce, effects), "");
  b.Deliver(b.From('a', MessageType::kFailoverAuthAck));
  b.Deliver(b.From('b', MessageType::kFailoverAuthAck));
  Message m = b.From('c', MessageType::kPing);
  m.header.flags = kReplica;
  m.header.slots = {};
  m.header.primary = Id('f');
  b.Deliver(m);
  b.Tick();
  EXPECT_TRUE(b.core->me().is(kReplica));
}

TEST(Election, ForgetsVotesWhenItsPrimaryChanges) {
  ReplicaOfFailed b;
  b.RunUntilRequest();
  b.Vote('b');
  Effects effects;
  ASSERT_EQ(b.core->Replicate(b.now, IdText('c'), true, effects), "");
  b.Vote('c');
  EXPECT_TRUE(b.core->me().is(kReplica));
  EXPECT_EQ(b.core->me().primary, Id('c'));
}

// ---- voting: a is our node, b failed, e is its replica ----

struct Voter : Bench {
  explicit Voter(Epoch last_vote = 0) : Bench(SixNodes('a'), DefaultOptions(), 10, last_vote) {
    Settle();
    dead.insert('b');
    DeclareFailed('b', 'c');
  }
  Message Request(Epoch epoch) {
    Message m = From('e', MessageType::kFailoverAuthRequest);
    m.header.current_epoch = epoch;
    return m;
  }
  bool Votes(const Effects& effects) { return !SentOf(effects, MessageType::kFailoverAuthAck).empty(); }
};

TEST(Vote, IsDurableBeforeItLeaves) {
  Voter b;
  Effects effects = b.Deliver(b.Request(11));
  auto votes = b.SentOf(effects, MessageType::kFailoverAuthAck);
  ASSERT_EQ(votes.size(), 1u);
  EXPECT_EQ(votes[0].to, 'e');
  EXPECT_EQ(votes[0].message.header.current_epoch, 11u);
  ASSERT_EQ(Position<SaveState>(effects), 0);
  EXPECT_TRUE(std::get<SaveState>(effects[0]).must_sync);
  EXPECT_NE(b.core->StateText().find("vars currentEpoch 11 lastVoteEpoch 11"), std::string::npos);
}

TEST(Vote, IsGivenOncePerEpoch) {
  Voter b;
  EXPECT_TRUE(b.Votes(b.Deliver(b.Request(11))));
  b.DeclareFailed('c', 'd');
  Message other = b.From('f', MessageType::kFailoverAuthRequest);
  other.header.current_epoch = 11;
  Effects effects = b.Deliver(other);
  EXPECT_FALSE(b.Votes(effects));
  EXPECT_TRUE(Noted(effects, "voted in that epoch already"));
}

TEST(Vote, IsRememberedOverARestart) {
  Voter b(10);
  Message m = b.Request(10);
  EXPECT_FALSE(b.Votes(b.Deliver(m)));
}

TEST(Vote, IsRefusedForAnOldEpoch) {
  Voter b;
  EXPECT_FALSE(b.Votes(b.Deliver(b.Request(9))));
}

TEST(Vote, IsRefusedWhileThePrimaryIsWell) {
  Voter b;
  Message m = b.From('f', MessageType::kFailoverAuthRequest);
  m.header.current_epoch = 11;
  EXPECT_FALSE(b.Votes(b.Deliver(m)));
}

TEST(Vote, IsGivenForAHealthyPrimaryWhenForced) {
  Voter b;
  Message m = b.From('f', MessageType::kFailoverAuthRequest);
  m.header.current_epoch = 11;
  m.header.force_ack = true;
  EXPECT_TRUE(b.Votes(b.Deliver(m)));
}

TEST(Vote, IsRefusedToASecondReplicaOfTheSamePrimaryForTwoNodeTimeouts) {
  Voter b;
  EXPECT_TRUE(b.Votes(b.Deliver(b.Request(11))));
  b.Run(1900);
  b.now += 99;
  EXPECT_FALSE(b.Votes(b.Deliver(b.Request(12))));
  b.now += 1;
  EXPECT_TRUE(b.Votes(b.Deliver(b.Request(13))));
}

TEST(Vote, IsGivenToAManualFailoverOfTheSamePrimaryASecondLater) {
  Voter b;
  EXPECT_TRUE(b.Votes(b.Deliver(b.Request(11))));
  Message m = b.Request(12);
  m.header.force_ack = true;
  b.Run(900);
  EXPECT_FALSE(b.Votes(b.Deliver(m))) << "the first may have won, and acknowledged writes";
  b.Run(100);
  m.header.current_epoch = 13;
  EXPECT_TRUE(b.Votes(b.Deliver(m)));
}

TEST(Vote, IsRefusedByWhoMayHaveBeenReplaced) {
  Voter b;
  b.now += 1000 + 300;  // no majority answered since
  Effects effects = b.Deliver(b.Request(11));
  EXPECT_FALSE(b.Votes(effects));
  EXPECT_TRUE(Noted(effects, "this node heard no majority"));
}

// d replaced a, which is alive and may vote for a rival in the epoch that e asks d's vote for.
struct Successor : Bench {
  Successor() : Bench(SixNodes('d')) {
    Settle();
    Effects effects;
    EXPECT_EQ(core->Failover(now, FailoverMode::kForce, effects), "");
    for (char voter : {'b', 'c'}) Deliver(From(voter, MessageType::kFailoverAuthAck));
    EXPECT_TRUE(core->me().is(kPrimary));
    dead.insert('b');
    DeclareFailed('b', 'c');
  }
  bool VotesFor(char candidate, Epoch epoch) {
    Message m = From(candidate, MessageType::kFailoverAuthRequest);
    m.header.current_epoch = epoch;
    return !SentOf(Deliver(m), MessageType::kFailoverAuthAck).empty();
  }
};

TEST(Vote, IsLeftToThePredecessorForTwoNodeTimeouts) {
  Successor b;
  const Millis since = b.now;
  EXPECT_FALSE(b.VotesFor('e', 12));
  while (b.now < since + 1900) b.Run(100);
  EXPECT_FALSE(b.VotesFor('e', 13));
  b.Run(200);
  EXPECT_TRUE(b.VotesFor('e', 14));
}

// Which had lost its own with its lease.
TEST(Vote, IsTheSuccessorsAtOnceWhenThePredecessorFailed) {
  ReplicaOfFailed b;
  b.RunUntilRequest();
  b.Vote('b');
  b.Vote('c');
  ASSERT_TRUE(b.core->me().is(kPrimary));
  b.dead.insert('b');
  b.DeclareFailed('b', 'c');
  Message m = b.From('e', MessageType::kFailoverAuthRequest);
  m.header.current_epoch = 12;
  EXPECT_FALSE(b.SentOf(b.Deliver(m), MessageType::kFailoverAuthAck).empty());
}

TEST(Vote, IsTheSuccessorsOnceThePredecessorIsAReplica) {
  Successor b;
  Message m = b.From('a', MessageType::kPing);
  m.header.flags = kReplica;
  m.header.slots = {};
  m.header.primary = Id('d');
  b.Deliver(m);
  EXPECT_TRUE(b.VotesFor('e', 12));
}

TEST(Vote, IsRefusedWhenASlotHasANewerConfigEpoch) {
  Voter b;
  Message m = b.Request(11);
  m.header.config_epoch = 0;
  Effects effects = b.Deliver(m);
  EXPECT_FALSE(b.Votes(effects));
  EXPECT_TRUE(Noted(effects, "slot 5461 has config epoch 2 here, it claims 0"));
}

TEST(Vote, IsRefusedToPrimariesAndUnknownNodes) {
  Voter b;
  Message m = b.From('c', MessageType::kFailoverAuthRequest);
  m.header.current_epoch = 11;
  EXPECT_FALSE(b.Votes(b.Deliver(m)));
  Message stranger = b.From('9', MessageType::kFailoverAuthRequest);
  stranger.header.current_epoch = 12;
  EXPECT_FALSE(b.Votes(b.Deliver(stranger)));
  EXPECT_EQ(b.core->current_epoch(), 11u) << "a stranger moves no epoch";
}

TEST(Vote, IsNotForPrimariesWithoutSlots) {
  Bench b({{'a', "master"}, {'b', "master", '-', 2, "0-16383"}, {'e', "slave", 'b', 2}});
  b.Settle();
  b.dead.insert('b');
  b.DeclareFailed('b', 'e');
  Message m = b.From('e', MessageType::kFailoverAuthRequest);
  m.header.current_epoch = 11;
  EXPECT_TRUE(b.SentOf(b.Deliver(m), MessageType::kFailoverAuthAck).empty());
}

}  // namespace
}  // namespace tessera::cluster
