#include "server/store/keyspace.h"

#include <algorithm>
#include <cmath>

#include "server/store/check.h"
#include "server/store/keyspace_tables.h"
#include "server/store/reclaimer.h"
#include "server/store/snapshot.h"

namespace tessera::store {
namespace {

// Cache lines one ExpireStep may touch besides the entries it deletes.
constexpr size_t kExpireCostMax = 8192;
// Hints of expiry are 16 bits of seconds; after a longer pause they are all looked at again.
constexpr int64_t kHintTrustSeconds = 30000;
constexpr uint32_t kResizeSearchTables = 1024;

}  // namespace

Keyspace::Keyspace(const KeyspaceOptions& options)
    : options_(options), internals_(std::make_unique<Internals>(options.arena_bytes_max, options.hash_seed)) {
  STORE_CHECK(!options_.cluster || options_.slot_of != nullptr);
  if (options_.cluster) options_.databases = 1;
  for (int index = 0; index < options_.databases; ++index) {
    databases_.push_back(std::unique_ptr<Database>(new Database(*this, index)));
  }
}

Keyspace::~Keyspace() {
  STORE_CHECK(snapshots_.empty());
  observers_.clear();
  FlushAll();
  while (FreeStep(SIZE_MAX)) {
  }
}

KeyRef Keyspace::Prepare(std::string_view key) const {
  return Prepare(key, options_.slot_of != nullptr ? options_.slot_of(key) : 0);
}

KeyRef Keyspace::Prepare(std::string_view key, uint16_t slot) const {
  return KeyRef(key, HashKey(key, options_.hash_seed), slot);
}

uint64_t Keyspace::RandomBelow(uint64_t limit) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(internals_->context.Random()) * limit) >> 64);
}

void Keyspace::SetNow(int64_t now_ms) {
  now_ms_ = now_ms;
  internals_->context.now_ms = now_ms;
}

void Keyspace::SetAccessPolicy(AccessPolicy policy, int lfu_log_factor, int lfu_decay_minutes) {
  access_policy_ = policy;
  lfu_log_factor_ = lfu_log_factor;
  lfu_decay_minutes_ = lfu_decay_minutes;
}

uint64_t Keyspace::IdleSeconds(EntryRef entry) const {
  return (LruClock(now_ms_) - entry.access_bits()) & kLruClockMask;
}

uint8_t Keyspace::Frequency(EntryRef entry) const {
  const uint32_t counter = entry.access_bits() & 0xff;
  if (lfu_decay_minutes_ <= 0) return static_cast<uint8_t>(counter);
  const uint32_t idle_minutes = (LfuMinutes(now_ms_) - (entry.access_bits() >> 8)) & 0xffff;
  const uint32_t periods = idle_minutes / static_cast<uint32_t>(lfu_decay_minutes_);
  return static_cast<uint8_t>(periods > counter ? 0 : counter - periods);
}

// Logarithmic counter: the higher it is, the less likely it grows.
uint32_t Keyspace::LfuIncrement(uint32_t counter, int log_factor, uint64_t random) {
  constexpr uint32_t kCounterMax = 255;
  constexpr uint32_t kInitial = 5;
  if (counter >= kCounterMax) return kCounterMax;
  const double above = counter > kInitial ? counter - kInitial : 0;
  const double chance = 1.0 / (above * log_factor + 1);
  const double draw = std::ldexp(static_cast<double>(random >> 11), -53);
  return draw < chance ? counter + 1 : counter;
}

void Keyspace::SetReclaimer(Reclaimer* reclaimer) { internals_->context.reclaimer = reclaimer; }

void Keyspace::Discard(std::unique_ptr<Object> object) {
  Reclaimer* reclaimer = internals_->context.reclaimer;
  if (reclaimer != nullptr && object->FreeEffort() > kReclaimEffortMin) reclaimer->Free(std::move(object));
}

void Keyspace::AddObserver(ChangeObserver* observer) { observers_.push_back(observer); }

void Keyspace::RemoveObserver(ChangeObserver* observer) { std::erase(observers_, observer); }

uint64_t Keyspace::size() const {
  uint64_t size = 0;
  for (const auto& database : databases_) size += database->size();
  return size;
}

void Keyspace::Swap(int first, int second) {
  if (first == second) return;
  std::swap(databases_[first]->tables_, databases_[second]->tables_);
  std::set<Internals::ElementExpiry> expiries;
  for (auto node : internals_->element_expiries) {
    if (node.db == first || node.db == second) node.db = first + second - node.db;
    expiries.insert(std::move(node));
  }
  internals_->element_expiries = std::move(expiries);
  for (ChangeObserver* observer : observers_) observer->OnSwap(first, second);
}

void Keyspace::FlushAll() {
  for (const auto& database : databases_) database->Flush();
}

