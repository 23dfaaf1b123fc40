#include "server/metrics_lines.h"

#include <fmt/core.h>

#include "protocol/number.h"
#include "server/commands/table.h"
#include "server/config/config.h"
#include "server/metrics.h"
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

}  // namespace tessera
