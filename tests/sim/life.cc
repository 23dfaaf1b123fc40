#include "tests/sim/life.h"

#include "fmt/core.h"
#include "tests/sim/world.h"

namespace tessera::sim {
namespace {

// The kinds of trouble, each of which a life has or has not. The last ones are not caused from time to time: they change
// how something else happens.
enum Trouble : uint32_t {
  kKills = 1 << 0,
  kPowerLosses = 1 << 1,
  kPauses = 1 << 2,
  kPartitions = 1 << 3,
  kOneWay = 1 << 4,
  kMesh = 1 << 5,
  kStalls = 1 << 6,
  kCuts = 1 << 7,
  kClockJumps = 1 << 8,
  kShardDeaths = 1 << 9,
  kSlowDisks = 1 << 10,
  kFullDisks = 1 << 11,
  kFailingSyncs = 1 << 12,
  kLags = 1 << 13,
  kReshards = 1 << 14,
  kFailovers = 1 << 15,
  kForcedFailovers = 1 << 16,
  kTakeovers = 1 << 17,
  kReplicates = 1 << 18,
  kForgets = 1 << 19,
  kBumps = 1 << 20,
  kSaveFailures = 1 << 21,
  kEffectCrashes = 1 << 22,
  kNewAddresses = 1 << 23,
};
constexpr uint32_t kCalmTroubles = kReshards | kFailovers | kLags;
constexpr const char* kTroubleNames[] = {
    "kills",       "power-losses", "pauses",       "partitions",    "one-way",        "mesh",     "stalls",    "cuts",
    "clock-jumps", "shard-deaths", "slow-disks",   "full-disks",    "failing-syncs",  "lags",     "reshards",  "failovers",
    "forced",      "takeovers",    "replicates",   "forgets",       "bumps",          "save-failures", "effect-crashes",
    "new-addresses"};

class Life {
 public:
  Life(uint64_t seed, bool trace) : random_(seed * 0x9e3779b97f4a7c15ull + 1), world_(Shape(seed, trace)) {}

  LifeResult Run(bool trace) {
    world_.CreateCluster();
    if (!world_.violated()) Suffer();
    if (!world_.violated()) Recover();
    if (trace && world_.violated())
      for (int n = 0; n < world_.size(); ++n)
        if (world_.IsAlive(n))
          fmt::print("---- n{}\n{}{}", n, world_.core(n).InfoText(world_.LocalTime(n)),
                     world_.core(n).NodesText(world_.LocalTime(n), {}));
    LifeResult r;
    r.violation = world_.violation();
    r.shape = shape_;
    r.trace_hash = world_.trace_hash();
    r.lived_ms = world_.now();
    r.heal_ms = heal_ms_;
    r.counters = world_.counters();
    return r;
  }

