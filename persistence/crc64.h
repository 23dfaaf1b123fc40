// CRC-64/Jones as RDB files and DUMP payloads use it: reflected, polynomial 0xad93d23594c935a9, no initial value and no
// final inversion. Crc64(0, "123456789") is 0xe9c6d914c4b8d9ca.
#pragma once

#include <cstdint>
#include <string_view>

namespace tessera::persistence {

// Continues `crc` over `bytes`; start with 0.
uint64_t Crc64(uint64_t crc, std::string_view bytes);

}  // namespace tessera::persistence
