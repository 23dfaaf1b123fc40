// The metrics table as Prometheus reads it: text exposition format 0.0.4. Pure function of the table.
#pragma once

#include <string>
#include <string_view>

#include "server/clock.h"
#include "server/services.h"

namespace tessera {

inline constexpr std::string_view kPrometheusContentType = "text/plain; version=0.0.4; charset=utf-8";

std::string RenderPrometheus(const Services& services, Now now);

}  // namespace tessera
