// Expiry of single fields of a hash, as Redis 7.4 has it: HEXPIRE and its relatives.
#include <fmt/format.h>

#include <limits>
#include <string>
#include <vector>

#include "server/commands/hash_view.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::Hash;

// What HEXPIRE answers for a field.
enum FieldReply : int64_t { kNoField = -2, kConditionNotMet = 0, kExpirySet = 1, kFieldDeleted = 2 };
constexpr int64_t kFieldWithoutExpiry = -1;

enum class Condition : uint8_t { kAlways, kNx, kXx, kGt, kLt };

// FIELDS numfields field ... at the reader's place.
bool ReadFields(CommandContext& ctx, size_t at, std::string_view count_error, Argv& fields) {
  if (at >= ctx.argv.size() || !protocol::EqualsIgnoreCase(ctx.argv[at], "FIELDS")) {
    ctx.reply.Error("ERR Mandatory argument FIELDS is missing or not at the right position");
    return false;
  }
  const auto count = at + 1 < ctx.argv.size() ? protocol::ParseInt64(ctx.argv[at + 1]) : std::nullopt;
  if (!count || *count < 1) {
    ctx.reply.Error(count_error);
    return false;
  }
  fields = ctx.argv.subspan(at + 2);
  if (static_cast<uint64_t>(*count) == fields.size()) return true;
  ctx.reply.Error("ERR The `numfields` parameter must match the number of arguments");
  return false;
}

Condition ReadCondition(std::string_view text) {
  if (protocol::EqualsIgnoreCase(text, "NX")) return Condition::kNx;
  if (protocol::EqualsIgnoreCase(text, "XX")) return Condition::kXx;
  if (protocol::EqualsIgnoreCase(text, "GT")) return Condition::kGt;
  if (protocol::EqualsIgnoreCase(text, "LT")) return Condition::kLt;
  return Condition::kAlways;
}

bool Met(Condition condition, int64_t old_ms, int64_t new_ms) {
  const bool none = old_ms == store::kNoExpiry;
  switch (condition) {
    case Condition::kAlways:
      return true;
    case Condition::kNx:
      return none;
    case Condition::kXx:
      return !none;
    case Condition::kGt:
      return !none && new_ms > old_ms;
    case Condition::kLt:
      return none || new_ms < old_ms;
  }
  return false;
}

void Propagate(CommandContext& ctx, std::vector<std::string_view> command, const std::vector<std::string_view>& fields) {
  if (fields.empty()) return;
  command.insert(command.end(), fields.begin(), fields.end());
  ctx.PropagateIn(ctx.session.db, command);
}

void Expire(CommandContext& ctx, int64_t unit_ms, int64_t base_ms) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = FindHashForWrite(ctx, key);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  int64_t expiry_ms;
  if (!ReadInteger(ctx, ctx.argv[2], expiry_ms)) return;
  if (expiry_ms < 0) return ctx.reply.Error("ERR invalid expire time, must be >= 0");
  if (__builtin_mul_overflow(expiry_ms, unit_ms, &expiry_ms) || __builtin_add_overflow(expiry_ms, base_ms, &expiry_ms) ||
      expiry_ms > store::kExpiryMsMax) {
    return ReplyInvalidExpireTime(ctx);
  }
  const Condition condition = ReadCondition(ctx.argv[3]);
  Argv fields;
  if (!ReadFields(ctx, condition == Condition::kAlways ? 3 : 4, "ERR Parameter `numFields` should be greater than 0",
                  fields))
    return;
  ctx.reply.Array(static_cast<int64_t>(fields.size()));
  if (!entry) {
    for (size_t i = 0; i < fields.size(); ++i) ctx.reply.Integer(kNoField);
    return;
  }

  const bool in_the_past = IsAlreadyExpired(ctx, expiry_ms);
  std::vector<std::string_view> set, deleted;
  Edit<Hash> hash(ctx, key, entry);
  for (std::string_view field : fields) {
    if (!hash->Find(field).valid()) {
      ctx.reply.Integer(kNoField);
    } else if (!Met(condition, hash->ExpiryOf(field), expiry_ms)) {
      ctx.reply.Integer(kConditionNotMet);
    } else if (in_the_past) {
      (void)hash->Erase(field);
      deleted.push_back(field);
      ctx.reply.Integer(kFieldDeleted);
    } else {
      hash->SetExpiry(field, expiry_ms);
      set.push_back(field);
      ctx.reply.Integer(kExpirySet);
    }
  }
  if (!hash.Commit(!set.empty() || !deleted.empty())) return;
  if (!set.empty()) ctx.Notify('h', "hexpire", key);
  if (!deleted.empty()) ctx.Notify('h', "hdel", key);
  if (hash.removed()) ctx.Notify('g', "del", key);
  // An instant in place of the remaining life, and the outcome in place of the condition.
  const std::string count = fmt::to_string(set.size());
  const NumberText expiry_text(expiry_ms);
  Propagate(ctx, {"HPEXPIREAT", key, expiry_text, "FIELDS", count}, set);
  Propagate(ctx, {"HDEL", key}, deleted);
}

