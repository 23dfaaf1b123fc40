// What the files that hold the metrics table (metrics_*.cc) share: short names for values, and their rows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/config/options.h"
#include "server/metrics.h"
#include "server/stats.h"

namespace tessera::metrics {

using Source = const MetricSources&;
using Value = MetricValue;
inline constexpr MetricKind kGauge = MetricKind::kGauge;
inline constexpr MetricKind kCounter = MetricKind::kCounter;
inline constexpr MetricKind kText = MetricKind::kText;

inline Value Int(int64_t value) { return value; }
inline Value Uint(uint64_t value) { return value; }
inline Value Text(std::string_view text) { return std::string(text); }
inline Value Flag(bool value) { return int64_t{value}; }
inline Value Human(uint64_t bytes) { return HumanBytes(bytes); }
inline Value Real(double value, int digits = 2) { return Decimal{value, digits}; }
inline Value State(bool ok) { return Status{ok}; }
inline constexpr std::monostate kAbsent{};

inline const config::Config& Config(Source s) { return s.services.config; }
inline const Stats& Counters(Source s) { return s.services.stats; }

// A figure of something this server does not have, or does without; shown because dashboards ask for it.
inline Value Zero(Source) { return int64_t{0}; }

inline double Ratio(uint64_t a, uint64_t b) { return b == 0 ? 0 : static_cast<double>(a) / static_cast<double>(b); }
inline uint64_t Difference(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

// Rows in files by subject: metrics_process.cc, _data.cc, _cluster.cc, _export.cc; series beside their lines.
extern const std::span<const MetricRow> kServerRows, kClientRows, kMemoryRows, kCpuRows;
extern const std::span<const MetricRow> kPersistenceRows, kStatsRows;
extern const std::span<const MetricRow> kReplicationRows, kHistoryRows, kClusterRows, kClusterInfoRows;
extern const std::span<const MetricRow> kExportedRows;
extern const std::span<const SeriesRow> kReplicaSeries, kCommandSeries, kErrorSeries, kLatencySeries, kKeyspaceSeries,
    kSpikeSeries;
void ListenerLines(const MetricSources& sources, std::string& out);

}  // namespace tessera::metrics
