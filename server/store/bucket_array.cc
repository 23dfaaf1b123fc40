#include "server/store/bucket_array.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "server/store/check.h"

namespace tessera::store {
namespace {

constexpr uint32_t kSpareBucketsMin = 8;  // of arrays in segments
constexpr uint32_t kSpareBucketsMax = 256;

uint32_t SparesOf(uint32_t total) {
  if (total < 8) return 0;
  if (total <= BucketArray::kSmallTotal) return 1;
  return std::min(kSpareBucketsMin + total / 16, kSpareBucketsMax);
}

}  // namespace

bool BucketArray::Allocate(StoreContext& context, uint32_t total) {
  STORE_CHECK(empty() && total > 0);
  if (total <= kSmallTotal) {
    const uint32_t handle = context.arena.Allocate(total * sizeof(Bucket));
    if (handle == 0) return false;
    block_ = reinterpret_cast<Bucket*>(context.arena.At(handle));
    memset(static_cast<void*>(block_), 0, total * sizeof(Bucket));
  } else {
    const uint32_t segments = (total + kSegmentBuckets - 1) / kSegmentBuckets;
    auto** directory = static_cast<Bucket**>(calloc(segments, sizeof(Bucket*)));
    if (directory == nullptr) return false;
    directory_ = directory;
    context.table_bytes += segments * sizeof(Bucket*);
  }
  total_ = total;
  homes_ = total - SparesOf(total);
  return true;
}

size_t BucketArray::SegmentBytes(uint32_t segment) const {
  return size_t{std::min(kSegmentBuckets, total_ - segment * kSegmentBuckets)} * sizeof(Bucket);
}

bool BucketArray::NewSegment(StoreContext& context, uint32_t segment) {
  const size_t bytes = SegmentBytes(segment);
  void* memory;
  if (bytes == kSegmentBuckets * sizeof(Bucket)) {
    // Straight from the system, and straight back to it: no allocator keeps or copies these.
    memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
  } else {
    memory = aligned_alloc(alignof(Bucket), bytes);
    if (memory == nullptr) return false;
    memset(memory, 0, bytes);
  }
  context.table_bytes += bytes;
  directory_[segment] = static_cast<Bucket*>(memory);
  return true;
}

void BucketArray::FreeSegment(StoreContext& context, uint32_t segment) {
  Bucket* memory = std::exchange(directory_[segment], nullptr);
  if (memory == nullptr) return;
  const size_t bytes = SegmentBytes(segment);
  context.table_bytes -= bytes;
  if (bytes == kSegmentBuckets * sizeof(Bucket)) {
    munmap(memory, bytes);
  } else {
    free(memory);
  }
}

void BucketArray::FreeAll(StoreContext& context) {
  if (empty()) return;
  if (total_ <= kSmallTotal) {
    context.arena.Free(context.arena.HandleOf(block_));
  } else {
    for (uint32_t segment = 0; segment < SegmentCount(); ++segment) FreeSegment(context, segment);
    context.table_bytes -= SegmentCount() * sizeof(Bucket*);
    free(directory_);
  }
  homes_ = total_ = 0;
  block_ = nullptr;
}

}  // namespace tessera::store
