#include "persistence/rdb_value_writer.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <limits>

#include "persistence/integer_text.h"
#include "persistence/lzf.h"
#include "persistence/rdb_format.h"
#include "persistence/rdb_stream.h"

namespace tessera::persistence {
namespace {

constexpr size_t kCompressFromBytes = 21;
constexpr size_t kShortTextBytesMax = 11;  // "-2147483648"
// Field expiries count from a base. Only their sum means anything, and with this base no look ahead is needed.
constexpr uint64_t kFieldExpiryBaseMs = 1;

int WriteLength(uint64_t length, char* out) {
  if (length < 64) {
    out[0] = static_cast<char>(length);
    return 1;
  }
  if (length < 16384) {
    out[0] = static_cast<char>(0x40 | (length >> 8));
    out[1] = static_cast<char>(length);
    return 2;
  }
  int bytes = length <= std::numeric_limits<uint32_t>::max() ? 4 : 8;
  out[0] = static_cast<char>(bytes == 4 ? 0x80 : 0x81);
  for (int i = 0; i < bytes; ++i) out[1 + i] = static_cast<char>(length >> (8 * (bytes - 1 - i)));
  return 1 + bytes;
}

}  // namespace

void RdbValueWriter::AppendLittleEndian(uint64_t number, int bytes) {
  for (int i = 0; i < bytes; ++i) AppendByte(static_cast<uint8_t>(number >> (8 * i)));
}

void RdbValueWriter::AppendLength(uint64_t length) {
  char bytes[9];
  out_->append(bytes, static_cast<size_t>(WriteLength(length, bytes)));
}

void RdbValueWriter::AppendString(std::string_view text) {
  if (text.size() <= kShortTextBytesMax) {
    if (std::optional<int32_t> number = ExactInteger<int32_t>(text)) {
      int form = *number == static_cast<int8_t>(*number) ? 0 : *number == static_cast<int16_t>(*number) ? 1 : 2;
      AppendByte(static_cast<uint8_t>(0xc0 | form));
      return AppendLittleEndian(static_cast<uint32_t>(*number), 1 << form);
    }
  }
  if (compress_ && text.size() >= kCompressFromBytes) {
    // Compressed in place behind room for the longest lengths, then moved up to the real ones.
    constexpr size_t kRoom = 1 + 9 + 9;
    size_t begin = out_->size();
    out_->append(kRoom, '\0');
    if (size_t length = LzfCompress(text, out_)) {
      char head[kRoom] = {'\xc3'};
      int head_bytes = 1 + WriteLength(length, head + 1);
      head_bytes += WriteLength(text.size(), head + head_bytes);
      out_->replace(begin, kRoom, head, static_cast<size_t>(head_bytes));
      return;
    }
    out_->resize(begin);
  }
  AppendLength(text.size());
  out_->append(text);
}

void RdbValueWriter::Begin(const EntryHeader& header, uint8_t type, uint64_t count) {
  assert(count != kCountUnknown && parts_left_ == 0 && !in_stream_);
  Prefix(header, type);
  parts_left_ = count;
}

void RdbValueWriter::CountPart() {
  assert(parts_left_ > 0);
  --parts_left_;
}

void RdbValueWriter::String(const EntryHeader& header, std::string_view value) {
  Record record(this);
  Begin(header, kRdbTypeString, 0);
  AppendString(value);
}

void RdbValueWriter::BeginList(const EntryHeader& header, uint64_t count) {
  Record record(this);
  Begin(header, kRdbTypeList, count);
  AppendLength(count);
}

void RdbValueWriter::BeginSet(const EntryHeader& header, uint64_t count) {
  Record record(this);
  Begin(header, kRdbTypeSet, count);
  AppendLength(count);
}

void RdbValueWriter::Item(std::string_view value) {
  Record record(this);
  CountPart();
  AppendString(value);
}

void RdbValueWriter::BeginHash(const EntryHeader& header, uint64_t count, bool some_expire) {
  Record record(this);
  some_expire_ = some_expire && field_expiry_;
  left_out_ += some_expire && !field_expiry_;
  Begin(header, some_expire_ ? kRdbTypeHashExpiry : kRdbTypeHash, count);
  if (some_expire_) AppendLittleEndian(kFieldExpiryBaseMs, 8);
  AppendLength(count);
}

void RdbValueWriter::Pair(std::string_view field, std::string_view value, int64_t expiry_ms) {
  Record record(this);
  CountPart();
  assert(some_expire_ || !field_expiry_ || expiry_ms == kNoExpiry);
  if (some_expire_) {
    // A time before 1970 would look like none at all; to expire at 1 ms is as much in the past.
    AppendLength(expiry_ms == kNoExpiry ? 0 : static_cast<uint64_t>(std::max<int64_t>(expiry_ms, 1)));
  }
  AppendString(field);
  AppendString(value);
}

void RdbValueWriter::BeginSortedSet(const EntryHeader& header, uint64_t count) {
  Record record(this);
  Begin(header, kRdbTypeZset, count);
  AppendLength(count);
}

void RdbValueWriter::Scored(std::string_view member, double score) {
  Record record(this);
  CountPart();
  AppendString(member);
  AppendLittleEndian(std::bit_cast<uint64_t>(score), 8);
}

void RdbValueWriter::BeginStream(const EntryHeader& header, const StreamInfo& info) {
  Record record(this);
  Begin(header, kRdbTypeStream2, info.length);
  in_stream_ = true;
  stream_ = info;
  groups_left_ = info.group_count;
  AppendLength((info.length + kStreamNodeEntries - 1) / kStreamNodeEntries);
  if (info.length == 0) AppendStreamTotals();
}

void RdbValueWriter::StartNode(StreamId id, std::span<const std::string_view> fields_and_values) {
  node_id_ = id;
  node_entries_left_ = std::min(kStreamNodeEntries, parts_left_);
  node_names_.clear();
  node_name_ends_.clear();
  node_.Start();
  node_.AppendInteger(static_cast<int64_t>(node_entries_left_));
  node_.AppendInteger(0);  // deleted ones
  node_.AppendInteger(static_cast<int64_t>(fields_and_values.size() / 2));
  for (size_t i = 0; i < fields_and_values.size(); i += 2) {
    node_.Append(fields_and_values[i]);
    node_names_ += fields_and_values[i];
    node_name_ends_.push_back(node_names_.size());
  }
  node_.AppendInteger(0);
}

bool RdbValueWriter::HasFieldsOfNode(std::span<const std::string_view> fields_and_values) const {
  if (fields_and_values.size() != 2 * node_name_ends_.size()) return false;
  size_t begin = 0;
  for (size_t i = 0; i < node_name_ends_.size(); ++i) {
    std::string_view name(node_names_.data() + begin, node_name_ends_[i] - begin);
    if (fields_and_values[2 * i] != name) return false;
    begin = node_name_ends_[i];
  }
  return true;
}

void RdbValueWriter::Entry(StreamId id, std::span<const std::string_view> fields_and_values) {
  Record record(this);
  assert(in_stream_ && fields_and_values.size() % 2 == 0);
  if (node_entries_left_ == 0) StartNode(id, fields_and_values);
  CountPart();
  bool same_fields = HasFieldsOfNode(fields_and_values);
  int64_t fields = static_cast<int64_t>(fields_and_values.size() / 2);
  node_.AppendInteger(same_fields ? kStreamEntrySameFields : 0);
  node_.AppendInteger(static_cast<int64_t>(id.ms - node_id_.ms));
  node_.AppendInteger(static_cast<int64_t>(id.sequence - node_id_.sequence));
  if (!same_fields) node_.AppendInteger(fields);
  for (size_t i = 0; i < fields_and_values.size(); ++i) {
    if (!same_fields || i % 2 == 1) node_.Append(fields_and_values[i]);
  }
  node_.AppendInteger(same_fields ? 3 + fields : 4 + 2 * fields);  // elements of this entry, to step back over it
  if (--node_entries_left_ == 0) FinishNode();
  if (parts_left_ == 0) AppendStreamTotals();
}

void RdbValueWriter::FinishNode() {
  std::string_view node = node_.Finish();
  if (node.empty()) failed_ = true;
  AppendLength(16);
  AppendRawId(node_id_);
  AppendString(node);
}

void RdbValueWriter::AppendStreamTotals() {
  AppendLength(stream_.length);
  for (StreamId id : {stream_.last_id, stream_.first_id, stream_.max_deleted_id}) {
    AppendLength(id.ms);
    AppendLength(id.sequence);
  }
  AppendLength(stream_.entries_added);
  AppendLength(stream_.group_count);
}

void RdbValueWriter::AppendRawId(StreamId id) {
  for (uint64_t half : {id.ms, id.sequence}) {
    for (int shift = 56; shift >= 0; shift -= 8) AppendByte(static_cast<uint8_t>(half >> shift));
  }
}

void RdbValueWriter::Group(const StreamGroup& group) {
  Record record(this);
  assert(in_stream_ && parts_left_ == 0 && groups_left_ > 0 && pending_left_ == 0 && consumers_left_ == 0 &&
         consumer_pending_left_ == 0);
  --groups_left_;
  pending_left_ = group.pending_count;
  consumers_left_ = group.consumer_count;
  AppendString(group.name);
  AppendLength(group.last_id.ms);
  AppendLength(group.last_id.sequence);
  AppendLength(static_cast<uint64_t>(group.entries_read));
  AppendLength(group.pending_count);
  if (pending_left_ == 0) AppendLength(consumers_left_);
}

void RdbValueWriter::Pending(const StreamPending& pending) {
  Record record(this);
  assert(pending_left_ > 0);
  AppendRawId(pending.id);
  AppendLittleEndian(static_cast<uint64_t>(pending.delivered_ms), 8);
  AppendLength(pending.delivery_count);
  if (--pending_left_ == 0) AppendLength(consumers_left_);
}

void RdbValueWriter::Consumer(const StreamConsumer& consumer) {
  Record record(this);
  assert(consumers_left_ > 0 && pending_left_ == 0 && consumer_pending_left_ == 0);
  --consumers_left_;
  consumer_pending_left_ = consumer.pending_count;
  AppendString(consumer.name);
  AppendLittleEndian(static_cast<uint64_t>(consumer.seen_ms), 8);
  AppendLength(consumer.pending_count);
}

void RdbValueWriter::ConsumerPending(StreamId id) {
  Record record(this);
  assert(consumer_pending_left_ > 0);
  --consumer_pending_left_;
  AppendRawId(id);
}

void RdbValueWriter::EndValue() {
  assert(parts_left_ == 0 && groups_left_ == 0 && pending_left_ == 0 && consumers_left_ == 0 &&
         consumer_pending_left_ == 0);
  in_stream_ = false;
}

}  // namespace tessera::persistence
