// Redis's glob patterns, as KEYS, SCAN MATCH, CONFIG GET and PSUBSCRIBE use them:
//   *  any run of bytes     ?  any byte     [abc] [a-z] [^a-z]  one byte of a class, \ escaping within     \x  x itself
// Anything malformed still matches something, by the same rules as in Redis: an unclosed class ends with the pattern.
#pragma once

#include <cstdint>
#include <string_view>

namespace tessera::protocol {

enum class GlobCase : uint8_t { kSensitive, kInsensitive };

// Whether the whole of `text` matches. Time is bounded by the product of the lengths, whatever the pattern.
[[nodiscard]] bool GlobMatch(std::string_view pattern, std::string_view text,
                             GlobCase match_case = GlobCase::kSensitive);

// Whether the pattern is plain text, which can only match itself.
[[nodiscard]] bool IsLiteralGlob(std::string_view pattern);

}  // namespace tessera::protocol
