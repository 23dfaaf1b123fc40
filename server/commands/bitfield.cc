// Strings as rows of integers of any width: BITFIELD and BITFIELD_RO.
#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "server/commands/bit_offset.h"
#include "server/commands/data.h"
#include "server/commands/table.h"
#include "server/store/bits.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::GrowthRoom;
using store::IntScratch;
using Wide = __int128;

enum class Overflow : uint8_t { kWrap, kSaturate, kFail };

struct FieldType {
  bool is_signed;
  unsigned width;
  Wide Max() const { return (Wide{1} << (is_signed ? width - 1 : width)) - 1; }
  Wide Min() const { return is_signed ? -(Wide{1} << (width - 1)) : 0; }
};

struct Operation {
  enum class Kind : uint8_t { kGet, kSet, kIncrement } kind;
  Overflow overflow;
  FieldType type;
  uint64_t offset;
  int64_t operand;
};

// "i8", "u63" and the like.
std::optional<FieldType> ReadType(std::string_view text) {
  if (text.empty() || (text[0] != 'i' && text[0] != 'u')) return std::nullopt;
  const bool is_signed = text[0] == 'i';
  const auto width = protocol::ParseInt64(text.substr(1, text.find('\0') - 1));
  if (!width || *width < 1 || *width > (is_signed ? 64 : 63)) return std::nullopt;
  return FieldType{is_signed, static_cast<unsigned>(*width)};
}

std::optional<Overflow> ReadOverflow(std::string_view word) {
  if (protocol::EqualsIgnoreCase(word, "WRAP")) return Overflow::kWrap;
  if (protocol::EqualsIgnoreCase(word, "SAT")) return Overflow::kSaturate;
  if (protocol::EqualsIgnoreCase(word, "FAIL")) return Overflow::kFail;
  return std::nullopt;
}

// Replies and returns false when the words are no list of operations.
bool ReadOperations(CommandContext& ctx, std::vector<Operation>& operations) {
  Overflow overflow = Overflow::kWrap;
  for (size_t i = 2; i < ctx.argv.size();) {
    const std::string_view word = ctx.argv[i];
    const size_t followers = ctx.argv.size() - i - 1;
    Operation operation{.kind = Operation::Kind::kGet, .overflow = overflow, .type = {}, .offset = 0, .operand = 0};
    if (followers >= 1 && protocol::EqualsIgnoreCase(word, "OVERFLOW")) {
      const auto read = ReadOverflow(ctx.argv[i + 1]);
      if (!read) return ctx.reply.Error("ERR Invalid OVERFLOW type specified"), false;
      overflow = *read;
      i += 2;
      continue;
    } else if (followers >= 3 && protocol::EqualsIgnoreCase(word, "SET")) {
      operation.kind = Operation::Kind::kSet;
    } else if (followers >= 3 && protocol::EqualsIgnoreCase(word, "INCRBY")) {
      operation.kind = Operation::Kind::kIncrement;
    } else if (followers < 2 || !protocol::EqualsIgnoreCase(word, "GET")) {
      return ctx.reply.Error(kSyntaxError), false;
    }
    const auto type = ReadType(ctx.argv[i + 1]);
    if (!type) {
      ctx.reply.Error(
          "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.");
      return false;
    }
    operation.type = *type;
    if (!ReadBitOffset(ctx, ctx.argv[i + 2], type->width, operation.offset)) return false;
    const bool writes = operation.kind != Operation::Kind::kGet;
    if (writes && !ReadInteger(ctx, ctx.argv[i + 3], operation.operand)) return false;
    operations.push_back(operation);
    i += writes ? 4 : 3;
  }
  return true;
}

// A field's value; 64 bits without sign do not exist, so it always fits.
int64_t ReadField(std::string_view bytes, uint64_t offset, FieldType type) {
  const uint64_t bits = store::ReadBits(bytes, offset, type.width);
  if (!type.is_signed || type.width == 64) return static_cast<int64_t>(bits);
  const unsigned unused = 64 - type.width;
  return static_cast<int64_t>(bits << unused) >> unused;
}

// `sum` brought into the type's range; nullopt: overflow, and the operation is to fail.
std::optional<int64_t> Fit(Wide sum, const Operation& operation) {
  const FieldType type = operation.type;
  const bool above = sum > type.Max();
  if (!above && sum >= type.Min()) return static_cast<int64_t>(sum);
  switch (operation.overflow) {
    case Overflow::kFail:
      return std::nullopt;
    case Overflow::kSaturate:
      return static_cast<int64_t>(above ? type.Max() : type.Min());
    case Overflow::kWrap:
      break;
  }
  const auto bits = static_cast<uint64_t>(sum);
  if (type.width == 64) return static_cast<int64_t>(bits);
  const unsigned unused = 64 - type.width;
  if (type.is_signed) return static_cast<int64_t>(bits << unused) >> unused;
  return static_cast<int64_t>(bits << unused >> unused);
}

