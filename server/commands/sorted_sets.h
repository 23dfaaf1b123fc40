// What the families of sorted set commands share, geo included.
#pragma once

#include <optional>

#include "server/commands/edit.h"
#include "server/store/sorted_set_object.h"
#include "server/values/limits.h"

namespace tessera {

inline constexpr std::string_view kScoreIsNaN = "ERR resulting score is not a number (NaN)";

// A member, with its score where the client wants it: RESP3 then pairs the two, RESP2 puts one after the other.
enum class Scores : uint8_t { kNo, kYes };
inline void BeginElements(CommandContext& ctx, uint64_t count, Scores scores) {
  ctx.reply.Array(static_cast<int64_t>(scores == Scores::kYes && ctx.reply.version() == 2 ? 2 * count : count));
}
inline void ReplyElement(CommandContext& ctx, const uint8_t* element, Scores scores) {
  if (scores == Scores::kYes && ctx.reply.version() > 2) ctx.reply.Array(2);
  store::IntScratch scratch;
  ctx.reply.Bulk(store::SortedSet::MemberOf(element).Text(scratch));
  if (scores == Scores::kYes) ctx.reply.Double(store::SortedSet::ScoreOf(element));
}

// ZADD once its options are known: a score and a member each, the members being every `member_step`-th of a list.
// False when nothing changed.
struct AddOptions {
  bool nx = false, xx = false, gt = false, lt = false, ch = false, incr = false;
};
bool AddToSortedSet(CommandContext& ctx, const AddOptions& options, std::span<const double> scores, Argv members,
                    size_t member_step);

// Ends a command that stores a result: the key then holds it, or nothing if it is empty. Replies the number of
// elements.
void StoreSortedSet(CommandContext& ctx, std::string_view key, std::unique_ptr<store::SortedSet> result,
                    std::string_view event);

}  // namespace tessera
