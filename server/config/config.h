// The configuration in effect, as plain values that code reads directly: config.port, config.appendfsync.
// A member is named like its option with '_' for '-'. Sizes are bytes; times are seconds unless the option's name or a
// comment says otherwise. How an option is spelled, bounded and written back is its row's business (option.h). Options
// of features that do not exist yet have no member: their text is kept in `inert`.
//
// Owned by Options; changes only on the execution thread, in CONFIG SET or in the few commands that are configuration
// too (REPLICAOF).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tessera::config {

enum class AppendFsync : uint8_t { kNo, kAlways, kEverySec };
enum class LogLevel : uint8_t { kDebug, kVerbose, kNotice, kWarning, kNothing };
enum class LogFormat : uint8_t { kLegacy, kLogfmt, kJson };
enum class MaxmemoryPolicy : uint8_t {
  kVolatileLru,
  kVolatileLfu,
  kVolatileRandom,
  kVolatileTtl,
  kAllKeysLru,
  kAllKeysLfu,
  kAllKeysRandom,
  kNoEviction,
};
enum class ReplDisklessLoad : uint8_t { kDisabled, kOnEmptyDb, kSwapDb };
enum class SanitizeDumpPayload : uint8_t { kNo, kYes, kClients };
// Who may use a guarded feature.
enum class Allowed : uint8_t { kNo, kYes, kLocal };
enum class EndpointType : uint8_t { kIp, kHostname, kUnknown };
enum class PropagationError : uint8_t { kIgnore, kPanic, kPanicOnReplicas };

// shutdown-on-sigint and shutdown-on-sigterm, or-ed; 0 is the default behaviour.
enum ShutdownFlag : uint8_t {
  kShutdownSave = 1,
  kShutdownNoSave = 2,
  kShutdownNow = 4,
  kShutdownForce = 8,
  kShutdownSafe = 16,
  kShutdownFailover = 32
};

// notify-keyspace-events, or-ed. kNotifyAll is what the letter A stands for.
enum NotifyFlag : uint32_t {
  kNotifyKeyspace = 1 << 0,
  kNotifyKeyevent = 1 << 1,
  kNotifyGeneric = 1 << 2,
  kNotifyString = 1 << 3,
  kNotifyList = 1 << 4,
  kNotifySet = 1 << 5,
  kNotifyHash = 1 << 6,
  kNotifySortedSet = 1 << 7,
  kNotifyExpired = 1 << 8,
  kNotifyEvicted = 1 << 9,
  kNotifyStream = 1 << 10,
  kNotifyKeyMiss = 1 << 11,
  kNotifyModule = 1 << 13,
  kNotifyNew = 1 << 14,
  kNotifyAll = kNotifyGeneric | kNotifyString | kNotifyList | kNotifySet | kNotifyHash | kNotifySortedSet |
               kNotifyExpired | kNotifyEvicted | kNotifyStream | kNotifyModule,
};

// `maxmemory auto`: what is left is for what maxmemory does not count (the program, fragmentation, buffers of replicas,
// a snapshot under way) and for the page cache of the files being written.
inline constexpr int64_t kMaxmemoryAuto = -1;
inline constexpr int64_t kMaxmemoryAutoPercent = 70;

// Save when `changes` keys changed within `seconds`.
struct SavePoint {
  int64_t seconds;
  int64_t changes;
  bool operator==(const SavePoint&) const = default;
};

enum ClientClass : uint8_t { kClientNormal, kClientReplica, kClientPubSub, kClientClasses };

// 0 means no limit.
struct OutputBufferLimit {
  uint64_t hard_bytes;
  uint64_t soft_bytes;
  int64_t soft_seconds;
  bool operator==(const OutputBufferLimit&) const = default;
};

struct Config {
  // Every value at its default.
  Config();

  // Network
  int64_t port;  // 0: no TCP
  std::vector<std::string> bind;
  std::string bind_source_addr;
  std::string unixsocket;
  int64_t unixsocketperm;  // 0: leave it to the umask
  int64_t tcp_backlog;
  int64_t timeout;  // idle clients; 0: never
  int64_t tcp_keepalive;
  int64_t maxclients;
  int64_t socket_mark_id;
  int64_t metrics_port;                   // 0: no HTTP
  std::vector<std::string> metrics_bind;  // empty: as bind
  bool protected_mode;
  std::string requirepass;  // empty: none
  int64_t proto_max_bulk_len;
  int64_t client_query_buffer_limit;
  std::array<OutputBufferLimit, kClientClasses> client_output_buffer_limit;
  int64_t maxmemory_clients;  // bytes; negative: per cent of maxmemory

  // Process
  bool daemonize;
  std::string pidfile;  // empty: none, unless daemonized
  LogLevel loglevel;
  LogFormat log_format;
  std::string logfile;  // empty: standard output
  std::string dir;      // absolute; whoever starts the server changes to it
  int64_t databases;
  bool always_show_logo;
  bool set_proc_title;
  std::string proc_title_template;
  int64_t hz;
  bool dynamic_hz;
  int64_t shutdown_timeout;
  uint8_t shutdown_on_sigint;   // ShutdownFlag
  uint8_t shutdown_on_sigterm;  // ShutdownFlag
  Allowed enable_protected_configs;
  Allowed enable_debug_command;

