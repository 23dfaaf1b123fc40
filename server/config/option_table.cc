#include <climits>

#include "protocol/args.h"
#include "server/config/option.h"
#include "server/config/special_options.h"

namespace tessera::config {
namespace {

constexpr uint64_t kIntMax = INT_MAX;
constexpr uint64_t kLongMax = INT64_MAX;

// Stands for the member of options that are not yet in effect.
constexpr std::nullptr_t kNotYet = nullptr;

template <auto Member>
constexpr void BindNumber(Option& row) {
  if constexpr (!std::is_null_pointer_v<decltype(Member)>) {
    row.get_number = [](const Config& config) { return static_cast<int64_t>(config.*Member); };
    row.set_number = [](Config& config, int64_t value) {
      config.*Member = static_cast<std::remove_reference_t<decltype(config.*Member)>>(value);
    };
  }
}

template <auto Member>
constexpr Option Bool(std::string_view name, std::string_view initial, int flags = 0, std::string_view alias = {}) {
  Option row{name, alias, Kind::kBool, static_cast<uint8_t>(flags), initial};
  BindNumber<Member>(row);
  return row;
}

template <auto Member>
constexpr Option Number(Kind kind, std::string_view name, std::string_view initial, int64_t min, uint64_t max,
                        int flags = 0, std::string_view alias = {}) {
  Option row{name, alias, kind, static_cast<uint8_t>(flags), initial};
  row.min = min;
  row.max = max;
  BindNumber<Member>(row);
  return row;
}

template <auto Member>
constexpr Option Int(std::string_view name, std::string_view initial, int64_t min, uint64_t max, int flags = 0,
                     std::string_view alias = {}) {
  return Number<Member>(Kind::kInteger, name, initial, min, max, flags, alias);
}

template <auto Member>
constexpr Option Memory(std::string_view name, std::string_view initial, int64_t min, uint64_t max, int flags = 0,
                        std::string_view alias = {}) {
  return Number<Member>(Kind::kMemory, name, initial, min, max, flags, alias);
}

constexpr Option Clamped(Option row, int64_t min, int64_t max) {
  row.clamp_min = min;
  row.clamp_max = max;
  return row;
}

template <auto Member>
constexpr Option Enum(std::string_view name, std::string_view initial, std::span<const Choice> choices, int flags = 0) {
  Option row{name, {}, Kind::kEnum, static_cast<uint8_t>(flags), initial};
  row.choices = choices;
  BindNumber<Member>(row);
  return row;
}

template <auto Member>
constexpr Option FlagSet(std::string_view name, std::string_view initial, std::span<const Choice> choices,
                         std::string_view (*refuse)(int64_t)) {
  Option row{name, {}, Kind::kFlagSet, kMultiWord, initial};
  row.refuse_flags = refuse;
  row.choices = choices;
  BindNumber<Member>(row);
  return row;
}

template <auto Member>
constexpr Option String(std::string_view name, std::string_view initial, int flags = 0, std::string_view alias = {},
                        std::string_view (*refuse)(std::string_view) = nullptr) {
  Option row{name, alias, Kind::kString, static_cast<uint8_t>(flags), initial};
  row.refuse = refuse;
  if constexpr (!std::is_null_pointer_v<decltype(Member)>) {
    row.get_text = [](const Config& config) -> const std::string& { return config.*Member; };
    row.set_text = [](Config& config, std::string_view value) { config.*Member = value; };
  }
  return row;
}

constexpr Option Special(std::string_view name, std::string_view initial, const SpecialKind& special, int flags = 0,
                         std::string_view alias = {}) {
  Option row{name, alias, Kind::kSpecial, static_cast<uint8_t>(flags), initial};
  row.special = &special;
  return row;
}

template <typename T>
constexpr int64_t V(T value) {
  return static_cast<int64_t>(value);
}

constexpr Choice kAppendFsyncChoices[] = {
    {"everysec", V(AppendFsync::kEverySec)}, {"always", V(AppendFsync::kAlways)}, {"no", V(AppendFsync::kNo)}};
constexpr Choice kLogLevelChoices[] = {{"debug", V(LogLevel::kDebug)},
                                       {"verbose", V(LogLevel::kVerbose)},
                                       {"notice", V(LogLevel::kNotice)},
                                       {"warning", V(LogLevel::kWarning)},
                                       {"nothing", V(LogLevel::kNothing)}};
constexpr Choice kLogFormatChoices[] = {
    {"legacy", V(LogFormat::kLegacy)}, {"logfmt", V(LogFormat::kLogfmt)}, {"json", V(LogFormat::kJson)}};
constexpr Choice kMaxmemoryPolicyChoices[] = {
    {"volatile-lru", V(MaxmemoryPolicy::kVolatileLru)},       {"volatile-lfu", V(MaxmemoryPolicy::kVolatileLfu)},
    {"volatile-random", V(MaxmemoryPolicy::kVolatileRandom)}, {"volatile-ttl", V(MaxmemoryPolicy::kVolatileTtl)},
    {"allkeys-lru", V(MaxmemoryPolicy::kAllKeysLru)},         {"allkeys-lfu", V(MaxmemoryPolicy::kAllKeysLfu)},
    {"allkeys-random", V(MaxmemoryPolicy::kAllKeysRandom)},   {"noeviction", V(MaxmemoryPolicy::kNoEviction)}};
constexpr Choice kReplDisklessLoadChoices[] = {{"disabled", V(ReplDisklessLoad::kDisabled)},
                                               {"on-empty-db", V(ReplDisklessLoad::kOnEmptyDb)},
                                               {"swapdb", V(ReplDisklessLoad::kSwapDb)}};
constexpr Choice kSanitizeChoices[] = {{"no", V(SanitizeDumpPayload::kNo)},
                                       {"yes", V(SanitizeDumpPayload::kYes)},
                                       {"clients", V(SanitizeDumpPayload::kClients)}};
constexpr Choice kAllowedChoices[] = {
    {"no", V(Allowed::kNo)}, {"yes", V(Allowed::kYes)}, {"local", V(Allowed::kLocal)}};
constexpr Choice kEndpointChoices[] = {{"ip", V(EndpointType::kIp)},
                                       {"hostname", V(EndpointType::kHostname)},
                                       {"unknown-endpoint", V(EndpointType::kUnknown)}};
constexpr Choice kPropagationErrorChoices[] = {{"ignore", V(PropagationError::kIgnore)},
                                               {"panic", V(PropagationError::kPanic)},
                                               {"panic-on-replicas", V(PropagationError::kPanicOnReplicas)}};
constexpr Choice kShutdownChoices[] = {{"default", 0},
                                       {"save", kShutdownSave},
                                       {"nosave", kShutdownNoSave},
                                       {"now", kShutdownNow},
                                       {"force", kShutdownForce},
                                       {"safe", kShutdownSafe},
                                       {"failover", kShutdownFailover}};
constexpr Choice kSyslogFacilityChoices[] = {{"user", 1},    {"local0", 16}, {"local1", 17},
                                             {"local2", 18}, {"local3", 19}, {"local4", 20},
                                             {"local5", 21}, {"local6", 22}, {"local7", 23}};
constexpr Choice kSupervisedChoices[] = {{"upstart", 3}, {"systemd", 2}, {"auto", 1}, {"no", 0}};
constexpr Choice kOomScoreAdjChoices[] = {{"no", 0}, {"yes", 1}, {"relative", 1}, {"absolute", 2}};
constexpr Choice kAclPubsubChoices[] = {{"allchannels", 1}, {"resetchannels", 0}};
constexpr Choice kTlsAuthChoices[] = {{"no", 0}, {"yes", 1}, {"optional", 2}};

constexpr Option kOptions[] = {
    // Network
    Int<&Config::port>("port", "6379", 0, 65535),
    Special("bind", "* -::*", kBindOption, kMultiWord),
    String<&Config::bind_source_addr>("bind-source-addr", "", kEmptyIsUnset),
    String<&Config::unixsocket>("unixsocket", "", kImmutable | kEmptyIsUnset),
    Number<&Config::unixsocketperm>(Kind::kOctal, "unixsocketperm", "0", 0, 0777, kImmutable),
    Int<&Config::tcp_backlog>("tcp-backlog", "511", 0, kIntMax, kImmutable),
    Int<&Config::timeout>("timeout", "0", 0, kIntMax),
    Int<&Config::tcp_keepalive>("tcp-keepalive", "300", 0, kIntMax),
    Int<&Config::maxclients>("maxclients", "10000", 1, UINT_MAX),
    Int<&Config::socket_mark_id>("socket-mark-id", "0", 0, UINT_MAX, kImmutable),
    Int<&Config::metrics_port>("metrics-port", "0", 0, 65535),
    Special("metrics-bind", "", kMetricsBindOption, kMultiWord),
    Bool<&Config::protected_mode>("protected-mode", "yes"),
    String<&Config::requirepass>("requirepass", "", kSensitive | kEmptyIsUnset),
    Memory<&Config::proto_max_bulk_len>("proto-max-bulk-len", "512mb", 1 << 20, kLongMax),
    Memory<&Config::client_query_buffer_limit>("client-query-buffer-limit", "1gb", 1 << 20, kLongMax),
    Special("client-output-buffer-limit", "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60",
            kClientOutputBufferLimitOption, kMultiWord),
    Number<&Config::maxmemory_clients>(Kind::kMemoryOrPercent, "maxmemory-clients", "0", -100, kLongMax),
    Int<kNotYet>("io-threads", "1", 1, 128, kImmutable),
    Bool<kNotYet>("io-threads-do-reads", "no", kImmutable),

    // Process
    Bool<&Config::daemonize>("daemonize", "no", kImmutable),
    String<&Config::pidfile>("pidfile", "", kImmutable | kEmptyIsUnset),
    Enum<&Config::loglevel>("loglevel", "notice", kLogLevelChoices),
    Enum<&Config::log_format>("log-format", "legacy", kLogFormatChoices),
    String<&Config::logfile>("logfile", "", kImmutable),
    Special("dir", ".", kDirOption, kProtected | kDenyLoading),
    Int<&Config::databases>("databases", "16", 1, kIntMax, kImmutable),
    Bool<&Config::always_show_logo>("always-show-logo", "no", kImmutable),
    Bool<&Config::set_proc_title>("set-proc-title", "yes", kImmutable),
    String<&Config::proc_title_template>("proc-title-template", "{title} {listen-addr} {server-mode}", 0, {},
                                         RefuseProcTitleTemplate),
    Clamped(Int<&Config::hz>("hz", "10", 0, kIntMax), 1, 500),
    Bool<&Config::dynamic_hz>("dynamic-hz", "yes"),
    Int<&Config::shutdown_timeout>("shutdown-timeout", "10", 0, kIntMax),
    FlagSet<&Config::shutdown_on_sigint>("shutdown-on-sigint", "default", kShutdownChoices, RefuseShutdownFlags),
    FlagSet<&Config::shutdown_on_sigterm>("shutdown-on-sigterm", "default", kShutdownChoices, RefuseShutdownFlags),
    Enum<&Config::enable_protected_configs>("enable-protected-configs", "no", kAllowedChoices, kImmutable),
    Enum<&Config::enable_debug_command>("enable-debug-command", "no", kAllowedChoices, kImmutable),
    Enum<kNotYet>("enable-module-command", "no", kAllowedChoices, kImmutable),
    Bool<kNotYet>("syslog-enabled", "no", kImmutable),
    String<kNotYet>("syslog-ident", "redis", kImmutable),
    Enum<kNotYet>("syslog-facility", "local0", kSyslogFacilityChoices, kImmutable),
    Enum<kNotYet>("supervised", "no", kSupervisedChoices, kImmutable),
    Bool<kNotYet>("crash-log-enabled", "yes"),
    Bool<kNotYet>("crash-memcheck-enabled", "yes"),
    Bool<kNotYet>("use-exit-on-panic", "no", kHidden),
    Int<kNotYet>("watchdog-period", "0", 0, kIntMax, kHidden),
    Bool<kNotYet>("disable-thp", "yes", kImmutable),
    Enum<kNotYet>("oom-score-adj", "no", kOomScoreAdjChoices),
    String<kNotYet>("oom-score-adj-values", "0 200 800", kMultiWord, {}, RefuseOomScoreAdjValues),
    String<kNotYet>("server_cpulist", "", kImmutable | kEmptyIsUnset),
    String<kNotYet>("bio_cpulist", "", kImmutable | kEmptyIsUnset),
    String<kNotYet>("aof_rewrite_cpulist", "", kImmutable | kEmptyIsUnset),
    String<kNotYet>("bgsave_cpulist", "", kImmutable | kEmptyIsUnset),
    String<kNotYet>("ignore-warnings", ""),
    String<kNotYet>("locale-collate", ""),

    // Keyspace
    Special("maxmemory", "0", kMaxmemoryOption),
    Enum<&Config::maxmemory_policy>("maxmemory-policy", "noeviction", kMaxmemoryPolicyChoices),
    Int<&Config::maxmemory_samples>("maxmemory-samples", "5", 1, kIntMax),
    Int<&Config::maxmemory_eviction_tenacity>("maxmemory-eviction-tenacity", "10", 0, 100),
    Int<&Config::lfu_log_factor>("lfu-log-factor", "10", 0, kIntMax),
    Int<&Config::lfu_decay_time>("lfu-decay-time", "1", 0, kIntMax),
    Int<&Config::active_expire_effort>("active-expire-effort", "1", 1, 10),
    Bool<&Config::activerehashing>("activerehashing", "yes"),
    // Large values are always freed off the loop. These choose what is propagated, DEL or UNLINK, and whether a flush waits
    // for its memory.
    Bool<&Config::lazyfree_lazy_eviction>("lazyfree-lazy-eviction", "no"),
    Bool<&Config::lazyfree_lazy_expire>("lazyfree-lazy-expire", "no"),
    Bool<&Config::lazyfree_lazy_server_del>("lazyfree-lazy-server-del", "no"),
    Bool<&Config::lazyfree_lazy_user_del>("lazyfree-lazy-user-del", "no"),
    Bool<&Config::lazyfree_lazy_user_flush>("lazyfree-lazy-user-flush", "no"),
    Special("notify-keyspace-events", "", kNotifyKeyspaceEventsOption),
    Enum<&Config::sanitize_dump_payload>("sanitize-dump-payload", "no", kSanitizeChoices),
    Bool<kNotYet>("jemalloc-bg-thread", "yes"),
    Bool<kNotYet>("activedefrag", "no"),
    Memory<kNotYet>("active-defrag-ignore-bytes", "100mb", 1, kLongMax),
    Int<kNotYet>("active-defrag-cycle-min", "1", 1, 99),
    Int<kNotYet>("active-defrag-cycle-max", "25", 1, 99),
    Int<kNotYet>("active-defrag-threshold-lower", "10", 0, 1000),
    Int<kNotYet>("active-defrag-threshold-upper", "100", 0, 1000),
    Int<kNotYet>("active-defrag-max-scan-fields", "1000", 1, kLongMax),
    Int<kNotYet>("tracking-table-max-keys", "1000000", 0, kLongMax),
    Int<kNotYet>("key-load-delay", "0", INT_MIN, kIntMax, kHidden),
    Int<kNotYet>("loading-process-events-interval-bytes", "2097152", 1024, kIntMax, kHidden),

    // From which size on values take their large form
    Int<&Config::hash_max_listpack_entries>("hash-max-listpack-entries", "512", 0, kLongMax, 0, "hash-max-ziplist-entries"),
    Memory<&Config::hash_max_listpack_value>("hash-max-listpack-value", "64", 0, kLongMax, 0, "hash-max-ziplist-value"),
    Int<&Config::list_max_listpack_size>("list-max-listpack-size", "-2", INT_MIN, kIntMax, 0, "list-max-ziplist-size"),
    Int<kNotYet>("list-compress-depth", "0", 0, kIntMax),
    Int<&Config::set_max_intset_entries>("set-max-intset-entries", "512", 0, kLongMax),
    Int<&Config::set_max_listpack_entries>("set-max-listpack-entries", "128", 0, kLongMax),
    Memory<&Config::set_max_listpack_value>("set-max-listpack-value", "64", 0, kLongMax),
    Int<&Config::zset_max_listpack_entries>("zset-max-listpack-entries", "128", 0, kLongMax, 0, "zset-max-ziplist-entries"),
    Memory<&Config::zset_max_listpack_value>("zset-max-listpack-value", "64", 0, kLongMax, 0, "zset-max-ziplist-value"),
    Memory<&Config::hll_sparse_max_bytes>("hll-sparse-max-bytes", "3000", 0, kLongMax),
    Memory<&Config::stream_node_max_bytes>("stream-node-max-bytes", "4096", 0, kLongMax),
    Int<&Config::stream_node_max_entries>("stream-node-max-entries", "100", 0, kLongMax),

    // Figures
    Int<&Config::slowlog_log_slower_than>("slowlog-log-slower-than", "10000", -1, kLongMax),
    Int<&Config::slowlog_max_len>("slowlog-max-len", "128", 0, kLongMax),
    Int<&Config::latency_monitor_threshold>("latency-monitor-threshold", "0", 0, kLongMax),
    Bool<&Config::latency_tracking>("latency-tracking", "yes"),
    Special("latency-tracking-info-percentiles", "50 99 99.9", kLatencyPercentilesOption, kMultiWord),
    Int<&Config::busy_reply_threshold>("busy-reply-threshold", "5000", 0, kLongMax, 0, "lua-time-limit"),

    // Snapshots
    Special("save", "3600 1 300 100 60 10000", kSaveOption, kMultiWord),
    String<&Config::dbfilename>("dbfilename", "dump.rdb", kProtected, {}, RefuseDbFilename),
    Bool<&Config::rdbcompression>("rdbcompression", "yes"),
    Bool<&Config::rdbchecksum>("rdbchecksum", "yes", kImmutable),
    Bool<&Config::stop_writes_on_bgsave_error>("stop-writes-on-bgsave-error", "yes"),
    Bool<&Config::rdb_del_sync_files>("rdb-del-sync-files", "no"),
    Bool<&Config::rdb_save_incremental_fsync>("rdb-save-incremental-fsync", "yes"),
    Int<kNotYet>("rdb-key-save-delay", "0", INT_MIN, kIntMax, kHidden),

    // Append-only file
    Bool<&Config::appendonly>("appendonly", "no", kDenyLoading),
    String<&Config::appendfilename>("appendfilename", "appendonly.aof", kImmutable, {}, RefuseAppendFilename),
    String<&Config::appenddirname>("appenddirname", "appendonlydir", kImmutable, {}, RefuseAppendDirname),
    Enum<&Config::appendfsync>("appendfsync", "everysec", kAppendFsyncChoices),
    Bool<&Config::no_appendfsync_on_rewrite>("no-appendfsync-on-rewrite", "no"),
    Int<&Config::auto_aof_rewrite_percentage>("auto-aof-rewrite-percentage", "100", 0, kIntMax),
    Memory<&Config::auto_aof_rewrite_min_size>("auto-aof-rewrite-min-size", "64mb", 0, kLongMax),
    Bool<&Config::aof_load_truncated>("aof-load-truncated", "yes"),
    Bool<&Config::aof_use_rdb_preamble>("aof-use-rdb-preamble", "yes"),
    Bool<&Config::aof_timestamp_enabled>("aof-timestamp-enabled", "no"),
    Bool<&Config::aof_rewrite_incremental_fsync>("aof-rewrite-incremental-fsync", "yes"),
    Bool<&Config::aof_disable_auto_gc>("aof-disable-auto-gc", "no"),

    // Replication
    Special("replicaof", "no one", kReplicaOfOption, kImmutable | kMultiWord, "slaveof"),
    String<&Config::masterauth>("masterauth", "", kSensitive | kEmptyIsUnset),
    String<&Config::masteruser>("masteruser", "", kSensitive | kEmptyIsUnset),
    Bool<&Config::replica_serve_stale_data>("replica-serve-stale-data", "yes", 0, "slave-serve-stale-data"),
    Bool<&Config::replica_read_only>("replica-read-only", "yes", 0, "slave-read-only"),
    Bool<&Config::replica_ignore_maxmemory>("replica-ignore-maxmemory", "yes", 0, "slave-ignore-maxmemory"),
    Bool<&Config::replica_lazy_flush>("replica-lazy-flush", "no", 0, "slave-lazy-flush"),
    Bool<&Config::replica_announced>("replica-announced", "yes"),
    Bool<&Config::replica_ignore_disk_write_errors>("replica-ignore-disk-write-errors", "no"),
    Int<&Config::replica_priority>("replica-priority", "100", 0, kIntMax, 0, "slave-priority"),
    String<&Config::replica_announce_ip>("replica-announce-ip", "", kEmptyIsUnset, "slave-announce-ip"),
    Int<&Config::replica_announce_port>("replica-announce-port", "0", 0, 65535, 0, "slave-announce-port"),
    Bool<&Config::repl_diskless_sync>("repl-diskless-sync", "yes"),
    Int<&Config::repl_diskless_sync_delay>("repl-diskless-sync-delay", "5", 0, kIntMax),
    Int<&Config::repl_diskless_sync_max_replicas>("repl-diskless-sync-max-replicas", "0", 0, kIntMax),
    Enum<&Config::repl_diskless_load>("repl-diskless-load", "disabled", kReplDisklessLoadChoices, kDenyLoading),
    Bool<&Config::repl_disable_tcp_nodelay>("repl-disable-tcp-nodelay", "no"),
    Int<&Config::repl_ping_replica_period>("repl-ping-replica-period", "10", 1, kIntMax, 0, "repl-ping-slave-period"),
    Int<&Config::repl_timeout>("repl-timeout", "60", 1, kIntMax),
    Clamped(Memory<&Config::repl_backlog_size>("repl-backlog-size", "1mb", 1, kLongMax), 16384, INT64_MAX),
    Int<&Config::repl_backlog_ttl>("repl-backlog-ttl", "3600", 0, kLongMax),
    Int<&Config::min_replicas_to_write>("min-replicas-to-write", "0", 0, kIntMax, 0, "min-slaves-to-write"),
    Int<&Config::min_replicas_max_lag>("min-replicas-max-lag", "10", 0, kIntMax, 0, "min-slaves-max-lag"),
    Enum<&Config::propagation_error_behavior>("propagation-error-behavior", "ignore", kPropagationErrorChoices),

    // Cluster
    Bool<&Config::cluster_enabled>("cluster-enabled", "no", kImmutable),
    String<&Config::cluster_config_file>("cluster-config-file", "nodes.conf", kImmutable),
    Int<&Config::cluster_node_timeout>("cluster-node-timeout", "15000", 0, kLongMax),
    Int<&Config::cluster_port>("cluster-port", "0", 0, 65535, kImmutable),
    Int<&Config::cluster_replica_validity_factor>("cluster-replica-validity-factor", "10", 0, kIntMax, 0,
                                                  "cluster-slave-validity-factor"),
    Int<&Config::cluster_migration_barrier>("cluster-migration-barrier", "1", 0, kIntMax),
    Bool<&Config::cluster_allow_replica_migration>("cluster-allow-replica-migration", "yes"),
    Bool<&Config::cluster_require_full_coverage>("cluster-require-full-coverage", "yes"),
    Bool<&Config::cluster_replica_no_failover>("cluster-replica-no-failover", "no", 0, "cluster-slave-no-failover"),
    Bool<&Config::cluster_allow_reads_when_down>("cluster-allow-reads-when-down", "no"),
    Bool<&Config::cluster_allow_pubsubshard_when_down>("cluster-allow-pubsubshard-when-down", "yes"),
    Memory<&Config::cluster_link_sendbuf_limit>("cluster-link-sendbuf-limit", "0", 0, UINT64_MAX),
    String<&Config::cluster_announce_ip>("cluster-announce-ip", "", kEmptyIsUnset, {}, RefuseAnnouncedIp),
    String<&Config::cluster_announce_hostname>("cluster-announce-hostname", "", kEmptyIsUnset, {}, RefuseHostname),
    String<&Config::cluster_announce_human_nodename>("cluster-announce-human-nodename", "", kEmptyIsUnset, {},
                                                     RefuseHumanNodename),
    Int<&Config::cluster_announce_port>("cluster-announce-port", "0", 0, 65535),
    Int<&Config::cluster_announce_tls_port>("cluster-announce-tls-port", "0", 0, 65535),
    Int<&Config::cluster_announce_bus_port>("cluster-announce-bus-port", "0", 0, 65535),
    String<&Config::cluster_announce_client_ipv4>("cluster-announce-client-ipv4", "", kEmptyIsUnset, {}, RefuseIpv4),
    String<&Config::cluster_announce_client_ipv6>("cluster-announce-client-ipv6", "", kEmptyIsUnset, {}, RefuseIpv6),
    Int<&Config::cluster_announce_client_port>("cluster-announce-client-port", "0", 0, 65535),
    Int<&Config::cluster_announce_client_tls_port>("cluster-announce-client-tls-port", "0", 0, 65535),
    String<&Config::cluster_seeds>("cluster-seeds", "", kMultiWord | kEmptyIsUnset, {}, RefuseSeeds),
    Enum<&Config::cluster_preferred_endpoint_type>("cluster-preferred-endpoint-type", "ip", kEndpointChoices),

    // Access control
    String<kNotYet>("aclfile", "", kImmutable),
    Int<kNotYet>("acllog-max-len", "128", 0, kLongMax),
    Enum<kNotYet>("acl-pubsub-default", "resetchannels", kAclPubsubChoices),

    // TLS
    Int<kNotYet>("tls-port", "0", 0, 65535),
    Int<kNotYet>("tls-session-cache-size", "20480", 0, kIntMax),
    Int<kNotYet>("tls-session-cache-timeout", "300", 0, kIntMax),
    Bool<kNotYet>("tls-cluster", "no"),
    Bool<kNotYet>("tls-replication", "no"),
    Enum<kNotYet>("tls-auth-clients", "yes", kTlsAuthChoices),
    Bool<kNotYet>("tls-prefer-server-ciphers", "no"),
    Bool<kNotYet>("tls-session-caching", "yes"),
    String<kNotYet>("tls-cert-file", "", kEmptyIsUnset),
    String<kNotYet>("tls-key-file", "", kEmptyIsUnset),
    String<kNotYet>("tls-key-file-pass", "", kEmptyIsUnset | kSensitive),
    String<kNotYet>("tls-client-cert-file", "", kEmptyIsUnset),
    String<kNotYet>("tls-client-key-file", "", kEmptyIsUnset),
    String<kNotYet>("tls-client-key-file-pass", "", kEmptyIsUnset | kSensitive),
    String<kNotYet>("tls-dh-params-file", "", kEmptyIsUnset),
    String<kNotYet>("tls-ca-cert-file", "", kEmptyIsUnset),
    String<kNotYet>("tls-ca-cert-dir", "", kEmptyIsUnset),
    String<kNotYet>("tls-protocols", "", kEmptyIsUnset),
    String<kNotYet>("tls-ciphers", "", kEmptyIsUnset),
    String<kNotYet>("tls-ciphersuites", "", kEmptyIsUnset),
};

}  // namespace

std::span<const Option> AllOptions() { return kOptions; }

const Option* FindOption(std::string_view name) {
  if (name.empty()) return nullptr;
  for (const Option& option : kOptions) {
    if (protocol::EqualsIgnoreCase(option.name, name) || protocol::EqualsIgnoreCase(option.alias, name)) return &option;
  }
  return nullptr;
}

}  // namespace tessera::config
