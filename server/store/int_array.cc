#include "server/store/int_array.h"

#include <malloc.h>

#include <cstdlib>
#include <cstring>

#include "server/store/check.h"

namespace tessera::store {
namespace {

uint32_t WidthOf(int64_t value) {
  if (value == static_cast<int16_t>(value)) return 2;
  return value == static_cast<int32_t>(value) ? 4 : 8;
}

}  // namespace

int64_t IntArray::Read(const Block& block, size_t index) {
  const uint8_t* at = block.data() + index * block.width;
  switch (block.width) {
    case 2: {
      int16_t value;
      memcpy(&value, at, sizeof(value));
      return value;
    }
    case 4: {
      int32_t value;
      memcpy(&value, at, sizeof(value));
      return value;
    }
    default: {
      int64_t value;
      memcpy(&value, at, sizeof(value));
      return value;
    }
  }
}

void IntArray::Write(Block& block, size_t index, int64_t value) {
  memcpy(block.data() + index * block.width, &value, block.width);  // little endian
}

IntArray IntArray::Clone() const {
  IntArray copy;
  if (block_ == nullptr) return copy;
  const size_t bytes = sizeof(Block) + size_t{block_->count} * block_->width;
  copy.block_ = static_cast<Block*>(malloc(bytes));
  STORE_CHECK(copy.block_ != nullptr);
  memcpy(copy.block_, block_, bytes);
  return copy;
}

int64_t IntArray::At(size_t index) const { return Read(*block_, index); }

size_t IntArray::LowerBound(int64_t value) const {
  size_t low = 0, high = size();
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (Read(*block_, middle) < value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

bool IntArray::Contains(int64_t value) const {
  const size_t index = LowerBound(value);
  return index < size() && At(index) == value;
}

void IntArray::Reserve(size_t count) {
  const size_t needed = sizeof(Block) + count * block_->width;
  const size_t held = malloc_usable_size(block_);
  if (needed <= held && (held <= 64 || needed > held / 2)) return;
  block_ = static_cast<Block*>(realloc(block_, needed > held ? needed + count / 8 * block_->width : needed));
  STORE_CHECK(block_ != nullptr);
}

void IntArray::Widen(uint32_t width) {
  auto* wide = static_cast<Block*>(malloc(sizeof(Block) + (size_t{block_->count} + 1) * width));
  STORE_CHECK(wide != nullptr);
  wide->count = block_->count;
  wide->width = width;
  for (size_t i = 0; i < wide->count; ++i) Write(*wide, i, Read(*block_, i));
  free(std::exchange(block_, wide));
}

bool IntArray::Insert(int64_t value) {
  const uint32_t width = WidthOf(value);
  if (block_ == nullptr) {
    block_ = static_cast<Block*>(malloc(sizeof(Block) + width));
    STORE_CHECK(block_ != nullptr);
    *block_ = {.count = 0, .width = width};
  }
  if (width > block_->width) Widen(width);
  const size_t index = LowerBound(value);
  if (index < size() && At(index) == value) return false;
  Reserve(size() + 1);
  uint8_t* at = block_->data() + index * block_->width;
  memmove(at + block_->width, at, (size() - index) * block_->width);
  Write(*block_, index, value);
  ++block_->count;
  return true;
}

bool IntArray::Erase(int64_t value) {
  const size_t index = LowerBound(value);
  if (index >= size() || At(index) != value) return false;
  uint8_t* at = block_->data() + index * block_->width;
  memmove(at, at + block_->width, (size() - index - 1) * block_->width);
  --block_->count;
  Reserve(size());
  return true;
}

void IntArray::Clear() {
  free(block_);
  block_ = nullptr;
}

size_t IntArray::MemoryBytes() const { return block_ == nullptr ? 0 : malloc_usable_size(block_); }

}  // namespace tessera::store
