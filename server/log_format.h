// How a line of the log is laid out (option log-format). Pure functions.
//   legacy   Redis's layout: pid:role date mark text
//   logfmt   pid=1 role=primary timestamp="..." level=notice message="..."   the names of Valkey 8.1
//   json     an object with the same names, one per line
// The last two have the time as UTC in ISO 8601 with milliseconds. Text is escaped so that a line is a line and, in
// JSON, valid UTF-8 whatever a client put into a name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/config/config.h"
#include "server/log.h"

namespace tessera::log {

struct Line {
  int pid;
  char role;  // M primary, S replica
  int64_t unix_ms;
  Level level;
  std::string_view text;
};

// Without the line's end.
std::string Formatted(config::LogFormat format, const Line& line);

// Between the quotes of a JSON string; bytes that are no UTF-8 become U+FFFD.
std::string JsonEscaped(std::string_view text);

}  // namespace tessera::log
