// One snapshot on its way into a file: made in slices on the loop, written and synced on the disk thread.
// Destroying it early gives the file up: a replaced file stays as it was, unless the replacing had begun (DiskThread::Drain
// tells when it is certain).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "persistence/atomic_file.h"
#include "persistence/file_system.h"
#include "server/durability/snapshot_job.h"

namespace tessera {

class DiskThread;

class BackgroundSave {
 public:
  using Ended = std::function<void(const persistence::Status&)>;  // may destroy the save
  // Written beside `path` and renamed over it when complete. Null with `error` when it cannot be opened.
  static std::unique_ptr<BackgroundSave> ToReplacedFile(DiskThread& disk, persistence::FileSystem& files,
                                                        const std::string& path, const std::string& temporary,
                                                        store::Keyspace& keyspace, const SnapshotJob::Options& options,
                                                        Ended ended, std::string* error);
  // Written and synced; what becomes of the file is the caller's business.
  static std::unique_ptr<BackgroundSave> ToFile(DiskThread& disk, std::shared_ptr<persistence::File> file,
                                                store::Keyspace& keyspace, const SnapshotJob::Options& options,
                                                Ended ended);
  // A slice of work on the loop; true while more can be done at once.
  bool Step() { return job_->Step(); }
  uint64_t keys_done() const { return job_->keys_done(); }
  uint64_t field_expiries_left_out() const { return job_->field_expiries_left_out(); }
  size_t held_bytes() const { return job_->held_bytes(); }
  size_t held_bytes_max() const { return job_->held_bytes_max(); }
  uint64_t keys_total() const { return job_->keys_total(); }

 private:
  // What the disk thread touches; it may outlive the save.
  struct Target {
    std::shared_ptr<persistence::File> file;
    std::optional<persistence::AtomicFile> replacing;
    persistence::Status status;  // disk thread only, until the end or `failed`
    std::atomic<bool> failed = false, given_up = false;
  };
  BackgroundSave(DiskThread& disk, std::shared_ptr<Target> target, store::Keyspace& keyspace,
                 const SnapshotJob::Options& options, Ended ended);
  void Write(std::string chunk);

  DiskThread& disk_;
  std::shared_ptr<Target> target_;
  Ended ended_;
  std::shared_ptr<BackgroundSave*> self_;  // null inside once destroyed: late completions then do nothing
  std::unique_ptr<SnapshotJob> job_;

 public:
  ~BackgroundSave() {
    *self_ = nullptr;
    target_->given_up = true;
  }
};

}  // namespace tessera
