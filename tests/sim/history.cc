#include "tests/sim/history.h"

#include "fmt/core.h"
#include "tests/sim/world.h"

namespace tessera::sim {
namespace {

using cluster::NodeView;

// Beyond its node timeout: a tick, messages under way, a busy loop.
constexpr Millis kDeposedSlackMs = 300;
constexpr Millis kManualFailoverMs = 5000;
// Two claims to the same slots after a TAKEOVER, in node timeouts: until all have heard of the greater epoch.
constexpr int kTakeoverSettles = 20;
constexpr size_t kReadBack = 16;  // confirmed writes that a read is compared with

bool Votes(const NodeView& node) { return node.is(cluster::kPrimary) && node.slot_count > 0; }

}  // namespace

// ---- writes ----

size_t History::Acknowledged(Write write) {
  const int tracked = world_.TrackedIndex(write.slot);
  CheckDeposed(write.node, tracked);
  if (reigns_[tracked].node != write.node) write.excuse = "taken by a primary that was replaced";
  if (write.asked || moving_until_ms_[tracked] > world_.now()) write.excuse = "taken while the slot moved";
  writes_.push_back(write);
  return writes_.size() - 1;
}

// Every replica of `node`, by its own view, by theirs, or as last seen of the dead.
bool History::AllReplicasIn(int node, uint32_t by) const {
  const Core& core = world_.core(node);
  int replicas = 0;
  for (auto& [id, view] : core.nodes()) {
    if (view.primary != core.self()) continue;
    int n = world_.IndexOf(id);
    for (int dead = 0; n < 0 && dead < world_.size(); ++dead)
      if (!world_.IsAlive(dead) && before_[static_cast<size_t>(dead)].id == id) n = dead;
    if (n < 0 || !(by >> n & 1)) return false;
    ++replicas;
  }
  for (int n = 0; n < world_.size(); ++n)
    if (world_.server(n).last_primary == core.self() && !(by >> n & 1)) return false;
  return replicas > 0;
}

void History::Confirmed(size_t number, uint32_t by) {
  Write& w = writes_[number];
  if (!AllReplicasIn(w.node, by)) return world_.Count("writes confirmed by some replicas");
  world_.Count("writes confirmed by all replicas");
  w.confirmed_by_all = true;
  world_.Trace(w.node, fmt::format("write {} of slot {}, taken at {}, is confirmed by all replicas", w.value, w.slot, w.at));
  const int tracked = world_.TrackedIndex(w.slot);
  if (reigns_[tracked].node != w.node) Excuse(w, "confirmed to a primary that was replaced");
  if (moving_until_ms_[tracked] > world_.now()) Excuse(w, "confirmed while the slot moved");
  if (w.excuse == nullptr) confirmed_[tracked].push_back(number);
}

void History::Excuse(Write& write, const char* why) {
  if (write.excuse != nullptr) return;
  write.excuse = why;
  if (write.confirmed_by_all) world_.Count("confirmed writes no longer safe by Redis's rules");
}

History::Write* History::Open(size_t number) {
  Write& w = writes_[number];
  return w.confirmed_by_all && w.excuse == nullptr ? &w : nullptr;
}

bool History::Holds(int node, const Write& write) const {
  const Server& s = world_.server(node);
  auto values = s.data.find(write.slot);
  return values != s.data.end() && values->second.Has(write.value);
}

void History::Moving(cluster::Slot slot, Millis until) {
  const int tracked = world_.TrackedIndex(slot);
  if (tracked < 0) return;
  for (auto* ends : {&moving_until_ms_, &resharding_until_ms_}) {
    Millis& end = (*ends)[tracked];
    end = std::max(end, until);
  }
  for (size_t number : confirmed_[tracked]) Excuse(writes_[number], "the slot was moved");
  confirmed_[tracked].clear();
}

void History::Read(int node, cluster::Slot slot) {
  const int tracked = world_.TrackedIndex(slot);
  if (reigns_[tracked].node != node) return world_.Count("reads from a primary that was replaced");
  world_.Count("reads compared");
  const std::vector<size_t>& all = confirmed_[tracked];
  for (size_t i = all.size() > kReadBack ? all.size() - kReadBack : 0; i < all.size(); ++i)
    if (Write* w = Open(all[i]); w != nullptr && !Holds(node, *w))
      world_.Violate(fmt::format("n{} reads slot {} without write {} that all replicas of n{} confirmed", node, slot,
                                 w->value, w->node));
}

// ---- who reigns ----

History::Claims& History::before(int node) {
  if (before_.size() < static_cast<size_t>(world_.size())) before_.resize(static_cast<size_t>(world_.size()));
  return before_[static_cast<size_t>(node)];
}

History::Claims History::ClaimsOf(int node) const {
  const Core& core = world_.core(node);
  Claims c;
  c.id = core.self();
  c.primary = core.me().is(cluster::kPrimary);
  c.manual = core.ManualFailoverInProgress();
  c.followed = core.me().primary;
  c.epoch = core.me().config_epoch;
  if (c.primary)
    for (size_t i = 0; i < world_.tracked_slots().size(); ++i)
      if (core.me().slots.test(world_.tracked_slots()[i])) c.slots |= 1u << i;
  return c;
}

void History::Started(int node) {
  Claims& was = before(node);
  was = ClaimsOf(node);
  const Server& s = world_.server(node);
  for (int i = 0; i < static_cast<int>(world_.tracked_slots().size()); ++i) {
    // It may have taken slots and died before its disk knew, or before anybody heard of it.
    FindReign(i);
    if (!(was.slots >> i & 1)) continue;
    for (size_t number : confirmed_[i])
      if (Write* w = Open(number); w != nullptr && s.lost_by_power.contains(w->value) && !Holds(node, *w))
        Excuse(*w, "its primary forgot it in a power loss");
  }
}

void History::FindReign(int tracked) {
  Reign& reign = reigns_[tracked];
  if (reign.node >= 0 && (!world_.IsAlive(reign.node) || before(reign.node).slots >> tracked & 1)) return;
  reign = Reign{};
  for (int n = 0; n < world_.size(); ++n)
    if (world_.IsAlive(n) && before(n).slots >> tracked & 1 && (reign.node < 0 || before(n).epoch > reign.epoch))
      reign = {n, before(n).epoch, How::kFormation};
}

void History::AfterStep(int node) {
  Claims& stored = before(node);
  const Claims was = stored, is = ClaimsOf(node);
  stored = is;
  if (was.id != is.id) return;  // a hard reset made a new node of it
  if (was.primary == is.primary && was.epoch == is.epoch && was.slots == is.slots) return;
  How how = How::kFormation;
  if (!was.primary && is.primary) {
    const Server& s = world_.server(node);
    const bool asked = was.manual && s.asked_at_ms >= 0;
    how = world_.OperatorActs()                                       ? How::kTakeover
          : asked && s.asked == cluster::FailoverMode::kForce         ? How::kForced
                                                                      : How::kElection;
    Promoted(node, was, is, how);
  } else if (world_.OperatorActs()) {
    how = How::kOperator;
  } else if (was.primary && is.primary && is.epoch != was.epoch) {
    how = How::kCollision;
  }
  CheckLosses(node, was, is);
  Claim(node, was, is, how);
}

// What a node lets go of must go to a greater epoch, unless an operator says otherwise.
void History::CheckLosses(int node, const Claims& was, const Claims& is) {
  if (world_.OperatorActs() || !was.primary) return;
  for (size_t i = 0; i < world_.tracked_slots().size(); ++i) {
    if (!(was.slots >> i & 1) || is.slots >> i & 1) continue;
    const NodeView* winner = world_.core(node).OwnerOf(world_.tracked_slots()[i]);
    if (winner != nullptr && winner->config_epoch <= was.epoch)
      world_.Violate(fmt::format("n{} with config epoch {} gives up slot {} to {} with config epoch {}", node, was.epoch,
                                 world_.tracked_slots()[i], winner->id.view(), winner->config_epoch));
  }
}

bool History::IsForgotten(int node, int successor) const {
  const NodeId& id = world_.core(node).self();
  for (int other = 0; other < world_.size(); ++other)
    if (other != node && world_.IsAlive(other) && world_.core(other).Find(id.view()) != nullptr) return false;
  return world_.IsAlive(successor);
}

void History::Claim(int node, const Claims& was, const Claims& is, How how) {
  for (int i = 0; i < static_cast<int>(world_.tracked_slots().size()); ++i) {
    if (!(is.slots >> i & 1)) continue;
    Reign& reign = reigns_[i];
    const bool newly = !(was.slots >> i & 1);
    if (newly && how == How::kTakeover) {
      Millis& until = moving_until_ms_[i];
      until = std::max(until, world_.now() + kTakeoverSettles * world_.config().options.node_timeout_ms);
    }
    if (is.epoch <= reign.epoch && !(newly && is.epoch == reign.epoch && how == How::kOperator)) continue;
    const bool replaced = !newly && reign.node >= 0 && reign.node != node && was.epoch < reign.epoch;
    if (replaced && how == How::kOperator) {
      world_.Count("slots taken back by an operator's doing");
      for (size_t number : confirmed_[i])
        if (Write* w = Open(number); w != nullptr && !Holds(node, *w))
          Excuse(*w, "an operator raised the epoch of a primary that was replaced");
    }
    // The taker of a slot insists on it against its giver: that is no collision.
    if (replaced && how == How::kCollision && resharding_until_ms_[i] <= world_.now() && !IsForgotten(node, reign.node))
      world_.Violate(fmt::format("n{}, replaced by n{} with config epoch {}, takes slot {} back: an epoch collision "
                                 "raised its epoch from {} to {}",
                                 node, reign.node, reign.epoch, world_.tracked_slots()[static_cast<size_t>(i)], was.epoch,
                                 is.epoch));
    reign = {node, is.epoch, how};
  }
}

void History::Promoted(int node, const Claims& was, const Claims& is, How how) {
  const Server& s = world_.server(node);
  if (!s.synced) world_.Count("replicas promoted before their first synchronisation");
  static constexpr const char* kHows[] = {"", "promotions by election", "promotions by FORCE", "promotions by TAKEOVER"};
  if (how != How::kFormation) world_.Count(kHows[static_cast<int>(how)]);
  for (int i = 0; i < static_cast<int>(world_.tracked_slots().size()); ++i) {
    if (!(is.slots >> i & 1)) continue;
    for (size_t number : confirmed_[i]) {
      Write* w = Open(number);
      if (w == nullptr) continue;
      world_.Count("confirmed writes looked for after a promotion");
      if (Holds(node, *w)) continue;
      if (how != How::kElection)
        Excuse(*w, "a replica without it was promoted by FORCE or TAKEOVER");
      else if (s.lost_by_power.contains(w->value))
        Excuse(*w, "the new primary forgot it in a power loss");
      else if (!s.synced && world_.config().options.replica_validity_factor == 0)
        Excuse(*w, "broken off while loading, any replica may stand, however old its data (validity factor 0)");
      else if (w->node == world_.IndexOf(was.followed) && s.synced_with != was.followed)
        Excuse(*w, "its primary died before this replica of the shard had reached it (data within the validity factor)");
      else
        world_.Violate(fmt::format("n{} is elected without write {} of slot {}, which all replicas of n{} confirmed", node,
                                   w->value, w->slot, w->node));
    }
  }
  if (how == How::kElection && was.manual && s.asked == cluster::FailoverMode::kPlain) CheckPlannedFailover(node, was, is);
}

// As long as the old primary holds its clients back for it.
void History::CheckPlannedFailover(int node, const Claims& was, const Claims& is) {
  const int old = world_.IndexOf(was.followed);
  const Server& s = world_.server(node);
  if (old < 0 || world_.now() - s.asked_at_ms > kManualFailoverMs) return;
  const Server& p = world_.server(old);
  if (p.writes_paused_until_ms <= world_.LocalTime(old) || p.undisturbed_since_ms > s.asked_at_ms) return;
  world_.Count("promotions by a planned failover");
  for (int i = 0; i < static_cast<int>(world_.tracked_slots().size()); ++i) {
    if (!(is.slots >> i & 1)) continue;
    auto values = p.data.find(world_.tracked_slots()[static_cast<size_t>(i)]);
    if (values == p.data.end()) continue;
    auto mine = s.data.find(values->first);
    for (uint64_t value : values->second.all())
      if (mine == s.data.end() || !mine->second.Has(value))
        return world_.Violate(
            fmt::format("n{} took over from n{} as planned, without its write {} of slot {}", node, old, value,
                        values->first));
  }
}

// ---- deposed primaries ----

// More than half of the voters `node` knows see the elected owner.
bool History::MajorityKnows(int node, int tracked) const {
  const NodeId& owner = world_.core(reigns_.at(tracked).node).self();
  int electorate = 0, informed = 0;
  for (auto& [id, view] : world_.core(node).nodes()) {
    if (!Votes(view)) continue;
    ++electorate;
    const int n = world_.IndexOf(id);
    if (n < 0 || !world_.Running(n) || !Votes(world_.core(n).me())) continue;
    const NodeView* seen = world_.core(n).OwnerOf(world_.tracked_slots()[static_cast<size_t>(tracked)]);
    informed += seen != nullptr && seen->id == owner;
  }
  return informed >= electorate / 2 + 1;
}

void History::CheckDeposed(int node, int tracked) {
  Reign& reign = reigns_[tracked];
  if (reign.node == node || reign.node < 0) return;
  world_.Count("writes acknowledged by a primary that was replaced");
  Deposed& d = deposed_[node];
  if (!world_.Running(reign.node) || reign.how != How::kElection || !MajorityKnows(node, tracked)) {
    d = Deposed{};
    return;
  }
  if (d.by != reign.node || d.epoch != reign.epoch) d = {reign.node, reign.epoch, world_.now()};
  d.since = std::max(d.since, world_.server(node).undisturbed_since_ms);
  const Millis went_on = world_.now() - d.since;
  const Millis timeout = world_.config().options.node_timeout_ms;
  const Millis limit = timeout + kDeposedSlackMs + world_.max_clock_skew_ms() + 2 * world_.max_network_delay_ms();
  world_.CountMost("longest that a primary went on after it was replaced, % of its timeout (most)",
                   static_cast<uint64_t>(went_on * 100 / timeout));
  if (went_on > limit)
    world_.Violate(fmt::format("n{} acknowledges writes of slot {} {} ms after a majority knew its successor n{}", node,
                               world_.tracked_slots()[static_cast<size_t>(tracked)], went_on, reign.node));
}

// ---- the end ----

int History::LostWrites() const {
  int lost = 0;
  for (const Write& w : writes_) {
    const NodeView* owner = world_.IsAlive(0) ? world_.core(0).OwnerOf(w.slot) : nullptr;
    const int node = owner ? world_.IndexOf(owner->id) : -1;
    if (node >= 0 && Holds(node, w)) continue;
    ++lost;
    if (world_.config().trace)
      fmt::print("lost: write {} of slot {} taken by n{} at {}, owner now n{}\n", w.value, w.slot, w.node, w.at, node);
  }
  return lost;
}

void History::CheckAtEnd() {
  for (const Write& w : writes_) {
    if (!w.confirmed_by_all) continue;
    world_.Count(w.excuse ? "confirmed writes that had an excuse" : "confirmed writes that had to be there at the end");
    const NodeView* owner = world_.core(0).OwnerOf(w.slot);
    const int node = owner ? world_.IndexOf(owner->id) : -1;
    if (node >= 0 && Holds(node, w)) continue;
    world_.Count("confirmed writes lost");
    if (w.excuse == nullptr)
      return world_.Violate(fmt::format("write {} of slot {}, taken by n{} at {} and confirmed by all its replicas, is lost; "
                                        "the owner is n{}",
                                        w.value, w.slot, w.node, w.at, node));
  }
}

}  // namespace tessera::sim
