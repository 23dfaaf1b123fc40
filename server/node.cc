#include "server/node.h"

#include <fmt/ranges.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstring>
#include <optional>
#include <random>

#include "cluster/slot.h"
#include "persistence/posix_file_system.h"
#include "server/blocked_keys.h"
#include "server/blocking.h"
#include "server/client_limits.h"
#include "server/clients.h"
#include "server/cluster/cluster_shell.h"
#include "server/commands/table.h"
#include "server/config/options.h"
#include "server/config/special_options.h"
#include "server/container_memory.h"
#include "server/dispatcher.h"
#include "server/durability/durability.h"
#include "server/eviction.h"
#include "server/latency_monitor.h"
#include "server/lazy_free.h"
#include "server/lifecycle.h"
#include "server/log.h"
#include "server/memory_meter.h"
#include "server/memory_usage.h"
#include "server/metrics.h"
#include "server/migrator.h"
#include "server/monitoring.h"
#include "server/monitors.h"
#include "server/net/disk_thread.h"
#include "server/net/event_loop.h"
#include "server/net/frontend.h"
#include "server/pubsub.h"
#include "server/replication/replicas.h"
#include "server/replication/replication.h"
#include "server/replication/stream.h"
#include "server/services.h"
#include "server/slowlog.h"
#include "server/stats.h"
#include "server/store/keyspace.h"
#include "server/watches.h"

namespace tessera {
namespace {

constexpr int kCronMs = 100;
constexpr int kMemoryLimitCheckMs = 5000;

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

store::KeyspaceOptions KeyspaceOptionsOf(const config::Config& config) {
  return {.databases = static_cast<int>(config.databases),
          .cluster = config.cluster_enabled,
          .hash_seed = RandomSeed(),
          .slot_of = [](std::string_view key) { return cluster::SlotOf(key); }};
}

CommandTable TableWithRenames(const config::Config& config) {
  CommandTable table;
  for (const auto& [from, to] : config.rename_commands) table.Rename(from, to);
  return table;
}

// A node of a cluster hands over unless the option says something else.
Lifecycle::ShutdownOptions ShutdownOptionsOf(uint8_t flags, bool in_cluster) {
  using Save = Lifecycle::ShutdownOptions::Save;
  if (flags == 0 && in_cluster) flags = config::kShutdownFailover;
  return {.save = (flags & config::kShutdownSave) != 0     ? Save::kSave
                  : (flags & config::kShutdownNoSave) != 0 ? Save::kNoSave
                                                           : Save::kAsConfigured,
          .now = (flags & config::kShutdownNow) != 0,
          .force = (flags & config::kShutdownForce) != 0,
          .safe = (flags & config::kShutdownSafe) != 0,
          .failover = in_cluster && (flags & config::kShutdownFailover) != 0};
}

// Raises the process's limit of open files for this many clients; returns how many clients it allows now.
int64_t ReserveFiles(int64_t clients) {
  constexpr int64_t kReserved = 64 + cluster::kStrangersMax;  // files, listeners, links of nobody we know
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const auto wanted = static_cast<rlim_t>(clients + kReserved);
  if (limit.rlim_cur < wanted) {
    rlimit raised = limit;
    raised.rlim_cur = std::min(wanted, limit.rlim_max);
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  if (limit.rlim_cur >= wanted) return clients;
  return std::max<int64_t>(static_cast<int64_t>(limit.rlim_cur) - kReserved, 0);
}

}  // namespace

struct Node::Parts {
  explicit Parts(config::Options& options)
      : config(options.config()),
        keyspace(KeyspaceOptionsOf(config)),
        commands(TableWithRenames(config)),
        watches(keyspace),
        pubsub(config),
        disk(loop),
        services{config,   options, keyspace, commands,    dispatcher, clients,   blocking,
                 blocked_keys, watches, monitors, pubsub,  stats,   slowlog,  replication, durability, lifecycle, nullptr},
        blocked_keys(services),
        dispatcher(services, stream),
        lifecycle(loop, services),
        durability(loop, disk, files, services, stream),
        replication(loop, disk, services, stream),
        migrator(loop, services),
        memory(keyspace),
        eviction(services, memory, &lazy_free),
        client_limits(services),
        latency(config),
        monitoring(loop, services),
        container_memory(ReadContainerMemory()),
        frontend(loop, services) {
    services.migrator = &migrator;
    services.memory = &memory;
    services.eviction = &eviction;
    services.lazy_free = &lazy_free;
    services.client_limits = &client_limits;
    services.latency = &latency;
    services.container_memory = &container_memory;
    if (config.cluster_enabled) {
      cluster = std::make_unique<ClusterShell>(loop, files, services);
      services.cluster = cluster.get();
    }
  }

