// MULTI, EXEC, DISCARD, WATCH, UNWATCH. Queueing itself happens in the dispatcher, for every command alike.
#include "server/commands/context.h"
#include "server/commands/table.h"
#include "server/dispatcher.h"
#include "server/watches.h"

namespace tessera {
namespace {

void Multi(CommandContext& ctx) {
  if (ctx.session.transaction.open) return ctx.reply.Error("ERR MULTI calls can not be nested");
  ctx.session.transaction.open = true;
  ctx.reply.Ok();
}

void EndTransaction(CommandContext& ctx) {
  ctx.services.watches.Unwatch(ctx.session);
  ctx.session.transaction = {};
}

void Discard(CommandContext& ctx) {
  if (!ctx.session.transaction.open) return ctx.reply.Error("ERR DISCARD without MULTI");
  EndTransaction(ctx);
  ctx.reply.Ok();
}

void Exec(CommandContext& ctx) {
  Transaction& transaction = ctx.session.transaction;
  if (!transaction.open) return ctx.reply.Error("ERR EXEC without MULTI");
  if (transaction.failed) {
    EndTransaction(ctx);
    return ctx.reply.Error("EXECABORT Transaction discarded because of previous errors.");
  }
  if (transaction.watch_broken || ctx.services.watches.AnyExpired(ctx.session, ctx.now.unix_ms)) {
    EndTransaction(ctx);
    return ctx.reply.NullArray();
  }
  // Unwatched first: the transaction's own changes concern nobody who waits for it.
  ctx.services.watches.Unwatch(ctx.session);
  ctx.services.dispatcher.RunTransaction(ctx);
}

void Watch(CommandContext& ctx) {
  if (ctx.session.transaction.open) return ctx.reply.Error("ERR WATCH inside MULTI is not allowed");
  if (!ctx.session.transaction.watch_broken)
    for (std::string_view key : ctx.argv.subspan(1)) ctx.services.watches.Watch(ctx.session, key, ctx.now.unix_ms);
  ctx.reply.Ok();
}

void Unwatch(CommandContext& ctx) {
  ctx.services.watches.Unwatch(ctx.session);
  ctx.reply.Ok();
}

constexpr KeySpec kWatchKeys[] = {{.flags = kKeyRO, .index = 1, .last_key = -1}};
constexpr ArgSpec kWatchArgs[] = {{.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0}};
constexpr uint64_t kControl = kNoScript | kLoading | kStale | kFast | kTransactionControl;

constexpr CommandRow kRows[] = {
    {.name = "multi",
     .arity = 1,
     .flags = kControl | kAllowBusy | kInStream,
     .acl = kAclTransaction,
     .handler = Multi,
     .group = Group::kTransactions,
     .since = "1.2.0",
     .complexity = "O(1)",
     .summary = "Opens a transaction: the commands that follow are queued."},
    {.name = "exec",
     .arity = 1,
     .flags = kNoScript | kLoading | kStale | kSkipSlowlog | kTransactionControl | kEndsTransaction | kInStream,
     .acl = kAclTransaction,
     .handler = Exec,
     .group = Group::kTransactions,
     .since = "1.2.0",
     .complexity = "The sum of the queued commands.",
     .summary = "Executes the queued commands as one."},
    {.name = "discard",
     .arity = 1,
     .flags = kControl | kAllowBusy,
     .acl = kAclTransaction,
     .handler = Discard,
     .group = Group::kTransactions,
     .since = "2.0.0",
     .complexity = "O(N) in the number of queued commands.",
     .summary = "Drops the queued commands."},
    {.name = "watch",
     .arity = -2,
     .flags = kControl | kAllowBusy,
     .acl = kAclTransaction,
     .handler = Watch,
     .keys = kWatchKeys,
     .group = Group::kTransactions,
     .since = "2.2.0",
     .complexity = "O(1) per key.",
     .summary = "Makes the next EXEC depend on these keys staying as they are.",
     .args = kWatchArgs},
    {.name = "unwatch",
     .arity = 1,
     .flags = (kControl & ~kTransactionControl) | kAllowBusy,
     .acl = kAclTransaction,
     .handler = Unwatch,
     .group = Group::kTransactions,
     .since = "2.2.0",
     .complexity = "O(1)",
     .summary = "Forgets all watched keys."},
};

}  // namespace

std::span<const CommandRow> TransactionCommands() { return kRows; }

}  // namespace tessera
