#include "persistence/aof_sum.h"

#include "fmt/core.h"
#include "persistence/crc64.h"

namespace tessera::persistence {
namespace {

std::string LineOf(uint64_t offset, uint64_t length, uint64_t crc) {
  const std::string place = fmt::format("{},{}", offset, length);
  return fmt::format("{}{},{:016x}", kAofSumMark, place, Crc64(crc, place));
}

}  // namespace

void AofSum::Add(std::string_view bytes) {
  length_ += bytes.size();
  crc_ = Crc64(crc_, bytes);
}

std::string AofSum::Line() const { return LineOf(begin_ + length_, length_, crc_) + "\r\n"; }

AofSum::Verdict AofSum::Judge(std::string_view line) const {
  const uint64_t here = begin_ + length_;
  if (line == LineOf(here, length_, crc_) || line == LineOf(here, 0, 0)) return Verdict::kRight;
  return LooksLikeAofSum(std::string(line) + "\r\n", here) ? Verdict::kWrong : Verdict::kMalformed;
}

bool LooksLikeAofSum(std::string_view text, uint64_t offset) {
  const std::string head = fmt::format("{}{},", kAofSumMark, offset);
  if (!text.starts_with(head)) return false;
  const size_t comma = text.find_first_not_of("0123456789", head.size());
  if (comma == std::string_view::npos || comma == head.size() || text[comma] != ',') return false;
  return text.substr(comma + 1).find_first_not_of("0123456789abcdef") == 16 && text.substr(comma + 17, 2) == "\r\n";
}

}  // namespace tessera::persistence
