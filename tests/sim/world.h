// A whole cluster in one thread on virtual time: hosts with drifting clocks and disks that forget what was not synced,
// a network with faults, a toy data set with replication, and the real cluster::Core on every host. One seed decides
// everything; the trace hash of two lives with the same seed is the same.
#pragma once

#include <array>
#include <deque>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cluster/core.h"
#include "tests/sim/checker.h"
#include "tests/sim/history.h"
#include "tests/sim/network.h"
#include "tests/sim/scheduler.h"

namespace tessera::sim {

using cluster::Core;
using cluster::Effects;
using cluster::Epoch;
using cluster::NodeId;
using cluster::ReplicationOffset;
using cluster::Slot;
using cluster::SlotSet;

struct WorldConfig {
  uint64_t seed = 1;
  int primaries = 3;
  int replicas = 3;  // in all; spread over the primaries
  int spares = 0;    // nodes that join without slots
  cluster::Options options;
  double save_failure = 0;  // chance that a single save of nodes.conf fails
  double effect_crash = 0;  // chance, per durable save, that power is lost at one of its steps
  double taker_killed = 0;  // chance that who is given a slot dies when that is on disk and nobody knows
  double clock_drift = 0;   // largest deviation of a clock's rate
  Millis write_every_ms = 25;
  double wait_share = 0.5;     // of the writes, those that WAIT for replicas
  Millis full_sync_ms = 500;   // longest transfer of a dataset, and longest loading of it
  Millis reshard_step_ms = 10;  // longest time between two steps of moving a few slots
  bool announce_ip = false;    // otherwise peers learn addresses from sockets
  bool trace = false;          // print every step
};

// The values a node holds of one slot, in order.
class Values {
 public:
  void Add(uint64_t value);
  bool Has(uint64_t value) const;
  size_t size() const { return values_.size(); }
  const std::vector<uint64_t>& all() const { return values_; }

 private:
  std::vector<uint64_t> values_;
};

// One write, or the loss of one slot, in a node's history. `uid` is given once in a life of the world, so two
// histories that end in the same uid are the same.
struct LogEntry {
  enum class Op { kWrite, kDropSlot };
  uint64_t uid;
  Op op;
  Slot slot;
  uint64_t value;
  ReplicationOffset end;
};

// nodes.conf is replaced by renaming a synced temporary file and syncing the directory.
struct Disk {
  std::string written;  // what a restart after a kill finds
  std::string durable;  // ... after a power loss
  // faults
  bool full = false;
  bool sync_fails = false;
  Millis slow_ms = 0;  // the longest a sync takes
  // the process's dealings with it
  std::string in_flight;  // being written: power loss may find it there or not
  bool saving = false;    // by the helper thread
  bool save_wanted = false;
  uint32_t save_number = 0;
  bool failing = false;   // the last save failed
  bool silenced = false;  // a save that must be durable failed: nothing is sent until it succeeds
  Millis last_try_ms = 0;
};

// One host and the process on it. Instants are virtual unless it says "own clock".
struct Server {
  // the host
  std::string ip;
  bool powered = true;
  double clock_rate = 1;
  Millis clock_offset_ms = 0;
  Disk disk;
  size_t log_synced = 0;  // how much of the log is on the platter
  std::string secret;     // small, and synced at once
  // the process
  std::unique_ptr<Core> core;
  uint32_t life = 0;
  bool paused = false;
  bool starting = false;  // loads its data: on the bus already, but without ticks, clients and replicas
  Millis busy_until_ms = 0;         // waits for its disk
  Millis undisturbed_since_ms = 0;  // neither stopped nor restarted nor its clock moved
  uint64_t next_inbound = 1;
  std::deque<cluster::Effect> queued;
  Millis writes_paused_until_ms = 0;  // own clock
  cluster::FailoverMode asked = cluster::FailoverMode::kPlain;  // the last manual failover asked of it
  Millis asked_at_ms = -1;
  // the data
  std::vector<LogEntry> log;
  std::map<Slot, Values> data;
  std::set<uint64_t> lost_by_power;  // values it had and forgot
  NodeId last_primary;               // whose replica it is or last was while alive; none as primary
  // replication
  bool following = false;
  bool resting = false;  // takes nothing more from its primary
  NodeId primary;
  cluster::Endpoint primary_endpoint;
  bool link_up = false;
  int link_node = -1;
  uint32_t link_life = 0;
  bool synced = false;  // what it holds came from the primary it follows, or from one of its shard before
  NodeId synced_with;   // the last primary that it was in step with
  enum class Sync { kNone, kReceiving, kLoading };
  Sync sync = Sync::kNone;
  std::vector<LogEntry> image;
  Millis sync_at = -1;          // when the present stage ends
  Millis applies_from_ms = 0;   // replication is held up until then
  size_t applies_at_once = ~size_t{0};
  Millis last_io_ms = 0;  // own clock
  Millis last_contact_ms = 0;
  Millis next_heartbeat_ms = 0;
  struct Wait {  // a client's WAIT
    size_t write;
    ReplicationOffset end;
    int wanted;
    uint32_t by = 0;  // replicas, a bit per node
    Millis until;
  };
  std::vector<Wait> waits;

