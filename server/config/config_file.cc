#include "server/config/config_file.h"

#include <glob.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include <fmt/core.h>

#include "protocol/args.h"
#include "protocol/split_args.h"
#include "server/config/option.h"

namespace tessera::config {
namespace {

using protocol::EqualsIgnoreCase;

constexpr int kMaxIncludeDepth = 32;
constexpr std::string_view kBadDirective = "Bad directive or wrong number of arguments";

// Directives of Redis 6 that mean nothing any more.
constexpr std::string_view kForgotten[] = {"list-max-ziplist-entries", "list-max-ziplist-value",
                                           "lua-replicate-commands", "gopher-enabled"};

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

// The whole file; no value with errno set if it cannot be read.
std::optional<std::string> ReadFile(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (!file) return std::nullopt;
  std::string text;
  char block[16384];
  size_t n = 0;
  while ((n = std::fread(block, 1, sizeof(block), file.get())) > 0) text.append(block, n);
  if (std::ferror(file.get()) != 0) return std::nullopt;
  return text;
}

bool HasWildcard(std::string_view path) { return path.find_first_of("*?[") != std::string_view::npos; }

std::vector<std::string> Expanded(const std::string& pattern) {
  std::vector<std::string> paths;
  glob_t found;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
    ::globfree(&found);
  }
  return paths;
}

class Loader {
 public:
  Loader(Options& options, const LoadHooks& hooks) : config_(options.mutable_config()), hooks_(hooks) {}

  // Faults call the file `shown`.
  std::optional<LoadFault> LoadFile(const std::string& path, const std::string& shown) {
    const auto text = ReadFile(path);
    if (!text) {
      return LoadFault{
          path, 0, {}, fmt::format("Fatal error, can't open config file '{}': {}", shown, std::strerror(errno))};
    }
    newlines_ += static_cast<int>(std::count(text->begin(), text->end(), '\n'));
    return LoadText(path, *text, 1);
  }

  std::optional<LoadFault> LoadText(const std::string& source, std::string_view text, int line_number) {
    for (; !text.empty(); ++line_number) {
      const size_t end = text.find('\n');
      const std::string_view line = Trimmed(text.substr(0, end));
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      if (line.empty() || line[0] == '#') continue;
      std::optional<LoadFault> nested;
      std::string reason = LoadLine(line, nested);
      if (nested) {
        // A file that could not even be opened is a fault of the line that names it.
        if (nested->line != 0) return nested;
        reason = nested->reason;
      }
      if (!reason.empty()) return LoadFault{source, line_number, std::string(line), std::move(reason)};
    }
    return std::nullopt;
  }

  // For numbering the command line's directives as if they followed the file's text.
  int NewlinesRead() const { return newlines_; }

  // What only the whole can tell: the reason to refuse it, or empty.
  std::string Check() {
    if (!config_.logfile.empty()) {
      std::filesystem::path path(config_.logfile);
      if (path.is_relative()) path = std::filesystem::path(config_.dir) / path;
      std::FILE* file = std::fopen(path.c_str(), "ae");
      if (file == nullptr) return fmt::format("Can't open the log file: {}", std::strerror(errno));
      std::fclose(file);
    }
    if (config_.cluster_enabled && !config_.replicaof_host.empty()) {
      return "replicaof directive not allowed in cluster mode";
    }
    if (module_option_ && !module_) {
      return "Module Configuration detected without loadmodule directive or no ApplyConfig call: aborting";
    }
    return {};
  }

 private:
  // Returns the reason the line is refused, or empty; a fault within an included file goes to `nested`.
  std::string LoadLine(std::string_view line, std::optional<LoadFault>& nested) {
    std::vector<std::string_view> words;
    if (!protocol::SplitArgs(line, scratch_, words)) return "Unbalanced quotes in configuration line";
    if (words.empty()) return {};
    const std::string_view name = words[0];
    const Words values = Words(words).subspan(1);

    if (const Option* option = FindOption(name)) return LoadOption(*option, values);
    for (const std::string_view forgotten : kForgotten) {
      if (EqualsIgnoreCase(name, forgotten) && values.size() == 1) return {};
    }
    if (EqualsIgnoreCase(name, "include") && values.size() == 1) {
      nested = Include(std::string(values[0]));
      return {};
    }
    if (EqualsIgnoreCase(name, "rename-command") && values.size() == 2) return RenameCommand(values[0], values[1]);
    if (EqualsIgnoreCase(name, "user") && values.size() >= 1) {
      config_.user_lines.emplace_back(line);
      return {};
    }
    if (EqualsIgnoreCase(name, "loadmodule") && values.size() >= 1) {
      config_.module_lines.emplace_back(line);
      module_ = true;
      return {};
    }
    if (name.find('.') != std::string_view::npos) {
      if (values.size() != 1) return "Module config specified without value";
      config_.module_lines.emplace_back(line);
      module_option_ = true;
      return {};
    }
    if (EqualsIgnoreCase(name, "sentinel") && !values.empty()) return "sentinel directive while not in sentinel mode";
    return std::string(kBadDirective);
  }

