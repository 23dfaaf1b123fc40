// What an RDB image of this server says of itself, for the dump file and for the base of the append-only file alike.
// Loop thread.
#pragma once

#include <cstdint>

#include "server/durability/snapshot_job.h"
#include "server/replication/stream.h"
#include "server/services.h"

namespace tessera {

// Of the dataset as it is now: to be used at once, as it refers to texts of `services`.
SnapshotJob::Options RdbOptions(const Services& services, const ReplicationStream& stream, int64_t now_s);

}  // namespace tessera
