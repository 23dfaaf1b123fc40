#include "server/durability/durability.h"

#include <fmt/core.h>
#include <unistd.h>

#include <deque>
#include <optional>
#include <utility>

#include "persistence/aof_log.h"
#include "persistence/aof_writer.h"
#include "persistence/atomic_file.h"
#include "server/cluster/cluster_shell.h"
#include "server/config/config.h"
#include "server/durability/aof_feed.h"
#include "server/durability/background_save.h"
#include "server/durability/loader.h"
#include "server/durability/snapshot_job.h"
#include "server/latency_monitor.h"
#include "server/log.h"
#include "server/net/disk_thread.h"
#include "server/net/event_loop.h"
#include "server/replication/replication.h"
#include "server/stats.h"

namespace tessera {
namespace {

constexpr int64_t kRetryAfterFailedSaveS = 5;
constexpr int64_t kMarkEveryMs = 10;
constexpr int64_t kRemindMs = 10'000;
constexpr int64_t kLookMs = 1000;
// What a disk that refuses may leave in memory: a replica goes on applying what its primary sends.
constexpr size_t kUnwrittenBytesMax = 64 << 20;

persistence::AofPaths AofPathsOf(const config::Config& config) {
  return {.data_directory = ".", .append_directory = config.appenddirname, .append_file_name = config.appendfilename};
}

bool StartsAsReplica(const Services& services) {
  if (services.cluster != nullptr) return services.cluster->core().me().is(cluster::kReplica);
  return !services.config.replicaof_host.empty();
}

}  // namespace

struct Durability::Impl {
  Impl(EventLoop& loop, DiskThread& disk, persistence::FileSystem& files, Services& services, ReplicationStream& stream)
      : loop(loop), disk(disk), files(files), services(services), stream(stream), feed(loop, services.config) {}

  EventLoop& loop;
  DiskThread& disk;
  persistence::FileSystem& files;
  Services& services;
  ReplicationStream& stream;

  AofFeed feed;
  std::optional<persistence::AofLog> aof;
  persistence::AofBaseFormat rewrite_format = persistence::AofBaseFormat::kRdb;  // of the rewrite under way
  std::unique_ptr<DatasetApplier> loader;
  bool load_busy = false;
  std::unique_ptr<BackgroundSave> save;     // BGSAVE under way
  std::unique_ptr<BackgroundSave> rewrite;  // BGREWRITEAOF under way
  Figures figures;
  uint64_t dirty_at_last_save = 0;
  uint64_t dirty_at_save_start = 0;
  int64_t last_save_try_s = 0;
  int64_t save_started_s = 0, rewrite_started_s = 0;
  uint64_t saves_started = 0;
  // Which offset of the stream the log held when it was that long; those not synced yet, about one in kMarkEveryMs.
  struct StreamMark {
    uint64_t logged;
    int64_t stream_offset;
    int64_t at_ms;
  };
  std::deque<StreamMark> stream_marks;
  int64_t synced_stream_offset = 0;  // of the last mark that was passed
  int64_t reminded_ms = 0;  // when the log last said that a replica's disk refuses
  int64_t looked_ms = 0;    // after the file
  bool discarded = false;  // for a primary's dataset that has not taken its place yet

  const config::Config& config() const { return services.config; }
  int64_t now_s() const { return loop.now().unix_s(); }
  // Half a dataset, from our files or our primary's image: nothing must be written from it.
  bool dataset_incomplete() const {
    return loader != nullptr || services.replication.loading() || (discarded && services.replication.is_replica());
  }
  void MarkStreamOffset(int64_t now_ms) {
    while (!stream_marks.empty() && stream_marks.front().logged <= feed.gate.synced) {
      synced_stream_offset = stream_marks.front().stream_offset;
      stream_marks.pop_front();
    }
    if (!feed_attached || feed.gate.synced >= feed.fed() || feed.buffered() != 0) return;
    if (!stream_marks.empty() && now_ms - stream_marks.back().at_ms < kMarkEveryMs) return;
    stream_marks.push_back({feed.fed(), stream.offset(), now_ms});
  }
  bool base_missing() const { return config().appendonly && !feed_attached && rewrite == nullptr; }

