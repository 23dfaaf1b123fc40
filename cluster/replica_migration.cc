// A replica of a primary with replicas to spare moves to a primary that lost its last one. All replicas decide alike
// without talking: of the primaries with the most working replicas, the replica with the smallest id goes.
#include "cluster/core_impl.h"

namespace tessera::cluster {
namespace {

constexpr Millis kMigrationDelayMs = 5000;

}  // namespace

int Core::Impl::CountWorkingReplicas(const NodeView& primary) const {
  int count = 0;
  for (const auto& [id, node] : nodes)
    if (IsReplica(node) && node.primary == primary.id && !Failed(node)) ++count;
  return count;
}

void Core::Impl::MigrateToOrphanIfBest() {
  NodeView* mine = PrimaryOf(*me);
  if (!mine || !state_ok || !options.allow_replica_migration) return;
  std::map<NodeId, int> working;  // primary -> replicas
  int mine_reachable = 0;
  for (const auto& [id, node] : nodes) {
    if (!IsReplica(node) || node.primary.empty() || Failed(node)) continue;
    ++working[node.primary];
    if (node.primary == mine->id && !Suspected(node)) ++mine_reachable;
  }
  int most = 0;
  NodeView* target = nullptr;
  for (auto& [id, node] : nodes) {
    // Only primaries that used to have replicas: the others were set up to live without.
    const bool healthy = IsPrimary(node) && !Failed(node);
    const int count = healthy && working.contains(id) ? working[id] : 0;
    most = std::max(most, count);
    const bool orphaned = healthy && node.slot_count > 0 && node.is(kMigrateTo) && count == 0;
    if (!orphaned) {
      node.orphaned_since_ms = 0;
      continue;
    }
    if (!node.orphaned_since_ms) node.orphaned_since_ms = now;
    if (!target) target = &node;
  }
  if (!target || most < 2 || Failed(*mine) || working[mine->id] != most) return;
  if (mine_reachable <= options.migration_barrier) return;
  for (const auto& [id, node] : nodes) {
    NodeView* primary = IsReplica(node) && !Failed(node) ? PrimaryOf(node) : nullptr;
    if (primary && IsPrimary(*primary) && working[primary->id] == most && id < me->id) return;  // another goes
  }
  // Right after a failover the natural replicas are still on their way to the new primary.
  if (now - target->orphaned_since_ms <= kMigrationDelayMs) return;
  Say(Severity::kNotice, "Migrating to primary {}, which has no working replica left", NodeName(*target));
  BecomeReplicaOf(target);
}

}  // namespace tessera::cluster
