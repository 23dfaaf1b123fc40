#include "server/config/special_options.h"

#include <arpa/inet.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fmt/core.h>

#include "protocol/args.h"
#include "protocol/memory_size.h"
#include "protocol/number.h"
#include "protocol/split_args.h"

namespace tessera::config {
namespace {

bool IsAddress(int family, std::string_view text) {
  unsigned char buffer[sizeof(in6_addr)];
  return inet_pton(family, std::string(text).c_str(), buffer) == 1;
}

using Lines = std::vector<SpecialKind::Line>;
using protocol::EqualsIgnoreCase;

const Config& Defaults() {
  static const Config defaults;
  return defaults;
}

std::string Join(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += ' ';
    out += word;
  }
  return out;
}

// maxmemory

bool SetMaxmemory(Config& config, Words words, std::string& error) {
  if (words.size() != 1) {
    error = "wrong number of arguments";
    return false;
  }
  const std::string_view text = words[0];
  int64_t percent = 0;
  if (EqualsIgnoreCase(text, "auto")) {
    percent = kMaxmemoryAuto;
  } else if (text.ends_with('%')) {
    const auto number = protocol::ParseInt64(text.substr(0, text.size() - 1));
    if (!number || *number < 1 || *number > 100) {
      error = "percentage argument must be between 1 and 100";
      return false;
    }
    percent = *number;
  } else if (const auto bytes = protocol::ParseMemorySize(text)) {
    config.maxmemory = *bytes;
  } else {
    error = "argument must be a memory value";
    return false;
  }
  config.maxmemory_percent = percent;
  ResolveMaxmemory(config);
  return true;
}

std::string GetMaxmemory(const Config& config) {
  if (config.maxmemory_percent == kMaxmemoryAuto) return "auto";
  if (config.maxmemory_percent != 0) return fmt::format("{}%", config.maxmemory_percent);
  return fmt::format("{}", config.maxmemory);
}

Lines MaxmemoryLines(const Config& config, std::string_view name) {
  if (config.maxmemory_percent != 0) return {{fmt::format("{} {}", name, GetMaxmemory(config)), true}};
  return {{fmt::format("{} {}", name, protocol::MemorySizeText(config.maxmemory)), config.maxmemory != 0}};
}

// save

bool SetSave(Config& config, Words words, std::string& error) {
  std::vector<SavePoint> points;
  if (words.size() == 1 && words[0].empty()) words = {};
  bool good = words.size() % 2 == 0;
  for (size_t i = 0; good && i < words.size(); i += 2) {
    const auto seconds = protocol::ParseInt64(words[i]);
    const auto changes = protocol::ParseInt64(words[i + 1]);
    good = seconds && changes && *seconds >= 1 && *changes >= 0 && *changes <= INT32_MAX;
    if (good) points.push_back({*seconds, *changes});
  }
  if (!good) {
    error = "Invalid save parameters";
    return false;
  }
  config.save = std::move(points);
  return true;
}

std::string GetSave(const Config& config) {
  std::vector<std::string> words;
  for (const SavePoint& point : config.save) words.push_back(fmt::format("{} {}", point.seconds, point.changes));
  return Join(words);
}

Lines SaveLines(const Config& config, std::string_view name) {
  if (config.save.empty()) return {{fmt::format("{} \"\"", name), true}};
  Lines lines;
  for (const SavePoint& point : config.save) {
    lines.push_back({fmt::format("{} {} {}", name, point.seconds, point.changes), true});
  }
  return lines;
}

// bind and metrics-bind

constexpr size_t kMaxBindAddresses = 16;

template <std::vector<std::string> Config::* Member>
struct AddressesOption {
  static bool Set(Config& config, Words words, std::string& error) {
    if (words.size() > kMaxBindAddresses) {
      error = "Too many bind addresses specified.";
      return false;
    }
    if (words.size() == 1 && words[0].empty()) words = {};
    (config.*Member).assign(words.begin(), words.end());
    return true;
  }

  static std::string Get(const Config& config) { return Join(config.*Member); }

  static Lines FileLines(const Config& config, std::string_view name) {
    if (config.*Member == Defaults().*Member) return {};
    return {{fmt::format("{} {}", name, (config.*Member).empty() ? "\"\"" : Join(config.*Member)), true}};
  }

