// How a Table grows and shrinks.
#include <algorithm>

#include "server/store/check.h"
#include "server/store/entry_block.h"
#include "server/store/table.h"

namespace tessera::store {
namespace {

// Entries per place, in percent.
constexpr uint32_t kSmallFillMax = 92;  // of all places: the one spare bucket counts
constexpr uint64_t kLargeFillMax = 87;  // of the homes' places
constexpr uint64_t kFillMin = 45;
constexpr uint64_t kFillAfterShrink = 72;
// Of a large table, the fill of this many windows of so many neighbouring buckets tells how evenly it is filled.
constexpr uint32_t kFillWindows = 32;
constexpr uint32_t kFillWindowBuckets = 32;
constexpr uint32_t kNoLimitBelow = 8;  // arrays this small grow when a newcomer finds no place

void PrefetchEntries(const StoreContext& context, const BucketArray& array, uint32_t index) {
  if (index >= array.total() || !array.Exists(index)) return;
  const Bucket& bucket = array[index];
  ForEachBit(bucket.Used(), [&](uint32_t place) { __builtin_prefetch(context.arena.At(bucket.handles[place])); });
}

}  // namespace

uint32_t Table::GrowthLimit() const {
  const uint32_t total = buckets_.total();
  if (total < kNoLimitBelow) return total * Bucket::kPlaces;
  if (total <= BucketArray::kSmallTotal) return total * Bucket::kPlaces * kSmallFillMax / 100;
  return static_cast<uint32_t>(uint64_t{buckets_.homes()} * Bucket::kPlaces * kLargeFillMax / 100);
}

uint32_t Table::NextTotal(uint32_t total) {
  if (total >= BucketArray::kSmallTotal) return total + total / 3;
  const uint32_t next = std::max(total + 1, total + total / 8);
  // No more than 64, and exactly what its arena block holds.
  return static_cast<uint32_t>(Arena::RoundUp(next * sizeof(Bucket)) / sizeof(Bucket));
}

void Table::Grow(StoreContext& context) {
  const uint32_t total = NextTotal(buckets_.total());
  if (buckets_.total() <= BucketArray::kSmallTotal) {
    (void)Rebuild(context, total);  // refused memory: the fuller table goes on as long as it finds places
  } else {
    StartStreaming(context, total);
  }
}

// Entries per place in the fullest of some parts of a large table, in percent.
uint32_t Table::DensestFill() const {
  uint32_t densest = 0;
  for (uint32_t window = 0; window < kFillWindows; ++window) {
    const auto first = static_cast<uint32_t>(uint64_t{buckets_.total()} * window / kFillWindows);
    const uint32_t end = std::min(first + kFillWindowBuckets, buckets_.total());
    uint32_t used = 0;
    for (uint32_t index = first; index < end; ++index) {
      if (buckets_.Exists(index)) used += static_cast<uint32_t>(__builtin_popcount(buckets_[index].Used()));
    }
    densest = std::max(densest, used * 100 / ((end - first) * Bucket::kPlaces));
  }
  return densest;
}

// Keys that go in hash order (the expiry cycle, SCAN with DEL, a slot that moves away) leave one part of the table empty
// and the other one full. The full part must find room in the smaller array; if it does not, shrinking waits until
// more is gone, so that it is not tried, and paid for, with every removal.
void Table::ShrinkIfSparse(StoreContext& context) {
  const uint64_t places = uint64_t{buckets_.total()} * Bucket::kPlaces;
  if (size_ == 0) {
    // A large array that is being emptied has shrunk on the way here.
    if (buckets_.total() <= BucketArray::kSmallTotal) {
      buckets_.FreeAll(context);
      earliest_due_ = kNeverDue;
      return;
    }
  }
  if (buckets_.total() <= 1 || size_ * uint64_t{100} >= places * kFillMin || size_ >= shrink_below_) return;
  uint64_t wanted = std::max<uint64_t>(1, size_ * uint64_t{100} / (kFillAfterShrink * Bucket::kPlaces) + 1);
  if (wanted >= buckets_.total()) return;
  if (buckets_.total() <= BucketArray::kSmallTotal) {
    const uint32_t before = buckets_.total();
    (void)Rebuild(context, static_cast<uint32_t>(Arena::RoundUp(wanted * sizeof(Bucket)) / sizeof(Bucket)));
    if (buckets_.total() >= before) shrink_below_ = size_ - size_ / 8;
  } else {
    const uint64_t densest = DensestFill();
    if (densest * places > size_ * uint64_t{125}) wanted = std::max(wanted, buckets_.total() * densest / kFillAfterShrink);
    if (wanted * 5 > buckets_.total() * uint64_t{4}) {
      shrink_below_ = size_ - size_ / 16;
      return;
    }
    uint32_t total = static_cast<uint32_t>(wanted);
    if (total <= BucketArray::kSmallTotal) {
      total = static_cast<uint32_t>(Arena::RoundUp(wanted * sizeof(Bucket)) / sizeof(Bucket));
    }
    StartStreaming(context, total);
  }
}

bool Table::FillFrom(StoreContext& context, const BucketArray& source, BucketArray& target) {
  for (uint32_t index = 0; index < source.total(); ++index) {
    PrefetchEntries(context, source, index + 1);
    if (!source.Exists(index)) continue;
    const Bucket& bucket = source[index];
    for (uint32_t mask = bucket.Used(); mask != 0; mask &= mask - 1) {
      const uint32_t handle = bucket.handles[__builtin_ctz(mask)];
      if (!Place(context, target, HashKey(KeyOf(context.arena.At(handle)), context.hash_seed), handle)) return false;
    }
  }
  return true;
}

// All entries into one new array of `total` buckets, or more if they do not find places in it.
bool Table::Rebuild(StoreContext& context, uint32_t total) {
  for (;; total = NextTotal(total)) {
    BucketArray target;
    if (!target.Allocate(context, total)) return false;
    for (uint32_t index = 0; index < total; index += BucketArray::kSegmentBuckets) {
      if (!target.Ensure(context, index)) {
        target.FreeAll(context);
        return false;
      }
    }
    PrefetchEntries(context, buckets_, 0);
    if ((resize_ == nullptr || FillFrom(context, resize_->old, target)) && FillFrom(context, buckets_, target)) {
      if (resize_ != nullptr) resize_->old.FreeAll(context);
      resize_ = nullptr;
      buckets_.FreeAll(context);
      buckets_ = std::move(target);
      shrink_below_ = kNoShrinkLimit;
      return true;
    }
    target.FreeAll(context);
  }
}

void Table::StartStreaming(StoreContext& context, uint32_t total) {
  BucketArray target;
  if (!target.Allocate(context, total)) return;
  resize_ = std::make_unique<Resize>();
  resize_->old = std::move(buckets_);
  buckets_ = std::move(target);
  shrink_below_ = kNoShrinkLimit;
}

bool Table::ResizeStep(StoreContext& context, size_t buckets) {
  for (; buckets > 0 && resize_ != nullptr; --buckets) {
    const BucketArray& old = resize_->old;
    if (resize_->next == old.homes()) {
      resize_->old.FreeAll(context);
      resize_ = nullptr;
      ShrinkIfSparse(context);
      break;
    }
    const uint32_t before = resize_->next;
    MoveHome(context);
    if (resize_ == nullptr) break;
    if (resize_->next == before) return true;  // out of memory: tried again with the next change
  }
  if (resize_ == nullptr) return false;
  // For the next call.
  for (uint32_t ahead = 0; ahead < 3; ++ahead) PrefetchEntries(context, resize_->old, resize_->next + ahead);
  return true;
}

// Moves the entries of one home to the new array and the frontier past it.
void Table::MoveHome(StoreContext& context) {
  BucketArray& old = resize_->old;
  const uint32_t home = resize_->next;
  const uint64_t frontier = old.StartOf(home + 1);
  // Everything up to the frontier must exist, for lookups; and a segment more, so that pushing entries on cannot fail
  // halfway.
  const uint32_t first = buckets_.HomeOf(static_cast<uint32_t>(old.StartOf(home)));
  const uint32_t last = std::min(buckets_.HomeOf(static_cast<uint32_t>(frontier - 1)) + BucketArray::kSegmentBuckets,
                                 buckets_.total() - 1);
  for (uint32_t index = first; index <= last; index += BucketArray::kSegmentBuckets) {
    if (!buckets_.Ensure(context, index)) return;
  }
  if (!buckets_.Ensure(context, last)) return;

  PrefetchEntries(context, old, home + 3);
  bool placed = true;
  const auto move = [&](Bucket& bucket, uint32_t place) {
    const uint32_t handle = bucket.handles[place];
    const uint64_t hash = HashKey(KeyOf(context.arena.At(handle)), context.hash_seed);
    if (old.HomeOf(PositionOf(hash)) != home) return;
    if (placed) placed = Place(context, buckets_, hash, handle);
    if (placed) bucket.Clear(place);
  };
  const uint32_t reach = old[home].reach();
  for (uint32_t distance = 0; distance <= reach; ++distance) {
    Bucket& bucket = old[home + distance];
    const uint32_t mask = distance == 0 ? bucket.Used() : bucket.Used() & bucket.Foreign();
    ForEachBit(mask, [&](uint32_t place) { move(bucket, place); });
  }
  if (!placed) {
    // A crowd at the end of a small array, or in a part of a large one. Every entry is in one array or the other: start
    // over with more room.
    STORE_CHECK(Rebuild(context, NextTotal(buckets_.total())));
    shrink_below_ = size_ - size_ / 2;
    return;
  }
  old[home].set_reach(0);
  resize_->next = home + 1;
  resize_->frontier = frontier;
  if (old.total() > BucketArray::kSmallTotal && (home + 1) % BucketArray::kSegmentBuckets == 0) {
    old.FreeSegment(context, home / BucketArray::kSegmentBuckets);
  }
}

}  // namespace tessera::store
