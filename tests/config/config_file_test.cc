#include "server/config/config_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "server/config/option.h"

namespace tessera::config {
namespace {

class ConfigFile : public testing::Test {
 protected:
  ConfigFile() {
    std::string name = testing::TempDir() + "config_file.XXXXXX";
    dir_ = ::mkdtemp(name.data());
  }
  ~ConfigFile() override { std::filesystem::remove_all(dir_); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = dir_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
  static std::string Read(const std::string& path) {
    std::ostringstream out;
    out << std::ifstream(path).rdbuf();
    return out.str();
  }
  std::optional<LoadFault> Load(std::vector<std::string_view> args, std::string standard_input = {}) {
    LoadHooks hooks;
    hooks.read_stdin = [&] { return standard_input; };
    hooks.is_command = [](std::string_view name) { return name == "KEYS" || name == "GET" || name == "CONFIG"; };
    return LoadConfig(options_, ParseCommandLine(args), hooks);
  }
  // Line and reason of a file that must not load.
  std::string Fault(const std::string& text) {
    const std::string path = Write("faulty.conf", text);
    const auto fault = Load({path});
    if (!fault) return "loaded";
    EXPECT_EQ(fault->file, path);
    return std::to_string(fault->line) + ": " + fault->reason;
  }
  const Config& config() const { return options_.config(); }

  std::string dir_;
  Options options_;
};

TEST_F(ConfigFile, LaterLinesWinAndTheCommandLineIsLast) {
  const std::string path = Write("a.conf", "# comment\nPORT 1000\n\n  port 1001\ntimeout 5\nmaxmemory 1gb\n");
  ASSERT_FALSE(Load({path, "--port", "1002", "--maxmemory 2mb", "--masterauth", "--secret"}));
  EXPECT_EQ(config().port, 1002);
  EXPECT_EQ(config().timeout, 5);
  EXPECT_EQ(config().maxmemory, 2u << 20);
  EXPECT_EQ(config().masterauth, "--secret");
  EXPECT_EQ(options_.config_file(), path);
}

TEST_F(ConfigFile, DefaultsOfAnImageComeBeforeEverythingElse) {
  auto command_line = ParseCommandLine(std::vector<std::string_view>{"--timeout", "3"});
  command_line.defaults = "protected-mode no\ntimeout 7\n";
  ASSERT_FALSE(LoadConfig(options_, command_line, {}));
  EXPECT_FALSE(config().protected_mode);
  EXPECT_EQ(config().timeout, 3);
  command_line.file = Write("a.conf", "protected-mode yes\n");
  ASSERT_FALSE(LoadConfig(options_, command_line, {}));
  EXPECT_TRUE(config().protected_mode);
  command_line.defaults = "port 1\nbanana";
  EXPECT_EQ(LoadConfig(options_, command_line, {})->file, "TESSERA_DEFAULTS");
}

TEST_F(ConfigFile, StandardInputFollowsTheFile) {
  const std::string path = Write("a.conf", "port 1000\n");
  ASSERT_FALSE(Load({path, "--timeout", "1", "-"}, "port 2000\ntimeout 9\n"));
  EXPECT_EQ(config().port, 2000);
  EXPECT_EQ(config().timeout, 1);
}

TEST_F(ConfigFile, SaveLinesAddUpAfterTheFirstReplacesTheDefaults) {
  ASSERT_FALSE(Load({Write("a.conf", "save 900 1 300 2\nsave \"60 3\"\n")}));
  EXPECT_EQ(config().save, (std::vector<SavePoint>{{900, 1}, {300, 2}, {60, 3}}));
  Options other;
  options_ = other;
  ASSERT_FALSE(Load({Write("b.conf", "save 900 1\n"), "--save", "--port", "1"}));
  EXPECT_TRUE(config().save.empty());
  EXPECT_EQ(config().port, 1);
}

TEST_F(ConfigFile, MultiWordOptionsComeAsWordsOrAsOneArgument) {
  ASSERT_FALSE(Load({"--bind", "127.0.0.1 ::1", "--client-output-buffer-limit", "normal", "1mb", "0", "7",
                     "--shutdown-on-sigint", "save", "now", "--replicaof", "host", "6380"}));
  EXPECT_EQ(config().bind, (std::vector<std::string>{"127.0.0.1", "::1"}));
  EXPECT_EQ(config().client_output_buffer_limit[kClientNormal], (OutputBufferLimit{1 << 20, 0, 7}));
  EXPECT_EQ(config().shutdown_on_sigint, kShutdownSave | kShutdownNow);
  EXPECT_EQ(config().replicaof_host, "host");
  EXPECT_EQ(config().replicaof_port, 6380);
}

TEST_F(ConfigFile, IncludesReadInPlaceAndWildcardsMayMatchNothing) {
  Write("one.inc", "timeout 1\nport 1\n");
  Write("two.inc", "tcp-keepalive 2\n");
  const std::string path = Write("a.conf", "port 5\ninclude " + dir_ + "/*.inc\ndir " + dir_ +
                                               "\ninclude one.inc\ninclude " + dir_ + "/*.none\ntimeout 7\n");
  ASSERT_FALSE(Load({path}));
  EXPECT_EQ(config().port, 1);
  EXPECT_EQ(config().tcp_keepalive, 2);
  EXPECT_EQ(config().timeout, 7);
}

TEST_F(ConfigFile, FaultsNameFileLineAndReason) {
  EXPECT_EQ(Fault("port 1\n\nport abc\n"), "3: argument couldn't be parsed into an integer");
  EXPECT_EQ(Fault("port 1 2"), "1: wrong number of arguments");
  EXPECT_EQ(Fault("port"), "1: wrong number of arguments");
  EXPECT_EQ(Fault("nothing 1"), "1: Bad directive or wrong number of arguments");
  EXPECT_EQ(Fault("include"), "1: Bad directive or wrong number of arguments");
  EXPECT_EQ(Fault("port \"1"), "1: Unbalanced quotes in configuration line");
  EXPECT_EQ(Fault("replicaof a"), "1: wrong number of arguments");
  EXPECT_EQ(Fault("replicaof"), "1: wrong number of arguments");
  EXPECT_EQ(Fault("replicaof a 99999"), "1: Invalid master port");
  EXPECT_EQ(Fault("unixsocketperm 888"), "1: argument couldn't be parsed as an octal number");
  EXPECT_EQ(Fault("unixsocketperm 1777"), "1: argument must be between 0 and 777 inclusive");
  EXPECT_EQ(Fault("dir /nonexistent"), "1: No such file or directory");
  EXPECT_EQ(Fault("save \"\" 1"), "1: Invalid save parameters");
  EXPECT_EQ(Fault("rename-command nope x"), "1: No such command in rename-command");
  EXPECT_EQ(Fault("rename-command KEYS GET"), "1: Target command name already exists");
  EXPECT_EQ(Fault("include /nonexistent"),
            "1: Fatal error, can't open config file '/nonexistent': No such file or directory");
  EXPECT_EQ(Fault("include faulty.conf\n").substr(0, 2), "1:");
  EXPECT_EQ(Fault("logfile /nonexistent/log"), "0: Can't open the log file: No such file or directory");
  EXPECT_EQ(Fault("logfile \"\"\ncluster-enabled yes\nreplicaof a 1"),
            "0: replicaof directive not allowed in cluster mode");
}

TEST_F(ConfigFile, FaultInAnIncludedFileNamesThatFile) {
  const std::string inner = Write("inner.conf", "#\nport x\n");
  const auto fault = Load({Write("outer.conf", "timeout 1\ninclude " + inner + "\n")});
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->file, inner);
  EXPECT_EQ(fault->Message("Tessera 1.2.3"),
            "\n*** FATAL CONFIG FILE ERROR (Tessera 1.2.3) ***\nReading the configuration file, at line 2\n>>> 'port "
            "x'\nargument couldn't be parsed into an integer\nFile: " +
                inner + "\n");
}

TEST_F(ConfigFile, CommandLineFaultsCountOnFromTheFile) {
  const auto fault = Load({Write("a.conf", "port 1\nport 2\n"), "--timeout", "3", "--appendonly", "--port", "1"});
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->file, "command line");
  EXPECT_EQ(fault->line, 5);
  EXPECT_EQ(fault->text, "appendonly \"--port\" \"1\"");
  EXPECT_EQ(fault->reason, "wrong number of arguments");
}

TEST_F(ConfigFile, RewriteReplacesTheFileAndItLoadsAgain) {
  const std::string path = Write("a.conf", "# mine\nport 1234\nrename-command KEYS \"\"\n");
  ::chmod(path.c_str(), 0600);
  ASSERT_FALSE(Load({path, "--requirepass", "a \"b\"\n"}));
  EXPECT_EQ(options_.Set(std::vector<std::string_view>{"appendfsync", "always", "save", "5 6"}, {}), "");
  EXPECT_EQ(options_.Rewrite(), "");
  EXPECT_EQ(Read(path).substr(0, 45), "# mine\nport 1234\nrename-command KEYS \"\"\n\n# Ge");
  EXPECT_EQ(std::filesystem::status(path).permissions(), std::filesystem::perms(0600));
  Options again;
  ASSERT_FALSE(LoadConfig(again, ParseCommandLine(std::vector<std::string_view>{path}), {}));
  EXPECT_EQ(again.config().requirepass, "a \"b\"\n");
  EXPECT_EQ(again.config().appendfsync, AppendFsync::kAlways);
  EXPECT_EQ(again.config().save, (std::vector<SavePoint>{{5, 6}}));
  for (const Option& option : AllOptions()) {
    EXPECT_EQ(OptionText(again.config(), option), OptionText(options_.config(), option)) << option.name;
  }
}

TEST_F(ConfigFile, RewriteSaysWhyItCannot) {
  EXPECT_EQ(options_.Rewrite(), "ERR The server is running without a config file");
  options_.set_config_file("/nonexistent/a.conf");
  EXPECT_EQ(options_.Rewrite(), "ERR Rewriting config file: No such file or directory");
}

// Every directive that the sample files of these versions show, switched on.
constexpr std::string_view kCommon = R"(
bind 127.0.0.1 -::1
protected-mode yes
port 6379
tcp-backlog 511
unixsocket /run/redis.sock
unixsocketperm 700
timeout 0
tcp-keepalive 300
tls-port 0
tls-cert-file redis.crt
tls-key-file redis.key
tls-key-file-pass secret
tls-client-cert-file client.crt
tls-client-key-file client.key
tls-client-key-file-pass secret
tls-dh-params-file redis.dh
tls-ca-cert-file ca.crt
tls-ca-cert-dir /etc/ssl/certs
tls-auth-clients optional
tls-replication yes
tls-cluster yes
tls-protocols "TLSv1.2 TLSv1.3"
tls-ciphers DEFAULT:!MEDIUM
tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256
tls-prefer-server-ciphers yes
tls-session-caching no
tls-session-cache-size 5000
tls-session-cache-timeout 60
daemonize yes
supervised auto
pidfile /var/run/redis_6379.pid
loglevel notice
logfile ""
syslog-enabled no
syslog-ident redis
syslog-facility local0
crash-log-enabled no
crash-memcheck-enabled no
databases 16
always-show-logo no
set-proc-title yes
proc-title-template "{title} {listen-addr} {server-mode}"
save 3600 1
save 300 100
stop-writes-on-bgsave-error yes
rdbcompression yes
rdbchecksum yes
sanitize-dump-payload no
dbfilename dump.rdb
rdb-del-sync-files no
dir ./
masterauth password
masteruser user
replica-serve-stale-data yes
replica-read-only yes
repl-diskless-sync no
repl-diskless-sync-delay 5
repl-diskless-load disabled
repl-ping-replica-period 10
repl-timeout 60
repl-disable-tcp-nodelay no
repl-backlog-size 1mb
repl-backlog-ttl 3600
replica-priority 100
replica-announced yes
min-replicas-to-write 3
min-replicas-max-lag 10
replica-announce-ip 5.5.5.5
replica-announce-port 1234
tracking-table-max-keys 1000000
user worker +@list +@connection ~jobs:* on >ffa9203c493aa99
acllog-max-len 128
aclfile /etc/redis/users.acl
requirepass foobared
acl-pubsub-default resetchannels
rename-command CONFIG ""
maxclients 10000
maxmemory 100mb
maxmemory-policy noeviction
maxmemory-samples 5
maxmemory-eviction-tenacity 10
replica-ignore-maxmemory yes
active-expire-effort 1
lazyfree-lazy-eviction no
lazyfree-lazy-expire no
lazyfree-lazy-server-del no
replica-lazy-flush no
lazyfree-lazy-user-del no
lazyfree-lazy-user-flush no
io-threads 4
io-threads-do-reads no
oom-score-adj no
oom-score-adj-values 0 200 800
disable-thp yes
appendonly no
appendfilename "appendonly.aof"
appendfsync everysec
no-appendfsync-on-rewrite no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
aof-load-truncated yes
aof-use-rdb-preamble yes
lua-time-limit 5000
cluster-enabled yes
cluster-config-file nodes-6379.conf
cluster-node-timeout 15000
cluster-replica-validity-factor 10
cluster-migration-barrier 1
cluster-allow-replica-migration yes
cluster-require-full-coverage yes
cluster-replica-no-failover no
cluster-allow-reads-when-down no
cluster-announce-ip 10.1.1.5
cluster-announce-tls-port 6379
cluster-announce-port 0
cluster-announce-bus-port 6380
slowlog-log-slower-than 10000
slowlog-max-len 128
latency-monitor-threshold 0
notify-keyspace-events ""
list-compress-depth 0
set-max-intset-entries 512
hll-sparse-max-bytes 3000
stream-node-max-bytes 4096
stream-node-max-entries 100
activerehashing yes
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
client-query-buffer-limit 1gb
proto-max-bulk-len 512mb
hz 10
dynamic-hz yes
aof-rewrite-incremental-fsync yes
rdb-save-incremental-fsync yes
lfu-log-factor 10
lfu-decay-time 1
activedefrag no
active-defrag-ignore-bytes 100mb
active-defrag-threshold-lower 10
active-defrag-threshold-upper 100
active-defrag-cycle-min 1
active-defrag-cycle-max 25
active-defrag-max-scan-fields 1000
jemalloc-bg-thread yes
server_cpulist 0-7:2
bio_cpulist 1,3
aof_rewrite_cpulist 8-11
bgsave_cpulist 1,10-11
ignore-warnings ARM64-COW-BUG
)";

