// Sorted sets by range of ranks, scores or members: reading, counting, storing and removing.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "server/commands/sorted_sets.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::LexBound;
using store::RankRange;
using store::SortedSet;

constexpr std::string_view kBadScoreRange = "ERR min or max is not a float";
constexpr std::string_view kBadLexRange = "ERR min or max not valid string range item";

// As plain strtod reads it: spaces in front, nothing at all and what overflows are all fine, and so is whatever follows
// a zero byte.
std::optional<double> ReadBound(std::string_view text, bool& exclusive) {
  exclusive = !text.empty() && text[0] == '(';
  const std::string terminated(text.substr(exclusive ? 1 : 0));
  char* end;
  const double value = std::strtod(terminated.c_str(), &end);
  if (*end != '\0' || std::isnan(value)) return std::nullopt;
  return value;
}

bool ReadScoreRange(std::string_view min, std::string_view max, store::ScoreRange& range) {
  const auto low = ReadBound(min, range.min_exclusive), high = ReadBound(max, range.max_exclusive);
  if (!low || !high) return false;
  range.min = *low;
  range.max = *high;
  return true;
}

bool ReadLexBound(std::string_view text, LexBound& bound) {
  if (text.empty()) return false;
  switch (text[0]) {
    case '-':
    case '+':
      bound.kind = text[0] == '-' ? LexBound::Kind::kFirst : LexBound::Kind::kLast;
      return text.size() == 1 || text[1] == '\0';
    case '(':
    case '[':
      bound.exclusive = text[0] == '(';
      bound.text = text.substr(1);
      return true;
    default:
      return false;
  }
}

bool ReadLexRange(std::string_view min, std::string_view max, store::LexRange& range) {
  return ReadLexBound(min, range.min) && ReadLexBound(max, range.max);
}

// Both ends included; negative ones count from the end.
struct IndexRange {
  int64_t start = 0, stop = 0;
  RankRange Of(uint64_t size) const {
    const auto count = static_cast<int64_t>(size);
    const int64_t first = std::max<int64_t>(start < 0 ? start + count : start, 0);
    const int64_t last = std::min<int64_t>(stop < 0 ? stop + count : stop, count - 1);
    if (first > last) return {};
    return {.first = static_cast<uint64_t>(first), .last = static_cast<uint64_t>(last) + 1};
  }
};

enum class By : uint8_t { kAny, kRank, kScore, kLex };
enum class Direction : uint8_t { kAny, kForward, kReverse };

// What the ZRANGE family asks for.
struct RangeQuery {
  By by = By::kAny;
  Direction direction = Direction::kAny;
  IndexRange indexes;
  store::ScoreRange scores;
  store::LexRange members;
  int64_t offset = 0, limit = -1;
  Scores with_scores = Scores::kNo;

  bool reverse() const { return direction == Direction::kReverse; }

  // Ranks from the lowest score on, also in reverse.
  RankRange Select(const SortedSet& set) const {
    RankRange range;
    if (by == By::kRank) {
      range = indexes.Of(set.size());
      if (!reverse() || range.empty()) return range;
      return {.first = set.size() - range.last, .last = set.size() - range.first};
    }
    range = by == By::kScore ? set.InScores(scores)
                             : set.InMembers(members, reverse() ? SortedSet::From::kHighest : SortedSet::From::kLowest);
    if (offset < 0 || static_cast<uint64_t>(offset) >= range.count()) return {};
    const uint64_t rest = range.count() - static_cast<uint64_t>(offset);
    const uint64_t count = limit < 0 ? rest : std::min(rest, static_cast<uint64_t>(limit));
    if (reverse()) {
      range.last -= static_cast<uint64_t>(offset);
      range.first = range.last - count;
    } else {
      range.first += static_cast<uint64_t>(offset);
      range.last = range.first + count;
    }
    return range;
  }
};

