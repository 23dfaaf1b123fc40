// What a snapshot of the keyspace is, seen from here: the server walks its keyspace and calls a visitor, which turns
// the entries into an RDB image (RdbWriter) or into commands (AofCommandWriter). Neither side knows the other's
// insides.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace tessera::persistence {

inline constexpr int64_t kNoExpiry = -1;

struct EntryHeader {
  std::string_view key;
  int64_t expiry_ms = kNoExpiry;         // unix time
  std::optional<uint64_t> idle_seconds;  // set under an LRU policy
  std::optional<uint8_t> frequency;      // set under an LFU policy
};

class SnapshotVisitor {
 public:
  virtual ~SnapshotVisitor() = default;

  // Entries that follow belong to database `index`; the counts are hints for sizing.
  virtual void Database(uint32_t index, uint64_t key_count, uint64_t expiring_count) = 0;

  // One function per shape of value. Lists, sets, pairs (hashes), scored pairs (sorted sets) and streams come here as
  // they are implemented: called with the header and a count, then with the elements one by one.
  virtual void String(const EntryHeader& header, std::string_view value) = 0;
};

}  // namespace tessera::persistence
