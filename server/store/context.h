// What all tables of one keyspace share.
#pragma once

#include <cstdint>

#include "server/store/arena.h"

namespace tessera::store {

class Reclaimer;

struct StoreContext {
  StoreContext(size_t arena_bytes_max, uint64_t seed)
      : arena(arena_bytes_max), hash_seed(seed), random_state(seed | 1) {}

  uint32_t now_seconds() const { return static_cast<uint32_t>(now_ms / 1000); }

  // Good enough for sampling (xorshift64*); the state is seeded, so runs can be repeated.
  uint64_t Random() {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dULL;
  }
  uint32_t RandomBelow(uint32_t limit) { return static_cast<uint32_t>(((Random() >> 32) * limit) >> 32); }

  Arena arena;
  uint64_t hash_seed;
  uint64_t random_state;
  int64_t now_ms = 0;
  size_t heap_bytes = 0;
  size_t table_bytes = 0;
  Reclaimer* reclaimer = nullptr;  // frees large values elsewhere; null: everything is freed in place
};

}  // namespace tessera::store
