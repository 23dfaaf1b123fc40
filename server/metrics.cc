#include "server/metrics.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "server/blocked_keys.h"
#include "server/blocking.h"
#include "server/client_limits.h"
#include "server/clients.h"
#include "server/commands/table.h"
#include "server/config/options.h"
#include "server/eviction.h"
#include "server/info.h"
#include "server/lazy_free.h"
#include "server/memory_meter.h"
#include "server/metrics_lines.h"
#include "server/pubsub.h"
#include "server/stats.h"
#include "server/version.h"

namespace tessera {
namespace {

using Source = const MetricSources&;
using Value = MetricValue;
constexpr MetricKind kGauge = MetricKind::kGauge;
constexpr MetricKind kCounter = MetricKind::kCounter;
constexpr MetricKind kText = MetricKind::kText;

Value Int(int64_t value) { return value; }
Value Uint(uint64_t value) { return value; }
Value Text(std::string_view text) { return std::string(text); }
Value Flag(bool value) { return int64_t{value}; }
Value Human(uint64_t bytes) { return HumanBytes(bytes); }
Value Real(double value, int digits = 2) { return Decimal{value, digits}; }
Value State(bool ok) { return std::string(ok ? "ok" : "err"); }
constexpr std::monostate kAbsent{};

const config::Config& Config(Source s) { return s.services.config; }
const Stats& Counters(Source s) { return s.services.stats; }

// A figure of something this server does not have: shown as zero because dashboards ask for it.
Value Zero(Source) { return int64_t{0}; }
template <PubSub::Kind kind>
Value Listened(Source s) {
  return static_cast<uint64_t>(s.services.pubsub.size(kind));
}

double Ratio(uint64_t a, uint64_t b) { return b == 0 ? 0 : static_cast<double>(a) / static_cast<double>(b); }
uint64_t Difference(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
uint64_t Peak(Source s) { return std::max<uint64_t>(Counters(s).peak_memory, s.used_memory); }
uint64_t Dataset(Source s) { return s.dataset_bytes(); }
uint64_t Startup(Source s) { return s.services.memory == nullptr ? 0 : s.services.memory->startup_bytes(); }

std::string OperatingSystem() {
  utsname name;
  if (uname(&name) != 0) return "unknown";
  return fmt::format("{} {} {}", name.sysname, name.release, name.machine);
}

std::string ExecutablePath() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  return length > 0 ? std::string(path, static_cast<size_t>(length)) : std::string();
}

Value Cpu(int who, timeval rusage::*part) {
  rusage usage{};
  getrusage(who, &usage);
  const timeval& time = usage.*part;
  return Real(static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6, 6);
}

std::string_view PolicyName(config::MaxmemoryPolicy policy) {
  constexpr std::string_view kNames[] = {"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
                                         "allkeys-lru",  "allkeys-lfu",  "allkeys-random",  "noeviction"};
  return kNames[static_cast<int>(policy)];
}

constexpr MetricRow kServerRows[] = {
    {"redis_version", kText, [](Source) { return Text(kRedisVersion); }},
    {"server_name", kText, [](Source) { return Text("tessera"); }},
    {"tessera_version", kText, [](Source) { return Text(kTesseraVersion); }},
    {"redis_git_sha1", kText, [](Source) { return Text("00000000"); }},
    {"redis_git_dirty", kGauge, Zero},
    {"redis_build_id", kText, [](Source) { return Text("0"); }},
    {"redis_mode", kText, [](Source s) { return Text(s.services.cluster != nullptr ? "cluster" : "standalone"); }},
    {"os", kText, [](Source) -> Value { return OperatingSystem(); }},
    {"arch_bits", kGauge, [](Source) { return Int(sizeof(void*) * 8); }},
    {"monotonic_clock", kText, [](Source) { return Text("POSIX clock_gettime"); }},
    {"multiplexing_api", kText, [](Source) { return Text("epoll"); }},
    {"gcc_version", kText, [](Source) { return Text(__VERSION__); }},
    {"process_id", kGauge, [](Source) { return Int(getpid()); }},
    {"process_supervised", kText, [](Source) { return Text("no"); }},
    {"run_id", kText, [](Source) { return Text(RunId()); }},
    {"tcp_port", kGauge, [](Source s) { return Int(Config(s).port); }},
    {"server_time_usec", kGauge, [](Source) { return Int(UnixUs()); }},
    {"uptime_in_seconds", kGauge, [](Source s) { return Int((s.now.mono_us - Counters(s).started_us) / 1000000); }},
    {"uptime_in_days", kGauge,
     [](Source s) { return Int((s.now.mono_us - Counters(s).started_us) / (int64_t{86400} * 1000000)); }},
    {"hz", kGauge, [](Source s) { return Int(Config(s).hz); }},
    {"configured_hz", kGauge, [](Source s) { return Int(Config(s).hz); }},
    {"lru_clock", kGauge, [](Source s) { return Int(s.now.unix_s() & 0xffffff); }},
    {"executable", kText, [](Source) -> Value { return ExecutablePath(); }},
    {"config_file", kText, [](Source s) { return Text(s.services.options.config_file()); }},
    {"io_threads_active", kGauge, Zero},
};

void ListenerLines(Source s, std::string& out) {
  int index = 0;
  if (Config(s).port != 0) {
    out += fmt::format("listener{}:name=tcp", index++);
    for (const std::string& address : Config(s).bind) out += ",bind=" + address;
    out += fmt::format(",port={}\r\n", Config(s).port);
  }
  if (!Config(s).unixsocket.empty())
    out += fmt::format("listener{}:name=unix,bind={}\r\n", index, Config(s).unixsocket);
}

uint64_t CountClients(Source s, SessionKind kind) {
  const auto& all = s.services.clients.all();
  return static_cast<uint64_t>(
      std::count_if(all.begin(), all.end(), [kind](const auto& entry) { return entry.second->kind == kind; }));
}

constexpr MetricRow kClientRows[] = {
    {"connected_clients", kGauge,
     [](Source s) { return Uint(s.services.clients.size() - CountClients(s, SessionKind::kReplica)); }},
    {"cluster_connections", kGauge, Zero},
    {"maxclients", kGauge, [](Source s) { return Int(Config(s).maxclients); }},
    {"client_recent_max_input_buffer", kGauge, [](Source s) { return Uint(s.largest_input); }},
    {"client_recent_max_output_buffer", kGauge, [](Source s) { return Uint(s.largest_output); }},
    {"blocked_clients", kGauge, [](Source s) { return Uint(s.services.blocking.size()); }},
    {"tracking_clients", kGauge, Zero},
    {"clients_in_timeout_table", kGauge, [](Source s) { return Uint(s.services.blocking.with_deadline()); }},
    {"total_blocking_keys", kGauge, [](Source s) { return Uint(s.services.blocked_keys.key_count()); }},
    {"total_blocking_keys_on_nokey", kGauge,
     [](Source s) { return Uint(s.services.blocked_keys.keys_awaiting_loss()); }},
};

constexpr MetricRow kMemoryRows[] = {
    {"used_memory", kGauge, [](Source s) { return Uint(s.used_memory); }},
    {"used_memory_human", kText, [](Source s) { return Human(s.used_memory); }},
    {"used_memory_rss", kGauge, [](Source s) { return Uint(s.memory.rss); }},
    {"used_memory_rss_human", kText, [](Source s) { return Human(s.memory.rss); }},
    {"used_memory_peak", kGauge, [](Source s) { return Uint(Peak(s)); }},
    {"used_memory_peak_human", kText, [](Source s) { return Human(Peak(s)); }},
    {"used_memory_peak_perc", kText,
     [](Source s) -> Value { return fmt::format("{:.2f}%", 100 * Ratio(s.used_memory, Peak(s))); }},
    {"used_memory_overhead", kGauge, [](Source s) { return Uint(s.used_memory - Dataset(s)); }},
    {"used_memory_startup", kGauge, [](Source s) { return Uint(Startup(s)); }},
    {"used_memory_dataset", kGauge, [](Source s) { return Uint(Dataset(s)); }},
    {"used_memory_dataset_perc", kText,
     [](Source s) -> Value { return fmt::format("{:.2f}%", 100 * std::min(1.0, Ratio(Dataset(s), Difference(s.used_memory, Startup(s))))); }},
    {"allocator_allocated", kGauge, [](Source s) { return Uint(s.memory.allocated); }},
    {"allocator_active", kGauge, [](Source s) { return Uint(s.memory.active); }},
    {"allocator_resident", kGauge, [](Source s) { return Uint(s.memory.resident); }},
    {"total_system_memory", kGauge, [](Source) { return Uint(SystemMemory()); }},
    {"total_system_memory_human", kText, [](Source) { return Human(SystemMemory()); }},
    {"used_memory_lua", kGauge, Zero},
    {"used_memory_vm_eval", kGauge, Zero},
    {"used_memory_lua_human", kText, [](Source) { return Human(0); }},
    {"used_memory_scripts_eval", kGauge, Zero},
    {"number_of_cached_scripts", kGauge, Zero},
    {"number_of_functions", kGauge, Zero},
    {"number_of_libraries", kGauge, Zero},
    {"used_memory_vm_functions", kGauge, Zero},
    {"used_memory_vm_total", kGauge, Zero},
    {"used_memory_vm_total_human", kText, [](Source) { return Human(0); }},
    {"used_memory_functions", kGauge, Zero},
    {"used_memory_scripts", kGauge, Zero},
    {"used_memory_scripts_human", kText, [](Source) { return Human(0); }},
    {"maxmemory", kGauge, [](Source s) { return Uint(Config(s).maxmemory); }},
    {"maxmemory_human", kText, [](Source s) { return Human(Config(s).maxmemory); }},
    {"maxmemory_policy", kText, [](Source s) { return Text(PolicyName(Config(s).maxmemory_policy)); }},
    {"allocator_frag_ratio", kGauge, [](Source s) { return Real(Ratio(s.memory.active, s.memory.allocated)); }},
    {"allocator_frag_bytes", kGauge, [](Source s) { return Uint(Difference(s.memory.active, s.memory.allocated)); }},
    {"allocator_rss_ratio", kGauge, [](Source s) { return Real(Ratio(s.memory.resident, s.memory.active)); }},
    {"allocator_rss_bytes", kGauge, [](Source s) { return Uint(Difference(s.memory.resident, s.memory.active)); }},
    {"rss_overhead_ratio", kGauge, [](Source s) { return Real(Ratio(s.memory.rss, s.memory.resident)); }},
    {"rss_overhead_bytes", kGauge,
     [](Source s) { return Int(static_cast<int64_t>(s.memory.rss) - static_cast<int64_t>(s.memory.resident)); }},
    {"mem_fragmentation_ratio", kGauge, [](Source s) { return Real(Ratio(s.memory.rss, s.used_memory)); }},
    {"mem_fragmentation_bytes", kGauge,
     [](Source s) { return Int(static_cast<int64_t>(s.memory.rss) - static_cast<int64_t>(s.used_memory)); }},
    {"mem_not_counted_for_evict", kGauge,
     [](Source s) { return Uint(s.services.eviction == nullptr ? 0 : s.services.eviction->NotCounted()); }},
    {"mem_replication_backlog", kGauge,
     [](Source s) { return Uint(s.replication.backlog_active ? s.replication.backlog_size : 0); }},
    {"mem_total_replication_buffers", kGauge,
     [](Source s) {
       return Uint(s.replica_client_bytes + (s.replication.backlog_active ? s.replication.backlog_size : 0));
     }},
    {"mem_clients_slaves", kGauge, [](Source s) { return Uint(s.replica_client_bytes); }},
    {"mem_clients_normal", kGauge, [](Source s) { return Uint(s.normal_client_bytes); }},
    {"mem_cluster_links", kGauge, Zero},
    {"mem_aof_buffer", kGauge, [](Source s) { return Uint(s.persistence.aof_buffer_length); }},
    {"mem_allocator", kText, [](Source) { return Text(AllocatorName()); }},
    {"active_defrag_running", kGauge, Zero},
    {"lazyfree_pending_objects", kGauge,
     [](Source s) {
       const LazyFree* lazy_free = s.services.lazy_free;
       return Uint(s.services.keyspace.doomed_keys() + (lazy_free == nullptr ? 0 : lazy_free->pending()));
     }},
    {"lazyfreed_objects", kCounter,
     [](Source s) {
       const LazyFree* lazy_free = s.services.lazy_free;
       return Uint(s.services.keyspace.freed_keys() - Counters(s).freed_keys_at_reset +
                   (lazy_free == nullptr ? 0 : lazy_free->freed()));
     }},
};

Value LoadingPercent(Source s) {
  if (!s.persistence.loading) return kAbsent;
  return Real(100 * Ratio(s.persistence.loading_loaded_bytes, s.persistence.loading_total_bytes));
}

template <auto Member>
Value WhileLoading(Source s) {
  if (!s.persistence.loading) return kAbsent;
  return Int(static_cast<int64_t>(s.persistence.*Member));
}

template <auto Member>
Value WithAof(Source s) {
  if (!s.persistence.aof_enabled) return kAbsent;
  return Int(static_cast<int64_t>(s.persistence.*Member));
}

template <auto Member>
Value Persistence(Source s) {
  return Int(static_cast<int64_t>(s.persistence.*Member));
}

using P = Durability::Figures;
constexpr MetricRow kPersistenceRows[] = {
    {"loading", kGauge, Persistence<&P::loading>},
    {"async_loading", kGauge, Persistence<&P::async_loading>},
    {"current_cow_peak", kGauge, Zero},
    {"current_cow_size", kGauge, Zero},
    {"current_cow_size_age", kGauge, Zero},
    {"current_fork_perc", kGauge,
     [](Source s) {
       return Real(100 * Ratio(s.persistence.snapshot_keys_processed, s.persistence.snapshot_keys_total));
     }},
    {"current_save_keys_processed", kGauge, Persistence<&P::snapshot_keys_processed>},
    {"current_save_keys_total", kGauge, Persistence<&P::snapshot_keys_total>},
    {"rdb_changes_since_last_save", kGauge, Persistence<&P::changes_since_last_save>},
    {"rdb_bgsave_in_progress", kGauge, Persistence<&P::bgsave_in_progress>},
    {"rdb_last_save_time", kGauge, Persistence<&P::last_save_s>},
    {"rdb_last_bgsave_status", kText, [](Source s) { return State(s.persistence.last_bgsave_ok); }},
    {"rdb_last_bgsave_time_sec", kGauge, Persistence<&P::last_bgsave_time_s>},
    {"rdb_current_bgsave_time_sec", kGauge, Persistence<&P::current_bgsave_time_s>},
    {"rdb_saves", kCounter, Persistence<&P::saves>},
    {"rdb_last_cow_size", kGauge, Zero},
    {"rdb_last_load_keys_expired", kGauge, Persistence<&P::last_load_keys_expired>},
    {"rdb_last_load_keys_loaded", kGauge, Persistence<&P::last_load_keys_loaded>},
    {"aof_enabled", kGauge, Persistence<&P::aof_enabled>},
    {"aof_rewrite_in_progress", kGauge, Persistence<&P::aof_rewrite_in_progress>},
    {"aof_rewrite_scheduled", kGauge, Persistence<&P::aof_rewrite_scheduled>},
    {"aof_last_rewrite_time_sec", kGauge, Persistence<&P::aof_last_rewrite_time_s>},
    {"aof_current_rewrite_time_sec", kGauge, Persistence<&P::aof_current_rewrite_time_s>},
    {"aof_last_bgrewrite_status", kText, [](Source s) { return State(s.persistence.aof_last_bgrewrite_ok); }},
    {"aof_rewrites", kCounter, Persistence<&P::aof_rewrites>},
    {"aof_rewrites_consecutive_failures", kGauge, Persistence<&P::aof_rewrites_failed_in_a_row>},
    {"aof_last_write_status", kText, [](Source s) { return State(s.persistence.aof_last_write_ok); }},
    {"aof_last_cow_size", kGauge, Zero},
    {"module_fork_in_progress", kGauge, Zero},
    {"module_fork_last_cow_size", kGauge, Zero},
    {"aof_current_size", kGauge, WithAof<&P::aof_current_size>},
    {"aof_base_size", kGauge, WithAof<&P::aof_base_size>},
    {"aof_pending_rewrite", kGauge, WithAof<&P::aof_pending_rewrite>},
    {"aof_buffer_length", kGauge, WithAof<&P::aof_buffer_length>},
    {"aof_pending_bio_fsync", kGauge, WithAof<&P::aof_pending_bio_fsync>},
    {"aof_delayed_fsync", kCounter, WithAof<&P::aof_delayed_fsync>},
    {"loading_start_time", kGauge, WhileLoading<&P::loading_start_s>},
    {"loading_total_bytes", kGauge, WhileLoading<&P::loading_total_bytes>},
    {"loading_loaded_bytes", kGauge, WhileLoading<&P::loading_loaded_bytes>},
    {"loading_loaded_perc", kGauge, LoadingPercent},
};

template <auto Member>
Value Count(Source s) {
  return Uint(Counters(s).*Member);
}
template <auto Member>
Value PerSecond(Source s) {
  return Int(std::llround((Counters(s).*Member).value()));
}
template <auto Member>
Value KiloPerSecond(Source s) {
  return Real((Counters(s).*Member).value() / 1024);
}

constexpr MetricRow kStatsRows[] = {
    {"total_connections_received", kCounter, Count<&Stats::connections_received>},
    {"total_commands_processed", kCounter, Count<&Stats::commands_processed>},
    {"instantaneous_ops_per_sec", kGauge, PerSecond<&Stats::ops>},
    {"total_net_input_bytes", kCounter, Count<&Stats::net_input_bytes>},
    {"total_net_output_bytes", kCounter, Count<&Stats::net_output_bytes>},
    {"total_net_repl_input_bytes", kCounter, Count<&Stats::net_repl_input_bytes>},
    {"total_net_repl_output_bytes", kCounter, Count<&Stats::net_repl_output_bytes>},
    {"instantaneous_input_kbps", kGauge, KiloPerSecond<&Stats::input_bytes>},
    {"instantaneous_output_kbps", kGauge, KiloPerSecond<&Stats::output_bytes>},
    {"instantaneous_input_repl_kbps", kGauge, KiloPerSecond<&Stats::repl_input_bytes>},
    {"instantaneous_output_repl_kbps", kGauge, KiloPerSecond<&Stats::repl_output_bytes>},
    {"rejected_connections", kCounter, Count<&Stats::rejected_connections>},
    {"sync_full", kCounter, Count<&Stats::sync_full>},
    {"sync_partial_ok", kCounter, Count<&Stats::sync_partial_ok>},
    {"sync_partial_err", kCounter, Count<&Stats::sync_partial_err>},
    {"expired_keys", kCounter, Count<&Stats::expired_keys>},
    {"expired_subkeys", kCounter, Count<&Stats::expired_fields>},
    {"expired_stale_perc", kGauge, [](Source s) { return Real(Counters(s).expired_stale_percent); }},
    {"expired_time_cap_reached_count", kCounter, Count<&Stats::expired_time_cap_reached>},
    {"expire_cycle_cpu_milliseconds", kCounter, [](Source s) { return Uint(Counters(s).expire_cycle_us / 1000); }},
    {"evicted_keys", kCounter, Count<&Stats::evicted_keys>},
    {"evicted_clients", kCounter, Count<&Stats::evicted_clients>},
    {"total_eviction_exceeded_time", kCounter,
     [](Source s) {
       return Int(s.services.eviction == nullptr ? 0 : s.services.eviction->exceeded_total_ms(MonotonicUs()));
     }},
    {"current_eviction_exceeded_time", kGauge,
     [](Source s) {
       return Int(s.services.eviction == nullptr ? 0 : s.services.eviction->exceeded_now_ms(MonotonicUs()));
     }},
    {"keyspace_hits", kCounter, Count<&Stats::keyspace_hits>},
    {"keyspace_misses", kCounter, Count<&Stats::keyspace_misses>},
    {"pubsub_channels", kGauge, Listened<PubSub::Kind::kChannel>},
    {"pubsub_patterns", kGauge, Listened<PubSub::Kind::kPattern>},
    {"pubsubshard_channels", kGauge, Listened<PubSub::Kind::kShardChannel>},
    {"latest_fork_usec", kGauge, Zero},
    {"total_forks", kCounter, Zero},
    {"migrate_cached_sockets", kGauge, Count<&Stats::migrate_cached_sockets>},
    {"slave_expires_tracked_keys", kGauge, Zero},
    {"active_defrag_hits", kCounter, Zero},
    {"active_defrag_misses", kCounter, Zero},
    {"active_defrag_key_hits", kCounter, Zero},
    {"active_defrag_key_misses", kCounter, Zero},
    {"total_active_defrag_time", kCounter, Zero},
    {"current_active_defrag_time", kGauge, Zero},
    {"tracking_total_keys", kGauge, Zero},
    {"tracking_total_items", kGauge, Zero},
    {"tracking_total_prefixes", kGauge, Zero},
    {"unexpected_error_replies", kCounter, Count<&Stats::unexpected_error_replies>},
    {"total_error_replies", kCounter, Count<&Stats::total_error_replies>},
    {"dump_payload_sanitizations", kCounter, Zero},
    {"total_reads_processed", kCounter, Count<&Stats::total_reads_processed>},
    {"total_writes_processed", kCounter, Count<&Stats::total_writes_processed>},
    {"io_threaded_reads_processed", kCounter, Zero},
    {"io_threaded_writes_processed", kCounter, Zero},
    {"reply_buffer_shrinks", kCounter, Zero},
    {"reply_buffer_expands", kCounter, Zero},
    {"client_query_buffer_limit_disconnections", kCounter, Count<&Stats::client_query_buffer_limit_disconnections>},
    {"client_output_buffer_limit_disconnections", kCounter, Count<&Stats::client_output_buffer_limit_disconnections>},
    {"eventloop_cycles", kCounter, Count<&Stats::eventloop_cycles>},
    {"eventloop_duration_sum", kCounter, Count<&Stats::eventloop_duration_us>},
    {"eventloop_duration_cmd_sum", kCounter, Count<&Stats::eventloop_commands_us>},
    {"acl_access_denied_auth", kCounter, Count<&Stats::acl_access_denied_auth>},
    {"acl_access_denied_cmd", kCounter, Zero},
    {"acl_access_denied_key", kCounter, Zero},
    {"acl_access_denied_channel", kCounter, Zero},
};

bool IsReplica(Source s) { return s.services.replication.is_replica(); }
int64_t SecondsSince(Source s, int64_t unix_ms) { return unix_ms == 0 ? -1 : (s.now.unix_ms - unix_ms) / 1000; }
// A figure only replicas have.
template <Value (*Get)(Source)>
Value AsReplica(Source s) {
  return IsReplica(s) ? Get(s) : Value(kAbsent);
}
template <Value (*Get)(Source)>
Value WhileSyncing(Source s) {
  return IsReplica(s) && s.replication.sync_in_progress ? Get(s) : Value(kAbsent);
}

constexpr MetricRow kReplicationRows[] = {
    {"role", kText, [](Source s) { return Text(IsReplica(s) ? "slave" : "master"); }},
    {"master_host", kText, AsReplica<[](Source s) -> Value { return s.services.replication.primary_host(); }>},
    {"master_port", kGauge, AsReplica<[](Source s) { return Int(s.services.replication.primary_port()); }>},
    {"master_link_status", kText,
     AsReplica<[](Source s) { return Text(s.services.replication.primary_link_up() ? "up" : "down"); }>},
    {"master_last_io_seconds_ago", kGauge, AsReplica<[](Source s) {
       return Int(s.services.replication.primary_link_up()
                      ? SecondsSince(s, s.services.replication.primary_last_io_ms())
                      : -1);
     }>},
    {"master_sync_in_progress", kGauge, AsReplica<[](Source s) { return Flag(s.replication.sync_in_progress); }>},
    {"slave_read_repl_offset", kGauge, AsReplica<[](Source s) { return Int(s.replication.read_offset); }>},
    {"slave_repl_offset", kGauge, AsReplica<[](Source s) { return Int(s.services.replication.offset()); }>},
    {"master_sync_total_bytes", kGauge, WhileSyncing<[](Source s) { return Int(s.replication.sync_total_bytes); }>},
    {"master_sync_read_bytes", kGauge, WhileSyncing<[](Source s) { return Int(s.replication.sync_read_bytes); }>},
    {"master_sync_left_bytes", kGauge,
     WhileSyncing<[](Source s) { return Int(s.replication.sync_total_bytes - s.replication.sync_read_bytes); }>},
    {"master_sync_perc", kGauge, WhileSyncing<[](Source s) {
       return Real(s.replication.sync_total_bytes <= 0
                       ? 0
                       : 100 * Ratio(static_cast<uint64_t>(s.replication.sync_read_bytes),
                                     static_cast<uint64_t>(s.replication.sync_total_bytes)));
     }>},
    {"master_sync_last_io_seconds_ago", kGauge,
     WhileSyncing<[](Source s) { return Int(SecondsSince(s, s.replication.sync_last_io_ms)); }>},
    {"master_link_down_since_seconds", kGauge, AsReplica<[](Source s) {
       return s.services.replication.primary_link_up() ? Value(kAbsent)
                                                       : Int(SecondsSince(s, s.replication.link_down_since_ms));
     }>},
    {"slave_priority", kGauge, AsReplica<[](Source s) { return Int(Config(s).replica_priority); }>},
    {"slave_read_only", kGauge, AsReplica<[](Source s) { return Flag(Config(s).replica_read_only); }>},
    {"replica_announced", kGauge, AsReplica<[](Source s) { return Flag(Config(s).replica_announced); }>},
    {"connected_slaves", kGauge, [](Source s) { return Uint(s.replication.replicas.size()); }},
    {"min_slaves_good_slaves", kGauge,
     [](Source s) -> Value {
       if (Config(s).min_replicas_to_write == 0 || Config(s).min_replicas_max_lag == 0) return kAbsent;
       const auto& replicas = s.replication.replicas;
       return Int(std::count_if(replicas.begin(), replicas.end(), [&](const auto& replica) {
         return replica.state == "online" && replica.lag_s <= Config(s).min_replicas_max_lag;
       }));
     }},
};

constexpr MetricRow kHistoryRows[] = {
    {"master_failover_state", kText, [](Source) { return Text("no-failover"); }},
    {"master_replid", kText, [](Source s) { return Text(s.replication.replication_id); }},
    {"master_replid2", kText, [](Source s) { return Text(s.replication.second_replication_id); }},
    {"master_repl_offset", kGauge, [](Source s) { return Int(s.services.replication.offset()); }},
    {"second_repl_offset", kGauge, [](Source s) { return Int(s.replication.second_offset); }},
    {"repl_backlog_active", kGauge, [](Source s) { return Flag(s.replication.backlog_active); }},
    {"repl_backlog_size", kGauge, [](Source s) { return Uint(s.replication.backlog_size); }},
    {"repl_backlog_first_byte_offset", kGauge, [](Source s) { return Int(s.replication.backlog_first_offset); }},
    {"repl_backlog_histlen", kGauge, [](Source s) { return Uint(s.replication.backlog_length); }},
};

constexpr MetricRow kCpuRows[] = {
    {"used_cpu_sys", kCounter, [](Source) { return Cpu(RUSAGE_SELF, &rusage::ru_stime); }},
    {"used_cpu_user", kCounter, [](Source) { return Cpu(RUSAGE_SELF, &rusage::ru_utime); }},
    {"used_cpu_sys_children", kCounter, [](Source) { return Cpu(RUSAGE_CHILDREN, &rusage::ru_stime); }},
    {"used_cpu_user_children", kCounter, [](Source) { return Cpu(RUSAGE_CHILDREN, &rusage::ru_utime); }},
    {"used_cpu_sys_main_thread", kCounter, [](Source) { return Cpu(RUSAGE_THREAD, &rusage::ru_stime); }},
    {"used_cpu_user_main_thread", kCounter, [](Source) { return Cpu(RUSAGE_THREAD, &rusage::ru_utime); }},
};

constexpr MetricRow kClusterRows[] = {
    {"cluster_enabled", kGauge, [](Source s) { return Flag(s.services.cluster != nullptr); }},
};

using Shown = MetricSection::Shown;
constexpr MetricSection kSections[] = {
    {"server", "Server", Shown::kByDefault, kServerRows, ListenerLines, {}},
    {"clients", "Clients", Shown::kByDefault, kClientRows, nullptr, {}},
    {"memory", "Memory", Shown::kByDefault, kMemoryRows, nullptr, {}},
    {"persistence", "Persistence", Shown::kByDefault, kPersistenceRows, nullptr, {}},
    {"stats", "Stats", Shown::kByDefault, kStatsRows, nullptr, {}},
    {"replication", "Replication", Shown::kByDefault, kReplicationRows, ReplicaLines, kHistoryRows},
    {"cpu", "CPU", Shown::kByDefault, kCpuRows, nullptr, {}},
    {"modules", "Modules", Shown::kByDefault, {}, nullptr, {}},
    {"commandstats", "Commandstats", Shown::kOnRequest, {}, CommandLines, {}},
    {"errorstats", "Errorstats", Shown::kByDefault, {}, ErrorLines, {}},
    {"latencystats", "Latencystats", Shown::kOnRequest, {}, LatencyLines, {}},
    {"cluster", "Cluster", Shown::kByDefault, kClusterRows, nullptr, {}},
    {"keyspace", "Keyspace", Shown::kByDefault, {}, KeyspaceLines, {}},
};

}  // namespace

std::span<const MetricSection> MetricSections() { return kSections; }

MetricSources::MetricSources(const Services& services, Now now)
    : services(services),
      now(now),
      memory(ReadMemoryUsage()),
      keyspace_memory(services.keyspace.memory()),
      used_memory(services.memory != nullptr ? services.memory->Measure()
                                             : memory.allocated + keyspace_memory.entry_bytes),
      persistence(services.durability.figures()),
      replication(services.replication.figures()) {
  for (const auto& [id, session] : services.clients.all()) {
    (session->kind == SessionKind::kReplica ? replica_client_bytes : normal_client_bytes) +=
        ClientLimits::MemoryOf(*session);
    if (session->kind != SessionKind::kNormal) continue;
    largest_output = std::max(largest_output, session->out.size());
    if (session->link != nullptr) largest_input = std::max(largest_input, session->link->figures().query_buffer);
  }
}

std::string HumanBytes(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{}B", bytes);
  double value = static_cast<double>(bytes);
  for (char unit : {'K', 'M', 'G', 'T', 'P'}) {
    value /= 1024;
    if (value < 1024 || unit == 'P') return fmt::format("{:.2f}{}", value, unit);
  }
  return {};
}

}  // namespace tessera
