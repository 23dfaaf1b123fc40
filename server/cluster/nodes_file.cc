#include "server/cluster/nodes_file.h"

#include <fmt/core.h>

#include <algorithm>

#include "persistence/crc64.h"

namespace tessera {
namespace {

constexpr std::string_view kMark = " checksum ";

// Of all lines, without the second field of those that describe nodes.
uint64_t ChecksumOf(std::string_view text) {
  uint64_t crc = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n') + 1);
    const size_t id_end = line.find(' ');
    if (line.empty() || id_end == std::string_view::npos || line.starts_with("vars ")) return persistence::Crc64(crc, text);
    const size_t address_end = std::min(line.find(' ', id_end + 1), line.size());
    crc = persistence::Crc64(crc, line.substr(0, id_end));
    crc = persistence::Crc64(crc, line.substr(address_end));
    text.remove_prefix(line.size());
  }
  return crc;
}

}  // namespace

std::string WithNodesChecksum(std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  return fmt::format("{}{}{:016x}\n", text, kMark, ChecksumOf(text));
}

std::string CheckNodesChecksum(std::string_view text) {
  if (!text.ends_with('\n')) return fmt::format("the last line is not complete: the file was cut at byte {}", text.size());
  const size_t vars = text.rfind("\nvars ");
  const size_t mark = text.find(kMark, vars == std::string_view::npos ? 0 : vars);
  if (mark == std::string_view::npos) return {};
  const std::string_view covered = text.substr(0, mark);
  if (text.substr(mark) == fmt::format("{}{:016x}\n", kMark, ChecksumOf(covered))) return {};
  return fmt::format("the checksum at byte {} does not match: a byte before it is damaged, or the file was edited; in that "
                     "case remove 'checksum' and what follows it in that line",
                     mark + 1);
}

}  // namespace tessera
