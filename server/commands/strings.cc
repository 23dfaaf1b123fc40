// Whole string values: SET and its older relatives, GET and its variants, and the commands for several keys.
// GET, SET, MGET and MSET allocate nothing: arguments are views, values go from the entry straight into the reply.
#include <fmt/core.h>

#include <vector>

#include "server/commands/data.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::Expiry;
using store::IntScratch;

enum class Unit : uint8_t { kSeconds, kMilliseconds };
enum class Base : uint8_t { kNow, kEpoch };

// An expiry option as it stands in the request.
struct ExpiryOption {
  bool given = false;
  std::string_view text;
  Unit unit = Unit::kSeconds;
  Base base = Base::kNow;
};

// Consumes EX, PX, EXAT or PXAT if it comes next. The same option may be repeated (the last one counts), two different
// ones exclude each other.
bool CheckExpiryOption(protocol::ArgReader& args, ExpiryOption& option) {
  auto check = [&](std::string_view word, Unit unit, Base base) {
    if (option.given && (option.unit != unit || option.base != base)) return false;
    if (!args.Check(word, 1)) return false;
    option = {true, args.Next(), unit, base};
    return true;
  };
  return check("EX", Unit::kSeconds, Base::kNow) || check("PX", Unit::kMilliseconds, Base::kNow) ||
         check("EXAT", Unit::kSeconds, Base::kEpoch) || check("PXAT", Unit::kMilliseconds, Base::kEpoch);
}

// To Unix milliseconds. Replies and returns false when it is no number, not positive or beyond 64 bits.
bool ResolveExpiry(CommandContext& ctx, const ExpiryOption& option, int64_t& unix_ms) {
  int64_t value;
  if (!ReadInteger(ctx, option.text, value)) return false;
  bool valid = value > 0;
  if (valid && option.unit == Unit::kSeconds) valid = !__builtin_mul_overflow(value, int64_t{1000}, &value);
  if (valid && option.base == Base::kNow) valid = !__builtin_add_overflow(value, ctx.now.unix_ms, &value);
  if (!valid) {
    ReplyInvalidExpireTime(ctx);
    return false;
  }
  unix_ms = value;
  return true;
}

// The value or null. The entry must be a string or missing.
void ReplyValue(CommandContext& ctx, EntryRef entry) {
  IntScratch scratch;
  if (entry) {
    ctx.reply.Bulk(entry.AsString(scratch));
  } else {
    ctx.reply.Null();
  }
}

// Stores and tells of it. False: replied out of memory.
bool Store(CommandContext& ctx, std::string_view key, std::string_view value, Expiry expiry) {
  if (!ctx.db().SetString(key, value, expiry)) {
    ctx.reply.Error(kOutOfMemory);
    return false;
  }
  ctx.Notify('$', "set", key);
  return true;
}

// Store with an instant; goes down the stream as that instant, so that it means the same whenever it is replayed.
bool StoreUntil(CommandContext& ctx, std::string_view key, std::string_view value, int64_t unix_ms) {
  if (!Store(ctx, key, value, Expiry::AtMs(unix_ms))) return false;
  ctx.Notify('g', "expire", key);
  ctx.Propagate({"SET", key, value, "PXAT", NumberText(unix_ms)});
  return true;
}

// The command without its GET words, which mean nothing to a replica.
void PropagateWithoutGet(CommandContext& ctx) {
  std::vector<std::string_view> command(ctx.argv.begin(), ctx.argv.begin() + 3);
  for (std::string_view word : ctx.argv.subspan(3))
    if (!protocol::EqualsIgnoreCase(word, "GET")) command.push_back(word);
  ctx.PropagateIn(ctx.session.db, command);
}

