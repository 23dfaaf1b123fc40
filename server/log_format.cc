#include "server/log_format.h"

#include <fmt/core.h>

#include <ctime>

namespace tessera::log {
namespace {

constexpr char kMark[] = {'.', '-', '*', '#'};
constexpr std::string_view kLevelName[] = {"debug", "verbose", "notice", "warning"};

std::string_view RoleName(char role) { return role == 'S' ? "replica" : "primary"; }

std::string LegacyDate(int64_t unix_ms) {
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm local{};
  localtime_r(&seconds, &local);
  char date[32];
  std::strftime(date, sizeof date, "%d %b %Y %H:%M:%S", &local);
  return fmt::format("{}.{:03d}", date, unix_ms % 1000);
}

std::string IsoDate(int64_t unix_ms) {
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  return fmt::format("{}.{:03d}Z", date, unix_ms % 1000);
}

// Bytes of the UTF-8 sequence at the start of `text`, 0 if there is none.
size_t Utf8Length(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const size_t length = first < 0x80   ? 1
                        : first < 0xc2 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  if (length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // No overlong forms, no surrogates, nothing beyond U+10FFFF.
  if (length == 3 && ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) >= 0xa0))) return 0;
  if (length == 4 && ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) >= 0x90))) return 0;
  return length;
}

}  // namespace

std::string JsonEscaped(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 8);
  while (!text.empty()) {
    const char c = text.front();
    const size_t length = Utf8Length(text);
    if (length == 0) {
      out += "\xef\xbf\xbd";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string Formatted(config::LogFormat format, const Line& line) {
  const auto level = static_cast<int>(line.level);
  switch (format) {
    case config::LogFormat::kLogfmt:
      return fmt::format("pid={} role={} timestamp=\"{}\" level={} message=\"{}\"", line.pid, RoleName(line.role),
                         IsoDate(line.unix_ms), kLevelName[level], JsonEscaped(line.text));
    case config::LogFormat::kJson:
      return fmt::format(R"({{"pid":{},"role":"{}","timestamp":"{}","level":"{}","message":"{}"}})", line.pid,
                         RoleName(line.role), IsoDate(line.unix_ms), kLevelName[level], JsonEscaped(line.text));
    case config::LogFormat::kLegacy:
      break;
  }
  return fmt::format("{}:{} {} {} {}", line.pid, line.role, LegacyDate(line.unix_ms), kMark[level], line.text);
}

}  // namespace tessera::log
