// The inside of cluster::Core, private to cluster/*.cc. One state, split by subject over the files named below.
//
// A call from outside is a Turn: it fixes `now`, collects effects, and at its end runs what the handlers asked for
// later (elections, cluster state, saving). The SaveState of a turn stands before every other effect of that turn but
// StopFollowing, so whatever a message relies on is durable before it leaves.
#pragma once

#include <array>
#include <random>
#include <set>
#include <utility>

#include <fmt/core.h>

#include "cluster/core.h"

namespace tessera::cluster {

inline bool IsPrimary(const NodeView& n) { return n.is(kPrimary); }
inline bool IsReplica(const NodeView& n) { return n.is(kReplica); }
inline bool Failed(const NodeView& n) { return n.is(kFail); }
inline bool Suspected(const NodeView& n) { return n.is(kPfail); }
inline bool InHandshake(const NodeView& n) { return n.is(kHandshake); }
// Members of the electorate: primaries that serve slots.
inline bool Votes(const NodeView& n) { return IsPrimary(n) && n.slot_count > 0; }

// The role of `flags` as somebody else sent them: one at most.
inline uint16_t RoleIn(uint16_t flags) { return flags & kReplica ? kReplica : flags & kPrimary; }

inline size_t FirstSlot(const SlotSet& set) { return set._Find_first(); }
inline size_t NextSlot(const SlotSet& set, size_t slot) { return set._Find_next(slot); }

std::string FlagsText(uint16_t flags);         // "myself,master", as in CLUSTER NODES (nodes_conf.cc)
std::string NodeName(const NodeView& node);    // for notes: id, and the human name or address an operator knows
bool IsNumericAddress(std::string_view text);  // IPv4 or IPv6

struct Core::Impl {
  Impl(Options options, uint64_t seed, Millis now);

  // ---- state ----
  Options options;
  std::mt19937_64 rng;
  std::map<NodeId, NodeView> nodes;  // addresses of values are stable, also over a rename
  std::vector<NodeView*> index;      // `nodes` in order, for random picks; empty = rebuild
  NodeView* me = nullptr;
  Epoch current_epoch = 0;
  Epoch last_vote_epoch = 0;
  Epoch durable_epoch = 0;  // the current epoch of the last synced save

  std::array<NodeView*, kSlotCount> owner{};
  std::array<NodeView*, kSlotCount> migrating_to{};
  std::array<NodeView*, kSlotCount> importing_from{};
  SlotSet assigned;
  // Slots whose owner stopped claiming them while nobody else does: still routed to it, but anybody may claim them.
  SlotSet unclaimed;

  // What an operator moved here a moment ago, and from whom, until that one is heard to know it. Not saved.
  struct Moved {
    NodeId giver;
    Millis at_ms;
  };
  std::map<Slot, Moved> moved_here;

  struct Link {
    NodeView* node = nullptr;  // inbound: once the sender is known
    bool inbound = false;
    bool open = false;
    Millis created_ms = 0;
    // A probe looks who answers at an address (`node`, if set, is expected there) and is adopted or closed.
    bool probe = false;
    bool by_name = false;
    Endpoint target = {};
    // Who is at the other end: abilities as told on this link, the question put there and the one to be answered.
    uint16_t abilities = 0;
    std::string nonce = {}, owed = {};
    NodeId owed_to = {};
    bool proven = false;
    Endpoint proven_at = {};  // ip and bus_port in the proof
    int failed_proofs = 0;
    std::string local_ip = {}, peer_ip = {};
    int extra_pings = 0;  // since the secret changed last
    Millis last_ping_ms = 0;
  };
  std::map<LinkId, Link> links;
  LinkId next_link = 1;
  std::map<NodeId, Millis> forgotten;  // CLUSTER FORGET: not to be learned from gossip until then

  Secret secret;
  std::vector<Secret> former;       // believed as well, never handed out
  std::set<NodeId> holders;         // have proven it once: believed under a new address only with a proof
  std::set<NodeId> up_to_date;      // proved with `secret` itself in this life
  std::map<NodeId, Secret> offered;  // by nodes that have another one
  Millis next_seeds_ms = 0;

  bool state_ok = false;
  int size = 1;  // primaries that serve slots as of the last UpdateState, for CLUSTER INFO
  Millis first_state_check_ms = 0;
  Millis minority_since_ms = 0;
  struct Collision {
    NodeId with;
    Epoch epoch;
    Millis seen_ms;
  } collision{};  // the last one that was seen, and when at first
  Millis lease_until_ms = 0;
  Millis last_tick_ms = 0;
  Millis next_random_ping_ms = 0;
  std::array<uint64_t, kMessageTypeCount> sent{};
  std::array<uint64_t, kMessageTypeCount> received{};
  uint64_t links_over_buffer_limit = 0;

  // Until the data is loaded: slots that were lost meanwhile, whose keys may be loaded still.
  bool loading = true;
  SlotSet lost_while_loading;

  ReplicationStatus replication;
  // Whom the shell was last told to follow; none as primary.
  std::optional<FollowPrimary> following;
  // This replica came from another shard and is not yet synchronised: what it holds is not its primary's data.
  bool foreign_data = false;

  struct Election {
    Millis at_ms = 0;  // when the votes are (or were) asked for; 0 = never scheduled
    bool requested = false;
    int needed = 0;  // votes
    int rank = 0;
    Epoch epoch = 0;
    std::set<NodeId> voters;
  };
  Election election;
  // The living primary that this one replaced, and until when that one may vote for their shard still.
  NodeId predecessor;
  Millis predecessor_votes_until_ms = 0;
  enum class CannotFailOver { kNone, kForeignData, kDataAge, kWaitingDelay, kExpired, kWaitingVotes };
  CannotFailOver cannot_fail_over = CannotFailOver::kNone;
  Millis cannot_fail_over_noted_ms = 0;

  struct ManualFailover {
    Millis end_ms = 0;  // 0 = none under way
    // On the primary.
    NodeView* replica = nullptr;
    bool writes_paused = false;  // the shell confirmed: offsets announced from now on are final
    // On the replica.
    bool can_start = false;
    std::optional<ReplicationOffset> primary_offset;
  };
  ManualFailover manual;

  struct HandOver {
    HandOverState state = HandOverState::kNone;
    Millis begin_ms = 0, end_ms = 0;
    std::vector<NodeId> untried;  // the best one last
    NodeId asked;
    Millis asked_ms = 0;
    bool began = false;         // the one asked answered with its MFSTART
    bool writes_held = false;   // a pause that outlives a replica's failed attempt
  };
  HandOver leaving;

  // ---- the turn ----
  Millis now = 0;
  Effects* out = nullptr;
  size_t turn_begin = 0;
  bool save_wanted = false;
  bool sync_wanted = false;
  bool state_check_wanted = false;
  bool failover_check_wanted = false;
  bool manual_check_wanted = false;
  bool map_changed = false;
  bool promoted = false;

  class Turn {
   public:
    Turn(Impl& impl, Millis now, Effects& effects) : impl_(impl) { impl.BeginTurn(now, effects); }
    ~Turn() { impl_.EndTurn(); }
    Turn(const Turn&) = delete;

   private:
    Impl& impl_;
  };
  void BeginTurn(Millis now, Effects& effects);
  void EndTurn();
  void WantSave() { save_wanted = true; }
  void WantDurableSave() { save_wanted = sync_wanted = true; }
  template <typename E>
  void Emit(E effect) {
    out->push_back(std::move(effect));
  }
  template <typename... Args>
  void Say(Severity severity, fmt::format_string<Args...> format, Args&&... args) {
    Emit(Note{severity, fmt::format(format, std::forward<Args>(args)...)});
  }

