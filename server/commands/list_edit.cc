// Lists: changes within. All of them leave a list that does not exist alone.
#include <algorithm>
#include <cstdlib>
#include <limits>

#include "server/commands/lists.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::List;
using Side = List::Side;

void LSet(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1], value = ctx.argv[3];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!entry) return ctx.reply.Error(kNoSuchKey);
  if (!CheckType(ctx, entry, store::Type::kList)) return;
  int64_t index;
  if (!ReadInteger(ctx, ctx.argv[2], index)) return;
  const store::ListLimits limits = ListLimitsOf(ctx.services.config);
  Edit<List> list(ctx, key, entry);
  list->Grow(value.size(), 1, limits);
  const auto length = static_cast<int64_t>(list->size());
  if (index < 0) index += length;
  const bool there = index >= 0 && index < length;
  if (there) {
    list->Set(static_cast<uint64_t>(index), value);
    list->Shrink(limits);
  }
  if (!list.Commit(there)) return;
  if (!there) return ctx.reply.Error(kIndexOutOfRange);
  ctx.Notify('l', "lset", key);
  ctx.reply.Ok();
}

void LTrim(CommandContext& ctx) {
  int64_t start, stop;
  if (!ReadInteger(ctx, ctx.argv[2], start) || !ReadInteger(ctx, ctx.argv[3], stop)) return;
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!entry) return ctx.reply.Ok();
  if (!CheckType(ctx, entry, store::Type::kList)) return;
  Edit<List> list(ctx, key, entry);
  const auto length = static_cast<int64_t>(list->size());
  if (start < 0) start = std::max<int64_t>(0, start + length);
  if (stop < 0) stop += length;
  stop = std::min(stop, length - 1);
  const bool nothing_left = start > stop;
  if (nothing_left) {
    list->EraseRange(0, static_cast<uint64_t>(length));
  } else {
    list->EraseRange(static_cast<uint64_t>(stop + 1), static_cast<uint64_t>(length - 1 - stop));
    list->EraseRange(0, static_cast<uint64_t>(start));
    list->Shrink(ListLimitsOf(ctx.services.config));
  }
  // As in Redis, trimming nothing counts as a change for those who watch, but not for replicas.
  const bool unchanged = static_cast<int64_t>(list->size()) == length;
  if (!list.Commit()) return;
  if (unchanged) ctx.PropagateNothing();
  ctx.Notify('l', "ltrim", key);
  if (list.removed()) ctx.Notify('g', "del", key);
  ctx.reply.Ok();
}

void LRem(CommandContext& ctx) {
  int64_t count;
  if (!ReadInteger(ctx, ctx.argv[2], count)) return;
  if (count == std::numeric_limits<int64_t>::min())
    return ctx.reply.Error(
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!entry) return ctx.reply.Integer(0);
  if (!CheckType(ctx, entry, store::Type::kList)) return;
  Edit<List> list(ctx, key, entry);
  const uint64_t most = count == 0 ? list->size() : static_cast<uint64_t>(std::abs(count));
  const uint64_t removed = list->Remove(ctx.argv[3], count < 0 ? Side::kTail : Side::kHead, most);
  if (removed != 0 && list->size() != 0) list->Shrink(ListLimitsOf(ctx.services.config));
  if (!list.Commit(removed != 0)) return;
  if (removed != 0) ctx.Notify('l', "lrem", key);
  if (list.removed()) ctx.Notify('g', "del", key);
  ctx.reply.Integer(static_cast<int64_t>(removed));
}

void LInsert(CommandContext& ctx) {
  const bool after = protocol::EqualsIgnoreCase(ctx.argv[2], "after");
  if (!after && !protocol::EqualsIgnoreCase(ctx.argv[2], "before")) return ctx.reply.Error(kSyntaxError);
  const std::string_view key = ctx.argv[1], value = ctx.argv[4];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!entry) return ctx.reply.Integer(0);
  if (!CheckType(ctx, entry, store::Type::kList)) return;
  store::PackBuffer pivot;
  store::AppendPacked(ctx.argv[3], &pivot);
  Edit<List> list(ctx, key, entry);
  list->Grow(value.size(), 1, ListLimitsOf(ctx.services.config));
  std::optional<uint64_t> place;
  list->Forwards(0, [&](uint64_t index, const uint8_t* element) {
    if (store::EqualPacked(element, pivot)) place = after ? index + 1 : index;
    return !place;
  });
  if (place) list->Insert(*place, value);
  const auto length = static_cast<int64_t>(list->size());
  if (!list.Commit(place.has_value())) return;
  if (!place) return ctx.reply.Integer(-1);
  ctx.Notify('l', "linsert", key);
  ctx.reply.Integer(length);
}

constexpr KeySpec kLsetKeys[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1}};
constexpr ArgSpec kLsetArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                 {.name = "index", .type = ArgType::kInteger},
                                 {.name = "element"}};
constexpr KeySpec kLtrimKeys[] = {{.flags = kKeyRW | kKeyDelete, .index = 1}};
constexpr ArgSpec kLtrimArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                  {.name = "start", .type = ArgType::kInteger},
                                  {.name = "stop", .type = ArgType::kInteger}};
constexpr ArgSpec kLremArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                 {.name = "count", .type = ArgType::kInteger},
                                 {.name = "element"}};
constexpr KeySpec kLinsertKeys[] = {{.flags = kKeyRW | kKeyInsert, .index = 1}};
constexpr ArgSpec kLinsertWhereArgs[] = {{.name = "before", .type = ArgType::kPureToken, .token = "BEFORE"},
                                         {.name = "after", .type = ArgType::kPureToken, .token = "AFTER"}};
constexpr ArgSpec kLinsertArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                    {.name = "where", .type = ArgType::kOneOf, .children = kLinsertWhereArgs},
                                    {.name = "pivot"},
                                    {.name = "element"}};

constexpr CommandRow kRows[] = {
    {.name = "lset",
     .arity = 4,
     .flags = kWrite | kDenyOom,
     .acl = kAclList,
     .handler = LSet,
     .keys = kLsetKeys,
     .group = Group::kList,
     .since = "1.0.0",
     .complexity = "O(log(N)) for N elements.",
     .summary = "Replaces the element at an index.",
     .args = kLsetArgs},
    {.name = "ltrim",
     .arity = 4,
     .flags = kWrite,
     .acl = kAclList,
     .handler = LTrim,
     .keys = kLtrimKeys,
     .group = Group::kList,
     .since = "1.0.0",
     .complexity = "O(N) for N elements removed.",
     .summary = "Removes all elements outside of a range.",
     .args = kLtrimArgs},
    {.name = "lrem",
     .arity = 4,
     .flags = kWrite,
     .acl = kAclList,
     .handler = LRem,
     .keys = kLtrimKeys,
     .group = Group::kList,
     .since = "1.0.0",
     .complexity = "O(N+M) for N elements looked at and M removed.",
     .summary = "Removes elements that are equal to a value.",
     .args = kLremArgs},
    {.name = "linsert",
     .arity = 5,
     .flags = kWrite | kDenyOom,
     .acl = kAclList,
     .handler = LInsert,
     .keys = kLinsertKeys,
     .group = Group::kList,
     .since = "2.2.0",
     .complexity = "O(N) for N elements in front of the one looked for.",
     .summary = "Puts an element before or after another one.",
     .args = kLinsertArgs},
};

}  // namespace

std::span<const CommandRow> ListEditCommands() { return kRows; }

}  // namespace tessera