  std::string LoadOption(const Option& option, Words values) {
    std::string reason;
    const bool multi = (option.flags & kMultiWord) != 0;
    // Several `save` lines add up; the first replaces the defaults.
    std::vector<SavePoint> earlier;
    const bool is_save = option.name == "save";
    if (is_save && save_seen_) earlier = config_.save;
    const bool good = multi && values.size() == 1 ? SetOptionFromText(config_, option, values[0], reason)
                                                  : SetOption(config_, option, values, reason);
    if (!good) return reason.empty() ? std::string(kBadDirective) : reason;
    if (is_save) {
      save_seen_ = true;
      if (!config_.save.empty()) config_.save.insert(config_.save.begin(), earlier.begin(), earlier.end());
    }
    return {};
  }

  std::string RenameCommand(std::string_view from, std::string_view to) {
    const auto renamed = [this](std::string_view name) {
      return std::any_of(config_.rename_commands.begin(), config_.rename_commands.end(),
                         [name](const auto& entry) { return EqualsIgnoreCase(entry.first, name); });
    };
    const auto taken = [this](std::string_view name) {
      return std::any_of(config_.rename_commands.begin(), config_.rename_commands.end(),
                         [name](const auto& entry) { return EqualsIgnoreCase(entry.second, name); });
    };
    if (renamed(from) || (hooks_.is_command && !hooks_.is_command(from))) return "No such command in rename-command";
    if (!to.empty() && (taken(to) || (hooks_.is_command && hooks_.is_command(to) && !renamed(to)))) {
      return "Target command name already exists";
    }
    config_.rename_commands.emplace_back(from, to);
    return {};
  }

  std::optional<LoadFault> Include(const std::string& path) {
    if (depth_ == kMaxIncludeDepth) return LoadFault{path, 0, {}, "Too many nested includes"};
    // Relative paths start from `dir` as far as it is known by now, because Redis has changed to it by then.
    std::string full = path;
    if (!path.empty() && path[0] != '/') full = (std::filesystem::path(config_.dir) / path).string();
    std::string outer_scratch;
    outer_scratch.swap(scratch_);
    ++depth_;
    const int newlines = newlines_;
    std::optional<LoadFault> fault;
    if (HasWildcard(full)) {
      for (const std::string& match : Expanded(full)) {
        fault = LoadFile(match, match);
        if (fault) break;
      }
    } else {
      fault = LoadFile(full, path);
    }
    newlines_ = newlines;
    --depth_;
    scratch_.swap(outer_scratch);
    return fault;
  }

  Config& config_;
  const LoadHooks& hooks_;
  std::string scratch_;
  int newlines_ = 0;
  int depth_ = 0;
  bool save_seen_ = false;
  bool module_ = false;
  bool module_option_ = false;
};

}  // namespace

CommandLine ParseCommandLine(std::span<const std::string_view> args) {
  CommandLine result;
  size_t i = 0;
  if (!args.empty() && !args[0].empty() && args[0][0] != '-') {
    result.file = args[0];
    i = 1;
  }
  const auto is_option = [](std::string_view arg) { return arg.substr(0, 2) == "--"; };
  bool value_awaited = false;
  for (; i < args.size(); ++i) {
    const std::string_view arg = args[i];
    const bool last = i + 1 == args.size();
    if (arg == "-" && (i == 0 || last)) {
      result.from_stdin = true;
    } else if (!value_awaited && is_option(arg)) {
      if (!result.directives.empty()) result.directives += '\n';
      result.directives += arg.substr(2);
      result.directives += ' ';
      // "--port 6380" in one argument brings its value along. A bare --save stands for --save "".
      const auto words = protocol::SplitArgs(arg);
      value_awaited = words && words->size() == 1;
      if (value_awaited && EqualsIgnoreCase(arg, "--save") && (last || is_option(args[i + 1]))) {
        result.directives += "\"\"";
        value_awaited = false;
      }
    } else {
      result.directives += protocol::Quoted(arg);
      result.directives += ' ';
      value_awaited = false;
    }
  }
  return result;
}

std::string LoadFault::Message(std::string_view server_and_version) const {
  std::string out = fmt::format("\n*** FATAL CONFIG FILE ERROR ({}) ***\n", server_and_version);
  if (line != 0) out += fmt::format("Reading the configuration file, at line {}\n>>> '{}'\n", line, text);
  out += reason + "\n";
  if (!file.empty()) out += fmt::format("File: {}\n", file);
  return out;
}

std::optional<LoadFault> LoadConfig(Options& options, const CommandLine& command_line, const LoadHooks& hooks) {
  Loader loader(options, hooks);
  std::optional<LoadFault> fault;
  if ((fault = loader.LoadText("TESSERA_DEFAULTS", command_line.defaults, 1))) return fault;
  if (!command_line.file.empty()) {
    std::error_code error;
    const std::string path = std::filesystem::absolute(command_line.file, error).lexically_normal().string();
    options.set_config_file(path);
    if ((fault = loader.LoadFile(path, path))) return fault;
  }
  int newlines = loader.NewlinesRead();
  if (command_line.from_stdin && hooks.read_stdin) {
    const std::string text = hooks.read_stdin();
    if ((fault = loader.LoadText("standard input", text, 1))) return fault;
    newlines += static_cast<int>(std::count(text.begin(), text.end(), '\n'));
  }
  if ((fault = loader.LoadText("command line", command_line.directives, newlines + 2))) return fault;
  if (std::string reason = loader.Check(); !reason.empty()) {
    return LoadFault{options.config_file(), 0, {}, std::move(reason)};
  }
  return std::nullopt;
}

}  // namespace tessera::config