constexpr std::string_view kOnly62 = R"(
gopher-enabled no
slave-serve-stale-data yes
list-max-ziplist-size -2
hash-max-ziplist-entries 512
hash-max-ziplist-value 64
zset-max-ziplist-entries 128
zset-max-ziplist-value 64
lua-replicate-commands yes
)";

constexpr std::string_view kSince70 = R"(
bind-source-addr 10.0.0.1
socket-mark-id 0
enable-protected-configs no
enable-debug-command no
enable-module-command no
appenddirname "appendonlydir"
aof-timestamp-enabled no
repl-diskless-sync-max-replicas 0
propagation-error-behavior ignore
replica-ignore-disk-write-errors no
maxmemory-clients 1g
shutdown-timeout 10
shutdown-on-sigint default
shutdown-on-sigterm nosave now
busy-reply-threshold 5000
cluster-port 0
cluster-link-sendbuf-limit 0
cluster-announce-hostname ""
cluster-preferred-endpoint-type ip
cluster-allow-pubsubshard-when-down yes
latency-tracking yes
latency-tracking-info-percentiles 50 99 99.9
hash-max-listpack-entries 512
hash-max-listpack-value 64
list-max-listpack-size -2
zset-max-listpack-entries 128
zset-max-listpack-value 64
)";

