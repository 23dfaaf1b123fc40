// Values as plain data: built by a visitor that also insists on the order of calls, and walked into other visitors.
// Breaking the contract of SnapshotVisitor aborts, so that fuzz targets notice as well.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "persistence/snapshot_visitor.h"

namespace tessera::persistence {

inline void Insist(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "contract of SnapshotVisitor broken: %s\n", what);
  std::abort();
}

struct ModelConsumer {
  std::string name;
  int64_t seen_ms = 0, active_ms = -1;
  std::vector<StreamId> pending;
  bool operator==(const ModelConsumer&) const = default;
};

struct ModelPending {
  StreamId id;
  int64_t delivered_ms = 0;
  uint64_t delivery_count = 0;
  bool operator==(const ModelPending&) const = default;
};

struct ModelGroup {
  std::string name;
  StreamId last_id;
  int64_t entries_read = kEntriesReadUnknown;
  std::vector<ModelPending> pending;
  std::vector<ModelConsumer> consumers;
  bool operator==(const ModelGroup&) const = default;
};

struct ModelValue {
  enum class Kind { kNone, kString, kList, kSet, kHash, kSortedSet, kStream };
  Kind kind = Kind::kNone;
  int64_t expiry_ms = kNoExpiry;
  std::optional<uint64_t> idle_seconds;
  std::optional<uint8_t> frequency;
  std::string text;
  std::vector<std::string> items;  // of lists and sets
  std::vector<std::tuple<std::string, std::string, int64_t>> pairs;
  bool some_expire = false;
  std::vector<std::pair<std::string, double>> scored;
  std::vector<std::pair<StreamId, std::vector<std::string>>> entries;
  StreamId last_id, first_id, max_deleted_id;
  uint64_t entries_added = 0;
  std::vector<ModelGroup> groups;

  bool operator==(const ModelValue&) const = default;
  // Without the order that means nothing.
  ModelValue Sorted() const {
    ModelValue sorted = *this;
    if (kind == Kind::kSet) std::sort(sorted.items.begin(), sorted.items.end());
    std::sort(sorted.pairs.begin(), sorted.pairs.end());
    std::sort(sorted.scored.begin(), sorted.scored.end());
    auto by_name = [](const auto& a, const auto& b) { return a.name < b.name; };
    std::sort(sorted.groups.begin(), sorted.groups.end(), by_name);
    for (ModelGroup& group : sorted.groups) std::sort(group.consumers.begin(), group.consumers.end(), by_name);
    return sorted;
  }
  bool HasDuplicates() const {
    std::set<std::string> seen;
    if (kind == Kind::kSet) {
      for (const std::string& item : items) {
        if (!seen.insert(item).second) return true;
      }
    }
    for (const auto& pair : pairs) {
      if (!seen.insert(std::get<0>(pair)).second) return true;
    }
    for (const auto& pair : scored) {
      if (!seen.insert(pair.first).second) return true;
    }
    return false;
  }
};

using ModelDatabase = std::map<std::string, ModelValue>;

class ModelBuilder final : public SnapshotVisitor {
 public:
  std::map<uint32_t, ModelDatabase> databases;
  std::string last_key;
  ModelValue last;  // the last complete value
  uint64_t values = 0;

  // For readers, which hand strings and databases to their caller.
  void Select(uint32_t database) { database_ = database; }
  void PutString(const EntryHeader& header, std::string_view value) { String(header, value); }
  bool in_value() const { return in_value_; }
  void Abandon() { in_value_ = false; }

