// The disk seam: everything the server asks of a file system, so that tests can hand in one that lives in memory,
// forgets unsynced bytes or runs full. Paths are passed on as they are; relative ones mean the process's directory.
// All calls block. FileSystem may be used from any thread; see File for what may run concurrently on one file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/result.h"

namespace tessera::persistence {

enum class OpenMode {
  kRead,          // must exist
  kCreate,        // created, or emptied when it exists; writable
  kCreateSecret,  // the same, for the eyes of its owner only
  kAppend,        // created when missing; writes go to the end
};

// An open file, closed by its destructor.
// Threads: one thread at a time may call Write/Append/Truncate; Sync and ReadAt may run on another thread meanwhile.
// Sync then covers every byte whose Write returned before Sync was called.
class File {
 public:
  virtual ~File() = default;

  // Fewer bytes than asked for only at the end of the file.
  virtual Result<size_t> ReadAt(uint64_t offset, std::span<char> out) = 0;
  // Writes at the end; may take only a part (at least one byte). Callers normally want Append.
  virtual Result<size_t> Write(std::string_view bytes) = 0;
  // Contents and size are durable after success (fdatasync). After a failure, no assumption about earlier unsynced
  // bytes holds any more: the kernel may have dropped them.
  virtual Status Sync() = 0;
  virtual Result<uint64_t> Size() = 0;
  virtual Status Truncate(uint64_t size) = 0;
  // False once it was removed from its directory.
  virtual Result<bool> HasName() = 0;

  // Writes all bytes or fails; after a failure a prefix of them may be in the file.
  Status Append(std::string_view bytes);
};

// Held for as long as the object lives.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) = 0;
  // Creations, renames and removals in `directory` are durable only after this.
  virtual Status SyncDirectory(const std::string& directory) = 0;
  virtual Status Rename(const std::string& from, const std::string& to) = 0;  // replaces `to`
  virtual Status Remove(const std::string& path) = 0;                         // code ENOENT when missing
  // Names without their directory, sorted, without "." and "..".
  virtual Result<std::vector<std::string>> List(const std::string& directory) = 0;
  virtual Result<uint64_t> FileSize(const std::string& path) = 0;  // code ENOENT when missing
  virtual Status MakeDirectory(const std::string& directory) = 0;  // success when it exists
  // Advisory exclusive lock on a file, created when missing. Code EWOULDBLOCK when another process (or another
  // FileLock of this one) holds it.
  virtual Result<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;

  Result<bool> Exists(const std::string& path);
};

// Reads a whole small file (configuration, manifest, nodes.conf). Fails with EFBIG beyond `bytes_max`.
Result<std::string> ReadFile(FileSystem& file_system, const std::string& path, uint64_t bytes_max = 64u << 20);

// "dir/name"; name alone when dir is empty or ".".
std::string JoinPath(std::string_view directory, std::string_view name);
// "a/b" of "a/b/c"; "." when there is no slash.
std::string DirectoryOf(std::string_view path);

}  // namespace tessera::persistence
