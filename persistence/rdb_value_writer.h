// Values in the form that RDB files and DUMP payloads share: type, key (files only), body. Redis 7.0 and 7.2 read all
// of them, except that a hash with field expiries takes 7.4. Output is appended to a string that the caller may drain
// between any two calls; a part costs no allocation once the scratch buffers have grown. A stream's entries are held
// back until a node of 100 is complete.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/listpack.h"
#include "persistence/snapshot_visitor.h"

namespace tessera::persistence {

inline constexpr uint64_t kStreamNodeEntries = 100;

class RdbValueWriter : public SnapshotVisitor {
 public:
  void String(const EntryHeader& header, std::string_view value) final;
  void BeginList(const EntryHeader& header, uint64_t count) final;
  void BeginSet(const EntryHeader& header, uint64_t count) final;
  void Item(std::string_view value) final;
  void BeginHash(const EntryHeader& header, uint64_t count, bool some_expire) final;
  void Pair(std::string_view field, std::string_view value, int64_t expiry_ms) final;
  void BeginSortedSet(const EntryHeader& header, uint64_t count) final;
  void Scored(std::string_view member, double score) final;
  void BeginStream(const EntryHeader& header, const StreamInfo& info) final;
  void Entry(StreamId id, std::span<const std::string_view> fields_and_values) final;
  void Group(const StreamGroup& group) final;
  void Pending(const StreamPending& pending) final;
  void Consumer(const StreamConsumer& consumer) final;
  void ConsumerPending(StreamId id) final;
  void EndValue() final;

  // The format cannot hold a value: 100 consecutive entries of a stream had more than 4 GiB. What was written since is
  // useless. Nothing else can fail.
  bool failed() const { return failed_; }
  // Hashes whose field expiries were left out, because the reader does not know such a thing.
  uint64_t field_expiries_left_out() const { return left_out_; }

 protected:
  // `out` must outlive the writer.
  RdbValueWriter(std::string* out, bool compress, bool field_expiry = true)
      : out_(out), compress_(compress), field_expiry_(field_expiry) {}

  virtual void Prefix(const EntryHeader& header, uint8_t type) = 0;  // what comes before the body
  virtual void Appended(size_t begin) = 0;                           // out() has grown since it had `begin` bytes

  std::string& out() { return *out_; }
  void AppendByte(uint8_t byte) { out_->push_back(static_cast<char>(byte)); }
  void AppendLength(uint64_t length);
  void AppendString(std::string_view text);
  void AppendLittleEndian(uint64_t number, int bytes);

  // Says Appended for everything one call appends.
  class Record {
   public:
    explicit Record(RdbValueWriter* writer) : writer_(writer), begin_(writer->out_->size()) {}
    ~Record() { writer_->Appended(begin_); }

   private:
    RdbValueWriter* writer_;
    size_t begin_;
  };

 private:
  void Begin(const EntryHeader& header, uint8_t type, uint64_t count);
  void CountPart();
  void StartNode(StreamId id, std::span<const std::string_view> fields_and_values);
  bool HasFieldsOfNode(std::span<const std::string_view> fields_and_values) const;
  void FinishNode();
  void AppendStreamTotals();
  void AppendRawId(StreamId id);

  std::string* out_;
  bool compress_;
  bool field_expiry_;
  uint64_t left_out_ = 0;
  bool failed_ = false;
  uint64_t parts_left_ = 0;  // of list, set, hash, sorted set; entries of a stream
  bool some_expire_ = false;
  // Streams.
  bool in_stream_ = false;
  StreamInfo stream_;
  ListpackWriter node_;
  StreamId node_id_;
  uint64_t node_entries_left_ = 0;  // 0: no node is open
  std::string node_names_;          // of the fields of the node's first entry, one after the other
  std::vector<size_t> node_name_ends_;
  uint64_t groups_left_ = 0, pending_left_ = 0, consumers_left_ = 0, consumer_pending_left_ = 0;
};

}  // namespace tessera::persistence
