// Buckets of a hash table in hash order, and where they live.
//
// A bucket is one cache line with places for twelve entries. Keys belong to ("are at home in") the bucket that the
// upper half of their hash scales to, so that the order of buckets is the order of hashes, whatever their number. A key
// whose home is full lives as a "foreigner" in one of the next buckets; spare buckets at the end take what the last
// homes cannot hold.
//
// Arrays of up to 64 buckets are one arena block of exactly that size. Larger ones are segments of 256 KiB behind a
// directory; a segment may be missing until it is needed, and be freed before the others.
#pragma once

#include <emmintrin.h>

#include <cstdint>
#include <utility>

#include "server/store/context.h"

namespace tessera::store {

struct alignas(64) Bucket {
  static constexpr uint32_t kPlaces = 12;
  static constexpr uint32_t kAllPlaces = (1u << kPlaces) - 1;
  static constexpr uint32_t kReachMax = 15;

  uint8_t fingerprints[kPlaces];  // 0: empty
  uint16_t due_hint;              // earliest expiry in here or earlier than that, seconds modulo 2^16; 0: none
  uint16_t meta;                  // bits 0-11: places of foreigners; 12-15: reach
  uint32_t handles[kPlaces];

  uint32_t Match(uint8_t fingerprint) const {
    const __m128i line = _mm_load_si128(reinterpret_cast<const __m128i*>(this));
    const __m128i equal = _mm_cmpeq_epi8(line, _mm_set1_epi8(static_cast<char>(fingerprint)));
    return static_cast<uint32_t>(_mm_movemask_epi8(equal)) & kAllPlaces;
  }
  uint32_t Used() const { return ~Match(0) & kAllPlaces; }
  uint32_t Free() const { return Match(0); }
  uint32_t Foreign() const { return meta & kAllPlaces; }
  // Up to how many buckets further on entries at home here may be found; exact.
  uint32_t reach() const { return meta >> kPlaces; }
  void set_reach(uint32_t reach) { meta = static_cast<uint16_t>((meta & kAllPlaces) | reach << kPlaces); }

  void Put(uint32_t place, uint8_t fingerprint, uint32_t handle, bool foreign) {
    fingerprints[place] = fingerprint;
    handles[place] = handle;
    meta = static_cast<uint16_t>((meta & ~(1u << place)) | uint32_t{foreign} << place);
  }
  void Clear(uint32_t place) { Put(place, 0, 0, false); }
};
static_assert(sizeof(Bucket) == 64);

// Hash positions are 32 bits; the end is one past the last.
inline constexpr uint64_t kEndPosition = uint64_t{1} << 32;

// For each set bit of `mask`, lowest first.
template <typename Visit>
inline void ForEachBit(uint32_t mask, Visit visit) {
  for (; mask != 0; mask &= mask - 1) visit(static_cast<uint32_t>(__builtin_ctz(mask)));
}

class BucketArray {
 public:
  static constexpr uint32_t kSmallTotal = 64;
  static constexpr uint32_t kSegmentBuckets = 4096;

  BucketArray() = default;
  BucketArray(BucketArray&& other) noexcept { *this = std::move(other); }
  BucketArray& operator=(BucketArray&& other) noexcept {
    homes_ = std::exchange(other.homes_, 0);
    total_ = std::exchange(other.total_, 0);
    block_ = std::exchange(other.block_, nullptr);
    return *this;
  }

  // The array must be empty. Large arrays get their directory only. False: out of memory.
  [[nodiscard]] bool Allocate(StoreContext& context, uint32_t total);
  // Makes the bucket's segment exist.
  [[nodiscard]] bool Ensure(StoreContext& context, uint32_t bucket) {
    return total_ <= kSmallTotal || directory_[bucket / kSegmentBuckets] != nullptr ||
           NewSegment(context, bucket / kSegmentBuckets);
  }
  bool Exists(uint32_t bucket) const {
    return total_ <= kSmallTotal || directory_[bucket / kSegmentBuckets] != nullptr;
  }
  void FreeSegment(StoreContext& context, uint32_t segment);
  void FreeAll(StoreContext& context);

  uint32_t homes() const { return homes_; }
  uint32_t total() const { return total_; }  // homes and spares
  bool empty() const { return total_ == 0; }

  Bucket& operator[](uint32_t bucket) const {
    return total_ <= kSmallTotal ? block_[bucket] : directory_[bucket / kSegmentBuckets][bucket % kSegmentBuckets];
  }

  uint32_t HomeOf(uint32_t position) const { return static_cast<uint32_t>((uint64_t{position} * homes_) >> 32); }
  // The first position at home in `bucket`; kEndPosition for the bucket after the last home.
  uint64_t StartOf(uint32_t bucket) const { return ((uint64_t{bucket} << 32) + homes_ - 1) / homes_; }

 private:
  bool NewSegment(StoreContext& context, uint32_t segment);
  size_t SegmentBytes(uint32_t segment) const;
  uint32_t SegmentCount() const { return (total_ + kSegmentBuckets - 1) / kSegmentBuckets; }

  uint32_t homes_ = 0;
  uint32_t total_ = 0;
  union {
    Bucket* block_ = nullptr;
    Bucket** directory_;
  };
};

}  // namespace tessera::store
