// When keys expire: the EXPIRE family, the TTL family, PERSIST.
// In the stream every expiry is an absolute instant (PEXPIREAT), so that it means the same whenever it is replayed.
#include <fmt/core.h>

#include <algorithm>

#include "server/commands/data.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using store::EntryRef;

struct Condition {
  bool nx = false, xx = false, gt = false, lt = false;

  bool Admits(int64_t current_ms, int64_t wanted_ms) const {
    const bool has_expiry = current_ms != store::kNoExpiry;
    if (nx && has_expiry) return false;
    if (xx && !has_expiry) return false;
    // No expiry counts as for ever.
    if (gt && (!has_expiry || wanted_ms <= current_ms)) return false;
    if (lt && has_expiry && wanted_ms >= current_ms) return false;
    return true;
  }
};

bool ReadCondition(CommandContext& ctx, Condition& condition) {
  protocol::ArgReader args(ctx.argv, 3);
  while (args.HasNext()) {
    if (args.Check("NX")) {
      condition.nx = true;
    } else if (args.Check("XX")) {
      condition.xx = true;
    } else if (args.Check("GT")) {
      condition.gt = true;
    } else if (args.Check("LT")) {
      condition.lt = true;
    } else {
      args.Fail(fmt::format("ERR Unsupported option {}", args.Peek()));
    }
  }
  if (condition.nx && (condition.xx || condition.gt || condition.lt))
    args.Fail("ERR NX and XX, GT or LT options at the same time are not compatible");
  if (condition.gt && condition.lt) args.Fail("ERR GT and LT options at the same time are not compatible");
  if (!args.ok()) ctx.reply.Error(args.error());
  return args.ok();
}

// `unit_ms`: milliseconds in one unit of the argument; `base_ms`: what it counts from.
void SetExpiry(CommandContext& ctx, int64_t unit_ms, int64_t base_ms) {
  const std::string_view key = ctx.argv[1];
  Condition condition;
  int64_t unix_ms;
  if (!ReadCondition(ctx, condition) || !ReadInteger(ctx, ctx.argv[2], unix_ms)) return;
  // Negative instants are fine, they lie in the past.
  if (__builtin_mul_overflow(unix_ms, unit_ms, &unix_ms) || __builtin_add_overflow(unix_ms, base_ms, &unix_ms))
    return ReplyInvalidExpireTime(ctx);
  unix_ms = std::min(unix_ms, store::kExpiryMsMax);  // what can be kept is what conditions compare with
  const EntryRef entry = ctx.FindForWrite(key);
  if (!entry || !condition.Admits(entry.expiry_ms(), unix_ms)) return ctx.reply.Integer(0);
  if (IsAlreadyExpired(ctx, unix_ms)) {
    DeleteAsExpired(ctx, key);
  } else {
    if (!ctx.db().SetExpiry(key, std::max<int64_t>(unix_ms, 0))) return ctx.reply.Error(kOutOfMemory);
    ctx.Notify('g', "expire", key);
    ctx.Propagate({"PEXPIREAT", key, NumberText(unix_ms)});
  }
  ctx.reply.Integer(1);
}

void Expire(CommandContext& ctx) { SetExpiry(ctx, 1000, ctx.now.unix_ms); }
void PExpire(CommandContext& ctx) { SetExpiry(ctx, 1, ctx.now.unix_ms); }
void ExpireAt(CommandContext& ctx) { SetExpiry(ctx, 1000, 0); }
void PExpireAt(CommandContext& ctx) { SetExpiry(ctx, 1, 0); }

// -2: no such key. -1: no expiry. Otherwise what `from_expiry` makes of the instant.
template <typename FromExpiry>
void ReplyExpiry(CommandContext& ctx, FromExpiry from_expiry) {
  const EntryRef entry = ctx.FindUntouched(ctx.argv[1]);
  if (!entry) return ctx.reply.Integer(-2);
  if (!entry.has_expiry()) return ctx.reply.Integer(-1);
  ctx.reply.Integer(from_expiry(entry.expiry_ms()));
}

constexpr int64_t ToSeconds(int64_t ms) { return (ms + 500) / 1000; }

void Ttl(CommandContext& ctx) {
  ReplyExpiry(ctx, [&](int64_t at_ms) { return ToSeconds(std::max<int64_t>(at_ms - ctx.now.unix_ms, 0)); });
}
void PTtl(CommandContext& ctx) {
  ReplyExpiry(ctx, [&](int64_t at_ms) { return std::max<int64_t>(at_ms - ctx.now.unix_ms, 0); });
}
void ExpireTime(CommandContext& ctx) { ReplyExpiry(ctx, ToSeconds); }
void PExpireTime(CommandContext& ctx) {
  ReplyExpiry(ctx, [](int64_t at_ms) { return at_ms; });
}

void Persist(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!entry || !entry.has_expiry()) return ctx.reply.Integer(0);
  ctx.db().ClearExpiry(key);
  ctx.Notify('g', "persist", key);
  ctx.reply.Integer(1);
}

