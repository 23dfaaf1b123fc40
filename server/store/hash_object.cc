#include "server/store/hash_object.h"

#include <utility>

namespace tessera::store {

std::unique_ptr<Object> Hash::Clone() const {
  auto copy = std::make_unique<Hash>(0);
  copy->tree_ = tree_.Clone();
  if (expiries_ != nullptr) copy->expiries_ = std::make_unique<FieldExpiries>(expiries_->Clone());
  return copy;
}

ElementTree::Cursor Hash::Find(std::string_view field) const {
  PackBuffer packed;
  AppendPacked(field, &packed);
  return tree_.Find(packed);
}

Hash::SetResult Hash::Update(std::string_view field, std::string_view value, const HashLimits& limits) {
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

Hash::SetResult Hash::Set(std::string_view field, std::string_view value, const HashLimits& limits) {
  const SetResult result = Update(field, value, limits);
  if (expiries_ != nullptr && result == SetResult::kUpdated) (void)ClearExpiry(field);
  return result;
}

bool Hash::Erase(std::string_view field) {
  const ElementTree::Cursor found = Find(field);
  if (!found.valid()) return false;
  tree_.Erase(found);
  if (expiries_ != nullptr) (void)ClearExpiry(field);
  return true;
}

int64_t Hash::ExpiryOf(std::string_view field) const {
  if (expiries_ == nullptr) return kNoExpiry;
  PackBuffer packed;
  AppendPacked(field, &packed);
  return expiries_->Of(packed);
}

void Hash::SetExpiry(std::string_view field, int64_t unix_ms) {
  if (expiries_ == nullptr) expiries_ = std::make_unique<FieldExpiries>(tree_.seed());
  PackBuffer packed;
  AppendPacked(field, &packed);
  expiries_->Set(packed, unix_ms);
}

bool Hash::ClearExpiry(std::string_view field) {
  if (expiries_ == nullptr) return false;
  PackBuffer packed;
  AppendPacked(field, &packed);
  return expiries_->Clear(packed);
}

std::vector<std::string> Hash::EraseDue(int64_t now_ms, size_t limit) {
  std::vector<std::string> fields;
  while (fields.size() < limit && expiries_ != nullptr && expiries_->count() > 0 && expiries_->FirstMs() < now_ms) {
    IntScratch scratch;
    fields.emplace_back(Unpack(reinterpret_cast<const uint8_t*>(expiries_->FirstField().data())).Text(scratch));
    (void)Erase(fields.back());
  }
  return fields;
}

}  // namespace tessera::store
