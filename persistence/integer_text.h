// Texts that are exactly the decimal form of a number, which packed formats store as that number.
#pragma once

#include <charconv>
#include <concepts>
#include <optional>
#include <string_view>

namespace tessera::persistence {

template <std::signed_integral Integer>
std::optional<Integer> ExactInteger(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  Integer number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  // from_chars also takes "007" and "-0", which would come back changed.
  bool zero_first = text[0] == '0' || (text[0] == '-' && text[1] == '0');
  if (zero_first && text != "0") return std::nullopt;
  return number;
}

}  // namespace tessera::persistence
