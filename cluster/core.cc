// Joins the subjects: events and commands come in here, every one of them a turn.
#include "cluster/core.h"

#include <cassert>
#include <numeric>

#include "cluster/core_impl.h"

namespace tessera::cluster {
namespace {

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

}  // namespace

Core::Impl::Impl(Options new_options, uint64_t seed, Millis start)
    : options(std::move(new_options)), rng(seed), now(start) {
  DrawSecret();
}

void Core::Impl::BeginTurn(Millis turn_now, Effects& effects) {
  assert(out == nullptr);
  now = turn_now;
  out = &effects;
  turn_begin = effects.size();
}

void Core::Impl::EndTurn() {
  // Each round may ask for another (a manual failover is scheduled, then requested); three are the longest chain.
  for (int round = 0; round < 3 && (manual_check_wanted || failover_check_wanted); ++round) {
    manual_check_wanted = failover_check_wanted = false;
    CheckManualFailover();
    HandleFailover();
  }
  if (leaving.state == HandOverState::kUnderWay) CheckHandOver();
  if (state_check_wanted) UpdateState();
  ReconcileReplication();
  // No message of this turn or a later one may tell an epoch that a crash could take back.
  if (current_epoch != durable_epoch) WantDurableSave();
  if (sync_wanted) durable_epoch = current_epoch;
  if (save_wanted) out->insert(out->begin() + static_cast<ptrdiff_t>(turn_begin), SaveState{sync_wanted});
  if (promoted) out->insert(out->begin() + static_cast<ptrdiff_t>(turn_begin), StopFollowing{});
  if (map_changed) Emit(SlotMapChanged{});
  promoted = save_wanted = sync_wanted = state_check_wanted = map_changed = false;
  out = nullptr;
}

Core::Core(Options options, uint64_t seed, Millis now) : impl_(std::make_unique<Impl>(std::move(options), seed, now)) {
  Impl& d = *impl_;
  d.me = d.AddNode(d.RandomId(), kMyself | kPrimary);
  d.ApplyOptions();
  d.save_wanted = d.state_check_wanted = d.map_changed = false;
}

std::unique_ptr<Core> Core::Load(Options options, uint64_t seed, Millis now, std::string_view text,
                                 std::string* error) {
  auto core = std::make_unique<Core>(options, seed, now);
  auto impl = std::make_unique<Impl>(std::move(options), seed, now);
  std::string fault = impl->ParseState(text);
  if (!fault.empty()) {
    if (error) *error = fault;
    return nullptr;
  }
  impl->ApplyOptions();
  impl->durable_epoch = impl->current_epoch;
  impl->save_wanted = impl->state_check_wanted = impl->map_changed = false;
  core->impl_ = std::move(impl);
  return core;
}

Core::~Core() = default;

Effects Core::Handle(Millis now, const Event& event) {
  Effects effects;
  Impl& d = *impl_;
  Impl::Turn turn(d, now, effects);
  d.CheckLease();
  std::visit(Overloaded{
                 [&](const Tick&) { d.OnTick(); },
                 [&](const LinkOpened& e) { d.OnLinkOpened(e.link); },
                 [&](const LinkClosed& e) { d.OnLinkClosed(e); },
                 [&](const LinkAccepted& e) { d.OnLinkAccepted(e.link); },
                 [&](const MessageReceived& e) { d.Receive(e); },
                 [&](const ReplicationStatus& e) { d.OnReplicationStatus(e); },
                 [&](const SlotsWithKeys& e) { d.OnSlotsWithKeys(e.slots); },
                 [&](const TakeOverRefused& e) { d.OnTakeOverRefused(e); },
                 [&](const OwnAddress& e) { d.OnOwnAddress(e); },
                 [&](const SeedsResolved& e) { d.OnSeeds(e); },
             },
             event);
  return effects;
}

Millis Core::lease_until_ms() const { return impl_->lease_until_ms; }

void Core::CheckLease(Millis now, Effects& effects) {
  Impl::Turn turn(*impl_, now, effects);
  impl_->CheckLease();
}

void Core::SetOptions(Millis now, Options options, Effects& effects) {
  Impl::Turn turn(*impl_, now, effects);
  const bool was_announced = !impl_->options.announced.ip.empty();
  if (was_announced && options.announced.ip.empty()) impl_->me->endpoint.ip.clear();  // to be learned anew
  impl_->options = std::move(options);
  impl_->ApplyOptions();
  impl_->state_check_wanted = true;
}

const Options& Core::options() const { return impl_->options; }

bool Core::IsOfKnownNode(LinkId link) const {
  const auto it = impl_->links.find(link);
  return it != impl_->links.end() && it->second.node != nullptr;
}

Millis Core::NextTick() const {
  const Impl& d = *impl_;
  Millis next = d.last_tick_ms + 100;
  if (IsReplica(*d.me) && !d.election.requested && d.election.at_ms > d.last_tick_ms)
    next = std::min(next, d.election.at_ms);
  return next;
}

void Core::BroadcastPublish(Millis now, bool sharded, std::string_view channel, std::string_view message,
                            Effects& effects) {
  Impl& d = *impl_;
  Impl::Turn turn(d, now, effects);
  Message m = d.MakeMessage(sharded ? MessageType::kPublishShard : MessageType::kPublish);
  m.body = PublishBody{std::string(channel), std::string(message)};
  std::string bytes = Encode(m);
  for (auto& [id, node] : d.nodes) {
    if (node.is(kMyself | kHandshake) || !node.outbound_connected) continue;
    if (sharded && node.shard_id != d.me->shard_id) continue;
    ++d.sent[static_cast<size_t>(m.header.type)];
    d.Emit(Send{node.outbound, bytes});
  }
}

const NodeId& Core::self() const { return impl_->me->id; }
const NodeView& Core::me() const { return *impl_->me; }
const NodeView* Core::Find(std::string_view id) const { return impl_->LookupText(id); }
const std::map<NodeId, NodeView>& Core::nodes() const { return impl_->nodes; }
bool Core::ok() const { return impl_->state_ok; }
const NodeView* Core::OwnerOf(Slot slot) const { return impl_->owner[slot]; }
const NodeView* Core::MigratingTo(Slot slot) const { return impl_->migrating_to[slot]; }
const NodeView* Core::ImportingFrom(Slot slot) const { return impl_->importing_from[slot]; }
HandOverState Core::hand_over() const { return impl_->leaving.state; }
bool Core::ManualFailoverInProgress() const { return impl_->manual.end_ms != 0; }
Epoch Core::current_epoch() const { return impl_->current_epoch; }
std::string Core::StateText() const { return impl_->StateText(); }

int Core::FailureReports(Millis now, std::string_view id, Error* error) const {
  NodeView* node = impl_->LookupText(id);
  if (!node) {
    if (error) *error = fmt::format("ERR Unknown node {}", id);
    return 0;
  }
  impl_->now = now;
  return impl_->CountFailureReports(node);
}

InfoFigures Core::Figures() const {
  const Impl& d = *impl_;
  InfoFigures figures;
  for (const auto& [id, node] : d.nodes)
    (Failed(node) ? figures.slots_fail : Suspected(node) ? figures.slots_pfail : figures.slots_ok) +=
        static_cast<size_t>(node.slot_count);
  const NodeView* primary = impl_->PrimaryOf(*d.me);
  figures.ok = d.state_ok;
  figures.slots_assigned = d.assigned.count();
  figures.known_nodes = d.nodes.size();
  figures.size = static_cast<size_t>(d.size);
  figures.current_epoch = d.current_epoch;
  figures.my_epoch = primary ? primary->config_epoch : d.me->config_epoch;
  figures.messages_sent = std::accumulate(d.sent.begin(), d.sent.end(), uint64_t{0});
  figures.messages_received = std::accumulate(d.received.begin(), d.received.end(), uint64_t{0});
  figures.links_over_buffer_limit = d.links_over_buffer_limit;
  return figures;
}

std::string Core::InfoText(Millis) const {
  const InfoFigures figures = Figures();
  std::string text = fmt::format(
      "cluster_state:{}\r\ncluster_slots_assigned:{}\r\ncluster_slots_ok:{}\r\ncluster_slots_pfail:{}\r\n"
      "cluster_slots_fail:{}\r\ncluster_known_nodes:{}\r\ncluster_size:{}\r\ncluster_current_epoch:{}\r\n"
      "cluster_my_epoch:{}\r\n",
      figures.ok ? "ok" : "fail", figures.slots_assigned, figures.slots_ok, figures.slots_pfail, figures.slots_fail,
      figures.known_nodes, figures.size, figures.current_epoch, figures.my_epoch);
  auto append = [&](const std::array<uint64_t, kMessageTypeCount>& counts, const char* what, uint64_t total) {
    for (int i = 0; i < kMessageTypeCount; ++i) {
      if (counts[i])
        text += fmt::format("cluster_stats_messages_{}_{}:{}\r\n", MessageTypeName(static_cast<MessageType>(i)), what,
                            counts[i]);
    }
    text += fmt::format("cluster_stats_messages_{}:{}\r\n", what, total);
  };
  append(impl_->sent, "sent", figures.messages_sent);
  append(impl_->received, "received", figures.messages_received);
  text += fmt::format("total_cluster_links_buffer_limit_exceeded:{}\r\n", figures.links_over_buffer_limit);
  return text;
}

}  // namespace tessera::cluster
