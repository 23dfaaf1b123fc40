// Listpacks, the packed sequences inside RDB values:
//   listpack = total-bytes:uint32le count:uint16le entry* 0xff     count 65535 = more than 65534, to be counted
//   entry    = body back-length
//   body     = 0xxxxxxx number 0..127 | 10llllll bytes | 110nnnnn byte: 13-bit signed number | 1110llll byte bytes
//            | 0xf0 uint32le bytes | 0xf1 int16le | 0xf2 int24le | 0xf3 int32le | 0xf4 int64le
//   back-length = the size of body, 7 bits a byte, the most significant first; all but the first have the high bit set
// Source: the values Redis 5 to 7.4 write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tessera::persistence {

inline constexpr size_t kListpackHeaderBytes = 6;
inline constexpr uint16_t kListpackCountUnknown = 65535;

// Of the back-length of a body. Where it could be shorter by one (16383 bytes, say), the longer form is the valid one.
int ListpackBackLengthBytes(uint64_t body_bytes);

// Appends to a buffer that keeps its memory from one listpack to the next.
class ListpackWriter {
 public:
  void Start();
  void Append(std::string_view text);  // as a number when its decimal text is exactly `text`
  void AppendInteger(int64_t number);
  // Everything since Start, valid until the next Start. Empty when it has outgrown what a listpack can be (4 GiB).
  std::string_view Finish();

 private:
  void AppendBackLength(size_t body_bytes);

  std::string bytes_;
  uint64_t count_ = 0;
};

}  // namespace tessera::persistence