// What SET is asked to store. A field without sign takes the operand's bits as a number without sign.
Wide SetValue(const Operation& operation) {
  if (!operation.type.is_signed) return static_cast<uint64_t>(operation.operand);
  // Redis finds numbers near the lowest above the range instead of below, because the distance to the range's top does
  // not fit 64 bits. Clients see that with SAT.
  if (operation.type.Max() - operation.operand > std::numeric_limits<int64_t>::max() && operation.type.width < 64)
    return Wide{std::numeric_limits<uint64_t>::max()} + 1 + operation.operand;
  return operation.operand;
}

struct Outcome {
  int64_t old;
  std::optional<int64_t> fresh;  // nullopt: nothing is written
  bool failed = false;           // an overflow that was to fail
  bool changes() const { return fresh && *fresh != old; }
};

Outcome Evaluate(std::string_view bytes, const Operation& operation) {
  const int64_t old = ReadField(bytes, operation.offset, operation.type);
  if (operation.kind == Operation::Kind::kGet) return {old, std::nullopt};
  const bool increments = operation.kind == Operation::Kind::kIncrement;
  const auto fresh = Fit(increments ? Wide{old} + operation.operand : SetValue(operation), operation);
  return {old, fresh, !fresh};
}

void Reply(CommandContext& ctx, const Operation& operation, const Outcome& outcome) {
  if (outcome.failed) return ctx.reply.Null();
  ctx.reply.Integer(operation.kind == Operation::Kind::kIncrement ? *outcome.fresh : outcome.old);
}

void ReplyAll(CommandContext& ctx, std::string_view bytes, const std::vector<Operation>& operations) {
  ctx.reply.Array(static_cast<int64_t>(operations.size()));
  for (const Operation& operation : operations) Reply(ctx, operation, Evaluate(bytes, operation));
}

void ReadAll(CommandContext& ctx, const std::vector<Operation>& operations) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckString(ctx, entry)) return;
  IntScratch scratch;
  ReplyAll(ctx, entry ? entry.AsString(scratch) : std::string_view(), operations);
}

void ReadAndWriteAll(CommandContext& ctx, const std::vector<Operation>& operations, uint64_t last_bit) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckString(ctx, entry)) return;
  IntScratch scratch;
  const std::string_view old = entry ? entry.AsString(scratch) : std::string_view();
  const size_t length = std::max<size_t>(old.size(), last_bit / 8 + 1);
  const bool grows = length != old.size();
  // Up to the first change every operation sees the string as it is.
  if (!grows && std::none_of(operations.begin(), operations.end(),
                             [&](const Operation& operation) { return Evaluate(old, operation).changes(); })) {
    ReplyAll(ctx, old, operations);
    return LeaveRaw(ctx, key, entry);
  }
  // A string that only grows, because all that was to be written fails, changes for replicas too, but neither for WATCH
  // nor with an event.
  const bool writes = std::any_of(operations.begin(), operations.end(),
                                  [&](const Operation& operation) { return Evaluate(old, operation).fresh; });
  const auto kind = writes ? store::ChangeKind::kModified : store::ChangeKind::kInternal;
  const auto bytes = ctx.db().ResizeString(key, length, GrowthRoom::kAhead, kind);
  if (!bytes) return ctx.reply.Error(kOutOfMemory);
  ctx.reply.Array(static_cast<int64_t>(operations.size()));
  for (const Operation& operation : operations) {
    const Outcome outcome = Evaluate({bytes->data(), bytes->size()}, operation);
    Reply(ctx, operation, outcome);
    if (!outcome.fresh) continue;
    store::WriteBits(*bytes, operation.offset, operation.type.width, static_cast<uint64_t>(*outcome.fresh));
  }
  if (writes) {
    ctx.Notify('$', "setbit", key);
  } else if (!entry) {
    ctx.Notify('n', "new", key);
  }
}

