// Numbers as text, by the rules Redis 7.2 clients see. Nothing here allocates unless it returns a std::string; parsers
// take views that need no terminator and accept the whole text or nothing.
#pragma once

#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace tessera::protocol {

// Canonical decimal only: no sign but a leading '-', no leading zeros, no "-0", no spaces. So a value that parses
// prints back as the same text, which lets the store keep it as an integer.
[[nodiscard]] std::optional<int64_t> ParseInt64(std::string_view text);
[[nodiscard]] std::optional<uint64_t> ParseUint64(std::string_view text);

// As strtod and strtold read it (decimal, hexadecimal, "inf", "infinity" in any case and sign), but without leading
// spaces, without NaN, and without overflow or underflow to zero.
[[nodiscard]] std::optional<double> ParseDouble(std::string_view text);
[[nodiscard]] std::optional<long double> ParseLongDouble(std::string_view text);

inline constexpr size_t kMaxIntegerChars = 20;
inline constexpr size_t kMaxDoubleChars = 32;
// A long double of the largest exponent has 4933 digits before the point.
inline constexpr size_t kMaxLongDoubleChars = 5 * 1024;

// Write at `out`, which has room for kMaxIntegerChars, and return the length.
inline size_t WriteInt64(int64_t value, char* out) {
  return static_cast<size_t>(std::to_chars(out, out + kMaxIntegerChars, value).ptr - out);
}
inline size_t WriteUint64(uint64_t value, char* out) {
  return static_cast<size_t>(std::to_chars(out, out + kMaxIntegerChars, value).ptr - out);
}
// The digits WriteInt64 would write, the sign included.
inline size_t Int64Chars(int64_t value) {
  uint64_t rest = value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  size_t count = value < 0 ? 2 : 1;
  while (rest >= 10) {
    rest /= 10;
    ++count;
  }
  return count;
}

// Shortest text that reads back as the same double: whole numbers plain up to 2^62, else digits with a point, else
// with an exponent ("1e+20", "1.5e-10"); "inf", "-inf", "nan", "-0". `out` has room for kMaxDoubleChars.
size_t WriteDouble(double value, char* out);
[[nodiscard]] std::string DoubleText(double value);

// The human-friendly form of INCRBYFLOAT and HINCRBYFLOAT: 17 digits behind the point, trailing zeros cut, never an
// exponent, "0" for minus zero.
[[nodiscard]] std::string LongDoubleText(long double value);

[[nodiscard]] std::string Int64Text(int64_t value);

}  // namespace tessera::protocol
