#include "server/durability/durability.h"

#include <fmt/core.h>
#include <unistd.h>

#include <initializer_list>

#include "persistence/atomic_file.h"
#include "server/cluster/cluster_shell.h"
#include "server/config/config.h"
#include "server/durability/background_save.h"
#include "server/durability/loader.h"
#include "server/durability/rdb_options.h"
#include "server/durability/snapshot_job.h"
#include "server/log.h"
#include "server/net/disk_thread.h"
#include "server/net/event_loop.h"
#include "server/replication/replication.h"
#include "server/stats.h"

namespace tessera {
namespace {

constexpr int64_t kRetryAfterFailedSaveS = 5;

bool StartsAsReplica(const Services& services) {
  if (services.cluster != nullptr) return services.cluster->core().me().is(cluster::kReplica);
  return !services.config.replicaof_host.empty();
}

}  // namespace

Durability::Durability(EventLoop& loop, DiskThread& disk, persistence::FileSystem& files, Services& services,
                       ReplicationStream& stream)
    : loop_(loop),
      disk_(disk),
      files_(files),
      services_(services),
      config_(services.config),
      stream_(stream),
      aof_(loop, disk, files, services, stream) {
  loop.AddBackgroundWork([this] { return Work(); });
}

Durability::~Durability() = default;

// A slice of everything under way; true while more can be done at once.
bool Durability::Work() {
  bool more = false;
  if (load_busy_) more = load_busy_ = loader_->Step(loop_.now().unix_ms);
  if (save_ != nullptr) more |= save_->Step();
  more |= aof_.StepRewrite();
  return more;
}

int64_t Durability::now_s() const { return loop_.now().unix_s(); }

bool Durability::dataset_incomplete() const {
  return loading() || services_.replication.loading() || (discarded_ && services_.replication.is_replica());
}

// ---- start

persistence::RecoveryOptions Durability::RecoveryOptionsNow() const {
  return {.aof = AppendOnlyFile::PathsOf(config_),
          .rdb_file_name = config_.dbfilename,
          .append_only = config_.appendonly,
          .load_truncated = config_.aof_load_truncated,
          .rdb = {.verify_checksum = config_.rdbchecksum}};
}

std::string Durability::LoadAtStart() {
  figures_.last_save_s = ReadClock().unix_s();
  const persistence::RecoveryOptions options = RecoveryOptionsNow();
  if (config_.appendonly)
    if (auto status = aof_.Open(); !status.ok())
      return fmt::format("Cannot open the append-only files: {}", status.text());
  auto plan = persistence::PlanRecovery(files_, options);
  if (!plan.ok()) return fmt::format("Cannot tell what to load: {}", plan.status().text());
  if (!plan->ignored_rdb.empty())
    log::Warning(
        "appendonly is on and there is no append-only file: {} is not loaded. To turn the AOF on without losing it, "
        "start without appendonly and use CONFIG SET appendonly yes.",
        plan->ignored_rdb);
  if (plan->files.empty()) return {};
  loader_ = std::make_unique<DatasetApplier>(files_, std::move(*plan), options, services_);
  figures_.loading_start_s = ReadClock().unix_s();
  const int64_t started_us = MonotonicUs();
  services_.keyspace.SetExpiryMode(store::ExpiryMode::kIgnore);
  load_busy_ = true;
  loop_.RunUntil([this] { return !load_busy_; });
  if (std::exchange(load_busy_, false)) return {};  // stopped; the dataset stays marked as incomplete
  const std::string error = loader_->error();
  figures_.last_load_keys_loaded = loader_->keys_loaded();
  figures_.last_load_keys_expired = loader_->keys_expired();
  if (!loader_->replication_id().empty() && !config_.appendonly)
    services_.replication.RestoreHistory(loader_->replication_id(), loader_->replication_offset(),
                                         loader_->stream_database(), StartsAsReplica(services_));
  loader_.reset();
  if (!error.empty()) return error;
  services_.stats.dirty = 0;
  log::Notice("DB loaded from {}: {} keys in {:.3f} seconds", config_.appendonly ? "append only file" : "disk",
              services_.keyspace.size(), static_cast<double>(MonotonicUs() - started_us) / 1e6);
  return {};
}

std::string Durability::Reload(Source source, Room room) {
  if (source == Source::kAof) EndOfTurn();
  persistence::RecoveryOptions options = RecoveryOptionsNow();
  options.append_only = source == Source::kAof;
  auto plan = persistence::PlanRecovery(files_, options);
  if (!plan.ok()) return plan.status().text();
  if (plan->files.empty()) return "there is nothing to load";
  store::Keyspace& keyspace = services_.keyspace;
  if (room == Room::kFlush) keyspace.FlushAll();
  keyspace.DropFunctionLibraries();
  const store::ExpiryMode mode = keyspace.expiry_mode();
  keyspace.SetExpiryMode(store::ExpiryMode::kIgnore);
  DatasetApplier applier(files_, std::move(*plan), options, services_);
  while (applier.Step(loop_.now().unix_ms)) {
  }
  keyspace.SetExpiryMode(mode);
  services_.stats.dirty = dirty_at_last_save_ = 0;
  return applier.error();
}

std::string Durability::StartAppendOnly() { return config_.appendonly ? aof_.Start() : std::string(); }

// ---- the turn

void Durability::EndOfTurn() { aof_.EndOfTurn(save_ != nullptr); }

void Durability::Cron() {
  aof_.WatchAndSync(save_ != nullptr);
  if (!services_.replication.is_replica()) discarded_ = false;
  if (dataset_incomplete()) return;
  SaveIfDue();
  aof_.RewriteIfDue();
}

std::string Durability::WriteRefusal() const {
  if (config_.stop_writes_on_bgsave_error && !figures_.last_bgsave_ok && !config_.save.empty())
    return "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands "
           "that may modify the data set are disabled, because this instance is configured to report errors during "
           "writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for "
           "details about the RDB error.";
  return aof_.WriteRefusal();
}

// ---- RDB

void Durability::SaveIfDue() {
  if (save_ != nullptr) return;
  const uint64_t changes = services_.stats.dirty - dirty_at_last_save_;
  const bool retry_now = now_s() - last_save_try_s_ > kRetryAfterFailedSaveS;
  for (const config::SavePoint& point : config_.save) {
    // After a failure without looking at changes: writes are refused, so there may never be any.
    if (figures_.last_bgsave_ok ? changes < static_cast<uint64_t>(point.changes) ||
                                      now_s() - figures_.last_save_s <= point.seconds
                                : !retry_now)
      continue;
    if (figures_.last_bgsave_ok) {
      log::Notice("{} changes in {} seconds. Saving...", point.changes, point.seconds);
    } else {
      log::Notice("Trying again to save");
    }
    StartBackgroundSave();
    break;
  }
}

std::string Durability::Save() {
  if (save_ != nullptr) return "ERR Background save already in progress";
  if (dataset_incomplete()) return "ERR The dataset is not complete yet";
  const std::string temporary = fmt::format("temp-{}.rdb", getpid());
  auto file = persistence::AtomicFile::Create(files_, config_.dbfilename, temporary);
  persistence::Status status = file.ok() ? persistence::Status() : file.status();
  if (status.ok()) {
    SnapshotJob job(services_.keyspace, RdbOptions(services_, stream_, now_s()), [&](std::string chunk) {
      if (status.ok()) status = file->Append(chunk);
    });
    job.RunToEnd();
    if (status.ok()) status = job.status();
    if (status.ok()) status = file->Commit();
  }
  if (!status.ok()) {
    log::Warning("Saving to {} failed: {}. The old file is untouched.", config_.dbfilename, status.text());
    return "ERR " + status.text();
  }
  figures_.last_bgsave_ok = true;
  figures_.last_save_s = now_s();
  dirty_at_last_save_ = services_.stats.dirty;
  ++figures_.saves;
  log::Notice("DB saved on disk");
  return {};
}

Durability::Started Durability::StartBackgroundSave() {
  if (save_ != nullptr) return Started::kAlreadyRunning;
  if (dataset_incomplete()) return Started::kFailed;
  last_save_try_s_ = save_started_s_ = now_s();
  dirty_at_save_start_ = services_.stats.dirty;
  std::string error;
  // A name of its own: of a save that was given up the disk thread may still hold the file.
  save_ = BackgroundSave::ToReplacedFile(
      disk_, files_, config_.dbfilename, fmt::format("temp-bg-{}.{}.rdb", getpid(), ++saves_started_),
      services_.keyspace, RdbOptions(services_, stream_, now_s()),
      [this](const persistence::Status& status) { SaveEnded(status); }, &error);
  if (save_ == nullptr) {
    figures_.last_bgsave_ok = false;
    log::Warning("Cannot start background saving: {}", error);
    return Started::kFailed;
  }
  log::Notice("Background saving started");
  return Started::kYes;
}

void Durability::SaveEnded(const persistence::Status& status) {
  figures_.rdb_last_held_bytes = save_->held_bytes_max();
  save_.reset();
  figures_.last_bgsave_time_s = now_s() - save_started_s_;
  figures_.last_bgsave_ok = status.ok();
  if (status.ok()) {
    figures_.last_save_s = now_s();
    ++figures_.saves;
    dirty_at_last_save_ = dirty_at_save_start_;
    log::Notice("Background saving terminated with success: {} is complete", config_.dbfilename);
  } else {
    log::Warning("Background saving error: {}. The old {} is untouched; {}", status.text(), config_.dbfilename,
                 config_.save.empty() ? "nothing is retried" : "the save points try again");
  }
}

// ---- what concerns both kinds of files

Durability::Started Durability::StartRewrite() {
  if (aof_.rewrite() != nullptr) return Started::kAlreadyRunning;
  if (dataset_incomplete()) return Started::kFailed;
  return aof_.StartRewrite() ? Started::kYes : Started::kFailed;
}

std::string Durability::SetAppendOnly(bool on) {
  if (!on) {
    aof_.TurnOff();
    return {};
  }
  aof_.LeaveOldLog();
  // The new base waits for a dataset that is just arriving.
  if (dataset_incomplete() || StartRewrite() == Started::kYes) return {};
  return "Unable to turn on AOF. Check server logs.";
}

void Durability::DatasetDiscarded() {
  discarded_ = true;
  save_.reset();
  aof_.DatasetDiscarded();
}

void Durability::DatasetReplaced() {
  discarded_ = false;
  if (aof_.base_missing()) aof_.StartRewrite();  // if it fails, Cron tries again
}

std::string Durability::FinishForShutdown(bool save_rdb) {
  if (save_ != nullptr) log::Notice("A background save is under way and is given up");
  save_.reset();
  if (aof_.rewrite() != nullptr) {
    log::Notice("An AOF rewrite is under way and is given up");
    aof_.GiveUpRewrite();
  }
  disk_.Drain();  // what was given up must not come into force after the last save
  if (std::string error = aof_.FinishForShutdown(!dataset_incomplete()); !error.empty()) return error;
  if (!save_rdb) return {};
  if (!dataset_incomplete()) return Save();
  log::Notice("Nothing is saved: the dataset was not complete yet, and the files hold the one before");
  return {};
}

Durability::Figures Durability::figures() const {
  Figures f = figures_;
  static_cast<AppendOnlyFile::Figures&>(f) = aof_.figures();
  f.loading = loading();
  if (loader_ != nullptr) {
    f.loading_total_bytes = loader_->total_bytes();
    f.loading_loaded_bytes = loader_->loaded_bytes();
  }
  f.changes_since_last_save = services_.stats.dirty - dirty_at_last_save_;
  f.bgsave_in_progress = save_ != nullptr;
  if (save_ != nullptr) f.current_bgsave_time_s = now_s() - save_started_s_;
  if (f.loading) f.aof_rewrite_scheduled = false;
  for (const BackgroundSave* job : std::initializer_list<const BackgroundSave*>{save_.get(), aof_.rewrite()}) {
    if (job == nullptr) continue;
    f.snapshot_keys_processed = job->keys_done();
    f.snapshot_keys_total = job->keys_total();
    f.held_bytes += job->held_bytes();
    f.held_bytes_max += job->held_bytes_max();
  }
  return f;
}

}  // namespace tessera