void SetWithOptions(CommandContext& ctx) {
  protocol::ArgReader args(ctx.argv, 3);
  ExpiryOption option;
  bool nx = false, xx = false, get = false, keep_ttl = false;
  while (args.HasNext()) {
    if (!xx && args.Check("NX")) {
      nx = true;
    } else if (!nx && args.Check("XX")) {
      xx = true;
    } else if (args.Check("GET")) {
      get = true;
    } else if (!option.given && args.Check("KEEPTTL")) {
      keep_ttl = true;
    } else if (keep_ttl || !CheckExpiryOption(args, option)) {
      args.SyntaxError();
    }
  }
  if (!args.ok()) return ctx.reply.Error(args.error());
  const std::string_view key = ctx.argv[1], value = ctx.argv[2];
  int64_t unix_ms = 0;
  if (option.given && !ResolveExpiry(ctx, option, unix_ms)) return;

  const auto before_reply = ctx.reply.Defer();
  if (get || nx || xx) {
    const EntryRef old = get ? ctx.Find(key) : ctx.FindForWrite(key);
    if (get) {
      if (!CheckString(ctx, old)) return;
      ReplyValue(ctx, old);
    }
    if ((nx && old) || (xx && !old)) {
      if (!get) ctx.reply.Null();
      return;
    }
  }
  const Expiry expiry = option.given ? Expiry::AtMs(unix_ms) : keep_ttl ? Expiry::Keep() : Expiry::None();
  if (!ctx.db().SetString(key, value, expiry)) {
    ctx.reply.Discard(before_reply);
    return ctx.reply.Error(kOutOfMemory);
  }
  ctx.Notify('$', "set", key);
  if (option.given) {
    ctx.Notify('g', "expire", key);
    ctx.Propagate({"SET", key, value, "PXAT", NumberText(unix_ms)});
  } else if (get) {
    PropagateWithoutGet(ctx);
  }
  if (!get) ctx.reply.Ok();
}

void Set(CommandContext& ctx) {
  if (ctx.argv.size() > 3) return SetWithOptions(ctx);
  if (Store(ctx, ctx.argv[1], ctx.argv[2], Expiry::None())) ctx.reply.Ok();
}

void SetNx(CommandContext& ctx) {
  if (ctx.FindForWrite(ctx.argv[1])) return ctx.reply.Integer(0);
  if (Store(ctx, ctx.argv[1], ctx.argv[2], Expiry::None())) ctx.reply.Integer(1);
}

void SetWithLife(CommandContext& ctx, Unit unit) {
  int64_t unix_ms;
  if (!ResolveExpiry(ctx, {true, ctx.argv[2], unit, Base::kNow}, unix_ms)) return;
  if (StoreUntil(ctx, ctx.argv[1], ctx.argv[3], unix_ms)) ctx.reply.Ok();
}

void SetEx(CommandContext& ctx) { SetWithLife(ctx, Unit::kSeconds); }
void PSetEx(CommandContext& ctx) { SetWithLife(ctx, Unit::kMilliseconds); }

void Get(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (CheckString(ctx, entry)) ReplyValue(ctx, entry);
}

void GetSet(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1], value = ctx.argv[2];
  const EntryRef old = ctx.Find(key);
  if (!CheckString(ctx, old)) return;
  const auto before_reply = ctx.reply.Defer();
  ReplyValue(ctx, old);
  if (!ctx.db().SetString(key, value, Expiry::None())) {
    ctx.reply.Discard(before_reply);
    return ctx.reply.Error(kOutOfMemory);
  }
  ctx.Notify('$', "set", key);
  ctx.Propagate({"SET", key, value});
}

void GetDel(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.Find(key);
  if (!CheckString(ctx, entry)) return;
  ReplyValue(ctx, entry);
  if (!entry) return;
  ctx.db().Erase(key);
  ctx.Notify('g', "del", key);
  ctx.Propagate({"DEL", key});
}

