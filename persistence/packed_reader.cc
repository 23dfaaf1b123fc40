#include "persistence/packed_reader.h"

#include <charconv>

#include "persistence/listpack.h"

namespace tessera::persistence {
namespace {

constexpr size_t kZiplistHeaderBytes = 10;
constexpr uint64_t kZiplistCountUnknown = 65535;
constexpr uint8_t kLongLength = 254;
constexpr uint8_t kEndMark = 255;
constexpr size_t kIntsetHeaderBytes = 8;

int64_t SignExtend(uint64_t number, int bits) {
  int unused = 64 - bits;
  return static_cast<int64_t>(number << unused) >> unused;
}

void SetNumber(int64_t number, PackedElement* element) {
  element->is_number = true;
  element->number = number;
}

void SetText(std::string_view text, PackedElement* element) {
  element->is_number = false;
  element->text = text;
}

}  // namespace

std::string_view PackedElement::ToText(char (&scratch)[kNumberTextMax]) const {
  if (!is_number) return text;
  char* end = std::to_chars(scratch, scratch + sizeof(scratch), number).ptr;
  return {scratch, static_cast<size_t>(end - scratch)};
}

PackedReader::Got PackedReader::Bad(std::string_view reason) {
  reason_ = reason;
  return Got::kBad;
}

uint64_t PackedReader::Number(size_t at, int bytes) const {
  uint64_t number = 0;
  for (int i = 0; i < bytes; ++i) number |= uint64_t{static_cast<uint8_t>(bytes_[at + i])} << (8 * i);
  return number;
}

PackedReader::Got PackedReader::Next(PackedElement* element) {
  if (position_ == 0) {
    if (Got got = ReadHeader(); got != Got::kElement) return got;
  }
  Got got = Got::kBad;
  switch (format_) {
    case PackedFormat::kListpack:
      got = NextOfListpack(element);
      break;
    case PackedFormat::kZiplist:
      got = NextOfZiplist(element);
      break;
    case PackedFormat::kZipmap:
      got = NextOfZipmap(element);
      break;
    case PackedFormat::kIntset:
      got = NextOfIntset(element);
      break;
  }
  if (got == Got::kElement) ++count_;
  return got == Got::kEnd ? CheckEnd() : got;
}

PackedReader::Got PackedReader::ReadHeader() {
  size_t header_bytes = format_ == PackedFormat::kListpack  ? kListpackHeaderBytes
                        : format_ == PackedFormat::kZiplist ? kZiplistHeaderBytes
                        : format_ == PackedFormat::kZipmap  ? 1
                                                            : kIntsetHeaderBytes;
  bool has_end_mark = format_ != PackedFormat::kIntset;
  if (bytes_.size() < header_bytes + has_end_mark) return Bad("it is shorter than its header");
  if (has_end_mark && static_cast<uint8_t>(bytes_.back()) != kEndMark) return Bad("its last byte is not the end mark");
  if (format_ == PackedFormat::kListpack || format_ == PackedFormat::kZiplist) {
    if (Number(0, 4) != bytes_.size()) return Bad("its size is not the one in its header");
  }
  if (format_ == PackedFormat::kIntset) {
    uint64_t width = Number(0, 4), count = Number(4, 4);
    if (width != 2 && width != 4 && width != 8) return Bad("its numbers are not 2, 4 or 8 bytes wide");
    if (count == 0) return Bad("it is empty");
    if (bytes_.size() != kIntsetHeaderBytes + width * count) return Bad("its size is not the one in its header");
  }
  position_ = header_bytes;
  return Got::kElement;
}

// At the end mark, or behind the last number.
PackedReader::Got PackedReader::CheckEnd() {
  if (format_ == PackedFormat::kIntset) return Got::kEnd;
  if (position_ != bytes_.size() - 1) return Bad("something follows its end mark");
  uint64_t count = count_;
  switch (format_) {
    case PackedFormat::kListpack:
      if (uint64_t stated = Number(4, 2); stated != kListpackCountUnknown && stated != count) {
        return Bad("the count in its header is wrong");
      }
      break;
    case PackedFormat::kZiplist:
      if (uint64_t stated = Number(8, 2); stated != kZiplistCountUnknown && stated != count) {
        return Bad("the count in its header is wrong");
      }
      if (Number(4, 4) != (count == 0 ? position_ : entry_begin_)) return Bad("its header misses the last entry");
      break;
    case PackedFormat::kZipmap:
      if (count % 2 != 0) return Bad("a field has no value");
      if (uint64_t stated = Number(0, 1); stated < kLongLength && stated != count / 2) {
        return Bad("the count in its header is wrong");
      }
      break;
    case PackedFormat::kIntset:
      break;
  }
  return Got::kEnd;
}

PackedReader::Got PackedReader::NextOfListpack(PackedElement* element) {
  const size_t begin = position_;
  // The last byte is an end mark, so one byte is always there.
  const uint8_t first = static_cast<uint8_t>(bytes_[begin]);
  if (first == kEndMark) return Got::kEnd;
  uint64_t text_bytes = 0;
  size_t head_bytes = 1;  // of the body, without the text
  if (first < 0x80) {
    SetNumber(first, element);
  } else if (first < 0xc0) {
    text_bytes = first & 0x3f;
  } else if (first < 0xe0) {
    head_bytes = 2;
  } else if (first < 0xf0) {
    head_bytes = 2;
  } else if (first == 0xf0) {
    head_bytes = 5;
  } else if (first <= 0xf3) {
    head_bytes = first - 0xf1 + 3;
  } else if (first == 0xf4) {
    head_bytes = 9;
  } else {
    return Bad("an element of unknown kind");
  }
  if (!Has(head_bytes)) return Bad("an element is cut short");
  bool is_text = false;
  if (first >= 0x80 && first < 0xc0) {
    is_text = true;
  } else if (first >= 0xc0 && first < 0xe0) {
    SetNumber(SignExtend(uint64_t{first & 0x1fu} << 8 | Number(begin + 1, 1), 13), element);
  } else if (first >= 0xe0 && first < 0xf0) {
    text_bytes = uint64_t{first & 0x0fu} << 8 | Number(begin + 1, 1);
    is_text = true;
  } else if (first == 0xf0) {
    text_bytes = Number(begin + 1, 4);
    is_text = true;
  } else if (first > 0xf0) {
    int bytes = static_cast<int>(head_bytes) - 1;
    SetNumber(SignExtend(Number(begin + 1, bytes), 8 * bytes), element);
  }
  const uint64_t body_bytes = head_bytes + text_bytes;
  const int back_bytes = ListpackBackLengthBytes(body_bytes);
  if (!Has(body_bytes + static_cast<uint64_t>(back_bytes))) return Bad("an element is cut short");
  if (is_text) SetText(bytes_.substr(begin + head_bytes, text_bytes), element);
  for (int i = 0; i < back_bytes; ++i) {
    uint64_t bits = (body_bytes >> (7 * (back_bytes - 1 - i))) & 0x7f;
    if (Number(begin + body_bytes + static_cast<size_t>(i), 1) != (i == 0 ? bits : bits | 0x80)) {
      return Bad("an element's back-length is wrong");
    }
  }
  position_ = begin + body_bytes + static_cast<size_t>(back_bytes);
  if (position_ >= bytes_.size()) return Bad("an element runs over the end mark");
  return Got::kElement;
}

PackedReader::Got PackedReader::NextOfZiplist(PackedElement* element) {
  const size_t begin = position_;
  uint8_t first = static_cast<uint8_t>(bytes_[begin]);
  if (first == kEndMark) return Got::kEnd;
  uint64_t previous = first;
  size_t at = begin + 1;
  if (first == kLongLength) {
    if (!Has(5)) return Bad("an entry is cut short");
    previous = Number(begin + 1, 4);
    at = begin + 5;
  }
  if (previous != (count_ == 0 ? 0 : begin - entry_begin_)) return Bad("an entry's back-length is wrong");
  if (at >= bytes_.size()) return Bad("an entry is cut short");

  first = static_cast<uint8_t>(bytes_[at]);
  const size_t head = at++;
  auto has = [&](uint64_t bytes) { return bytes_.size() - at >= bytes; };
  uint64_t text_bytes = 0;
  if (first < 0xc0) {
    if (first < 0x40) {
      text_bytes = first;
    } else if (first < 0x80) {
      if (!has(1)) return Bad("an entry is cut short");
      text_bytes = uint64_t{first & 0x3fu} << 8 | Number(at, 1);
      at += 1;
    } else {
      if (!has(4)) return Bad("an entry is cut short");
      for (int i = 0; i < 4; ++i) text_bytes = text_bytes << 8 | Number(head + 1 + static_cast<size_t>(i), 1);
      at += 4;
    }
    if (!has(text_bytes)) return Bad("an entry is cut short");
    SetText(bytes_.substr(at, text_bytes), element);
    at += text_bytes;
  } else if (first >= 0xf1 && first <= 0xfd) {
    SetNumber((first & 0x0f) - 1, element);
  } else {
    int bytes = first == 0xc0 ? 2 : first == 0xd0 ? 4 : first == 0xe0 ? 8 : first == 0xf0 ? 3 : first == 0xfe ? 1 : 0;
    if (bytes == 0) return Bad("an entry of unknown kind");
    if (!has(static_cast<uint64_t>(bytes))) return Bad("an entry is cut short");
    SetNumber(SignExtend(Number(at, bytes), 8 * bytes), element);
    at += static_cast<size_t>(bytes);
  }
  if (at >= bytes_.size()) return Bad("an entry runs over the end mark");
  entry_begin_ = begin;
  position_ = at;
  return Got::kElement;
}

PackedReader::Got PackedReader::NextOfZipmap(PackedElement* element) {
  const bool is_value = count_ % 2 == 1;
  uint8_t first = static_cast<uint8_t>(bytes_[position_]);
  if (first == kEndMark) return Got::kEnd;
  uint64_t length = first;
  size_t at = position_ + 1;
  auto has = [&](uint64_t bytes) { return bytes_.size() - at >= bytes; };
  if (first == kLongLength) {
    if (!has(4)) return Bad("a length is cut short");
    length = Number(at, 4);
    at += 4;
  }
  uint64_t unused = 0;
  if (is_value) {
    if (!has(1)) return Bad("a value is cut short");
    unused = Number(at, 1);
    at += 1;
  }
  if (!has(length + unused)) return Bad("a field or value is cut short");
  SetText(bytes_.substr(at, length), element);
  at += length + unused;
  if (at >= bytes_.size()) return Bad("a field or value runs over the end mark");
  position_ = at;
  return Got::kElement;
}

PackedReader::Got PackedReader::NextOfIntset(PackedElement* element) {
  if (position_ == bytes_.size()) return Got::kEnd;
  const int width = static_cast<int>(Number(0, 4));
  const int64_t number = SignExtend(Number(position_, width), 8 * width);
  if (count_ > 0) {
    const int64_t previous = SignExtend(Number(position_ - static_cast<size_t>(width), width), 8 * width);
    if (number <= previous) return Bad("its numbers are not in ascending order");
  }
  SetNumber(number, element);
  position_ += static_cast<size_t>(width);
  return Got::kElement;
}

}  // namespace tessera::persistence