  const config::Config& config;
  EventLoop loop;
  persistence::PosixFileSystem files;
  LazyFree lazy_free;  // before the keyspace that uses it
  store::Keyspace keyspace;
  CommandTable commands;
  Clients clients;
  Blocking blocking;
  Watches watches;
  Monitors monitors;
  PubSub pubsub;
  Stats stats;
  SlowLog slowlog;
  ReplicationStream stream;
  DiskThread disk;
  // The parts refer to each other through `services`: it comes before them, so that they may keep references it holds;
  // the parts behind those are used only once all are built.
  Services services;
  BlockedKeys blocked_keys;
  Dispatcher dispatcher;
  Lifecycle lifecycle;
  Durability durability;
  Replication replication;
  std::unique_ptr<ClusterShell> cluster;
  Migrator migrator;
  MemoryMeter memory;
  Eviction eviction;
  ClientLimits client_limits;
  LatencyMonitor latency;
  Monitoring monitoring;
  ContainerMemory container_memory;
  Frontend frontend;
  std::unique_ptr<boost::asio::signal_set> signals;

  void WireTurn();
  store::ExpiryMode CurrentExpiryMode() const;
  void WireConfig(config::Options& options);
  void WatchSignals();
  void Cron();
  void SayMemoryLimit() const;
  void CheckMemoryLimit();
};

Node::Node(config::Options& options) : parts_(std::make_unique<Parts>(options)) {
  Parts& p = *parts_;
  p.keyspace.SetReclaimer(&p.lazy_free);
  p.keyspace.AddObserver(&p.dispatcher);
  p.keyspace.AddObserver(&p.watches);
  p.WireConfig(options);
  p.WireTurn();
}

Node::~Node() = default;

// Who may delete what has expired: nobody while loading, only the primary when we follow one, and nobody while writes
// are paused, because an expiry is a write too.
store::ExpiryMode Node::Parts::CurrentExpiryMode() const {
  if (durability.loading()) return store::ExpiryMode::kIgnore;
  if (replication.is_replica() || clients.writes_paused(loop.now().mono_ms())) return store::ExpiryMode::kHideExpired;
  return store::ExpiryMode::kDeleteExpired;
}

void Node::Parts::WireTurn() {
  loop.SleepNoLongerThan([this] { return blocking.NextDeadlineUs(); });
  loop.AtEndOfTurn([this] {
    if (clients.any_pause()) clients.ReleasePaused(loop.now().mono_ms());
    // Expired keys, ended pauses and the like make keys ready outside of commands.
    if (blocked_keys.any_ready() || blocked_keys.any_held()) blocked_keys.Serve(loop.now().unix_ms);
    if (blocking.NextDeadlineUs() != 0) blocking.WakeExpired(MonotonicUs());
    durability.EndOfTurn();
    if (cluster != nullptr) cluster->EndOfTurn();
    frontend.EndOfTurn();
    dispatcher.set_last_us(MonotonicUs());
  });
  durability.OnSynced([this] {
    frontend.OnLogSynced();
    replication.replicas().CheckWaiters();
  });
  loop.AddBackgroundWork([this] {
    keyspace.SetNow(loop.now().unix_ms);
    keyspace.SetExpiryMode(CurrentExpiryMode());
    const bool more = keyspace.FreeStep();
    if (!more && lazy_free.pending() == 0) blocking.WakeAll(BlockKind::kFreeing);
    const uint64_t expired = stats.expired_keys;
    const int64_t start_us = MonotonicUs();
    const bool more_due = keyspace.ExpireStep().more_due;
    if (stats.expired_keys != expired) {
      const int64_t duration_us = MonotonicUs() - start_us;
      stats.expire_cycle_us += static_cast<uint64_t>(duration_us);
      latency.Offer("expire-cycle", duration_us);
    }
    const bool more_to_evict = eviction.Step();
    return more || more_due || more_to_evict;
  });
  loop.Every(kCronMs, [this] { Cron(); });
  loop.Every(kMemoryLimitCheckMs, [this] { CheckMemoryLimit(); });
}

void Node::Parts::WireConfig(config::Options& options) {
  using config::Config;
  auto access_policy = [this](const Config& now) {
    using Policy = config::MaxmemoryPolicy;
    const bool lfu = now.maxmemory_policy == Policy::kVolatileLfu || now.maxmemory_policy == Policy::kAllKeysLfu;
    keyspace.SetAccessPolicy(lfu ? store::AccessPolicy::kLfu : store::AccessPolicy::kLru,
                             static_cast<int>(now.lfu_log_factor), static_cast<int>(now.lfu_decay_time));
  };
  access_policy(config);
  options.Subscribe({"maxmemory-policy", "lfu-log-factor", "lfu-decay-time"}, [=](const Config& now, const Config&) {
    access_policy(now);
    return std::string();
  });
  options.Subscribe({"maxmemory", "maxmemory-policy", "maxmemory-samples", "maxmemory-eviction-tenacity",
                     "replica-ignore-maxmemory"},
                    [this](const Config& now, const Config& before) {
                      if (now.maxmemory != 0 && now.maxmemory != before.maxmemory)
                        if (const size_t used = memory.Measure(); used > now.maxmemory)
                          log::Warning("The new maxmemory ({}) is below what is in use now ({}): keys will be evicted or "
                                       "writes refused, as maxmemory-policy says",
                                       now.maxmemory, used);
                      eviction.OptionsChanged();
                      client_limits.OptionsChanged();
                      return std::string();
                    });
  options.Subscribe({"maxmemory-clients"}, [this](const Config&, const Config&) {
    client_limits.OptionsChanged();
    return std::string();
  });
  options.Subscribe({"port", "bind", "unixsocket", "unixsocketperm", "tcp-backlog"},
                    [this](const Config& now, const Config& before) {
    const std::string error = frontend.Listen();
    if (error.empty()) return std::string();
    log::Warning("{}", error);
    return std::string(now.port != before.port ? "Unable to listen on this port. Check server logs."
                                               : "Failed to bind to specified addresses.");
  });
  options.Subscribe({"metrics-port", "metrics-bind", "bind"}, [this](const Config& now, const Config& before) {
    if (now.metrics_port == before.metrics_port && now.metrics_port == 0) return std::string();
    const std::string error = monitoring.Listen();
    if (!error.empty()) log::Warning("Monitoring: {}", error);
    return error.empty() ? std::string() : std::string("Unable to listen for monitoring. Check server logs.");
  });
  options.Subscribe({"loglevel"}, [](const Config& now, const Config&) {
    log::SetLevel(static_cast<log::Level>(now.loglevel));
    return std::string();
  });
  options.Subscribe({"log-format"}, [](const Config& now, const Config&) {
    log::SetFormat(now.log_format);
    return std::string();
  });
  options.Subscribe({"maxclients"}, [](const Config& now, const Config&) {
    const int64_t possible = ReserveFiles(now.maxclients);
    if (possible >= now.maxclients) return std::string();
    return fmt::format("The operating system is not able to handle the specified number of clients, try with {}",
                       possible);
  });
  options.Subscribe({"slowlog-max-len"}, [this](const Config& now, const Config&) {
    slowlog.Trim(static_cast<size_t>(now.slowlog_max_len));
    return std::string();
  });
  options.Subscribe({"dir"}, [](const Config& now, const Config&) {
    return chdir(now.dir.c_str()) == 0 ? std::string() : fmt::format("{}: {}", now.dir, std::strerror(errno));
  });
  options.Subscribe({"appendonly"}, [this](const Config& now, const Config& before) {
    return now.appendonly == before.appendonly ? std::string() : durability.SetAppendOnly(now.appendonly);
  });
  options.Subscribe({"appendfsync"}, [this](const Config&, const Config&) {
    durability.SyncPolicyChanged();
    return std::string();
  });
  options.Subscribe({"repl-backlog-size"}, [this](const Config& now, const Config&) {
    replication.ResizeBacklog(static_cast<size_t>(now.repl_backlog_size));
    return std::string();
  });
  options.Subscribe({"cluster-node-timeout", "cluster-replica-validity-factor", "cluster-migration-barrier",
                     "cluster-allow-replica-migration", "cluster-require-full-coverage", "cluster-replica-no-failover",
                     "cluster-allow-reads-when-down", "cluster-allow-pubsubshard-when-down", "cluster-announce-ip",
                     "cluster-announce-hostname", "cluster-announce-human-nodename", "cluster-announce-port",
                     "cluster-announce-tls-port", "cluster-announce-bus-port", "cluster-announce-client-ipv4",
                     "cluster-announce-client-ipv6", "cluster-announce-client-port", "cluster-announce-client-tls-port",
                     "cluster-preferred-endpoint-type",
                     "cluster-link-sendbuf-limit", "cluster-seeds", "requirepass", "port"},
                    [this](const Config&, const Config&) {
                      if (cluster != nullptr) cluster->OptionsChanged();
                      return std::string();
                    });
}

void Node::Parts::Cron() {
  const Now& now = loop.now();
  stats.ops.Sample(now.mono_us, stats.commands_processed);
  stats.input_bytes.Sample(now.mono_us, stats.net_input_bytes);
  stats.output_bytes.Sample(now.mono_us, stats.net_output_bytes);
  stats.repl_input_bytes.Sample(now.mono_us, stats.net_repl_input_bytes);
  stats.repl_output_bytes.Sample(now.mono_us, stats.net_repl_output_bytes);
  stats.peak_memory = std::max<size_t>(stats.peak_memory, memory.Measure());
  eviction.Check();
  keyspace.ResizeStep();
  frontend.Cron();
  durability.Cron();
  replication.Cron();
  lifecycle.Cron();
}

void Node::Parts::SayMemoryLimit() const {
  const std::string maxmemory =
      config.maxmemory == 0           ? std::string("maxmemory is not set")
      : config.maxmemory_percent == 0 ? fmt::format("maxmemory is {}", HumanBytes(config.maxmemory))
                                      : fmt::format("maxmemory {} of it is {}",
                                                    config.maxmemory_percent == config::kMaxmemoryAuto
                                                        ? fmt::format("auto ({}%)", config::kMaxmemoryAutoPercent)
                                                        : fmt::format("{}%", config.maxmemory_percent),
                                                    HumanBytes(config.maxmemory));
  if (container_memory.limit_bytes == 0) {
    log::Notice("Memory: no container limit, the machine has {}; {}", HumanBytes(SystemMemory()), maxmemory);
    return;
  }
  log::Notice("Memory: the container may use {} (cgroup v{}, {}); {}", HumanBytes(container_memory.limit_bytes),
              container_memory.version, container_memory.source, maxmemory);
  if (config.maxmemory == 0)
    log::Warning("Without maxmemory the kernel ends the server when it outgrows its container; consider 'maxmemory auto' "
                 "({}% of the limit) and a maxmemory-policy",
                 config::kMaxmemoryAutoPercent);
  else if (config.maxmemory > container_memory.limit_bytes / 100 * 90)
    log::Warning("maxmemory leaves less than 10% of the container's memory for buffers, fragmentation and snapshots: the "
                 "kernel may end the server");
}

// A container's limit may be changed while it runs.
void Node::Parts::CheckMemoryLimit() {
  ContainerMemory now = ReadContainerMemory();
  if (now.limit_bytes == container_memory.limit_bytes) return;
  container_memory = std::move(now);
  auto& mutable_config = services.options.mutable_config();
  mutable_config.memory_limit = UsableMemory(container_memory, SystemMemory());
  config::ResolveMaxmemory(mutable_config);
  log::Notice("The memory limit of the container has changed");
  SayMemoryLimit();
  eviction.OptionsChanged();
  client_limits.OptionsChanged();
}

void Node::Parts::WatchSignals() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);
  signals = std::make_unique<boost::asio::signal_set>(loop.io(), SIGTERM, SIGINT);
  struct Waiter {
    static void Wait(Parts& parts) {
      parts.signals->async_wait([&parts](const boost::system::error_code& error, int signal) {
        if (error) return;
        // A second signal while the first is still being obeyed means it.
        const bool again = parts.lifecycle.shutting_down();
        log::Warning("Received {}, {}", signal == SIGTERM ? "SIGTERM scheduling shutdown..." : "SIGINT scheduling shutdown...",
                     again ? "for the second time: not waiting any longer" : "finishing what is under way");
        if (again && signal == SIGINT) std::_Exit(1);
        if (again) parts.lifecycle.Abort();
        auto options = ShutdownOptionsOf(signal == SIGTERM ? parts.config.shutdown_on_sigterm
                                                           : parts.config.shutdown_on_sigint,
                                         parts.cluster != nullptr);
        options.now |= again;
        options.failover &= !again;
        parts.lifecycle.RequestShutdown(options, nullptr);
        Wait(parts);
      });
    }
  };
  Waiter::Wait(*this);
}

