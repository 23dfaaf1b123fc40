// What survives the process: loading at start, RDB files by save points, BGSAVE (without fork) and SAVE, and what these
// have in common with the append-only file (append_only_file.h): nothing is written from half a dataset, and a disk
// that fails refuses writes. File formats and the order of file changes are in persistence/.
// Loop thread, with a DiskThread for what blocks. Errors are texts for the log or the client; the files in force stay.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "persistence/file_system.h"
#include "persistence/recovery.h"
#include "server/durability/append_only_file.h"
#include "server/net/reply_gate.h"
#include "server/replication/stream.h"
#include "server/services.h"

namespace tessera {

class BackgroundSave;
class DatasetApplier;
class DiskThread;
class EventLoop;

// A command flag beside those of commands/command.h: refused like a write while the disk fails. PING has it, so that health
// checks see the failure.
inline constexpr uint64_t kNeedsDisk = 1ull << 60;

class Durability {
 public:
  Durability(EventLoop& loop, DiskThread& disk, persistence::FileSystem& files, Services& services,
             ReplicationStream& stream);
  ~Durability();

  // ---- start
  // Loads what the directory holds, in slices while the loop answers LOADING; logs progress. Empty = done, otherwise
  // the reason why the start must stop (file, offset, what to do).
  std::string LoadAtStart();
  bool loading() const { return loader_ != nullptr; }
  // DEBUG RELOAD and LOADAOF: the dataset makes room for what a file holds, or is overlaid with it. Blocks. Empty = done.
  enum class Source : uint8_t { kRdb, kAof };
  enum class Room : uint8_t { kFlush, kOverlay };
  std::string Reload(Source source, Room room);
  // Opens the AOF for appending (creating base and manifest when new). Empty = done.
  std::string StartAppendOnly();

  // ---- the turn
  // End of turn, before replies are flushed: writes the AOF buffer to the file and asks for a sync as appendfsync says.
  void EndOfTurn();
  ReplyGate& gate() { return aof_.gate(); }
  // For WAITAOF. Log offset of everything that is logged up to now; whether the log is on disk up to there, base included.
  uint64_t LoggedUpTo() const { return aof_.LoggedUpTo(); }
  bool IsSynced(uint64_t logged) const { return aof_.IsSynced(logged); }
  // Up to which offset of the stream the log is known to be on disk; -1 without a complete AOF.
  int64_t SyncedStreamOffset() const { return aof_.SyncedStreamOffset(); }
  // Called when gate().synced moved.
  void OnSynced(std::function<void()> hook) { aof_.OnSynced(std::move(hook)); }
  void Cron();  // every 100 ms: save points, everysec, automatic rewriting
  // Gathered for the AOF and not written yet.
  size_t aof_buffer_bytes() const { return aof_.buffered(); }
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
  void SyncPolicyChanged() { aof_.SyncPolicyChanged(); }  // CONFIG SET appendfsync
  // SHUTDOWN: stops background work, saves if asked, flushes and syncs the AOF. Empty = all is on disk.
  std::string FinishForShutdown(bool save_rdb);

  // A full sync empties the dataset: what is written ends here, and the files keep what was, until ...
  void DatasetDiscarded();
  // ... the primary's dataset is complete in its place (the AOF starts over from a new base), or we become a primary.
  void DatasetReplaced();

  struct Figures : AppendOnlyFile::Figures {  // INFO persistence
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
    // What snapshots hold in memory: the running ones, these at most until now, the last RDB file at most.
    uint64_t held_bytes = 0, held_bytes_max = 0, rdb_last_held_bytes = 0;
    uint64_t snapshot_keys_processed = 0, snapshot_keys_total = 0;  // of the running snapshot
  };
  Figures figures() const;

 private:
  // Half a dataset, from our files or our primary's image: nothing must be written from it.
  bool dataset_incomplete() const;
  persistence::RecoveryOptions RecoveryOptionsNow() const;
  bool Work();
  void SaveIfDue();
  void SaveEnded(const persistence::Status& status);
  int64_t now_s() const;

  EventLoop& loop_;
  DiskThread& disk_;
  persistence::FileSystem& files_;
  Services& services_;
  const config::Config& config_;
  ReplicationStream& stream_;

  AppendOnlyFile aof_;
  std::unique_ptr<DatasetApplier> loader_;
  bool load_busy_ = false;
  bool discarded_ = false;  // for a primary's dataset that has not taken its place yet

  std::unique_ptr<BackgroundSave> save_;  // BGSAVE under way
  uint64_t dirty_at_last_save_ = 0, dirty_at_save_start_ = 0;
  int64_t last_save_try_s_ = 0, save_started_s_ = 0;
  uint64_t saves_started_ = 0;
  Figures figures_;  // of what has ended
};

}  // namespace tessera