  // ---- node_table.cc: nodes, roles, slots, links ----
  NodeId RandomId();
  NodeView* Lookup(const NodeId& id);
  NodeView* LookupText(std::string_view id);
  NodeView* PrimaryOf(const NodeView& node) { return node.primary.empty() ? nullptr : Lookup(node.primary); }
  NodeView* RandomNode();
  NodeView* AddNode(const NodeId& id, uint16_t flags);
  void RemoveNode(NodeView* node);
  void RenameNode(NodeView* node, const NodeId& id);
  void Forget(NodeView* node, Millis until);
  bool IsForgotten(const NodeId& id);
  void SetPrimary(NodeView* node, NodeView* primary);  // only the pointer and what hangs on it
  void BecomeKnownPrimary(NodeView* node);             // another node, or this one
  void BecomeKnownReplica(NodeView* node, NodeView* primary);
  void BecomeReplicaOf(NodeView* primary);  // this node
  void ReconcileReplication();              // tells the shell whom to follow, or that nobody
  void SetShard(NodeView* node, const NodeId& shard);
  void AssignSlot(Slot slot, NodeView* node);
  void UnassignSlot(Slot slot);
  int UnassignSlotsOf(NodeView* node);
  void CloseOpenSlots();  // migrating and importing marks
  Epoch MaxEpoch() const;
  bool BumpConfigEpoch();  // without consensus; false = already the greatest
  void ApplyOptions();     // what this node announces
  uint16_t MainPort(const Endpoint& e) const { return options.tls_cluster ? e.tls_port : e.port; }
  void OpenLinkTo(NodeView* node);
  void CloseLinkById(LinkId id);
  void DetachLink(LinkId id);
  void OnLinkAccepted(LinkId id);
  void OnLinkOpened(LinkId id);
  void OnLinkClosed(const LinkClosed& event);
  void AttachInbound(LinkId id, Link& link, NodeView* node);

  // ---- gossip.cc: what is sent, and what is learned of third nodes ----
  Message MakeMessage(MessageType type);
  void SendMessage(LinkId link, const Message& message);
  void Broadcast(const Message& message);
  void SendPing(LinkId link, MessageType type);
  enum class PongTo { kEverybody, kSiblings };
  void BroadcastPong(PongTo whom);
  void SendUpdate(NodeView* to, NodeView* about);
  void LearnGossip(const GossipBody& body, NodeView* sender);
  void LearnExtensions(const Extensions& extensions, NodeView* sender);
  void StartHandshake(std::string_view ip, uint16_t port, uint16_t bus_port);  // an operator's
  bool HandshakeInProgress(std::string_view ip, uint16_t port, uint16_t bus_port);

  // ---- receive.cc: one message ----
  struct Received {
    LinkId link_id;
    Link* link;
    const Message& message;
    const Header& header;
    const MessageReceived& event;
    NodeView* sender;  // null = unknown, still in handshake under this id, or not believed to be it
    NodeView* known;   // the node of that id, believed or not
  };
  void Receive(const MessageReceived& event);
  void ReceiveGossipMessage(Received& r);
  bool CompleteHandshake(Received& r);  // false = the message is done with
  void LearnHeader(Received& r);
  void LearnOwnAddress(const Received& r);
  void MoveTo(NodeView* node, Endpoint to);
  Endpoint EndpointFrom(const Received& r) const;
  void LearnRole(Received& r);

  // ---- addresses.cc ----
  void DrawSecret();
  void AddProof(Link& link, const NodeView* peer, Extensions& x);
  void LearnProof(Received& r, const Extensions& x);
  void AdoptSecret(const Secret& other, const NodeView& from);
  bool Trusts(const Received& r) const;
  bool SharesSecret(const NodeView& node) const { return holders.contains(node.id); }
  bool AsksNow(const Link& link) const;
  void OnClaim(const Received& r);
  void Claim(NodeView* node, const Endpoint& to);
  void SettleClaims();
  void RefuseClaim(NodeView* node, const Endpoint& to, std::string_view why);
  bool Probe(NodeView* node, const Endpoint& target, bool by_name);
  void ReceiveOnProbe(Received& r);
  void TickAddresses();
  void OnSeeds(const SeedsResolved& seeds);
  void OnOwnAddress(const OwnAddress& event);

