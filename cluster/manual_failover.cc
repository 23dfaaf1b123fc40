// CLUSTER FAILOVER: a replica replaces a healthy primary without losing a write.
//
// 1. The replica sends MFSTART. 2. The primary pauses its clients' writes and, once the shell confirmed the pause,
// pings the replica with the final offset and the paused flag. 3. The replica waits until it has processed that
// offset, then holds an election with FORCEACK. 4. The old primary learns the new config epoch, becomes a replica and
// resumes its clients, who are redirected. Either side gives up after five seconds.
#include "cluster/core_impl.h"

namespace tessera::cluster {
namespace {

constexpr Millis kManualFailoverTimeoutMs = 5000;
constexpr int kPauseTimeouts = 2;

}  // namespace

Core::Error Core::Impl::StartManualFailover(FailoverMode mode) {
  if (IsPrimary(*me)) return "ERR You should send CLUSTER FAILOVER to a replica";
  NodeView* primary = PrimaryOf(*me);
  if (!primary) return "ERR I'm a replica but my master is unknown to me";
  if (mode == FailoverMode::kPlain && (Failed(*primary) || !primary->outbound_connected))
    return "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE";
  ResetManualFailover();
  manual.end_ms = now + kManualFailoverTimeoutMs;
  switch (mode) {
    case FailoverMode::kTakeover:
      Say(Severity::kWarning, "Taking over {} without asking anybody (user request)", NodeName(*primary));
      BumpConfigEpoch();
      TakeOverPrimary();
      break;
    case FailoverMode::kForce:
      Say(Severity::kWarning, "Forced failover of {} (user request): not waiting for its data", NodeName(*primary));
      manual.can_start = true;
      election = Election{};
      failover_check_wanted = true;
      break;
    case FailoverMode::kPlain:
      Say(Severity::kNotice, "Manual failover requested: asking {} to pause its writes", NodeName(*primary));
      SendMessage(primary->outbound, MakeMessage(MessageType::kMfStart));
      break;
  }
  return "";
}

void Core::Impl::OnManualFailoverStart(const Received& r) {
  if (IsReplica(*me) && r.sender->id == me->primary) return OnAskedToTakeOver(r);
  if (!IsPrimary(*me) || r.sender->primary != me->id) return;
  // Asked again by the same replica: the pause goes on, so that no write slips in between.
  if (manual.replica != r.sender) {
    ResetManualFailover();
    manual.replica = r.sender;
  }
  manual.end_ms = now + kManualFailoverTimeoutMs;
  Emit(PauseWrites{now + kManualFailoverTimeoutMs * kPauseTimeouts});
  Say(Severity::kNotice, "Manual failover requested by replica {}: writes are paused until it took over, at most {} ms",
      NodeName(*r.sender), kManualFailoverTimeoutMs);
}

void Core::Impl::OnReplicationStatus(const ReplicationStatus& status) {
  replication = status;
  me->offset = status.offset;
  if (status.primary_link_up && (status.primary.empty() || status.primary == me->primary)) foreign_data = false;
  if (!manual.end_ms) return;
  if (IsReplica(*me)) {
    manual_check_wanted = true;
  } else if (manual.replica && !manual.writes_paused) {
    manual.writes_paused = true;
    if (manual.replica->outbound_connected) SendPing(manual.replica->outbound, MessageType::kPing);
  }
}

void Core::Impl::LearnPausedOffset(const Received& r) {
  if (!manual.end_ms || !IsReplica(*me) || me->primary != r.sender->id || !r.header.paused || manual.primary_offset)
    return;
  manual.primary_offset = r.header.offset;
  manual_check_wanted = true;
  Say(Severity::kNotice, "The primary paused its writes at offset {}; this node is at {}", r.header.offset,
      replication.offset);
}

void Core::Impl::CheckManualFailover() {
  if (!manual.end_ms || manual.can_start || !IsReplica(*me) || foreign_data) return;
  // Another history may happen to be as long.
  if (!replication.primary_link_up || (!replication.primary.empty() && replication.primary != me->primary)) return;
  if (manual.primary_offset != replication.offset) return;
  manual.can_start = true;
  election = Election{};  // an earlier one has nothing to do with this
  failover_check_wanted = true;
  Say(Severity::kNotice, "All of the primary's stream is processed: the manual failover can start");
}

// A primary that came back from a restart meanwhile has made this replica synchronise anew: what it was to hold is gone.
bool Core::Impl::MayReplaceByHand() const {
  return manual.end_ms && manual.can_start && (!manual.primary_offset || *manual.primary_offset == replication.offset);
}

void Core::Impl::CheckManualFailoverTimeout() {
  if (!manual.end_ms || now <= manual.end_ms) return;
  Say(Severity::kWarning, "Manual failover timed out; {}",
      manual.replica ? "writes go on here" : "the primary stays, try again");
  ResetManualFailover();
}

void Core::Impl::ResetManualFailover() {
  // Who hands over and leaves lets no write slip in between two replicas' attempts: it might be lost with the first's.
  if (manual.replica && leaving.state == HandOverState::kUnderWay && IsPrimary(*me))
    leaving.writes_held = true;
  else if (manual.replica)
    Emit(ResumeWrites{});
  manual = ManualFailover{};
}

}  // namespace tessera::cluster
