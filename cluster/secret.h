// What the Tessera nodes of one cluster know and nobody else does, so that a node which comes back under another
// address can prove that it belongs here. Values only.
//
// The code is SipHash-2-4 with a 128-bit result (Aumasson and Bernstein, 2012): a keyed hash made for short messages.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cluster/types.h"

namespace tessera::cluster {

struct Secret {
  // Of two secrets the older one is kept, so that a node that joins takes over the cluster's.
  Millis created_ms = 0;
  std::array<uint8_t, 16> key{};
  auto operator<=>(const Secret&) const = default;

  std::string Text() const;  // "created key", the key in hex
  static std::optional<Secret> Parse(std::string_view text);
};

inline constexpr size_t kNonceBytes = 16;
inline constexpr size_t kCodeBytes = 16;

std::string AuthenticationCode(const Secret& secret, std::string_view message);

}  // namespace tessera::cluster
