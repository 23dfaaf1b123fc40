// The id of a stream's entry: a time in unix milliseconds and a number among the entries of that millisecond.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace tessera::store {

struct StreamId {
  uint64_t ms = 0;
  uint64_t sequence = 0;
  auto operator<=>(const StreamId&) const = default;
  bool is_zero() const { return ms == 0 && sequence == 0; }

  // To the next or the previous possible id; false, and unchanged, when there is none.
  bool Increment() {
    if (sequence != kMost) return ++sequence, true;
    if (ms == kMost) return false;
    ++ms;
    sequence = 0;
    return true;
  }
  bool Decrement() {
    if (sequence != 0) return --sequence, true;
    if (ms == 0) return false;
    --ms;
    sequence = kMost;
    return true;
  }

  static constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
};

inline constexpr StreamId kStreamIdMax = {StreamId::kMost, StreamId::kMost};

}  // namespace tessera::store
