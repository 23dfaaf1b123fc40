// Hashes: fields and their values.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "server/commands/edit.h"
#include "server/commands/element_scan.h"
#include "server/commands/hash_view.h"
#include "server/commands/table.h"
#include "server/store/hash_object.h"
#include "server/values/limits.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::Hash;
using store::IntScratch;

void ReplyField(CommandContext& ctx, const Hash* hash, std::string_view field) {
  if (hash == nullptr) return ctx.reply.Null();
  const auto found = hash->Find(field);
  if (!found.valid()) return ctx.reply.Null();
  IntScratch scratch;
  ctx.reply.Bulk(Hash::ValueOf(found.element()).Text(scratch));
}

// HSET and HMSET differ in their reply.
void SetFields(CommandContext& ctx, bool counts) {
  const Argv pairs = ctx.argv.subspan(2);
  if (pairs.size() % 2 != 0) {
    return ctx.reply.Error(fmt::format("ERR wrong number of arguments for '{}' command", ctx.row.name));
  }
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = FindHashForWrite(ctx, key);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  Edit<Hash> hash(ctx, key, entry);
  const store::HashLimits limits = HashLimitsOf(ctx.services.config);
  int64_t added = 0;
  for (size_t i = 0; i < pairs.size(); i += 2) {
    added += hash->Set(pairs[i], pairs[i + 1], limits) == Hash::SetResult::kAdded;
  }
  if (!hash.Commit()) return;
  ctx.Notify('h', "hset", key);
  if (counts) return ctx.reply.Integer(added);
  ctx.reply.Ok();
}

void HSet(CommandContext& ctx) { SetFields(ctx, true); }
void HMSet(CommandContext& ctx) { SetFields(ctx, false); }

void HGet(CommandContext& ctx) {
  const HashView view(ctx, ctx.argv[1]);
  if (!view.ok()) return;
  ReplyField(ctx, view.get(), ctx.argv[2]);
}

void HDel(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = FindHashForWrite(ctx, key);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  if (!entry) return ctx.reply.Integer(0);
  Edit<Hash> hash(ctx, key, entry);
  int64_t deleted = 0;
  for (std::string_view field : ctx.argv.subspan(2)) deleted += hash->Erase(field);
  if (!hash.Commit(deleted > 0)) return;
  if (deleted > 0) ctx.Notify('h', "hdel", key);
  if (hash.removed()) ctx.Notify('g', "del", key);
  ctx.reply.Integer(deleted);
}

void HLen(CommandContext& ctx) {
  const HashView view(ctx, ctx.argv[1]);
  if (!view.ok()) return;
  ctx.reply.Integer(view.get() != nullptr ? static_cast<int64_t>(view.get()->size()) : 0);
}

void HGetAll(CommandContext& ctx) {
  const HashView view(ctx, ctx.argv[1]);
  if (!view.ok()) return;
  if (view.get() == nullptr) return ctx.reply.Map(0);
  const Hash& hash = *view.get();
  ctx.reply.Map(static_cast<int64_t>(hash.size()));
  IntScratch scratch;
  for (auto at = hash.elements().Begin(); at.valid(); at.Next()) {
    ctx.reply.Bulk(at.value().Text(scratch));
    ctx.reply.Bulk(Hash::ValueOf(at.element()).Text(scratch));
  }
}

void HSetNx(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = FindHashForWrite(ctx, key);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  if (entry && ValueOf<Hash>(entry)->Find(ctx.argv[2]).valid()) return ctx.reply.Integer(0);
  Edit<Hash> hash(ctx, key, entry);
  (void)hash->Set(ctx.argv[2], ctx.argv[3], HashLimitsOf(ctx.services.config));
  if (!hash.Commit()) return;
  ctx.Notify('h', "hset", key);
  ctx.reply.Integer(1);
}

void HMGet(CommandContext& ctx) {
  const HashView view(ctx, ctx.argv[1]);
  if (!view.ok()) return;
  const Argv fields = ctx.argv.subspan(2);
  ctx.reply.Array(static_cast<int64_t>(fields.size()));
  for (std::string_view field : fields) ReplyField(ctx, view.get(), field);
}

void HExists(CommandContext& ctx) {
  const HashView view(ctx, ctx.argv[1]);
  if (!view.ok()) return;
  ctx.reply.Integer(view.get() != nullptr && view.get()->Find(ctx.argv[2]).valid());
}

void HStrLen(CommandContext& ctx) {
  const HashView view(ctx, ctx.argv[1]);
  if (!view.ok()) return;
  if (view.get() == nullptr) return ctx.reply.Integer(0);
  const auto found = view.get()->Find(ctx.argv[2]);
  IntScratch scratch;
  ctx.reply.Integer(found.valid() ? static_cast<int64_t>(Hash::ValueOf(found.element()).Text(scratch).size()) : 0);
}

