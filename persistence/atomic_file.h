// Replacing a file so that a crash leaves either the old or the new contents, whole: write a temporary file beside it,
// sync it, rename it over the old one, sync the directory. Used for nodes.conf, the AOF manifest and RDB files.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "persistence/file_system.h"

namespace tessera::persistence {

// For contents that fit in memory. The temporary file is `path` + ".tmp". When only the last step (syncing the
// directory) fails, the new contents are in place but may be gone after a power cut.
Status ReplaceFile(FileSystem& file_system, const std::string& path, std::string_view contents,
                   OpenMode mode = OpenMode::kCreate);

// For contents written in pieces (RDB). Without Commit the destructor removes the temporary file.
class AtomicFile {
 public:
  // `temporary_path` must be in the same directory as `path` and not be in use.
  static Result<AtomicFile> Create(FileSystem& file_system, const std::string& path, const std::string& temporary_path,
                                   OpenMode mode = OpenMode::kCreate);
  AtomicFile(AtomicFile&&) = default;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status Append(std::string_view bytes) { return file_->Append(bytes); }
  // For syncing on a helper thread before Commit, which then has little left to sync.
  const std::shared_ptr<File>& file() const { return file_; }
  Status Commit();
  // After Commit failed: whether `path` has the new contents nevertheless.
  bool replaced() const { return !file_; }

 private:
  AtomicFile(FileSystem& file_system, std::string path, std::string temporary_path, std::shared_ptr<File> file);

  FileSystem* file_system_;
  std::string path_;
  std::string temporary_path_;
  std::shared_ptr<File> file_;  // empty once committed, given up or moved away
};

}  // namespace tessera::persistence
