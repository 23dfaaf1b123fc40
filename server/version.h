// What this server calls itself. Clients and tools switch features on the Redis version.
#pragma once

#include <string_view>

namespace tessera {

inline constexpr std::string_view kRedisVersion = "7.2.4";
inline constexpr std::string_view kTesseraVersion = TESSERA_VERSION;

}  // namespace tessera
