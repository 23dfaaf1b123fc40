#include "protocol/resp_reply.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "protocol/number.h"
#include "protocol/split_args.h"

namespace tessera::protocol {
namespace {

using Type = Reply::Type;

std::optional<Type> LineType(char c) {
  switch (c) {
    case '+':
      return Type::kSimple;
    case '-':
      return Type::kError;
    case ':':
      return Type::kInteger;
    case '_':
      return Type::kNull;
    case ',':
      return Type::kDouble;
    case '#':
      return Type::kBool;
    case '(':
      return Type::kBigNumber;
    default:
      return std::nullopt;
  }
}

std::optional<Type> BulkType(char c) {
  switch (c) {
    case '$':
      return Type::kBulk;
    case '!':
      return Type::kError;
    case '=':
      return Type::kVerbatim;
    default:
      return std::nullopt;
  }
}

std::optional<Type> AggregateType(char c) {
  switch (c) {
    case '*':
      return Type::kArray;
    case '%':
      return Type::kMap;
    case '~':
      return Type::kSet;
    case '>':
      return Type::kPush;
    case '|':
      return Type::kAttribute;
    default:
      return std::nullopt;
  }
}

// A reply that is one line: false if its text is not right for its type.
bool FromLine(Type type, std::string_view text, Reply& reply) {
  reply.type = type;
  if (type == Type::kInteger) {
    if (!text.empty() && text[0] == '+') text.remove_prefix(1);
    const auto value = ParseInt64(text);
    reply.integer = value.value_or(0);
    return value.has_value();
  }
  if (type == Type::kBool) {
    reply.integer = text == "t" ? 1 : 0;
    return text == "t" || text == "f";
  }
  if (type == Type::kNull) return text.empty();
  reply.text = text;
  return true;
}

}  // namespace

ReplyParser::Status ReplyParser::Parse(std::string_view buffer, size_t& consumed, Reply& reply) {
  consumed = 0;
  while (true) {
    const std::string_view rest = buffer.substr(consumed);
    Reply value;
    if (bulk_length_ >= 0) {
      const auto length = static_cast<size_t>(bulk_length_);
      if (rest.size() < length + 2) return Status::kNeedMore;
      if (rest.substr(length, 2) != "\r\n") return Status::kError;
      value = std::exchange(bulk_, Reply());
      value.text = rest.substr(0, length);
      if (value.type == Type::kVerbatim) value.text.erase(0, std::min<size_t>(4, value.text.size()));
      bulk_length_ = -1;
      consumed += length + 2;
    } else {
      const size_t lf = rest.find('\n', scanned_);
      if (lf == std::string_view::npos) {
        scanned_ = rest.size();
        return rest.size() > kMaxLine ? Status::kError : Status::kNeedMore;
      }
      scanned_ = 0;
      if (lf < 2 || rest[lf - 1] != '\r') return Status::kError;
      const std::string_view text = rest.substr(1, lf - 2);
      consumed += lf + 1;
      if (const auto line_type = LineType(rest[0])) {
        if (!FromLine(*line_type, text, value)) return Status::kError;
      } else {
        const auto length = ParseInt64(text);
        if (!length || *length < -1) return Status::kError;
        const auto bulk_type = BulkType(rest[0]);
        const auto aggregate_type = AggregateType(rest[0]);
        if (!bulk_type && !aggregate_type) return Status::kError;
        if (*length == -1) {
          if (rest[0] != '$' && rest[0] != '*') return Status::kError;
        } else if (bulk_type) {
          if (*length > kMaxBulk) return Status::kError;
          bulk_.type = *bulk_type;
          bulk_length_ = *length;
          continue;
        } else {
          if (*length > INT32_MAX) return Status::kError;
          value.type = *aggregate_type;
          const bool pairs = value.type == Type::kMap || value.type == Type::kAttribute;
          const int64_t missing = pairs ? *length * 2 : *length;
          if (missing > 0) {
            if (open_.size() == kMaxDepth) return Status::kError;
            open_.push_back({std::move(value), missing});
            continue;
          }
        }
      }
    }
    // A value is complete; it may complete the aggregates it is in.
    while (!open_.empty()) {
      open_.back().reply.elements.push_back(std::move(value));
      if (--open_.back().missing > 0) break;
      value = std::move(open_.back().reply);
      open_.pop_back();
      if (open_.empty()) {
        reply = std::move(value);
        return Status::kReply;
      }
    }
    if (!open_.empty()) continue;
    reply = std::move(value);
    return Status::kReply;
  }
}

std::string Reply::DebugText() const {
  switch (type) {
    case Type::kSimple:
      return "+" + text;
    case Type::kError:
      return "-" + text;
    case Type::kInteger:
      return ":" + Int64Text(integer);
    case Type::kNull:
      return "(nil)";
    case Type::kDouble:
      return "," + text;
    case Type::kBool:
      return integer != 0 ? "#t" : "#f";
    case Type::kBigNumber:
      return "(" + text;
    case Type::kBulk:
    case Type::kVerbatim:
      return Quoted(text);
    default:
      break;
  }
  const bool pairs = type == Type::kMap || type == Type::kAttribute;
  std::string out = pairs ? "{" : "[";
  for (size_t i = 0; i < elements.size(); ++i) {
    if (i != 0) out += pairs && i % 2 == 1 ? ": " : ", ";
    out += elements[i].DebugText();
  }
  return out + (pairs ? "}" : "]");
}

}  // namespace tessera::protocol
