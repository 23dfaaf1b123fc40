// A consistent picture of the keyspace without fork: exactly the entries as of construction, handed out in steps while
// commands go on writing.
//
// The walk goes database by database, slot by slot, in hash order. A change to an entry the walk has not reached hands
// the old entry to the visitor first and remembers its hash, so that the walk skips it; keys created meanwhile are
// remembered in the same way. Memory: about 16 bytes per key changed ahead of the walk. Flushes, dropped slots and
// SWAPDB are correct: detached tables stay until the snapshots that still need them have walked them; entries carry the
// database index of the start. Any number of snapshots may run at once; destroying one early cancels it. The order of
// entries is not defined, except that databases come in no particular interleaving: changed entries appear at any time.
//
// The keyspace must outlive its snapshots. Same thread as the keyspace.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "server/store/entry.h"

namespace tessera::store {

class Keyspace;
class Table;
struct KeyspaceTables;

class SnapshotVisitor {
 public:
  virtual ~SnapshotVisitor() = default;
  // One entry as of the start; valid during the call only. May be called from Step and from within any change of the
  // keyspace; must not change the keyspace. Return false to end the running Step early (enough bytes for now); the
  // return value is ignored in calls from a change.
  virtual bool OnEntry(int db, uint16_t slot, EntryRef entry) = 0;
};

class Snapshot {
 public:
  // `slot_filter`: only slots for which it returns true (cluster mode); empty = everything.
  Snapshot(Keyspace& keyspace, SnapshotVisitor& visitor, std::function<bool(uint16_t)> slot_filter = {});
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  // Visits about `entry_budget` entries; false when the walk is complete.
  bool Step(size_t entry_budget);
  bool done() const;
  // Entries handed out so far, and those that existed at the start (of the filtered slots).
  uint64_t visited() const;
  uint64_t total() const;

 private:
  friend class Keyspace;
  friend class Database;
  struct State;
  // Called by the keyspace before the entry of a key changes, comes or goes, and before a slot's table is cut off.
  void BeforeChange(const KeyspaceTables* tables, uint16_t slot, uint64_t hash);
  void BeforeDropSlot(const KeyspaceTables* tables, uint16_t slot, const std::shared_ptr<Table>& table);

  std::unique_ptr<State> state_;
};

}  // namespace tessera::store
