#include "tests/cluster/bench.h"

namespace tessera::cluster {
namespace {

const std::string kNobody = IdText('0');

TEST(Meet, RefusesWhatIsNoAddress) {
  Bench b(SixNodes('a'));
  Effects e;
  EXPECT_EQ(b.core->Meet(b.now, "foo", 7000, 17000, e), "ERR Invalid node address specified: foo:7000");
  EXPECT_EQ(b.core->Meet(b.now, "1.2.3.4", 0, 10000, e), "ERR Invalid node address specified: 1.2.3.4:0");
  EXPECT_EQ(b.core->Meet(b.now, "1.2.3.4", 65000, 75000, e), "ERR Invalid node address specified: 1.2.3.4:65000");
  EXPECT_EQ(b.core->Meet(b.now, "::1", 7000, 17000, e), "");
}

TEST(Forget, HasItsRules) {
  Bench b(SixNodes('d'));
  Effects e;
  EXPECT_EQ(b.core->Forget(b.now, kNobody, e), "ERR Unknown node " + kNobody);
  EXPECT_EQ(b.core->Forget(b.now, "abc", e), "ERR Unknown node abc");
  EXPECT_EQ(b.core->Forget(b.now, IdText('d'), e), "ERR I tried hard but I can't forget myself...");
  EXPECT_EQ(b.core->Forget(b.now, IdText('a'), e), "ERR Can't forget my master!");
  EXPECT_FALSE(Has<SaveState>(e));
  EXPECT_EQ(b.core->Forget(b.now, IdText('b'), e), "");
  EXPECT_TRUE(Has<SaveState>(e));
  EXPECT_FALSE(b.core->OwnerOf(6000));
  EXPECT_TRUE(b.View('e').primary.empty());
}

TEST(Replicate, HasItsRules) {
  Bench b(SixNodes('a'));
  Effects e;
  EXPECT_EQ(b.core->Replicate(b.now, kNobody, true, e), "ERR Unknown node " + kNobody);
  EXPECT_EQ(b.core->Replicate(b.now, IdText('a'), true, e), "ERR Can't replicate myself");
  EXPECT_EQ(b.core->Replicate(b.now, IdText('e'), true, e), "ERR I can only replicate a master, not a replica.");
  EXPECT_EQ(b.core->Replicate(b.now, IdText('b'), true, e),
            "ERR To set a master the node must be empty and without assigned slots.");
  Bench empty({{'a', "master"}, {'b', "master", '-', 2, "0-16383"}});
  EXPECT_EQ(empty.core->Replicate(b.now, IdText('b'), false, e),
            "ERR To set a master the node must be empty and without assigned slots.");
  e.clear();
  EXPECT_EQ(empty.core->Replicate(b.now, IdText('b'), true, e), "");
  EXPECT_TRUE(Has<FollowPrimary>(e));
  EXPECT_EQ(empty.core->me().shard_id, Id('b'));
}

TEST(Replicate, ReplicaFollowsOnceItsDataIsLoaded) {
  Bench b(SixNodes('d'), Bench::DefaultOptions(), 10, 0, true);
  auto follow = All<FollowPrimary>(b.core->Handle(b.now, SlotsWithKeys{}));
  ASSERT_EQ(follow.size(), 1u);
  EXPECT_EQ(follow[0].id, Id('a'));
  EXPECT_FALSE(Has<FollowPrimary>(b.Tick())) << "told once";
}

TEST(Reset, RefusesPrimariesWithKeys) {
  Bench b(SixNodes('a'));
  Effects e;
  EXPECT_EQ(b.core->Reset(b.now, ResetMode::kSoft, false, e),
            "ERR CLUSTER RESET can't be called with master nodes containing keys");
}

TEST(Reset, SoftForgetsNodesAndSlotsButKeepsIdAndEpochs) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects e;
  EXPECT_EQ(b.core->Reset(b.now, ResetMode::kSoft, true, e), "");
  EXPECT_EQ(b.core->nodes().size(), 1u);
  EXPECT_EQ(b.core->self(), Id('a'));
  EXPECT_EQ(b.core->current_epoch(), 10u);
  EXPECT_EQ(b.core->me().config_epoch, 1u);
  EXPECT_EQ(b.core->me().slot_count, 0);
  EXPECT_EQ(All<CloseLink>(e).size(), 5u);
  EXPECT_FALSE(b.core->ok());
}

TEST(Reset, HardGivesANewIdAndZeroEpochs) {
  Bench b(SixNodes('d'));
  b.Tick();
  Effects e;
  EXPECT_EQ(b.core->Reset(b.now, ResetMode::kHard, false, e), "");
  EXPECT_NE(b.core->self(), Id('d'));
  EXPECT_EQ(b.core->current_epoch(), 0u);
  EXPECT_TRUE(b.core->me().is(kPrimary));
  EXPECT_LT(Position<BecomePrimary>(e), Position<EmptyDataset>(e));
  EXPECT_EQ(b.core->StateText().find(IdText('d')), std::string::npos);
}

TEST(Epochs, SetConfigEpochIsForLoneNodesWithoutOne) {
  Core core(Bench::DefaultOptions(), 1, Bench::kStart);
  Effects e;
  EXPECT_EQ(core.SetConfigEpoch(1, 0, e), "");
  EXPECT_EQ(core.SetConfigEpoch(1, 5, e), "");
  EXPECT_EQ(core.current_epoch(), 5u);
  EXPECT_EQ(core.SetConfigEpoch(1, 6, e), "ERR Node config epoch is already non-zero");
  Bench b(SixNodes('a'));
  EXPECT_EQ(b.core->SetConfigEpoch(1, 6, e),
            "ERR The user can assign a config epoch only when the node does not know any other node.");
}

TEST(Epochs, BumpGoesBeyondEverybody) {
  Bench b(SixNodes('a'));
  Effects e;
  std::string reply;
  EXPECT_EQ(b.core->BumpEpoch(b.now, reply, e), "");
  EXPECT_EQ(reply, "BUMPED 11");
  EXPECT_EQ(b.core->BumpEpoch(b.now, reply, e), "");
  EXPECT_EQ(reply, "STILL 11");
}

TEST(Slots, AddAndDeleteSayWhatIsWrong) {
  Bench b({{'a', "master", '-', 1, "0-100"}, {'b', "master", '-', 2, "200-300"}});
  Effects e;
  EXPECT_EQ(b.core->AddSlots(b.now, Slots(150, 210), e), "ERR Slot 200 is already busy");
  EXPECT_FALSE(b.core->OwnerOf(150)) << "all or nothing";
  EXPECT_EQ(b.core->DelSlots(b.now, Slots(90, 110), e), "ERR Slot 101 is already unassigned");
  EXPECT_EQ(b.core->AddSlots(b.now, Slots(101, 199), e), "");
  EXPECT_EQ(b.core->DelSlots(b.now, Slots(200, 300), e), "") << "others' slots, too: only this node's view";
  EXPECT_EQ(b.core->FlushSlots(b.now, false, e), "ERR DB must be empty to perform CLUSTER FLUSHSLOTS.");
  EXPECT_EQ(b.core->FlushSlots(b.now, true, e), "");
  EXPECT_EQ(b.core->me().slot_count, 0);
}

TEST(SetSlot, SaysWhatIsWrong) {
  Bench b(SixNodes('a'));
  Effects e;
  EXPECT_EQ(b.core->SetSlotMigrating(b.now, 6000, IdText('b'), e), "ERR I'm not the owner of hash slot 6000");
  EXPECT_EQ(b.core->SetSlotMigrating(b.now, 5, kNobody, e), "ERR I don't know about node " + kNobody);
  EXPECT_EQ(b.core->SetSlotMigrating(b.now, 5, IdText('e'), e), "ERR Target node is not a master");
  EXPECT_EQ(b.core->SetSlotImporting(b.now, 5, IdText('b'), e), "ERR I'm already the owner of hash slot 5");
  EXPECT_EQ(b.core->SetSlotImporting(b.now, 6000, kNobody, e), "ERR I don't know about node " + kNobody);
  EXPECT_EQ(b.core->SetSlotImporting(b.now, 6000, IdText('e'), e), "ERR Target node is not a master");
  EXPECT_EQ(b.core->SetSlotNode(b.now, 5, kNobody, 0, e), "ERR Unknown node " + kNobody);
  EXPECT_EQ(b.core->SetSlotNode(b.now, 5, IdText('e'), 0, e), "ERR Target node is not a master");
  EXPECT_EQ(b.core->SetSlotNode(b.now, 5, IdText('b'), 3, e),
            "ERR Can't assign hashslot 5 to a different node while I still hold keys for this hash slot.");
  Bench replica(SixNodes('d'));
  for (auto error : {replica.core->SetSlotStable(b.now, 5, e), replica.core->SetSlotNode(b.now, 5, IdText('b'), 0, e)})
    EXPECT_EQ(error, "ERR Please use SETSLOT only with masters.");
}

TEST(SetSlot, MovesASlotWithANewEpochEverybodyHearsOf) {
  Bench target(SixNodes('b'));
  target.Settle();
  Effects e;
  ASSERT_EQ(target.core->SetSlotImporting(target.now, 5, IdText('a'), e), "");
  e.clear();
  ASSERT_EQ(target.core->SetSlotNode(target.now, 5, IdText('b'), 1, e), "");
  EXPECT_FALSE(target.core->ImportingFrom(5));
  EXPECT_EQ(target.core->me().config_epoch, 11u);
  auto pongs = target.SentOf(e, MessageType::kPong);
  EXPECT_EQ(pongs.size(), 5u);
  EXPECT_TRUE(pongs[0].message.header.slots.test(5));
  EXPECT_EQ(pongs[0].message.header.config_epoch, 11u);

  Bench source(SixNodes('a'));
  source.Settle();
  e.clear();
  ASSERT_EQ(source.core->SetSlotMigrating(source.now, 5, IdText('b'), e), "");
  ASSERT_EQ(source.core->SetSlotNode(source.now, 5, IdText('b'), 0, e), "");
  EXPECT_FALSE(source.core->MigratingTo(5));
  EXPECT_EQ(source.core->OwnerOf(5)->id, Id('b'));
}

TEST(SetSlot, StableClearsBothMarks) {
  Bench b(SixNodes('a'));
  Effects e;
  b.core->SetSlotMigrating(b.now, 5, IdText('b'), e);
  b.core->SetSlotImporting(b.now, 6000, IdText('b'), e);
  b.core->SetSlotStable(b.now, 5, e);
  b.core->SetSlotStable(b.now, 6000, e);
  EXPECT_FALSE(b.core->MigratingTo(5));
  EXPECT_FALSE(b.core->ImportingFrom(6000));
}

TEST(SetSlot, GivingTheLastSlotAwayMakesAReplicaUnlessForbidden) {
  std::vector<Node> nodes = {{'a', "master", '-', 1, "5"}, {'b', "master", '-', 2, "6-16383"}};
  Bench b(nodes);
  Effects e;
  ASSERT_EQ(b.core->SetSlotNode(b.now, 5, IdText('b'), 0, e), "");
  EXPECT_TRUE(b.core->me().is(kReplica));
  EXPECT_TRUE(Has<FollowPrimary>(e));
  Options options = Bench::DefaultOptions();
  options.allow_replica_migration = false;
  Bench stays(nodes, options);
  ASSERT_EQ(stays.core->SetSlotNode(b.now, 5, IdText('b'), 0, e), "");
  EXPECT_TRUE(stays.core->me().is(kPrimary));
}

TEST(FailureReports, NeedsAKnownNode) {
  Bench b(SixNodes('a'));
  std::string error;
  EXPECT_EQ(b.core->FailureReports(b.now, kNobody, &error), 0);
  EXPECT_EQ(error, "ERR Unknown node " + kNobody);
}

}  // namespace
}  // namespace tessera::cluster
