// Field expiry and replicas that do not know it. Redis up to 7.2 refuses a stream's HPEXPIREAT, and with it the whole
// transaction around it, and a disk-based image with such a hash ends its process. A replica that knows it says so
// (REPLCONF capa tessera-field-expiry, which others ignore). To the rest a field lives for ever until our HDEL, which is
// in the stream anyway when a field runs out: as long as they follow us they hold what we hold.
#pragma once

#include <string>
#include <string_view>

namespace tessera {

inline constexpr std::string_view kFieldExpiryCapability = "tessera-field-expiry";

// True when the commands in `stream` (whole ones) may set or clear expiries of fields.
bool MayTouchFieldExpiry(std::string_view stream);

// The same number of bytes, with a PING in place of each such command: offsets stay what they are. What is not a whole
// command is left alone.
std::string WithoutFieldExpiry(std::string_view stream);

}  // namespace tessera
