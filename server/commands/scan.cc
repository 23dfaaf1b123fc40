// Commands that walk over the keys of a database: KEYS, SCAN, RANDOMKEY, DBSIZE.
// Nothing is collected: matching keys go from the table straight into the reply.
#include <string>

#include "protocol/glob.h"
#include "server/commands/element_scan.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using store::EntryRef;

void Keys(CommandContext& ctx) {
  struct Walk {
    CommandContext& ctx;
    std::string_view pattern;
    bool all;
    int64_t found = 0;
  } walk{ctx, ctx.argv[1], ctx.argv[1] == "*"};
  const auto mark = ctx.reply.Defer();
  ctx.db().ForEach([&walk](EntryRef entry) {
    if (!walk.all && !protocol::GlobMatch(walk.pattern, entry.key())) return;
    if (walk.ctx.db().IsExpired(entry)) return;
    walk.ctx.reply.Bulk(entry.key());
    ++walk.found;
  });
  ctx.reply.EndArray(mark, walk.found);
}

void Scan(CommandContext& ctx) {
  const std::optional<uint64_t> start = ReadCursor(ctx.argv[1]);
  if (!start) return ctx.reply.Error("ERR invalid cursor");
  struct Walk {
    protocol::ReplyWriter& reply;
    std::string_view pattern = "*", type = {};
    bool any_type = true;
    int64_t found = 0;
  } walk{ctx.reply};
  int64_t count = 10;
  protocol::ArgReader args(ctx.argv, 2);
  while (args.HasNext()) {
    if (args.Check("COUNT", 1)) {
      count = args.NextInt<int64_t>();
      if (args.ok() && count < 1) args.SyntaxError();
    } else if (args.Check("MATCH", 1)) {
      walk.pattern = args.Next();
    } else if (args.Check("TYPE", 1)) {
      walk.type = args.Next();
      walk.any_type = false;
    } else {
      args.SyntaxError();
    }
  }
  if (!args.ok()) return ctx.reply.Error(args.error());

  ctx.reply.Array(2);
  const auto mark = ctx.reply.Defer();
  const uint64_t cursor = ctx.db().Scan(*start, static_cast<size_t>(count), [&walk](EntryRef entry) {
    if (walk.pattern != "*" && !protocol::GlobMatch(walk.pattern, entry.key())) return;
    if (!walk.any_type && !protocol::EqualsIgnoreCase(walk.type, store::TypeName(entry.type()))) return;
    walk.reply.Bulk(entry.key());
    ++walk.found;
  });
  EndScan(ctx, mark, cursor, walk.found);
}

void RandomKey(CommandContext& ctx) {
  // Where expired keys may not be deleted there may be nothing else: stop looking at some point.
  for (int tries = 0; tries < 100;) {
    const EntryRef entry = ctx.db().RandomEntry();
    if (!entry) break;
    if (!ctx.db().IsExpired(entry)) return ctx.reply.Bulk(entry.key());
    if (ctx.keyspace.expiry_mode() == store::ExpiryMode::kDeleteExpired) {
      const std::string key(entry.key());
      ctx.db().Erase(key);
    } else if (++tries == 100) {
      return ctx.reply.Bulk(entry.key());
    }
  }
  ctx.reply.Null();
}

void DbSize(CommandContext& ctx) { ctx.reply.Integer(static_cast<int64_t>(ctx.db().size())); }

// ---- rows

constexpr ArgSpec kKeysArgs[] = {{.name = "pattern", .type = ArgType::kPattern}};
constexpr std::string_view kKeysTips[] = {"request_policy:all_shards", "nondeterministic_output_order"};
constexpr ArgSpec kScanArgs[] = {
    {.name = "cursor", .type = ArgType::kInteger},
    {.name = "pattern", .type = ArgType::kPattern, .flags = kOptional, .token = "MATCH"},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"},
    {.name = "type", .type = ArgType::kString, .flags = kOptional, .token = "TYPE", .since = "6.0.0"}};
constexpr std::string_view kScanTips[] = {"nondeterministic_output", "request_policy:special",
                                          "response_policy:special"};
constexpr HistoryEntry kScanHistory[] = {{"6.0.0", "`TYPE`."}};
constexpr std::string_view kRandomkeyTips[] = {"request_policy:all_shards", "response_policy:special",
                                               "nondeterministic_output"};
constexpr std::string_view kDbsizeTips[] = {"request_policy:all_shards", "response_policy:agg_sum"};

constexpr CommandRow kRows[] = {
    {.name = "keys",
     .arity = 2,
     .flags = kReadOnly,
     .acl = kAclKeyspace | kAclDangerous,
     .handler = Keys,
     .group = Group::kGeneric,
     .since = "1.0.0",
     .complexity = "O(N) for N keys in the database.",
     .summary = "Lists all keys that match a pattern.",
     .args = kKeysArgs,
     .tips = kKeysTips},
    {.name = "scan",
     .arity = -2,
     .flags = kReadOnly,
     .acl = kAclKeyspace,
     .handler = Scan,
     .group = Group::kGeneric,
     .since = "2.8.0",
     .complexity = "O(1) per step, O(N) for a whole walk over N keys.",
     .summary = "Walks over the keys of the database in steps.",
     .args = kScanArgs,
     .tips = kScanTips,
     .history = kScanHistory},
    {.name = "randomkey",
     .arity = 1,
     .flags = kReadOnly,
     .acl = kAclKeyspace,
     .handler = RandomKey,
     .group = Group::kGeneric,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Picks some key of the selected database.",
     .tips = kRandomkeyTips},
    {.name = "dbsize",
     .arity = 1,
     .flags = kReadOnly | kFast,
     .acl = kAclKeyspace,
     .handler = DbSize,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Counts the keys of the selected database.",
     .tips = kDbsizeTips},
};

}  // namespace

std::span<const CommandRow> ScanCommands() { return kRows; }

}  // namespace tessera
