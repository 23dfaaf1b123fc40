#include "server/store/field_expiries.h"

#include <utility>

namespace tessera::store {
namespace {

// Fields of one instant are ordered by their packed bytes.
auto Before(int64_t unix_ms, PackedBytes field) {
  return [unix_ms, field](const uint8_t* element) {
    const int64_t ms = Unpack(element).integer;
    if (ms != unix_ms) return ms < unix_ms;
    const uint8_t* begin = SkipPacked(element);
    return PackedBytes(reinterpret_cast<const char*>(begin), static_cast<size_t>(SkipPacked(begin) - begin)) < field;
  };
}

}  // namespace

FieldExpiries::FieldExpiries(uint32_t seed) : by_field_(ElementTree::Use::kFieldExpiriesByField, seed), by_time_(ElementTree::Use::kFieldExpiriesByTime, seed) {
  by_field_.SetLimited();
  by_time_.SetLimited();
}

FieldExpiries FieldExpiries::Clone() const { return {by_field_.Clone(), by_time_.Clone()}; }

int64_t FieldExpiries::Of(PackedBytes field) const {
  const ElementTree::Cursor found = by_field_.Find(field);
  return found.valid() ? Unpack(SkipPacked(found.element())).integer : kNoExpiry;
}

int64_t FieldExpiries::FirstMs() const {
  const ElementTree::Cursor first = by_time_.Begin();
  return first.valid() ? first.value().integer : kNoExpiry;
}

PackedBytes FieldExpiries::FirstField() const {
  const uint8_t* begin = SkipPacked(by_time_.Begin().element());
  return {reinterpret_cast<const char*>(begin), static_cast<size_t>(SkipPacked(begin) - begin)};
}

void FieldExpiries::Set(PackedBytes field, int64_t unix_ms) {
  (void)Clear(field);
  PackBuffer element;
  element.append(field);
  AppendPackedInteger(unix_ms, &element);
  by_field_.Add(element);
  element.clear();
  AppendPackedInteger(unix_ms, &element);
  element.append(field);
  by_time_.InsertSorted(element, Before(unix_ms, field));
}

bool FieldExpiries::Clear(PackedBytes field) {
  const ElementTree::Cursor found = by_field_.Find(field);
  if (!found.valid()) return false;
  const int64_t unix_ms = Unpack(SkipPacked(found.element())).integer;
  by_time_.Erase(by_time_.LowerBound(static_cast<uint64_t>(unix_ms), Before(unix_ms, field)));
  by_field_.Erase(by_field_.Find(field));
  return true;
}

}  // namespace tessera::store
