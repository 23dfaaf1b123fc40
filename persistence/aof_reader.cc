#include "persistence/aof_reader.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>

#include "fmt/core.h"

namespace tessera::persistence {
namespace {

constexpr size_t kKeptCapacityBytes = 1 << 20;
constexpr size_t kAnnotationBytesMax = 64 << 10;
constexpr size_t kNumberLineBytesMax = 24;  // mark, 20 digits, CRLF
constexpr uint64_t kArgumentsMax = std::numeric_limits<int32_t>::max();
constexpr uint64_t kArgumentBytesMax = 4ull << 30;

bool IsCommand(std::string_view name, std::string_view upper_case) {
  return std::equal(name.begin(), name.end(), upper_case.begin(), upper_case.end(),
                    [](unsigned char a, unsigned char b) { return std::toupper(a) == b; });
}

}  // namespace

void AofReader::Feed(std::string_view bytes) {
  ForgetConsumed();
  buffer_.append(bytes);
}

void AofReader::ForgetConsumed() {
  // Moving the rest only when it is the smaller part keeps the total cost linear.
  if (position_ == 0 || position_ < buffer_.size() / 2) return;
  SumUpTo(position_);
  buffer_.erase(0, position_);
  if (buffer_.capacity() > kKeptCapacityBytes && buffer_.size() < kKeptCapacityBytes / 2) buffer_.shrink_to_fit();
  base_offset_ += position_;
  scan_ -= position_;
  summed_ -= position_;
  line_scan_ -= std::min(line_scan_, position_);
  for (Argument& argument : arguments_) argument.begin -= position_;
  position_ = 0;
}

void AofReader::SumUpTo(size_t end) {
  if (end <= summed_) return;
  sum_.Add(std::string_view(buffer_).substr(summed_, end - summed_));
  summed_ = end;
}

// `line` begins at scan_; with its LF.
AofRead AofReader::CheckSum(std::string_view line) {
  SumUpTo(scan_);
  const auto verdict = line.ends_with("\r\n") ? sum_.Judge(line.substr(0, line.size() - 2)) : AofSum::Verdict::kMalformed;
  if (verdict == AofSum::Verdict::kMalformed) return Fail(scan_, "a checksum line is damaged");
  if (verdict == AofSum::Verdict::kWrong) {
    std::string reason = fmt::format("the checksum of bytes {} to {} does not match: one of them is damaged",
                                     sum_.begin(), base_offset_ + scan_);
    return Fail(scan_, std::move(reason));
  }
  summed_ = scan_ + line.size();
  sum_ = AofSum(base_offset_ + summed_);
  return AofRead::kCommand;
}

AofRead AofReader::Fail(size_t at, std::string reason) {
  failed_ = true;
  error_offset_ = base_offset_ + at;
  error_reason_ = std::move(reason);
  return AofRead::kError;
}

AofReader::Line AofReader::ReadNumber(char mark, uint64_t* number) {
  std::string_view rest = std::string_view(buffer_).substr(scan_);
  auto bad = [&](size_t at) {
    bad_ = scan_ + at;
    return Line::kBad;
  };
  if (rest.empty()) return Line::kNeedMore;
  if (rest[0] != mark) return bad(0);
  size_t digits = 1;
  while (digits < rest.size() && rest[digits] >= '0' && rest[digits] <= '9') ++digits;
  if (digits >= kNumberLineBytesMax) return bad(0);
  if (digits == rest.size()) return Line::kNeedMore;
  if (digits == 1 || rest[digits] != '\r') return bad(digits);
  if (digits + 1 == rest.size()) return Line::kNeedMore;
  if (rest[digits + 1] != '\n') return bad(digits + 1);
  if (std::from_chars(rest.data() + 1, rest.data() + digits, *number).ec != std::errc()) return bad(0);
  scan_ += digits + 2;
  return Line::kComplete;
}

AofRead AofReader::Next() {
  if (failed_) return AofRead::kError;
  while (!in_command_) {
    arguments_.clear();
    position_ = scan_;
    if (scan_ == buffer_.size()) return AofRead::kNeedMore;
    if (buffer_[scan_] == '#') {
      size_t end = buffer_.find('\n', std::max(scan_, line_scan_));
      if (end == std::string::npos) {
        line_scan_ = buffer_.size();
        if (buffer_.size() - scan_ > kAnnotationBytesMax) return Fail(scan_, "an annotation without end");
        return AofRead::kNeedMore;
      }
      const std::string_view line = std::string_view(buffer_).substr(scan_, end + 1 - scan_);
      if (line.starts_with(kAofSumMark) && CheckSum(line) == AofRead::kError) return AofRead::kError;
      position_ = scan_ = end + 1;
      if (!in_transaction_) safe_offset_ = base_offset_ + scan_;
      continue;
    }
    switch (ReadNumber('*', &arguments_left_)) {
      case Line::kNeedMore:
        return AofRead::kNeedMore;
      case Line::kBad:
        return Fail(bad_, "not the beginning of a command (*count)");
      case Line::kComplete:
        break;
    }
    if (arguments_left_ == 0 || arguments_left_ > kArgumentsMax) {
      return Fail(position_, fmt::format("a command of {} arguments", arguments_left_));
    }
    in_command_ = true;
    length_known_ = false;
  }
  while (arguments_left_ > 0) {
    if (!length_known_) {
      size_t begin = scan_;
      switch (ReadNumber('$', &length_)) {
        case Line::kNeedMore:
          return AofRead::kNeedMore;
        case Line::kBad:
          return Fail(bad_, "not the beginning of an argument ($length)");
        case Line::kComplete:
          break;
      }
      if (length_ > kArgumentBytesMax) return Fail(begin, fmt::format("an argument of {} bytes", length_));
      length_known_ = true;
    }
    size_t available = buffer_.size() - scan_;
    size_t end = scan_ + length_;
    if (available > length_ && buffer_[end] != '\r') return Fail(end, "an argument is not followed by CRLF");
    if (available < length_ + 2) return AofRead::kNeedMore;
    if (buffer_[end + 1] != '\n') return Fail(end + 1, "an argument is not followed by CRLF");
    arguments_.push_back({scan_, length_});
    scan_ = end + 2;
    length_known_ = false;
    --arguments_left_;
  }
  return FinishCommand();
}

AofRead AofReader::FinishCommand() {
  argv_.clear();
  for (const Argument& argument : arguments_) {
    argv_.push_back(std::string_view(buffer_).substr(argument.begin, argument.length));
  }
  command_begin_ = base_offset_ + position_;
  command_end_ = base_offset_ + scan_;
  position_ = scan_;
  in_command_ = false;
  arguments_.clear();
  if (argv_.size() == 1 && IsCommand(argv_[0], "MULTI")) in_transaction_ = true;
  if (argv_.size() == 1 && IsCommand(argv_[0], "EXEC")) in_transaction_ = false;
  if (!in_transaction_) safe_offset_ = command_end_;
  return AofRead::kCommand;
}

}  // namespace tessera::persistence