  SnapshotJob::Options RdbOptions(bool aof_base) {
    SnapshotJob::Options options;
    options.rdb = {.compress = config().rdbcompression, .checksum = config().rdbchecksum};
    options.info = {.created_s = now_s(),
                    .used_memory = services.keyspace.memory().total(),
                    .aof_base = aof_base,
                    .replication_id = services.replication.has_past() ? services.replication.replication_id() : "",
                    .replication_offset = services.replication.offset(),
                    .replication_database = std::max(0, stream.selected_db())};
    return options;
  }

  void SaveEnded(const persistence::Status& status) {
    figures.rdb_last_held_bytes = save->held_bytes_max();
    save.reset();
    figures.last_bgsave_time_s = now_s() - save_started_s;
    figures.last_bgsave_ok = status.ok();
    if (status.ok()) {
      figures.last_save_s = now_s();
      ++figures.saves;
      dirty_at_last_save = dirty_at_save_start;
      log::Notice("Background saving terminated with success: {} is complete", config().dbfilename);
    } else {
      log::Warning("Background saving error: {}. The old {} is untouched; {}", status.text(), config().dbfilename,
                   config().save.empty() ? "nothing is retried" : "the save points try again");
    }
  }

  void RewriteEnded(persistence::Status status) {
    if (rewrite != nullptr) figures.aof_last_held_bytes = rewrite->held_bytes_max();
    rewrite.reset();
    if (status.ok()) {
      status = aof->FinishRewrite(rewrite_format);
      if (status.ok()) feed.MadeWhole(rewritten_up_to);
    } else {
      aof->AbortRewrite();
    }
    figures.aof_last_rewrite_time_s = now_s() - rewrite_started_s;
    figures.aof_last_bgrewrite_ok = status.ok();
    figures.aof_rewrites_failed_in_a_row = status.ok() ? 0 : figures.aof_rewrites_failed_in_a_row + 1;
    if (status.ok()) {
      ++figures.aof_rewrites;
      log::Notice("Background AOF rewrite finished successfully: the base now has {} bytes", aof->base_bytes());
    } else {
      log::Warning("Background AOF rewrite failed: {}. {}", status.text(),
                   aof->appending() ? "The old files stay in force."
                                    : "The append-only file is not on yet; trying again in a few seconds.");
    }
    if (!config().appendonly || !aof->appending()) {
      CloseUnlessBroken();
    } else if (status.ok()) {
      DeleteHistory();
    }
  }

  // Writes no longer go to the log; its files stay.
  std::string CloseAof() {
    stream.RemoveSink(*owner);
    std::string error;
    if (aof && aof->appending()) error = feed.WriteAndSync();
    feed.Use(nullptr);
    ForgetMarks();
    if (!aof) return error;
    if (auto status = aof->StopAppending(); !status.ok() && error.empty()) error = status.text();
    aof.reset();
    ++aof_generation;
    return error;
  }

  // A log that the disk does not take any more: its files stay as they are, until Cron has made a new base.
  void AbandonAof(const persistence::Status& why) {
    stream.RemoveSink(*owner);
    feed.Abandon(why);
    ForgetMarks();
    static_cast<void>(aof->StopAppending());
  }

  // For a log that did not get its base: replies that a broken one holds back must not leave for that.
  void CloseUnlessBroken() {
    if (!config().appendonly) return static_cast<void>(CloseAof());
    if (feed.abandoned()) return;
    feed.sync_broken() ? AbandonAof(feed.failure()) : static_cast<void>(CloseAof());
  }

  // Each rewrite that fails may leave an increment behind: one that is not urgent is tried again less and less often, as in
  // Redis.
  int64_t RewriteRetryS(bool urgent) const {
    constexpr uint64_t kQuickTries = 3;
    const uint64_t failures = figures.aof_rewrites_failed_in_a_row;
    if (urgent || failures < kQuickTries) return kRetryAfterFailedSaveS;
    return std::min<int64_t>(int64_t{60} << std::min<uint64_t>(failures - kQuickTries, 6), 3600);
  }

  void ForgetMarks() {
    feed_attached = false;
    stream_marks.clear();
    synced_stream_offset = 0;
  }

