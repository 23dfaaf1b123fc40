#include "server/store/hash_object.h"

#include <utility>

namespace tessera::store {

std::unique_ptr<Object> Hash::Clone() const {
  auto copy = std::make_unique<Hash>(0);
  copy->tree_ = tree_.Clone();
  return copy;
}

ElementTree::Cursor Hash::Find(std::string_view field) const {
  PackBuffer packed;
  AppendPacked(field, &packed);
  return tree_.Find(packed);
}

Hash::SetResult Hash::Set(std::string_view field, std::string_view value, const HashLimits& limits) {
  if (!tree_.limited() && (field.size() > limits.value_bytes_max || value.size() > limits.value_bytes_max)) {
    tree_.SetLimited();
  }
  PackBuffer element;
  AppendPacked(field, &element);
  const ElementTree::Cursor found = tree_.Find(element);
  AppendPacked(value, &element);
  if (found.valid()) {
    tree_.Replace(found, element);
    return SetResult::kUpdated;
  }
  tree_.Add(element);
  if (!tree_.limited() && tree_.count() > limits.entries_max) tree_.SetLimited();
  return SetResult::kAdded;
}

bool Hash::Erase(std::string_view field) {
  const ElementTree::Cursor found = Find(field);
  if (!found.valid()) return false;
  tree_.Erase(found);
  return true;
}

}  // namespace tessera::store
