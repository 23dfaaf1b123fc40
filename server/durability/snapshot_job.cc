#include "server/durability/snapshot_job.h"

#include "server/clock.h"
#include "server/store/check.h"

namespace tessera {
namespace {

constexpr size_t kChunkBytes = 256 << 10;
constexpr size_t kUnconsumedMax = 8 << 20;
constexpr int64_t kSliceUs = 1000;
constexpr size_t kEntriesPerStep = 256;

}  // namespace

SnapshotJob::SnapshotJob(store::Keyspace& keyspace, const Options& options, Sink sink)
    : keyspace_(keyspace),
      format_(options.format),
      sink_(std::move(sink)),
      rdb_(&buffer_, options.rdb),
      commands_(&buffer_),
      writer_(format_ == Format::kRdb ? static_cast<persistence::SnapshotVisitor*>(&rdb_) : &commands_),
      announced_(static_cast<size_t>(keyspace.database_count())) {
  if (format_ == Format::kRdb) rdb_.Header(options.info);
  snapshot_ = std::make_unique<store::Snapshot>(keyspace, *this, options.slot_filter);
}

SnapshotJob::~SnapshotJob() = default;

bool SnapshotJob::OnEntry(int db, uint16_t, store::EntryRef entry) {
  STORE_CHECK(entry.type() == store::Type::kString);  // a type without a writer must not vanish from a save in silence
  if (db != database_) {
    database_ = db;
    // The counts only help the reader to size its tables, once.
    const bool first = !announced_[static_cast<size_t>(db)];
    announced_[static_cast<size_t>(db)] = true;
    const store::Database& database = keyspace_.db(db);
    writer_->Database(static_cast<uint32_t>(db), first ? database.size() : 0, first ? database.volatile_count() : 0);
  }
  persistence::EntryHeader header{.key = entry.key(), .expiry_ms = entry.expiry_ms()};
  if (keyspace_.access_policy() == store::AccessPolicy::kLfu) header.frequency = keyspace_.Frequency(entry);
  store::IntScratch scratch;
  writer_->String(header, entry.AsString(scratch));
  if (buffer_.size() >= kChunkBytes) HandOver();
  return unconsumed_ < kUnconsumedMax;
}

void SnapshotJob::HandOver() {
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

bool SnapshotJob::Step() {
  if (complete_) return false;
  const int64_t until = MonotonicUs() + kSliceUs;
  while (unconsumed_ < kUnconsumedMax) {
    if (!snapshot_->Step(kEntriesPerStep)) {
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