// The range stands at argv[at], options follow. Replies and returns false when something is wrong.
bool ReadQuery(CommandContext& ctx, size_t at, bool store, RangeQuery& query) {
  protocol::ArgReader args(ctx.argv, at + 2);
  while (args.HasNext()) {
    if (!store && args.Check("WITHSCORES")) {
      query.with_scores = Scores::kYes;
    } else if (args.Check("LIMIT", 2)) {
      query.offset = args.NextInt<int64_t>();
      query.limit = args.NextInt<int64_t>();
    } else if (query.direction == Direction::kAny && args.Check("REV")) {
      query.direction = Direction::kReverse;
    } else if (query.by == By::kAny && args.Check("BYLEX")) {
      query.by = By::kLex;
    } else if (query.by == By::kAny && args.Check("BYSCORE")) {
      query.by = By::kScore;
    } else {
      args.SyntaxError();
    }
  }
  if (query.by == By::kAny) query.by = By::kRank;
  if (args.ok() && query.limit != -1 && query.by == By::kRank) {
    args.Fail("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
  }
  if (args.ok() && query.with_scores == Scores::kYes && query.by == By::kLex) {
    args.Fail("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
  }
  if (args.ok()) {
    std::string_view min = ctx.argv[at], max = ctx.argv[at + 1];
    if (query.by != By::kRank && query.reverse()) std::swap(min, max);
    if (query.by == By::kRank) {
      return ReadInteger(ctx, min, query.indexes.start) && ReadInteger(ctx, max, query.indexes.stop);
    }
    if (query.by == By::kScore && !ReadScoreRange(min, max, query.scores)) args.Fail(kBadScoreRange);
    if (query.by == By::kLex && !ReadLexRange(min, max, query.members)) args.Fail(kBadLexRange);
  }
  if (!args.ok()) ctx.reply.Error(args.error());
  return args.ok();
}

void ReplyRange(CommandContext& ctx, By by, Direction direction) {
  RangeQuery query{.by = by, .direction = direction};
  if (!ReadQuery(ctx, 2, false, query)) return;
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  if (!entry) return ctx.reply.Array(0);
  const SortedSet& set = *ValueOf<SortedSet>(entry);
  const RankRange range = query.Select(set);
  uint64_t left = range.count();
  BeginElements(ctx, left, query.with_scores);
  if (left == 0) return;
  if (query.reverse()) {
    store::ElementTree::BackwardCursor at(set.elements().At(range.last - 1));
    for (; left > 0; --left, at.Next()) ReplyElement(ctx, at.element(), query.with_scores);
  } else {
    auto at = set.elements().At(range.first);
    for (; left > 0; --left, at.Next()) ReplyElement(ctx, at.element(), query.with_scores);
  }
}

void ZRange(CommandContext& ctx) { ReplyRange(ctx, By::kAny, Direction::kAny); }
void ZRevRange(CommandContext& ctx) { ReplyRange(ctx, By::kRank, Direction::kReverse); }
void ZRangeByScore(CommandContext& ctx) { ReplyRange(ctx, By::kScore, Direction::kForward); }
void ZRevRangeByScore(CommandContext& ctx) { ReplyRange(ctx, By::kScore, Direction::kReverse); }
void ZRangeByLex(CommandContext& ctx) { ReplyRange(ctx, By::kLex, Direction::kForward); }
void ZRevRangeByLex(CommandContext& ctx) { ReplyRange(ctx, By::kLex, Direction::kReverse); }

void ZRangeStore(CommandContext& ctx) {
  RangeQuery query;
  if (!ReadQuery(ctx, 3, true, query)) return;
  const EntryRef entry = ctx.Find(ctx.argv[2]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  auto result = std::make_unique<SortedSet>(ctx.keyspace.object_seed());
  if (entry) {
    const SortedSet& set = *ValueOf<SortedSet>(entry);
    const RankRange range = query.Select(set);
    if (!range.empty()) {
      SortedSet::Builder builder(*result);
      auto at = set.elements().At(range.first);
      for (uint64_t left = range.count(); left > 0; --left, at.Next()) {
        builder.PushBack(SortedSet::MemberOf(at.element()), SortedSet::ScoreOf(at.element()));
      }
      builder.Finish(SortedSetLimitsOf(ctx.services.config));
    }
  }
  StoreSortedSet(ctx, ctx.argv[1], std::move(result), "zrangestore");
}

void ReplyCount(CommandContext& ctx, By by) {
  RangeQuery query{.by = by};
  if (by == By::kScore ? !ReadScoreRange(ctx.argv[2], ctx.argv[3], query.scores)
                       : !ReadLexRange(ctx.argv[2], ctx.argv[3], query.members)) {
    return ctx.reply.Error(by == By::kScore ? kBadScoreRange : kBadLexRange);
  }
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  ctx.reply.Integer(entry ? static_cast<int64_t>(query.Select(*ValueOf<SortedSet>(entry)).count()) : 0);
}

void ZCount(CommandContext& ctx) { ReplyCount(ctx, By::kScore); }
void ZLexCount(CommandContext& ctx) { ReplyCount(ctx, By::kLex); }

void RemoveRange(CommandContext& ctx, By by, std::string_view event) {
  const std::string_view key = ctx.argv[1];
  RangeQuery query{.by = by};
  if (!ReadQuery(ctx, 2, true, query)) return;
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  if (!entry) return ctx.reply.Integer(0);
  const RankRange range = query.Select(*ValueOf<SortedSet>(entry));
  if (range.empty()) return ctx.reply.Integer(0);
  if (range.count() == entry.object()->size()) {
    ctx.db().Erase(key);
    ctx.Notify('z', event, key);
    ctx.Notify('g', "del", key);
    return ctx.reply.Integer(static_cast<int64_t>(range.count()));
  }
  Edit<SortedSet> set(ctx, key, entry);
  set->EraseRange(range);
  if (!set.Commit()) return;
  ctx.Notify('z', event, key);
  ctx.reply.Integer(static_cast<int64_t>(range.count()));
}

void ZRemRangeByRank(CommandContext& ctx) { RemoveRange(ctx, By::kRank, "zremrangebyrank"); }
void ZRemRangeByScore(CommandContext& ctx) { RemoveRange(ctx, By::kScore, "zremrangebyscore"); }
void ZRemRangeByLex(CommandContext& ctx) { RemoveRange(ctx, By::kLex, "zremrangebylex"); }

// ---- rows

constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr ArgSpec kByChoice[] = {{.name = "byscore", .type = ArgType::kPureToken, .token = "BYSCORE"},
                                 {.name = "bylex", .type = ArgType::kPureToken, .token = "BYLEX"}};
constexpr ArgSpec kOffsetCount[] = {{.name = "offset", .type = ArgType::kInteger},
                                    {.name = "count", .type = ArgType::kInteger}};
constexpr ArgSpec kRangeArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "start"},
    {.name = "stop"},
    {.name = "sortby", .type = ArgType::kOneOf, .flags = kOptional, .since = "6.2.0", .children = kByChoice},
    {.name = "rev", .type = ArgType::kPureToken, .flags = kOptional, .token = "REV", .since = "6.2.0"},
    {.name = "offset_count",
     .type = ArgType::kBlock,
     .flags = kOptional,
     .token = "LIMIT",
     .since = "6.2.0",
     .children = kOffsetCount},
    {.name = "withscores", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHSCORES"}};
constexpr HistoryEntry kRangeHistory[] = {{"6.2.0", "Added `REV`, `BYSCORE`, `BYLEX` and `LIMIT`."}};
constexpr KeySpec kStores[] = {{.flags = kKeyOW | kKeyUpdate, .index = 1}, {.flags = kKeyRO | kKeyAccess, .index = 2}};
constexpr ArgSpec kRangeStoreArgs[] = {
    {.name = "dst", .type = ArgType::kKey, .key_spec = 0},
    {.name = "src", .type = ArgType::kKey, .key_spec = 1},
    {.name = "min"},
    {.name = "max"},
    {.name = "sortby", .type = ArgType::kOneOf, .flags = kOptional, .children = kByChoice},
    {.name = "rev", .type = ArgType::kPureToken, .flags = kOptional, .token = "REV"},
    {.name = "offset_count", .type = ArgType::kBlock, .flags = kOptional, .token = "LIMIT", .children = kOffsetCount}};
constexpr ArgSpec kRevRangeArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "start", .type = ArgType::kInteger},
    {.name = "stop", .type = ArgType::kInteger},
    {.name = "withscores", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHSCORES"}};
constexpr ArgSpec kByScoreArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "min", .type = ArgType::kDouble},
    {.name = "max", .type = ArgType::kDouble},
    {.name = "withscores", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHSCORES", .since = "2.0.0"},
    {.name = "offset_count", .type = ArgType::kBlock, .flags = kOptional, .token = "LIMIT", .children = kOffsetCount}};
constexpr HistoryEntry kByScoreHistory[] = {{"2.0.0", "Added `WITHSCORES`."}};
constexpr ArgSpec kRevByScoreArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "max", .type = ArgType::kDouble},
    {.name = "min", .type = ArgType::kDouble},
    {.name = "withscores", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHSCORES"},
    {.name = "offset_count", .type = ArgType::kBlock, .flags = kOptional, .token = "LIMIT", .children = kOffsetCount}};
constexpr HistoryEntry kRevByScoreHistory[] = {{"2.1.6", "Either end can be exclusive."}};
constexpr ArgSpec kByLexArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "min"},
    {.name = "max"},
    {.name = "offset_count", .type = ArgType::kBlock, .flags = kOptional, .token = "LIMIT", .children = kOffsetCount}};
