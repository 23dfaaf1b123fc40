#include "persistence/aof_log.h"

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "fmt/core.h"
#include "persistence/atomic_file.h"

namespace tessera::persistence {
namespace {

constexpr uint64_t kManifestBytesMax = 1 << 20;
constexpr uint64_t kSumEveryBytes = 4096;

bool Names(const std::vector<AofPart>& parts, std::string_view name) {
  return std::any_of(parts.begin(), parts.end(), [&](const AofPart& part) { return part.name == name; });
}

}  // namespace

std::string AofPaths::Directory() const { return JoinPath(data_directory, append_directory); }
std::string AofPaths::Part(std::string_view name) const { return JoinPath(Directory(), name); }
std::string AofPaths::Manifest() const { return Part(AofManifestName(append_file_name)); }
std::string AofPaths::SingleFile() const { return JoinPath(data_directory, append_file_name); }

std::string AofLog::RewritePath() const { return paths_.Part("temp-rewrite-" + paths_.append_file_name); }
std::string AofLog::DetachedIncrementPath() const { return paths_.Part("temp-incr-" + paths_.append_file_name); }

Result<AofManifest> ReadAofManifest(FileSystem& file_system, const AofPaths& paths, bool* single_file_pending) {
  *single_file_pending = false;
  Result<std::string> text = ReadFile(file_system, paths.Manifest(), kManifestBytesMax);
  if (!text.ok()) {
    if (text.status().code() == ENOENT) return AofManifest{};
    return text.status();
  }
  Result<AofManifest> manifest = ParseAofManifest(*text);
  if (!manifest.ok()) return Status::Invalid(manifest.status().text(), paths.Manifest());
  // The manifest is written before the file is moved: moved first, a crash would leave a file that nobody names.
  if (manifest->base && manifest->base->name == paths.append_file_name && manifest->increments.empty()) {
    Result<bool> moved = file_system.Exists(paths.Part(manifest->base->name));
    if (!moved.ok()) return moved.status();
    Result<bool> single = file_system.Exists(paths.SingleFile());
    if (!single.ok()) return single.status();
    *single_file_pending = !*moved && *single;
  }
  return manifest;
}

Result<AofLog> AofLog::Open(FileSystem& file_system, AofPaths paths) {
  AofLog log(file_system, std::move(paths));
  bool single_file_pending = false;
  Result<AofManifest> manifest = ReadAofManifest(file_system, log.paths_, &single_file_pending);
  if (!manifest.ok()) return manifest.status();
  log.manifest_ = std::move(*manifest);
  if (log.manifest_.empty()) {
    Result<bool> single = file_system.Exists(log.paths_.SingleFile());
    if (!single.ok()) return single.status();
    single_file_pending = *single;
  }
  // A checksum proves that a manifest is complete.
  if (!log.manifest_.has_checksum && !single_file_pending) {
    if (Status status = log.CheckNoStrayIncrement(); !status.ok()) return status;
  }
  if (single_file_pending) {
    if (Status status = log.TakeOverSingleFile(); !status.ok()) return status;
  }
  if (Status status = log.MeasureParts(); !status.ok()) return status;
  if (!log.manifest_.empty()) log.DeleteLeftovers();
  log.DeleteHistory();
  return log;
}

// Appends start only after the manifest is stored, so an increment with contents that comes after those in the manifest
// means that the manifest, or its end, was lost. Going on without it would lose the data silently.
Status AofLog::CheckNoStrayIncrement() {
  Result<std::vector<std::string>> names = file_system_->List(paths_.Directory());
  if (!names.ok()) return names.status().code() == ENOENT ? Status() : names.status();
  const uint64_t last = manifest_.increments.empty() ? 0 : manifest_.increments.back().sequence;
  for (const std::string& name : *names) {
    const std::optional<uint64_t> sequence = AofIncrementSequence(paths_.append_file_name, name);
    if (!sequence || *sequence <= last || Names(manifest_.history, name)) continue;
    Result<uint64_t> size = file_system_->FileSize(paths_.Part(name));
    if (!size.ok()) return size.status();
    if (*size == 0) continue;
    return Status::Invalid(
        fmt::format("holds data, but {} {}: restore the manifest or move the file away", paths_.Manifest(),
                    manifest_.empty() ? "is missing" : "does not name it"),
        paths_.Part(name));
  }
  return {};
}

Status AofLog::TakeOverSingleFile() {
  if (Status status = MakeDirectory(); !status.ok()) return status;
  if (manifest_.empty()) {
    AofManifest next;
    next.base = AofPart{paths_.append_file_name, 1};
    Status status;
    if (StoreManifest(next, &status) != Stored::kYes) return status;
    manifest_ = next;
  }
  // Increments will follow it, so its end must not be lost any more.
  Result<std::unique_ptr<File>> file = file_system_->Open(paths_.SingleFile(), OpenMode::kAppend);
  if (!file.ok()) return file.status();
  if (Status status = (*file)->Sync(); !status.ok()) return status;
  if (Status status = file_system_->Rename(paths_.SingleFile(), paths_.Part(paths_.append_file_name)); !status.ok()) {
    return status;
  }
  if (Status status = file_system_->SyncDirectory(paths_.Directory()); !status.ok()) return status;
  return file_system_->SyncDirectory(paths_.data_directory);
}

// Bases that were never put in force and temporary files. Nothing here is named by the manifest just read, so failing
// to remove it costs only space.
void AofLog::DeleteLeftovers() {
  static_cast<void>(file_system_->Remove(RewritePath()));
  static_cast<void>(file_system_->Remove(DetachedIncrementPath()));
  if (!manifest_.base) return;
  for (AofBaseFormat format : {AofBaseFormat::kRdb, AofBaseFormat::kCommands}) {
    std::string name = AofBaseName(paths_.append_file_name, manifest_.base->sequence + 1, format);
    if (!Names(manifest_.history, name)) static_cast<void>(file_system_->Remove(paths_.Part(name)));
  }
}

Status AofLog::MeasureParts() {
  base_bytes_ = earlier_bytes_ = 0;
  auto measure = [&](const AofPart& part, uint64_t* bytes) -> Status {
    Result<uint64_t> size = file_system_->FileSize(paths_.Part(part.name));
    if (!size.ok()) {
      if (size.status().code() != ENOENT) return size.status();
      return Status::Invalid(fmt::format("the manifest {} names it, but it is missing", paths_.Manifest()),
                             paths_.Part(part.name));
    }
    *bytes += *size;
    return {};
  };
  if (manifest_.base) {
    if (Status status = measure(*manifest_.base, &base_bytes_); !status.ok()) return status;
  }
  for (const AofPart& part : manifest_.increments) {
    if (Status status = measure(part, &earlier_bytes_); !status.ok()) return status;
  }
  return {};
}

Status AofLog::MakeDirectory() {
  if (Status status = file_system_->MakeDirectory(paths_.Directory()); !status.ok()) return status;
  return file_system_->SyncDirectory(paths_.data_directory);
}

AofLog::Stored AofLog::StoreManifest(const AofManifest& manifest, Status* status) {
  // First the directory, so that the manifest never names a file whose creation a crash undid.
  *status = file_system_->SyncDirectory(paths_.Directory());
  if (!status->ok()) return Stored::kNo;
  std::string temporary_path = paths_.Part("temp-" + AofManifestName(paths_.append_file_name));
  Result<AtomicFile> file = AtomicFile::Create(*file_system_, paths_.Manifest(), temporary_path);
  *status = file.status();
  if (!file.ok()) return Stored::kNo;
  *status = file->Append(manifest.Format());
  if (!status->ok()) return Stored::kNo;
  *status = file->Commit();
  if (status->ok()) return Stored::kYes;
  return file->replaced() ? Stored::kUnsure : Stored::kNo;
}

// A name not in use even on disk: when storing a manifest ended unsure, files that memory does not know may be in
// force.
Result<AofPart> AofLog::NewBase(AofBaseFormat format) {
  AofPart part;
  part.sequence = manifest_.base ? manifest_.base->sequence : 0;
  while (true) {
    part.name = AofBaseName(paths_.append_file_name, ++part.sequence, format);
    Result<bool> taken = file_system_->Exists(paths_.Part(part.name));
    if (!taken.ok()) return taken.status();
    if (!*taken) return part;
  }
}

Result<AofPart> AofLog::NewIncrement() {
  AofPart part;
  part.sequence = manifest_.increments.empty() ? 0 : manifest_.increments.back().sequence;
  while (true) {
    part.name = AofIncrementName(paths_.append_file_name, ++part.sequence);
    Result<bool> taken = file_system_->Exists(paths_.Part(part.name));
    if (!taken.ok()) return taken.status();
    if (!*taken) return part;
  }
}

uint64_t AofLog::total_bytes() const { return detached_ ? file_bytes_ : base_bytes_ + earlier_bytes_ + file_bytes_; }

Status AofLog::StartAppending(std::string_view base, AofBaseFormat format) {
  assert(!appending() && !rewriting());
  if (Status status = MakeDirectory(); !status.ok()) return status;
  AofManifest next = manifest_;
  if (manifest_.empty()) {
    Result<AofPart> part = NewBase(format);
    if (!part.ok()) return part.status();
    Result<AtomicFile> file = AtomicFile::Create(*file_system_, paths_.Part(part->name), RewritePath());
    if (!file.ok()) return file.status();
    if (Status status = file->Append(base); !status.ok()) return status;
    if (Status status = file->Commit(); !status.ok()) return status;
    next.base = *part;
    next.base->bytes_min = base.size();
  }
  bool create = manifest_.increments.empty();
  if (create) {
    Result<AofPart> part = NewIncrement();
    if (!part.ok()) return part.status();
    next.increments.push_back(*part);
  }
  Result<std::unique_ptr<File>> file =
      file_system_->Open(paths_.Part(next.increments.back().name), create ? OpenMode::kCreate : OpenMode::kAppend);
  if (!file.ok()) return file.status();
  Result<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  if (create) {
    Status status;
    if (StoreManifest(next, &status) != Stored::kYes) return status;
  } else if (Status status = file_system_->SyncDirectory(paths_.Directory()); !status.ok()) {
    return status;  // the process before may have died between putting the manifest in place and making that durable
  }
  manifest_ = std::move(next);
  // Again: loading may have cut off a torn end since Open.
  if (Status status = MeasureParts(); !status.ok()) return status;
  earlier_bytes_ -= *size;
  Take(std::move(*file), *size);
  synced_offset_ = appended_offset_;
  return {};
}

void AofLog::Take(std::unique_ptr<File> file, uint64_t bytes) {
  file_ = std::move(file);
  file_bytes_ = bytes;
  tail_broken_ = false;
  sum_ = AofSum(bytes);
  sum_begun_ = bytes == 0;
}

Status AofLog::StopAppending() {
  if (rewriting()) AbortRewrite();
  if (!appending()) return {};
  Status status = tail_broken_ ? RepairTail() : Status();
  if (status.ok()) status = Sync();
  file_.reset();
  earlier_bytes_ += std::exchange(file_bytes_, 0);
  tail_broken_ = false;
  return status;
}

Status AofLog::RepairTail() {
  Status status = file_->Truncate(file_bytes_);
  if (status.ok()) tail_broken_ = false;
  return status;
}

Status AofLog::Append(std::string_view bytes) {
  assert(appending());
  if (tail_broken_) {
    if (Status status = RepairTail(); !status.ok()) return status;
  }
  if (!sum_begun_) {
    if (Status status = AppendSum(); !status.ok()) return status;
  }
  if (Status status = file_->Append(bytes); !status.ok()) {
    tail_broken_ = true;
    static_cast<void>(RepairTail());
    return status;
  }
  file_bytes_ += bytes.size();
  appended_offset_ += bytes.size();
  sum_.Add(bytes);
  if (sum_.length() >= kSumEveryBytes) Seal();
  return {};
}

// Checksum lines are none of the bytes that callers count.
Status AofLog::AppendSum() {
  const std::string line = sum_.Line();
  if (Status status = file_->Append(line); !status.ok()) {
    tail_broken_ = true;
    static_cast<void>(RepairTail());
    return status;
  }
  file_bytes_ += line.size();
  sum_ = AofSum(file_bytes_);
  sum_begun_ = true;
  return {};
}

void AofLog::Seal() {
  // A disk that refuses will be noticed by the next append; the line is tried again then.
  if (appending() && !tail_broken_ && sum_.length() > 0) static_cast<void>(AppendSum());
}

Status AofLog::Sync() {
  assert(appending());
  Seal();
  AofSyncPoint point = SyncPoint();
  Status status = point.file->Sync();
  if (status.ok()) MarkSynced(point);
  return status;
}

Status AofLog::StillThere() {
  assert(appending());
  Result<bool> named = file_->HasName();
  if (!named.ok()) return named.status();
  if (*named) return {};
  return Status::FromErrno(ENOENT, "go on with", detached_ ? DetachedIncrementPath() : paths_.Part(manifest_.increments.back().name));
}

void AofLog::MarkSynced(const AofSyncPoint& point) { synced_offset_ = std::max(synced_offset_, point.offset); }

Result<std::shared_ptr<File>> AofLog::StartRewrite() {
  assert(!rewriting());
  if (appending()) {
    // Bytes of an increment that is not the last must not be lost: what follows them would be loaded behind a gap.
    if (tail_broken_) {
      if (Status status = RepairTail(); !status.ok()) return status;
    }
    if (Status status = Sync(); !status.ok()) return status;
  } else if (Status status = MakeDirectory(); !status.ok()) {
    return status;
  }
  Result<std::unique_ptr<File>> base = file_system_->Open(RewritePath(), OpenMode::kCreate);
  if (!base.ok()) return base.status();

  if (!appending()) {
    Result<std::unique_ptr<File>> file = file_system_->Open(DetachedIncrementPath(), OpenMode::kCreate);
    if (!file.ok()) return file.status();
    Take(std::move(*file), 0);
    synced_offset_ = appended_offset_;
    detached_ = true;
  } else if (file_bytes_ > 0) {  // an empty increment serves as the new one: failing rewrites do not pile up files
    Result<AofPart> part = NewIncrement();
    if (!part.ok()) return part.status();
    Result<std::unique_ptr<File>> file = file_system_->Open(paths_.Part(part->name), OpenMode::kCreate);
    if (!file.ok()) return file.status();
    AofManifest next = manifest_;
    next.increments.back().bytes_min = file_bytes_;
    next.increments.push_back(*part);
    Status status;
    Stored stored = StoreManifest(next, &status);
    if (stored != Stored::kYes) {
      static_cast<void>(file_system_->Remove(RewritePath()));
      // When unsure, the manifest on disk may name it. Appends go on to the increment before it, which recovery allows
      // because this one is empty.
      if (stored == Stored::kNo) static_cast<void>(file_system_->Remove(paths_.Part(part->name)));
      return status;
    }
    manifest_ = std::move(next);
    earlier_bytes_ += file_bytes_;
    Take(std::move(*file), 0);
  }
  rewrite_file_ = std::move(*base);
  return rewrite_file_;
}

Status AofLog::FinishRewrite(AofBaseFormat format) {
  assert(rewriting());
  auto give_up = [&](Status status) {
    AbortRewrite();
    return status;
  };
  if (Status status = rewrite_file_->Sync(); !status.ok()) return give_up(status);
  Result<uint64_t> base_bytes = rewrite_file_->Size();
  if (!base_bytes.ok()) return give_up(base_bytes.status());
  Result<AofPart> base = NewBase(format);
  if (!base.ok()) return give_up(base.status());
  AofManifest next;
  next.base = *base;
  next.base->bytes_min = *base_bytes;
  next.history = manifest_.history;
  if (manifest_.base) next.history.push_back(*manifest_.base);
  next.history.insert(next.history.end(), manifest_.increments.begin(), manifest_.increments.end());
  if (detached_) {
    Result<AofPart> increment = NewIncrement();
    if (!increment.ok()) return give_up(increment.status());
    next.increments = {*increment};
  } else {
    next.increments = {manifest_.increments.back()};
    next.history.pop_back();
  }

  std::string base_path = paths_.Part(base->name);
  if (Status status = file_system_->Rename(RewritePath(), base_path); !status.ok()) return give_up(status);
  if (detached_) {
    Status status = file_system_->Rename(DetachedIncrementPath(), paths_.Part(next.increments[0].name));
    if (!status.ok()) {
      static_cast<void>(file_system_->Remove(base_path));
      return give_up(status);
    }
  }
  Status status;
  Stored stored = StoreManifest(next, &status);
  if (stored != Stored::kYes) {
    // When unsure, these may be in force after a power cut, just as the old ones may: keep both.
    if (stored == Stored::kNo) {
      static_cast<void>(file_system_->Remove(base_path));
      if (detached_) static_cast<void>(file_system_->Remove(paths_.Part(next.increments[0].name)));
    }
    return give_up(status);
  }
  manifest_ = std::move(next);
  rewrite_file_.reset();
  detached_ = false;
  base_bytes_ = *base_bytes;
  earlier_bytes_ = 0;
  return {};
}

void AofLog::AbortRewrite() {
  if (!rewriting()) return;
  rewrite_file_.reset();
  static_cast<void>(file_system_->Remove(RewritePath()));
  if (!detached_) return;
  file_.reset();
  file_bytes_ = 0;
  tail_broken_ = false;
  detached_ = false;
  static_cast<void>(file_system_->Remove(DetachedIncrementPath()));
}

std::vector<std::string> AofLog::HistoryPaths() const {
  std::vector<std::string> paths;
  for (const AofPart& part : manifest_.history) paths.push_back(paths_.Part(part.name));
  return paths;
}

void AofLog::DeleteHistory() {
  if (manifest_.history.empty()) return;
  AofManifest next = manifest_;
  std::erase_if(next.history, [&](const AofPart& part) {
    Status status = file_system_->Remove(paths_.Part(part.name));
    return status.ok() || status.code() == ENOENT;
  });
  Status status;
  // When this fails the manifest still lists files that are gone, and the next call finds them missing.
  if (StoreManifest(next, &status) == Stored::kYes) manifest_ = std::move(next);
}

}  // namespace tessera::persistence
