// Now, taken once per command (or per turn of the loop) and handed on; nothing below the shell reads a clock.
#pragma once

#include <cstdint>

namespace tessera {

struct Now {
  int64_t unix_ms = 0;  // wall clock: expiry, LRU
  int64_t mono_us = 0;  // steady: durations, timeouts

  int64_t unix_s() const { return unix_ms / 1000; }
  int64_t mono_ms() const { return mono_us / 1000; }
};

Now ReadClock();      // the system's clocks
int64_t MonotonicUs();
int64_t UnixUs();

}  // namespace tessera
