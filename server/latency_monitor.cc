#include "server/latency_monitor.h"

#include <algorithm>

#include "server/clock.h"

namespace tessera {

void LatencyMonitor::Add(std::string_view name, int64_t duration_ms) {
  auto it = events_.find(name);
  if (it == events_.end()) it = events_.emplace(name, Event()).first;
  Event& event = it->second;
  const int64_t now_s = ReadClock().unix_s();
  const auto ms = static_cast<uint32_t>(std::min<int64_t>(duration_ms, UINT32_MAX));
  event.worst_ms = std::max(event.worst_ms, ms);
  // Of one second the worst is enough.
  Spike& latest = event.spikes[(event.next + Event::kSpikes - 1) % Event::kSpikes];
  if (latest.unix_s == now_s) {
    latest.ms = std::max(latest.ms, ms);
    return;
  }
  event.spikes[event.next] = {now_s, ms};
  event.next = (event.next + 1) % Event::kSpikes;
}

bool LatencyMonitor::Reset(std::string_view event) {
  const auto it = events_.find(event);
  if (it == events_.end()) return false;
  events_.erase(it);
  return true;
}

}  // namespace tessera
