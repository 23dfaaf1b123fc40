// Lists: adding, taking and reading. Changes in the middle are in list_edit.cc, moves between lists and all that waits
// in list_moves.cc.
#include <algorithm>
#include <cstdlib>
#include <limits>

#include "server/commands/lists.h"
#include "server/commands/table.h"

namespace tessera {

using store::EntryRef;
using store::IntScratch;
using store::List;
using Side = List::Side;

std::optional<Side> ReadSide(CommandContext& ctx, std::string_view text) {
  if (protocol::EqualsIgnoreCase(text, "left")) return Side::kHead;
  if (protocol::EqualsIgnoreCase(text, "right")) return Side::kTail;
  ctx.reply.Error(kSyntaxError);
  return std::nullopt;
}

void ReplyElements(CommandContext& ctx, const List& list, Side side, uint64_t count) {
  if (count == 0) return;
  if (count == 1) {
    IntScratch scratch;
    return ctx.reply.Bulk(list.Last(side).value().Text(scratch));
  }
  const auto tell = [&ctx, &count](uint64_t, const uint8_t* element) {
    IntScratch scratch;
    ctx.reply.Bulk(store::Unpack(element).Text(scratch));
    return --count > 0;
  };
  if (side == Side::kHead) {
    list.Forwards(0, tell);
  } else {
    list.Backwards(list.size() - 1, tell);
  }
}

void RemoveElements(CommandContext& ctx, std::string_view key, EntryRef entry, Side side, uint64_t count) {
  Edit<List> list(ctx, key, entry);
  if (count == 1) {
    list->Pop(side);
  } else {
    list->EraseRange(side == Side::kHead ? 0 : list->size() - count, count);
  }
  if (list->size() != 0) list->Shrink(ListLimitsOf(ctx.services.config));
  if (!list.Commit()) return;
  ctx.Notify('l', side == Side::kHead ? "lpop" : "rpop", key);
  if (list.removed()) ctx.Notify('g', "del", key);
}

void PopAndReplyWithKey(CommandContext& ctx, std::string_view key, EntryRef entry, Side side, uint64_t count) {
  const List& list = *ValueOf<List>(entry);
  count = std::min(count, list.size());
  ctx.reply.Array(2);
  ctx.reply.Bulk(key);
  ctx.reply.Array(static_cast<int64_t>(count));
  ReplyElements(ctx, list, side, count);
  RemoveElements(ctx, key, entry, side, count);
  ctx.Propagate({side == Side::kHead ? "LPOP" : "RPOP", key, NumberText(static_cast<int64_t>(count))});
}

namespace {

enum class Missing : uint8_t { kCreate, kLeave };

void Push(CommandContext& ctx, Side side, Missing missing) {
  const std::string_view key = ctx.argv[1];
  const Argv values = ctx.argv.subspan(2);
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kList)) return;
  if (!entry && missing == Missing::kLeave) return ctx.reply.Integer(0);
  Edit<List> list(ctx, key, entry);
  uint64_t bytes = 0;
  for (std::string_view value : values) bytes += value.size();
  list->Grow(bytes, values.size(), ListLimitsOf(ctx.services.config));
  for (std::string_view value : values) list->Push(side, value);
  const auto length = static_cast<int64_t>(list->size());
  if (!list.Commit()) return;
  ctx.Notify('l', side == Side::kHead ? "lpush" : "rpush", key);
  ctx.reply.Integer(length);
}

void LPush(CommandContext& ctx) { Push(ctx, Side::kHead, Missing::kCreate); }
void RPush(CommandContext& ctx) { Push(ctx, Side::kTail, Missing::kCreate); }
void LPushX(CommandContext& ctx) { Push(ctx, Side::kHead, Missing::kLeave); }
void RPushX(CommandContext& ctx) { Push(ctx, Side::kTail, Missing::kLeave); }

void Pop(CommandContext& ctx, Side side) {
  if (ctx.argv.size() > 3)
    return ctx.reply.Error(side == Side::kHead ? "ERR wrong number of arguments for 'lpop' command"
                                               : "ERR wrong number of arguments for 'rpop' command");
  const bool counted = ctx.argv.size() == 3;
  uint64_t count = 1;
  if (counted) {
    const auto wanted = protocol::ParseInt64(ctx.argv[2]);
    if (!wanted || *wanted < 0) return ctx.reply.Error(kNotPositive);
    count = static_cast<uint64_t>(*wanted);
  }
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!entry) return counted ? ctx.reply.NullArray() : ctx.reply.Null();
  if (!CheckType(ctx, entry, store::Type::kList)) return;
  const List& list = *ValueOf<List>(entry);
  count = std::min(count, list.size());
  if (counted) ctx.reply.Array(static_cast<int64_t>(count));
  if (count == 0) return;
  ReplyElements(ctx, list, side, count);
  RemoveElements(ctx, key, entry, side, count);
}

