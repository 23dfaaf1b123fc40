#include "persistence/rdb_stream_reader.h"

#include <algorithm>

#include "persistence/rdb_format.h"
#include "persistence/rdb_stream.h"

namespace tessera::persistence {
namespace {

constexpr int kStepsPerCall = 256;  // of which a node counts as many
constexpr int kStepsPerNode = 64;
constexpr size_t kRawIdBytes = 16;
constexpr std::string_view kBrokenCompression = "compressed data is broken";
constexpr std::string_view kNodeCutShort = "a node of the stream ends within an entry";

StreamId DecodeId(std::string_view bytes) {
  uint64_t halves[2] = {0, 0};
  for (size_t i = 0; i < kRawIdBytes; ++i) halves[i / 8] = halves[i / 8] << 8 | static_cast<uint8_t>(bytes[i]);
  return {halves[0], halves[1]};
}

RdbGot ReadRawId(RdbCursor& cursor, StreamId* id) {
  char bytes[kRawIdBytes];
  for (char& c : bytes) {
    uint8_t byte;
    if (RdbGot got = cursor.Byte(&byte); got != RdbGot::kOk) return got;
    c = static_cast<char>(byte);
  }
  *id = DecodeId({bytes, kRawIdBytes});
  return RdbGot::kOk;
}

RdbGot ReadId(RdbCursor& cursor, StreamId* id) {
  if (RdbGot got = cursor.Length(&id->ms); got != RdbGot::kOk) return got;
  return cursor.Length(&id->sequence);
}

RdbGot ReadTime(RdbCursor& cursor, int64_t* time_ms) {
  uint64_t bits;
  RdbGot got = cursor.LittleEndian(8, &bits);
  if (got == RdbGot::kOk) *time_ms = static_cast<int64_t>(bits);
  return got;
}

// Texts of `elements`; numbers become decimal in `number_texts`.
void ToTexts(const std::vector<PackedElement>& elements, std::string* number_texts,
             std::vector<std::string_view>* texts) {
  texts->clear();
  number_texts->clear();
  number_texts->reserve(elements.size() * PackedElement::kNumberTextMax);  // views of it must stay
  for (const PackedElement& element : elements) {
    char scratch[PackedElement::kNumberTextMax];
    std::string_view text = element.ToText(scratch);
    if (element.is_number) {
      size_t begin = number_texts->size();
      number_texts->append(text);
      text = std::string_view(*number_texts).substr(begin);
    }
    texts->push_back(text);
  }
}

}  // namespace

RdbGot RdbStreamReader::Bad(size_t position, std::string_view reason) {
  bad_position_ = position;
  bad_reason_ = reason;
  return RdbGot::kBad;
}

RdbStep RdbStreamReader::Read(RdbCursor& cursor, SnapshotVisitor& visitor, RdbBad* bad) {
  for (int steps = 0; steps < kStepsPerCall; steps += phase_ == Phase::kNodes ? kStepsPerNode : 1) {
    const size_t begin = cursor.position();
    bad_reason_ = {};
    RdbGot got = ReadOne(cursor, visitor);
    if (got == RdbGot::kOk) {
      if (!done_) continue;
      visitor.EndValue();
      return RdbStep::kDone;
    }
    if (got == RdbGot::kBad) {
      *bad = bad_reason_.empty() ? RdbBad{cursor.bad_position(), cursor.bad_reason()}
                                 : RdbBad{bad_position_, std::string(bad_reason_)};
    }
    cursor.Seek(begin);
    return got == RdbGot::kBad ? RdbStep::kFailed : RdbStep::kNeedMore;
  }
  return RdbStep::kPart;
}

RdbGot RdbStreamReader::ReadOne(RdbCursor& cursor, SnapshotVisitor& visitor) {
  const size_t begin = cursor.position();
  switch (phase_) {
    case Phase::kNodeCount:
      if (RdbGot got = cursor.Length(&nodes_left_); got != RdbGot::kOk) return got;
      visitor.BeginStream(header_, {.length = kCountUnknown});
      phase_ = Phase::kNodes;
      return RdbGot::kOk;
    case Phase::kNodes:
      if (nodes_left_ > 0) return ReadNode(cursor, visitor);
      phase_ = Phase::kTotals;
      return RdbGot::kOk;
    case Phase::kTotals:
      return ReadTotals(cursor, visitor);
    case Phase::kGroups:
      if (groups_left_ > 0) return ReadGroup(cursor, visitor);
      done_ = true;
      return RdbGot::kOk;
    case Phase::kPending:
      if (pending_left_ > 0) return ReadPending(cursor, visitor);
      phase_ = Phase::kConsumerCount;
      return RdbGot::kOk;
    case Phase::kConsumerCount:
      if (RdbGot got = cursor.Length(&consumers_left_); got != RdbGot::kOk) return got;
      owned_.assign(pending_.size(), false);
      phase_ = Phase::kConsumers;
      return RdbGot::kOk;
    case Phase::kConsumers:
      if (consumers_left_ > 0) return ReadConsumer(cursor, visitor);
      if (std::find(owned_.begin(), owned_.end(), false) != owned_.end()) {
        return Bad(begin, "a pending entry of a group belongs to none of its consumers");
      }
      phase_ = Phase::kGroups;
      return RdbGot::kOk;
    case Phase::kOwned:
      if (owned_left_ > 0) return ReadOwned(cursor, visitor);
      phase_ = Phase::kConsumers;
      return RdbGot::kOk;
  }
  return RdbGot::kBad;
}

RdbGot RdbStreamReader::ReadNode(RdbCursor& cursor, SnapshotVisitor& visitor) {
  RdbString first_id, stored;
  if (RdbGot got = cursor.String(&first_id); got != RdbGot::kOk) return got;
  if (RdbGot got = cursor.String(&stored); got != RdbGot::kOk) return got;
  std::string_view id, node;
  if (!RdbCursor::Decode(first_id, &name_scratch_, &id)) return Bad(first_id.position, kBrokenCompression);
  if (id.size() != kRawIdBytes) return Bad(first_id.position, "a node of the stream does not begin with an id");
  if (!RdbCursor::Decode(stored, &node_scratch_, &node)) return Bad(stored.position, kBrokenCompression);
  if (std::string_view reason = ReadEntries(DecodeId(id), node, visitor); !reason.empty()) {
    return Bad(stored.position, reason);
  }
  --nodes_left_;
  return RdbGot::kOk;
}

std::string_view RdbStreamReader::ReadEntries(StreamId first_id, std::string_view node, SnapshotVisitor& visitor) {
  PackedReader reader(PackedFormat::kListpack, node);
  PackedElement element;
  auto number = [&](uint64_t* out) {
    if (reader.Next(&element) != PackedReader::Got::kElement || !element.is_number || element.number < 0) return false;
    *out = static_cast<uint64_t>(element.number);
    return true;
  };
  uint64_t fields, end;
  if (!number(&live_left_) || !number(&deleted_left_) || !number(&fields)) {
    return "a node of the stream has no proper header";
  }
  names_.clear();
  for (; fields > 0; --fields) {
    if (reader.Next(&element) != PackedReader::Got::kElement) return kNodeCutShort;
    names_.push_back(element);
  }
  if (!number(&end) || end != 0) return "a node of the stream has no proper header";
  while (live_left_ > 0 || deleted_left_ > 0) {
    if (std::string_view reason = ReadEntry(reader, first_id, visitor); !reason.empty()) return reason;
  }
  switch (reader.Next(&element)) {
    case PackedReader::Got::kElement:
      return "a node of the stream holds more than it says";
    case PackedReader::Got::kBad:
      return reader.reason();
    case PackedReader::Got::kEnd:
      break;
  }
  return {};
}

std::string_view RdbStreamReader::ReadEntry(PackedReader& reader, StreamId first_id, SnapshotVisitor& visitor) {
  const uint64_t begin = reader.count();
  PackedElement element;
  auto next = [&] { return reader.Next(&element) == PackedReader::Got::kElement; };
  auto number = [&](int64_t* out) {
    if (!next() || !element.is_number) return false;
    *out = element.number;
    return true;
  };
  int64_t flags, ms, sequence, fields = 0;
  if (!number(&flags) || !number(&ms) || !number(&sequence)) return kNodeCutShort;
  if ((flags & ~(kStreamEntryDeleted | kStreamEntrySameFields)) != 0) return "an entry has unknown flags";
  const bool same_fields = (flags & kStreamEntrySameFields) != 0;
  elements_.clear();
  if (same_fields) {
    for (const PackedElement& name : names_) {
      if (!next()) return kNodeCutShort;
      elements_.push_back(name);
      elements_.push_back(element);
    }
  } else {
    if (!number(&fields)) return kNodeCutShort;
    if (fields < 0) return "an entry has a negative number of fields";
    for (int64_t i = 0; i < fields; ++i) {
      for (int half = 0; half < 2; ++half) {
        if (!next()) return kNodeCutShort;
        elements_.push_back(element);
      }
    }
  }
  const uint64_t elements = reader.count() - begin;
  int64_t stated;
  if (!number(&stated)) return kNodeCutShort;
  if (static_cast<uint64_t>(stated) != elements) return "an entry's back-count is wrong";

  if ((flags & kStreamEntryDeleted) != 0) {
    if (deleted_left_ == 0) return "a node of the stream holds more deleted entries than it says";
    --deleted_left_;
    return {};
  }
  if (live_left_ == 0) return "a node of the stream holds more entries than it says";
  --live_left_;
  const StreamId id{first_id.ms + static_cast<uint64_t>(ms), first_id.sequence + static_cast<uint64_t>(sequence)};
  if (id <= last_entry_) return "its entries are not in order of their ids";
  if (elements_.empty()) return "an entry has no fields";
  last_entry_ = id;
  if (info_.length++ == 0) info_.first_id = id;
  ToTexts(elements_, &number_texts_, &texts_);
  visitor.Entry(id, texts_);
  return {};
}

RdbGot RdbStreamReader::ReadTotals(RdbCursor& cursor, SnapshotVisitor& visitor) {
  const size_t begin = cursor.position();
  uint64_t length;
  if (RdbGot got = cursor.Length(&length); got != RdbGot::kOk) return got;
  if (RdbGot got = ReadId(cursor, &info_.last_id); got != RdbGot::kOk) return got;
  info_.entries_added = length;
  if (type_ != kRdbTypeStream1) {
    StreamId first_id;  // what the entries say counts
    if (RdbGot got = ReadId(cursor, &first_id); got != RdbGot::kOk) return got;
    if (RdbGot got = ReadId(cursor, &info_.max_deleted_id); got != RdbGot::kOk) return got;
    if (RdbGot got = cursor.Length(&info_.entries_added); got != RdbGot::kOk) return got;
  }
  if (RdbGot got = cursor.Length(&groups_left_); got != RdbGot::kOk) return got;
  if (length != info_.length) return Bad(begin, "the stream has not as many entries as it says");
  if (info_.last_id < last_entry_) return Bad(begin, "the stream's last id is below its last entry's");
  info_.group_count = groups_left_;
  visitor.StreamTotals(info_);
  phase_ = Phase::kGroups;
  return RdbGot::kOk;
}

// What Redis 7 assumes for groups of older versions: how many entries had been added up to the group's position, when
// that can be known. Nothing is known to be deleted then, and as many were added as there are.
int64_t RdbStreamReader::EstimateEntriesRead(StreamId group_last_id) const {
  if (info_.entries_added == 0) return 0;
  if (group_last_id == info_.last_id) return static_cast<int64_t>(info_.entries_added);
  if (group_last_id > info_.last_id) return kEntriesReadUnknown;
  if (group_last_id < info_.first_id) return 0;
  return group_last_id == info_.first_id ? 1 : kEntriesReadUnknown;
}

RdbGot RdbStreamReader::ReadGroup(RdbCursor& cursor, SnapshotVisitor& visitor) {
  StreamGroup group;
  RdbString name;
  if (RdbGot got = cursor.String(&name); got != RdbGot::kOk) return got;
  if (RdbGot got = ReadId(cursor, &group.last_id); got != RdbGot::kOk) return got;
  if (type_ == kRdbTypeStream1) {
    group.entries_read = EstimateEntriesRead(group.last_id);
  } else {
    uint64_t entries_read;
    if (RdbGot got = cursor.Length(&entries_read); got != RdbGot::kOk) return got;
    group.entries_read = std::max(static_cast<int64_t>(entries_read), kEntriesReadUnknown);
  }
  if (RdbGot got = cursor.Length(&pending_left_); got != RdbGot::kOk) return got;
  if (!RdbCursor::Decode(name, &name_scratch_, &group.name)) return Bad(name.position, kBrokenCompression);
  if (!group_names_.emplace(group.name).second) return Bad(name.position, "two consumer groups have the same name");
  consumer_names_.clear();
  pending_.clear();
  group.pending_count = pending_left_;
  group.consumer_count = kCountUnknown;
  visitor.Group(group);
  --groups_left_;
  phase_ = Phase::kPending;
  return RdbGot::kOk;
}

RdbGot RdbStreamReader::ReadPending(RdbCursor& cursor, SnapshotVisitor& visitor) {
  const size_t begin = cursor.position();
  StreamPending pending;
  if (RdbGot got = ReadRawId(cursor, &pending.id); got != RdbGot::kOk) return got;
  if (RdbGot got = ReadTime(cursor, &pending.delivered_ms); got != RdbGot::kOk) return got;
  if (RdbGot got = cursor.Length(&pending.delivery_count); got != RdbGot::kOk) return got;
  if (!pending_.empty() && pending.id <= pending_.back()) {
    return Bad(begin, "the pending entries of a group are not in order of their ids");
  }
  pending_.push_back(pending.id);
  visitor.Pending(pending);
  --pending_left_;
  return RdbGot::kOk;
}

RdbGot RdbStreamReader::ReadConsumer(RdbCursor& cursor, SnapshotVisitor& visitor) {
  StreamConsumer consumer;
  RdbString name;
  if (RdbGot got = cursor.String(&name); got != RdbGot::kOk) return got;
  if (RdbGot got = ReadTime(cursor, &consumer.seen_ms); got != RdbGot::kOk) return got;
  consumer.active_ms = consumer.seen_ms;  // the best guess for older types
  if (type_ == kRdbTypeStream3) {
    if (RdbGot got = ReadTime(cursor, &consumer.active_ms); got != RdbGot::kOk) return got;
  }
  if (RdbGot got = cursor.Length(&owned_left_); got != RdbGot::kOk) return got;
  if (!RdbCursor::Decode(name, &name_scratch_, &consumer.name)) return Bad(name.position, kBrokenCompression);
  if (!consumer_names_.emplace(consumer.name).second) {
    return Bad(name.position, "two consumers of a group have the same name");
  }
  if (owned_left_ > pending_.size())
    return Bad(name.position, "a consumer owns more entries than its group has pending");
  consumer.pending_count = owned_left_;
  first_owned_ = true;
  visitor.Consumer(consumer);
  --consumers_left_;
  phase_ = Phase::kOwned;
  return RdbGot::kOk;
}

RdbGot RdbStreamReader::ReadOwned(RdbCursor& cursor, SnapshotVisitor& visitor) {
  const size_t begin = cursor.position();
  StreamId id;
  if (RdbGot got = ReadRawId(cursor, &id); got != RdbGot::kOk) return got;
  if (!first_owned_ && id <= last_owned_) return Bad(begin, "a consumer's entries are not in order of their ids");
  auto pending = std::lower_bound(pending_.begin(), pending_.end(), id);
  if (pending == pending_.end() || *pending != id) {
    return Bad(begin, "a consumer owns an entry that is not pending in its group");
  }
  auto owned = owned_.begin() + (pending - pending_.begin());
  if (*owned) return Bad(begin, "two consumers own the same pending entry");
  *owned = true;
  first_owned_ = false;
  last_owned_ = id;
  visitor.ConsumerPending(id);
  --owned_left_;
  return RdbGot::kOk;
}

}  // namespace tessera::persistence
