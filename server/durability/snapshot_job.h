// A picture of the keyspace as a byte stream, made on the loop's thread in slices while commands go on: the one source
// of RDB files, AOF bases and full synchronisations. Its consumer pushes back by not reporting bytes as consumed.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "persistence/aof_sum.h"
#include "persistence/aof_writer.h"
#include "persistence/rdb_writer.h"
#include "persistence/result.h"
#include "server/store/keyspace.h"
#include "server/store/snapshot.h"
#include "server/values/value_walk.h"

namespace tessera {

class SnapshotJob final : public store::SnapshotVisitor {
 public:
  enum class Format : uint8_t { kRdb, kCommands };
  struct Options {
    Format format = Format::kRdb;
    persistence::RdbWriterOptions rdb;
    persistence::RdbInfo info;  // its views are used during construction only
    std::function<bool(uint16_t)> slot_filter = {};
  };
  // Gets the image in order, in pieces of about 256 KiB.
  using Sink = std::function<void(std::string chunk)>;

  SnapshotJob(store::Keyspace& keyspace, const Options& options, Sink sink);
  ~SnapshotJob() override;

  // Works for about a millisecond, or until too much is unconsumed. Returns true while another call would do something
  // now; false when it waits for its consumer or is complete.
  bool Step();
  // All in one go, for SAVE.
  void RunToEnd();
  // Everything was handed to the sink.
  bool complete() const { return complete_; }
  // Once complete: whether what was handed over can be read back.
  persistence::Status status() const;
  void Consumed(size_t bytes) { unconsumed_ -= bytes; }

  uint64_t field_expiries_left_out() const { return rdb_.field_expiries_left_out(); }
  // Memory the snapshot costs: what is written and not consumed, old entries that wait. Copies of large values that share
  // what has not changed with the keyspace are not counted.
  size_t held_bytes() const { return buffer_.size() + unconsumed_ + waiting_bytes_; }
  size_t held_bytes_max() const { return held_bytes_max_; }

  uint64_t keys_done() const { return snapshot_->visited(); }
  uint64_t keys_total() const { return snapshot_->total(); }

  bool OnEntry(int db, uint16_t slot, store::EntryRef entry) override;

 private:
  // An entry that is written later, from a copy: a large value, told in slices, or one that changes meanwhile.
  struct Waiting {
    int db;
    std::string key;
    persistence::EntryHeader header;
    std::string text;                      // of a string
    std::unique_ptr<store::Object> value;  // shares what it can with the keyspace's own
  };
  void SelectDatabase(int db);
  // False when nothing waits (any more).
  bool StepWaiting();
  void HandOver();
  void AddSum();
  void Finish();

  store::Keyspace& keyspace_;
  Format format_;
  Sink sink_;
  std::string buffer_;
  persistence::RdbWriter rdb_;
  persistence::AofCommandWriter commands_;
  persistence::AofSum sum_;  // of the commands
  persistence::SnapshotVisitor* writer_;
  int database_ = -1;
  std::vector<bool> announced_;
  size_t unconsumed_ = 0;
  bool complete_ = false;
  size_t waiting_bytes_ = 0, held_bytes_max_ = 0;
  std::deque<Waiting> waiting_;      // the first one is being told while walk_ is set
  std::unique_ptr<ValueWalk> walk_;
  std::unique_ptr<store::Snapshot> snapshot_;
};

}  // namespace tessera
