// Bytes that several tests need.
#pragma once

#include <string>
#include <string_view>

namespace tessera::persistence {

// "0a ff" as two bytes.
inline std::string Bytes(std::string_view hex) {
  std::string out;
  std::string digits;
  for (char c : hex) {
    if (c == ' ') continue;
    digits += c;
    if (digits.size() < 2) continue;
    out += static_cast<char>(std::stoi(digits, nullptr, 16));
    digits.clear();
  }
  return out;
}

// dump.rdb of redis-server 7.0.15 with seven strings: empty, LZF, three integer widths, a number too wide, an expiry.
inline std::string RedisFile() {
  return Bytes(
      "52454449533030313 0fa0972656469732d76657206372e302e3135fa0a72656469732d62697473c040fa056374696d65"
      "c259db036bfa08757365642d6d656dc230180f00fa08616f662d62617365c000"
      "fe00fb07010001650000017ac309406401 6161e0570001616100026938c0fb"
      "0003693332c290eefeff0003693136c12c0100036936340a35303030303030303030"
      "fc7bd8c32cbb0300000001 6b0176ff245135637b8b79b8");
}

}  // namespace tessera::persistence
