#include "server/clock.h"

#include <ctime>

namespace tessera {
namespace {

int64_t Nanos(clockid_t clock) {
  timespec ts;
  clock_gettime(clock, &ts);
  return int64_t{ts.tv_sec} * 1'000'000'000 + ts.tv_nsec;
}

}  // namespace

int64_t MonotonicUs() { return Nanos(CLOCK_MONOTONIC) / 1000; }
int64_t UnixUs() { return Nanos(CLOCK_REALTIME) / 1000; }
Now ReadClock() { return {.unix_ms = Nanos(CLOCK_REALTIME) / 1'000'000, .mono_us = MonotonicUs()}; }

}  // namespace tessera
