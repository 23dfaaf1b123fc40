// The keyspace: all databases of a node, and the one door through which keys change.
//
// Every change to a key passes BeforeChange (running snapshots save the old entry) and AfterChange (observers are
// told). Time comes in through Keyspace::SetNow, once per command or loop turn; the store never reads a clock. One
// thread owns all of it. Nothing here allocates per operation except the entry itself.
//
// In cluster mode there is one database with a table per slot, otherwise a table per database. Keys are hashed by XXH3
// with the seed of the process. Slots come from a function handed in, so that the store does not depend on cluster/.
//
// Failure: mutators return false when the arena's address space or the heap is exhausted; the key is then unchanged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/store/entry.h"

namespace tessera::store {

class Keyspace;
class Reclaimer;
class Snapshot;

inline constexpr uint32_t kSlotCount = 16384;

enum class ChangeKind : uint8_t {
  kCreated,      // the key did not exist
  kOverwritten,  // whole value replaced
  kModified,     // value changed in place
  kInternal,     // of a value, what its readers do not see (consumer groups): no concern of WATCH
  kForm,         // how a value is held, not what it is: no concern of anybody but its snapshots
  kExpiry,       // only the expiry changed
  kDeleted,
  kExpired,  // deleted because its time had come; OnExpired was called just before
  kEvicted,
  kMovedAway,  // renamed or moved to another database: gone under this name
};

// kStoredNothing: the target of a command whose result is empty; one past its expiry counts as deleted too.
enum class EraseReason : uint8_t { kDeleted, kEvicted, kMovedAway, kStoredNothing };

// WATCH, the dirty count, propagation of expiries and keyspace events hang here. Observers must not change the keyspace
// from within a callback. Views are valid during the call only.
class ChangeObserver {
 public:
  virtual ~ChangeObserver() = default;
  // After the change; on deletion the entry is already unreachable, but `key` is still readable.
  virtual void OnChange(int db, uint16_t slot, std::string_view key, ChangeKind kind) = 0;
  // The key was found past its expiry and has been deleted (lazily or by the cycle); propagate a DEL. OnChange follows.
  virtual void OnExpired(int /*db*/, uint16_t /*slot*/, std::string_view /*key*/) {}
  // These fields of a hash were found past their expiry and have been deleted, maybe all it had; propagate an HDEL.
  // OnChange follows.
  enum class Left : uint8_t { kNothing, kSome };
  virtual void OnFieldsExpired(int /*db*/, uint16_t /*slot*/, std::string_view /*key*/,
                               std::span<const std::string> /*fields*/, Left /*left*/) {}
  // Before all keys of `db` go away at once (keys can still be looked up). Called for empty databases too.
  virtual void OnFlush(int /*db*/) {}
  // Before all keys of a slot go away at once.
  virtual void OnDropSlot(int /*db*/, uint16_t /*slot*/) {}
  // After two databases changed places.
  virtual void OnSwap(int /*first*/, int /*second*/) {}
};

// What happens to keys past their expiry.
enum class ExpiryMode : uint8_t {
  kDeleteExpired,  // primary: looking at one deletes it and tells the observers
  kHideExpired,    // replica: clients do not see it, only the primary's word deletes it
  kIgnore,         // loading: expiries are stored and nothing else
};

enum class Touch : uint8_t { kYes, kNo };
enum class Viewer : uint8_t { kClient, kPrimary };  // kPrimary sees expired entries in kHideExpired mode

struct LookupOptions {
  Touch touch = Touch::kYes;  // update the LRU clock or LFU counter
  Viewer viewer = Viewer::kClient;
};

// Expiry of a key after a write.
class Expiry {
 public:
  static constexpr Expiry Keep() { return Expiry(-2); }
  static constexpr Expiry None() { return Expiry(kNoExpiry); }
  static constexpr Expiry AtMs(int64_t unix_ms) { return Expiry(unix_ms < 0 ? 0 : unix_ms); }
  constexpr bool keep() const { return value_ == -2; }
  constexpr bool none() const { return value_ == kNoExpiry; }
  constexpr int64_t at_ms() const { return value_; }

