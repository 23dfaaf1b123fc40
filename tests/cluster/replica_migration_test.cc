#include "tests/cluster/bench.h"

namespace tessera::cluster {
namespace {

// a with replicas 1 and 2, b with replica e. `self` is the node under test.
std::vector<Node> Uneven(char self) {
  std::vector<Node> nodes = {{'a', "master", '-', 1, "0-5460"},
                             {'b', "master", '-', 2, "5461-10922"},
                             {'c', "master", '-', 3, "10923-16383"},
                             {'1', "slave", 'a', 1},
                             {'2', "slave", 'a', 1},
                             {'e', "slave", 'b', 2}};
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i].name == self) std::swap(nodes[0], nodes[i]);
  return nodes;
}

void LoseReplicaOfB(Bench& b) {
  b.Settle();
  b.dead.insert('e');
  b.DeclareFailed('e', 'c');
}

TEST(ReplicaMigration, GoesToTheOrphanAfterFiveSeconds) {
  Bench b(Uneven('1'));
  LoseReplicaOfB(b);
  b.Run(4900);
  EXPECT_EQ(b.core->me().primary, Id('a'));
  Effects effects = b.Run(500);
  EXPECT_EQ(b.core->me().primary, Id('b'));
  EXPECT_EQ(b.core->me().shard_id, b.View('b').shard_id);
  EXPECT_TRUE(Has<FollowPrimary>(effects));
}

TEST(ReplicaMigration, IsForTheSmallestIdAmongTheSpareReplicas) {
  Bench b(Uneven('2'));
  LoseReplicaOfB(b);
  b.Run(10000);
  EXPECT_EQ(b.core->me().primary, Id('a'));
}

TEST(ReplicaMigration, LeavesTheBarriersNumberOfReplicasBehind) {
  Options options = Bench::DefaultOptions();
  options.migration_barrier = 2;
  Bench b(Uneven('1'), options);
  LoseReplicaOfB(b);
  b.Run(10000);
  EXPECT_EQ(b.core->me().primary, Id('a'));
}

TEST(ReplicaMigration, CanBeForbidden) {
  Options options = Bench::DefaultOptions();
  options.allow_replica_migration = false;
  Bench b(Uneven('1'), options);
  LoseReplicaOfB(b);
  b.Run(10000);
  EXPECT_EQ(b.core->me().primary, Id('a'));
}

TEST(ReplicaMigration, DoesNotGoToAPrimaryThatNeverHadAReplica) {
  Bench b(Uneven('1'));
  b.Run(12000);
  EXPECT_EQ(b.core->me().primary, Id('a')) << "c was set up without replicas";
}

TEST(ReplicaMigration, StopsWaitingWhenTheReplicaReturns) {
  Bench b(Uneven('1'));
  LoseReplicaOfB(b);
  b.Run(3000);
  b.dead.clear();
  b.Run(500);
  b.dead.insert('e');
  b.DeclareFailed('e', 'c');
  b.Run(3000);
  EXPECT_EQ(b.core->me().primary, Id('a')) << "the time counts from the last loss";
}

}  // namespace
}  // namespace tessera::cluster
