#include "server/migrator.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "persistence/dump.h"
#include "protocol/resp_reply.h"
#include "server/blocking.h"
#include "server/clients.h"
#include "server/config/config.h"
#include "server/dispatcher.h"
#include "server/net/event_loop.h"
#include "server/net/tcp_link.h"
#include "server/replication/replication.h"
#include "server/stats.h"
#include "server/values/value_walk.h"

namespace tessera {
namespace {

constexpr int kOptimisticRounds = 3;
constexpr int64_t kIdleLinkMs = 10'000;
constexpr size_t kIdleLinksMax = 64;

void AppendCommand(std::string& out, std::initializer_list<std::string_view> command) {
  fmt::format_to(std::back_inserter(out), "*{}\r\n", command.size());
  for (std::string_view word : command) {
    fmt::format_to(std::back_inserter(out), "${}\r\n", word.size());
    out.append(word);
    out.append("\r\n");
  }
}

}  // namespace

// A connection to a target; idle in the cache or working for one job.
struct Migrator::Link {
  std::string target;  // host:port
  std::shared_ptr<TcpLink> tcp;
  protocol::ReplyParser parser;
  std::string buffer;
  std::weak_ptr<Job> job;
  int64_t db = 0;  // selected over there
  bool connected = false;
  int64_t last_used_ms = 0;  // monotonic
};

struct Migrator::Job {
  struct Item {
    std::string key;
    bool changed = false;    // written here since it was last sent
    bool at_target = false;  // our copy stands there
    bool done = false;
  };
  enum class Awaited : uint8_t { kAuth, kSelect, kAsking, kRestore, kDelete };

