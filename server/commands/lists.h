// What the commands on lists share.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "server/commands/context.h"
#include "server/commands/edit.h"
#include "server/store/list_object.h"
#include "server/values/limits.h"

namespace tessera {

inline constexpr std::string_view kIndexOutOfRange = "ERR index out of range";
inline constexpr std::string_view kNotPositive = "ERR value is out of range, must be positive";

// LEFT or RIGHT; otherwise replies a syntax error.
std::optional<store::List::Side> ReadSide(CommandContext& ctx, std::string_view text);

// The first `count` elements seen from a side, as bulk strings. The list holds as many.
void ReplyElements(CommandContext& ctx, const store::List& list, store::List::Side side, uint64_t count);

// Takes them away, with the events that belong to it.
void RemoveElements(CommandContext& ctx, std::string_view key, store::EntryRef entry, store::List::Side side,
                    uint64_t count);

// Replies "lpop" or "rpop" with its count, from a key that holds a list: LMPOP's answer, and what it propagates.
void PopAndReplyWithKey(CommandContext& ctx, std::string_view key, store::EntryRef entry, store::List::Side side,
                        uint64_t count);

}  // namespace tessera
