// Reads the packed sequences inside RDB values, which come from outside and may be broken anywhere. Every length is
// checked before it is followed, and every redundant one (back-lengths, totals, counts) against what is there.
//
// Listpacks: see listpack.h. The older formats:
//   ziplist  = total-bytes:uint32le last-entry:uint32le count:uint16le entry* 0xff
//              last-entry is an offset, of the end mark when empty; count 65535 = to be counted
//   entry    = previous-entry-bytes(byte below 254 | 0xfe uint32le) body
//   body     = 00llllll bytes | 01llllll byte bytes | 10...... uint32be bytes | 0xc0 int16le | 0xd0 int32le
//            | 0xe0 int64le | 0xf0 int24le | 0xfe int8 | 1111nnnn for n = 1..13, the number n - 1
//   zipmap   = count:byte (length field length unused:byte value unused-bytes)* 0xff     count 254 = to be counted
//   length   = byte below 254 | 0xfe uint32le
//   intset   = width:uint32le(2, 4 or 8) count:uint32le number*       little endian, strictly ascending, not empty
// Source: the values Redis 2.2 to 7.4 write.
#pragma once

#include <cstdint>
#include <string_view>

namespace tessera::persistence {

enum class PackedFormat : uint8_t { kListpack, kZiplist, kZipmap, kIntset };

// A text or a number. Texts are views of the packed bytes.
struct PackedElement {
  static constexpr size_t kNumberTextMax = 20;

  bool is_number = false;
  int64_t number = 0;
  std::string_view text;

  std::string_view ToText(char (&scratch)[kNumberTextMax]) const;
};

class PackedReader {
 public:
  enum class Got { kElement, kEnd, kBad };

  PackedReader(PackedFormat format, std::string_view bytes) : format_(format), bytes_(bytes) {}

  // A zipmap's fields and values alternate. kEnd only when everything was in order up to the last byte.
  Got Next(PackedElement* element);
  uint64_t count() const { return count_; }  // elements read so far
  // After kBad.
  std::string_view reason() const { return reason_; }
  size_t bad_position() const { return position_; }

 private:
  Got Bad(std::string_view reason);
  uint64_t Number(size_t at, int bytes) const;
  bool Has(uint64_t bytes) const { return bytes_.size() - position_ >= bytes; }
  Got ReadHeader();
  Got NextOfListpack(PackedElement* element);
  Got NextOfZiplist(PackedElement* element);
  Got NextOfZipmap(PackedElement* element);
  Got NextOfIntset(PackedElement* element);
  Got CheckEnd();

  PackedFormat format_;
  std::string_view bytes_;
  size_t position_ = 0;
  uint64_t count_ = 0;
  size_t entry_begin_ = 0;  // of the last entry of a ziplist
  std::string_view reason_;
};

}  // namespace tessera::persistence
