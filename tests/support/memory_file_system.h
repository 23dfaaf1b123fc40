// A FileSystem in memory that knows what a power cut would leave: contents only as far as they were synced, directory
// entries only as far as their directory was. Header only. Usable from several threads.
//
// The model of a crash: changes of directories survive in the order in which they were made (as a journal keeps them),
// at least up to the last SyncDirectory that covers them; of a file's unsynced bytes any beginning survives.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "persistence/file_system.h"

namespace tessera::persistence {

enum class CrashKeeps {
  kOnlySynced,
  kEverything,  // the process died, not the machine
  kSomething,   // anything in between, chosen by the seed; unsynced ends may also turn into zeroes
};

class MemoryFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override {
    std::lock_guard guard(mutex_);
    auto found = files_.find(path);
    if (found != files_.end()) {
      if (mode == OpenMode::kCreate || mode == OpenMode::kCreateSecret) found->second->current.clear();
      return Handle(found->second, path);
    }
    if (mode == OpenMode::kRead || !directories_.contains(DirectoryOf(path))) {
      return Status::FromErrno(ENOENT, "open", path);
    }
    auto node = std::make_shared<Node>();
    Change({Kind::kLink, path, {}, node});
    return Handle(node, path);
  }

  Status SyncDirectory(const std::string& directory) override {
    std::lock_guard guard(mutex_);
    if (!directories_.contains(directory)) return Status::FromErrno(ENOENT, "sync directory", directory);
    size_t count = 0;
    for (size_t i = 0; i < pending_.size(); ++i) {
      const Operation& operation = pending_[i];
      if (DirectoryOf(operation.path) == directory || DirectoryOf(operation.to) == directory) count = i + 1;
    }
    MakeDurable(count);
    return {};
  }

  Status Rename(const std::string& from, const std::string& to) override {
    std::lock_guard guard(mutex_);
    if (!files_.contains(from) || !directories_.contains(DirectoryOf(to))) {
      return Status::FromErrno(ENOENT, "rename " + from + " to", to);
    }
    Change({Kind::kRename, from, to, nullptr});
    return {};
  }

  Status Remove(const std::string& path) override {
    std::lock_guard guard(mutex_);
    if (!files_.contains(path)) return Status::FromErrno(ENOENT, "remove", path);
    Change({Kind::kRemove, path, {}, nullptr});
    return {};
  }

  Result<std::vector<std::string>> List(const std::string& directory) override {
    std::lock_guard guard(mutex_);
    if (!directories_.contains(directory)) return Status::FromErrno(ENOENT, "list", directory);
    std::set<std::string> names;
    auto add = [&](const std::string& path) {
      if (path != directory && DirectoryOf(path) == directory) names.insert(path.substr(path.rfind('/') + 1));
    };
    for (const auto& [path, node] : files_) add(path);
    for (const std::string& path : directories_) {
      if (!path.empty() && path != "." && path != "/") add(path);
    }
    return std::vector<std::string>(names.begin(), names.end());
  }

  Result<uint64_t> FileSize(const std::string& path) override {
    std::lock_guard guard(mutex_);
    if (directories_.contains(path)) return uint64_t{0};
    auto found = files_.find(path);
    if (found == files_.end()) return Status::FromErrno(ENOENT, "stat", path);
    return uint64_t{found->second->current.size()};
  }

