#include "server/store/stream_group.h"

#include <algorithm>

namespace tessera::store {
namespace {

uint64_t MsOf(const uint8_t* element) { return static_cast<uint64_t>(Unpack(element).integer); }

bool IsBefore(const uint8_t* element, StreamId id) {
  const uint64_t ms = MsOf(element);
  return ms != id.ms ? ms < id.ms : static_cast<uint64_t>(Unpack(SkipPacked(element)).integer) < id.sequence;
}

ElementTree NewTree(ElementTree::Use use) {
  ElementTree tree(use, 0);
  tree.SetLimited();
  return tree;
}

void PackId(StreamId id, PackBuffer* out) {
  AppendPackedInteger(static_cast<int64_t>(id.ms), out);
  AppendPackedInteger(static_cast<int64_t>(id.sequence), out);
}

bool Holds(const ElementTree::Cursor& at, StreamId id) {
  return at.valid() && StreamGroup::IdOf(at.element()) == id;
}

void InsertId(ElementTree& tree, StreamId id, PackedBytes element) {
  tree.InsertSorted(element, [id](const uint8_t* other) { return IsBefore(other, id); });
}

void EraseId(ElementTree& tree, StreamId id) {
  const auto at = StreamGroup::From(tree, id);
  STORE_CHECK(Holds(at, id));
  tree.Erase(at);
}

auto Place(const std::vector<StreamConsumer*>& by_name, std::string_view name) {
  return std::lower_bound(by_name.begin(), by_name.end(), name,
                          [](const StreamConsumer* consumer, std::string_view wanted) { return consumer->name() < wanted; });
}

}  // namespace

// ---- a consumer

StreamConsumer::StreamConsumer(std::string_view name, uint32_t number)
    : name_(name), number_(number), pending_(NewTree(ElementTree::Use::kStreamConsumer)) {}

std::unique_ptr<StreamConsumer> StreamConsumer::Clone() const {
  std::unique_ptr<StreamConsumer> copy(new StreamConsumer(name_, number_));
  copy->seen_ms = seen_ms;
  copy->active_ms = active_ms;
  copy->pending_ = pending_.Clone();
  return copy;
}

// With its places in the group's two lists.
size_t StreamConsumer::MemoryBytes() const {
  const size_t heap_name = name_.capacity() > 15 ? name_.capacity() + 1 : 0;
  return sizeof(*this) + heap_name + 2 * sizeof(void*) + pending_.MemoryBytes();
}

// ---- the group

class StreamGroup::Measured {
 public:
  Measured(StreamGroup& group, const StreamConsumer* first, const StreamConsumer* second = nullptr)
      : group_(group), first_(first), second_(second == first ? nullptr : second), before_(Sum()) {}
  ~Measured() {
    const size_t grown = Sum() - before_;
    group_.bytes_ += grown;
    *group_.owner_bytes_ += grown;
  }