  ReplicationOffset offset() const { return log.empty() ? 0 : log.back().end; }
};

class World : private Hosts {
 public:
  explicit World(WorldConfig config);
  ~World() override;

  // ---- running ----
  // Starts all nodes and builds the cluster as redis-cli --cluster create does. A cluster that does not form is a
  // violation.
  void CreateCluster();
  void Run(Millis duration);
  template <class Condition>
  bool RunUntil(Millis limit, Condition condition) {
    Millis end = now() + limit;
    while (!violated()) {
      if (condition()) return true;
      if (now() >= end) return false;
      Run(std::min<Millis>(100, end - now()));
    }
    return false;
  }
  Millis now() const { return scheduler_.now(); }
  Scheduler& scheduler() { return scheduler_; }
  Random& random() { return random_; }
  Network& network() { return network_; }
  const WorldConfig& config() const { return config_; }
  WorldConfig& mutable_config() { return config_; }
  uint64_t trace_hash() const { return hash_; }

  // ---- faults ----
  enum class Death { kProcess, kPower };
  void Crash(int node, Death death);
  enum class Moving { kSameAddress, kNewAddress };
  void Restart(int node, Moving moving = Moving::kSameAddress);
  void Pause(int node);
  void Resume(int node);
  void JumpClock(int node, Millis by);
  // Replication reaches `node` late, or only a few writes at a time.
  void HoldReplication(int node, Millis duration, size_t at_once);
  void SetDisk(int node, bool full, bool sync_fails, Millis slow_ms);
  void SwapAddresses(int a, int b);  // both dead
  void DelayNetwork(int from, int to, Millis stall, Millis extra_ms);
  void Block(int from, int to);
  void Isolate(int node);  // both directions, from and to everybody
  void MendNetwork();
  // Ends every fault; crashed nodes restart, paused ones go on.
  void Heal();

  // ---- administration; empty = done, otherwise the error ----
  template <class F>
  std::string Admin(int node, F f) {
    if (!Serves(node)) return "unreachable or loading";
    Effects effects;
    std::string error = f(*servers_[node].core, LocalTime(node), effects);
    Trace(node, "admin " + (error.empty() ? "done" : error));
    operator_acts_ = true;
    AfterStep(node);
    operator_acts_ = false;
    CarryOut(node, std::move(effects));
    return error.empty() && servers_[node].disk.silenced ? "not on disk yet" : error;
  }
  std::string Meet(int node, int other);
  std::string Failover(int node, cluster::FailoverMode mode);
  std::string Replicate(int node, int primary);
  std::string Forget(int node, const NodeId& id);
  std::string Reset(int node, cluster::ResetMode mode);
  std::string BumpEpoch(int node);
  // Moves `slots` by the SETSLOT dance, a step every few milliseconds; stops for good after `steps_max` steps.
  void Reshard(std::vector<Slot> slots, int source, int target, int steps_max);
  bool ReshardRunning() const { return reshards_running_ > 0; }
  void SettleOpenSlots();  // SETSLOT STABLE wherever a slot is still migrating or importing

  // ---- questions ----
  int size() const { return static_cast<int>(servers_.size()); }
  const Server& server(int node) const { return servers_[node]; }
  Core& core(int node) { return *servers_[node].core; }
  const Core& core(int node) const { return *servers_[node].core; }
  bool Running(int node) const { return servers_[node].core && !Paused(node); }
  bool Serves(int node) const { return Running(node) && !servers_[node].starting; }
  bool IsAlive(int node) const { return servers_[node].core != nullptr; }
  Millis LocalTime(int node) const;
  bool WritesPaused(int node) const { return servers_[static_cast<size_t>(node)].writes_paused_until_ms > LocalTime(node); }
  Millis max_clock_skew_ms() const { return max_clock_skew_ms_; }  // between any two clocks, ever
  int IndexOf(const NodeId& id) const;                             // -1 = no running node has it
  // All nodes up, agreeing about every slot, config epochs unique, replicas following owners. `why` says what lacks.
  bool Converged(std::string* why = nullptr) const;
  History& history() { return history_; }
  const History& history() const { return history_; }
  const std::vector<Slot>& tracked_slots() const { return tracked_slots_; }  // those that clients use
  int TrackedIndex(Slot slot) const { return tracked_index_[slot]; }         // -1 = not one of them
  bool OperatorActs() const { return operator_acts_; }
  Millis max_network_delay_ms() const { return max_network_delay_ms_; }  // beyond the ordinary, ever

