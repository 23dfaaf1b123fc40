#include "tests/cluster/bench.h"

namespace tessera::cluster {
namespace {

Message Claim(Bench& b, char who, Epoch epoch, const SlotSet& slots) {
  Message m = b.From(who);
  m.header.config_epoch = epoch;
  m.header.current_epoch = std::max<Epoch>(m.header.current_epoch, epoch);
  m.header.slots = slots;
  m.header.primary = NodeId();
  m.header.flags = kPrimary;
  return m;
}

TEST(ConfigUpdate, GivesASlotToTheGreaterConfigEpoch) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.Deliver(Claim(b, 'c', 20, Slots(10000, 16383)));
  EXPECT_EQ(b.core->OwnerOf(10000)->id, Id('c'));
  EXPECT_EQ(b.core->OwnerOf(9999)->id, Id('b'));
  EXPECT_EQ(b.View('c').config_epoch, 20u);
  EXPECT_EQ(b.core->current_epoch(), 20u);
}

TEST(ConfigUpdate, KeepsASlotFromASmallerOrEqualEpochAndCorrectsTheClaimant) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects = b.Deliver(Claim(b, 'b', 2, Slots(5461, 11000)));
  EXPECT_EQ(b.core->OwnerOf(11000)->id, Id('c'));
  auto updates = b.SentOf(effects, MessageType::kUpdate);
  ASSERT_EQ(updates.size(), 1u);
  EXPECT_EQ(updates[0].to, 'b');
  const auto& body = std::get<UpdateBody>(updates[0].message.body);
  EXPECT_EQ(body.node, Id('c'));
  EXPECT_EQ(body.config_epoch, 3u);
  EXPECT_EQ(body.slots, Slots(10923, 16383));
}

TEST(ConfigUpdate, TakesUnassignedSlotsWhateverTheEpoch) {
  Bench b({{'a', "master", '-', 5, "0-100"}, {'b', "master", '-', 2}});
  b.Settle();
  b.Deliver(Claim(b, 'b', 2, Slots(200, 300)));
  EXPECT_EQ(b.core->OwnerOf(200)->id, Id('b'));
}

TEST(ConfigUpdate, KeepsRoutingToAnOwnerThatStoppedClaimingUntilSomebodyClaims) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.Deliver(Claim(b, 'c', 3, Slots(10924, 16383)));
  ASSERT_TRUE(b.core->OwnerOf(10923));
  EXPECT_EQ(b.core->OwnerOf(10923)->id, Id('c'));
  b.Deliver(Claim(b, 'b', 2, Slots(5461, 10923)));
  EXPECT_EQ(b.core->OwnerOf(10923)->id, Id('b')) << "a smaller epoch wins what nobody claims";
}

TEST(ConfigUpdate, DropsTheKeysOfSlotsItLostWhileItKeepsOthers) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects = b.Deliver(Claim(b, 'b', 20, Slots(5000, 10922)));
  auto drops = All<DropKeysInSlots>(effects);
  ASSERT_EQ(drops.size(), 1u);
  EXPECT_EQ(drops[0].slots, Slots(5000, 5460));
  EXPECT_TRUE(b.core->me().is(kPrimary));
  EXPECT_EQ(b.core->me().slot_count, 5000);
}

TEST(ConfigUpdate, ClearsTheMigratingMarkOfALostSlot) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects;
  ASSERT_EQ(b.core->SetSlotMigrating(b.now, 5000, IdText('b'), effects), "");
  b.Deliver(Claim(b, 'b', 20, Slots(5000, 10922)));
  EXPECT_FALSE(b.core->MigratingTo(5000));
}

TEST(ConfigUpdate, LeavesImportingSlotsToTheOperator) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects;
  ASSERT_EQ(b.core->SetSlotImporting(b.now, 6000, IdText('b'), effects), "");
  b.Deliver(Claim(b, 'c', 20, Slots(6000, 6001)));
  EXPECT_EQ(b.core->OwnerOf(6000)->id, Id('b'));
  EXPECT_EQ(b.core->OwnerOf(6001)->id, Id('c'));
}