 private:
  size_t Sum() const {
    return group_.pending_.MemoryBytes() + (first_ != nullptr ? first_->pending_.MemoryBytes() : 0) +
           (second_ != nullptr ? second_->pending_.MemoryBytes() : 0);
  }
  StreamGroup& group_;
  const StreamConsumer* first_;
  const StreamConsumer* second_;
  const size_t before_;
};

StreamGroup::StreamGroup(std::string_view name, size_t* owner_bytes)
    : name_(name), pending_(NewTree(ElementTree::Use::kStreamGroup)), owner_bytes_(owner_bytes) {
  bytes_ = sizeof(*this) + sizeof(void*) + (name_.capacity() > 15 ? name_.capacity() + 1 : 0);
  *owner_bytes_ += bytes_;
}

StreamGroup::~StreamGroup() = default;

std::unique_ptr<StreamGroup> StreamGroup::Clone(size_t* owner_bytes) const {
  size_t unused = 0;
  auto copy = std::make_unique<StreamGroup>(name_, &unused);
  copy->owner_bytes_ = owner_bytes;
  copy->last_id = last_id;
  copy->entries_read = entries_read;
  copy->pending_ = pending_.Clone();
  copy->by_number_.reserve(by_number_.size());
  for (const auto& consumer : by_number_) copy->by_number_.push_back(consumer != nullptr ? consumer->Clone() : nullptr);
  copy->by_name_.reserve(by_name_.size());
  for (const StreamConsumer* consumer : by_name_) copy->by_name_.push_back(copy->by_number_[consumer->number()].get());
  copy->bytes_ = bytes_;
  *owner_bytes += bytes_;
  return copy;
}

StreamConsumer* StreamGroup::FindConsumer(std::string_view name) const {
  const auto place = Place(by_name_, name);
  return place != by_name_.end() && (*place)->name() == name ? *place : nullptr;
}

StreamConsumer& StreamGroup::AddConsumer(std::string_view name, int64_t now_ms) {
  auto free = by_number_.end();
  if (by_name_.size() < by_number_.size()) free = std::find(by_number_.begin(), by_number_.end(), nullptr);
  const auto number = static_cast<uint32_t>(free - by_number_.begin());
  std::unique_ptr<StreamConsumer> added(new StreamConsumer(name, number));
  StreamConsumer& consumer = *added;
  consumer.seen_ms = now_ms;
  if (free != by_number_.end()) {
    *free = std::move(added);
  } else {
    by_number_.push_back(std::move(added));
  }
  by_name_.insert(Place(by_name_, name), &consumer);
  bytes_ += consumer.MemoryBytes();
  *owner_bytes_ += consumer.MemoryBytes();
  return consumer;
}

void StreamGroup::RemoveConsumer(StreamConsumer& consumer) {
  {
    const Measured measured(*this, nullptr);
    // Runs of entries that stand side by side in the group's tree too, which is how they were delivered mostly.
    for (auto at = consumer.pending_.Begin(); at.valid();) {
      auto run = From(pending_, IdOf(at.element()));
      const uint64_t rank = run.rank();
      uint64_t count = 0;
      for (; at.valid() && Holds(run, IdOf(at.element())); at.Next(), run.Next()) ++count;
      STORE_CHECK(count > 0);
      pending_.EraseRange(rank, count);
    }
  }
  bytes_ -= consumer.MemoryBytes();
  *owner_bytes_ -= consumer.MemoryBytes();
  by_name_.erase(Place(by_name_, consumer.name()));
  by_number_[consumer.number()].reset();
}

// ---- deliveries

StreamId StreamGroup::IdOf(const uint8_t* element) {
  return {static_cast<uint64_t>(Unpack(element).integer), static_cast<uint64_t>(Unpack(SkipPacked(element)).integer)};
}

PendingEntry StreamGroup::Read(const uint8_t* element) {
  int64_t values[5];
  for (int64_t& value : values) {
    value = Unpack(element).integer;
    element = SkipPacked(element);
  }
  return {.id = {static_cast<uint64_t>(values[0]), static_cast<uint64_t>(values[1])},
          .consumer = static_cast<uint32_t>(values[2]),
          .delivered_ms = values[3],
          .deliveries = static_cast<uint64_t>(values[4])};
}

ElementTree::Cursor StreamGroup::From(const ElementTree& pending, StreamId id) {
  return pending.LowerBound(id.ms, [id](const uint8_t* element) { return IsBefore(element, id); });
}

std::optional<PendingEntry> StreamGroup::Find(StreamId id) const {
  const auto at = From(pending_, id);
  if (!Holds(at, id)) return std::nullopt;
  return Read(at.element());
}

void StreamGroup::Put(const PendingEntry& entry) {
  PackBuffer element;
  PackId(entry.id, &element);
  const size_t id_bytes = element.size();
  AppendPackedInteger(entry.consumer, &element);
  AppendPackedInteger(entry.delivered_ms, &element);
  AppendPackedInteger(static_cast<int64_t>(entry.deliveries), &element);
  StreamConsumer* consumer = entry.consumer == kNobody ? nullptr : &ConsumerAt(entry.consumer);

  const auto at = From(pending_, entry.id);
  if (!Holds(at, entry.id)) {
    const Measured measured(*this, consumer);
    InsertId(pending_, entry.id, element);
    if (consumer != nullptr) InsertId(consumer->pending_, entry.id, element.view().substr(0, id_bytes));
    return;
  }
  const uint32_t old_number = Read(at.element()).consumer;
  StreamConsumer* old = old_number == kNobody ? nullptr : &ConsumerAt(old_number);
  const Measured measured(*this, consumer, old);
  pending_.Replace(at, element);
  if (old == consumer) return;
  if (old != nullptr) EraseId(old->pending_, entry.id);
  if (consumer != nullptr) InsertId(consumer->pending_, entry.id, element.view().substr(0, id_bytes));
}

bool StreamGroup::Remove(StreamId id) {
  const auto at = From(pending_, id);
  if (!Holds(at, id)) return false;
  const uint32_t number = Read(at.element()).consumer;
  StreamConsumer* consumer = number == kNobody ? nullptr : &ConsumerAt(number);
  const Measured measured(*this, consumer);
  pending_.Erase(at);
  if (consumer != nullptr) EraseId(consumer->pending_, id);
  return true;
}

void StreamGroup::CheckInvariants() const {
  pending_.CheckInvariants();
  uint64_t held = 0;
  size_t bytes = sizeof(*this) + sizeof(void*) + (name_.capacity() > 15 ? name_.capacity() + 1 : 0) + pending_.MemoryBytes();
  for (const StreamConsumer* consumer : by_name_) {
    STORE_CHECK(by_number_[consumer->number()].get() == consumer);
    consumer->pending_.CheckInvariants();
    held += consumer->pending_count();
    bytes += consumer->MemoryBytes();
    for (auto at = consumer->pending_.Begin(); at.valid(); at.Next()) {
      const auto entry = Find(IdOf(at.element()));
      STORE_CHECK(entry && entry->consumer == consumer->number());
    }
  }
  STORE_CHECK(held == pending_.count());
  STORE_CHECK(bytes == bytes_);
}

}  // namespace tessera::store