int Node::Run(const std::function<void()>& when_listening) {
  Parts& p = *parts_;
  p.stats.started_us = MonotonicUs();
  p.stats.started_unix_ms = ReadClock().unix_ms;
  p.WatchSignals();
  if (const int64_t possible = ReserveFiles(p.config.maxclients); possible < p.config.maxclients) {
    if (possible == 0) {
      log::Warning("The system allows too few open files for a server ('ulimit -n'). Exiting.");
      return 1;
    }
    log::Warning("maxclients is {}, but the system allows open files for {} only ('ulimit -n'): this is the limit now.",
                 p.config.maxclients, possible);
    p.services.options.mutable_config().maxclients = possible;
  }
  if (std::string error = p.frontend.Listen(); !error.empty()) {
    log::Warning("Failed listening on port {}: {}. Exiting.", p.config.port, error);
    return 1;
  }
  if (p.frontend.listening().empty()) {
    log::Warning("Configured to not listen anywhere, exiting.");
    return 1;
  }
  if (std::string error = p.monitoring.Listen(); !error.empty()) {
    log::Warning("Failed listening for monitoring: {}. Exiting.", error);
    return 1;
  }
  p.SayMemoryLimit();
  if (p.cluster != nullptr) {
    if (std::string error = p.cluster->Start(); !error.empty()) {
      log::Warning("{}. Exiting.", error);
      return 1;
    }
  }
  p.memory.MarkStartup();
  when_listening();
  const std::string error = p.durability.LoadAtStart();
  if (p.loop.stopped()) return p.lifecycle.exit_code();
  if (!error.empty()) {
    log::Warning("{}. Exiting.", error);
    return 1;
  }
  if (std::string error = p.durability.StartAppendOnly(); !error.empty()) {
    log::Warning("{}. Exiting.", error);
    return 1;
  }
  if (p.cluster != nullptr) p.cluster->DatasetLoaded();
  if (!p.config.replicaof_host.empty() && p.cluster == nullptr)
    p.replication.Follow(p.config.replicaof_host, static_cast<uint16_t>(p.config.replicaof_port));
  log::Notice("Ready to accept connections on {}", fmt::join(p.frontend.listening(), ", "));
  p.loop.Run();
  p.frontend.StopListening();
  p.frontend.CloseAll();
  return p.lifecycle.exit_code();
}

}  // namespace tessera
