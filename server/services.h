// The parts a node is made of, by reference: main (through Node) builds them and hands each what it needs. Only commands
// that administer the server reach for them.
#pragma once

namespace tessera {

namespace config {
class Options;
struct Config;
}  // namespace config
namespace store {
class Keyspace;
}

class BlockedKeys;
class Blocking;
class ClientLimits;
class Clients;
class ClusterShell;
class CommandTable;
class Dispatcher;
class Durability;
class Eviction;
class LatencyMonitor;
class LazyFree;
class Lifecycle;
class MemoryMeter;
class Migrator;
class Monitors;
class PubSub;
class Replication;
class SlowLog;
class Watches;
struct ContainerMemory;
struct Stats;

struct Services {
  const config::Config& config;      // values in effect, plain reads
  config::Options& options;          // CONFIG GET / SET / REWRITE
  store::Keyspace& keyspace;
  const CommandTable& commands;
  Dispatcher& dispatcher;            // EXEC runs queued commands through it
  Clients& clients;                  // who is connected; pause
  Blocking& blocking;                // commands that finish later
  BlockedKeys& blocked_keys;         // and of those the ones that wait for keys
  Watches& watches;                  // WATCH
  Monitors& monitors;                // MONITOR
  PubSub& pubsub;                    // channels and who listens to them; keyspace events
  Stats& stats;
  SlowLog& slowlog;
  Replication& replication;          // role, stream, replicas, the link to the primary
  Durability& durability;            // RDB and AOF
  Lifecycle& lifecycle;              // shutdown
  ClusterShell* cluster;             // null unless cluster-enabled
  Migrator* migrator = nullptr;      // MIGRATE; null where there is no loop to do it (tests of single commands)
  MemoryMeter* memory = nullptr;     // used memory; this and the following may be null in tests of single commands
  Eviction* eviction = nullptr;      // maxmemory
  LazyFree* lazy_free = nullptr;     // frees large values on its thread
  ClientLimits* client_limits = nullptr;  // maxmemory-clients
  LatencyMonitor* latency = nullptr;
  const ContainerMemory* container_memory = nullptr;  // what the container may use
};

}  // namespace tessera
