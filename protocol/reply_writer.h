// Replies as RESP2 or RESP3 bytes, appended straight to a connection's output. A handler names what it answers (a map,
// a double, a null); what that looks like in the client's protocol version is decided here.
//
// Aggregates are announced with their length and followed by their elements: Map(2) wants four more values. When the
// length is known only afterwards, Defer() marks the place and EndArray/EndMap/EndSet put the header there.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "protocol/number.h"
#include "protocol/output_buffer.h"

namespace tessera::protocol {

// Does not own the buffer. Cheap to make, but usually lives with its connection, since the error count does.
class ReplyWriter {
 public:
  using Deferred = OutputBuffer::Mark;

  explicit ReplyWriter(OutputBuffer* out, int version = 2) : out_(out), version_(version) {}

  // 2 or 3.
  int version() const { return version_; }
  void set_version(int version) { version_ = version; }
  OutputBuffer& buffer() { return *out_; }

  void Ok() { out_->Append("+OK\r\n"); }
  void SimpleString(std::string_view text);
  // The whole text with its code: "ERR syntax error". Line ends within become spaces.
  void Error(std::string_view text);

  void Integer(int64_t value) { Header(':', value); }
  void Bulk(std::string_view bytes) {
    if (bytes.size() <= kSmallBulk) [[likely]] {
      char* const start = out_->Reserve(bytes.size() + kMaxHeader + 2);
      char* p = PutHeader(start, '$', static_cast<int64_t>(bytes.size()));
      if (!bytes.empty()) std::memcpy(p, bytes.data(), bytes.size());
      p += bytes.size();
      *p++ = '\r';
      *p++ = '\n';
      out_->Commit(static_cast<size_t>(p - start));
    } else {
      Header('$', static_cast<int64_t>(bytes.size()));
      out_->Append(bytes);
      out_->Append("\r\n");
    }
  }
  // The integer's text as a bulk string.
  void BulkInteger(int64_t value) {
    char text[kMaxIntegerChars];
    Bulk({text, WriteInt64(value, text)});
  }
  // RESP3 double; a bulk string in RESP2.
  void Double(double value);
  // Decimal digits of any length; a bulk string in RESP2.
  void BigNumber(std::string_view digits);
  // RESP3 boolean; :1 or :0 in RESP2.
  void Bool(bool value);
  // `format` has three letters, "txt" or "mkd"; a bulk string in RESP2.
  void Verbatim(std::string_view format, std::string_view text);

  // RESP3 null; in RESP2 the null bulk string and the null array.
  void Null() { out_->Append(version_ == 2 ? std::string_view("$-1\r\n") : std::string_view("_\r\n")); }
  void NullArray() { out_->Append(version_ == 2 ? std::string_view("*-1\r\n") : std::string_view("_\r\n")); }

  void Array(int64_t n) { Header('*', n); }
  void Map(int64_t pairs) { Header(version_ == 2 ? '*' : '%', version_ == 2 ? 2 * pairs : pairs); }
  void Set(int64_t n) { Header(version_ == 2 ? '*' : '~', n); }
  void Push(int64_t n) { Header(version_ == 2 ? '*' : '>', n); }
  // RESP3 only: RESP2 clients must not be sent attributes.
  void Attribute(int64_t pairs) { Header('|', pairs); }

  // Deferrals nest; the innermost ends first.
  Deferred Defer() { return out_->End(); }
  void EndArray(const Deferred& at, int64_t n) { EndHeader(at, '*', n); }
  void EndMap(const Deferred& at, int64_t pairs) {
    EndHeader(at, version_ == 2 ? '*' : '%', version_ == 2 ? 2 * pairs : pairs);
  }
  void EndSet(const Deferred& at, int64_t n) { EndHeader(at, version_ == 2 ? '*' : '~', n); }
  // Takes back everything written since, for CLIENT REPLY OFF and for handlers that find out late.
  void Discard(const Deferred& since) { out_->Truncate(since); }

  // Bytes that are RESP already.
  void Raw(std::string_view resp) { out_->Append(resp); }

  // How many errors were written so far, and the first word of the latest ("ERR", "WRONGTYPE"), at most 31 characters.
  uint64_t error_count() const { return error_count_; }
  std::string_view last_error_code() const { return {error_code_, error_code_length_}; }

 private:
  static constexpr size_t kSmallBulk = 1024;
  static constexpr size_t kMaxHeader = 1 + kMaxIntegerChars + 2;

  static char* PutHeader(char* p, char type, int64_t n) {
    *p++ = type;
    if (static_cast<uint64_t>(n) < 10) {
      *p++ = static_cast<char>('0' + n);
    } else {
      p += WriteInt64(n, p);
    }
    *p++ = '\r';
    *p++ = '\n';
    return p;
  }
  void Header(char type, int64_t n) {
    char* const start = out_->Reserve(kMaxHeader);
    out_->Commit(static_cast<size_t>(PutHeader(start, type, n) - start));
  }
  void EndHeader(const Deferred& at, char type, int64_t n) {
    char header[kMaxHeader];
    out_->InsertAt(at, {header, static_cast<size_t>(PutHeader(header, type, n) - header)});
  }
  void Line(char type, std::string_view text);

  OutputBuffer* out_;
  int version_;
  uint64_t error_count_ = 0;
  uint8_t error_code_length_ = 0;
  char error_code_[31];
};

}  // namespace tessera::protocol
