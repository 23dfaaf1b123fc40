#include "server/replication/field_expiry.h"

#include <array>
#include <charconv>
#include <optional>

#include "protocol/args.h"

namespace tessera {
namespace {

constexpr std::string_view kPing = "*1\r\n$4\r\nPING\r\n";
constexpr std::string_view kPingWithText = "*2\r\n$4\r\nPING\r\n$";
// Of all commands that set or clear expiries of fields, in the words that primaries pass on.
constexpr std::array<std::string_view, 5> kCommands = {"HPEXPIREAT", "HPERSIST", "HEXPIREAT", "HPEXPIRE", "HEXPIRE"};

// The number behind `kind` at `at`, which moves behind its line.
std::optional<size_t> ReadNumber(std::string_view bytes, size_t& at, char kind) {
  if (at >= bytes.size() || bytes[at] != kind) return std::nullopt;
  const size_t end = bytes.find("\r\n", at);
  if (end == std::string_view::npos) return std::nullopt;
  size_t number = 0;
  const auto [rest, error] = std::from_chars(bytes.data() + at + 1, bytes.data() + end, number);
  if (error != std::errc() || rest != bytes.data() + end) return std::nullopt;
  at = end + 2;
  return number;
}

// A command's length and name; nothing when it is not whole.
struct Frame {
  size_t length = 0;
  std::string_view name;
};
std::optional<Frame> ReadFrame(std::string_view bytes) {
  Frame frame;
  size_t at = 0;
  const auto words = ReadNumber(bytes, at, '*');
  if (!words) return std::nullopt;
  for (size_t word = 0; word < *words; ++word) {
    const auto length = ReadNumber(bytes, at, '$');
    if (!length || *length > bytes.size() || at + *length + 2 > bytes.size()) return std::nullopt;
    if (word == 0) frame.name = bytes.substr(at, *length);
    at += *length + 2;
  }
  frame.length = at;
  return frame;
}

constexpr size_t kShortest = 50;  // HPERSIST k FIELDS 1 f

// A command of `length` bytes that does nothing.
void AppendFiller(std::string& out, size_t length) {
  for (size_t digits = 1; digits < 12; ++digits) {
    const size_t around = kPingWithText.size() + digits + 4;
    if (length < around) break;
    const std::string text = std::to_string(length - around);
    if (text.size() != digits) continue;
    out.append(kPingWithText).append(text).append("\r\n").append(length - around, '-').append("\r\n");
    return;
  }
  // Where the length of the text's length jumps there is a gap of one byte.
  out.append(kPing);
  AppendFiller(out, length - kPing.size());
}

}  // namespace

bool MayTouchFieldExpiry(std::string_view stream) {
  // Every name has a length line before it: cheaper to search than to read all commands.
  for (size_t at = stream.find("\r\n"); at != std::string_view::npos; at = stream.find("\r\n", at + 2)) {
    const std::string_view name = stream.substr(at + 2, 10);
    for (std::string_view command : kCommands)
      if (protocol::EqualsIgnoreCase(name.substr(0, command.size()), command)) return true;
  }
  return false;
}

std::string WithoutFieldExpiry(std::string_view stream) {
  std::string out;
  out.reserve(stream.size());
  while (!stream.empty()) {
    if (stream[0] == '\r' || stream[0] == '\n') {
      out.push_back(stream[0]);
      stream.remove_prefix(1);
      continue;
    }
    const std::optional<Frame> frame = ReadFrame(stream);
    if (!frame) break;
    bool hidden = false;
    for (std::string_view command : kCommands) hidden |= protocol::EqualsIgnoreCase(frame->name, command);
    if (hidden && frame->length >= kShortest) {
      AppendFiller(out, frame->length);
    } else {
      out.append(stream.substr(0, frame->length));
    }
    stream.remove_prefix(frame->length);
  }
  return out.append(stream);
}

}  // namespace tessera
