// Hashes. Fields and values are packed pairs in an element tree: in order of insertion while the hash is small
// ("listpack"), by hash beyond that ("hashtable"). As in Redis, a hash that became large stays a hashtable. Fields may
// expire one by one (Redis 7.4).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/store/element_tree.h"
#include "server/store/field_expiries.h"

namespace tessera::store {

// hash-max-listpack-entries, hash-max-listpack-value.
struct HashLimits {
  uint64_t entries_max = 128;
  uint64_t value_bytes_max = 64;
};

class Hash final : public Object {
 public:
  explicit Hash(uint32_t seed) : tree_(ElementTree::Use::kHash, seed) {}

  Type type() const override { return Type::kHash; }
  std::string_view encoding() const override {
    return tree_.limited() ? "hashtable" : expiries_ != nullptr ? "listpackex" : "listpack";
  }
  uint64_t size() const override { return tree_.count(); }
  size_t MemoryBytes() const override {
    return sizeof(*this) + tree_.MemoryBytes() +
           (expiries_ == nullptr ? 0 : sizeof(*expiries_) + expiries_->MemoryBytes());
  }
  size_t FreeEffort() const override {
    return tree_.FreeEffort() + (expiries_ == nullptr ? 0 : expiries_->FreeEffort());
  }
  int64_t FirstElementExpiryMs() const override { return expiries_ == nullptr ? kNoExpiry : expiries_->FirstMs(); }
  std::unique_ptr<Object> Clone() const override;

  // Not valid() when missing. The element is the field; its value follows it (ValueOf).
  ElementTree::Cursor Find(std::string_view field) const;
  static Unpacked ValueOf(const uint8_t* element) { return Unpack(SkipPacked(element)); }
  const ElementTree& elements() const { return tree_; }

  enum class SetResult : uint8_t { kAdded, kUpdated };
  // The field then has no expiry of its own.
  SetResult Set(std::string_view field, std::string_view value, const HashLimits& limits);
  // The same, but an expiry stays.
  SetResult Update(std::string_view field, std::string_view value, const HashLimits& limits);
  bool Erase(std::string_view field);

  // ---- expiry of single fields, in unix milliseconds; the field must exist
  uint64_t expiring_count() const { return expiries_ == nullptr ? 0 : expiries_->count(); }
  int64_t ExpiryOf(std::string_view field) const;
  void SetExpiry(std::string_view field, int64_t unix_ms);
  bool ClearExpiry(std::string_view field);
  // Takes out up to `limit` fields whose time has come, earliest first, and returns their names.
  std::vector<std::string> EraseDue(int64_t now_ms, size_t limit);

 private:
  ElementTree tree_;
  std::unique_ptr<FieldExpiries> expiries_;  // null until a field gets an expiry
};

}  // namespace tessera::store
