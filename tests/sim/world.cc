#include "tests/sim/world.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cluster/message.h"
#include "fmt/core.h"

namespace tessera::sim {
namespace {

constexpr Millis kUnixStart = 1'700'000'000'000;
constexpr uint16_t kPort = 6379;
constexpr uint16_t kBusPort = 16379;
constexpr Millis kTickEvery = 100;
constexpr int kTrackedSlots = 24;

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

uint64_t HashOf(std::string_view bytes) {
  uint64_t h = 0xcbf29ce484222325ull ^ bytes.size(), word = 0;
  for (; bytes.size() >= sizeof word; bytes.remove_prefix(sizeof word)) {
    std::memcpy(&word, bytes.data(), sizeof word);
    h = (h ^ word) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 29;
  }
  for (unsigned char c : bytes) h = (h ^ c) * 0x100000001b3ull;
  return h;
}

}  // namespace

World::World(WorldConfig config)
    : config_(config),
      random_(config.seed),
      servers_(static_cast<size_t>(config.primaries + config.replicas + config.spares)),
      network_(scheduler_, random_, *this, static_cast<int>(servers_.size())),
      checker_(*this) {
  for (int i = 0; i < size(); ++i) {
    Server& s = servers_[i];
    s.ip = fmt::format("10.0.0.{}", i + 1);
    double drift = (static_cast<double>(random_.Below(2001)) - 1000) / 1000 * config_.clock_drift;
    s.clock_rate = 1 + drift;
    s.clock_offset_ms = config_.clock_drift > 0 ? random_.Between(-5000, 5000) : 0;
  }
  for (int i = 0; i < kTrackedSlots; ++i)
    tracked_slots_.push_back(static_cast<Slot>(i * (cluster::kSlotCount / kTrackedSlots) + random_.Below(600)));
}

World::~World() = default;

// ---- findings ----

void World::Violate(std::string text) {
  if (!violation_.empty()) return;
  violation_ = fmt::format("at {} ms: {}", now(), text);
  if (config_.trace) fmt::print("VIOLATION {}\n", violation_);
}

void World::Trace(int node, const std::string& text) {
  if (config_.trace) fmt::print("{:8} n{} {}\n", now(), node, text);
}

// ---- time ----

Millis World::LocalTime(int node) const {
  const Server& s = servers_[node];
  return kUnixStart + s.clock_offset_ms + static_cast<Millis>(std::llround(static_cast<double>(now()) * s.clock_rate));
}

void World::MeasureClocks() {
  Millis first = LocalTime(0), last = first;
  for (int n = 1; n < size(); ++n) {
    first = std::min(first, LocalTime(n));
    last = std::max(last, LocalTime(n));
  }
  max_clock_skew_ms_ = std::max(max_clock_skew_ms_, last - first);
}

void World::Run(Millis duration) {
  MeasureClocks();
  Millis end = now() + duration;
  while (!violated() && scheduler_.HasTaskBefore(end)) scheduler_.RunOne();
  if (!violated()) scheduler_.AdvanceTo(end);
}

// ---- life and death of processes ----

cluster::Options World::OptionsOf(int node) const {
  cluster::Options o = config_.options;
  o.announced.port = kPort;
  o.announced.bus_port = kBusPort;
  if (config_.announce_ip) o.announced.ip = servers_[node].ip;
  return o;
}

void World::StartTimers(int node) {
  uint32_t life = servers_[node].life;
  scheduler_.After(random_.Below(kTickEvery), [this, node, life] { TickLoop(node, life); });
  scheduler_.After(random_.Below(kTickEvery), [this, node, life] { ReplicationLoop(node, life); });
}

void World::Crash(int node, Death death) {
  Server& s = servers_[node];
  if (!s.core) return;
  Trace(node, death == Death::kPower ? "loses power" : "is killed");
  network_.ProcessDied(node, death == Death::kPower);
  s.core.reset();
  ++s.life;
  s.paused = false;
  if (death == Death::kPower) {
    s.powered = false;
    s.written = s.durable;
    if (s.log_synced < s.log.size()) {
      Count("unsynced writes lost with the power", s.log.size() - s.log_synced);
      s.log.resize(s.log_synced);
    }
  } else {
    s.durable = s.written;  // the page cache outlives the process
  }
  Count(death == Death::kPower ? "power losses" : "kills");
}

void World::Restart(int node, Moving moving) {
  Server& s = servers_[node];
  if (s.core) return;
  if (moving == Moving::kNewAddress) {
    s.ip = fmt::format("10.1.{}.{}", ++address_changes_, node + 1);
    Count("address changes");
  }
  s.powered = true;
  ++s.life;
  s.next_inbound = 1;
  s.writes_paused_until_ms = 0;
  s.following = s.link_up = false;
  s.sync_at = -1;
  s.last_io_ms = 0;
  s.log_synced = s.log.size();
  RebuildData(node);
  std::string error;
  uint64_t seed = random_.Next();
  if (s.durable.empty()) {
    s.core = std::make_unique<Core>(OptionsOf(node), seed, LocalTime(node));
  } else {
    s.core = Core::Load(OptionsOf(node), seed, LocalTime(node), s.durable, &error);
    if (!s.core) return Violate(fmt::format("n{} cannot load its nodes.conf: {}\n{}", node, error, s.durable));
    if (s.core->StateText() != s.durable && config_.trace)
      fmt::print("nodes.conf of n{} changed on loading:\n{}---\n{}", node, s.durable, s.core->StateText());
  }
  s.written = s.durable = s.core->StateText();
  Trace(node, "starts as " + s.core->self().str());
  checker_.Started(node);
  checker_.RestartWaiting();
  SlotSet with_keys;
  for (auto& [slot, values] : s.data)
    if (!values.empty()) with_keys.set(slot);
  GiveReplicationStatus(node);
  if (with_keys.any() && s.core) Deliver(node, cluster::SlotsWithKeys{with_keys});
  StartTimers(node);
  network_.Pump(node);
}

void World::Pause(int node) {
  if (!Running(node)) return;
  Trace(node, "is stopped");
  servers_[node].paused = true;
  Count("pauses");
}

void World::Resume(int node) {
  Server& s = servers_[node];
  if (!s.core || !s.paused) return;
  Trace(node, "goes on");
  s.paused = false;
  checker_.RestartWaiting();
  uint32_t life = s.life;
  // Which of the waiting events comes first is chance.
  if (random_.Chance(0.5)) HandleTick(node);
  if (s.life == life) network_.Pump(node);
  if (s.life == life && s.core) StartTimers(node);
}

void World::JumpClock(int node, Millis by) {
  Trace(node, fmt::format("clock jumps by {} ms", by));
  servers_[node].clock_offset_ms += by;
  MeasureClocks();
  checker_.RestartWaiting();
  Count("clock jumps");
}

void World::Block(int from, int to) {
  if (from != to) network_.Block(from, to);
}

void World::Isolate(int node) {
  for (int other = 0; other < size(); ++other) {
    Block(node, other);
    Block(other, node);
  }
}

void World::MendNetwork() {
  Trace(0, "network mended");
  checker_.RestartWaiting();
  network_.UnblockAll();
}

void World::Heal() {
  config_.save_failure = 0;
  config_.effect_crash = 0;
  for (int n = 0; n < size(); ++n) Restart(n);
  MendNetwork();
  for (int n = 0; n < size(); ++n) Resume(n);
}

// ---- the loops of a process ----

void World::TickLoop(int node, uint32_t life) {
  Server& s = servers_[node];
  if (s.life != life || s.paused || violated()) return;
  HandleTick(node);
  if (s.life != life || !s.core) return;
  Millis wait = std::clamp<Millis>(s.core->NextTick() - LocalTime(node), 1, kTickEvery);
  if (random_.Chance(0.05)) wait += random_.Below(30);  // a busy loop
  scheduler_.After(wait, [this, node, life] { TickLoop(node, life); });
}

void World::HandleTick(int node) {
  uint32_t life = servers_[node].life;
  GiveReplicationStatus(node);
  if (servers_[node].life != life) return;
  Deliver(node, cluster::Tick{});
  if (servers_[node].life == life && servers_[node].core) checker_.AfterTick(node);
}

void World::GiveReplicationStatus(int node) {
  Server& s = servers_[node];
  Deliver(node, cluster::ReplicationStatus{s.offset(), s.following && s.link_up, s.last_io_ms});
}

// ---- events in, effects out ----

void World::Deliver(int node, const cluster::Event& event) {
  Server& s = servers_[node];
  if (!s.core || violated()) return;
  Mix(static_cast<uint64_t>(now()) * 64 + static_cast<uint64_t>(node));
  Mix(event.index());
  uint32_t life = s.life;
  CarryOut(node, s.core->Handle(LocalTime(node), event));
  if (s.core && s.life == life) AfterStep(node);
}

void World::AfterStep(int node) {
  if (servers_[node].core) checker_.AfterStep(node);
}

void World::CarryOut(int node, Effects effects) {
  for (cluster::Effect& effect : effects) {
    Mix(effect.index());
    if (!CarryOutOne(node, effect)) return;
  }
}

bool World::Save(int node, bool must_sync) {
  Server& s = servers_[node];
  auto die = [&](const char* what) {
    Count(what);
    Crash(node, Death::kPower);
    return false;
  };
  if (random_.Chance(config_.effect_crash / 2)) return die("power losses before a save");
  std::string text = s.core->StateText();
  Mix(HashOf(text));
  if (random_.Chance(config_.save_failure)) {
    Count("failed saves");
    Crash(node, Death::kProcess);  // a node that cannot keep its state must not go on
    return false;
  }
  s.written = text;
  if (must_sync) {
    s.durable = text;
    checker_.OnSaved(node);
  } else {
    scheduler_.After(random_.Below(2000), [this, node, life = s.life, text] {
      Server& server = servers_[node];
      if (server.life != life || server.written != text) return;
      server.durable = text;
      checker_.OnSaved(node);
    });
  }
  if (random_.Chance(config_.effect_crash / 2)) return die("power losses after a save");
  return true;
}

bool World::CarryOutOne(int node, cluster::Effect& effect) {
  Server& s = servers_[node];
  return std::visit(Overloaded{
                        [&](cluster::Send& e) {
                          Mix(HashOf(e.bytes));
                          if (!network_.IsOpen(node, e.link)) {
                            Count("sends on closed links");
                            return true;
                          }
                          if (e.bytes[13] > 2 || random_.Chance(0.1)) {  // all but gossip, and some of that
                            auto decoded = cluster::Decode(e.bytes);
                            if (auto* error = std::get_if<cluster::DecodeError>(&decoded))
                              Violate(fmt::format("n{} sends what cannot be decoded: {}", node, error->reason));
                          }
                          checker_.OnSend(node, network_.PeerOf(node, e.link), e.bytes);
                          network_.Send(node, e.link, std::move(e.bytes));
                          return true;
                        },
                        [&](cluster::OpenLink& e) {
                          Mix(HashOf(e.ip));
                          network_.Dial(node, e.link, e.ip, e.bus_port);
                          return true;
                        },
                        [&](cluster::CloseLink& e) {
                          network_.Close(node, e.link);
                          return true;
                        },
                        [&](cluster::SaveState& e) { return Save(node, e.must_sync); },
                        [&](cluster::DropKeysInSlots& e) {
                          for (auto it = s.data.begin(); it != s.data.end();) {
                            Slot slot = (it++)->first;  // Append erases it
                            if (!e.slots.test(slot)) continue;
                            Count("slots dropped with keys");
                            Trace(node, fmt::format("drops keys of slot {}", slot));
                            Append(node, LogEntry::Op::kDropSlot, slot, 0);
                          }
                          return true;
                        },
                        [&](cluster::FollowPrimary& e) {
                          Trace(node, "follows " + e.id.str() + " at " + e.endpoint.ip);
                          if (!s.following || s.primary != e.id) s.last_io_ms = 0;
                          if (!s.following || s.primary != e.id || !(s.primary_endpoint == e.endpoint)) {
                            s.link_up = false;
                            s.sync_at = -1;
                          }
                          s.following = true;
                          s.primary = e.id;
                          s.primary_endpoint = e.endpoint;
                          return true;
                        },
                        [&](cluster::BecomePrimary&) {
                          Trace(node, "becomes primary");
                          s.following = s.link_up = false;
                          return true;
                        },
                        [&](cluster::EmptyDataset&) {
                          s.log.clear();
                          s.log_synced = 0;
                          s.data.clear();
                          return true;
                        },
                        [&](cluster::PauseWrites& e) {
                          s.writes_paused_until_ms = e.until_ms;
                          Count("write pauses");
                          return true;
                        },
                        [&](cluster::ResumeWrites&) {
                          s.writes_paused_until_ms = 0;
                          return true;
                        },
                        [&](cluster::Publish&) { return true; },
                        [&](cluster::SlotMapChanged&) { return true; },
                        [&](cluster::Note& e) {
                          if (config_.trace) Trace(node, "| " + e.text);
                          return true;
                        },
                    },
                    effect);
}

// ---- what the network tells ----

int World::NodeAt(const std::string& ip, uint16_t bus_port) const {
  if (bus_port != kBusPort) return -1;
  for (int n = 0; n < size(); ++n)
    if (servers_[n].ip == ip) return n;
  return -1;
}

int World::IndexOf(const NodeId& id) const {
  for (int n = 0; n < size(); ++n)
    if (servers_[n].core && servers_[n].core->self() == id) return n;
  return -1;
}

void World::OnAccepted(int node, LinkId link) { Deliver(node, cluster::LinkAccepted{link}); }
void World::OnOpened(int node, LinkId link) { Deliver(node, cluster::LinkOpened{link}); }
void World::OnClosed(int node, LinkId link) { Deliver(node, cluster::LinkClosed{link}); }
void World::OnMessage(int node, LinkId link, std::string_view bytes, const std::string& peer_ip,
                      const std::string& local_ip) {
  // From a block of exactly the message's size, so that a sanitizer sees every read past it.
  std::string exact(bytes);
  exact.shrink_to_fit();
  Mix(HashOf(bytes));
  Deliver(node, cluster::MessageReceived{link, exact, peer_ip, local_ip});
}
void World::OnBrokenStream(int node, LinkId link) {
  Violate(fmt::format("n{} finds no message on link {}", node, link));
}

// ---- the toy data ----

void World::Append(int node, LogEntry::Op op, Slot slot, uint64_t value) {
  Server& s = servers_[node];
  s.log.push_back({next_uid_++, op, slot, value, s.offset() + 40});
  if (op == LogEntry::Op::kWrite)
    s.data[slot].insert(value);
  else
    s.data.erase(slot);
}

void World::RebuildData(int node) {
  Server& s = servers_[node];
  s.data.clear();
  for (const LogEntry& e : s.log) {
    if (e.op == LogEntry::Op::kWrite)
      s.data[e.slot].insert(e.value);
    else
      s.data.erase(e.slot);
  }
}

void World::CopyHistory(int from, int to) {
  Server &source = servers_[from], &copy = servers_[to];
  bool prefix = copy.log.size() <= source.log.size() &&
                (copy.log.empty() || copy.log.back().uid == source.log[copy.log.size() - 1].uid);
  if (prefix) {
    Count("partial resyncs");
  } else {
    Count("full resyncs");
    copy.log = source.log;
    copy.log_synced = 0;
    RebuildData(to);
  }
}

void World::ReplicationLoop(int node, uint32_t life) {
  Server& s = servers_[node];
  if (s.life != life || s.paused || violated()) return;
  ReplicationStep(node);
  if (random_.Chance(0.1)) s.log_synced = s.log.size();
  scheduler_.After(40 + random_.Below(60), [this, node, life] { ReplicationLoop(node, life); });
}

void World::ReplicationStep(int node) {
  Server& s = servers_[node];
  if (!s.following) return;
  int source = NodeAt(s.primary_endpoint.ip, s.primary_endpoint.bus_port);
  auto down = [&] {
    s.link_up = false;
    s.sync_at = -1;
  };
  if (source < 0 || source == node) return down();
  Server& p = servers_[source];
  if (!p.powered || p.paused || network_.Blocked(source, node) || network_.Blocked(node, source)) {
    if (s.link_up && now() - s.last_contact_ms > 10 * config_.options.node_timeout_ms) down();
    return;
  }
  bool same_process = p.core && p.life == s.link_life && s.link_node == source;
  if (s.link_up && !same_process) return down();
  if (!p.core || (p.following && (!p.link_up || p.primary == s.core->self()))) return down();
  if (!s.link_up) {
    if (s.sync_at < 0) s.sync_at = now() + random_.Below(300);
    if (now() < s.sync_at) return;
    CopyHistory(source, node);
    s.link_up = true;
    s.link_node = source;
    s.link_life = p.life;
    s.last_io_ms = LocalTime(node);
  }
  s.last_contact_ms = now();
  bool prefix = s.log.size() <= p.log.size() && (s.log.empty() || s.log.back().uid == p.log[s.log.size() - 1].uid);
  if (!prefix) return down();  // its history was replaced: synchronise again
  size_t behind = p.log.size() - s.log.size();
  size_t count = random_.Chance(0.8) ? behind : static_cast<size_t>(random_.Below(static_cast<int64_t>(behind) + 1));
  for (size_t i = s.log.size(); count > 0; ++i, --count) {
    const LogEntry& e = p.log[i];
    s.log.push_back(e);
    if (e.op == LogEntry::Op::kWrite)
      s.data[e.slot].insert(e.value);
    else
      s.data.erase(e.slot);
    s.last_io_ms = LocalTime(node);
  }
  if (now() >= s.next_heartbeat_ms) {
    s.next_heartbeat_ms = now() + config_.options.repl_ping_replica_period_ms;
    s.last_io_ms = LocalTime(node);
  }
}

void World::ClientLoop() {
  if (violated()) return;
  ClientWrite();
  scheduler_.After(1 + random_.Below(2 * config_.write_every_ms), [this] { ClientLoop(); });
}

// A client that stands beside one node, asks any node it can reach, and follows redirections.
void World::ClientWrite() {
  Slot slot = tracked_slots_[random_.Below(kTrackedSlots)];
  int beside = static_cast<int>(random_.Below(size()));
  int node = static_cast<int>(random_.Below(size()));
  bool asking = false;
  for (int hop = 0; hop < 5; ++hop) {
    if (!Running(node) || network_.Blocked(beside, node) || network_.Blocked(node, beside))
      return Count("writes to unreachable nodes");
    Server& s = servers_[node];
    if (!s.core->ok()) return Count("writes refused: cluster down");
    const cluster::NodeView* owner = s.core->OwnerOf(slot);
    if (owner == nullptr) return Count("writes refused: slot unassigned");
    bool mine = owner->id == s.core->self();
    if (!mine && !(asking && s.core->ImportingFrom(slot))) {
      node = IndexOf(owner->id);
      asking = false;
      if (node < 0) return Count("writes to unreachable nodes");
      continue;
    }
    if (s.following) return Count("writes to a replica");
    if (s.writes_paused_until_ms > LocalTime(node)) return Count("writes held back by a pause");
    if (mine && s.core->MigratingTo(slot)) {  // the key is new, so it is not here
      Count("writes redirected by ASK");
      node = IndexOf(s.core->MigratingTo(slot)->id);
      asking = true;
      if (node < 0) return Count("writes to unreachable nodes");
      continue;
    }
    uint64_t value = next_uid_;
    Append(node, LogEntry::Op::kWrite, slot, value);
    acknowledged_.push_back({value, slot, node, now()});
    return;
  }
  Count("writes redirected in circles");
}

int World::LostWrites() const {
  int lost = 0;
  for (const Write& w : acknowledged_) {
    const cluster::NodeView* owner = servers_[0].core ? servers_[0].core->OwnerOf(w.slot) : nullptr;
    int node = owner ? IndexOf(owner->id) : -1;
    if (node < 0) {
      ++lost;
      continue;
    }
    auto it = servers_[node].data.find(w.slot);
    if (it != servers_[node].data.end() && it->second.count(w.value)) continue;
    ++lost;
    if (config_.trace)
      fmt::print("lost: write {} of slot {} taken by n{} at {}, owner now n{}\n", w.value, w.slot, w.node, w.at, node);
  }
  return lost;
}

}  // namespace tessera::sim