  void Database(uint32_t index, uint64_t, uint64_t) override { database_ = index; }
  void String(const EntryHeader& header, std::string_view value) override {
    Start(header, ModelValue::Kind::kString, 0);
    value_.text = value;
    EndValue();
  }
  void BeginList(const EntryHeader& header, uint64_t count) override { Start(header, ModelValue::Kind::kList, count); }
  void BeginSet(const EntryHeader& header, uint64_t count) override { Start(header, ModelValue::Kind::kSet, count); }
  void Item(std::string_view value) override {
    Insist(in_value_ && (value_.kind == ModelValue::Kind::kList || value_.kind == ModelValue::Kind::kSet), "Item");
    Part();
    value_.items.emplace_back(value);
  }
  void BeginHash(const EntryHeader& header, uint64_t count, bool some_expire) override {
    Start(header, ModelValue::Kind::kHash, count);
    value_.some_expire = some_expire;
  }
  void Pair(std::string_view field, std::string_view value, int64_t expiry_ms) override {
    Insist(in_value_ && value_.kind == ModelValue::Kind::kHash, "Pair");
    Insist(value_.some_expire || expiry_ms == kNoExpiry, "an expiry in a hash without");
    Insist(expiry_ms == kNoExpiry || expiry_ms > 0, "an expiry before time");
    Part();
    value_.pairs.emplace_back(field, value, expiry_ms);
  }
  void BeginSortedSet(const EntryHeader& header, uint64_t count) override {
    Start(header, ModelValue::Kind::kSortedSet, count);
  }
  void Scored(std::string_view member, double score) override {
    Insist(in_value_ && value_.kind == ModelValue::Kind::kSortedSet, "Scored");
    Insist(score == score, "a score that is not a number");
    Part();
    value_.scored.emplace_back(member, score);
  }
  void BeginStream(const EntryHeader& header, const StreamInfo& info) override {
    Start(header, ModelValue::Kind::kStream, info.length);
    groups_known_ = info.length != kCountUnknown;
    if (groups_known_) TakeInfo(info);
  }
  void Entry(StreamId id, std::span<const std::string_view> fields_and_values) override {
    Insist(in_value_ && value_.kind == ModelValue::Kind::kStream && value_.groups.empty(), "Entry");
    Insist(!fields_and_values.empty() && fields_and_values.size() % 2 == 0, "fields of an entry");
    Insist(id > (value_.entries.empty() ? StreamId{} : value_.entries.back().first), "order of entries");
    Part();
    value_.entries.emplace_back(id, std::vector<std::string>(fields_and_values.begin(), fields_and_values.end()));
  }
  void StreamTotals(const StreamInfo& info) override {
    Insist(in_value_ && !groups_known_ && count_ == kCountUnknown, "StreamTotals");
    Insist(info.length == value_.entries.size(), "length of a stream");
    count_ = parts_ = info.length;
    groups_known_ = true;
    TakeInfo(info);
  }
  void Group(const StreamGroup& group) override {
    Insist(in_value_ && groups_known_ && parts_ == count_, "Group");
    FinishGroup();
    value_.groups.push_back({std::string(group.name), group.last_id, group.entries_read, {}, {}});
    pending_count_ = group.pending_count;
    consumer_count_ = group.consumer_count;
  }
  void Pending(const StreamPending& pending) override {
    Insist(in_value_ && !value_.groups.empty() && value_.groups.back().consumers.empty(), "Pending");
    auto& list = value_.groups.back().pending;
    Insist(list.empty() || list.back().id < pending.id, "order of pending entries");
    list.push_back({pending.id, pending.delivered_ms, pending.delivery_count});
  }
  void Consumer(const StreamConsumer& consumer) override {
    Insist(in_value_ && !value_.groups.empty(), "Consumer");
    Insist(value_.groups.back().pending.size() == pending_count_, "count of pending entries");
    FinishConsumer();
    value_.groups.back().consumers.push_back({std::string(consumer.name), consumer.seen_ms, consumer.active_ms, {}});
    owned_count_ = consumer.pending_count;
  }
  void ConsumerPending(StreamId id) override {
    Insist(in_value_ && !value_.groups.empty() && !value_.groups.back().consumers.empty(), "ConsumerPending");
    auto& list = value_.groups.back().consumers.back().pending;
    Insist(list.empty() || list.back() < id, "order of a consumer's entries");
    list.push_back(id);
  }
  void EndValue() override {
    Insist(in_value_, "EndValue");
    Insist(count_ == kCountUnknown || parts_ == count_, "count of parts");
    if (value_.kind == ModelValue::Kind::kStream) {
      Insist(groups_known_, "a stream without totals");
      FinishGroup();
      Insist(value_.groups.size() == group_count_, "count of groups");
    }
    in_value_ = false;
    ++values;
    last_key = key_;
    last = value_;
    databases[database_][key_] = value_;
  }

