#include "persistence/atomic_file.h"

namespace tessera::persistence {

Status ReplaceFile(FileSystem& file_system, const std::string& path, std::string_view contents,
                   OpenMode mode) {
  Result<AtomicFile> file = AtomicFile::Create(file_system, path, path + ".tmp", mode);
  if (!file.ok()) return file.status();
  if (Status status = file->Append(contents); !status.ok()) return status;
  return file->Commit();
}

Result<AtomicFile> AtomicFile::Create(FileSystem& file_system, const std::string& path,
                                      const std::string& temporary_path, OpenMode mode) {
  Result<std::unique_ptr<File>> file = file_system.Open(temporary_path, mode);
  if (!file.ok()) return file.status();
  return AtomicFile(file_system, path, temporary_path, std::move(*file));
}

AtomicFile::AtomicFile(FileSystem& file_system, std::string path, std::string temporary_path,
                       std::shared_ptr<File> file)
    : file_system_(&file_system),
      path_(std::move(path)),
      temporary_path_(std::move(temporary_path)),
      file_(std::move(file)) {}

AtomicFile::~AtomicFile() {
  if (!file_) return;
  file_.reset();
  // A leftover does no harm: the next attempt empties it.
  static_cast<void>(file_system_->Remove(temporary_path_));
}

Status AtomicFile::Commit() {
  if (Status status = file_->Sync(); !status.ok()) return status;
  if (Status status = file_system_->Rename(temporary_path_, path_); !status.ok()) return status;
  file_.reset();
  return file_system_->SyncDirectory(DirectoryOf(path_));
}

}  // namespace tessera::persistence