  // Keyspace
  uint64_t maxmemory;         // the limit in effect; 0: none
  int64_t maxmemory_percent;  // what it was given as, of memory_limit: per cent, kMaxmemoryAuto, or 0: in bytes
  // What the container or the machine has, told by who starts the server; no option. 0: not known, per cents are no limit.
  uint64_t memory_limit = 0;
  MaxmemoryPolicy maxmemory_policy;
  int64_t maxmemory_samples;
  int64_t maxmemory_eviction_tenacity;
  int64_t lfu_log_factor;
  int64_t lfu_decay_time;  // minutes
  int64_t active_expire_effort;
  bool activerehashing;
  bool lazyfree_lazy_eviction;
  bool lazyfree_lazy_expire;
  bool lazyfree_lazy_server_del;
  bool lazyfree_lazy_user_del;
  bool lazyfree_lazy_user_flush;
  uint32_t notify_keyspace_events;  // NotifyFlag
  SanitizeDumpPayload sanitize_dump_payload;
  int64_t hll_sparse_max_bytes;

  // Figures
  int64_t slowlog_log_slower_than;  // microseconds; negative: off
  int64_t slowlog_max_len;
  int64_t latency_monitor_threshold;  // milliseconds; 0: off
  bool latency_tracking;
  std::vector<double> latency_tracking_info_percentiles;
  int64_t busy_reply_threshold;  // milliseconds

  // Snapshots
  std::vector<SavePoint> save;
  std::string dbfilename;
  bool rdbcompression;
  bool rdbchecksum;
  bool stop_writes_on_bgsave_error;
  bool rdb_del_sync_files;
  bool rdb_save_incremental_fsync;

  // Append-only file
  bool appendonly;
  std::string appendfilename;
  std::string appenddirname;
  AppendFsync appendfsync;
  bool no_appendfsync_on_rewrite;
  int64_t auto_aof_rewrite_percentage;  // 0: never
  int64_t auto_aof_rewrite_min_size;
  bool aof_load_truncated;
  bool aof_use_rdb_preamble;
  bool aof_timestamp_enabled;
  bool aof_rewrite_incremental_fsync;
  bool aof_disable_auto_gc;

  // Replication
  std::string replicaof_host;  // empty: a primary
  int64_t replicaof_port;
  std::string masterauth;
  std::string masteruser;
  bool replica_serve_stale_data;
  bool replica_read_only;
  bool replica_ignore_maxmemory;
  bool replica_lazy_flush;
  bool replica_announced;
  bool replica_ignore_disk_write_errors;
  int64_t replica_priority;
  std::string replica_announce_ip;
  int64_t replica_announce_port;
  bool repl_diskless_sync;
  int64_t repl_diskless_sync_delay;
  int64_t repl_diskless_sync_max_replicas;
  ReplDisklessLoad repl_diskless_load;
  bool repl_disable_tcp_nodelay;
  int64_t repl_ping_replica_period;
  int64_t repl_timeout;
  int64_t repl_backlog_size;
  int64_t repl_backlog_ttl;
  int64_t min_replicas_to_write;
  int64_t min_replicas_max_lag;
  PropagationError propagation_error_behavior;

  // Cluster
  bool cluster_enabled;
  std::string cluster_config_file;
  int64_t cluster_node_timeout;  // milliseconds
  int64_t cluster_port;          // 0: port + 10000
  int64_t cluster_replica_validity_factor;
  int64_t cluster_migration_barrier;
  bool cluster_allow_replica_migration;
  bool cluster_require_full_coverage;
  bool cluster_replica_no_failover;
  bool cluster_allow_reads_when_down;
  bool cluster_allow_pubsubshard_when_down;
  uint64_t cluster_link_sendbuf_limit;  // 0: no limit
  std::string cluster_announce_ip;
  std::string cluster_announce_hostname;
  std::string cluster_announce_human_nodename;
  int64_t cluster_announce_port;
  int64_t cluster_announce_tls_port;
  int64_t cluster_announce_bus_port;
  std::string cluster_announce_client_ipv4;  // what clients are told, as in Valkey
  std::string cluster_announce_client_ipv6;
  int64_t cluster_announce_client_port;
  int64_t cluster_announce_client_tls_port;
  EndpointType cluster_preferred_endpoint_type;

  // Directives that only a file or the command line can give.
  std::vector<std::pair<std::string, std::string>>
      rename_commands;                    // from, to; to is empty when the command is to vanish
  std::vector<std::string> user_lines;    // `user ...`, not yet in effect
  std::vector<std::string> module_lines;  // `loadmodule ...` and module options, not yet in effect

  int64_t hash_max_listpack_entries;
  uint64_t hash_max_listpack_value;
  int64_t list_max_listpack_size;
  int64_t set_max_intset_entries;
  int64_t set_max_listpack_entries;
  uint64_t set_max_listpack_value;
  int64_t zset_max_listpack_entries;
  uint64_t zset_max_listpack_value;
  uint64_t stream_node_max_bytes;
  int64_t stream_node_max_entries;

  // Text of the options without a member, by row.
  std::vector<std::string> inert;

  std::string cluster_seeds;  // words host[:port[@bus-port]]
};

}  // namespace tessera::config
