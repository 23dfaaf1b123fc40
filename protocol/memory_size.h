// Amounts of memory as redis.conf writes them: 4096, 100b, 1k (1000), 1kb (1024), 64mb, 1gb, in any case.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tessera::protocol {

// Bytes. No value for a sign, an unknown unit, or a unit that leads beyond 64 bits; a number that alone is beyond them
// counts as the largest there is, and no number as 0, as in Redis.
[[nodiscard]] std::optional<uint64_t> ParseMemorySize(std::string_view text);

// The shortest exact form: "1gb", "64mb", "3kb" or a plain number.
[[nodiscard]] std::string MemorySizeText(uint64_t bytes);

}  // namespace tessera::protocol
