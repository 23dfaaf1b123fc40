// One value as the elements of lists, sets, hashes, sorted sets and streams hold it: its own length, then its bytes.
// Text that is the canonical decimal form of an int64 is kept as a number.
//
//   0x00–0x7f  string of that many bytes
//   0x80–0xbf  string; the lower 6 bits and the next byte are its length, big endian
//   0xc0–0xdf  the integer 0–31
//   0xe0–0xe7  an integer in 1–8 bytes, little endian, two's complement
//   0xe8       a double that is no integer, 8 bytes
//   0xe9–0xeb  a double that is so many tenths, hundredths or thousandths, 4 bytes
//   0xf0       string; length in 4 bytes, little endian
//
// Every value has exactly one form, so two values are equal when their bytes are. Views are views of the packed bytes.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string_view>

#include "server/store/check.h"
#include "server/store/entry.h"

namespace tessera::store {

inline constexpr size_t kPackedHeadBytesMax = 9;
inline constexpr uint8_t kPackedDouble = 0xe8;
inline constexpr uint8_t kPackedDecimalMax = 0xeb;
inline constexpr double kPackedDecimalUnits[] = {10, 100, 1000};

// The bytes of one packed value or element.
using PackedBytes = std::string_view;

inline const uint8_t* SkipPacked(const uint8_t* p) {
  const uint8_t head = *p;
  if (head < 0x80) return p + 1 + head;
  if (head < 0xc0) return p + 2 + ((head & 0x3f) << 8 | p[1]);
  if (head < 0xe0) return p + 1;
  if (head < 0xe8) return p + 2 + (head & 7);
  if (head <= kPackedDecimalMax) return p + (head == kPackedDouble ? 9 : 5);
  uint32_t length;
  memcpy(&length, p + 1, sizeof(length));
  return p + 5 + length;
}

// All but strings of 128 bytes and more.
inline bool PackedHeadTellsSize(uint8_t head) { return head < 0x80 || (head >= 0xc0 && head <= kPackedDecimalMax); }

// The value that many further on. In a run of equal heads the processor need not wait for one to find the next.
inline const uint8_t* SkipPacked(const uint8_t* p, uint64_t count) {
  while (count > 0) {
    const uint8_t head = *p;
    const uint8_t* next = SkipPacked(p);
    --count;
    if (PackedHeadTellsSize(head))
      for (const auto size = next - p; count > 0 && *next == head; --count) next += size;
    p = next;
  }
  return p;
}

// Whether a value is this one. `wanted` may be longer than what is left of the leaf.
inline bool EqualPacked(const uint8_t* value, PackedBytes wanted) {
  return *value == static_cast<uint8_t>(wanted[0]) && static_cast<size_t>(SkipPacked(value) - value) == wanted.size() &&
         memcmp(value, wanted.data(), wanted.size()) == 0;
}

// A value, read. `text` is set for strings, `integer` for integers.
struct Unpacked {
  enum class Form : uint8_t { kString, kInteger, kDouble };
  Form form = Form::kString;
  std::string_view text;
  int64_t integer = 0;
  double number = 0;

  bool is_integer() const { return form == Form::kInteger; }
  // As a client sees it; integers are rendered into `scratch`. Not for doubles.
  std::string_view Text(IntScratch& scratch) const {
    return form == Form::kInteger ? RenderInteger(integer, scratch) : text;
  }
  double AsDouble() const { return form == Form::kInteger ? static_cast<double>(integer) : number; }
};

// Of a value that is known to be an integer.
inline int64_t UnpackInteger(const uint8_t* p) {
  if (*p < 0xe0) return *p & 0x1f;
  if (*p == 0xe3) {
    int32_t number;
    memcpy(&number, p + 1, sizeof(number));
    return number;
  }
  const int size = (*p & 7) + 1;
  uint64_t raw = 0;
  memcpy(&raw, p + 1, size);
  const int spare = 64 - 8 * size;
  return static_cast<int64_t>(raw << spare) >> spare;
}

// Of a value that is known to be an integer or a double.
inline double UnpackNumber(const uint8_t* p) {
  const uint8_t head = *p;
  if (head == kPackedDouble) {
    double number;
    memcpy(&number, p + 1, sizeof(number));
    return number;
  }
  if (head < 0xe8) return static_cast<double>(UnpackInteger(p));
  int32_t decimals;
  memcpy(&decimals, p + 1, sizeof(decimals));
  return decimals / kPackedDecimalUnits[head - kPackedDouble - 1];
}

inline Unpacked Unpack(const uint8_t* p) {
  const uint8_t head = *p;
  const auto* bytes = reinterpret_cast<const char*>(p);
  if (head < 0x80) return {.text = {bytes + 1, head}};
  if (head < 0xc0) return {.text = {bytes + 2, static_cast<size_t>((head & 0x3f) << 8 | p[1])}};
  if (head < 0xe8) return {.form = Unpacked::Form::kInteger, .integer = UnpackInteger(p)};
  if (head <= kPackedDecimalMax) return {.form = Unpacked::Form::kDouble, .number = UnpackNumber(p)};
  uint32_t length;
  memcpy(&length, p + 1, sizeof(length));
  return {.text = {bytes + 5, length}};
}

// Where an element is put together before it goes into a tree: on the stack unless it is large.
class PackBuffer {
 public:
  PackBuffer() : data_(inline_) {}
  PackBuffer(const PackBuffer&) = delete;
  ~PackBuffer() {
    if (data_ != inline_) free(data_);
  }
  void push_back(char c) {
    if (size_ == capacity_) Grow(1);
    data_[size_++] = c;
  }
  void append(const char* bytes, size_t count) {
    if (capacity_ - size_ < count) Grow(count);
    if (count > 0) memcpy(data_ + size_, bytes, count);
    size_ += count;
  }
  void append(std::string_view text) { append(text.data(), text.size()); }
  void clear() { size_ = 0; }
  size_t size() const { return size_; }
  operator PackedBytes() const { return {data_, size_}; }  // NOLINT: meant to stand for its bytes
  PackedBytes view() const { return {data_, size_}; }

