// Reads a command's arguments in order and keeps the first error, so that a handler reads everything it wants and asks
// once:
//   ArgReader args(argv, 3);
//   while (args.HasNext()) {
//     if (args.Check("EX")) ttl = args.NextInt<int64_t>();
//     else if (args.Check("NX")) nx = true;
//     else args.SyntaxError();
//   }
//   if (!args.ok()) return reply.Error(args.error());
// After an error HasNext() is false and every read gives a default value.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace tessera::protocol {

inline constexpr std::string_view kSyntaxError = "ERR syntax error";
inline constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";
inline constexpr std::string_view kNotAFloat = "ERR value is not a valid float";
inline constexpr std::string_view kOutOfRange = "ERR value is out of range";

// ASCII only, as Redis compares command words.
[[nodiscard]] bool EqualsIgnoreCase(std::string_view a, std::string_view b);

class ArgReader {
 public:
  using Argv = std::span<const std::string_view>;

  // Begins at argv[first]; argv must outlive the reader.
  explicit ArgReader(Argv argv, size_t first = 1) : argv_(argv), index_(first) {}

  bool HasNext() const { return ok() && index_ < argv_.size(); }
  size_t Remaining() const { return ok() && index_ < argv_.size() ? argv_.size() - index_ : 0; }
  // Position in argv of what Next() would give.
  size_t index() const { return index_; }

  // A missing argument is a syntax error.
  std::string_view Next() {
    if (!HasNext()) {
      SyntaxError();
      return {};
    }
    return argv_[index_++];
  }
  std::string_view Peek() const { return HasNext() ? argv_[index_] : std::string_view(); }
  void Skip(size_t n = 1) { index_ += n; }

  // Consumes the next argument if it is this word in any case, and at least `followers` more come after it.
  bool Check(std::string_view word, size_t followers = 0) {
    if (!HasNext() || argv_.size() - index_ - 1 < followers || !EqualsIgnoreCase(argv_[index_], word)) return false;
    ++index_;
    return true;
  }

  // A value that is no canonical integer gives kNotAnInteger; an integer that T cannot hold, kOutOfRange. `error`
  // replaces both.
  template <typename T = int64_t>
  T NextInt(std::string_view error = {}) {
    static_assert(std::is_integral_v<T> && (std::is_signed_v<T> || sizeof(T) < sizeof(int64_t)),
                  "use NextUint64 for 64 bits without sign");
    return static_cast<T>(NextIn(std::numeric_limits<T>::min(), std::numeric_limits<T>::max(), error));
  }
  uint64_t NextUint64(std::string_view error = kNotAnInteger);
  // Bounds included. Without `error` the text names the bounds, as Redis does.
  int64_t NextIntBetween(int64_t min, int64_t max, std::string_view error = {});
  double NextDouble(std::string_view error = kNotAFloat);

  // Fails unless all arguments have been read.
  void ExpectEnd() {
    if (HasNext()) SyntaxError();
  }
  void SyntaxError() { Fail(kSyntaxError); }
  // Keeps the first; `text` is copied.
  void Fail(std::string_view text) {
    if (error_.empty()) error_ = text;
  }

  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }

 private:
  int64_t NextIn(int64_t min, int64_t max, std::string_view error);

  Argv argv_;
  size_t index_;
  std::string error_;
};

}  // namespace tessera::protocol
