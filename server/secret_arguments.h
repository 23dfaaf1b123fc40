// Which arguments of a command are secret, by position: SLOWLOG and MONITOR blot them out. Those from 63 on share a bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tessera {

class SecretArguments {
 public:
  void Add(size_t index) { bits_ |= Bit(index); }
  bool contains(size_t index) const { return (bits_ & Bit(index)) != 0; }

 private:
  static uint64_t Bit(size_t index) { return uint64_t{1} << (index < 63 ? index : 63); }
  uint64_t bits_ = 0;
};

inline constexpr std::string_view kBlottedOut = "(redacted)";

}  // namespace tessera
