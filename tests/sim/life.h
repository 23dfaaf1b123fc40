// One random life of a cluster: it forms, suffers faults and operators for a while, then faults stop and it must heal
// within a bounded time. The seed decides the cluster's shape, its options, which kinds of trouble occur, and when.
#pragma once

#include <map>
#include <string>

#include "cluster/types.h"

namespace tessera::sim {

struct LifeResult {
  std::string violation;  // empty = none
  std::string shape;      // what the seed decided, in one line
  uint64_t trace_hash = 0;
  cluster::Millis lived_ms = 0;
  cluster::Millis heal_ms = 0;  // from the end of faults to agreement
  std::map<std::string, uint64_t> counters;
};

LifeResult Live(uint64_t seed, bool trace);

}  // namespace tessera::sim