void HIncrBy(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1], field = ctx.argv[2];
  int64_t amount, value = 0;
  if (!ReadInteger(ctx, ctx.argv[3], amount)) return;
  const EntryRef entry = FindHashForWrite(ctx, key);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  if (const Hash* hash = ValueOf<Hash>(entry)) {
    if (const auto found = hash->Find(field); found.valid()) {
      const store::Unpacked stored = Hash::ValueOf(found.element());
      if (!stored.is_integer()) return ctx.reply.Error("ERR hash value is not an integer");
      value = stored.integer;
    }
  }
  if (__builtin_add_overflow(value, amount, &value))
    return ctx.reply.Error("ERR increment or decrement would overflow");
  Edit<Hash> hash(ctx, key, entry);
  (void)hash->Update(field, NumberText(value), HashLimitsOf(ctx.services.config));
  if (!hash.Commit()) return;
  ctx.Notify('h', "hincrby", key);
  ctx.reply.Integer(value);
}

void HIncrByFloat(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1], field = ctx.argv[2];
  const auto amount = protocol::ParseLongDouble(ctx.argv[3]);
  if (!amount) return ctx.reply.Error(kNotAFloat);
  if (std::isnan(*amount) || std::isinf(*amount)) return ctx.reply.Error("ERR value is NaN or Infinity");
  const EntryRef entry = FindHashForWrite(ctx, key);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  long double sum = *amount;
  if (const Hash* hash = ValueOf<Hash>(entry)) {
    if (const auto found = hash->Find(field); found.valid()) {
      IntScratch scratch;
      const auto value = protocol::ParseLongDouble(Hash::ValueOf(found.element()).Text(scratch));
      if (!value) return ctx.reply.Error("ERR hash value is not a float");
      sum += *value;
    }
  }
  if (std::isnan(sum) || std::isinf(sum)) return ctx.reply.Error("ERR increment would produce NaN or Infinity");
  const std::string text = protocol::LongDoubleText(sum);
  Edit<Hash> hash(ctx, key, entry);
  (void)hash->Update(field, text, HashLimitsOf(ctx.services.config));
  if (!hash.Commit()) return;
  ctx.Notify('h', "hincrbyfloat", key);
  // The sum, not the amount: floating point may differ between machines.
  ctx.Propagate({"HSET", key, field, text});
  ctx.reply.Bulk(text);
}

enum class Wanted : uint8_t { kFields, kValues };

void ReplyAll(CommandContext& ctx, Wanted wanted) {
  const HashView view(ctx, ctx.argv[1]);
  if (!view.ok()) return;
  if (view.get() == nullptr) return ctx.reply.Array(0);
  const Hash& hash = *view.get();
  ctx.reply.Array(static_cast<int64_t>(hash.size()));
  IntScratch scratch;
  for (auto at = hash.elements().Begin(); at.valid(); at.Next()) {
    ctx.reply.Bulk((wanted == Wanted::kFields ? at.value() : Hash::ValueOf(at.element())).Text(scratch));
  }
}

void HKeys(CommandContext& ctx) { ReplyAll(ctx, Wanted::kFields); }
void HVals(CommandContext& ctx) { ReplyAll(ctx, Wanted::kValues); }

void HScan(CommandContext& ctx) {
  const std::optional<uint64_t> cursor = ReadCursor(ctx.argv[2]);
  if (!cursor) return ctx.reply.Error("ERR invalid cursor");
  const HashView view(ctx, ctx.argv[1]);
  if (!view.ok()) return;
  if (view.get() == nullptr) return ReplyEmptyScan(ctx);
  ElementScan scan{.position = *cursor};
  if (!ReadElementScan(ctx, scan, true)) return;
  const Hash& hash = *view.get();
  ReplyElementScan(ctx, scan, [&](uint64_t position, int64_t& looked_at, int64_t& found) {
    return hash.elements().ScanLeaf(position, [&](const uint8_t* element) {
      ++looked_at;
      IntScratch scratch;
      const std::string_view field = store::Unpack(element).Text(scratch);
      if (!scan.Matches(field)) return;
      ctx.reply.Bulk(field);
      ++found;
      if (scan.no_values) return;
      ctx.reply.Bulk(Hash::ValueOf(element).Text(scratch));
      ++found;
    });
  });
}

