// Streams: entries in order of their ids, in blocks, and the consumer groups that read them.
//
// A block is one element of an element tree, a packed string with its length always in the long form, so that it can
// grow in place:
//   head     first and last id, entries that live, entries deleted, bytes as a listpack (see below)
//   names    varint count, then the field names of the block's first entry, packed as strings
//   entries  a flag byte:  bit 0     deleted
//                          bit 1     its fields are `names`, and only the values follow
//                          bits 2-3  how its id follows from the one before: 0 the next sequence number; 1 a later ms
//                                    with sequence 0; 2 a later ms, any sequence; 3 the same ms, a later sequence
//                          bits 4-7  forms 1 and 2: the step in ms if it is 1-15, otherwise 0 and a varint follows
//            form 2: varint sequence; form 3: varint step of it
//            without bit 1: varint number of fields, then name and value in turn
//            values, packed
// Entries are marked when deleted; a block goes when none lives. So a block keeps to the boundaries that the nodes of a
// Redis stream have, on which XTRIM with "~" depends; for the same reason a block counts how many bytes a listpack with
// its entries would take. (Measured as Redis does: stream-node-max-entries with the deleted ones,
// stream-node-max-bytes.)
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "server/store/element_tree.h"
#include "server/store/stream_group.h"
#include "server/store/stream_id.h"

namespace tessera::store {

// stream-node-max-bytes, stream-node-max-entries; 0 = no limit.
struct StreamLimits {
  uint64_t node_bytes_max = 4096;
  uint64_t node_entries_max = 100;
};

// XADD and XTRIM: what is to go from the front.
struct StreamTrim {
  enum class By : uint8_t { kNothing, kLength, kId } by = By::kNothing;
  bool whole_blocks = false;  // "~"
  uint64_t length_max = 0;    // kLength: as many entries stay
  StreamId id_min;            // kId: older ones go
  uint64_t limit = 0;         // no block that would bring the entries deleted above this; 0 = any
};

class Stream final : public Object {
 public:
  explicit Stream(uint32_t seed = 0);

  Type type() const override { return Type::kStream; }
  std::string_view encoding() const override { return "stream"; }
  uint64_t size() const override { return length_; }
  size_t MemoryBytes() const override { return sizeof(*this) + blocks_.MemoryBytes() + group_bytes_; }
  size_t FreeEffort() const override { return 1 + blocks_.count() + group_bytes_ / 512; }
  std::unique_ptr<Object> Clone() const override;

  // ---- entries
  StreamId last_id() const { return last_id_; }
  StreamId first_id() const { return first_id_; }  // 0-0 when empty
  StreamId max_deleted_id() const { return max_deleted_id_; }
  uint64_t entries_added() const { return entries_added_; }
  uint64_t block_count() const { return blocks_.count(); }
  // The youngest entry that lives; the stream must not be empty.
  StreamId top_id() const;
  // Where the first block begins, though its first entries may be deleted; the highest id when the stream is empty.
  StreamId front_id() const;
  void SetLastId(StreamId id) { last_id_ = id; }
  void SetMaxDeletedId(StreamId id) { max_deleted_id_ = id; }
  void SetEntriesAdded(uint64_t count) { entries_added_ = count; }

  // `id` must be above last_id(), and the fields and values together no longer than kEntryBytesMax.
  static constexpr size_t kEntryBytesMax = size_t{1} << 30;
  void Append(StreamId id, std::span<const std::string_view> fields_and_values, const StreamLimits& limits);
  bool Erase(StreamId id);
  // How many went.
  uint64_t Trim(const StreamTrim& trim);
  bool Contains(StreamId id) const;

  // ---- what is known without looking at every entry
  // Whether an entry at or after `id` may have been deleted by XDEL. As Redis 7.2.4 answers both, from which groups'
  // numbers of entries read and their lags follow: what was deleted before the first entry does not count (7.4 differs).
  bool MayHaveGapsFrom(StreamId id) const;
  // How many entries were ever added up to `id`, where that can be told; otherwise kEntriesReadUnknown.
  int64_t CountEverAddedUpTo(StreamId id) const;

