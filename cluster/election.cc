// How a replica takes the place of its failed primary, and how a primary votes.
//
// A replica waits 500 ms plus chance plus one second per sibling with more data, asks all primaries for a vote in a
// fresh epoch, and takes over with a majority. A primary votes once per epoch, and its vote is durable before it
// leaves. So does a shard, for with two votes of one shard two candidates could win the same epoch: who took over from a
// living primary leaves the voting to it until it knows, and one that was found failing had lost its vote with its lease.
#include <algorithm>

#include "cluster/core_impl.h"

namespace tessera::cluster {
namespace {

constexpr Millis kElectionDelayMs = 500;
constexpr Millis kElectionJitterMs = 500;
constexpr Millis kRankDelayMs = 1000;
constexpr Millis kAuthTimeoutMsMin = 2000;
constexpr Millis kRenotePeriodMs = 10000;
// A replaced primary loses its lease, and with it its vote, a node timeout after the majority turned to its successor. The
// second is for what is on its way.
constexpr int kPredecessorVotesTimeouts = 2;
constexpr Millis kKnownAfterManualMs = 1000;

}  // namespace

int Core::Impl::RankAmongSiblings() {
  int rank = 0;
  for (const auto& [id, node] : nodes)
    if (&node != me && IsReplica(node) && node.primary == me->primary && !node.is(kNoFailover) &&
        node.offset > replication.offset)
      ++rank;
  return rank;
}

Millis Core::Impl::DataAge() const {
  Millis age = now - replication.primary_last_io_ms;
  // The time it took to notice the failure is no fault of the data.
  return age > options.node_timeout_ms ? age - options.node_timeout_ms : age;
}

void Core::Impl::NoteCannotFailOver(CannotFailOver reason) {
  if (reason == cannot_fail_over && now - cannot_fail_over_noted_ms < kRenotePeriodMs) return;
  cannot_fail_over = reason;
  cannot_fail_over_noted_ms = now;
  switch (reason) {
    case CannotFailOver::kForeignData:
      Say(Severity::kWarning,
          "Not standing for election: this node came from another shard and never synchronised with its primary. A "
          "CLUSTER FAILOVER FORCE would take over with the data as it is");
      return;
    case CannotFailOver::kDataAge:
      Say(Severity::kWarning,
          "Not standing for election: the link to the primary has been down for too long (cluster-replica-validity-"
          "factor). A CLUSTER FAILOVER FORCE would take over with the data as it is");
      return;
    case CannotFailOver::kWaitingDelay:
      Say(Severity::kVerbose, "Waiting {} ms before asking for votes", election.at_ms - now);
      return;
    case CannotFailOver::kExpired:
      Say(Severity::kNotice, "The election for epoch {} got {} of {} votes and expired; trying again later",
          election.epoch, election.voters.size(), election.needed);
      return;
    case CannotFailOver::kWaitingVotes:
      Say(Severity::kVerbose, "Waiting for votes: {} of {} so far", election.voters.size(), election.needed);
      return;
    case CannotFailOver::kNone:
      return;
  }
}

void Core::Impl::HandleFailover() {
  if (!IsReplica(*me)) return;
  NodeView* primary = PrimaryOf(*me);
  const bool by_hand = MayReplaceByHand();
  if (!primary || primary->slot_count == 0 || (!by_hand && (!Failed(*primary) || options.replica_no_failover))) {
    cannot_fail_over = CannotFailOver::kNone;
    return;
  }
  // Whatever its age: it would answer for its primary's slots with nothing, or with keys of others.
  if (!by_hand && foreign_data) return NoteCannotFailOver(CannotFailOver::kForeignData);
  if (!by_hand && options.replica_validity_factor &&
      DataAge() > options.repl_ping_replica_period_ms + options.node_timeout_ms * options.replica_validity_factor)
    return NoteCannotFailOver(CannotFailOver::kDataAge);

  const Millis auth_timeout = std::max(options.node_timeout_ms * 2, kAuthTimeoutMsMin);
  const Millis auth_age = now - election.at_ms;
  if (election.at_ms == 0 || auth_age > auth_timeout * 2) {
    election = Election{};
    if (by_hand) {
      election.at_ms = now;
      failover_check_wanted = true;
    } else {
      election.rank = RankAmongSiblings();
      election.at_ms =
          now + kElectionDelayMs + static_cast<Millis>(rng() % kElectionJitterMs) + election.rank * kRankDelayMs;
    }
    Say(Severity::kNotice, "Primary {} {}: standing for election in {} ms (rank #{}, offset {})", NodeName(*primary),
        by_hand ? "is to be replaced" : "failed", election.at_ms - now, election.rank, replication.offset);
    BroadcastPong(PongTo::kSiblings);  // so that they rank themselves by our offset
    return;
  }
  if (!election.requested && !by_hand) {
    // A sibling with more data may have spoken since.
    int rank = RankAmongSiblings();
    if (rank > election.rank) {
      election.at_ms += (rank - election.rank) * kRankDelayMs;
      Say(Severity::kNotice, "Rank is now #{}; the election is delayed by {} ms", rank,
          (rank - election.rank) * kRankDelayMs);
      election.rank = rank;
    }
  }
  if (now < election.at_ms) return NoteCannotFailOver(CannotFailOver::kWaitingDelay);
  if (auth_age > auth_timeout) return NoteCannotFailOver(CannotFailOver::kExpired);

  if (!election.requested) {
    election.requested = true;
    election.needed = Majority();
    election.epoch = ++current_epoch;
    // Who stands gives no vote in that epoch: its shard's may have gone to it already, by the primary it replaces.
    last_vote_epoch = current_epoch;
    WantDurableSave();
    state_check_wanted = true;
    Say(Severity::kNotice, "Asking the primaries for their votes in epoch {}; {} needed", election.epoch, election.needed);
    Message m = MakeMessage(MessageType::kFailoverAuthRequest);
    m.header.force_ack = by_hand;  // the primary is well: vote all the same
    Broadcast(m);
    return;
  }
  // While others hand over, their slots are nobody's here for a moment: no reason to do with fewer votes.
  election.needed = std::max(election.needed, Majority());
  if (static_cast<int>(election.voters.size()) < election.needed) return NoteCannotFailOver(CannotFailOver::kWaitingVotes);

  Say(Severity::kNotice, "Election won in epoch {}: this node is now the primary", election.epoch);
  me->config_epoch = std::max(me->config_epoch, election.epoch);
  TakeOverPrimary();
}

void Core::Impl::TakeOverPrimary() {
  NodeView* old = PrimaryOf(*me);
  if (!IsReplica(*me) || !old) return;
  const SlotSet slots = old->slots;
  if (!Failed(*old)) {
    predecessor = old->id;
    predecessor_votes_until_ms = now + options.node_timeout_ms * kPredecessorVotesTimeouts;
  }
  BecomeKnownPrimary(me);
  ReconcileReplication();
  for (size_t slot = FirstSlot(slots); slot < kSlotCount; slot = NextSlot(slots, slot))
    AssignSlot(static_cast<Slot>(slot), me);
  Say(Severity::kNotice, "Took over {} slots from {} with config epoch {}; telling everybody", slots.count(),
      NodeName(*old), me->config_epoch);
  UpdateState();
  WantDurableSave();
  BroadcastPong(PongTo::kEverybody);
  ResetManualFailover();
  election = Election{};
}

// ---- voting ----

bool Core::Impl::PredecessorMayVote() {
  if (now >= predecessor_votes_until_ms) return false;
  const NodeView* node = Lookup(predecessor);
  return node != nullptr && IsPrimary(*node);
}

void Core::Impl::VoteIfAllowed(const Received& r) {
  NodeView* candidate = r.sender;
  const Header& h = r.header;
  if (!Votes(*me)) return;
  auto deny = [&](std::string why) {
    Say(Severity::kNotice, "No vote for {} in epoch {}: {}", NodeName(*candidate), h.current_epoch, why);
  };
  if (h.current_epoch < current_epoch) return deny(fmt::format("this node is in epoch {} already", current_epoch));
  if (last_vote_epoch == current_epoch) return deny("this node voted in that epoch already");
  if (MayBeReplaced()) return deny("this node heard no majority, which may have replaced it");
  if (PredecessorMayVote()) return deny("the primary that this node replaced may have voted for their shard");
  NodeView* primary = PrimaryOf(*candidate);
  if (IsPrimary(*candidate)) return deny("it is a primary itself");
  if (!primary) return deny("its primary is not known here");
  if (!Failed(*primary) && !h.force_ack) return deny("its primary is not failing");
  // A new primary shall have time to make itself known before its shard elects again: what it acknowledged would be lost.
  // When an operator, or the primary before it leaves, wants another one, that time is short (Valkey takes none, Redis no
  // less than otherwise).
  const Millis known_after = h.force_ack ? kKnownAfterManualMs : options.node_timeout_ms * 2;
  if (now - primary->voted_at_ms < known_after)
    return deny(fmt::format("a replica of the same primary got a vote {} ms ago", now - primary->voted_at_ms));
  for (size_t slot = FirstSlot(h.slots); slot < kSlotCount; slot = NextSlot(h.slots, slot)) {
    const NodeView* current = owner[slot];
    if (!current || unclaimed.test(slot) || current->config_epoch <= h.config_epoch) continue;
    return deny(
        fmt::format("slot {} has config epoch {} here, it claims {}", slot, current->config_epoch, h.config_epoch));
  }
  primary->voted_at_ms = now;
  last_vote_epoch = current_epoch;
  WantDurableSave();  // lands before the vote below
  Say(Severity::kNotice, "Voting for {} in epoch {}", NodeName(*candidate), current_epoch);
  if (candidate->outbound_connected) SendMessage(candidate->outbound, MakeMessage(MessageType::kFailoverAuthAck));
}

void Core::Impl::CountVote(const Received& r) {
  // A vote belongs to the epoch it was given in, and a node that serves no slots has none.
  if (!election.requested || !Votes(*r.sender) || r.header.current_epoch < election.epoch) return;
  if (election.voters.insert(r.sender->id).second) failover_check_wanted = true;
}

}  // namespace tessera::cluster
