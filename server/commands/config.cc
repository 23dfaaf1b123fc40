// CONFIG: the options themselves, their texts and their rewriting are in server/config/.
#include "server/commands/context.h"
#include "server/commands/guard.h"
#include "server/commands/help.h"
#include "server/commands/table.h"
#include "server/config/options.h"
#include "server/durability/durability.h"
#include "server/eviction.h"
#include "server/lazy_free.h"
#include "server/log.h"
#include "server/stats.h"

namespace tessera {
namespace {

void ConfigGet(CommandContext& ctx) {
  const config::Options::Pairs found = ctx.services.options.Get(ctx.argv.subspan(2));
  ctx.reply.Map(static_cast<int64_t>(found.size()));
  for (const auto& [name, value] : found) {
    ctx.reply.Bulk(name);
    ctx.reply.Bulk(value);
  }
}

void ConfigSet(CommandContext& ctx) {
  if (ctx.argv.size() % 2 != 0) return ctx.reply.Error(kSyntaxError);
  for (size_t i = 2; i + 1 < ctx.argv.size(); i += 2)
    if (config::Options::IsSensitive(ctx.argv[i])) ctx.HideArgument(i + 1);
  const config::Options::Caller caller{.local = IsLocal(ctx.session), .loading = ctx.services.durability.loading()};
  const std::string refusal = ctx.services.options.Set(ctx.argv.subspan(2), caller);
  if (!refusal.empty()) return ctx.reply.Error(refusal);
  ctx.reply.Ok();
}

void ConfigRewrite(CommandContext& ctx) {
  const std::string refusal = ctx.services.options.Rewrite();
  if (!refusal.empty()) {
    log::Warning("CONFIG REWRITE failed: {}", refusal);
    return ctx.reply.Error(refusal);
  }
  log::Notice("CONFIG REWRITE executed with success.");
  ctx.reply.Ok();
}

void ConfigResetstat(CommandContext& ctx) {
  ctx.services.stats.Reset();
  ctx.services.stats.freed_keys_at_reset = ctx.keyspace.freed_keys();
  if (ctx.services.lazy_free != nullptr) ctx.services.lazy_free->ResetCount();
  if (ctx.services.eviction != nullptr) ctx.services.eviction->ResetFigures();
  ctx.reply.Ok();
}

constexpr ArgSpec kConfigGetParameterArgs[] = {{.name = "parameter"}};
constexpr ArgSpec kConfigGetArgs[] = {
    {.name = "parameter", .type = ArgType::kBlock, .flags = kMultiple, .children = kConfigGetParameterArgs}};
constexpr HistoryEntry kConfigGetHistory[] = {{"7.0.0", "Takes several patterns."}};
constexpr ArgSpec kConfigSetParameterValueArgs[] = {{.name = "parameter"}, {.name = "value"}};
constexpr ArgSpec kConfigSetArgs[] = {
    {.name = "parameter_value", .type = ArgType::kBlock, .flags = kMultiple, .children = kConfigSetParameterValueArgs}};
constexpr std::string_view kConfigSetTips[] = {"request_policy:all_nodes", "response_policy:all_succeeded"};
constexpr HistoryEntry kConfigSetHistory[] = {{"7.0.0", "Takes several options."}};
constexpr CommandRow kConfigSubcommands[] = {
    {.name = "get",
     .arity = -3,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = ConfigGet,
     .group = Group::kServer,
     .since = "2.0.0",
     .complexity = "O(N) in the number of options.",
     .summary = "Shows options and their values.",
     .args = kConfigGetArgs,
     .history = kConfigGetHistory},
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .handler = ReplyWithHelp,
     .group = Group::kServer,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "resetstat",
     .arity = 2,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = ConfigResetstat,
     .group = Group::kServer,
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Sets the statistics of INFO back."},
    {.name = "rewrite",
     .arity = 2,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = ConfigRewrite,
     .group = Group::kServer,
     .since = "2.8.0",
     .complexity = "O(1)",
     .summary = "Writes the options in effect to the configuration file."},
    {.name = "set",
     .arity = -4,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = ConfigSet,
     .group = Group::kServer,
     .since = "2.0.0",
     .complexity = "O(N) in the number of options.",
     .summary = "Changes options while the server runs.",
     .args = kConfigSetArgs,
     .tips = kConfigSetTips,
     .history = kConfigSetHistory},
};
constexpr CommandRow kRows[] = {
    {.name = "config",
     .arity = -2,
     .group = Group::kServer,
     .since = "2.0.0",
     .complexity = "Depends on the subcommand.",
     .summary = "Commands about the configuration.",
     .subcommands = kConfigSubcommands},
};

}  // namespace

std::span<const CommandRow> ConfigCommands() { return kRows; }

}  // namespace tessera
