// Which slot a key belongs to: CRC16/XMODEM of the key, or of its {hash tag}, modulo 16384.
// Source: the Redis Cluster specification, "Key distribution model" and "Hash tags".
#pragma once

#include <string_view>

#include "cluster/types.h"

namespace tessera::cluster {

uint16_t Crc16(std::string_view bytes);
Slot SlotOf(std::string_view key);

}  // namespace tessera::cluster
