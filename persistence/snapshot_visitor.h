// Values as they cross between the server and its files, in both directions. The server walks its keyspace and calls a
// visitor, which turns the entries into an RDB image (RdbWriter), commands (AofCommandWriter) or a DUMP payload; the
// readers of those formats call a visitor that builds values. Neither side knows the other's insides.
//
// A string is one call. Every other value is a Begin… call, the announced number of parts in the order given beside the
// call, and EndValue; nothing else comes in between. Views are valid during the call only. A Begin… and its parts may
// come in different turns of the loop, so no visitor needs a whole large value in memory.
//
// A walk of the keyspace always knows its counts. A reader that hands out a value while it still arrives may not:
// lists and streams then begin with kCountUnknown, and EndValue tells that no part is left. Writers need the counts.
// A reader whose input turns out to be broken stops before EndValue; what was built so far is to be thrown away.
// Readers do not remember what they handed out: that a member or field comes twice is for the visitor that builds to
// notice, and an error as well.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tessera::persistence {

inline constexpr int64_t kNoExpiry = -1;
inline constexpr uint64_t kCountUnknown = ~uint64_t{0};

struct EntryHeader {
  std::string_view key;
  int64_t expiry_ms = kNoExpiry;         // unix time
  std::optional<uint64_t> idle_seconds;  // set under an LRU policy
  std::optional<uint8_t> frequency;      // set under an LFU policy
};

struct StreamId {
  uint64_t ms = 0;
  uint64_t sequence = 0;
  auto operator<=>(const StreamId&) const = default;
};

struct StreamInfo {
  uint64_t length = 0;  // entries that follow
  StreamId last_id;
  StreamId first_id;  // of the first entry, 0-0 when empty
  StreamId max_deleted_id;
  uint64_t entries_added = 0;
  uint64_t group_count = 0;
};

inline constexpr int64_t kEntriesReadUnknown = -1;

struct StreamGroup {
  std::string_view name;
  StreamId last_id;
  int64_t entries_read = kEntriesReadUnknown;
  uint64_t pending_count = 0;
  uint64_t consumer_count = 0;  // kCountUnknown from a reader
};

struct StreamPending {
  StreamId id;
  int64_t delivered_ms = 0;  // unix time
  uint64_t delivery_count = 0;
};

struct StreamConsumer {
  std::string_view name;
  int64_t seen_ms = 0;     // unix time of its last attempt
  int64_t active_ms = -1;  // unix time of its last successful read or claim; -1 unknown
  uint64_t pending_count = 0;
};

class SnapshotVisitor {
 public:
  virtual ~SnapshotVisitor() = default;

  // Entries that follow belong to database `index`; the counts are hints for sizing.
  virtual void Database(uint32_t index, uint64_t key_count, uint64_t expiring_count) = 0;

  virtual void String(const EntryHeader& header, std::string_view value) = 0;

  virtual void BeginList(const EntryHeader& header, uint64_t count) = 0;  // count × Item, head first
  virtual void BeginSet(const EntryHeader& header, uint64_t count) = 0;   // count × Item, any order
  virtual void Item(std::string_view value) = 0;

  // count × Pair, any order. `some_expire`: whether any field has an expiry of its own.
  virtual void BeginHash(const EntryHeader& header, uint64_t count, bool some_expire) = 0;
  virtual void Pair(std::string_view field, std::string_view value, int64_t expiry_ms = kNoExpiry) = 0;

  virtual void BeginSortedSet(const EntryHeader& header, uint64_t count) = 0;  // count × Scored, any order
  virtual void Scored(std::string_view member, double score) = 0;

  // info.length × Entry in order of id; then info.group_count × (Group, its pending_count × Pending in order of id, its
  // consumer_count × (Consumer, its pending_count × ConsumerPending in order of id)).
  // With info.length == kCountUnknown nothing of `info` is known yet, and StreamTotals brings it behind the entries.
  virtual void BeginStream(const EntryHeader& header, const StreamInfo& info) = 0;
  virtual void Entry(StreamId id, std::span<const std::string_view> fields_and_values) = 0;
  virtual void StreamTotals(const StreamInfo& /*info*/) {}  // only after an unknown length, before the groups
  virtual void Group(const StreamGroup& group) = 0;
  virtual void Pending(const StreamPending& pending) = 0;
  virtual void Consumer(const StreamConsumer& consumer) = 0;
  virtual void ConsumerPending(StreamId id) = 0;

  virtual void EndValue() = 0;
};

}  // namespace tessera::persistence
