// Decodes the commands of an AOF file, pushed in pieces of any size:
//   command    = "*" count CRLF ("$" length CRLF bytes CRLF){count}
//   annotation = "#" text CRLF          (checksum lines are checked, see aof_sum.h; others are skipped)
// It tells an incomplete end, which a crash leaves, from bytes that are wrong. Memory follows the bytes received.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/aof_sum.h"

namespace tessera::persistence {

enum class AofRead { kCommand, kNeedMore, kError };

class AofReader {
 public:
  // `start_offset`: of the first byte fed, for the offsets reported (a tail behind an RDB preamble).
  explicit AofReader(uint64_t start_offset = 0)
      : base_offset_(start_offset), safe_offset_(start_offset), sum_(start_offset) {}

  void Feed(std::string_view bytes);
  // kError is final. On kNeedMore at the end of the input, the file ends cleanly if AtBoundary(), otherwise it is cut
  // short and safe_offset() says where to cut it.
  AofRead Next();

  // Of the last kCommand; views are valid until the next Feed or Next.
  std::span<const std::string_view> argv() const { return argv_; }
  uint64_t command_begin() const { return command_begin_; }
  uint64_t command_end() const { return command_end_; }

  bool AtBoundary() const { return position_ == buffer_.size() && !in_transaction_; }
  bool in_transaction() const { return in_transaction_; }
  // Everything before this is complete: the end of the last command or annotation outside a transaction, or of the last
  // complete transaction.
  uint64_t safe_offset() const { return safe_offset_; }

  // Everything before this is proven by checksum lines to be as it was written, or was before the first of them.
  uint64_t checked_offset() const { return sum_.begin(); }

  // Of the byte that is wrong.
  uint64_t error_offset() const { return error_offset_; }
  const std::string& error_reason() const { return error_reason_; }

 private:
  enum class Line { kComplete, kNeedMore, kBad };
  Line ReadNumber(char mark, uint64_t* number);
  AofRead Fail(size_t at, std::string reason);
  AofRead FinishCommand();
  void ForgetConsumed();
  AofRead CheckSum(std::string_view line);
  void SumUpTo(size_t end);

  struct Argument {
    size_t begin;
    size_t length;
  };

  std::string buffer_;
  uint64_t base_offset_;  // of buffer_[0]
  size_t position_ = 0;   // start of the command or annotation being read
  size_t scan_ = 0;       // how far it was understood
  size_t bad_ = 0;        // the byte that ReadNumber stumbled over
  size_t line_scan_ = 0;  // how far a line end was looked for beyond scan_
  uint64_t arguments_left_ = 0;
  bool in_command_ = false;
  bool length_known_ = false;
  uint64_t length_ = 0;
  std::vector<Argument> arguments_;
  std::vector<std::string_view> argv_;
  uint64_t command_begin_ = 0;
  uint64_t command_end_ = 0;
  bool in_transaction_ = false;
  uint64_t safe_offset_ = 0;
  AofSum sum_;
  size_t summed_ = 0;  // up to here the buffer is in sum_
  bool failed_ = false;
  uint64_t error_offset_ = 0;
  std::string error_reason_;
};

}  // namespace tessera::persistence
