// Every figure the server tells of itself is one row here: a name, a kind, where it comes from, and how monitoring
// systems know it. INFO (info.h) and the text for Prometheus (prometheus.h) are rendered from these rows. Loop thread.
// Source of names and order: INFO of Redis 7.2; names for Prometheus: those of redis_exporter, which dashboards know.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cluster/core.h"
#include "server/clock.h"
#include "server/durability/durability.h"
#include "server/memory_usage.h"
#include "server/replication/replication.h"
#include "server/services.h"
#include "server/store/keyspace.h"

namespace tessera {

// What getters read: the parts of the node, and figures that are dear enough to be gathered once for all rows.
struct MetricSources {
  MetricSources(const Services& services, Now now);

  const Services& services;
  Now now;
  MemoryUsage memory;
  store::KeyspaceMemory keyspace_memory;
  // Keys and values; the rest is tables, clients, buffers, the server itself.
  uint64_t dataset_bytes() const {
    return std::min<uint64_t>(used_memory, keyspace_memory.entry_bytes + keyspace_memory.heap_bytes);
  }
  uint64_t used_memory;  // as MemoryMeter says
  Durability::Figures persistence;
  Replication::Figures replication;
  cluster::InfoFigures cluster;  // without meaning unless services.cluster is set
  size_t normal_client_bytes = 0, replica_client_bytes = 0;
  size_t largest_input = 0, largest_output = 0;  // of one client
};

enum class MetricKind : uint8_t { kGauge, kCounter, kText };

struct Decimal {
  double value;
  int digits;  // behind the point
};
// A word in INFO; 1 or 0 where only numbers are known.
struct Status {
  bool good;
  std::string_view good_word = "ok", bad_word = "err";
};
// Empty: the figure does not apply now and is left out.
using MetricValue = std::variant<std::monostate, int64_t, uint64_t, Decimal, Status, std::string>;

struct Label {
  std::string_view name;
  std::string value;
};
using Labels = std::vector<Label>;

// How Prometheus gets a figure: as "redis_" and this name; without a name not at all.
struct Exported {
  std::string_view name = {};
  std::string_view help = {};
  double scale = 1;  // what its value is multiplied by
  Labels (*labels)(const MetricSources& sources) = nullptr;
};

struct MetricRow {
  std::string_view name;
  MetricKind kind;
  MetricValue (*get)(const MetricSources& sources);
  Exported exported = {};
};

// A figure Prometheus gets many times over: once per command, database, replica.
struct Sample {
  Labels labels;
  double value;
  std::string_view suffix = {};  // of the name: "_sum"
};
using SampleSink = std::function<void(const Sample& sample)>;
struct SeriesRow {
  std::string_view name;
  std::string_view type;  // "gauge", "counter", "summary"
  std::string_view help;
  void (*samples)(const MetricSources& sources, const SampleSink& add);
};

struct MetricSection {
  std::string_view name;   // as an argument of INFO
  std::string_view title;  // as its headline
  // On request: also with "all" and "everything". Elsewhere: not by INFO, only by Prometheus.
  enum class Shown : uint8_t { kByDefault, kOnRequest, kElsewhere } shown;
  std::span<const MetricRow> rows;
  // Lines whose number varies (one per database, command, replica), appended as "name:value\r\n"; may be null.
  void (*lines)(const MetricSources& sources, std::string& out);
  std::span<const MetricRow> rows_after = {};  // behind the lines
  std::span<const SeriesRow> series = {};      // what the lines tell, for Prometheus
};

std::span<const MetricSection> MetricSections();

// As INFO shows it; nothing for an empty value.
std::string MetricText(const MetricValue& value);

// "1.18M"
std::string HumanBytes(uint64_t bytes);

}  // namespace tessera