 private:
  void Start(const EntryHeader& header, ModelValue::Kind kind, uint64_t count) {
    Insist(!in_value_, "a value within a value");
    in_value_ = true;
    value_ = {};
    value_.kind = kind;
    value_.expiry_ms = header.expiry_ms;
    value_.idle_seconds = header.idle_seconds;
    value_.frequency = header.frequency;
    key_ = header.key;
    count_ = count;
    parts_ = 0;
  }
  void Part() {
    ++parts_;
    Insist(count_ == kCountUnknown || parts_ <= count_, "more parts than announced");
  }
  void TakeInfo(const StreamInfo& info) {
    value_.last_id = info.last_id;
    value_.first_id = info.first_id;
    value_.max_deleted_id = info.max_deleted_id;
    value_.entries_added = info.entries_added;
    group_count_ = info.group_count;
    Insist(info.length > 0 || info.first_id == StreamId{}, "first id of an empty stream");
  }
  void FinishConsumer() {
    if (value_.groups.back().consumers.empty()) return;
    Insist(value_.groups.back().consumers.back().pending.size() == owned_count_, "count of a consumer's entries");
  }
  void FinishGroup() {
    if (value_.groups.empty()) return;
    const ModelGroup& group = value_.groups.back();
    FinishConsumer();
    Insist(group.pending.size() == pending_count_, "count of pending entries");
    Insist(consumer_count_ == kCountUnknown || group.consumers.size() == consumer_count_, "count of consumers");
    size_t owned = 0;
    for (const ModelConsumer& consumer : group.consumers) owned += consumer.pending.size();
    Insist(owned == group.pending.size(), "owners of pending entries");
  }

  uint32_t database_ = 0;
  bool in_value_ = false;
  std::string key_;
  ModelValue value_;
  uint64_t count_ = 0, parts_ = 0;
  bool groups_known_ = false;
  uint64_t group_count_ = 0, pending_count_ = 0, consumer_count_ = 0, owned_count_ = 0;
};

inline void Walk(const ModelValue& value, std::string_view key, SnapshotVisitor& visitor) {
  const EntryHeader header{key, value.expiry_ms, value.idle_seconds, value.frequency};
  switch (value.kind) {
    case ModelValue::Kind::kNone:
      return;
    case ModelValue::Kind::kString:
      return visitor.String(header, value.text);
    case ModelValue::Kind::kList:
      visitor.BeginList(header, value.items.size());
      break;
    case ModelValue::Kind::kSet:
      visitor.BeginSet(header, value.items.size());
      break;
    case ModelValue::Kind::kHash:
      visitor.BeginHash(header, value.pairs.size(), value.some_expire);
      break;
    case ModelValue::Kind::kSortedSet:
      visitor.BeginSortedSet(header, value.scored.size());
      break;
    case ModelValue::Kind::kStream:
      visitor.BeginStream(header, {value.entries.size(), value.last_id, value.first_id, value.max_deleted_id,
                                   value.entries_added, value.groups.size()});
      break;
  }
  for (const std::string& item : value.items) visitor.Item(item);
  for (const auto& [field, text, expiry_ms] : value.pairs) visitor.Pair(field, text, expiry_ms);
  for (const auto& [member, score] : value.scored) visitor.Scored(member, score);
  for (const auto& [id, words] : value.entries) {
    std::vector<std::string_view> views(words.begin(), words.end());
    visitor.Entry(id, views);
  }
  for (const ModelGroup& group : value.groups) {
    visitor.Group({group.name, group.last_id, group.entries_read, group.pending.size(), group.consumers.size()});
    for (const ModelPending& pending : group.pending) {
      visitor.Pending({pending.id, pending.delivered_ms, pending.delivery_count});
    }
    for (const ModelConsumer& consumer : group.consumers) {
      visitor.Consumer({consumer.name, consumer.seen_ms, consumer.active_ms, consumer.pending.size()});
      for (StreamId id : consumer.pending) visitor.ConsumerPending(id);
    }
  }
  visitor.EndValue();
}

