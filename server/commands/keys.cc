// Commands on keys of any type: deleting, naming, copying, moving between databases, and emptying databases.
#include <optional>

#include "server/blocking.h"
#include "server/commands/data.h"
#include "server/commands/table.h"
#include "server/config/config.h"
#include "server/dispatcher.h"
#include "server/lazy_free.h"

namespace tessera {
namespace {

using store::EntryRef;

// DEL and UNLINK are one: a large value is always freed on another thread.
void Delete(CommandContext& ctx) {
  int64_t deleted = 0;
  for (std::string_view key : ctx.argv.subspan(1)) {
    if (!ctx.db().Erase(key)) continue;
    ++deleted;
    ctx.Notify('g', "del", key);
  }
  ctx.reply.Integer(deleted);
}

void Del(CommandContext& ctx) { Delete(ctx); }
void Unlink(CommandContext& ctx) { Delete(ctx); }

void Exists(CommandContext& ctx) {
  int64_t found = 0;
  for (std::string_view key : ctx.argv.subspan(1)) found += ctx.FindUntouched(key) ? 1 : 0;
  ctx.reply.Integer(found);
}

void TypeOf(CommandContext& ctx) {
  const EntryRef entry = ctx.FindUntouched(ctx.argv[1]);
  ctx.reply.SimpleString(entry ? store::TypeName(entry.type()) : "none");
}

void Touch(CommandContext& ctx) {
  int64_t found = 0;
  for (std::string_view key : ctx.argv.subspan(1)) found += ctx.Find(key) ? 1 : 0;
  ctx.reply.Integer(found);
}

// Whether a live key stands in a database that need not be the selected one.
bool ExistsIn(CommandContext& ctx, int db, std::string_view key) {
  const auto viewer = IsReplay(ctx.session) ? store::Viewer::kPrimary : store::Viewer::kClient;
  return static_cast<bool>(ctx.keyspace.db(db).Lookup(key, {store::Touch::kNo, viewer}));
}

void RenameTo(CommandContext& ctx, bool replace) {
  const std::string_view from = ctx.argv[1], to = ctx.argv[2];
  if (!ctx.FindForWrite(from)) return ctx.reply.Error(kNoSuchKey);
  if (from == to) return replace ? ctx.reply.Ok() : ctx.reply.Integer(0);
  if (!replace && ctx.FindForWrite(to)) return ctx.reply.Integer(0);
  const bool replaces = ctx.TellsOfNewKeys() && ExistsIn(ctx, ctx.session.db, to);
  if (!ctx.db().MoveEntry(from, ctx.db(), to)) return ctx.reply.Error(kOutOfMemory);
  if (replaces) ctx.Notify('n', "new", to);
  ctx.Notify('g', "rename_from", from);
  ctx.Notify('g', "rename_to", to);
  replace ? ctx.reply.Ok() : ctx.reply.Integer(1);
}

void Rename(CommandContext& ctx) { RenameTo(ctx, true); }
void RenameNx(CommandContext& ctx) { RenameTo(ctx, false); }

void Copy(CommandContext& ctx) {
  int target = ctx.session.db;
  bool replace = false;
  protocol::ArgReader args(ctx.argv, 3);
  while (args.HasNext()) {
    if (args.Check("REPLACE")) {
      replace = true;
    } else if (args.Check("DB", 1)) {
      if (!ReadDatabase(ctx, args.Next(), target)) return;
    } else {
      args.SyntaxError();
    }
  }
  if (!args.ok()) return ctx.reply.Error(args.error());
  if (ctx.keyspace.cluster() && (target != 0 || ctx.session.db != 0))
    return ctx.reply.Error("ERR Copying to another database is not allowed in cluster mode");
  const std::string_view from = ctx.argv[1], to = ctx.argv[2];
  if (target == ctx.session.db && from == to) return ctx.reply.Error(kSameObject);
  if (!ctx.Find(from)) return ctx.reply.Integer(0);
  const bool replaces = (!replace || ctx.TellsOfNewKeys()) && ExistsIn(ctx, target, to);
  if (!replace && replaces) return ctx.reply.Integer(0);
  if (!ctx.db().CopyEntry(from, ctx.keyspace.db(target), to)) return ctx.reply.Error(kOutOfMemory);
  if (replaces) ctx.NotifyIn(target, 'n', "new", to);
  ctx.NotifyIn(target, 'g', "copy_to", to);
  ctx.reply.Integer(1);
}

void MoveKey(CommandContext& ctx) {
  if (ctx.keyspace.cluster()) return ctx.reply.Error("ERR MOVE is not allowed in cluster mode");
  const std::string_view key = ctx.argv[1];
  int target;
  if (!ReadDatabase(ctx, ctx.argv[2], target)) return;
  if (target == ctx.session.db) return ctx.reply.Error(kSameObject);
  if (!ctx.FindForWrite(key)) return ctx.reply.Integer(0);
  if (ExistsIn(ctx, target, key)) return ctx.reply.Integer(0);
  if (!ctx.db().MoveEntry(key, ctx.keyspace.db(target), key)) return ctx.reply.Error(kOutOfMemory);
  ctx.Notify('g', "move_from", key);
  ctx.NotifyIn(target, 'g', "move_to", key);
  ctx.reply.Integer(1);
}

void SwapDb(CommandContext& ctx) {
  if (ctx.keyspace.cluster()) return ctx.reply.Error("ERR SWAPDB is not allowed in cluster mode");
  protocol::ArgReader args(ctx.argv);
  const int first = args.NextInt<int>("ERR invalid first DB index");
  const int second = args.NextInt<int>("ERR invalid second DB index");
  if (!args.ok()) return ctx.reply.Error(args.error());
  const int count = ctx.keyspace.database_count();
  if (first < 0 || first >= count || second < 0 || second >= count) return ctx.reply.Error(kDbOutOfRange);
  if (first != second) ctx.keyspace.Swap(first, second);
  ctx.PropagateAlways();
  ctx.reply.Ok();
}

// SYNC: the reply comes when the memory has been given back; the loop goes on with others meanwhile.
enum class FlushReply : uint8_t { kAtOnce, kWhenFreed };

std::optional<FlushReply> ReadFlushType(CommandContext& ctx) {
  protocol::ArgReader args(ctx.argv);
  FlushReply when = ctx.services.config.lazyfree_lazy_user_flush ? FlushReply::kAtOnce : FlushReply::kWhenFreed;
  if (args.Check("SYNC")) {
    when = FlushReply::kWhenFreed;
  } else if (args.Check("ASYNC")) {
    when = FlushReply::kAtOnce;
  } else if (args.HasNext()) {
    args.SyntaxError();
  }
  args.ExpectEnd();
  if (args.ok()) return when;
  ctx.reply.Error(args.error());
  return std::nullopt;
}

void ReplyToFlush(CommandContext& ctx, FlushReply when) {
  constexpr int64_t kAtOnceUs = 1000;
  ctx.PropagateAlways();
  const bool may_wait = when == FlushReply::kWhenFreed && ctx.session.kind == SessionKind::kNormal &&
                        ctx.session.link != nullptr && ctx.session.reply_mode == ReplyMode::kOn && !ctx.services.dispatcher.in_transaction();
  if (!may_wait) return ctx.reply.Ok();
  bool more = true;
  for (const int64_t start_us = MonotonicUs(); more && MonotonicUs() - start_us < kAtOnceUs;) more = ctx.keyspace.FreeStep();
  if (!more && (ctx.services.lazy_free == nullptr || ctx.services.lazy_free->pending() == 0)) return ctx.reply.Ok();
  ctx.services.blocking.Block(ctx.session, BlockKind::kFreeing, 0,
                              [](Session& session, WakeReason) { session.reply.Ok(); });
}

void FlushDb(CommandContext& ctx) {
  const auto when = ReadFlushType(ctx);
  if (!when) return;
  ctx.db().Flush();
  ReplyToFlush(ctx, *when);
}

void FlushAll(CommandContext& ctx) {
  const auto when = ReadFlushType(ctx);
  if (!when) return;
  ctx.keyspace.FlushAll();
  ReplyToFlush(ctx, *when);
}

// ---- rows

constexpr KeySpec kDeletesKeys[] = {{.flags = kKeyRM | kKeyDelete, .index = 1, .last_key = -1}};
constexpr ArgSpec kSomeKeys[] = {{.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0}};
constexpr std::string_view kDelTips[] = {"request_policy:multi_shard", "response_policy:agg_sum"};
constexpr KeySpec kLooksKeys[] = {{.flags = kKeyRO, .index = 1, .last_key = -1}};
constexpr HistoryEntry kExistsHistory[] = {{"3.0.3", "Several keys."}};
constexpr KeySpec kLooksKey[] = {{.flags = kKeyRO, .index = 1}};
constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr KeySpec kRenameKeys[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 1},
                                   {.flags = kKeyOW | kKeyUpdate, .index = 2}};
constexpr ArgSpec kKeyAndNewKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                     {.name = "newkey", .type = ArgType::kKey, .key_spec = 1}};
constexpr KeySpec kRenamenxKeys[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 1},
                                     {.flags = kKeyOW | kKeyInsert, .index = 2}};
