#include "protocol/args.h"

#include <fmt/core.h>

#include "protocol/number.h"

namespace tessera::protocol {
namespace {

constexpr char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (Lower(a[i]) != Lower(b[i])) return false;
  }
  return true;
}

int64_t ArgReader::NextIn(int64_t min, int64_t max, std::string_view error) {
  const std::string_view text = Next();
  if (!ok()) return 0;
  const auto value = ParseInt64(text);
  if (!value) {
    Fail(error.empty() ? kNotAnInteger : error);
    return 0;
  }
  if (*value < min || *value > max) {
    Fail(error.empty() ? kOutOfRange : error);
    return 0;
  }
  return *value;
}

uint64_t ArgReader::NextUint64(std::string_view error) {
  const std::string_view text = Next();
  if (!ok()) return 0;
  const auto value = ParseUint64(text);
  if (!value) Fail(error);
  return value.value_or(0);
}

int64_t ArgReader::NextIntBetween(int64_t min, int64_t max, std::string_view error) {
  const std::string_view text = Next();
  if (!ok()) return 0;
  const auto value = ParseInt64(text);
  if (!value) {
    Fail(error.empty() ? kNotAnInteger : error);
    return 0;
  }
  if (*value < min || *value > max) {
    Fail(error.empty() ? fmt::format("ERR value is out of range, value must between {} and {}", min, max)
                       : std::string(error));
    return 0;
  }
  return *value;
}

double ArgReader::NextDouble(std::string_view error) {
  const std::string_view text = Next();
  if (!ok()) return 0;
  const auto value = ParseDouble(text);
  if (!value) Fail(error);
  return value.value_or(0);
}

}  // namespace tessera::protocol
