// The nodes this one knows, their roles, who owns which slot, and the links to them.
#include <arpa/inet.h>

#include <algorithm>
#include <cassert>

#include "cluster/core_impl.h"

namespace tessera::cluster {

bool IsNumericAddress(std::string_view text) {
  unsigned char buffer[sizeof(in6_addr)];
  std::string z(text);
  return inet_pton(AF_INET, z.c_str(), buffer) == 1 || inet_pton(AF_INET6, z.c_str(), buffer) == 1;
}

std::string NodeName(const NodeView& node) {
  if (!node.human_nodename.empty()) return fmt::format("{} ({})", node.id.view(), node.human_nodename);
  if (node.endpoint.ip.empty()) return node.id.str();
  return fmt::format("{} ({}:{})", node.id.view(), node.endpoint.ip,
                     node.endpoint.port ? node.endpoint.port : node.endpoint.tls_port);
}

// ---- nodes ----

NodeId Core::Impl::RandomId() {
  char text[NodeId::kLength];
  for (size_t i = 0; i < NodeId::kLength; i += 8) {
    uint64_t r = rng();
    for (size_t j = 0; j < 8; ++j, r >>= 4) text[i + j] = "0123456789abcdef"[r & 15];
  }
  return NodeId({text, sizeof text});
}

NodeView* Core::Impl::Lookup(const NodeId& id) {
  auto it = nodes.find(id);
  return it == nodes.end() ? nullptr : &it->second;
}

NodeView* Core::Impl::LookupText(std::string_view id) { return NodeId::IsValid(id) ? Lookup(NodeId(id)) : nullptr; }

NodeView* Core::Impl::RandomNode() {
  if (index.empty())
    for (auto& [id, node] : nodes) index.push_back(&node);
  return index[rng() % index.size()];
}

NodeView* Core::Impl::AddNode(const NodeId& id, uint16_t flags) {
  auto [it, inserted] = nodes.try_emplace(id);
  assert(inserted);
  NodeView& node = it->second;
  node.id = id;
  node.shard_id = RandomId();
  node.flags = flags;
  node.created_ms = now;
  if (flags & kFail) node.fail_since_ms = now;
  index.clear();
  map_changed = true;
  return &node;
}

void Core::Impl::RemoveNode(NodeView* node) {
  assert(node != me);
  for (int slot = 0; slot < kSlotCount; ++slot) {
    if (migrating_to[slot] == node) migrating_to[slot] = nullptr;
    if (importing_from[slot] == node) importing_from[slot] = nullptr;
  }
  UnassignSlotsOf(node);
  if (manual.replica == node) ResetManualFailover();
  SetPrimary(node, nullptr);
  for (auto& [id, other] : nodes) {
    RemoveFailureReport(&other, node->id);
    if (other.primary == node->id) other.primary = NodeId();
  }
  if (node->outbound) CloseLinkById(node->outbound);
  if (node->inbound) CloseLinkById(node->inbound);
  for (auto& [id, link] : links)
    if (link.node == node) link.node = nullptr;  // a probe: whoever answers is told apart then
  holders.erase(node->id);
  up_to_date.erase(node->id);
  offered.erase(node->id);
  nodes.erase(NodeId(node->id));
  index.clear();
  map_changed = true;
}

void Core::Impl::RenameNode(NodeView* node, const NodeId& id) {
  auto handle = nodes.extract(node->id);
  handle.key() = id;
  handle.mapped().id = id;
  nodes.insert(std::move(handle));
  index.clear();
  map_changed = true;
}

void Core::Impl::Forget(NodeView* node, Millis until) {
  forgotten[node->id] = until;
  RemoveNode(node);
  state_check_wanted = true;
  WantSave();
}

bool Core::Impl::IsForgotten(const NodeId& id) {
  std::erase_if(forgotten, [&](const auto& entry) { return entry.second < now; });
  return forgotten.contains(id);
}

// ---- roles ----

void Core::Impl::SetPrimary(NodeView* node, NodeView* primary) {
  if (NodeView* old = PrimaryOf(*node); old && old != primary) {
    node->primary = NodeId();
    // A primary that lost its last replica this way was left on purpose: it does not ask for another.
    bool has_replicas = std::any_of(nodes.begin(), nodes.end(), [&](auto& e) { return e.second.primary == old->id; });
    if (!has_replicas) old->flags &= ~kMigrateTo;
  }
  node->primary = primary ? primary->id : NodeId();
  if (primary) primary->flags |= kMigrateTo;
}

void Core::Impl::BecomeKnownPrimary(NodeView* node) {
  if (IsPrimary(*node)) return;
  if (!node->primary.empty()) {
    SetPrimary(node, nullptr);
    // Promoted from the ranks of replicas, so it deserves one itself.
    if (node != me) node->flags |= kMigrateTo;
  }
  node->flags = static_cast<uint16_t>((node->flags & ~kReplica) | kPrimary);
  state_check_wanted = map_changed = true;
  WantSave();
}

void Core::Impl::BecomeKnownReplica(NodeView* node, NodeView* primary) {
  if (!IsReplica(*node)) {
    UnassignSlotsOf(node);
    node->flags = static_cast<uint16_t>((node->flags & ~(kPrimary | kMigrateTo)) | kReplica);
    state_check_wanted = map_changed = true;
    WantSave();
  }
  if (primary && node->primary != primary->id) {
    SetPrimary(node, primary);
    SetShard(node, primary->shard_id);
    map_changed = true;
    WantSave();
  }
}

void Core::Impl::BecomeReplicaOf(NodeView* primary) {
  assert(primary != me);
  if (IsPrimary(*me)) {
    me->flags = static_cast<uint16_t>((me->flags & ~(kPrimary | kMigrateTo)) | kReplica);
    UnassignSlotsOf(me);
    CloseOpenSlots();
  }
  if (me->shard_id != primary->shard_id) foreign_data = true;
  SetPrimary(me, primary);
  SetShard(me, primary->shard_id);
  // Votes gathered for the old primary's slots must not win the new one's.
  election = Election{};
  ReconcileReplication();
  ResetManualFailover();
  state_check_wanted = map_changed = true;
  WantDurableSave();
}

void Core::Impl::ReconcileReplication() {
  if (IsPrimary(*me)) {
    foreign_data = false;
    if (following) {
      following.reset();
      promoted = true;
      Emit(BecomePrimary{});
    }
    return;
  }
  NodeView* primary = PrimaryOf(*me);
  if (!primary || primary->endpoint.ip.empty() || primary->is(kNoAddress | kHandshake)) return;
  const Endpoint& e = primary->endpoint;
  if (following && following->id == primary->id && following->endpoint.ip == e.ip &&
      following->endpoint.port == e.port && following->endpoint.tls_port == e.tls_port)
    return;
  following = FollowPrimary{primary->id, e};
  Emit(*following);
}

void Core::Impl::SetShard(NodeView* node, const NodeId& shard) {
  if (node->shard_id != shard) {
    node->shard_id = shard;
    map_changed = true;
    WantSave();
  }
  if (node != me && me->primary == node->id && me->shard_id != shard) {
    me->shard_id = shard;  // a replica lives in its primary's shard
    WantSave();
  }
}

// ---- slots ----

void Core::Impl::AssignSlot(Slot slot, NodeView* node) {
  UnassignSlot(slot);
  owner[slot] = node;
  assigned.set(slot);
  node->slots.set(slot);
  ++node->slot_count;
}

void Core::Impl::UnassignSlot(Slot slot) {
  map_changed = true;
  unclaimed.reset(slot);
  NodeView* old = owner[slot];
  if (!old) return;
  owner[slot] = nullptr;
  assigned.reset(slot);
  old->slots.reset(slot);
  --old->slot_count;
}

int Core::Impl::UnassignSlotsOf(NodeView* node) {
  const SlotSet slots = node->slots;
  for (size_t slot = FirstSlot(slots); slot < kSlotCount; slot = NextSlot(slots, slot))
    UnassignSlot(static_cast<Slot>(slot));
  return static_cast<int>(slots.count());
}

void Core::Impl::CloseOpenSlots() {
  migrating_to.fill(nullptr);
  importing_from.fill(nullptr);
  map_changed = true;
}

// ---- epochs and what this node announces ----

Epoch Core::Impl::MaxEpoch() const {
  Epoch max = current_epoch;
  for (const auto& [id, node] : nodes) max = std::max(max, node.config_epoch);
  return max;
}

bool Core::Impl::BumpConfigEpoch() {
  if (me->config_epoch != 0 && me->config_epoch == MaxEpoch()) return false;
  me->config_epoch = ++current_epoch;
  WantDurableSave();
  Say(Severity::kNotice, "New configEpoch set to {}", me->config_epoch);
  return true;
}

void Core::Impl::ApplyOptions() {
  const NodeView before = *me;
  const Endpoint& announced = options.announced;
  if (!announced.ip.empty()) me->endpoint.ip = announced.ip;
  me->endpoint.port = announced.port;
  me->endpoint.tls_port = announced.tls_port;
  me->endpoint.bus_port = announced.bus_port;
  me->endpoint.hostname = announced.hostname;
  me->endpoint.client = announced.client;
  me->human_nodename = options.human_nodename;
  me->flags = static_cast<uint16_t>((me->flags & ~kNoFailover) | (options.replica_no_failover ? kNoFailover : 0));
  if (!(before.endpoint == me->endpoint) || before.flags != me->flags || before.human_nodename != me->human_nodename) {
    map_changed = true;
    WantSave();
  }
}

// ---- links ----

void Core::Impl::OpenLinkTo(NodeView* node) {
  LinkId id = next_link++;
  links[id] = Link{.node = node, .created_ms = now};
  node->outbound = id;
  node->outbound_connected = false;
  node->outbound_created_ms = now;
  Emit(OpenLink{id, node->id, node->endpoint.ip, node->endpoint.bus_port, node->endpoint.hostname, false});
}

void Core::Impl::DetachLink(LinkId id) {
  auto it = links.find(id);
  if (it == links.end()) return;
  if (NodeView* node = it->second.node) {
    if (node->outbound == id) {
      node->outbound = 0;
      node->outbound_connected = false;
    }
    if (node->inbound == id) node->inbound = 0;
  }
  links.erase(it);
}

void Core::Impl::CloseLinkById(LinkId id) {
  DetachLink(id);
  Emit(CloseLink{id});
}

void Core::Impl::OnLinkAccepted(LinkId id) {
  links[id] = Link{.inbound = true, .open = true, .created_ms = now};
  if (links.size() <= kStrangersMax) return;
  size_t strangers = 0;
  LinkId oldest = id;
  for (const auto& [other, link] : links) {
    if (!link.inbound || link.node != nullptr) continue;
    ++strangers;
    if (link.created_ms < links[oldest].created_ms || (link.created_ms == links[oldest].created_ms && other < oldest))
      oldest = other;
  }
  if (strangers <= kStrangersMax) return;
  Say(Severity::kVerbose, "Closing an inbound link: {} of them are open that no known node has spoken on", strangers);
  CloseLinkById(oldest);
}

void Core::Impl::OnLinkOpened(LinkId id) {
  auto it = links.find(id);
  if (it == links.end() || it->second.inbound) return;
  it->second.open = true;
  if (it->second.probe) return SendPing(id, MessageType::kPing);
  NodeView* node = it->second.node;
  node->outbound_connected = true;
  // The first ping goes out at once. A pong still owed from the link before keeps its date, or a node that accepts
  // and never answers would look alive for ever.
  Millis owed_since = node->ping_sent_ms;
  SendPing(id, node->is(kMeet) ? MessageType::kMeet : MessageType::kPing);
  if (owed_since) node->ping_sent_ms = owed_since;
  node->flags &= ~kMeet;
}

void Core::Impl::OnLinkClosed(const LinkClosed& event) {
  auto it = links.find(event.link);
  if (it == links.end()) return;
  if (event.over_buffer_limit) ++links_over_buffer_limit;
  // Refused before the first ping: count the time from now, so that a node nobody can dial is noticed.
  if (NodeView* node = it->second.node;
      node && !it->second.inbound && !it->second.probe && !it->second.open && !node->ping_sent_ms)
    node->ping_sent_ms = now;
  DetachLink(event.link);
}

void Core::Impl::AttachInbound(LinkId id, Link& link, NodeView* node) {
  if (!link.inbound || link.node == node) return;
  if (link.node && link.node->inbound == id) link.node->inbound = 0;
  if (node->inbound) CloseLinkById(node->inbound);  // the node dialled anew; its old link is stale
  link.node = node;
  node->called = true;
  node->inbound = id;
  node->inbound_created_ms = link.created_ms;
}

}  // namespace tessera::cluster