 private:
  WorldConfig Shape(uint64_t seed, bool trace) {
    calm_ = random_.Chance(0.1);
    // Lives with few kinds of trouble show what lives with many drown.
    const double share = random_.Chance(0.4) ? 0.12 : 0.4;
    for (uint32_t bit = 1; bit <= kNewAddresses; bit <<= 1)
      if (random_.Chance(share)) troubles_ |= bit;
    if (random_.Chance(0.3)) troubles_ |= kReshards;  // what else happens should find slots in flight
    if (calm_) troubles_ &= kCalmTroubles;
    WorldConfig c;
    c.seed = seed;
    c.trace = trace;
    ShapeNodes(c);
    static constexpr Millis kTimeouts[] = {500, 1000, 1000, 2000, 2000, 5000, 15000};
    const Millis node_timeout = kTimeouts[random_.Below(std::size(kTimeouts))];
    c.options.node_timeout_ms = node_timeout;
    c.options.replica_validity_factor = random_.Chance(0.6) ? 10 : random_.Chance(0.5) ? 1 : 0;
    c.options.allow_replica_migration = random_.Chance(0.7);
    c.options.migration_barrier = random_.Chance(0.8) ? 1 : 0;
    c.options.require_full_coverage = random_.Chance(0.5);
    c.options.repl_ping_replica_period_ms = 1000;
    c.clock_drift = calm_ || random_.Chance(0.4) ? 0 : random_.Chance(0.5) ? 0.0002 : 0.01;
    c.announce_ip = random_.Chance(0.3);
    c.write_every_ms = std::max<Millis>(15, node_timeout / 40);
    c.wait_share = random_.Chance(0.2) ? 0.1 : 0.6;
    c.reshard_step_ms = random_.Chance(0.4) ? 10 : node_timeout / 4;
    c.full_sync_ms = random_.Chance(0.5) ? 200 : 2 * node_timeout;
    c.options.has_seeds = (troubles_ & kNewAddresses) && random_.Chance(0.6);
    if (troubles_ & kSaveFailures) c.save_failure = 0.05;
    if (troubles_ & kEffectCrashes) c.effect_crash = 0.01;
    if ((troubles_ & kReshards) && (troubles_ & kKills)) c.taker_killed = 0.3;
    const int nodes = c.primaries + c.replicas + c.spares;
    trouble_ms_ = node_timeout * (nodes > 9 ? random_.Between(12, 18) : random_.Between(15, 30));
    pace_ms_ = node_timeout * random_.Between(1, 9) / 5;
    shape_ = fmt::format("{}+{}+{} nodes, timeout {}, validity factor {}", c.primaries, c.replicas, c.spares, node_timeout,
                         c.options.replica_validity_factor);
    if (calm_) shape_ += ", calm";
    for (size_t i = 0; i < std::size(kTroubleNames); ++i)
      if (troubles_ >> i & 1) shape_ += fmt::format(", {}", kTroubleNames[i]);
    if (!c.options.allow_replica_migration) shape_ += ", no migration";
    if (c.options.has_seeds) shape_ += ", seeds";
    quiet_save_failure_ = c.save_failure;
    quiet_effect_crash_ = c.effect_crash;
    c.save_failure = c.effect_crash = 0;  // not while it forms
    return c;
  }

  // 3 to 15 nodes, small clusters more often: their lives are cheaper and as dangerous.
  void ShapeNodes(WorldConfig& c) {
    const int nodes = static_cast<int>(random_.Chance(0.7) ? random_.Between(3, 8) : random_.Between(8, 15));
    const int each = static_cast<int>(random_.Below(4));  // replicas of a primary
    c.primaries = std::max(3, nodes / (1 + each));
    c.replicas = std::min(15 - c.primaries, c.primaries * each);
    if (each > 0 && random_.Chance(0.3))
      c.replicas = std::max(1, c.replicas - static_cast<int>(random_.Below(c.primaries)));
    if (c.primaries + c.replicas < 15 && random_.Chance(0.2)) c.spares = 1;
  }

  int AnyNode() { return static_cast<int>(random_.Below(world_.size())); }
  Millis timeout() const { return world_.config().options.node_timeout_ms; }
  // A while that is short, near the detection time, or long.
  Millis AWhile() { return random_.Between(1, random_.Chance(0.5) ? 2 * timeout() : 8 * timeout()); }
  int OwnerOtherThan(int node) {
    for (int tries = 0; tries < 10; ++tries) {
      int n = AnyNode();
      if (n != node && world_.Running(n) && world_.core(n).me().slot_count > 0) return n;
    }
    return -1;
  }

  void Suffer() {
    world_.mutable_config().save_failure = quiet_save_failure_;
    world_.mutable_config().effect_crash = quiet_effect_crash_;
    Millis end = world_.now() + trouble_ms_;
    while (!world_.violated() && world_.now() < end) {
      world_.Run(random_.Between(1, 2 * pace_ms_));
      uint32_t kind = 0;
      for (int tries = 0; tries < 20 && !(troubles_ & kind); ++tries)
        kind = 1u << random_.Below(std::size(kTroubleNames));
      if (troubles_ & kind) Cause(kind);
      RestartTheDead();
    }
  }

