#include "cluster/slot.h"

namespace tessera::cluster {
namespace {

// Four tables: the CRC of a byte followed by 0..3 zero bytes, so that four bytes are folded per step.
struct Crc16Tables {
  uint16_t t[4][256];
  constexpr Crc16Tables() : t() {
    for (int i = 0; i < 256; ++i) {
      uint16_t crc = static_cast<uint16_t>(i << 8);
      for (int bit = 0; bit < 8; ++bit) crc = static_cast<uint16_t>((crc << 1) ^ ((crc & 0x8000) ? 0x1021 : 0));
      t[0][i] = crc;
    }
    for (int k = 1; k < 4; ++k)
      for (int i = 0; i < 256; ++i) {
        uint16_t prev = t[k - 1][i];
        t[k][i] = static_cast<uint16_t>((prev << 8) ^ t[0][prev >> 8]);
      }
  }
};
constexpr Crc16Tables kTables;

}  // namespace

uint16_t Crc16(std::string_view bytes) {
  uint16_t crc = 0;
  const auto* p = reinterpret_cast<const unsigned char*>(bytes.data());
  size_t n = bytes.size();
  while (n >= 4) {
    crc = kTables.t[3][p[0] ^ (crc >> 8)] ^ kTables.t[2][p[1] ^ (crc & 0xff)] ^ kTables.t[1][p[2]] ^ kTables.t[0][p[3]];
    p += 4;
    n -= 4;
  }
  while (n--) crc = static_cast<uint16_t>((crc << 8) ^ kTables.t[0][(crc >> 8) ^ *p++]);
  return crc;
}

Slot SlotOf(std::string_view key) {
  if (size_t open = key.find('{'); open != std::string_view::npos) {
    size_t close = key.find('}', open + 1);
    if (close != std::string_view::npos && close > open + 1) key = key.substr(open + 1, close - open - 1);
  }
  return Crc16(key) & (kSlotCount - 1);
}

}  // namespace tessera::cluster
