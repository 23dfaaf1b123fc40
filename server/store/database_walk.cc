// Walking, sampling, slots and the expiry cycle of a database.
#include <algorithm>

#include "server/store/check.h"
#include "server/store/entry_block.h"
#include "server/store/keyspace.h"
#include "server/store/keyspace_tables.h"
#include "server/store/snapshot.h"

namespace tessera::store {
namespace {

constexpr uint64_t kSlotBits = 14;
constexpr size_t kEmptyBucketsPerCount = 10;
constexpr int kSampleTries = 16;
// A search for rare entries reads a cache line each: about 100 us.
constexpr size_t kSearchBuckets = 8192;
// Tables above this many buckets are searched for due entries at most once a second.
constexpr uint32_t kLargeTableBuckets = 4096;

}  // namespace

// The cursor of a whole database in cluster mode: hash position above, slot below. 0 is only ever the start, because
// every later position or slot is greater than 0.
uint64_t Database::Scan(uint64_t cursor, size_t count, const EntryVisitor& visit) {
  if (!keyspace_.options_.cluster) return ScanSlot(0, cursor, count, visit);
  uint32_t slot = static_cast<uint32_t>(cursor & (kSlotCount - 1));
  uint64_t position = cursor >> kSlotBits;
  count = std::max<size_t>(count, 1);
  size_t seen = 0;
  // A walk over nothing but expired entries ends its turn as well.
  size_t slots_left = count > SIZE_MAX / kEmptyBucketsPerCount ? SIZE_MAX : count * kEmptyBucketsPerCount;
  const EntryVisitor counting = [&](EntryRef entry) {
    ++seen;
    visit(entry);
  };
  while (seen < count && slots_left-- > 0) {
    position = tables_->tables[slot].size() == 0 ? 0 : ScanSlot(slot, position, count - seen, counting);
    if (position != 0) break;
    do {
      if (++slot == kSlotCount) return 0;
    } while (tables_->tables[slot].size() == 0);
  }
  return position << kSlotBits | slot;
}

uint64_t Database::ScanSlot(uint16_t slot, uint64_t cursor, size_t count, const EntryVisitor& visit) {
  if (slot >= tables_->tables.size() || cursor >= kEndPosition) return 0;
  const Table& table = tables_->tables[slot];
  count = std::max<size_t>(count, 1);
  size_t seen = 0;
  size_t buckets_left = count > SIZE_MAX / kEmptyBucketsPerCount ? SIZE_MAX : count * kEmptyBucketsPerCount;
  uint64_t position = cursor;
  for (; position < kEndPosition && seen < count && buckets_left > 0; --buckets_left) {
    position = table.VisitBucket(context(), position, [&](uint32_t handle) {
      const EntryRef entry(context().arena.At(handle));
      if (IsExpired(entry)) return;
      ++seen;
      visit(entry);
    });
  }
  return position >= kEndPosition ? 0 : position;
}

void Database::ForEach(const EntryVisitor& visit) const {
  for (const Table& table : tables_->tables) {
    if (table.size() == 0) continue;
    for (uint64_t position = 0; position < kEndPosition;) {
      position =
          table.VisitBucket(context(), position, [&](uint32_t handle) { visit(EntryRef(context().arena.At(handle))); });
    }
  }
}

EntryRef Database::RandomEntry() {
  if (tables_->size == 0) return {};
  const Table& table = tables_->tables[tables_->RandomSlot(context())];
  return EntryRef(context().arena.At(table.RandomHandle(context())));
}

EntryRef Database::RandomVolatileEntry() {
  if (tables_->volatile_count == 0) return {};
  for (int i = 0; i < kSampleTries; ++i) {
    const Table& table = tables_->tables[tables_->RandomSlot(context())];
    const uint32_t handle = table.RandomVolatileHandle(context());
    if (handle != 0) return EntryRef(context().arena.At(handle));
  }
  return {};
}

EntryRef Database::SearchVolatileEntry() {
  if (tables_->volatile_count == 0) return {};
  auto& at = tables_->volatile_search;
  const auto count = static_cast<uint32_t>(tables_->tables.size());
  size_t buckets = kSearchBuckets;
  for (uint32_t slots = 0; slots <= count && buckets > 0; ++slots) {
    if (at.slot >= count) at.slot = 0;
    const Table& table = tables_->tables[at.slot];
    uint32_t found = 0;
    if (table.volatile_count() > 0) at.position = table.SearchVolatile(context(), at.position, buckets, found);
    if (table.volatile_count() == 0 || at.position >= kEndPosition) {
      ++at.slot;
      at.position = 0;
    }
    if (found != 0) return EntryRef(context().arena.At(found));
  }
  return {};
}

int64_t Database::AverageTtlMs() const {
  int64_t sum = 0;
  int64_t count = 0;
  for (int i = 0; i < kSampleTries; ++i) {
    if (tables_->volatile_count == 0) break;
    const Table& table = tables_->tables[tables_->RandomSlot(context())];
    const uint32_t handle = table.RandomVolatileHandle(context());
    if (handle == 0) continue;
    sum += std::max<int64_t>(0, EntryRef(context().arena.At(handle)).expiry_ms() - keyspace_.now_ms_);
    ++count;
  }
  return count == 0 ? 0 : sum / count;
}

// ---- slots

uint64_t Database::CountInSlot(uint16_t slot) const {
  return keyspace_.options_.cluster && slot < kSlotCount ? tables_->tables[slot].size() : 0;
}

std::vector<std::string> Database::KeysInSlot(uint16_t slot, size_t limit) const {
  std::vector<std::string> keys;
  if (CountInSlot(slot) == 0) return keys;
  keys.reserve(std::min<size_t>(limit, CountInSlot(slot)));
  for (uint64_t position = 0; position < kEndPosition && keys.size() < limit;) {
    position = tables_->tables[slot].VisitBucket(context(), position, [&](uint32_t handle) {
      if (keys.size() < limit) keys.emplace_back(KeyOf(context().arena.At(handle)));
    });
  }
  return keys;
}

uint64_t Database::DropSlot(uint16_t slot) {
  const uint64_t count = CountInSlot(slot);
  if (count == 0) return 0;
  for (ChangeObserver* observer : keyspace_.observers_) observer->OnDropSlot(index_, slot);
  Table& table = tables_->tables[slot];
  tables_->CountKey(slot, -static_cast<int64_t>(count));
  tables_->CountVolatile(-static_cast<int64_t>(table.volatile_count()));
  const auto dropped = std::make_shared<Table>(std::move(table));
  for (Snapshot* snapshot : keyspace_.snapshots_) snapshot->BeforeDropSlot(tables_.get(), slot, dropped);
  keyspace_.internals_->graveyard.push_back({.one = dropped});
  keyspace_.internals_->doomed_keys += count;
  return count;
}

void Database::Flush() {
  for (ChangeObserver* observer : keyspace_.observers_) observer->OnFlush(index_);
  if (tables_->size == 0) return;
  keyspace_.internals_->doomed_keys += tables_->size;
  auto fresh = std::make_shared<KeyspaceTables>(tables_->tables.size());
  keyspace_.internals_->graveyard.push_back({.all = std::exchange(tables_, std::move(fresh))});
}

// ---- expiry

size_t Database::ExpireStep(size_t entry_budget, size_t& cost_budget, bool force, bool* more_due) {
  KeyspaceTables& all = *tables_;
  auto& pass = all.expire_pass;
  StoreContext& context = this->context();
  const uint32_t now_seconds = context.now_seconds();
  if (force || !pass.running) {
    if (all.volatile_count == 0) {
      pass.running = false;
      return 0;
    }
    pass = {.running = true, .force = force, .last_large_second = pass.last_large_second};
  }
  size_t expired = 0;
  size_t cost = 0;
  std::vector<uint32_t>& due = keyspace_.internals_->due;
  const auto budget_spent = [&] { return expired >= entry_budget || cost >= cost_budget; };
  for (; pass.slot < all.tables.size() && !budget_spent(); ++pass.slot, pass.position = 0) {
    Table& table = all.tables[pass.slot];
    if (pass.position == 0) {
      if (table.volatile_count() == 0) continue;
      if (!pass.force && table.earliest_due() > now_seconds) continue;
      if (table.bucket_count() > kLargeTableBuckets && all.tables.size() == 1) {
        if (!pass.force && pass.last_large_second == now_seconds) continue;
        pass.last_large_second = now_seconds;
      }
      table.BeginExpirePass();
    }
    // At least one bucket, so that a position of 0 always means a table not begun.
    while (pass.position < kEndPosition && (pass.position == 0 || !budget_spent())) {
      due.clear();
      pass.position = table.CollectDue(context, pass.position, pass.force, due, cost);
      for (const uint32_t handle : due) {
        const std::string_view text = KeyOf(context.arena.At(handle));
        const KeyRef key(text, HashKey(text, context.hash_seed), static_cast<uint16_t>(pass.slot));
        uint32_t* place = table.Find(context, key.hash(), text);
        STORE_CHECK(place != nullptr);
        EraseFound(key, place, ChangeKind::kExpired);
        ++expired;
        ++pass.expired;
      }
    }
    if (pass.position < kEndPosition) break;
    table.EndExpirePass(context);
  }
  if (pass.slot == all.tables.size()) {
    pass.running = false;
    // Deletions move entries, also to where the pass has been already: worth another look until one finds nothing.
    if (pass.expired > 0) {
      pass.last_large_second = 0;
      *more_due = true;
    }
  } else {
    *more_due = true;
  }
  cost_budget -= std::min(cost, cost_budget);
  return expired;
}

}  // namespace tessera::store
