#include "server/store/snapshot.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "server/store/check.h"
#include "server/store/entry_block.h"
#include "server/store/keyspace.h"
#include "server/store/keyspace_tables.h"

namespace tessera::store {
namespace {

// Hashes of keys that are done before the walk reaches them. Open addressing; 0 stands for an empty place, and for
// itself beside the table.
class HashSet {
 public:
  // False when it was there already.
  bool Insert(uint64_t hash) {
    if (hash == 0) return !std::exchange(has_zero_, true);
    if ((size_ + 1) * 4 > places_.size() * 3) Grow();
    uint64_t& place = Find(hash);
    if (place == hash) return false;
    place = hash;
    ++size_;
    return true;
  }
  bool Contains(uint64_t hash) const {
    if (hash == 0) return has_zero_;
    return !places_.empty() && const_cast<HashSet*>(this)->Find(hash) == hash;
  }
  void Clear() { *this = HashSet(); }

 private:
  uint64_t& Find(uint64_t hash) {
    // Positions within one set resemble each other in their upper bits; the lower half is as good as random.
    const size_t mask = places_.size() - 1;
    size_t i = (hash >> 8) & mask;
    while (places_[i] != 0 && places_[i] != hash) i = (i + 1) & mask;
    return places_[i];
  }
  void Grow() {
    std::vector<uint64_t> old = std::exchange(places_, std::vector<uint64_t>(places_.empty() ? 8 : places_.size() * 2));
    for (const uint64_t hash : old) {
      if (hash != 0) Find(hash) = hash;
    }
  }

  std::vector<uint64_t> places_;
  size_t size_ = 0;
  bool has_zero_ = false;
};

constexpr uint32_t kPartitionBits = 12;

}  // namespace

struct Snapshot::State {
  // One database as of the start. The tables stay this object's whether the database is swapped, flushed or changed.
  struct Part {
    int db;
    std::shared_ptr<KeyspaceTables> tables;
    std::map<uint32_t, std::shared_ptr<Table>> dropped;  // cut off since: these, not the slots' new tables, are walked
    // Done ahead of the walk: by slot in cluster mode, otherwise by the upper bits of the hash. Small sets, so that
    // none ever takes long to grow, each given back as the walk passes it.
    std::vector<HashSet> done;
    bool per_slot;

    size_t PartitionOf(uint32_t slot, uint64_t position) const {
      return per_slot ? slot : static_cast<size_t>(position >> (32 - kPartitionBits));
    }
    HashSet& DoneAt(uint32_t slot, uint64_t hash) {
      if (done.empty()) done.resize(per_slot ? kSlotCount : size_t{1} << kPartitionBits);
      return done[PartitionOf(slot, PositionOf(hash))];
    }
    bool IsDone(uint32_t slot, uint64_t hash) const {
      return !done.empty() && done[PartitionOf(slot, PositionOf(hash))].Contains(hash);
    }
  };

  Keyspace& keyspace;
  StoreContext& context;
  SnapshotVisitor& visitor;
  std::function<bool(uint16_t)> filter;
  std::vector<Part> parts;
  // The walk: everything before (part, slot, position) has been visited.
  size_t part = 0;
  uint32_t slot = 0;
  uint64_t position = 0;
  uint64_t visited = 0;
  uint64_t total = 0;

  bool Wants(uint32_t slot_number) const { return !filter || filter(static_cast<uint16_t>(slot_number)); }
  bool Emit(const Part& from, uint32_t slot_number, uint32_t handle) {
    ++visited;
    return visitor.OnEntry(from.db, static_cast<uint16_t>(slot_number), EntryRef(context.arena.At(handle)));
  }
  // The slot as a caller knows it: without slot tables it is always table 0.
  static uint32_t TableIndex(const Part& of, uint16_t slot_number) { return of.per_slot ? slot_number : 0; }

