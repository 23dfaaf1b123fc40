#include "server/values/value_builder.h"

#include <utility>

#include "server/store/check.h"
#include "server/store/hash_object.h"
#include "server/store/list_object.h"
#include "server/values/limits.h"

namespace tessera {

using persistence::EntryHeader;

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

// TODO-TYPES
void ValueBuilder::BeginStream(const EntryHeader&, const persistence::StreamInfo&) { STORE_CHECK(false); }
void ValueBuilder::Entry(persistence::StreamId, std::span<const std::string_view>) { STORE_CHECK(false); }
void ValueBuilder::Group(const persistence::StreamGroup&) { STORE_CHECK(false); }
void ValueBuilder::Pending(const persistence::StreamPending&) { STORE_CHECK(false); }
void ValueBuilder::Consumer(const persistence::StreamConsumer&) { STORE_CHECK(false); }
void ValueBuilder::ConsumerPending(persistence::StreamId) { STORE_CHECK(false); }

void ValueBuilder::EndValue() {
  if (value_.object->type() == store::Type::kList) As<store::List>().ChooseEncoding(ListLimitsOf(config_));
  complete_ = true;
}

}  // namespace tessera
