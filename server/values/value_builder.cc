#include "server/values/value_builder.h"

#include <utility>

#include "server/store/check.h"
#include "server/store/hash_object.h"
#include "server/store/list_object.h"
#include "server/values/limits.h"

namespace tessera {

using persistence::EntryHeader;

namespace {

store::StreamId Inside(persistence::StreamId id) { return {.ms = id.ms, .sequence = id.sequence}; }

}  // namespace

bool BuiltValue::Store(store::Database& db, const store::KeyRef& key, store::Expiry expiry) {
  if (object != nullptr) return db.SetObject(key, std::move(object), expiry);
  return db.SetString(key, text, expiry);
}

BuiltValue ValueBuilder::Take() {
  complete_ = false;
  return std::exchange(value_, {});
}

void ValueBuilder::Begin(const EntryHeader& header, std::unique_ptr<store::Object> object) {
  key_ = header.key;
  value_ = {.header = header, .text = {}, .object = std::move(object), .error = {}};
  value_.header.key = key_;
  complete_ = false;
}

void ValueBuilder::Fail(std::string reason) {
  if (value_.error.empty()) value_.error = std::move(reason);
}

void ValueBuilder::String(const EntryHeader& header, std::string_view value) {
  Begin(header, nullptr);
  value_.text = value;
  complete_ = true;
}

void ValueBuilder::BeginHash(const EntryHeader& header, uint64_t, bool) {
  Begin(header, std::make_unique<store::Hash>(seed_));
}

void ValueBuilder::Pair(std::string_view field, std::string_view value, int64_t expiry_ms) {
  if (As<store::Hash>().Set(field, value, HashLimitsOf(config_)) != store::Hash::SetResult::kAdded) {
    Fail("a hash field stands twice");
  }
  if (expiry_ms != persistence::kNoExpiry) As<store::Hash>().SetExpiry(field, expiry_ms);
}

void ValueBuilder::BeginList(const EntryHeader& header, uint64_t) {
  Begin(header, std::make_unique<store::List>(seed_));
}

void ValueBuilder::BeginSet(const EntryHeader& header, uint64_t count) {
  auto set = std::make_unique<store::Set>(seed_);
  if (count != persistence::kCountUnknown) set->Expect(count, SetLimitsOf(config_));
  Begin(header, std::move(set));
}

void ValueBuilder::Item(std::string_view value) {
  if (value_.object->type() == store::Type::kSet) {
    if (!As<store::Set>().Add(value, SetLimitsOf(config_))) Fail("a set member stands twice");
    return;
  }
  STORE_CHECK(value_.object->type() == store::Type::kList);
  As<store::List>().Push(store::List::Side::kTail, value);
}

void ValueBuilder::BeginSortedSet(const EntryHeader& header, uint64_t count) {
  auto set = std::make_unique<store::SortedSet>(seed_);
  if (count != persistence::kCountUnknown) set->Expect(count, 0, SortedSetLimitsOf(config_));
  Begin(header, std::move(set));
}

void ValueBuilder::Scored(std::string_view member, double score) {
  if (!As<store::SortedSet>().Set(member, score, SortedSetLimitsOf(config_))) Fail("a sorted set member stands twice");
}

void ValueBuilder::BeginStream(const EntryHeader& header, const persistence::StreamInfo& info) {
  Begin(header, std::make_unique<store::Stream>(seed_));
  stream_info_ = info;
  group_ = nullptr;
  consumer_ = nullptr;
  pending_unowned_ = 0;
}

void ValueBuilder::Entry(persistence::StreamId id, std::span<const std::string_view> fields_and_values) {
  store::Stream& stream = As<store::Stream>();
  if (Inside(id) <= stream.last_id()) return Fail("the entries of a stream are out of order");
  stream.Append(Inside(id), fields_and_values, StreamLimitsOf(config_));
}

void ValueBuilder::StreamTotals(const persistence::StreamInfo& info) { stream_info_ = info; }

// What the stream remembers of its past; behind the entries, which count as added just now.
void ValueBuilder::SetStreamState() {
  if (stream_info_.length == persistence::kCountUnknown) return;
  store::Stream& stream = As<store::Stream>();
  if (Inside(stream_info_.last_id) < stream.last_id()) return Fail("the last id of a stream is below that of an entry");
  stream.SetLastId(Inside(stream_info_.last_id));
  stream.SetMaxDeletedId(Inside(stream_info_.max_deleted_id));
  stream.SetEntriesAdded(stream_info_.entries_added);
}

void ValueBuilder::Group(const persistence::StreamGroup& group) {
  group_ = As<store::Stream>().AddGroup(group.name, Inside(group.last_id), group.entries_read);
  consumer_ = nullptr;
  if (group_ != nullptr) return;
  Fail("a consumer group stands twice");
  group_ = As<store::Stream>().FindGroup(group.name);
}

void ValueBuilder::Pending(const persistence::StreamPending& pending) {
  if (group_->Find(Inside(pending.id))) return Fail("an entry is pending twice");
  group_->Put({.id = Inside(pending.id),
               .consumer = store::StreamGroup::kNobody,
               .delivered_ms = pending.delivered_ms,
               .deliveries = pending.delivery_count});
  ++pending_unowned_;
}

void ValueBuilder::Consumer(const persistence::StreamConsumer& consumer) {
  consumer_ = group_->FindConsumer(consumer.name);
  if (consumer_ != nullptr) return Fail("a consumer stands twice");
  consumer_ = &group_->AddConsumer(consumer.name, consumer.seen_ms);
  consumer_->active_ms = consumer.active_ms;
}

void ValueBuilder::ConsumerPending(persistence::StreamId id) {
  auto entry = group_->Find(Inside(id));
  if (!entry || entry->consumer != store::StreamGroup::kNobody)
    return Fail("a consumer holds an entry that is not its to hold");
  entry->consumer = consumer_->number();
  group_->Put(*entry);
  --pending_unowned_;
}

void ValueBuilder::EndValue() {
  if (value_.object->type() == store::Type::kList) As<store::List>().ChooseEncoding(ListLimitsOf(config_));
  if (value_.object->type() == store::Type::kStream) {
    SetStreamState();
    if (pending_unowned_ > 0) Fail("a pending entry has no consumer");
  }
  complete_ = true;
}

}  // namespace tessera
