// Client bytes to commands: RESP arrays of bulk strings, and inline requests.
//   request = "*" count CRLF  count x ( "$" length CRLF payload CRLF )
//           | inline-line [CR] LF                       (see split_args.h for its quoting)
// Bounds and error wording are those of Redis 7.2. As in Redis the CR of a CRLF is looked for, its LF is not checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::protocol {

struct ParseResult {
  enum class Status : uint8_t {
    kNeedMore,  // the command is not complete; nothing is consumed
    kCommand,   // argv holds a command of at least one word
    kEmpty,     // an empty line or an empty array: nothing to execute, no reply, go on behind it
    kError,     // the connection is beyond repair: reply "ERR " + error, close once it is written
  };
  Status status;
  size_t consumed = 0;     // bytes from the start of the buffer that belong to the command
  std::string_view error;  // "Protocol error: ..."; lives as long as the parser
};

// One per connection. Owns no input: the buffer handed to Parse always begins with the first byte of the command in
// progress, may have moved since the last call and may only have grown. Progress is kept as offsets, so a request that
// arrives byte by byte costs linear time. After any status but kNeedMore the parser is ready for the next command.
class RequestParser {
 public:
  struct Limits {
    int64_t max_multibulk = INT32_MAX;
    size_t max_bulk = size_t{512} << 20;  // proto-max-bulk-len
    size_t max_inline = size_t{64} << 10;
    bool authenticated = true;  // false: at most 10 words of at most 16384 bytes
  };

  RequestParser() = default;
  explicit RequestParser(const Limits& limits) : limits_(limits) {}

  // Takes effect for what is parsed afterwards.
  Limits& limits() { return limits_; }

  // Replaces argv (kCommand only; on other results its content is unspecified). Its views point into `buffer`, or, for
  // quoted inline words, into the parser, and are good until the buffer moves or Parse is called again.
  ParseResult Parse(std::string_view buffer, std::vector<std::string_view>& argv);

  // After kNeedMore: how many bytes beyond the end of the buffer the current bulk and its CRLF still need; 0 if
  // unknown.
  size_t needed_hint() const { return needed_hint_; }

  // Forgets a half-read command.
  void Reset();

 private:
  struct Span {
    size_t offset;
    size_t length;
  };
  enum class Line : uint8_t { kComplete, kPartial, kTooLong };

  ParseResult ParseInline(std::string_view buffer, std::vector<std::string_view>& argv);
  ParseResult ParseArray(std::string_view buffer, std::vector<std::string_view>& argv);
  ParseResult ParseRest(std::string_view buffer, std::vector<std::string_view>& argv);
  Line FindCr(std::string_view buffer, size_t start, size_t& cr);
  // Checks the "$length" line between start and cr; the text of an error, or empty.
  std::string_view CheckBulkHeader(std::string_view header, int64_t& length);
  ParseResult Fail(std::string_view error);
  ParseResult NeedMore(size_t hint) {
    needed_hint_ = hint;
    return {ParseResult::Status::kNeedMore};
  }

  Limits limits_;
  std::vector<Span> words_;  // bulks read so far of a command that came in pieces
  std::string scratch_;      // unquoted inline words
  std::string error_;
  size_t position_ = 0;       // start of the line or payload that is awaited
  size_t scanned_ = 0;        // up to here no end of line was found
  int64_t remaining_ = -1;    // bulks still missing; -1 while the "*" line is awaited
  int64_t bulk_length_ = -1;  // payload awaited; -1 while a "$" line is
  size_t needed_hint_ = 0;
};

}  // namespace tessera::protocol
