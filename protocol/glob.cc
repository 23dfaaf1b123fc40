#include "protocol/glob.h"

#include <utility>

namespace tessera::protocol {
namespace {

unsigned char Fold(char c, GlobCase match_case) {
  if (match_case == GlobCase::kInsensitive && c >= 'A' && c <= 'Z') return static_cast<unsigned char>(c + 32);
  return static_cast<unsigned char>(c);
}

// Whether the class that opens at pattern[i] holds `c`; leaves i behind the class.
bool MatchClass(std::string_view pattern, size_t& i, char c, GlobCase match_case) {
  ++i;
  const bool negated = i < pattern.size() && pattern[i] == '^';
  if (negated) ++i;
  const unsigned char wanted = Fold(c, match_case);
  bool found = false;
  while (i < pattern.size()) {
    const size_t left = pattern.size() - i;
    if (pattern[i] == '\\' && left >= 2) {
      found |= pattern[i + 1] == c;
      i += 2;
    } else if (pattern[i] == ']') {
      ++i;
      break;
    } else if (left >= 3 && pattern[i + 1] == '-') {
      unsigned char low = Fold(pattern[i], match_case);
      unsigned char high = Fold(pattern[i + 2], match_case);
      if (static_cast<unsigned char>(pattern[i]) > static_cast<unsigned char>(pattern[i + 2])) std::swap(low, high);
      found |= wanted >= low && wanted <= high;
      i += 3;
    } else {
      found |= Fold(pattern[i], match_case) == wanted;
      ++i;
    }
  }
  return found != negated;
}

// Whether the one-byte element at pattern[i] (not a star) accepts `c`; leaves i behind the element.
bool MatchOne(std::string_view pattern, size_t& i, char c, GlobCase match_case) {
  switch (pattern[i]) {
    case '?':
      ++i;
      return true;
    case '[':
      return MatchClass(pattern, i, c, match_case);
    case '\\':
      if (i + 1 < pattern.size()) ++i;
      break;
    default:
      break;
  }
  return Fold(pattern[i++], match_case) == Fold(c, match_case);
}

}  // namespace

bool GlobMatch(std::string_view pattern, std::string_view text, GlobCase match_case) {
  // Stars that meet no text at all match nothing, as in Redis: KEYS "**" does not show the empty key.
  if (text.empty()) return pattern.empty();
  // Only the latest star is ever worth going back to: an earlier one could but give it a longer rest to search.
  constexpr size_t kNone = std::string_view::npos;
  size_t p = 0;
  size_t t = 0;
  size_t after_star = kNone;
  size_t star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      while (p < pattern.size() && pattern[p] == '*') ++p;
      if (p == pattern.size()) return true;
      after_star = p;
      star_text = t;
      continue;
    }
    if (p < pattern.size() && MatchOne(pattern, p, text[t], match_case)) {
      ++t;
      continue;
    }
    if (after_star == kNone) return false;
    p = after_star;
    t = ++star_text;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool IsLiteralGlob(std::string_view pattern) { return pattern.find_first_of("*?[\\") == std::string_view::npos; }

}  // namespace tessera::protocol
