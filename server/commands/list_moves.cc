// Lists: moves from one to another, pops from the first of several, and the forms of these that wait for an element.
// What waits tries again from the beginning when a list has come (server/blocked_keys.h), and is propagated as what it
// did: LPOP, LMOVE and the like.
#include <string>

#include "server/blocked_keys.h"
#include "server/commands/lists.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::IntScratch;
using store::List;
using Side = List::Side;

void NotifyPush(CommandContext& ctx, Side side, std::string_view key) {
  ctx.Notify('l', side == Side::kHead ? "lpush" : "rpush", key);
}

// Adds to a list that exists or not; false when memory is short, which was answered.
bool PushTo(CommandContext& ctx, std::string_view key, EntryRef entry, Side side, std::string_view value) {
  Edit<List> list(ctx, key, entry);
  list->Grow(value.size(), 1, ListLimitsOf(ctx.services.config));
  list->Push(side, value);
  if (!list.Commit()) return false;
  NotifyPush(ctx, side, key);
  return true;
}

// The element goes round within one list.
void Rotate(CommandContext& ctx, std::string_view key, EntryRef entry, Side from, Side to, std::string_view value) {
  const store::ListLimits limits = ListLimitsOf(ctx.services.config);
  Edit<List> list(ctx, key, entry);
  list->Pop(from);
  list->Grow(value.size(), 1, limits);
  list->Push(to, value);
  list->Shrink(limits);
  if (!list.Commit()) return;
  NotifyPush(ctx, to, key);
  ctx.Notify('l', from == Side::kHead ? "lpop" : "rpop", key);
}

// Moves an element and replies with it. False when nothing was done: an error was replied, or `found` says that there
// is no source.
bool Move(CommandContext& ctx, Side from, Side to, bool& found) {
  const std::string_view source = ctx.argv[1], target = ctx.argv[2];
  EntryRef entry = ctx.FindForWrite(source);
  found = static_cast<bool>(entry);
  if (!entry || !CheckType(ctx, entry, store::Type::kList)) return false;
  IntScratch scratch;
  const std::string value(ValueOf<List>(entry)->Last(from).value().Text(scratch));
  if (source == target) {
    Rotate(ctx, source, entry, from, to, value);
  } else {
    const EntryRef target_entry = ctx.FindForWrite(target);
    if (!CheckType(ctx, target_entry, store::Type::kList)) return false;
    if (!PushTo(ctx, target, target_entry, to, value)) return false;
    RemoveElements(ctx, source, ctx.db().Peek(source), from, 1);
  }
  ctx.reply.Bulk(value);
  return true;
}

void LMove(CommandContext& ctx) {
  const auto from = ReadSide(ctx, ctx.argv[3]);
  if (!from) return;
  const auto to = ReadSide(ctx, ctx.argv[4]);
  if (!to) return;
  bool found;
  if (!Move(ctx, *from, *to, found) && !found) ctx.reply.Null();
}

void RPopLPush(CommandContext& ctx) {
  bool found;
  if (!Move(ctx, Side::kTail, Side::kHead, found) && !found) ctx.reply.Null();
}

void WaitForSource(CommandContext& ctx, int64_t deadline_us) {
  ctx.BlockOnKeys({.keys = ctx.argv.subspan(1, 1),
                   .type = store::Type::kList,
                   .deadline_us = deadline_us,
                   .denied = KeyWait::Denied::kNull});
}

void BLMove(CommandContext& ctx) {
  const auto from = ReadSide(ctx, ctx.argv[3]);
  if (!from) return;
  const auto to = ReadSide(ctx, ctx.argv[4]);
  if (!to) return;
  int64_t deadline_us;
  if (!ReadTimeout(ctx, ctx.argv[5], TimeoutUnit::kSeconds, deadline_us)) return;
  bool found;
  if (Move(ctx, *from, *to, found)) return ctx.Propagate({"LMOVE", ctx.argv[1], ctx.argv[2], ctx.argv[3], ctx.argv[4]});
  if (!found) WaitForSource(ctx, deadline_us);
}

void BRPopLPush(CommandContext& ctx) {
  int64_t deadline_us;
  if (!ReadTimeout(ctx, ctx.argv[3], TimeoutUnit::kSeconds, deadline_us)) return;
  bool found;
  if (Move(ctx, Side::kTail, Side::kHead, found)) return ctx.Propagate({"RPOPLPUSH", ctx.argv[1], ctx.argv[2]});
  if (!found) WaitForSource(ctx, deadline_us);
}

// The first key that exists decides: true when it was popped from, or refused as no list.
template <typename Pop>
bool PopFromFirst(CommandContext& ctx, Argv keys, Pop pop) {
  for (std::string_view key : keys) {
    const EntryRef entry = ctx.FindForWrite(key);
    if (!entry) continue;
    if (CheckType(ctx, entry, store::Type::kList)) pop(key, entry);
    return true;
  }
  return false;
}

