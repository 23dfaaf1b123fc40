// Tells a value to a visitor, a few parts at a time, so that a value of millions of elements can be written between
// commands. The one source of RDB files, AOF bases, full synchronisations and DUMP payloads.
#pragma once

#include <cstddef>
#include <memory>

#include "persistence/snapshot_visitor.h"
#include "server/store/entry.h"

namespace tessera {

class ValueWalk {
 public:
  virtual ~ValueWalk() = default;
  // Tells about `parts` more parts; false when the value is told, EndValue included.
  virtual bool Step(persistence::SnapshotVisitor& visitor, size_t parts) = 0;
};

// `value` must not change during the walk (hold a Clone of it), and the key in `header` must stay.
std::unique_ptr<ValueWalk> WalkValue(const store::Object& value, const persistence::EntryHeader& header);

// All at once.
void TellValue(const store::Object& value, const persistence::EntryHeader& header,
               persistence::SnapshotVisitor& visitor);
// Strings too.
void TellEntry(store::EntryRef entry, const persistence::EntryHeader& header, persistence::SnapshotVisitor& visitor);

}  // namespace tessera
