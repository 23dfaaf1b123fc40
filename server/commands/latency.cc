// LATENCY: HISTOGRAM from the durations of all commands. Spikes of single events are not recorded, so the other
// subcommands answer as a server whose latency monitor saw nothing.
#include <fmt/core.h>

#include "server/commands/context.h"
#include "server/commands/help.h"
#include "server/commands/table.h"
#include "server/stats.h"

namespace tessera {
namespace {

void LatencyLatest(CommandContext& ctx) { ctx.reply.Array(0); }
void LatencyHistory(CommandContext& ctx) { ctx.reply.Array(0); }
void LatencyReset(CommandContext& ctx) { ctx.reply.Integer(0); }

void LatencyGraph(CommandContext& ctx) {
  ctx.reply.Error(fmt::format("ERR No samples available for event '{}'", ctx.argv[2]));
}

void LatencyDoctor(CommandContext& ctx) {
  ctx.reply.Verbatim("txt", "No latency spike was recorded. LATENCY HISTOGRAM shows how long commands took.\n");
}

void WriteHistogram(CommandContext& ctx, const CommandRow& row, const Stats::PerCommand& figures) {
  ctx.reply.Bulk(ctx.services.commands.FullName(row));
  ctx.reply.Map(2);
  ctx.reply.Bulk("calls");
  ctx.reply.Integer(static_cast<int64_t>(figures.calls));
  ctx.reply.Bulk("histogram_usec");
  const auto at = ctx.reply.Defer();
  int64_t buckets = 0, calls = 0;
  for (size_t i = 0; i < figures.latency_log2.size() - 1; ++i) {
    if (figures.latency_log2[i] == 0) continue;
    calls += figures.latency_log2[i];
    ctx.reply.Integer(int64_t{1} << i);
    ctx.reply.Integer(calls);
    ++buckets;
  }
  ctx.reply.EndMap(at, buckets);
}

void LatencyHistogram(CommandContext& ctx) {
  const auto& per_command = ctx.services.stats.per_command;
  const auto at = ctx.reply.Defer();
  int64_t count = 0;
  auto offer = [&](const CommandRow& row) {
    auto it = per_command.find(&row);
    if (it == per_command.end() || it->second.calls == 0) return;
    WriteHistogram(ctx, row, it->second);
    ++count;
  };
  auto offer_all = [&](const CommandRow& row) {
    offer(row);
    for (const CommandRow& sub : row.subcommands) offer(sub);
  };
  if (ctx.argv.size() == 2) {
    for (const CommandRow* row : ctx.services.commands.rows()) offer_all(*row);
  } else {
    for (std::string_view name : ctx.argv.subspan(2)) {
      const size_t bar = name.find('|');
      const CommandRow* row = ctx.services.commands.FindTop(name.substr(0, bar));
      if (row == nullptr) continue;
      if (bar == std::string_view::npos) {
        offer_all(*row);
        continue;
      }
      for (const CommandRow& sub : row->subcommands)
        if (CommandTable::SameName(sub.name, name.substr(bar + 1))) offer(sub);
    }
  }
  ctx.reply.EndMap(at, count);
}

constexpr std::string_view kLatencyDoctorTips[] = {"nondeterministic_output", "request_policy:all_nodes",
                                                   "response_policy:special"};
constexpr ArgSpec kLatencyGraphArgs[] = {{.name = "event"}};
constexpr ArgSpec kLatencyHistogramArgs[] = {{.name = "command", .flags = kOptional | kMultiple}};
constexpr ArgSpec kLatencyResetArgs[] = {{.name = "event", .flags = kOptional | kMultiple}};
constexpr std::string_view kLatencyResetTips[] = {"request_policy:all_nodes", "response_policy:all_succeeded"};
constexpr CommandRow kLatencySubcommands[] = {
    {.name = "doctor",
     .arity = 2,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = LatencyDoctor,
     .group = Group::kServer,
     .since = "2.8.13",
     .complexity = "O(1)",
     .summary = "Explains the latency spikes that were seen.",
     .tips = kLatencyDoctorTips},
    {.name = "graph",
     .arity = 3,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = LatencyGraph,
     .group = Group::kServer,
     .since = "2.8.13",
     .complexity = "O(1)",
     .summary = "Draws the spikes of an event.",
     .args = kLatencyGraphArgs,
     .tips = kLatencyDoctorTips},
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .handler = ReplyWithHelp,
     .group = Group::kServer,
     .since = "2.8.13",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "histogram",
     .arity = -2,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = LatencyHistogram,
     .group = Group::kServer,
     .since = "7.0.0",
     .complexity = "O(N) in the number of commands shown.",
     .summary = "Shows how the durations of commands are distributed.",
     .args = kLatencyHistogramArgs,
     .tips = kLatencyDoctorTips},
    {.name = "history",
     .arity = 3,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = LatencyHistory,
     .group = Group::kServer,
     .since = "2.8.13",
     .complexity = "O(1)",
     .summary = "Shows the spikes of an event.",
     .args = kLatencyGraphArgs,
     .tips = kLatencyDoctorTips},
    {.name = "latest",
     .arity = 2,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = LatencyLatest,
     .group = Group::kServer,
     .since = "2.8.13",
     .complexity = "O(1)",
     .summary = "Shows the latest spike of each event.",
     .tips = kLatencyDoctorTips},
    {.name = "reset",
     .arity = -2,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = LatencyReset,
     .group = Group::kServer,
     .since = "2.8.13",
     .complexity = "O(1)",
     .summary = "Forgets the spikes of events.",
     .args = kLatencyResetArgs,
     .tips = kLatencyResetTips},
};
constexpr CommandRow kRows[] = {
    {.name = "latency",
     .arity = -2,
     .group = Group::kServer,
     .since = "2.8.13",
     .complexity = "Depends on the subcommand.",
     .summary = "Commands that diagnose latency.",
     .subcommands = kLatencySubcommands},
};

}  // namespace

std::span<const CommandRow> LatencyCommands() { return kRows; }

}  // namespace tessera
