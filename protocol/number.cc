#include "protocol/number.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include <array>
#include <cstdio>

namespace tessera::protocol {
namespace {

template <typename Float>
std::optional<Float> ParseFloat(std::string_view text, Float (*convert)(const char*, char**)) {
  // strtod needs a terminator, and would skip leading spaces.
  constexpr size_t kShort = 128;
  if (text.empty() || text.size() >= kMaxLongDoubleChars) return std::nullopt;
  if (text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r')) return std::nullopt;
  std::array<char, kShort> small;
  std::string large;
  char* begin = small.data();
  if (text.size() < kShort) {
    std::memcpy(begin, text.data(), text.size());
    begin[text.size()] = '\0';
  } else {
    large.assign(text);
    begin = large.data();
  }
  char* stop = nullptr;
  const int saved_errno = errno;
  errno = 0;
  const Float value = convert(begin, &stop);
  const int error = errno;
  errno = saved_errno;
  if (stop != begin + text.size()) return std::nullopt;
  if (error == ERANGE && (std::isinf(value) || value == 0)) return std::nullopt;
  if (error == EINVAL || std::isnan(value)) return std::nullopt;
  return value;
}

size_t Put(char* out, std::string_view text) {
  std::memcpy(out, text.data(), text.size());
  return text.size();
}

}  // namespace

std::optional<int64_t> ParseInt64(std::string_view text) {
  const bool negative = !text.empty() && text[0] == '-';
  const std::string_view digits = text.substr(negative ? 1 : 0);
  if (digits.empty() || digits.size() > 19) return std::nullopt;
  if (digits[0] == '0') return digits.size() == 1 && !negative ? std::optional<int64_t>(0) : std::nullopt;
  uint64_t value = 0;  // 19 digits fit without overflow
  for (const char c : digits) {
    const unsigned digit = static_cast<unsigned char>(c) - unsigned{'0'};
    if (digit > 9) return std::nullopt;
    value = value * 10 + digit;
  }
  const uint64_t bound = uint64_t{1} << 63;
  if (negative) {
    if (value > bound) return std::nullopt;
    return static_cast<int64_t>(~value + 1);
  }
  if (value >= bound) return std::nullopt;
  return static_cast<int64_t>(value);
}

std::optional<uint64_t> ParseUint64(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  if (text[0] == '0') return text.size() == 1 ? std::optional<uint64_t>(0) : std::nullopt;
  uint64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> ParseDouble(std::string_view text) { return ParseFloat<double>(text, std::strtod); }

std::optional<long double> ParseLongDouble(std::string_view text) {
  return ParseFloat<long double>(text, std::strtold);
}

size_t WriteDouble(double value, char* out) {
  if (std::isnan(value)) return Put(out, "nan");
  if (std::isinf(value)) return Put(out, value < 0 ? "-inf" : "inf");
  if (value == 0) return Put(out, std::signbit(value) ? "-0" : "0");
  constexpr double kWhole = static_cast<double>(std::numeric_limits<int64_t>::max() / 2);
  if (value >= -kWhole && value <= kWhole) {
    const auto whole = static_cast<int64_t>(value);
    if (static_cast<double>(whole) == value) return WriteInt64(whole, out);
  }

  // to_chars finds the shortest digits; where they go relative to the point follows the reference server.
  std::array<char, 40> text;
  char* const text_end =
      std::to_chars(text.data(), text.data() + text.size(), std::fabs(value), std::chars_format::scientific).ptr;
  char* mark = text.data();
  while (*mark != 'e') ++mark;
  std::array<char, 20> digits;
  size_t count = 0;
  for (const char* p = text.data(); p != mark; ++p) {
    if (*p != '.') digits[count++] = *p;
  }
  int exponent = 0;  // of the first digit
  std::from_chars(mark[1] == '+' ? mark + 2 : mark + 1, text_end, exponent);
  const int n = static_cast<int>(count);
  const int last = exponent - n + 1;  // power of ten of the last digit
  const int magnitude = std::abs(exponent);
  char* p = out;
  if (value < 0) *p++ = '-';
  if (last >= 0 && magnitude < n + 7) {
    p += Put(p, {digits.data(), count});
    for (int i = 0; i < last; ++i) *p++ = '0';
  } else if (last < 0 && (last > -7 || magnitude < 4)) {
    const int before_point = n + last;
    if (before_point <= 0) {
      *p++ = '0';
      *p++ = '.';
      for (int i = before_point; i < 0; ++i) *p++ = '0';
      p += Put(p, {digits.data(), count});
    } else {
      p += Put(p, {digits.data(), static_cast<size_t>(before_point)});
      *p++ = '.';
      p += Put(p, {digits.data() + before_point, static_cast<size_t>(n - before_point)});
    }
  } else {
    *p++ = digits[0];
    if (n > 1) {
      *p++ = '.';
      p += Put(p, {digits.data() + 1, count - 1});
    }
    *p++ = 'e';
    *p++ = exponent < 0 ? '-' : '+';
    p += WriteInt64(magnitude, p);
  }
  return static_cast<size_t>(p - out);
}

std::string DoubleText(double value) {
  std::array<char, kMaxDoubleChars> text;
  return {text.data(), WriteDouble(value, text.data())};
}

std::string LongDoubleText(long double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, kMaxLongDoubleChars> text;
  const int length = std::snprintf(text.data(), text.size(), "%.17Lf", value);
  std::string_view view(text.data(), static_cast<size_t>(length));
  view = view.substr(0, view.find_last_not_of('0') + 1);
  if (view.back() == '.') view.remove_suffix(1);
  return view == "-0" ? "0" : std::string(view);
}

std::string Int64Text(int64_t value) {
  std::array<char, kMaxIntegerChars> text;
  return {text.data(), WriteInt64(value, text.data())};
}

}  // namespace tessera::protocol
