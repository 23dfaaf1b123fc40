// CLUSTER subcommands about nodes, roles and epochs. Error texts are Redis's.
#include "cluster/core_impl.h"

namespace tessera::cluster {
namespace {

constexpr Millis kForgetMs = 60000;

}  // namespace

Core::Error Core::Meet(Millis now, std::string_view ip, int port, int bus_port, Effects& effects) {
  Impl::Turn turn(*impl_, now, effects);
  auto valid = [](int p) { return p > 0 && p <= 65535; };
  if (!IsNumericAddress(ip) || !valid(port) || !valid(bus_port))
    return fmt::format("ERR Invalid node address specified: {}:{}", ip, port);
  impl_->StartHandshake(ip, static_cast<uint16_t>(port), static_cast<uint16_t>(bus_port));
  return "";
}

Core::Error Core::Forget(Millis now, std::string_view id, Effects& effects) {
  Impl::Turn turn(*impl_, now, effects);
  return impl_->ForgetCommand(id);
}

Core::Error Core::Impl::ForgetCommand(std::string_view id) {
  NodeView* node = LookupText(id);
  if (!node) {
    // Another node told us already: the operator's wish is fulfilled.
    if (NodeId::IsValid(id) && IsForgotten(NodeId(id))) return "";
    return fmt::format("ERR Unknown node {}", id);
  }
  if (node == me) return "ERR I tried hard but I can't forget myself...";
  if (IsReplica(*me) && me->primary == node->id) return "ERR Can't forget my master!";
  Say(Severity::kNotice, "Forgetting node {} for {} s (user request)", NodeName(*node), kForgetMs / 1000);
  Forget(node, now + kForgetMs);
  return "";
}

Core::Error Core::Replicate(Millis now, std::string_view id, bool dataset_empty, Effects& effects) {
  Impl::Turn turn(*impl_, now, effects);
  return impl_->Replicate(id, dataset_empty);
}

Core::Error Core::Impl::Replicate(std::string_view id, bool dataset_empty) {
  NodeView* node = LookupText(id);
  if (!node) return fmt::format("ERR Unknown node {}", id);
  if (node == me) return "ERR Can't replicate myself";
  if (IsReplica(*node)) return "ERR I can only replicate a master, not a replica.";
  if (IsPrimary(*me) && (me->slot_count != 0 || !dataset_empty))
    return "ERR To set a master the node must be empty and without assigned slots.";
  if (me->primary == node->id) return "";
  Say(Severity::kNotice, "Becoming a replica of {} (user request)", NodeName(*node));
  BecomeReplicaOf(node);
  return "";
}

Core::Error Core::Failover(Millis now, FailoverMode mode, Effects& effects) {
  Impl::Turn turn(*impl_, now, effects);
  return impl_->StartManualFailover(mode);
}

Core::Error Core::Reset(Millis now, ResetMode mode, bool dataset_empty, Effects& effects) {
  Impl::Turn turn(*impl_, now, effects);
  return impl_->Reset(mode, dataset_empty);
}

Core::Error Core::Impl::Reset(ResetMode mode, bool dataset_empty) {
  if (IsPrimary(*me) && !dataset_empty) return "ERR CLUSTER RESET can't be called with master nodes containing keys";
  if (IsReplica(*me)) {
    BecomeKnownPrimary(me);
    ReconcileReplication();
    Emit(EmptyDataset{});
    me->shard_id = RandomId();  // the old one belongs to the primary it left
  }
  ResetManualFailover();
  election = Election{};
  CloseOpenSlots();
  for (int slot = 0; slot < kSlotCount; ++slot) UnassignSlot(static_cast<Slot>(slot));
  for (auto it = nodes.begin(); it != nodes.end();) {
    NodeView* node = &it->second;
    ++it;
    if (node != me) RemoveNode(node);
  }
  me->failure_reports.clear();
  me->flags &= ~kMigrateTo;
  forgotten.clear();
  DrawSecret();  // the old one belongs to the cluster it left
  Emit(SaveSecret{});
  if (mode == ResetMode::kHard) {
    current_epoch = last_vote_epoch = me->config_epoch = 0;
    RenameNode(me, RandomId());
    Say(Severity::kNotice, "Node reset hard: all epochs are 0, and this node is now {}", me->id.view());
  } else {
    Say(Severity::kNotice, "Node reset: it owns no slots and knows no other node");
  }
  state_check_wanted = true;
  WantDurableSave();
  return "";
}

Core::Error Core::SetConfigEpoch(Millis now, Epoch epoch, Effects& effects) {
  Impl& d = *impl_;
  Impl::Turn turn(d, now, effects);
  if (d.nodes.size() > 1)
    return "ERR The user can assign a config epoch only when the node does not know any other node.";
  if (d.me->config_epoch != 0) return "ERR Node config epoch is already non-zero";
  d.me->config_epoch = epoch;
  d.current_epoch = std::max(d.current_epoch, epoch);
  d.state_check_wanted = true;
  d.WantSave();
  d.Say(Severity::kNotice, "configEpoch set to {} via CLUSTER SET-CONFIG-EPOCH", epoch);
  return "";
}

Core::Error Core::BumpEpoch(Millis now, std::string& reply, Effects& effects) {
  Impl::Turn turn(*impl_, now, effects);
  const bool bumped = impl_->BumpConfigEpoch();
  reply = fmt::format("{} {}", bumped ? "BUMPED" : "STILL", impl_->me->config_epoch);
  return "";
}

}  // namespace tessera::cluster
