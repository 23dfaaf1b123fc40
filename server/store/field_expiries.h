// When single fields of a hash expire: found by field, and in order of time. Few hashes have this beside them.
#pragma once

#include <cstdint>
#include <string_view>

#include "server/store/element_tree.h"

namespace tessera::store {

class FieldExpiries {
 public:
  explicit FieldExpiries(uint32_t seed);
  FieldExpiries Clone() const;

  uint64_t count() const { return by_field_.count(); }
  size_t MemoryBytes() const { return by_field_.MemoryBytes() + by_time_.MemoryBytes(); }
  size_t FreeEffort() const { return by_field_.FreeEffort() + by_time_.FreeEffort(); }

  // Unix milliseconds; kNoExpiry when the field has none.
  int64_t Of(PackedBytes field) const;
  int64_t FirstMs() const;
  // The field that expires first, packed; valid until the next change.
  PackedBytes FirstField() const;
  void Set(PackedBytes field, int64_t unix_ms);
  // False when it had none.
  bool Clear(PackedBytes field);

 private:
  FieldExpiries(ElementTree by_field, ElementTree by_time)
      : by_field_(std::move(by_field)), by_time_(std::move(by_time)) {}

  ElementTree by_field_;  // field, time
  ElementTree by_time_;   // time, field
};

}  // namespace tessera::store
