#include "server/slowlog.h"

#include <fmt/core.h>

namespace tessera {
namespace {
constexpr size_t kMaxArguments = 32;
constexpr size_t kMaxArgumentBytes = 128;
}  // namespace

void SlowLog::Add(std::span<const std::string_view> argv, int64_t unix_s, int64_t duration_us, std::string_view peer,
                  std::string_view client_name, SecretArguments secrets, size_t max_len) {
  Entry entry{next_id_++, unix_s, duration_us, {}, std::string(peer), std::string(client_name)};
  const size_t shown = std::min(argv.size(), kMaxArguments);
  for (size_t i = 0; i < shown; ++i) {
    if (shown != argv.size() && i == shown - 1) {
      entry.argv.push_back(fmt::format("... ({} more arguments)", argv.size() - shown + 1));
    } else if (secrets.contains(i)) {
      entry.argv.emplace_back(kBlottedOut);
    } else if (argv[i].size() > kMaxArgumentBytes) {
      entry.argv.push_back(fmt::format("{}... ({} more bytes)", argv[i].substr(0, kMaxArgumentBytes),
                                       argv[i].size() - kMaxArgumentBytes));
    } else {
      entry.argv.emplace_back(argv[i]);
    }
  }
  entries_.push_front(std::move(entry));
  Trim(max_len);
}

}  // namespace tessera
