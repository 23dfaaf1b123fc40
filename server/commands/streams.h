// What the commands on streams share: ids as clients write them, entries as clients read them, and what replicas are
// told about consumer groups.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/commands/edit.h"
#include "server/store/stream_object.h"
#include "server/values/limits.h"

namespace tessera {

inline constexpr std::string_view kInvalidStreamId = "ERR Invalid stream ID specified as stream command argument";

// A word as Redis writes it into an error: up to the first NUL.
inline std::string_view UpToNul(std::string_view word) { return word.substr(0, word.find('\0')); }

// Text of an id: "ms-sequence".
class StreamIdText {
 public:
  explicit StreamIdText(store::StreamId id) {
    char* end = text_ + protocol::WriteUint64(id.ms, text_);
    *end++ = '-';
    end += protocol::WriteUint64(id.sequence, end);
    length_ = static_cast<size_t>(end - text_);
  }
  // Stands for its text. The bound lets the compiler see that no reader leaves it.
  operator std::string_view() const { return {text_, std::min(length_, sizeof text_)}; }  // NOLINT

 private:
  char text_[2 * protocol::kMaxIntegerChars + 1];
  size_t length_;
};

// "ms" or "ms-sequence"; an id without sequence gets `missing_sequence`. `any_sequence`: if not null, "ms-*" is allowed
// too, and tells so there.
enum class StreamIdForm : uint8_t { kExact, kOrEnds };  // kOrEnds: "-" and "+" too
bool ParseStreamId(std::string_view text, uint64_t missing_sequence, StreamIdForm form, store::StreamId& id,
                   bool* any_sequence = nullptr);
// Replies and returns false when it is none.
bool ReadStreamId(CommandContext& ctx, std::string_view text, store::StreamId& id);
// The ends of an interval, inclusive afterwards; "(" before an id leaves it out. Both reply and return false on error.
bool ReadIntervalStart(CommandContext& ctx, std::string_view text, store::StreamId& id);
bool ReadIntervalEnd(CommandContext& ctx, std::string_view text, store::StreamId& id);

inline void ReplyStreamId(CommandContext& ctx, store::StreamId id) { ctx.reply.Bulk(StreamIdText(id)); }
// The entry at the reader: its id and its fields with their values.
void ReplyStreamEntry(CommandContext& ctx, const store::Stream::Reader& reader);
// Replies with the entry of this id, or, with nothing, returns false.
bool ReplyStreamEntry(CommandContext& ctx, const store::Stream& stream, store::StreamId id);

// The key and group of a command on a group; replies and returns null when one of them is missing.
const store::StreamGroup* RequireGroup(CommandContext& ctx, const store::Stream* stream, std::string_view key,
                                       std::string_view group, std::string_view suffix = {});

// What replicas are told instead of a command on a group: a delivery as it is now, and how far the group has read.
void PropagateDelivery(CommandContext& ctx, std::string_view key, const store::StreamGroup& group,
                       std::string_view id_text, const store::PendingEntry& entry);
void PropagateGroupPosition(CommandContext& ctx, std::string_view key, const store::StreamGroup& group);

}  // namespace tessera
