// A visitor that ignores everything: a base for those that care for some of the calls only.
#pragma once

#include "persistence/snapshot_visitor.h"

namespace tessera::persistence {

class NullVisitor : public SnapshotVisitor {
 public:
  void Database(uint32_t, uint64_t, uint64_t) override {}
  void String(const EntryHeader&, std::string_view) override {}
  void BeginList(const EntryHeader&, uint64_t) override {}
  void BeginSet(const EntryHeader&, uint64_t) override {}
  void Item(std::string_view) override {}
  void BeginHash(const EntryHeader&, uint64_t, bool) override {}
  void Pair(std::string_view, std::string_view, int64_t) override {}
  void BeginSortedSet(const EntryHeader&, uint64_t) override {}
  void Scored(std::string_view, double) override {}
  void BeginStream(const EntryHeader&, const StreamInfo&) override {}
  void Entry(StreamId, std::span<const std::string_view>) override {}
  void StreamTotals(const StreamInfo&) override {}
  void Group(const StreamGroup&) override {}
  void Pending(const StreamPending&) override {}
  void Consumer(const StreamConsumer&) override {}
  void ConsumerPending(StreamId) override {}
  void EndValue() override {}
};

}  // namespace tessera::persistence
