#include "persistence/recovery.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "fmt/core.h"

namespace tessera::persistence {
namespace {

constexpr size_t kChunkBytes = 256 << 10;
constexpr std::string_view kUseCheckAof = "redis-check-aof shows where, and can cut the file there";
constexpr std::string_view kUseCopy =
    "use a copy of the file, a replica's data, or what redis-check-aof --fix leaves; if the file was edited by hand, remove "
    "its lines that begin with #SUM:";

}  // namespace

Result<RecoveryPlan> PlanRecovery(FileSystem& file_system, const RecoveryOptions& options) {
  RecoveryPlan plan;
  std::string rdb_path = JoinPath(options.aof.data_directory, options.rdb_file_name);
  Result<uint64_t> rdb_bytes = file_system.FileSize(rdb_path);
  if (!rdb_bytes.ok() && rdb_bytes.status().code() != ENOENT) return rdb_bytes.status();
  if (!options.append_only) {
    if (rdb_bytes.ok()) {
      plan.files.push_back({RecoveryFile::Kind::kRdb, rdb_path, *rdb_bytes, false});
      plan.bytes = *rdb_bytes;
    }
    return plan;
  }

  bool single_file_pending = false;
  Result<AofManifest> manifest = ReadAofManifest(file_system, options.aof, &single_file_pending);
  if (!manifest.ok()) return manifest.status();
  auto add = [&](RecoveryFile::Kind kind, const std::string& path, uint64_t bytes_min) -> Status {
    Result<uint64_t> bytes = file_system.FileSize(path);
    if (!bytes.ok()) return bytes.status();
    if (*bytes < bytes_min) {
      return Status::Invalid(fmt::format("ends at byte {}, but it had {} bytes when {} was written; use a copy of the file "
                                         "or a replica's data",
                                         *bytes, bytes_min, options.aof.Manifest()),
                             path);
    }
    plan.files.push_back({kind, path, *bytes, false});
    plan.bytes += *bytes;
    return {};
  };
  if (manifest->empty()) {
    Result<bool> single = file_system.Exists(options.aof.SingleFile());
    if (!single.ok()) return single.status();
    single_file_pending = *single;
  }
  if (single_file_pending) {
    if (Status status = add(RecoveryFile::Kind::kAofBase, options.aof.SingleFile(), 0); !status.ok()) return status;
  } else if (manifest->base) {
    const AofPart& base = *manifest->base;
    Status status = add(RecoveryFile::Kind::kAofBase, options.aof.Part(base.name), base.bytes_min);
    if (!status.ok()) return status;
  }
  for (const AofPart& part : manifest->increments) {
    Status status = add(RecoveryFile::Kind::kAofIncrement, options.aof.Part(part.name), part.bytes_min);
    if (!status.ok()) return status;
  }
  if (plan.files.empty() && rdb_bytes.ok()) plan.ignored_rdb = rdb_path;
  // Not simply the last one: a crash while a new increment is being put in force may leave it named, and empty.
  for (auto file = plan.files.rbegin(); file != plan.files.rend(); ++file) {
    if (file->bytes == 0) continue;
    file->may_be_cut = true;
    break;
  }
  return plan;
}

Status CutFile(FileSystem& file_system, const std::string& path, uint64_t size) {
  Result<std::unique_ptr<File>> file = file_system.Open(path, OpenMode::kAppend);
  if (!file.ok()) return file.status();
  if (Status status = (*file)->Truncate(size); !status.ok()) return status;
  return (*file)->Sync();
}

DatasetLoader::DatasetLoader(FileSystem& file_system, RecoveryPlan plan, RecoveryOptions options)
    : file_system_(&file_system), plan_(std::move(plan)), options_(std::move(options)) {}

Loaded DatasetLoader::Fail(Status status) {
  phase_ = Phase::kFailed;
  error_ = std::move(status);
  return Loaded::kError;
}

Loaded DatasetLoader::Next(SnapshotVisitor* values) {
  switch (phase_) {
    case Phase::kOpen:
      return OpenFile(values);
    case Phase::kRdb:
      return NextOfRdb(values);
    case Phase::kCommands:
      return NextCommand();
    case Phase::kTransaction:
      return NextOfTransaction();
    case Phase::kEndOfFile:
      return EndOfFile();
    case Phase::kDone:
      return Loaded::kDone;
    case Phase::kFailed:
      break;
  }
  return Loaded::kError;
}

Loaded DatasetLoader::OpenFile(SnapshotVisitor* values) {
  if (index_ == plan_.files.size()) {
    phase_ = Phase::kDone;
    return Loaded::kDone;
  }
  Result<std::unique_ptr<File>> opened = file_system_->Open(file().path, OpenMode::kRead);
  if (!opened.ok()) return Fail(opened.status());
  file_ = std::move(*opened);
  file_offset_ = 0;
  chunk_.resize(std::min<uint64_t>(kChunkBytes, file().bytes + 1));
  rdb_.reset();
  commands_.reset();
  char magic[kRdbMagic.size()];
  Result<size_t> count = file_->ReadAt(0, magic);
  if (!count.ok()) return Fail(count.status());
  // A base whose name says that it is an image has to be one: read as commands, an empty one would pass for no data.
  const bool named_image = file().kind == RecoveryFile::Kind::kAofBase && file().path.ends_with(".base.rdb");
  if (file().kind == RecoveryFile::Kind::kRdb || named_image || std::string_view(magic, *count) == kRdbMagic) {
    rdb_.emplace(options_.rdb);
    phase_ = Phase::kRdb;
    return NextOfRdb(values);
  }
  commands_.emplace();
  phase_ = Phase::kCommands;
  return NextCommand();
}

// The next piece of the file; empty at its end.
Result<std::string_view> DatasetLoader::ReadMore() {
  Result<size_t> count = file_->ReadAt(file_offset_, chunk_);
  if (!count.ok()) return count.status();
  file_offset_ += *count;
  return std::string_view(chunk_.data(), *count);
}

Loaded DatasetLoader::NextOfRdb(SnapshotVisitor* values) {
  while (true) {
    switch (rdb_->Next(values)) {
      case RdbRead::kRecord:
        return Loaded::kRdbRecord;
      case RdbRead::kError:
        return Fail(Status::Invalid(rdb_->error().ToText(), file().path));
      case RdbRead::kEnd: {
        // Redis ignores what follows the image in an RDB file; in an AOF it is the commands since the image.
        if (file().kind == RecoveryFile::Kind::kRdb) return EndOfFile();
        commands_.emplace(rdb_->offset());
        commands_->Feed(rdb_->Rest());
        phase_ = Phase::kCommands;
        return NextCommand();
      }
      case RdbRead::kNeedMore: {
        Result<std::string_view> bytes = ReadMore();
        if (!bytes.ok()) return Fail(bytes.status());
        if (bytes->empty()) return Fail(Status::Invalid(rdb_->CutShort().ToText(), file().path));
        rdb_->Feed(*bytes);
      }
    }
  }
}

void DatasetLoader::RefuseValue(std::string reason, std::string advice) {
  Fail(Status::Invalid(rdb_->RefuseValue(std::move(reason), std::move(advice)).ToText(), file().path));
}

Loaded DatasetLoader::NextCommand() {
  while (true) {
    switch (commands_->Next()) {
      case AofRead::kCommand: {
        argv_ = commands_->argv();
        bool ends_transaction = !transaction_.empty() && !commands_->in_transaction();
        if (!commands_->in_transaction() && !ends_transaction) return Loaded::kCommand;
        transaction_.emplace_back(argv_.begin(), argv_.end());
        if (!ends_transaction) continue;
        phase_ = Phase::kTransaction;
        transaction_next_ = 0;
        return NextOfTransaction();
      }
      case AofRead::kError:
        // Some file systems extend a file before its data arrives: after a power cut zeroes stand at the end.
        if (file().may_be_cut && OnlyZeroesFrom(commands_->error_offset())) {
          return CutTail("only zeroes follow, which a power cut leaves");
        }
        return Fail(Status::Invalid(
            fmt::format("at byte {}: {}; {}", commands_->error_offset(), commands_->error_reason(), kUseCopy),
            file().path));
      case AofRead::kNeedMore: {
        Result<std::string_view> bytes = ReadMore();
        if (!bytes.ok()) return Fail(bytes.status());
        if (!bytes->empty()) {
          commands_->Feed(*bytes);
        } else if (commands_->AtBoundary()) {
          return EndOfFile();
        } else {
          return CutTail(commands_->in_transaction() ? "a transaction has no EXEC" : "a command is incomplete");
        }
      }
    }
  }
}

Loaded DatasetLoader::NextOfTransaction() {
  if (transaction_next_ == transaction_.size()) {
    transaction_.clear();
    phase_ = Phase::kCommands;
    return NextCommand();
  }
  const std::vector<std::string>& command = transaction_[transaction_next_++];
  transaction_argv_.assign(command.begin(), command.end());
  argv_ = transaction_argv_;
  return Loaded::kCommand;
}

Loaded DatasetLoader::EndOfFile() {
  file_.reset();
  transaction_.clear();
  done_bytes_ += std::exchange(file_offset_, 0);
  ++index_;
  phase_ = Phase::kOpen;
  return Loaded::kFileDone;
}

// Where a checksum line stands behind what looks like the torn end of the file: it is no end then.
std::optional<uint64_t> DatasetLoader::FindSumFrom(uint64_t offset) {
  constexpr size_t kLineBytesMax = 96;
  std::string window;
  while (true) {
    Result<size_t> count = file_->ReadAt(offset + window.size(), chunk_);
    if (!count.ok()) return std::nullopt;
    window.append(chunk_.data(), *count);
    for (size_t at = window.find(kAofSumMark); at != std::string::npos; at = window.find(kAofSumMark, at + 1)) {
      if (LooksLikeAofSum(std::string_view(window).substr(at), offset + at)) return offset + at;
    }
    if (*count == 0) return std::nullopt;
    const size_t gone = window.size() - std::min(window.size(), kLineBytesMax);
    window.erase(0, gone);
    offset += gone;
  }
}

Loaded DatasetLoader::CutTail(std::string_view why) {
  uint64_t offset = commands_->safe_offset();
  const std::string& path = file().path;
  if (std::optional<uint64_t> sum = FindSumFrom(offset)) {
    return Fail(Status::Invalid(fmt::format("damaged after byte {}: {}, but the checksum line at byte {} says that the file "
                                            "goes on; {}",
                                            offset, why, *sum, kUseCopy),
                                path));
  }
  Result<uint64_t> size = file_->Size();
  if (!size.ok()) return Fail(size.status());
  if (!file().may_be_cut) {
    return Fail(Status::Invalid(
        fmt::format("ends too early: {} after byte {}, and further files follow; {}", why, offset, kUseCheckAof),
        path));
  }
  if (!options_.load_truncated) {
    return Fail(Status::Invalid(fmt::format("ends too early: {} after byte {} of {}, and aof-load-truncated is no; {}",
                                            why, offset, *size, kUseCheckAof),
                                path));
  }
  if (Status status = CutFile(*file_system_, path, offset); !status.ok()) return Fail(status);
  note_ = fmt::format("{}: {} after byte {}; cut off the last {} of {} bytes (aof-load-truncated)", path, why, offset,
                      *size - offset, *size);
  phase_ = Phase::kEndOfFile;
  return Loaded::kNote;
}

bool DatasetLoader::OnlyZeroesFrom(uint64_t offset) {
  while (true) {
    Result<size_t> count = file_->ReadAt(offset, chunk_);
    if (!count.ok()) return false;
    if (*count == 0) return true;
    if (!std::all_of(chunk_.begin(), chunk_.begin() + static_cast<ptrdiff_t>(*count), [](char c) { return c == 0; })) {
      return false;
    }
    offset += *count;
  }
}

}  // namespace tessera::persistence
