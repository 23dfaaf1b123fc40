#include "protocol/reply_writer.h"

#include <algorithm>

namespace tessera::protocol {

void ReplyWriter::Line(char type, std::string_view text) {
  while (!text.empty() && (text.back() == '\r' || text.back() == '\n')) text.remove_suffix(1);
  char* const start = out_->Reserve(text.size() + 3);
  *start = type;
  char* p =
      std::transform(text.begin(), text.end(), start + 1, [](char c) { return c == '\r' || c == '\n' ? ' ' : c; });
  *p++ = '\r';
  *p++ = '\n';
  out_->Commit(static_cast<size_t>(p - start));
}

void ReplyWriter::SimpleString(std::string_view text) { Line('+', text); }

void ReplyWriter::Error(std::string_view text) {
  Line('-', text);
  ++error_count_;
  const std::string_view code = text.substr(0, std::min(text.find(' '), sizeof(error_code_)));
  std::memcpy(error_code_, code.data(), code.size());
  error_code_length_ = static_cast<uint8_t>(code.size());
}

void ReplyWriter::Double(double value) {
  char text[kMaxDoubleChars + 3];
  const size_t length = WriteDouble(value, text + 1);
  if (version_ == 2) {
    Bulk({text + 1, length});
    return;
  }
  text[0] = ',';
  text[length + 1] = '\r';
  text[length + 2] = '\n';
  out_->Append({text, length + 3});
}

void ReplyWriter::BigNumber(std::string_view digits) {
  if (version_ == 2) {
    Bulk(digits);
  } else {
    Line('(', digits);
  }
}

void ReplyWriter::Bool(bool value) {
  if (version_ == 2) {
    Integer(value ? 1 : 0);
  } else {
    out_->Append(value ? "#t\r\n" : "#f\r\n");
  }
}

void ReplyWriter::Verbatim(std::string_view format, std::string_view text) {
  if (version_ == 2) {
    Bulk(text);
    return;
  }
  Header('=', static_cast<int64_t>(text.size() + 4));
  out_->Append(format.substr(0, 3));
  out_->Append(":");
  out_->Append(text);
  out_->Append("\r\n");
}

}  // namespace tessera::protocol