  void RestartTheDead() {
    for (int n = 0; n < world_.size(); ++n) {
      if (world_.IsAlive(n) || !random_.Chance(0.2)) continue;
      bool moves = (troubles_ & kNewAddresses) && random_.Chance(0.5);
      for (int other = 0; moves && other < world_.size(); ++other)
        if (other != n && !world_.IsAlive(other) && random_.Chance(0.5)) {
          world_.SwapAddresses(n, other);
          moves = false;
        }
      world_.Restart(n, moves ? World::Moving::kNewAddress : World::Moving::kSameAddress);
    }
  }

  void Cause(uint32_t kind) {
    int n = AnyNode();
    switch (kind) {
      case kKills:
        world_.Crash(n, World::Death::kProcess);
        if (random_.Chance(0.3)) world_.Restart(n);  // a supervisor
        break;
      case kPowerLosses:
        world_.Crash(n, World::Death::kPower);
        if (random_.Chance(0.1))  // the whole room
          for (int i = 0; i < world_.size(); ++i) world_.Crash(i, World::Death::kPower);
        break;
      case kPauses:
        world_.Pause(n);
        world_.scheduler().After(AWhile(), [this, n] { world_.Resume(n); });
        break;
      case kPartitions:
        Partition();
        break;
      case kOneWay: {
        int other = AnyNode();
        bool everybody = random_.Chance(0.3), inbound = random_.Chance(0.5);
        for (int i = 0; i < world_.size(); ++i)
          if (everybody || i == other) inbound ? world_.Block(i, n) : world_.Block(n, i);
        world_.Count("one-way losses");
        MendLater();
        break;
      }
      case kMesh: {  // many paths, each by itself
        const double share = random_.Chance(0.5) ? 0.2 : 0.5;
        for (int a = 0; a < world_.size(); ++a)
          for (int b = 0; b < world_.size(); ++b)
            if (random_.Chance(share)) world_.Block(a, b);
        world_.Count("partitions of no shape");
        MendLater();
        break;
      }
      case kStalls:
        for (int i = 0; i < world_.size(); ++i)
          if (random_.Chance(0.5)) world_.DelayNetwork(n, i, random_.Between(1, timeout()), 0);
        if (random_.Chance(0.3)) world_.DelayNetwork(n, AnyNode(), 0, random_.Between(0, timeout()));
        world_.Count("stalls");
        break;
      case kCuts:
        for (int64_t cuts = random_.Between(1, 6); cuts > 0; --cuts)
          if (world_.network().CutOne(n)) world_.Count("connections cut");
        break;
      case kClockJumps:
        world_.JumpClock(n, random_.Between(-3 * timeout(), 3 * timeout()));
        break;
      case kShardDeaths: {  // a primary with all or most of its replicas
        if (!world_.IsAlive(n)) break;
        const auto death = random_.Chance(0.5) ? World::Death::kPower : World::Death::kProcess;
        const NodeId shard = world_.core(n).me().shard_id;
        for (int i = 0; i < world_.size(); ++i)
          if (world_.IsAlive(i) && world_.core(i).me().shard_id == shard && random_.Chance(0.8)) world_.Crash(i, death);
        world_.Count("deaths of a shard");
        break;
      }
      case kSlowDisks:
        world_.SetDisk(n, false, false, random_.Between(10, random_.Chance(0.5) ? timeout() / 4 : 3 * timeout()));
        WellLater(n);
        break;
      case kFullDisks:
      case kFailingSyncs:
        world_.SetDisk(n, kind == kFullDisks, kind == kFailingSyncs, 0);
        world_.Count(kind == kFullDisks ? "disks that filled up" : "disks whose syncs failed");
        WellLater(n);
        break;
      case kLags:
        world_.HoldReplication(n, AWhile(), static_cast<size_t>(random_.Below(3)));
        break;
      case kBumps:
        if (world_.Running(n) && world_.core(n).me().is(cluster::kPrimary)) world_.BumpEpoch(n);
        break;
      case kReshards:
        Reshard(n);
        break;
      case kFailovers:
        AskForFailover(n, cluster::FailoverMode::kPlain);
        if (random_.Chance(0.3))  // a script goes round: elections that cross each other
          for (int i = 0; i < 3; ++i) AskForFailover(AnyNode(), cluster::FailoverMode::kPlain);
        break;
      case kForcedFailovers:
        AskForFailover(n, cluster::FailoverMode::kForce);
        break;
      case kTakeovers:
        AskForFailover(n, cluster::FailoverMode::kTakeover);
        break;
      case kReplicates:
        if (int owner = OwnerOtherThan(n); owner >= 0 && world_.Replicate(n, owner).empty())
          world_.Count("replicas re-pointed");
        break;
      case kForgets:
        ForgetSomebody(n);
        break;
      default:  // the rest happen along the way
        break;
    }
  }

