#include "persistence/quote.h"

#include <algorithm>

#include "fmt/core.h"

namespace tessera::persistence {
namespace {

bool IsBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Reads one possibly escaped character of a double-quoted word and moves `at` behind it.
char ReadEscaped(std::string_view line, size_t* at) {
  char c = line[(*at)++];
  if (c != '\\' || *at == line.size()) return c;
  c = line[(*at)++];
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    case 'x':
      if (line.size() - *at >= 2 && HexDigit(line[*at]) >= 0 && HexDigit(line[*at + 1]) >= 0) {
        *at += 2;
        return static_cast<char>(HexDigit(line[*at - 2]) * 16 + HexDigit(line[*at - 1]));
      }
  }
  return c;
}

}  // namespace

std::string Quoted(std::string_view text, size_t bytes_max) {
  std::string out = "\"";
  for (char c : text.substr(0, std::min(bytes_max, text.size()))) {
    switch (c) {
      case '\\':
        out += "\\\\";
        break;
      case '"':
        out += "\\\"";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\a':
        out += "\\a";
        break;
      case '\b':
        out += "\\b";
        break;
      default:
        if (c >= ' ' && c <= '~') {
          out += c;
        } else {
          out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
  }
  out += '"';
  if (text.size() > bytes_max) out += "...";
  return out;
}

std::optional<std::vector<std::string>> SplitQuoted(std::string_view line) {
  std::vector<std::string> words;
  size_t at = 0;
  while (true) {
    while (at < line.size() && IsBlank(line[at])) ++at;
    if (at == line.size()) return words;
    std::string word;
    char quote = 0;
    while (at < line.size()) {
      char c = line[at];
      if (quote == 0) {
        if (IsBlank(c)) break;
        if (c == '"' || c == '\'') {
          quote = c;
        } else {
          word += c;
        }
        ++at;
      } else if (c == quote) {
        quote = 0;
        ++at;
        if (at < line.size() && !IsBlank(line[at])) return std::nullopt;
        break;
      } else if (quote == '"') {
        word += ReadEscaped(line, &at);
      } else if (c == '\\' && line.substr(at + 1, 1) == "'") {
        word += '\'';
        at += 2;
      } else {
        word += c;
        ++at;
      }
    }
    if (quote != 0) return std::nullopt;
    words.push_back(std::move(word));
  }
}

}  // namespace tessera::persistence
