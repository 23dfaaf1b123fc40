// LATENCY: spikes of events as LatencyMonitor keeps them, and HISTOGRAM from the durations of all commands.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "server/commands/context.h"
#include "server/commands/help.h"
#include "server/commands/latency_text.h"
#include "server/commands/table.h"
#include "server/config/config.h"
#include "server/latency_monitor.h"
#include "server/stats.h"

namespace tessera {
namespace {

using Event = LatencyMonitor::Event;

const Event* FindEvent(CommandContext& ctx, std::string_view name) {
  const LatencyMonitor* monitor = ctx.services.latency;
  if (monitor == nullptr) return nullptr;
  const auto it = monitor->events().find(name);
  return it == monitor->events().end() ? nullptr : &it->second;
}

void LatencyLatest(CommandContext& ctx) {
  const auto at = ctx.reply.Defer();
  int64_t count = 0;
  if (ctx.services.latency != nullptr) {
    for (const auto& [name, event] : ctx.services.latency->events()) {
      ctx.reply.Array(4);
      ctx.reply.Bulk(name);
      ctx.reply.Integer(event.latest().unix_s);
      ctx.reply.Integer(event.latest().ms);
      ctx.reply.Integer(event.worst_ms);
      ++count;
    }
  }
  ctx.reply.EndArray(at, count);
}

void LatencyHistory(CommandContext& ctx) {
  const Event* event = FindEvent(ctx, ctx.argv[2]);
  if (event == nullptr) return ctx.reply.Array(0);
  const auto at = ctx.reply.Defer();
  int64_t count = 0;
  event->ForEach([&](const LatencyMonitor::Spike& spike) {
    ctx.reply.Array(2);
    ctx.reply.Integer(spike.unix_s);
    ctx.reply.Integer(spike.ms);
    ++count;
  });
  ctx.reply.EndArray(at, count);
}

void LatencyReset(CommandContext& ctx) {
  LatencyMonitor* monitor = ctx.services.latency;
  if (monitor == nullptr) return ctx.reply.Integer(0);
  int64_t count = 0;
  if (ctx.argv.size() == 2) {
    count = static_cast<int64_t>(monitor->events().size());
    monitor->ResetAll();
  } else {
    for (std::string_view name : ctx.argv.subspan(2)) count += monitor->Reset(name) ? 1 : 0;
  }
  ctx.reply.Integer(count);
}

void LatencyGraph(CommandContext& ctx) {
  const Event* event = FindEvent(ctx, ctx.argv[2]);
  if (event == nullptr) return ctx.reply.Error(fmt::format("ERR No samples available for event '{}'", ctx.argv[2]));
  ctx.reply.Verbatim("txt", DrawSpikes(ctx.argv[2], *event, ctx.now.unix_s()));
}

void LatencyDoctor(CommandContext& ctx) {
  const LatencyMonitor* monitor = ctx.services.latency;
  if (monitor == nullptr) return ctx.reply.Verbatim("txt", "Nothing is watched here.\n");
  ctx.reply.Verbatim("txt", DiagnoseLatency(*monitor, ctx.services.config, ctx.now.unix_s()));
}

// What Redis writes for a bucket below 1024 ns << i: the largest duration its histogram, exact to 1 in 128, cannot tell
// from that.
int64_t BucketTopUs(size_t i) {
  const int64_t ns = int64_t{1024} << i;
  return (ns + ns / 128 - 1) / 1000;
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
    ctx.reply.Integer(BucketTopUs(i));
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
