// INFO, rendered from the metrics table.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "server/clock.h"
#include "server/services.h"

namespace tessera {

// `sections`: names in any case, with "default", "all" and "everything"; none means default.
std::string RenderInfo(const Services& services, Now now, std::span<const std::string_view> sections);

// 40 hexadecimal digits, chosen when the process first asks.
const std::string& RunId();

}  // namespace tessera
