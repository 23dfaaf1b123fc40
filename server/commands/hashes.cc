// Hashes: fields and their values.
#include "server/commands/edit.h"
#include "server/commands/table.h"
#include "server/store/hash_object.h"
#include "server/values/limits.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::Hash;
using store::IntScratch;

void HSet(CommandContext& ctx) {
  const Argv pairs = ctx.argv.subspan(2);
  if (pairs.size() % 2 != 0) return ctx.reply.Error("ERR wrong number of arguments for 'hset' command");
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  Edit<Hash> hash(ctx, key, entry);
  const store::HashLimits limits = HashLimitsOf(ctx.services.config);
  int64_t added = 0;
  for (size_t i = 0; i < pairs.size(); i += 2) {
    added += hash->Set(pairs[i], pairs[i + 1], limits) == Hash::SetResult::kAdded;
  }
  if (!hash.Commit()) return;
  ctx.Notify('h', "hset", key);
  ctx.reply.Integer(added);
}

void HGet(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  if (!entry) return ctx.reply.Null();
  const auto found = ValueOf<Hash>(entry)->Find(ctx.argv[2]);
  if (!found.valid()) return ctx.reply.Null();
  IntScratch scratch;
  ctx.reply.Bulk(Hash::ValueOf(found.element()).Text(scratch));
}

void HDel(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
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
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  ctx.reply.Integer(entry ? static_cast<int64_t>(entry.object()->size()) : 0);
}

void HGetAll(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  if (!entry) return ctx.reply.Map(0);
  const Hash& hash = *ValueOf<Hash>(entry);
  ctx.reply.Map(static_cast<int64_t>(hash.size()));
  IntScratch scratch;
  for (auto at = hash.elements().Begin(); at.valid(); at.Next()) {
    ctx.reply.Bulk(at.value().Text(scratch));
    ctx.reply.Bulk(Hash::ValueOf(at.element()).Text(scratch));
  }
}

// ---- rows

constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr KeySpec kLooksKey[] = {{.flags = kKeyRO, .index = 1}};
constexpr KeySpec kUpdatesKey[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1}};
constexpr KeySpec kDeletesIn[] = {{.flags = kKeyRW | kKeyDelete, .index = 1}};

constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr ArgSpec kKeyAndField[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}, {.name = "field"}};
constexpr ArgSpec kKeyAndFields[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                     {.name = "field", .flags = kMultiple}};
constexpr ArgSpec kFieldAndValue[] = {{.name = "field"}, {.name = "value"}};
constexpr ArgSpec kHSetArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "data", .type = ArgType::kBlock, .flags = kMultiple, .children = kFieldAndValue}};
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
};

}  // namespace

std::span<const CommandRow> HashCommands() { return kRows; }

}  // namespace tessera
