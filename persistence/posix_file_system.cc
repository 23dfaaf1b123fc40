#include "persistence/posix_file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace tessera::persistence {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  int get() const { return number_; }

 private:
  int number_;
};

int OpenRetrying(const std::string& path, int flags) {
  int number;
  do {
    number = open(path.c_str(), flags | O_CLOEXEC, 0644);
  } while (number < 0 && errno == EINTR);
  return number;
}

class PosixFile final : public File {
 public:
  PosixFile(int number, std::string path) : descriptor_(number), path_(std::move(path)) {}

  Result<size_t> ReadAt(uint64_t offset, std::span<char> out) override {
    size_t done = 0;
    while (done < out.size()) {
      ssize_t count = pread(descriptor_.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Status::FromErrno(errno, "read", path_);
      if (count == 0) break;
      done += static_cast<size_t>(count);
    }
    return done;
  }

  Result<size_t> Write(std::string_view bytes) override {
    while (true) {
      ssize_t count = write(descriptor_.get(), bytes.data(), bytes.size());
      if (count > 0 || (count == 0 && bytes.empty())) return static_cast<size_t>(count);
      if (count == 0) return Status::FromErrno(ENOSPC, "write", path_);
      if (errno != EINTR) return Status::FromErrno(errno, "write", path_);
    }
  }

  Status Sync() override {
    while (fdatasync(descriptor_.get()) != 0) {
      if (errno == EINTR) continue;
      // A pipe or device has nothing to make durable. EROFS is no excuse: a file system says it once it has given up.
      if (errno == EINVAL) return {};
      return Status::FromErrno(errno, "sync", path_);
    }
    return {};
  }

  Result<uint64_t> Size() override {
    struct stat info;
    if (fstat(descriptor_.get(), &info) != 0) return Status::FromErrno(errno, "stat", path_);
    return static_cast<uint64_t>(info.st_size);
  }

  Result<bool> HasName() override {
    struct stat info;
    if (fstat(descriptor_.get(), &info) != 0) return Status::FromErrno(errno, "stat", path_);
    return info.st_nlink > 0;
  }

  Status Truncate(uint64_t size) override {
    while (ftruncate(descriptor_.get(), static_cast<off_t>(size)) != 0) {
      if (errno != EINTR) return Status::FromErrno(errno, "truncate", path_);
    }
    return {};
  }

 private:
  Descriptor descriptor_;
  std::string path_;
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(int number) : descriptor_(number) {}

 private:
  Descriptor descriptor_;  // closing it releases the lock
};

}  // namespace

Result<std::unique_ptr<File>> PosixFileSystem::Open(const std::string& path, OpenMode mode) {
  int flags = O_RDONLY;
  // O_APPEND also for new files: the position of a write is the end, whatever a truncation did.
  const bool secret = mode == OpenMode::kCreateSecret;
  if (mode == OpenMode::kCreate || secret) flags = O_RDWR | O_CREAT | O_TRUNC | O_APPEND;
  if (mode == OpenMode::kAppend) flags = O_RDWR | O_CREAT | O_APPEND;
  int number = OpenRetrying(path, flags);
  if (number < 0) return Status::FromErrno(errno, mode == OpenMode::kRead ? "open" : "open for writing", path);
  auto file = std::make_unique<PosixFile>(number, path);
  // Before anything is in it, also when it was there already. Some volumes know no modes; those who mount them know that.
  if (secret) (void)!fchmod(number, S_IRUSR | S_IWUSR);
  return std::unique_ptr<File>(std::move(file));
}

Status PosixFileSystem::SyncDirectory(const std::string& directory) {
  Descriptor descriptor(OpenRetrying(directory, O_RDONLY | O_DIRECTORY));
  if (descriptor.get() < 0) return Status::FromErrno(errno, "open directory", directory);
  // Some file systems cannot sync directories and say EINVAL; nothing better can be done there.
  while (fsync(descriptor.get()) != 0) {
    if (errno == EINVAL) return {};
    if (errno != EINTR) return Status::FromErrno(errno, "sync directory", directory);
  }
  return {};
}

Status PosixFileSystem::Rename(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return {};
  return Status::FromErrno(errno, "rename " + from + " to", to);
}

Status PosixFileSystem::Remove(const std::string& path) {
  if (unlink(path.c_str()) == 0) return {};
  return Status::FromErrno(errno, "remove", path);
}

Result<std::vector<std::string>> PosixFileSystem::List(const std::string& directory) {
  std::unique_ptr<DIR, int (*)(DIR*)> stream(opendir(directory.c_str()), closedir);
  if (!stream) return Status::FromErrno(errno, "list", directory);
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(stream.get());
    if (!entry) break;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  if (errno != 0) return Status::FromErrno(errno, "list", directory);
  std::sort(names.begin(), names.end());
  return names;
}

Result<uint64_t> PosixFileSystem::FileSize(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return Status::FromErrno(errno, "stat", path);
  return static_cast<uint64_t>(info.st_size);
}

Status PosixFileSystem::MakeDirectory(const std::string& directory) {
  if (mkdir(directory.c_str(), 0755) == 0) return {};
  int error_number = errno;
  struct stat info;
  if (error_number == EEXIST && stat(directory.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
  return Status::FromErrno(error_number, "create directory", directory);
}

Result<std::unique_ptr<FileLock>> PosixFileSystem::Lock(const std::string& path) {
  int number = OpenRetrying(path, O_RDWR | O_CREAT);
  if (number < 0) return Status::FromErrno(errno, "open", path);
  auto lock = std::make_unique<PosixLock>(number);
  while (flock(number, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EINTR) return Status::FromErrno(errno, "lock", path);
  }
  return std::unique_ptr<FileLock>(std::move(lock));
}

}  // namespace tessera::persistence
