#include "server/store/list_object.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace tessera::store {
namespace {

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();
// A bound by count alone would let a listpack of long elements grow without end.
constexpr uint64_t kSafetyBytes = 8192;
// Head and end mark of a listpack.
constexpr uint64_t kListpackFrameBytes = 7;

// What a value takes in a listpack, its length from behind included.
uint64_t ListpackEntryBytes(PackedBytes element) {
  const Unpacked value = Unpack(reinterpret_cast<const uint8_t*>(element.data()));
  uint64_t bytes;
  if (value.is_integer()) {
    const int64_t n = value.integer;
    const auto within = [n](int bits) { return n >= -(int64_t{1} << (bits - 1)) && n < int64_t{1} << (bits - 1); };
    bytes = n >= 0 && n <= 127 ? 1 : within(13) ? 2 : within(16) ? 3 : within(24) ? 4 : within(32) ? 5 : 9;
  } else {
    const uint64_t length = value.text.size();
    bytes = length + (length < 64 ? 1 : length < 4096 ? 2 : 5);
  }
  return bytes + (bytes <= 127 ? 1 : bytes < 16383 ? 2 : bytes < 2097151 ? 3 : bytes < 268435455 ? 4 : 5);
}

PackedBytes Bytes(const uint8_t* element) {
  return {reinterpret_cast<const char*>(element), static_cast<size_t>(SkipPacked(element) - element)};
}

}  // namespace

ListLimits::ListLimits(int64_t max_listpack_size) : bytes_max_(kNoLimit), count_max_(kNoLimit) {
  if (max_listpack_size >= 0) {
    count_max_ = std::max<uint64_t>(1, static_cast<uint64_t>(max_listpack_size));
  } else {
    bytes_max_ = uint64_t{4096} << (std::min<int64_t>(5, -max_listpack_size) - 1);
  }
}

bool ListLimits::Exceeded(uint64_t bytes, uint64_t count) const {
  if (bytes_max_ != kNoLimit) return bytes > bytes_max_;
  return bytes > kSafetyBytes || count > count_max_;
}

std::unique_ptr<Object> List::Clone() const {
  auto copy = std::make_unique<List>(0);
  copy->tree_ = tree_.Clone();
  copy->entry_bytes_ = entry_bytes_;
  copy->listpack_ = listpack_;
  return copy;
}

void List::Count(PackedBytes element, int sign) {
  if (entry_bytes_ == kUnknown) return;
  const uint64_t bytes = ListpackEntryBytes(element);
  entry_bytes_ = sign > 0 ? entry_bytes_ + bytes : entry_bytes_ - bytes;
}

uint64_t List::ListpackBytes() const {
  if (entry_bytes_ == kUnknown) {
    uint64_t bytes = 0;
    for (Cursor at = tree_.Begin(); at.valid(); at.Next()) bytes += ListpackEntryBytes(at.bytes());
    entry_bytes_ = bytes;
  }
  return kListpackFrameBytes + entry_bytes_;
}

void List::Grow(uint64_t bytes, uint64_t count, const ListLimits& limits) {
  if (listpack_ && limits.Exceeded(ListpackBytes() + bytes, size() + count)) listpack_ = 0;
}

void List::Shrink(const ListLimits& limits) {
  if (listpack_) return;
  // Packed, an element takes at least as much as in a listpack, but for two bytes: no need to count what is far above.
  constexpr uint64_t kCountedBytesMax = 256 << 10;
  if (entry_bytes_ == kUnknown && tree_.MemoryBytes() > kCountedBytesMax) return;
  if (limits.FitHalf(ListpackBytes(), size())) listpack_ = 1;
}

void List::ChooseEncoding(const ListLimits& limits) { listpack_ = !limits.Exceeded(ListpackBytes(), size()); }

void List::Push(Side side, std::string_view value) { Insert(side == Side::kHead ? 0 : size(), value); }

void List::Pop(Side side) {
  const Cursor at = Last(side);
  Count(at.bytes(), -1);
  tree_.Erase(at);
}

void List::Insert(uint64_t index, std::string_view value) {
  PackBuffer element;
  AppendPacked(value, &element);
  Count(element, 1);
  tree_.Insert(index == 0 ? tree_.Begin() : tree_.At(index), element);
}

void List::Set(uint64_t index, std::string_view value) {
  PackBuffer element;
  AppendPacked(value, &element);
  const Cursor at = tree_.At(index);
  Count(at.bytes(), -1);
  Count(element, 1);
  tree_.Replace(at, element);
}

void List::EraseRange(uint64_t first, uint64_t count) {
  first = std::min(first, size());
  count = std::min(count, size() - first);
  if (count == 0) return;
  // Counting is worth while only for what is less than what is left.
  if (count > size() - count) {
    entry_bytes_ = kUnknown;
  } else if (entry_bytes_ != kUnknown) {
    Forwards(first, [this, end = first + count](uint64_t index, const uint8_t* element) {
      if (index == end) return false;
      Count(Bytes(element), -1);
      return true;
    });
  }
  tree_.EraseRange(first, count);
}

uint64_t List::Remove(std::string_view value, Side side, uint64_t count) {
  PackBuffer wanted;
  AppendPacked(value, &wanted);
  if (count == 0 || tree_.empty()) return 0;
  std::vector<uint64_t> found;
  const auto note = [&](uint64_t index, const uint8_t* element) {
    if (EqualPacked(element, wanted)) found.push_back(index);
    return found.size() < count;
  };
  if (side == Side::kHead) {
    Forwards(0, note);
    std::reverse(found.begin(), found.end());
  } else {
    Backwards(size() - 1, note);
  }
  if (found.empty()) return 0;
  if (entry_bytes_ != kUnknown) entry_bytes_ -= found.size() * ListpackEntryBytes(wanted);
  // From the back, so that what is left in front keeps its index. Where a leaf loses several, it is cheaper to write
  // the list anew.
  constexpr uint64_t kElementsPerRemoval = 64;
  if (found.size() <= 4 || found.size() * kElementsPerRemoval < size()) {
    for (size_t i = 0; i < found.size();) {
      size_t run = 1;
      while (i + run < found.size() && found[i + run] + run == found[i]) ++run;
      tree_.EraseRange(found[i] + 1 - run, run);
      i += run;
    }
  } else {
    List kept(0);
    auto next = found.rbegin();
    Forwards(0, [&](uint64_t index, const uint8_t* element) {
      if (next != found.rend() && *next == index) {
        ++next;
      } else {
        kept.tree_.PushBack(Bytes(element));
      }
      return true;
    });
    tree_ = std::move(kept.tree_);
  }
  return found.size();
}

}  // namespace tessera::store
