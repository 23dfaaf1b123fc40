// What SSCAN, HSCAN and ZSCAN share: their options and the form of their reply.
#pragma once

#include <fmt/format.h>

#include <optional>

#include "protocol/glob.h"
#include "server/commands/data.h"

namespace tessera {

// Cursors are read as strtoul reads them (a sign or nothing at all are fine), because clients were found to rely on it.
std::optional<uint64_t> ReadCursor(std::string_view text);

// The reply of a SCAN: the cursor, known last, in front of the elements written since `mark`.
void EndScan(CommandContext& ctx, const protocol::OutputBuffer::Mark& mark, uint64_t cursor, int64_t found);

struct ElementScan {
  uint64_t position = 0;
  int64_t count = 10;
  std::string_view pattern = "*";
  bool no_values = false;  // HSCAN ... NOVALUES

  bool Matches(std::string_view element) const { return pattern == "*" || protocol::GlobMatch(pattern, element); }
};

// argv[3] onwards; replies and returns false when an option is wrong.
bool ReadElementScan(CommandContext& ctx, ElementScan& scan, bool takes_no_values = false);

// `step(position)` visits some elements, writes those that match, adds to `found` and returns the next position.
// Steps until about scan.count elements were looked at.
template <typename Step>
void ReplyElementScan(CommandContext& ctx, const ElementScan& scan, Step step) {
  ctx.reply.Array(2);
  const auto mark = ctx.reply.Defer();
  uint64_t position = scan.position;
  int64_t looked_at = 0, found = 0;
  do {
    position = step(position, looked_at, found);
  } while (position != 0 && looked_at < scan.count);
  EndScan(ctx, mark, position, found);
}

inline void ReplyEmptyScan(CommandContext& ctx) {
  ctx.reply.Array(2);
  ctx.reply.Bulk("0");
  ctx.reply.Array(0);
}

}  // namespace tessera
