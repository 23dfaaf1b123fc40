// The operator's log: one line per thing that happened, in levels of Redis's `loglevel`. Any thread may log.
// The library behind it (spdlog) stays inside log.cc; everybody else pays for fmt only.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace tessera::config {
enum class LogFormat : uint8_t;
}

namespace tessera::log {

enum class Level { kDebug, kVerbose, kNotice, kWarning };

// `file` empty = standard output. Returns an error text when the file cannot be opened; the old sink stays.
std::string Open(const std::string& file, Level level);
void SetLevel(Level level);
// The layout of lines (log_format.h).
void SetFormat(config::LogFormat format);
// The letter in each line that says what this process is: M primary, S replica.
void SetRole(char role);
bool Enabled(Level level);
void Write(Level level, std::string_view line);

template <typename... Args>
void Debug(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kDebug)) Write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Verbose(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kVerbose)) Write(Level::kVerbose, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Notice(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kNotice)) Write(Level::kNotice, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Warning(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kWarning)) Write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace tessera::log