// The giver got a greater epoch between the operator's SETSLOT NODE here and the one there. Its claim has no keys behind it.
TEST(ConfigUpdate, InsistsOnceOnASlotThatWasMovedHere) {
  Bench b(SixNodes('a'));
  b.Settle();
  auto move = [&] {
    Effects effects;
    EXPECT_EQ(b.core->SetSlotImporting(b.now, 6000, IdText('b'), effects), "");
    EXPECT_EQ(b.core->SetSlotNode(b.now, 6000, IdText('a'), 1, effects), "");
  };
  move();
  Effects effects = b.Deliver(Claim(b, 'b', 20, Slots(5461, 10922)));
  EXPECT_FALSE(Has<DropKeysInSlots>(effects));
  EXPECT_EQ(b.core->OwnerOf(6000)->id, Id('a'));
  EXPECT_EQ(b.core->me().config_epoch, 21u);
  EXPECT_FALSE(b.SentOf(effects, MessageType::kPong).empty());
  b.Deliver(Claim(b, 'b', 30, Slots(5461, 10922)));
  EXPECT_EQ(b.core->OwnerOf(6000)->id, Id('b')) << "two operators: the last one wins";

  move();
  SlotSet known = Slots(5461, 10922);
  known.reset(6000);
  b.Deliver(Claim(b, 'b', 30, known));  // the giver knows
  b.Deliver(Claim(b, 'b', 40, Slots(5461, 10922)));
  EXPECT_EQ(b.core->OwnerOf(6000)->id, Id('b'));
}

// The giver had no other slots: it is a replica here now, and is made this node's successor.
TEST(ConfigUpdate, YieldsASlotThatWasMovedHereToAGiverThatBecameItsReplica) {
  Bench b({{'a', "master", '-', 1, "0-5460"}, {'b', "master", '-', 2, "5461-16382"}, {'c', "master", '-', 3, "16383"}});
  b.Settle();
  Effects effects;
  ASSERT_EQ(b.core->SetSlotImporting(b.now, 16383, IdText('c'), effects), "");
  ASSERT_EQ(b.core->SetSlotNode(b.now, 16383, IdText('a'), 1, effects), "");
  Message m = b.From('c');
  m.header.primary = Id('a');
  m.header.flags = kReplica;
  m.header.slots = b.core->me().slots;
  b.Deliver(m);
  ASSERT_EQ(b.View('c').primary, Id('a'));
  b.Deliver(Claim(b, 'c', 20, b.core->me().slots));
  EXPECT_EQ(b.core->OwnerOf(16383)->id, Id('c'));
  EXPECT_TRUE(b.core->me().is(kReplica));
}

TEST(ConfigUpdate, InsistsForAShortTimeOnly) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects;
  ASSERT_EQ(b.core->SetSlotImporting(b.now, 6000, IdText('b'), effects), "");
  ASSERT_EQ(b.core->SetSlotNode(b.now, 6000, IdText('a'), 1, effects), "");
  b.dead.insert('b');
  for (int i = 0; i < 30; ++i) b.Run(100);
  b.Deliver(Claim(b, 'b', 20, Slots(5461, 10922)));
  EXPECT_EQ(b.core->OwnerOf(6000)->id, Id('b'));
}

TEST(ConfigUpdate, YieldsASlotThatWasMovedHereToAnotherShard) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects;
  ASSERT_EQ(b.core->SetSlotImporting(b.now, 6000, IdText('b'), effects), "");
  ASSERT_EQ(b.core->SetSlotNode(b.now, 6000, IdText('a'), 1, effects), "");
  b.Deliver(Claim(b, 'c', 20, Slots(6000, 6000)));
  EXPECT_EQ(b.core->OwnerOf(6000)->id, Id('c'));
}

TEST(ConfigUpdate, BecomesAReplicaOfWhoeverTakesTheLastSlot) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects = b.Deliver(Claim(b, 'd', 20, Slots(0, 5460)));
  EXPECT_TRUE(b.core->me().is(kReplica));
  EXPECT_EQ(b.core->me().primary, Id('d'));
  auto follow = All<FollowPrimary>(effects);
  ASSERT_EQ(follow.size(), 1u);
  EXPECT_EQ(follow[0].id, Id('d'));
  EXPECT_EQ(follow[0].endpoint.port, 7000);
  EXPECT_FALSE(Has<DropKeysInSlots>(effects)) << "the full sync replaces the data";
  EXPECT_EQ(Position<SaveState>(effects), 0);
}

