#include "tests/sim/life.h"

#include "fmt/core.h"
#include "tests/sim/world.h"

namespace tessera::sim {
namespace {

// The kinds of trouble, each of which a life has or has not.
enum Trouble : uint32_t {
  kKills = 1 << 0,
  kPowerLosses = 1 << 1,
  kPauses = 1 << 2,
  kPartitions = 1 << 3,
  kOneWay = 1 << 4,
  kStalls = 1 << 5,
  kCuts = 1 << 6,
  kClockJumps = 1 << 7,
  kSaveFailures = 1 << 8,
  kEffectCrashes = 1 << 9,
  kNewAddresses = 1 << 10,
  kReshards = 1 << 11,
  kFailovers = 1 << 12,
  kForcedFailovers = 1 << 13,
  kTakeovers = 1 << 14,
  kReplicates = 1 << 15,
  kForgets = 1 << 16,
};
constexpr uint32_t kCalmTroubles = kReshards | kFailovers;
constexpr const char* kTroubleNames[] = {
    "kills",     "power-losses", "pauses",        "partitions",     "one-way",       "stalls",
    "cuts",      "clock-jumps",  "save-failures", "effect-crashes", "new-addresses", "reshards",
    "failovers", "forced",       "takeovers",     "replicates",     "forgets"};

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
    calm_ = random_.Chance(0.15);
    for (uint32_t bit = 1; bit <= kForgets; bit <<= 1)
      if (random_.Chance(bit < kReshards ? 0.45 : 0.35)) troubles_ |= bit;
    if (calm_) troubles_ &= kCalmTroubles;
    WorldConfig c;
    c.seed = seed;
    c.trace = trace;
    c.primaries = static_cast<int>(random_.Between(3, 5));
    c.replicas = static_cast<int>(random_.Between(c.primaries - 1, c.primaries + 2));
    c.spares = random_.Chance(0.2) ? 1 : 0;
    static constexpr Millis kTimeouts[] = {1000, 2000, 5000};
    c.options.node_timeout_ms = kTimeouts[random_.Below(3)];
    c.options.replica_validity_factor = random_.Chance(0.5) ? 10 : 0;
    c.options.allow_replica_migration = random_.Chance(0.7);
    c.options.require_full_coverage = random_.Chance(0.5);
    c.options.repl_ping_replica_period_ms = 1000;
    c.clock_drift = calm_ || random_.Chance(0.3) ? 0 : random_.Chance(0.5) ? 0.0002 : 0.01;
    c.announce_ip = random_.Chance(0.3);
    if (troubles_ & kSaveFailures) c.save_failure = 0.002;
    if (troubles_ & kEffectCrashes) c.effect_crash = 0.01;
    trouble_ms_ = c.options.node_timeout_ms * random_.Between(15, 30);
    pace_ms_ = c.options.node_timeout_ms * random_.Between(1, 9) / 5;
    shape_ = fmt::format("{}+{}+{} nodes, timeout {}", c.primaries, c.replicas, c.spares, c.options.node_timeout_ms);
    if (calm_) shape_ += ", calm";
    for (size_t i = 0; i < std::size(kTroubleNames); ++i)
      if (troubles_ >> i & 1) shape_ += fmt::format(", {}", kTroubleNames[i]);
    if (!c.options.allow_replica_migration) shape_ += ", no migration";
    quiet_save_failure_ = c.save_failure;
    quiet_effect_crash_ = c.effect_crash;
    c.save_failure = c.effect_crash = 0;  // not while it forms
    return c;
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
      uint32_t kind = 1u << random_.Below(std::size(kTroubleNames));
      for (int tries = 0; tries < 8 && !(troubles_ & kind); ++tries)
        kind = 1u << random_.Below(std::size(kTroubleNames));
      if (troubles_ & kind) Cause(kind);
      RestartTheDead();
    }
  }

  // Processes that ended by themselves (failed saves, power lost in the middle) come back after a while.
  void RestartTheDead() {
    for (int n = 0; n < world_.size(); ++n) {
      if (world_.IsAlive(n) || !random_.Chance(0.2)) continue;
      bool moves = (troubles_ & kNewAddresses) && random_.Chance(0.5);
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
      case kStalls:
        for (int i = 0; i < world_.size(); ++i)
          if (random_.Chance(0.5)) world_.network().Stall(n, i, random_.Between(1, timeout()));
        if (random_.Chance(0.3)) world_.network().Slow(n, AnyNode(), random_.Between(0, timeout()));
        world_.Count("stalls");
        break;
      case kCuts:
        for (int64_t cuts = random_.Between(1, 6); cuts > 0; --cuts)
          if (world_.network().CutOne(n)) world_.Count("connections cut");
        break;
      case kClockJumps:
        world_.JumpClock(n, random_.Between(-3 * timeout(), 3 * timeout()));
        break;
      case kReshards:
        Reshard(n);
        break;
      case kFailovers:
        AskForFailover(n, cluster::FailoverMode::kPlain);
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
    if (world_.ReshardRunning() || !world_.Running(source)) return;
    int target = AnyNode();
    if (target == source || !world_.Running(target) || !world_.core(target).me().is(cluster::kPrimary)) return;
    std::vector<Slot> slots;
    const SlotSet& owned = world_.core(source).me().slots;
    bool all = random_.Chance(0.02);
    int wanted = static_cast<int>(random_.Between(1, 12));
    size_t first = static_cast<size_t>(random_.Below(cluster::kSlotCount));
    for (size_t i = 0; i < owned.size() && (all || static_cast<int>(slots.size()) < wanted); ++i) {
      size_t slot = (first + i) % owned.size();
      if (owned.test(slot)) slots.push_back(static_cast<Slot>(slot));
    }
    int steps = calm_ || random_.Chance(0.7) ? -1 : static_cast<int>(random_.Between(1, 40));
    if (!slots.empty()) world_.Reshard(std::move(slots), source, target, steps);
  }

  void AskForFailover(int n, cluster::FailoverMode mode) {
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

  void Recover() {
    world_.RunUntil(1000000, [&] { return !world_.ReshardRunning(); });  // all slots of a node take minutes
    world_.Heal();
    // A forgotten node may come back a minute later, not before; clocks may have jumped meanwhile.
    if (CounterOf("nodes forgotten") + CounterOf("nodes reset and forgotten") > 0) world_.Run(100000);
    Millis healed = world_.now();
    Millis limit = 20000 + 30 * timeout();
    // What an operator asked for before may still succeed.
    world_.RunUntil(10000, [&] {
      for (int n = 0; n < world_.size(); ++n)
        if (world_.core(n).ManualFailoverInProgress()) return false;
      return true;
    });
    std::string why;
    world_.Run(timeout());
    world_.SettleOpenSlots();
    bool agreed = false;
    for (int round = 0; round < 5 && !agreed; ++round) {
      if (troubles_ & kForgets) Invite();
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
    int lost = world_.LostWrites();
    world_.Count("writes acknowledged", static_cast<uint64_t>(world_.acknowledged_writes()));
    world_.Count("writes lost", static_cast<uint64_t>(lost));
    if (!calm_) return;
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
