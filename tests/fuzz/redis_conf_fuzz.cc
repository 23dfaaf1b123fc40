// redis.conf: it is refused with a line and a reason, or loaded; what CONFIG REWRITE makes of it means the same.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "server/config/config_file.h"
#include "tests/fuzz/fuzz.h"

using namespace tessera::config;

namespace {

std::optional<LoadFault> Load(Options& options, const std::string& text) {
  LoadHooks hooks;
  hooks.read_stdin = [&] { return text; };
  hooks.is_command = [](std::string_view name) { return name == "KEYS" || name == "GET" || name == "CONFIG"; };
  return LoadConfig(options, {.from_stdin = true}, hooks);
}

Options::Pairs Values(const Options& options) {
  const std::string_view all[] = {"*"};
  return options.Get(all);
}

// Files outside are not this program's to read.
bool Includes(std::string_view text) {
  for (size_t at = 0; at + 7 <= text.size(); ++at) {
    bool same = true;
    for (size_t i = 0; i < 7; ++i) same &= (text[at + i] | 0x20) == "include"[i];
    if (same) return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> FuzzCorpus() {
  return {"# comment\nport 7000\nbind 127.0.0.1 ::1\nmaxmemory 1gb\nsave 900 1 60 1000\nappendonly yes\n",
          "requirepass \"a \\\"b\\\" \\x41\"\nmasterauth 'x y'\nrename-command KEYS \"\"\nrename-command GET get2\n",
          "client-output-buffer-limit replica 256mb 64mb 60\nclient-output-buffer-limit normal 0 0 0 pubsub 32mb 8mb 60\n",
          "notify-keyspace-events KEA\nmaxmemory-policy allkeys-lru\nlist-max-listpack-size -2\nreplicaof 10.0.0.1 6379\n",
          "cluster-enabled yes\ncluster-node-timeout 5000\ncluster-announce-hostname host.example\ncluster-port 17000\n",
          "oom-score-adj-values 0 200 800\nlatency-tracking-info-percentiles 50 99 99.9\nproc-title-template \"{title}\"\n",
          "timeout -1\nhz 99999999999999999999\nmaxclients 0\nmaxmemory 12pb\nsave \"\"\n", "port 1 2 3\nslaveof a\n",
          "tcp-keepalive 300\nmaxmemory-clients 5%\nrepl-backlog-size 1b\nproto-max-bulk-len 1mb\nunknown-option 1\n"};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (Includes(text)) return 0;
  Options options;
  if (const auto fault = Load(options, text)) {
    if (fault->reason.empty() || fault->line < 0 || fault->Message("Tessera 1").find(fault->reason) == std::string::npos)
      std::abort();
    if (fault->line > static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 1) std::abort();
    return 0;
  }
  const std::string rewritten = RewrittenText(options.config(), text);
  Options again;
  if (const auto fault = Load(again, rewritten)) {
    std::fprintf(stderr, "%s\n%s\n", fault->Message("Tessera 1").c_str(), rewritten.c_str());
    std::abort();
  }
  const Options::Pairs before = Values(options), after = Values(again);
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] == after[i]) continue;
    std::fprintf(stderr, "%s was '%s', is '%s' after\n%s\n", before[i].first.c_str(), before[i].second.c_str(),
                 after[i].second.c_str(), rewritten.c_str());
    std::abort();
  }
  if (RewrittenText(again.config(), rewritten) != rewritten) std::abort();
  return 0;
}
