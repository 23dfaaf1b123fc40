#include "persistence/rdb_cursor.h"

#include "fmt/core.h"
#include "persistence/lzf.h"

namespace tessera::persistence {
RdbGot RdbCursor::Bad(size_t position, std::string reason) {
  bad_position_ = position;
  bad_reason_ = std::move(reason);
  return RdbGot::kBad;
}

RdbGot RdbCursor::Byte(uint8_t* byte) {
  if (position_ >= bytes_.size()) return RdbGot::kNeedMore;
  *byte = static_cast<uint8_t>(bytes_[position_++]);
  return RdbGot::kOk;
}

RdbGot RdbCursor::Skip(uint64_t count) {
  if (bytes_.size() - position_ < count) return RdbGot::kNeedMore;
  position_ += count;
  return RdbGot::kOk;
}

RdbGot RdbCursor::LittleEndian(int bytes, uint64_t* number) {
  size_t begin = position_;
  if (RdbGot got = Skip(static_cast<uint64_t>(bytes)); got != RdbGot::kOk) return got;
  *number = 0;
  for (int i = 0; i < bytes; ++i) *number |= uint64_t{static_cast<uint8_t>(bytes_[begin + i])} << (8 * i);
  return RdbGot::kOk;
}

RdbGot RdbCursor::LengthOrForm(uint64_t* length, bool* is_form) {
  size_t begin = position_;
  uint8_t first;
  if (RdbGot got = Byte(&first); got != RdbGot::kOk) return got;
  *is_form = first >> 6 == 3;
  *length = first & 0x3f;
  if (first >> 6 == 0 || *is_form) return RdbGot::kOk;
  int more = first >> 6 == 1 ? 1 : first == 0x80 ? 4 : first == 0x81 ? 8 : 0;
  if (more == 0) return Bad(begin, fmt::format("0x{:02x} does not begin a length", first));
  if (more > 1) *length = 0;
  for (int i = 0; i < more; ++i) {
    uint8_t byte;
    if (RdbGot got = Byte(&byte); got != RdbGot::kOk) return got;
    *length = *length << 8 | byte;
  }
  return RdbGot::kOk;
}

RdbGot RdbCursor::Length(uint64_t* length) {
  size_t begin = position_;
  bool is_form;
  RdbGot got = LengthOrForm(length, &is_form);
  if (got == RdbGot::kOk && is_form) return Bad(begin, "a special string form stands where a length must be");
  return got;
}

RdbGot RdbCursor::String(RdbString* string) {
  string->position = position_;
  uint64_t length;
  bool is_form;
  if (RdbGot got = LengthOrForm(&length, &is_form); got != RdbGot::kOk) return got;
  if (!is_form) {
    if (length > string_bytes_max_) return Bad(string->position, fmt::format("a string of {} bytes", length));
    size_t begin = position_;
    if (RdbGot got = Skip(length); got != RdbGot::kOk) return got;
    string->form = RdbString::Form::kRaw;
    string->stored = bytes_.substr(begin, length);
    return RdbGot::kOk;
  }
  uint64_t number;
  switch (length) {
    case 0:
    case 1:
    case 2: {
      int bytes = 1 << length;
      if (RdbGot got = LittleEndian(bytes, &number); got != RdbGot::kOk) return got;
      int unused = 64 - 8 * bytes;
      string->form = RdbString::Form::kInteger;
      string->number = static_cast<int64_t>(number << unused) >> unused;
      return RdbGot::kOk;
    }
    case 3: {
      uint64_t stored;
      if (RdbGot got = Length(&stored); got != RdbGot::kOk) return got;
      if (RdbGot got = Length(&length); got != RdbGot::kOk) return got;
      if (length > string_bytes_max_ || stored > string_bytes_max_) {
        return Bad(string->position, fmt::format("a compressed string of {} bytes", length));
      }
      if (stored == 0 || length == 0 || length / kLzfExpansionMax > stored) {  // known before the data is here
        return Bad(string->position, fmt::format("{} compressed bytes cannot become {}", stored, length));
      }
      size_t begin = position_;
      if (RdbGot got = Skip(stored); got != RdbGot::kOk) return got;
      string->form = RdbString::Form::kCompressed;
      string->stored = bytes_.substr(begin, stored);
      string->length = length;
      return RdbGot::kOk;
    }
  }
  return Bad(string->position, fmt::format("unknown string form {}", length));
}

bool RdbCursor::Decode(const RdbString& string, std::string* scratch, std::string_view* out) {
  switch (string.form) {
    case RdbString::Form::kRaw:
      *out = string.stored;
      return true;
    case RdbString::Form::kInteger:
      *scratch = fmt::format("{}", string.number);
      break;
    case RdbString::Form::kCompressed:
      if (!LzfDecompress(string.stored, string.length, scratch)) return false;
      break;
  }
  *out = *scratch;
  return true;
}

}  // namespace tessera::persistence
