// Bits of long strings, by 64-bit words: counting, searching, combining. Bit 0 is the highest bit of the first byte, as
// Redis numbers them. Pure; positions and ranges are bits, ranges include both ends and must lie within the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tessera::store {

uint64_t CountBits(std::string_view bytes);
uint64_t CountBits(std::string_view bytes, uint64_t first, uint64_t last);

// Position of the first bit that is `wanted`.
std::optional<uint64_t> FindBit(std::string_view bytes, bool wanted, uint64_t first, uint64_t last);

enum class BitOperation : uint8_t { kAnd, kOr, kXor };
// target = target OP source, as if the shorter one went on with zeros. `source` is not longer than `target`.
void CombineBits(std::span<char> target, std::string_view source, BitOperation operation);
void InvertBits(std::span<char> bytes);

// `width` bits (1 to 64) from bit `offset` on, the first one the most significant; behind the end there are zeros.
uint64_t ReadBits(std::string_view bytes, uint64_t offset, unsigned width);
// The bits must lie within the bytes. Higher bits of `value` are ignored.
void WriteBits(std::span<char> bytes, uint64_t offset, unsigned width, uint64_t value);

}  // namespace tessera::store
