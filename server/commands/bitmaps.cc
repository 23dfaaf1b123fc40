// Strings as rows of bits: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP.
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "server/commands/bit_offset.h"
#include "server/commands/data.h"
#include "server/commands/table.h"
#include "server/store/bits.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::IntScratch;

constexpr uint8_t BitMask(uint64_t offset) { return static_cast<uint8_t>(0x80u >> (offset % 8)); }

bool TestBit(std::string_view bytes, uint64_t offset) {
  return offset / 8 < bytes.size() && (static_cast<uint8_t>(bytes[offset / 8]) & BitMask(offset)) != 0;
}

void SetBit(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  uint64_t offset;
  if (!ReadBitOffset(ctx, ctx.argv[2], 0, offset)) return;
  const auto bit = protocol::ParseInt64(ctx.argv[3]);
  if (!bit || (*bit != 0 && *bit != 1)) return ctx.reply.Error("ERR bit is not an integer or out of range");
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckString(ctx, entry)) return;
  IntScratch scratch;
  const std::string_view old = entry ? entry.AsString(scratch) : std::string_view();
  const bool old_bit = TestBit(old, offset);
  if (old_bit == (*bit == 1) && offset / 8 < old.size()) {
    LeaveRaw(ctx, key, entry);
    return ctx.reply.Integer(old_bit);
  }
  const auto bytes = ctx.db().ResizeString(key, std::max<size_t>(old.size(), offset / 8 + 1));
  if (!bytes) return ctx.reply.Error(kOutOfMemory);
  char& byte = (*bytes)[offset / 8];
  byte = static_cast<char>(*bit == 1 ? byte | BitMask(offset) : byte & ~BitMask(offset));
  ctx.Notify('$', "setbit", key);
  ctx.reply.Integer(old_bit);
}

void GetBit(CommandContext& ctx) {
  uint64_t offset;
  if (!ReadBitOffset(ctx, ctx.argv[2], 0, offset)) return;
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckString(ctx, entry)) return;
  IntScratch scratch;
  ctx.reply.Integer(entry && TestBit(entry.AsString(scratch), offset));
}

// ---- ranges

// A range as clients write it: from the beginning or, if negative, from the end; in bytes or bits; both ends included.
struct RangeWords {
  int64_t first = 0, last = -1;
  bool in_bits = false;
};

struct BitRange {
  uint64_t first, last;
};

// Replies and returns false unless the last word is a unit.
bool ReadUnit(CommandContext& ctx, std::string_view word, bool& in_bits) {
  in_bits = protocol::EqualsIgnoreCase(word, "BIT");
  if (in_bits || protocol::EqualsIgnoreCase(word, "BYTE")) return true;
  ctx.reply.Error(kSyntaxError);
  return false;
}

// nullopt: nothing of the string is in the range.
std::optional<BitRange> Resolve(const RangeWords& words, size_t bytes) {
  const auto total = static_cast<int64_t>(words.in_bits ? bytes * 8 : bytes);
  int64_t first = words.first, last = words.last;
  if (first < 0) first = std::max<int64_t>(first + total, 0);
  if (last < 0) last = std::max<int64_t>(last + total, 0);
  last = std::min(last, total - 1);
  if (first > last) return std::nullopt;
  if (words.in_bits) return BitRange{static_cast<uint64_t>(first), static_cast<uint64_t>(last)};
  return BitRange{static_cast<uint64_t>(first) * 8, static_cast<uint64_t>(last) * 8 + 7};
}

void BitCount(CommandContext& ctx) {
  RangeWords words;
  const size_t argc = ctx.argv.size();
  if (argc == 3 || argc > 5) return ctx.reply.Error(kSyntaxError);
  if (argc >= 4 && (!ReadInteger(ctx, ctx.argv[2], words.first) || !ReadInteger(ctx, ctx.argv[3], words.last))) return;
  if (argc == 5 && !ReadUnit(ctx, ctx.argv[4], words.in_bits)) return;
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckString(ctx, entry)) return;
  if (!entry) return ctx.reply.Integer(0);
  // Both from the end and the wrong way round stays empty even where clamping would make the two meet.
  if (words.first < 0 && words.last < 0 && words.first > words.last) return ctx.reply.Integer(0);
  IntScratch scratch;
  const std::string_view bytes = entry.AsString(scratch);
  const auto range = Resolve(words, bytes.size());
  ctx.reply.Integer(range ? static_cast<int64_t>(store::CountBits(bytes, range->first, range->last)) : 0);
}

