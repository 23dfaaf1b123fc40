#include "persistence/listpack.h"

#include <limits>
#include <optional>

#include "persistence/integer_text.h"

namespace tessera::persistence {
namespace {

void AppendLittleEndian(uint64_t number, int bytes, std::string* out) {
  for (int i = 0; i < bytes; ++i) out->push_back(static_cast<char>(number >> (8 * i)));
}

}  // namespace

int ListpackBackLengthBytes(uint64_t body_bytes) {
  if (body_bytes <= 127) return 1;
  if (body_bytes < 16383) return 2;
  if (body_bytes < 2097151) return 3;
  return body_bytes < 268435455 ? 4 : 5;
}

void ListpackWriter::Start() {
  bytes_.assign(kListpackHeaderBytes, '\0');
  count_ = 0;
}

void ListpackWriter::Append(std::string_view text) {
  if (std::optional<int64_t> number = ExactInteger<int64_t>(text)) return AppendInteger(*number);
  size_t begin = bytes_.size();
  if (text.size() < 64) {
    bytes_.push_back(static_cast<char>(0x80 | text.size()));
  } else if (text.size() < 4096) {
    bytes_.push_back(static_cast<char>(0xe0 | (text.size() >> 8)));
    bytes_.push_back(static_cast<char>(text.size()));
  } else {
    bytes_.push_back('\xf0');
    AppendLittleEndian(text.size(), 4, &bytes_);
  }
  bytes_.append(text);
  AppendBackLength(bytes_.size() - begin);
}

void ListpackWriter::AppendInteger(int64_t number) {
  size_t begin = bytes_.size();
  auto fits = [number](int bits) { return number >= -(int64_t{1} << (bits - 1)) && number < int64_t{1} << (bits - 1); };
  auto append = [&](char mark, int bytes) {
    bytes_.push_back(mark);
    AppendLittleEndian(static_cast<uint64_t>(number), bytes, &bytes_);
  };
  if (number >= 0 && number < 128) {
    bytes_.push_back(static_cast<char>(number));
  } else if (fits(13)) {
    uint64_t bits = static_cast<uint64_t>(number) & 0x1fff;
    bytes_.push_back(static_cast<char>(0xc0 | (bits >> 8)));
    bytes_.push_back(static_cast<char>(bits));
  } else if (fits(16)) {
    append('\xf1', 2);
  } else if (fits(24)) {
    append('\xf2', 3);
  } else if (fits(32)) {
    append('\xf3', 4);
  } else {
    append('\xf4', 8);
  }
  AppendBackLength(bytes_.size() - begin);
}

void ListpackWriter::AppendBackLength(size_t body_bytes) {
  ++count_;
  int bytes = ListpackBackLengthBytes(body_bytes);
  for (int i = bytes - 1; i >= 0; --i) {
    uint8_t bits = (body_bytes >> (7 * i)) & 0x7f;
    bytes_.push_back(static_cast<char>(i == bytes - 1 ? bits : bits | 0x80));
  }
}

std::string_view ListpackWriter::Finish() {
  bytes_.push_back('\xff');
  if (bytes_.size() > std::numeric_limits<uint32_t>::max()) return {};
  for (size_t i = 0; i < 4; ++i) bytes_[i] = static_cast<char>(bytes_.size() >> (8 * i));
  uint64_t count = count_ < kListpackCountUnknown ? count_ : kListpackCountUnknown;
  bytes_[4] = static_cast<char>(count);
  bytes_[5] = static_cast<char>(count >> 8);
  return bytes_;
}

}  // namespace tessera::persistence
