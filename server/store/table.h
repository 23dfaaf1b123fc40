// Hash table of entries: handles into the arena, found by fingerprints, twelve to a cache line.
//
// Bucket order is hash order (bucket_array.h), therefore a hash position is a cursor that means the same before, during
// and after a resize. Small tables are rebuilt in one go, in fine steps, so that a table of 300 keys is always about
// 85% full. Large ones are resized by streaming: buckets move from the old array to the new one in hash order, a few
// with each change and more in idle time; positions below the frontier are in the new array, the rest in the old one.
// Old segments are freed behind the frontier and new ones made ahead of it, so that both together take little more than
// one.
//
// When a home is full, the newcomer takes the place of a native of the next bucket, which moves on by one in turn:
// distances stay short and every entry is at most kReachMax buckets from home.
//
// Expiry: each bucket holds a coarse hint of its earliest expiry and the table the earliest of them. A hint may be too
// early, never too late (as long as it is looked at within 9 hours, the range of 16 bits of seconds).
//
// The table owns its buckets and, through FreeStep, its entries; it needs the shared context with every call. A table
// with entries must be emptied by FreeStep before it is destroyed. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "server/store/bucket_array.h"
#include "server/store/context.h"
#include "server/store/entry.h"
#include "server/store/hash.h"

namespace tessera::store {

class Table {
 public:
  static constexpr uint32_t kNeverDue = 0xffffffff;

