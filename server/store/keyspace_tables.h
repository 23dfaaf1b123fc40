// The tables of one database, and what the keyspace keeps beside them. A database replaces the whole object when it is
// flushed; snapshots that still need the old one share it.
#pragma once

#include <array>
#include <cstdint>
#include <compare>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "server/store/context.h"
#include "server/store/keyspace.h"
#include "server/store/table.h"

namespace tessera::store {

struct KeyspaceTables {
  explicit KeyspaceTables(size_t count) : tables(count) {}

  static constexpr uint32_t kGroupSlots = 128;

  void CountKey(uint32_t slot, int32_t delta) {
    size += delta;
    group_size[slot / kGroupSlots] += delta;
  }
  void CountVolatile(int32_t delta) { volatile_count += delta; }

  // A slot, with a chance in proportion to its keys; the tables must not be empty.
  uint32_t RandomSlot(StoreContext& context) const {
    if (tables.size() == 1) return 0;
    uint64_t rank = (static_cast<unsigned __int128>(context.Random()) * size) >> 64;
    uint32_t group = 0;
    while (rank >= group_size[group]) rank -= group_size[group++];
    uint32_t slot = group * kGroupSlots;
    while (rank >= tables[slot].size()) rank -= tables[slot++].size();
    return slot;
  }

  std::vector<Table> tables;
  uint64_t size = 0;
  uint64_t volatile_count = 0;
  std::array<uint32_t, kSlotCount / kGroupSlots> group_size{};

  // Where SearchVolatileEntry goes on.
  struct {
    uint32_t slot = 0;
    uint64_t position = 0;
  } volatile_search;

  // The expiry pass under way, if any.
  struct {
    bool running = false;
    bool force = false;
    uint32_t slot = 0;
    uint64_t position = 0;
    uint64_t expired = 0;
    uint32_t last_large_second = 0;
  } expire_pass;
};

struct Keyspace::Internals {
  Internals(size_t arena_bytes_max, uint64_t seed) : context(arena_bytes_max, seed) {}

  // Tables cut off by Flush (`all`) or DropSlot (`one`), waiting to be freed.
  struct Grave {
    std::shared_ptr<KeyspaceTables> all;
    std::shared_ptr<Table> one;
    uint32_t slot = 0;
    uint64_t progress = 0;
    bool HeldBySnapshot() const { return all.use_count() > 1 || one.use_count() > 1; }
  };

  // An object of whose elements one may expire at `at_ms`. Entries outlive what they speak of: whoever finds one due looks
  // whether it is still true.
  struct ElementExpiry {
    int64_t at_ms;
    int db;
    std::string key;
    auto operator<=>(const ElementExpiry&) const = default;
  };

  StoreContext context;
  std::set<ElementExpiry> element_expiries;
  std::vector<Grave> graveyard;
  uint64_t doomed_keys = 0;
  uint64_t freed_keys = 0;
  std::vector<uint32_t> due;  // scratch of the expiry pass
};

}  // namespace tessera::store