  void WellLater(int n) {
    world_.scheduler().After(AWhile(), [this, n] { world_.SetDisk(n, false, false, 0); });
  }

  void MendLater() {
    Millis wait = AWhile();
    world_.scheduler().After(wait, [this] { world_.MendNetwork(); });
  }

  void Partition() {
    std::vector<bool> here;
    for (int i = 0; i < world_.size(); ++i) here.push_back(random_.Chance(0.4));
    bool one_way = random_.Chance(0.2);
    for (int a = 0; a < world_.size(); ++a)
      for (int b = 0; b < world_.size(); ++b)
        if (here[a] != here[b] && (!one_way || here[a])) world_.Block(a, b);
    world_.Count(one_way ? "partitions, one way" : "partitions");
    MendLater();
  }

  void Reshard(int source) {
    if (world_.ReshardRunning() || !world_.Running(source) || (calm_ && AnyManualFailover())) return;
    int target = AnyNode();
    if (target == source || !world_.Running(target) || !world_.core(target).me().is(cluster::kPrimary)) return;
    std::vector<Slot> slots;
    const SlotSet& owned = world_.core(source).me().slots;
    bool all = random_.Chance(0.02);
    int wanted = static_cast<int>(random_.Between(1, 12));
    size_t first = static_cast<size_t>(random_.Below(cluster::kSlotCount));
    if (random_.Chance(0.7)) {  // where the clients are
      const std::vector<Slot>& tracked = world_.tracked_slots();
      first = tracked[static_cast<size_t>(random_.Below(static_cast<int64_t>(tracked.size())))];
    }
    for (size_t i = 0; i < owned.size() && (all || static_cast<int>(slots.size()) < wanted); ++i) {
      size_t slot = (first + i) % owned.size();
      if (owned.test(slot)) slots.push_back(static_cast<Slot>(slot));
    }
    int steps = calm_ || random_.Chance(0.7) ? -1 : static_cast<int>(random_.Between(1, 40));
    if (!slots.empty()) world_.Reshard(std::move(slots), source, target, steps);
  }

  bool AnyManualFailover() const {
    for (int n = 0; n < world_.size(); ++n)
      if (world_.IsAlive(n) && world_.core(n).ManualFailoverInProgress()) return true;
    return false;
  }

  // A reshard that a failover breaks off leaves keys where only an operator finds them: careful ones do one at a time.
  void AskForFailover(int n, cluster::FailoverMode mode) {
    if (calm_ && world_.ReshardRunning()) return;
    if (world_.Running(n) && world_.core(n).me().is(cluster::kReplica)) world_.Failover(n, mode);
  }

