// Slab arena for entries and small tables: blocks named by 32-bit handles instead of pointers.
//
// One large range of addresses is reserved at the start; nothing of it is resident until used. It is cut into pages of
// 32 KiB, each serving one size class; what a page needs to know about itself lives in a side array, so that a block
// has no header. A page whose last block is freed can serve any class again; beyond a small reserve, empty pages are
// given back to the system by ReleaseStep: a call into the kernel each, and when much is freed in random order, all pages
// become empty at about the same time. Handles count granules of 8 bytes from the start of the range; 0 is never a block.
//
// Allocate returns 0 when the range, or the memory the system grants, is exhausted. Freeing a block twice or a foreign
// handle is a bug. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tessera::store {

class Arena {
 public:
  static constexpr size_t kGranule = 8;
  static constexpr size_t kPageBytes = 32 * 1024;
  static constexpr size_t kBlockBytesMax = 4096;

  // Reserves `bytes` of address space (at most 32 GiB), or as much of it as the system allows.
  explicit Arena(size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  [[nodiscard]] uint32_t Allocate(size_t bytes);
  void Free(uint32_t handle);

  uint8_t* At(uint32_t handle) const { return base_ + size_t{handle} * kGranule; }
  uint32_t HandleOf(const void* block) const {
    return static_cast<uint32_t>((static_cast<const uint8_t*>(block) - base_) / kGranule);
  }

  // Gives up to `pages` empty pages back to the system; true while there are more.
  bool ReleaseStep(size_t pages);

  // The size a block of `bytes` really takes.
  static size_t RoundUp(size_t bytes);

  size_t used_bytes() const { return used_bytes_; }
  // Pages in use, or empty and not given back; what they make resident is at most this.
  size_t held_bytes() const { return (pages_in_use_ + empty_.size()) * kPageBytes; }
  size_t reserved_address_bytes() const { return size_t{page_limit_} * kPageBytes; }

 private:
  static constexpr uint32_t kNoPage = 0;
  static constexpr uint16_t kNoBlock = 0xffff;

  struct Page {
    uint8_t size_class;
    bool listed;         // in the list of pages with room
    uint16_t used;       // blocks handed out
    uint16_t fresh;      // blocks from here on were never handed out
    uint16_t free_head;  // first freed block, in granules; linked through their first bytes
    uint32_t previous;
    uint32_t next;
  };

  uint32_t TakePage(uint8_t size_class);
  void GivePage(uint32_t page);
  void Link(uint32_t page);
  void Unlink(uint32_t page);

  uint8_t* base_ = nullptr;
  Page* pages_ = nullptr;
  void* range_ = nullptr;
  size_t range_bytes_ = 0;
  uint32_t page_limit_ = 0;
  uint32_t frontier_ = 1;        // pages from here on were never used
  uint32_t writable_limit_ = 0;  // pages below are readable and writable
  size_t pages_in_use_ = 0;
  size_t used_bytes_ = 0;
  std::vector<uint32_t> empty_;      // empty pages, still resident; some are kept as a reserve
  std::vector<uint32_t> released_;   // empty pages, given back to the system
  std::vector<uint32_t> with_room_;  // per class: first page with a free block
};

}  // namespace tessera::store
