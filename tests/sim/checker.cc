#include "tests/sim/checker.h"

#include "fmt/core.h"
#include "tests/sim/world.h"

namespace tessera::sim {
namespace {

using cluster::NodeView;

uint64_t BigEndian(std::string_view bytes, size_t at, size_t size) {
  uint64_t v = 0;
  for (size_t i = 0; i < size; ++i) v = v << 8 | static_cast<unsigned char>(bytes[at + i]);
  return v;
}

Epoch NumberAfter(const std::string& text, std::string_view word) {
  size_t at = text.find(word);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + word.size(), nullptr, 10);
}

bool Votes(const NodeView& node) { return node.is(cluster::kPrimary) && node.slot_count > 0; }

}  // namespace

Checker::Process& Checker::process(int node) {
  if (processes_.size() <= static_cast<size_t>(node)) processes_.resize(static_cast<size_t>(node) + 1);
  return processes_[static_cast<size_t>(node)];
}

void Checker::Started(int node) {
  const Core& core = world_.core(node);
  Process& p = process(node);
  p.id = core.self().str();
  p.primary = core.me().is(cluster::kPrimary);
  p.config_epoch = core.me().config_epoch;
  p.cut_since_ms = -1;
  Identity& identity = identities_[p.id];
  // What no message told may be forgotten; what was told may not.
  if (core.current_epoch() < identity.told)
    world_.Violate(
        fmt::format("n{} restarted in epoch {} after it told others {}", node, core.current_epoch(), identity.told));
  identity.current = core.current_epoch();
  OnSaved(node);
}

void Checker::OnSaved(int node) {
  const std::string& text = world_.server(node).disk.durable;
  Process& p = process(node);
  p.durable_current = NumberAfter(text, "currentEpoch ");
  p.durable_vote = NumberAfter(text, "lastVoteEpoch ");
}

void Checker::ExpectForcedRole(int node, bool expected) { process(node).forced_role = expected; }

void Checker::RestartWaiting() {
  for (Process& p : processes_) p.cut_since_ms = -1;
}

void Checker::OnSend(int node, int peer, std::string_view bytes) {
  Process& p = process(node);
  auto type = static_cast<cluster::MessageType>(BigEndian(bytes, 12, 2));
  Epoch epoch = BigEndian(bytes, 16, 8);
  Identity& identity = identities_[p.id];
  identity.told = std::max(identity.told, epoch);
  if (p.durable_current < epoch)
    world_.Violate(fmt::format("n{} tells epoch {} in a {} while its disk says {}", node, epoch,
                               cluster::MessageTypeName(type), p.durable_current));
  if (type == cluster::MessageType::kFailoverAuthRequest) world_.Count("vote requests sent");
  if (type == cluster::MessageType::kUpdate) world_.Count("updates sent");
  if (type == cluster::MessageType::kFail) world_.Count("fail messages sent");
  if (type != cluster::MessageType::kFailoverAuthAck) return;

  world_.Count("votes given");
  std::string candidate = peer >= 0 && world_.IsAlive(peer) ? world_.core(peer).self().str() : "?";
  auto [vote, first] = identity.votes.emplace(epoch, candidate);
  if (!first)
    world_.Violate(
        fmt::format("n{} votes a second time in epoch {}: for {} after {}", node, epoch, candidate, vote->second));
  if (p.durable_vote < epoch)
    world_.Violate(
        fmt::format("n{} sends its vote of epoch {} before it is on disk ({})", node, epoch, p.durable_vote));
}

void Checker::AfterStep(int node) {
  const Core& core = world_.core(node);
  Process& p = process(node);
  if (core.self().view() != p.id) {  // a hard reset made a new node of it
    p.id = core.self().str();
    p.primary = core.me().is(cluster::kPrimary);
    p.config_epoch = core.me().config_epoch;
    identities_[p.id].current = core.current_epoch();
    return;
  }
  Identity& identity = identities_[p.id];
  Epoch epoch = core.current_epoch();
  if (epoch < identity.current)
    world_.Violate(fmt::format("n{}'s epoch goes back from {} to {}", node, identity.current, epoch));
  identity.current = epoch;
  const NodeView& me = core.me();
  bool primary = me.is(cluster::kPrimary);
  if (primary && me.config_epoch > epoch)
    world_.Violate(fmt::format("n{}'s config epoch {} exceeds its epoch {}", node, me.config_epoch, epoch));
  if (primary != p.primary) {
    p.primary = primary;
    RoleChanged(node, p);
  } else if (primary && me.config_epoch != p.config_epoch) {
    world_.Count("config epochs raised without election");
  }
  p.config_epoch = me.config_epoch;
}

void Checker::RoleChanged(int node, Process& p) {
  const Core& core = world_.core(node);
  p.cut_since_ms = -1;
  if (!p.primary) return world_.Count("primaries demoted");
  if (p.forced_role) return;
  Epoch epoch = core.me().config_epoch;
  world_.Count("elections won");
  auto [winner, first] = winners_.emplace(epoch, p.id);
  if (!first && winner->second != p.id)
    world_.Violate(fmt::format("n{} wins epoch {} that {} has won", node, epoch, winner->second));
  int votes = 0;
  for (auto& [id, identity] : identities_) {
    auto vote = identity.votes.find(epoch);
    if (vote != identity.votes.end() && vote->second == p.id) ++votes;
  }
  int electorate = 0;
  for (auto& [id, view] : core.nodes()) electorate += Votes(view);
  if (votes < electorate / 2 + 1)
    world_.Violate(fmt::format("n{} wins epoch {} with {} votes of {}", node, epoch, votes, electorate));
}

// Which nodes' news can get to `node`, by way of others too, as gossip does.
void Checker::AfterTick(int node) {
  const Core& core = world_.core(node);
  Process& p = process(node);
  if (!Votes(core.me())) {
    p.cut_since_ms = -1;
    return;
  }
  int electorate = 0, heard = 0;
  for (auto& [id, view] : core.nodes()) {
    if (!Votes(view)) continue;
    ++electorate;
    int other = world_.IndexOf(id);
    if (other == node || (other >= 0 && world_.Running(other) && !world_.network().Blocked(other, node) &&
                          !world_.network().Blocked(node, other)))
      ++heard;
  }
  bool cut = heard < electorate / 2 + 1;
  if (!cut || electorate != p.cluster_size) p.cut_since_ms = -1;
  p.cluster_size = electorate;
  if (!cut) return;
  if (p.cut_since_ms < 0) p.cut_since_ms = world_.now();
  // Nothing can be answered that was asked later than this.
  cluster::Millis timeout = core.options().node_timeout_ms;
  if (world_.now() - p.cut_since_ms > timeout + 100 + world_.max_clock_skew_ms()) {
    world_.Count("ticks of a primary cut off");
    if (core.ok())
      world_.Violate(fmt::format("n{} accepts writes though it has heard no majority for {} ms", node,
                                 world_.now() - p.cut_since_ms));
  }
}

}  // namespace tessera::sim
