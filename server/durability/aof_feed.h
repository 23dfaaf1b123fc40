// The append-only file in use: gathers the stream's bytes of a turn, writes them before replies leave, has them synced
// by policy, and keeps what could not be written until the disk takes it again. Loop thread; syncing on its own thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "persistence/aof_log.h"
#include "server/config/config.h"
#include "server/net/disk_thread.h"
#include "server/net/reply_gate.h"

namespace tessera {

class AofFeed {
 public:
  AofFeed(EventLoop& loop, const config::Config& config) : loop_(loop), config_(config), sync_thread_(loop) {}

  // The log must outlive its use here; null = no AOF. The log of after Abandon counts as broken until MadeWhole.
  void Use(persistence::AofLog* log);
  // Gives up a log that the disk does not take any more, together with what could not be written. Writes are refused and
  // replies that wait go on waiting, until a log with a new base is whole.
  void Abandon(const persistence::Status& why);
  bool abandoned() const { return abandoned_; }
  void Add(std::string_view bytes) { buffer_.append(bytes); }
  // Writes what is gathered. False when the disk refuses; the bytes are kept and tried again.
  bool Write(int64_t now_ms);
  // After the turn's Write, before its replies are flushed.
  void UpdateGateAtEndOfTurn();
  void SyncIfDue(int64_t now_ms, bool background_writing);
  // Blocks until all is written and synced; error text or empty.
  std::string WriteAndSync();
  void PolicyChanged() { UpdateGate(); }
  // A sync failed: what it covered may be lost to the disk though later syncs succeed. Only a new base, complete on disk,
  // makes the log whole; the owner rewrites and then says so with the point at which the rewrite began.
  bool sync_broken() const { return sync_broken_; }
  // Blocks until all that is written is synced. False when that cannot be vouched for.
  bool SyncNow();
  void MadeWhole(const persistence::AofSyncPoint& rewritten_up_to);

  ReplyGate gate;
  std::function<void()> on_synced;
  // How long replies waited for a sync, with appendfsync always; may be empty.
  std::function<void(int64_t duration_us)> on_sync_took;

  bool last_write_ok() const { return failure_.ok(); }
  const persistence::Status& failure() const { return failure_; }
  const std::string& last_error() const { return failure_.text(); }
  std::string last_reason() const { return failure_.reason(); }
  size_t buffered() const { return buffer_.size(); }
  // Everything fed so far, counted as the gate counts.
  uint64_t fed() const { return log_ == nullptr ? gate.appended : gate_base_ + log_->appended_offset() + buffer_.size(); }
  bool sync_in_flight() const { return syncing_; }
  uint64_t delayed_syncs() const { return delayed_syncs_; }

 private:
  void StartSync(int64_t now_ms);
  void UpdateGate();
  void PublishSynced();
  void SyncFailed(const persistence::Status& status);

  EventLoop& loop_;
  const config::Config& config_;
  persistence::AofLog* log_ = nullptr;
  std::string buffer_;
  persistence::Status failure_;  // of the last write, or of a sync that left the log broken
  int64_t last_try_ms_ = 0, last_sync_ms_ = 0, sync_started_ms_ = 0, sync_started_us_ = 0;
  bool syncing_ = false, delay_counted_ = false, sync_broken_ = false, abandoned_ = false;
  bool failed_before_this_turn_ = false;
  uint64_t broken_up_to_ = 0;  // log offset that the failed sync should have covered
  uint64_t gate_base_ = 0;     // gate offset of the log's offset 0: the gate counts over all logs
  std::shared_ptr<persistence::Status> in_flight_;  // of the sync on its thread; set when it has run
  uint64_t generation_ = 0;  // of log_: a sync that ends after a switch concerns nobody
  uint64_t delayed_syncs_ = 0;
  DiskThread sync_thread_;
};

}  // namespace tessera
