#include "server/replication/replicas.h"

#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "server/blocking.h"
#include "server/clients.h"
#include "server/config/config.h"
#include "server/container_memory.h"
#include "server/durability/snapshot_job.h"
#include "server/log.h"
#include "server/memory_usage.h"
#include "server/net/event_loop.h"
#include "server/replication/field_expiry.h"
#include "server/replication/replication.h"
#include "server/stats.h"

namespace tessera {
namespace {

using State = Session::ReplicaSide::State;

// A receiver that is this far behind makes the snapshot wait for it.
constexpr size_t kUnsentMax = 4 << 20;
constexpr size_t kImageChunk = 256 << 10;
// In a container: above this share of its memory, replicas for which more than this waits are given up.
constexpr uint64_t kContainerPercentMax = 92;
constexpr size_t kWaitingAlways = 16 << 20;

// A backup keeps what it can; restoring it is another matter.
bool WantsFieldExpiry(const Session& session) {
  return session.replica->knows_field_expiry || session.replica->only_image;
}

}  // namespace

// One image under way to one or several replicas.
class Replicas::Snapshot {
 public:
  Snapshot(Replicas& owner, std::vector<Session*> targets, bool diskless) : owner_(owner) {
    for (Session* session : targets) targets_.push_back(session->id);
    Services& services = owner.services_;
    SnapshotJob::Options options;
    const config::Config& config = services.config;
    options.rdb = {.compress = config.rdbcompression,
                   .checksum = config.rdbchecksum,
                   .field_expiry = WantsFieldExpiry(*targets.front())};
    options.info = {.created_s = owner.loop_.now().unix_s(),
                    .used_memory = services.keyspace.memory().total(),
                    .replication_id = services.replication.replication_id(),
                    .replication_offset = services.replication.offset(),
                    .replication_database = std::max(0, owner.stream_.selected_db())};
    for (Session* session : targets) {
      session->replica->state = State::kReceiving;
      session->replica->acknowledged = session->replica->fsynced = 0;
      session->replica->sent = session->network_out;
      session->replica->sent_ms = owner.loop_.now().mono_ms();
      if (session->replica->old_protocol) continue;
      session->out.Append(
          fmt::format("+FULLRESYNC {} {}\r\n", services.replication.replication_id(), services.replication.offset()));
      session->link->OutputPending();
    }
    // The stream behind the image selects its database afresh; if it is not ours, the image says in which it goes on.
    owner.stream_.ForgetSelectedDb();
    if (diskless) {
      end_mark_ = History::RandomId();
      for (Session* session : targets) AppendImage(*session, fmt::format("$EOF:{}\r\n", end_mark_));
      job_ = std::make_unique<SnapshotJob>(services.keyspace, options, [this](std::string chunk) {
        job_->Consumed(chunk.size());
        ForEachTarget([&](Session& session) { AppendImage(session, chunk); });
      });
    } else {
      path_ = fmt::format("temp-sync-{}-{}.rdb", getpid(), owner.loop_.now().mono_us);
      auto file = owner.files_.Open(path_, persistence::OpenMode::kCreate);
      if (!file.ok()) {
        error_ = file.status().text();
        return;
      }
      save_ = BackgroundSave::ToFile(owner.disk_, std::move(*file), services.keyspace, options,
                                     [this](const persistence::Status& status) {
                                       saved_ = true;
                                       if (!status.ok()) error_ = status.text();
                                     });
    }
  }
  ~Snapshot() {
    save_.reset();
    if (!path_.empty()) (void)owner_.files_.Remove(path_).ok();
  }

  // A slice of work; true while more can be done at once.
  bool Step() {
    if (save_ != nullptr) return !saved_ && save_->Step();
    if (job_ == nullptr || job_->complete()) return false;
    bool room = true, anyone = false;
    ForEachTarget([&](Session& session) {
      anyone = true;
      room &= session.out.size() < kUnsentMax;
    });
    if (!anyone) {
      error_ = "all receivers are gone";
      return false;
    }
    if (!room) return false;
    const bool more = job_->Step();
    if (job_->complete()) {
      if (auto status = job_->status(); !status.ok()) {
        error_ = status.text();
        return false;
      }
      ForEachTarget([&](Session& session) { AppendImage(session, end_mark_); });
    }
    ForEachTarget([](Session& session) { session.link->OutputPending(); });
    return more;
  }

  uint64_t field_expiries_left_out() const {
    return save_ != nullptr ? save_->field_expiries_left_out() : job_ != nullptr ? job_->field_expiries_left_out() : 0;
  }
  bool done() const { return !error_.empty() || saved_ || (job_ != nullptr && job_->complete()); }
  bool diskless() const { return job_ != nullptr; }
  const std::string& error() const { return error_; }
  const std::string& path() const { return path_; }
  bool sending() const { return job_ != nullptr; }
  void ForEachTarget(const std::function<void(Session&)>& visit) {
    for (uint64_t id : targets_)
      if (Session* session = owner_.services_.clients.Find(id); session != nullptr && session->replica) visit(*session);
  }

