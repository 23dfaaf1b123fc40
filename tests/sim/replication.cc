// The data of the simulated nodes: a log of writes each, copied from primary to replica late and in pieces.
//
//   partial   what the replica holds is a beginning of the primary's log: it goes on from there
//   full      else: the image is received while the old data stays, then loaded in place of it. Who dies or is promoted
//             while loading has lost the old and not gained the new.
#include <algorithm>

#include "tests/sim/world.h"

namespace tessera::sim {
namespace {

constexpr Millis kStepMs = 40;
constexpr ReplicationOffset kEntryBytes = 40;

bool IsBeginningOf(const std::vector<LogEntry>& part, const std::vector<LogEntry>& whole) {
  return part.size() <= whole.size() && (part.empty() || part.back().uid == whole[part.size() - 1].uid);
}

}  // namespace

void Values::Add(uint64_t value) {
  if (values_.empty() || values_.back() < value) {
    values_.push_back(value);
  } else if (auto at = std::lower_bound(values_.begin(), values_.end(), value); *at != value) {
    values_.insert(at, value);
  }
}

bool Values::Has(uint64_t value) const { return std::binary_search(values_.begin(), values_.end(), value); }

void World::Apply(Server& server, const LogEntry& entry) {
  if (entry.op == LogEntry::Op::kWrite)
    server.data[entry.slot].Add(entry.value);
  else
    server.data.erase(entry.slot);
}

void World::Append(int node, LogEntry::Op op, Slot slot, uint64_t value) {
  Server& s = servers_[node];
  s.log.push_back({next_uid_++, op, slot, value, s.offset() + kEntryBytes});
  Apply(s, s.log.back());
}

void World::RebuildData(int node) {
  Server& s = servers_[node];
  s.data.clear();
  for (const LogEntry& e : s.log) Apply(s, e);
}

void World::DropKeys(int node, const SlotSet& slots) {
  Server& s = servers_[node];
  for (auto it = s.data.begin(); it != s.data.end();) {
    Slot slot = (it++)->first;  // Append erases it
    if (!slots.test(slot)) continue;
    Count("slots dropped with keys");
    Trace(node, "drops keys of slot " + std::to_string(slot));
    Append(node, LogEntry::Op::kDropSlot, slot, 0);
  }
}

cluster::ReplicationStatus World::ReplicationStatusOf(int node) const {
  const Server& s = servers_[node];
  return {s.offset(), s.following && s.link_up, s.last_io_ms, s.following ? s.primary : NodeId()};
}

void World::Follow(int node, const cluster::FollowPrimary& whom) {
  Server& s = servers_[node];
  Trace(node, "follows " + whom.id.str() + " at " + whom.endpoint.ip);
  const bool another = !s.following || s.primary != whom.id;
  if (another || !(s.primary_endpoint == whom.endpoint)) {
    s.link_up = false;
    if (s.sync != Server::Sync::kLoading || another) {
      if (s.sync == Server::Sync::kLoading) Count("loads of a dataset broken off");
      s.sync = Server::Sync::kNone;
      s.sync_at = -1;
    }
  }
  if (!s.following) s.last_io_ms = 0;
  if (another) {
    // A successor of the primary it followed has the same history.
    const cluster::NodeView* last = s.following ? core(node).Find(s.primary.view()) : nullptr;
    if (last == nullptr || last->shard_id != core(node).me().shard_id) s.synced = false;
  }
  s.following = true;
  s.resting = false;
  s.primary = whom.id;
  s.primary_endpoint = whom.endpoint;
}

void World::ReplicationLoop(int node, uint32_t life) {
  Server& s = servers_[node];
  if (s.life != life || s.paused || violated()) return;
  if (!Busy(node)) {
    ReplicationStep(node);
    std::erase_if(s.waits, [&](const Server::Wait& w) { return w.until < now() || s.following; });
  }
  if (random_.Chance(0.1)) s.log_synced = s.log.size();
  scheduler_.After(kStepMs + random_.Below(60), [this, node, life] { ReplicationLoop(node, life); });
}

void World::ReplicationStep(int node) {
  Server& s = servers_[node];
  if (!s.following) return;
  if (s.sync == Server::Sync::kLoading) {  // goes on without the primary
    if (now() < s.sync_at) return;
    s.log = std::move(s.image);
    s.image.clear();
    s.log_synced = 0;
    RebuildData(node);
    s.synced = true;
    s.sync = Server::Sync::kNone;
    s.sync_at = -1;
    Count("full resyncs");
  }
  if (s.resting) return;
  auto down = [&] {
    if (s.sync == Server::Sync::kReceiving) Count("full resyncs broken off");
    s.link_up = false;
    s.sync = Server::Sync::kNone;
    s.sync_at = -1;
  };
  const int source = NodeAt(s.primary_endpoint.ip, s.primary_endpoint.bus_port);
  if (source < 0 || source == node) return down();
  const Server& p = servers_[source];
  if (!p.powered || Paused(source) || network_.Blocked(source, node) || network_.Blocked(node, source)) {
    if (now() - s.last_contact_ms > 10 * config_.options.node_timeout_ms) down();
    return;
  }
  const bool same_process = p.core && p.life == s.link_life && s.link_node == source;
  if ((s.link_up || s.sync == Server::Sync::kReceiving) && !same_process) return down();
  if (!p.core || p.starting || (p.following && (!p.link_up || p.primary == s.core->self()))) return down();
  if (p.core->self() != s.primary) {  // the handshake asks who is there
    Count("replicas that found another node at their primary's address");
    return down();
  }
  s.last_contact_ms = now();
  if (!s.link_up && !Synchronise(node, source)) return;
  if (!IsBeginningOf(s.log, p.log)) return down();  // its history was replaced: synchronise again
  ApplyStream(node, p);
  Acknowledge(node, source);
}

// True = the stream can go on from what this node holds.
bool World::Synchronise(int node, int source) {
  Server& s = servers_[node];
  const Server& p = servers_[source];
  if (s.sync_at < 0) s.sync_at = now() + random_.Below(300);
  if (now() < s.sync_at) return false;
  s.link_node = source;
  s.link_life = p.life;
  if (s.sync == Server::Sync::kReceiving) {
    s.sync = Server::Sync::kLoading;
    s.sync_at = now() + random_.Below(config_.full_sync_ms + 1);
    s.synced = false;
    s.log.clear();
    s.log_synced = 0;
    s.data.clear();
    s.last_io_ms = 0;
    return false;
  }
  if (!IsBeginningOf(s.log, p.log)) {
    s.sync = Server::Sync::kReceiving;
    s.sync_at = now() + random_.Below(config_.full_sync_ms + 1);
    s.image = p.log;
    return false;
  }
  Count("partial resyncs");
  s.sync_at = -1;
  s.link_up = s.synced = true;
  s.synced_with = s.primary;
  s.last_io_ms = LocalTime(node);
  return true;
}

void World::ApplyStream(int node, const Server& source) {
  Server& s = servers_[node];
  size_t count = source.log.size() - s.log.size();
  if (now() < s.applies_from_ms) count = std::min(count, s.applies_at_once);
  if (random_.Chance(0.2)) count = static_cast<size_t>(random_.Below(static_cast<int64_t>(count) + 1));
  for (; count > 0; --count) {
    s.log.push_back(source.log[s.log.size()]);
    Apply(s, s.log.back());
    s.last_io_ms = LocalTime(node);
  }
  if (now() < s.next_heartbeat_ms) return;
  s.next_heartbeat_ms = now() + config_.options.repl_ping_replica_period_ms;
  s.last_io_ms = LocalTime(node);
}

// REPLCONF ACK, which answers the primary's GETACK while somebody WAITs there.
void World::Acknowledge(int replica, int primary) {
  const Server& p = servers_[primary];
  if (p.waits.empty()) return;
  scheduler_.After(1 + random_.Below(5), [this, replica, primary, life = p.life, end = servers_[replica].offset()] {
    Server& s = servers_[primary];
    if (s.life != life || !Serves(primary) || s.following) return;
    std::erase_if(s.waits, [&](Server::Wait& w) {
      if (w.end > end) return false;
      w.by |= 1u << replica;
      if (__builtin_popcount(w.by) < w.wanted) return false;
      history_.Confirmed(w.write, w.by);
      return true;
    });
  });
}

void World::HoldReplication(int node, Millis duration, size_t at_once) {
  servers_[node].applies_from_ms = now() + duration;
  servers_[node].applies_at_once = at_once;
  Count("replicas held back");
}

// ---- clients ----

void World::ClientLoop() {
  if (violated()) return;
  random_.Chance(0.75) ? ClientWrite() : ClientRead();
  scheduler_.After(1 + random_.Below(2 * config_.write_every_ms), [this] { ClientLoop(); });
}

// A client that stands beside one node, asks any node it can reach, and follows redirections. -1 = it gave up.
int World::Route(Slot slot, bool* asking) {
  auto give_up = [this](const char* why) {
    Count(why);
    return -1;
  };
  *asking = false;
  const int beside = static_cast<int>(random_.Below(size()));
  int node = static_cast<int>(random_.Below(size()));
  for (int hop = 0; hop < 5; ++hop) {
    if (node < 0 || !Serves(node) || network_.Blocked(beside, node) || network_.Blocked(node, beside))
      return give_up("requests to unreachable nodes");
    const Core& core = *servers_[node].core;
    if (core.ok() && !servers_[node].following && LocalTime(node) > core.lease_until_ms()) {  // as the server does before it serves
      Admin(node, [](Core& c, Millis at, Effects& e) { return c.CheckLease(at, e), std::string(); });
      if (!Running(node)) return give_up("requests to unreachable nodes");
    }
    if (!servers_[node].core->ok()) return give_up("requests refused: cluster down");
    const cluster::NodeView* owner = core.OwnerOf(slot);
    if (owner == nullptr) return give_up("requests refused: slot unassigned");
    const bool mine = owner->id == core.self();
    if (!mine && !(*asking && core.ImportingFrom(slot))) {
      node = IndexOf(owner->id);
      *asking = false;
      continue;
    }
    if (servers_[node].following) return give_up("requests to a replica");
    if (!mine || !core.MigratingTo(slot)) return node;
    // The key is new, so it is not here.
    Count("writes redirected by ASK");
    node = IndexOf(core.MigratingTo(slot)->id);
    *asking = true;
  }
  return give_up("requests redirected in circles");
}

void World::ClientWrite() {
  const Slot slot = tracked_slots_[random_.Below(static_cast<int64_t>(tracked_slots_.size()))];
  bool asked = false;
  const int node = Route(slot, &asked);
  if (node < 0) return;
  Server& s = servers_[node];
  if (WritesPaused(node)) return Count("writes held back by a pause");
  const uint64_t value = next_uid_;
  Append(node, LogEntry::Op::kWrite, slot, value);
  const size_t number = history_.Acknowledged({.value = value, .slot = slot, .node = node, .at = now(), .asked = asked});
  if (!random_.Chance(config_.wait_share)) return;
  int replicas = 0;
  for (auto& [id, view] : s.core->nodes()) replicas += view.primary == s.core->self();
  if (replicas == 0) return;
  const int wanted = random_.Chance(0.7) ? replicas : static_cast<int>(random_.Between(1, replicas));
  s.waits.push_back({number, s.offset(), wanted, 0, now() + random_.Between(100, 5000)});
}

void World::ClientRead() {
  const Slot slot = tracked_slots_[random_.Below(static_cast<int64_t>(tracked_slots_.size()))];
  bool asked = false;
  const int node = Route(slot, &asked);
  if (node >= 0 && !asked) history_.Read(node, slot);
}

}  // namespace tessera::sim