 private:
  explicit constexpr Expiry(int64_t value) : value_(value) {}
  int64_t value_;
};

// How a string is stored: SET, GETSET, MSET, APPEND to a missing key, RDB loading use kTryInteger; INCRBYFLOAT uses
// kPlain (embstr or raw by length); results that Redis builds in place (SETRANGE and SETBIT on missing keys) use
// ResizeString.
enum class StringForm : uint8_t { kTryInteger, kPlain };

// Whether a string that has grown is likely to grow again.
enum class GrowthRoom : uint8_t { kAhead, kExact };

// A key as callers hand it in: text alone (hash and slot are then computed here), or with hash and slot computed
// earlier by Keyspace::Prepare, as a pipeline parsed ahead does.
class KeyRef {
 public:
  KeyRef(std::string_view text) : text_(text) {}    // NOLINT: implicit on purpose
  KeyRef(const char* text) : text_(text) {}         // NOLINT
  KeyRef(const std::string& text) : text_(text) {}  // NOLINT
  KeyRef(std::string_view text, uint64_t hash, uint16_t slot) : text_(text), hash_(hash), slot_(slot), ready_(true) {}
  std::string_view text() const { return text_; }
  uint64_t hash() const { return hash_; }
  uint16_t slot() const { return slot_; }
  bool ready() const { return ready_; }

 private:
  std::string_view text_;
  uint64_t hash_ = 0;
  uint16_t slot_ = 0;
  bool ready_ = false;
};

struct MoveOptions {
  // Both names equal, or the source missing, is the caller's to check. An existing target is replaced.
  Expiry expiry = Expiry::Keep();
};

// Called with each entry; must not change the keyspace.
using EntryVisitor = std::function<void(EntryRef)>;

// Internal.
struct KeyspaceTables;
struct StoreContext;
struct EntryValue;
class Table;

class Database {
 public:
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  int index() const { return index_; }
  // Keys, expired ones not yet deleted included (DBSIZE).
  uint64_t size() const;
  // Keys with an expiry.
  uint64_t volatile_count() const;
  // Average remaining life in ms over a sample of keys with an expiry (INFO keyspace, avg_ttl); 0 when unknown.
  int64_t AverageTtlMs() const;

  // ---- reading
  EntryRef Lookup(const KeyRef& key, LookupOptions options = {});
  // Neither touches nor deletes; sees expired entries too.
  EntryRef Peek(const KeyRef& key) const;
  // Hints for a pipeline parsed ahead: bucket first, some commands later the entry itself.
  void PrefetchBucket(const KeyRef& prepared) const;
  void PrefetchEntry(const KeyRef& prepared) const;

