// Checksum lines in AOF files, which tell damage in the middle from a torn end. Redis 7 and redis-check-aof skip them, as
// they skip every line that begins with '#' where a command may begin.
//   line   = "#SUM:" offset "," length "," crc CRLF
//   offset = decimal, of the line in its file
//   length = decimal: so many bytes right before the line are covered. 0: nothing is known of what stands before (another
//            server wrote it, or a crash came before its line)
//   crc    = 16 hex digits: CRC-64 as in RDB files over the bytes covered, continued over "offset,length"
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tessera::persistence {

inline constexpr std::string_view kAofSumMark = "#SUM:";

// The bytes since the last line, as writer and reader count them.
class AofSum {
 public:
  // `offset`: of the first byte to be covered.
  explicit AofSum(uint64_t offset = 0) : begin_(offset) {}
  void Add(std::string_view bytes);
  uint64_t begin() const { return begin_; }
  uint64_t length() const { return length_; }
  // For what was added; with CRLF. Go on with AofSum(offset behind the line).
  std::string Line() const;

  enum class Verdict { kRight, kWrong, kMalformed };
  // `line` is one found where the bytes added end, without its CRLF.
  Verdict Judge(std::string_view line) const;

 private:
  uint64_t begin_;
  uint64_t length_ = 0;
  uint64_t crc_ = 0;
};

// Whether `text`, found at `offset`, begins with a complete checksum line that says it stands there.
bool LooksLikeAofSum(std::string_view text, uint64_t offset);

}  // namespace tessera::persistence
