// Where large values go to die: freeing a hash of ten million fields takes seconds, which the loop does not have. The
// store hands over what is large and frees the rest in place. Without a reclaimer (tests, tools) everything is freed in
// place.
#pragma once

#include <cstddef>
#include <memory>

#include "server/store/entry.h"

namespace tessera::store {

// From these sizes on, handing a value over is cheaper than freeing it.
inline constexpr size_t kReclaimEffortMin = 64;
inline constexpr size_t kReclaimHeapBytesMin = size_t{64} << 10;

// Called on the keyspace's thread; what is handed over belongs to the reclaimer, which may destroy it on any thread and
// at any time later. Must not call back into the keyspace.
class Reclaimer {
 public:
  virtual ~Reclaimer() = default;
  virtual void Free(std::unique_ptr<Object> object) = 0;
  // Bytes from malloc.
  virtual void FreeHeap(void* malloced) = 0;
};

}  // namespace tessera::store