  Table() = default;
  Table(Table&& other) noexcept { Swap(other); }
  Table& operator=(Table&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~Table();

  uint32_t size() const { return size_; }
  uint32_t volatile_count() const { return volatile_count_; }
  // No entry expires before this unix second.
  uint32_t earliest_due() const { return earliest_due_; }
  uint32_t bucket_count() const { return buckets_.total(); }
  bool resizing() const { return resize_ != nullptr; }

  // The place that holds the key's handle, or null. Valid until the next change of the table.
  uint32_t* Find(const StoreContext& context, uint64_t hash, std::string_view key) const;
  // Adds an entry whose key is not in the table. False: out of memory.
  [[nodiscard]] bool Insert(StoreContext& context, uint64_t hash, uint32_t handle);
  // Takes an entry out; the block stays the caller's.
  void Remove(StoreContext& context, uint64_t hash, uint32_t handle);
  // The entry behind `place` now lives in `new_handle` (which may be the same) and has another expiry.
  void Replace(StoreContext& context, uint64_t hash, uint32_t* place, uint32_t new_handle, int64_t old_expiry_ms,
               int64_t new_expiry_ms);

  void PrefetchBucket(uint64_t hash) const;
  void PrefetchEntry(const StoreContext& context, uint64_t hash) const;

  // Visits the entries at home in the bucket of `position` and returns the position where the next bucket starts. A
  // walk from 0 to kEndPosition meets every entry that is in the table throughout, whatever changes between the calls;
  // entries below `position` may be met again. The visitor gets handles and must not change the table.
  template <typename Visit>
  uint64_t VisitBucket(const StoreContext& context, uint64_t position, Visit visit) const;

  // Entries with this very hash.
  template <typename Visit>
  void VisitHash(const StoreContext& context, uint64_t hash, Visit visit) const;

  // Looks for entries due by now in the bucket of `position`, appends their handles to `due`, and renews the hint. Adds
  // roughly the number of cache lines touched to `cost`. Returns the next position. A pass starts with BeginExpirePass
  // and ends with EndExpirePass; `force` distrusts the hints.
  uint64_t CollectDue(StoreContext& context, uint64_t position, bool force, std::vector<uint32_t>& due, size_t& cost);
  void BeginExpirePass() { earliest_due_ = kNeverDue; }
  void EndExpirePass(const StoreContext& context);

  // A random entry; 0 only when the table is empty. Every occupied place has the same chance.
  uint32_t RandomHandle(StoreContext& context) const;
  // The same among entries with an expiry; 0 when a bounded search found none.
  uint32_t RandomVolatileHandle(StoreContext& context) const;
  // For tables where those are rare: looks through up to `buckets` buckets (counted down) from `position` on, sets `found`
  // to an entry with an expiry or 0, and returns where to go on, kEndPosition at the end.
  uint64_t SearchVolatile(StoreContext& context, uint64_t position, size_t& buckets, uint32_t& found) const;

  // Moves a running resize on by about `buckets`; false when none is running afterwards.
  bool ResizeStep(StoreContext& context, size_t buckets);

  // Frees about `budget` entries and finally the buckets. `progress` starts at 0 and belongs to the caller. True: all
  // gone.
  bool FreeStep(StoreContext& context, uint64_t& progress, size_t& budget);

 private:
  struct Resize {
    BucketArray old;
    uint32_t next = 0;      // first home of `old` not moved yet
    uint64_t frontier = 0;  // its first position
  };
  static constexpr uint32_t kNoShrinkLimit = 0xffffffff;
  struct Location {
    BucketArray* array;
    uint32_t bucket;
    uint32_t place;
  };

  void Swap(Table& other) noexcept {
    std::swap(buckets_, other.buckets_);
    std::swap(resize_, other.resize_);
    std::swap(size_, other.size_);
    std::swap(volatile_count_, other.volatile_count_);
    std::swap(earliest_due_, other.earliest_due_);
    std::swap(shrink_below_, other.shrink_below_);
  }

  const BucketArray& ArrayOf(uint64_t position) const {
    return resize_ == nullptr || position < resize_->frontier ? buckets_ : resize_->old;
  }
  BucketArray& ArrayOf(uint64_t position) {
    return const_cast<BucketArray&>(static_cast<const Table*>(this)->ArrayOf(position));
  }
  static uint32_t HomeOfEntry(const StoreContext& context, const BucketArray& array, uint32_t handle);
  Location Locate(uint64_t hash, uint32_t handle);
  struct Victim {
    uint32_t place;
    uint32_t home;
  };
  static std::optional<Victim> ChooseVictim(const StoreContext& context, const BucketArray& array, uint32_t index,
                                            uint32_t carried_home);
  bool Place(StoreContext& context, BucketArray& array, uint64_t hash, uint32_t handle);
  void RepairReach(const StoreContext& context, BucketArray& array, uint32_t home);
  void PullBack(const StoreContext& context, BucketArray& array, uint32_t bucket);
  void MergeHint(const StoreContext& context, Bucket& bucket, uint32_t due_seconds);
  void MergeExpiry(const StoreContext& context, Bucket& bucket, int64_t expiry_ms);
  uint32_t HintSeconds(const StoreContext& context, uint16_t hint) const;
  void CollectDueIn(StoreContext& context, Bucket& bucket, bool force, std::vector<uint32_t>& due, size_t& cost);

  // table_resize.cc
  bool Rebuild(StoreContext& context, uint32_t total);
  bool FillFrom(StoreContext& context, const BucketArray& source, BucketArray& target);
  void Grow(StoreContext& context);
  void ShrinkIfSparse(StoreContext& context);
  uint32_t DensestFill() const;
  void StartStreaming(StoreContext& context, uint32_t total);
  void MoveHome(StoreContext& context);
  static uint32_t NextTotal(uint32_t total);
  uint32_t GrowthLimit() const;

  BucketArray buckets_;
  std::unique_ptr<Resize> resize_;
  uint32_t size_ = 0;
  uint32_t volatile_count_ = 0;
  uint32_t earliest_due_ = kNeverDue;
  uint32_t shrink_below_ = kNoShrinkLimit;  // at this size or more shrinking was found useless
};

template <typename Visit>
uint64_t Table::VisitBucket(const StoreContext& context, uint64_t position, Visit visit) const {
  const BucketArray& array = ArrayOf(position);
  if (array.empty()) return kEndPosition;
  const uint32_t home = array.HomeOf(static_cast<uint32_t>(position));
  const Bucket& bucket = array[home];
  if (home + 1 < array.total() && array.Exists(home + 1)) {
    const Bucket& next = array[home + 1];
    ForEachBit(next.Used(), [&](uint32_t place) { __builtin_prefetch(context.arena.At(next.handles[place])); });
  }
  ForEachBit(bucket.Used() & ~bucket.Foreign(), [&](uint32_t place) { visit(bucket.handles[place]); });
  for (uint32_t distance = 1; distance <= bucket.reach(); ++distance) {
    const Bucket& other = array[home + distance];
    ForEachBit(other.Used() & other.Foreign(), [&](uint32_t place) {
      if (HomeOfEntry(context, array, other.handles[place]) == home) visit(other.handles[place]);
    });
  }
  uint64_t next = array.StartOf(home + 1);
  // A bucket of the new array may be filled in part: its other part is still in the old one.
  if (resize_ != nullptr && position < resize_->frontier && next > resize_->frontier) next = resize_->frontier;
  return next;
}

template <typename Visit>
void Table::VisitHash(const StoreContext& context, uint64_t hash, Visit visit) const {
  const BucketArray& array = ArrayOf(PositionOf(hash));
  if (array.empty()) return;
  const uint32_t home = array.HomeOf(PositionOf(hash));
  const uint32_t reach = array[home].reach();
  for (uint32_t distance = 0; distance <= reach; ++distance) {
    const Bucket& bucket = array[home + distance];
    ForEachBit(bucket.Match(FingerprintOf(hash)), [&](uint32_t place) {
      const uint32_t handle = bucket.handles[place];
      if (HashKey(EntryRef(context.arena.At(handle)).key(), context.hash_seed) == hash) visit(handle);
    });
  }
}

}  // namespace tessera::store