  // Looks after a log in trouble, now and then.
  void WatchAof(int64_t now_ms) {
    if (!feed_attached || rewrite != nullptr || !aof->appending()) return;
    if (now_ms - looked_ms >= kLookMs) {
      looked_ms = now_ms;
      aof->Seal();
      if (auto status = aof->StillThere(); !status.ok()) {
        log::Warning("{}: it was removed under the server. Writes are refused until a new append-only file is complete.",
                     status.text());
        return AbandonAof(status);
      }
    }
    if (feed.last_write_ok()) return;
    if (feed.sync_broken()) return AbandonAof(feed.failure());
    if (services.replication.is_replica() && now_ms - reminded_ms > kRemindMs) {
      reminded_ms = now_ms;
      log::Warning("Replica is applying commands it was unable to write to disk: {}", feed.last_error());
    }
    if (feed.buffered() <= kUnwrittenBytesMax) return;
    log::Warning("{} bytes wait for the append-only file: they are dropped from memory. The file stays as it is, and a new "
                 "one with a complete base takes its place when the disk allows.",
                 feed.buffered());
    AbandonAof(feed.failure());
  }

  // Unlinking large files takes long.
  void DeleteHistory() {
    disk.Run(
        [paths = aof->HistoryPaths(), &files = files] {
          for (const std::string& path : paths) static_cast<void>(files.Remove(path));
        },
        [this, generation = aof_generation] {
          if (generation == aof_generation && rewrite == nullptr) aof->DeleteHistory();
        });
  }

  void GiveUpRewrite() {
    if (rewrite == nullptr) return;
    rewrite.reset();
    aof->AbortRewrite();
  }

  // The part of a rewrite before its image: opens the next increment and switches the feed to it. Turns the feed on if
  // it is off and should be on.
  persistence::Result<std::shared_ptr<persistence::File>> BeginRewrite() {
    rewrite_started_s = now_s();
    if (!aof) {
      auto log = persistence::AofLog::Open(files, AofPathsOf(config()));
      if (!log.ok()) return log.status();
      aof.emplace(std::move(*log));
    }
    if (feed_attached) {
      // What this turn has fed so far belongs to the old increment, everything from here on to the new one.
      if (!feed.Write(loop.now().mono_ms())) return persistence::Status::Invalid(feed.last_error(), "the AOF");
      // Fails if it failed before, which is what the rewrite is to heal.
      static_cast<void>(feed.SyncNow());
    }
    auto file = aof->StartRewrite();
    if (!file.ok()) return file;
    if (config().appendonly) {
      const int db = stream.selected_db();
      if (!feed_attached) {
        feed_attached = true;
        feed.Use(&*aof);
        stream.AddSink(*owner);
      }
      if (services.replication.is_replica()) stream.set_selected_db(db);
      BeginIncrement();
    }
    rewritten_up_to = aof->SyncPoint();
    rewrite_format = BaseFormat();
    return file;
  }

  // Function libraries cannot be told as commands, because there is none yet that loads them.
  persistence::AofBaseFormat BaseFormat() const {
    const bool rdb = config().aof_use_rdb_preamble || !services.keyspace.function_libraries().empty();
    return rdb ? persistence::AofBaseFormat::kRdb : persistence::AofBaseFormat::kCommands;
  }

  SnapshotJob::Options BaseOptions(persistence::AofBaseFormat format) {
    SnapshotJob::Options options = RdbOptions(true);
    if (format == persistence::AofBaseFormat::kCommands) options.format = SnapshotJob::Format::kCommands;
    return options;
  }

  bool StartRewrite() {
    auto file = BeginRewrite();
    if (!file.ok()) {
      log::Warning("Cannot start rewriting the append-only file: {}", file.status().text());
      figures.aof_last_bgrewrite_ok = false;
      ++figures.aof_rewrites_failed_in_a_row;
      if (!feed_attached) CloseUnlessBroken();
      return false;
    }
    rewrite = BackgroundSave::ToFile(disk, *file, services.keyspace, BaseOptions(rewrite_format),
                                     [this](const persistence::Status& status) { RewriteEnded(status); });
    log::Notice("Background append only file rewriting started");
    return true;
  }

  // A rewrite that blocks, for the end of the process.
  persistence::RecoveryOptions RecoveryOptionsNow() {
    return {.aof = AofPathsOf(config()),
            .rdb_file_name = config().dbfilename,
            .append_only = config().appendonly,
            .load_truncated = config().aof_load_truncated,
            .rdb = {.verify_checksum = config().rdbchecksum}};
  }

  std::string RewriteNow() {
    auto file = BeginRewrite();
    if (!file.ok()) {
      figures.aof_last_bgrewrite_ok = false;
      ++figures.aof_rewrites_failed_in_a_row;
      return file.status().text();
    }
    persistence::Status status;
    SnapshotJob job(services.keyspace, BaseOptions(rewrite_format), [&](std::string chunk) {
      if (status.ok()) status = (*file)->Append(chunk);
    });
    job.RunToEnd();
    RewriteEnded(job.status().ok() ? status : job.status());
    return figures.aof_last_bgrewrite_ok ? std::string() : "the append-only file has no complete base";
  }

