// One node's whole knowledge of the cluster and every decision it takes: a value. Here is now, here is an event; it
// answers with effects. No clock, socket, file, keyspace or randomness of its own; the shell (server/cluster/) and the
// simulator (tests/sim/) drive the same code. Not thread-safe; one owner.
//
// Order is part of the effects: they must be carried out in the order given, and a SaveState with `must_sync` must be
// durable before any effect behind it is carried out (a vote or an epoch is on disk before a message relies on it).
//
// What a shell does, in short:
//   start    Construct (or Load), write StateText() durably, give ReplicationStatus, then Tick. The first Ticks open
//            the links and, for a replica, emit FollowPrimary. A new node has no address until a MEET tells it.
//   running  ReplicationStatus then Tick at least every 100 ms and whenever NextTick() is reached. Never call the core
//            from within the carrying out of an effect.
//   links    OpenLink is answered later by LinkOpened or LinkClosed. The core sends only on open links. CloseLink is
//            final: no LinkClosed follows it, and events of a link the core no longer knows are ignored.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cluster/message.h"
#include "cluster/types.h"

namespace tessera::cluster {

// The cluster-* options of the configuration, plus what the node announces. May be replaced at run time (SetOptions).
struct Options {
  Millis node_timeout_ms = 15000;
  int replica_validity_factor = 10;
  int migration_barrier = 1;
  bool allow_replica_migration = true;
  bool require_full_coverage = true;
  bool replica_no_failover = false;
  bool allow_reads_when_down = false;
  bool allow_pubsubshard_when_down = true;
  Millis repl_ping_replica_period_ms = 10000;  // for the data-age rule of elections
  Endpoint announced;                   // ports as peers shall see them; ip empty = let peers learn it from the socket
  bool tls_cluster = false;             // the bus and the announced main port are the TLS ones
  std::string human_nodename;           // cluster-announce-human-nodename
  int preferred_endpoint_type = 0;      // 0 ip, 1 hostname, 2 unknown-endpoint
  bool has_seeds = false;               // AskSeeds is answered
  size_t link_sendbuf_limit_bytes = 0;  // enforced by the shell, kept for CLUSTER LINKS
};

using LinkId = uint64_t;  // given by the core for outbound links, by the shell (high bit set) for inbound ones
inline constexpr LinkId kInboundLinkBit = 1ull << 63;
// So many inbound links may be open of which no known node has spoken; of more the oldest is closed, so that whoever
// connects and says nothing costs no more than this.
inline constexpr size_t kStrangersMax = 64;

// ---- events ----
struct Tick {};  // at least every 100 ms
struct LinkOpened {
  LinkId link;
};  // outbound connect finished
struct LinkClosed {
  LinkId link;
  bool over_buffer_limit = false;  // the shell closed it because its send buffer outgrew link_sendbuf_limit_bytes
};                                 // either kind: refused, reset or closed by the peer
struct LinkAccepted {
  LinkId link;
};
struct MessageReceived {
  LinkId link;
  std::string_view bytes;  // one whole framed message, valid during the call
  std::string peer_ip;     // numeric address of the other end
  std::string local_ip;    // numeric address of this end (how a node learns its own)
};
// What the shell knows of replication, given before each Tick and each message: votes that come while a full
// synchronisation replaces the data must not win with it. After PauseWrites was carried
// out the next one also says: writes are paused and this offset is final (the core waits for it in a manual failover).
struct ReplicationStatus {
  ReplicationOffset offset = 0;   // this node's own: as primary produced, as replica processed
  bool primary_link_up = false;   // as replica: synchronised and connected
  Millis primary_last_io_ms = 0;  // unix ms of the last byte heard from a primary while the link was up; 0 never
  NodeId primary;                 // of the last FollowPrimary carried out: whom the link leads to; none = not told
};
// The replica named by AskToTakeOver did not do as it was asked.
struct TakeOverRefused {
  NodeId id;
  std::string reason;
};
struct SlotsWithKeys {
  SlotSet slots;
};  // at start, once the data is loaded: every slot that holds keys here. Slots nobody owns are claimed; what was lost
    // to others meanwhile is dropped; other slots of others are marked importing, for an operator to settle.

// What this machine says this node's own address is now; used unless one is announced.
struct OwnAddress {
  std::string ip;
};
// The answer to AskSeeds: where nodes of this cluster might be found (ip and bus_port count).
struct SeedsResolved {
  std::vector<Endpoint> addresses;
};

using Event =
    std::variant<Tick, LinkOpened, LinkClosed, LinkAccepted, MessageReceived, ReplicationStatus, SlotsWithKeys,
                 TakeOverRefused, OwnAddress, SeedsResolved>;

// ---- effects ----
struct Send {
  LinkId link;
  std::string bytes;
};
struct OpenLink {
  LinkId link;
  NodeId node;
  std::string ip;
  uint16_t bus_port;
  std::string hostname;
  bool by_name = false;  // resolve `hostname` and dial what it says now; `ip` is where the node used to be
};
// Nodes are missing: resolve the configured seeds (without blocking) and give SeedsResolved.
struct AskSeeds {};
// Write SecretText() beside nodes.conf, for the owner's eyes only.
struct SaveSecret {};
struct CloseLink {
  LinkId link;
};
struct SaveState {
  bool must_sync;
};  // write StateText() to nodes.conf
struct DropKeysInSlots {
  SlotSet slots;
};  // ownership lost: the data is no longer ours
struct FollowPrimary {
  NodeId id;
  Endpoint endpoint;
};                        // become (or re-point as) a replica of it
// A promotion is decided and BecomePrimary follows when it is durable, which a failing disk may delay: the data must stay
// as it was until then.
struct StopFollowing {};
struct BecomePrimary {};  // stop replicating, keep the data, accept writes
struct EmptyDataset {};   // CLUSTER RESET of a replica, as Redis does; follows BecomePrimary
struct PauseWrites {
  Millis until_ms;
};  // manual failover: clients' writes wait
struct ResumeWrites {};
// A replica of another make knows no request for it on the bus: send it CLUSTER FAILOVER as a client would. Only a refusal
// is reported back; a replica that does it is heard on the bus.
struct AskToTakeOver {
  NodeId id;
  Endpoint endpoint;
};
struct Publish {
  bool sharded;
  std::string channel;
  std::string message;
};                         // heard from the bus: deliver to local clients
struct SlotMapChanged {};  // routing or state() changed
enum class Severity { kDebug, kVerbose, kNotice, kWarning };
struct Note {
  Severity severity;
  std::string text;
};

using Effect = std::variant<Send, OpenLink, CloseLink, SaveState, DropKeysInSlots, FollowPrimary, StopFollowing,
                            BecomePrimary, EmptyDataset, PauseWrites, ResumeWrites, AskToTakeOver, AskSeeds, SaveSecret,
                            Publish, SlotMapChanged, Note>;
using Effects = std::vector<Effect>;

// What CLUSTER INFO tells.
struct InfoFigures {
  bool ok = false;
  size_t slots_assigned = 0, slots_ok = 0, slots_pfail = 0, slots_fail = 0;
  size_t known_nodes = 0;
  size_t size = 0;  // primaries with slots
  Epoch current_epoch = 0, my_epoch = 0;
  uint64_t messages_sent = 0, messages_received = 0;
  uint64_t links_over_buffer_limit = 0;
};

// What this node knows of one node (itself included).
struct NodeView {
  NodeId id;
  NodeId shard_id;
  std::string human_nodename;
  Endpoint endpoint;
  uint16_t flags = 0;
  uint16_t abilities = 0;  // Ability bits, as last told
  NodeId primary;          // when a replica
  Epoch config_epoch = 0;
  ReplicationOffset offset = 0;
  // ping_sent_ms: 0 = no ping is waiting for its pong.
  Millis created_ms = 0, ping_sent_ms = 0, pong_received_ms = 0, data_received_ms = 0, fail_since_ms = 0,
         orphaned_since_ms = 0, voted_at_ms = 0;
  // When the last ping that it answered had left: before that plus the node timeout it cannot take us for failing.
  Millis answered_ms = 0;
  SlotSet slots;  // only for primaries
  int slot_count = 0;
  LinkId outbound = 0;  // 0 = none
  bool outbound_connected = false;
  LinkId inbound = 0;
  Millis outbound_created_ms = 0, inbound_created_ms = 0;
  // By a link of its own: it knows this node. Nodes of nodes.conf count as if they had, for who was removed from the
  // cluster while this process was down is not to come back by itself.
  bool called = false;
  Millis introduced_ms = 0;  // when it was last told of this node for lack of a call
  std::vector<std::pair<NodeId, Millis>> failure_reports;  // reporter, when
  // ---- how sure we are of its address (addresses.cc)
  bool proven = false;           // knew the cluster's secret since this process runs
  bool ordered = false;          // in handshake because an operator said MEET here
  std::string other_ip;          // calls from there too, and answers there
  Millis claim_answered_ms = 0;  // a pong from where we know it, since the claim below
  Millis lost_since_ms = 0;      // without a link of ours; 0 = connected
  Millis next_probe_ms = 0;      // by name
  std::optional<Endpoint> claim;  // it is said to be there now; settled a moment later, should the old place not answer
  Millis claim_ms = 0, refusal_noted_ms = 0;
  bool is(uint16_t flag) const { return flags & flag; }
};

enum class FailoverMode { kPlain, kForce, kTakeover };
enum class ResetMode { kSoft, kHard };

// A primary's hand-over before it leaves (hand_over.cc).
enum class HandOverState { kNone, kUnderWay, kDone, kFailed };
struct ReplicaProgress {
  NodeId id;
  ReplicationOffset offset = 0;  // acknowledged
};

class Core {
 public:
  // A fresh node with a random id drawn from `seed`, or the one a nodes.conf text describes.
  Core(Options options, uint64_t seed, Millis now);
  // Parses nodes.conf. On failure returns null and sets `error` (line and reason).
  static std::unique_ptr<Core> Load(Options options, uint64_t seed, Millis now, std::string_view text,
                                    std::string* error);
  ~Core();
  Core(const Core&) = delete;

