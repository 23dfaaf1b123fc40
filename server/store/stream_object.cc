#include "server/store/stream_object.h"

#include <algorithm>

namespace tessera::store {
namespace {

constexpr uint8_t kDeleted = 1;
constexpr uint8_t kSameFields = 2;
constexpr uint8_t kLongString = 0xf0;
enum Form : uint8_t { kNextSequence = 0, kNextMs = 1, kLaterMs = 2, kLaterSequence = 3 };

void AppendVarint(uint64_t value, PackBuffer* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

uint64_t ReadVarint(const uint8_t*& p) {
  uint64_t value = *p & 0x7f;
  for (int shift = 7; (*p++ & 0x80) != 0; shift += 7) value |= static_cast<uint64_t>(*p & 0x7f) << shift;
  return value;
}

// What values take in a listpack, the length behind them included.
uint32_t ListpackBytes(int64_t value) {
  if (value >= 0 && value < 128) return 2;
  if (value >= -4096 && value < 4096) return 3;
  const uint64_t magnitude = static_cast<uint64_t>(value < 0 ? ~value : value);
  const int bits = std::bit_width(magnitude) + 1;
  return bits <= 16 ? 4 : bits <= 24 ? 5 : bits <= 32 ? 6 : 10;
}

uint32_t ListpackBytesOfText(size_t length) {
  const size_t forward = length + (length < 64 ? 1 : length < 4096 ? 2 : 5);
  const int backward = forward < 128 ? 1 : forward < 16384 ? 2 : forward < (1u << 21) ? 3 : forward < (1u << 28) ? 4 : 5;
  return static_cast<uint32_t>(forward + static_cast<size_t>(backward));
}

uint32_t ListpackBytesOf(std::string_view text) {
  const auto integer = ParseCanonicalInteger(text);
  return integer ? ListpackBytes(*integer) : ListpackBytesOfText(text.size());
}

// Packs a value and returns what it would take in a listpack.
uint32_t PackValue(std::string_view text, PackBuffer* out) {
  if (const auto integer = ParseCanonicalInteger(text)) {
    AppendPackedInteger(*integer, out);
    return ListpackBytes(*integer);
  }
  AppendPackedBytes(text, out);
  return ListpackBytesOfText(text.size());
}

}  // namespace

Stream::Stream(uint32_t seed) : blocks_(ElementTree::Use::kStream, seed) { blocks_.SetLimited(); }

std::unique_ptr<Object> Stream::Clone() const {
  auto copy = std::make_unique<Stream>();
  copy->blocks_ = blocks_.Clone();
  copy->length_ = length_;
  copy->last_id_ = last_id_;
  copy->first_id_ = first_id_;
  copy->max_deleted_id_ = max_deleted_id_;
  copy->entries_added_ = entries_added_;
  copy->groups_.reserve(groups_.size());
  for (const auto& group : groups_) copy->groups_.push_back(group->Clone(&copy->group_bytes_));
  return copy;
}

// ---- blocks

Stream::Head Stream::ReadHead(const uint8_t* block) {
  Head head;
  const uint8_t* p = block + kTextAt;
  memcpy(&head.first, p, 16);
  memcpy(&head.last, p + 16, 16);
  memcpy(&head.live, p + 32, 12);
  return head;
}

void Stream::WriteHead(const Head& head, uint8_t* block) {
  uint8_t* p = block + kTextAt;
  memcpy(p, &head.first, 16);
  memcpy(p + 16, &head.last, 16);
  memcpy(p + 32, &head.live, 12);
}

Stream::Block::Block(const uint8_t* element) : head(ReadHead(element)), end(SkipPacked(element)) {
  const uint8_t* p = element + kTextAt + kHeadBytes;
  names.count = ReadVarint(p);
  names.first = p;
  for (uint64_t i = 0; i < names.count; ++i) p = SkipPacked(p);
  entries = p;
}

const uint8_t* Stream::EntryView::Read(const Names& block_names, const uint8_t* at) {
  flags = at++;
  const uint8_t step = *flags >> 4;
  switch (*flags >> 2 & 3) {
    case kNextSequence:
      ++id.sequence;
      break;
    case kNextMs:
      id.ms += step != 0 ? step : ReadVarint(at);
      id.sequence = 0;
      break;
    case kLaterMs:
      id.ms += step != 0 ? step : ReadVarint(at);
      id.sequence = ReadVarint(at);
      break;
    case kLaterSequence:
      id.sequence += ReadVarint(at);
      break;
  }
  size_t values_count;
  if ((*flags & kSameFields) != 0) {
    field_count = values_count = block_names.count;
    names = block_names.first;
  } else {
    field_count = ReadVarint(at);
    values_count = 2 * field_count;
    names = nullptr;
  }
  values = at;
  for (; values_count > 0; --values_count) at = SkipPacked(at);
  return at;
}

// Entries count from the id before the first one.
static StreamId BeforeFirst(StreamId first) { return {first.ms, first.sequence - 1}; }

ElementTree::Cursor Stream::BlockOf(StreamId id) const {
  ElementTree::Cursor at =
      blocks_.LowerBound(id.ms, [id](const uint8_t* block) { return ReadHead(block).first <= id; });
  if (!at.Previous()) return blocks_.End();
  return at;
}

// `text_bytes`: of the new entry's fields and values, as they came.
bool Stream::HasRoom(const Head& head, size_t text_bytes, const StreamLimits& limits) const {
  constexpr uint64_t kBytesMax = kEntryBytesMax;
  const uint64_t bytes_max =
      limits.node_bytes_max == 0 || limits.node_bytes_max > kBytesMax ? kBytesMax : limits.node_bytes_max;
  const uint64_t bytes = uint64_t{head.listpack_bytes} + ListpackBytes(head.live) + ListpackBytes(head.deleted);
  if (bytes + text_bytes >= bytes_max) return false;
  return limits.node_entries_max == 0 || uint64_t{head.live} + head.deleted < limits.node_entries_max;
}

// ---- changes

void Stream::Append(StreamId id, std::span<const std::string_view> fields_and_values, const StreamLimits& limits) {
  STORE_CHECK(id > last_id_ || (id.is_zero() && entries_added_ == 0));
  const size_t field_count = fields_and_values.size() / 2;
  size_t text_bytes = 0;
  for (const std::string_view text : fields_and_values) text_bytes += text.size();

  ElementTree::Cursor tail = blocks_.End();
  if (tail.Previous()) {
    // A last id below the tail's can only be that of an entry deleted and forgotten (XSETID).
    const Head head = ReadHead(tail.element());
    if (id <= head.last || !HasRoom(head, text_bytes, limits)) {
      blocks_.Tighten(tail);
      tail = blocks_.End();
    }
  }
  PackBuffer entry;
  const bool begins = !tail.valid();
  if (begins) {
    Head head = {.first = id, .last = BeforeFirst(id), .live = 0, .deleted = 0, .listpack_bytes = 7 + 2};
    head.listpack_bytes += ListpackBytes(static_cast<int64_t>(field_count));
    PackBuffer block;
    for (size_t i = 0; i < kTextAt + kHeadBytes; ++i) block.push_back(0);
    AppendVarint(field_count, &block);
    for (size_t i = 0; i < fields_and_values.size(); i += 2) {
      AppendPackedBytes(fields_and_values[i], &block);
      head.listpack_bytes += ListpackBytesOf(fields_and_values[i]);
    }
    auto* bytes = reinterpret_cast<uint8_t*>(const_cast<char*>(block.view().data()));
    bytes[0] = kLongString;
    const auto length = static_cast<uint32_t>(block.size() - kTextAt);
    memcpy(bytes + 1, &length, sizeof(length));
    WriteHead(head, bytes);
    blocks_.PushBack(block);
    tail = blocks_.End();
    STORE_CHECK(tail.Previous());
  }

  const Block block(tail.element());
  Head head = block.head;
  bool same_fields = field_count == block.names.count;
  const uint8_t* name = block.names.first;
  for (size_t i = 0; same_fields && i < field_count; ++i) {
    same_fields = Unpack(name).text == fields_and_values[2 * i];
    name = SkipPacked(name);
  }
  uint8_t flags = same_fields ? kSameFields : 0;
  const uint64_t ms_step = id.ms - head.last.ms;
  Form form;
  if (ms_step == 0) {
    form = id.sequence == head.last.sequence + 1 ? kNextSequence : kLaterSequence;
  } else {
    form = id.sequence == 0 ? kNextMs : kLaterMs;
    if (ms_step < 16) flags |= static_cast<uint8_t>(ms_step << 4);
  }
  entry.push_back(static_cast<char>(flags | form << 2));
  if (ms_step >= 16) AppendVarint(ms_step, &entry);
  if (form == kLaterMs) AppendVarint(id.sequence, &entry);
  if (form == kLaterSequence) AppendVarint(id.sequence - head.last.sequence, &entry);
  head.listpack_bytes += ListpackBytes(static_cast<int64_t>(flags & kSameFields)) +
                         ListpackBytes(static_cast<int64_t>(id.ms - head.first.ms)) +
                         ListpackBytes(static_cast<int64_t>(id.sequence - head.first.sequence));
  if (!same_fields) {
    AppendVarint(field_count, &entry);
    head.listpack_bytes += ListpackBytes(static_cast<int64_t>(field_count));
  }
  for (size_t i = 0; i < field_count; ++i) {
    if (!same_fields) {
      AppendPackedBytes(fields_and_values[2 * i], &entry);
      head.listpack_bytes += ListpackBytesOf(fields_and_values[2 * i]);
    }
    head.listpack_bytes += PackValue(fields_and_values[2 * i + 1], &entry);
  }
  head.listpack_bytes += ListpackBytes(static_cast<int64_t>(same_fields ? field_count + 3 : 2 * field_count + 4));
  head.last = id;
  ++head.live;

  const auto old_size = static_cast<size_t>(block.end - tail.element());
  uint8_t* grown = blocks_.Resize(tail, old_size + entry.size());
  memcpy(grown + old_size, entry.view().data(), entry.size());
  const auto length = static_cast<uint32_t>(old_size + entry.size() - kTextAt);
  memcpy(grown + 1, &length, sizeof(length));
  WriteHead(head, grown);

  if (length_ == 0) first_id_ = id;
  last_id_ = id;
  ++length_;
  ++entries_added_;
}

// At the byte of an entry's flags, from the beginning of its block.
void Stream::MarkDeleted(const ElementTree::Cursor& block, const Head& head, size_t flag_at) {
  uint8_t* bytes = blocks_.Resize(block, block.bytes().size());
  bytes[flag_at] |= kDeleted;
  WriteHead(head, bytes);
}

bool Stream::Erase(StreamId id) {
  const ElementTree::Cursor at = BlockOf(id);
  if (!at.valid()) return false;
  const Block block(at.element());
  if (block.head.last < id) return false;
  EntryView entry{.id = BeforeFirst(block.head.first)};
  for (const uint8_t* p = block.entries; p < block.end;) {
    p = entry.Read(block.names, p);
    if (entry.id < id) continue;
    if (entry.id > id || entry.deleted()) return false;
    if (block.head.live == 1) {
      blocks_.Erase(at);
    } else {
      Head head = block.head;
      --head.live;
      ++head.deleted;
      MarkDeleted(at, head, static_cast<size_t>(entry.flags - at.element()));
    }
    --length_;
    if (id == first_id_) FindFirst();
    return true;
  }
  return false;
}

uint64_t Stream::Trim(const StreamTrim& trim) {
  if (trim.by == StreamTrim::By::kNothing) return 0;
  const bool by_length = trim.by == StreamTrim::By::kLength;
  uint64_t gone = 0, blocks_gone = 0;
  ElementTree::Cursor at = blocks_.Begin();
  for (; at.valid(); at.Next()) {
    if (by_length && length_ - gone <= trim.length_max) break;
    const Head head = ReadHead(at.element());
    if (trim.limit != 0 && gone + head.live > trim.limit) break;
    if (by_length ? length_ - gone - head.live < trim.length_max : head.last >= trim.id_min) {
      if (trim.whole_blocks) break;
      // The last of it: some entries of this block.
      const Block block(at.element());
      const size_t size = at.bytes().size();
      std::vector<size_t> marks;
      EntryView entry{.id = BeforeFirst(head.first)};
      for (const uint8_t* p = block.entries; p < block.end;) {
        p = entry.Read(block.names, p);
        if (by_length ? length_ - gone <= trim.length_max : entry.id >= trim.id_min) break;
        if (entry.deleted()) continue;
        marks.push_back(static_cast<size_t>(entry.flags - at.element()));
        ++gone;
      }
      if (marks.empty()) break;
      Head left = head;
      left.live -= static_cast<uint32_t>(marks.size());
      left.deleted += static_cast<uint32_t>(marks.size());
      if (left.live == 0) {  // its last entry, deleted before, is younger than what is to go
        ++blocks_gone;
        break;
      }
      uint8_t* bytes = blocks_.Resize(at, size);
      for (const size_t mark : marks) bytes[mark] |= kDeleted;
      WriteHead(left, bytes);
      break;
    }
    gone += head.live;
    ++blocks_gone;
  }
  blocks_.EraseRange(0, blocks_gone);
  if (gone == 0) return 0;
  length_ -= gone;
  FindFirst();
  return gone;
}

void Stream::FindFirst() {
  first_id_ = {};
  if (length_ == 0) return;
  Reader reader(*this, {}, kStreamIdMax);
  STORE_CHECK(reader.Next());
  first_id_ = reader.id();
}

bool Stream::Contains(StreamId id) const { return Reader(*this, id, id).Next(); }

StreamId Stream::top_id() const {
  ElementTree::Cursor tail = blocks_.End();
  STORE_CHECK(tail.Previous());
  const Head head = ReadHead(tail.element());
  if (head.deleted == 0) return head.last;
  Reader reader(*this, {}, kStreamIdMax, Reader::Direction::kBackward);
  STORE_CHECK(reader.Next());
  return reader.id();
}

StreamId Stream::front_id() const {
  const ElementTree::Cursor front = blocks_.Begin();
  return front.valid() ? ReadHead(front.element()).first : kStreamIdMax;
}

// ---- what is known

bool Stream::MayHaveGapsFrom(StreamId id) const {
  return length_ != 0 && !max_deleted_id_.is_zero() && first_id_ <= max_deleted_id_ && id <= max_deleted_id_;
}

int64_t Stream::CountEverAddedUpTo(StreamId id) const {
  const auto added = static_cast<int64_t>(entries_added_);
  if (added == 0) return 0;
  if (length_ == 0 && id <= last_id_) return added;
  if (id == last_id_) return added;
  if (id > last_id_) return kEntriesReadUnknown;
  if (max_deleted_id_.is_zero() || max_deleted_id_ < first_id_) {
    if (id < first_id_) return added - static_cast<int64_t>(length_);
    if (id == first_id_) return added - static_cast<int64_t>(length_) + 1;
  }
  return kEntriesReadUnknown;
}

// ---- groups

namespace {

auto Place(const std::vector<std::unique_ptr<StreamGroup>>& groups, std::string_view name) {
  return std::lower_bound(groups.begin(), groups.end(), name,
                          [](const auto& group, std::string_view wanted) { return group->name() < wanted; });
}

}  // namespace

StreamGroup* Stream::FindGroup(std::string_view name) const {
  const auto place = Place(groups_, name);
  return place != groups_.end() && (*place)->name() == name ? place->get() : nullptr;
}

StreamGroup* Stream::AddGroup(std::string_view name, StreamId last_id, int64_t entries_read) {
  if (FindGroup(name) != nullptr) return nullptr;
  const auto place = groups_.insert(Place(groups_, name), std::make_unique<StreamGroup>(name, &group_bytes_));
  (*place)->last_id = last_id;
  (*place)->entries_read = entries_read;
  return place->get();
}

bool Stream::RemoveGroup(std::string_view name) {
  const auto place = Place(groups_, name);
  if (place == groups_.end() || (*place)->name() != name) return false;
  group_bytes_ -= (*place)->MemoryBytes();
  groups_.erase(place);
  return true;
}

// ---- reading

Stream::Reader::Reader(const Stream& stream, StreamId first, StreamId last, Direction direction)
    : first_(first), last_(last), direction_(direction), at_(stream.blocks_.Begin()) {
  if (direction == Direction::kForward) {
    if (const ElementTree::Cursor block = stream.BlockOf(first); block.valid()) at_ = block;
  } else {
    at_ = stream.BlockOf(last);
  }
  Enter();
}

// Reads the block's head; backward its entries too.
void Stream::Reader::Enter() {
  next_ = end_ = nullptr;
  rest_.clear();
  if (!at_.valid()) return;
  const Block block(at_.element());
  names_ = block.names;
  next_ = block.entries;
  end_ = block.end;
  entry_.id = BeforeFirst(block.head.first);
  if (direction_ == Direction::kForward) return;
  rest_.reserve(block.head.live);
  EntryView entry{.id = entry_.id};
  for (const uint8_t* p = block.entries; p < block.end;) {
    p = entry.Read(block.names, p);
    if (entry.id > last_) break;
    if (entry.id >= first_ && !entry.deleted()) rest_.push_back(entry);
  }
}

bool Stream::Reader::Next() { return direction_ == Direction::kForward ? NextForward() : NextBackward(); }

bool Stream::Reader::NextForward() {
  while (at_.valid()) {
    while (next_ < end_) {
      next_ = entry_.Read(names_, next_);
      if (entry_.id > last_) {
        next_ = end_;
        return false;
      }
      if (entry_.id >= first_ && !entry_.deleted()) return true;
    }
    at_.Next();
    Enter();
  }
  return false;
}

bool Stream::Reader::NextBackward() {
  while (rest_.empty()) {
    if (!at_.valid() || ReadHead(at_.element()).first < first_ || !at_.Previous()) return false;
    Enter();
  }
  entry_ = rest_.back();
  rest_.pop_back();
  return true;
}

// ---- tests

void Stream::CheckInvariants() const {
  blocks_.CheckInvariants();
  uint64_t length = 0;
  StreamId before, first;
  for (auto at = blocks_.Begin(); at.valid(); at.Next()) {
    const Block block(at.element());
    uint32_t live = 0, deleted = 0;
    EntryView entry{.id = BeforeFirst(block.head.first)};
    for (const uint8_t* p = block.entries; p < block.end;) {
      p = entry.Read(block.names, p);
      STORE_CHECK(p <= block.end);
      STORE_CHECK(entry.id > before || before.is_zero());
      before = entry.id;
      if (!entry.deleted() && length + live == 0) first = entry.id;
      ++(entry.deleted() ? deleted : live);
    }
    STORE_CHECK(live > 0 && live == block.head.live && deleted == block.head.deleted && before == block.head.last);
    length += live;
  }
  STORE_CHECK(length == length_ && first == first_id_ && before <= last_id_);
  size_t bytes = 0;
  for (const auto& group : groups_) {
    group->CheckInvariants();
    bytes += group->MemoryBytes();
  }
  STORE_CHECK(bytes == group_bytes_);
}

}  // namespace tessera::store
