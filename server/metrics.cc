#include "server/metrics.h"

#include <fmt/core.h>

#include "server/client_limits.h"
#include "server/clients.h"
#include "server/cluster/cluster_shell.h"
#include "server/memory_meter.h"
#include "server/metrics_lines.h"
#include "server/metrics_rows.h"

namespace tessera {

std::span<const MetricSection> MetricSections() {
  using Shown = MetricSection::Shown;
  using namespace metrics;
  static const MetricSection kSections[] = {
      {"server", "Server", Shown::kByDefault, kServerRows, ListenerLines},
      {"clients", "Clients", Shown::kByDefault, kClientRows, nullptr},
      {"memory", "Memory", Shown::kByDefault, kMemoryRows, nullptr},
      {"persistence", "Persistence", Shown::kByDefault, kPersistenceRows, nullptr},
      {"stats", "Stats", Shown::kByDefault, kStatsRows, nullptr},
      {"replication", "Replication", Shown::kByDefault, kReplicationRows, ReplicaLines, kHistoryRows, kReplicaSeries},
      {"cpu", "CPU", Shown::kByDefault, kCpuRows, nullptr},
      {"modules", "Modules", Shown::kByDefault, {}, nullptr},
      {"commandstats", "Commandstats", Shown::kOnRequest, {}, CommandLines, {}, kCommandSeries},
      {"errorstats", "Errorstats", Shown::kByDefault, {}, ErrorLines, {}, kErrorSeries},
      {"latencystats", "Latencystats", Shown::kOnRequest, {}, LatencyLines, {}, kLatencySeries},
      {"cluster", "Cluster", Shown::kByDefault, kClusterRows, nullptr},
      {"keyspace", "Keyspace", Shown::kByDefault, {}, KeyspaceLines, {}, kKeyspaceSeries},
      {"cluster info", "", Shown::kElsewhere, kClusterInfoRows, nullptr},
      {"exported", "", Shown::kElsewhere, kExportedRows, nullptr, {}, kSpikeSeries},
  };
  return kSections;
}

MetricSources::MetricSources(const Services& services, Now now)
    : services(services),
      now(now),
      memory(ReadMemoryUsage()),
      keyspace_memory(services.keyspace.memory()),
      used_memory(services.memory != nullptr ? services.memory->Measure()
                                             : memory.allocated + keyspace_memory.entry_bytes),
      persistence(services.durability.figures()),
      replication(services.replication.figures()) {
  if (services.cluster != nullptr) cluster = services.cluster->core().Figures();
  for (const auto& [id, session] : services.clients.all()) {
    (session->kind == SessionKind::kReplica ? replica_client_bytes : normal_client_bytes) +=
        ClientLimits::MemoryOf(*session);
    if (session->kind != SessionKind::kNormal) continue;
    largest_output = std::max(largest_output, session->out.size());
    if (session->link != nullptr) largest_input = std::max(largest_input, session->link->figures().query_buffer);
  }
}

std::string MetricText(const MetricValue& value) {
  struct Renderer {
    std::string operator()(std::monostate) const { return {}; }
    std::string operator()(int64_t number) const { return fmt::format("{}", number); }
    std::string operator()(uint64_t number) const { return fmt::format("{}", number); }
    std::string operator()(Decimal number) const { return fmt::format("{:.{}f}", number.value, number.digits); }
    std::string operator()(Status status) const {
      return std::string(status.good ? status.good_word : status.bad_word);
    }
    std::string operator()(const std::string& text) const { return text; }
  };
  return std::visit(Renderer{}, value);
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
