#include "server/values/value_walk.h"

#include <limits>

#include "server/store/check.h"
#include "server/store/hash_object.h"
#include "server/store/list_object.h"
#include "server/store/set_object.h"
#include "server/store/sorted_set_object.h"
#include "server/values/stream_walk.h"

namespace tessera {
namespace {

using persistence::EntryHeader;
using persistence::SnapshotVisitor;

// Values whose parts are the elements of one tree. `Shape` begins the value and tells about an element.
template <typename Value, typename Shape>
class TreeWalk final : public ValueWalk {
 public:
  TreeWalk(const Value& value, const EntryHeader& header) : value_(value), header_(header), at_(value.elements().Begin()) {}

  bool Step(SnapshotVisitor& visitor, size_t parts) override {
    if (!begun_) Shape::Begin(value_, header_, visitor);
    begun_ = true;
    for (; at_.valid(); at_.Next()) {
      if (parts-- == 0) return true;
      Shape::Tell(value_, at_.element(), visitor);
    }
    visitor.EndValue();
    return false;
  }

 private:
  const Value& value_;
  const EntryHeader header_;
  store::ElementTree::Cursor at_;
  bool begun_ = false;
};

struct HashShape {
  static void Begin(const store::Hash& hash, const EntryHeader& header, SnapshotVisitor& visitor) {
    visitor.BeginHash(header, hash.size(), hash.expiring_count() > 0);
  }
  static void Tell(const store::Hash& hash, const uint8_t* element, SnapshotVisitor& visitor) {
    store::IntScratch field_scratch, value_scratch;
    const std::string_view field = store::Unpack(element).Text(field_scratch);
    visitor.Pair(field, store::Hash::ValueOf(element).Text(value_scratch), hash.ExpiryOf(field));
  }
};

struct SortedSetShape {
  static void Begin(const store::SortedSet& set, const EntryHeader& header, SnapshotVisitor& visitor) {
    visitor.BeginSortedSet(header, set.size());
  }
  static void Tell(const auto& /*value*/, const uint8_t* element, SnapshotVisitor& visitor) {
    store::IntScratch member;
    visitor.Scored(store::SortedSet::MemberOf(element).Text(member), store::SortedSet::ScoreOf(element));
  }
};

struct ListShape {
  static void Begin(const store::List& list, const EntryHeader& header, SnapshotVisitor& visitor) {
    visitor.BeginList(header, list.size());
  }
  static void Tell(const auto& /*value*/, const uint8_t* element, SnapshotVisitor& visitor) {
    store::IntScratch scratch;
    visitor.Item(store::Unpack(element).Text(scratch));
  }
};

class SetWalk final : public ValueWalk {
 public:
  SetWalk(const store::Set& set, const EntryHeader& header) : set_(set), header_(header), at_(set) {}

  bool Step(SnapshotVisitor& visitor, size_t parts) override {
    if (!begun_) visitor.BeginSet(header_, set_.size());
    begun_ = true;
    for (; at_.valid(); at_.Next()) {
      if (parts-- == 0) return true;
      store::IntScratch scratch;
      visitor.Item(at_.value().Text(scratch));
    }
    visitor.EndValue();
    return false;
  }

 private:
  const store::Set& set_;
  const EntryHeader header_;
  store::Set::Walk at_;
  bool begun_ = false;
};

}  // namespace

std::unique_ptr<ValueWalk> WalkValue(const store::Object& value, const EntryHeader& header) {
  switch (value.type()) {
    case store::Type::kHash:
      return std::make_unique<TreeWalk<store::Hash, HashShape>>(static_cast<const store::Hash&>(value), header);
    case store::Type::kList:
      return std::make_unique<TreeWalk<store::List, ListShape>>(static_cast<const store::List&>(value), header);
    case store::Type::kSet:
      return std::make_unique<SetWalk>(static_cast<const store::Set&>(value), header);
    case store::Type::kZset:
      return std::make_unique<TreeWalk<store::SortedSet, SortedSetShape>>(static_cast<const store::SortedSet&>(value),
                                                                          header);
    case store::Type::kStream:
      return std::make_unique<StreamWalk>(static_cast<const store::Stream&>(value), header);
    case store::Type::kString:
      break;
  }
  STORE_CHECK(false);  // a type without a walk must not vanish from a save in silence
}

void TellValue(const store::Object& value, const EntryHeader& header, SnapshotVisitor& visitor) {
  (void)WalkValue(value, header)->Step(visitor, std::numeric_limits<size_t>::max());
}

void TellEntry(store::EntryRef entry, const EntryHeader& header, SnapshotVisitor& visitor) {
  if (entry.object() != nullptr) return TellValue(*entry.object(), header, visitor);
  store::IntScratch scratch;
  visitor.String(header, entry.AsString(scratch));
}

}  // namespace tessera
