#include "server/replication/stream.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace tessera {
namespace {

void AppendNumbered(std::string& out, char kind, size_t n) {
  char digits[24];
  digits[0] = kind;
  char* end = std::to_chars(digits + 1, digits + sizeof digits, n).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out.append(digits, end - digits);
}

void AppendCommand(std::string& out, std::span<const std::string_view> command) {
  AppendNumbered(out, '*', command.size());
  for (std::string_view word : command) {
    AppendNumbered(out, '$', word.size());
    out.append(word).append("\r\n");
  }
}

void AppendSelect(std::string& out, int db) {
  const std::string number = std::to_string(db);
  const std::string_view select[] = {"SELECT", number};
  AppendCommand(out, select);
}

}  // namespace

void Backlog::Append(std::string_view bytes) {
  if (data_.empty()) return;
  const size_t capacity = data_.size();
  if (bytes.size() > capacity) {
    const size_t skipped = bytes.size() - capacity;
    first_ += static_cast<int64_t>(size_ + skipped);
    size_ = 0;
    head_ = 0;
    bytes.remove_prefix(skipped);
  }
  size_t at = (head_ + size_) % capacity;
  const size_t until_end = std::min(bytes.size(), capacity - at);
  std::memcpy(data_.data() + at, bytes.data(), until_end);
  std::memcpy(data_.data(), bytes.data() + until_end, bytes.size() - until_end);
  size_ += bytes.size();
  if (size_ > capacity) {
    const size_t dropped = size_ - capacity;
    head_ = (head_ + dropped) % capacity;
    first_ += static_cast<int64_t>(dropped);
    size_ = capacity;
  }
}

void Backlog::Resize(size_t capacity) {
  if (capacity == data_.size()) return;
  Backlog resized(capacity, first_);
  resized.Append(Read(first_));
  *this = std::move(resized);
}

std::string Backlog::Read(int64_t offset) const {
  const size_t skip = static_cast<size_t>(offset - first_);
  const size_t count = size_ - skip;
  std::string bytes;
  bytes.reserve(count);
  const size_t at = data_.empty() ? 0 : (head_ + skip) % data_.size();
  const size_t until_end = std::min(count, data_.size() - at);
  bytes.append(data_.data() + at, until_end);
  bytes.append(data_.data(), count - until_end);
  return bytes;
}

void ReplicationStream::AddSink(StreamSink& sink) {
  if (std::find(sinks_.begin(), sinks_.end(), &sink) == sinks_.end()) sinks_.push_back(&sink);
  ForgetSelectedDb();
}

void ReplicationStream::RemoveSink(StreamSink& sink) { std::erase(sinks_, &sink); }

void ReplicationStream::Feed(int db, std::span<const std::string_view> command) {
  if (!active()) return;
  if (db != selected_db_) {
    AppendSelect(frame_, db);
    if (!following_) selected_db_ = db;
  }
  AppendCommand(frame_, command);
  if (!following_) return Emit();
  // The primary's next bytes go on in the database that they selected.
  if (db != selected_db_) AppendSelect(frame_, std::max(0, selected_db_));
  for (StreamSink* sink : sinks_) sink->OnLocal(frame_);
  frame_.clear();
}

void ReplicationStream::FeedControl(std::span<const std::string_view> command) {
  if (!active() || following_) return;
  std::string frame;
  AppendCommand(frame, command);
  FeedRaw(frame, Content::kControl);
}

void ReplicationStream::FeedRaw(std::string_view bytes, Content content) {
  offset_ += static_cast<int64_t>(bytes.size());
  for (StreamSink* sink : sinks_) {
    if (content == Content::kData) {
      sink->OnStream(bytes, offset_);
    } else {
      sink->OnControl(bytes, offset_);
    }
  }
}

void ReplicationStream::FeedMulti(int db) {
  const std::string_view command[] = {"MULTI"};
  Feed(db, command);
}

void ReplicationStream::FeedExec(int db) {
  const std::string_view command[] = {"EXEC"};
  Feed(db, command);
}

void ReplicationStream::Emit() {
  offset_ += static_cast<int64_t>(frame_.size());
  for (StreamSink* sink : sinks_) sink->OnStream(frame_, offset_);
  frame_.clear();
}

}  // namespace tessera
