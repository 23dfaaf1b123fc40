// A whole cluster in one thread on virtual time: hosts with drifting clocks and disks that forget what was not synced,
// a network with faults, a toy data set with replication, and the real cluster::Core on every host. One seed decides
// everything; the trace hash of two lives with the same seed is the same.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cluster/core.h"
#include "tests/sim/checker.h"
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
  double save_failure = 0;  // chance that a SaveState fails, which ends the process
  double effect_crash = 0;  // chance, per SaveState, that power is lost right before or after it
  double clock_drift = 0;   // largest deviation of a clock's rate
  Millis write_every_ms = 25;
  bool announce_ip = false;  // otherwise peers learn addresses from sockets
  bool trace = false;        // print every step
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

// One host and the process on it.
struct Server {
  // the host
  std::string ip;
  bool powered = true;
  double clock_rate = 1;
  Millis clock_offset_ms = 0;
  // its disk: nodes.conf as the page cache has it and as the platter has it, and how much of the log is on the platter
  std::string written, durable;
  size_t log_synced = 0;
  // the process
  std::unique_ptr<Core> core;
  uint32_t life = 0;
  bool paused = false;
  uint64_t next_inbound = 1;
  Millis writes_paused_until_ms = 0;  // by its own clock
  // the data
  std::vector<LogEntry> log;
  std::map<Slot, std::set<uint64_t>> data;
  // replication
  bool following = false;
  NodeId primary;
  cluster::Endpoint primary_endpoint;
  bool link_up = false;
  int link_node = -1;
  uint32_t link_life = 0;
  Millis sync_at = -1;
  Millis last_io_ms = 0;       // by its own clock
  Millis last_contact_ms = 0;  // virtual time
  Millis next_heartbeat_ms = 0;

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
  void Block(int from, int to);
  void Isolate(int node);  // both directions, from and to everybody
  void MendNetwork();
  // Ends every fault; crashed nodes restart, paused ones go on.
  void Heal();

  // ---- administration; empty = done, otherwise the error ----
  template <class F>
  std::string Admin(int node, F f) {
    if (!Running(node)) return "unreachable";
    Effects effects;
    std::string error = f(*servers_[node].core, LocalTime(node), effects);
    Trace(node, "admin " + (error.empty() ? "done" : error));
    CarryOut(node, std::move(effects));
    AfterStep(node);
    return error;
  }
  std::string Meet(int node, int other);
  std::string Failover(int node, cluster::FailoverMode mode);
  std::string Replicate(int node, int primary);
  std::string Forget(int node, const NodeId& id);
  std::string Reset(int node, cluster::ResetMode mode);
  // Moves `slots` by the SETSLOT dance, a step every few milliseconds; stops for good after `steps_max` steps.
  void Reshard(std::vector<Slot> slots, int source, int target, int steps_max);
  bool ReshardRunning() const { return reshards_running_ > 0; }
  void SettleOpenSlots();  // SETSLOT STABLE wherever a slot is still migrating or importing

  // ---- questions ----
  int size() const { return static_cast<int>(servers_.size()); }
  const Server& server(int node) const { return servers_[node]; }
  Core& core(int node) { return *servers_[node].core; }
  const Core& core(int node) const { return *servers_[node].core; }
  bool Running(int node) const { return servers_[node].core && !servers_[node].paused; }
  bool IsAlive(int node) const { return servers_[node].core != nullptr; }
  Millis LocalTime(int node) const;
  Millis max_clock_skew_ms() const { return max_clock_skew_ms_; }  // between any two clocks, ever
  int IndexOf(const NodeId& id) const;                             // -1 = no running node has it
  // All nodes up, agreeing about every slot, config epochs unique, replicas following owners. `why` says what lacks.
  bool Converged(std::string* why = nullptr) const;
  // Acknowledged writes that the owner of their slot does not have.
  int LostWrites() const;
  int acknowledged_writes() const { return static_cast<int>(acknowledged_.size()); }

  // ---- findings ----
  void Violate(std::string text);
  bool violated() const { return !violation_.empty(); }
  const std::string& violation() const { return violation_; }
  void Count(const char* what, uint64_t by = 1) { counters_[what] += by; }
  const std::map<std::string, uint64_t>& counters() const { return counters_; }
  void Trace(int node, const std::string& text);

 private:
  friend class Checker;
  // Hosts
  bool Powered(int node) const override { return servers_[node].powered; }
  bool Alive(int node) const override { return servers_[node].core != nullptr; }
  bool Paused(int node) const override { return servers_[node].paused; }
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
  void StartTimers(int node);
  void TickLoop(int node, uint32_t life);
  void HandleTick(int node);
  void ReplicationLoop(int node, uint32_t life);
  void ReplicationStep(int node);
  void ClientLoop();
  void ClientWrite();
  void Deliver(int node, const cluster::Event& event);
  void CarryOut(int node, Effects effects);
  bool CarryOutOne(int node, cluster::Effect& effect);  // false = the process died
  bool Save(int node, bool must_sync);
  void AfterStep(int node);
  void GiveReplicationStatus(int node);
  void Append(int node, LogEntry::Op op, Slot slot, uint64_t value);
  void RebuildData(int node);
  void CopyHistory(int from, int to);
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
  std::vector<Slot> tracked_slots_;
  struct Write {
    uint64_t value;
    Slot slot;
    int node;
    Millis at;
  };
  std::vector<Write> acknowledged_;
  uint64_t next_uid_ = 1;
  int address_changes_ = 0;
  int reshards_running_ = 0;
  Millis max_clock_skew_ms_ = 0;
  uint64_t hash_ = 0xcbf29ce484222325ull;
  std::string violation_;
  std::map<std::string, uint64_t> counters_;
};

}  // namespace tessera::sim
