#include "server/store/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "server/store/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

namespace tessera::store {
namespace {

constexpr size_t kReservePages = 64;
constexpr uint32_t kWritableStepPages = 2048;  // 64 MiB
constexpr size_t kMetadataAlignment = 4096;

// Every multiple of 8 to 256, then steps of 12 to 6 percent. From 320 on most are multiples of 64, because tables of up
// to 64 buckets live here too.
constexpr int kClassCount = 32 + 8 + 8 + 22;

constexpr std::array<uint16_t, kClassCount> kClassBytes = [] {
  std::array<uint16_t, kClassCount> sizes{};
  int n = 0;
  for (int bytes = 8; bytes <= 256; bytes += 8) sizes[n++] = bytes;
  for (int bytes = 288; bytes <= 512; bytes += 32) sizes[n++] = bytes;
  for (int bytes = 576; bytes <= 1024; bytes += 64) sizes[n++] = bytes;
  for (int bytes = 1088; bytes <= 1536; bytes += 64) sizes[n++] = bytes;
  for (int bytes = 1664; bytes <= 2560; bytes += 128) sizes[n++] = bytes;
  for (int bytes = 2816; bytes <= 4096; bytes += 256) sizes[n++] = bytes;
  return sizes;
}();
static_assert(kClassBytes.back() == Arena::kBlockBytesMax);

// Class by size in granules.
constexpr std::array<uint8_t, Arena::kBlockBytesMax / Arena::kGranule + 1> kClassOf = [] {
  std::array<uint8_t, Arena::kBlockBytesMax / Arena::kGranule + 1> classes{};
  int size_class = 0;
  for (size_t granules = 0; granules < classes.size(); ++granules) {
    if (granules * Arena::kGranule > kClassBytes[size_class]) ++size_class;
    classes[granules] = size_class;
  }
  return classes;
}();

uint8_t ClassOf(size_t bytes) { return kClassOf[(bytes + Arena::kGranule - 1) / Arena::kGranule]; }

constexpr uint32_t kGranulesPerPage = Arena::kPageBytes / Arena::kGranule;

}  // namespace

Arena::Arena(size_t bytes) : with_room_(kClassCount, kNoPage) {
  constexpr size_t kBytesMax = size_t{32} << 30;
  constexpr size_t kBytesMin = size_t{1} << 20;
  bytes = std::clamp(bytes, kBytesMin, kBytesMax) / kPageBytes * kPageBytes;
  for (;; bytes = std::max(bytes / 2 / kPageBytes * kPageBytes, kBytesMin)) {
    const size_t page_count = bytes / kPageBytes;
    const size_t metadata_bytes =
        (page_count * sizeof(Page) + kMetadataAlignment - 1) / kMetadataAlignment * kMetadataAlignment;
    range_bytes_ = metadata_bytes + bytes;
    range_ = mmap(nullptr, range_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range_ != MAP_FAILED) {
      if (mprotect(range_, metadata_bytes, PROT_READ | PROT_WRITE) == 0) {
        pages_ = static_cast<Page*>(range_);
        base_ = static_cast<uint8_t*>(range_) + metadata_bytes;
        page_limit_ = static_cast<uint32_t>(page_count);
        return;
      }
      munmap(range_, range_bytes_);
    }
    // Not even a megabyte: the first Allocate reports it.
    if (bytes == kBytesMin) {
      range_ = nullptr;
      return;
    }
  }
}

Arena::~Arena() {
  if (range_ == nullptr) return;
  ASAN_UNPOISON_MEMORY_REGION(base_, size_t{frontier_} * kPageBytes);
  munmap(range_, range_bytes_);
}

size_t Arena::RoundUp(size_t bytes) { return bytes <= kBlockBytesMax ? kClassBytes[ClassOf(bytes)] : bytes; }

uint32_t Arena::Allocate(size_t bytes) {
  STORE_CHECK(bytes <= kBlockBytesMax);
  const uint8_t size_class = ClassOf(bytes);
  uint32_t page_index = with_room_[size_class];
  if (page_index == kNoPage) {
    page_index = TakePage(size_class);
    if (page_index == kNoPage) return 0;
  }
  Page& page = pages_[page_index];
  const size_t block_bytes = kClassBytes[size_class];
  uint8_t* page_base = base_ + size_t{page_index} * kPageBytes;
  uint8_t* block;
  if (page.free_head != kNoBlock) {
    block = page_base + page.free_head * kGranule;
    ASAN_UNPOISON_MEMORY_REGION(block, block_bytes);
    memcpy(&page.free_head, block, sizeof(page.free_head));
  } else {
    block = page_base + page.fresh * block_bytes;
    ASAN_UNPOISON_MEMORY_REGION(block, block_bytes);
    ++page.fresh;
  }
  ++page.used;
  if (page.free_head == kNoBlock && (page.fresh + size_t{1}) * block_bytes > kPageBytes) Unlink(page_index);
  used_bytes_ += block_bytes;
  return HandleOf(block);
}

void Arena::Free(uint32_t handle) {
  const uint32_t page_index = handle / kGranulesPerPage;
  STORE_CHECK(page_index != kNoPage && page_index < frontier_);
  Page& page = pages_[page_index];
  STORE_CHECK(page.used > 0);
  const size_t block_bytes = kClassBytes[page.size_class];
  uint8_t* block = At(handle);
  memcpy(block, &page.free_head, sizeof(page.free_head));
  ASAN_POISON_MEMORY_REGION(block, block_bytes);
  page.free_head = static_cast<uint16_t>(handle % kGranulesPerPage);
  used_bytes_ -= block_bytes;
  if (--page.used == 0) {
    if (page.listed) Unlink(page_index);
    GivePage(page_index);
  } else if (!page.listed) {
    Link(page_index);
  }
}

uint32_t Arena::TakePage(uint8_t size_class) {
  uint32_t index;
  if (!empty_.empty()) {
    index = empty_.back();
    empty_.pop_back();
  } else if (!released_.empty()) {
    index = released_.back();
    released_.pop_back();
  } else {
    if (frontier_ >= page_limit_) return kNoPage;
    if (frontier_ >= writable_limit_) {
      // Made writable in steps, so that under strict overcommit only what is used counts.
      const uint32_t limit = std::min(page_limit_, writable_limit_ + kWritableStepPages);
      if (mprotect(base_ + size_t{writable_limit_} * kPageBytes, size_t{limit - writable_limit_} * kPageBytes,
                   PROT_READ | PROT_WRITE) != 0) {
        return kNoPage;
      }
      writable_limit_ = limit;
    }
    index = frontier_++;
    ASAN_POISON_MEMORY_REGION(base_ + size_t{index} * kPageBytes, kPageBytes);
  }
  pages_[index] = Page{.size_class = size_class, .listed = false, .used = 0, .fresh = 0, .free_head = kNoBlock};
  ++pages_in_use_;
  Link(index);
  return index;
}

void Arena::GivePage(uint32_t page) {
  --pages_in_use_;
  empty_.push_back(page);
}

bool Arena::ReleaseStep(size_t pages) {
  for (; pages > 0 && empty_.size() > kReservePages; --pages) {
    const uint32_t page = empty_.back();
    empty_.pop_back();
    madvise(base_ + size_t{page} * kPageBytes, kPageBytes, MADV_DONTNEED);
    released_.push_back(page);
  }
  return empty_.size() > kReservePages;
}

void Arena::Link(uint32_t index) {
  Page& page = pages_[index];
  uint32_t& head = with_room_[page.size_class];
  page.previous = kNoPage;
  page.next = head;
  page.listed = true;
  if (head != kNoPage) pages_[head].previous = index;
  head = index;
}

void Arena::Unlink(uint32_t index) {
  Page& page = pages_[index];
  if (page.previous != kNoPage) {
    pages_[page.previous].next = page.next;
  } else {
    with_room_[page.size_class] = page.next;
  }
  if (page.next != kNoPage) pages_[page.next].previous = page.previous;
  page.listed = false;
}

}  // namespace tessera::store
