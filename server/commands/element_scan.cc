#include "server/commands/element_scan.h"

#include <cctype>
#include <cerrno>
#include <cstdlib>

#include "protocol/args.h"

namespace tessera {

std::optional<uint64_t> ReadCursor(std::string_view text) {
  char buffer[32];
  if (text.size() >= sizeof(buffer)) return std::nullopt;
  buffer[text.copy(buffer, sizeof(buffer) - 1)] = '\0';
  if (std::isspace(static_cast<unsigned char>(buffer[0]))) return std::nullopt;
  char* end;
  errno = 0;
  const uint64_t cursor = std::strtoull(buffer, &end, 10);
  if (*end != '\0' || errno == ERANGE) return std::nullopt;
  return cursor;
}

void EndScan(CommandContext& ctx, const protocol::OutputBuffer::Mark& mark, uint64_t cursor, int64_t found) {
  char digits[protocol::kMaxIntegerChars];
  const size_t length = protocol::WriteUint64(cursor, digits);
  char header[64];
  const auto end = fmt::format_to(header, "${}\r\n{}\r\n*{}\r\n", length, std::string_view(digits, length), found);
  ctx.reply.buffer().InsertAt(mark, {header, static_cast<size_t>(end - header)});
}

bool ReadElementScan(CommandContext& ctx, ElementScan& scan, bool takes_no_values) {
  protocol::ArgReader args(ctx.argv, 3);
  while (args.HasNext()) {
    if (args.Check("COUNT", 1)) {
      scan.count = args.NextInt<int64_t>();
      if (args.ok() && scan.count < 1) args.SyntaxError();
    } else if (args.Check("MATCH", 1)) {
      scan.pattern = args.Next();
    } else if (takes_no_values && args.Check("NOVALUES")) {
      scan.no_values = true;
    } else {
      args.SyntaxError();
    }
  }
  if (!args.ok()) ctx.reply.Error(args.error());
  return args.ok();
}

}  // namespace tessera