  static constexpr SpecialKind Kind() { return {Set, Get, FileLines}; }
};

// dir

bool SetDir(Config& config, Words words, std::string& error) {
  if (words.size() != 1) {
    error = "wrong number of arguments";
    return false;
  }
  std::error_code code;
  std::filesystem::path path(words[0]);
  if (path.empty()) {
    error = std::strerror(ENOENT);
    return false;
  }
  if (path.is_relative()) {
    path = (config.dir.empty() ? std::filesystem::current_path(code) : std::filesystem::path(config.dir)) / path;
  }
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) {
    error = std::strerror(errno);
    return false;
  }
  if (!S_ISDIR(status.st_mode)) {
    error = std::strerror(ENOTDIR);
    return false;
  }
  if (::access(path.c_str(), X_OK) != 0) {
    error = std::strerror(errno);
    return false;
  }
  const std::filesystem::path canonical = std::filesystem::canonical(path, code);
  config.dir = code ? path.string() : canonical.string();
  return true;
}

std::string GetDir(const Config& config) { return config.dir; }

Lines DirLines(const Config& config, std::string_view name) {
  return {{fmt::format("{} {}", name, protocol::Quoted(config.dir)), true}};
}

// replicaof

bool SetReplicaOf(Config& config, Words words, std::string& error) {
  if (words.size() != 2) {
    error = "wrong number of arguments";
    return false;
  }
  if (EqualsIgnoreCase(words[0], "no") && EqualsIgnoreCase(words[1], "one")) {
    config.replicaof_host.clear();
    config.replicaof_port = 0;
    return true;
  }
  const auto port = protocol::ParseInt64(words[1]);
  if (!port || *port < 0 || *port > 65535) {
    error = "Invalid master port";
    return false;
  }
  config.replicaof_host = words[0];
  config.replicaof_port = *port;
  return true;
}

std::string GetReplicaOf(const Config& config) {
  return config.replicaof_host.empty() ? std::string()
                                       : fmt::format("{} {}", config.replicaof_host, config.replicaof_port);
}

Lines ReplicaOfLines(const Config& config, std::string_view name) {
  // In a cluster the primary is the cluster's business.
  if (config.replicaof_host.empty() || config.cluster_enabled) return {};
  return {{fmt::format("{} {}", name, GetReplicaOf(config)), true}};
}

// client-output-buffer-limit

constexpr std::string_view kClassNames[kClientClasses] = {"normal", "slave", "pubsub"};
constexpr std::string_view kClassFileNames[kClientClasses] = {"normal", "replica", "pubsub"};

bool SetOutputBufferLimits(Config& config, Words words, std::string& error) {
  if (words.size() % 4 != 0) {
    error = "Wrong number of arguments in buffer limit configuration.";
    return false;
  }
  auto limits = config.client_output_buffer_limit;
  for (size_t i = 0; i < words.size(); i += 4) {
    size_t index = 0;
    while (index < kClientClasses && !EqualsIgnoreCase(words[i], kClassNames[index]) &&
           !EqualsIgnoreCase(words[i], kClassFileNames[index])) {
      ++index;
    }
    if (index == kClientClasses) {
      error = "Invalid client class specified in buffer limit configuration.";
      return false;
    }
    const auto hard = protocol::ParseMemorySize(words[i + 1]);
    const auto soft = protocol::ParseMemorySize(words[i + 2]);
    const auto seconds = protocol::ParseInt64(words[i + 3]);
    if (!hard || !soft || !seconds || *seconds < 0) {
      error = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
      return false;
    }
    limits[index] = {*hard, *soft, *seconds};
  }
  config.client_output_buffer_limit = limits;
  return true;
}

std::string GetOutputBufferLimits(const Config& config) {
  std::vector<std::string> words;
  for (size_t i = 0; i < kClientClasses; ++i) {
    const OutputBufferLimit& limit = config.client_output_buffer_limit[i];
    words.push_back(fmt::format("{} {} {} {}", kClassNames[i], limit.hard_bytes, limit.soft_bytes, limit.soft_seconds));
  }
  return Join(words);
}

Lines OutputBufferLimitLines(const Config& config, std::string_view name) {
  Lines lines;
  for (size_t i = 0; i < kClientClasses; ++i) {
    const OutputBufferLimit& limit = config.client_output_buffer_limit[i];
    lines.push_back({fmt::format("{} {} {} {} {}", name, kClassFileNames[i], protocol::MemorySizeText(limit.hard_bytes),
                                 protocol::MemorySizeText(limit.soft_bytes), limit.soft_seconds),
                     limit != Defaults().client_output_buffer_limit[i]});
  }
  return lines;
}

