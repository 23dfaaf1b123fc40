// A reply can wait for a condition without blocking the loop: with appendfsync always, replies of a turn leave only
// when everything logged up to then is on disk. Durability moves the two offsets; connections hold their bytes back.
#pragma once

#include <cstdint>

namespace tessera {

struct ReplyGate {
  bool active = false;     // appendfsync always
  uint64_t appended = 0;   // bytes given to the log; never goes back, also when a new log takes over
  uint64_t synced = 0;     // of these known to be on disk
  // The disk has been refusing since an earlier turn. Replies to writes made before keep waiting, but writes are refused
  // now, and reads and refusals need not wait for a disk that may never come back.
  bool disk_failing = false;
  bool closed() const { return active && !disk_failing && synced < appended; }
};

}  // namespace tessera
