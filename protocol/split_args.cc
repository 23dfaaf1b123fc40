#include "protocol/split_args.h"

#include <fmt/core.h>

namespace tessera::protocol {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// White space that ends a bare word; \v and \f only separate words, they are part of one that has begun.
bool EndsWord(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

char Unescaped(char c) {
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
    default:
      return c;
  }
}

// Reads the quoted part that opens at line[i]; leaves i behind its closing quote.
bool ReadQuoted(std::string_view line, size_t& i, std::string& out) {
  const char quote = line[i++];
  while (i < line.size()) {
    const char c = line[i];
    if (c == quote) {
      ++i;
      return i == line.size() || IsSpace(line[i]);
    }
    if (c == '\\' && i + 1 < line.size()) {
      if (quote == '\'') {
        if (line[i + 1] == '\'') {
          out.push_back('\'');
          i += 2;
          continue;
        }
      } else if (line[i + 1] == 'x' && i + 3 < line.size() && HexDigit(line[i + 2]) >= 0 &&
                 HexDigit(line[i + 3]) >= 0) {
        out.push_back(static_cast<char>(HexDigit(line[i + 2]) * 16 + HexDigit(line[i + 3])));
        i += 4;
        continue;
      } else {
        out.push_back(Unescaped(line[i + 1]));
        i += 2;
        continue;
      }
    }
    out.push_back(c);
    ++i;
  }
  return false;
}

}  // namespace

bool SplitArgs(std::string_view line, std::string& scratch, std::vector<std::string_view>& words) {
  if (const size_t nul = line.find('\0'); nul != std::string_view::npos) line = line.substr(0, nul);
  scratch.clear();
  size_t i = 0;
  while (true) {
    while (i < line.size() && IsSpace(line[i])) ++i;
    if (i == line.size()) return true;
    const size_t start = i;
    while (i < line.size() && !EndsWord(line[i]) && line[i] != '"' && line[i] != '\'') ++i;
    if (i == line.size() || EndsWord(line[i])) {
      words.push_back(line.substr(start, i - start));
      continue;
    }
    // A word is never longer than its source, so with this much room earlier views stay valid.
    if (scratch.capacity() < line.size()) scratch.reserve(line.size());
    const size_t scratch_start = scratch.size();
    scratch.append(line.substr(start, i - start));
    while (i < line.size() && !EndsWord(line[i])) {
      if (line[i] == '"' || line[i] == '\'') {
        if (!ReadQuoted(line, i, scratch)) return false;
        break;
      }
      scratch.push_back(line[i++]);
    }
    words.push_back(std::string_view(scratch).substr(scratch_start));
  }
}

std::optional<std::vector<std::string>> SplitArgs(std::string_view line) {
  std::string scratch;
  std::vector<std::string_view> words;
  if (!SplitArgs(line, scratch, words)) return std::nullopt;
  return std::vector<std::string>(words.begin(), words.end());
}

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '\\':
      case '"':
        out.push_back('\\');
        out.push_back(c);
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
        if (c >= 0x20 && c < 0x7f) {
          out.push_back(c);
        } else {
          out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
  }
  out.push_back('"');
  return out;
}

}  // namespace tessera::protocol
