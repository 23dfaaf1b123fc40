#include "persistence/aof_writer.h"

#include <charconv>

#include "fmt/core.h"

namespace tessera::persistence {
namespace {

void AppendNumberLine(char mark, uint64_t number, std::string* out) {
  char text[20];
  char* end = std::to_chars(text, text + sizeof(text), number).ptr;
  out->push_back(mark);
  out->append(text, end);
  out->append("\r\n");
}

}  // namespace

void AppendCommand(std::span<const std::string_view> argv, std::string* out) {
  AppendNumberLine('*', argv.size(), out);
  for (std::string_view argument : argv) {
    AppendNumberLine('$', argument.size(), out);
    out->append(argument);
    out->append("\r\n");
  }
}

void AofCommandWriter::Database(uint32_t index, uint64_t, uint64_t) {
  std::string number = fmt::format("{}", index);
  const std::string_view argv[] = {"SELECT", number};
  AppendCommand(argv, out_);
}

void AofCommandWriter::String(const EntryHeader& header, std::string_view value) {
  const std::string_view set[] = {"SET", header.key, value};
  AppendCommand(set, out_);
  if (header.expiry_ms == kNoExpiry) return;
  // Not SET ... PXAT: servers before 6.2 read this form too.
  std::string expiry = fmt::format("{}", header.expiry_ms);
  const std::string_view expire[] = {"PEXPIREAT", header.key, expiry};
  AppendCommand(expire, out_);
}

}  // namespace tessera::persistence
