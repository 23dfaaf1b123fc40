// Arguments that the GEO commands share. Each reads, or replies and returns false.
#pragma once

#include <optional>

#include "server/commands/sorted_sets.h"
#include "server/geohash.h"

namespace tessera {

bool ReadPoint(CommandContext& ctx, std::string_view longitude, std::string_view latitude, GeoPoint& point);
// Metres per unit.
bool ReadUnit(CommandContext& ctx, std::string_view text, double& meters);

// A longitude and a latitude, as clients expect them.
void ReplyPoint(CommandContext& ctx, const GeoPoint& point);
void ReplyDistance(CommandContext& ctx, double distance);

}  // namespace tessera
