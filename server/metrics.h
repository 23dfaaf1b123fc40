// Every figure the server tells of itself is one row here: a name, a kind, and where it comes from. INFO is rendered
// from these rows (info.h); an exporter for monitoring systems can read the same ones. Loop thread.
// Source of names and order: INFO of Redis 7.2.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

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
  size_t normal_client_bytes = 0, replica_client_bytes = 0;
  size_t largest_input = 0, largest_output = 0;  // of one client
};

enum class MetricKind : uint8_t { kGauge, kCounter, kText };

struct Decimal {
  double value;
  int digits;  // behind the point
};
// Empty: the figure does not apply now and is left out.
using MetricValue = std::variant<std::monostate, int64_t, uint64_t, Decimal, std::string>;

struct MetricRow {
  std::string_view name;
  MetricKind kind;
  MetricValue (*get)(const MetricSources& sources);
};

struct MetricSection {
  std::string_view name;                                        // as an argument of INFO
  std::string_view title;                                       // as its headline
  enum class Shown : uint8_t { kByDefault, kOnRequest } shown;  // on request: also with "all" and "everything"
  std::span<const MetricRow> rows;
  // Lines whose number varies (one per database, command, replica), appended as "name:value\r\n"; may be null.
  void (*lines)(const MetricSources& sources, std::string& out);
  std::span<const MetricRow> rows_after;  // behind the lines
};

std::span<const MetricSection> MetricSections();

// "1.18M"
std::string HumanBytes(uint64_t bytes);

}  // namespace tessera