  // ---- writing; a key past its expiry counts as missing in kDeleteExpired mode (it is deleted first)
  [[nodiscard]] bool SetString(const KeyRef& key, std::string_view value, Expiry expiry,
                               StringForm form = StringForm::kTryInteger);
  [[nodiscard]] bool SetInteger(const KeyRef& key, int64_t value, Expiry expiry = Expiry::Keep());
  // Makes the string `length` bytes long, keeping what fits and filling the rest with zeros, and returns its bytes for
  // writing: fill them before calling anything else of the keyspace. Growth of an existing string is amortised, unless
  // no room ahead is wanted. A missing key is created; the encoding becomes "raw"; the expiry stays. nullopt: out of
  // memory. The key must be a string or missing. `kind`: kInternal for what WATCH is not to see.
  [[nodiscard]] std::optional<std::span<char>> ResizeString(const KeyRef& key, size_t length,
                                                            GrowthRoom room = GrowthRoom::kAhead,
                                                            ChangeKind kind = ChangeKind::kModified);
  // Takes over a value that is not a string.
  [[nodiscard]] bool SetObject(const KeyRef& key, std::unique_ptr<Object> object, Expiry expiry);
  // A change of an object in place: BeginEdit announces it (running snapshots take their share) and hands the object
  // out, EndEdit counts its memory and tells the observers, unless nothing changed after all. Nothing else of the
  // keyspace may be called in between. BeginEdit: null when the key is missing or a string. EndEdit: a value left empty
  // is deleted with its key; returns false then.
  Object* BeginEdit(const KeyRef& key);
  enum class Edited : uint8_t { kNo, kYes, kInternally };
  bool EndEdit(const KeyRef& key, Edited edited);
  // Deletes up to `limit` elements of the object under `key` whose own time has come (hash fields), as a change of its
  // own; in kDeleteExpired mode only. False when the key is gone afterwards, or was.
  bool ExpireElements(const KeyRef& key, size_t limit = SIZE_MAX);
  // False when the key is missing (or, for SetExpiry, out of memory). A time in the past only sets the expiry.
  bool SetExpiry(const KeyRef& key, int64_t unix_ms);
  bool ClearExpiry(const KeyRef& key);
  // False when the key is missing. Deleting an expired key in kDeleteExpired mode reports it as expired and returns
  // false.
  bool Erase(const KeyRef& key, EraseReason reason = EraseReason::kDeleted);
  // RENAME and MOVE: the entry goes under another key or database without copying a large value. False: out of memory
  // or no such key.
  [[nodiscard]] bool MoveEntry(const KeyRef& from, Database& target, const KeyRef& to, MoveOptions options = {});
  // COPY: O(1) for large values that are not strings.
  [[nodiscard]] bool CopyEntry(const KeyRef& from, Database& target, const KeyRef& to, MoveOptions options = {});

  // RESTORE IDLETIME and FREQ, RDB loading: not a change, observers are not told.
  // Each under its own policy only: under the other the same bits would say something else.
  void SetIdleSeconds(const KeyRef& key, uint64_t idle_seconds);
  void SetFrequency(const KeyRef& key, uint8_t counter);

  // Everything goes away at once; memory is given back by Keyspace::FreeStep.
  void Flush();

  // ---- walking
  // SCAN: visits about `count` entries from `cursor` (0 = start) and returns the next cursor (0 = end). Every key
  // present throughout a whole walk is visited, also when the table grows or shrinks meanwhile; some may be seen twice.
  // Expired entries are passed over unless the mode is kIgnore.
  uint64_t Scan(uint64_t cursor, size_t count, const EntryVisitor& visit);
  // The same within one slot (cluster mode); its cursors are its own.
  uint64_t ScanSlot(uint16_t slot, uint64_t cursor, size_t count, const EntryVisitor& visit);
  // All entries, expired ones included, in one go (KEYS, DEBUG).
  void ForEach(const EntryVisitor& visit) const;
  // A random entry, null only when empty; may be an expired one. Fair up to differences between bucket fills.
  EntryRef RandomEntry();
  // The same among keys with an expiry, as well as a bounded search can tell; null when none was found.
  EntryRef RandomVolatileEntry();
  // For databases where those are rare: goes on with a search of all entries where the last call stopped, for a bounded
  // time. Null: none found yet.
  EntryRef SearchVolatileEntry();

  // ---- slots (cluster mode; 0 or nothing otherwise)
  uint64_t CountInSlot(uint16_t slot) const;
  // Up to `limit` keys of a slot, copied.
  std::vector<std::string> KeysInSlot(uint16_t slot, size_t limit) const;
  // All keys of a slot go away at once; returns how many.
  uint64_t DropSlot(uint16_t slot);

  // Whether now is after the expiry of `entry` (false in kIgnore mode).
  bool IsExpired(EntryRef entry) const;

