// Commands on the bytes of a string: APPEND, STRLEN, SETRANGE, GETRANGE, and what two strings have in common (LCS).
#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

#include "server/commands/data.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::IntScratch;

void Append(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1], tail = ctx.argv[2];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckString(ctx, entry)) return;
  size_t length = tail.size();
  if (!entry) {
    if (!ctx.db().SetString(key, tail, store::Expiry::None())) return ctx.reply.Error(kOutOfMemory);
  } else {
    const size_t old_length = entry.string_length();
    if (!CheckStringLength(ctx, old_length, tail.size())) return;
    length += old_length;
    const auto bytes = ctx.db().ResizeString(key, length);
    if (!bytes) return ctx.reply.Error(kOutOfMemory);
    if (!tail.empty()) std::memcpy(bytes->data() + old_length, tail.data(), tail.size());
  }
  ctx.Notify('$', "append", key);
  ctx.reply.Integer(static_cast<int64_t>(length));
}

void StrLen(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckString(ctx, entry)) return;
  ctx.reply.Integer(entry ? static_cast<int64_t>(entry.string_length()) : 0);
}

void SetRange(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1], patch = ctx.argv[3];
  int64_t offset;
  if (!ReadInteger(ctx, ctx.argv[2], offset)) return;
  if (offset < 0) return ctx.reply.Error("ERR offset is out of range");
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckString(ctx, entry)) return;
  const size_t old_length = entry ? entry.string_length() : 0;
  if (patch.empty()) return ctx.reply.Integer(static_cast<int64_t>(old_length));
  const auto start = static_cast<size_t>(offset);
  if (!CheckStringLength(ctx, start, patch.size())) return;
  const size_t length = std::max(old_length, start + patch.size());
  const auto bytes = ctx.db().ResizeString(key, length);
  if (!bytes) return ctx.reply.Error(kOutOfMemory);
  std::memcpy(bytes->data() + start, patch.data(), patch.size());
  ctx.Notify('$', "setrange", key);
  ctx.reply.Integer(static_cast<int64_t>(length));
}

void GetRange(CommandContext& ctx) {
  int64_t first, last;
  if (!ReadInteger(ctx, ctx.argv[2], first) || !ReadInteger(ctx, ctx.argv[3], last)) return;
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckString(ctx, entry)) return;
  if (!entry) return ctx.reply.Bulk({});
  IntScratch scratch;
  const std::string_view value = entry.AsString(scratch);
  const auto length = static_cast<int64_t>(value.size());
  // Both from the end and the wrong way round stays empty even where clamping would make the two meet.
  if (first < 0 && last < 0 && first > last) return ctx.reply.Bulk({});
  if (first < 0) first = std::max<int64_t>(first + length, 0);
  if (last < 0) last = std::max<int64_t>(last + length, 0);
  last = std::min(last, length - 1);
  if (first > last) return ctx.reply.Bulk({});
  ctx.reply.Bulk(value.substr(static_cast<size_t>(first), static_cast<size_t>(last - first + 1)));
}

// Lengths of longest common subsequences of all pairs of prefixes: cell (i, j) is for i bytes of `a` and j of `b`.
class PrefixLengths {
 public:
  // False when there is no memory for the table.
  bool Build(std::string_view a, std::string_view b) {
    width_ = b.size() + 1;
    cells_.reset(new (std::nothrow) uint32_t[(a.size() + 1) * width_]);
    if (cells_ == nullptr) return false;
    std::fill_n(cells_.get(), width_, 0);
    for (size_t i = 1; i <= a.size(); ++i) {
      uint32_t* row = cells_.get() + i * width_;
      const uint32_t* above = row - width_;
      row[0] = 0;
      for (size_t j = 1; j <= b.size(); ++j)
        row[j] = a[i - 1] == b[j - 1] ? above[j - 1] + 1 : std::max(above[j], row[j - 1]);
    }
    return true;
  }
  uint32_t at(size_t i, size_t j) const { return cells_[i * width_ + j]; }

 private:
  size_t width_ = 0;
  std::unique_ptr<uint32_t[]> cells_;
};

struct LcsOptions {
  bool length_only = false, ranges = false, with_lengths = false;
  int64_t min_length = 0;
};