void GetEx(CommandContext& ctx) {
  protocol::ArgReader args(ctx.argv, 2);
  ExpiryOption option;
  bool persist = false;
  while (args.HasNext()) {
    if (!option.given && args.Check("PERSIST")) {
      persist = true;
    } else if (persist || !CheckExpiryOption(args, option)) {
      args.SyntaxError();
    }
  }
  if (!args.ok()) return ctx.reply.Error(args.error());
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.Find(key);
  if (!entry) return ctx.reply.Null();
  if (!CheckString(ctx, entry)) return;
  int64_t unix_ms = 0;
  if (option.given && !ResolveExpiry(ctx, option, unix_ms)) return;
  ReplyValue(ctx, entry);

  if (option.given && option.base == Base::kEpoch && IsAlreadyExpired(ctx, unix_ms)) {
    DeleteAsExpired(ctx, key);
  } else if (option.given) {
    ctx.db().SetExpiry(key, unix_ms);
    ctx.Notify('g', "expire", key);
    ctx.Propagate({"PEXPIREAT", key, NumberText(unix_ms)});
  } else if (persist && entry.has_expiry()) {
    ctx.db().ClearExpiry(key);
    ctx.Notify('g', "persist", key);
    ctx.Propagate({"PERSIST", key});
  }
}

void MGet(CommandContext& ctx) {
  ctx.reply.Array(static_cast<int64_t>(ctx.argv.size() - 1));
  for (std::string_view key : ctx.argv.subspan(1)) {
    const EntryRef entry = ctx.Find(key);
    if (entry && entry.type() != store::Type::kString) {
      ctx.reply.Null();
    } else {
      ReplyValue(ctx, entry);
    }
  }
}

// Replies and returns false unless keys and values come in pairs.
bool CheckPairs(CommandContext& ctx) {
  if (ctx.argv.size() % 2 == 1) return true;
  ctx.reply.Error(fmt::format("ERR wrong number of arguments for '{}' command", ctx.row.name));
  return false;
}

bool StorePairs(CommandContext& ctx) {
  for (size_t i = 1; i < ctx.argv.size(); i += 2)
    if (!Store(ctx, ctx.argv[i], ctx.argv[i + 1], Expiry::None())) return false;
  return true;
}

void MSet(CommandContext& ctx) {
  if (CheckPairs(ctx) && StorePairs(ctx)) ctx.reply.Ok();
}

void MSetNx(CommandContext& ctx) {
  if (!CheckPairs(ctx)) return;
  for (size_t i = 1; i < ctx.argv.size(); i += 2)
    if (ctx.FindForWrite(ctx.argv[i])) return ctx.reply.Integer(0);
  if (StorePairs(ctx)) ctx.reply.Integer(1);
}

// ---- rows

// SET with GET also reads.
bool FindSetKey(Argv argv, std::vector<KeyPosition>& keys) {
  const bool reads = std::any_of(argv.begin() + std::min<size_t>(3, argv.size()), argv.end(),
                                 [](std::string_view word) { return protocol::EqualsIgnoreCase(word, "get"); });
  keys.push_back({1, static_cast<uint16_t>(reads ? kKeyRW | kKeyAccess | kKeyUpdate : kKeyOW | kKeyUpdate)});
  return true;
}
constexpr KeySpec kSetKeys[] = {{.flags = kKeyRW | kKeyAccess | kKeyUpdate | kKeyVariableFlags,
                                 .index = 1,
                                 .notes = "GET also reads, so flags vary"}};
