#include "protocol/resp_parser.h"

#include <algorithm>
#include <cstring>

#include <fmt/core.h>

#include "protocol/number.h"
#include "protocol/split_args.h"

namespace tessera::protocol {
namespace {

constexpr int64_t kUnauthenticatedMaxWords = 10;
constexpr int64_t kUnauthenticatedMaxBulk = 16384;
constexpr size_t kKeptWords = 1024;  // capacity worth keeping between commands

// Reads up to seven digits and CRLF at p, as nearly every header is. 0 when it is anything else, or at the end of
// input; the careful path then decides. Otherwise the bytes used; a leading zero is only taken for the number zero
// itself.
inline size_t QuickHeader(const char* p, const char* end, int64_t& value) {
  const char* start = p;
  const char* stop = end - p > 8 ? p + 8 : end;
  if (p == stop) return 0;
  int64_t n = static_cast<unsigned char>(*p) - '0';
  if (n < 0 || n > 9 || (n == 0 && p + 1 < stop && p[1] != '\r')) return 0;
  for (++p; p < stop; ++p) {
    const int digit = static_cast<unsigned char>(*p) - '0';
    if (digit < 0 || digit > 9) break;
    n = n * 10 + digit;
  }
  if (p == stop || *p != '\r' || end - p < 2) return 0;
  value = n;
  return static_cast<size_t>(p - start) + 2;
}

}  // namespace

void RequestParser::Reset() {
  if (words_.capacity() > kKeptWords) {
    std::vector<Span>().swap(words_);
  } else {
    words_.clear();
  }
  position_ = scanned_ = needed_hint_ = 0;
  remaining_ = bulk_length_ = -1;
}

ParseResult RequestParser::Fail(std::string_view error) {
  Reset();
  return {ParseResult::Status::kError, 0, error};
}

RequestParser::Line RequestParser::FindCr(std::string_view buffer, size_t start, size_t& cr) {
  const size_t from = std::max(start, scanned_);
  cr = from < buffer.size() ? buffer.find('\r', from) : std::string_view::npos;
  if (cr == std::string_view::npos) {
    scanned_ = buffer.size();
    return buffer.size() - start > limits_.max_inline ? Line::kTooLong : Line::kPartial;
  }
  if (cr + 1 < buffer.size()) return Line::kComplete;
  scanned_ = cr;
  return Line::kPartial;
}

std::string_view RequestParser::CheckBulkHeader(std::string_view header, int64_t& length) {
  if (header.empty() || header[0] != '$') {
    error_ = fmt::format("Protocol error: expected '$', got '{}'", header.empty() ? '\r' : header[0]);
    return error_;
  }
  const auto parsed = ParseInt64(header.substr(1));
  if (!parsed || *parsed < 0 || static_cast<uint64_t>(*parsed) > limits_.max_bulk) {
    return "Protocol error: invalid bulk length";
  }
  if (*parsed > kUnauthenticatedMaxBulk && !limits_.authenticated) return "Protocol error: unauthenticated bulk length";
  length = *parsed;
  return {};
}

ParseResult RequestParser::Parse(std::string_view buffer, std::vector<std::string_view>& argv) {
  if (position_ != 0) return ParseRest(buffer, argv);
  if (buffer.empty()) return NeedMore(0);
  if (buffer[0] == '*') return ParseArray(buffer, argv);
  return ParseInline(buffer, argv);
}

// A command from its first byte. Words go straight to argv; only when the input ends early are they turned into
// offsets.
ParseResult RequestParser::ParseArray(std::string_view buffer, std::vector<std::string_view>& argv) {
  const char* const begin = buffer.data();
  const char* const end = begin + buffer.size();
  int64_t count = 0;
  size_t position = 1;
  if (const size_t used = QuickHeader(begin + 1, end, count); used != 0) {
    position += used;
  } else {
    size_t cr = 0;
    switch (FindCr(buffer, 0, cr)) {
      case Line::kTooLong:
        return Fail("Protocol error: too big mbulk count string");
      case Line::kPartial:
        return NeedMore(0);
      case Line::kComplete:
        break;
    }
    const auto parsed = ParseInt64(buffer.substr(1, cr - 1));
    if (!parsed || *parsed > limits_.max_multibulk) return Fail("Protocol error: invalid multibulk length");
    count = *parsed;
    position = cr + 2;
  }
  if (count > limits_.max_multibulk) return Fail("Protocol error: invalid multibulk length");
  if (count > kUnauthenticatedMaxWords && !limits_.authenticated) {
    return Fail("Protocol error: unauthenticated multibulk length");
  }
  if (count <= 0) {
    Reset();
    return {ParseResult::Status::kEmpty, position};
  }

  argv.clear();
  const char* p = begin + position;
  const size_t max_quick_bulk = std::min(limits_.max_bulk, static_cast<size_t>(kUnauthenticatedMaxBulk));
  int64_t left = count;
  while (left > 0 && p < end && *p == '$') {
    int64_t length = 0;
    const size_t used = QuickHeader(p + 1, end, length);
    if (used == 0 || static_cast<size_t>(length) > max_quick_bulk) break;
    const char* payload = p + 1 + used;
    if (end - payload < length + 2) break;
    argv.emplace_back(payload, static_cast<size_t>(length));
    p = payload + length + 2;
    --left;
  }
  if (left == 0) {
    scanned_ = needed_hint_ = 0;
    return {ParseResult::Status::kCommand, static_cast<size_t>(p - begin)};
  }
  words_.clear();
  for (const std::string_view word : argv) words_.push_back({static_cast<size_t>(word.data() - begin), word.size()});
  remaining_ = left;
  position_ = static_cast<size_t>(p - begin);
  scanned_ = 0;
  bulk_length_ = -1;
  return ParseRest(buffer, argv);
}

ParseResult RequestParser::ParseRest(std::string_view buffer, std::vector<std::string_view>& argv) {
  while (remaining_ > 0) {
    if (bulk_length_ < 0) {
      size_t cr = 0;
      switch (FindCr(buffer, position_, cr)) {
        case Line::kTooLong:
          return Fail("Protocol error: too big bulk count string");
        case Line::kPartial:
          return NeedMore(0);
        case Line::kComplete:
          break;
      }
      int64_t length = 0;
      const std::string_view error = CheckBulkHeader(buffer.substr(position_, cr - position_), length);
      if (!error.empty()) return Fail(error);
      bulk_length_ = length;
      position_ = cr + 2;
    }
    const size_t need = static_cast<size_t>(bulk_length_) + 2;
    const size_t have = buffer.size() - position_;
    if (have < need) return NeedMore(need - have);
    words_.push_back({position_, static_cast<size_t>(bulk_length_)});
    position_ += need;
    bulk_length_ = -1;
    --remaining_;
  }
  argv.clear();
  argv.reserve(words_.size());
  for (const Span& word : words_) argv.push_back(buffer.substr(word.offset, word.length));
  const size_t consumed = position_;
  Reset();
  return {ParseResult::Status::kCommand, consumed};
}

ParseResult RequestParser::ParseInline(std::string_view buffer, std::vector<std::string_view>& argv) {
  size_t lf = buffer.find('\n', scanned_);
  // As in Redis a zero byte hides the end of the line: what speaks a binary protocol is not answered line by line.
  const size_t zero = buffer.substr(0, lf).find('\0', scanned_);
  if (zero != std::string_view::npos) lf = std::string_view::npos;
  if (lf == std::string_view::npos ? buffer.size() > limits_.max_inline : lf > limits_.max_inline) {
    return Fail("Protocol error: too big inline request");
  }
  if (lf == std::string_view::npos) {
    scanned_ = std::min(zero, buffer.size());
    return NeedMore(0);
  }
  std::string_view line = buffer.substr(0, lf);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  argv.clear();
  const bool balanced = SplitArgs(line, scratch_, argv);
  scanned_ = needed_hint_ = 0;
  if (!balanced) return Fail("Protocol error: unbalanced quotes in request");
  return {argv.empty() ? ParseResult::Status::kEmpty : ParseResult::Status::kCommand, lf + 1};
}

}  // namespace tessera::protocol
