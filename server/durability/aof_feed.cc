#include "server/durability/aof_feed.h"

#include <utility>

#include "server/clock.h"
#include "server/log.h"
#include "server/net/event_loop.h"

namespace tessera {
namespace {

constexpr int64_t kRetryMs = 1000;
constexpr int64_t kEverySecondMs = 1000;
constexpr int64_t kSlowSyncMs = 2000;
constexpr size_t kBufferKept = 1 << 20;

}  // namespace

void AofFeed::Use(persistence::AofLog* log) {
  ++generation_;
  log_ = log;
  const bool broken = abandoned_ && log != nullptr;
  syncing_ = abandoned_ = false;
  buffer_.clear();
  if (log != nullptr) gate_base_ = gate.appended - log->appended_offset();
  if (broken) {
    sync_broken_ = true;
    broken_up_to_ = log->appended_offset();
  } else {
    sync_broken_ = false;
    // Marks that connections hold refer to the log before: they count as reached.
    gate.synced = gate.appended;
    gate.disk_failing = failed_before_this_turn_ = false;
    failure_ = {};
  }
  UpdateGate();
  if (on_synced) on_synced();
}

void AofFeed::Abandon(const persistence::Status& why) {
  failure_ = why;
  ++generation_;
  if (log_ != nullptr) gate.appended = gate_base_ + log_->appended_offset() + buffer_.size();
  log_ = nullptr;
  syncing_ = sync_broken_ = false;
  abandoned_ = true;
  buffer_ = {};
}

void AofFeed::UpdateGate() {
  gate.active = (log_ != nullptr || abandoned_) && config_.appendfsync == config::AppendFsync::kAlways;
  if (log_ != nullptr) gate.appended = gate_base_ + log_->appended_offset() + buffer_.size();
  if (log_ != nullptr && !sync_broken_) gate.synced = gate_base_ + log_->synced_offset();
  if (!gate.active && on_synced) on_synced();
}

void AofFeed::PublishSynced() {
  if (log_ == nullptr || sync_broken_ || gate.synced == gate_base_ + log_->synced_offset()) return;
  gate.synced = gate_base_ + log_->synced_offset();
  if (on_synced) on_synced();
}

void AofFeed::UpdateGateAtEndOfTurn() {
  // Replies of the turn in which the disk began to refuse wait: their writes are not on disk.
  const bool failing = failed_before_this_turn_ && !last_write_ok();
  failed_before_this_turn_ = !last_write_ok();
  if (failing == std::exchange(gate.disk_failing, failing)) return;
  if (on_synced) on_synced();  // those who only read need not wait any longer
}

bool AofFeed::Write(int64_t now_ms) {
  if (log_ == nullptr) return true;
  if (buffer_.empty()) return true;
  gate.appended = gate_base_ + log_->appended_offset() + buffer_.size();
  if (!last_write_ok() && now_ms - last_try_ms_ < kRetryMs) return false;
  last_try_ms_ = now_ms;
  const persistence::Status status = log_->Append(buffer_);
  if (!status.ok()) {
    if (last_write_ok())
      log::Warning("Cannot write to the append-only file: {}. Writes are refused until the disk takes them; retrying every "
                   "second.",
                   status.text());
    failure_ = status;
    return false;
  }
  if (!sync_broken_) {
    if (!last_write_ok()) log::Notice("The append-only file can be written again; writes are accepted");
    failure_ = {};
  }
  if (buffer_.capacity() > kBufferKept) {
    buffer_ = {};
  } else {
    buffer_.clear();
  }
  return true;
}

void AofFeed::SyncIfDue(int64_t now_ms, bool background_writing) {
  if (log_ == nullptr || sync_broken_ || config_.appendfsync == config::AppendFsync::kNo) return;
  if (log_->synced_offset() >= log_->appended_offset()) return PublishSynced();
  const bool always = config_.appendfsync == config::AppendFsync::kAlways;
  if (!always && config_.no_appendfsync_on_rewrite && background_writing) return;
  if (syncing_) {
    if (!delay_counted_ && now_ms - sync_started_ms_ > kSlowSyncMs) {
      delay_counted_ = true;
      ++delayed_syncs_;
      log::Notice("Syncing the append-only file takes too long (disk is busy?); writing goes on without waiting");
    }
    return;
  }
  if (always || now_ms - last_sync_ms_ >= kEverySecondMs) StartSync(now_ms);
}

void AofFeed::StartSync(int64_t now_ms) {
  syncing_ = true;
  delay_counted_ = false;
  sync_started_ms_ = last_sync_ms_ = now_ms;
  sync_started_us_ = MonotonicUs();
  auto point = log_->SyncPoint();
  auto status = in_flight_ = std::make_shared<persistence::Status>();
  sync_thread_.Run([point, status] { *status = point.file->Sync(); },
                   [this, point, status, generation = generation_] {
                     if (generation != generation_) return;
                     syncing_ = false;
                     if (on_sync_took && config_.appendfsync == config::AppendFsync::kAlways)
                       on_sync_took(MonotonicUs() - sync_started_us_);
                     if (!status->ok()) return SyncFailed(*status);
                     log_->MarkSynced(point);
                     PublishSynced();
                     if (config_.appendfsync == config::AppendFsync::kAlways) SyncIfDue(loop_.now().mono_ms(), false);
                   });
}

void AofFeed::SyncFailed(const persistence::Status& status) {
  broken_up_to_ = log_->appended_offset();
  if (sync_broken_) return;
  log::Warning("Cannot sync the append-only file: {}. Writes are refused until a rewrite has made the log whole again.",
               status.text());
  failure_ = status;
  sync_broken_ = true;
}

bool AofFeed::SyncNow() {
  // A failure is told only once, to whoever asks first: the helper's answer counts as well.
  sync_thread_.Drain();
  if (syncing_ && !in_flight_->ok()) SyncFailed(*in_flight_);
  if (sync_broken_) return false;
  if (const auto status = log_->Sync(); !status.ok()) {
    SyncFailed(status);
    return false;
  }
  PublishSynced();
  return true;
}

void AofFeed::MadeWhole(const persistence::AofSyncPoint& rewritten_up_to) {
  if (log_ == nullptr) return;
  // A sync that failed after the rewrite began concerns bytes that are not in the new base.
  if (sync_broken_ && broken_up_to_ > rewritten_up_to.offset) return;
  log_->MarkSynced(rewritten_up_to);
  if (sync_broken_) {
    sync_broken_ = false;
    failure_ = {};
    log::Notice("The append-only file is whole again; writes are accepted");
  }
  PublishSynced();
}

std::string AofFeed::WriteAndSync() {
  if (log_ == nullptr) return {};
  last_try_ms_ = 0;
  if (!Write(kRetryMs)) return last_error();
  return SyncNow() ? std::string() : last_error();
}

}  // namespace tessera
