// Builds values from what a reader of RDB files or DUMP payloads tells about them.
//
//   ValueBuilder builder(config, keyspace.object_seed());
//   ... the reader calls the visitor's functions; whenever builder.complete(): Take it.
//
// Input is checked before it comes here as far as its format goes; what only the value itself can tell (a field twice) is
// found here.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "persistence/snapshot_visitor.h"
#include "server/config/config.h"
#include "server/store/keyspace.h"
#include "server/store/stream_group.h"

namespace tessera {

struct BuiltValue {
  persistence::EntryHeader header;        // its key is a view of the builder's own copy
  std::string text;                       // of a string
  std::unique_ptr<store::Object> object;  // null for strings
  std::string error;                      // why the value cannot be kept, if so

  // Puts it into the keyspace, in place of whatever is there. False: out of memory.
  [[nodiscard]] bool Store(store::Database& db, const store::KeyRef& key, store::Expiry expiry);
};

class ValueBuilder final : public persistence::SnapshotVisitor {
 public:
  ValueBuilder(const config::Config& config, uint32_t seed) : config_(config), seed_(seed) {}

  bool complete() const { return complete_; }
  // The finished value; its key is good until the next call of the visitor.
  BuiltValue Take();
  // Of the value being built: why it cannot be kept. Empty = it can.
  const std::string& error() const { return value_.error; }

  void Database(uint32_t, uint64_t, uint64_t) override {}
  void String(const persistence::EntryHeader& header, std::string_view value) override;
  void BeginList(const persistence::EntryHeader& header, uint64_t count) override;
  void BeginSet(const persistence::EntryHeader& header, uint64_t count) override;
  void Item(std::string_view value) override;
  void BeginHash(const persistence::EntryHeader& header, uint64_t count, bool some_expire) override;
  void Pair(std::string_view field, std::string_view value, int64_t expiry_ms) override;
  void BeginSortedSet(const persistence::EntryHeader& header, uint64_t count) override;
  void Scored(std::string_view member, double score) override;
  void BeginStream(const persistence::EntryHeader& header, const persistence::StreamInfo& info) override;
  void Entry(persistence::StreamId id, std::span<const std::string_view> fields_and_values) override;
  void StreamTotals(const persistence::StreamInfo& info) override;
  void Group(const persistence::StreamGroup& group) override;
  void Pending(const persistence::StreamPending& pending) override;
  void Consumer(const persistence::StreamConsumer& consumer) override;
  void ConsumerPending(persistence::StreamId id) override;
  void EndValue() override;

 private:
  void Begin(const persistence::EntryHeader& header, std::unique_ptr<store::Object> object);
  void Fail(std::string reason);
  template <typename T>
  T& As() {
    return static_cast<T&>(*value_.object);
  }
  void SetStreamState();

  const config::Config& config_;
  uint32_t seed_;
  std::string key_;
  BuiltValue value_;
  // Of a stream: where its parts go just now.
  persistence::StreamInfo stream_info_;
  store::StreamGroup* group_ = nullptr;
  store::StreamConsumer* consumer_ = nullptr;
  uint64_t pending_unowned_ = 0;
  bool complete_ = false;
};

}  // namespace tessera