// One run of equal bytes: a[a_first .. a_first + length), b likewise.
void ReplyMatch(protocol::ReplyWriter& reply, size_t a_first, size_t b_first, size_t length, bool with_length) {
  reply.Array(with_length ? 3 : 2);
  for (size_t first : {a_first, b_first}) {
    reply.Array(2);
    reply.Integer(static_cast<int64_t>(first));
    reply.Integer(static_cast<int64_t>(first + length - 1));
  }
  if (with_length) reply.Integer(static_cast<int64_t>(length));
}

// Walks the table from its far corner. Runs are found last to first, which is also the order Redis answers them in.
void ReplyLcs(CommandContext& ctx, std::string_view a, std::string_view b, const LcsOptions& options) {
  PrefixLengths table;
  if (!table.Build(a, b)) return ctx.reply.Error("ERR Insufficient memory, failed allocating transient memory for LCS");
  const uint32_t total = table.at(a.size(), b.size());
  if (options.length_only) return ctx.reply.Integer(total);

  std::string common(options.ranges ? 0 : total, '\0');
  protocol::ReplyWriter::Deferred mark;
  int64_t matches = 0;
  if (options.ranges) {
    ctx.reply.Map(2);
    ctx.reply.Bulk("matches");
    mark = ctx.reply.Defer();
  }
  size_t i = a.size(), j = b.size(), left = total;
  while (i > 0 && j > 0 && left > 0) {
    if (a[i - 1] != b[j - 1]) {
      if (table.at(i - 1, j) > table.at(i, j - 1)) {
        --i;
      } else {
        --j;
      }
      continue;
    }
    size_t run = 0;
    while (i > 0 && j > 0 && a[i - 1] == b[j - 1]) {
      --i, --j, ++run;
      --left;
      if (!options.ranges) common[left] = a[i];
    }
    if (options.ranges && static_cast<int64_t>(run) >= options.min_length) {
      ReplyMatch(ctx.reply, i, j, run, options.with_lengths);
      ++matches;
    }
  }
  if (!options.ranges) return ctx.reply.Bulk(common);
  ctx.reply.EndArray(mark, matches);
  ctx.reply.Bulk("len");
  ctx.reply.Integer(total);
}

void Lcs(CommandContext& ctx) {
  // The second look may delete an expired key and move entries, so the first entry is fetched again.
  const bool has_a = static_cast<bool>(ctx.Find(ctx.argv[1]));
  const EntryRef entry_b = ctx.Find(ctx.argv[2]);
  const EntryRef entry_a = has_a ? ctx.db().Peek(ctx.argv[1]) : EntryRef();
  for (EntryRef entry : {entry_a, entry_b})
    if (entry && entry.type() != store::Type::kString)
      return ctx.reply.Error("ERR The specified keys must contain string values");

  LcsOptions options;
  protocol::ArgReader args(ctx.argv, 3);
  while (args.HasNext()) {
    if (args.Check("IDX")) {
      options.ranges = true;
    } else if (args.Check("LEN")) {
      options.length_only = true;
    } else if (args.Check("WITHMATCHLEN")) {
      options.with_lengths = true;
    } else if (args.Check("MINMATCHLEN", 1)) {
      options.min_length = std::max<int64_t>(args.NextInt<int64_t>(), 0);
    } else {
      args.SyntaxError();
    }
  }
  if (!args.ok()) return ctx.reply.Error(args.error());
  if (options.ranges && options.length_only)
    return ctx.reply.Error("ERR If you want both the length and indexes, please just use IDX.");

  IntScratch scratch_a, scratch_b;
  const std::string_view a = entry_a ? entry_a.AsString(scratch_a) : std::string_view();
  const std::string_view b = entry_b ? entry_b.AsString(scratch_b) : std::string_view();
  constexpr size_t kLongest = std::numeric_limits<uint32_t>::max() - 2;
  if (a.size() > kLongest || b.size() > kLongest) return ctx.reply.Error("ERR String too long for LCS");
  size_t bytes;
  if (__builtin_mul_overflow(a.size() + 1, b.size() + 1, &bytes) ||
      __builtin_mul_overflow(bytes, sizeof(uint32_t), &bytes) || bytes > static_cast<size_t>(StringBytesMax(ctx)))
    return ctx.reply.Error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
  ReplyLcs(ctx, a, b, options);
}