void BitPos(CommandContext& ctx) {
  RangeWords words;
  const size_t argc = ctx.argv.size();
  int64_t bit;
  if (!ReadInteger(ctx, ctx.argv[2], bit)) return;
  if (bit != 0 && bit != 1) return ctx.reply.Error("ERR The bit argument must be 1 or 0.");
  if (argc > 6) return ctx.reply.Error(kSyntaxError);
  if (argc >= 4 && !ReadInteger(ctx, ctx.argv[3], words.first)) return;
  if (argc == 6 && !ReadUnit(ctx, ctx.argv[5], words.in_bits)) return;
  if (argc >= 5 && !ReadInteger(ctx, ctx.argv[4], words.last)) return;
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckString(ctx, entry)) return;
  // A missing key is zeros without end.
  if (!entry) return ctx.reply.Integer(bit == 1 ? -1 : 0);
  IntScratch scratch;
  const std::string_view bytes = entry.AsString(scratch);
  const auto range = Resolve(words, bytes.size());
  if (!range) return ctx.reply.Integer(-1);
  if (const auto found = store::FindBit(bytes, bit == 1, range->first, range->last))
    return ctx.reply.Integer(static_cast<int64_t>(*found));
  // Behind the string there are zeros, unless the client said where to stop.
  ctx.reply.Integer(bit == 0 && argc < 5 ? static_cast<int64_t>(range->last + 1) : -1);
}

// ---- BITOP

enum class Combination : uint8_t { kAnd, kOr, kXor, kNot };

std::optional<Combination> ReadCombination(std::string_view word) {
  constexpr std::pair<std::string_view, Combination> kWords[] = {
      {"AND", Combination::kAnd}, {"OR", Combination::kOr}, {"XOR", Combination::kXor}, {"NOT", Combination::kNot}};
  for (const auto& [name, combination] : kWords)
    if (protocol::EqualsIgnoreCase(word, name)) return combination;
  return std::nullopt;
}

// Source strings, missing ones empty. False after replying that one is no string.
bool ReadSources(CommandContext& ctx, Argv keys, std::vector<std::string_view>& sources,
                 std::vector<IntScratch>& scratches) {
  // A look may delete an expired key and move the others' entries, so views are taken when all have been looked at.
  std::vector<bool> found;
  for (std::string_view key : keys) {
    const EntryRef entry = ctx.Find(key);
    if (!CheckString(ctx, entry)) return false;
    found.push_back(static_cast<bool>(entry));
  }
  scratches.resize(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const EntryRef entry = found[i] ? ctx.db().Peek(keys[i]) : EntryRef();
    sources.push_back(entry ? entry.AsString(scratches[i]) : std::string_view());
  }
  return true;
}

void BitOp(CommandContext& ctx) {
  const auto combination = ReadCombination(ctx.argv[1]);
  if (!combination) return ctx.reply.Error(kSyntaxError);
  if (*combination == Combination::kNot && ctx.argv.size() != 4)
    return ctx.reply.Error("ERR BITOP NOT must be called with a single source key.");
  const std::string_view target = ctx.argv[2];
  std::vector<std::string_view> sources;
  std::vector<IntScratch> scratches;
  if (!ReadSources(ctx, ctx.argv.subspan(3), sources, scratches)) return;

  size_t length = 0;
  for (std::string_view source : sources) length = std::max(length, source.size());
  if (length == 0) {
    EraseTarget(ctx, target);
    return ctx.reply.Integer(0);
  }
  const std::unique_ptr<char[]> memory(new (std::nothrow) char[length]);
  if (memory == nullptr) return ctx.reply.Error(kOutOfMemory);
  const std::span<char> result(memory.get(), length);
  if (!sources[0].empty()) std::memcpy(result.data(), sources[0].data(), sources[0].size());
  std::memset(result.data() + sources[0].size(), 0, length - sources[0].size());
  constexpr store::BitOperation kOperations[] = {store::BitOperation::kAnd, store::BitOperation::kOr,
                                                 store::BitOperation::kXor};
  if (*combination == Combination::kNot) {
    store::InvertBits(result);
  } else {
    for (std::string_view source : std::span(sources).subspan(1))
      store::CombineBits(result, source, kOperations[static_cast<int>(*combination)]);
  }
  if (!ctx.db().SetString(target, {result.data(), length}, store::Expiry::None(), store::StringForm::kPlain))
    return ctx.reply.Error(kOutOfMemory);
  // "raw" also when short, as everything built in place.
  if (length <= store::kEmbstrLengthMax) (void)ctx.db().ResizeString(target, length, store::GrowthRoom::kExact);
  ctx.Notify('$', "set", target);
  ctx.reply.Integer(static_cast<int64_t>(length));
}

// ---- rows

constexpr KeySpec kChangesKey[] = {{.flags = kKeyRW | kKeyAccess | kKeyUpdate, .index = 1}};
constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr ArgSpec kSetbitArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                   {.name = "offset", .type = ArgType::kInteger},
                                   {.name = "value", .type = ArgType::kInteger}};
constexpr ArgSpec kGetbitArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                   {.name = "offset", .type = ArgType::kInteger}};
constexpr ArgSpec kUnits[] = {{.name = "byte", .type = ArgType::kPureToken, .token = "BYTE"},
                              {.name = "bit", .type = ArgType::kPureToken, .token = "BIT"}};
