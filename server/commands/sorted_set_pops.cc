// Taking elements off either end of sorted sets.
#include <algorithm>
#include <optional>
#include <string>

#include "server/blocked_keys.h"
#include "server/commands/sorted_sets.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::RankRange;
using store::SortedSet;

enum class End : uint8_t { kMin, kMax };

// How the reply is put together.
struct PopShape {
  bool tells_key = false;
  bool pairs = false;  // an array per element
};

// Pops up to `count` > 0 elements of an existing sorted set; returns how many.
uint64_t PopFrom(CommandContext& ctx, std::string_view key, EntryRef entry, End end, uint64_t count, PopShape shape) {
  Edit<SortedSet> set(ctx, key, entry);
  const uint64_t size = set->size();
  count = std::min(count, size);
  if (shape.tells_key) {
    ctx.reply.Array(static_cast<int64_t>(shape.pairs ? 2 : 1 + 2 * count));
    ctx.reply.Bulk(key);
  }
  if (!shape.tells_key || shape.pairs) ctx.reply.Array(static_cast<int64_t>(shape.pairs ? count : 2 * count));
  const auto tell = [&](const uint8_t* element) {
    if (shape.pairs) ctx.reply.Array(2);
    store::IntScratch scratch;
    ctx.reply.Bulk(SortedSet::MemberOf(element).Text(scratch));
    ctx.reply.Double(SortedSet::ScoreOf(element));
  };
  RankRange range{.first = 0, .last = count};
  if (end == End::kMin) {
    auto at = set->elements().Begin();
    for (uint64_t i = 0; i < count; ++i, at.Next()) tell(at.element());
  } else {
    range = {.first = size - count, .last = size};
    store::ElementTree::BackwardCursor at(set->elements().At(size - 1));
    for (uint64_t i = 0; i < count; ++i, at.Next()) tell(at.element());
  }
  set->EraseRange(range);
  if (!set.Commit()) return 0;  // never: popping takes no memory
  ctx.Notify('z', end == End::kMin ? "zpopmin" : "zpopmax", key);
  if (set.removed()) ctx.Notify('g', "del", key);
  return count;
}

void Pop(CommandContext& ctx, End end) {
  if (ctx.argv.size() > 3) return ctx.reply.Error(kSyntaxError);
  const bool one = ctx.argv.size() == 2;
  const auto count = one ? std::optional<int64_t>(1) : protocol::ParseInt64(ctx.argv[2]);
  if (!count || *count < 0) return ctx.reply.Error("ERR value is out of range, must be positive");
  const EntryRef entry = ctx.FindForWrite(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  if (!entry || *count == 0) return ctx.reply.Array(0);
  (void)PopFrom(ctx, ctx.argv[1], entry, end, static_cast<uint64_t>(*count),
                {.pairs = !one && ctx.reply.version() > 2});
}

void ZPopMin(CommandContext& ctx) { Pop(ctx, End::kMin); }
void ZPopMax(CommandContext& ctx) { Pop(ctx, End::kMax); }

// The first of `keys` that is there. False when it holds something else: that was answered.
bool FindFirst(CommandContext& ctx, Argv keys, std::string_view& key, EntryRef& entry) {
  for (std::string_view candidate : keys) {
    entry = ctx.FindForWrite(candidate);
    key = candidate;
    if (entry) return CheckType(ctx, entry, store::Type::kZset);
  }
  return true;
}

struct MultiPop {
  Argv keys;
  End end = End::kMin;
  int64_t count = 1;
};

// ZMPOP and BZMPOP, from the number of keys on.
bool ReadMultiPop(CommandContext& ctx, size_t at, MultiPop& pop) {
  protocol::ArgReader args(ctx.argv, at);
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  const int64_t keys = args.NextIntBetween(1, kMax, "ERR numkeys should be greater than 0");
  if (args.ok() && static_cast<uint64_t>(keys) >= args.Remaining()) args.SyntaxError();
  if (args.ok()) {
    pop.keys = ctx.argv.subspan(at + 1, static_cast<size_t>(keys));
    args.Skip(static_cast<size_t>(keys));
  }
  if (args.Check("MAX")) {
    pop.end = End::kMax;
  } else if (!args.Check("MIN")) {
    args.SyntaxError();
  }
  if (args.Check("COUNT", 1)) pop.count = args.NextIntBetween(1, kMax, "ERR count should be greater than 0");
  args.ExpectEnd();
  if (!args.ok()) ctx.reply.Error(args.error());
  return args.ok();
}

void ZMPop(CommandContext& ctx) {
  MultiPop pop;
  if (!ReadMultiPop(ctx, 1, pop)) return;
  std::string_view key;
  EntryRef entry;
  if (!FindFirst(ctx, pop.keys, key, entry)) return;
  if (!entry) return ctx.reply.NullArray();
  (void)PopFrom(ctx, key, entry, pop.end, static_cast<uint64_t>(pop.count), {.tells_key = true, .pairs = true});
}

void BlockingPop(CommandContext& ctx, End end) {
  int64_t deadline_us;
  if (!ReadTimeout(ctx, ctx.argv.back(), TimeoutUnit::kSeconds, deadline_us)) return;
  const Argv keys = ctx.argv.subspan(1, ctx.argv.size() - 2);
  std::string_view key;
  EntryRef entry;
  if (!FindFirst(ctx, keys, key, entry)) return;
  if (!entry) return ctx.BlockOnKeys({.keys = keys, .type = store::Type::kZset, .deadline_us = deadline_us});
  (void)PopFrom(ctx, key, entry, end, 1, {.tells_key = true});
  ctx.Propagate({end == End::kMin ? "ZPOPMIN" : "ZPOPMAX", key});
}

void BZPopMin(CommandContext& ctx) { BlockingPop(ctx, End::kMin); }
void BZPopMax(CommandContext& ctx) { BlockingPop(ctx, End::kMax); }

void BZMPop(CommandContext& ctx) {
  MultiPop pop;
  if (!ReadMultiPop(ctx, 2, pop)) return;
  int64_t deadline_us;
  if (!ReadTimeout(ctx, ctx.argv[1], TimeoutUnit::kSeconds, deadline_us)) return;
  std::string_view key;
  EntryRef entry;
  if (!FindFirst(ctx, pop.keys, key, entry)) return;
  if (!entry) return ctx.BlockOnKeys({.keys = pop.keys, .type = store::Type::kZset, .deadline_us = deadline_us});
  const uint64_t popped =
      PopFrom(ctx, key, entry, pop.end, static_cast<uint64_t>(pop.count), {.tells_key = true, .pairs = true});
  ctx.Propagate({pop.end == End::kMin ? "ZPOPMIN" : "ZPOPMAX", key, NumberText(static_cast<int64_t>(popped))});
}

// ---- rows

constexpr KeySpec kPopsFrom[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 1}};
constexpr ArgSpec kPopArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                {.name = "count", .type = ArgType::kInteger, .flags = kOptional}};
constexpr KeySpec kPopsFromMany[] = {
    {.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 1, .find = KeySpec::Find::kKeyNum, .first_key = 1}};