  Status MakeDirectory(const std::string& directory) override {
    std::lock_guard guard(mutex_);
    if (directories_.contains(directory)) return {};
    if (!directories_.contains(DirectoryOf(directory))) return Status::FromErrno(ENOENT, "create directory", directory);
    Change({Kind::kMakeDirectory, directory, {}, nullptr});
    return {};
  }

  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    std::lock_guard guard(mutex_);
    auto& holder = locks_[path];
    if (!holder.expired()) return Status::FromErrno(EWOULDBLOCK, "lock", path);
    auto lock = std::make_unique<LockHandle>();
    holder = lock->held;
    return std::unique_ptr<FileLock>(std::move(lock));
  }

  // The machine or process stops and starts again. Files opened before fail from now on.
  void Crash(CrashKeeps keeps, uint64_t seed = 0) {
    std::lock_guard guard(mutex_);
    std::mt19937_64 random(seed);
    ++generation_;
    locks_.clear();
    size_t survivors = keeps == CrashKeeps::kOnlySynced   ? 0
                       : keeps == CrashKeeps::kEverything ? pending_.size()
                                                          : random() % (pending_.size() + 1);
    MakeDurable(survivors);
    pending_.clear();
    files_ = durable_files_;
    directories_ = durable_directories_;
    for (auto& [path, node] : files_) {
      if (keeps == CrashKeeps::kOnlySynced) node->current = node->durable;
      if (keeps == CrashKeeps::kSomething) node->current = Torn(*node, random);
      node->durable = node->current;
    }
  }

  // For tests: the whole contents, and replacing them durably.
  std::string Contents(const std::string& path) {
    std::lock_guard guard(mutex_);
    auto found = files_.find(path);
    return found == files_.end() ? std::string() : found->second->current;
  }
  void Put(const std::string& path, std::string contents) {
    std::lock_guard guard(mutex_);
    auto node = std::make_shared<Node>();
    node->current = node->durable = std::move(contents);
    Change({Kind::kLink, path, {}, node});
    MakeDurable(pending_.size());
  }

 private:
  struct Node {
    std::string current;
    std::string durable;
  };
  enum class Kind { kLink, kRename, kRemove, kMakeDirectory };
  struct Operation {
    Kind kind;
    std::string path;
    std::string to;
    std::shared_ptr<Node> node;
  };
  using Files = std::map<std::string, std::shared_ptr<Node>>;
  using Directories = std::set<std::string>;

  class OpenFile final : public File {
   public:
    OpenFile(MemoryFileSystem* owner, std::shared_ptr<Node> node, std::string path)
        : owner_(owner), node_(std::move(node)), path_(std::move(path)), generation_(owner->generation_) {}

    Result<size_t> ReadAt(uint64_t offset, std::span<char> out) override {
      std::lock_guard guard(owner_->mutex_);
      if (offset >= node_->current.size()) return size_t{0};
      return node_->current.copy(out.data(), out.size(), offset);
    }
    Result<size_t> Write(std::string_view bytes) override {
      std::lock_guard guard(owner_->mutex_);
      if (Dead()) return Status::FromErrno(EIO, "write", path_);
      node_->current += bytes;
      return bytes.size();
    }
    Status Sync() override {
      std::lock_guard guard(owner_->mutex_);
      if (Dead()) return Status::FromErrno(EIO, "sync", path_);
      node_->durable = node_->current;
      return {};
    }
    Result<uint64_t> Size() override {
      std::lock_guard guard(owner_->mutex_);
      return uint64_t{node_->current.size()};
    }
    Result<bool> HasName() override {
      std::lock_guard guard(owner_->mutex_);
      return std::any_of(owner_->files_.begin(), owner_->files_.end(),
                         [this](const auto& entry) { return entry.second == node_; });
    }
    Status Truncate(uint64_t size) override {
      std::lock_guard guard(owner_->mutex_);
      if (Dead()) return Status::FromErrno(EIO, "truncate", path_);
      node_->current.resize(size);
      return {};
    }

   private:
    bool Dead() const { return generation_ != owner_->generation_; }

    MemoryFileSystem* owner_;
    std::shared_ptr<Node> node_;
    std::string path_;
    uint64_t generation_;
  };

  struct LockHandle final : FileLock {
    std::shared_ptr<int> held = std::make_shared<int>(0);
  };

  std::unique_ptr<File> Handle(std::shared_ptr<Node> node, const std::string& path) {
    return std::make_unique<OpenFile>(this, std::move(node), path);
  }

  static void Apply(const Operation& operation, Files* files, Directories* directories) {
    switch (operation.kind) {
      case Kind::kLink:
        (*files)[operation.path] = operation.node;
        break;
      case Kind::kRemove:
        files->erase(operation.path);
        break;
      case Kind::kMakeDirectory:
        directories->insert(operation.path);
        break;
      case Kind::kRename: {
        auto node = (*files)[operation.path];
        files->erase(operation.path);
        (*files)[operation.to] = node;
      }
    }
  }

  void Change(Operation operation) {
    Apply(operation, &files_, &directories_);
    pending_.push_back(std::move(operation));
  }

  void MakeDurable(size_t count) {
    for (size_t i = 0; i < count; ++i) Apply(pending_[i], &durable_files_, &durable_directories_);
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(count));
  }

  static std::string Torn(const Node& node, std::mt19937_64& random) {
    if (!node.current.starts_with(node.durable)) return random() % 2 ? node.current : node.durable;
    size_t unsynced = node.current.size() - node.durable.size();
    std::string left = node.current.substr(0, node.durable.size() + random() % (unsynced + 1));
    if (random() % 4 == 0) left.append(random() % (node.current.size() - left.size() + 1), '\0');
    return left;
  }

  std::mutex mutex_;
  Files files_, durable_files_;
  Directories directories_{".", "/", ""}, durable_directories_{".", "/", ""};
  std::vector<Operation> pending_;
  std::map<std::string, std::weak_ptr<int>> locks_;
  uint64_t generation_ = 0;
};

}  // namespace tessera::persistence
