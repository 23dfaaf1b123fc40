// Strings as numbers: INCR and its relatives. INCR allocates nothing.
#include <cmath>
#include <limits>

#include "server/commands/data.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::IntScratch;

void Add(CommandContext& ctx, int64_t amount) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckString(ctx, entry)) return;
  int64_t value = 0;
  if (entry) {
    const auto stored = entry.AsInteger();
    if (!stored) return ctx.reply.Error(kNotAnInteger);
    value = *stored;
  }
  if (__builtin_add_overflow(value, amount, &value))
    return ctx.reply.Error("ERR increment or decrement would overflow");
  if (!ctx.db().SetInteger(key, value)) return ctx.reply.Error(kOutOfMemory);
  ctx.Notify('$', "incrby", key);
  ctx.reply.Integer(value);
}

void Incr(CommandContext& ctx) { Add(ctx, 1); }
void Decr(CommandContext& ctx) { Add(ctx, -1); }

void IncrBy(CommandContext& ctx) {
  int64_t amount;
  if (ReadInteger(ctx, ctx.argv[2], amount)) Add(ctx, amount);
}

void DecrBy(CommandContext& ctx) {
  int64_t amount;
  if (!ReadInteger(ctx, ctx.argv[2], amount)) return;
  if (amount == std::numeric_limits<int64_t>::min()) return ctx.reply.Error("ERR decrement would overflow");
  Add(ctx, -amount);
}

void IncrByFloat(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckString(ctx, entry)) return;
  IntScratch scratch;
  const auto value = entry ? protocol::ParseLongDouble(entry.AsString(scratch)) : std::optional<long double>(0);
  const auto amount = protocol::ParseLongDouble(ctx.argv[2]);
  if (!value || !amount) return ctx.reply.Error(kNotAFloat);
  const long double sum = *value + *amount;
  if (std::isnan(sum) || std::isinf(sum)) return ctx.reply.Error("ERR increment would produce NaN or Infinity");
  const std::string text = protocol::LongDoubleText(sum);
  if (!ctx.db().SetString(key, text, store::Expiry::Keep(), store::StringForm::kPlain))
    return ctx.reply.Error(kOutOfMemory);
  ctx.Notify('$', "incrbyfloat", key);
  // The sum, not the amount: floating point may differ between machines.
  ctx.Propagate({"SET", key, text, "KEEPTTL"});
  ctx.reply.Bulk(text);
}

// ---- rows

constexpr KeySpec kReadsAndSetsKey[] = {{.flags = kKeyRW | kKeyAccess | kKeyUpdate, .index = 1}};
constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr ArgSpec kIncrbyArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                   {.name = "increment", .type = ArgType::kInteger}};
constexpr ArgSpec kDecrbyArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                   {.name = "decrement", .type = ArgType::kInteger}};
constexpr ArgSpec kIncrbyfloatArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                        {.name = "increment", .type = ArgType::kDouble}};

constexpr CommandRow kRows[] = {
    {.name = "incr",
     .arity = 2,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclString,
     .handler = Incr,
     .keys = kReadsAndSetsKey,
     .group = Group::kString,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Adds one to the integer a key holds; a missing key counts as 0.",
     .args = kOneKey},
    {.name = "decr",
     .arity = 2,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclString,
     .handler = Decr,
     .keys = kReadsAndSetsKey,
     .group = Group::kString,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Takes one from the integer a key holds; a missing key counts as 0.",
     .args = kOneKey},
    {.name = "incrby",
     .arity = 3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclString,
     .handler = IncrBy,
     .keys = kReadsAndSetsKey,
     .group = Group::kString,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Adds an amount to the integer a key holds; a missing key counts as 0.",
     .args = kIncrbyArgs},
    {.name = "decrby",
     .arity = 3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclString,
     .handler = DecrBy,
     .keys = kReadsAndSetsKey,
     .group = Group::kString,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Takes an amount from the integer a key holds; a missing key counts as 0.",
     .args = kDecrbyArgs},
    {.name = "incrbyfloat",
     .arity = 3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclString,
     .handler = IncrByFloat,
     .keys = kReadsAndSetsKey,
     .group = Group::kString,
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Adds an amount to the decimal number a key holds; a missing key counts as 0.",
     .args = kIncrbyfloatArgs},
};

}  // namespace

std::span<const CommandRow> CounterCommands() { return kRows; }

}  // namespace tessera
