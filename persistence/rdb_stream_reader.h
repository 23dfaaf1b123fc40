// The part of RdbValueReader that reads streams (grammar in rdb_stream.h), with a state of its own.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/packed_reader.h"
#include "persistence/rdb_cursor.h"
#include "persistence/snapshot_visitor.h"

namespace tessera::persistence {

enum class RdbStep : uint8_t {
  kPart,      // call again
  kNeedMore,  // call again with more bytes
  kDone,      // EndValue was called
  kNoValue,   // the value has no elements; the visitor was not called
  kFailed,
};

struct RdbBad {
  size_t position = 0;
  std::string reason;
};

class RdbStreamReader {
 public:
  RdbStreamReader(uint8_t type, const EntryHeader& header) : type_(type), header_(header) {}

  // As RdbValueReader::Read; `bad` is set by kFailed.
  RdbStep Read(RdbCursor& cursor, SnapshotVisitor& visitor, RdbBad* bad);

 private:
  enum class Phase : uint8_t { kNodeCount, kNodes, kTotals, kGroups, kPending, kConsumerCount, kConsumers, kOwned };

  RdbGot ReadOne(RdbCursor& cursor, SnapshotVisitor& visitor);  // one step of the grammar; all or nothing
  RdbGot ReadNode(RdbCursor& cursor, SnapshotVisitor& visitor);
  RdbGot ReadTotals(RdbCursor& cursor, SnapshotVisitor& visitor);
  RdbGot ReadGroup(RdbCursor& cursor, SnapshotVisitor& visitor);
  RdbGot ReadPending(RdbCursor& cursor, SnapshotVisitor& visitor);
  RdbGot ReadConsumer(RdbCursor& cursor, SnapshotVisitor& visitor);
  RdbGot ReadOwned(RdbCursor& cursor, SnapshotVisitor& visitor);
  RdbGot Bad(size_t position, std::string_view reason);

  std::string_view ReadEntries(StreamId first_id, std::string_view node, SnapshotVisitor& visitor);
  std::string_view ReadEntry(PackedReader& reader, StreamId first_id, SnapshotVisitor& visitor);
  int64_t EstimateEntriesRead(StreamId group_last_id) const;

  uint8_t type_;
  EntryHeader header_;
  Phase phase_ = Phase::kNodeCount;
  bool done_ = false;
  uint64_t nodes_left_ = 0, groups_left_ = 0, pending_left_ = 0, consumers_left_ = 0, owned_left_ = 0;
  StreamInfo info_;  // length and first_id: of the entries handed out
  StreamId last_entry_;
  uint64_t live_left_ = 0;  // of the node being read, as it says
  uint64_t deleted_left_ = 0;
  std::set<std::string, std::less<>> group_names_, consumer_names_;
  std::vector<StreamId> pending_;  // of the group, ascending
  std::vector<bool> owned_;
  StreamId last_owned_;
  bool first_owned_ = true;
  std::string node_scratch_, name_scratch_;
  std::vector<PackedElement> names_;  // of the node's first entry
  std::vector<PackedElement> elements_;
  std::vector<std::string_view> texts_;
  std::string number_texts_;
  std::string_view bad_reason_;
  size_t bad_position_ = 0;
};

}  // namespace tessera::persistence
