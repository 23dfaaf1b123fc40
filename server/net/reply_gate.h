// A reply can wait for a condition without blocking the loop: with appendfsync always, replies of a turn leave only
// when everything logged up to then is on disk. Durability moves the two offsets; connections hold their bytes back.
#pragma once

#include <cstdint>

namespace tessera {

struct ReplyGate {
  bool active = false;     // appendfsync always
  uint64_t appended = 0;   // bytes given to the log
  uint64_t synced = 0;     // bytes known to be on disk
  bool closed() const { return active && synced < appended; }
};

}  // namespace tessera