  // ---- groups, in order of their names
  const std::vector<std::unique_ptr<StreamGroup>>& groups() const { return groups_; }
  StreamGroup* FindGroup(std::string_view name) const;
  // Null when it exists.
  StreamGroup* AddGroup(std::string_view name, StreamId last_id, int64_t entries_read);
  bool RemoveGroup(std::string_view name);

  void CheckInvariants() const;

  class Reader;

  // The order key of a block.
  static uint64_t FirstMs(const uint8_t* block) {
    uint64_t ms;
    memcpy(&ms, block + kTextAt, sizeof(ms));
    return ms;
  }

 private:
  struct Head {
    StreamId first, last;
    uint32_t live, deleted;
    uint32_t listpack_bytes;  // without the two counters
  };
  static constexpr size_t kTextAt = 5;  // behind the length
  static constexpr size_t kHeadBytes = 4 * sizeof(uint64_t) + 3 * sizeof(uint32_t);

  struct Names;
  struct Block;
  struct EntryView;
  static Head ReadHead(const uint8_t* block);
  static void WriteHead(const Head& head, uint8_t* block);
  bool HasRoom(const Head& head, size_t text_bytes, const StreamLimits& limits) const;
  // The block that would hold `id`: the last one that does not begin after it, or none.
  ElementTree::Cursor BlockOf(StreamId id) const;
  void MarkDeleted(const ElementTree::Cursor& block, const Head& head, size_t flag_at);
  void FindFirst();

  ElementTree blocks_;
  uint64_t length_ = 0;
  StreamId last_id_, first_id_, max_deleted_id_;
  uint64_t entries_added_ = 0;
  std::vector<std::unique_ptr<StreamGroup>> groups_;
  size_t group_bytes_ = 0;
};

// A block taken apart. Views of the tree.
struct Stream::Names {
  const uint8_t* first = nullptr;
  uint64_t count = 0;
};

struct Stream::Block {
  explicit Block(const uint8_t* element);
  Head head;
  Names names;
  const uint8_t* entries;
  const uint8_t* end;
};

struct Stream::EntryView {
  StreamId id;
  const uint8_t* flags = nullptr;
  uint64_t field_count = 0;
  const uint8_t* names = nullptr;  // null: name and value in turn
  const uint8_t* values = nullptr;

  bool deleted() const { return (*flags & 1) != 0; }
  // At an entry of a block with these names, where `id` is that of the entry before; returns where the next one begins.
  const uint8_t* Read(const Names& block_names, const uint8_t* at);
};

// Goes through the entries that live from one id to another, both included, in either direction. Valid until the next
// change of the stream.
class Stream::Reader {
 public:
  enum class Direction : uint8_t { kForward, kBackward };
  Reader(const Stream& stream, StreamId first, StreamId last, Direction direction = Direction::kForward);

  // To the first or next entry; false behind the last.
  bool Next();
  StreamId id() const { return entry_.id; }
  uint64_t field_count() const { return entry_.field_count; }
  // visit(Unpacked name, Unpacked value), in order.
  template <typename Visit>
  void ForEachField(Visit visit) const {
    const uint8_t* name = entry_.names;
    const uint8_t* value = entry_.values;
    for (uint64_t i = 0; i < entry_.field_count; ++i) {
      if (entry_.names != nullptr) {
        visit(Unpack(name), Unpack(value));
        name = SkipPacked(name);
        value = SkipPacked(value);
      } else {
        name = value;
        value = SkipPacked(value);
        visit(Unpack(name), Unpack(value));
        value = SkipPacked(value);
      }
    }
  }

 private:
  bool NextForward();
  bool NextBackward();
  void Enter();

  StreamId first_, last_;
  Direction direction_;
  ElementTree::Cursor at_;
  EntryView entry_;
  // The block at the cursor: forward where its next entry begins, backward the entries that are still to come.
  Names names_;
  const uint8_t* next_ = nullptr;
  const uint8_t* end_ = nullptr;
  std::vector<EntryView> rest_;
};

}  // namespace tessera::store