ExpireResult Keyspace::ExpireStep(size_t entry_budget) {
  ExpireResult result;
  if (expiry_mode_ != ExpiryMode::kDeleteExpired || !active_expiry_) return result;
  const int64_t now_seconds = now_ms_ / 1000;
  const bool force = std::abs(now_seconds - last_expire_seconds_) > kHintTrustSeconds;
  last_expire_seconds_ = now_seconds;
  if (force) {
    for (const auto& database : databases_) {
      size_t none = 0;
      (void)database->ExpireStep(0, none, true, &result.more_due);
    }
    result.more_due = false;
  }
  result.expired = ExpireElementsStep(entry_budget, &result.more_due);
  if (result.more_due) return result;
  size_t cost_budget = kExpireCostMax;
  for (size_t i = 0; i < databases_.size(); ++i) {
    Database& database = *databases_[expire_db_];
    result.expired += database.ExpireStep(entry_budget - result.expired, cost_budget, false, &result.more_due);
    if (result.more_due) break;
    expire_db_ = (expire_db_ + 1) % databases_.size();
    if (result.expired >= entry_budget) {
      result.more_due = i + 1 < databases_.size();
      break;
    }
  }
  return result;
}

// The number of objects looked at. A large hash whose fields are all due is emptied in several steps.
size_t Keyspace::ExpireElementsStep(size_t budget, bool* more_due) {
  constexpr size_t kElementsAtOnce = 100;
  auto& expiries = internals_->element_expiries;
  size_t looked_at = 0;
  for (; !expiries.empty() && expiries.begin()->at_ms < now_ms_; ++looked_at) {
    if (looked_at * kElementsAtOnce >= budget) {
      *more_due = true;
      break;
    }
    const auto node = expiries.extract(expiries.begin());
    (void)databases_[node.value().db]->ExpireElements(node.value().key, kElementsAtOnce);
  }
  return looked_at;
}

bool Keyspace::FreeStep(size_t entry_budget) {
  constexpr size_t kReleasePages = 16;
  auto& graveyard = internals_->graveyard;
  bool more = false;
  const auto free_some = [&](Table& table, uint64_t& progress) {
    const uint64_t keys = table.size();
    const bool done = table.FreeStep(internals_->context, progress, entry_budget);
    internals_->doomed_keys -= keys - table.size();
    internals_->freed_keys += keys - table.size();
    return done;
  };
  std::erase_if(graveyard, [&](Internals::Grave& grave) {
    if (grave.HeldBySnapshot()) return false;
    size_t& budget = entry_budget;
    if (grave.one != nullptr) {
      if (budget > 0 && free_some(*grave.one, grave.progress)) return true;
    } else {
      for (; budget > 0 && grave.slot < grave.all->tables.size(); ++grave.slot, grave.progress = 0) {
        if (!free_some(grave.all->tables[grave.slot], grave.progress)) break;
      }
      if (grave.slot == grave.all->tables.size()) return true;
    }
    more = true;
    return false;
  });
  return internals_->context.arena.ReleaseStep(kReleasePages) || more;
}

void Keyspace::ReleasePages() {
  while (internals_->context.arena.ReleaseStep(SIZE_MAX)) {
  }
}

uint64_t Keyspace::doomed_keys() const { return internals_->doomed_keys; }
uint64_t Keyspace::freed_keys() const { return internals_->freed_keys; }

bool Keyspace::ResizeStep(size_t bucket_budget) {
  bool more = false;
  const uint32_t per_database = options_.cluster ? kSlotCount : 1;
  const uint32_t count = per_database * static_cast<uint32_t>(databases_.size());
  for (uint32_t i = 0; i < std::min(count, kResizeSearchTables) && !more; ++i) {
    resize_cursor_ %= count;
    KeyspaceTables& all = *databases_[resize_cursor_ / per_database]->tables_;
    more = all.tables[resize_cursor_ % per_database].ResizeStep(internals_->context, bucket_budget);
    if (!more) ++resize_cursor_;
  }
  return more;
}

size_t Keyspace::entry_bytes() const { return internals_->context.arena.used_bytes(); }
size_t Keyspace::heap_bytes() const { return internals_->context.heap_bytes + internals_->context.table_bytes; }

KeyspaceMemory Keyspace::memory() const {
  const StoreContext& context = internals_->context;
  KeyspaceMemory memory;
  memory.entry_bytes = context.arena.used_bytes();
  memory.heap_bytes = context.heap_bytes;
  memory.resident_bytes = context.arena.held_bytes();
  memory.table_bytes = context.table_bytes;
  for (const auto& database : databases_) {
    memory.table_bytes += sizeof(KeyspaceTables) + database->tables_->tables.size() * sizeof(Table);
  }
  return memory;
}

}  // namespace tessera::store
