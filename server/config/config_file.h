// From redis.conf and redis-server's command line to a Config.
//   server [file | -] [--option value ...]
// A file is lines of "option word ..." with the quoting of split_args.h; '#' begins a comment line; "include path" may
// have wildcards and reads the file in that place. Later lines win. "-" reads standard input behind the file. What
// follows "--" on the command line is read as if appended to the file: an option takes the next word whatever it is,
// then all words up to the next that begins with "--".
// An image or unit may have defaults of its own: lines of the same form in the environment variable TESSERA_DEFAULTS, read
// before everything else.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "server/config/options.h"

namespace tessera::config {

struct CommandLine {
  std::string defaults;  // TESSERA_DEFAULTS, set by main
  std::string file;  // as given, empty if none
  bool from_stdin = false;
  std::string directives;  // a line per option, as in a file
};

// `args` without the program's name and without what only prints something (--version, --help).
CommandLine ParseCommandLine(std::span<const std::string_view> args);

// Why the configuration cannot be used.
struct LoadFault {
  std::string file;  // path, "standard input" or "command line"
  int line = 0;      // 0: none in particular
  std::string text;  // the line
  std::string reason;

  // The lines Redis prints, with our name and version, and the file besides.
  std::string Message(std::string_view server_and_version) const;
};

struct LoadHooks {
  // All of standard input; called at most once.
  std::function<std::string()> read_stdin;
  // Whether there is a command of this name; without it rename-command takes any name.
  std::function<bool(std::string_view)> is_command;
};

// Applies the whole of it to `options`, and remembers the file's absolute path there. On a fault some options have
// already changed: the caller gives up.
std::optional<LoadFault> LoadConfig(Options& options, const CommandLine& command_line, const LoadHooks& hooks);

}  // namespace tessera::config
