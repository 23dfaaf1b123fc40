// DUMP and RESTORE: values in the portable form of RDB files. MIGRATE has a file of its own.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "persistence/dump.h"
#include "persistence/null_visitor.h"
#include "server/commands/data.h"
#include "server/commands/table.h"
#include "server/config/config.h"
#include "server/stats.h"
#include "server/values/value_builder.h"
#include "server/values/value_walk.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::Expiry;

void Dump(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!entry) return ctx.reply.Null();
  std::string payload;
  persistence::DumpWriter dump(&payload, ctx.services.config.rdbcompression);
  TellEntry(entry, {}, dump);
  dump.Finish();
  ctx.reply.Bulk(payload);
}

struct RestoreOptions {
  bool replace = false, absolute = false;
  std::optional<int64_t> idle_seconds, frequency;
};

bool ReadRestoreOptions(CommandContext& ctx, RestoreOptions& options) {
  protocol::ArgReader args(ctx.argv, 4);
  while (args.HasNext()) {
    if (args.Check("REPLACE")) {
      options.replace = true;
    } else if (args.Check("ABSTTL")) {
      options.absolute = true;
    } else if (!options.frequency && args.Check("IDLETIME", 1)) {
      options.idle_seconds = args.NextInt<int64_t>();
      if (*options.idle_seconds < 0) args.Fail("ERR Invalid IDLETIME value, must be >= 0");
    } else if (!options.idle_seconds && args.Check("FREQ", 1)) {
      options.frequency = args.NextInt<int64_t>();
      if (*options.frequency < 0 || *options.frequency > 255)
        args.Fail("ERR Invalid FREQ value, must be >= 0 and <= 255");
    } else {
      args.SyntaxError();
    }
  }
  if (!args.ok()) ctx.reply.Error(args.error());
  return args.ok();
}

// Expiries of the fields of a hash, one after the other.
class FieldExpiriesOf final : public persistence::NullVisitor {
 public:
  std::vector<std::pair<std::string, int64_t>> found;
  void Pair(std::string_view field, std::string_view, int64_t expiry_ms) override {
    if (expiry_ms != store::kNoExpiry) found.emplace_back(field, expiry_ms);
  }
};

// Replicas may be older than whoever made the payload: they get it in the form that Redis 7.0 reads, and expiries of
// fields as commands.
void PropagateForOlderReplicas(CommandContext& ctx, std::string_view key, int64_t expiry_ms) {
  const EntryRef entry = ctx.db().Lookup(key, {store::Touch::kNo, store::Viewer::kPrimary});
  if (!entry) return;
  std::string payload;
  persistence::DumpWriter dump(&payload, ctx.services.config.rdbcompression, false);
  TellEntry(entry, {}, dump);
  dump.Finish();
  FieldExpiriesOf fields;
  TellEntry(entry, {}, fields);
  const NumberText expiry_text(std::max<int64_t>(expiry_ms, 0));
  ctx.Propagate({"RESTORE", key, expiry_text, payload, "REPLACE", "ABSTTL"});
  for (const auto& [field, field_expiry_ms] : fields.found) {
    const NumberText field_expiry_text(field_expiry_ms);
    ctx.Propagate({"HPEXPIREAT", key, field_expiry_text, "FIELDS", "1", field});
  }
}