 private:
  Replicas& owner_;
  std::vector<uint64_t> targets_;
  std::string end_mark_, path_, error_;
  std::unique_ptr<SnapshotJob> job_;
  std::unique_ptr<BackgroundSave> save_;
  bool saved_ = false;
};

Replicas::Replicas(EventLoop& loop, DiskThread& disk, Services& services, ReplicationStream& stream)
    : loop_(loop), disk_(disk), services_(services), stream_(stream) {
  loop.AddBackgroundWork([this] { return Work(); });
}

Replicas::~Replicas() = default;

std::string Replicas::AddressOf(const Session& session) {
  if (session.replica && !session.replica->address.empty()) return session.replica->address;
  const size_t colon = session.peer.rfind(':');
  std::string ip = session.peer.substr(0, colon);
  if (ip.starts_with('[')) ip = ip.substr(1, ip.size() - 2);
  return ip;
}

int64_t Replicas::HeardMs(const Session& session) {
  return std::max(session.replica->acknowledged_ms, session.last_interaction_us / 1000);
}

void Replicas::Synchronise(Session& session, std::string_view id, int64_t offset) {
  Replication& replication = services_.replication;
  if (!session.replica) session.replica = std::make_shared<Session::ReplicaSide>();
  Session::ReplicaSide& side = *session.replica;
  session.kind = SessionKind::kReplica;
  side.acknowledged_ms = loop_.now().mono_ms();
  if (std::find(replicas_.begin(), replicas_.end(), &session) == replicas_.end()) replicas_.push_back(&session);
  side.old_protocol = id.empty();
  if (services_.config.repl_disable_tcp_nodelay && !session.unix_socket) {
    const int off = 0;
    setsockopt(session.link->figures().fd, IPPROTO_TCP, TCP_NODELAY, &off, sizeof off);
  }
  if (!id.empty() && id != "?" && replication.CanContinue(id, offset)) {
    // An older replica must not be told our id: it would not understand the word behind CONTINUE.
    session.out.Append(side.understands_psync2 ? fmt::format("+CONTINUE {}\r\n", replication.replication_id())
                                               : std::string("+CONTINUE\r\n"));
    const std::string missed = replication.backlog()->Read(offset - 1);
    AppendStream(session.out, session, missed);
    BecomeOnline(session);
    ++services_.stats.sync_partial_ok;
    log::Notice("Replica {}:{} goes on where it was: {} bytes from offset {}", AddressOf(session), side.port, missed.size(),
                offset);
    return;
  }
  if (!id.empty() && id != "?") {
    ++services_.stats.sync_partial_err;
    log::Notice("Replica {}:{} cannot go on from {} offset {}: it needs a full synchronisation", AddressOf(session),
                side.port, id, offset);
  }
  ++services_.stats.sync_full;
  replication.PrepareFullSynchronisation();
  side.state = State::kWaiting;
  side.waiting_since_ms = loop_.now().mono_ms();
  log::Notice("Replica {}:{} asks for a full synchronisation", AddressOf(session), side.port);
}

void Replicas::StartSnapshot() {
  const config::Config& config = services_.config;
  std::vector<Session*> waiting;
  bool all_understand_eof = true;
  for (Session* session : replicas_) {
    if (session->replica->state != State::kWaiting) continue;
    // One image serves those who understand the same; the others have theirs next.
    if (!waiting.empty() && WantsFieldExpiry(*session) != WantsFieldExpiry(*waiting.front())) continue;
    waiting.push_back(session);
    all_understand_eof &= session->replica->understands_eof;
  }
  // What is being loaded is nobody's picture of anything.
  if (waiting.empty() || services_.replication.loading()) return;
  const bool diskless = config.repl_diskless_sync && all_understand_eof;
  log::Notice("Full synchronisation of {} replica(s) begins at offset {}, {}", waiting.size(), stream_.offset(),
              diskless ? "straight to their sockets" : "through a file");
  snapshot_ = std::make_unique<Snapshot>(*this, waiting, diskless);
}

bool Replicas::Work() {
  const auto all = replicas_;
  for (Session* session : all)
    if (session->replica->image != nullptr) SendImage(*session);
  if (snapshot_ == nullptr) return false;
  const bool more = snapshot_->Step();
  if (!snapshot_->done()) return more;
  const auto finished = std::move(snapshot_);
  if (!finished->error().empty()) {
    log::Warning("Full synchronisation failed: {}. Its replicas are disconnected and will ask again.", finished->error());
    finished->ForEachTarget([](Session& session) { session.link->CloseNow("synchronisation failed"); });
    return false;
  }
  if (const uint64_t left_out = finished->field_expiries_left_out(); left_out != 0) {
    log::Warning("{} hash(es) went to replicas that do not know field expiry (Redis up to 7.2): they delete fields when "
                 "told to, but would keep them for ever once promoted", left_out);
  }
  finished->ForEachTarget([&](Session& session) {
    Session::ReplicaSide& side = *session.replica;
    if (side.only_image && finished->diskless()) return session.link->CloseAfterReply();
    if (finished->diskless()) {
      side.state = State::kAwaitingAck;
      if (side.old_protocol) BecomeOnline(session);
      return;
    }
    auto image = files_.Open(finished->path(), persistence::OpenMode::kRead);
    auto size = files_.FileSize(finished->path());
    if (!image.ok() || !size.ok()) return session.link->CloseNow("cannot read the image back");
    side.image = std::move(*image);
    side.image_bytes = *size;
    side.image_sent = 0;
    session.out.Append(fmt::format("${}\r\n", *size));
    session.link->OutputPending();
  });
  return more;
}

void Replicas::SendImage(Session& session) {
  Session::ReplicaSide& side = *session.replica;
  std::string chunk;
  while (session.out.size() < kUnsentMax && side.image_sent < side.image_bytes) {
    chunk.resize(kImageChunk);
    auto read = side.image->ReadAt(side.image_sent, chunk);
    if (!read.ok() || *read == 0) {
      log::Warning("Cannot read the image for a replica back; it is disconnected and will ask again");
      side.image.reset();
      return session.link->CloseNow("cannot read the image back");
    }
    AppendImage(session, std::string_view(chunk).substr(0, *read));
    side.image_sent += *read;
  }
  session.link->OutputPending();
  if (side.image_sent < side.image_bytes) return;
  side.image.reset();
  // Whoever wanted the image alone closes the connection when it has it.
  if (side.only_image) return session.link->CloseAfterReply();
  BecomeOnline(session);
}

void Replicas::BecomeOnline(Session& session) {
  Session::ReplicaSide& side = *session.replica;
  side.state = State::kOnline;
  side.acknowledged_ms = loop_.now().mono_ms();
  session.out.Splice(side.held);
  side.sent_ms = 0;
  session.link->OutputPending();
  log::Notice("Replica {}:{} is synchronised and gets the stream", AddressOf(session), side.port);
}

void Replicas::Acknowledge(Session& session, int64_t offset, int64_t fsynced) {
  if (!session.replica) return;
  Session::ReplicaSide& side = *session.replica;
  side.acknowledged_ms = loop_.now().mono_ms();
  side.acknowledged = std::max(side.acknowledged, offset);
  side.fsynced = std::max(side.fsynced, fsynced);
  if (side.state == State::kAwaitingAck) BecomeOnline(session);
  CheckWaiters();
}

void Replicas::CheckWaiters() {
  if (waiters_.empty()) return;
  std::vector<uint64_t> woken;
  std::erase_if(waiters_, [&](const Waiter& waiter) {
    const Session* client = services_.clients.Find(waiter.session_id);
    const bool waits = client != nullptr && (client->blocked.kind == BlockKind::kWait ||
                                             client->blocked.kind == BlockKind::kWaitAof);
    if (waits && !waiter.satisfied()) return false;
    if (waits) woken.push_back(waiter.session_id);
    return true;
  });
  for (uint64_t id : woken)
    if (Session* client = services_.clients.Find(id)) services_.blocking.Wake(*client, WakeReason::kReady);
}

void Replicas::AddWaiter(Session& session, std::function<bool()> satisfied) {
  std::erase_if(waiters_, [&](const Waiter& waiter) { return waiter.session_id == session.id; });
  waiters_.push_back({session.id, std::move(satisfied)});
}

void Replicas::Forget(Session& session) {
  if (std::erase(replicas_, &session) != 0)
    log::Notice("Connection with replica {}:{} lost", AddressOf(session), session.replica->port);
}

void Replicas::DisconnectAll(std::string_view reason) {
  if (replicas_.empty()) return;
  log::Notice("Disconnecting {} replica(s), they will reconnect: {}", replicas_.size(), reason);
  snapshot_.reset();
  const auto all = replicas_;
  for (Session* session : all) session->link->CloseNow(reason);
}

void Replicas::AppendStream(protocol::OutputBuffer& out, const Session& session, std::string_view bytes) {
  if (session.replica->knows_field_expiry || !MayTouchFieldExpiry(bytes)) {
    out.Append(bytes);
  } else {
    out.Append(WithoutFieldExpiry(bytes));
  }
}

void Replicas::AppendImage(Session& session, std::string_view bytes) {
  session.out.Append(bytes);
  session.replica->image_end = session.network_out + session.out.size();
}

size_t Replicas::StreamBytesWaiting(const Session& session) {
  if (!session.replica) return session.out.size();
  const Session::ReplicaSide& side = *session.replica;
  const uint64_t image = side.image_end - std::min(side.image_end, session.network_out);
  return session.out.size() - static_cast<size_t>(std::min<uint64_t>(image, session.out.size())) + side.held.size();
}

void Replicas::Feed(std::string_view bytes) {
  for (Session* session : replicas_) {
    Session::ReplicaSide& side = *session->replica;
    if (side.state == State::kOnline) {
      AppendStream(session->out, *session, bytes);
      session->link->OutputPending();
    } else if (side.state == State::kReceiving || side.state == State::kAwaitingAck) {
      AppendStream(side.held, *session, bytes);
    }
  }
}

// Without the replica's buffer the server lives on; with it the kernel would end both.
bool Replicas::NearContainerLimit() const {
  const ContainerMemory* container = services_.container_memory;
  if (container == nullptr || container->limit_bytes == 0) return false;
  return ResidentBytes() > container->limit_bytes / 100 * kContainerPercentMax;
}

void Replicas::CronOf(Session& session) {
  const config::Config& config = services_.config;
  const int64_t now_ms = loop_.now().mono_ms();
  Session::ReplicaSide& side = *session.replica;
  auto give_up = [&](const std::string& why) {
    log::Warning("Replica {}:{} is disconnected: {}", AddressOf(session), side.port, why);
    session.link->CloseNow(why);
  };
  // A line feed tells a replica that waits for its image that we are alive.
  const bool image_is_made = side.state == State::kReceiving && snapshot_ != nullptr && !snapshot_->sending() &&
                             side.image == nullptr;
  if (side.state == State::kWaiting || image_is_made) {
    if (now_ms - side.acknowledged_ms < 1000) return;
    side.acknowledged_ms = now_ms;
    session.out.Append("\n");
    session.link->OutputPending();
    return;
  }
  if (const size_t waiting = StreamBytesWaiting(session); waiting > kWaitingAlways && NearContainerLimit()) {
    ++services_.stats.client_output_buffer_limit_disconnections;
    return give_up(fmt::format("{} bytes wait for it and the container's memory is nearly used up", waiting));
  }
  if (side.state == State::kReceiving) {
    if (side.sent != session.network_out || session.out.empty()) {
      side.sent = session.network_out;
      side.sent_ms = now_ms;
    }
    if (now_ms - side.sent_ms > config.repl_timeout * 1000)
      give_up(fmt::format("it has taken nothing of its image for more than {} seconds", config.repl_timeout));
  } else if (!side.old_protocol && now_ms - HeardMs(session) > config.repl_timeout * 1000) {
    give_up(fmt::format("silent for more than {} seconds", config.repl_timeout));
  }
}

void Replicas::Cron() {
  const config::Config& config = services_.config;
  const int64_t now_ms = loop_.now().mono_ms();
  const auto all = replicas_;
  for (Session* session : all) CronOf(*session);
  int64_t longest_wait_ms = -1;
  int waiting = 0;
  for (const Session* session : replicas_) {
    if (session->replica->state != State::kWaiting) continue;
    ++waiting;
    longest_wait_ms = std::max(longest_wait_ms, now_ms - session->replica->waiting_since_ms);
  }
  if (waiting == 0 || snapshot_ != nullptr) return;
  // Diskless: a little patience lets several replicas share one snapshot.
  const bool delay = config.repl_diskless_sync && longest_wait_ms < config.repl_diskless_sync_delay * 1000 &&
                     (config.repl_diskless_sync_max_replicas == 0 || waiting < config.repl_diskless_sync_max_replicas);
  if (!delay) StartSnapshot();
}

int64_t Replicas::GoodCount() const {
  const int64_t now_ms = loop_.now().mono_ms();
  return std::count_if(replicas_.begin(), replicas_.end(), [&](const Session* session) {
    return session->replica->state == State::kOnline &&
           (now_ms - HeardMs(*session)) / 1000 <= services_.config.min_replicas_max_lag;
  });
}

int Replicas::CountAcknowledging(int64_t offset) const {
  return static_cast<int>(std::count_if(replicas_.begin(), replicas_.end(), [&](const Session* session) {
    return session->replica->state == State::kOnline && session->replica->acknowledged >= offset;
  }));
}

int Replicas::CountSynced(int64_t offset) const {
  return static_cast<int>(std::count_if(replicas_.begin(), replicas_.end(), [&](const Session* session) {
    return session->replica->state == State::kOnline && session->replica->fsynced >= offset;
  }));
}

bool Replicas::AllAcknowledge(int64_t offset) const {
  return std::all_of(replicas_.begin(), replicas_.end(), [&](const Session* session) {
    return session->replica->state != State::kOnline || session->replica->acknowledged >= offset;
  });
}

}  // namespace tessera