void LPop(CommandContext& ctx) { Pop(ctx, Side::kHead); }
void RPop(CommandContext& ctx) { Pop(ctx, Side::kTail); }

void LLen(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kList)) return;
  ctx.reply.Integer(entry ? static_cast<int64_t>(entry.object()->size()) : 0);
}

void LIndex(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!entry) return ctx.reply.Null();
  if (!CheckType(ctx, entry, store::Type::kList)) return;
  int64_t index;
  if (!ReadInteger(ctx, ctx.argv[2], index)) return;
  const List& list = *ValueOf<List>(entry);
  const auto length = static_cast<int64_t>(list.size());
  if (index < 0) index += length;
  if (index < 0 || index >= length) return ctx.reply.Null();
  IntScratch scratch;
  ctx.reply.Bulk(list.At(static_cast<uint64_t>(index)).value().Text(scratch));
}

void LRange(CommandContext& ctx) {
  int64_t start, stop;
  if (!ReadInteger(ctx, ctx.argv[2], start) || !ReadInteger(ctx, ctx.argv[3], stop)) return;
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!entry) return ctx.reply.Array(0);
  if (!CheckType(ctx, entry, store::Type::kList)) return;
  const List& list = *ValueOf<List>(entry);
  const auto length = static_cast<int64_t>(list.size());
  if (start < 0) start = std::max<int64_t>(0, start + length);
  if (stop < 0) stop += length;
  stop = std::min(stop, length - 1);
  if (start > stop) return ctx.reply.Array(0);
  ctx.reply.Array(stop - start + 1);
  list.Forwards(static_cast<uint64_t>(start),
                [&ctx, last = static_cast<uint64_t>(stop)](uint64_t index, const uint8_t* element) {
                  IntScratch scratch;
                  ctx.reply.Bulk(store::Unpack(element).Text(scratch));
                  return index < last;
                });
}

struct PositionOptions {
  int64_t rank = 1;
  std::optional<int64_t> count;  // 0: all
  int64_t looked_at_max = 0;     // 0: no bound
};

// Replies and returns false when the options make no sense.
bool ReadPositionOptions(CommandContext& ctx, PositionOptions& options) {
  const auto refuse = [&ctx](std::string_view why) {
    ctx.reply.Error(why);
    return false;
  };
  protocol::ArgReader args(ctx.argv, 3);
  while (args.HasNext()) {
    if (args.Check("RANK", 1)) {
      if (!ReadInteger(ctx, args.Next(), options.rank)) return false;
      if (options.rank == std::numeric_limits<int64_t>::min())
        return refuse("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
      if (options.rank == 0)
        return refuse(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative "
            "to start from the end of the list");
    } else if (args.Check("COUNT", 1)) {
      options.count = protocol::ParseInt64(args.Next());
      if (!options.count || *options.count < 0) return refuse("ERR COUNT can't be negative");
    } else if (args.Check("MAXLEN", 1)) {
      const auto bound = protocol::ParseInt64(args.Next());
      if (!bound || *bound < 0) return refuse("ERR MAXLEN can't be negative");
      options.looked_at_max = *bound;
    } else {
      return refuse(kSyntaxError);
    }
  }
  return true;
}

void LPos(CommandContext& ctx) {
  PositionOptions options;
  if (!ReadPositionOptions(ctx, options)) return;
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!entry) return options.count ? ctx.reply.Array(0) : ctx.reply.Null();
  if (!CheckType(ctx, entry, store::Type::kList)) return;
  const List& list = *ValueOf<List>(entry);
  store::PackBuffer wanted;
  store::AppendPacked(ctx.argv[2], &wanted);
  const auto at = ctx.reply.Defer();
  const int64_t most = options.count.value_or(1);
  int64_t to_skip = std::abs(options.rank) - 1, looked_at = 0, found = 0;
  const auto look = [&](uint64_t index, const uint8_t* element) {
    if (store::EqualPacked(element, wanted)) {
      if (to_skip > 0) {
        --to_skip;
      } else {
        ctx.reply.Integer(static_cast<int64_t>(index));
        if (++found == most) return false;
      }
    }
    return ++looked_at != options.looked_at_max;
  };
  if (options.rank > 0) {
    list.Forwards(0, look);
  } else {
    list.Backwards(list.size() - 1, look);
  }
  if (options.count) return ctx.reply.EndArray(at, found);
  if (found == 0) ctx.reply.Null();
}

