// The one propagation stream: every change as a framed RESP command, in order, counted in bytes from the start of a
// replication history. The AOF, the backlog and the replicas are fed from it. Loop thread.
// Source: the replication protocol (PSYNC2): a history is named by a 40-digit replication id and continued by offset.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

// The last `capacity` bytes of the stream, so that a replica that was away briefly gets only what it missed.
class Backlog {
 public:
  // `start` is the stream offset of the first byte to come.
  Backlog(size_t capacity, int64_t start) : first_(start), data_(capacity) {}
  void Append(std::string_view bytes);
  void Resize(size_t capacity);
  // Offsets count bytes written before: a reader that has everything up to `offset` asks for Read(offset).
  int64_t first() const { return first_; }   // oldest offset that can still be served
  int64_t end() const { return first_ + static_cast<int64_t>(size_); }
  bool Holds(int64_t offset) const { return offset >= first_ && offset <= end(); }
  std::string Read(int64_t offset) const;    // all bytes from offset on; Holds(offset) must be true
  size_t size() const { return size_; }
  size_t capacity() const { return data_.size(); }

 private:
  int64_t first_;
  size_t size_ = 0, head_ = 0;  // head_: index of the oldest byte
  std::vector<char> data_;
};

class StreamSink {
 public:
  virtual ~StreamSink() = default;
  // `bytes` are whole commands that end at `offset`.
  virtual void OnStream(std::string_view bytes, int64_t offset) = 0;
  // The same for commands that change no data (PING, REPLCONF GETACK): part of the history, but not worth logging.
  virtual void OnControl(std::string_view /*bytes*/, int64_t /*offset*/) {}
  // Changes a replica makes by itself (writable replicas, dropped slots): worth logging, but no part of the history.
  virtual void OnLocal(std::string_view /*bytes*/) {}
};

class ReplicationStream {
 public:
  // Nobody listens: the stream costs nothing and its offset rests.
  bool active() const { return !sinks_.empty(); }
  void AddSink(StreamSink& sink);
  void RemoveSink(StreamSink& sink);

  // While we follow a primary, the history is its bytes alone, and the selected database is the one they selected.
  void set_following(bool following) { following_ = following; }
  bool following() const { return following_; }

  // A SELECT goes ahead when the database differs from the last one in the stream.
  void Feed(int db, std::span<const std::string_view> command);
  void FeedControl(std::span<const std::string_view> command);
  // Bytes from our own primary, passed on unchanged.
  enum class Content : uint8_t { kData, kControl };
  void FeedRaw(std::string_view bytes, Content content);
  void FeedMulti(int db);  // MULTI and EXEC around several commands
  void FeedExec(int db);
  // The next Feed selects its database afresh (a new replica or a new AOF file begins here).
  void ForgetSelectedDb() {
    if (!following_) selected_db_ = -1;
  }
  int selected_db() const { return selected_db_; }
  void set_selected_db(int db) { selected_db_ = db; }

  int64_t offset() const { return offset_; }
  void set_offset(int64_t offset) { offset_ = offset; }

 private:
  void Emit();

  std::vector<StreamSink*> sinks_;
  std::string frame_;
  bool following_ = false;
  int64_t offset_ = 0;
  int selected_db_ = -1;
};

}  // namespace tessera
