// Status and Result: how this library reports failures of the environment (disk full, file missing, broken file).
// Values, never exceptions; a text that can be logged as it is; errno kept for callers that decide by it.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace tessera::persistence {

class [[nodiscard]] Status {
 public:
  Status() = default;  // success

  // A failed system call: "cannot rename a to b: No space left on device".
  static Status FromErrno(int error_number, std::string_view operation, std::string_view path);
  // Contents that cannot be used; code() is EBADMSG. `text` says what is wrong and where.
  static Status Invalid(std::string text, std::string_view path = {});

  bool ok() const { return code_ == 0; }
  int code() const { return code_; }  // errno; 0 when ok
  const std::string& path() const { return path_; }
  const std::string& text() const { return text_; }  // empty when ok
  std::string reason() const;                        // the system's words for code(), without operation and path

 private:
  int code_ = 0;
  std::string path_;
  std::string text_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                                  // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) { assert(!status_.ok()); }  // NOLINT

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace tessera::persistence
