// RDB and AOF as the server drives them: loading at start, save points, BGSAVE and AOF rewriting without fork, the AOF
// fed from the propagation stream and synced by policy. File formats and the order of file changes are in persistence/.
// Loop thread, with a DiskThread for what blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "persistence/file_system.h"
#include "server/net/reply_gate.h"
#include "server/replication/stream.h"
#include "server/services.h"

namespace tessera {

class DiskThread;
class EventLoop;

// A command flag beside those of commands/command.h: refused like a write while the disk fails. PING has it, so that health
// checks see the failure.
inline constexpr uint64_t kNeedsDisk = 1ull << 60;

class Durability : public StreamSink {
 public:
  Durability(EventLoop& loop, DiskThread& disk, persistence::FileSystem& files, Services& services,
             ReplicationStream& stream);
  ~Durability() override;

  // ---- start
  // Loads what the directory holds, in slices while the loop answers LOADING; logs progress. Empty = done, otherwise
  // the reason why the start must stop (file, offset, what to do).
  std::string LoadAtStart();
  bool loading() const;
  // DEBUG RELOAD and LOADAOF: the dataset makes room for what a file holds, or is overlaid with it. Blocks. Empty = done.
  enum class Source : uint8_t { kRdb, kAof };
  enum class Room : uint8_t { kFlush, kOverlay };
  std::string Reload(Source source, Room room);
  // Opens the AOF for appending (creating base and manifest when new). Empty = done.
  std::string StartAppendOnly();

  // ---- the turn
  // End of turn, before replies are flushed: writes the AOF buffer to the file and asks for a sync as appendfsync says.
  void EndOfTurn();
  ReplyGate& gate();
  // For WAITAOF. Log offset of everything that is logged up to now; whether the log is on disk up to there, base included.
  uint64_t LoggedUpTo() const;
  bool IsSynced(uint64_t logged) const;
  // Up to which offset of the stream the log is known to be on disk; -1 without a complete AOF.
  int64_t SyncedStreamOffset() const;
  // Called when gate().synced moved.
  void OnSynced(std::function<void()> hook);
  void OnStream(std::string_view bytes, int64_t offset) override;
  void OnLocal(std::string_view bytes) override { OnStream(bytes, 0); }
  void Cron();             // every 100 ms: save points, everysec, automatic rewriting
  // Gathered for the AOF and not written yet.
  size_t aof_buffer_bytes() const;
  // Why writes are refused now (MISCONF ...), or empty.
  std::string WriteRefusal() const;

  // ---- RDB
  // SAVE: blocks. Empty = done, else "ERR".
  std::string Save();
  // BGSAVE and BGREWRITEAOF; they may run at the same time.
  enum class Started : uint8_t { kYes, kAlreadyRunning, kFailed };
  Started StartBackgroundSave();
  Started StartRewrite();
  // CONFIG SET appendonly.
  std::string SetAppendOnly(bool on);
  void SyncPolicyChanged();  // CONFIG SET appendfsync
  // SHUTDOWN: stops background work, saves if asked, flushes and syncs the AOF. Empty = all is on disk.
  std::string FinishForShutdown(bool save_rdb);

  // A full sync empties the dataset: what is written ends here, and the files keep what was, until ...
  void DatasetDiscarded();
  // ... the primary's dataset is complete in its place (the AOF starts over from a new base), or we become a primary.
  void DatasetReplaced();

  struct Figures {  // INFO persistence
    bool loading = false, async_loading = false;
    int64_t loading_start_s = 0;
    uint64_t loading_total_bytes = 0, loading_loaded_bytes = 0;
    uint64_t changes_since_last_save = 0;
    bool bgsave_in_progress = false;
    int64_t last_save_s = 0;
    bool last_bgsave_ok = true;
    int64_t last_bgsave_time_s = -1, current_bgsave_time_s = -1;
    uint64_t saves = 0;
    uint64_t last_load_keys_expired = 0, last_load_keys_loaded = 0;
    bool aof_enabled = false, aof_rewrite_in_progress = false, aof_rewrite_scheduled = false;
    int64_t aof_last_rewrite_time_s = -1, aof_current_rewrite_time_s = -1;
    bool aof_last_bgrewrite_ok = true, aof_last_write_ok = true;
    uint64_t aof_rewrites_failed_in_a_row = 0;
    uint64_t aof_rewrites = 0, aof_current_size = 0, aof_base_size = 0, aof_buffer_length = 0;
    bool aof_pending_rewrite = false;
    uint64_t aof_pending_bio_fsync = 0, aof_delayed_fsync = 0;
    // What snapshots hold in memory: of the running ones, at most until now; of the last ones at most.
    uint64_t held_bytes = 0, held_bytes_max = 0, rdb_last_held_bytes = 0, aof_last_held_bytes = 0;
    uint64_t snapshot_keys_processed = 0, snapshot_keys_total = 0;  // of the running snapshot
  };
  Figures figures() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera
