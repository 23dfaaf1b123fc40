#include "server/store/bits.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace tessera::store {
namespace {

using Wide = unsigned __int128;

uint64_t LoadWord(const char* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

uint8_t ByteAt(std::string_view bytes, uint64_t at) { return static_cast<uint8_t>(bytes[at]); }

// Four sums, so that the additions need not wait for each other.
template <typename Count>
[[gnu::always_inline]] inline uint64_t CountWords(const char* at, size_t size, Count count) {
  uint64_t sums[4] = {};
  for (; size >= 32; at += 32, size -= 32)
    for (int i = 0; i < 4; ++i) sums[i] += count(LoadWord(at + 8 * i));
  for (; size >= 8; at += 8, size -= 8) sums[0] += count(LoadWord(at));
  uint64_t rest = 0;
  std::memcpy(&rest, at, size);
  return sums[0] + sums[1] + sums[2] + sums[3] + count(rest);
}

#if defined(__x86_64__)
[[gnu::target("popcnt")]] uint64_t CountWithInstruction(const char* at, size_t size) {
  uint64_t sums[4] = {};
  for (; size >= 32; at += 32, size -= 32)
    for (int i = 0; i < 4; ++i) sums[i] += static_cast<uint64_t>(__builtin_popcountll(LoadWord(at + 8 * i)));
  for (; size >= 8; at += 8, size -= 8) sums[0] += static_cast<uint64_t>(__builtin_popcountll(LoadWord(at)));
  uint64_t rest = 0;
  std::memcpy(&rest, at, size);
  return sums[0] + sums[1] + sums[2] + sums[3] + static_cast<uint64_t>(__builtin_popcountll(rest));
}
#endif

// The bits of one byte from `first` to `last`, numbered from its highest.
uint8_t ByteMask(unsigned first, unsigned last) {
  return static_cast<uint8_t>((0xffu >> first) & (0xffu << (7 - last)));
}

template <typename Operation>
void Combine(char* target, const char* source, size_t size, Operation operation) {
  for (; size >= 32; target += 32, source += 32, size -= 32) {
    uint64_t words[4];
    for (int i = 0; i < 4; ++i) words[i] = operation(LoadWord(target + 8 * i), LoadWord(source + 8 * i));
    std::memcpy(target, words, sizeof(words));
  }
  uint64_t a = 0, b = 0;
  for (size_t part; size > 0; target += part, source += part, size -= part) {
    part = std::min<size_t>(size, 8);
    std::memcpy(&a, target, part);
    std::memcpy(&b, source, part);
    a = operation(a, b);
    std::memcpy(target, &a, part);
  }
}

}  // namespace

uint64_t CountBits(std::string_view bytes) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("popcnt");
  if (has_instruction) return CountWithInstruction(bytes.data(), bytes.size());
#endif
  return CountWords(bytes.data(), bytes.size(),
                    [](uint64_t word) { return static_cast<uint64_t>(std::popcount(word)); });
}

uint64_t CountBits(std::string_view bytes, uint64_t first, uint64_t last) {
  const uint64_t first_byte = first / 8, last_byte = last / 8;
  if (first_byte == last_byte)
    return static_cast<uint64_t>(std::popcount<uint8_t>(ByteAt(bytes, first_byte) & ByteMask(first % 8, last % 8)));
  return static_cast<uint64_t>(std::popcount<uint8_t>(ByteAt(bytes, first_byte) & ByteMask(first % 8, 7))) +
         CountBits(bytes.substr(first_byte + 1, last_byte - first_byte - 1)) +
         static_cast<uint64_t>(std::popcount<uint8_t>(ByteAt(bytes, last_byte) & ByteMask(0, last % 8)));
}

std::optional<uint64_t> FindBit(std::string_view bytes, bool wanted, uint64_t first, uint64_t last) {
  // Ones are what is looked for; for zeros everything is read inverted.
  const uint8_t flip = wanted ? 0x00 : 0xff;
  const uint64_t dull_word = wanted ? 0 : ~uint64_t{0};
  const uint64_t last_byte = last / 8;
  uint64_t at = first / 8;
  unsigned first_in_byte = first % 8;
  while (at <= last_byte) {
    if (first_in_byte == 0)
      while (last_byte - at >= 8 && LoadWord(bytes.data() + at) == dull_word) at += 8;
    const uint8_t mask = ByteMask(first_in_byte, at == last_byte ? last % 8 : 7);
    const uint8_t found = static_cast<uint8_t>((ByteAt(bytes, at) ^ flip) & mask);
    if (found != 0) return at * 8 + static_cast<uint64_t>(std::countl_zero(found));
    first_in_byte = 0;
    ++at;
  }
  return std::nullopt;
}

void CombineBits(std::span<char> target, std::string_view source, BitOperation operation) {
  switch (operation) {
    case BitOperation::kAnd:
      Combine(target.data(), source.data(), source.size(), [](uint64_t a, uint64_t b) { return a & b; });
      std::fill(target.begin() + static_cast<ptrdiff_t>(source.size()), target.end(), '\0');
      return;
    case BitOperation::kOr:
      return Combine(target.data(), source.data(), source.size(), [](uint64_t a, uint64_t b) { return a | b; });
    case BitOperation::kXor:
      return Combine(target.data(), source.data(), source.size(), [](uint64_t a, uint64_t b) { return a ^ b; });
  }
}

void InvertBits(std::span<char> bytes) {
  Combine(bytes.data(), bytes.data(), bytes.size(), [](uint64_t a, uint64_t) { return ~a; });
}

uint64_t ReadBits(std::string_view bytes, uint64_t offset, unsigned width) {
  const uint64_t first = offset / 8, last = (offset + width - 1) / 8;  // at most nine bytes
  Wide window = 0;
  for (uint64_t at = first; at <= last; ++at) window = window << 8 | (at < bytes.size() ? ByteAt(bytes, at) : 0u);
  window >>= 8 * (last + 1) - (offset + width);
  return width == 64 ? static_cast<uint64_t>(window) : static_cast<uint64_t>(window) & ((uint64_t{1} << width) - 1);
}

void WriteBits(std::span<char> bytes, uint64_t offset, unsigned width, uint64_t value) {
  const uint64_t first = offset / 8, last = (offset + width - 1) / 8;
  const auto behind = static_cast<unsigned>(8 * (last + 1) - (offset + width));
  const Wide mask = ((Wide{1} << width) - 1) << behind;
  const Wide fresh = Wide{value} << behind & mask;
  for (uint64_t at = first; at <= last; ++at) {
    const auto shift = static_cast<unsigned>(8 * (last - at));
    const auto kept = static_cast<uint8_t>(static_cast<uint8_t>(bytes[at]) & ~static_cast<uint8_t>(mask >> shift));
    bytes[at] = static_cast<char>(kept | static_cast<uint8_t>(fresh >> shift));
  }
}

}  // namespace tessera::store
