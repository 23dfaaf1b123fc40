#include "server/commands/latency_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

namespace tessera {
namespace {

constexpr size_t kWidth = 80;
constexpr size_t kRows = 4;

// Two digits and a unit at most: "7s", "12m", "3h", "5d".
std::string Age(int64_t seconds) {
  seconds = std::max<int64_t>(seconds, 0);
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m", seconds / 60);
  if (seconds < 86400) return fmt::format("{}h", seconds / 3600);
  return fmt::format("{}d", seconds / 86400);
}

struct Summary {
  size_t count = 0;
  double average = 0, deviation = 0, period_s = 0;
};

Summary Summarise(const LatencyMonitor::Event& event, int64_t now_s) {
  std::vector<LatencyMonitor::Spike> spikes;
  event.ForEach([&](const LatencyMonitor::Spike& spike) { spikes.push_back(spike); });
  Summary summary{.count = spikes.size()};
  if (spikes.empty()) return summary;
  const auto count = static_cast<double>(spikes.size());
  for (const auto& spike : spikes) summary.average += spike.ms / count;
  for (const auto& spike : spikes) summary.deviation += std::abs(spike.ms - summary.average) / count;
  summary.period_s = static_cast<double>(now_s - spikes.front().unix_s) / count;
  return summary;
}

// What usually lies behind an event, and what helps.
struct Advice {
  std::string_view event_prefix;
  std::string_view text;
};
constexpr Advice kAdvice[] = {
    {"command", "A command took long on the loop: SLOWLOG GET names it. KEYS, SORT and reads of whole large values are the\n"
                "  usual ones; SCAN and its kin do the same in steps."},
    {"fast-command", "Commands that are always fast took long: the machine took the processor or the memory away (other\n"
                     "  processes, a hypervisor, swapping). Compare with redis-cli --intrinsic-latency."},
    {"expire-cycle", "Very many keys expired at the same time: spread their times to live."},
    {"eviction", "maxmemory is reached and much has to go at once: a lower maxmemory-eviction-tenacity makes the steps\n"
                 "  smaller."},
    {"aof-fsync", "The disk is slow to sync: appendfsync everysec syncs once a second instead of at each write."},
    {"aof-write", "The disk is slow to take the append-only file: another program may be writing to it, or a snapshot;\n"
                  "  no-appendfsync-on-rewrite yes keeps out of the way of those."},
    {"aof-rename", "Renaming and removing files takes long on this file system."},
    {"rdb-unlink-temp-file", "Removing a large file takes long on this file system."},
};

}  // namespace

std::string DrawSpikes(std::string_view name, const LatencyMonitor::Event& event, int64_t now_s) {
  struct Bar {
    uint32_t ms;
    std::string label;
  };
  std::vector<Bar> bars;
  uint32_t low = UINT32_MAX, high = 0;
  event.ForEach([&](const LatencyMonitor::Spike& spike) {
    bars.push_back({spike.ms, Age(now_s - spike.unix_s)});
    low = std::min(low, spike.ms);
    high = std::max(high, spike.ms);
  });
  std::string text = fmt::format("{} - high {} ms, low {} ms (all time high {} ms)\n", name, high, low, event.worst_ms);
  text.append(kWidth, '-');
  text += '\n';
  // Each row stands for a quarter of the range, in three steps; below its top a bar is a line.
  constexpr char kSteps[] = {'_', 'o', '#'};
  constexpr int kStepCount = static_cast<int>(std::size(kSteps));
  const double range = high > low ? high - low : 1;
  const size_t label_rows =
      bars.empty() ? 0 : std::max_element(bars.begin(), bars.end(), [](const Bar& a, const Bar& b) {
                           return a.label.size() < b.label.size();
                         })->label.size();
  for (size_t from = 0; from < bars.size(); from += kWidth) {
    const auto first = bars.begin() + static_cast<ptrdiff_t>(from);
    const auto last = bars.begin() + static_cast<ptrdiff_t>(std::min(from + kWidth, bars.size()));
    if (from != 0) text += '\n';
    for (size_t row = kRows; row-- > 0;) {
      for (auto bar = first; bar != last; ++bar) {
        const int step = static_cast<int>((bar->ms - low) / range * (kRows * kStepCount - 1));
        const int here = step - static_cast<int>(row) * kStepCount;
        text += here < 0 ? ' ' : here < kStepCount ? kSteps[here] : '|';
      }
      text += '\n';
    }
    text.append(static_cast<size_t>(last - first), ' ');
    text += '\n';
    for (size_t row = 0; row < label_rows; ++row) {
      for (auto bar = first; bar != last; ++bar) text += row < bar->label.size() ? bar->label[row] : ' ';
      text += '\n';
    }
  }
  return text;
}

std::string DiagnoseLatency(const LatencyMonitor& monitor, const config::Config& config, int64_t now_s) {
  if (!monitor.on() && monitor.events().empty())
    return "The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> makes it note what holds the\n"
           "server for at least that long. LATENCY HISTOGRAM shows how long commands took in any case.\n";
  if (monitor.events().empty())
    return fmt::format("Nothing held the server for {} ms or longer.\n", config.latency_monitor_threshold);
  std::string text = "The server was held up. What was seen, by kind:\n\n";
  std::string advice;
  int number = 0;
  for (const auto& [name, event] : monitor.events()) {
    const Summary summary = Summarise(event, now_s);
    text += fmt::format("{}. {}: {} latency spikes (average {:.0f}ms, mean deviation {:.0f}ms, period {:.2f} sec). Worst "
                        "all time event {}ms.\n",
                        ++number, name, summary.count, summary.average, summary.deviation, summary.period_s,
                        event.worst_ms);
    for (const Advice& known : kAdvice)
      if (std::string_view(name).starts_with(known.event_prefix) && advice.find(known.text) == std::string::npos)
        advice += fmt::format("- {}\n", known.text);
  }
  const int64_t threshold_us = config.latency_monitor_threshold * 1000;
  if (monitor.events().contains("command") && (config.slowlog_log_slower_than < 0 ||
                                               (threshold_us != 0 && config.slowlog_log_slower_than > threshold_us)))
    advice += fmt::format("- The slow log does not see all of it: CONFIG SET slowlog-log-slower-than {}\n",
                          std::max<int64_t>(threshold_us, 1000));
  if (!advice.empty()) text += "\nWhat may help:\n\n" + advice;
  return text;
}

}  // namespace tessera