constexpr std::string_view kSince72 = R"(
loglevel nothing
locale-collate ""
cluster-announce-human-nodename "node.one"
set-max-listpack-entries 128
set-max-listpack-value 64
)";

TEST_F(ConfigFile, CompleteFilesOfThreeVersionsLoad) {
  const std::string common(kCommon);
  for (const std::string& text : {common + std::string(kOnly62), common + std::string(kSince70),
                                  common + std::string(kSince70) + std::string(kSince72)}) {
    options_ = Options();
    const auto fault = Load({Write("complete.conf", text)});
    EXPECT_FALSE(fault) << fault->Message("");
    EXPECT_EQ(config().user_lines.size(), 1u);
    EXPECT_TRUE(config().cluster_enabled);
  }
}

TEST_F(ConfigFile, DebiansFileLoadsWhereItIsInstalled) {
  const std::string path = "/etc/redis/redis.conf";
  std::string text = Read(path);
  if (text.empty()) GTEST_SKIP() << "not installed, or not readable";
  // Its directories may not be there, or not ours.
  for (const std::string_view name : {"\ndir ", "\nlogfile "}) {
    if (const size_t at = text.find(name); at != std::string::npos) text.insert(at + 1, "# ");
  }
  const auto fault = Load({Write("debian.conf", text)});
  EXPECT_FALSE(fault) << fault->Message("");
  EXPECT_TRUE(options_.InertInUse().empty());
}

}  // namespace
}  // namespace tessera::config
