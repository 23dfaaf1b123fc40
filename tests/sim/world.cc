#include "tests/sim/world.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <iterator>

#include "cluster/message.h"
#include "fmt/core.h"
#include "tests/sim/coverage.h"

namespace tessera::sim {
namespace {

constexpr Millis kUnixStart = 1'700'000'000'000;
constexpr uint16_t kPort = 6379;
constexpr uint16_t kBusPort = 16379;
constexpr Millis kTickEvery = 100;
constexpr int kTrackedSlots = 24;  // at most 32: History keeps them as bits

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
      checker_(*this),
      history_(*this) {
  static_assert(kTrackedSlots <= 32);
  assert(size() <= 32);  // replicas that confirm are bits
  for (int i = 0; i < size(); ++i) {
    Server& s = servers_[i];
    s.ip = fmt::format("10.0.0.{}", i + 1);
    double drift = (static_cast<double>(random_.Below(2001)) - 1000) / 1000 * config_.clock_drift;
    s.clock_rate = 1 + drift;
    s.clock_offset_ms = config_.clock_drift > 0 ? random_.Between(-5000, 5000) : 0;
  }
  for (int i = 0; i < kTrackedSlots; ++i)
    tracked_slots_.push_back(static_cast<Slot>(i * (cluster::kSlotCount / kTrackedSlots) + random_.Below(600)));
  tracked_index_.fill(-1);
  for (int i = 0; i < kTrackedSlots; ++i) tracked_index_[tracked_slots_[i]] = static_cast<int8_t>(i);
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
  if (resharding_.contains(node)) Count("deaths of a party to a reshard");
  if (s.core->ManualFailoverInProgress()) Count("deaths of a party to a manual failover");
  if (Busy(node)) Count("deaths of a process that waits for its disk");
  network_.ProcessDied(node, death == Death::kPower);
  s.core.reset();
  ++s.life;
  s.paused = s.starting = false;
  s.busy_until_ms = 0;
  s.queued.clear();
  s.waits.clear();
  s.image.clear();
  if (s.sync == Server::Sync::kLoading) Count("loads of a dataset broken off");
  s.sync = Server::Sync::kNone;
  DiskDies(node, death);
  if (death == Death::kPower) {
    s.powered = false;
    if (s.log_synced < s.log.size()) {
      Count("unsynced writes lost with the power", s.log.size() - s.log_synced);
      for (size_t i = s.log_synced; i < s.log.size(); ++i)
        if (s.log[i].op == LogEntry::Op::kWrite) s.lost_by_power.insert(s.log[i].value);
      s.log.resize(s.log_synced);
    }
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
  s.undisturbed_since_ms = now();
  s.writes_paused_until_ms = 0;
  s.asked_at_ms = -1;
  s.following = s.link_up = false;
  s.sync_at = -1;
  s.last_io_ms = 0;
  s.log_synced = s.log.size();
  RebuildData(node);
  std::string error;
  uint64_t seed = random_.Next();
  if (s.disk.durable.empty()) {
    s.core = std::make_unique<Core>(OptionsOf(node), seed, LocalTime(node));
  } else {
    s.core = Core::Load(OptionsOf(node), seed, LocalTime(node), s.disk.durable, &error);
    if (!s.core) return Violate(fmt::format("n{} cannot load its nodes.conf: {}\n{}", node, error, s.disk.durable));
  }
  if (!s.secret.empty() && !s.core->LoadSecret(s.secret)) return Violate("a secret that was saved cannot be loaded");
  s.secret = s.core->SecretText();
  Trace(node, "starts as " + s.core->self().str());
  SaveEnded(node, WriteOut(node, s.core->StateText()));
  s.last_primary = s.core->me().primary;
  checker_.Started(node);
  history_.Started(node);
  checker_.RestartWaiting();
  Deliver(node, {cluster::OwnAddress{s.ip}});
  if (!s.core) return;
  s.starting = true;
  if (s.log.empty() || random_.Chance(0.5))
    DatasetLoaded(node, s.life);
  else
    scheduler_.After(random_.Below(config_.full_sync_ms + 1), [this, node, life = s.life] { DatasetLoaded(node, life); });
  network_.Pump(node);
}

void World::DatasetLoaded(int node, uint32_t life) {
  Server& s = servers_[node];
  if (s.life != life || !s.starting || s.paused || violated()) return;
  if (Busy(node)) return scheduler_.At(s.busy_until_ms + 1, [this, node, life] { DatasetLoaded(node, life); });
  s.starting = false;
  SlotSet with_keys;
  for (auto& [slot, values] : s.data) with_keys.set(slot);
  Deliver(node, {ReplicationStatusOf(node), cluster::SlotsWithKeys{with_keys}});
  if (s.life == life && s.core) StartTimers(node);
}

void World::SwapAddresses(int a, int b) {
  if (IsAlive(a) || IsAlive(b)) return;
  std::swap(servers_[a].ip, servers_[b].ip);
  Count("addresses exchanged");
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
  s.undisturbed_since_ms = now();
  checker_.RestartWaiting();
  uint32_t life = s.life;
  // Which of the waiting events comes first is chance.
  if (random_.Chance(0.5)) s.starting ? DatasetLoaded(node, life) : HandleTick(node);
  if (s.life == life && !Paused(node)) network_.Pump(node);
  if (s.life != life || !s.core) return;
  s.starting ? DatasetLoaded(node, life) : StartTimers(node);
}

void World::JumpClock(int node, Millis by) {
  Trace(node, fmt::format("clock jumps by {} ms", by));
  servers_[node].clock_offset_ms += by;
  for (Server& s : servers_) s.undisturbed_since_ms = now();  // dates heard from it are believed by others
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

void World::DelayNetwork(int from, int to, Millis stall, Millis extra_ms) {
  if (stall > 0) network_.Stall(from, to, stall);
  if (extra_ms > 0) network_.Slow(from, to, extra_ms);
  max_network_delay_ms_ = std::max({max_network_delay_ms_, stall, extra_ms});
}

void World::MendNetwork() {
  Trace(0, "network mended");
  checker_.RestartWaiting();
  network_.UnblockAll();
}

void World::Heal() {
  config_.save_failure = 0;
  config_.effect_crash = config_.taker_killed = 0;
  for (int n = 0; n < size(); ++n) SetDisk(n, false, false, 0);
  for (int n = 0; n < size(); ++n) Restart(n);
  MendNetwork();
  for (int n = 0; n < size(); ++n) Resume(n);
}

// ---- the loops of a process ----

void World::TickLoop(int node, uint32_t life) {
  Server& s = servers_[node];
  if (s.life != life || s.paused || violated()) return;
  if (Busy(node)) return scheduler_.At(s.busy_until_ms + 1, [this, node, life] { TickLoop(node, life); });
  HandleTick(node);
  if (s.life != life || !s.core) return;
  Millis wait = std::clamp<Millis>(s.core->NextTick() - LocalTime(node), 1, kTickEvery);
  if (random_.Chance(0.05)) wait += random_.Below(30);  // a busy loop
  scheduler_.After(wait, [this, node, life] { TickLoop(node, life); });
}

void World::HandleTick(int node) {
  uint32_t life = servers_[node].life;
  Deliver(node, {ReplicationStatusOf(node), cluster::Tick{}});
  if (servers_[node].life == life && !Busy(node)) RetrySave(node);
  if (servers_[node].life == life && servers_[node].core) checker_.AfterTick(node);
}

// ---- events in, effects out ----

void World::Deliver(int node, std::initializer_list<cluster::Event> events) {
  Server& s = servers_[node];
  if (!s.core || Busy(node) || violated()) return;
  Mix(static_cast<uint64_t>(now()) * 64 + static_cast<uint64_t>(node));
  Effects effects;
  for (const cluster::Event& event : events) {
    Mix(event.index());
    std::ranges::move(s.core->Handle(LocalTime(node), event), std::back_inserter(effects));
  }
  AfterStep(node);
  CarryOut(node, std::move(effects));
}

void World::AfterStep(int node) {
  servers_[node].last_primary = core(node).me().primary;
  checker_.AfterStep(node);
  history_.AfterStep(node);
}

void World::SendOne(int node, cluster::Send& send) {
  if (!network_.IsOpen(node, send.link)) return Count("sends on closed links");
  if (send.bytes[13] > 2 || random_.Chance(0.05)) {  // all but gossip, and some of that
    auto decoded = cluster::Decode(send.bytes);
    if (auto* error = std::get_if<cluster::DecodeError>(&decoded))
      Violate(fmt::format("n{} sends what cannot be decoded: {}", node, error->reason));
  }
  checker_.OnSend(node, network_.PeerOf(node, send.link), send.bytes);
  network_.Send(node, send.link, std::move(send.bytes));
}

// All but saves (disk.cc).
void World::CarryOutOne(int node, cluster::Effect& effect) {
  Server& s = servers_[node];
  std::visit(Overloaded{
                 [&](cluster::Send& e) { SendOne(node, e); },
                 [&](cluster::OpenLink& e) {
                   Mix(HashOf(e.ip));
                   network_.Dial(node, e.link, e.ip, e.bus_port);
                 },
                 [&](cluster::CloseLink& e) { network_.Close(node, e.link); },
                 [&](cluster::SaveState&) { SaveInBackground(node); },
                 [&](cluster::DropKeysInSlots& e) {
                   if (s.starting) return Violate(fmt::format("n{} drops keys that it has not loaded yet", node));
                   DropKeys(node, e.slots);
                 },
                 [&](cluster::FollowPrimary& e) { Follow(node, e); },
                 [&](cluster::StopFollowing&) {
                   s.resting = true;
                   s.link_up = false;
                   if (s.sync == Server::Sync::kReceiving) s.sync = Server::Sync::kNone;
                 },
                 [&](cluster::BecomePrimary&) {
                   Trace(node, "becomes primary");
                   if (s.sync == Server::Sync::kLoading) Count("loads of a dataset broken off");
                   s.resting = s.following = s.link_up = false;
                   s.sync = Server::Sync::kNone;
                 },
                 [&](cluster::EmptyDataset&) {
                   s.log.clear();
                   s.log_synced = 0;
                   s.data.clear();
                 },
                 [&](cluster::PauseWrites& e) {
                   s.writes_paused_until_ms = e.until_ms;
                   Count("write pauses");
                 },
                 [&](cluster::ResumeWrites&) { s.writes_paused_until_ms = 0; },
                 [&](cluster::AskSeeds&) {
                   cluster::SeedsResolved seeds;
                   for (const Server& other : servers_)
                     seeds.addresses.push_back({.ip = other.ip, .bus_port = kBusPort});
                   scheduler_.After(random_.Below(300), [this, node, life = s.life, seeds] {
                     if (servers_[node].life == life && !servers_[node].paused) Deliver(node, {seeds});
                   });
                   Count("seeds asked");
                 },
                 [&](cluster::SaveSecret&) { s.secret = s.core->SecretText(); },
                 [&](cluster::Note& e) {
                   CountNote(e.text, [this](const char* what) { Count(what); });
                   if (config_.trace) Trace(node, "| " + e.text);
                 },
                 [&](auto&) {},  // nothing to do with what is simulated
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

void World::OnAccepted(int node, LinkId link) { Deliver(node, {cluster::LinkAccepted{link}}); }
void World::OnOpened(int node, LinkId link) { Deliver(node, {cluster::LinkOpened{link}}); }
void World::OnClosed(int node, LinkId link) { Deliver(node, {cluster::LinkClosed{link}}); }
void World::OnMessage(int node, LinkId link, std::string_view bytes, const std::string& peer_ip,
                      const std::string& local_ip) {
  // From a block of exactly the message's size, so that a sanitizer sees every read past it.
  std::string exact(bytes);
  exact.shrink_to_fit();
  Mix(HashOf(bytes));
  Deliver(node, {ReplicationStatusOf(node), cluster::MessageReceived{link, exact, peer_ip, local_ip}});
}
void World::OnBrokenStream(int node, LinkId link) {
  Violate(fmt::format("n{} finds no message on link {}", node, link));
}

}  // namespace tessera::sim
