#include "server/memory_meter.h"

namespace tessera {
namespace {

// Without figures of the allocator, the estimate is renewed after this many uses.
constexpr int kEstimates = 64;

}  // namespace

MemoryMeter::MemoryMeter(const store::Keyspace& keyspace)
    : keyspace_(keyspace), thread_(AllocationsOfThisThread()), exact_(thread_.freed != nullptr) {
  MarkStartup();
}

size_t MemoryMeter::Measure() {
  estimates_left_ = kEstimates;
  measured_ = AllocatedBytes() + keyspace_.entry_bytes();
  known_ = Known();
  return measured_;
}

}  // namespace tessera
