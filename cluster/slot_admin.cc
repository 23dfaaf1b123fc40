// CLUSTER subcommands about slots: assigning them, and the marks of a slot on its way. Error texts are Redis's.
#include "cluster/core_impl.h"

namespace tessera::cluster {
namespace {

constexpr const char* kOnlyPrimaries = "ERR Please use SETSLOT only with masters.";
constexpr const char* kTargetIsReplica = "ERR Target node is not a master";

}  // namespace

Core::Error Core::AddSlots(Millis now, const SlotSet& slots, Effects& effects) {
  Impl& d = *impl_;
  Impl::Turn turn(d, now, effects);
  const SlotSet busy = slots & d.assigned;
  if (busy.any()) return fmt::format("ERR Slot {} is already busy", FirstSlot(busy));
  for (size_t slot = FirstSlot(slots); slot < kSlotCount; slot = NextSlot(slots, slot)) {
    d.importing_from[slot] = nullptr;  // now the real owner
    d.AssignSlot(static_cast<Slot>(slot), d.me);
  }
  d.state_check_wanted = true;
  d.WantDurableSave();
  return "";
}

Core::Error Core::DelSlots(Millis now, const SlotSet& slots, Effects& effects) {
  Impl& d = *impl_;
  Impl::Turn turn(d, now, effects);
  const SlotSet free = slots & ~d.assigned;
  if (free.any()) return fmt::format("ERR Slot {} is already unassigned", FirstSlot(free));
  for (size_t slot = FirstSlot(slots); slot < kSlotCount; slot = NextSlot(slots, slot)) {
    if (d.owner[slot] == d.me) d.migrating_to[slot] = nullptr;
    d.UnassignSlot(static_cast<Slot>(slot));
  }
  d.state_check_wanted = true;
  d.WantSave();
  return "";
}

Core::Error Core::FlushSlots(Millis now, bool dataset_empty, Effects& effects) {
  Impl& d = *impl_;
  Impl::Turn turn(d, now, effects);
  if (!dataset_empty) return "ERR DB must be empty to perform CLUSTER FLUSHSLOTS.";
  d.UnassignSlotsOf(d.me);
  d.state_check_wanted = true;
  d.WantSave();
  return "";
}

Core::Error Core::SetSlotMigrating(Millis now, Slot slot, std::string_view to, Effects& effects) {
  Impl& d = *impl_;
  Impl::Turn turn(d, now, effects);
  if (IsReplica(*d.me)) return kOnlyPrimaries;
  if (d.owner[slot] != d.me) return fmt::format("ERR I'm not the owner of hash slot {}", slot);
  NodeView* node = d.LookupText(to);
  if (!node) return fmt::format("ERR I don't know about node {}", to);
  if (IsReplica(*node)) return kTargetIsReplica;
  d.migrating_to[slot] = node;
  d.moved_here.erase(slot);
  d.state_check_wanted = d.map_changed = true;
  d.WantSave();
  return "";
}

Core::Error Core::SetSlotImporting(Millis now, Slot slot, std::string_view from, Effects& effects) {
  Impl& d = *impl_;
  Impl::Turn turn(d, now, effects);
  if (IsReplica(*d.me)) return kOnlyPrimaries;
  if (d.owner[slot] == d.me) return fmt::format("ERR I'm already the owner of hash slot {}", slot);
  NodeView* node = d.LookupText(from);
  if (!node) return fmt::format("ERR I don't know about node {}", from);
  if (IsReplica(*node)) return kTargetIsReplica;
  d.importing_from[slot] = node;
  d.state_check_wanted = d.map_changed = true;
  d.WantSave();
  return "";
}

Core::Error Core::SetSlotStable(Millis now, Slot slot, Effects& effects) {
  Impl& d = *impl_;
  Impl::Turn turn(d, now, effects);
  if (IsReplica(*d.me)) return kOnlyPrimaries;
  d.importing_from[slot] = d.migrating_to[slot] = nullptr;
  d.state_check_wanted = d.map_changed = true;
  d.WantSave();
  return "";
}

Core::Error Core::SetSlotNode(Millis now, Slot slot, std::string_view owner, size_t keys_in_slot, Effects& effects) {
  Impl::Turn turn(*impl_, now, effects);
  return impl_->SetSlotNode(slot, owner, keys_in_slot);
}

Core::Error Core::Impl::SetSlotNode(Slot slot, std::string_view id, size_t keys_in_slot) {
  if (IsReplica(*me)) return kOnlyPrimaries;
  NodeView* node = LookupText(id);
  if (!node) return fmt::format("ERR Unknown node {}", id);
  if (IsReplica(*node)) return kTargetIsReplica;
  const bool was_mine = owner[slot] == me;
  if (was_mine && node != me && keys_in_slot)
    return fmt::format("ERR Can't assign hashslot {} to a different node while I still hold keys for this hash slot.",
                       slot);
  if (keys_in_slot == 0) migrating_to[slot] = nullptr;
  AssignSlot(slot, node);
  state_check_wanted = true;
  // The giver lets go as soon as it hears of our claim, so a power loss must not take the claim back.
  if (node == me)
    WantDurableSave();
  else
    WantSave();
  if (was_mine && node != me && me->slot_count == 0 && options.allow_replica_migration) {
    Say(Severity::kNotice, "The last slot was given to {}. Becoming its replica", NodeName(*node));
    BecomeReplicaOf(node);
    return "";
  }
  if (node == me && importing_from[slot]) {
    // Moved by hand, without an election: a new epoch makes the others believe it.
    moved_here[slot] = {.giver = importing_from[slot]->id, .at_ms = now};
    importing_from[slot] = nullptr;
    if (BumpConfigEpoch()) Say(Severity::kNotice, "configEpoch updated after importing slot {}", slot);
    BroadcastPong(PongTo::kEverybody);
  }
  return "";
}

}  // namespace tessera::cluster
