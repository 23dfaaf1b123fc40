#include "persistence/aof_writer.h"

#include <algorithm>
#include <cassert>
#include <charconv>

namespace tessera::persistence {
namespace {

constexpr uint64_t kItemsPerCommand = 64;

void AppendNumberLine(char mark, uint64_t number, std::string* out) {
  char text[20];
  char* end = std::to_chars(text, text + sizeof(text), number).ptr;
  out->push_back(mark);
  out->append(text, end);
  out->append("\r\n");
}

void AppendWord(std::string_view word, std::string* out) {
  AppendNumberLine('$', word.size(), out);
  out->append(word);
  out->append("\r\n");
}

// The shortest text that reads back as the same number.
class NumberText {
 public:
  template <typename Number>
  explicit NumberText(Number number) : end_(std::to_chars(text_, text_ + sizeof(text_), number).ptr) {}
  operator std::string_view() const { return {text_, static_cast<size_t>(end_ - text_)}; }  // NOLINT: implicit

 private:
  char text_[32];
  char* end_;
};

class IdText {
 public:
  explicit IdText(StreamId id) {
    end_ = std::to_chars(text_, text_ + sizeof(text_), id.ms).ptr;
    *end_++ = '-';
    end_ = std::to_chars(end_, text_ + sizeof(text_), id.sequence).ptr;
  }
  operator std::string_view() const { return {text_, static_cast<size_t>(end_ - text_)}; }  // NOLINT: implicit

 private:
  char text_[48];
  char* end_;
};

void AppendWords(std::initializer_list<std::string_view> argv, std::string* out) {
  AppendCommand({argv.begin(), argv.size()}, out);
}

}  // namespace

void AppendCommand(std::span<const std::string_view> argv, std::string* out) {
  AppendNumberLine('*', argv.size(), out);
  for (std::string_view argument : argv) AppendWord(argument, out);
}

void AofCommandWriter::Database(uint32_t index, uint64_t, uint64_t) {
  AppendWords({"SELECT", NumberText(index)}, out_);
}

void AofCommandWriter::String(const EntryHeader& header, std::string_view value) {
  AppendWords({"SET", header.key, value}, out_);
  // Not SET ... PXAT: servers before 6.2 read this form too.
  if (header.expiry_ms != kNoExpiry) AppendWords({"PEXPIREAT", header.key, NumberText(header.expiry_ms)}, out_);
}

void AofCommandWriter::Begin(const EntryHeader& header, uint64_t count) {
  assert(count != kCountUnknown && items_left_ == 0);
  key_ = header.key;
  expiry_ms_ = header.expiry_ms;
  items_left_ = count;
}

void AofCommandWriter::OpenBatch(std::string_view command, uint64_t words_per_item) {
  assert(items_left_ > 0);
  --items_left_;
  if (batch_left_ == 0) {
    batch_left_ = std::min(kItemsPerCommand, items_left_ + 1);
    AppendNumberLine('*', 2 + batch_left_ * words_per_item, out_);
    AppendWord(command, out_);
    AppendWord(key_, out_);
  }
  --batch_left_;
}

void AofCommandWriter::BeginList(const EntryHeader& header, uint64_t count) {
  Begin(header, count);
  item_command_ = "RPUSH";
}

void AofCommandWriter::BeginSet(const EntryHeader& header, uint64_t count) {
  Begin(header, count);
  item_command_ = "SADD";
}

void AofCommandWriter::Item(std::string_view value) {
  OpenBatch(item_command_, 1);
  AppendWord(value, out_);
}

void AofCommandWriter::BeginHash(const EntryHeader& header, uint64_t count, bool) { Begin(header, count); }

void AofCommandWriter::Pair(std::string_view field, std::string_view value, int64_t expiry_ms) {
  OpenBatch("HMSET", 2);
  AppendWord(field, out_);
  AppendWord(value, out_);
  if (expiry_ms != kNoExpiry) {
    AppendWords({"HPEXPIREAT", key_, NumberText(expiry_ms), "FIELDS", "1", field}, &field_expiries_);
  }
  if (batch_left_ == 0) {
    out_->append(field_expiries_);
    field_expiries_.clear();
  }
}

void AofCommandWriter::BeginSortedSet(const EntryHeader& header, uint64_t count) { Begin(header, count); }

void AofCommandWriter::Scored(std::string_view member, double score) {
  OpenBatch("ZADD", 2);
  AppendWord(NumberText(score), out_);
  AppendWord(member, out_);
}

void AofCommandWriter::BeginStream(const EntryHeader& header, const StreamInfo& info) {
  Begin(header, info.length);
  stream_ = info;
  if (info.length > 0) return;
  // An entry that is gone at once leaves the empty stream behind. 0-0 is no id for it.
  const StreamId id = info.last_id == StreamId{} ? StreamId{0, 1} : info.last_id;
  AppendWords({"XADD", key_, "MAXLEN", "0", IdText(id), "x", "y"}, out_);
  AppendStreamTotals();
}

void AofCommandWriter::Entry(StreamId id, std::span<const std::string_view> fields_and_values) {
  assert(items_left_ > 0);
  --items_left_;
  AppendNumberLine('*', 3 + fields_and_values.size(), out_);
  AppendWord("XADD", out_);
  AppendWord(key_, out_);
  AppendWord(IdText(id), out_);
  for (std::string_view word : fields_and_values) AppendWord(word, out_);
  if (items_left_ == 0) AppendStreamTotals();
}

void AofCommandWriter::AppendStreamTotals() {
  AppendWords({"XSETID", key_, IdText(stream_.last_id), "ENTRIESADDED", NumberText(stream_.entries_added),
               "MAXDELETEDID", IdText(stream_.max_deleted_id)},
              out_);
}

void AofCommandWriter::Group(const StreamGroup& group) {
  group_ = group.name;
  pending_.clear();
  AppendWords({"XGROUP", "CREATE", key_, group_, IdText(group.last_id), "ENTRIESREAD", NumberText(group.entries_read)},
              out_);
}

void AofCommandWriter::Pending(const StreamPending& pending) { pending_.push_back(pending); }

void AofCommandWriter::Consumer(const StreamConsumer& consumer) {
  consumer_ = consumer.name;
  AppendWords({"XGROUP", "CREATECONSUMER", key_, group_, consumer_}, out_);
}

void AofCommandWriter::ConsumerPending(StreamId id) {
  auto pending = std::lower_bound(pending_.begin(), pending_.end(), id,
                                  [](const StreamPending& p, StreamId wanted) { return p.id < wanted; });
  assert(pending != pending_.end() && pending->id == id);
  AppendWords({"XCLAIM", key_, group_, consumer_, "0", IdText(id), "TIME", NumberText(pending->delivered_ms),
               "RETRYCOUNT", NumberText(pending->delivery_count), "JUSTID", "FORCE"},
              out_);
}

void AofCommandWriter::EndValue() {
  assert(items_left_ == 0 && batch_left_ == 0);
  pending_.clear();
  if (expiry_ms_ != kNoExpiry) AppendWords({"PEXPIREAT", key_, NumberText(expiry_ms_)}, out_);
}

}  // namespace tessera::persistence
