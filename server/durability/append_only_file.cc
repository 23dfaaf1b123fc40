#include "server/durability/append_only_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "persistence/aof_writer.h"
#include "server/clock.h"
#include "server/config/config.h"
#include "server/durability/rdb_options.h"
#include "server/latency_monitor.h"
#include "server/log.h"
#include "server/net/disk_thread.h"
#include "server/net/event_loop.h"
#include "server/replication/replication.h"

namespace tessera {
namespace {

constexpr int64_t kRetryAfterFailedRewriteS = 5;
constexpr int64_t kMarkEveryMs = 10;
constexpr int64_t kRemindMs = 10'000;
constexpr int64_t kLookMs = 1000;
// What a disk that refuses may leave in memory: a replica goes on applying what its primary sends.
constexpr size_t kUnwrittenBytesMax = 64 << 20;

}  // namespace

AppendOnlyFile::AppendOnlyFile(EventLoop& loop, DiskThread& disk, persistence::FileSystem& files, Services& services,
                               ReplicationStream& stream)
    : loop_(loop),
      disk_(disk),
      files_(files),
      services_(services),
      config_(services.config),
      stream_(stream),
      feed_(loop, services.config) {
  feed_.on_sync_took = [&services](int64_t duration_us) {
    if (services.latency != nullptr) services.latency->Offer("aof-fsync-always", duration_us);
  };
}

persistence::AofPaths AppendOnlyFile::PathsOf(const config::Config& config) {
  return {.data_directory = ".", .append_directory = config.appenddirname, .append_file_name = config.appendfilename};
}

int64_t AppendOnlyFile::now_s() const { return loop_.now().unix_s(); }

// ---- start

persistence::Status AppendOnlyFile::Open() {
  auto log = persistence::AofLog::Open(files_, PathsOf(config_));
  if (!log.ok()) return log.status();
  log_.emplace(std::move(*log));
  return {};
}

std::string AppendOnlyFile::Start() {
  const auto format = BaseFormat();
  std::string base;
  if (log_->empty()) {
    SnapshotJob job(services_.keyspace, BaseOptions(format), [&](std::string chunk) { base += chunk; });
    job.RunToEnd();
    if (auto status = job.status(); !status.ok()) return fmt::format("Cannot make an AOF base: {}", status.text());
  }
  if (auto status = log_->StartAppending(base, format); !status.ok())
    return fmt::format("Cannot open the append-only file for appending: {}", status.text());
  Attach();
  return {};
}

// ---- the turn

void AppendOnlyFile::OnStream(std::string_view bytes, int64_t) { feed_.Add(bytes); }

void AppendOnlyFile::EndOfTurn(bool saving) {
  const int64_t now_ms = loop_.now().mono_ms();
  LatencyMonitor* latency = services_.latency != nullptr && services_.latency->on() ? services_.latency : nullptr;
  const int64_t start_us = latency != nullptr && feed_.buffered() != 0 ? MonotonicUs() : 0;
  const bool written = feed_.Write(now_ms);
  if (start_us != 0) {
    // As a whole, and by what else kept the disk busy.
    const int64_t duration_us = MonotonicUs() - start_us;
    latency->Offer("aof-write", duration_us);
    latency->Offer(feed_.sync_in_flight()          ? "aof-write-pending-fsync"
                   : saving || rewrite_ != nullptr ? "aof-write-active-child"
                                                   : "aof-write-alone",
                   duration_us);
  }
  if (written && config_.appendfsync == config::AppendFsync::kAlways) feed_.SyncIfDue(now_ms, false);
  feed_.UpdateGateAtEndOfTurn();
  MarkStreamOffset(now_ms);
}

void AppendOnlyFile::WatchAndSync(bool saving) {
  const int64_t now_ms = loop_.now().mono_ms();
  Watch(now_ms);
  feed_.SyncIfDue(now_ms, saving || rewrite_ != nullptr);
}

// Looks after a log in trouble, now and then.
void AppendOnlyFile::Watch(int64_t now_ms) {
  if (!attached_ || rewrite_ != nullptr || !log_->appending()) return;
  if (now_ms - looked_ms_ >= kLookMs) {
    looked_ms_ = now_ms;
    log_->Seal();
    if (auto status = log_->StillThere(); !status.ok()) {
      log::Warning("{}: it was removed under the server. Writes are refused until a new append-only file is complete.",
                   status.text());
      return Abandon(status);
    }
  }
  if (feed_.last_write_ok()) return;
  if (feed_.sync_broken()) return Abandon(feed_.failure());
  if (services_.replication.is_replica() && now_ms - reminded_ms_ > kRemindMs) {
    reminded_ms_ = now_ms;
    log::Warning("Replica is applying commands it was unable to write to disk: {}", feed_.last_error());
  }
  if (feed_.buffered() <= kUnwrittenBytesMax) return;
  log::Warning(
      "{} bytes wait for the append-only file: they are dropped from memory. The file stays as it is, and a new "
      "one with a complete base takes its place when the disk allows.",
      feed_.buffered());
  Abandon(feed_.failure());
}

void AppendOnlyFile::RewriteIfDue() {
  if (rewrite_ != nullptr || !config_.appendonly) return;
  const bool needed = base_missing() || feed_.sync_broken();
  const bool due =
      !needed && config_.auto_aof_rewrite_percentage > 0 &&
      log_->total_bytes() > static_cast<uint64_t>(config_.auto_aof_rewrite_min_size) &&
      (log_->total_bytes() - log_->base_bytes()) * 100 >=
          std::max<uint64_t>(log_->base_bytes(), 1) * static_cast<uint64_t>(config_.auto_aof_rewrite_percentage);
  const bool retry = now_s() - rewrite_started_s_ > RewriteRetryS(needed);
  if ((due || needed) && (figures_.aof_last_bgrewrite_ok || retry)) {
    if (due) log::Notice("Starting automatic rewriting of AOF on {} bytes", log_->total_bytes());
    StartRewrite();
  }
}

// Each rewrite that fails may leave an increment behind: one that is not urgent is tried again less and less often, as
// in Redis.
int64_t AppendOnlyFile::RewriteRetryS(bool urgent) const {
  constexpr uint64_t kQuickTries = 3;
  const uint64_t failures = figures_.aof_rewrites_failed_in_a_row;
  if (urgent || failures < kQuickTries) return kRetryAfterFailedRewriteS;
  return std::min<int64_t>(int64_t{60} << std::min<uint64_t>(failures - kQuickTries, 6), 3600);
}

std::string AppendOnlyFile::WriteRefusal() const {
  if (!feed_.last_write_ok()) return "MISCONF Errors writing to the AOF file: " + feed_.last_reason();
  return {};
}

// ---- what is on disk

bool AppendOnlyFile::IsSynced(uint64_t logged) const {
  return attached_ && log_->appending() && feed_.gate.synced >= logged;
}

int64_t AppendOnlyFile::SyncedStreamOffset() const {
  if (!attached_ || !log_->appending()) return -1;
  // What is not logged (PING, requests for acknowledgements) needs no disk.
  if (feed_.gate.synced >= feed_.fed()) return stream_.offset();
  for (auto mark = stream_marks_.rbegin(); mark != stream_marks_.rend(); ++mark)
    if (mark->logged <= feed_.gate.synced) return mark->stream_offset;
  return synced_stream_offset_;
}

void AppendOnlyFile::MarkStreamOffset(int64_t now_ms) {
  while (!stream_marks_.empty() && stream_marks_.front().logged <= feed_.gate.synced) {
    synced_stream_offset_ = stream_marks_.front().stream_offset;
    stream_marks_.pop_front();
  }
  if (!attached_ || feed_.gate.synced >= feed_.fed() || feed_.buffered() != 0) return;
  if (!stream_marks_.empty() && now_ms - stream_marks_.back().at_ms < kMarkEveryMs) return;
  stream_marks_.push_back({feed_.fed(), stream_.offset(), now_ms});
}

// ---- rewriting

bool AppendOnlyFile::StartRewrite() {
  auto file = BeginRewrite();
  if (!file.ok()) {
    log::Warning("Cannot start rewriting the append-only file: {}", file.status().text());
    RewriteNotBegun();
    if (!attached_) CloseUnlessBroken();
    return false;
  }
  rewrite_ = BackgroundSave::ToFile(disk_, *file, services_.keyspace, BaseOptions(rewrite_format_),
                                    [this](const persistence::Status& status) { RewriteEnded(status); });
  log::Notice("Background append only file rewriting started");
  return true;
}

// The part of a rewrite before its image: opens the next increment and switches the feed to it. Turns the feed on if
// it is off and should be on.
persistence::Result<std::shared_ptr<persistence::File>> AppendOnlyFile::BeginRewrite() {
  rewrite_started_s_ = now_s();
  if (!log_)
    if (auto status = Open(); !status.ok()) return status;
  if (attached_) {
    // What this turn has fed so far belongs to the old increment, everything from here on to the new one.
    if (!feed_.Write(loop_.now().mono_ms())) return persistence::Status::Invalid(feed_.last_error(), "the AOF");
    // Fails if it failed before, which is what the rewrite is to heal.
    static_cast<void>(feed_.SyncNow());
  }
  auto file = log_->StartRewrite();
  if (!file.ok()) return file;
  if (config_.appendonly) {
    const int db = stream_.selected_db();
    if (!attached_) Attach();
    if (services_.replication.is_replica()) stream_.set_selected_db(db);
    BeginIncrement();
  }
  rewritten_up_to_ = log_->SyncPoint();
  rewrite_format_ = BaseFormat();
  return file;
}

// Each increment selects its database afresh. A primary's stream does that by itself; as a replica we pass our
// primary's bytes on unchanged, so the log gets a SELECT of its own.
void AppendOnlyFile::BeginIncrement() {
  if (!services_.replication.is_replica()) return stream_.ForgetSelectedDb();
  const std::string db = std::to_string(std::max(0, stream_.selected_db()));
  const std::string_view select[] = {"SELECT", db};
  std::string frame;
  persistence::AppendCommand(select, &frame);
  feed_.Add(frame);
}

// Function libraries cannot be told as commands, because there is none yet that loads them.
persistence::AofBaseFormat AppendOnlyFile::BaseFormat() const {
  const bool rdb = config_.aof_use_rdb_preamble || !services_.keyspace.function_libraries().empty();
  return rdb ? persistence::AofBaseFormat::kRdb : persistence::AofBaseFormat::kCommands;
}

SnapshotJob::Options AppendOnlyFile::BaseOptions(persistence::AofBaseFormat format) const {
  SnapshotJob::Options options = RdbOptions(services_, stream_, now_s());
  options.info.aof_base = true;
  if (format == persistence::AofBaseFormat::kCommands) options.format = SnapshotJob::Format::kCommands;
  return options;
}

void AppendOnlyFile::RewriteNotBegun() {
  figures_.aof_last_bgrewrite_ok = false;
  ++figures_.aof_rewrites_failed_in_a_row;
}

void AppendOnlyFile::RewriteEnded(persistence::Status status) {
  if (rewrite_ != nullptr) figures_.aof_last_held_bytes = rewrite_->held_bytes_max();
  rewrite_.reset();
  if (status.ok()) {
    status = log_->FinishRewrite(rewrite_format_);
    if (status.ok()) feed_.MadeWhole(rewritten_up_to_);
  } else {
    log_->AbortRewrite();
  }
  figures_.aof_last_rewrite_time_s = now_s() - rewrite_started_s_;
  figures_.aof_last_bgrewrite_ok = status.ok();
  figures_.aof_rewrites_failed_in_a_row = status.ok() ? 0 : figures_.aof_rewrites_failed_in_a_row + 1;
  if (status.ok()) {
    ++figures_.aof_rewrites;
    log::Notice("Background AOF rewrite finished successfully: the base now has {} bytes", log_->base_bytes());
  } else {
    log::Warning("Background AOF rewrite failed: {}. {}", status.text(),
                 log_->appending() ? "The old files stay in force."
                                   : "The append-only file is not on yet; trying again in a few seconds.");
  }
  if (!config_.appendonly || !log_->appending()) {
    CloseUnlessBroken();
  } else if (status.ok()) {
    DeleteHistory();
  }
}

// A rewrite that blocks, for the end of the process.
std::string AppendOnlyFile::RewriteNow() {
  auto file = BeginRewrite();
  if (!file.ok()) {
    RewriteNotBegun();
    return file.status().text();
  }
  persistence::Status status;
  SnapshotJob job(services_.keyspace, BaseOptions(rewrite_format_), [&](std::string chunk) {
    if (status.ok()) status = (*file)->Append(chunk);
  });
  job.RunToEnd();
  RewriteEnded(job.status().ok() ? status : job.status());
  return figures_.aof_last_bgrewrite_ok ? std::string() : "the append-only file has no complete base";
}

void AppendOnlyFile::GiveUpRewrite() {
  if (rewrite_ == nullptr) return;
  rewrite_.reset();
  log_->AbortRewrite();
}

// Unlinking large files takes long.
void AppendOnlyFile::DeleteHistory() {
  disk_.Run(
      [paths = log_->HistoryPaths(), &files = files_] {
        for (const std::string& path : paths) static_cast<void>(files.Remove(path));
      },
      [this, generation = log_generation_] {
        if (generation == log_generation_ && rewrite_ == nullptr) log_->DeleteHistory();
      });
}

// ---- off and on

void AppendOnlyFile::Attach() {
  attached_ = true;
  feed_.Use(&*log_);
  stream_.AddSink(*this);
}

void AppendOnlyFile::Detached() {
  attached_ = false;
  stream_marks_.clear();
  synced_stream_offset_ = 0;
}

// Writes no longer go to the log; its files stay.
std::string AppendOnlyFile::Close() {
  stream_.RemoveSink(*this);
  std::string error;
  if (log_ && log_->appending()) error = feed_.WriteAndSync();
  Detached();  // first: what is not on disk now never will be, whoever waits for it
  feed_.Use(nullptr);
  if (!log_) return error;
  if (auto status = log_->StopAppending(); !status.ok() && error.empty()) error = status.text();
  log_.reset();
  ++log_generation_;
  return error;
}

// A log that the disk does not take any more: its files stay as they are, until RewriteIfDue has made a new base.
void AppendOnlyFile::Abandon(const persistence::Status& why) {
  stream_.RemoveSink(*this);
  feed_.Abandon(why);
  Detached();
  static_cast<void>(log_->StopAppending());
}

// For a log that did not get its base: replies that a broken one holds back must not leave for that.
void AppendOnlyFile::CloseUnlessBroken() {
  if (!config_.appendonly) return static_cast<void>(Close());
  if (feed_.abandoned()) return;
  feed_.sync_broken() ? Abandon(feed_.failure()) : static_cast<void>(Close());
}

void AppendOnlyFile::TurnOff() {
  GiveUpRewrite();
  const bool was_on = attached_;
  if (std::string error = Close(); !error.empty()) log::Warning("Closing the append-only file: {}", error);
  if (was_on) log::Notice("The append-only file is off; its files stay in {}", config_.appenddirname);
}

void AppendOnlyFile::LeaveOldLog() {
  GiveUpRewrite();
  if (log_) Close();
}

void AppendOnlyFile::DatasetDiscarded() {
  GiveUpRewrite();
  if (attached_) Close();
}

std::string AppendOnlyFile::FinishForShutdown(bool dataset_complete) {
  const bool whole = attached_ && log_->appending() && !feed_.sync_broken();
  if (whole) {
    if (std::string error = feed_.WriteAndSync(); !error.empty()) return error;
    log::Notice("The append-only file is written and synced");
  } else if (config_.appendonly && dataset_complete) {
    log::Notice("The append-only file has no complete base yet: writing it before the exit");
    if (log_ && !log_->appending()) CloseUnlessBroken();
    if (std::string error = RewriteNow(); !error.empty()) return error;
    if (std::string error = feed_.WriteAndSync(); !error.empty()) return error;
  }
  return {};
}

AppendOnlyFile::Figures AppendOnlyFile::figures() const {
  Figures f = figures_;
  f.aof_enabled = config_.appendonly;
  f.aof_rewrite_in_progress = rewrite_ != nullptr;
  f.aof_rewrite_scheduled = base_missing();
  if (rewrite_ != nullptr) f.aof_current_rewrite_time_s = now_s() - rewrite_started_s_;
  f.aof_last_write_ok = feed_.last_write_ok();
  if (log_) {
    f.aof_current_size = log_->total_bytes();
    f.aof_base_size = log_->base_bytes();
  }
  f.aof_buffer_length = feed_.buffered();
  f.aof_pending_bio_fsync = feed_.sync_in_flight() ? 1 : 0;
  f.aof_delayed_fsync = feed_.delayed_syncs();
  return f;
}

}  // namespace tessera
