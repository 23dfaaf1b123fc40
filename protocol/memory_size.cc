#include "protocol/memory_size.h"

#include <charconv>

#include <fmt/core.h>

#include "protocol/args.h"

namespace tessera::protocol {
namespace {

struct Unit {
  std::string_view name;
  uint64_t bytes;
};

constexpr Unit kUnits[] = {{"", 1},
                           {"b", 1},
                           {"k", 1000},
                           {"kb", 1 << 10},
                           {"m", 1000 * 1000},
                           {"mb", 1 << 20},
                           {"g", 1000 * 1000 * 1000},
                           {"gb", 1 << 30}};

}  // namespace

std::optional<uint64_t> ParseMemorySize(std::string_view text) {
  uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc::result_out_of_range) number = UINT64_MAX;
  const std::string_view suffix(stop, static_cast<size_t>(end - stop));
  for (const Unit& unit : kUnits) {
    if (!EqualsIgnoreCase(suffix, unit.name)) continue;
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(number, unit.bytes, &bytes)) return std::nullopt;
    return bytes;
  }
  return std::nullopt;
}

std::string MemorySizeText(uint64_t bytes) {
  if (bytes != 0) {
    if (bytes % (1 << 30) == 0) return fmt::format("{}gb", bytes >> 30);
    if (bytes % (1 << 20) == 0) return fmt::format("{}mb", bytes >> 20);
    if (bytes % (1 << 10) == 0) return fmt::format("{}kb", bytes >> 10);
  }
  return fmt::format("{}", bytes);
}

}  // namespace tessera::protocol