 private:
  friend class Keyspace;
  friend class Snapshot;
  Database(Keyspace& keyspace, int index);

  StoreContext& context() const;
  Table& TableOf(const KeyRef& key) const;
  KeyRef Resolve(const KeyRef& key) const;
  EntryRef At(const uint32_t* place) const;
  bool IsPastExpiry(EntryRef entry) const;
  uint32_t InitialAccessBits() const;
  void TouchEntry(EntryRef entry);

  // The door.
  void BeforeChange(const KeyRef& key);
  void AfterChange(const KeyRef& key, ChangeKind kind);

  uint32_t* FindLive(const KeyRef& key);
  uint32_t Store(const KeyRef& key, uint32_t* place, EntryValue value, int64_t expiry_ms, uint32_t access_bits,
                 ChangeKind kind);
  uint32_t StoreNew(const KeyRef& key, const EntryValue& value, int64_t expiry_ms, uint32_t access_bits,
                    ChangeKind kind);
  enum class ValueFate : uint8_t { kFree, kKeep };
  void EraseFound(const KeyRef& key, uint32_t* place, ChangeKind kind, ValueFate fate = ValueFate::kFree);
  size_t ExpireStep(size_t entry_budget, size_t& cost_budget, bool force, bool* more_due);
  // Remembers when the first element of an object expires, for the active expiry.
  void NoteElementExpiry(const KeyRef& key, const Object& object);

  Keyspace& keyspace_;
  int index_;
  std::shared_ptr<KeyspaceTables> tables_;
  size_t edited_bytes_ = 0;  // of the object being edited, before
};

struct KeyspaceOptions {
  int databases = 16;
  bool cluster = false;  // a table per slot, one database
  uint64_t hash_seed = 0;
  uint16_t (*slot_of)(std::string_view key) = nullptr;  // required in cluster mode
  size_t arena_bytes_max = size_t{32} << 30;            // address space, not memory
};

enum class AccessPolicy : uint8_t { kLru, kLfu };

struct KeyspaceMemory {
  size_t entry_bytes = 0;     // arena blocks in use, bucket blocks of small tables included
  size_t heap_bytes = 0;      // large strings and objects
  size_t table_bytes = 0;     // buckets and bookkeeping outside the arena
  size_t resident_bytes = 0;  // arena pages held, in use or not
  size_t total() const { return entry_bytes + heap_bytes + table_bytes; }
};

struct ExpireResult {
  size_t expired = 0;
  bool more_due = false;  // the budget ended first: call again this turn or the next
};

class Keyspace {
 public:
  explicit Keyspace(const KeyspaceOptions& options);
  ~Keyspace();
  Keyspace(const Keyspace&) = delete;
  Keyspace& operator=(const Keyspace&) = delete;

  int database_count() const { return static_cast<int>(databases_.size()); }
  bool cluster() const { return options_.cluster; }
  Database& db(int index) { return *databases_[index]; }
  const Database& db(int index) const { return *databases_[index]; }

  // Hash and slot, computed once for prefetch, routing and execution. The text must outlive the result.
  KeyRef Prepare(std::string_view key) const;
  // Below `limit`, which is above 0: good enough to choose keys and members.
  uint64_t RandomBelow(uint64_t limit);
  // Of the hashes within values.
  uint32_t object_seed() const { return static_cast<uint32_t>(options_.hash_seed >> 32 ^ options_.hash_seed); }
  KeyRef Prepare(std::string_view key, uint16_t slot) const;

  // Unix milliseconds. Before each command, and before expiry steps.
  void SetNow(int64_t now_ms);
  int64_t now_ms() const { return now_ms_; }
  void SetExpiryMode(ExpiryMode mode) { expiry_mode_ = mode; }
  ExpiryMode expiry_mode() const { return expiry_mode_; }

