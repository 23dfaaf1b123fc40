// What the families of data commands share: refusals, limits and the few decisions that depend on who is asking.
#pragma once

#include <cstdint>
#include <string_view>

#include "server/commands/context.h"

namespace tessera {

inline constexpr std::string_view kStringTooLong = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
inline constexpr std::string_view kOutOfMemory = "OOM out of memory";
inline constexpr std::string_view kDbOutOfRange = "ERR DB index is out of range";
inline constexpr std::string_view kSameObject = "ERR source and destination objects are the same";

// The primary's stream and our own log are believed: limits that guard against clients do not apply to them, and keys
// are deleted on their word, never by our clock.
inline bool IsReplay(const Session& session) {
  return session.kind == SessionKind::kPrimary || session.kind == SessionKind::kLoader;
}

// Longest string commands may build (proto-max-bulk-len).
int64_t StringBytesMax(const CommandContext& ctx);

// Replies and returns false when `size + appended` bytes would be too long a string.
bool CheckStringLength(CommandContext& ctx, uint64_t size, uint64_t appended);

// Replies WRONGTYPE and returns false unless the entry is a string. A missing one passes.
inline bool CheckString(CommandContext& ctx, store::EntryRef entry) {
  if (!entry || entry.type() == store::Type::kString) return true;
  ctx.reply.Error(kWrongType);
  return false;
}

// For commands that looked at a string as bytes and changed nothing: Redis leaves it "raw" all the same. Not a change to
// replicas. The entry is gone afterwards.
void LeaveRaw(CommandContext& ctx, std::string_view key, store::EntryRef entry);

// Replies and returns false when `text` is no integer.
inline bool ReadInteger(CommandContext& ctx, std::string_view text, int64_t& value) {
  if (auto parsed = protocol::ParseInt64(text)) {
    value = *parsed;
    return true;
  }
  ctx.reply.Error(kNotAnInteger);
  return false;
}

// Decimal text of a number on the stack, for propagated commands.
class NumberText {
 public:
  explicit NumberText(int64_t value) : length_(protocol::WriteInt64(value, text_)) {}
  operator std::string_view() const { return {text_, length_}; }  // NOLINT: meant to stand for its text

 private:
  char text_[protocol::kMaxIntegerChars];
  size_t length_;
};

void ReplyInvalidExpireTime(CommandContext& ctx);

// Whether setting this expiry means deleting the key. Replicas and the loader keep the key until they are told.
bool IsAlreadyExpired(const CommandContext& ctx, int64_t unix_ms);

// Deletes a key whose new expiry lies in the past, and propagates the deletion in place of the command.
void DeleteAsExpired(CommandContext& ctx, std::string_view key);

// Of a command that has nothing to store.
void EraseTarget(CommandContext& ctx, std::string_view target);

// A database number between 0 and the number of databases; otherwise replies and returns false.
bool ReadDatabase(CommandContext& ctx, std::string_view text, int& db);

// `count` different numbers below `size`, count <= size, in no particular order: random members of a value.
std::vector<uint64_t> ChooseIndexes(store::Keyspace& keyspace, uint64_t size, uint64_t count);

}  // namespace tessera
