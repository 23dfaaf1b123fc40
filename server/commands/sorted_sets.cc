// Sorted sets by member: adding, removing, scores and ranks.
#include "server/commands/sorted_sets.h"

#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <vector>

#include "server/commands/element_scan.h"
#include "server/commands/table.h"

namespace tessera {

using store::EntryRef;
using store::SortedSet;

bool AddToSortedSet(CommandContext& ctx, const AddOptions& options, std::span<const double> scores, Argv members,
                    size_t member_step) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kZset)) return false;
  int64_t added = 0, updated = 0;
  bool processed = false;
  double score = 0;
  if (entry || !options.xx) {
    Edit<SortedSet> set(ctx, key, entry);
    const store::SortedSetLimits limits = SortedSetLimitsOf(ctx.services.config);
    set->Expect(scores.size(), set.creates() ? members[0].size() : 0, limits);
    for (size_t i = 0; i < scores.size(); ++i) {
      const SortedSet::Place place = set->Find(members[i * member_step]);
      score = scores[i];
      if (!place.there()) {
        if (options.xx) continue;
        set->Insert(place, score, limits);
        ++added;
        processed = true;
        continue;
      }
      if (options.nx) continue;
      const double current = place.score();
      if (options.incr) score += current;
      if (std::isnan(score)) {  // of one pair only, so nothing has changed yet
        (void)set.Commit(false);
        ctx.reply.Error(kScoreIsNaN);
        return false;
      }
      if ((options.lt && score >= current) || (options.gt && score <= current)) continue;
      processed = true;
      if (score == current) continue;
      set->SetScore(place, score);
      ++updated;
    }
    if (!set.Commit(added + updated > 0)) return false;
  }
  const bool changed = added + updated > 0;
  if (changed) ctx.Notify('z', options.incr ? "zincr" : "zadd", key);
  if (!options.incr) {
    ctx.reply.Integer(options.ch ? added + updated : added);
  } else if (processed) {
    ctx.reply.Double(score);
  } else {
    ctx.reply.Null();
  }
  return changed;
}

void StoreSortedSet(CommandContext& ctx, std::string_view key, std::unique_ptr<SortedSet> result,
                    std::string_view event) {
  const auto count = static_cast<int64_t>(result->size());
  if (count == 0) {
    EraseTarget(ctx, key);
    return ctx.reply.Integer(0);
  }
  if (!ctx.db().SetObject(key, std::move(result), store::Expiry::None())) return ctx.reply.Error(kOutOfMemory);
  ctx.Notify('z', event, key);
  ctx.reply.Integer(count);
}

