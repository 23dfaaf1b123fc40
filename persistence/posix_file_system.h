// FileSystem on the operating system's files. Stateless; any number may exist.
#pragma once

#include "persistence/file_system.h"

namespace tessera::persistence {

class PosixFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override;
  Status SyncDirectory(const std::string& directory) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Result<std::vector<std::string>> List(const std::string& directory) override;
  Result<uint64_t> FileSize(const std::string& path) override;
  Status MakeDirectory(const std::string& directory) override;
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override;
};

}  // namespace tessera::persistence
