// SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF, SHUTDOWN.
#include "server/commands/context.h"
#include "server/commands/table.h"
#include "server/durability/durability.h"
#include "server/lifecycle.h"

namespace tessera {
namespace {

using protocol::ArgReader;

void Save(CommandContext& ctx) {
  const std::string error = ctx.services.durability.Save();
  ctx.PropagateNothing();
  if (!error.empty()) return ctx.reply.Error(error);
  ctx.reply.Ok();
}

void BackgroundSave(CommandContext& ctx) {
  ArgReader args(ctx.argv);
  if (args.HasNext() && !args.Check("SCHEDULE")) args.SyntaxError();
  args.ExpectEnd();
  if (!args.ok()) return ctx.reply.Error(args.error());
  switch (ctx.services.durability.StartBackgroundSave()) {
    case Durability::Started::kYes:
      return ctx.reply.SimpleString("Background saving started");
    case Durability::Started::kAlreadyRunning:
      return ctx.reply.Error("ERR Background save already in progress");
    case Durability::Started::kFailed:
      return ctx.reply.Error("ERR Background saving could not be started: see the server's log");
  }
}

void RewriteAof(CommandContext& ctx) {
  switch (ctx.services.durability.StartRewrite()) {
    case Durability::Started::kYes:
      return ctx.reply.SimpleString("Background append only file rewriting started");
    case Durability::Started::kAlreadyRunning:
      return ctx.reply.Error("ERR Background append only file rewriting already in progress");
    case Durability::Started::kFailed:
      return ctx.reply.Error("ERR Can't execute an AOF background rewriting. Please check the server logs for more "
                             "information.");
  }
}

void LastSave(CommandContext& ctx) { ctx.reply.Integer(ctx.services.durability.figures().last_save_s); }

void Shutdown(CommandContext& ctx) {
  Lifecycle::ShutdownOptions options;
  bool save = false, no_save = false, abort = false;
  ArgReader args(ctx.argv);
  while (args.HasNext()) {
    if (args.Check("NOSAVE")) {
      no_save = true;
    } else if (args.Check("SAVE")) {
      save = true;
    } else if (args.Check("NOW")) {
      options.now = true;
    } else if (args.Check("FORCE")) {
      options.force = true;
    } else if (args.Check("SAFE")) {
      options.safe = true;
    } else if (args.Check("FAILOVER")) {
      options.failover = true;
    } else if (args.Check("ABORT")) {
      abort = true;
    } else {
      args.SyntaxError();
    }
  }
  if ((save && no_save) || (abort && ctx.argv.size() > 2)) args.SyntaxError();
  if (!args.ok()) return ctx.reply.Error(args.error());
  if (abort) {
    if (ctx.services.lifecycle.Abort()) return ctx.reply.Ok();
    return ctx.reply.Error("ERR No shutdown in progress.");
  }
  if (options.failover && ctx.services.cluster == nullptr)
    return ctx.reply.Error("ERR SHUTDOWN FAILOVER is only possible in cluster mode.");
  if (save) options.save = Lifecycle::ShutdownOptions::Save::kSave;
  if (no_save) options.save = Lifecycle::ShutdownOptions::Save::kNoSave;
  const std::string error = ctx.services.lifecycle.RequestShutdown(options, &ctx.session);
  if (!error.empty()) ctx.reply.Error(error);
}

constexpr ArgSpec kBgsaveArgs[] = {{.name = "schedule",
                                    .type = ArgType::kPureToken,
                                    .flags = kOptional,
                                    .token = "SCHEDULE",
                                    .since = "3.2.2"}};
constexpr ArgSpec kSaveSelector[] = {{.name = "nosave", .type = ArgType::kPureToken, .token = "NOSAVE"},
                                     {.name = "save", .type = ArgType::kPureToken, .token = "SAVE"}};
constexpr ArgSpec kShutdownArgs[] = {
    {.name = "save-selector", .type = ArgType::kOneOf, .flags = kOptional, .children = kSaveSelector},
    {.name = "now", .type = ArgType::kPureToken, .flags = kOptional, .token = "NOW", .since = "7.0.0"},
    {.name = "force", .type = ArgType::kPureToken, .flags = kOptional, .token = "FORCE", .since = "7.0.0"},
    {.name = "abort", .type = ArgType::kPureToken, .flags = kOptional, .token = "ABORT", .since = "7.0.0"},
    {.name = "safe", .type = ArgType::kPureToken, .flags = kOptional, .token = "SAFE"},
    {.name = "failover", .type = ArgType::kPureToken, .flags = kOptional, .token = "FAILOVER"}};
constexpr HistoryEntry kBgsaveHistory[] = {{"3.2.2", "Knows SCHEDULE."}};
constexpr HistoryEntry kShutdownHistory[] = {{"7.0.0", "Knows NOW, FORCE and ABORT."}};

constexpr std::string_view kLastSaveTips[] = {"nondeterministic_output"};
constexpr CommandRow kRows[] = {
    {.name = "save",
     .arity = 1,
     .flags = kAdmin | kNoScript | kNoAsyncLoading | kNoMulti,
     .handler = Save,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "O(N) in the number of keys.",
     .summary = "Writes the dataset to disk and answers when it is there."},
    {.name = "bgsave",
     .arity = -1,
     .flags = kAdmin | kNoScript | kNoAsyncLoading,
     .handler = BackgroundSave,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Begins to write the dataset to disk in the background.",
     .args = kBgsaveArgs,
     .history = kBgsaveHistory},
    {.name = "lastsave",
     .arity = 1,
     .flags = kLoading | kStale | kFast,
     .acl = kAclAdmin | kAclDangerous,
     .handler = LastSave,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Tells when the dataset was last saved, in Unix time.",
     .tips = kLastSaveTips},
    {.name = "bgrewriteaof",
     .arity = 1,
     .flags = kAdmin | kNoScript | kNoAsyncLoading,
     .handler = RewriteAof,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Begins to write the append-only file anew in the background."},
    {.name = "shutdown",
     .arity = -1,
     .flags = kAdmin | kNoScript | kLoading | kStale | kNoMulti | kAllowBusy | kWhilePaused,
     .handler = Shutdown,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "O(N) when saving, N being the number of keys.",
     .summary = "Saves as configured and stops the server.",
     .args = kShutdownArgs,
     .history = kShutdownHistory},
};

}  // namespace

std::span<const CommandRow> DurabilityCommands() { return kRows; }

}  // namespace tessera