  // Each increment selects its database afresh. A primary's stream does that by itself; as a replica we pass our primary's
  // bytes on unchanged, so the log gets a SELECT of its own.
  void BeginIncrement() {
    if (!services.replication.is_replica()) return stream.ForgetSelectedDb();
    const std::string db = std::to_string(std::max(0, stream.selected_db()));
    const std::string_view select[] = {"SELECT", db};
    std::string frame;
    persistence::AppendCommand(select, &frame);
    feed.Add(frame);
  }

  persistence::AofSyncPoint rewritten_up_to;
  bool feed_attached = false;
  uint64_t aof_generation = 0;  // changes when `aof` goes
  StreamSink* owner = nullptr;
};

Durability::Durability(EventLoop& loop, DiskThread& disk, persistence::FileSystem& files, Services& services,
                       ReplicationStream& stream)
    : impl_(std::make_unique<Impl>(loop, disk, files, services, stream)) {
  impl_->owner = this;
  impl_->feed.on_sync_took = [&services](int64_t duration_us) {
    if (services.latency != nullptr) services.latency->Offer("aof-fsync-always", duration_us);
  };
  loop.AddBackgroundWork([this] {
    bool more = false;
    if (impl_->load_busy) more = impl_->load_busy = impl_->loader->Step(impl_->loop.now().unix_ms);
    if (impl_->save != nullptr) more |= impl_->save->Step();
    if (impl_->rewrite != nullptr) more |= impl_->rewrite->Step();
    return more;
  });
}

Durability::~Durability() = default;

std::string Durability::LoadAtStart() {
  Impl& d = *impl_;
  const config::Config& config = d.config();
  d.figures.last_save_s = ReadClock().unix_s();
  const persistence::RecoveryOptions options = d.RecoveryOptionsNow();
  if (config.appendonly) {
    auto log = persistence::AofLog::Open(d.files, options.aof);
    if (!log.ok()) return fmt::format("Cannot open the append-only files: {}", log.status().text());
    d.aof.emplace(std::move(*log));
  }
  auto plan = persistence::PlanRecovery(d.files, options);
  if (!plan.ok()) return fmt::format("Cannot tell what to load: {}", plan.status().text());
  if (!plan->ignored_rdb.empty())
    log::Warning("appendonly is on and there is no append-only file: {} is not loaded. To turn the AOF on without losing "
                 "it, start without appendonly and use CONFIG SET appendonly yes.",
                 plan->ignored_rdb);
  if (plan->files.empty()) return {};
  d.loader = std::make_unique<DatasetApplier>(d.files, std::move(*plan), options, d.services);
  d.figures.loading_start_s = ReadClock().unix_s();
  const int64_t started_us = MonotonicUs();
  d.services.keyspace.SetExpiryMode(store::ExpiryMode::kIgnore);
  d.load_busy = true;
  d.loop.RunUntil([&d] { return !d.load_busy; });
  if (std::exchange(d.load_busy, false)) return {};  // stopped; the dataset stays marked as incomplete
  const std::string error = d.loader->error();
  d.figures.last_load_keys_loaded = d.loader->keys_loaded();
  d.figures.last_load_keys_expired = d.loader->keys_expired();
  if (!d.loader->replication_id().empty() && !config.appendonly)
    d.services.replication.RestoreHistory(d.loader->replication_id(), d.loader->replication_offset(),
                                          d.loader->stream_database(), StartsAsReplica(d.services));
  d.loader.reset();
  if (!error.empty()) return error;
  d.services.stats.dirty = 0;
  log::Notice("DB loaded from {}: {} keys in {:.3f} seconds", config.appendonly ? "append only file" : "disk",
              d.services.keyspace.size(), static_cast<double>(MonotonicUs() - started_us) / 1e6);
  return {};
}

std::string Durability::Reload(Source source, Room room) {
  Impl& d = *impl_;
  if (source == Source::kAof) EndOfTurn();
  persistence::RecoveryOptions options = d.RecoveryOptionsNow();
  options.append_only = source == Source::kAof;
  auto plan = persistence::PlanRecovery(d.files, options);
  if (!plan.ok()) return plan.status().text();
  if (plan->files.empty()) return "there is nothing to load";
  store::Keyspace& keyspace = d.services.keyspace;
  if (room == Room::kFlush) keyspace.FlushAll();
  keyspace.DropFunctionLibraries();
  const store::ExpiryMode mode = keyspace.expiry_mode();
  keyspace.SetExpiryMode(store::ExpiryMode::kIgnore);
  DatasetApplier applier(d.files, std::move(*plan), options, d.services);
  while (applier.Step(d.loop.now().unix_ms)) {
  }
  keyspace.SetExpiryMode(mode);
  d.services.stats.dirty = d.dirty_at_last_save = 0;
  return applier.error();
}

bool Durability::loading() const { return impl_->loader != nullptr; }

std::string Durability::StartAppendOnly() {
  Impl& d = *impl_;
  if (!d.config().appendonly) return {};
  const auto format = d.BaseFormat();
  std::string base;
  if (d.aof->empty()) {
    SnapshotJob job(d.services.keyspace, d.BaseOptions(format), [&](std::string chunk) { base += chunk; });
    job.RunToEnd();
    if (auto status = job.status(); !status.ok()) return fmt::format("Cannot make an AOF base: {}", status.text());
  }
  if (auto status = d.aof->StartAppending(base, format); !status.ok())
    return fmt::format("Cannot open the append-only file for appending: {}", status.text());
  d.feed_attached = true;
  d.feed.Use(&*d.aof);
  d.stream.AddSink(*this);
  return {};
}

void Durability::OnStream(std::string_view bytes, int64_t) { impl_->feed.Add(bytes); }

void Durability::EndOfTurn() {
  Impl& d = *impl_;
  const int64_t now_ms = d.loop.now().mono_ms();
  LatencyMonitor* latency = d.services.latency != nullptr && d.services.latency->on() ? d.services.latency : nullptr;
  const int64_t start_us = latency != nullptr && d.feed.buffered() != 0 ? MonotonicUs() : 0;
  const bool written = d.feed.Write(now_ms);
  if (start_us != 0) {
    // As a whole, and by what else kept the disk busy.
    const int64_t duration_us = MonotonicUs() - start_us;
    latency->Offer("aof-write", duration_us);
    latency->Offer(d.feed.sync_in_flight()                         ? "aof-write-pending-fsync"
                   : d.save != nullptr || d.rewrite != nullptr ? "aof-write-active-child"
                                                               : "aof-write-alone",
                   duration_us);
  }
  if (written && d.config().appendfsync == config::AppendFsync::kAlways) d.feed.SyncIfDue(now_ms, false);
  d.feed.UpdateGateAtEndOfTurn();
  d.MarkStreamOffset(now_ms);
}

uint64_t Durability::LoggedUpTo() const { return impl_->feed.fed(); }

bool Durability::IsSynced(uint64_t logged) const {
  const Impl& d = *impl_;
  return d.feed_attached && d.aof->appending() && d.feed.gate.synced >= logged;
}

int64_t Durability::SyncedStreamOffset() const {
  const Impl& d = *impl_;
  if (!d.feed_attached || !d.aof->appending()) return -1;
  // What is not logged (PING, requests for acknowledgements) needs no disk.
  if (d.feed.gate.synced >= d.feed.fed()) return d.stream.offset();
  for (auto mark = d.stream_marks.rbegin(); mark != d.stream_marks.rend(); ++mark)
    if (mark->logged <= d.feed.gate.synced) return mark->stream_offset;
  return d.synced_stream_offset;
}

ReplyGate& Durability::gate() { return impl_->feed.gate; }
void Durability::OnSynced(std::function<void()> hook) { impl_->feed.on_synced = std::move(hook); }
void Durability::SyncPolicyChanged() { impl_->feed.PolicyChanged(); }

void Durability::Cron() {
  Impl& d = *impl_;
  const config::Config& config = d.config();
  d.WatchAof(d.loop.now().mono_ms());
  d.feed.SyncIfDue(d.loop.now().mono_ms(), d.save != nullptr || d.rewrite != nullptr);
  if (!d.services.replication.is_replica()) d.discarded = false;
  if (d.dataset_incomplete()) return;
  const int64_t now_s = d.now_s();
  if (d.save == nullptr) {
    const uint64_t changes = d.services.stats.dirty - d.dirty_at_last_save;
    const bool retry_now = now_s - d.last_save_try_s > kRetryAfterFailedSaveS;
    for (const config::SavePoint& point : config.save) {
      // After a failure without looking at changes: writes are refused, so there may never be any.
      if (d.figures.last_bgsave_ok ? changes < static_cast<uint64_t>(point.changes) ||
                                         now_s - d.figures.last_save_s <= point.seconds
                                   : !retry_now)
        continue;
      if (d.figures.last_bgsave_ok) {
        log::Notice("{} changes in {} seconds. Saving...", point.changes, point.seconds);
      } else {
        log::Notice("Trying again to save");
      }
      StartBackgroundSave();
      break;
    }
  }
  if (d.rewrite == nullptr && config.appendonly) {
    const bool needed = d.base_missing() || d.feed.sync_broken();
    const bool due = !needed && config.auto_aof_rewrite_percentage > 0 &&
                     d.aof->total_bytes() > static_cast<uint64_t>(config.auto_aof_rewrite_min_size) &&
                     (d.aof->total_bytes() - d.aof->base_bytes()) * 100 >=
                         std::max<uint64_t>(d.aof->base_bytes(), 1) *
                             static_cast<uint64_t>(config.auto_aof_rewrite_percentage);
    const bool retry = now_s - d.rewrite_started_s > d.RewriteRetryS(needed);
    if ((due || needed) && (d.figures.aof_last_bgrewrite_ok || retry)) {
      if (due) log::Notice("Starting automatic rewriting of AOF on {} bytes", d.aof->total_bytes());
      StartRewrite();
    }
  }
}

size_t Durability::aof_buffer_bytes() const { return impl_->feed.buffered(); }

std::string Durability::WriteRefusal() const {
  const Impl& d = *impl_;
  if (d.config().stop_writes_on_bgsave_error && !d.figures.last_bgsave_ok && !d.config().save.empty())
    return "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that "
           "may modify the data set are disabled, because this instance is configured to report errors during writes if RDB "
           "snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB "
           "error.";
  if (!d.feed.last_write_ok()) return "MISCONF Errors writing to the AOF file: " + d.feed.last_reason();
  return {};
}

std::string Durability::Save() {
  Impl& d = *impl_;
  if (d.save != nullptr) return "ERR Background save already in progress";
  if (d.dataset_incomplete()) return "ERR The dataset is not complete yet";
  const std::string temporary = fmt::format("temp-{}.rdb", getpid());
  auto file = persistence::AtomicFile::Create(d.files, d.config().dbfilename, temporary);
  persistence::Status status = file.ok() ? persistence::Status() : file.status();
  if (status.ok()) {
    SnapshotJob job(d.services.keyspace, d.RdbOptions(false), [&](std::string chunk) {
      if (status.ok()) status = file->Append(chunk);
    });
    job.RunToEnd();
    if (status.ok()) status = job.status();
    if (status.ok()) status = file->Commit();
  }
  if (!status.ok()) {
    log::Warning("Saving to {} failed: {}. The old file is untouched.", d.config().dbfilename, status.text());
    return "ERR " + status.text();
  }
  d.figures.last_bgsave_ok = true;
  d.figures.last_save_s = d.now_s();
  d.dirty_at_last_save = d.services.stats.dirty;
  ++d.figures.saves;
  log::Notice("DB saved on disk");
  return {};
}

Durability::Started Durability::StartBackgroundSave() {
  Impl& d = *impl_;
  if (d.save != nullptr) return Started::kAlreadyRunning;
  if (d.dataset_incomplete()) return Started::kFailed;
  d.last_save_try_s = d.save_started_s = d.now_s();
  d.dirty_at_save_start = d.services.stats.dirty;
  std::string error;
  // A name of its own: of a save that was given up the disk thread may still hold the file.
  d.save = BackgroundSave::ToReplacedFile(
      d.disk, d.files, d.config().dbfilename, fmt::format("temp-bg-{}.{}.rdb", getpid(), ++d.saves_started),
      d.services.keyspace, d.RdbOptions(false), [&d](const persistence::Status& status) { d.SaveEnded(status); }, &error);
  if (d.save == nullptr) {
    d.figures.last_bgsave_ok = false;
    log::Warning("Cannot start background saving: {}", error);
    return Started::kFailed;
  }
  log::Notice("Background saving started");
  return Started::kYes;
}

Durability::Started Durability::StartRewrite() {
  Impl& d = *impl_;
  if (d.rewrite != nullptr) return Started::kAlreadyRunning;
  if (d.dataset_incomplete()) return Started::kFailed;
  return d.StartRewrite() ? Started::kYes : Started::kFailed;
}

std::string Durability::SetAppendOnly(bool on) {
  Impl& d = *impl_;
  d.GiveUpRewrite();
  if (!on) {
    const bool was_on = d.feed_attached;
    if (std::string error = d.CloseAof(); !error.empty()) log::Warning("Closing the append-only file: {}", error);
    if (was_on) log::Notice("The append-only file is off; its files stay in {}", d.config().appenddirname);
    return {};
  }
  // The old files, if any, do not continue into what happens now: a rewrite makes a new base first. It waits for a
  // dataset that is just arriving.
  if (d.aof) d.CloseAof();
  if (d.dataset_incomplete() || StartRewrite() == Started::kYes) return {};
  return "Unable to turn on AOF. Check server logs.";
}

void Durability::DatasetDiscarded() {
  Impl& d = *impl_;
  d.discarded = true;
  d.save.reset();
  d.GiveUpRewrite();
  if (d.feed_attached) d.CloseAof();
}

void Durability::DatasetReplaced() {
  Impl& d = *impl_;
  d.discarded = false;
  if (d.base_missing()) d.StartRewrite();  // if it fails, Cron tries again
}

std::string Durability::FinishForShutdown(bool save_rdb) {
  Impl& d = *impl_;
  if (d.save != nullptr) log::Notice("A background save is under way and is given up");
  d.save.reset();
  if (d.rewrite != nullptr) {
    log::Notice("An AOF rewrite is under way and is given up");
    d.GiveUpRewrite();
  }
  d.disk.Drain();  // what was given up must not come into force after the last save
  const bool whole = d.feed_attached && d.aof->appending() && !d.feed.sync_broken();
  if (whole) {
    if (std::string error = d.feed.WriteAndSync(); !error.empty()) return error;
    log::Notice("The append-only file is written and synced");
  } else if (d.config().appendonly && !d.dataset_incomplete()) {
    log::Notice("The append-only file has no complete base yet: writing it before the exit");
    if (d.aof && !d.aof->appending()) d.CloseUnlessBroken();
    if (std::string error = d.RewriteNow(); !error.empty()) return error;
    if (std::string error = d.feed.WriteAndSync(); !error.empty()) return error;
  }
  if (!save_rdb) return {};
  if (!d.dataset_incomplete()) return Save();
  log::Notice("Nothing is saved: the dataset was not complete yet, and the files hold the one before");
  return {};
}

Durability::Figures Durability::figures() const {
  const Impl& d = *impl_;
  Figures f = d.figures;
  f.loading = loading();
  if (d.loader != nullptr) {
    f.loading_total_bytes = d.loader->total_bytes();
    f.loading_loaded_bytes = d.loader->loaded_bytes();
  }
  f.changes_since_last_save = d.services.stats.dirty - d.dirty_at_last_save;
  f.bgsave_in_progress = d.save != nullptr;
  if (d.save != nullptr) {
    f.current_bgsave_time_s = d.now_s() - d.save_started_s;
    f.snapshot_keys_processed = d.save->keys_done();
    f.snapshot_keys_total = d.save->keys_total();
  }
  f.aof_enabled = d.config().appendonly;
  f.aof_rewrite_in_progress = d.rewrite != nullptr;
  f.aof_rewrite_scheduled = d.base_missing() && !f.loading;
  if (d.rewrite != nullptr) {
    f.aof_current_rewrite_time_s = d.now_s() - d.rewrite_started_s;
    f.snapshot_keys_processed = d.rewrite->keys_done();
    f.snapshot_keys_total = d.rewrite->keys_total();
  }
  for (const auto& job : {d.save.get(), d.rewrite.get()}) {
    if (job == nullptr) continue;
    f.held_bytes += job->held_bytes();
    f.held_bytes_max += job->held_bytes_max();
  }
  f.aof_last_write_ok = d.feed.last_write_ok();
  if (d.aof) {
    f.aof_current_size = d.aof->total_bytes();
    f.aof_base_size = d.aof->base_bytes();
  }
  f.aof_buffer_length = d.feed.buffered();
  f.aof_pending_bio_fsync = d.feed.sync_in_flight() ? 1 : 0;
  f.aof_delayed_fsync = d.feed.delayed_syncs();
  return f;
}

}  // namespace tessera
