// Who owns which slot, as claims arrive: the greater config epoch wins, losers are told, equal epochs are parted.
#include "cluster/core_impl.h"

namespace tessera::cluster {
namespace {

constexpr int kInsistTimeouts = 2;

}  // namespace

void Core::Impl::LearnClaims(NodeView* claimant, Epoch epoch, const SlotSet& claimed) {
  if (claimant == me) return;
  NodeView* ours = IsPrimary(*me) ? me : PrimaryOf(*me);  // whose slots this node holds the data of
  size_t taken_from_ours = 0;
  SlotSet lost, insisted_on;
  for (size_t s = FirstSlot(claimed); s < kSlotCount; s = NextSlot(claimed, s)) {
    const Slot slot = static_cast<Slot>(s);
    NodeView* current = owner[slot];
    if (current == claimant) {
      unclaimed.reset(slot);
      continue;
    }
    // Being moved here by an operator: only SETSLOT says whose it is in the end.
    if (importing_from[slot]) continue;
    if (current && !unclaimed.test(slot) && current->config_epoch >= epoch) continue;
    if (current == me && MovedHereFrom(slot, *claimant)) {
      insisted_on.set(slot);
      moved_here.erase(slot);
      continue;
    }
    if (current == me) {
      lost.set(slot);
      migrating_to[slot] = nullptr;
    }
    if (current && current == ours) ++taken_from_ours;
    AssignSlot(slot, claimant);
    state_check_wanted = true;
    WantDurableSave();
  }
  if (insisted_on.any() && BumpConfigEpoch()) {
    Say(Severity::kNotice, "{} claims {} slots that were moved here, as it does not know yet; insisting on them",
        NodeName(*claimant), insisted_on.count());
    BroadcastPong(PongTo::kEverybody);
  }
  // Not claimed any more, by nobody else either: keep routing there (a redirection is better than an error), but let
  // the next claim win whatever its epoch, and do not defend the old owner in UPDATE messages.
  unclaimed |= claimant->slots & ~claimed;

  if (taken_from_ours && ours->slot_count == 0 &&
      (options.allow_replica_migration || claimed.count() == taken_from_ours)) {
    Say(Severity::kNotice, "Configuration change detected: {} took the last slot of {}. Becoming its replica",
        NodeName(*claimant), ours == me ? "this node" : "our primary");
    BecomeReplicaOf(claimant);
    if (ours == me) BroadcastPong(PongTo::kEverybody);  // the successor waits for it before it votes
    return;
  }
  LeaveSubReplication();
  if (lost.any() && IsPrimary(*me)) {
    Say(Severity::kWarning, "Lost {} slots to {}; dropping their keys{}", lost.count(), NodeName(*claimant),
        loading ? " once all are loaded" : "");
    if (loading)
      lost_while_loading |= lost;
    else
      Emit(DropKeysInSlots{lost});
  }
}

// Between the SETSLOT NODE of an operator here and the one at the giver, the giver (or a replica of it, elected meanwhile) may
// come by a greater config epoch. Its claim would win, with none of the keys. Once for each move, and never against this
// node's own shard, which a giver without slots joins: who claims from there has been made its successor.
bool Core::Impl::MovedHereFrom(Slot slot, const NodeView& claimant) {
  auto found = moved_here.find(slot);
  if (found == moved_here.end() || MayBeReplaced() || claimant.shard_id == me->shard_id) return false;
  const Moved& moved = found->second;
  if (now - moved.at_ms > options.node_timeout_ms * kInsistTimeouts) return false;
  const NodeView* giver = Lookup(moved.giver);
  return claimant.id == moved.giver || (giver != nullptr && giver->shard_id == claimant.shard_id);
}

void Core::Impl::ForgetMovesKnownTo(const NodeView& node, const SlotSet& claimed) {
  std::erase_if(moved_here, [&](const auto& entry) {
    const auto& [slot, moved] = entry;
    if (owner[slot] != me || now - moved.at_ms > options.node_timeout_ms * kInsistTimeouts) return true;
    if (IsReplica(node)) return node.id == moved.giver;
    const NodeView* giver = Lookup(moved.giver);
    return !claimed.test(slot) && (node.id == moved.giver || (giver != nullptr && giver->shard_id == node.shard_id));
  });
}

// The primary of this replica became a replica itself and nothing else says whom to follow.
void Core::Impl::LeaveSubReplication() {
  if (!IsReplica(*me)) return;
  NodeView* primary = PrimaryOf(*me);
  if (!primary || !IsReplica(*primary)) return;
  NodeView* above = PrimaryOf(*primary);
  // Replicas of each other, after a careless TAKEOVER: an operator has to say who is right.
  if (!above || above == me || above == primary) return;
  Say(Severity::kNotice, "Our primary {} is a replica now. Following its primary {}", NodeName(*primary),
      NodeName(*above));
  BecomeReplicaOf(above);
}

void Core::Impl::CorrectStaleClaims(const Received& r, NodeView* claimant) {
  std::set<NodeView*> told;
  const SlotSet& claimed = r.header.slots;
  for (size_t slot = FirstSlot(claimed); slot < kSlotCount; slot = NextSlot(claimed, slot)) {
    NodeView* current = owner[slot];
    if (!current || current == claimant || current->config_epoch <= r.header.config_epoch) continue;
    if (!told.insert(current).second) continue;
    Say(Severity::kVerbose, "Node {} claims slots with an old configuration; telling it about {}", NodeName(*r.sender),
        NodeName(*current));
    SendUpdate(r.sender, current);
  }
}

void Core::Impl::ResolveEpochCollision(NodeView* other) {
  if (!IsPrimary(*me) || !IsPrimary(*other) || other->config_epoch != me->config_epoch) return;
  if (other->id < me->id) return;  // the smaller id moves on
  // With an epoch greater than its successor's it would take back what it lost: a majority has to answer what was asked
  // after the collision was seen, and would tell of a successor then. (A successor by TAKEOVER heeds no lease.)
  if (collision.with != other->id || collision.epoch != me->config_epoch || collision.seen_ms > now)
    collision = {other->id, me->config_epoch, now};
  if (me->slot_count > 0 && (MayBeReplaced() || Lease() <= collision.seen_ms + options.node_timeout_ms)) return;
  me->config_epoch = ++current_epoch;
  WantDurableSave();
  Say(Severity::kNotice, "configEpoch collision with node {}; this node's is now {}", NodeName(*other),
      me->config_epoch);
}

void Core::Impl::OnUpdate(const Received& r, const UpdateBody& body) {
  NodeView* node = Lookup(body.node);
  if (!node || node == me || InHandshake(*node) || node->config_epoch >= body.config_epoch) return;
  Say(Severity::kVerbose, "UPDATE from {} about {}: config epoch {}, {} slots", NodeName(*r.sender), NodeName(*node),
      body.config_epoch, body.slots.count());
  BecomeKnownPrimary(node);
  node->config_epoch = body.config_epoch;
  WantDurableSave();
  LearnClaims(node, body.config_epoch, body.slots);
}

void Core::Impl::OnSlotsWithKeys(const SlotSet& slots) {
  const SlotSet lost = std::exchange(lost_while_loading, {});
  loading = false;
  if (IsReplica(*me)) return;  // replication decides what a replica holds
  SlotSet claimed, foreign, dropped;
  for (size_t s = FirstSlot(slots); s < kSlotCount; s = NextSlot(slots, s)) {
    const Slot slot = static_cast<Slot>(s);
    if (owner[slot] == me || importing_from[slot]) continue;
    if (!owner[slot]) {
      AssignSlot(slot, me);
      claimed.set(slot);
    } else if (lost.test(slot)) {
      dropped.set(slot);
    } else {
      importing_from[slot] = owner[slot];
      foreign.set(slot);
    }
  }
  if (dropped.any()) Emit(DropKeysInSlots{dropped});
  if (claimed.any())
    Say(Severity::kNotice, "Keys found in {} slots nobody owns; taking responsibility for them", claimed.count());
  if (foreign.any())
    Say(Severity::kWarning,
        "Keys found in {} slots that other nodes own; marked as importing. Use redis-cli --cluster fix to settle them",
        foreign.count());
  if (claimed.any() || foreign.any()) {
    state_check_wanted = map_changed = true;
    WantDurableSave();
  }
}

}  // namespace tessera::cluster