void BlockingPop(CommandContext& ctx, Side side) {
  int64_t deadline_us;
  if (!ReadTimeout(ctx, ctx.argv.back(), TimeoutUnit::kSeconds, deadline_us)) return;
  const Argv keys = ctx.argv.subspan(1, ctx.argv.size() - 2);
  const bool done = PopFromFirst(ctx, keys, [&](std::string_view key, EntryRef entry) {
    ctx.reply.Array(2);
    ctx.reply.Bulk(key);
    ReplyElements(ctx, *ValueOf<List>(entry), side, 1);
    RemoveElements(ctx, key, entry, side, 1);
    ctx.Propagate({side == Side::kHead ? "LPOP" : "RPOP", key});
  });
  if (!done) ctx.BlockOnKeys({.keys = keys, .type = store::Type::kList, .deadline_us = deadline_us});
}

void BLPop(CommandContext& ctx) { BlockingPop(ctx, Side::kHead); }
void BRPop(CommandContext& ctx) { BlockingPop(ctx, Side::kTail); }

struct ManyPop {
  Argv keys;
  Side side = Side::kHead;
  uint64_t count = 1;
};

// numkeys key [key ...] LEFT|RIGHT [COUNT count], from argv[first] on. Otherwise replies and returns nothing.
std::optional<ManyPop> ReadManyPop(CommandContext& ctx, size_t first) {
  const auto numkeys = protocol::ParseInt64(ctx.argv[first]);
  if (!numkeys || *numkeys < 1) return ctx.reply.Error("ERR numkeys should be greater than 0"), std::nullopt;
  if (static_cast<uint64_t>(*numkeys) >= ctx.argv.size() - first - 1)
    return ctx.reply.Error(kSyntaxError), std::nullopt;
  const auto key_count = static_cast<size_t>(*numkeys);
  const auto side = ReadSide(ctx, ctx.argv[first + 1 + key_count]);
  if (!side) return std::nullopt;
  ManyPop pop{.keys = ctx.argv.subspan(first + 1, key_count), .side = *side};
  protocol::ArgReader args(ctx.argv, first + 2 + key_count);
  if (args.Check("COUNT", 1)) {
    const auto count = protocol::ParseInt64(args.Next());
    if (!count || *count < 1) return ctx.reply.Error("ERR count should be greater than 0"), std::nullopt;
    pop.count = static_cast<uint64_t>(*count);
  }
  args.ExpectEnd();
  if (!args.ok()) return ctx.reply.Error(args.error()), std::nullopt;
  return pop;
}

bool PopMany(CommandContext& ctx, const ManyPop& pop) {
  return PopFromFirst(ctx, pop.keys, [&](std::string_view key, EntryRef entry) {
    PopAndReplyWithKey(ctx, key, entry, pop.side, pop.count);
  });
}

void LMPop(CommandContext& ctx) {
  const auto pop = ReadManyPop(ctx, 1);
  if (pop && !PopMany(ctx, *pop)) ctx.reply.NullArray();
}

void BLMPop(CommandContext& ctx) {
  const auto pop = ReadManyPop(ctx, 2);
  if (!pop) return;
  int64_t deadline_us;
  if (!ReadTimeout(ctx, ctx.argv[1], TimeoutUnit::kSeconds, deadline_us)) return;
  if (PopMany(ctx, *pop)) return;
  ctx.BlockOnKeys({.keys = pop->keys, .type = store::Type::kList, .deadline_us = deadline_us});
}

constexpr KeySpec kLmoveKeys[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 1},
                                  {.flags = kKeyRW | kKeyInsert, .index = 2}};
constexpr ArgSpec kSides[] = {{.name = "left", .type = ArgType::kPureToken, .token = "LEFT"},
                              {.name = "right", .type = ArgType::kPureToken, .token = "RIGHT"}};
constexpr ArgSpec kLmoveArgs[] = {{.name = "source", .type = ArgType::kKey, .key_spec = 0},
                                  {.name = "destination", .type = ArgType::kKey, .key_spec = 1},
                                  {.name = "wherefrom", .type = ArgType::kOneOf, .children = kSides},
                                  {.name = "whereto", .type = ArgType::kOneOf, .children = kSides}};
constexpr ArgSpec kRpoplpushArgs[] = {{.name = "source", .type = ArgType::kKey, .key_spec = 0},
                                      {.name = "destination", .type = ArgType::kKey, .key_spec = 1}};
constexpr KeySpec kLmpopKeys[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete,
                                   .index = 1,
                                   .find = KeySpec::Find::kKeyNum,
                                   .keynum_index = 0,
                                   .first_key = 1}};
