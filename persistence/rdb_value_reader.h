// Reads one value of an RDB file or a DUMP payload, of which perhaps only a beginning is there yet, and hands its parts
// to a visitor as they arrive: every type from 0 to 25 but module values. Grammars in rdb_format.h and rdb_stream.h.
//
// Everything that can be checked is: blobs down to each length, counts, orders, members that come twice in a blob,
// scores that are no number, and that each pending entry of a consumer group has one owner. Memory: the bytes of one
// element or blob, and 16 bytes for each pending entry of one group.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/packed_reader.h"
#include "persistence/rdb_cursor.h"
#include "persistence/rdb_stream_reader.h"
#include "persistence/snapshot_visitor.h"

namespace tessera::persistence {

class RdbValueReader {
 public:
  static bool Knows(uint8_t type);

  // A new value, of a type that Knows. `header` goes to the visitor; what it views must live until the value is read.
  void Start(uint8_t type, const EntryHeader& header);

  // Reads from the cursor, which is at the value's body or where the previous call left it, perhaps in more bytes or
  // other memory. Consumes what it handed out. One call does a bounded amount of work: a few hundred parts, or one
  // blob.
  RdbStep Read(RdbCursor& cursor, SnapshotVisitor& visitor);

  // After kFailed: where in the cursor's bytes, and why.
  size_t bad_position() const { return bad_.position; }
  const std::string& bad_reason() const { return bad_.reason; }

 private:
  enum class Phase : uint8_t { kStart, kElements, kNodes };  // kStart: also a value that is read in one step
  enum class Shape : uint8_t { kList, kSet, kHash, kHashWithExpiry, kSortedSet };

  static Shape ShapeOf(uint8_t type);
  static uint64_t ElementsPerPart(Shape shape);  // of a packed value

  RdbStep Fail(size_t position, std::string reason);
  RdbStep Stopped(const RdbCursor& cursor, RdbGot got);
  RdbStep ReadStart(RdbCursor& cursor, SnapshotVisitor& visitor);
  RdbStep ReadElements(RdbCursor& cursor, SnapshotVisitor& visitor);
  RdbGot ReadElement(RdbCursor& cursor, SnapshotVisitor& visitor);
  RdbGot ReadTextScore(RdbCursor& cursor, double* score);
  RdbStep ReadNodes(RdbCursor& cursor, SnapshotVisitor& visitor);
  RdbStep ReadNode(RdbCursor& cursor, SnapshotVisitor& visitor);
  RdbStep ReadBlob(RdbCursor& cursor, SnapshotVisitor& visitor);
  void Begin(Shape shape, uint64_t count, SnapshotVisitor& visitor);
  // Empty, or why the blob is broken; its number of elements.
  std::string_view CheckBlob(PackedFormat format, Shape shape, std::string_view blob, uint64_t* elements);
  bool HasDuplicates(PackedFormat format, std::string_view blob, uint64_t elements, size_t stride);
  void HandOut(PackedFormat format, Shape shape, std::string_view blob, SnapshotVisitor& visitor);

  uint8_t type_ = 0;
  EntryHeader header_;
  Phase phase_ = Phase::kStart;
  uint64_t left_ = 0;  // elements or nodes to come
  uint64_t work_ = 0;  // done in this call
  uint64_t expiry_base_ms_ = 0;
  bool begun_ = false;
  RdbBad bad_;
  std::string scratch_, other_scratch_;
  std::vector<std::string_view> members_;
  std::string number_texts_;
  std::optional<RdbStreamReader> stream_;
};

// A score as text: decimal, exponent, inf, -inf. Nothing when it is something else or not a number.
std::optional<double> ParseScore(std::string_view text);

}  // namespace tessera::persistence
