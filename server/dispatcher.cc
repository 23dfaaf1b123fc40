#include "server/dispatcher.h"

#include <fmt/core.h>

#include <bit>
#include <utility>

#include "server/blocked_keys.h"
#include "server/blocking.h"
#include "server/client_limits.h"
#include "server/clients.h"
#include "server/cluster/cluster_shell.h"
#include "server/commands/context.h"
#include "server/config/config.h"
#include "server/durability/durability.h"
#include "server/eviction.h"
#include "server/latency_monitor.h"
#include "server/log.h"
#include "server/monitors.h"
#include "server/pubsub.h"
#include "server/replication/replication.h"
#include "server/replication/stream.h"
#include "server/slowlog.h"
#include "server/stats.h"
#include "server/watches.h"

namespace tessera {
namespace {

constexpr size_t kErrorKindsMax = 128;
constexpr size_t kPendingKept = 64;
constexpr size_t kPendingBytesKept = 64 << 10;

// What the cluster answers in place of a command; clients act on it, also when it answers EXEC.
bool IsRedirection(std::string_view error) {
  for (std::string_view code : {"MOVED ", "ASK ", "TRYAGAIN ", "CROSSSLOT ", "CLUSTERDOWN "})
    if (error.starts_with(code)) return true;
  return false;
}

// What reached the client while its own command ran.
void SendPushes(Session& session) {
  session.Push(std::exchange(session.pushes, {}));
}

bool CanWrite(const CommandRow& row) { return row.has(kWrite | kMayReplicate); }

bool IsOfHttp(std::string_view word) {
  return protocol::EqualsIgnoreCase(word, "post") || protocol::EqualsIgnoreCase(word, "host:");
}

// What streams and logs are made of. Anything else there (REPLICAOF, SUBSCRIBE, MIGRATE ...) would act on what only a
// client's session has, or on the very link it came by.
bool IsReplayable(const CommandRow& row) { return (CanWrite(row) && !row.has(kMovesSlots)) || row.has(kInStream); }

// What a reply shows of a client's word: not more than `max` bytes, and nothing behind a NUL, as in Redis.
std::string_view Shown(std::string_view word, size_t max = 128) {
  return word.substr(0, std::min(max, word.find('\0')));
}

}  // namespace

std::string UnknownCommandText(std::span<const std::string_view> argv) {
  std::string shown;
  for (size_t i = 1; i < argv.size() && shown.size() < 128; ++i)
    shown += fmt::format("'{}' ", Shown(argv[i], 128 - shown.size()));
  return fmt::format("ERR unknown command '{}', with args beginning with: {}", Shown(argv[0]), shown);
}

// A page in somebody's browser can have it send us a request whose body holds commands.
void Dispatcher::CloseForHttp(Session& session) {
  constexpr int64_t kSayAgainUs = 60'000'000;
  if (http_said_us_ == 0 || last_us_ - http_said_us_ > kSayAgainUs) {
    http_said_us_ = last_us_;
    log::Warning("Client {} speaks HTTP to this port, as in an attack through a browser (cross-protocol scripting). It is "
                 "disconnected; further ones of this minute are not mentioned.",
                 session.peer);
  }
  session.link->CloseNow("HTTP");
}

Dispatcher::Outcome Dispatcher::Execute(Session& session, std::span<const std::string_view> argv, int64_t wall_ms) {
  session.last_interaction_us = last_us_;
  services_.keyspace.SetNow(wall_ms);
  if (services_.client_limits != nullptr && services_.client_limits->on() && services_.client_limits->Check(session))
    return Outcome::kDone;
  const auto [found, row, parent] = services_.commands.Find(argv);
  const protocol::OutputBuffer::Mark before =
      session.reply_mode == ReplyMode::kOn ? protocol::OutputBuffer::Mark() : session.out.End();
  const bool muted = session.muted();
  Outcome outcome = Outcome::kDone;
  if (found == CommandTable::Found::kUnknown && IsOfHttp(argv[0]) && session.link != nullptr) {
    CloseForHttp(session);
  } else if (found == CommandTable::Found::kUnknown) {
    Refuse(session, nullptr, UnknownCommandText(argv));
  } else if (found == CommandTable::Found::kUnknownSubcommand) {
    std::string container(parent->name);
    for (char& c : container) c = static_cast<char>(std::toupper(c));
    Refuse(session, nullptr, fmt::format("ERR unknown subcommand '{}'. Try {} HELP.", Shown(argv[1]), container));
  } else if (const int argc = static_cast<int>(argv.size());
             row->handler == nullptr || (row->arity > 0 ? argc != row->arity : argc < -row->arity)) {
    Refuse(session, row,
           fmt::format("ERR wrong number of arguments for '{}' command", services_.commands.FullName(*row)));
  } else {
    session.last_command = row;
    session.last_command_parent = parent;
    std::string refusal = Refusal(session, *row, argv);
    if (!refusal.empty()) {
      Refuse(session, row, refusal);
    } else if (IsPaused(session, *row)) {
      services_.clients.HoldBack(session);
      return Outcome::kPostponed;
    } else if (session.transaction.open && !row->has(kTransactionControl)) {
      Queue(session, *row, argv);
    } else {
      const bool asking = std::exchange(session.asking, false);
      session.executing = true;
      BeginUnit();
      Call(session, *row, argv, wall_ms);
      EndUnit();
      session.executing = false;
      // ASKING before MULTI is meant for the whole transaction.
      if (asking && session.transaction.open) session.asking = true;
      if (CanWrite(*row) || row->has(kTransactionControl)) session.written_offset = stream_.offset();
      if (session.is_blocked()) {
        outcome = Outcome::kBlocked;
        session.blocked.muted = muted;
        session.asking = asking && session.blocked.kind == BlockKind::kKeys;  // goes for the tries to come
      }
    }
  }
  if (muted && session.reply_mode != ReplyMode::kOn) session.reply.Discard(before);  // not CLIENT REPLY ON itself
  if (!session.pushes.empty()) [[unlikely]]
    SendPushes(session);
  if (session.reply_mode == ReplyMode::kSkip) session.reply_mode = ReplyMode::kOn;
  if (session.reply_mode == ReplyMode::kSkipNext) session.reply_mode = ReplyMode::kSkip;
  if (services_.blocked_keys.any_ready()) services_.blocked_keys.Serve(wall_ms);
  return outcome;
}

std::string Dispatcher::Replay(Session& session, std::span<const std::string_view> argv, int64_t wall_ms) {
  services_.keyspace.SetNow(wall_ms);
  const auto [found, row, parent] = services_.commands.Find(argv);
  if (found != CommandTable::Found::kYes || row->handler == nullptr) return UnknownCommandText(argv);
  if (const int argc = static_cast<int>(argv.size()); row->arity > 0 ? argc != row->arity : argc < -row->arity)
    return fmt::format("ERR wrong number of arguments for '{}' command", services_.commands.FullName(*row));
  if (!IsReplayable(*row))
    return fmt::format("ERR '{}' is not a command that changes data", services_.commands.FullName(*row));
  session.last_command = row;
  session.last_command_parent = parent;
  const uint64_t errors = session.reply.error_count();
  if (session.transaction.open && !row->has(kTransactionControl)) {
    Queue(session, *row, argv);
  } else {
    BeginUnit();
    Call(session, *row, argv, wall_ms);
    EndUnit();
  }
  std::string error;
  if (session.reply.error_count() != errors) error = session.reply.last_error_code();
  session.out.Clear();
  if (services_.blocked_keys.any_ready()) services_.blocked_keys.Serve(wall_ms);
  return error;
}

void Dispatcher::Retry(Session& session, const CommandRow& row, const CommandRow* parent,
                       std::span<const std::string_view> argv, int64_t wall_ms, bool muted) {
  session.last_interaction_us = last_us_;
  session.last_command = &row;
  session.last_command_parent = parent;
  const protocol::OutputBuffer::Mark before = session.out.End();
  const std::string refusal = Refusal(session, row, argv);
  if (!refusal.empty()) {
    Refuse(session, &row, refusal);
  } else {
    const bool asking = session.asking;
    BeginUnit();
    Call(session, row, argv, wall_ms);
    EndUnit();
    if (session.is_blocked()) {
      session.asking = asking;
      session.blocked.muted = muted;
      return;
    }
    if (CanWrite(row)) session.written_offset = stream_.offset();
  }
  session.asking = false;
  if (muted) session.reply.Discard(before);
  if (session.link != nullptr) {
    session.link->OutputPending();
    session.link->Resume();
  }
}

void Dispatcher::CountAnswered(Session& session, const CommandRow& row, uint64_t errors) {
  ++services_.stats.commands_processed;
  ++session.commands;
  Stats::PerCommand& figures = services_.stats.per_command[&row];
  ++figures.calls;
  if (session.reply.error_count() == errors) return;
  ++figures.failed_calls;
  CountError(session.reply.last_error_code());
}

std::string Dispatcher::Refusal(Session& session, const CommandRow& row, std::span<const std::string_view> argv) {
  const config::Config& config = services_.config;
  if (!session.authenticated && !config.requirepass.empty() && !row.has(kNoAuth)) return "NOAUTH Authentication required.";
  if (session.transaction.open && row.has(kNoMulti)) return "ERR Command not allowed inside a transaction";
  if (services_.cluster != nullptr && session.kind == SessionKind::kNormal) {
    std::string redirect = services_.cluster->Route(session, row, argv);
    if (!redirect.empty()) return redirect;
  }
  // EXEC is judged by what it would execute.
  const bool exec = row.has(kEndsTransaction) && session.transaction.open && !session.transaction.failed;
  const auto queued = [&](uint64_t flag) {
    return exec && std::any_of(session.transaction.commands.begin(), session.transaction.commands.end(),
                               [flag](const QueuedCommand& c) { return c.row->has(flag); });
  };
  const bool writes = row.has(kWrite) || queued(kWrite);
  if (config.maxmemory != 0 && IsOutOfMemory(session, row, row.has(kDenyOom) || queued(kDenyOom)))
    return "OOM command not allowed when used memory > 'maxmemory'.";
  if ((writes || row.has(kNeedsDisk)) && session.kind == SessionKind::kNormal)
    if (std::string disk = services_.durability.WriteRefusal(); !disk.empty()) return disk;
  if (writes && session.kind == SessionKind::kNormal) {
    if (!services_.replication.is_replica()) {
      if (!services_.replication.EnoughReplicasToWrite()) return "NOREPLICAS Not enough good replicas to write.";
    } else if (config.replica_read_only) {
      return "READONLY You can't write against a read only replica.";
    }
  }
  if (session.subscribed.any() && session.reply.version() == 2 && !row.has(kWhileSubscribed))
    return fmt::format(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed "
        "in this context",
        services_.commands.FullName(row));
  if (services_.replication.is_replica() && !row.has(kStale) && !config.replica_serve_stale_data &&
      !services_.replication.primary_link_up())
    return "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
  if ((services_.durability.loading() || services_.replication.loading()) && !row.has(kLoading))
    return "LOADING Redis is loading the dataset in memory";
  if ((session.kind == SessionKind::kReplica || session.monitoring) && row.has(kWrite | kReadOnly | kMayReplicate))
    return "ERR Replica can't interact with the keyspace";
  return {};
}

// Every command makes room first; only those that take memory are refused if there is none. Queuing takes memory too.
bool Dispatcher::IsOutOfMemory(const Session& session, const CommandRow& row, bool may_take_memory) {
  if (services_.eviction == nullptr || services_.eviction->MakeRoom() != Eviction::Result::kFull) return false;
  return may_take_memory || (session.transaction.open && !row.has(kTransactionControl));
}

void Dispatcher::Refuse(Session& session, const CommandRow* row, std::string_view error) {
  // A command that cannot even be queued spoils the transaction it was meant for.
  if (session.transaction.open) session.transaction.failed = true;
  if (row != nullptr) ++services_.stats.per_command[row].rejected_calls;
  session.asking = false;
  if (row != nullptr && row->has(kEndsTransaction)) {
    services_.watches.Unwatch(session);
    session.transaction = {};
    if (!IsRedirection(error)) {
      if (error.starts_with("ERR ")) error.remove_prefix(4);
      session.reply.Error(fmt::format("EXECABORT Transaction discarded because of: {}", error));
      return CountError(session.reply.last_error_code());
    }
  }
  session.reply.Error(error);
  CountError(session.reply.last_error_code());
}

void Dispatcher::CountError(std::string_view code) {
  Stats& stats = services_.stats;
  ++stats.total_error_replies;
  auto it = stats.errors.find(code);
  if (it != stats.errors.end()) {
    ++it->second;
  } else if (stats.errors.size() < kErrorKindsMax) {
    stats.errors.emplace(code, 1);
  }
}

bool Dispatcher::IsPaused(const Session& session, const CommandRow& row) const {
  if (!services_.clients.any_pause() || session.kind != SessionKind::kNormal || row.has(kWhilePaused)) return false;
  const int64_t now_ms = last_us_ / 1000;
  if (services_.clients.all_paused(now_ms)) return true;
  if (!services_.clients.writes_paused(now_ms)) return false;
  if (CanWrite(row)) return true;
  return row.has(kEndsTransaction) && session.transaction.open &&
         std::any_of(session.transaction.commands.begin(), session.transaction.commands.end(),
                     [](const QueuedCommand& c) { return CanWrite(*c.row); });
}

void Dispatcher::Queue(Session& session, const CommandRow& row, std::span<const std::string_view> argv) {
  session.reply.SimpleString("QUEUED");
  // It will not run: what was queued before still decides where EXEC is sent.
  if (session.transaction.failed || session.transaction.watch_broken) return;
  QueuedCommand command{&row, {}};
  command.argv.reserve(argv.size());
  for (std::string_view word : argv) {
    session.transaction.bytes += word.size() + sizeof(std::string);
    command.argv.emplace_back(word);
  }
  session.transaction.commands.push_back(std::move(command));
}

void Dispatcher::Call(Session& session, const CommandRow& row, std::span<const std::string_view> argv,
                      int64_t wall_ms) {
  Stats& stats = services_.stats;
  const int64_t start_us = last_us_;
  const uint64_t changes = changes_;
  const uint64_t errors = session.reply.error_count();
  CommandContext context{row, argv, session, session.reply, services_.keyspace, Now{wall_ms, start_us}, services_};
  const int db = session.db;
  row.handler(context);

  last_us_ = MonotonicUs();
  const int64_t duration_us = last_us_ - start_us;
  Stats::PerCommand& figures = stats.per_command[&row];
  figures.usec += duration_us;
  if (!services_.monitors.empty() && !row.has(kSkipMonitor | kAdmin) && session.kind != SessionKind::kLoader &&
      !services_.blocked_keys.IsTryingAgain(session)) [[unlikely]]
    services_.monitors.Show(session, argv, context.secrets);
  if (session.blocked.kind == BlockKind::kKeys) return;  // counts when it is answered
  ++stats.commands_processed;
  ++session.commands;
  ++figures.calls;
  const auto bucket = std::bit_width(static_cast<uint64_t>(duration_us));
  ++figures.latency_log2[std::min<size_t>(bucket, figures.latency_log2.size() - 1)];
  if (session.reply.error_count() != errors) {
    ++figures.failed_calls;
    if (!row.has(kTransactionControl)) CountError(session.reply.last_error_code());
  }
  if (LatencyMonitor* latency = services_.latency; latency != nullptr && latency->on() && !session.is_blocked())
    latency->Offer(row.has(kFast) ? "fast-command" : "command", duration_us);
  const int64_t slow_us = services_.config.slowlog_log_slower_than;
  if (slow_us >= 0 && duration_us >= slow_us && !row.has(kSkipSlowlog) && !session.is_blocked())
    services_.slowlog.Add(argv, wall_ms / 1000, duration_us, session.peer, session.name,
                          context.secrets, static_cast<size_t>(services_.config.slowlog_max_len));

  const bool verbatim = context.propagation == CommandContext::Propagation::kForced ||
                        (context.propagation == CommandContext::Propagation::kAsChanged && changes_ != changes &&
                         !row.has(kTransactionControl));
  if (verbatim && stream_.active() && session.kind == SessionKind::kNormal) {
    if (transaction_depth_ == 0 && pending_count_ == 0) {
      stream_.Feed(db, argv);
    } else {
      AlsoPropagate(db, argv);
    }
  }
  if (context.propagation == CommandContext::Propagation::kReplicas && stream_.active() &&
      session.kind == SessionKind::kNormal)
    AddPending(db, argv, true);
}

void Dispatcher::RunTransaction(CommandContext& exec) {
  Session& session = exec.session;
  Transaction transaction = std::move(session.transaction);
  session.transaction = {};
  if (!session.muted()) exec.reply.Array(static_cast<int64_t>(transaction.commands.size()));
  ++transaction_depth_;
  std::vector<std::string_view> argv;
  for (const QueuedCommand& command : transaction.commands) {
    argv.assign(command.argv.begin(), command.argv.end());
    session.last_command = command.row;
    // CLIENT REPLY works from one command of the transaction to the next.
    const auto before = session.reply_mode == ReplyMode::kOn ? protocol::OutputBuffer::Mark() : session.out.End();
    const bool muted = session.muted();
    Call(session, *command.row, argv, exec.now.unix_ms);
    if (muted && session.reply_mode != ReplyMode::kOn) session.reply.Discard(before);
  }
  --transaction_depth_;
}

void Dispatcher::AlsoPropagate(int db, std::span<const std::string_view> command) {
  if (!stream_.active()) return;
  if (unit_depth_ == 0) {
    stream_.Feed(db, command);
    return;
  }
  AddPending(db, command, false);
}

void Dispatcher::AddPending(int db, std::span<const std::string_view> command, bool control) {
  if (pending_count_ == pending_.size()) pending_.emplace_back();
  Pending& pending = pending_[pending_count_++];
  pending.db = db;
  pending.control = control;
  pending.argc = command.size();
  if (pending.argv.size() < command.size()) pending.argv.resize(command.size());
  for (size_t i = 0; i < command.size(); ++i) {
    pending.argv[i].assign(command[i]);
    pending_bytes_ += command[i].size();
  }
}

void Dispatcher::EndUnit() {
  if (--unit_depth_ > 0 || pending_count_ == 0) return;
  const bool several = pending_count_ > 1;
  if (several) stream_.FeedMulti(pending_[0].db);
  for (size_t i = 0; i < pending_count_; ++i) {
    const Pending& command = pending_[i];
    argv_scratch_.assign(command.argv.begin(), command.argv.begin() + static_cast<ptrdiff_t>(command.argc));
    if (command.control) {
      stream_.FeedControl(argv_scratch_);
    } else {
      stream_.Feed(command.db, argv_scratch_);
    }
  }
  if (several) stream_.FeedExec(pending_[pending_count_ - 1].db);
  // What one huge unit needed is not kept.
  if (pending_count_ > kPendingKept || pending_bytes_ > kPendingBytesKept) pending_.clear();
  pending_count_ = pending_bytes_ = 0;
}

void Dispatcher::OnChange(int db, uint16_t, std::string_view key, store::ChangeKind kind) {
  if (kind == store::ChangeKind::kExpired || kind == store::ChangeKind::kForm) return;
  if (kind == store::ChangeKind::kEvicted) {
    ++services_.stats.evicted_keys;
    if (services_.config.notify_keyspace_events != 0) services_.pubsub.NotifyKeyspace(db, 'e', "evicted", key);
    const std::string_view command[] = {services_.config.lazyfree_lazy_eviction ? "UNLINK" : "DEL", key};
    return AlsoPropagate(db, command);
  }
  ++changes_;
  ++services_.stats.dirty;
  if (services_.config.notify_keyspace_events == 0) [[likely]]
    return;
  if (kind == store::ChangeKind::kCreated && services_.keyspace.expiry_mode() != store::ExpiryMode::kIgnore)
    services_.pubsub.NotifyKeyspace(db, 'n', "new", key);
}

void Dispatcher::OnExpired(int db, uint16_t, std::string_view key) {
  ++services_.stats.expired_keys;
  if (services_.config.notify_keyspace_events != 0) services_.pubsub.NotifyKeyspace(db, 'x', "expired", key);
  const std::string_view command[] = {services_.config.lazyfree_lazy_expire ? "UNLINK" : "DEL", key};
  AlsoPropagate(db, command);
}

void Dispatcher::OnFieldsExpired(int db, uint16_t, std::string_view key, std::span<const std::string> fields,
                                 Left left) {
  services_.stats.expired_fields += fields.size();
  if (services_.config.notify_keyspace_events != 0) {
    services_.pubsub.NotifyKeyspace(db, 'h', "hexpired", key);
    if (left == Left::kNothing) services_.pubsub.NotifyKeyspace(db, 'g', "del", key);
  }
  std::vector<std::string_view> command = {"HDEL", key};
  command.insert(command.end(), fields.begin(), fields.end());
  AlsoPropagate(db, command);
}

void Dispatcher::OnFlush(int db) {
  ++changes_;
  services_.stats.dirty += 1 + services_.keyspace.db(db).size();
}

void Dispatcher::OnSwap(int, int) {
  ++changes_;
  ++services_.stats.dirty;
}

}  // namespace tessera
