#include "server/store/table.h"

#include <algorithm>

#include "server/store/check.h"
#include "server/store/entry_block.h"
#include "server/store/reclaimer.h"

namespace tessera::store {
namespace {

// Hints count 16 bits of seconds; expiries further away than this are looked at again then.
constexpr int64_t kHintSecondsMax = 32000;
// How many buckets a newcomer may push natives through.
constexpr uint32_t kCascadeMax = 2048;
constexpr uint32_t kBucketsPerChange = 2;
constexpr uint32_t kFarFromHome = 6;
constexpr int kRandomTries = 128;
// Walking this many buckets counts like freeing an entry.
constexpr uint32_t kFreeBucketsPerUnit = 16;

int64_t ExpiryOf(const StoreContext& context, uint32_t handle) {
  return EntryRef(context.arena.At(handle)).expiry_ms();
}

uint64_t HashOf(const StoreContext& context, uint32_t handle) {
  return HashKey(KeyOf(context.arena.At(handle)), context.hash_seed);
}

}  // namespace

Table::~Table() { STORE_CHECK(buckets_.empty() && resize_ == nullptr); }

uint32_t* Table::Find(const StoreContext& context, uint64_t hash, std::string_view key) const {
  const uint32_t position = PositionOf(hash);
  const uint8_t fingerprint = FingerprintOf(hash);
  const BucketArray& array = ArrayOf(position);
  if (array.empty()) return nullptr;
  const uint32_t home = array.HomeOf(position);
  Bucket* bucket = &array[home];
  for (uint32_t mask = bucket->Match(fingerprint); mask != 0; mask &= mask - 1) {
    uint32_t* place = &bucket->handles[__builtin_ctz(mask)];
    if (KeyEquals(context.arena.At(*place), key)) return place;
  }
  const uint32_t reach = bucket->reach();
  for (uint32_t distance = 1; distance <= reach; ++distance) {
    bucket = &array[home + distance];
    for (uint32_t mask = bucket->Match(fingerprint) & bucket->Foreign(); mask != 0; mask &= mask - 1) {
      uint32_t* place = &bucket->handles[__builtin_ctz(mask)];
      if (KeyEquals(context.arena.At(*place), key)) return place;
    }
  }
  return nullptr;
}

bool Table::Insert(StoreContext& context, uint64_t hash, uint32_t handle) {
  if (resize_ != nullptr) {
    ResizeStep(context, kBucketsPerChange);
  } else if (size_ >= GrowthLimit()) {
    Grow(context);
  }
  if (buckets_.empty() || !Place(context, ArrayOf(PositionOf(hash)), hash, handle)) {
    // An unlucky crowd of hashes, or growth was refused memory.
    do {
      if (!Rebuild(context, NextTotal(buckets_.total()))) return false;
    } while (!Place(context, buckets_, hash, handle));
  }
  ++size_;
  if (EntryRef(context.arena.At(handle)).has_expiry()) ++volatile_count_;
  return true;
}

void Table::Remove(StoreContext& context, uint64_t hash, uint32_t handle) {
  const Location at = Locate(hash, handle);
  BucketArray& array = *at.array;
  array[at.bucket].Clear(at.place);
  const uint32_t home = array.HomeOf(PositionOf(hash));
  if (at.bucket != home) RepairReach(context, array, home);
  if (array[at.bucket].reach() > 0) PullBack(context, array, at.bucket);
  --size_;
  if (EntryRef(context.arena.At(handle)).has_expiry()) --volatile_count_;
  if (resize_ != nullptr) {
    ResizeStep(context, kBucketsPerChange);
  } else {
    ShrinkIfSparse(context);
  }
}

void Table::Replace(StoreContext& context, uint64_t hash, uint32_t* place, uint32_t new_handle, int64_t old_expiry_ms,
                    int64_t new_expiry_ms) {
  *place = new_handle;
  volatile_count_ -= old_expiry_ms != kNoExpiry;
  volatile_count_ += new_expiry_ms != kNoExpiry;
  if (new_expiry_ms != kNoExpiry && new_expiry_ms != old_expiry_ms) {
    const Location at = Locate(hash, new_handle);
    MergeExpiry(context, (*at.array)[at.bucket], new_expiry_ms);
  }
}

void Table::PrefetchBucket(uint64_t hash) const {
  const BucketArray& array = ArrayOf(PositionOf(hash));
  if (!array.empty()) __builtin_prefetch(&array[array.HomeOf(PositionOf(hash))]);
}

void Table::PrefetchEntry(const StoreContext& context, uint64_t hash) const {
  const BucketArray& array = ArrayOf(PositionOf(hash));
  if (array.empty()) return;
  const Bucket& bucket = array[array.HomeOf(PositionOf(hash))];
  const uint32_t mask = bucket.Match(FingerprintOf(hash));
  if (mask != 0) __builtin_prefetch(context.arena.At(bucket.handles[__builtin_ctz(mask)]));
}

uint32_t Table::HomeOfEntry(const StoreContext& context, const BucketArray& array, uint32_t handle) {
  return array.HomeOf(PositionOf(HashOf(context, handle)));
}

Table::Location Table::Locate(uint64_t hash, uint32_t handle) {
  BucketArray& array = ArrayOf(PositionOf(hash));
  const uint32_t home = array.HomeOf(PositionOf(hash));
  const uint32_t reach = array[home].reach();
  for (uint32_t bucket = home; bucket <= home + reach; ++bucket) {
    for (uint32_t mask = array[bucket].Match(FingerprintOf(hash)); mask != 0; mask &= mask - 1) {
      const uint32_t place = __builtin_ctz(mask);
      if (array[bucket].handles[place] == handle) return {&array, bucket, place};
    }
  }
  STORE_CHECK(!"entry is in its table");
  return {};
}

bool Table::Place(StoreContext& context, BucketArray& array, uint64_t hash, uint32_t handle) {
  const uint32_t home = array.HomeOf(PositionOf(hash));
  const uint8_t fingerprint = FingerprintOf(hash);
  if (!array.Ensure(context, home)) return false;
  const int64_t expiry_ms = ExpiryOf(context, handle);
  if (const uint32_t free = array[home].Free(); free != 0) {
    array[home].Put(__builtin_ctz(free), fingerprint, handle, false);
    if (expiry_ms != kNoExpiry) MergeExpiry(context, array[home], expiry_ms);
    return true;
  }
  // First find out how far the push goes and that nobody ends up too far from home; nothing is changed until then.
  uint32_t end = home + 1;
  for (uint32_t carried_home = home;; ++end) {
    if (end >= array.total() || end - home > kCascadeMax || end - carried_home > Bucket::kReachMax) return false;
    if (!array.Ensure(context, end)) return false;
    if (array[end].Free() != 0) break;
    if (const auto victim = ChooseVictim(context, array, end, carried_home)) carried_home = victim->home;
  }
  struct {
    uint32_t handle;
    uint32_t home;
    uint8_t fingerprint;
    bool has_due;
    uint32_t due_seconds;
  } carried{handle, home, fingerprint, false, 0};
  int64_t first_expiry_ms = expiry_ms;
  for (uint32_t index = home + 1; index <= end; ++index) {
    Bucket& bucket = array[index];
    const auto arriving = carried;
    uint32_t place;
    if (index == end) {
      place = __builtin_ctz(bucket.Free());
    } else {
      const auto victim = ChooseVictim(context, array, index, carried.home);
      if (!victim) continue;
      place = victim->place;
      // The victim may be the one the hint is about; taking the hint along is cheaper than looking at it.
      carried = {bucket.handles[place], victim->home, bucket.fingerprints[place], bucket.due_hint != 0,
                 bucket.due_hint != 0 ? HintSeconds(context, bucket.due_hint) : 0};
    }
    bucket.Put(place, arriving.fingerprint, arriving.handle, true);
    if (first_expiry_ms != kNoExpiry) {
      MergeExpiry(context, bucket, first_expiry_ms);
      first_expiry_ms = kNoExpiry;
    }
    if (arriving.has_due) MergeHint(context, bucket, arriving.due_seconds);
    Bucket& native_land = array[arriving.home];
    native_land.set_reach(std::max(native_land.reach(), index - arriving.home));
  }
  return true;
}

// Whose place in a full bucket an entry at home in `carried_home` takes: a native's; when there is none and the entry
// is far from home already, that of the foreigner with the shortest way, if shorter than the entry's own.
std::optional<Table::Victim> Table::ChooseVictim(const StoreContext& context, const BucketArray& array, uint32_t index,
                                                 uint32_t carried_home) {
  const Bucket& bucket = array[index];
  const uint32_t natives = Bucket::kAllPlaces & ~bucket.Foreign();
  if (natives != 0) return Victim{static_cast<uint32_t>(__builtin_ctz(natives)), index};
  if (index - carried_home < kFarFromHome) return std::nullopt;
  Victim best{0, carried_home};
  for (uint32_t place = 0; place < Bucket::kPlaces; ++place) {
    const uint32_t home = HomeOfEntry(context, array, bucket.handles[place]);
    if (home > best.home) best = {place, home};
  }
  if (best.home == carried_home) return std::nullopt;
  return best;
}

void Table::RepairReach(const StoreContext& context, BucketArray& array, uint32_t home) {
  uint32_t reach = array[home].reach();
  for (; reach > 0; --reach) {
    const Bucket& bucket = array[home + reach];
    bool found = false;
    for (uint32_t mask = bucket.Used() & bucket.Foreign(); mask != 0 && !found; mask &= mask - 1) {
      found = HomeOfEntry(context, array, bucket.handles[__builtin_ctz(mask)]) == home;
    }
    if (found) break;
  }
  array[home].set_reach(reach);
}

void Table::PullBack(const StoreContext& context, BucketArray& array, uint32_t index) {
  Bucket& bucket = array[index];
  Bucket& other = array[index + bucket.reach()];
  for (uint32_t mask = other.Used() & other.Foreign(); mask != 0; mask &= mask - 1) {
    const uint32_t place = __builtin_ctz(mask);
    const uint32_t handle = other.handles[place];
    if (HomeOfEntry(context, array, handle) != index) continue;
    bucket.Put(__builtin_ctz(bucket.Free()), other.fingerprints[place], handle, false);
    const int64_t expiry_ms = ExpiryOf(context, handle);
    if (expiry_ms != kNoExpiry) MergeExpiry(context, bucket, expiry_ms);
    other.Clear(place);
    RepairReach(context, array, index);
    return;
  }
  STORE_CHECK(!"reach is exact");
}

uint32_t Table::HintSeconds(const StoreContext& context, uint16_t hint) const {
  const uint32_t now = context.now_seconds();
  return now + static_cast<int16_t>(static_cast<uint16_t>(hint - static_cast<uint16_t>(now)));
}

void Table::MergeHint(const StoreContext& context, Bucket& bucket, uint32_t due_seconds) {
  if ((due_seconds & 0xffff) == 0) --due_seconds;  // 0 means none
  earliest_due_ = std::min(earliest_due_, due_seconds);
  if (bucket.due_hint == 0 || static_cast<int32_t>(due_seconds - HintSeconds(context, bucket.due_hint)) < 0) {
    bucket.due_hint = static_cast<uint16_t>(due_seconds);
  }
}

void Table::MergeExpiry(const StoreContext& context, Bucket& bucket, int64_t expiry_ms) {
  const int64_t now = context.now_seconds();
  MergeHint(context, bucket,
            static_cast<uint32_t>(now + std::clamp<int64_t>(expiry_ms / 1000 - now, 0, kHintSecondsMax)));
}

void Table::CollectDueIn(StoreContext& context, Bucket& bucket, bool force, std::vector<uint32_t>& due, size_t& cost) {
  ++cost;
  if (bucket.due_hint == 0) return;
  const uint32_t hinted = HintSeconds(context, bucket.due_hint);
  if (!force && static_cast<int32_t>(hinted - context.now_seconds()) > 0) {
    earliest_due_ = std::min(earliest_due_, hinted);
    return;
  }
  bucket.due_hint = 0;
  ForEachBit(bucket.Used(), [&](uint32_t place) { __builtin_prefetch(context.arena.At(bucket.handles[place])); });
  ForEachBit(bucket.Used(), [&](uint32_t place) {
    ++cost;
    const int64_t expiry_ms = ExpiryOf(context, bucket.handles[place]);
    if (expiry_ms == kNoExpiry) return;
    if (expiry_ms < context.now_ms) due.push_back(bucket.handles[place]);
    MergeExpiry(context, bucket, expiry_ms);
  });
}

uint64_t Table::CollectDue(StoreContext& context, uint64_t position, bool force, std::vector<uint32_t>& due,
                           size_t& cost) {
  const BucketArray& array = ArrayOf(position);
  if (array.empty()) return kEndPosition;
  const uint32_t home = array.HomeOf(static_cast<uint32_t>(position));
  CollectDueIn(context, array[home], force, due, cost);
  if (home + 1 == array.homes()) {
    for (uint32_t spare = home + 1; spare < array.total(); ++spare) {
      if (array.Exists(spare)) CollectDueIn(context, array[spare], force, due, cost);
    }
  }
  uint64_t next = array.StartOf(home + 1);
  if (resize_ != nullptr && position < resize_->frontier && next > resize_->frontier) next = resize_->frontier;
  return next;
}

void Table::EndExpirePass(const StoreContext& context) {
  // Foreigners beyond the frontier of a running resize were passed over.
  if (resize_ != nullptr && volatile_count_ > 0) earliest_due_ = std::min(earliest_due_, context.now_seconds());
}

uint32_t Table::RandomHandle(StoreContext& context) const {
  if (size_ == 0) return 0;
  for (int i = 0; i < kRandomTries; ++i) {
    const uint32_t random = static_cast<uint32_t>(context.Random() >> 32);
    // During a resize by position, so that both arrays are drawn from in proportion; otherwise any bucket, spares
    // included.
    const BucketArray& array = ArrayOf(random);
    const uint32_t index = resize_ != nullptr ? array.HomeOf(random) : context.RandomBelow(array.total());
    const Bucket& bucket = array[index];
    const uint32_t place = context.RandomBelow(Bucket::kPlaces);
    if (bucket.fingerprints[place] != 0) return bucket.handles[place];
  }
  // Nearly empty: take the first one from a random place on.
  uint64_t position = context.Random() >> 32;
  for (int round = 0; round < 2; ++round, position = 0) {
    while (position < kEndPosition) {
      uint32_t found = 0;
      position = VisitBucket(context, position, [&](uint32_t handle) { found = handle; });
      if (found != 0) return found;
    }
  }
  STORE_CHECK(!"a table with entries has one");
  return 0;
}

uint32_t Table::RandomVolatileHandle(StoreContext& context) const {
  if (volatile_count_ == 0) return 0;
  for (int i = 0; i < kRandomTries; ++i) {
    size_t buckets = 1;
    uint32_t found;
    SearchVolatile(context, context.Random() >> 32, buckets, found);
    if (found != 0) return found;
  }
  return 0;
}

uint64_t Table::SearchVolatile(StoreContext& context, uint64_t position, size_t& buckets, uint32_t& found) const {
  found = 0;
  uint32_t seen = 0;
  const auto look = [&](const Bucket& bucket) {
    if (bucket.due_hint == 0) return;
    ForEachBit(bucket.Used(), [&](uint32_t place) {
      if (EntryRef(context.arena.At(bucket.handles[place])).has_expiry() && context.RandomBelow(++seen) == 0)
        found = bucket.handles[place];
    });
  };
  while (position < kEndPosition && buckets > 0 && found == 0) {
    --buckets;
    const BucketArray& array = ArrayOf(static_cast<uint32_t>(position));
    if (array.empty()) return kEndPosition;
    const uint32_t home = array.HomeOf(static_cast<uint32_t>(position));
    look(array[home]);
    if (home + 1 == array.homes()) {
      for (uint32_t spare = home + 1; spare < array.total(); ++spare) {
        if (array.Exists(spare)) look(array[spare]);
      }
    }
    uint64_t next = array.StartOf(home + 1);
    if (resize_ != nullptr && position < resize_->frontier && next > resize_->frontier) next = resize_->frontier;
    position = next;
  }
  return position;
}

bool Table::FreeStep(StoreContext& context, uint64_t& progress, size_t& budget) {
  // Bucket numbers run through the old array first.
  const uint64_t old_total = resize_ == nullptr ? 0 : resize_->old.total();
  const uint64_t end = old_total + buckets_.total();
  for (; progress < end; ++progress) {
    if (budget == 0) return false;
    const bool in_old = progress < old_total;
    BucketArray& array = in_old ? resize_->old : buckets_;
    const uint32_t index = static_cast<uint32_t>(in_old ? progress : progress - old_total);
    if (index % kFreeBucketsPerUnit == 0) --budget;
    if (!array.Exists(index)) continue;
    const Bucket& bucket = array[index];
    ForEachBit(bucket.Used(), [&](uint32_t place) { __builtin_prefetch(context.arena.At(bucket.handles[place])); });
    ForEachBit(bucket.Used(), [&](uint32_t place) {
      // A small object is freed here, piece by piece; a large one is only handed over.
      const Object* object = EntryRef(context.arena.At(bucket.handles[place])).object();
      size_t cost = 1;
      if (object != nullptr) cost += std::min(object->FreeEffort(), kReclaimEffortMin);
      FreeEntry(context, bucket.handles[place]);
      --size_;
      budget -= std::min(budget, cost);
    });
    if (array.total() > BucketArray::kSmallTotal && (index + 1) % BucketArray::kSegmentBuckets == 0) {
      array.FreeSegment(context, index / BucketArray::kSegmentBuckets);
    }
  }
  if (resize_ != nullptr) resize_->old.FreeAll(context);
  resize_ = nullptr;
  buckets_.FreeAll(context);
  volatile_count_ = 0;
  STORE_CHECK(size_ == 0);
  return true;
}

}  // namespace tessera::store
