#include "server/replication/replication.h"

#include <random>
#include <utility>

#include "server/blocking.h"
#include "server/clients.h"
#include "server/config/options.h"
#include "server/log.h"
#include "server/net/event_loop.h"
#include "server/replication/primary_link.h"
#include "server/replication/replicas.h"

namespace tessera {

std::string History::RandomId() {
  std::random_device device;
  std::string id(40, '0');
  for (char& c : id) c = "0123456789abcdef"[device() & 15];
  return id;
}

void History::Renew(int64_t offset) {
  second_id = id;
  second_offset = offset + 1;
  id = RandomId();
}

void History::Forget() {
  id = RandomId();
  second_id.assign(40, '0');
  second_offset = -1;
}

Replication::Replication(EventLoop& loop, DiskThread& disk, Services& services, ReplicationStream& stream)
    : loop_(loop), disk_(disk), services_(services), stream_(stream),
      replicas_(std::make_unique<Replicas>(loop, disk, services, stream)) {
  history_.Forget();
  loop.AddBackgroundWork([this] { return primary_ != nullptr && primary_->Work(); });
}

Replication::~Replication() = default;

void Replication::EnsureBacklog() {
  if (backlog_) return;
  backlog_.emplace(static_cast<size_t>(services_.config.repl_backlog_size), stream_.offset());
  stream_.AddSink(*this);
}

void Replication::PrepareFullSynchronisation() {
  if (!backlog_ && !is_replica()) history_.Forget();
  EnsureBacklog();
  has_past_ = true;
}

void Replication::ResizeBacklog(size_t bytes) {
  if (backlog_) backlog_->Resize(bytes);
}

void Replication::OnStream(std::string_view bytes, int64_t) {
  if (backlog_) backlog_->Append(bytes);
  replicas_->Feed(bytes);
}

void Replication::Follow(const std::string& host, uint16_t port, std::string_view node_id) {
  if (primary_ != nullptr && primary_->host() == host && primary_->port() == port && primary_->node_id() == node_id) return;
  log::Notice("Following {}:{} as a replica; the present data stays until the primary's arrives", host, port);
  const bool was_primary = primary_ == nullptr;
  primary_.reset();
  if (was_primary) {
    log::SetRole('S');
    heard_primary_ms_ = 0;
  }
  services_.blocking.WakeForRoleChange();
  // Those who follow us stay: should our history change, they learn it when we do.
  EnsureBacklog();
  stream_.set_following(true);
  primary_ = std::make_unique<PrimaryLink>(loop_, disk_, services_, stream_, *this, host, port,
                                           std::string(node_id));
  services_.options.mutable_config().replicaof_host = services_.cluster == nullptr ? host : "";
  services_.options.mutable_config().replicaof_port = services_.cluster == nullptr ? port : 0;
}

void Replication::StopFollowing() {
  if (primary_ != nullptr) primary_->Rest();
}

void Replication::BecomePrimary() {
  if (primary_ == nullptr) return;
  primary_.reset();
  stream_.set_following(false);
  heard_primary_ms_ = 0;
  log::SetRole('M');
  history_.Renew(stream_.offset());
  stream_.ForgetSelectedDb();
  log::Notice("Primary from now on, at offset {}; new replication id {}, the old one ({}) stays valid up to here",
              stream_.offset(), history_.id, history_.second_id);
  replicas_->DisconnectAll("we became a primary");
  services_.options.mutable_config().replicaof_host.clear();
  alone_since_ms_ = loop_.now().mono_ms();
}

std::string Replication::primary_host() const { return primary_ != nullptr ? primary_->host() : std::string(); }
uint16_t Replication::primary_port() const { return primary_ != nullptr ? primary_->port() : uint16_t{0}; }
bool Replication::primary_link_up() const { return primary_ != nullptr && primary_->online(); }
bool Replication::loading() const { return primary_ != nullptr && primary_->loading(); }

void Replication::HeardPrimary() { heard_primary_ms_ = loop_.now().unix_ms; }

bool Replication::EnoughReplicasToWrite() const {
  const config::Config& config = services_.config;
  if (config.min_replicas_to_write == 0 || config.min_replicas_max_lag == 0) return true;
  return replicas_->GoodCount() >= config.min_replicas_to_write;
}

int Replication::ReplicasAcknowledging(int64_t offset) const { return replicas_->CountAcknowledging(offset); }

void Replication::RequestAcknowledgements() {
  if (std::exchange(acknowledgements_wanted_, true)) return;
  loop_.Post([this] {
    acknowledgements_wanted_ = false;
    if (is_replica() || replicas_->empty() || Silent()) return;
    const std::string_view command[] = {"REPLCONF", "GETACK", "*"};
    stream_.FeedControl(command);
  });
}

bool Replication::Silent() const { return services_.clients.paused_for(Clients::PauseReason::kFailover); }

bool Replication::HasReplicas() const { return !replicas_->empty(); }
bool Replication::AllReplicasCaughtUp() const { return replicas_->AllAcknowledge(stream_.offset()); }

void Replication::ForgetReplica(Session& session) {
  replicas_->Forget(session);
  if (replicas_->empty()) alone_since_ms_ = loop_.now().mono_ms();
}

bool Replication::CanContinue(std::string_view id, int64_t offset) const {
  if (!backlog_ || !backlog_->Holds(offset - 1)) return false;
  return id == history_.id || (id == history_.second_id && offset <= history_.second_offset);
}

void Replication::ForsakeHistory() {
  replicas_->DisconnectAll("the dataset is being replaced by a full synchronisation");
  history_.Forget();
  has_past_ = false;
  heard_primary_ms_ = 0;
  stream_.set_offset(0);
  backlog_.emplace(static_cast<size_t>(services_.config.repl_backlog_size), 0);
}

int Replication::DatabaseOrFirst(int db) const {
  return db < services_.keyspace.database_count() ? db : 0;
}

void Replication::AdoptHistory(std::string_view id, int64_t offset, int db) {
  history_.id = id;
  has_past_ = true;
  history_.second_id.assign(40, '0');
  history_.second_offset = -1;
  stream_.set_offset(offset);
  stream_.set_selected_db(DatabaseOrFirst(db));
  backlog_.emplace(static_cast<size_t>(services_.config.repl_backlog_size), offset);
}

void Replication::ContinueHistory(std::string_view new_id) {
  if (new_id.empty() || new_id == history_.id) return;
  history_.second_id = history_.id;
  history_.second_offset = stream_.offset() + 1;
  history_.id = new_id;
  replicas_->DisconnectAll("the replication id changed");
}

void Replication::RestoreHistory(std::string_view replication_id, int64_t offset, int db, bool as_replica) {
  if (replication_id.size() != 40 || offset < 0) return;
  history_.id = replication_id;
  has_past_ = true;
  stream_.set_offset(offset);
  EnsureBacklog();
  backlog_.emplace(static_cast<size_t>(services_.config.repl_backlog_size), offset);
  if (as_replica) {
    stream_.set_selected_db(DatabaseOrFirst(db));
  } else {
    history_.Renew(offset);
    alone_since_ms_ = loop_.now().mono_ms();
  }
}

Replication::Figures Replication::figures() const {
  using State = Session::ReplicaSide::State;
  const Now& now = loop_.now();
  Figures f;
  for (const Session* session : replicas_->all()) {
    const Session::ReplicaSide& side = *session->replica;
    f.replicas.push_back({.ip = Replicas::AddressOf(*session),
                          .port = side.port,
                          .state = side.state == State::kOnline    ? "online"
                                   : side.state == State::kWaiting ? "wait_bgsave"
                                                                   : "send_bulk",
                          .acknowledged_offset = side.acknowledged,
                          .lag_s = (now.mono_ms() - Replicas::HeardMs(*session)) / 1000});
  }
  f.replication_id = history_.id;
  f.second_replication_id = history_.second_id;
  f.second_offset = history_.second_offset;
  f.backlog_active = backlog_.has_value();
  f.backlog_size = static_cast<uint64_t>(services_.config.repl_backlog_size);
  if (backlog_) {
    f.backlog_length = backlog_->size();
    f.backlog_first_offset = backlog_->first() + 1;
  }
  f.read_offset = stream_.offset();
  if (primary_ != nullptr) {
    f.sync_in_progress = primary_->state() == PrimaryLink::State::kReceiving || primary_->loading();
    f.sync_total_bytes = primary_->image_bytes_total() != 0 ? static_cast<int64_t>(primary_->image_bytes_total()) : -1;
    f.sync_read_bytes = static_cast<int64_t>(primary_->image_bytes_read());
    f.sync_last_io_ms = primary_->last_io_ms();
    if (!primary_->online()) f.link_down_since_ms = now.unix_ms - (now.mono_ms() - primary_->down_since_ms());
  }
  return f;
}

void Replication::Cron() {
  const int64_t now_ms = loop_.now().mono_ms();
  const config::Config& config = services_.config;
  replicas_->Cron();
  if (primary_ != nullptr) primary_->Cron();
  if (primary_ == nullptr && !replicas_->empty() && !Silent() &&
      now_ms - last_ping_ms_ >= config.repl_ping_replica_period * 1000) {
    last_ping_ms_ = now_ms;
    const std::string_view command[] = {"PING"};
    stream_.FeedControl(command);
  }
  if (primary_ == nullptr && backlog_ && replicas_->empty() && config.repl_backlog_ttl > 0 &&
      now_ms - alone_since_ms_ > config.repl_backlog_ttl * 1000 && alone_since_ms_ != 0) {
    // Without a backlog the stream has a hole for anyone who would come back: it must not be continued.
    stream_.RemoveSink(*this);
    backlog_.reset();
    history_.Forget();
    has_past_ = false;
    log::Notice("No replicas for {} seconds: the replication backlog is freed", config.repl_backlog_ttl);
  }
}

}  // namespace tessera