  Request request;
  uint64_t session_id = 0;  // 0: nobody waits for the answer any more
  std::vector<Item> items;
  std::deque<std::pair<Awaited, size_t>> awaited;
  std::shared_ptr<Link> link;
  std::unique_ptr<EventLoop::Timer> timer;
  uint64_t timer_number = 0;
  int round = 0;
  bool link_was_idle = false, retried = false, heard = false, pausing = false, nothing_to_move = false;
  std::vector<std::string> removed;  // not propagated yet
  std::string target_error;          // the first one
};

Migrator::Migrator(EventLoop& loop, Services& services) : loop_(loop), services_(services) {
  loop_.Every(1000, [this] { DropIdleLinks(); });
}

Migrator::~Migrator() {
  if (observing_) services_.keyspace.RemoveObserver(this);
}

std::string Migrator::Place(int db, std::string_view key) { return fmt::format("{}:{}", db, key); }

bool Migrator::Conflicts(const Job& job) const {
  return std::any_of(job.request.keys.begin(), job.request.keys.end(),
                     [&](const std::string& key) { return moving_.contains(Place(job.request.db, key)); });
}

void Migrator::Start(Session& session, Request request) {
  auto job = std::make_shared<Job>();
  job->request = std::move(request);
  job->session_id = session.id;
  services_.blocking.Block(session, BlockKind::kExternal, 0, [job](Session& client, WakeReason reason) {
    job->session_id = 0;
    if (reason != WakeReason::kReady) {
      client.reply.Error("UNBLOCKED the keys are still being moved, the answer will not be told");
    } else if (job->nothing_to_move) {
      client.reply.SimpleString("NOKEY");
    } else if (!job->target_error.empty()) {
      client.reply.Error(job->target_error);
    } else {
      client.reply.Ok();
    }
  });
  if (Conflicts(*job)) {
    waiting_.push_back(std::move(job));
  } else {
    Begin(job);
  }
}

void Migrator::Begin(const std::shared_ptr<Job>& job) {
  running_.push_back(job);
  for (const std::string& key : job->request.keys) {
    if (!job->request.copy && !moving_.emplace(Place(job->request.db, key), job.get()).second) continue;  // named twice
    job->items.push_back({key});
  }
  if (!observing_) services_.keyspace.AddObserver(this);
  observing_ = true;
  OpenLink(job);
}

void Migrator::OpenLink(const std::shared_ptr<Job>& job) {
  const std::string target = fmt::format("{}:{}", job->request.host, job->request.port);
  if (auto it = idle_.find(target); it != idle_.end()) {
    job->link = it->second;
    job->link_was_idle = true;
    idle_.erase(it);
    services_.stats.migrate_cached_sockets = idle_.size();
    job->link->job = job;
    return SendPrelude(*job);
  }
  job->link_was_idle = false;
  auto link = std::make_shared<Link>();
  link->target = target;
  link->job = job;
  job->link = link;
  ArmTimer(*job);
  // The callbacks hold the link only weakly: the link owns the socket that owns them.
  const std::weak_ptr<Link> weak = link;
  TcpLink::Events events;
  events.connected = [this, weak] {
    const auto self = weak.lock();
    const auto job = self ? self->job.lock() : nullptr;
    if (!job) return;
    self->connected = true;
    SendPrelude(*job);
  };
  events.received = [this, weak](std::string_view bytes) {
    if (const auto self = weak.lock()) OnReceived(*self, bytes);
  };
  events.closed = [this, weak](const std::string&) {
    if (const auto self = weak.lock()) OnClosed(*self, false);
  };
  link->tcp = TcpLink::Connect(
      loop_,
      {.host = job->request.host,
       .port = job->request.port,
       .source_address = services_.config.bind_source_addr,
       .timeout_ms = static_cast<int>(std::min<int64_t>(job->request.timeout_ms, 1'000'000'000)) + 1000},
      std::move(events));
}

// Rights and database come first and are waited for: keys must not land in the wrong database.
void Migrator::SendPrelude(Job& job) {
  std::string out;
  const Request& request = job.request;
  if (request.authenticate) {
    if (request.user.empty()) {
      AppendCommand(out, {"AUTH", request.password});
    } else {
      AppendCommand(out, {"AUTH", request.user, request.password});
    }
    job.awaited.emplace_back(Job::Awaited::kAuth, 0);
  }
  if (job.link->db != request.target_db) {
    AppendCommand(out, {"SELECT", fmt::to_string(request.target_db)});
    job.awaited.emplace_back(Job::Awaited::kSelect, 0);
  }
  if (out.empty()) return SendRound(job);
  job.link->tcp->Send(out);
  ArmTimer(job);
}

void Migrator::SendRound(Job& job) {
  const Request& request = job.request;
  store::Database& db = services_.keyspace.db(request.db);
  const int64_t now_ms = loop_.now().unix_ms;
  services_.keyspace.SetNow(now_ms);
  std::string out, payload;
  for (size_t i = 0; i < job.items.size(); ++i) {
    Job::Item& item = job.items[i];
    if (item.done) continue;
    item.changed = false;
    const store::EntryRef entry = db.Lookup(item.key, {store::Touch::kNo, store::Viewer::kClient});
    if (!entry && !item.at_target) {
      item.done = true;  // gone before it was ever sent
      continue;
    }
    if (!entry) {
      if (services_.cluster != nullptr) {
        AppendCommand(out, {"ASKING"});
        job.awaited.emplace_back(Job::Awaited::kAsking, i);
      }
      AppendCommand(out, {"DEL", item.key});
      job.awaited.emplace_back(Job::Awaited::kDelete, i);
      continue;
    }
    payload.clear();
    persistence::DumpWriter dump(&payload, services_.config.rdbcompression);
    TellEntry(entry, {.key = item.key}, dump);
    dump.Finish();
    // 0 would mean for ever.
    const int64_t ttl_ms = entry.has_expiry() ? std::max<int64_t>(entry.expiry_ms() - now_ms, 1) : 0;
    const std::string_view restore = services_.cluster != nullptr ? "RESTORE-ASKING" : "RESTORE";
    const std::string ttl = fmt::to_string(ttl_ms);
    if (request.replace || item.at_target) {
      AppendCommand(out, {restore, item.key, ttl, payload, "REPLACE"});
    } else {
      AppendCommand(out, {restore, item.key, ttl, payload});
    }
    job.awaited.emplace_back(Job::Awaited::kRestore, i);
  }
  if (job.awaited.empty()) {
    job.nothing_to_move = job.round == 0;
    return Finish(job.link->job.lock(), {});
  }
  ++job.round;
  job.link->tcp->Send(out);
  ArmTimer(job);
}

void Migrator::OnReceived(Link& link, std::string_view bytes) {
  const std::shared_ptr<Job> job = link.job.lock();
  if (!job) return OnClosed(link, false);  // an idle connection has nothing to tell
  link.buffer.append(bytes);
  job->heard = true;
  services_.keyspace.SetNow(loop_.now().unix_ms);
  protocol::Reply reply;
  size_t used = 0;
  while (!job->awaited.empty()) {
    size_t consumed = 0;
    const auto status = link.parser.Parse(std::string_view(link.buffer).substr(used), consumed, reply);
    used += consumed;
    if (status == protocol::ReplyParser::Status::kNeedMore) break;
    if (status == protocol::ReplyParser::Status::kError) {
      PropagateRemovals(*job);
      return OnClosed(link, false);
    }
    OnReply(*job, reply.IsError(), reply.text);
  }
  link.buffer.erase(0, used);
  PropagateRemovals(*job);
  if (job->awaited.empty()) {
    Advance(job);
  } else {
    ArmTimer(*job);
  }
}

void Migrator::OnReply(Job& job, bool is_error, std::string_view text) {
  const auto [what, index] = job.awaited.front();
  job.awaited.pop_front();
  if (is_error && job.target_error.empty())
    job.target_error = fmt::format("ERR Target instance replied with error: {}", text);
  if (what == Job::Awaited::kAuth || what == Job::Awaited::kAsking) return;
  if (what == Job::Awaited::kSelect) {
    job.link->db = is_error ? -1 : job.request.target_db;
    return;
  }
  Job::Item& item = job.items[index];
  if (is_error) {
    item.done = true;
    return;
  }
  item.at_target = what == Job::Awaited::kRestore;
  if (job.request.copy) {
    item.done = true;
  } else if (!item.changed) {
    item.done = true;
    if (item.at_target) Remove(job, item.key);
  }
}

void Migrator::Remove(Job& job, const std::string& key) {
  moving_.erase(Place(job.request.db, key));  // first, so that our own deletion is not taken for somebody's change
  if (services_.replication.is_replica()) {
    // Deposed meanwhile: the data is no longer ours to delete.
    if (job.target_error.empty()) job.target_error = "READONLY You can't write against a read only replica.";
    return;
  }
  if (services_.keyspace.db(job.request.db).Erase(key)) job.removed.push_back(key);
}

void Migrator::PropagateRemovals(Job& job) {
  if (job.removed.empty()) return;
  std::vector<std::string_view> command{"DEL"};
  command.insert(command.end(), job.removed.begin(), job.removed.end());
  services_.dispatcher.AlsoPropagate(job.request.db, command);
  job.removed.clear();
}

// All replies are there: the keys follow the prelude, changed keys go once more, or that was it.
void Migrator::Advance(const std::shared_ptr<Job>& job) {
  const bool prelude_failed = job->round == 0 && !job->target_error.empty();
  const bool all_done =
      std::all_of(job->items.begin(), job->items.end(), [](const Job::Item& item) { return item.done; });
  if (prelude_failed || (job->round > 0 && all_done)) return Finish(job, {});
  if (job->round >= kOptimisticRounds) {
    job->pausing = true;
    services_.clients.Pause(Clients::PauseReason::kMigration, Clients::PauseScope::kWrites,
                            loop_.now().mono_ms() + job->request.timeout_ms);
  }
  SendRound(*job);
}

void Migrator::ArmTimer(Job& job) {
  // A timer that has fired cannot be stopped any more; its number tells that it was replaced.
  const std::weak_ptr<Link> weak = job.link;
  job.timer = loop_.After(job.request.timeout_ms, [this, weak, number = ++job.timer_number] {
    const auto link = weak.lock();
    const auto job = link ? link->job.lock() : nullptr;
    if (job && job->timer_number == number) OnClosed(*link, true);
  });
}

void Migrator::OnClosed(Link& link, bool timed_out) {
  link.tcp->Close();
  const std::shared_ptr<Job> job = link.job.lock();
  if (!job) {
    const auto [first, last] = idle_.equal_range(link.target);
    const auto it = std::find_if(first, last, [&](const auto& entry) { return entry.second.get() == &link; });
    if (it != last) idle_.erase(it);
    services_.stats.migrate_cached_sockets = idle_.size();
    return;
  }
  // A kept connection may have died in its sleep: once more with a fresh one, if nothing was heard on this one.
  if (job->link_was_idle && !job->heard && !timed_out && !job->retried) {
    job->retried = true;
    job->awaited.clear();
    job->round = 0;
    idle_.erase(link.target);
    const auto keep = std::exchange(job->link, nullptr);
    keep->job.reset();
    return OpenLink(job);
  }
  const std::string_view doing = link.connected ? "reading to target instance"
                                 : timed_out    ? "connecting to the client"
                                                : "writing to target instance";
  Finish(job, fmt::format("IOERR error or timeout {}", doing));
}

// `error`: the connection failed, and with it what was not confirmed yet. Empty: all replies are in.
void Migrator::Finish(const std::shared_ptr<Job>& job, std::string_view error) {
  job->timer.reset();
  if (job->target_error.empty()) job->target_error = error;
  for (const std::string& key : job->request.keys)
    if (auto it = moving_.find(Place(job->request.db, key)); it != moving_.end() && it->second == job.get())
      moving_.erase(it);
  ReleaseLink(*job, error.empty());
  running_.remove(job);
  if (job->pausing && std::none_of(running_.begin(), running_.end(), [](const auto& other) { return other->pausing; }))
    services_.clients.Unpause(Clients::PauseReason::kMigration);
  if (running_.empty()) {
    services_.keyspace.RemoveObserver(this);
    observing_ = false;
  }
  if (Session* session = job->session_id == 0 ? nullptr : services_.clients.Find(job->session_id); session != nullptr) {
    session->written_offset = services_.replication.offset();
    services_.blocking.Wake(*session, WakeReason::kReady);
  }
  std::deque<std::shared_ptr<Job>> waiting;
  waiting.swap(waiting_);
  for (auto& next : waiting) {
    if (services_.clients.Find(next->session_id) == nullptr) continue;  // left before its turn
    if (Conflicts(*next)) {
      waiting_.push_back(std::move(next));
    } else {
      Begin(next);
    }
  }
}

void Migrator::ReleaseLink(Job& job, bool reusable) {
  const std::shared_ptr<Link> link = std::exchange(job.link, nullptr);
  if (link == nullptr) return;
  link->job.reset();
  if (!reusable || idle_.size() >= kIdleLinksMax) {
    link->tcp->Close();
    return;
  }
  link->last_used_ms = loop_.now().mono_ms();
  link->buffer.clear();
  idle_.emplace(link->target, link);
  services_.stats.migrate_cached_sockets = idle_.size();
}

void Migrator::DropIdleLinks() {
  const int64_t now_ms = loop_.now().mono_ms();
  std::erase_if(idle_, [&](const auto& entry) {
    if (now_ms - entry.second->last_used_ms < kIdleLinkMs) return false;
    entry.second->tcp->Close();
    return true;
  });
  services_.stats.migrate_cached_sockets = idle_.size();
}

// ---- what happens to keys meanwhile

void Migrator::OnChange(int db, uint16_t, std::string_view key, store::ChangeKind kind) {
  if (moving_.empty() || kind == store::ChangeKind::kForm) return;
  const auto it = moving_.find(Place(db, key));
  if (it == moving_.end()) return;
  for (Job::Item& item : it->second->items)
    if (item.key == key) item.changed = true;
}

void Migrator::MarkDatabase(int db) {
  for (const auto& job : running_) {
    if (job->request.db != db) continue;
    for (Job::Item& item : job->items) item.changed = true;
  }
}

void Migrator::OnFlush(int db) { MarkDatabase(db); }
// Rare, and a key sent once too often does no harm: no need to tell slots apart.
void Migrator::OnDropSlot(int db, uint16_t) { MarkDatabase(db); }
void Migrator::OnSwap(int first, int second) {
  MarkDatabase(first);
  MarkDatabase(second);
}

}  // namespace tessera
