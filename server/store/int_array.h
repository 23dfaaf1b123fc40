// Sorted integers in 2, 4 or 8 bytes each, as wide as the widest needs: small sets of numbers ("intset"). O(log n) to
// find, O(n) to change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace tessera::store {

class IntArray {
 public:
  IntArray() = default;
  IntArray(IntArray&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  IntArray& operator=(IntArray&& other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~IntArray() { Clear(); }
  IntArray Clone() const;

  size_t size() const { return block_ == nullptr ? 0 : block_->count; }
  int64_t At(size_t index) const;
  bool Contains(int64_t value) const;
  // False when it was there already.
  bool Insert(int64_t value);
  // False when it was not there.
  bool Erase(int64_t value);
  void Clear();
  size_t MemoryBytes() const;

 private:
  struct Block {
    uint32_t count;
    uint32_t width;
    uint8_t* data() { return reinterpret_cast<uint8_t*>(this + 1); }
    const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(this + 1); }
  };
  static int64_t Read(const Block& block, size_t index);
  static void Write(Block& block, size_t index, int64_t value);
  size_t LowerBound(int64_t value) const;
  void Reserve(size_t count);
  void Widen(uint32_t width);

  Block* block_ = nullptr;
};

}  // namespace tessera::store