  // A node without slots leaves, and is invited again later.
  void ForgetSomebody(int n) {
    if (!world_.Running(n) || world_.core(n).me().slot_count > 0) return;
    NodeId id = world_.core(n).self();
    bool reset = random_.Chance(0.5);
    if (reset && !world_.Reset(n, random_.Chance(0.5) ? cluster::ResetMode::kHard : cluster::ResetMode::kSoft).empty())
      return;
    for (int i = 0; i < world_.size(); ++i)
      if (i != n) world_.Forget(i, id);
    world_.Count(reset ? "nodes reset and forgotten" : "nodes forgotten");
    if (random_.Chance(0.5))
      world_.scheduler().After(AWhile(), [this, n] {
        if (int owner = OwnerOtherThan(n); owner >= 0) world_.Meet(owner, n);
      });
  }

  // What an operator does who finds nodes that do not know each other, or a node that lost its place.
  void Invite() {
    for (int a = 0; a < world_.size(); ++a)
      for (int b = 0; b < world_.size(); ++b)
        if (a != b && world_.core(a).Find(world_.core(b).self().view()) == nullptr) world_.Meet(a, b);
  }

  // Two that moved while neither could hear of it find each other by seeds, or by an operator who knows both.
  void ReintroduceTheLost() {
    if (!(troubles_ & kNewAddresses) || world_.config().options.has_seeds) return;
    for (int a = 0; a < world_.size(); ++a)
      for (int b = 0; b < world_.size(); ++b)
        if (const cluster::NodeView* seen = world_.core(a).Find(world_.core(b).self().view());
            a != b && seen != nullptr && !seen->outbound_connected && world_.Meet(a, b).empty())
          world_.Count("nodes introduced anew at their new address");
  }

  void Recover() {
    world_.RunUntil(1000000, [&] { return !world_.ReshardRunning(); });  // all slots of a node take minutes
    world_.Heal();
    // A forgotten node may come back a minute later, not before; clocks may have jumped meanwhile.
    if (CounterOf("nodes forgotten") + CounterOf("nodes reset and forgotten") > 0) world_.Run(100000);
    Millis healed = world_.now();
    Millis limit = 20000 + 30 * timeout();
    // What an operator asked for before may still succeed.
    world_.RunUntil(10000, [&] { return !AnyManualFailover(); });
    std::string why;
    world_.Run(timeout());
    world_.SettleOpenSlots();
    bool agreed = false;
    for (int round = 0; round < 5 && !agreed; ++round) {
      if (troubles_ & kForgets) Invite();
      if (round > 0) ReintroduceTheLost();
      agreed = world_.RunUntil(limit / 5, [&] { return world_.Converged(&why); });
    }
    if (world_.violated()) return;
    if (!agreed) return world_.Violate(fmt::format("no agreement {} ms after faults stopped: {}", limit, why));
    heal_ms_ = world_.now() - healed;
    // And it stays so.
    uint64_t elections = CounterOf("elections won");
    world_.Run(4 * timeout());
    if (world_.violated()) return;
    if (!world_.Converged(&why)) return world_.Violate("agreement did not last: " + why);
    if (CounterOf("elections won") != elections) return world_.Violate("an election without a fault");
    world_.history().CheckAtEnd();
    int lost = world_.history().LostWrites();
    world_.Count("writes acknowledged", world_.history().size());
    world_.Count("writes lost", static_cast<uint64_t>(lost));
    if (world_.violated() || !calm_) return;
    if (lost > 0) return world_.Violate(fmt::format("{} acknowledged writes lost without a fault", lost));
    if (CounterOf("elections won") > CounterOf("failovers asked for"))
      return world_.Violate("a failover nobody asked for");
  }

  uint64_t CounterOf(const char* what) const {
    auto it = world_.counters().find(what);
    return it == world_.counters().end() ? 0 : it->second;
  }

  Random random_;
  bool calm_ = false;
  uint32_t troubles_ = 0;
  Millis trouble_ms_ = 0, pace_ms_ = 0, heal_ms_ = 0;
  double quiet_save_failure_ = 0, quiet_effect_crash_ = 0;
  std::string shape_;
  World world_;
};

}  // namespace

LifeResult Live(uint64_t seed, bool trace) { return Life(seed, trace).Run(trace); }

}  // namespace tessera::sim
