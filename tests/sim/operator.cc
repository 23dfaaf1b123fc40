// What an operator does to the simulated cluster: building it, resharding, failovers, and the question whether all
// nodes agree.
#include <algorithm>
#include <tuple>
#include <utility>

#include "fmt/core.h"
#include "tests/sim/world.h"

namespace tessera::sim {

using cluster::NodeView;

constexpr Millis kNever = 1'000'000'000'000;

void World::CreateCluster() {
  for (int n = 0; n < size(); ++n) Restart(n);
  for (int p = 0; p < config_.primaries; ++p) {
    SlotSet slots;
    int first = p * cluster::kSlotCount / config_.primaries, end = (p + 1) * cluster::kSlotCount / config_.primaries;
    for (int s = first; s < end; ++s) slots.set(static_cast<size_t>(s));
    Admin(p, [&](Core& c, Millis at, Effects& e) { return c.AddSlots(at, slots, e); });
  }
  for (int n = 0; n < size(); ++n)
    Admin(n, [&](Core& c, Millis at, Effects& e) { return c.SetConfigEpoch(at, static_cast<Epoch>(n + 1), e); });
  for (int n = 1; n < size(); ++n) {
    std::string error = Meet(0, n);
    if (!error.empty()) return Violate("MEET refused: " + error);
  }
  auto acquainted = [&] {
    for (int a = 0; a < size(); ++a)
      for (int b = 0; b < size(); ++b) {
        const NodeView* view = core(a).Find(core(b).self().view());
        if (view == nullptr || view->is(cluster::kHandshake)) return false;
      }
    return true;
  };
  if (!RunUntil(30000 + 10 * config_.options.node_timeout_ms, acquainted))
    return Violate("the nodes do not get to know each other");
  for (int r = 0; r < config_.replicas; ++r) {
    std::string error = Replicate(config_.primaries + r, r % config_.primaries);
    if (!error.empty()) return Violate("REPLICATE refused: " + error);
  }
  std::string why;
  if (!RunUntil(30000 + 10 * config_.options.node_timeout_ms, [&] { return Converged(&why); }))
    return Violate("the cluster does not form: " + why);
  Count("formation ms", static_cast<uint64_t>(now()));
  if (config_.write_every_ms > 0) ClientLoop();
}

std::string World::Meet(int node, int other) {
  return Admin(node, [&](Core& c, Millis at, Effects& e) { return c.Meet(at, servers_[other].ip, 6379, 16379, e); });
}

std::string World::Failover(int node, cluster::FailoverMode mode) {
  checker_.ExpectForcedRole(node, mode == cluster::FailoverMode::kTakeover);
  Server& s = servers_[node];
  const auto before = std::pair(s.asked, s.asked_at_ms);
  s.asked = mode;  // what follows may follow at once
  s.asked_at_ms = now();
  std::string error = Admin(node, [&](Core& c, Millis at, Effects& e) { return c.Failover(at, mode, e); });
  if (!error.empty()) std::tie(s.asked, s.asked_at_ms) = before;
  checker_.ExpectForcedRole(node, false);
  if (error.empty()) {
    static constexpr const char* kNames[] = {"failovers asked for", "failovers asked for (FORCE)",
                                             "failovers asked for (TAKEOVER)"};
    Count(kNames[static_cast<int>(mode)]);
  }
  return error;
}

std::string World::Replicate(int node, int primary) {
  if (!IsAlive(primary)) return "unreachable";
  std::string id = core(primary).self().str();
  bool empty = servers_[node].data.empty();
  return Admin(node, [&](Core& c, Millis at, Effects& e) { return c.Replicate(at, id, empty, e); });
}

std::string World::Forget(int node, const NodeId& id) {
  return Admin(node, [&](Core& c, Millis at, Effects& e) { return c.Forget(at, id.view(), e); });
}

std::string World::Reset(int node, cluster::ResetMode mode) {
  bool empty = servers_[node].data.empty();
  checker_.ExpectForcedRole(node, true);
  std::string error = Admin(node, [&](Core& c, Millis at, Effects& e) { return c.Reset(at, mode, empty, e); });
  checker_.ExpectForcedRole(node, false);
  return error;
}

struct World::Dance {
  std::vector<Slot> slots;
  size_t next = 0;
  int step = 0;
  int source, target;
  NodeId source_id, target_id;
  int steps_left;
};

void World::Reshard(std::vector<Slot> slots, int source, int target, int steps_max) {
  if (!Serves(source) || !Serves(target)) return;
  auto dance = std::make_shared<Dance>();
  dance->slots = std::move(slots);
  dance->source = source;
  dance->target = target;
  dance->source_id = core(source).self();
  dance->target_id = core(target).self();
  dance->steps_left = steps_max;
  ++reshards_running_;
  resharding_ = {source, target};
  Count("reshards started");
  DanceStep(dance);
}

std::string World::BumpEpoch(int node) {
  std::string reply;
  return Admin(node, [&](Core& c, Millis at, Effects& e) { return c.BumpEpoch(at, reply, e); });
}

// MIGRATE of all keys: what the target does not accept stays where it is.
std::string World::MigrateKeys(Slot slot, int source, int target) {
  Server &from = servers_[source], &to = servers_[target];
  if (!core(target).me().is(cluster::kPrimary) || !core(target).ImportingFrom(slot)) return "target refuses";
  auto values = from.data.find(slot);
  if (values == from.data.end()) return "";
  if (from.following || to.following) return "no longer a primary";
  for (uint64_t value : std::vector<uint64_t>(values->second.all())) Append(target, LogEntry::Op::kWrite, slot, value);
  Append(source, LogEntry::Op::kDropSlot, slot, 0);
  Count("slots migrated with keys");
  return "";
}

void World::DanceStep(std::shared_ptr<Dance> d) {
  auto stop = [&](const char* how) {
    --reshards_running_;
    resharding_.clear();
    // A slot left open may go either way until somebody settles it.
    if (d->step > 0 && d->next < d->slots.size()) history_.Moving(d->slots[d->next], kNever);
    Count(how);
  };
  if (d->next == d->slots.size()) return stop("reshards finished");
  if (d->steps_left-- == 0 || violated()) return stop("reshards abandoned");
  if (!Serves(d->source) || !Serves(d->target) || core(d->source).self() != d->source_id ||
      core(d->target).self() != d->target_id)
    return stop("reshards broken off");
  Slot slot = d->slots[d->next];
  history_.Moving(slot, now() + 5 * config_.options.node_timeout_ms);
  std::string error;
  switch (d->step++) {
    case 0:
      error = Admin(d->target, [&](Core& c, Millis at, Effects& e) {
        return c.SetSlotImporting(at, slot, d->source_id.view(), e);
      });
      break;
    case 1:
      error = Admin(d->source, [&](Core& c, Millis at, Effects& e) {
        return c.SetSlotMigrating(at, slot, d->target_id.view(), e);
      });
      break;
    case 2:
      if (WritesPaused(d->source) || WritesPaused(d->target)) {  // for a failover: MIGRATE waits as all writes do
        --d->step;
        ++d->steps_left;
        break;
      }
      error = MigrateKeys(slot, d->source, d->target);
      break;
    default: {
      // SETSLOT NODE at the target, then at the source, then at all other primaries.
      int order = d->step - 4;
      int node = order == 0 ? d->target : order == 1 ? d->source : order - 2;
      if (order >= 2 && (node == d->target || node == d->source)) break;
      if (order - 2 >= size()) {
        d->step = 0;
        ++d->next;
        Count("slots moved");
        break;
      }
      // A target that was replaced meanwhile must not be named any more: the slot would be nobody's at `node`.
      if (order > 0 && !core(d->target).me().slots.test(slot)) {
        error = "the target lost the slot";
        break;
      }
      if (!Serves(node) || !core(node).me().is(cluster::kPrimary)) {
        if (order < 2) error = "no longer a primary";
        break;
      }
      auto values = servers_[node].data.find(slot);
      size_t keys = values == servers_[node].data.end() ? 0 : values->second.size();
      if (order == 0 && random_.Chance(config_.taker_killed)) dies_after_save_ = node;
      std::string refused = Admin(
          node, [&](Core& c, Millis at, Effects& e) { return c.SetSlotNode(at, slot, d->target_id.view(), keys, e); });
      dies_after_save_ = -1;
      if (order < 2) error = refused;
      break;
    }
  }
  if (!error.empty()) return stop("reshards broken off");
  scheduler_.After(1 + random_.Below(d->slots.size() > 50 ? 10 : config_.reshard_step_ms), [this, d] { DanceStep(d); });
}

void World::SettleOpenSlots() {
  for (int n = 0; n < size(); ++n) {
    if (!Serves(n)) continue;
    for (int s = 0; s < cluster::kSlotCount; ++s) {
      auto slot = static_cast<Slot>(s);
      if (!core(n).MigratingTo(slot) && !core(n).ImportingFrom(slot)) continue;
      Count("open slots settled");
      std::string error = Admin(n, [&](Core& c, Millis at, Effects& e) { return c.SetSlotStable(at, slot, e); });
      if (!Running(n)) break;
    }
  }
}

bool World::Converged(std::string* why) const {
  auto no = [&](std::string text) {
    if (why) *why = std::move(text);
    return false;
  };
  int covered = 0;
  std::map<Epoch, int> epochs;
  for (int n = 0; n < size(); ++n) {
    if (!Serves(n)) return no(fmt::format("n{} is not running", n));
    const Core& c = core(n);
    if (!c.ok()) return no(fmt::format("n{} says the cluster is down", n));
    if (c.me().is(cluster::kPrimary)) {
      covered += c.me().slot_count;
      if (c.me().slot_count > 0) {
        auto [other, unique] = epochs.emplace(c.me().config_epoch, n);
        if (!unique) return no(fmt::format("n{} and n{} share config epoch {}", n, other->second, c.me().config_epoch));
      }
    }
  }
  if (covered != cluster::kSlotCount) return no(fmt::format("{} slots claimed by their owners", covered));
  for (int a = 0; a < size(); ++a) {
    int known = 0;
    for (int b = 0; b < size(); ++b) {
      const NodeView& truth = core(b).me();
      const NodeView* view = core(a).Find(truth.id.view());
      if (view == nullptr || view->is(cluster::kHandshake)) return no(fmt::format("n{} does not know n{}", a, b));
      if (view->is(cluster::kFail) || view->is(cluster::kPfail)) return no(fmt::format("n{} sees n{} failing", a, b));
      bool primary = truth.is(cluster::kPrimary);
      if (view->is(cluster::kPrimary) != primary) return no(fmt::format("n{} mistakes the role of n{}", a, b));
      if (primary && view->slots != truth.slots) return no(fmt::format("n{} disagrees about the slots of n{}", a, b));
      if (!primary && view->primary != truth.primary) return no(fmt::format("n{} mistakes the primary of n{}", a, b));
      if (primary && truth.slot_count > 0 && view->config_epoch != truth.config_epoch)
        return no(fmt::format("n{} mistakes the config epoch of n{}", a, b));
      known += view->slot_count;
    }
    if (known != cluster::kSlotCount) return no(fmt::format("n{} knows owners of {} slots", a, known));
  }
  for (int n = 0; n < size(); ++n) {
    if (core(n).me().is(cluster::kPrimary)) continue;
    int primary = IndexOf(core(n).me().primary);
    if (primary < 0) return no(fmt::format("n{} follows nobody", n));
    const NodeView& p = core(primary).me();
    if (!p.is(cluster::kPrimary)) return no(fmt::format("n{} follows the replica n{}", n, primary));
    // Without automatic migration a replica stays with a primary that lost its slots.
    if (p.slot_count == 0 && config_.options.allow_replica_migration)
      return no(fmt::format("n{} follows n{}, which owns nothing", n, primary));
    const Server& s = servers_[n];
    if (!s.following || s.primary != p.id) return no(fmt::format("n{} was not told to follow n{}", n, primary));
    if (!s.link_up) return no(fmt::format("n{} is not synchronised with n{}", n, primary));
  }
  return true;
}

}  // namespace tessera::sim