 private:
  void Grow(size_t count) {
    capacity_ = (size_ + count) * 2;
    auto* larger = static_cast<char*>(realloc(data_ == inline_ ? nullptr : data_, capacity_));
    STORE_CHECK(larger != nullptr);
    if (data_ == inline_) memcpy(larger, inline_, size_);
    data_ = larger;
  }

  static constexpr size_t kInlineBytes = 200;
  char* data_;
  size_t size_ = 0;
  size_t capacity_ = kInlineBytes;
  char inline_[kInlineBytes];
};

template <typename Out>
void AppendPackedInteger(int64_t value, Out* out) {
  if (value >= 0 && value < 32) {
    out->push_back(static_cast<char>(0xc0 | value));
    return;
  }
  const uint64_t magnitude = static_cast<uint64_t>(value < 0 ? ~value : value);
  const int size = (std::bit_width(magnitude) + 8) / 8;  // a sign bit more than the magnitude
  char text[9];
  text[0] = static_cast<char>(0xe0 | (size - 1));
  memcpy(text + 1, &value, 8);
  out->append(text, 1 + size);
}

// A score. NaN is the caller's to refuse.
template <typename Out>
void AppendPackedDouble(double value, Out* out) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (value >= -kExact && value <= kExact && value == std::trunc(value) && !(value == 0 && std::signbit(value))) {
    return AppendPackedInteger(static_cast<int64_t>(value), out);
  }
  char text[9];
  // Most scores that people choose have few decimals. A quotient of two exact numbers is the double nearest to it, so
  // what divides to the same double again is the same.
  for (size_t i = 0; i < std::size(kPackedDecimalUnits); ++i) {
    const double decimals = value * kPackedDecimalUnits[i];
    if (!(std::abs(decimals) < 2147483647.0)) break;
    const auto whole = static_cast<int32_t>(std::lrint(decimals));
    if (whole == 0 || whole / kPackedDecimalUnits[i] != value) continue;
    text[0] = static_cast<char>(kPackedDouble + 1 + i);
    memcpy(text + 1, &whole, sizeof(whole));
    out->append(text, 1 + sizeof(whole));
    return;
  }
  text[0] = static_cast<char>(kPackedDouble);
  memcpy(text + 1, &value, 8);
  out->append(text, sizeof(text));
}

// A string as it is, also if it looks like a number.
template <typename Out>
void AppendPackedBytes(std::string_view text, Out* out) {
  if (text.size() < 0x80) {
    out->push_back(static_cast<char>(text.size()));
  } else if (text.size() < 0x4000) {
    out->push_back(static_cast<char>(0x80 | text.size() >> 8));
    out->push_back(static_cast<char>(text.size()));
  } else {
    const auto length = static_cast<uint32_t>(text.size());
    char head[5];
    head[0] = static_cast<char>(0xf0);
    memcpy(head + 1, &length, 4);
    out->append(head, sizeof(head));
  }
  out->append(text);
}

// What clients hand in.
template <typename Out>
void AppendPacked(std::string_view text, Out* out) {
  if (const auto integer = ParseCanonicalInteger(text)) return AppendPackedInteger(*integer, out);
  AppendPackedBytes(text, out);
}

}  // namespace tessera::store
