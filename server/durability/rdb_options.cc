#include "server/durability/rdb_options.h"

#include <algorithm>

#include "server/config/config.h"
#include "server/replication/replication.h"

namespace tessera {

SnapshotJob::Options RdbOptions(const Services& services, const ReplicationStream& stream, int64_t now_s) {
  SnapshotJob::Options options;
  options.rdb = {.compress = services.config.rdbcompression, .checksum = services.config.rdbchecksum};
  options.info = {.created_s = now_s,
                  .used_memory = services.keyspace.memory().total(),
                  .replication_id = services.replication.has_past() ? services.replication.replication_id() : "",
                  .replication_offset = services.replication.offset(),
                  .replication_database = std::max(0, stream.selected_db())};
  return options;
}

}  // namespace tessera
