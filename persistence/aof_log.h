// The append-only log: the files of the directory `appenddirname` and the order in which they change, so that a crash
// at any point leaves a manifest whose files hold everything that was synced.
//
// Life at start:   Open (reads the manifest, takes over a single-file AOF of Redis < 7)
//                  -> the server loads what recovery.h lists -> StartAppending -> Append / Sync.
// A rewrite:       StartRewrite (opens the next increment; later appends go there) -> the server writes a snapshot
// taken
//                  at that moment into the returned file -> FinishRewrite puts it in force and DeleteHistory removes
//                  what it replaced; or AbortRewrite, after which the old base and all increments stay in force.
//
// Every file is loaded starting in database 0: after StartAppending and after StartRewrite the next bytes appended must
// begin with SELECT.
//
// Threads: everything belongs to the loop thread, except that a helper thread may sync:
//   AofSyncPoint point = log.SyncPoint();      // loop thread
//   Status status = point.file->Sync();        // helper thread, while the loop goes on appending
//   if (status.ok()) log.MarkSynced(point);    // loop thread
// Offsets count the bytes appended since Open, over all files; a reply that must be durable waits until
// synced_offset() reaches the appended_offset() it saw. After a failed sync earlier bytes may be lost although a later
// sync succeeds: stop, or rewrite.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "persistence/aof_manifest.h"
#include "persistence/aof_sum.h"
#include "persistence/file_system.h"

namespace tessera::persistence {

struct AofPaths {
  std::string data_directory = ".";                 // dir
  std::string append_directory = "appendonlydir";   // appenddirname
  std::string append_file_name = "appendonly.aof";  // appendfilename

  std::string Directory() const;                  // of the parts
  std::string Part(std::string_view name) const;  // a file in it
  std::string Manifest() const;
  std::string SingleFile() const;  // where Redis < 7 kept its AOF
};

// Reads the manifest; an empty one when there is none. A base that a crash kept from being moved into the directory
// during the take-over of a single-file AOF is reported by `single_file_pending`.
Result<AofManifest> ReadAofManifest(FileSystem& file_system, const AofPaths& paths, bool* single_file_pending);

struct AofSyncPoint {
  std::shared_ptr<File> file;
  uint64_t offset = 0;
};

class AofLog {
 public:
  // Reads the directory; a missing one is not an error. Writes only to take over a single-file AOF and to clean up what
  // a crash left. `file_system` must outlive the log.
  static Result<AofLog> Open(FileSystem& file_system, AofPaths paths);

  const AofManifest& manifest() const { return manifest_; }
  bool empty() const { return manifest_.empty(); }     // nothing to load
  uint64_t base_bytes() const { return base_bytes_; }  // auto-aof-rewrite-percentage compares total_bytes with this
  uint64_t total_bytes() const;                        // base and increments

  // Opens the last increment for appending. A log without any part gets its first base, `base`, which must be an image
  // or the commands of the data set as it is now (also when that is empty); otherwise `base` is ignored.
  Status StartAppending(std::string_view base, AofBaseFormat format);
  bool appending() const { return file_ != nullptr; }
  // Stops appending (CONFIG SET appendonly no, full resync): syncs and closes; the files stay. Aborts a rewrite.
  Status StopAppending();

  // All or nothing: after a failure the file is cut back to where it was, now or, if that fails too, before the next
  // append. The same bytes may be tried again.
  Status Append(std::string_view bytes);
  Status Sync();  // on this thread
  // Covers what was appended by a checksum line (aof_sum.h); done by itself every few kilobytes and before a Sync here.
  void Seal();
  // Fails when somebody removed the file that is appended to: what goes there would never be found again.
  Status StillThere();
  AofSyncPoint SyncPoint() const { return {file_, appended_offset_}; }
  void MarkSynced(const AofSyncPoint& point);
  uint64_t appended_offset() const { return appended_offset_; }
  uint64_t synced_offset() const { return synced_offset_; }

  // Syncs what is appended (little, if the helper did so just before), then switches to a new increment. The returned
  // file takes the new base. Also the way to turn the log on while running (appending() false): then appends go to a
  // new increment, but the manifest names neither it nor the base before FinishRewrite, because the old files do not
  // continue into it; until then nothing of it survives a crash.
  Result<std::shared_ptr<File>> StartRewrite();
  bool rewriting() const { return rewrite_file_ != nullptr; }
  // Syncs the base file (do it on a helper thread before) and puts it in force. On failure the rewrite is aborted.
  Status FinishRewrite(AofBaseFormat format);
  void AbortRewrite();

  // Files replaced by a rewrite. Removing large ones takes long: remove HistoryPaths() on a helper thread and call
  // DeleteHistory, which does the rest, afterwards. What cannot be deleted is tried again by the next call.
  std::vector<std::string> HistoryPaths() const;
  void DeleteHistory();

 private:
  // Whether the manifest on disk is the new one. kUnsure: it is now, but perhaps not after a power cut.
  enum class Stored { kYes, kNo, kUnsure };

  AofLog(FileSystem& file_system, AofPaths paths) : file_system_(&file_system), paths_(std::move(paths)) {}

  Status TakeOverSingleFile();
  Status CheckNoStrayIncrement();
  void DeleteLeftovers();
  Status MeasureParts();
  Status MakeDirectory();
  Stored StoreManifest(const AofManifest& manifest, Status* status);
  Result<AofPart> NewBase(AofBaseFormat format);
  Result<AofPart> NewIncrement();
  Status RepairTail();
  Status AppendSum();
  void Take(std::unique_ptr<File> file, uint64_t bytes);
  std::string RewritePath() const;
  std::string DetachedIncrementPath() const;

  FileSystem* file_system_;
  AofPaths paths_;
  AofManifest manifest_;
  std::shared_ptr<File> file_;  // the last increment; set while appending
  uint64_t file_bytes_ = 0;     // its good size
  bool tail_broken_ = false;    // bytes of a failed append may follow
  AofSum sum_;                  // of file_
  bool sum_begun_ = false;      // otherwise a line must say first that nothing is known of what stands before
  uint64_t earlier_bytes_ = 0;  // of the other increments
  uint64_t base_bytes_ = 0;
  uint64_t appended_offset_ = 0;
  uint64_t synced_offset_ = 0;
  std::shared_ptr<File> rewrite_file_;
  bool detached_ = false;  // rewriting, and the increment is not in the manifest yet
};

}  // namespace tessera::persistence
