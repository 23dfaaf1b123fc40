// Used memory: what INFO shows and what maxmemory limits. One definition for both: the bytes the allocator has handed
// out (values, clients, backlog, everything) and the keyspace's blocks, which do not come from the allocator.
//
// Asking the allocator for its total takes microseconds, too long before each command. Estimate adds what this thread
// has allocated since; what other threads did is known after the next Measure. Loop thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "server/memory_usage.h"
#include "server/store/keyspace.h"

namespace tessera {

class MemoryMeter {
 public:
  explicit MemoryMeter(const store::Keyspace& keyspace);

  size_t Measure();
  size_t Estimate() {
    const int64_t since = static_cast<int64_t>(Known() - known_);
    const int64_t estimate = static_cast<int64_t>(measured_) + since;
    if (exact_ || --estimates_left_ > 0) [[likely]] return static_cast<size_t>(estimate < 0 ? 0 : estimate);
    return Measure();
  }
  // What the server used before it held any data.
  size_t startup_bytes() const { return startup_; }
  void MarkStartup() { startup_ = Measure(); }

 private:
  // A running figure whose difference tells what happened since; it may start anywhere.
  uint64_t Known() const {
    const uint64_t blocks = keyspace_.entry_bytes();
    return exact_ ? blocks + *thread_.allocated - *thread_.freed : blocks + keyspace_.heap_bytes();
  }

  const store::Keyspace& keyspace_;
  ThreadAllocations thread_;
  bool exact_;  // the allocator counts per thread; otherwise only the keyspace's own figures are known between measures
  int estimates_left_ = 0;
  size_t measured_ = 0;
  uint64_t known_ = 0;
  size_t startup_ = 0;
};

}  // namespace tessera
