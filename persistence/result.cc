#include "persistence/result.h"

#include <cerrno>
#include <system_error>

#include "fmt/core.h"

namespace tessera::persistence {

Status Status::FromErrno(int error_number, std::string_view operation, std::string_view path) {
  Status status;
  status.code_ = error_number == 0 ? EIO : error_number;
  status.path_ = path;
  status.text_ = fmt::format("cannot {} {}: {}", operation, path, std::generic_category().message(status.code_));
  return status;
}

std::string Status::reason() const { return std::generic_category().message(code_); }

Status Status::Invalid(std::string text, std::string_view path) {
  Status status;
  status.code_ = EBADMSG;
  status.path_ = path;
  status.text_ = path.empty() ? std::move(text) : fmt::format("{}: {}", path, text);
  return status;
}

}  // namespace tessera::persistence