  // ---- failure_detector.cc ----
  void OnTick();
  void TickLinks();
  void PingOldestOfFew();
  void CheckNode(NodeView* node);
  void IntroduceSelf(NodeView* node);
  Millis HandshakeTimeout() const;
  void AddFailureReport(NodeView* node, NodeView* reporter);
  void RemoveFailureReport(NodeView* node, const NodeId& reporter);
  int CountFailureReports(NodeView* node);
  int Majority() const;  // of the primaries that serve slots, as known right now
  void BecomeFailedIfMajorityAgrees(NodeView* node);
  void BecomeFailed(NodeView* node);
  void ClearFailureIfAllowed(NodeView* node);
  Millis Lease() const;
  bool MayBeReplaced() const;  // without its knowledge: no majority spoke to it, or not long enough
  void KeepLease();
  void CheckLease();
  Millis RejoinDelay() const;
  void UpdateState();

  // ---- config_update.cc ----
  void LearnClaims(NodeView* owner_claiming, Epoch epoch, const SlotSet& claimed);
  bool MovedHereFrom(Slot slot, const NodeView& claimant);
  void ForgetMovesKnownTo(const NodeView& node, const SlotSet& claimed);
  void LeaveSubReplication();
  void CorrectStaleClaims(const Received& r, NodeView* claimant);
  void ResolveEpochCollision(NodeView* other);
  void OnUpdate(const Received& r, const UpdateBody& body);
  void OnSlotsWithKeys(const SlotSet& slots);

  // ---- election.cc ----
  void HandleFailover();
  int RankAmongSiblings();
  Millis DataAge() const;
  void NoteCannotFailOver(CannotFailOver reason);
  void VoteIfAllowed(const Received& r);
  bool PredecessorMayVote();
  void CountVote(const Received& r);
  void TakeOverPrimary();

  // ---- manual_failover.cc ----
  Error StartManualFailover(FailoverMode mode);
  void OnManualFailoverStart(const Received& r);
  void OnReplicationStatus(const ReplicationStatus& status);
  void LearnPausedOffset(const Received& r);
  void CheckManualFailover();
  bool MayReplaceByHand() const;
  void CheckManualFailoverTimeout();
  void ResetManualFailover();

  // ---- hand_over.cc ----
  Error StartHandOver(Millis limit_ms, std::vector<ReplicaProgress> online);
  void AskNextToTakeOver();
  void CheckHandOver();
  // Its slots are with another and it is about to leave: from then on it says nothing.
  bool HandedOver() const {
    return leaving.state == HandOverState::kDone || (leaving.state == HandOverState::kUnderWay && IsReplica(*me));
  }
  void EndHandOver(HandOverState state);
  void OnAskedToTakeOver(const Received& r);
  void OnTakeOverRefused(const TakeOverRefused& event);

  // ---- replica_migration.cc ----
  int CountWorkingReplicas(const NodeView& primary) const;
  void MigrateToOrphanIfBest();

  // ---- admin.cc, slot_admin.cc ----
  Error Replicate(std::string_view id, bool dataset_empty);
  Error ForgetCommand(std::string_view id);
  Error Reset(ResetMode mode, bool dataset_empty);
  Error SetSlotNode(Slot slot, std::string_view id, size_t keys_in_slot);

  // ---- nodes_conf.cc ----
  void AppendNodeLine(std::string& text, const NodeView& node, std::optional<Audience> who) const;
  std::string StateText() const;
  std::string ParseState(std::string_view text);  // empty = fine, else line and reason
};

}  // namespace tessera::cluster