void BitField(CommandContext& ctx) {
  std::vector<Operation> operations;
  if (!ReadOperations(ctx, operations)) return;
  bool writes = false;
  uint64_t last_bit = 0;
  for (const Operation& operation : operations) {
    if (operation.kind == Operation::Kind::kGet) continue;
    writes = true;
    last_bit = std::max(last_bit, operation.offset + operation.type.width - 1);
  }
  if (!writes) return ReadAll(ctx, operations);
  if (ctx.row.has(kReadOnly)) return ctx.reply.Error("ERR BITFIELD_RO only supports the GET subcommand");
  ReadAndWriteAll(ctx, operations, last_bit);
}

// ---- rows

// Nothing but GETs reads; everything else, nonsense included, may write.
bool FindBitfieldKey(Argv argv, std::vector<KeyPosition>& keys) {
  keys.push_back({1, kKeyRO | kKeyAccess});
  for (size_t i = 2; i < argv.size();) {
    const size_t followers = argv.size() - i - 1;
    if (followers >= 2 && protocol::EqualsIgnoreCase(argv[i], "GET")) {
      i += 3;
    } else if (followers >= 1 && protocol::EqualsIgnoreCase(argv[i], "OVERFLOW")) {
      i += 2;
    } else {
      keys.back().flags = kKeyRW | kKeyAccess | kKeyUpdate;
      break;
    }
  }
  return true;
}
constexpr KeySpec kBitfieldKeys[] = {{.flags = kKeyRW | kKeyAccess | kKeyUpdate | kKeyVariableFlags,
                                      .index = 1,
                                      .notes = "reads, and writes unless all operations are GET"}};
constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr ArgSpec kGetBlock[] = {{.name = "encoding", .type = ArgType::kString},
                                 {.name = "offset", .type = ArgType::kInteger}};
constexpr ArgSpec kSetBlock[] = {{.name = "encoding", .type = ArgType::kString},
                                 {.name = "offset", .type = ArgType::kInteger},
                                 {.name = "value", .type = ArgType::kInteger}};
constexpr ArgSpec kIncrbyBlock[] = {{.name = "encoding", .type = ArgType::kString},
                                    {.name = "offset", .type = ArgType::kInteger},
                                    {.name = "increment", .type = ArgType::kInteger}};
constexpr ArgSpec kOverflows[] = {{.name = "wrap", .type = ArgType::kPureToken, .token = "WRAP"},
                                  {.name = "sat", .type = ArgType::kPureToken, .token = "SAT"},
                                  {.name = "fail", .type = ArgType::kPureToken, .token = "FAIL"}};
constexpr ArgSpec kWriteOperations[] = {
    {.name = "set-block", .type = ArgType::kBlock, .token = "SET", .children = kSetBlock},
    {.name = "incrby-block", .type = ArgType::kBlock, .token = "INCRBY", .children = kIncrbyBlock}};
constexpr ArgSpec kWriteBlock[] = {{.name = "overflow-block",
                                    .type = ArgType::kOneOf,
                                    .flags = kOptional,
                                    .token = "OVERFLOW",
                                    .children = kOverflows},
                                   {.name = "write-operation", .type = ArgType::kOneOf, .children = kWriteOperations}};
constexpr ArgSpec kOperations[] = {
    {.name = "get-block", .type = ArgType::kBlock, .token = "GET", .children = kGetBlock},
    {.name = "write", .type = ArgType::kBlock, .children = kWriteBlock}};
constexpr ArgSpec kBitfieldArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "operation", .type = ArgType::kOneOf, .flags = kOptional | kMultiple, .children = kOperations}};
constexpr ArgSpec kBitfieldRoArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                       {.name = "get-block",
                                        .type = ArgType::kBlock,
                                        .flags = kOptional | kMultiple | kMultipleToken,
                                        .token = "GET",
                                        .children = kGetBlock}};

constexpr CommandRow kRows[] = {
    {.name = "bitfield",
     .arity = -2,
     .flags = kWrite | kDenyOom,
     .acl = kAclBitmap,
     .handler = BitField,
     .keys = kBitfieldKeys,
     .find_keys = FindBitfieldKey,
     .group = Group::kBitmap,
     .since = "3.2.0",
     .complexity = "O(1) for each operation.",
     .summary = "Reads, writes and counts up integers of any width inside a string.",
     .args = kBitfieldArgs},
    {.name = "bitfield_ro",
     .arity = -2,
     .flags = kReadOnly | kFast,
     .acl = kAclBitmap,
     .handler = BitField,
     .keys = kReadsKey,
     .group = Group::kBitmap,
     .since = "6.0.0",
     .complexity = "O(1) for each operation.",
     .summary = "Reads integers of any width inside a string.",
     .args = kBitfieldRoArgs},
};

}  // namespace

std::span<const CommandRow> BitfieldCommands() { return kRows; }

}  // namespace tessera
