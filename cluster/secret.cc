#include "cluster/secret.h"

#include <bit>
#include <charconv>
#include <cstring>

#include <fmt/core.h>

namespace tessera::cluster {
namespace {

uint64_t Load(const void* from) {
  uint64_t v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
static_assert(std::endian::native == std::endian::little);

struct SipState {
  uint64_t v0, v1, v2, v3;
  void Round() {
    v0 += v1, v1 = std::rotl(v1, 13) ^ v0, v0 = std::rotl(v0, 32);
    v2 += v3, v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3, v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1, v1 = std::rotl(v1, 17) ^ v2, v2 = std::rotl(v2, 32);
  }
  void Absorb(uint64_t word) {
    v3 ^= word;
    Round(), Round();
    v0 ^= word;
  }
  uint64_t Squeeze() {
    for (int i = 0; i < 4; ++i) Round();
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

}  // namespace

std::string AuthenticationCode(const Secret& secret, std::string_view message) {
  const uint64_t k0 = Load(secret.key.data()), k1 = Load(secret.key.data() + 8);
  SipState s{0x736f6d6570736575 ^ k0, 0x646f72616e646f6d ^ k1 ^ 0xee, 0x6c7967656e657261 ^ k0, 0x7465646279746573 ^ k1};
  const size_t whole = message.size() / 8 * 8;
  for (size_t i = 0; i < whole; i += 8) s.Absorb(Load(message.data() + i));
  uint64_t last = static_cast<uint64_t>(message.size()) << 56;
  for (size_t i = whole; i < message.size(); ++i)
    last |= static_cast<uint64_t>(static_cast<unsigned char>(message[i])) << (8 * (i - whole));
  s.Absorb(last);
  s.v2 ^= 0xee;
  const uint64_t low = s.Squeeze();
  s.v1 ^= 0xdd;
  const uint64_t high = s.Squeeze();
  std::string code(kCodeBytes, '\0');
  std::memcpy(code.data(), &low, 8);
  std::memcpy(code.data() + 8, &high, 8);
  return code;
}

std::string Secret::Text() const {
  std::string text = fmt::format("{} ", created_ms);
  for (uint8_t byte : key) text += fmt::format("{:02x}", byte);
  return text;
}

std::optional<Secret> Secret::Parse(std::string_view text) {
  Secret secret;
  const size_t space = text.find(' ');
  if (space == text.npos || text.size() != space + 1 + 2 * secret.key.size()) return std::nullopt;
  const char* begin = text.data();
  if (auto [end, error] = std::from_chars(begin, begin + space, secret.created_ms);
      error != std::errc() || end != begin + space)
    return std::nullopt;
  for (size_t i = 0; i < secret.key.size(); ++i) {
    const char* digits = begin + space + 1 + 2 * i;
    if (auto [end, error] = std::from_chars(digits, digits + 2, secret.key[i], 16);
        error != std::errc() || end != digits + 2)
      return std::nullopt;
  }
  return secret;
}

}  // namespace tessera::cluster