namespace {

bool ReadScores(CommandContext& ctx, Argv pairs, std::vector<double>& scores) {
  scores.reserve(pairs.size() / 2);
  for (size_t i = 0; i < pairs.size(); i += 2) {
    const auto score = protocol::ParseDouble(pairs[i]);
    if (!score) {
      ctx.reply.Error(kNotAFloat);
      return false;
    }
    scores.push_back(*score);
  }
  return true;
}

void ZAdd(CommandContext& ctx) {
  AddOptions options;
  size_t at = 2;
  for (; at < ctx.argv.size(); ++at) {
    const std::string_view word = ctx.argv[at];
    if (protocol::EqualsIgnoreCase(word, "NX"))
      options.nx = true;
    else if (protocol::EqualsIgnoreCase(word, "XX"))
      options.xx = true;
    else if (protocol::EqualsIgnoreCase(word, "GT"))
      options.gt = true;
    else if (protocol::EqualsIgnoreCase(word, "LT"))
      options.lt = true;
    else if (protocol::EqualsIgnoreCase(word, "CH"))
      options.ch = true;
    else if (protocol::EqualsIgnoreCase(word, "INCR"))
      options.incr = true;
    else
      break;
  }
  const Argv pairs = ctx.argv.subspan(at);
  if (pairs.empty() || pairs.size() % 2 != 0) return ctx.reply.Error(kSyntaxError);
  if (options.nx && options.xx) {
    return ctx.reply.Error("ERR XX and NX options at the same time are not compatible");
  }
  if ((options.gt && options.lt) || (options.nx && (options.gt || options.lt))) {
    return ctx.reply.Error("ERR GT, LT, and/or NX options at the same time are not compatible");
  }
  if (options.incr && pairs.size() > 2) {
    return ctx.reply.Error("ERR INCR option supports a single increment-element pair");
  }
  if (pairs.size() == 2) {
    const auto score = protocol::ParseDouble(pairs[0]);
    if (!score) return ctx.reply.Error(kNotAFloat);
    (void)AddToSortedSet(ctx, options, {&*score, 1}, pairs.subspan(1), 2);
    return;
  }
  std::vector<double> scores;
  if (!ReadScores(ctx, pairs, scores)) return;
  (void)AddToSortedSet(ctx, options, scores, pairs.subspan(1), 2);
}

void ZIncrBy(CommandContext& ctx) {
  const auto increment = protocol::ParseDouble(ctx.argv[2]);
  if (!increment) return ctx.reply.Error(kNotAFloat);
  (void)AddToSortedSet(ctx, {.incr = true}, {&*increment, 1}, ctx.argv.subspan(3), 1);
}

void ZRem(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  if (!entry) return ctx.reply.Integer(0);
  Edit<SortedSet> set(ctx, key, entry);
  int64_t removed = 0;
  for (std::string_view member : ctx.argv.subspan(2)) removed += set->Erase(member);
  if (!set.Commit(removed > 0)) return;
  if (removed > 0) ctx.Notify('z', "zrem", key);
  if (set.removed()) ctx.Notify('g', "del", key);
  ctx.reply.Integer(removed);
}

void ZCard(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  ctx.reply.Integer(entry ? static_cast<int64_t>(entry.object()->size()) : 0);
}

void ReplyScore(CommandContext& ctx, const SortedSet* set, std::string_view member) {
  const auto score = set != nullptr ? set->Score(member) : std::nullopt;
  if (score) {
    ctx.reply.Double(*score);
  } else {
    ctx.reply.Null();
  }
}

void ZScore(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  ReplyScore(ctx, ValueOf<SortedSet>(entry), ctx.argv[2]);
}

void ZMScore(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  const Argv members = ctx.argv.subspan(2);
  ctx.reply.Array(static_cast<int64_t>(members.size()));
  for (std::string_view member : members) ReplyScore(ctx, ValueOf<SortedSet>(entry), member);
}

void ReplyRank(CommandContext& ctx, bool from_highest) {
  if (ctx.argv.size() > 4) {
    return ctx.reply.Error(from_highest ? "ERR wrong number of arguments for 'zrevrank' command"
                                        : "ERR wrong number of arguments for 'zrank' command");
  }
  const bool with_score = ctx.argv.size() == 4;
  if (with_score && !protocol::EqualsIgnoreCase(ctx.argv[3], "WITHSCORE")) return ctx.reply.Error(kSyntaxError);
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  const SortedSet* set = ValueOf<SortedSet>(entry);
  const auto ranked = set != nullptr ? set->Rank(ctx.argv[2]) : std::nullopt;
  if (!ranked) return with_score ? ctx.reply.NullArray() : ctx.reply.Null();
  if (with_score) ctx.reply.Array(2);
  ctx.reply.Integer(static_cast<int64_t>(from_highest ? set->size() - 1 - ranked->rank : ranked->rank));
  if (with_score) ctx.reply.Double(ranked->score);
}

void ZRank(CommandContext& ctx) { ReplyRank(ctx, false); }
void ZRevRank(CommandContext& ctx) { ReplyRank(ctx, true); }

void ZRandMember(CommandContext& ctx) {
  const bool one = ctx.argv.size() == 2;
  int64_t count = 1;
  Scores scores = Scores::kNo;
  if (!one) {
    constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
    protocol::ArgReader args(ctx.argv, 2);
    count = args.NextIntBetween(-kMax, kMax);
    if (args.HasNext()) {
      if (args.Check("WITHSCORES"))
        scores = Scores::kYes;
      else
        args.SyntaxError();
      args.ExpectEnd();
      if (args.ok() && (count < -kMax / 2 || count > kMax / 2)) args.Fail(protocol::kOutOfRange);
    }
    if (!args.ok()) return ctx.reply.Error(args.error());
  }
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  if (!entry) return one ? ctx.reply.Null() : ctx.reply.Array(0);
  const SortedSet& set = *ValueOf<SortedSet>(entry);
  const uint64_t size = set.size();
  const auto reply_at = [&](uint64_t rank) { ReplyElement(ctx, set.elements().At(rank).element(), scores); };
  if (one) return reply_at(ctx.keyspace.RandomBelow(size));
  if (count < 0) {
    // The same member may come several times.
    BeginElements(ctx, static_cast<uint64_t>(-count), scores);
    for (; count < 0; ++count) reply_at(ctx.keyspace.RandomBelow(size));
    return;
  }
  if (static_cast<uint64_t>(count) >= size) {
    BeginElements(ctx, size, scores);
    for (auto at = set.elements().Begin(); at.valid(); at.Next()) ReplyElement(ctx, at.element(), scores);
    return;
  }
  BeginElements(ctx, static_cast<uint64_t>(count), scores);
  for (uint64_t rank : ChooseIndexes(ctx.keyspace, size, static_cast<uint64_t>(count))) reply_at(rank);
}

// Redis writes the scores of its two encodings in two ways here.
void ReplyScannedScore(CommandContext& ctx, double score, bool large) {
  char text[64];
  size_t length;
  if (large && std::isfinite(score)) {
    length = static_cast<size_t>(std::snprintf(text, sizeof(text), "%.17Lg", static_cast<long double>(score)));
  } else {
    length = protocol::WriteDouble(score, text);
  }
  ctx.reply.Bulk({text, length});
}

void ZScan(CommandContext& ctx) {
  const std::optional<uint64_t> cursor = ReadCursor(ctx.argv[2]);
  if (!cursor) return ctx.reply.Error("ERR invalid cursor");
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!entry) return ReplyEmptyScan(ctx);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  ElementScan scan{.position = *cursor};
  if (!ReadElementScan(ctx, scan)) return;
  const SortedSet& set = *ValueOf<SortedSet>(entry);
  const bool large = set.encoding() == "skiplist";
  ReplyElementScan(ctx, scan, [&](uint64_t position, int64_t& looked_at, int64_t& found) {
    return set.Scan(position, [&](const uint8_t* element) {
      ++looked_at;
      store::IntScratch scratch;
      const std::string_view member = SortedSet::MemberOf(element).Text(scratch);
      if (!scan.Matches(member)) return;
      ctx.reply.Bulk(member);
      ReplyScannedScore(ctx, SortedSet::ScoreOf(element), large);
      found += 2;
    });
  });
}