void HRandField(CommandContext& ctx) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  const bool one = ctx.argv.size() == 2;
  bool with_values = false;
  int64_t count = 1;
  if (!one) {
    protocol::ArgReader args(ctx.argv, 2);
    count = args.NextIntBetween(-kMax, kMax);
    if (args.HasNext()) {
      with_values = args.Check("WITHVALUES");
      if (!with_values) args.SyntaxError();
      args.ExpectEnd();
      if (args.ok() && (count < -kMax / 2 || count > kMax / 2)) args.Fail("ERR value is out of range");
    }
    if (!args.ok()) return ctx.reply.Error(args.error());
  }
  const HashView view(ctx, ctx.argv[1]);
  if (!view.ok()) return;
  if (view.get() == nullptr) return one ? ctx.reply.Null() : ctx.reply.Array(0);
  const Hash& hash = *view.get();
  const uint64_t size = hash.size();
  const auto tell = [&](const store::ElementTree::Cursor& at) {
    IntScratch scratch;
    if (with_values && ctx.reply.version() == 3) ctx.reply.Array(2);
    ctx.reply.Bulk(at.value().Text(scratch));
    if (with_values) ctx.reply.Bulk(Hash::ValueOf(at.element()).Text(scratch));
  };
  if (one) return tell(hash.elements().At(ctx.keyspace.RandomBelow(size)));
  const uint64_t told = count < 0 ? static_cast<uint64_t>(-count) : std::min(static_cast<uint64_t>(count), size);
  ctx.reply.Array(static_cast<int64_t>(with_values && ctx.reply.version() == 2 ? 2 * told : told));
  if (count < 0) {
    // The same field may come several times.
    for (uint64_t i = 0; i < told; ++i) tell(hash.elements().At(ctx.keyspace.RandomBelow(size)));
  } else if (told == size) {
    for (auto at = hash.elements().Begin(); at.valid(); at.Next()) tell(at);
  } else {
    for (uint64_t index : ChooseIndexes(ctx.keyspace, size, told)) tell(hash.elements().At(index));
  }
}

// ---- rows

constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr KeySpec kLooksKey[] = {{.flags = kKeyRO, .index = 1}};
constexpr KeySpec kUpdatesKey[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1}};
constexpr KeySpec kInsertsIn[] = {{.flags = kKeyRW | kKeyInsert, .index = 1}};
constexpr KeySpec kCountsIn[] = {{.flags = kKeyRW | kKeyAccess | kKeyUpdate, .index = 1}};
constexpr KeySpec kDeletesIn[] = {{.flags = kKeyRW | kKeyDelete, .index = 1}};

constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr ArgSpec kKeyAndField[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}, {.name = "field"}};
constexpr ArgSpec kKeyAndFields[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                     {.name = "field", .flags = kMultiple}};
constexpr ArgSpec kFieldAndValue[] = {{.name = "field"}, {.name = "value"}};
constexpr ArgSpec kHSetArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "data", .type = ArgType::kBlock, .flags = kMultiple, .children = kFieldAndValue}};
constexpr ArgSpec kFieldAndValueArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0}, {.name = "field"}, {.name = "value"}};
constexpr ArgSpec kIncrByArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                   {.name = "field"},
                                   {.name = "increment", .type = ArgType::kInteger}};
constexpr ArgSpec kIncrByFloatArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                        {.name = "field"},
                                        {.name = "increment", .type = ArgType::kDouble}};
constexpr ArgSpec kScanArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "cursor", .type = ArgType::kInteger},
    {.name = "pattern", .type = ArgType::kPattern, .flags = kOptional, .token = "MATCH"},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"},
    {.name = "novalues", .type = ArgType::kPureToken, .flags = kOptional, .token = "NOVALUES", .since = "7.4.0"}};
constexpr ArgSpec kRandOptions[] = {
    {.name = "count", .type = ArgType::kInteger},
    {.name = "withvalues", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHVALUES"}};
constexpr ArgSpec kRandArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "options", .type = ArgType::kBlock, .flags = kOptional, .children = kRandOptions}};
constexpr std::string_view kRandomTips[] = {"nondeterministic_output"};
constexpr HistoryEntry kHSetHistory[] = {{"4.0.0", "Accepts multiple `field` and `value` arguments."}};
constexpr HistoryEntry kHDelHistory[] = {{"2.4.0", "Accepts multiple `field` arguments."}};
constexpr std::string_view kUnorderedTips[] = {"nondeterministic_output_order"};