constexpr KeySpec kLpushKeys[] = {{.flags = kKeyRW | kKeyInsert, .index = 1}};
constexpr ArgSpec kLpushArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                  {.name = "element", .flags = kMultiple}};
constexpr HistoryEntry kLpushHistory[] = {{"2.4.0", "Takes several elements."}};
constexpr HistoryEntry kLpushxHistory[] = {{"4.0.0", "Takes several elements."}};
constexpr KeySpec kLpopKeys[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 1}};
constexpr ArgSpec kLpopArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                 {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .since = "6.2.0"}};
constexpr HistoryEntry kLpopHistory[] = {{"6.2.0", "Takes a count."}};
constexpr KeySpec kLlenKeys[] = {{.flags = kKeyRO, .index = 1}};
constexpr ArgSpec kLlenArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr KeySpec kLindexKeys[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr ArgSpec kLindexArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                   {.name = "index", .type = ArgType::kInteger}};
constexpr ArgSpec kLrangeArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                   {.name = "start", .type = ArgType::kInteger},
                                   {.name = "stop", .type = ArgType::kInteger}};
constexpr ArgSpec kLposArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "element"},
    {.name = "rank", .type = ArgType::kInteger, .flags = kOptional, .token = "RANK"},
    {.name = "num-matches", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"},
    {.name = "len", .type = ArgType::kInteger, .flags = kOptional, .token = "MAXLEN"}};

constexpr CommandRow kRows[] = {
    {.name = "lpush",
     .arity = -3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclList,
     .handler = LPush,
     .keys = kLpushKeys,
     .group = Group::kList,
     .since = "1.0.0",
     .complexity = "O(N) for N elements given.",
     .summary = "Puts elements in front of a list, creating it if need be.",
     .args = kLpushArgs,
     .history = kLpushHistory},
    {.name = "rpush",
     .arity = -3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclList,
     .handler = RPush,
     .keys = kLpushKeys,
     .group = Group::kList,
     .since = "1.0.0",
     .complexity = "O(N) for N elements given.",
     .summary = "Puts elements at the end of a list, creating it if need be.",
     .args = kLpushArgs,
     .history = kLpushHistory},
    {.name = "lpushx",
     .arity = -3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclList,
     .handler = LPushX,
     .keys = kLpushKeys,
     .group = Group::kList,
     .since = "2.2.0",
     .complexity = "O(N) for N elements given.",
     .summary = "Puts elements in front of a list that exists.",
     .args = kLpushArgs,
     .history = kLpushxHistory},
    {.name = "rpushx",
     .arity = -3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclList,
     .handler = RPushX,
     .keys = kLpushKeys,
     .group = Group::kList,
     .since = "2.2.0",
     .complexity = "O(N) for N elements given.",
     .summary = "Puts elements at the end of a list that exists.",
     .args = kLpushArgs,
     .history = kLpushxHistory},
    {.name = "lpop",
     .arity = -2,
     .flags = kWrite | kFast,
     .acl = kAclList,
     .handler = LPop,
     .keys = kLpopKeys,
     .group = Group::kList,
     .since = "1.0.0",
     .complexity = "O(N) for N elements returned.",
     .summary = "Takes elements from the head of a list; a list left empty goes away.",
     .args = kLpopArgs,
     .history = kLpopHistory},
    {.name = "rpop",
     .arity = -2,
     .flags = kWrite | kFast,
     .acl = kAclList,
     .handler = RPop,
     .keys = kLpopKeys,
     .group = Group::kList,
     .since = "1.0.0",
     .complexity = "O(N) for N elements returned.",
     .summary = "Takes elements from the tail of a list; a list left empty goes away.",
     .args = kLpopArgs,
     .history = kLpopHistory},
    {.name = "llen",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclList,
     .handler = LLen,
     .keys = kLlenKeys,
     .group = Group::kList,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Counts the elements of a list.",
     .args = kLlenArgs},
    {.name = "lindex",
     .arity = 3,
     .flags = kReadOnly,
     .acl = kAclList,
     .handler = LIndex,
     .keys = kLindexKeys,
     .group = Group::kList,
     .since = "1.0.0",
     .complexity = "O(log(N)) for N elements.",
     .summary = "Reads the element at an index.",
     .args = kLindexArgs},
    {.name = "lrange",
     .arity = 4,
     .flags = kReadOnly,
     .acl = kAclList,
     .handler = LRange,
     .keys = kLindexKeys,
     .group = Group::kList,
     .since = "1.0.0",
     .complexity = "O(log(N)+M) for N elements, M of them in the range.",
     .summary = "Reads a range of elements.",
     .args = kLrangeArgs},
    {.name = "lpos",
     .arity = -3,
     .flags = kReadOnly,
     .acl = kAclList,
     .handler = LPos,
     .keys = kLindexKeys,
     .group = Group::kList,
     .since = "6.0.6",
     .complexity = "O(N) for N elements looked at.",
     .summary = "Tells where an element stands in a list.",
     .args = kLposArgs},
};

}  // namespace

std::span<const CommandRow> ListCommands() { return kRows; }

}  // namespace tessera
