// Remembers when something held the loop for longer than latency-monitor-threshold: per kind of event the last 160
// spikes, at most one a second, and the worst ever. LATENCY shows them. Loop thread.
// Names of events as in Redis: "command", "fast-command", "expire-cycle", "eviction-cycle", "aof-write" ...
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "server/config/config.h"

namespace tessera {

class LatencyMonitor {
 public:
  struct Spike {
    int64_t unix_s = 0;  // 0: none
    uint32_t ms = 0;
  };
  struct Event {
    static constexpr size_t kSpikes = 160;
    std::array<Spike, kSpikes> spikes{};
    size_t next = 0;  // where the next one goes
    uint32_t worst_ms = 0;
    const Spike& latest() const { return spikes[(next + kSpikes - 1) % kSpikes]; }
    // Calls with the spikes from the oldest to the latest.
    template <typename Visit>
    void ForEach(Visit visit) const {
      for (size_t i = 0; i < kSpikes; ++i)
        if (const Spike& spike = spikes[(next + i) % kSpikes]; spike.unix_s != 0) visit(spike);
    }
  };

  explicit LatencyMonitor(const config::Config& config) : config_(config) {}

  bool on() const { return config_.latency_monitor_threshold != 0; }
  // Notes the event if it took long enough.
  void Offer(std::string_view event, int64_t duration_us) {
    if (on() && duration_us / 1000 >= config_.latency_monitor_threshold) Add(event, duration_us / 1000);
  }
  const std::map<std::string, Event, std::less<>>& events() const { return events_; }
  bool Reset(std::string_view event);
  void ResetAll() { events_.clear(); }

 private:
  void Add(std::string_view event, int64_t ms);

  const config::Config& config_;
  std::map<std::string, Event, std::less<>> events_;
};

}  // namespace tessera