// ---- rows

constexpr KeySpec kUpdatesKey[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1}};
constexpr ArgSpec kConditionChoice[] = {{.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
                                        {.name = "xx", .type = ArgType::kPureToken, .token = "XX"}};
constexpr ArgSpec kComparisonChoice[] = {{.name = "gt", .type = ArgType::kPureToken, .token = "GT"},
                                         {.name = "lt", .type = ArgType::kPureToken, .token = "LT"}};
constexpr ArgSpec kScoreMember[] = {{.name = "score", .type = ArgType::kDouble}, {.name = "member"}};
constexpr ArgSpec kAddArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "condition", .type = ArgType::kOneOf, .flags = kOptional, .since = "3.0.2", .children = kConditionChoice},
    {.name = "comparison",
     .type = ArgType::kOneOf,
     .flags = kOptional,
     .since = "6.2.0",
     .children = kComparisonChoice},
    {.name = "change", .type = ArgType::kPureToken, .flags = kOptional, .token = "CH", .since = "3.0.2"},
    {.name = "increment", .type = ArgType::kPureToken, .flags = kOptional, .token = "INCR", .since = "3.0.2"},
    {.name = "score_member", .type = ArgType::kBlock, .flags = kMultiple, .children = kScoreMember}};
constexpr HistoryEntry kAddHistory[] = {{"2.4.0", "Accepts multiple `score` and `member` arguments."},
                                        {"3.0.2", "Added `XX`, `NX`, `CH` and `INCR`."},
                                        {"6.2.0", "Added `GT` and `LT`."}};
constexpr KeySpec kReadsAndUpdatesKey[] = {{.flags = kKeyRW | kKeyAccess | kKeyUpdate, .index = 1}};
constexpr ArgSpec kIncrByArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                   {.name = "increment", .type = ArgType::kInteger},
                                   {.name = "member"}};