  // The secret's file. What cannot be read is refused (false) and the secret the core drew for itself stays.
  bool LoadSecret(std::string_view text);
  std::string SecretText() const;

  Effects Handle(Millis now, const Event& event);
  // Until when a primary in state ok may serve without asking again; the shell calls CheckLease before it serves a client
  // later than that. A process that slept through it must not answer one request before it looked at the clock.
  Millis lease_until_ms() const;
  void CheckLease(Millis now, Effects& effects);
  void SetOptions(Millis now, Options options, Effects& effects);
  const Options& options() const;
  // Latest instant by which the core wants a Tick.
  Millis NextTick() const;

  // ---- commands: empty string = done, otherwise the error reply's text without '-' ("ERR ...") ----
  using Error = std::string;
  Error Meet(Millis now, std::string_view ip, int port, int bus_port, Effects& effects);
  Error Forget(Millis now, std::string_view id, Effects& effects);
  Error AddSlots(Millis now, const SlotSet& slots, Effects& effects);
  Error DelSlots(Millis now, const SlotSet& slots, Effects& effects);
  Error FlushSlots(Millis now, bool dataset_empty, Effects& effects);
  // `keys_in_slot`: this node's number of keys in `slot`, asked by the shell beforehand.

  Error SetSlotMigrating(Millis now, Slot slot, std::string_view to, Effects& effects);
  Error SetSlotImporting(Millis now, Slot slot, std::string_view from, Effects& effects);
  Error SetSlotStable(Millis now, Slot slot, Effects& effects);
  Error SetSlotNode(Millis now, Slot slot, std::string_view owner, size_t keys_in_slot, Effects& effects);
  Error Replicate(Millis now, std::string_view id, bool dataset_empty, Effects& effects);
  Error Failover(Millis now, FailoverMode mode, Effects& effects);
  // Asks one replica after another, the one with most data first, to take over by a manual failover, for at most
  // `limit_ms`. `online` are the replicas that are synchronised. hand_over() tells what became of it. Clients' writes are
  // paused only while a replica is at it, and stay so until the end once one was. After it nothing is said on the bus;
  // CancelHandOver, also then, is for who stays after all.
  Error HandOver(Millis now, Millis limit_ms, std::vector<ReplicaProgress> online, Effects& effects);
  void CancelHandOver(Millis now, Effects& effects);
  Error Reset(Millis now, ResetMode mode, bool dataset_empty, Effects& effects);
  Error SetConfigEpoch(Millis now, Epoch epoch, Effects& effects);
  // Returns "BUMPED n" or "STILL n" in `reply`.
  Error BumpEpoch(Millis now, std::string& reply, Effects& effects);
  // To every node (plain), or to the nodes of this shard (sharded).
  void BroadcastPublish(Millis now, bool sharded, std::string_view channel, std::string_view message, Effects& effects);

  // ---- questions ----
  const NodeId& self() const;
  const NodeView& me() const;
  const NodeView* Find(std::string_view id) const;  // full id
  const std::map<NodeId, NodeView>& nodes() const;
  bool ok() const;                           // cluster_state
  const NodeView* OwnerOf(Slot slot) const;  // null = unassigned
  const NodeView* MigratingTo(Slot slot) const;
  const NodeView* ImportingFrom(Slot slot) const;
  bool ManualFailoverInProgress() const;
  // Whether the node at the other end is one of the cluster's, as far as it has told.
  bool IsOfKnownNode(LinkId link) const;
  std::string StateText() const;                                   // nodes.conf, vars line included
  std::string NodesText(Millis now, Audience who) const;           // CLUSTER NODES
  std::string NodeLine(const NodeView& node, Audience who) const;  // one line of it (CLUSTER REPLICAS)
  InfoFigures Figures() const;                                     // of CLUSTER INFO
  std::string InfoText(Millis now) const;                          // CLUSTER INFO
  HandOverState hand_over() const;
  int FailureReports(Millis now, std::string_view id, Error* error) const;
  Epoch current_epoch() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera::cluster