void Restore(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1], payload = ctx.argv[3];
  RestoreOptions options;
  if (!ReadRestoreOptions(ctx, options)) return;
  if (!options.replace && ctx.FindForWrite(key)) return ctx.reply.Error("BUSYKEY Target key name already exists.");
  int64_t expiry_ms;
  if (!ReadInteger(ctx, ctx.argv[2], expiry_ms)) return;
  if (expiry_ms < 0) return ctx.reply.Error("ERR Invalid TTL value, must be >= 0");
  ValueBuilder restored(ctx.services.config, ctx.keyspace.object_seed());
  const persistence::DumpResult result = persistence::ReadDump(payload, {.key = key}, restored);
  if (result.read == persistence::DumpRead::kBadFooter)
    return ctx.reply.Error("ERR DUMP payload version or checksum are wrong");
  ++ctx.services.stats.dump_payloads_checked;
  if (result.read != persistence::DumpRead::kOk || !restored.error().empty())
    return ctx.reply.Error("ERR Bad data format");
  if (expiry_ms != 0 && !options.absolute) {
    if (__builtin_add_overflow(expiry_ms, ctx.now.unix_ms, &expiry_ms)) expiry_ms = store::kExpiryMsMax;
  }

  if (expiry_ms != 0 && IsAlreadyExpired(ctx, expiry_ms)) {
    // Dead on arrival: only what it would have replaced goes away.
    if (options.replace && ctx.FindForWrite(key)) DeleteAsExpired(ctx, key);
    return ctx.reply.Ok();
  }
  const Expiry expiry = expiry_ms == 0 ? Expiry::None() : Expiry::AtMs(expiry_ms);
  const bool replaces = options.replace && ctx.TellsOfNewKeys() && ctx.FindForWrite(key);
  if (!restored.Take().Store(ctx.db(), key, expiry)) return ctx.reply.Error(kOutOfMemory);
  if (replaces) ctx.Notify('n', "new", key);
  if (options.idle_seconds) ctx.db().SetIdleSeconds(key, static_cast<uint64_t>(*options.idle_seconds));
  if (options.frequency) ctx.db().SetFrequency(key, static_cast<uint8_t>(*options.frequency));
  ctx.Notify('g', "restore", key);
  const EntryRef entry = ctx.db().Lookup(key, {store::Touch::kNo, store::Viewer::kPrimary});
  const bool fields_expire = entry && entry.object() != nullptr && entry.object()->FirstElementExpiryMs() != store::kNoExpiry;
  if (fields_expire || persistence::IsNewerThanWritten(payload)) {
    PropagateForOlderReplicas(ctx, key, expiry_ms);
  } else if (expiry_ms != 0 && !options.absolute) {
    // With the instant in place of the remaining life.
    const NumberText expiry_text(expiry_ms);
    std::vector<std::string_view> command(ctx.argv.begin(), ctx.argv.end());
    command[2] = expiry_text;
    command.push_back("ABSTTL");
    ctx.PropagateIn(ctx.session.db, command);
  }
  ctx.reply.Ok();
}

// ---- rows

constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr std::string_view kDumpTips[] = {"nondeterministic_output"};
constexpr KeySpec kSetsKey[] = {{.flags = kKeyOW | kKeyUpdate, .index = 1}};
constexpr ArgSpec kRestoreArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "ttl", .type = ArgType::kInteger},
    {.name = "serialized-value", .type = ArgType::kString},
    {.name = "replace", .type = ArgType::kPureToken, .flags = kOptional, .token = "REPLACE", .since = "3.0.0"},
    {.name = "absttl", .type = ArgType::kPureToken, .flags = kOptional, .token = "ABSTTL", .since = "5.0.0"},
    {.name = "seconds", .type = ArgType::kInteger, .flags = kOptional, .token = "IDLETIME", .since = "5.0.0"},
    {.name = "frequency", .type = ArgType::kInteger, .flags = kOptional, .token = "FREQ", .since = "5.0.0"}};
constexpr HistoryEntry kRestoreHistory[] = {
    {"3.0.0", "`REPLACE`."}, {"5.0.0", "`ABSTTL`."}, {"5.0.0", "`IDLETIME` and `FREQ`."}};

constexpr CommandRow kRows[] = {
    {.name = "dump",
     .arity = 2,
     .flags = kReadOnly,
     .acl = kAclKeyspace,
     .handler = Dump,
     .keys = kReadsKey,
     .group = Group::kGeneric,
     .since = "2.6.0",
     .complexity = "O(1) to find the key, O(N*M) to write N elements of M bytes.",
     .summary = "Answers a value in the portable form that RESTORE reads.",
     .args = kOneKey,
     .tips = kDumpTips},
    {.name = "restore",
     .arity = -4,
     .flags = kWrite | kDenyOom,
     .acl = kAclKeyspace | kAclDangerous,
     .handler = Restore,
     .keys = kSetsKey,
     .group = Group::kGeneric,
     .since = "2.6.0",
     .complexity = "O(1) to create the key, O(N*M) to read N elements of M bytes.",
     .summary = "Creates a key from what DUMP answered.",
     .args = kRestoreArgs,
     .history = kRestoreHistory},
    {.name = "restore-asking",
     .arity = -4,
     .flags = kWrite | kDenyOom | kAsking | kSystemCommand,
     .acl = kAclKeyspace | kAclDangerous,
     .handler = Restore,
     .keys = kSetsKey,
     .group = Group::kServer,
     .since = "3.0.0",
     .complexity = "O(1) to create the key, O(N*M) to read N elements of M bytes.",
     .summary = "RESTORE into a slot that is being imported; used by nodes among themselves.",
     .args = kRestoreArgs,
     .history = kRestoreHistory},
};

}  // namespace

std::span<const CommandRow> TransferCommands() { return kRows; }

}  // namespace tessera