constexpr KeySpec kDeletesIn[] = {{.flags = kKeyRW | kKeyDelete, .index = 1}};
constexpr ArgSpec kKeyAndMembers[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                      {.name = "member", .flags = kMultiple}};
constexpr HistoryEntry kManyMembers[] = {{"2.4.0", "Accepts multiple `member` arguments."}};
constexpr KeySpec kLooksKey[] = {{.flags = kKeyRO, .index = 1}};
constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr ArgSpec kKeyAndMember[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}, {.name = "member"}};
constexpr ArgSpec kRankArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "member"},
    {.name = "withscore", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHSCORE", .since = "7.2.0"}};
constexpr HistoryEntry kRankHistory[] = {{"7.2.0", "Added `WITHSCORE`."}};
constexpr ArgSpec kCountAndScores[] = {
    {.name = "count", .type = ArgType::kInteger},
    {.name = "withscores", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHSCORES"}};
constexpr ArgSpec kRandArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "options", .type = ArgType::kBlock, .flags = kOptional, .children = kCountAndScores}};
constexpr std::string_view kRandomTips[] = {"nondeterministic_output"};
constexpr ArgSpec kScanArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                 {.name = "cursor", .type = ArgType::kInteger},
                                 {.name = "pattern", .type = ArgType::kPattern, .flags = kOptional, .token = "MATCH"},
                                 {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"}};

constexpr CommandRow kRows[] = {
    {.name = "zadd",
     .arity = -4,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclSortedSet,
     .handler = ZAdd,
     .keys = kUpdatesKey,
     .group = Group::kSortedSet,
     .since = "1.2.0",
     .complexity = "O(log(N)) per member, for N elements.",
     .summary = "Adds members with their scores to a sorted set, or changes their scores.",
     .args = kAddArgs,
     .history = kAddHistory},
    {.name = "zincrby",
     .arity = 4,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclSortedSet,
     .handler = ZIncrBy,
     .keys = kReadsAndUpdatesKey,
     .group = Group::kSortedSet,
     .since = "1.2.0",
     .complexity = "O(log(N)) for N elements.",
     .summary = "Adds to the score of a member, which begins at zero.",
     .args = kIncrByArgs},
    {.name = "zrem",
     .arity = -3,
     .flags = kWrite | kFast,
     .acl = kAclSortedSet,
     .handler = ZRem,
     .keys = kDeletesIn,
     .group = Group::kSortedSet,
     .since = "1.2.0",
     .complexity = "O(M*log(N)) for M members given, N elements.",
     .summary = "Removes members from a sorted set; one left empty goes away.",
     .args = kKeyAndMembers,
     .history = kManyMembers},
    {.name = "zcard",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclSortedSet,
     .handler = ZCard,
     .keys = kLooksKey,
     .group = Group::kSortedSet,
     .since = "1.2.0",
     .complexity = "O(1)",
     .summary = "Counts the members of a sorted set.",
     .args = kOneKey},
    {.name = "zscore",
     .arity = 3,
     .flags = kReadOnly | kFast,
     .acl = kAclSortedSet,
     .handler = ZScore,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "1.2.0",
     .complexity = "O(log(N)) for N elements.",
     .summary = "Reads the score of a member.",
     .args = kKeyAndMember},
    {.name = "zmscore",
     .arity = -3,
     .flags = kReadOnly | kFast,
     .acl = kAclSortedSet,
     .handler = ZMScore,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "6.2.0",
     .complexity = "O(M*log(N)) for M members given, N elements.",
     .summary = "Reads the scores of several members.",
     .args = kKeyAndMembers},
    {.name = "zrank",
     .arity = -3,
     .flags = kReadOnly | kFast,
     .acl = kAclSortedSet,
     .handler = ZRank,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "2.0.0",
     .complexity = "O(log(N)) for N elements.",
     .summary = "Tells how many members of a sorted set come before a member.",
     .args = kRankArgs,
     .history = kRankHistory},
    {.name = "zrevrank",
     .arity = -3,
     .flags = kReadOnly | kFast,
     .acl = kAclSortedSet,
     .handler = ZRevRank,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "2.0.0",
     .complexity = "O(log(N)) for N elements.",
     .summary = "Tells how many members of a sorted set come after a member.",
     .args = kRankArgs,
     .history = kRankHistory},
    {.name = "zrandmember",
     .arity = -2,
     .flags = kReadOnly,
     .acl = kAclSortedSet,
     .handler = ZRandMember,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "6.2.0",
     .complexity = "O(M*log(N)) for M members answered, of N.",
     .summary = "Picks members of a sorted set by chance.",
     .args = kRandArgs,
     .tips = kRandomTips},
    {.name = "zscan",
     .arity = -3,
     .flags = kReadOnly,
     .acl = kAclSortedSet,
     .handler = ZScan,
     .keys = kReadsKey,
     .group = Group::kSortedSet,
     .since = "2.8.0",
     .complexity = "O(log(N)) per step, O(N*log(N)) for a whole walk over N elements.",
     .summary = "Walks over members and scores of a sorted set in steps.",
     .args = kScanArgs,
     .tips = kRandomTips},
};

}  // namespace

std::span<const CommandRow> SortedSetCommands() { return kRows; }

}  // namespace tessera