// notify-keyspace-events

struct NotifyLetter {
  char letter;
  uint32_t flags;
};

constexpr NotifyLetter kNotifyLetters[] = {
    {'A', kNotifyAll},      {'g', kNotifyGeneric},  {'$', kNotifyString},    {'l', kNotifyList},
    {'s', kNotifySet},      {'h', kNotifyHash},     {'z', kNotifySortedSet}, {'x', kNotifyExpired},
    {'e', kNotifyEvicted},  {'t', kNotifyStream},   {'d', kNotifyModule},    {'n', kNotifyNew},
    {'K', kNotifyKeyspace}, {'E', kNotifyKeyevent}, {'m', kNotifyKeyMiss},
};

bool SetNotify(Config& config, Words words, std::string& error) {
  if (words.size() != 1) {
    error = "wrong number of arguments";
    return false;
  }
  uint32_t flags = 0;
  for (const char c : words[0]) {
    uint32_t found = 0;
    for (const NotifyLetter& entry : kNotifyLetters) {
      if (entry.letter == c) found = entry.flags;
    }
    if (found == 0) {
      error = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
      return false;
    }
    flags |= found;
  }
  config.notify_keyspace_events = flags;
  return true;
}

std::string GetNotify(const Config& config) {
  std::string out;
  uint32_t left = config.notify_keyspace_events;
  for (const NotifyLetter& entry : kNotifyLetters) {
    if ((left & entry.flags) != entry.flags) continue;
    out += entry.letter;
    left &= ~entry.flags;
  }
  return out;
}

Lines NotifyLines(const Config& config, std::string_view name) {
  return {{fmt::format("{} {}", name, protocol::Quoted(GetNotify(config))), config.notify_keyspace_events != 0}};
}

// latency-tracking-info-percentiles

bool SetPercentiles(Config& config, Words words, std::string& error) {
  std::vector<double> percentiles;
  if (words.size() == 1 && words[0].empty()) words = {};
  for (const std::string_view word : words) {
    const auto value = protocol::ParseDouble(word);
    if (!value) {
      error = "Invalid latency-tracking-info-percentiles parameters";
      return false;
    }
    if (*value < 0 || *value > 100) {
      error = "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]";
      return false;
    }
    percentiles.push_back(*value);
  }
  config.latency_tracking_info_percentiles = std::move(percentiles);
  return true;
}

std::string GetPercentiles(const Config& config) {
  std::vector<std::string> words;
  for (const double value : config.latency_tracking_info_percentiles) {
    std::string text = fmt::format("{:f}", value);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
    words.push_back(std::move(text));
  }
  return Join(words);
}

Lines PercentilesLines(const Config& config, std::string_view name) {
  const std::string text = GetPercentiles(config);
  return {{fmt::format("{} {}", name, text.empty() ? "\"\"" : text), true}};
}

bool IsPath(std::string_view value) { return value.find('/') != std::string_view::npos; }

}  // namespace

constinit const SpecialKind kMaxmemoryOption = {SetMaxmemory, GetMaxmemory, MaxmemoryLines};
constinit const SpecialKind kSaveOption = {SetSave, GetSave, SaveLines};
constinit const SpecialKind kBindOption = AddressesOption<&Config::bind>::Kind();
constinit const SpecialKind kMetricsBindOption = AddressesOption<&Config::metrics_bind>::Kind();
constinit const SpecialKind kDirOption = {SetDir, GetDir, DirLines};
constinit const SpecialKind kReplicaOfOption = {SetReplicaOf, GetReplicaOf, ReplicaOfLines};
constinit const SpecialKind kClientOutputBufferLimitOption = {SetOutputBufferLimits, GetOutputBufferLimits,
                                                              OutputBufferLimitLines};
constinit const SpecialKind kNotifyKeyspaceEventsOption = {SetNotify, GetNotify, NotifyLines};
constinit const SpecialKind kLatencyPercentilesOption = {SetPercentiles, GetPercentiles, PercentilesLines};

void ResolveMaxmemory(Config& config) {
  if (config.maxmemory_percent == 0) return;
  const auto percent = static_cast<uint64_t>(config.maxmemory_percent == kMaxmemoryAuto ? kMaxmemoryAutoPercent
                                                                                        : config.maxmemory_percent);
  config.maxmemory = config.memory_limit / 100 * percent + config.memory_limit % 100 * percent / 100;
}

