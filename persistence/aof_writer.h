// Commands as the AOF holds them: RESP arrays of bulk strings.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/snapshot_visitor.h"

namespace tessera::persistence {

void AppendCommand(std::span<const std::string_view> argv, std::string* out);

// A snapshot as commands, for a base without RDB preamble (aof-use-rdb-preamble no). Appends to a string that the
// caller may drain between any two calls. SELECT precedes the entries of each database. Collections come in commands of
// up to 64 items. What it holds back: field expiries until their batch is written, and the pending entries of one
// consumer group. Redis 7.0 loads the result, except that field expiries take 7.4.
class AofCommandWriter final : public SnapshotVisitor {
 public:
  explicit AofCommandWriter(std::string* out) : out_(out) {}
  void Database(uint32_t index, uint64_t key_count, uint64_t expiring_count) override;
  void String(const EntryHeader& header, std::string_view value) override;
  void BeginList(const EntryHeader& header, uint64_t count) override;
  void BeginSet(const EntryHeader& header, uint64_t count) override;
  void Item(std::string_view value) override;
  void BeginHash(const EntryHeader& header, uint64_t count, bool some_expire) override;
  void Pair(std::string_view field, std::string_view value, int64_t expiry_ms) override;
  void BeginSortedSet(const EntryHeader& header, uint64_t count) override;
  void Scored(std::string_view member, double score) override;
  void BeginStream(const EntryHeader& header, const StreamInfo& info) override;
  void Entry(StreamId id, std::span<const std::string_view> fields_and_values) override;
  void Group(const StreamGroup& group) override;
  void Pending(const StreamPending& pending) override;
  void Consumer(const StreamConsumer& consumer) override;
  void ConsumerPending(StreamId id) override;
  void EndValue() override;
  // No command is begun.
  bool at_boundary() const { return batch_left_ == 0; }

 private:
  void Begin(const EntryHeader& header, uint64_t count);
  // Before an item: begins a command for it and those that follow when none is open.
  void OpenBatch(std::string_view command, uint64_t words_per_item);
  void AppendStreamTotals();

  std::string* out_;
  std::string key_;
  int64_t expiry_ms_ = kNoExpiry;
  std::string_view item_command_;  // of lists and sets
  uint64_t items_left_ = 0;
  uint64_t batch_left_ = 0;
  std::string field_expiries_;  // the commands that follow the open batch
  StreamInfo stream_;
  std::string group_;
  std::string consumer_;
  std::vector<StreamPending> pending_;  // of the group, in order of id
};

}  // namespace tessera::persistence
