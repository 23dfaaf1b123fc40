// A primary that is told to leave hands its slots over first, by the manual failover that an operator would ask for.
//
// 1. It asks its most advanced synchronised replica to take over: by an MFSTART of its own where the replica is known
// to understand that, else as a client (AskToTakeOver), which any Redis obeys. 2. The replica answers with its MFSTART,
// and all goes on as in manual_failover.cc: writes pause, the replica reaches the final offset, is elected, and tells
// everybody; the writes that waited are redirected. 3. A replica that refuses, falls silent or is lost is passed over.
// Without a majority of primaries there is no election: the hand-over then fails at once rather than late.
// Who has handed over falls silent: it never tells that it became a replica, and once it is gone the others show it as
// what it was, a primary that failed, as they do in Valkey and after any other failover.
#include <algorithm>

#include "cluster/core_impl.h"

namespace tessera::cluster {
namespace {

constexpr Millis kAnswerTimeoutMs = 1000;    // from the request to the replica's MFSTART
constexpr Millis kElectionTimeoutMs = 3000;  // from there to its election

}  // namespace

Core::Error Core::HandOver(Millis now, Millis limit_ms, std::vector<ReplicaProgress> online, Effects& effects) {
  Impl::Turn turn(*impl_, now, effects);
  return impl_->StartHandOver(limit_ms, std::move(online));
}

void Core::CancelHandOver(Millis now, Effects& effects) {
  Impl::Turn turn(*impl_, now, effects);
  impl_->EndHandOver(HandOverState::kNone);
}

Core::Error Core::Impl::StartHandOver(Millis limit_ms, std::vector<ReplicaProgress> online) {
  if (!IsPrimary(*me) || me->slot_count == 0) return "ERR this node serves no slots";
  std::erase_if(online, [&](const ReplicaProgress& replica) {
    const NodeView* node = Lookup(replica.id);
    return !node || node->primary != me->id || !node->outbound_connected || node->is(kPfail | kFail | kNoFailover);
  });
  if (online.empty()) return "ERR no replica is synchronised and well";
  std::sort(online.begin(), online.end(),
            [](const ReplicaProgress& a, const ReplicaProgress& b) { return a.offset < b.offset; });
  leaving = HandOver{.state = HandOverState::kUnderWay, .begin_ms = now, .end_ms = now + limit_ms};
  for (const ReplicaProgress& replica : online) leaving.untried.push_back(replica.id);
  AskNextToTakeOver();
  return "";
}

void Core::Impl::AskNextToTakeOver() {
  leaving.began = false;
  while (!leaving.untried.empty()) {
    leaving.asked = leaving.untried.back();
    leaving.asked_ms = now;
    leaving.untried.pop_back();
    const NodeView* replica = Lookup(leaving.asked);
    if (!replica || replica->primary != me->id || !replica->outbound_connected) continue;
    Say(Severity::kNotice, "Asking replica {} to take over this node's {} slots", NodeName(*replica), me->slot_count);
    if (replica->abilities & kTakesOverWhenAsked)
      SendMessage(replica->outbound, MakeMessage(MessageType::kMfStart));
    else
      Emit(AskToTakeOver{replica->id, replica->endpoint});
    return;
  }
  EndHandOver(HandOverState::kFailed);
}

void Core::Impl::CheckHandOver() {
  if (!IsPrimary(*me) || me->slot_count == 0) {
    Say(Severity::kNotice, "The slots are handed over, after {} ms", now - leaving.begin_ms);
    return EndHandOver(HandOverState::kDone);
  }
  int voters = 1;
  for (const auto& [id, node] : nodes)
    if (&node != me && Votes(node) && node.outbound_connected && !Failed(node)) ++voters;
  const bool majority = voters >= Majority();
  if (!majority || now >= leaving.end_ms) {
    Say(Severity::kWarning, "The slots are not handed over: {}",
        majority ? "no replica took over in time" : "no majority of primaries is there to elect a replica");
    return EndHandOver(HandOverState::kFailed);
  }
  const NodeView* replica = Lookup(leaving.asked);
  const char* why = nullptr;
  if (!replica || replica->primary != me->id || !replica->outbound_connected) {
    why = "is gone";
  } else if (manual.replica == replica) {
    leaving.began = true;
    if (now - leaving.asked_ms > kElectionTimeoutMs) why = "does not get elected";
  } else if (leaving.began) {
    why = "gave up";
  } else if (now - leaving.asked_ms > kAnswerTimeoutMs) {
    why = "does not react";
  }
  if (!why) return;
  Say(Severity::kWarning, "Replica {} {}: it does not take over", leaving.asked.view(), why);
  if (manual.replica == replica) ResetManualFailover();
  AskNextToTakeOver();
}

void Core::Impl::EndHandOver(HandOverState state) {
  const bool was_under_way = leaving.state == HandOverState::kUnderWay;
  leaving.state = state;
  if (was_under_way && manual.replica && IsPrimary(*me)) {
    ResetManualFailover();
  } else if (leaving.writes_held) {
    Emit(ResumeWrites{});
  }
  leaving.writes_held = false;
}

void Core::Impl::OnTakeOverRefused(const TakeOverRefused& event) {
  if (leaving.state != HandOverState::kUnderWay || leaving.asked != event.id) return;
  Say(Severity::kWarning, "Replica {} does not take over: {}", event.id.view(), event.reason);
  AskNextToTakeOver();
}

void Core::Impl::OnAskedToTakeOver(const Received& r) {
  if (options.replica_no_failover || !replication.primary_link_up) {
    Say(Severity::kNotice, "Primary {} asks this node to take over; it cannot: {}", NodeName(*r.sender),
        options.replica_no_failover ? "cluster-replica-no-failover is set" : "it is not synchronised");
    return;
  }
  if (manual.end_ms) return;
  Say(Severity::kNotice, "Primary {} is about to leave and asks this node to take over", NodeName(*r.sender));
  StartManualFailover(FailoverMode::kPlain);
}

}  // namespace tessera::cluster
