// The append-only file as the server runs it: fed from the propagation stream while it is on, rewritten in the
// background beside what goes on being logged, replaced by a new one when the disk fails it. The files and the order
// in which they change are in persistence/aof_log.h; writing and syncing by policy in aof_feed.h.
// Loop thread; what blocks goes to the disk thread and to the feed's own. An error of the disk refuses writes
// (WriteRefusal) and may hold replies back (gate), until the same log takes the bytes or a new one is whole.
// A new base is a picture of the dataset: whoever starts one vouches that the dataset is complete.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "persistence/aof_log.h"
#include "persistence/file_system.h"
#include "server/durability/aof_feed.h"
#include "server/durability/background_save.h"
#include "server/net/reply_gate.h"
#include "server/replication/stream.h"
#include "server/services.h"

namespace tessera {

class DiskThread;
class EventLoop;

class AppendOnlyFile final : private StreamSink {
 public:
  AppendOnlyFile(EventLoop& loop, DiskThread& disk, persistence::FileSystem& files, Services& services,
                 ReplicationStream& stream);

  static persistence::AofPaths PathsOf(const config::Config& config);

  // ---- start: Open before the dataset is loaded, Start after it
  persistence::Status Open();
  // From here on the stream is logged; a log without any part gets its base first. Empty = done.
  std::string Start();

  // ---- the turn
  // `saving`: an RDB file is being written as well.
  void EndOfTurn(bool saving);
  void WatchAndSync(bool saving);  // every 100 ms
  // Automatically, or because the log has no complete base. Every 100 ms, while the dataset is complete.
  void RewriteIfDue();
  ReplyGate& gate() { return feed_.gate; }
  void OnSynced(std::function<void()> hook) { feed_.on_synced = std::move(hook); }
  void SyncPolicyChanged() { feed_.PolicyChanged(); }
  // Gathered and not written yet.
  size_t buffered() const { return feed_.buffered(); }
  // Why writes are refused now (MISCONF ...), or empty.
  std::string WriteRefusal() const;

  // ---- what is on disk: see Durability
  uint64_t LoggedUpTo() const { return feed_.fed(); }
  bool IsSynced(uint64_t logged) const;
  int64_t SyncedStreamOffset() const;

  // ---- rewriting
  // False = it could not begin, which is logged.
  bool StartRewrite();
  // A slice of work on the loop; true while more can be done at once.
  bool StepRewrite() { return rewrite_ != nullptr && rewrite_->Step(); }
  void GiveUpRewrite();
  const BackgroundSave* rewrite() const { return rewrite_.get(); }  // under way, or null
  // On by configuration, but no log continues a complete base, nor is one being written.
  bool base_missing() const { return config_.appendonly && !attached_ && rewrite_ == nullptr; }

  // ---- off and on
  // CONFIG SET appendonly no.
  void TurnOff();
  // CONFIG SET appendonly yes. The old files, if any, do not continue into what happens now: a rewrite makes a new base
  // first.
  void LeaveOldLog();
  // What is written ends here.
  void DatasetDiscarded();
  // No rewrite is under way any more. Empty = all is on disk.
  std::string FinishForShutdown(bool dataset_complete);

  struct Figures {  // the part of INFO persistence
    bool aof_enabled = false, aof_rewrite_in_progress = false, aof_rewrite_scheduled = false;
    int64_t aof_last_rewrite_time_s = -1, aof_current_rewrite_time_s = -1;
    bool aof_last_bgrewrite_ok = true, aof_last_write_ok = true;
    uint64_t aof_rewrites_failed_in_a_row = 0;
    uint64_t aof_rewrites = 0, aof_current_size = 0, aof_base_size = 0, aof_buffer_length = 0;
    uint64_t aof_pending_bio_fsync = 0, aof_delayed_fsync = 0;
    uint64_t aof_last_held_bytes = 0;  // what the last rewrite held in memory at most
  };
  Figures figures() const;

 private:
  // Which offset of the stream the log held when it was that long.
  struct StreamMark {
    uint64_t logged;
    int64_t stream_offset;
    int64_t at_ms;
  };

  void OnStream(std::string_view bytes, int64_t offset) override;
  void OnLocal(std::string_view bytes) override { OnStream(bytes, 0); }

  void Attach();
  void Detached();
  std::string Close();
  void CloseUnlessBroken();
  void Abandon(const persistence::Status& why);
  void Watch(int64_t now_ms);
  void MarkStreamOffset(int64_t now_ms);

  persistence::Result<std::shared_ptr<persistence::File>> BeginRewrite();
  void BeginIncrement();
  void RewriteNotBegun();
  void RewriteEnded(persistence::Status status);
  std::string RewriteNow();
  int64_t RewriteRetryS(bool urgent) const;
  void DeleteHistory();
  persistence::AofBaseFormat BaseFormat() const;
  SnapshotJob::Options BaseOptions(persistence::AofBaseFormat format) const;
  int64_t now_s() const;

  EventLoop& loop_;
  DiskThread& disk_;
  persistence::FileSystem& files_;
  Services& services_;
  const config::Config& config_;
  ReplicationStream& stream_;

  AofFeed feed_;
  std::optional<persistence::AofLog> log_;
  uint64_t log_generation_ = 0;  // changes when log_ goes
  bool attached_ = false;        // the stream is logged

  std::unique_ptr<BackgroundSave> rewrite_;  // under way; the next three are of the last that began
  persistence::AofBaseFormat rewrite_format_ = persistence::AofBaseFormat::kRdb;
  persistence::AofSyncPoint rewritten_up_to_;
  int64_t rewrite_started_s_ = 0;

  std::deque<StreamMark> stream_marks_;  // those not synced yet, about one in kMarkEveryMs
  int64_t synced_stream_offset_ = 0;     // of the last mark that was passed
  int64_t reminded_ms_ = 0;              // when the log last said that a replica's disk refuses
  int64_t looked_ms_ = 0;                // after the file
  Figures figures_;                      // of the rewrites that have ended
};

}  // namespace tessera