TEST(ConfigUpdate, FollowsTheWinnerAsAReplicaOfTheLoser) {
  Bench b({{'7', "slave", 'a', 1},
           {'a', "master", '-', 1, "0-5460"},
           {'d', "slave", 'a', 1},
           {'b', "master", '-', 2, "5461-16383"}});
  b.Settle();
  Effects effects = b.Deliver(Claim(b, 'd', 20, Slots(0, 5460)));
  EXPECT_EQ(b.core->me().primary, Id('d'));
  EXPECT_TRUE(Has<FollowPrimary>(effects));
}

TEST(ConfigUpdate, StaysWithAnEmptyPrimaryWhenReplicaMigrationIsOffAndTheWinnerIsAnother) {
  Options options = Bench::DefaultOptions();
  options.allow_replica_migration = false;
  Bench b(SixNodes('a'), options);
  b.Settle();
  b.Deliver(Claim(b, 'b', 20, Slots(0, 10922)));
  EXPECT_TRUE(b.core->me().is(kPrimary));
  EXPECT_EQ(b.core->me().slot_count, 0);
}

TEST(ConfigUpdate, MovesSlotsWithinTheShardWhenTheOldPrimarySpeaksFirst) {
  Bench b(SixNodes('a'));
  b.Settle();
  Message m = b.From('b');
  m.header.primary = Id('e');
  m.header.flags = kReplica;
  m.header.config_epoch = 20;
  m.header.current_epoch = 20;
  b.Deliver(m);
  EXPECT_TRUE(b.View('b').is(kReplica));
  EXPECT_TRUE(b.View('e').is(kPrimary));
  EXPECT_EQ(b.View('b').primary, Id('e'));
  EXPECT_EQ(b.core->OwnerOf(6000)->id, Id('e'));
  EXPECT_TRUE(b.core->ok());
}

TEST(ConfigUpdate, FreesTheSlotsOfAPrimaryThatLeftItsShard) {
  Bench b(SixNodes('a'));
  b.Settle();
  Message m = b.From('b');
  m.header.primary = Id('c');
  m.header.flags = kReplica;
  m.header.config_epoch = 3;
  m.header.slots = Slots(10923, 16383);
  b.Deliver(m);
  EXPECT_FALSE(b.core->OwnerOf(6000));
  EXPECT_EQ(b.View('b').primary, Id('c'));
}

TEST(ConfigUpdate, LeavesAPrimaryThatBecameAReplica) {
  Bench b({{'7', "slave", 'a', 1},
           {'a', "master", '-', 1, "0-5460"},
           {'d', "slave", 'a', 1},
           {'b', "master", '-', 2, "5461-16383"}});
  b.Settle();
  Message m = b.From('a');
  m.header.primary = Id('d');
  m.header.flags = kReplica;
  m.header.config_epoch = 20;
  Effects effects = b.Deliver(m);
  EXPECT_EQ(b.core->me().primary, Id('d'));
  EXPECT_TRUE(Has<FollowPrimary>(effects));
}

TEST(ConfigUpdate, BelievesAnUpdateWithANewerEpoch) {
  Bench b(SixNodes('a'));
  b.Settle();
  Message m = b.From('c', MessageType::kUpdate);
  m.body = UpdateBody{20, Id('d'), Slots(0, 5460)};
  b.Deliver(m);
  EXPECT_TRUE(b.View('d').is(kPrimary));
  EXPECT_EQ(b.core->me().primary, Id('d'));
}

TEST(ConfigUpdate, IgnoresAnUpdateThatIsNotNewerOrAboutItself) {
  Bench b(SixNodes('a'));
  b.Settle();
  Message m = b.From('c', MessageType::kUpdate);
  m.body = UpdateBody{1, Id('d'), Slots(0, 5460)};
  b.Deliver(m);
  EXPECT_TRUE(b.View('d').is(kReplica));
  m.body = UpdateBody{50, Id('a'), Slots(0, 1)};
  b.Deliver(m);
  EXPECT_EQ(b.core->me().slot_count, 5461);
}

TEST(ConfigEpoch, CollisionMovesTheSmallerIdOn) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects = b.Deliver(Claim(b, 'b', 1, Slots(5461, 10922)));
  EXPECT_EQ(b.core->me().config_epoch, 1u) << "b had epoch 2 already and keeps it";
  b.Deliver(Claim(b, 'd', 1, SlotSet()));
  EXPECT_EQ(b.core->me().config_epoch, 1u) << "the others are asked first";
  b.Run(1000);
  b.Deliver(Claim(b, 'd', 1, SlotSet()));
  EXPECT_EQ(b.core->me().config_epoch, 11u);
  EXPECT_EQ(b.core->current_epoch(), 11u);
}

