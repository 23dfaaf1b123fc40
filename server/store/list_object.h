// Lists: packed values in an element tree, in the order that clients give them.
//
// OBJECT ENCODING distinguishes "listpack" and "quicklist" by the bounds of Redis 7.2 (list-max-listpack-size): a list
// becomes a quicklist when what is about to be added would make it too large, and a listpack again when it has shrunk
// to half of the bound. Here both have the same form, and only the name changes; so the bytes that Redis's listpack
// would take are counted along. Bounds are checked before growing (Grow) and after shrinking (Shrink), as Redis does.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "server/store/element_tree.h"

namespace tessera::store {

// list-max-listpack-size: from 0 on a number of elements, below that a class of bytes (-1: 4 KiB … -5: 64 KiB).
class ListLimits {
 public:
  explicit ListLimits(int64_t max_listpack_size = -2);
  bool Exceeded(uint64_t bytes, uint64_t count) const;
  bool FitHalf(uint64_t bytes, uint64_t count) const { return bytes <= bytes_max_ / 2 && count <= count_max_ / 2; }

 private:
  uint64_t bytes_max_, count_max_;
};

class List final : public Object {
 public:
  enum class Side : uint8_t { kHead, kTail };
  using Cursor = ElementTree::Cursor;

  explicit List(uint32_t seed) : tree_(ElementTree::Use::kList, seed) { tree_.SetLimited(); }

  Type type() const override { return Type::kList; }
  std::string_view encoding() const override { return listpack_ ? "listpack" : "quicklist"; }
  uint64_t size() const override { return tree_.count(); }
  size_t MemoryBytes() const override { return sizeof(*this) + tree_.MemoryBytes(); }
  size_t FreeEffort() const override { return tree_.FreeEffort(); }
  std::unique_ptr<Object> Clone() const override;

  const ElementTree& elements() const { return tree_; }
  // index < size().
  Cursor At(uint64_t index) const { return tree_.At(index); }
  // The element at one end; the list is not empty.
  Cursor Last(Side side) const { return tree_.At(side == Side::kHead ? 0 : tree_.count() - 1); }

  // Visits elements with their index, visit(index, packed element), until it returns false: all from `from` on, or all
  // from `from` back to the first.
  template <typename Visit>
  void Forwards(uint64_t from, Visit visit) const;
  template <typename Visit>
  void Backwards(uint64_t from, Visit visit) const;

  // Before `count` values of `bytes` altogether are added (or one replaced).
  void Grow(uint64_t bytes, uint64_t count, const ListLimits& limits);
  // After elements have been removed or replaced.
  void Shrink(const ListLimits& limits);
  // After a list has been built that nobody has seen yet.
  void ChooseEncoding(const ListLimits& limits);

  void Push(Side side, std::string_view value);
  void Pop(Side side);
  // index <= size(): in front of that element.
  void Insert(uint64_t index, std::string_view value);
  void Set(uint64_t index, std::string_view value);
  void EraseRange(uint64_t first, uint64_t count);
  // Removes the first `count` elements equal to `value`, seen from `side`; returns how many there were.
  uint64_t Remove(std::string_view value, Side side, uint64_t count);

 private:
  static constexpr uint64_t kUnknown = (uint64_t{1} << 63) - 1;

  void Count(PackedBytes element, int sign);
  uint64_t ListpackBytes() const;

  ElementTree tree_;
  // What the elements would take in a listpack; kUnknown after much was erased at once.
  mutable uint64_t entry_bytes_ : 63 = 0;
  uint64_t listpack_ : 1 = 1;
};

template <typename Visit>
void List::Forwards(uint64_t from, Visit visit) const {
  for (Cursor at = tree_.At(from); at.valid(); at.Next(), ++from)
    if (!visit(from, at.element())) return;
}

// A leaf can only be walked forwards: a stretch of elements is noted, then told from its end.
template <typename Visit>
void List::Backwards(uint64_t from, Visit visit) const {
  constexpr uint64_t kStretch = 128;
  const uint8_t* elements[kStretch];
  for (uint64_t end = from + 1; end > 0;) {
    const uint64_t begin = end > kStretch ? end - kStretch : 0;
    Cursor at = tree_.At(begin);
    for (uint64_t i = begin; i < end; ++i, at.Next()) elements[i - begin] = at.element();
    for (; end > begin; --end)
      if (!visit(end - 1, elements[end - 1 - begin])) return;
  }
}

}  // namespace tessera::store
