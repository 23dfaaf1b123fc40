// Figures that INFO does not tell and redis_exporter gathers elsewhere: CONFIG, SLOWLOG, its own view of the server.
#include "server/metrics_rows.h"
#include "server/slowlog.h"

namespace tessera::metrics {
namespace {

// As INFO shows it.
std::string FigureText(Source s, std::span<const MetricRow> rows, std::string_view name) {
  const auto row = std::find_if(rows.begin(), rows.end(), [name](const MetricRow& row) { return row.name == name; });
  return row == rows.end() ? std::string() : MetricText(row->get(s));
}

Labels InstanceLabels(Source s) {
  Labels labels{{"role", FigureText(s, kReplicationRows, "role")},
                {"maxmemory_policy", FigureText(s, kMemoryRows, "maxmemory_policy")},
                {"master_replid", FigureText(s, kHistoryRows, "master_replid")}};
  for (std::string_view name :
       {"redis_version", "redis_build_id", "redis_mode", "os", "tcp_port", "run_id", "process_id", "tessera_version"})
    labels.push_back({name, FigureText(s, kServerRows, name)});
  return labels;
}

Labels ReplicaLabels(Source s) {
  Labels labels;
  for (std::string_view name : {"master_host", "master_port"})
    labels.push_back({name, FigureText(s, kReplicationRows, name)});
  labels.push_back({"read_only", FigureText(s, kReplicationRows, "slave_read_only")});
  return labels;
}

const SlowLog::Entry* NewestSlow(Source s) {
  const auto& entries = s.services.slowlog.entries();
  return entries.empty() ? nullptr : &entries.front();
}

constexpr MetricRow kExported[] = {
    {"up", kGauge, [](Source) { return Int(1); }, {"up", "1: the server answers."}},
    {"instance_info",
     kGauge,
     [](Source) { return Int(1); },
     {"instance_info", "What this server is, in labels.", 1, InstanceLabels}},
    {"slave_info",
     kGauge,
     [](Source s) { return s.services.replication.is_replica() ? Int(1) : Value(kAbsent); },
     {"slave_info", "Whose replica this server is, in labels.", 1, ReplicaLabels}},
    {"start_time",
     kGauge,
     [](Source s) { return Int(Counters(s).started_unix_ms / 1000); },
     {"start_time_seconds", "When the server was started."}},
    {"config_maxmemory",
     kGauge,
     [](Source s) { return Uint(Config(s).maxmemory); },
     {"config_maxmemory", "The limit maxmemory in effect; 0: none."}},
    {"config_maxclients",
     kGauge,
     [](Source s) { return Int(Config(s).maxclients); },
     {"config_maxclients", "Clients that may be connected at once."}},
    {"config_io_threads",
     kGauge,
     [](Source) { return Int(1); },
     {"config_io_threads", "Threads that read and write for clients."}},
    {"slowlog_length",
     kGauge,
     [](Source s) { return Uint(s.services.slowlog.entries().size()); },
     {"slowlog_length", "Entries of the slow log."}},
    {"slowlog_last_id",
     kGauge,
     [](Source s) { return Int(NewestSlow(s) == nullptr ? 0 : NewestSlow(s)->id); },
     {"slowlog_last_id", "Id of the newest entry of the slow log."}},
    {"last_slow_execution_duration",
     kGauge,
     [](Source s) { return Int(NewestSlow(s) == nullptr ? 0 : NewestSlow(s)->duration_us); },
     {"last_slow_execution_duration_seconds", "Seconds the newest entry of the slow log took.", 1e-6}},
};

}  // namespace

constinit const std::span<const MetricRow> kExportedRows = kExported;

}  // namespace tessera::metrics
