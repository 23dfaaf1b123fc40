// The option table against the reference server of this machine, where there is one: defaults, replies of CONFIG SET
// and the files CONFIG REWRITE makes. The reference may be older than 7.2; what it does not know is not compared.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "protocol/resp_reply.h"
#include "server/config/config_file.h"
#include "server/config/option.h"
#include "server/config/options.h"

namespace tessera::config {
namespace {

using protocol::Reply;

// A redis-server that listens on a Unix socket in a directory of its own, and dies with this object.
class Reference {
 public:
  // `directives` besides port, unixsocket and dir.
  explicit Reference(const std::string& directives) {
    std::string name = testing::TempDir() + "ref.XXXXXX";
    dir_ = ::mkdtemp(name.data());
    text_ = "port 0\nunixsocket " + dir_ + "/s\ndir " + dir_ + "\n" + directives;
    std::ofstream(conf()) << text_;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::freopen("/dev/null", "w", stdout) == nullptr) ::_exit(126);
      ::execlp("redis-server", "redis-server", conf().c_str(), nullptr);
      ::_exit(127);
    }
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, (dir_ + "/s").c_str(), sizeof(address.sun_path) - 1);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(90);
    while (!running_ && std::chrono::steady_clock::now() < deadline && ::waitpid(pid_, nullptr, WNOHANG) == 0) {
      socket_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      running_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
      if (!running_) {
        ::close(socket_);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }
  }
  ~Reference() {
    if (running_) {
      ::close(socket_);
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove_all(dir_);
  }

  bool running() const { return running_; }
  const std::string& text() const { return text_; }
  std::string conf() const { return dir_ + "/redis.conf"; }

  Reply Ask(const std::vector<std::string_view>& words) {
    std::string request = "*" + std::to_string(words.size()) + "\r\n";
    for (const auto word : words) request += "$" + std::to_string(word.size()) + "\r\n" + std::string(word) + "\r\n";
    EXPECT_EQ(::send(socket_, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
    protocol::ReplyParser parser;
    std::string pending;
    Reply reply;
    while (true) {
      size_t consumed = 0;
      const auto status = parser.Parse(pending, consumed, reply);
      pending.erase(0, consumed);
      if (status == protocol::ReplyParser::Status::kReply) return reply;
      char block[65536];
      const ssize_t n = ::recv(socket_, block, sizeof(block), 0);
      if (status == protocol::ReplyParser::Status::kError || n <= 0) {
        ADD_FAILURE() << "the reference server hung up";
        return reply;
      }
      pending.append(block, static_cast<size_t>(n));
    }
  }
  // The error of CONFIG SET, or nothing.
  std::string Set(const std::vector<std::string_view>& pairs) {
    std::vector<std::string_view> words = {"CONFIG", "SET"};
    words.insert(words.end(), pairs.begin(), pairs.end());
    const Reply reply = Ask(words);
    return reply.IsError() ? reply.text : std::string();
  }
  Options::Pairs Get(std::string_view glob) {
    Options::Pairs pairs;
    const Reply reply = Ask({"CONFIG", "GET", glob});
    for (size_t i = 0; i + 1 < reply.elements.size(); i += 2) {
      pairs.emplace_back(reply.elements[i].text, reply.elements[i + 1].text);
    }
    return pairs;
  }

 private:
  std::string dir_;
  std::string text_;
  pid_t pid_ = -1;
  int socket_ = -1;
  bool running_ = false;
};

// Ours, loaded from the same file.
void LoadLike(Options& options, const Reference& reference) {
  const std::string path = reference.conf();
  const std::vector<std::string_view> args = {path};
  const auto fault = LoadConfig(options, ParseCommandLine(args), {});
  ASSERT_FALSE(fault) << fault->Message("");
}

std::string GetOne(const Options& options, std::string_view name) {
  const std::string_view globs[] = {name};
  const auto pairs = options.Get(globs);
  return pairs.size() == 1 ? pairs[0].second : "(none)";
}

#define START_REFERENCE(directives)                                            \
  Reference reference(directives);                                             \
  if (!reference.running()) GTEST_SKIP() << "no redis-server on this machine"; \
  Options options;                                                             \
  LoadLike(options, reference)

TEST(ReferenceServer, HasTheSameDefaults) {
  START_REFERENCE("");
  const auto pairs = reference.Get("*");
  EXPECT_GT(pairs.size(), 150u);
  for (const auto& [name, value] : pairs) EXPECT_EQ(GetOne(options, name), value) << name;
}

TEST(ReferenceServer, AnswersConfigSetAlike) {
  START_REFERENCE("enable-protected-configs yes\n");
  // What is wrong here or there for good reasons: what the server itself has to carry out (sockets, files, other limits
  // of the machine), what would cut this connection, and what 7.2 words differently.
  const std::set<std::string> skipped = {
      "port",          "bind",     "maxclients",    "requirepass",          "appendonly", "maxmemory-clients",
      "activedefrag",  "loglevel", "oom-score-adj", "oom-score-adj-values", "dir",        "client-output-buffer-limit",
      "syslog-enabled", "shutdown-on-sigint", "shutdown-on-sigterm"};
  const std::vector<std::string_view> values = {
      "",    "abc", "-1", "0",          "1",  "yes", "NO",  "99999999999999999999",
      "1kb", "1 2", "5%", "2147483648", " 1", "01",  "a/b", "{title} {bad}"};
  for (const auto& [name, before] : reference.Get("*")) {
    if (skipped.count(name) != 0 || name.substr(0, 4) == "tls-") continue;
    for (const std::string_view value : values) {
      if (name == "maxmemory" && value == "5%") continue;  // of the container's limit, here only
      // Would break nodes.conf; Redis finds out at its next start.
      if (name == "cluster-announce-ip" && value.find(' ') != std::string_view::npos) continue;
      EXPECT_EQ(options.Set(std::vector<std::string_view>{name, value}, {}), reference.Set({name, value}))
          << name << " '" << value << "'";
      EXPECT_EQ(GetOne(options, name), reference.Get(name).at(0).second) << name << " '" << value << "'";
    }
    reference.Set({name, before});
    options.Set(std::vector<std::string_view>{name, before}, {});
  }
}

TEST(ReferenceServer, AnswersParticularConfigSetsAlike) {
  START_REFERENCE("enable-protected-configs yes\n");
  const std::vector<std::vector<std::string_view>> cases = {
      {"a", "b"},
      {"port", "x"},
      {"port", "70000"},
      {"maxclients", "0"},
      {"maxmemory-clients", "101%"},
      {"maxmemory-clients", "x%"},
      {"maxmemory-clients", "-5"},
      {"maxmemory-clients", "0%"},
      {"appendonly", "maybe"},
      {"loglevel", "DEBUG"},
      {"dir", "/nonexistent"},
      {"dir", ""},
      {"dir", "/"},
      {"tls-port", "-1"},
      {"tls-auth-clients", "x"},
      {"shutdown-on-sigint", "nosave now"},
      {"shutdown-on-sigint", "default now"},
      {"shutdown-on-sigint", "default"},
      {"save", "900"},
      {"save", "900 1 300 -1"},
      {"save", "900 0"},
      {"save", "0 1"},
      {"save", "900 1  300 2"},
      {"save", ""},
      {"client-output-buffer-limit", "normal 0 0"},
      {"client-output-buffer-limit", "foo 0 0 0"},
      {"client-output-buffer-limit", "master 0 0 0"},
      {"client-output-buffer-limit", "normal 0 x 0"},
      {"client-output-buffer-limit", "normal  0 0 0"},
      {"client-output-buffer-limit", "slave -1 0 1"},
      {"client-output-buffer-limit", "REPLICA 1k 2kb 3 pubsub 1 2 3"},
      {"client-output-buffer-limit", ""},
      {"notify-keyspace-events", "KEAx"},
      {"notify-keyspace-events", "Kgn"},
      {"notify-keyspace-events", "lshzxetdm"},
      {"notify-keyspace-events", "q"},
      {"oom-score-adj-values", "1 2"},
      {"oom-score-adj-values", "1 2 3 4"},
      {"oom-score-adj-values", "1 x 2"},
      {"oom-score-adj-values", "3000 1 2"},
      {"oom-score-adj-values", "3 2 1"},
      {"latency-tracking-info-percentiles", "50 a"},
      {"latency-tracking-info-percentiles", "101"},
      {"latency-tracking-info-percentiles", "10.5 99.90 50.123456789"},
      {"hz", "501"},
      {"timeout", "5", "timeout", "6"},
      {"replica-priority", "1", "slave-priority", "2"},
      {"maxmemory", "100mb", "maxmemory-samples", "0"},
      {"maxmemory", "18446744073709551615"},
      {"maxmemory", "18446744073709551616"},
      {"maxmemory", "1gb "},
      {"maxmemory", "0"},
      {"repl-backlog-size", "9223372036854775808"},
      {"cluster-announce-hostname", "a b"},
      {"cluster-announce-hostname", "host-1.example"},
      {"proc-title-template", "{title"},
      {"proc-title-template", "{title} {config-file}"},
      {"slave-priority", "7", "foo", "bar", "daemonize", "no"},
      {"daemonize", "no", "foo", "bar"},
      {"timeout", "1", "timeout", "2", "foo", "bar"},
      {"lua-time-limit", "7", "busy-reply-threshold", "8"},
      {"bind", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17"},
  };
  for (const auto& pairs : cases) {
    EXPECT_EQ(options.Set(pairs, {}), reference.Set(pairs)) << pairs[0] << " " << pairs[1];
    if (FindOption(pairs[0]) == nullptr) continue;
    EXPECT_EQ(GetOne(options, pairs[0]), reference.Get(pairs[0]).at(0).second) << pairs[0] << " " << pairs[1];
  }
}

// The lines up to the signature, and sorted what follows it, where the order is nobody's promise.
std::pair<std::string, std::vector<std::string>> Parts(const std::string& text) {
  constexpr std::string_view kSignature = "# Generated by CONFIG REWRITE\n";
  const size_t at = text.find(kSignature);
  if (at == std::string::npos) return {text, {}};
  std::vector<std::string> lines;
  std::istringstream rest(text.substr(at + kSignature.size()));
  for (std::string line; std::getline(rest, line);) {
    // Users are not ours to write yet, and leave empty lines where they move.
    if (!line.empty() && line.substr(0, 5) != "user ") lines.push_back(line);
  }
  std::sort(lines.begin(), lines.end());
  return {text.substr(0, at), lines};
}

TEST(ReferenceServer, RewritesItsFileAlike) {
  START_REFERENCE(
      "# my conf\n\n\n# two\nsave 900 1\nsave 300 10\nslave-priority 100\nmaxmemory 1gb\n"
      "client-output-buffer-limit normal 0 0 0\n\n\n\nmaxclients 5000\nmaxclients 6000\nrename-command KEYS \"\"\n"
      "bind * -::*\nlogfile \"\"\nmaxmemory-samples 5\nHZ 10\nset-proc-title yes\n");
  const std::vector<std::vector<std::string_view>> steps = {
      {},
      {"maxmemory",
       "3mb",
       "slave-priority",
       "7",
       "save",
       "900 1",
       "timeout",
       "10",
       "appendfsync",
       "no",
       "masterauth",
       "a b\"c\n",
       "client-output-buffer-limit",
       "pubsub 1 2 3",
       "maxmemory-clients",
       "5%",
       "notify-keyspace-events",
       "KEA",
       "shutdown-on-sigterm",
       "save now",
       "latency-tracking-info-percentiles",
       "50 99",
       "list-max-listpack-size",
       "-1",
       "proc-title-template",
       "{title} x",
       "repl-backlog-size",
       "1500"},
      {"save", "", "latency-tracking-info-percentiles", "", "maxmemory", "0", "maxmemory-clients", "1mb", "timeout",
       "0", "masterauth", ""},
  };
  for (const auto& step : steps) {
    if (!step.empty()) {
      ASSERT_EQ(reference.Set(step), "");
      ASSERT_EQ(options.Set(step, {}), "");
    }
    std::ostringstream before;
    before << std::ifstream(reference.conf()).rdbuf();
    const std::string ours = RewrittenText(options.config(), before.str());
    ASSERT_EQ(reference.Ask({"CONFIG", "REWRITE"}).text, "OK");
    std::ostringstream after;
    after << std::ifstream(reference.conf()).rdbuf();
    EXPECT_EQ(Parts(ours), Parts(after.str()));
  }
}

}  // namespace
}  // namespace tessera::config