std::string_view RefuseDbFilename(std::string_view value) {
  return IsPath(value) ? "dbfilename can't be a path, just a filename" : "";
}

std::string_view RefuseAppendFilename(std::string_view value) {
  if (value.empty()) return "appendfilename can't be empty";
  return IsPath(value) ? "appendfilename can't be a path, just a filename" : "";
}

std::string_view RefuseAppendDirname(std::string_view value) {
  if (value.empty()) return "appenddirname can't be empty";
  return IsPath(value) ? "appenddirname can't be a path, just a dirname" : "";
}

std::string_view RefuseShutdownFlags(int64_t flags) {
  const bool both = (flags & kShutdownSave) != 0 && (flags & kShutdownNoSave) != 0;
  return both ? "shutdown options SAVE and NOSAVE can't be used simultaneously" : "";
}

std::string_view RefuseAnnouncedIp(std::string_view value) {
  // Redis takes any text here, and does not start again once it stands in nodes.conf.
  for (const char c : value) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f || c == ',' || c == '"' || c == '\'' || c == '\\')
      return "The announced address must be a single word without commas, quotes or backslashes";
  }
  return "";
}

std::string_view RefuseSeeds(std::string_view value) {
  for (const char c : value)
    if (!std::isalnum(static_cast<unsigned char>(c)) && std::string_view(" .-_:@[]").find(c) == value.npos)
      return "cluster-seeds are host names or addresses, each with an optional :port, separated by spaces";
  return "";
}

std::string_view RefuseHostname(std::string_view value) {
  if (value.size() >= 256) return "Hostnames must be less than 256 characters";
  for (const char c : value) {
    const bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!alphanumeric && c != '-' && c != '.') {
      return "Hostnames may only contain alphanumeric characters, hyphens or dots";
    }
  }
  return "";
}

std::string_view RefuseIpv4(std::string_view value) {
  return value.empty() || IsAddress(AF_INET, value) ? "" : "Invalid IPv4 address";
}

std::string_view RefuseIpv6(std::string_view value) {
  return value.empty() || IsAddress(AF_INET6, value) ? "" : "Invalid IPv6 address";
}

std::string_view RefuseHumanNodename(std::string_view value) {
  // What would break a line of CLUSTER NODES or nodes.conf.
  for (const char c : value) {
    if (c <= ' ' || c == 0x7f || std::string_view("!\"#$%&'()*+,:;<>?@[]^{|}~=").find(c) != std::string_view::npos) {
      return "Announced human node name contained invalid character";
    }
  }
  return "";
}

std::string_view RefuseProcTitleTemplate(std::string_view value) {
  constexpr std::string_view kInvalid = "template format is invalid or contains unknown variables";
  constexpr std::string_view kVariables[] = {"title",    "listen-addr", "server-mode", "port",
                                             "tls-port", "unixsocket",  "config-file"};
  if (value.empty()) return kInvalid;
  while (true) {
    const size_t open = value.find_first_of("{}");
    if (open == std::string_view::npos) return "";
    // A doubled brace stands for itself.
    if (open + 1 < value.size() && value[open + 1] == value[open]) {
      value.remove_prefix(open + 2);
      continue;
    }
    if (value[open] == '}') {
      value.remove_prefix(open + 1);
      continue;
    }
    const size_t close = value.find('}', open);
    if (close == std::string_view::npos) return kInvalid;
    bool known = false;
    for (const std::string_view variable : kVariables) known |= value.substr(open + 1, close - open - 1) == variable;
    if (!known) return kInvalid;
    value.remove_prefix(close + 1);
  }
}

std::string_view RefuseOomScoreAdjValues(std::string_view value) {
  std::vector<std::string_view> words;
  std::string scratch;
  size_t count = 1;
  for (const char c : value) count += c == ' ';
  if (count != 3) return "wrong number of arguments";
  if (!protocol::SplitArgs(value, scratch, words)) words.clear();
  bool good = words.size() == 3;
  for (const std::string_view word : words) {
    const auto number = protocol::ParseInt64(word);
    good = good && number && *number >= -2000 && *number <= 2000;
  }
  return good ? "" : "Invalid oom-score-adj-values, elements must be between -2000 and 2000.";
}

}  // namespace tessera::config
