// The cluster core's shell: bus sockets, nodes.conf, timers; carries out the core's effects and tells it events.
// The data plane asks it one question per command: serve here, or where instead. Loop thread.
//
// What need not be durable before a message leaves is saved by a helper thread, at most one save at a time, always the
// latest state: a resharding of thousands of slots then does not wait for the disk at every step.
// A nodes.conf that cannot be written never ends the process: it is tried again every second. If what it should hold must
// be durable before a message leaves, the bus falls silent meanwhile, but not the data plane: the node would rather look
// dead to its peers than promise what it may forget.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/core.h"
#include "persistence/file_system.h"
#include "server/cluster/bus.h"
#include "server/cluster/take_over_request.h"
#include "server/commands/table.h"
#include "server/net/disk_thread.h"
#include "server/net/event_loop.h"
#include "server/net/resolver.h"
#include "server/services.h"
#include "server/session.h"

namespace tessera {

class ClusterShell {
 public:
  static constexpr int kBusPortOffset = 10000;

  ClusterShell(EventLoop& loop, persistence::FileSystem& files, Services& services);
  ~ClusterShell();

  // Locks and reads nodes.conf (or makes it) and listens on the bus port. Empty = done, otherwise why the start stops.
  std::string Start();
  // After loading: claims slots that hold keys though nobody owns them, as Redis does; then takes part in the cluster.
  void DatasetLoaded();
  // End of a turn: while a manual failover waits for an offset, the core hears of it at once.
  void EndOfTurn();

  // A primary that leaves: asks its replicas to take over, for at most `limit_ms`; `ended` is called once, with whether
  // one did. Empty = under way, otherwise why not.
  std::string HandOver(int64_t limit_ms, std::function<void(bool handed_over)> ended);
  void CancelHandOver();

  // CONFIG SET of a cluster-* option or of what is announced.
  void OptionsChanged();

  // Empty = serve here; otherwise the whole error reply: MOVED, ASK, TRYAGAIN, CROSSSLOT, CLUSTERDOWN. EXEC is judged by
  // the commands queued in the session.
  std::string Route(const Session& session, const CommandRow& row, std::span<const std::string_view> argv);
  // The same for a client that waits for a key, which may have gone elsewhere meanwhile.
  std::string RouteWaiting(const Session& session, const CommandRow& row, std::string_view key) const;
  // "host" as clients are told it: address, host name or nothing, by cluster-preferred-endpoint-type.
  std::string PreferredHost(const cluster::NodeView& node, cluster::Audience who) const;
  // By the way the client is connected.
  static cluster::Audience AudienceOf(const Session& session);

  const cluster::Core& core() const { return *core_; }
  // Runs one of the core's commands, command(core, now_ms, effects), and carries out its effects.
  template <typename Command>
  auto Run(Command command) {
    cluster::Effects effects;
    auto result = command(*core_, loop_.now().unix_ms, effects);
    CarryOut(std::move(effects));
    NoticeEndOfHandOver();
    return result;
  }
  // What was decided last could not be made durable: the node says nothing on the bus until it is.
  bool silenced() const { return silenced_; }
  // To all nodes, or to those of this shard.
  void BroadcastPublish(bool sharded, std::string_view channel, std::string_view message);
  // CLUSTER SAVECONFIG; empty = saved.
  std::string SaveNow();
  size_t send_buffer_bytes(cluster::LinkId link) const;
  size_t bus_links() const;         // open or being opened, either way
  size_t bus_buffer_bytes() const;  // received in part, or not yet sent

 private:
  void Tick();
  void Tell(const cluster::Event& event);
  void OnBusEvent(const cluster::Event& event);
  void TellReplicationStatus();
  void NoticeEndOfHandOver();
  // finding.cc
  std::string SecretPath() const;
  void LoadSecret();
  void SaveSecret();
  void FindOwnAddress();
  void AskSeeds();
  void CarryOut(cluster::Effects effects);
  void CarryOutQueued();
  bool CarryOutOne(const cluster::Effect& effect);
  bool CarryOutSilenced(const cluster::Effect& effect);
  void DropKeys(const cluster::SlotSet& slots);
  void DropShardChannels();
  bool SaveDurably();
  void SaveInBackground();
  void SaveEnded(const persistence::Status& status);
  std::string Lock();
  void RefreshRouting();
  cluster::Options CoreOptions() const;
  void CheckLease();
  void RenewLease();
  // Adds the keys of a command to the query; empty or the error.
  struct Query;
  std::string AddKeys(Query& query, const CommandRow& row, std::span<const std::string_view> argv);
  std::string Judge(const Query& query, const Session& session);
  // "MOVED 12706 host:port" or "ASK ..."
  std::string Redirection(std::string_view how, cluster::Slot slot, const cluster::NodeView& to,
                          const Session& session) const;

  EventLoop& loop_;
  persistence::FileSystem& files_;
  Services& services_;
  ClusterBus bus_;
  cluster::NodeId followed_;  // whom replication was last told to follow
  std::unique_ptr<cluster::Core> core_;
  std::unique_ptr<persistence::FileLock> lock_;
  std::deque<cluster::Effect> queued_;
  bool carrying_out_ = false;
  bool ready_ = false;  // the dataset is loaded
  bool save_failing_ = false;  // the last try to write nodes.conf failed
  bool silenced_ = false;      // a save that must be durable stands in front of the queue
  bool save_wanted_ = false, saving_ = false;
  int64_t last_save_try_ms_ = 0;
  // Later than this the core is asked before a client is served (cluster::Core::lease_until_ms); never for a replica.
  int64_t lease_until_ms_ = 0;
  Resolver resolver_;
  std::set<std::string> seeds_asked_;
  int64_t told_offset_ = -1;
  std::function<void(bool)> hand_over_ended_;
  std::unique_ptr<TakeOverRequest> take_over_request_;
  bool routing_changed_ = false;  // since clients that wait for keys were last looked at
  // Slots that are ours, settled, in a cluster that is ok: the data plane's fast answer.
  std::array<bool, cluster::kSlotCount> serve_{};
  std::vector<KeyPosition> key_scratch_;
  DiskThread saver_;  // last: its job ends before the rest goes
};

}  // namespace tessera
