// The pulse: links are dialled, nodes are pinged, silence becomes suspicion (PFAIL), and the suspicion of a majority
// becomes a fact (FAIL). From that follows whether this cluster may serve (cluster_state).
//
// Reports of PFAIL come from primaries, by gossip, and stay valid for twice the node timeout.
//
// A primary serves only while it holds a lease: a majority of the primaries answered pings that left less than a node
// timeout ago. Each of them heard from us then, so none can suspect us before the lease ends, and no majority for our FAIL
// and for a successor can meet before: an acknowledged write never falls into a time with two primaries. (Redis goes by its
// own suspicions, which may come half a timeout later, and serves on after a pause until it hears of its successor.)
#include <algorithm>
#include <functional>
#include <vector>

#include "cluster/core_impl.h"

namespace tessera::cluster {
namespace {

constexpr Millis kRandomPingPeriodMs = 1000;
constexpr int kRandomPingCandidates = 5;
constexpr int kReportValidityTimeouts = 2;
constexpr int kFailUndoTimeouts = 2;
constexpr Millis kHandshakeTimeoutMsMin = 1000;
constexpr Millis kWritableDelayMs = 2000;
constexpr Millis kRejoinDelayMsMin = 500;
constexpr Millis kRejoinDelayMsMax = 5000;
// Who comes back from a minority hears first whether it was replaced.
constexpr Millis kHearAfterMinorityMs = 500;
// Answers older than this part of the node timeout are asked for anew, should the lease depend on them.
constexpr int kLeaseRenewals = 4;

}  // namespace

void Core::Impl::OnTick() {
  // A clock set back must not lengthen a lease.
  if (now < last_tick_ms)
    for (auto& [id, node] : nodes) node.answered_ms -= std::min(node.answered_ms, last_tick_ms - now);
  last_tick_ms = now;
  TickLinks();
  TickAddresses();
  if (now >= next_random_ping_ms || next_random_ping_ms > now + kRandomPingPeriodMs) {
    next_random_ping_ms = now + kRandomPingPeriodMs;
    PingOldestOfFew();
  }
  for (auto& [id, node] : nodes) {
    if (node.is(kMyself | kHandshake)) continue;
    // Another node answers at its address, and it has not called from a new one: silent like one nobody can dial. It would
    // count as reachable for ever otherwise, and never be replaced.
    if (node.is(kNoAddress) && !node.ping_sent_ms) node.ping_sent_ms = now;
    CheckNode(&node);
    IntroduceSelf(&node);
  }
  if (IsPrimary(*me)) KeepLease();

  CheckManualFailoverTimeout();
  if (IsReplica(*me)) {
    LeaveSubReplication();
    failover_check_wanted = true;
    MigrateToOrphanIfBest();
  }
  if (!state_ok) state_check_wanted = true;
}

void Core::Impl::TickLinks() {
  for (auto it = nodes.begin(); it != nodes.end();) {
    NodeView& node = it->second;
    ++it;  // the node may go
    if (node.is(kMyself | kNoAddress)) continue;
    if (InHandshake(node) && now - node.created_ms > HandshakeTimeout()) {
      Say(Severity::kVerbose, "Handshake with {}:{} timed out", node.endpoint.ip, node.endpoint.bus_port);
      RemoveNode(&node);
      continue;
    }
    if (!node.outbound && !node.endpoint.ip.empty()) OpenLinkTo(&node);
  }
}

Millis Core::Impl::HandshakeTimeout() const { return std::max(options.node_timeout_ms, kHandshakeTimeoutMsMin); }

// Knowing a node does not mean to be known by it: its handshake with us may have timed out, or the one node that knew
// us left before it told the others. It would answer our pings for ever and never count us as a member. Valkey 8.1 does
// this too; here only towards nodes that never called, so that whom an operator removed does not come back by itself.
void Core::Impl::IntroduceSelf(NodeView* node) {
  if (node->called || !node->outbound_connected) return;
  if (now - std::max(node->created_ms, node->introduced_ms) <= HandshakeTimeout()) return;
  node->introduced_ms = now;
  Say(Severity::kNotice, "Node {} has not called this node since they met: asking it to meet again", NodeName(*node));
  SendPing(node->outbound, MessageType::kMeet);
}

void Core::Impl::PingOldestOfFew() {
  NodeView* oldest = nullptr;
  for (int i = 0; i < kRandomPingCandidates; ++i) {
    NodeView* node = RandomNode();
    if (!node->outbound_connected || node->ping_sent_ms || node->is(kMyself | kHandshake)) continue;
    if (!oldest || node->pong_received_ms < oldest->pong_received_ms) oldest = node;
  }
  if (oldest) SendPing(oldest->outbound, MessageType::kPing);
}

void Core::Impl::CheckNode(NodeView* node) {
  const Millis timeout = options.node_timeout_ms;
  const Millis ping_delay = now - node->ping_sent_ms;
  const Millis data_delay = now - node->data_received_ms;
  // A link may be broken while the node is well. Dial anew at half the timeout, so that the other half can tell.
  // A ping that was swallowed is not asked again on the same link: who only talks to us would stay suspected for ever.
  if (node->outbound && now - node->outbound_created_ms > timeout && node->ping_sent_ms && ping_delay > timeout / 2 &&
      (data_delay > timeout / 2 || ping_delay > timeout))
    CloseLinkById(node->outbound);

  if (node->outbound && !node->ping_sent_ms && now - node->pong_received_ms > timeout / 2) {
    if (node->outbound_connected)
      SendPing(node->outbound, MessageType::kPing);
    else
      node->ping_sent_ms = now;  // dialling takes long; from here on it counts as silence
    return;
  }
  if (manual.end_ms && manual.replica == node && node->outbound_connected) {
    SendPing(node->outbound, MessageType::kPing);  // carries the paused offset
    return;
  }
  if (!node->ping_sent_ms) return;
  // Any traffic is a sign of life: pongs may queue behind other data.
  if (std::min(ping_delay, data_delay) <= timeout || node->is(kPfail | kFail)) return;
  node->flags |= kPfail;
  state_check_wanted = true;
  Say(Severity::kVerbose, "Node {} has not answered for {} ms: possibly failing; waiting for other primaries' reports",
      NodeName(*node), std::min(ping_delay, data_delay));
  if (Votes(*me)) BecomeFailedIfMajorityAgrees(node);
}

// ---- reports and FAIL ----

void Core::Impl::AddFailureReport(NodeView* node, NodeView* reporter) {
  for (auto& [id, when] : node->failure_reports)
    if (id == reporter->id) {
      when = now;
      return;
    }
  node->failure_reports.emplace_back(reporter->id, now);
  Say(Severity::kVerbose, "Node {} reports node {} as not reachable", NodeName(*reporter), NodeName(*node));
}

void Core::Impl::RemoveFailureReport(NodeView* node, const NodeId& reporter) {
  std::erase_if(node->failure_reports, [&](const auto& report) { return report.first == reporter; });
}

int Core::Impl::CountFailureReports(NodeView* node) {
  const Millis validity = options.node_timeout_ms * kReportValidityTimeouts;
  std::erase_if(node->failure_reports, [&](const auto& report) { return now - report.second > validity; });
  return static_cast<int>(node->failure_reports.size());
}

int Core::Impl::Majority() const {
  int voters = 0;
  for (const auto& [id, node] : nodes)
    if (Votes(node)) ++voters;
  return voters / 2 + 1;
}

void Core::Impl::BecomeFailedIfMajorityAgrees(NodeView* node) {
  if (!Suspected(*node) || Failed(*node)) return;
  // Back from a minority: our suspicions and the reports of others are about the partition. When it heals they may add up to
  // a majority before the suspected get a word in, and the failover would lose what a healthy primary had acknowledged.
  if (now - minority_since_ms < RejoinDelay()) return;
  CountFailureReports(node);
  int agreeing = Votes(*me) ? 1 : 0;
  for (const auto& [id, when] : node->failure_reports)
    if (NodeView* reporter = Lookup(id); reporter && Votes(*reporter)) ++agreeing;
  if (agreeing < Majority()) return;
  Say(Severity::kNotice, "Marking node {} as failing: {} primaries agree, {} are a majority", NodeName(*node), agreeing,
      Majority());
  BecomeFailed(node);
  Message m = MakeMessage(MessageType::kFail);
  m.body = FailBody{node->id};
  Broadcast(m);
}

void Core::Impl::BecomeFailed(NodeView* node) {
  node->flags = static_cast<uint16_t>((node->flags & ~kPfail) | kFail);
  node->fail_since_ms = now;
  state_check_wanted = map_changed = true;
  if (node->id == me->primary) failover_check_wanted = true;
  WantSave();
}

void Core::Impl::ClearFailureIfAllowed(NodeView* node) {
  const char* why = nullptr;
  if (IsReplica(*node))
    why = "it is a replica";
  else if (node->slot_count == 0)
    why = "it is a primary without slots";
  else if (now - node->fail_since_ms > options.node_timeout_ms * kFailUndoTimeouts)
    why = "nobody took over its slots";
  if (!why) return;
  node->flags &= ~kFail;
  state_check_wanted = map_changed = true;
  WantSave();
  Say(Severity::kNotice, "Node {} is reachable again, and {}: clearing its FAIL state", NodeName(*node), why);
}

// ---- cluster_state ----

// The end of the time granted by the majority that answered last.
Millis Core::Impl::Lease() const {
  std::vector<Millis> answered;
  for (const auto& [id, node] : nodes)
    if (Votes(node)) answered.push_back(&node == me ? now : node.is(kFail | kPfail) ? 0 : node.answered_ms);
  if (answered.empty()) return 0;
  const size_t majority = answered.size() / 2;  // an index: the last one that is needed
  std::nth_element(answered.begin(), answered.begin() + static_cast<ptrdiff_t>(majority), answered.end(), std::greater<>());
  return answered[majority] + options.node_timeout_ms;
}

bool Core::Impl::MayBeReplaced() const { return now > Lease() || now - minority_since_ms < kHearAfterMinorityMs; }

void Core::Impl::KeepLease() {
  const Millis period = options.node_timeout_ms / kLeaseRenewals;
  lease_until_ms = Lease();
  if (lease_until_ms - now < options.node_timeout_ms - period)
    for (auto& [id, node] : nodes)
      if (Votes(node) && node.outbound_connected && !node.ping_sent_ms && now - node.answered_ms > period)
        SendPing(node.outbound, MessageType::kPing);
  if (state_ok && now > lease_until_ms) state_check_wanted = true;
}

void Core::Impl::CheckLease() {
  if (!state_ok || !IsPrimary(*me) || now <= lease_until_ms) return;
  lease_until_ms = Lease();
  if (now > lease_until_ms) UpdateState();
}

Millis Core::Impl::RejoinDelay() const {
  return std::clamp(options.node_timeout_ms, kRejoinDelayMsMin, kRejoinDelayMsMax);
}

void Core::Impl::UpdateState() {
  state_check_wanted = false;
  if (!first_state_check_ms) first_state_check_ms = now;
  // A primary fresh from a restart may have been replaced: let the others say so before it accepts writes.
  if (IsPrimary(*me) && !state_ok && now - first_state_check_ms < kWritableDelayMs) return;

  bool covered = assigned.all();
  int reachable = 0;
  size = 0;
  for (const auto& [id, node] : nodes) {
    if (node.slot_count > 0 && Failed(node)) covered = false;
    if (!Votes(node)) continue;
    ++size;
    const bool answers = !IsPrimary(*me) || &node == me || now - node.answered_ms <= options.node_timeout_ms;
    if (answers && !node.is(kFail | kPfail)) ++reachable;
  }
  lease_until_ms = Lease();
  const bool majority = reachable >= size / 2 + 1;
  if (!majority) minority_since_ms = now;
  const bool new_ok = majority && (covered || !options.require_full_coverage);
  if (new_ok == state_ok) return;
  // Back from a minority: a configuration update may be on its way.
  if (new_ok && IsPrimary(*me) && now - minority_since_ms < RejoinDelay()) return;
  state_ok = new_ok;
  map_changed = true;
  if (new_ok)
    Say(Severity::kNotice, "Cluster state changed: ok");
  else if (!majority)
    Say(Severity::kWarning, "Cluster state changed: fail ({} of {} primaries reachable, no majority)", reachable, size);
  else
    Say(
        Severity::kWarning, "Cluster state changed: fail ({} slots unassigned or owned by a failed node)",
        kSlotCount - static_cast<int>(assigned.count()) + [&] {
          int failed = 0;
          for (const auto& [id, node] : nodes)
            if (Failed(node)) failed += node.slot_count;
          return failed;
        }());
}

}  // namespace tessera::cluster
