// Figures of the process: server, clients, memory, processor.
#include "server/metrics_rows.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "server/blocked_keys.h"
#include "server/blocking.h"
#include "server/client_limits.h"
#include "server/clients.h"
#include "server/cluster/cluster_shell.h"
#include "server/container_memory.h"
#include "server/eviction.h"
#include "server/info.h"
#include "server/lazy_free.h"
#include "server/memory_meter.h"
#include "server/version.h"

namespace tessera::metrics {
namespace {

uint64_t Peak(Source s) { return std::max<uint64_t>(Counters(s).peak_memory, s.used_memory); }
uint64_t Dataset(Source s) { return s.dataset_bytes(); }
uint64_t Startup(Source s) { return s.services.memory == nullptr ? 0 : s.services.memory->startup_bytes(); }

const ContainerMemory& Container(Source s) {
  static const ContainerMemory kNone;
  return s.services.container_memory == nullptr ? kNone : *s.services.container_memory;
}

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

constexpr MetricRow kServer[] = {
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
    {"process_id", kGauge, [](Source) { return Int(getpid()); }, {"process_id", "Id of the server process."}},
    {"process_supervised", kText, [](Source) { return Text("no"); }},
    {"run_id", kText, [](Source) { return Text(RunId()); }},
    {"tcp_port", kGauge, [](Source s) { return Int(Config(s).port); }},
    {"server_time_usec", kGauge, [](Source) { return Int(UnixUs()); }},
    {"uptime_in_seconds",
     kGauge,
     [](Source s) { return Int((s.now.mono_us - Counters(s).started_us) / 1000000); },
     {"uptime_in_seconds", "Seconds since the start."}},
    {"uptime_in_days", kGauge,
     [](Source s) { return Int((s.now.mono_us - Counters(s).started_us) / (int64_t{86400} * 1000000)); }},
    {"hz", kGauge, [](Source s) { return Int(Config(s).hz); }, {"hz", "Runs of background work a second."}},
    {"configured_hz",
     kGauge,
     [](Source s) { return Int(Config(s).hz); },
     {"configured_hz", "Runs of background work a second, as configured."}},
    {"lru_clock", kGauge, [](Source s) { return Int(s.now.unix_s() & 0xffffff); }},
    {"executable", kText, [](Source) -> Value { return ExecutablePath(); }},
    {"config_file", kText, [](Source s) { return Text(s.services.options.config_file()); }},
    {"io_threads_active", kGauge, Zero, {"io_threads_active", "1 while helper threads read and write for clients."}},
};

uint64_t CountClients(Source s, SessionKind kind) {
  const auto& all = s.services.clients.all();
  return static_cast<uint64_t>(
      std::count_if(all.begin(), all.end(), [kind](const auto& entry) { return entry.second->kind == kind; }));
}

constexpr MetricRow kClient[] = {
    {"connected_clients",
     kGauge,
     [](Source s) { return Uint(s.services.clients.size() - CountClients(s, SessionKind::kReplica)); },
     {"connected_clients", "Clients connected, without replicas."}},
    {"cluster_connections",
     kGauge,
     [](Source s) { return Uint(s.services.cluster == nullptr ? 0 : s.services.cluster->bus_links()); },
     {"cluster_connections", "Sockets of the cluster bus."}},
    {"maxclients",
     kGauge,
     [](Source s) { return Int(Config(s).maxclients); },
     {"max_clients", "Clients that may be connected at once."}},
    {"client_recent_max_input_buffer",
     kGauge,
     [](Source s) { return Uint(s.largest_input); },
     {"client_recent_max_input_buffer_bytes", "Largest input buffer of a client now."}},
    {"client_recent_max_output_buffer",
     kGauge,
     [](Source s) { return Uint(s.largest_output); },
     {"client_recent_max_output_buffer_bytes", "Largest output buffer of a client now."}},
    {"blocked_clients",
     kGauge,
     [](Source s) { return Uint(s.services.blocking.size()); },
     {"blocked_clients", "Clients waiting in a blocking command."}},
    {"tracking_clients", kGauge, Zero, {"tracking_clients", "Clients with client-side caching on."}},
    {"clients_in_timeout_table",
     kGauge,
     [](Source s) { return Uint(s.services.blocking.with_deadline()); },
     {"clients_in_timeout_table", "Waiting clients with a deadline."}},
    {"total_blocking_keys",
     kGauge,
     [](Source s) { return Uint(s.services.blocked_keys.key_count()); },
     {"total_blocking_keys", "Keys that clients wait for."}},
    {"total_blocking_keys_on_nokey",
     kGauge,
     [](Source s) { return Uint(s.services.blocked_keys.keys_awaiting_loss()); },
     {"total_blocking_keys_on_nokey", "Keys whose disappearance clients wait for."}},
};

constexpr MetricRow kMemory[] = {
    {"used_memory",
     kGauge,
     [](Source s) { return Uint(s.used_memory); },
     {"memory_used_bytes", "Bytes in use, as maxmemory counts them."}},
    {"used_memory_human", kText, [](Source s) { return Human(s.used_memory); }},
    {"used_memory_rss",
     kGauge,
     [](Source s) { return Uint(s.memory.rss); },
     {"memory_used_rss_bytes", "Resident set of the process."}},
    {"used_memory_rss_human", kText, [](Source s) { return Human(s.memory.rss); }},
    {"used_memory_peak",
     kGauge,
     [](Source s) { return Uint(Peak(s)); },
     {"memory_used_peak_bytes", "Most bytes that were in use at once."}},
    {"used_memory_peak_human", kText, [](Source s) { return Human(Peak(s)); }},
    {"used_memory_peak_perc", kText,
     [](Source s) -> Value { return fmt::format("{:.2f}%", 100 * Ratio(s.used_memory, Peak(s))); }},
    {"used_memory_overhead",
     kGauge,
     [](Source s) { return Uint(s.used_memory - Dataset(s)); },
     {"memory_used_overhead_bytes", "Bytes in use that are not keys and values."}},
    {"used_memory_startup",
     kGauge,
     [](Source s) { return Uint(Startup(s)); },
     {"memory_used_startup_bytes", "Bytes in use after the start, without data."}},
    {"used_memory_dataset",
     kGauge,
     [](Source s) { return Uint(Dataset(s)); },
     {"memory_used_dataset_bytes", "Bytes in keys and values."}},
    {"used_memory_dataset_perc", kText,
     [](Source s) -> Value {
       return fmt::format("{:.2f}%", 100 * std::min(1.0, Ratio(Dataset(s), Difference(s.used_memory, Startup(s)))));
     }},
    {"allocator_allocated",
     kGauge,
     [](Source s) { return Uint(s.memory.allocated); },
     {"allocator_allocated_bytes", "Bytes the allocator has handed out."}},
    {"allocator_active",
     kGauge,
     [](Source s) { return Uint(s.memory.active); },
     {"allocator_active_bytes", "Bytes in pages of the allocator that hold something."}},
    {"allocator_resident",
     kGauge,
     [](Source s) { return Uint(s.memory.resident); },
     {"allocator_resident_bytes", "Bytes the allocator keeps resident."}},
    {"total_system_memory",
     kGauge,
     [](Source) { return Uint(SystemMemory()); },
     {"total_system_memory_bytes", "Memory of the machine."}},
    {"total_system_memory_human", kText, [](Source) { return Human(SystemMemory()); }},
    {"container_memory_limit",
     kGauge,
     [](Source s) { return Uint(Container(s).limit_bytes); },
     {"container_memory_limit_bytes", "Memory the container may use; 0: no limit."}},
    {"container_memory_limit_human", kText, [](Source s) { return Human(Container(s).limit_bytes); }},
    {"container_memory_limit_source", kText,
     [](Source s) { return Text(Container(s).source.empty() ? "none" : Container(s).source); }},
    {"used_memory_lua", kGauge, Zero, {"memory_used_lua_bytes", "Bytes in the script engine."}},
    {"used_memory_vm_eval", kGauge, Zero, {"memory_used_vm_eval_bytes", "Bytes in the script engine of EVAL."}},
    {"used_memory_lua_human", kText, [](Source) { return Human(0); }},
    {"used_memory_scripts_eval", kGauge, Zero, {"memory_used_scripts_eval_bytes", "Bytes in cached scripts."}},
    {"number_of_cached_scripts", kGauge, Zero, {"number_of_cached_scripts", "Scripts in the cache."}},
    {"number_of_functions", kGauge, Zero, {"number_of_functions", "Functions loaded."}},
    {"number_of_libraries", kGauge, Zero, {"number_of_libraries", "Libraries of functions loaded."}},
    {"used_memory_vm_functions",
     kGauge,
     Zero,
     {"memory_used_vm_functions_bytes", "Bytes in the script engine of functions."}},
    {"used_memory_vm_total", kGauge, Zero, {"memory_used_vm_total", "Bytes in all script engines."}},
    {"used_memory_vm_total_human", kText, [](Source) { return Human(0); }},
    {"used_memory_functions", kGauge, Zero, {"memory_used_functions_bytes", "Bytes in libraries of functions."}},
    {"used_memory_scripts",
     kGauge,
     Zero,
     {"memory_used_scripts_bytes", "Bytes in scripts and libraries of functions."}},
    {"used_memory_scripts_human", kText, [](Source) { return Human(0); }},
    {"maxmemory",
     kGauge,
     [](Source s) { return Uint(Config(s).maxmemory); },
     {"memory_max_bytes", "The limit maxmemory in effect; 0: none."}},
    {"maxmemory_human", kText, [](Source s) { return Human(Config(s).maxmemory); }},
    {"maxmemory_policy", kText, [](Source s) { return Text(PolicyName(Config(s).maxmemory_policy)); }},
    {"allocator_frag_ratio",
     kGauge,
     [](Source s) { return Real(Ratio(s.memory.active, s.memory.allocated)); },
     {"allocator_frag_ratio", "Active over allocated bytes."}},
    {"allocator_frag_bytes",
     kGauge,
     [](Source s) { return Uint(Difference(s.memory.active, s.memory.allocated)); },
     {"allocator_frag_bytes", "Active minus allocated bytes."}},
    {"allocator_rss_ratio",
     kGauge,
     [](Source s) { return Real(Ratio(s.memory.resident, s.memory.active)); },
     {"allocator_rss_ratio", "Resident over active bytes of the allocator."}},
    {"allocator_rss_bytes",
     kGauge,
     [](Source s) { return Uint(Difference(s.memory.resident, s.memory.active)); },
     {"allocator_rss_bytes", "Resident minus active bytes of the allocator."}},
    {"rss_overhead_ratio", kGauge, [](Source s) { return Real(Ratio(s.memory.rss, s.memory.resident)); }},
    {"rss_overhead_bytes", kGauge,
     [](Source s) { return Int(static_cast<int64_t>(s.memory.rss) - static_cast<int64_t>(s.memory.resident)); }},
    {"mem_fragmentation_ratio",
     kGauge,
     [](Source s) { return Real(Ratio(s.memory.rss, s.used_memory)); },
     {"mem_fragmentation_ratio", "Resident over used bytes."}},
    {"mem_fragmentation_bytes",
     kGauge,
     [](Source s) { return Int(static_cast<int64_t>(s.memory.rss) - static_cast<int64_t>(s.used_memory)); },
     {"mem_fragmentation_bytes", "Resident minus used bytes."}},
    {"mem_not_counted_for_evict",
     kGauge,
     [](Source s) { return Uint(s.services.eviction == nullptr ? 0 : s.services.eviction->NotCounted()); },
     {"mem_not_counted_for_eviction_bytes", "Used bytes that maxmemory does not count."}},
    {"mem_replication_backlog", kGauge,
     [](Source s) { return Uint(s.replication.backlog_active ? s.replication.backlog_size : 0); }},
    {"mem_total_replication_buffers",
     kGauge,
     [](Source s) {
       return Uint(s.replica_client_bytes + (s.replication.backlog_active ? s.replication.backlog_size : 0));
     },
     {"mem_total_replication_buffers_bytes", "Bytes in the backlog and in buffers of replicas."}},
    {"mem_clients_slaves",
     kGauge,
     [](Source s) { return Uint(s.replica_client_bytes); },
     {"mem_clients_slaves", "Bytes in buffers of replicas."}},
    {"mem_clients_normal",
     kGauge,
     [](Source s) { return Uint(s.normal_client_bytes); },
     {"mem_clients_normal", "Bytes in buffers of clients."}},
    {"mem_cluster_links",
     kGauge,
     [](Source s) { return Uint(s.services.cluster == nullptr ? 0 : s.services.cluster->bus_buffer_bytes()); },
     {"mem_cluster_links_bytes", "Bytes in buffers of the cluster bus."}},
    {"mem_aof_buffer", kGauge, [](Source s) { return Uint(s.persistence.aof_buffer_length); }},
    {"mem_allocator", kText, [](Source) { return Text(AllocatorName()); }},
    {"active_defrag_running", kGauge, Zero, {"active_defrag_running", "1 while memory is being defragmented."}},
    {"lazyfree_pending_objects",
     kGauge,
     [](Source s) {
       const LazyFree* lazy_free = s.services.lazy_free;
       return Uint(s.services.keyspace.doomed_keys() + (lazy_free == nullptr ? 0 : lazy_free->pending()));
     },
     {"lazyfree_pending_objects", "Values that wait to be freed in the background."}},
    {"lazyfreed_objects",
     kCounter,
     [](Source s) {
       const LazyFree* lazy_free = s.services.lazy_free;
       return Uint(s.services.keyspace.freed_keys() - Counters(s).freed_keys_at_reset +
                   (lazy_free == nullptr ? 0 : lazy_free->freed()));
     },
     {"lazyfreed_objects", "Values freed in the background."}},
};

constexpr MetricRow kCpu[] = {
    {"used_cpu_sys",
     kCounter,
     [](Source) { return Cpu(RUSAGE_SELF, &rusage::ru_stime); },
     {"cpu_sys_seconds_total", "Seconds of CPU in the kernel."}},
    {"used_cpu_user",
     kCounter,
     [](Source) { return Cpu(RUSAGE_SELF, &rusage::ru_utime); },
     {"cpu_user_seconds_total", "Seconds of CPU in the program."}},
    {"used_cpu_sys_children",
     kCounter,
     [](Source) { return Cpu(RUSAGE_CHILDREN, &rusage::ru_stime); },
     {"cpu_sys_children_seconds_total", "Seconds of CPU in the kernel, child processes."}},
    {"used_cpu_user_children",
     kCounter,
     [](Source) { return Cpu(RUSAGE_CHILDREN, &rusage::ru_utime); },
     {"cpu_user_children_seconds_total", "Seconds of CPU in child processes."}},
    {"used_cpu_sys_main_thread",
     kCounter,
     [](Source) { return Cpu(RUSAGE_THREAD, &rusage::ru_stime); },
     {"cpu_sys_main_thread_seconds_total", "Seconds of CPU in the kernel, event loop."}},
    {"used_cpu_user_main_thread",
     kCounter,
     [](Source) { return Cpu(RUSAGE_THREAD, &rusage::ru_utime); },
     {"cpu_user_main_thread_seconds_total", "Seconds of CPU in the event loop."}},
};

}  // namespace

constinit const std::span<const MetricRow> kServerRows = kServer;
constinit const std::span<const MetricRow> kClientRows = kClient;
constinit const std::span<const MetricRow> kMemoryRows = kMemory;
constinit const std::span<const MetricRow> kCpuRows = kCpu;

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

}  // namespace tessera::metrics