  bool VisitNextBucket(Part& from, const Table& table, size_t& budget);
  void AdvanceTo(uint64_t next);
};

Snapshot::Snapshot(Keyspace& keyspace, SnapshotVisitor& visitor, std::function<bool(uint16_t)> slot_filter)
    : state_(new State{
          .keyspace = keyspace, .context = keyspace.internals_->context, .visitor = visitor, .filter = slot_filter}) {
  for (const auto& database : keyspace.databases_) {
    if (database->size() == 0) continue;
    const bool per_slot = database->tables_->tables.size() > 1;
    state_->parts.push_back({.db = database->index(), .tables = database->tables_, .per_slot = per_slot});
    if (!per_slot) {
      state_->total += database->size();
      continue;
    }
    for (uint32_t slot = 0; slot < kSlotCount; ++slot) {
      if (state_->Wants(slot)) state_->total += database->tables_->tables[slot].size();
    }
  }
  keyspace.snapshots_.push_back(this);
}

Snapshot::~Snapshot() { std::erase(state_->keyspace.snapshots_, this); }

bool Snapshot::done() const { return state_->part == state_->parts.size(); }
uint64_t Snapshot::visited() const { return state_->visited; }
uint64_t Snapshot::total() const { return state_->total; }

// Moves the walk on within a table; sets it has passed are given back.
void Snapshot::State::AdvanceTo(uint64_t next) {
  Part& current = parts[part];
  if (!current.done.empty() && !current.per_slot) {
    const size_t end = current.PartitionOf(slot, std::min(next, kEndPosition - 1)) + (next == kEndPosition ? 1 : 0);
    for (size_t i = current.PartitionOf(slot, position); i < end; ++i) current.done[i].Clear();
  }
  position = next;
}

// False when the visitor has had enough.
bool Snapshot::State::VisitNextBucket(Part& from, const Table& table, size_t& budget) {
  std::pair<uint64_t, uint32_t> entries[Bucket::kPlaces * (Bucket::kReachMax + 1)];
  size_t count = 0;
  const uint64_t next = table.VisitBucket(context, position, [&](uint32_t handle) {
    const uint64_t hash = HashKey(KeyOf(context.arena.At(handle)), context.hash_seed);
    // After a resize the bucket may reach back to before the walk.
    if (PositionOf(hash) < position || from.IsDone(slot, hash)) return;
    entries[count++] = {hash, handle};
  });
  std::sort(entries, entries + count);
  for (size_t i = 0; i < count; ++i) {
    budget -= budget > 0;
    if (Emit(from, slot, entries[i].second) || i + 1 == count || entries[i].first == entries[i + 1].first) continue;
    for (size_t k = 0; k <= i; ++k) from.DoneAt(slot, entries[k].first).Insert(entries[k].first);
    return false;
  }
  AdvanceTo(next);
  return true;
}

bool Snapshot::Step(size_t entry_budget) {
  State& state = *state_;
  while (!done()) {
    State::Part& part = state.parts[state.part];
    const size_t table_count = part.tables->tables.size();
    for (; state.slot < table_count; ++state.slot, state.position = 0) {
      if (part.per_slot && !state.Wants(state.slot)) continue;
      const auto dropped = part.dropped.find(state.slot);
      const Table& table = dropped != part.dropped.end() ? *dropped->second : part.tables->tables[state.slot];
      while (table.size() > 0 && state.position < kEndPosition) {
        if (entry_budget == 0) return true;
        if (!state.VisitNextBucket(part, table, entry_budget)) return true;
      }
      if (part.per_slot && !part.done.empty()) part.done[state.slot].Clear();
      if (dropped != part.dropped.end()) part.dropped.erase(dropped);
    }
    // Nothing of this database is needed any more; a flushed one can be freed.
    part = {.db = part.db, .per_slot = part.per_slot};
    ++state.part;
    state.slot = 0;
    state.position = 0;
  }
  return false;
}

void Snapshot::BeforeChange(const KeyspaceTables* tables, uint16_t slot_number, uint64_t hash) {
  State& state = *state_;
  size_t index = state.part;
  while (index < state.parts.size() && state.parts[index].tables.get() != tables) ++index;
  if (index == state.parts.size()) return;  // walked already, or younger than the snapshot
  State::Part& part = state.parts[index];
  const uint32_t slot = State::TableIndex(part, slot_number);
  if (index == state.part &&
      std::pair<uint64_t, uint64_t>(slot, PositionOf(hash)) < std::pair<uint64_t, uint64_t>(state.slot, state.position))
    return;
  if (part.per_slot && !state.Wants(slot)) return;
  if (part.dropped.contains(slot)) return;
  if (!part.DoneAt(slot, hash).Insert(hash)) return;
  // The mark covers every key of this hash, so all of them are handed out now.
  tables->tables[slot].VisitHash(state.context, hash, [&](uint32_t handle) { state.Emit(part, slot, handle); });
}

void Snapshot::BeforeDropSlot(const KeyspaceTables* tables, uint16_t slot, const std::shared_ptr<Table>& table) {
  State& state = *state_;
  for (size_t index = state.part; index < state.parts.size(); ++index) {
    State::Part& part = state.parts[index];
    if (part.tables.get() != tables) continue;
    if (index == state.part && slot < state.slot) return;
    if (state.Wants(slot)) part.dropped.try_emplace(slot, table);
    return;
  }
}

}  // namespace tessera::store
