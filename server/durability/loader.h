// Applies what a data directory holds to the keyspace, in slices, so that the loop can answer LOADING meanwhile.
#pragma once

#include <memory>
#include <string>

#include "persistence/recovery.h"
#include "server/services.h"
#include "server/session.h"
#include "server/values/value_builder.h"

namespace tessera {

class DatasetApplier {
 public:
  DatasetApplier(persistence::FileSystem& files, persistence::RecoveryPlan plan,
                 const persistence::RecoveryOptions& options, Services& services);

  // A few milliseconds of loading; false when done or failed (then error() says where and what to do).
  bool Step(int64_t now_ms);
  const std::string& error() const { return error_; }
  uint64_t total_bytes() const { return loader_.plan().bytes; }
  uint64_t loaded_bytes() const { return loader_.loaded_bytes(); }
  uint64_t keys_loaded() const { return keys_loaded_; }
  uint64_t keys_expired() const { return keys_expired_; }
  // Where an RDB file stood in a replication history; empty when it does not say.
  const std::string& replication_id() const { return replication_id_; }
  int64_t replication_offset() const { return replication_offset_; }
  int stream_database() const { return stream_database_; }

 private:
  bool ApplyRecord(const persistence::RdbRecord& record, int64_t now_ms);

  persistence::DatasetLoader loader_;
  Services& services_;
  Session session_;  // executes the AOF's commands
  ValueBuilder values_;
  std::string error_;
  std::string replication_id_;
  int64_t replication_offset_ = 0;
  int stream_database_ = 0;
  uint64_t keys_loaded_ = 0, keys_expired_ = 0, failed_commands_ = 0;
  int progress_shown_ = 0;  // tenths
};

// Puts one entry of an RDB image into the keyspace: a string from the record itself (kString), anything else from what
// the reader told `values` (kValue). False: out of memory, an unusable database number or value (`error`). Entries past
// their expiry are dropped when `drop_expired`; `expired` tells.
bool ApplyRdbEntry(store::Keyspace& keyspace, const persistence::RdbRecord& record, ValueBuilder& values, int64_t now_ms,
                   bool drop_expired, bool* expired, std::string* error);

}  // namespace tessera
