#include "persistence/crc64.h"

#include <array>
#include <bit>
#include <cstring>

namespace tessera::persistence {
namespace {

constexpr uint64_t kReflectedPolynomial = 0x95ac9329ac4bc9b5;  // bits of 0xad93d23594c935a9 in reverse

// tables[k][b]: what byte b contributes when k further bytes follow it.
using Tables = std::array<std::array<uint64_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint64_t byte = 0; byte < 256; ++byte) {
    uint64_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kReflectedPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      uint64_t before = tables[k - 1][byte];
      tables[k][byte] = tables[0][before & 0xff] ^ (before >> 8);
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

static_assert(std::endian::native == std::endian::little, "the eight-byte step reads words in memory order");

}  // namespace

uint64_t Crc64(uint64_t crc, std::string_view bytes) {
  const char* next = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; next += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, next, 8);
    crc ^= word;
    crc = kTables[7][crc & 0xff] ^ kTables[6][(crc >> 8) & 0xff] ^ kTables[5][(crc >> 16) & 0xff] ^
          kTables[4][(crc >> 24) & 0xff] ^ kTables[3][(crc >> 32) & 0xff] ^ kTables[2][(crc >> 40) & 0xff] ^
          kTables[1][(crc >> 48) & 0xff] ^ kTables[0][crc >> 56];
  }
  for (; left > 0; ++next, --left) crc = kTables[0][(crc ^ static_cast<uint8_t>(*next)) & 0xff] ^ (crc >> 8);
  return crc;
}

}  // namespace tessera::persistence