// Seed 8458 of the simulator: two replicas took over at once and got the same epoch; one of their primaries, which had
// heard of the other's only, had raised its own to that.
TEST(ConfigEpoch, CollisionIsNotSettledBeforeASuccessorCouldBeHeardOf) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.Deliver(Claim(b, 'd', 1, SlotSet()));
  b.Deliver(Claim(b, 'e', 9, Slots(0, 5460)));
  EXPECT_EQ(b.core->me().config_epoch, 1u);
  ASSERT_NE(b.core->OwnerOf(0), nullptr);
  EXPECT_EQ(b.core->OwnerOf(0)->id, Id('e'));
}

TEST(ConfigEpoch, CollisionIsTheOthersBusinessWhenItsIdIsSmaller) {
  Bench b({{'c', "master", '-', 3, "0-100"}, {'a', "master", '-', 1, "200-300"}});
  b.Settle();
  b.Deliver(Claim(b, 'a', 3, Slots(200, 300)));
  EXPECT_EQ(b.core->me().config_epoch, 3u);
}

// With a new epoch it would take its slots back from whom it does not know yet.
TEST(ConfigEpoch, CollisionWaitsUntilAMajorityIsHeard) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.dead = {'b', 'c'};
  b.now += 1300;
  b.Deliver(Claim(b, 'd', 1, SlotSet()));
  EXPECT_EQ(b.core->me().config_epoch, 1u);
  b.dead.clear();
  b.Run(3000);
  b.Deliver(Claim(b, 'd', 1, SlotSet()));
  EXPECT_EQ(b.core->me().config_epoch, 11u);
}

// A replica's messages carry the epoch of its primary. Once it is a primary itself, nothing would take that back.
TEST(ConfigEpoch, IsNotLearnedFromAReplica) {
  Bench b(SixNodes('a'));
  b.Settle();
  Message m = b.From('e');
  m.header.config_epoch = 9;
  b.Deliver(m);
  EXPECT_LT(b.View('e').config_epoch, 9u);
}

TEST(SlotsWithKeys, ClaimsWhatNobodyOwnsAndMarksTheRestAsImporting) {
  Bench b({{'a', "master", '-', 1, "0-100"}, {'b', "master", '-', 2, "101-200"}});
  Effects effects = b.core->Handle(b.now, SlotsWithKeys{Slots(50, 250)});
  EXPECT_EQ(b.core->OwnerOf(250)->id, Id('a'));
  EXPECT_EQ(b.core->OwnerOf(150)->id, Id('b'));
  EXPECT_EQ(b.core->ImportingFrom(150)->id, Id('b'));
  EXPECT_FALSE(b.core->ImportingFrom(50));
  EXPECT_TRUE(Has<SaveState>(effects));
}

// Some keys of a slot that is lost in the midst of loading are there, some come later, and no log would tell of a drop.
TEST(SlotsWithKeys, DropsWhatWasLostWhileItWasLoaded) {
  Bench b({{'a', "master", '-', 1, "0-100"}, {'b', "master", '-', 2, "101-200"}}, Bench::DefaultOptions(), 10, 0, true);
  Message m = b.From('b');
  m.header.config_epoch = 3;
  m.header.slots = Slots(50, 200);
  EXPECT_FALSE(Has<DropKeysInSlots>(b.Deliver(m)));
  ASSERT_EQ(b.core->OwnerOf(60)->id, Id('b'));
  Effects effects = b.core->Handle(b.now, SlotsWithKeys{Slots(40, 120)});
  auto drops = All<DropKeysInSlots>(effects);
  ASSERT_EQ(drops.size(), 1u);
  EXPECT_EQ(drops[0].slots, Slots(50, 100));
  EXPECT_FALSE(b.core->ImportingFrom(60));
  EXPECT_EQ(b.core->ImportingFrom(110)->id, Id('b')) << "never this node's, as far as it knows";
  EXPECT_EQ(b.core->OwnerOf(40)->id, Id('a'));
}

TEST(SlotsWithKeys, SaysNothingToAReplica) {
  Bench b(SixNodes('d'));
  b.core->Handle(b.now, SlotsWithKeys{Slots(6000, 6000)});
  EXPECT_FALSE(b.core->ImportingFrom(6000));
}

}  // namespace
}  // namespace tessera::cluster
