#include "server/metrics_lines.h"

#include <fmt/core.h>

#include "protocol/number.h"
#include "server/commands/table.h"
#include "server/config/config.h"
#include "server/latency_monitor.h"
#include "server/metrics_rows.h"
#include "server/stats.h"

namespace tessera {
namespace {

// Calls `visit(name, figures)` for every command that has figures, in the order of the command table.
template <typename Visit>
void ForEachCommand(const MetricSources& s, const Visit& visit) {
  const auto& per_command = s.services.stats.per_command;
  auto offer = [&](const CommandRow& row) {
    auto it = per_command.find(&row);
    if (it != per_command.end()) visit(s.services.commands.FullName(row), it->second);
  };
  for (const CommandRow* row : s.services.commands.rows()) {
    offer(*row);
    for (const CommandRow& sub : row->subcommands) offer(sub);
  }
}

// Duration in microseconds below which `percent` of the calls stayed, read from buckets of powers of two and taken as
// evenly spread within a bucket.
double Percentile(const Stats::PerCommand& figures, double percent) {
  const double wanted = percent / 100 * static_cast<double>(figures.calls);
  double seen = 0;
  for (size_t i = 0; i < figures.latency_log2.size(); ++i) {
    const double here = figures.latency_log2[i];
    if (here == 0) continue;
    if (seen + here >= wanted) {
      const double low = i == 0 ? 0 : static_cast<double>(uint64_t{1} << (i - 1));
      const double high = static_cast<double>(uint64_t{1} << i);
      return low + (high - low) * (wanted - seen) / here;
    }
    seen += here;
  }
  return 0;
}

}  // namespace

void ReplicaLines(const MetricSources& s, std::string& out) {
  int index = 0;
  for (const auto& replica : s.replication.replicas)
    out += fmt::format("slave{}:ip={},port={},state={},offset={},lag={}\r\n", index++, replica.ip, replica.port,
                       replica.state, replica.acknowledged_offset, replica.lag_s);
}

void CommandLines(const MetricSources& s, std::string& out) {
  ForEachCommand(s, [&out](const std::string& name, const Stats::PerCommand& figures) {
    if (figures.calls == 0 && figures.rejected_calls == 0 && figures.failed_calls == 0) return;
    const double per_call =
        figures.calls == 0 ? 0 : static_cast<double>(figures.usec) / static_cast<double>(figures.calls);
    out += fmt::format("cmdstat_{}:calls={},usec={},usec_per_call={:.2f},rejected_calls={},failed_calls={}\r\n", name,
                       figures.calls, figures.usec, per_call, figures.rejected_calls, figures.failed_calls);
  });
}

void ErrorLines(const MetricSources& s, std::string& out) {
  for (const auto& [code, count] : s.services.stats.errors)
    out += fmt::format("errorstat_{}:count={}\r\n", code, count);
}

void LatencyLines(const MetricSources& s, std::string& out) {
  if (!s.services.config.latency_tracking) return;
  ForEachCommand(s, [&](const std::string& name, const Stats::PerCommand& figures) {
    if (figures.calls == 0) return;
    out += fmt::format("latency_percentiles_usec_{}:", name);
    std::string_view separator;
    for (double percent : s.services.config.latency_tracking_info_percentiles) {
      out += fmt::format("{}p{}={:.3f}", separator, protocol::DoubleText(percent), Percentile(figures, percent));
      separator = ",";
    }
    out += "\r\n";
  });
}

void KeyspaceLines(const MetricSources& s, std::string& out) {
  for (int i = 0; i < s.services.keyspace.database_count(); ++i) {
    const store::Database& db = s.services.keyspace.db(i);
    if (db.size() == 0) continue;
    out += fmt::format("db{}:keys={},expires={},avg_ttl={}\r\n", i, db.size(), db.volatile_count(), db.AverageTtlMs());
  }
}

namespace metrics {
namespace {

Labels Of(const Replication::Figures::Replica& replica) {
  return {{"slave_ip", replica.ip},
          {"slave_port", std::to_string(replica.port)},
          {"slave_state", std::string(replica.state)}};
}

constexpr SeriesRow kReplicas[] = {
    {"connected_slave_offset_bytes", "gauge", "Offset a replica has acknowledged.",
     [](Source s, const SampleSink& add) {
       for (const auto& replica : s.replication.replicas)
         add({Of(replica), static_cast<double>(replica.acknowledged_offset)});
     }},
    {"connected_slave_lag_seconds", "gauge", "Seconds since a replica was last heard.",
     [](Source s, const SampleSink& add) {
       for (const auto& replica : s.replication.replicas) add({Of(replica), static_cast<double>(replica.lag_s)});
     }},
};

// One sample per command, Get(figures).
template <auto Get>
void PerCommand(Source s, const SampleSink& add) {
  ForEachCommand(s, [&add](const std::string& name, const Stats::PerCommand& figures) {
    if (figures.calls == 0 && figures.rejected_calls == 0 && figures.failed_calls == 0) return;
    add({{{"cmd", name}}, static_cast<double>(Get(figures))});
  });
}

constexpr SeriesRow kCommands[] = {
    {"commands_total", "counter", "Calls of a command.", PerCommand<[](const auto& figures) { return figures.calls; }>},
    {"commands_duration_seconds_total", "counter", "Seconds spent in a command.",
     PerCommand<[](const auto& figures) { return static_cast<double>(figures.usec) / 1e6; }>},
    {"commands_rejected_calls_total", "counter", "Calls of a command refused before it began.",
     PerCommand<[](const auto& figures) { return figures.rejected_calls; }>},
    {"commands_failed_calls_total", "counter", "Calls of a command that failed.",
     PerCommand<[](const auto& figures) { return figures.failed_calls; }>},
};

constexpr SeriesRow kErrors[] = {
    {"errors_total", "counter", "Error replies by their first word.",
     [](Source s, const SampleSink& add) {
       for (const auto& [code, count] : s.services.stats.errors) add({{{"err", code}}, static_cast<double>(count)});
     }},
};

constexpr SeriesRow kLatency[] = {
    {"latency_percentiles_usec", "summary", "Microseconds a command takes; quantile in per cent.",
     [](Source s, const SampleSink& add) {
       if (!Config(s).latency_tracking) return;
       ForEachCommand(s, [&](const std::string& name, const Stats::PerCommand& figures) {
         if (figures.calls == 0) return;
         for (double percent : Config(s).latency_tracking_info_percentiles)
           add({{{"cmd", name}, {"quantile", protocol::DoubleText(percent)}}, Percentile(figures, percent)});
         add({{{"cmd", name}}, static_cast<double>(figures.usec), "_sum"});
         add({{{"cmd", name}}, static_cast<double>(figures.calls), "_count"});
       });
     }},
};

template <typename Visit>
void ForEachDatabase(Source s, const Visit& visit) {
  for (int i = 0; i < s.services.keyspace.database_count(); ++i)
    visit(Labels{{"db", fmt::format("db{}", i)}}, s.services.keyspace.db(i));
}

constexpr SeriesRow kDatabases[] = {
    {"db_keys", "gauge", "Keys of a database.",
     [](Source s, const SampleSink& add) {
       ForEachDatabase(s, [&](Labels labels, const store::Database& db) {
         add({std::move(labels), static_cast<double>(db.size())});
       });
     }},
    {"db_keys_expiring", "gauge", "Keys of a database that have a TTL.",
     [](Source s, const SampleSink& add) {
       ForEachDatabase(s, [&](Labels labels, const store::Database& db) {
         add({std::move(labels), static_cast<double>(db.volatile_count())});
       });
     }},
    {"db_avg_ttl_seconds", "gauge", "Average TTL of those, estimated.",
     [](Source s, const SampleSink& add) {
       ForEachDatabase(s, [&](Labels labels, const store::Database& db) {
         if (db.size() != 0) add({std::move(labels), static_cast<double>(db.AverageTtlMs()) / 1e3});
       });
     }},
};

// One sample per kind of event the latency monitor has seen, Get(event).
template <auto Get>
void PerSpike(Source s, const SampleSink& add) {
  if (s.services.latency == nullptr) return;
  for (const auto& [name, event] : s.services.latency->events())
    if (event.latest().unix_s != 0) add({{{"event_name", name}}, Get(event)});
}

constexpr SeriesRow kSpikes[] = {
    {"latency_spike_last", "gauge", "When something last held the loop for longer than latency-monitor-threshold.",
     PerSpike<[](const auto& event) { return static_cast<double>(event.latest().unix_s); }>},
    {"latency_spike_duration_seconds", "gauge", "For how long it did.",
     PerSpike<[](const auto& event) { return event.latest().ms / 1e3; }>},
};

}  // namespace

constinit const std::span<const SeriesRow> kReplicaSeries = kReplicas;
constinit const std::span<const SeriesRow> kCommandSeries = kCommands;
constinit const std::span<const SeriesRow> kErrorSeries = kErrors;
constinit const std::span<const SeriesRow> kLatencySeries = kLatency;
constinit const std::span<const SeriesRow> kKeyspaceSeries = kDatabases;
constinit const std::span<const SeriesRow> kSpikeSeries = kSpikes;

}  // namespace metrics

}  // namespace tessera
