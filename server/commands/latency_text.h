// What LATENCY GRAPH and LATENCY DOCTOR say in plain text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/config/config.h"
#include "server/latency_monitor.h"

namespace tessera {

// A bar per spike, its age below it; the picture redis-cli users know.
std::string DrawSpikes(std::string_view name, const LatencyMonitor::Event& event, int64_t now_s);

// Statistics of each event and what to do about them.
std::string DiagnoseLatency(const LatencyMonitor& monitor, const config::Config& config, int64_t now_s);

}  // namespace tessera