  // maxmemory-policy, lfu-log-factor, lfu-decay-time. Bits of existing entries are reinterpreted, as Redis does.
  void SetAccessPolicy(AccessPolicy policy, int lfu_log_factor, int lfu_decay_minutes);
  AccessPolicy access_policy() const { return access_policy_; }
  uint64_t IdleSeconds(EntryRef entry) const;
  uint8_t Frequency(EntryRef entry) const;  // LFU counter, decayed to now
  static constexpr uint32_t kLruClockMask = (1u << 24) - 1;
  static uint32_t LruClock(int64_t now_ms) { return static_cast<uint32_t>(now_ms / 1000) & kLruClockMask; }
  static uint32_t LfuMinutes(int64_t now_ms) { return static_cast<uint32_t>(now_ms / 60000) & 0xffff; }
  static uint32_t LfuIncrement(uint32_t counter, int log_factor, uint64_t random);

  // Takes over what is too large to be freed in place (reclaimer.h); not owned, outlives the keyspace or is unset. Null:
  // everything is freed in place.
  void SetReclaimer(Reclaimer* reclaimer);
  // Destroys a value that belongs to no key (any more), off the loop if it is large.
  void Discard(std::unique_ptr<Object> object);

  // Observers are told in order of registration; not owned.
  void AddObserver(ChangeObserver* observer);
  void RemoveObserver(ChangeObserver* observer);

  uint64_t size() const;
  void Swap(int first, int second);
  void FlushAll();

  // The code of function libraries belongs to the dataset. Nothing here runs it: it is kept as it came and handed on to
  // files and replicas. FlushAll leaves it.
  const std::vector<std::string>& function_libraries() const { return function_libraries_; }
  void AddFunctionLibrary(std::string_view code) { function_libraries_.emplace_back(code); }
  void DropFunctionLibraries() { function_libraries_.clear(); }

  // Active expiry in all databases: bounded work per call (well below 1 ms with the default), resumed by the next one.
  // Only in kDeleteExpired mode. Each deletion passes the door.
  ExpireResult ExpireStep(size_t entry_budget = 500);
  // For tests of lazy expiry: without, ExpireStep does nothing.
  void SetActiveExpiry(bool on) { active_expiry_ = on; }
  // Frees what Flush and DropSlot left behind, and gives empty pages back to the system; true when there is more to do now
  // (running snapshots may hold some back). A call takes some 100 us.
  bool FreeStep(size_t entry_budget = 1000);
  // Gives all empty pages back to the system at once (MEMORY PURGE).
  void ReleasePages();
  // Keys that Flush and DropSlot left behind and that are not freed yet; those that have been, since the start.
  uint64_t doomed_keys() const;
  uint64_t freed_keys() const;
  // Moves running table resizes forward in idle time; true when some are left.
  bool ResizeStep(size_t bucket_budget = 256);

  KeyspaceMemory memory() const;
  // Parts of it that cost nothing to ask for: bytes in the arena, and of large strings and table segments in the heap.
  size_t entry_bytes() const;
  size_t heap_bytes() const;

 private:
  friend class Database;
  friend class Snapshot;
  struct Internals;
  size_t ExpireElementsStep(size_t budget, bool* more_due);

  KeyspaceOptions options_;
  int64_t now_ms_ = 0;
  ExpiryMode expiry_mode_ = ExpiryMode::kDeleteExpired;
  bool active_expiry_ = true;
  AccessPolicy access_policy_ = AccessPolicy::kLru;
  int lfu_log_factor_ = 10;
  int lfu_decay_minutes_ = 1;
  uint32_t expire_db_ = 0;
  int64_t last_expire_seconds_ = 0;
  uint32_t resize_cursor_ = 0;
  std::vector<ChangeObserver*> observers_;
  std::vector<Snapshot*> snapshots_;
  std::unique_ptr<Internals> internals_;
  std::vector<std::unique_ptr<Database>> databases_;
  std::vector<std::string> function_libraries_;
};

}  // namespace tessera::store