constexpr ArgSpec kRevByLexArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "max"},
    {.name = "min"},
    {.name = "offset_count", .type = ArgType::kBlock, .flags = kOptional, .token = "LIMIT", .children = kOffsetCount}};
constexpr ArgSpec kScoresArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                   {.name = "min", .type = ArgType::kDouble},
                                   {.name = "max", .type = ArgType::kDouble}};
constexpr ArgSpec kMembersArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0}, {.name = "min"}, {.name = "max"}};
constexpr KeySpec kDeletesIn[] = {{.flags = kKeyRW | kKeyDelete, .index = 1}};
constexpr ArgSpec kRanksArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                  {.name = "start", .type = ArgType::kInteger},
                                  {.name = "stop", .type = ArgType::kInteger}};

constexpr CommandRow kRows[] = {
    {.name = "zrange",
     .arity = -4,
     .flags = kReadOnly,
     .acl = kAclSortedSet,
     .handler = ZRange,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "1.2.0",
     .complexity = "O(log(N)+M) for N elements, M of them in the range.",
     .summary = "Reads the members within a range of ranks, scores or names.",
     .args = kRangeArgs,
     .history = kRangeHistory},
    {.name = "zrangestore",
     .arity = -5,
     .flags = kWrite | kDenyOom,
     .acl = kAclSortedSet,
     .handler = ZRangeStore,
     .keys = kStores,
     .group = Group::kSortedSet,
     .since = "6.2.0",
     .complexity = "O(log(N)+M) for N elements, M of them in the range.",
     .summary = "Stores the members within a range of ranks, scores or names under another key.",
     .args = kRangeStoreArgs},
    {.name = "zrevrange",
     .arity = -4,
     .flags = kReadOnly,
     .acl = kAclSortedSet,
     .handler = ZRevRange,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "1.2.0",
     .complexity = "O(log(N)+M) for N elements, M of them in the range.",
     .summary = "Reads the members within a range of ranks, counted from the highest score.",
     .args = kRevRangeArgs,
     .deprecated_since = "6.2.0",
     .replaced_by = "`ZRANGE` with the `REV` argument"},
    {.name = "zrangebyscore",
     .arity = -4,
     .flags = kReadOnly,
     .acl = kAclSortedSet,
     .handler = ZRangeByScore,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "1.0.5",
     .complexity = "O(log(N)+M) for N elements, M of them in the range.",
     .summary = "Reads the members within a range of scores.",
     .args = kByScoreArgs,
     .history = kByScoreHistory,
     .deprecated_since = "6.2.0",
     .replaced_by = "`ZRANGE` with the `BYSCORE` argument"},
    {.name = "zrevrangebyscore",
     .arity = -4,
     .flags = kReadOnly,
     .acl = kAclSortedSet,
     .handler = ZRevRangeByScore,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "2.2.0",
     .complexity = "O(log(N)+M) for N elements, M of them in the range.",
     .summary = "Reads the members within a range of scores, from the highest down.",
     .args = kRevByScoreArgs,
     .history = kRevByScoreHistory,
     .deprecated_since = "6.2.0",
     .replaced_by = "`ZRANGE` with the `REV` and `BYSCORE` arguments"},
    {.name = "zrangebylex",
     .arity = -4,
     .flags = kReadOnly,
     .acl = kAclSortedSet,
     .handler = ZRangeByLex,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "2.8.9",
     .complexity = "O(log(N)+M) for N elements, M of them in the range.",
     .summary = "Reads the members within a range of names, all scores being equal.",
     .args = kByLexArgs,
     .deprecated_since = "6.2.0",
     .replaced_by = "`ZRANGE` with the `BYLEX` argument"},
    {.name = "zrevrangebylex",
     .arity = -4,
     .flags = kReadOnly,
     .acl = kAclSortedSet,
     .handler = ZRevRangeByLex,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "2.8.9",
     .complexity = "O(log(N)+M) for N elements, M of them in the range.",
     .summary = "Reads the members within a range of names, from the last back, all scores being equal.",
     .args = kRevByLexArgs,
     .deprecated_since = "6.2.0",
     .replaced_by = "`ZRANGE` with the `REV` and `BYLEX` arguments"},
    {.name = "zcount",
     .arity = 4,
     .flags = kReadOnly | kFast,
     .acl = kAclSortedSet,
     .handler = ZCount,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "2.0.0",
     .complexity = "O(log(N)) for N elements.",
     .summary = "Counts the members within a range of scores.",
     .args = kScoresArgs},
    {.name = "zlexcount",
     .arity = 4,
     .flags = kReadOnly | kFast,
     .acl = kAclSortedSet,
     .handler = ZLexCount,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "2.8.9",
     .complexity = "O(log(N)) for N elements.",
     .summary = "Counts the members within a range of names, all scores being equal.",
     .args = kMembersArgs},
    {.name = "zremrangebyrank",
     .arity = 4,
     .flags = kWrite,
     .acl = kAclSortedSet,
     .handler = ZRemRangeByRank,
     .keys = kDeletesIn,
     .group = Group::kSortedSet,
     .since = "2.0.0",
     .complexity = "O(M*log(N)) for N elements, M of them removed.",
     .summary = "Removes the members within a range of ranks.",
     .args = kRanksArgs},
    {.name = "zremrangebyscore",
     .arity = 4,
     .flags = kWrite,
     .acl = kAclSortedSet,
     .handler = ZRemRangeByScore,
     .keys = kDeletesIn,
     .group = Group::kSortedSet,
     .since = "1.2.0",
     .complexity = "O(M*log(N)) for N elements, M of them removed.",
     .summary = "Removes the members within a range of scores.",
     .args = kScoresArgs},
    {.name = "zremrangebylex",
     .arity = 4,
     .flags = kWrite,
     .acl = kAclSortedSet,
     .handler = ZRemRangeByLex,
     .keys = kDeletesIn,
     .group = Group::kSortedSet,
     .since = "2.8.9",
     .complexity = "O(M*log(N)) for N elements, M of them removed.",
     .summary = "Removes the members within a range of names, all scores being equal.",
     .args = kMembersArgs},
};

}  // namespace

std::span<const CommandRow> SortedSetRangeCommands() { return kRows; }

}  // namespace tessera
