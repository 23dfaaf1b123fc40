// TIME, INFO, SLOWLOG, LOLWUT, MODULE.
#include <fmt/core.h>

#include "server/commands/context.h"
#include "server/commands/help.h"
#include "server/commands/table.h"
#include "server/info.h"
#include "server/slowlog.h"
#include "server/version.h"

namespace tessera {
namespace {

void Time(CommandContext& ctx) {
  const int64_t now_us = UnixUs();
  ctx.reply.Array(2);
  ctx.reply.BulkInteger(now_us / 1000000);
  ctx.reply.BulkInteger(now_us % 1000000);
}

void Info(CommandContext& ctx) { ctx.reply.Verbatim("txt", RenderInfo(ctx.services, ctx.now, ctx.argv.subspan(1))); }

void SlowlogGet(CommandContext& ctx) {
  int64_t count = 10;
  if (ctx.argv.size() > 3) return RefuseSubcommandSyntax(ctx);
  if (ctx.argv.size() == 3) {
    const auto wanted = protocol::ParseInt64(ctx.argv[2]);
    if (!wanted || *wanted < -1) return ctx.reply.Error("ERR count should be greater than or equal to -1");
    count = *wanted;
  }
  const auto& entries = ctx.services.slowlog.entries();
  const size_t shown = count < 0 ? entries.size() : std::min(entries.size(), static_cast<size_t>(count));
  ctx.reply.Array(static_cast<int64_t>(shown));
  for (size_t i = 0; i < shown; ++i) {
    const SlowLog::Entry& entry = entries[i];
    ctx.reply.Array(6);
    ctx.reply.Integer(entry.id);
    ctx.reply.Integer(entry.unix_s);
    ctx.reply.Integer(entry.duration_us);
    ctx.reply.Array(static_cast<int64_t>(entry.argv.size()));
    for (const std::string& word : entry.argv) ctx.reply.Bulk(word);
    ctx.reply.Bulk(entry.peer);
    ctx.reply.Bulk(entry.client_name);
  }
}

void SlowlogLen(CommandContext& ctx) { ctx.reply.Integer(static_cast<int64_t>(ctx.services.slowlog.entries().size())); }

void SlowlogReset(CommandContext& ctx) {
  ctx.services.slowlog.Clear();
  ctx.reply.Ok();
}

void Lolwut(CommandContext& ctx) {
  protocol::ArgReader args(ctx.argv);
  if (args.Check("VERSION", 1)) args.NextInt<int32_t>();
  if (!args.ok()) return ctx.reply.Error(args.error());
  // A mosaic: one tile in a different colour.
  std::string picture;
  for (int row = 0; row < 4; ++row) {
    for (int column = 0; column < 12; ++column)
      picture += static_cast<uint64_t>(row * 12 + column) == ctx.session.id % 48 ? "[#]" : "[ ]";
    picture += '\n';
  }
  ctx.reply.Verbatim("txt",
                     fmt::format("{}Tessera ver. {} (Redis ver. {})\n", picture, kTesseraVersion, kRedisVersion));
}

void ModuleList(CommandContext& ctx) { ctx.reply.Array(0); }

constexpr ArgSpec kInfoArgs[] = {{.name = "section", .flags = kOptional | kMultiple}};
constexpr std::string_view kInfoTips[] = {"nondeterministic_output", "request_policy:all_shards",
                                          "response_policy:special"};
constexpr HistoryEntry kInfoHistory[] = {{"7.0.0", "Takes several sections."}};
constexpr ArgSpec kLolwutArgs[] = {
    {.name = "version", .type = ArgType::kInteger, .flags = kOptional, .token = "VERSION"}};
constexpr std::string_view kModuleListTips[] = {"nondeterministic_output_order"};
constexpr CommandRow kModuleSubcommands[] = {
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .handler = ReplyWithHelp,
     .group = Group::kServer,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "list",
     .arity = 2,
     .flags = kAdmin | kNoScript,
     .handler = ModuleList,
     .group = Group::kServer,
     .since = "4.0.0",
     .complexity = "O(N) in the number of modules.",
     .summary = "Lists the loaded modules.",
     .tips = kModuleListTips},
};
constexpr ArgSpec kSlowlogGetArgs[] = {{.name = "count", .type = ArgType::kInteger, .flags = kOptional}};
constexpr std::string_view kSlowlogGetTips[] = {"request_policy:all_nodes", "nondeterministic_output"};
constexpr HistoryEntry kSlowlogGetHistory[] = {{"4.0.0", "Entries tell address and name of the client."}};
constexpr std::string_view kSlowlogLenTips[] = {"request_policy:all_nodes", "response_policy:agg_sum",
                                                "nondeterministic_output"};
constexpr std::string_view kSlowlogResetTips[] = {"request_policy:all_nodes", "response_policy:all_succeeded"};
constexpr CommandRow kSlowlogSubcommands[] = {
    {.name = "get",
     .arity = -2,
     .flags = kAdmin | kLoading | kStale,
     .handler = SlowlogGet,
     .group = Group::kServer,
     .since = "2.2.12",
     .complexity = "O(N) in the number of entries shown.",
     .summary = "Shows the newest entries of the slow log.",
     .args = kSlowlogGetArgs,
     .tips = kSlowlogGetTips,
     .history = kSlowlogGetHistory},
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .handler = ReplyWithHelp,
     .group = Group::kServer,
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "len",
     .arity = 2,
     .flags = kAdmin | kLoading | kStale,
     .handler = SlowlogLen,
     .group = Group::kServer,
     .since = "2.2.12",
     .complexity = "O(1)",
     .summary = "Counts the entries of the slow log.",
     .tips = kSlowlogLenTips},
    {.name = "reset",
     .arity = 2,
     .flags = kAdmin | kLoading | kStale,
     .handler = SlowlogReset,
     .group = Group::kServer,
     .since = "2.2.12",
     .complexity = "O(N) in the number of entries.",
     .summary = "Empties the slow log.",
     .tips = kSlowlogResetTips},
};
constexpr std::string_view kTimeTips[] = {"nondeterministic_output"};
constexpr CommandRow kRows[] = {
    {.name = "info",
     .arity = -1,
     .flags = kLoading | kStale,
     .acl = kAclDangerous,
     .handler = Info,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Reports figures and state of the server.",
     .args = kInfoArgs,
     .tips = kInfoTips,
     .history = kInfoHistory},
    {.name = "lolwut",
     .arity = -1,
     .flags = kReadOnly | kFast,
     .handler = Lolwut,
     .group = Group::kServer,
     .since = "5.0.0",
     .summary = "Shows a picture and the version.",
     .args = kLolwutArgs},
    {.name = "module",
     .arity = -2,
     .group = Group::kServer,
     .since = "4.0.0",
     .complexity = "Depends on the subcommand.",
     .summary = "Commands about modules.",
     .subcommands = kModuleSubcommands},
    {.name = "slowlog",
     .arity = -2,
     .group = Group::kServer,
     .since = "2.2.12",
     .complexity = "Depends on the subcommand.",
     .summary = "Commands about the log of slow commands.",
     .subcommands = kSlowlogSubcommands},
    {.name = "time",
     .arity = 1,
     .flags = kLoading | kStale | kFast,
     .handler = Time,
     .group = Group::kServer,
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Tells the time of the server.",
     .tips = kTimeTips},
};

}  // namespace

std::span<const CommandRow> ServerCommands() { return kRows; }

}  // namespace tessera
