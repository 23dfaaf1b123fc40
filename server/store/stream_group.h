// A consumer group of a stream: how far it has read, its consumers, and the entries that were delivered and not yet
// acknowledged. Those lie in element trees by id: the group's own with all that is known of a delivery, and one per
// consumer with the ids it holds. A copy shares the trees, so that its cost is that of the consumers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/store/element_tree.h"
#include "server/store/stream_id.h"

namespace tessera::store {

inline constexpr int64_t kEntriesReadUnknown = -1;

// A delivery that awaits its acknowledgement.
struct PendingEntry {
  StreamId id;
  uint32_t consumer = 0;     // number of
  int64_t delivered_ms = 0;  // unix time
  uint64_t deliveries = 0;
};

class StreamConsumer {
 public:
  const std::string& name() const { return name_; }
  uint32_t number() const { return number_; }
  uint64_t pending_count() const { return pending_.count(); }
  // Elements begin with an id (IdOf).
  const ElementTree& pending() const { return pending_; }

  int64_t seen_ms = 0;     // unix time of the last attempt
  int64_t active_ms = -1;  // unix time of the last read or claim that brought something; -1 never

 private:
  friend class StreamGroup;
  StreamConsumer(std::string_view name, uint32_t number);
  std::unique_ptr<StreamConsumer> Clone() const;
  size_t MemoryBytes() const;

  std::string name_;
  uint32_t number_;
  ElementTree pending_;
};

class StreamGroup {
 public:
  // A consumer number that nobody has: of deliveries whose consumer is told later, while a value is loaded.
  static constexpr uint32_t kNobody = ~uint32_t{0};

  // `owner_bytes`: the sum that follows this group's memory.
  StreamGroup(std::string_view name, size_t* owner_bytes);
  ~StreamGroup();
  std::unique_ptr<StreamGroup> Clone(size_t* owner_bytes) const;

  const std::string& name() const { return name_; }
  StreamId last_id;
  int64_t entries_read = kEntriesReadUnknown;

  // ---- consumers
  size_t consumer_count() const { return by_name_.size(); }
  // In order of their names.
  const std::vector<StreamConsumer*>& consumers() const { return by_name_; }
  StreamConsumer* FindConsumer(std::string_view name) const;
  StreamConsumer& ConsumerAt(uint32_t number) const { return *by_number_[number]; }
  // Must not exist.
  StreamConsumer& AddConsumer(std::string_view name, int64_t now_ms);
  // With everything it holds.
  void RemoveConsumer(StreamConsumer& consumer);

  // ---- deliveries
  uint64_t pending_count() const { return pending_.count(); }
  const ElementTree& pending() const { return pending_; }
  static StreamId IdOf(const uint8_t* element);
  static PendingEntry Read(const uint8_t* element);
  // The first delivery in a tree of pending ids that is not before `id`.
  static ElementTree::Cursor From(const ElementTree& pending, StreamId id);
  std::optional<PendingEntry> Find(StreamId id) const;
  // Adds a delivery, or replaces what is known of it, its consumer included.
  void Put(const PendingEntry& entry);
  bool Remove(StreamId id);

  size_t MemoryBytes() const { return bytes_; }
  void CheckInvariants() const;

 private:
  // Follows what a change does to the memory of the trees it names.
  class Measured;

  std::string name_;
  ElementTree pending_;
  std::vector<std::unique_ptr<StreamConsumer>> by_number_;  // null: a free number
  std::vector<StreamConsumer*> by_name_;
  size_t* owner_bytes_;
  size_t bytes_ = 0;
};

}  // namespace tessera::store
