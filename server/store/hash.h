// The hash of all in-memory tables. The upper 32 bits are a key's position (they choose the bucket), the lowest 8 its
// fingerprint within the bucket.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdint>
#include <string_view>

namespace tessera::store {

inline uint64_t HashKey(std::string_view key, uint64_t seed) {
  return XXH3_64bits_withSeed(key.data(), key.size(), seed);
}

inline uint32_t PositionOf(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

inline uint8_t FingerprintOf(uint64_t hash) {
  const uint8_t low = static_cast<uint8_t>(hash);
  return low == 0 ? 1 : low;  // 0 marks an empty place
}

}  // namespace tessera::store
