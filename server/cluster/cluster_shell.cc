#include "server/cluster/cluster_shell.h"

#include <fmt/core.h>

#include <cerrno>
#include <random>
#include <utility>

#include "persistence/atomic_file.h"
#include "server/blocked_keys.h"
#include "server/clients.h"
#include "server/cluster/nodes_file.h"
#include "server/config/config.h"
#include "server/dispatcher.h"
#include "server/log.h"
#include "server/pubsub.h"
#include "server/replication/replicas.h"
#include "server/replication/replication.h"
#include "server/store/keyspace.h"

namespace tessera {
namespace {

constexpr int kTickMs = 100;
constexpr int64_t kSaveRetryMs = 1000;

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

log::Level LevelOf(cluster::Severity severity) { return static_cast<log::Level>(severity); }

}  // namespace

ClusterShell::ClusterShell(EventLoop& loop, persistence::FileSystem& files, Services& services)
    : loop_(loop), files_(files), services_(services),
      bus_(loop, [this](const cluster::Event& event) { OnBusEvent(event); },
           [this](cluster::LinkId link) { return core_->IsOfKnownNode(link); }),
      resolver_(loop), saver_(loop) {}

ClusterShell::~ClusterShell() = default;

cluster::Options ClusterShell::CoreOptions() const {
  const config::Config& config = services_.config;
  cluster::Options options;
  options.node_timeout_ms = config.cluster_node_timeout;
  options.replica_validity_factor = static_cast<int>(config.cluster_replica_validity_factor);
  options.migration_barrier = static_cast<int>(config.cluster_migration_barrier);
  options.allow_replica_migration = config.cluster_allow_replica_migration;
  options.require_full_coverage = config.cluster_require_full_coverage;
  options.replica_no_failover = config.cluster_replica_no_failover;
  options.allow_reads_when_down = config.cluster_allow_reads_when_down;
  options.allow_pubsubshard_when_down = config.cluster_allow_pubsubshard_when_down;
  options.repl_ping_replica_period_ms = config.repl_ping_replica_period * 1000;
  options.human_nodename = config.cluster_announce_human_nodename;
  options.preferred_endpoint_type = static_cast<int>(config.cluster_preferred_endpoint_type);
  options.has_seeds = !config.cluster_seeds.empty();
  options.link_sendbuf_limit_bytes = config.cluster_link_sendbuf_limit;
  const int64_t port = config.port;
  const int64_t bus_port = config.cluster_port != 0 ? config.cluster_port : port + kBusPortOffset;
  options.announced.ip = config.cluster_announce_ip;
  options.announced.hostname = config.cluster_announce_hostname;
  options.announced.port =
      static_cast<uint16_t>(config.cluster_announce_port != 0 ? config.cluster_announce_port : port);
  options.announced.tls_port = static_cast<uint16_t>(config.cluster_announce_tls_port);
  options.announced.client = {.ipv4 = config.cluster_announce_client_ipv4,
                              .ipv6 = config.cluster_announce_client_ipv6,
                              .port = static_cast<uint16_t>(config.cluster_announce_client_port),
                              .tls_port = static_cast<uint16_t>(config.cluster_announce_client_tls_port)};
  options.announced.bus_port =
      static_cast<uint16_t>(config.cluster_announce_bus_port != 0 ? config.cluster_announce_bus_port : bus_port);
  return options;
}

std::string ClusterShell::Start() {
  const config::Config& config = services_.config;
  const std::string& path = config.cluster_config_file;
  const int64_t bus_port = config.cluster_port != 0 ? config.cluster_port : config.port + kBusPortOffset;
  if (bus_port > 65535)
    return fmt::format("Port {} is too high for cluster mode: the bus listens {} above it. Choose a port below {} or set "
                       "cluster-port",
                       config.port, kBusPortOffset, 65536 - kBusPortOffset);
  if (std::string error = Lock(); !error.empty()) return error;
  auto text = persistence::ReadFile(files_, path);
  if (!text.ok() && text.status().code() != ENOENT)
    return fmt::format("Cannot read the cluster configuration: {}. Starting without it would make this a new node",
                       text.status().text());
  const int64_t now_ms = loop_.now().unix_ms;
  if (!text.ok() || text->empty()) {
    if (text.ok()) log::Warning("The cluster configuration file {} is empty: starting as a new node", path);
    core_ = std::make_unique<cluster::Core>(CoreOptions(), RandomSeed(), now_ms);
    log::Notice("No cluster configuration found, I'm {}", core_->self().view());
  } else {
    std::string error = CheckNodesChecksum(*text);
    if (error.empty()) core_ = cluster::Core::Load(CoreOptions(), RandomSeed(), now_ms, *text, &error);
    if (core_ == nullptr)
      return fmt::format("Unrecoverable error: corrupted cluster config file {}: {}. Restore it from a copy, or remove it "
                         "to start as a new node",
                         path, error);
    log::Notice("Node configuration loaded, I'm {}", core_->self().view());
  }
  LoadSecret();
  SaveEnded(persistence::ReplaceFile(files_, path, WithNodesChecksum(core_->StateText())));
  RefreshRouting();
  FindOwnAddress();
  return bus_.Listen(config.bind, static_cast<uint16_t>(bus_port), static_cast<int>(config.tcp_backlog));
}

std::string ClusterShell::Lock() {
  const std::string& path = services_.config.cluster_config_file;
  // A file of its own: nodes.conf is replaced by renaming, and a lock stays with the old inode.
  auto lock = files_.Lock(path + ".lock");
  if (lock.ok()) {
    lock_ = std::move(*lock);
    return {};
  }
  const int code = lock.status().code();
  if (code == EWOULDBLOCK)
    return fmt::format("Sorry, the cluster configuration file {} is already used by a different node: make sure that "
                       "different nodes use different cluster configuration files",
                       path);
  if (code != ENOSPC && code != EROFS && code != EDQUOT)
    return fmt::format("Cannot lock the cluster configuration: {}", lock.status().text());
  log::Warning("Cannot lock the cluster configuration: {}. Going on without: see to it that no other node uses {}",
               lock.status().text(), path);
  return {};
}

void ClusterShell::DatasetLoaded() {
  cluster::SlotSet slots;
  store::Database& db = services_.keyspace.db(0);
  for (int slot = 0; slot < cluster::kSlotCount; ++slot)
    slots[static_cast<size_t>(slot)] = db.CountInSlot(static_cast<uint16_t>(slot)) != 0;
  ready_ = true;
  Tell(cluster::SlotsWithKeys{slots});
  Tick();
  loop_.Every(kTickMs, [this] { Tick(); });
}

void ClusterShell::OptionsChanged() {
  Run([this](cluster::Core& core, int64_t now_ms, cluster::Effects& effects) {
    core.SetOptions(now_ms, CoreOptions(), effects);
    return 0;
  });
}

void ClusterShell::Tick() {
  TellReplicationStatus();
  Tell(cluster::Tick{});
  if (std::exchange(routing_changed_, false))
    services_.blocked_keys.EndWhere([this](const Session& session, const CommandRow& row, std::string_view key) {
      return RouteWaiting(session, row, key);
    });
  if ((!save_failing_ && !silenced_) || loop_.now().mono_ms() - last_save_try_ms_ < kSaveRetryMs) return;
  silenced_ ? CarryOutQueued() : SaveInBackground();
}

void ClusterShell::EndOfTurn() {
  if (!core_->ManualFailoverInProgress() || services_.replication.offset() == told_offset_) return;
  TellReplicationStatus();
}

std::string ClusterShell::HandOver(int64_t limit_ms, std::function<void(bool)> ended) {
  // Replicas that are synchronised, and what they have, found among the nodes by the address they are known by.
  std::vector<cluster::ReplicaProgress> online;
  bool any_online = false;
  for (const Session* session : services_.replication.replicas().all()) {
    if (session->replica->state != Session::ReplicaSide::State::kOnline) continue;
    any_online = true;
    const std::string address = Replicas::AddressOf(*session);
    for (const auto& [id, node] : core_->nodes())
      if (node.primary == core_->self() && node.endpoint.port == session->replica->port && node.endpoint.ip == address)
        online.push_back({id, session->replica->acknowledged});
  }
  // Behind an address translation: then by what they say of themselves on the bus.
  if (any_online && online.empty())
    for (const auto& [id, node] : core_->nodes())
      if (node.primary == core_->self()) online.push_back({id, node.offset});
  hand_over_ended_ = std::move(ended);
  const std::string error = Run([&](cluster::Core& core, int64_t now_ms, cluster::Effects& effects) {
    return core.HandOver(now_ms, limit_ms, std::move(online), effects);
  });
  if (!error.empty()) hand_over_ended_ = nullptr;
  return error;
}

void ClusterShell::CancelHandOver() {
  hand_over_ended_ = nullptr;
  Run([](cluster::Core& core, int64_t now_ms, cluster::Effects& effects) {
    core.CancelHandOver(now_ms, effects);
    return 0;
  });
}

void ClusterShell::NoticeEndOfHandOver() {
  if (!hand_over_ended_ || core_->hand_over() == cluster::HandOverState::kUnderWay) return;
  take_over_request_.reset();
  std::exchange(hand_over_ended_, nullptr)(core_->hand_over() == cluster::HandOverState::kDone);
}

void ClusterShell::OnBusEvent(const cluster::Event& event) {
  if (std::holds_alternative<cluster::MessageReceived>(event)) TellReplicationStatus();
  Tell(event);
}

void ClusterShell::TellReplicationStatus() {
  const Replication& replication = services_.replication;
  told_offset_ = replication.offset();
  Tell(cluster::ReplicationStatus{.offset = replication.offset(),
                                  .primary_link_up = replication.primary_link_up(),
                                  .primary_last_io_ms = replication.primary_last_io_ms(),
                                  .primary = followed_});
}

void ClusterShell::Tell(const cluster::Event& event) {
  // Messages that come while the dataset is loaded are answered too: a loading node is alive.
  CarryOut(core_->Handle(loop_.now().unix_ms, event));
  NoticeEndOfHandOver();
}

// This process may have slept, or been busy, for longer than its peers wait for it.
void ClusterShell::CheckLease() {
  cluster::Effects effects;
  core_->CheckLease(loop_.now().unix_ms, effects);
  RenewLease();
  CarryOut(std::move(effects));
}

void ClusterShell::RenewLease() {
  const bool leased = core_->ok() && !core_->me().is(cluster::kReplica);
  lease_until_ms_ = leased ? core_->lease_until_ms() : INT64_MAX;
}

void ClusterShell::CarryOut(cluster::Effects effects) {
  for (cluster::Effect& effect : effects) {
    if (silenced_ && CarryOutSilenced(effect)) continue;
    queued_.push_back(std::move(effect));
  }
  CarryOutQueued();
}

// While a save is waited for, which may take days: messages would be worth nothing when they leave at last, the save will
// hold the latest state, and the rest here promises nothing. True when the effect is done with.
bool ClusterShell::CarryOutSilenced(const cluster::Effect& effect) {
  if (std::holds_alternative<cluster::Send>(effect)) return true;
  if (std::holds_alternative<cluster::SaveState>(effect)) {
    RefreshRouting();
    return true;
  }
  // Whom it was to follow once the disk is well, it is to follow no more.
  if (std::holds_alternative<cluster::StopFollowing>(effect))
    std::erase_if(queued_,
                  [](const cluster::Effect& older) { return std::holds_alternative<cluster::FollowPrimary>(older); });
  if (std::holds_alternative<cluster::OpenLink>(effect) || std::holds_alternative<cluster::CloseLink>(effect) ||
      std::holds_alternative<cluster::SlotMapChanged>(effect) || std::holds_alternative<cluster::Publish>(effect) ||
      std::holds_alternative<cluster::StopFollowing>(effect) || std::holds_alternative<cluster::Note>(effect))
    return CarryOutOne(effect);
  return false;
}

void ClusterShell::CarryOutQueued() {
  // Effects may lead to further events and so back here; the outermost call works off the queue in order.
  if (carrying_out_) return;
  if (silenced_ && loop_.now().mono_ms() - last_save_try_ms_ < kSaveRetryMs) return;
  carrying_out_ = true;
  while (!queued_.empty()) {
    const cluster::Effect effect = std::move(queued_.front());
    queued_.pop_front();
    if (CarryOutOne(effect)) continue;
    queued_.push_front(effect);
    break;
  }
  carrying_out_ = false;
}

bool ClusterShell::CarryOutOne(const cluster::Effect& effect) {
  struct Visitor {
    ClusterShell& shell;
    bool operator()(const cluster::Send& send) {
      shell.bus_.Send(send.link, send.bytes, shell.services_.config.cluster_link_sendbuf_limit);
      return true;
    }
    bool operator()(const cluster::OpenLink& open) {
      shell.bus_.Open(open, static_cast<int>(shell.services_.config.cluster_node_timeout),
                      shell.services_.config.bind_source_addr);
      return true;
    }
    bool operator()(const cluster::CloseLink& close) {
      shell.bus_.Close(close.link);
      return true;
    }
    bool operator()(const cluster::SaveState& save) {
      shell.RefreshRouting();
      if (save.must_sync) return shell.SaveDurably();
      shell.SaveInBackground();
      return true;
    }
    bool operator()(const cluster::DropKeysInSlots& drop) {
      shell.DropKeys(drop.slots);
      return true;
    }
    bool operator()(const cluster::FollowPrimary& follow) {
      shell.services_.replication.Follow(follow.endpoint.ip, follow.endpoint.port, follow.id.view());
      shell.followed_ = follow.id;
      return true;
    }
    bool operator()(const cluster::StopFollowing&) {
      shell.services_.replication.StopFollowing();
      return true;
    }
    bool operator()(const cluster::BecomePrimary&) {
      shell.services_.replication.BecomePrimary();
      shell.followed_ = {};
      return true;
    }
    bool operator()(const cluster::EmptyDataset&) {
      shell.services_.keyspace.FlushAll();
      const std::string_view command[] = {"FLUSHALL"};
      shell.services_.dispatcher.AlsoPropagate(0, command);
      return true;
    }
    bool operator()(const cluster::PauseWrites& pause) {
      const Now& now = shell.loop_.now();
      shell.services_.clients.Pause(Clients::PauseReason::kFailover, Clients::PauseScope::kWrites,
                                    now.mono_ms() + (pause.until_ms - now.unix_ms));
      // The pause holds from here on: the replica that waits for the final offset need not wait for the next tick.
      shell.loop_.Post([&shell = shell] { shell.TellReplicationStatus(); });
      return true;
    }
    bool operator()(const cluster::ResumeWrites&) {
      shell.services_.clients.Unpause(Clients::PauseReason::kFailover);
      return true;
    }
    bool operator()(const cluster::AskToTakeOver& ask) {
      shell.take_over_request_ = std::make_unique<TakeOverRequest>(
          shell.loop_, shell.services_.config, ask.endpoint, [&shell = shell, id = ask.id](const std::string& reason) {
            shell.Tell(cluster::TakeOverRefused{id, reason});
          });
      return true;
    }
    bool operator()(const cluster::AskSeeds&) {
      shell.AskSeeds();
      return true;
    }
    bool operator()(const cluster::SaveSecret&) {
      shell.SaveSecret();
      return true;
    }
    bool operator()(const cluster::Publish& publish) {
      PubSub& pubsub = shell.services_.pubsub;
      publish.sharded ? pubsub.PublishShard(publish.channel, publish.message)
                      : pubsub.Publish(publish.channel, publish.message);
      return true;
    }
    bool operator()(const cluster::SlotMapChanged&) {
      shell.RefreshRouting();
      shell.DropShardChannels();
      return true;
    }
    bool operator()(const cluster::Note& note) {
      log::Write(LevelOf(note.severity), note.text);
      return true;
    }
  };
  return std::visit(Visitor{*this}, effect);
}

void ClusterShell::DropKeys(const cluster::SlotSet& slots) {
  store::Database& db = services_.keyspace.db(0);
  uint64_t dropped = 0;
  for (int i = 0; i < cluster::kSlotCount; ++i) {
    const auto slot = static_cast<uint16_t>(i);
    const uint64_t count = slots[static_cast<size_t>(i)] ? db.CountInSlot(slot) : 0;
    if (count == 0) continue;
    for (const std::string& key : db.KeysInSlot(slot, count)) {
      const std::string_view command[] = {"DEL", key};
      services_.dispatcher.AlsoPropagate(0, command);
    }
    dropped += db.DropSlot(slot);
  }
  if (dropped != 0) log::Notice("Dropped {} keys of slots that now belong to another node", dropped);
}

// A replica serves the shard channels of its primary. After a failover the slots stay within the shard, and so do the
// listeners of all its nodes.
void ClusterShell::DropShardChannels() {
  if (services_.pubsub.size(PubSub::Kind::kShardChannel) == 0) return;
  const cluster::NodeView& me = core_->me();
  services_.pubsub.DropShardChannels([&](uint16_t slot) {
    const cluster::NodeView* owner = core_->OwnerOf(slot);
    return owner != nullptr && (owner->id == me.id || (me.is(cluster::kReplica) && owner->id == me.primary));
  });
}

void ClusterShell::BroadcastPublish(bool sharded, std::string_view channel, std::string_view message) {
  Run([&](cluster::Core& core, int64_t now_ms, cluster::Effects& effects) {
    core.BroadcastPublish(now_ms, sharded, channel, message, effects);
    return 0;
  });
}

void ClusterShell::SaveEnded(const persistence::Status& status) {
  last_save_try_ms_ = loop_.now().mono_ms();
  if (status.ok() && save_failing_)
    log::Notice("The cluster configuration could be written again{}", silenced_ ? "; the cluster bus goes on" : "");
  if (!status.ok() && !save_failing_)
    log::Warning("Cannot write the cluster configuration: {}. Retrying every second. A vote or a change of epoch, which "
                 "must not be forgotten, has to wait: from then on the node is silent on the cluster bus.",
                 status.text());
  save_failing_ = !status.ok();
}

void ClusterShell::SaveInBackground() {
  save_wanted_ = true;
  if (saving_) return;
  saving_ = true;
  save_wanted_ = false;
  auto status = std::make_shared<persistence::Status>();
  saver_.Run(
      [status, &files = files_, path = services_.config.cluster_config_file, text = WithNodesChecksum(core_->StateText())] {
        *status = persistence::ReplaceFile(files, path, text);
      },
      [this, status] {
        saving_ = false;
        if (silenced_) return;  // overtaken by a save that says more
        SaveEnded(*status);
        if (save_wanted_ && status->ok()) SaveInBackground();
      });
}

bool ClusterShell::SaveDurably() {
  saver_.Drain();  // an older state must not land on top of this one
  save_wanted_ = false;
  const persistence::Status status =
      persistence::ReplaceFile(files_, services_.config.cluster_config_file, WithNodesChecksum(core_->StateText()));
  SaveEnded(status);
  if (!status.ok() && !silenced_) log::Warning("The node is silent on the cluster bus until the disk takes its configuration");
  silenced_ = !status.ok();
  return status.ok();
}

std::string ClusterShell::SaveNow() {
  saver_.Drain();
  const persistence::Status status =
      persistence::ReplaceFile(files_, services_.config.cluster_config_file, WithNodesChecksum(core_->StateText()));
  SaveEnded(status);
  return status.ok() ? std::string()
                     : fmt::format("ERR error saving the cluster node config: {}", status.reason());
}

size_t ClusterShell::bus_links() const { return bus_.links(); }

size_t ClusterShell::bus_buffer_bytes() const {
  size_t bytes = 0;
  for (const auto& link : bus_.figures()) bytes += link.pending + link.received;
  return bytes;
}

size_t ClusterShell::send_buffer_bytes(cluster::LinkId link) const {
  for (const auto& figures : bus_.figures())
    if (figures.link == link) return figures.pending;
  return 0;
}

void ClusterShell::RefreshRouting() {
  routing_changed_ = true;
  RenewLease();
  const bool ok = core_->ok();
  const cluster::NodeId& me = core_->self();
  for (int i = 0; i < cluster::kSlotCount; ++i) {
    const auto slot = static_cast<cluster::Slot>(i);
    const cluster::NodeView* owner = core_->OwnerOf(slot);
    serve_[static_cast<size_t>(i)] =
        ok && owner != nullptr && owner->id == me && core_->MigratingTo(slot) == nullptr;
  }
}

}  // namespace tessera