  // ---- findings ----
  void Violate(std::string text);
  bool violated() const { return !violation_.empty(); }
  const std::string& violation() const { return violation_; }
  void Count(const char* what, uint64_t by = 1) { counters_[what] += by; }
  void CountMost(const char* what, uint64_t value) { counters_[what] = std::max(counters_[what], value); }
  const std::map<std::string, uint64_t>& counters() const { return counters_; }
  void Trace(int node, const std::string& text);

 private:
  friend class Checker;
  // Hosts
  bool Powered(int node) const override { return servers_[node].powered; }
  bool Alive(int node) const override { return servers_[node].core != nullptr; }
  bool Paused(int node) const override { return servers_[node].paused || Busy(node); }
  uint32_t Life(int node) const override { return servers_[node].life; }
  int NodeAt(const std::string& ip, uint16_t bus_port) const override;
  const std::string& Address(int node) const override { return servers_[node].ip; }
  LinkId NewInboundLink(int node) override { return cluster::kInboundLinkBit | servers_[node].next_inbound++; }
  void OnAccepted(int node, LinkId link) override;
  void OnOpened(int node, LinkId link) override;
  void OnClosed(int node, LinkId link) override;
  void OnMessage(int node, LinkId link, std::string_view bytes, const std::string& peer_ip,
                 const std::string& local_ip) override;
  void OnBrokenStream(int node, LinkId link) override;

  cluster::Options OptionsOf(int node) const;
  bool Busy(int node) const { return servers_[node].busy_until_ms > now(); }  // its disk makes it wait
  void DatasetLoaded(int node, uint32_t life);
  void StartTimers(int node);
  void TickLoop(int node, uint32_t life);
  void HandleTick(int node);
  void Deliver(int node, std::initializer_list<cluster::Event> events);
  void AfterStep(int node);
  // effects
  void CarryOut(int node, Effects effects);
  void CarryOutQueued(int node);
  bool CarryOutSilenced(int node, cluster::Effect& effect);  // true = done with
  void CarryOutOne(int node, cluster::Effect& effect);
  void SendOne(int node, cluster::Send& send);
  void DropKeys(int node, const SlotSet& slots);
  void Follow(int node, const cluster::FollowPrimary& whom);
  // the disk
  bool SaveDurably(int node);  // false = the effects behind it must wait
  void EndSlowSaveLater(int node, std::string text);
  void EndSlowSave(int node, const std::string& text);
  void SaveInBackground(int node);
  void EndBackgroundSave(int node);
  bool WriteOut(int node, const std::string& text);
  bool LosePowerDuringSave(int node, const std::string& text);
  void SaveEnded(int node, bool ok);
  void RetrySave(int node);
  void DiskDies(int node, Death death);
  // the data
  cluster::ReplicationStatus ReplicationStatusOf(int node) const;
  void ReplicationLoop(int node, uint32_t life);
  void ReplicationStep(int node);
  bool Synchronise(int node, int source);
  void ApplyStream(int node, const Server& source);
  void Acknowledge(int replica, int primary);
  void Apply(Server& server, const LogEntry& entry);
  void Append(int node, LogEntry::Op op, Slot slot, uint64_t value);
  void RebuildData(int node);
  // clients
  void ClientLoop();
  void ClientWrite();
  void ClientRead();
  int Route(Slot slot, bool* asking);
  std::string MigrateKeys(Slot slot, int source, int target);
  struct Dance;
  void DanceStep(std::shared_ptr<Dance> dance);
  void MeasureClocks();
  void Mix(uint64_t v) { hash_ = (hash_ ^ v) * 0x100000001b3ull; }

  WorldConfig config_;
  Random random_;
  Scheduler scheduler_;
  std::vector<Server> servers_;
  Network network_;
  Checker checker_;
  History history_;
  std::vector<Slot> tracked_slots_;
  std::array<int8_t, cluster::kSlotCount> tracked_index_;
  bool operator_acts_ = false;
  Millis max_network_delay_ms_ = 0;
  uint64_t next_uid_ = 1;
  int address_changes_ = 0;
  int reshards_running_ = 0;
  int dies_after_save_ = -1;  // which node
  std::set<int> resharding_;  // nodes that a reshard in flight concerns
  Millis max_clock_skew_ms_ = 0;
  uint64_t hash_ = 0xcbf29ce484222325ull;
  std::string violation_;
  std::map<std::string, uint64_t> counters_;
};

}  // namespace tessera::sim