// ---- rows

constexpr KeySpec kChangesKey[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1}};
constexpr ArgSpec kExpireCondition[] = {{.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
                                        {.name = "xx", .type = ArgType::kPureToken, .token = "XX"},
                                        {.name = "gt", .type = ArgType::kPureToken, .token = "GT"},
                                        {.name = "lt", .type = ArgType::kPureToken, .token = "LT"}};
constexpr ArgSpec kExpireArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "seconds", .type = ArgType::kInteger},
    {.name = "condition", .type = ArgType::kOneOf, .flags = kOptional, .since = "7.0.0", .children = kExpireCondition}};
constexpr HistoryEntry kConditionHistory[] = {{"7.0.0", "`NX`, `XX`, `GT` and `LT`."}};
constexpr ArgSpec kPexpireArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "milliseconds", .type = ArgType::kInteger},
    {.name = "condition", .type = ArgType::kOneOf, .flags = kOptional, .since = "7.0.0", .children = kExpireCondition}};
constexpr ArgSpec kExpireatArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "unix-time-seconds", .type = ArgType::kUnixTime},
    {.name = "condition", .type = ArgType::kOneOf, .flags = kOptional, .since = "7.0.0", .children = kExpireCondition}};
constexpr ArgSpec kPexpireatArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "unix-time-milliseconds", .type = ArgType::kUnixTime},
    {.name = "condition", .type = ArgType::kOneOf, .flags = kOptional, .since = "7.0.0", .children = kExpireCondition}};
constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr std::string_view kTtlTips[] = {"nondeterministic_output"};
constexpr HistoryEntry kTtlHistory[] = {{"2.8.0", "The reply -2."}};

constexpr CommandRow kRows[] = {
    {.name = "expire",
     .arity = -3,
     .flags = kWrite | kFast,
     .acl = kAclKeyspace,
     .handler = Expire,
     .keys = kChangesKey,
     .group = Group::kGeneric,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Sets how many seconds a key has left to live.",
     .args = kExpireArgs,
     .history = kConditionHistory},
    {.name = "pexpire",
     .arity = -3,
     .flags = kWrite | kFast,
     .acl = kAclKeyspace,
     .handler = PExpire,
     .keys = kChangesKey,
     .group = Group::kGeneric,
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Sets how many milliseconds a key has left to live.",
     .args = kPexpireArgs,
     .history = kConditionHistory},
    {.name = "expireat",
     .arity = -3,
     .flags = kWrite | kFast,
     .acl = kAclKeyspace,
     .handler = ExpireAt,
     .keys = kChangesKey,
     .group = Group::kGeneric,
     .since = "1.2.0",
     .complexity = "O(1)",
     .summary = "Sets the Unix time in seconds at which a key expires.",
     .args = kExpireatArgs,
     .history = kConditionHistory},
    {.name = "pexpireat",
     .arity = -3,
     .flags = kWrite | kFast,
     .acl = kAclKeyspace,
     .handler = PExpireAt,
     .keys = kChangesKey,
     .group = Group::kGeneric,
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Sets the Unix time in milliseconds at which a key expires.",
     .args = kPexpireatArgs,
     .history = kConditionHistory},
    {.name = "ttl",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclKeyspace,
     .handler = Ttl,
     .keys = kReadsKey,
     .group = Group::kGeneric,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Tells how many seconds a key has left to live.",
     .args = kOneKey,
     .tips = kTtlTips,
     .history = kTtlHistory},
    {.name = "pttl",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclKeyspace,
     .handler = PTtl,
     .keys = kReadsKey,
     .group = Group::kGeneric,
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Tells how many milliseconds a key has left to live.",
     .args = kOneKey,
     .tips = kTtlTips,
     .history = kTtlHistory},
    {.name = "expiretime",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclKeyspace,
     .handler = ExpireTime,
     .keys = kReadsKey,
     .group = Group::kGeneric,
     .since = "7.0.0",
     .complexity = "O(1)",
     .summary = "Tells the Unix time in seconds at which a key expires.",
     .args = kOneKey},
    {.name = "pexpiretime",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclKeyspace,
     .handler = PExpireTime,
     .keys = kReadsKey,
     .group = Group::kGeneric,
     .since = "7.0.0",
     .complexity = "O(1)",
     .summary = "Tells the Unix time in milliseconds at which a key expires.",
     .args = kOneKey},
    {.name = "persist",
     .arity = 2,
     .flags = kWrite | kFast,
     .acl = kAclKeyspace,
     .handler = Persist,
     .keys = kChangesKey,
     .group = Group::kGeneric,
     .since = "2.2.0",
     .complexity = "O(1)",
     .summary = "Lets a key live for ever again.",
     .args = kOneKey},
};

}  // namespace

std::span<const CommandRow> ExpiryCommands() { return kRows; }

}  // namespace tessera
