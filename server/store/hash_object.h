// Hashes. Fields and values are packed pairs in an element tree: in order of insertion while the hash is small
// ("listpack"), by hash beyond that ("hashtable"). As in Redis, a hash that became large stays a hashtable.
#pragma once

#include <memory>
#include <string_view>

#include "server/store/element_tree.h"

namespace tessera::store {

// hash-max-listpack-entries, hash-max-listpack-value.
struct HashLimits {
  uint64_t entries_max = 128;
  uint64_t value_bytes_max = 64;
};

class Hash final : public Object {
 public:
  explicit Hash(uint32_t seed) : tree_(kLayout, seed) {}

  Type type() const override { return Type::kHash; }
  std::string_view encoding() const override { return tree_.limited() ? "hashtable" : "listpack"; }
  uint64_t size() const override { return tree_.count(); }
  size_t MemoryBytes() const override { return sizeof(*this) + tree_.MemoryBytes(); }
  size_t FreeEffort() const override { return tree_.FreeEffort(); }
  std::unique_ptr<Object> Clone() const override;

  // Not valid() when missing. The element is the field; its value follows it (ValueOf).
  ElementTree::Cursor Find(std::string_view field) const;
  static Unpacked ValueOf(const uint8_t* element) { return Unpack(SkipPacked(element)); }
  const ElementTree& elements() const { return tree_; }

  enum class SetResult : uint8_t { kAdded, kUpdated };
  SetResult Set(std::string_view field, std::string_view value, const HashLimits& limits);
  bool Erase(std::string_view field);

 private:
  static constexpr ElementTree::Layout kLayout = {
      .order = ElementTree::Order::kHash, .values = 2, .leaf_bytes_max = 1024, .leaf_count_max = 64};

  ElementTree tree_;
};

}  // namespace tessera::store
