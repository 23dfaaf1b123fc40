// From which size on values take their large form, from the options in effect.
#pragma once

#include "server/config/config.h"
#include "server/store/hash_object.h"
#include "server/store/list_object.h"
#include "server/store/set_object.h"
#include "server/store/sorted_set_object.h"
#include "server/store/stream_object.h"

namespace tessera {

inline store::HashLimits HashLimitsOf(const config::Config& config) {
  return {.entries_max = static_cast<uint64_t>(config.hash_max_listpack_entries),
          .value_bytes_max = static_cast<uint64_t>(config.hash_max_listpack_value)};
}

inline store::SetLimits SetLimitsOf(const config::Config& config) {
  return {.intset_entries_max = static_cast<uint64_t>(config.set_max_intset_entries),
          .listpack_entries_max = static_cast<uint64_t>(config.set_max_listpack_entries),
          .listpack_value_bytes_max = static_cast<uint64_t>(config.set_max_listpack_value)};
}

inline store::SortedSetLimits SortedSetLimitsOf(const config::Config& config) {
  return {.entries_max = static_cast<uint64_t>(config.zset_max_listpack_entries),
          .value_bytes_max = static_cast<uint64_t>(config.zset_max_listpack_value)};
}

inline store::ListLimits ListLimitsOf(const config::Config& config) {
  return store::ListLimits(config.list_max_listpack_size);
}

inline store::StreamLimits StreamLimitsOf(const config::Config& config) {
  return {.node_bytes_max = config.stream_node_max_bytes,
          .node_entries_max = static_cast<uint64_t>(config.stream_node_max_entries)};
}

}  // namespace tessera
