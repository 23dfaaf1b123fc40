#include "server/memory_usage.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

// Present only when the library is linked.
extern "C" {
int mallctl(const char* name, void* old_value, size_t* old_length, void* new_value, size_t new_length)
    __attribute__((weak));
void mi_process_info(size_t* elapsed_ms, size_t* user_ms, size_t* system_ms, size_t* rss, size_t* peak_rss,
                     size_t* commit, size_t* peak_commit, size_t* page_faults) __attribute__((weak));
void mi_collect(bool force) __attribute__((weak));
size_t __sanitizer_get_current_allocated_bytes() __attribute__((weak));
}

namespace tessera {
namespace {

// In names of jemalloc's controls, arena 4096 stands for all of them.
size_t ReadMallctl(const char* name) {
  size_t value = 0, length = sizeof value;
  return mallctl(name, &value, &length, nullptr, 0) == 0 ? value : 0;
}

void RefreshMallctl() {
  uint64_t epoch = 1;
  size_t length = sizeof epoch;
  mallctl("epoch", &epoch, &length, &epoch, length);
}

}  // namespace

size_t ResidentBytes() {
  // /proc/self/statm: size, resident ... in pages.
  char text[128];
  const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return 0;
  text[length] = '\0';
  unsigned long long size = 0, resident = 0;
  if (std::sscanf(text, "%llu %llu", &size, &resident) != 2) return 0;
  return static_cast<size_t>(resident) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

size_t AllocatedBytes() {
  if (__sanitizer_get_current_allocated_bytes != nullptr) return __sanitizer_get_current_allocated_bytes();
  if (mallctl != nullptr) {
    RefreshMallctl();
    // What threads keep back for their next allocations counts as allocated there; nobody uses it.
    const size_t allocated = ReadMallctl("stats.allocated");
    const size_t kept = ReadMallctl("stats.arenas.4096.tcache_bytes");
    return allocated - (kept < allocated ? kept : allocated);
  }
  if (mi_process_info != nullptr) {
    size_t elapsed, user, system, rss, peak_rss, commit = 0, peak_commit, faults;
    mi_process_info(&elapsed, &user, &system, &rss, &peak_rss, &commit, &peak_commit, &faults);
    return commit;
  }
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

ThreadAllocations AllocationsOfThisThread() {
  ThreadAllocations of_thread;
  if (mallctl == nullptr) return of_thread;
  size_t length = sizeof of_thread.allocated;
  if (mallctl("thread.allocatedp", &of_thread.allocated, &length, nullptr, 0) != 0 ||
      mallctl("thread.deallocatedp", &of_thread.freed, &length, nullptr, 0) != 0)
    return {};
  return of_thread;
}

MemoryUsage ReadMemoryUsage() {
  MemoryUsage usage;
  usage.rss = ResidentBytes();
  usage.allocated = usage.active = AllocatedBytes();
  usage.resident = usage.rss;
  if (mallctl != nullptr) {
    usage.active = ReadMallctl("stats.active");
    usage.resident = ReadMallctl("stats.resident");
  }
  return usage;
}

std::string_view AllocatorName() {
  if (mallctl != nullptr) return "jemalloc";
  if (mi_process_info != nullptr) return "mimalloc";
  return "libc";
}

size_t SystemMemory() {
  struct sysinfo info {};
  return sysinfo(&info) == 0 ? static_cast<size_t>(info.totalram) * info.mem_unit : 0;
}

void ReleaseUnusedMemory() {
  if (mallctl != nullptr) {
    mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0);
  } else if (mi_collect != nullptr) {
    mi_collect(true);
  } else {
    malloc_trim(0);
  }
}

}  // namespace tessera