constexpr ArgSpec kBitcountRange[] = {
    {.name = "start", .type = ArgType::kInteger},
    {.name = "end", .type = ArgType::kInteger},
    {.name = "unit", .type = ArgType::kOneOf, .flags = kOptional, .since = "7.0.0", .children = kUnits}};
constexpr ArgSpec kBitcountArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "range", .type = ArgType::kBlock, .flags = kOptional, .children = kBitcountRange}};
constexpr ArgSpec kBitposEnd[] = {
    {.name = "end", .type = ArgType::kInteger},
    {.name = "unit", .type = ArgType::kOneOf, .flags = kOptional, .since = "7.0.0", .children = kUnits}};
constexpr ArgSpec kBitposRange[] = {
    {.name = "start", .type = ArgType::kInteger},
    {.name = "end-unit-block", .type = ArgType::kBlock, .flags = kOptional, .children = kBitposEnd}};
constexpr ArgSpec kBitposArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "bit", .type = ArgType::kInteger},
    {.name = "range", .type = ArgType::kBlock, .flags = kOptional, .children = kBitposRange}};
constexpr HistoryEntry kUnitHistory[] = {{"7.0.0", "`BYTE` and `BIT`."}};
constexpr KeySpec kBitopKeys[] = {{.flags = kKeyOW | kKeyUpdate, .index = 2},
                                  {.flags = kKeyRO | kKeyAccess, .index = 3, .last_key = -1}};
constexpr ArgSpec kCombinations[] = {{.name = "and", .type = ArgType::kPureToken, .token = "AND"},
                                     {.name = "or", .type = ArgType::kPureToken, .token = "OR"},
                                     {.name = "xor", .type = ArgType::kPureToken, .token = "XOR"},
                                     {.name = "not", .type = ArgType::kPureToken, .token = "NOT"}};
constexpr ArgSpec kBitopArgs[] = {{.name = "operation", .type = ArgType::kOneOf, .children = kCombinations},
                                  {.name = "destkey", .type = ArgType::kKey, .key_spec = 0},
                                  {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 1}};

constexpr CommandRow kRows[] = {
    {.name = "setbit",
     .arity = 4,
     .flags = kWrite | kDenyOom,
     .acl = kAclBitmap,
     .handler = SetBit,
     .keys = kChangesKey,
     .group = Group::kBitmap,
     .since = "2.2.0",
     .complexity = "O(1)",
     .summary = "Sets or clears one bit of a string, growing it with zeros if need be.",
     .args = kSetbitArgs},
    {.name = "getbit",
     .arity = 3,
     .flags = kReadOnly | kFast,
     .acl = kAclBitmap,
     .handler = GetBit,
     .keys = kReadsKey,
     .group = Group::kBitmap,
     .since = "2.2.0",
     .complexity = "O(1)",
     .summary = "Reads one bit of a string.",
     .args = kGetbitArgs},
    {.name = "bitcount",
     .arity = -2,
     .flags = kReadOnly,
     .acl = kAclBitmap,
     .handler = BitCount,
     .keys = kReadsKey,
     .group = Group::kBitmap,
     .since = "2.6.0",
     .complexity = "O(N) for N bytes looked at.",
     .summary = "Counts the ones in a string or a part of it.",
     .args = kBitcountArgs,
     .history = kUnitHistory},
    {.name = "bitpos",
     .arity = -3,
     .flags = kReadOnly,
     .acl = kAclBitmap,
     .handler = BitPos,
     .keys = kReadsKey,
     .group = Group::kBitmap,
     .since = "2.8.7",
     .complexity = "O(N) for N bytes looked at.",
     .summary = "Finds the first one or the first zero in a string or a part of it.",
     .args = kBitposArgs,
     .history = kUnitHistory},
    {.name = "bitop",
     .arity = -4,
     .flags = kWrite | kDenyOom,
     .acl = kAclBitmap,
     .handler = BitOp,
     .keys = kBitopKeys,
     .group = Group::kBitmap,
     .since = "2.6.0",
     .complexity = "O(N) for N bytes of all sources together.",
     .summary = "Combines strings bit by bit and stores the outcome.",
     .args = kBitopArgs},
};

}  // namespace

bool ReadBitOffset(CommandContext& ctx, std::string_view text, unsigned field_width, uint64_t& offset) {
  const bool counts_fields = field_width != 0 && text.starts_with('#');
  const auto number = protocol::ParseInt64(counts_fields ? text.substr(1) : text);
  int64_t bits = number.value_or(-1);
  if (counts_fields && __builtin_mul_overflow(bits, static_cast<int64_t>(field_width), &bits)) bits = -1;
  if (bits < 0 || (!IsReplay(ctx.session) && bits / 8 >= StringBytesMax(ctx))) {
    ctx.reply.Error("ERR bit offset is not an integer or out of range");
    return false;
  }
  offset = static_cast<uint64_t>(bits);
  return true;
}

std::span<const CommandRow> BitmapCommands() { return kRows; }

}  // namespace tessera
