#include "server/durability/snapshot_job.h"

#include <algorithm>

#include "server/clock.h"

namespace tessera {
namespace {

constexpr size_t kChunkBytes = 256 << 10;
constexpr size_t kUnconsumedMax = 8 << 20;
constexpr int64_t kSliceUs = 1000;
constexpr size_t kEntriesPerStep = 256;
constexpr size_t kPartsPerStep = 512;
// Larger values are told in slices.
constexpr size_t kValueBytesAtOnce = 64 << 10;

}  // namespace

SnapshotJob::SnapshotJob(store::Keyspace& keyspace, const Options& options, Sink sink)
    : keyspace_(keyspace),
      format_(options.format),
      sink_(std::move(sink)),
      rdb_(&buffer_, options.rdb),
      commands_(&buffer_),
      writer_(format_ == Format::kRdb ? static_cast<persistence::SnapshotVisitor*>(&rdb_) : &commands_),
      announced_(static_cast<size_t>(keyspace.database_count())) {
  if (format_ == Format::kRdb) {
    rdb_.Header(options.info);
    for (const std::string& code : keyspace.function_libraries()) rdb_.FunctionLibrary(code);
  }
  snapshot_ = std::make_unique<store::Snapshot>(keyspace, *this, options.slot_filter);
}

SnapshotJob::~SnapshotJob() = default;

void SnapshotJob::SelectDatabase(int db) {
  if (db == database_) return;
  database_ = db;
  // The counts only help the reader to size its tables, once.
  const bool first = !announced_[static_cast<size_t>(db)];
  announced_[static_cast<size_t>(db)] = true;
  const store::Database& database = keyspace_.db(db);
  writer_->Database(static_cast<uint32_t>(db), first ? database.size() : 0, first ? database.volatile_count() : 0);
}

// Values are told one after the other: while a large one is under way, whatever a change hands out waits behind it.
bool SnapshotJob::OnEntry(int db, uint16_t, store::EntryRef entry) {
  persistence::EntryHeader header{.key = entry.key(), .expiry_ms = entry.expiry_ms()};
  if (keyspace_.access_policy() == store::AccessPolicy::kLfu) header.frequency = keyspace_.Frequency(entry);
  const store::Object* object = entry.object();
  const bool large = object != nullptr && object->MemoryBytes() > kValueBytesAtOnce;
  if (walk_ == nullptr && waiting_.empty() && !large) {
    SelectDatabase(db);
    TellEntry(entry, header, *writer_);
    if (buffer_.size() >= kChunkBytes) HandOver();
    return unconsumed_ < kUnconsumedMax;
  }
  Waiting& waiting = waiting_.emplace_back(Waiting{db, std::string(entry.key()), header, {}, nullptr});
  waiting.header.key = waiting.key;
  if (object != nullptr) {
    waiting.value = object->Clone();
  } else {
    store::IntScratch scratch;
    waiting.text = entry.AsString(scratch);
  }
  waiting_bytes_ += sizeof waiting + waiting.key.size() + waiting.text.size();
  held_bytes_max_ = std::max(held_bytes_max_, held_bytes());
  return false;
}

bool SnapshotJob::StepWaiting() {
  if (waiting_.empty()) return false;
  Waiting& next = waiting_.front();
  if (next.value == nullptr) {
    SelectDatabase(next.db);
    writer_->String(next.header, next.text);
  } else {
    if (walk_ == nullptr) {
      SelectDatabase(next.db);
      walk_ = WalkValue(*next.value, next.header);
    }
    if (walk_->Step(*writer_, kPartsPerStep)) {
      if (buffer_.size() >= kChunkBytes) HandOver();
      return true;
    }
    walk_ = nullptr;
    keyspace_.Discard(std::move(next.value));
  }
  waiting_bytes_ -= sizeof next + next.key.size() + next.text.size();
  waiting_.pop_front();
  if (buffer_.size() >= kChunkBytes) HandOver();
  return true;
}

// An RDB image ends with a checksum; commands get lines of theirs.
void SnapshotJob::AddSum() {
  sum_.Add(buffer_);
  if (!commands_.at_boundary() || sum_.length() == 0) return;
  const std::string line = sum_.Line();
  buffer_ += line;
  sum_ = persistence::AofSum(sum_.begin() + sum_.length() + line.size());
}

void SnapshotJob::HandOver() {
  if (format_ == Format::kCommands) AddSum();
  held_bytes_max_ = std::max(held_bytes_max_, held_bytes());
  unconsumed_ += buffer_.size();
  std::string chunk;
  chunk.reserve(kChunkBytes + 4096);
  chunk.swap(buffer_);
  sink_(std::move(chunk));
}

void SnapshotJob::Finish() {
  if (format_ == Format::kRdb) rdb_.End();
  complete_ = true;
  HandOver();
}

persistence::Status SnapshotJob::status() const {
  if (format_ != Format::kRdb || !rdb_.failed()) return {};
  return persistence::Status::Invalid("a stream has 100 consecutive entries of more than 4 GiB, which the RDB format "
                                      "cannot hold");
}

bool SnapshotJob::Step() {
  if (complete_) return false;
  const int64_t until = MonotonicUs() + kSliceUs;
  while (unconsumed_ < kUnconsumedMax) {
    if (!StepWaiting() && !snapshot_->Step(kEntriesPerStep) && waiting_.empty()) {
      Finish();
      return false;
    }
    if (MonotonicUs() >= until) return true;
  }
  return false;
}

void SnapshotJob::RunToEnd() {
  while (!complete_) {
    unconsumed_ = 0;
    Step();
  }
}

}  // namespace tessera
