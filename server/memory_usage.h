// How much memory the process uses, as the allocator and the kernel see it. Which allocator is linked is found out at
// run time, so nothing else needs to know. Any thread; a call costs some microseconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tessera {

struct MemoryUsage {
  size_t allocated = 0;  // bytes handed out
  size_t active = 0;     // in pages that hold at least one such byte; equals `allocated` where unknown
  size_t resident = 0;   // mapped by the allocator; equals `rss` where unknown
  size_t rss = 0;        // resident set of the process
};

MemoryUsage ReadMemoryUsage();
// The resident set alone.
size_t ResidentBytes();
// Bytes handed out, alone: cheaper, for checks made often.
size_t AllocatedBytes();
// Running totals of the calling thread, kept by the allocator; null where it has none. Reading them costs nothing.
struct ThreadAllocations {
  const uint64_t* allocated = nullptr;
  const uint64_t* freed = nullptr;
};
ThreadAllocations AllocationsOfThisThread();
// "jemalloc", "mimalloc" or "libc".
std::string_view AllocatorName();
// Memory of the machine in bytes; 0 when unknown.
size_t SystemMemory();
// Gives unused pages back to the kernel as far as the allocator can (MEMORY PURGE).
void ReleaseUnusedMemory();

}  // namespace tessera