inline void Walk(const std::map<uint32_t, ModelDatabase>& databases, SnapshotVisitor& visitor) {
  for (const auto& [index, database] : databases) {
    visitor.Database(index, database.size(), 0);
    for (const auto& [key, value] : database) Walk(value, key, visitor);
  }
}

// One of every type, small and beyond every limit that changes a form.
inline ModelDatabase SampleValues() {
  ModelDatabase values;
  auto& text = values["text"];
  text.kind = ModelValue::Kind::kString;
  text.text = "some text";
  auto& list = values["list"];
  list.kind = ModelValue::Kind::kList;
  list.items = {"",
                "a",
                "127",
                "-1",
                "-129",
                "40000",
                "9223372036854775807",
                "007",
                std::string(63, 'b'),
                std::string(64, 'c'),
                std::string(5000, 'd'),
                std::string("\0\xff\r\n", 4)};
  list.expiry_ms = 4102444800123;
  auto& set = values["set"];
  set.kind = ModelValue::Kind::kSet;
  for (int i = 0; i < 300; ++i) set.items.push_back("member " + std::to_string(i * i));
  set.idle_seconds = 1000;
  auto& hash = values["hash"];
  hash.kind = ModelValue::Kind::kHash;
  for (int i = 0; i < 200; ++i)
    hash.pairs.emplace_back(std::to_string(i), std::string(static_cast<size_t>(i), 'v'), -1);
  hash.frequency = 77;
  auto& expiring = values["expiring hash"];
  expiring.kind = ModelValue::Kind::kHash;
  expiring.some_expire = true;
  expiring.pairs = {{"never", "1", -1}, {"once", "2", 4102444800123}, {"long ago", "", 1}};
  auto& sorted = values["sorted"];
  sorted.kind = ModelValue::Kind::kSortedSet;
  const double inf = std::numeric_limits<double>::infinity();
  sorted.scored = {{"low", -inf}, {"tenth", 0.1}, {"minus", -0.5}, {"big", 1e300}, {"tiny", 5e-324}, {"high", inf}};
  for (int i = 0; i < 200; ++i) sorted.scored.emplace_back("m" + std::to_string(i), i / 7.0);
  auto& stream = values["stream"];
  stream.kind = ModelValue::Kind::kStream;
  for (uint64_t i = 0; i < 250; ++i) {
    StreamId id{1700000000000 + i / 3, i % 3 == 0 ? 0 : i * 1000};
    if (i % 7 == 3) {
      stream.entries.emplace_back(id, std::vector<std::string>{"other", "1", "", "2", "17", std::string(100, 'x')});
    } else {
      stream.entries.emplace_back(id, std::vector<std::string>{"temperature", std::to_string(i), "unit", "K"});
    }
  }
  stream.first_id = stream.entries.front().first;
  stream.last_id = {1800000000000, ~uint64_t{0}};
  stream.max_deleted_id = {1699999999999, 3};
  stream.entries_added = 1000;
  ModelGroup group{"group", stream.entries[5].first, 6, {}, {}};
  for (size_t i = 0; i < 6; ++i) group.pending.push_back({stream.entries[i].first, 1700000000500, i + 1});
  ModelConsumer alice{"alice", 1700000000500, 1700000000500, {}}, bob{"bob", 1700000000600, 1700000000600, {}};
  for (size_t i = 0; i < 6; ++i) (i % 3 == 0 ? bob : alice).pending.push_back(stream.entries[i].first);
  group.consumers = {alice, bob, {"idler", 1700000000700, 1700000000700, {}}};
  stream.groups = {group, {"unused", {}, 0, {}, {}}, {"lost", {1699999999999, 0}, kEntriesReadUnknown, {}, {}}};
  auto& empty = values["empty stream"];
  empty.kind = ModelValue::Kind::kStream;
  empty.last_id = empty.max_deleted_id = {5, 6};
  empty.entries_added = 3;
  auto& fresh = values["fresh stream"];
  fresh.kind = ModelValue::Kind::kStream;
  fresh.groups = {{"g", {}, 0, {}, {{"c", 1700000000000, 1700000000000, {}}}}};
  return values;
}

}  // namespace tessera::persistence