// ---- rows

constexpr KeySpec kExtendsKey[] = {{.flags = kKeyRW | kKeyInsert, .index = 1}};
constexpr ArgSpec kKeyAndValue[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                    {.name = "value", .type = ArgType::kString}};
constexpr KeySpec kLooksKey[] = {{.flags = kKeyRO, .index = 1}};
constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr KeySpec kChangesKey[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1}};
constexpr ArgSpec kSetrangeArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                     {.name = "offset", .type = ArgType::kInteger},
                                     {.name = "value", .type = ArgType::kString}};
constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr ArgSpec kGetrangeArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                     {.name = "start", .type = ArgType::kInteger},
                                     {.name = "end", .type = ArgType::kInteger}};
constexpr KeySpec kReadsKeys[] = {{.flags = kKeyRO | kKeyAccess, .index = 1, .last_key = 1}};
constexpr ArgSpec kLcsArgs[] = {
    {.name = "key1", .type = ArgType::kKey, .key_spec = 0},
    {.name = "key2", .type = ArgType::kKey, .key_spec = 0},
    {.name = "len", .type = ArgType::kPureToken, .flags = kOptional, .token = "LEN"},
    {.name = "idx", .type = ArgType::kPureToken, .flags = kOptional, .token = "IDX"},
    {.name = "min-match-len", .type = ArgType::kInteger, .flags = kOptional, .token = "MINMATCHLEN"},
    {.name = "withmatchlen", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHMATCHLEN"}};

constexpr CommandRow kRows[] = {
    {.name = "append",
     .arity = 3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclString,
     .handler = Append,
     .keys = kExtendsKey,
     .group = Group::kString,
     .since = "2.0.0",
     .complexity = "O(1) amortised for short additions: room grows ahead of need.",
     .summary = "Adds bytes at the end of a string, creating it if need be.",
     .args = kKeyAndValue},
    {.name = "strlen",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclString,
     .handler = StrLen,
     .keys = kLooksKey,
     .group = Group::kString,
     .since = "2.2.0",
     .complexity = "O(1)",
     .summary = "Tells how many bytes a string has.",
     .args = kOneKey},
    {.name = "setrange",
     .arity = 4,
     .flags = kWrite | kDenyOom,
     .acl = kAclString,
     .handler = SetRange,
     .keys = kChangesKey,
     .group = Group::kString,
     .since = "2.2.0",
     .complexity = "O(M) for M bytes written; O(1) for short ones.",
     .summary = "Overwrites bytes of a string from an offset on, growing it with zeros if need be.",
     .args = kSetrangeArgs},
    {.name = "getrange",
     .arity = 4,
     .flags = kReadOnly,
     .acl = kAclString,
     .handler = GetRange,
     .keys = kReadsKey,
     .group = Group::kString,
     .since = "2.4.0",
     .complexity = "O(N) for N bytes answered.",
     .summary = "Reads a part of a string, given by its first and last byte.",
     .args = kGetrangeArgs},
    {.name = "substr",
     .arity = 4,
     .flags = kReadOnly,
     .acl = kAclString,
     .handler = GetRange,
     .keys = kReadsKey,
     .group = Group::kString,
     .since = "1.0.0",
     .complexity = "O(N) for N bytes answered.",
     .summary = "Reads a part of a string; an older name of GETRANGE.",
     .args = kGetrangeArgs,
     .deprecated_since = "2.0.0",
     .replaced_by = "`GETRANGE`"},
    {.name = "lcs",
     .arity = -3,
     .flags = kReadOnly,
     .acl = kAclString,
     .handler = Lcs,
     .keys = kReadsKeys,
     .group = Group::kString,
     .since = "7.0.0",
     .complexity = "O(N*M) for strings of N and M bytes.",
     .summary = "Finds a longest sequence of bytes that two strings have in common.",
     .args = kLcsArgs},
};

}  // namespace

std::span<const CommandRow> StringPartCommands() { return kRows; }

}  // namespace tessera