constexpr HistoryEntry kRenamenxHistory[] = {{"3.2.0", "Equal names are no error any more."}};
constexpr KeySpec kCopyKeys[] = {{.flags = kKeyRO | kKeyAccess, .index = 1},
                                 {.flags = kKeyOW | kKeyUpdate, .index = 2}};
constexpr ArgSpec kCopyArgs[] = {
    {.name = "source", .type = ArgType::kKey, .key_spec = 0},
    {.name = "destination", .type = ArgType::kKey, .key_spec = 1},
    {.name = "destination-db", .type = ArgType::kInteger, .flags = kOptional, .token = "DB"},
    {.name = "replace", .type = ArgType::kPureToken, .flags = kOptional, .token = "REPLACE"}};
constexpr KeySpec kReadsAndSetsKey[] = {{.flags = kKeyRW | kKeyAccess | kKeyUpdate, .index = 1}};
constexpr ArgSpec kMoveArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                 {.name = "db", .type = ArgType::kInteger}};
constexpr ArgSpec kSwapdbArgs[] = {{.name = "index1", .type = ArgType::kInteger},
                                   {.name = "index2", .type = ArgType::kInteger}};
constexpr ArgSpec kFlushType[] = {{.name = "async", .type = ArgType::kPureToken, .token = "ASYNC", .since = "4.0.0"},
                                  {.name = "sync", .type = ArgType::kPureToken, .token = "SYNC", .since = "6.2.0"}};
