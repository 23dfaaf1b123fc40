#include "server/durability/background_save.h"

#include <utility>

#include "server/net/disk_thread.h"

namespace tessera {

std::unique_ptr<BackgroundSave> BackgroundSave::ToReplacedFile(DiskThread& disk, persistence::FileSystem& files,
                                                               const std::string& path, const std::string& temporary,
                                                               store::Keyspace& keyspace,
                                                               const SnapshotJob::Options& options, Ended ended,
                                                               std::string* error) {
  auto file = persistence::AtomicFile::Create(files, path, temporary);
  if (!file.ok()) {
    *error = file.status().text();
    return nullptr;
  }
  auto target = std::make_shared<Target>();
  target->file = file->file();
  target->replacing.emplace(std::move(*file));
  return std::unique_ptr<BackgroundSave>(
      new BackgroundSave(disk, std::move(target), keyspace, options, std::move(ended)));
}

std::unique_ptr<BackgroundSave> BackgroundSave::ToFile(DiskThread& disk, std::shared_ptr<persistence::File> file,
                                                       store::Keyspace& keyspace, const SnapshotJob::Options& options,
                                                       Ended ended) {
  auto target = std::make_shared<Target>();
  target->file = std::move(file);
  return std::unique_ptr<BackgroundSave>(
      new BackgroundSave(disk, std::move(target), keyspace, options, std::move(ended)));
}

BackgroundSave::BackgroundSave(DiskThread& disk, std::shared_ptr<Target> target, store::Keyspace& keyspace,
                               const SnapshotJob::Options& options, Ended ended)
    : disk_(disk),
      target_(std::move(target)),
      ended_(std::move(ended)),
      self_(std::make_shared<BackgroundSave*>(this)),
      job_(std::make_unique<SnapshotJob>(keyspace, options, [this](std::string chunk) { Write(std::move(chunk)); })) {}

void BackgroundSave::Write(std::string chunk) {
  const size_t bytes = chunk.size();
  const bool last = job_->complete();
  const persistence::Status made = last ? job_->status() : persistence::Status();
  auto shared = std::make_shared<std::string>(std::move(chunk));
  disk_.Run(
      [target = target_, shared, last, made] {
        if (target->given_up || target->failed) return;
        target->status = made.ok() ? target->file->Append(*shared) : made;
        if (last && target->status.ok()) target->status = target->file->Sync();
        if (last && target->status.ok() && target->replacing) target->status = target->replacing->Commit();
        if (target->status.ok()) return;
        target->replacing.reset();
        target->failed = true;
      },
      [self = self_, target = target_, bytes, last] {
        if (*self == nullptr) return;
        BackgroundSave& save = **self;
        save.job_->Consumed(bytes);
        // A disk that refuses ends it at once: the rest would only cost time.
        if ((!last && !target->failed) || save.ended_ == nullptr) return;
        const auto ended = std::exchange(save.ended_, nullptr);
        const persistence::Status status = target->status;
        ended(status);
      });
}

}  // namespace tessera