constexpr ArgSpec kWhereChoice[] = {{.name = "min", .type = ArgType::kPureToken, .token = "MIN"},
                                    {.name = "max", .type = ArgType::kPureToken, .token = "MAX"}};
constexpr ArgSpec kMPopArgs[] = {{.name = "numkeys", .type = ArgType::kInteger},
                                 {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0},
                                 {.name = "where", .type = ArgType::kOneOf, .children = kWhereChoice},
                                 {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"}};
constexpr KeySpec kPopsFromFirst[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 1, .last_key = -2}};
constexpr ArgSpec kBPopArgs[] = {{.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0},
                                 {.name = "timeout", .type = ArgType::kDouble}};
constexpr HistoryEntry kBPopHistory[] = {{"6.0.0", "`timeout` may be a fraction."}};
constexpr KeySpec kWaitsForMany[] = {
    {.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 2, .find = KeySpec::Find::kKeyNum, .first_key = 1}};
constexpr ArgSpec kBMPopArgs[] = {{.name = "timeout", .type = ArgType::kDouble},
                                  {.name = "numkeys", .type = ArgType::kInteger},
                                  {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0},
                                  {.name = "where", .type = ArgType::kOneOf, .children = kWhereChoice},
                                  {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"}};

constexpr CommandRow kRows[] = {
    {.name = "zpopmin",
     .arity = -2,
     .flags = kWrite | kFast,
     .acl = kAclSortedSet,
     .handler = ZPopMin,
     .keys = kPopsFrom,
     .group = Group::kSortedSet,
     .since = "5.0.0",
     .complexity = "O(M*log(N)) for M members popped of N.",
     .summary = "Takes the members of the lowest scores off a sorted set.",
     .args = kPopArgs},
    {.name = "zpopmax",
     .arity = -2,
     .flags = kWrite | kFast,
     .acl = kAclSortedSet,
     .handler = ZPopMax,
     .keys = kPopsFrom,
     .group = Group::kSortedSet,
     .since = "5.0.0",
     .complexity = "O(M*log(N)) for M members popped of N.",
     .summary = "Takes the members of the highest scores off a sorted set.",
     .args = kPopArgs},
    {.name = "zmpop",
     .arity = -4,
     .flags = kWrite | kMovableKeys,
     .acl = kAclSortedSet,
     .handler = ZMPop,
     .keys = kPopsFromMany,
     .group = Group::kSortedSet,
     .since = "7.0.0",
     .complexity = "O(K + M*log(N)) for K keys, M members popped of N.",
     .summary = "Takes members off either end of the first sorted set that is there.",
     .args = kMPopArgs},
    {.name = "bzpopmin",
     .arity = -3,
     .flags = kWrite | kNoScript | kBlocking | kFast,
     .acl = kAclSortedSet,
     .handler = BZPopMin,
     .keys = kPopsFromFirst,
     .group = Group::kSortedSet,
     .since = "5.0.0",
     .complexity = "O(log(N)) for N elements.",
     .summary =
         "Takes the member of the lowest score off the first sorted set that is there, and waits for one if need be.",
     .args = kBPopArgs,
     .history = kBPopHistory},
    {.name = "bzpopmax",
     .arity = -3,
     .flags = kWrite | kNoScript | kBlocking | kFast,
     .acl = kAclSortedSet,
     .handler = BZPopMax,
     .keys = kPopsFromFirst,
     .group = Group::kSortedSet,
     .since = "5.0.0",
     .complexity = "O(log(N)) for N elements.",
     .summary =
         "Takes the member of the highest score off the first sorted set that is there, and waits for one if need be.",
     .args = kBPopArgs,
     .history = kBPopHistory},
    {.name = "bzmpop",
     .arity = -5,
     .flags = kWrite | kBlocking | kMovableKeys,
     .acl = kAclSortedSet,
     .handler = BZMPop,
     .keys = kWaitsForMany,
     .group = Group::kSortedSet,
     .since = "7.0.0",
     .complexity = "O(K + M*log(N)) for K keys, M members popped of N.",
     .summary = "Takes members off either end of the first sorted set that is there, and waits for one if need be.",
     .args = kBMPopArgs},
};

}  // namespace

std::span<const CommandRow> SortedSetPopCommands() { return kRows; }

}  // namespace tessera