void HExpire(CommandContext& ctx) { Expire(ctx, 1000, ctx.now.unix_ms); }
void HPExpire(CommandContext& ctx) { Expire(ctx, 1, ctx.now.unix_ms); }
void HExpireAt(CommandContext& ctx) { Expire(ctx, 1000, 0); }
void HPExpireAt(CommandContext& ctx) { Expire(ctx, 1, 0); }

constexpr std::string_view kCountOfFields = "ERR Number of fields must be a positive integer";

void TellExpiries(CommandContext& ctx, int64_t unit_ms, int64_t base_ms) {
  const HashView view(ctx, ctx.argv[1]);
  if (!view.ok()) return;
  Argv fields;
  if (!ReadFields(ctx, 2, kCountOfFields, fields)) return;
  ctx.reply.Array(static_cast<int64_t>(fields.size()));
  for (std::string_view field : fields) {
    if (view.get() == nullptr || !view.get()->Find(field).valid()) {
      ctx.reply.Integer(kNoField);
      continue;
    }
    const int64_t expiry_ms = view.get()->ExpiryOf(field);
    ctx.reply.Integer(expiry_ms == store::kNoExpiry ? kFieldWithoutExpiry
                                                    : (expiry_ms - base_ms + unit_ms - 1) / unit_ms);
  }
}

void HTtl(CommandContext& ctx) { TellExpiries(ctx, 1000, ctx.now.unix_ms); }
void HPTtl(CommandContext& ctx) { TellExpiries(ctx, 1, ctx.now.unix_ms); }
void HExpireTime(CommandContext& ctx) { TellExpiries(ctx, 1000, 0); }
void HPExpireTime(CommandContext& ctx) { TellExpiries(ctx, 1, 0); }

void HPersist(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = FindHashForWrite(ctx, key);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  Argv fields;
  if (!ReadFields(ctx, 2, kCountOfFields, fields)) return;
  ctx.reply.Array(static_cast<int64_t>(fields.size()));
  if (!entry) {
    for (size_t i = 0; i < fields.size(); ++i) ctx.reply.Integer(kNoField);
    return;
  }
  Edit<Hash> hash(ctx, key, entry);
  bool changed = false;
  for (std::string_view field : fields) {
    if (!hash->Find(field).valid()) {
      ctx.reply.Integer(kNoField);
    } else if (!hash->ClearExpiry(field)) {
      ctx.reply.Integer(kFieldWithoutExpiry);
    } else {
      changed = true;
      ctx.reply.Integer(1);
    }
  }
  if (hash.Commit(changed) && changed) ctx.Notify('h', "hpersist", key);
}

// ---- rows

constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr KeySpec kUpdatesKey[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1}};
constexpr ArgSpec kConditions[] = {{.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
                                   {.name = "xx", .type = ArgType::kPureToken, .token = "XX"},
                                   {.name = "gt", .type = ArgType::kPureToken, .token = "GT"},
                                   {.name = "lt", .type = ArgType::kPureToken, .token = "LT"}};
constexpr ArgSpec kFieldList[] = {{.name = "numfields", .type = ArgType::kInteger},
                                  {.name = "field", .flags = kMultiple}};
constexpr ArgSpec kKeyArg = {.name = "key", .type = ArgType::kKey, .key_spec = 0};
constexpr ArgSpec kConditionArg = {
    .name = "condition", .type = ArgType::kOneOf, .flags = kOptional, .children = kConditions};
constexpr ArgSpec kFieldsArg = {.name = "fields", .type = ArgType::kBlock, .token = "FIELDS", .children = kFieldList};
constexpr ArgSpec kSecondsArgs[] = {
    kKeyArg, {.name = "seconds", .type = ArgType::kInteger}, kConditionArg, kFieldsArg};
constexpr ArgSpec kMillisecondsArgs[] = {
    kKeyArg, {.name = "milliseconds", .type = ArgType::kInteger}, kConditionArg, kFieldsArg};
constexpr ArgSpec kInstantSecondsArgs[] = {
    kKeyArg, {.name = "unix-time-seconds", .type = ArgType::kUnixTime}, kConditionArg, kFieldsArg};
constexpr ArgSpec kInstantMillisecondsArgs[] = {
    kKeyArg, {.name = "unix-time-milliseconds", .type = ArgType::kUnixTime}, kConditionArg, kFieldsArg};
constexpr ArgSpec kAskArgs[] = {kKeyArg, kFieldsArg};
constexpr std::string_view kClockTips[] = {"nondeterministic_output"};
constexpr std::string_view kPerField = "O(N) for N fields given.";

constexpr CommandRow Setter(std::string_view name, CommandHandler handler, std::span<const ArgSpec> args,
                            std::string_view summary) {
  return {.name = name,
          .arity = -6,
          .flags = kWrite | kDenyOom | kFast,
          .acl = kAclHash,
          .handler = handler,
          .keys = kUpdatesKey,
          .group = Group::kHash,
          .since = "7.4.0",
          .complexity = kPerField,
          .summary = summary,
          .args = args};
}

constexpr CommandRow Asker(std::string_view name, CommandHandler handler, std::string_view summary) {
  return {.name = name,
          .arity = -5,
          .flags = kReadOnly | kFast,
          .acl = kAclHash,
          .handler = handler,
          .keys = kReadsKey,
          .group = Group::kHash,
          .since = "7.4.0",
          .complexity = kPerField,
          .summary = summary,
          .args = kAskArgs,
          .tips = kClockTips};
}

constexpr CommandRow kRows[] = {
    Setter("hexpire", HExpire, kSecondsArgs, "Lets fields of a hash expire after some seconds."),
    Setter("hpexpire", HPExpire, kMillisecondsArgs, "Lets fields of a hash expire after some milliseconds."),
    Setter("hexpireat", HExpireAt, kInstantSecondsArgs, "Lets fields of a hash expire at an instant in seconds."),
    Setter("hpexpireat", HPExpireAt, kInstantMillisecondsArgs,
           "Lets fields of a hash expire at an instant in milliseconds."),
    Asker("httl", HTtl, "Tells how many seconds fields of a hash have left."),
    Asker("hpttl", HPTtl, "Tells how many milliseconds fields of a hash have left."),
    Asker("hexpiretime", HExpireTime, "Tells when fields of a hash expire, in seconds."),
    Asker("hpexpiretime", HPExpireTime, "Tells when fields of a hash expire, in milliseconds."),
    {.name = "hpersist",
     .arity = -5,
     .flags = kWrite | kFast,
     .acl = kAclHash,
     .handler = HPersist,
     .keys = kUpdatesKey,
     .group = Group::kHash,
     .since = "7.4.0",
     .complexity = kPerField,
     .summary = "Takes the expiry off fields of a hash.",
     .args = kAskArgs},
};

}  // namespace

std::span<const CommandRow> HashExpiryCommands() { return kRows; }

}  // namespace tessera