constexpr CommandRow kRows[] = {
    {.name = "hset",
     .arity = -4,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclHash,
     .handler = HSet,
     .keys = kUpdatesKey,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(1) per field.",
     .summary = "Sets fields of a hash, creating it if need be.",
     .args = kHSetArgs,
     .history = kHSetHistory},
    {.name = "hget",
     .arity = 3,
     .flags = kReadOnly | kFast,
     .acl = kAclHash,
     .handler = HGet,
     .keys = kReadsKey,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Reads a field of a hash.",
     .args = kKeyAndField},
    {.name = "hdel",
     .arity = -3,
     .flags = kWrite | kFast,
     .acl = kAclHash,
     .handler = HDel,
     .keys = kDeletesIn,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(N) for N fields given.",
     .summary = "Removes fields of a hash; a hash left empty goes away.",
     .args = kKeyAndFields,
     .history = kHDelHistory},
    {.name = "hlen",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclHash,
     .handler = HLen,
     .keys = kLooksKey,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Counts the fields of a hash.",
     .args = kOneKey},
    {.name = "hgetall",
     .arity = 2,
     .flags = kReadOnly,
     .acl = kAclHash,
     .handler = HGetAll,
     .keys = kReadsKey,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(N) for N fields.",
     .summary = "Reads all fields of a hash with their values.",
     .args = kOneKey,
     .tips = kUnorderedTips},
    {.name = "hsetnx",
     .arity = 4,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclHash,
     .handler = HSetNx,
     .keys = kInsertsIn,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Sets a field of a hash unless it exists.",
     .args = kFieldAndValueArgs},
    {.name = "hmset",
     .arity = -4,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclHash,
     .handler = HMSet,
     .keys = kUpdatesKey,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(N) for N fields given.",
     .summary = "Sets several fields of a hash.",
     .args = kHSetArgs,
     .deprecated_since = "4.0.0",
     .replaced_by = "`HSET` with multiple field-value pairs"},
    {.name = "hmget",
     .arity = -3,
     .flags = kReadOnly | kFast,
     .acl = kAclHash,
     .handler = HMGet,
     .keys = kReadsKey,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(N) for N fields asked for.",
     .summary = "Reads several fields of a hash.",
     .args = kKeyAndFields},
    {.name = "hexists",
     .arity = 3,
     .flags = kReadOnly | kFast,
     .acl = kAclHash,
     .handler = HExists,
     .keys = kLooksKey,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Tells whether a hash has a field.",
     .args = kKeyAndField},
    {.name = "hstrlen",
     .arity = 3,
     .flags = kReadOnly | kFast,
     .acl = kAclHash,
     .handler = HStrLen,
     .keys = kLooksKey,
     .group = Group::kHash,
     .since = "3.2.0",
     .complexity = "O(1)",
     .summary = "Tells how many bytes the value of a field has.",
     .args = kKeyAndField},
    {.name = "hincrby",
     .arity = 4,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclHash,
     .handler = HIncrBy,
     .keys = kCountsIn,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Adds to the integer a field holds; a missing field counts as 0.",
     .args = kIncrByArgs},
    {.name = "hincrbyfloat",
     .arity = 4,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclHash,
     .handler = HIncrByFloat,
     .keys = kCountsIn,
     .group = Group::kHash,
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Adds to the number a field holds; a missing field counts as 0.",
     .args = kIncrByFloatArgs},
    {.name = "hkeys",
     .arity = 2,
     .flags = kReadOnly,
     .acl = kAclHash,
     .handler = HKeys,
     .keys = kReadsKey,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(N) for N fields.",
     .summary = "Lists the fields of a hash.",
     .args = kOneKey,
     .tips = kUnorderedTips},
    {.name = "hvals",
     .arity = 2,
     .flags = kReadOnly,
     .acl = kAclHash,
     .handler = HVals,
     .keys = kReadsKey,
     .group = Group::kHash,
     .since = "2.0.0",
     .complexity = "O(N) for N fields.",
     .summary = "Lists the values of a hash.",
     .args = kOneKey,
     .tips = kUnorderedTips},
    {.name = "hscan",
     .arity = -3,
     .flags = kReadOnly,
     .acl = kAclHash,
     .handler = HScan,
     .keys = kReadsKey,
     .group = Group::kHash,
     .since = "2.8.0",
     .complexity = "O(1) per call, O(N) for a whole walk over N fields.",
     .summary = "Walks over the fields of a hash and their values, some at a time.",
     .args = kScanArgs,
     .tips = kRandomTips},
    {.name = "hrandfield",
     .arity = -2,
     .flags = kReadOnly,
     .acl = kAclHash,
     .handler = HRandField,
     .keys = kReadsKey,
     .group = Group::kHash,
     .since = "6.2.0",
     .complexity = "O(N) for N fields answered.",
     .summary = "Answers random fields of a hash, with their values if asked to.",
     .args = kRandArgs,
     .tips = kRandomTips},
};

}  // namespace

std::span<const CommandRow> HashCommands() { return kRows; }

}  // namespace tessera
