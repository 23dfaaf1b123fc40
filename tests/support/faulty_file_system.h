// A FileSystem that passes everything on to another one and fails where a test wants it to. Header only.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "persistence/file_system.h"

namespace tessera::persistence {

struct Faults {
  static constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

  uint64_t stop_at_operation = kNever;  // that change and all later ones fail; a write leaves half of its bytes
  uint64_t fail_operation = kNever;     // that change fails, a write after half of its bytes ...
  uint64_t fail_count = 1;              // ... and so many in all from there on
  int error = EIO;                      // with which they fail
  uint64_t bytes_left = kNever;         // then writes fail with ENOSPC
  uint64_t syncs_to_fail = 0;           // the next so many syncs of files
  size_t write_bytes_max = std::numeric_limits<size_t>::max();  // longer writes are short
};

// Counts the calls that change something (writing opens included), from 0. Change `faults` while no other thread works.
class FaultyFileSystem final : public FileSystem {
 public:
  explicit FaultyFileSystem(FileSystem& base) : base_(base) {}

  Faults faults;
  uint64_t operations() const { return operations_; }
  bool stopped() const { return operations_ > faults.stop_at_operation; }

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override {
    if (mode != OpenMode::kRead && Fails()) return Status::FromErrno(faults.error, "open", path);
    Result<std::unique_ptr<File>> file = base_.Open(path, mode);
    if (!file.ok()) return file.status();
    return std::unique_ptr<File>(std::make_unique<FaultyFile>(this, std::move(*file), path));
  }
  Status SyncDirectory(const std::string& directory) override {
    return Fails() ? Status::FromErrno(faults.error, "sync directory", directory) : base_.SyncDirectory(directory);
  }
  Status Rename(const std::string& from, const std::string& to) override {
    return Fails() ? Status::FromErrno(faults.error, "rename to", to) : base_.Rename(from, to);
  }
  Status Remove(const std::string& path) override {
    return Fails() ? Status::FromErrno(faults.error, "remove", path) : base_.Remove(path);
  }
  Result<std::vector<std::string>> List(const std::string& directory) override { return base_.List(directory); }
  Result<uint64_t> FileSize(const std::string& path) override { return base_.FileSize(path); }
  Status MakeDirectory(const std::string& directory) override {
    return Fails() ? Status::FromErrno(faults.error, "create directory", directory) : base_.MakeDirectory(directory);
  }
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override { return base_.Lock(path); }

 private:
  class FaultyFile final : public File {
   public:
    FaultyFile(FaultyFileSystem* owner, std::unique_ptr<File> base, std::string path)
        : owner_(owner), base_(std::move(base)), path_(std::move(path)) {}

    Result<size_t> ReadAt(uint64_t offset, std::span<char> out) override { return base_->ReadAt(offset, out); }
    Result<size_t> Write(std::string_view bytes) override {
      bool was_stopped = owner_->stopped();
      if (owner_->Fails()) {
        if (!was_stopped) static_cast<void>(base_->Append(bytes.substr(0, bytes.size() / 2)));
        return Status::FromErrno(owner_->faults.error, "write", path_);
      }
      Faults& faults = owner_->faults;
      if (faults.bytes_left == 0 && !bytes.empty()) return Status::FromErrno(ENOSPC, "write", path_);
      bytes = bytes.substr(0, std::min<uint64_t>(faults.write_bytes_max, faults.bytes_left));
      Result<size_t> count = base_->Write(bytes);
      if (count.ok() && faults.bytes_left != Faults::kNever) faults.bytes_left -= *count;
      return count;
    }
    Status Sync() override {
      if (owner_->Fails()) return Status::FromErrno(owner_->faults.error, "sync", path_);
      if (owner_->faults.syncs_to_fail > 0) {
        --owner_->faults.syncs_to_fail;
        return Status::FromErrno(owner_->faults.error, "sync", path_);
      }
      return base_->Sync();
    }
    Result<uint64_t> Size() override { return base_->Size(); }
    Result<bool> HasName() override { return base_->HasName(); }
    Status Truncate(uint64_t size) override {
      return owner_->Fails() ? Status::FromErrno(owner_->faults.error, "truncate", path_) : base_->Truncate(size);
    }

   private:
    FaultyFileSystem* owner_;
    std::unique_ptr<File> base_;
    std::string path_;
  };

  bool Fails() {
    uint64_t number = operations_++;
    return number >= faults.stop_at_operation ||
           (number >= faults.fail_operation && number - faults.fail_operation < faults.fail_count);
  }

  FileSystem& base_;
  std::atomic<uint64_t> operations_ = 0;
};

}  // namespace tessera::persistence
