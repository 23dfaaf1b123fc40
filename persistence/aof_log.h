// The append-only log: the files of the directory `appenddirname` and the order in which they change, so that a crash
// at any point leaves a manifest whose files hold everything that was synced.
//
// Life at start:   Open (reads the manifest, takes over a single-file AOF of Redis < 7)
//                  -> the server loads what recovery.h lists -> StartAppending -> Append / Sync.
// A rewrite:       StartRewrite (opens the next increment; later appends go there) -> the server writes a snapshot
// taken
//                  at that moment into the returned file -> FinishRewrite installs it as base and deletes what it
//                  replaces, or AbortRewrite, after which the old base and all increments stay in force.
//
// Threads: everything belongs to the loop thread, except that a helper thread may sync:
//   AofSyncPoint point = log.SyncPoint();      // loop thread
//   Status status = point.file->Sync();        // helper thread, while the loop goes on appending
//   if (status.ok()) log.MarkSynced(point);    // loop thread
// Offsets count the bytes appended since StartAppending, over all files; a reply that must be durable waits until
// synced_offset() reaches the appended_offset() it saw.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "persistence/aof_manifest.h"
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

struct AofSyncPoint {
  std::shared_ptr<File> file;
  uint64_t offset = 0;
};

class AofLog {
 public:
  // Reads the directory's manifest; a missing one is not an error. Touches the disk only to take over a single-file AOF
  // and to delete history files. `file_system` must outlive the log.
  static Result<AofLog> Open(FileSystem& file_system, AofPaths paths);

  const AofManifest& manifest() const { return manifest_; }
  bool empty() const { return manifest_.empty(); }     // nothing to load
  uint64_t base_bytes() const { return base_bytes_; }  // auto-aof-rewrite-percentage compares with this
  uint64_t total_bytes() const;                        // base and increments

  // Opens the last increment for appending. A log without any part gets its first base, `base`, which must be an image
  // or the commands of the data set as it is now (also when that is empty).
  Status StartAppending(std::string_view base, AofBaseFormat format);
  bool appending() const { return file_ != nullptr; }
  // Stops appending (CONFIG SET appendonly no): syncs and closes; the files stay. Aborts a rewrite.
  Status StopAppending();

  // All or nothing: after a failure the file is cut back to where it was, now or, if that fails too, before the next
  // append. The same bytes may be tried again.
  Status Append(std::string_view bytes);
  Status Sync();  // on this thread
  AofSyncPoint SyncPoint() const { return {file_, appended_offset_}; }
  void MarkSynced(const AofSyncPoint& point);
  uint64_t appended_offset() const { return appended_offset_; }
  uint64_t synced_offset() const { return synced_offset_; }

  // Syncs what is appended (little, if the helper did so just before), then switches to a new increment. The returned
  // file takes the new base. Also the way to turn the log on while running (appending() false): then the appends go to
  // the new increment, but the manifest names neither it nor the base before FinishRewrite, because the old files do
  // not continue into it.
  Result<std::shared_ptr<File>> StartRewrite();
  bool rewriting() const { return rewrite_file_ != nullptr; }
  // Syncs the base file (do it on a helper thread before) and puts it in force. On failure the rewrite is aborted.
  Status FinishRewrite(AofBaseFormat format);
  void AbortRewrite();

 private:
  AofLog(FileSystem& file_system, AofPaths paths) : file_system_(&file_system), paths_(std::move(paths)) {}

  Status TakeOverSingleFile();
  Status StoreManifest(const AofManifest& manifest);
  void DeleteHistory();
  Status OpenIncrement(const std::string& path, OpenMode mode);
  Status RepairTail();
  std::string RewritePath() const;
  std::string DetachedIncrementPath() const;

  FileSystem* file_system_;
  AofPaths paths_;
  AofManifest manifest_;
  std::shared_ptr<File> file_;  // the last increment; set while appending
  uint64_t file_bytes_ = 0;     // its good size
  bool tail_broken_ = false;    // bytes of a failed append may follow
  uint64_t earlier_bytes_ = 0;  // of the increments before it
  uint64_t base_bytes_ = 0;
  uint64_t appended_offset_ = 0;
  uint64_t synced_offset_ = 0;
  std::shared_ptr<File> rewrite_file_;
  bool detached_ = false;       // rewriting without the increment being in the manifest
  size_t increments_kept_ = 0;  // increments the running rewrite does not replace: the newest so many
};

}  // namespace tessera::persistence