constexpr ArgSpec kFlushdbArgs[] = {
    {.name = "flush-type", .type = ArgType::kOneOf, .flags = kOptional, .children = kFlushType}};
constexpr std::string_view kFlushdbTips[] = {"request_policy:all_shards", "response_policy:all_succeeded"};
constexpr HistoryEntry kFlushHistory[] = {{"4.0.0", "`ASYNC`."}, {"6.2.0", "`SYNC`."}};

constexpr CommandRow kRows[] = {
    {.name = "del",
     .arity = -2,
     .flags = kWrite,
     .acl = kAclKeyspace,
     .handler = Del,
     .keys = kDeletesKeys,
     .group = Group::kGeneric,
     .since = "1.0.0",
     .complexity = "O(N) for N keys; large values are freed on another thread.",
     .summary = "Deletes keys.",
     .args = kSomeKeys,
     .tips = kDelTips},
    {.name = "unlink",
     .arity = -2,
     .flags = kWrite | kFast,
     .acl = kAclKeyspace,
     .handler = Unlink,
     .keys = kDeletesKeys,
     .group = Group::kGeneric,
     .since = "4.0.0",
     .complexity = "O(1) per key; freeing goes on in the background.",
     .summary = "Deletes keys and frees their memory in the background.",
     .args = kSomeKeys,
     .tips = kDelTips},
    {.name = "exists",
     .arity = -2,
     .flags = kReadOnly | kFast,
     .acl = kAclKeyspace,
     .handler = Exists,
     .keys = kLooksKeys,
     .group = Group::kGeneric,
     .since = "1.0.0",
     .complexity = "O(N) for N keys.",
     .summary = "Counts how many of the named keys exist.",
     .args = kSomeKeys,
     .tips = kDelTips,
     .history = kExistsHistory},
    {.name = "type",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclKeyspace,
     .handler = TypeOf,
     .keys = kLooksKey,
     .group = Group::kGeneric,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Tells which type of value a key holds.",
     .args = kOneKey},
    {.name = "touch",
     .arity = -2,
     .flags = kReadOnly | kFast,
     .acl = kAclKeyspace,
     .handler = Touch,
     .keys = kLooksKeys,
     .group = Group::kGeneric,
     .since = "3.2.1",
     .complexity = "O(N) for N keys.",
     .summary = "Marks keys as used just now and counts those that exist.",
     .args = kSomeKeys,
     .tips = kDelTips},
    {.name = "rename",
     .arity = 3,
     .flags = kWrite,
     .acl = kAclKeyspace,
     .handler = Rename,
     .keys = kRenameKeys,
     .group = Group::kGeneric,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Gives a key another name, replacing what stood there.",
     .args = kKeyAndNewKey},
    {.name = "renamenx",
     .arity = 3,
     .flags = kWrite | kFast,
     .acl = kAclKeyspace,
     .handler = RenameNx,
     .keys = kRenamenxKeys,
     .group = Group::kGeneric,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Gives a key another name unless that name is taken.",
     .args = kKeyAndNewKey,
     .history = kRenamenxHistory},
    {.name = "copy",
     .arity = -3,
     .flags = kWrite | kDenyOom,
     .acl = kAclKeyspace,
     .handler = Copy,
     .keys = kCopyKeys,
     .group = Group::kGeneric,
     .since = "6.2.0",
     .complexity = "O(1) for strings; O(N) for collections of N elements.",
     .summary = "Stores a copy of a value under another key.",
     .args = kCopyArgs},
    {.name = "move",
     .arity = 3,
     .flags = kWrite | kFast,
     .acl = kAclKeyspace,
     .handler = MoveKey,
     .keys = kReadsAndSetsKey,
     .group = Group::kGeneric,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Moves a key to another database.",
     .args = kMoveArgs},
    {.name = "swapdb",
     .arity = 3,
     .flags = kWrite | kFast,
     .acl = kAclKeyspace | kAclDangerous,
     .handler = SwapDb,
     .group = Group::kServer,
     .since = "4.0.0",
     .complexity = "O(N) for N clients that watch or wait for keys of either database.",
     .summary = "Lets two databases change places.",
     .args = kSwapdbArgs},
    {.name = "flushdb",
     .arity = -1,
     .flags = kWrite,
     .acl = kAclKeyspace | kAclDangerous,
     .handler = FlushDb,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "O(1) for the caller; freeing N keys goes on in the background.",
     .summary = "Deletes all keys of the selected database.",
     .args = kFlushdbArgs,
     .tips = kFlushdbTips,
     .history = kFlushHistory},
    {.name = "flushall",
     .arity = -1,
     .flags = kWrite,
     .acl = kAclKeyspace | kAclDangerous,
     .handler = FlushAll,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "O(1) for the caller; freeing N keys goes on in the background.",
     .summary = "Deletes all keys of all databases.",
     .args = kFlushdbArgs,
     .tips = kFlushdbTips,
     .history = kFlushHistory},
};

}  // namespace

std::span<const CommandRow> KeyCommands() { return kRows; }

}  // namespace tessera
