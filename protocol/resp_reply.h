// The client's side of RESP2 and RESP3: replies from another server (MIGRATE's target, a primary during the handshake,
// a server under test) as values. Not for the hot path.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::protocol {

struct Reply {
  enum class Type : uint8_t {
    kSimple,
    kError,
    kInteger,
    kBulk,
    kNull,  // RESP3 null, and RESP2's null bulk string and null array
    kArray,
    kDouble,
    kBool,
    kBigNumber,
    kVerbatim,
    kMap,  // elements are key, value, key, value ...
    kSet,
    kPush,
    kAttribute,  // as kMap; stands before the reply it belongs to
  };
  Type type = Type::kNull;
  std::string text;  // kSimple, kError (without the sign), kBulk, kDouble, kBigNumber, kVerbatim (without its format)
  int64_t integer = 0;  // kInteger; 1 or 0 for kBool
  std::vector<Reply> elements;

  bool IsError() const { return type == Type::kError; }
  bool IsNull() const { return type == Type::kNull; }
  bool operator==(const Reply&) const = default;
  // One line for messages and tests: +OK, :1, "bulk", (nil), [..], {..}.
  std::string DebugText() const;
};

// Reads replies that arrive in pieces. Consumes as it goes: drop `consumed` bytes from the front of the buffer after
// every call, whatever the status, and pass what is left with more behind it next time.
class ReplyParser {
 public:
  enum class Status : uint8_t { kNeedMore, kReply, kError };

  // On kReply `reply` is filled, and the parser is ready for the next one. kError: not RESP, or beyond the limits
  // below; the connection is of no more use.
  Status Parse(std::string_view buffer, size_t& consumed, Reply& reply);

  static constexpr size_t kMaxDepth = 64;
  static constexpr int64_t kMaxBulk = int64_t{4} << 30;
  static constexpr size_t kMaxLine = size_t{64} << 10;

 private:
  struct Open {
    Reply reply;
    int64_t missing;
  };

  std::vector<Open> open_;  // aggregates not complete yet, outermost first
  Reply bulk_;              // type of the bulk whose payload is awaited
  int64_t bulk_length_ = -1;
  size_t scanned_ = 0;
};

}  // namespace tessera::protocol