constexpr ArgSpec kSetCondition[] = {{.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
                                     {.name = "xx", .type = ArgType::kPureToken, .token = "XX"}};
constexpr ArgSpec kSetExpiration[] = {
    {.name = "seconds", .type = ArgType::kInteger, .token = "EX", .since = "2.6.12"},
    {.name = "milliseconds", .type = ArgType::kInteger, .token = "PX", .since = "2.6.12"},
    {.name = "unix-time-seconds", .type = ArgType::kUnixTime, .token = "EXAT", .since = "6.2.0"},
    {.name = "unix-time-milliseconds", .type = ArgType::kUnixTime, .token = "PXAT", .since = "6.2.0"},
    {.name = "keepttl", .type = ArgType::kPureToken, .token = "KEEPTTL", .since = "6.0.0"}};
constexpr ArgSpec kSetArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "value", .type = ArgType::kString},
    {.name = "condition", .type = ArgType::kOneOf, .flags = kOptional, .since = "2.6.12", .children = kSetCondition},
    {.name = "get", .type = ArgType::kPureToken, .flags = kOptional, .token = "GET", .since = "6.2.0"},
    {.name = "expiration", .type = ArgType::kOneOf, .flags = kOptional, .children = kSetExpiration}};
constexpr HistoryEntry kSetHistory[] = {{"2.6.12", "`EX`, `PX`, `NX` and `XX`."},
                                        {"6.0.0", "`KEEPTTL`."},
                                        {"6.2.0", "`GET`, `EXAT` and `PXAT`."},
                                        {"7.0.0", "`NX` and `GET` may stand together."}};
constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr KeySpec kInsertsKey[] = {{.flags = kKeyOW | kKeyInsert, .index = 1}};
constexpr ArgSpec kKeyAndValue[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                    {.name = "value", .type = ArgType::kString}};
constexpr KeySpec kSetsKey[] = {{.flags = kKeyOW | kKeyUpdate, .index = 1}};
constexpr ArgSpec kSetexArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                  {.name = "seconds", .type = ArgType::kInteger},
                                  {.name = "value", .type = ArgType::kString}};
constexpr ArgSpec kPsetexArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                   {.name = "milliseconds", .type = ArgType::kInteger},
                                   {.name = "value", .type = ArgType::kString}};
constexpr KeySpec kReadsAndSetsKey[] = {{.flags = kKeyRW | kKeyAccess | kKeyUpdate, .index = 1}};
constexpr KeySpec kTakesKey[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 1}};
constexpr KeySpec kGetexKeys[] = {
    {.flags = kKeyRW | kKeyAccess | kKeyUpdate, .index = 1, .notes = "options also change the expiry"}};
constexpr ArgSpec kGetexExpiration[] = {{.name = "seconds", .type = ArgType::kInteger, .token = "EX"},
                                        {.name = "milliseconds", .type = ArgType::kInteger, .token = "PX"},
                                        {.name = "unix-time-seconds", .type = ArgType::kUnixTime, .token = "EXAT"},
                                        {.name = "unix-time-milliseconds", .type = ArgType::kUnixTime, .token = "PXAT"},
                                        {.name = "persist", .type = ArgType::kPureToken, .token = "PERSIST"}};
constexpr ArgSpec kGetexArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "expiration", .type = ArgType::kOneOf, .flags = kOptional, .children = kGetexExpiration}};
constexpr KeySpec kReadsKeys[] = {{.flags = kKeyRO | kKeyAccess, .index = 1, .last_key = -1}};
constexpr ArgSpec kSomeKeys[] = {{.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0}};
constexpr std::string_view kMgetTips[] = {"request_policy:multi_shard"};
constexpr KeySpec kSetsKeys[] = {{.flags = kKeyOW | kKeyUpdate, .index = 1, .last_key = -1, .step = 2}};
constexpr ArgSpec kMsetArgs[] = {
    {.name = "data", .type = ArgType::kBlock, .flags = kMultiple, .children = kKeyAndValue}};
constexpr std::string_view kMsetTips[] = {"request_policy:multi_shard", "response_policy:all_succeeded"};
constexpr KeySpec kInsertsKeys[] = {{.flags = kKeyOW | kKeyInsert, .index = 1, .last_key = -1, .step = 2}};
constexpr std::string_view kMsetnxTips[] = {"request_policy:multi_shard", "response_policy:agg_min"};

