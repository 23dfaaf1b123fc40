// LZF compression of single strings, as RDB uses it (liblzf).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tessera::persistence {

// No input becomes more than this many times longer: the densest token turns 3 bytes into 264.
inline constexpr size_t kLzfExpansionMax = 88;

// Appends the compressed form to `out` and returns its length; 0 (and nothing appended) unless it saves four bytes.
size_t LzfCompress(std::string_view bytes, std::string* out);

// Replaces `out` by exactly `length` decompressed bytes. False when the input is broken or the length is one that input
// of this size cannot have, which is found before memory is taken for it.
bool LzfDecompress(std::string_view compressed, size_t length, std::string* out);

}  // namespace tessera::persistence