constexpr ArgSpec kLmpopArgs[] = {{.name = "numkeys", .type = ArgType::kInteger},
                                  {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0},
                                  {.name = "where", .type = ArgType::kOneOf, .children = kSides},
                                  {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"}};
constexpr KeySpec kBlpopKeys[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 1, .last_key = -2}};
constexpr ArgSpec kBlpopArgs[] = {{.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0},
                                  {.name = "timeout", .type = ArgType::kDouble}};
constexpr HistoryEntry kBlpopHistory[] = {{"6.0.0", "The timeout may be a fraction."}};
constexpr ArgSpec kBlmoveArgs[] = {{.name = "source", .type = ArgType::kKey, .key_spec = 0},
                                   {.name = "destination", .type = ArgType::kKey, .key_spec = 1},
                                   {.name = "wherefrom", .type = ArgType::kOneOf, .children = kSides},
                                   {.name = "whereto", .type = ArgType::kOneOf, .children = kSides},
                                   {.name = "timeout", .type = ArgType::kDouble}};
constexpr ArgSpec kBrpoplpushArgs[] = {{.name = "source", .type = ArgType::kKey, .key_spec = 0},
                                       {.name = "destination", .type = ArgType::kKey, .key_spec = 1},
                                       {.name = "timeout", .type = ArgType::kDouble}};
constexpr KeySpec kBlmpopKeys[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete,
                                    .index = 2,
                                    .find = KeySpec::Find::kKeyNum,
                                    .keynum_index = 0,
                                    .first_key = 1}};
constexpr ArgSpec kBlmpopArgs[] = {{.name = "timeout", .type = ArgType::kDouble},
                                   {.name = "numkeys", .type = ArgType::kInteger},
                                   {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0},
                                   {.name = "where", .type = ArgType::kOneOf, .children = kSides},
                                   {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"}};

constexpr CommandRow kRows[] = {
    {.name = "lmove",
     .arity = 5,
     .flags = kWrite | kDenyOom,
     .acl = kAclList,
     .handler = LMove,
     .keys = kLmoveKeys,
     .group = Group::kList,
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Takes an element from one end of a list, adds it to an end of another, and returns it.",
     .args = kLmoveArgs},
    {.name = "rpoplpush",
     .arity = 3,
     .flags = kWrite | kDenyOom,
     .acl = kAclList,
     .handler = RPopLPush,
     .keys = kLmoveKeys,
     .group = Group::kList,
     .since = "1.2.0",
     .complexity = "O(1)",
     .summary = "Takes the last element of a list, puts it in front of another, and returns it.",
     .args = kRpoplpushArgs,
     .deprecated_since = "6.2.0",
     .replaced_by = "`LMOVE` with the `RIGHT` and `LEFT` arguments"},
    {.name = "lmpop",
     .arity = -4,
     .flags = kWrite | kMovableKeys,
     .acl = kAclList,
     .handler = LMPop,
     .keys = kLmpopKeys,
     .group = Group::kList,
     .since = "7.0.0",
     .complexity = "O(N+M) for N keys given and M elements returned.",
     .summary = "Takes elements from the first of several lists that has any.",
     .args = kLmpopArgs},
    {.name = "blpop",
     .arity = -3,
     .flags = kWrite | kNoScript | kBlocking,
     .acl = kAclList,
     .handler = BLPop,
     .keys = kBlpopKeys,
     .group = Group::kList,
     .since = "2.0.0",
     .complexity = "O(N) for N keys given.",
     .summary = "Takes the first element of the first list that has any, or waits for one.",
     .args = kBlpopArgs,
     .history = kBlpopHistory},
    {.name = "brpop",
     .arity = -3,
     .flags = kWrite | kNoScript | kBlocking,
     .acl = kAclList,
     .handler = BRPop,
     .keys = kBlpopKeys,
     .group = Group::kList,
     .since = "2.0.0",
     .complexity = "O(N) for N keys given.",
     .summary = "Takes the last element of the first list that has any, or waits for one.",
     .args = kBlpopArgs,
     .history = kBlpopHistory},
    {.name = "blmove",
     .arity = 6,
     .flags = kWrite | kDenyOom | kNoScript | kBlocking,
     .acl = kAclList,
     .handler = BLMove,
     .keys = kLmoveKeys,
     .group = Group::kList,
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Like LMOVE, but waits for an element if there is none.",
     .args = kBlmoveArgs},
    {.name = "brpoplpush",
     .arity = 4,
     .flags = kWrite | kDenyOom | kNoScript | kBlocking,
     .acl = kAclList,
     .handler = BRPopLPush,
     .keys = kLmoveKeys,
     .group = Group::kList,
     .since = "2.2.0",
     .complexity = "O(1)",
     .summary = "Like RPOPLPUSH, but waits for an element if there is none.",
     .args = kBrpoplpushArgs,
     .history = kBlpopHistory,
     .deprecated_since = "6.2.0",
     .replaced_by = "`BLMOVE` with the `RIGHT` and `LEFT` arguments"},
    {.name = "blmpop",
     .arity = -5,
     .flags = kWrite | kBlocking | kMovableKeys,
     .acl = kAclList,
     .handler = BLMPop,
     .keys = kBlmpopKeys,
     .group = Group::kList,
     .since = "7.0.0",
     .complexity = "O(N+M) for N keys given and M elements returned.",
     .summary = "Takes elements from the first of several lists that has any, or waits for one.",
     .args = kBlmpopArgs},
};

}  // namespace

std::span<const CommandRow> ListMoveCommands() { return kRows; }

}  // namespace tessera