constexpr CommandRow kRows[] = {
    {.name = "set",
     .arity = -3,
     .flags = kWrite | kDenyOom,
     .acl = kAclString,
     .handler = Set,
     .keys = kSetKeys,
     .find_keys = FindSetKey,
     .group = Group::kString,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Gives a key a string value, whatever it held before.",
     .args = kSetArgs,
     .history = kSetHistory},
    {.name = "get",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclString,
     .handler = Get,
     .keys = kReadsKey,
     .group = Group::kString,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Reads the string value of a key.",
     .args = kOneKey},
    {.name = "setnx",
     .arity = 3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclString,
     .handler = SetNx,
     .keys = kInsertsKey,
     .group = Group::kString,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Gives a key a string value unless the key exists.",
     .args = kKeyAndValue,
     .deprecated_since = "2.6.12",
     .replaced_by = "`SET` with `NX`"},
    {.name = "setex",
     .arity = 4,
     .flags = kWrite | kDenyOom,
     .acl = kAclString,
     .handler = SetEx,
     .keys = kSetsKey,
     .group = Group::kString,
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Gives a key a string value and a life in seconds.",
     .args = kSetexArgs,
     .deprecated_since = "2.6.12",
     .replaced_by = "`SET` with `EX`"},
    {.name = "psetex",
     .arity = 4,
     .flags = kWrite | kDenyOom,
     .acl = kAclString,
     .handler = PSetEx,
     .keys = kSetsKey,
     .group = Group::kString,
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Gives a key a string value and a life in milliseconds.",
     .args = kPsetexArgs,
     .deprecated_since = "2.6.12",
     .replaced_by = "`SET` with `PX`"},
    {.name = "getset",
     .arity = 3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclString,
     .handler = GetSet,
     .keys = kReadsAndSetsKey,
     .group = Group::kString,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Replaces the string value of a key and answers the previous one.",
     .args = kKeyAndValue,
     .deprecated_since = "6.2.0",
     .replaced_by = "`SET` with `GET`"},
    {.name = "getdel",
     .arity = 2,
     .flags = kWrite | kFast,
     .acl = kAclString,
     .handler = GetDel,
     .keys = kTakesKey,
     .group = Group::kString,
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Reads the string value of a key and deletes the key.",
     .args = kOneKey},
    {.name = "getex",
     .arity = -2,
     .flags = kWrite | kFast,
     .acl = kAclString,
     .handler = GetEx,
     .keys = kGetexKeys,
     .group = Group::kString,
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Reads the string value of a key and may change when it expires.",
     .args = kGetexArgs},
    {.name = "mget",
     .arity = -2,
     .flags = kReadOnly | kFast,
     .acl = kAclString,
     .handler = MGet,
     .keys = kReadsKeys,
     .group = Group::kString,
     .since = "1.0.0",
     .complexity = "O(N) for N keys.",
     .summary = "Reads the string values of several keys at one instant.",
     .args = kSomeKeys,
     .tips = kMgetTips},
    {.name = "mset",
     .arity = -3,
     .flags = kWrite | kDenyOom,
     .acl = kAclString,
     .handler = MSet,
     .keys = kSetsKeys,
     .group = Group::kString,
     .since = "1.0.1",
     .complexity = "O(N) for N keys.",
     .summary = "Gives several keys their values at one instant.",
     .args = kMsetArgs,
     .tips = kMsetTips},
    {.name = "msetnx",
     .arity = -3,
     .flags = kWrite | kDenyOom,
     .acl = kAclString,
     .handler = MSetNx,
     .keys = kInsertsKeys,
     .group = Group::kString,
     .since = "1.0.1",
     .complexity = "O(N) for N keys.",
     .summary = "Gives several keys their values, or does nothing if any of them exists.",
     .args = kMsetArgs,
     .tips = kMsetnxTips},
};

}  // namespace

std::span<const CommandRow> StringCommands() { return kRows; }

}  // namespace tessera
