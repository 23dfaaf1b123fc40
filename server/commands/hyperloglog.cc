// Counting distinct elements approximately: PFADD, PFCOUNT, PFMERGE, and looking inside. The values are strings; their
// format is in store/hyperloglog.h.
#include <fmt/core.h>

#include <cstring>

#include "server/commands/data.h"
#include "server/commands/table.h"
#include "server/config/config.h"
#include "server/store/hyperloglog.h"

namespace tessera {
namespace {

namespace hll = store::hyperloglog;
using store::EntryRef;
using store::GrowthRoom;
using store::IntScratch;

constexpr std::string_view kCorrupt = "INVALIDOBJ Corrupted HLL object detected";

// Replies and returns false unless the entry, which exists, looks like a HyperLogLog.
bool ReadValue(CommandContext& ctx, EntryRef entry, IntScratch& scratch, std::string_view& value) {
  if (!CheckString(ctx, entry)) return false;
  value = entry.AsString(scratch);
  if (hll::IsHyperLogLog(value)) return true;
  ctx.reply.Error("WRONGTYPE Key is not a valid HyperLogLog string value.");
  return false;
}

// Replies and returns false when out of memory.
bool StoreValue(CommandContext& ctx, std::string_view key, std::string_view value) {
  const auto bytes = ctx.db().ResizeString(key, value.size(), GrowthRoom::kExact);
  if (!bytes) return ctx.reply.Error(kOutOfMemory), false;
  std::memcpy(bytes->data(), value.data(), value.size());
  return true;
}

size_t SparseBytesMax(const CommandContext& ctx) {
  return static_cast<size_t>(ctx.services.config.hll_sparse_max_bytes);
}

void AddToDense(CommandContext& ctx, std::string_view key, EntryRef entry, std::string_view value) {
  const Argv elements = ctx.argv.subspan(2);
  size_t at = 0;
  while (at < elements.size() && !hll::WouldRaiseDense(value, hll::Observe(elements[at]))) ++at;
  if (at == elements.size()) {
    LeaveRaw(ctx, key, entry);
    return ctx.reply.Integer(0);
  }
  const auto bytes = ctx.db().ResizeString(key, value.size(), GrowthRoom::kExact);
  if (!bytes) return ctx.reply.Error(kOutOfMemory);
  for (; at < elements.size(); ++at) hll::RaiseDense(*bytes, hll::Observe(elements[at]));
  hll::MarkCacheOutOfDate(*bytes);
  ctx.Notify('$', "pfadd", key);
  ctx.reply.Integer(1);
}

void PfAdd(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  IntScratch scratch;
  std::string_view old;
  if (entry && !ReadValue(ctx, entry, scratch, old)) return;
  if (entry && hll::IsDense(old)) return AddToDense(ctx, key, entry, old);

  std::string value = entry ? std::string(old) : hll::Empty();
  bool changed = !entry;
  for (std::string_view element : ctx.argv.subspan(2)) {
    const hll::Change change = hll::Raise(value, hll::Observe(element), SparseBytesMax(ctx));
    if (change == hll::Change::kCorrupt) {
      // As in Redis, what was added before stays, without a word to anybody.
      if (changed && !StoreValue(ctx, key, value)) return;
      ctx.PropagateNothing();
      return ctx.reply.Error(kCorrupt);
    }
    changed |= change == hll::Change::kRaised;
  }
  if (!changed) {
    LeaveRaw(ctx, key, entry);
    return ctx.reply.Integer(0);
  }
  hll::MarkCacheOutOfDate(value);
  if (!StoreValue(ctx, key, value)) return;
  ctx.Notify('$', "pfadd", key);
  ctx.reply.Integer(1);
}

// Merges all keys of `keys` that exist. Replies and returns false when one is not a HyperLogLog or corrupt.
bool Merge(CommandContext& ctx, Argv keys, hll::Registers& registers, bool& any_dense) {
  for (std::string_view key : keys) {
    const EntryRef entry = ctx.Find(key);
    if (!entry) continue;
    IntScratch scratch;
    std::string_view value;
    if (!ReadValue(ctx, entry, scratch, value)) return false;
    any_dense |= hll::IsDense(value);
    if (!hll::MergeInto(registers, value)) return ctx.reply.Error(kCorrupt), false;
  }
  return true;
}

void PfCount(CommandContext& ctx) {
  if (ctx.argv.size() > 2) {
    hll::Registers registers{};
    bool any_dense = false;
    if (!Merge(ctx, ctx.argv.subspan(1), registers, any_dense)) return;
    return ctx.reply.Integer(static_cast<int64_t>(hll::Count(registers)));
  }
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.Find(key);
  if (!entry) return ctx.reply.Integer(0);
  IntScratch scratch;
  std::string_view value;
  if (!ReadValue(ctx, entry, scratch, value)) return;
  auto count = hll::CachedCount(value);
  if (!count) {
    count = hll::Count(value);
    if (!count) return ctx.reply.Error(kCorrupt);
    // The number is kept in the value, which is a change like any other. A replica keeps what its primary holds.
    const bool replica = ctx.keyspace.expiry_mode() == store::ExpiryMode::kHideExpired && !IsReplay(ctx.session);
    if (!replica) {
      const auto bytes = ctx.db().ResizeString(key, value.size(), GrowthRoom::kExact);
      if (bytes) hll::StoreCachedCount(*bytes, *count);
    }
  } else {
    LeaveRaw(ctx, key, entry);
  }
  ctx.reply.Integer(static_cast<int64_t>(*count));
}

void PfMerge(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  hll::Registers registers{};
  bool dense = false;
  if (!Merge(ctx, ctx.argv.subspan(1), registers, dense)) return;

  // The target is one of the merged, so the registers are all there is to know of it, but its header stays.
  const EntryRef entry = ctx.FindForWrite(key);
  IntScratch scratch;
  std::string value = entry ? std::string(entry.AsString(scratch)) : hll::Empty();
  for (size_t i = 0; i < hll::kRegisters && !dense; ++i) {
    if (registers[i] == 0) continue;
    hll::Raise(value, {static_cast<uint16_t>(i), registers[i]}, SparseBytesMax(ctx));
    dense = hll::IsDense(value);
  }
  if (dense) {
    if (!hll::MakeDense(value)) return ctx.reply.Error(kCorrupt);
    hll::StoreDense(value, registers);
  }
  hll::MarkCacheOutOfDate(value);
  if (!StoreValue(ctx, key, value)) return;
  ctx.Notify('$', "pfadd", key);
  ctx.reply.Ok();
}

// ---- PFDEBUG, PFSELFTEST

enum class Conversion : uint8_t { kDone, kNotNeeded, kFailed };

// Replies when it fails.
Conversion MakeStoredDense(CommandContext& ctx, std::string_view key, std::string& value) {
  if (hll::IsDense(value)) return Conversion::kNotNeeded;
  if (!hll::MakeDense(value)) return ctx.reply.Error(kCorrupt), Conversion::kFailed;
  return StoreValue(ctx, key, value) ? Conversion::kDone : Conversion::kFailed;
}

void ReplyRegisters(CommandContext& ctx, std::string_view value) {
  hll::Registers registers{};
  hll::MergeInto(registers, value);
  ctx.reply.Array(hll::kRegisters);
  for (uint8_t run : registers) ctx.reply.Integer(run);
}

void PfDebug(CommandContext& ctx) {
  const std::string_view word = ctx.argv[1], key = ctx.argv[2];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!entry) return ctx.reply.Error("ERR The specified key does not exist");
  IntScratch scratch;
  std::string_view view;
  if (!ReadValue(ctx, entry, scratch, view)) return;
  std::string value(view);
  if (protocol::EqualsIgnoreCase(word, "GETREG")) {
    if (MakeStoredDense(ctx, key, value) != Conversion::kFailed) ReplyRegisters(ctx, value);
  } else if (protocol::EqualsIgnoreCase(word, "DECODE")) {
    if (hll::IsDense(value)) return ctx.reply.Error("ERR HLL encoding is not sparse");
    ctx.reply.Bulk(hll::SparseText(value));
  } else if (protocol::EqualsIgnoreCase(word, "ENCODING")) {
    ctx.reply.SimpleString(hll::IsDense(value) ? "dense" : "sparse");
  } else if (protocol::EqualsIgnoreCase(word, "TODENSE")) {
    const Conversion conversion = MakeStoredDense(ctx, key, value);
    if (conversion != Conversion::kFailed) ctx.reply.Integer(conversion == Conversion::kDone);
  } else {
    ctx.reply.Error(fmt::format("ERR Unknown PFDEBUG subcommand '{}'", word.substr(0, word.find('\0'))));
  }
}

void PfSelfTest(CommandContext& ctx) {
  const std::string failure = hll::SelfTest();
  if (!failure.empty()) return ctx.reply.Error("TESTFAILED " + failure);
  ctx.reply.Ok();
}

// ---- rows

constexpr KeySpec kAddsToKey[] = {{.flags = kKeyRW | kKeyInsert, .index = 1}};
constexpr ArgSpec kPfaddArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                  {.name = "element", .type = ArgType::kString, .flags = kOptional | kMultiple}};
constexpr KeySpec kCountsKeys[] = {{.flags = kKeyRW | kKeyAccess,
                                    .index = 1,
                                    .last_key = -1,
                                    .notes = "writes the count it found into the value, which replicas hear of"}};
constexpr ArgSpec kPfcountArgs[] = {{.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0}};
constexpr KeySpec kMergeKeys[] = {{.flags = kKeyRW | kKeyAccess | kKeyInsert, .index = 1},
                                  {.flags = kKeyRO | kKeyAccess, .index = 2, .last_key = -1}};
constexpr ArgSpec kPfmergeArgs[] = {
    {.name = "destkey", .type = ArgType::kKey, .key_spec = 0},
    {.name = "sourcekey", .type = ArgType::kKey, .flags = kOptional | kMultiple, .key_spec = 1}};
constexpr KeySpec kDebugsKey[] = {{.flags = kKeyRW | kKeyAccess, .index = 2}};
constexpr ArgSpec kPfdebugArgs[] = {{.name = "subcommand", .type = ArgType::kString},
                                    {.name = "key", .type = ArgType::kKey, .key_spec = 0}};

constexpr CommandRow kRows[] = {
    {.name = "pfadd",
     .arity = -2,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclHyperLogLog,
     .handler = PfAdd,
     .keys = kAddsToKey,
     .group = Group::kHyperLogLog,
     .since = "2.8.9",
     .complexity = "O(1) for each element.",
     .summary = "Lets a HyperLogLog see elements, creating it if need be.",
     .args = kPfaddArgs},
    {.name = "pfcount",
     .arity = -2,
     .flags = kReadOnly | kMayReplicate,
     .acl = kAclHyperLogLog,
     .handler = PfCount,
     .keys = kCountsKeys,
     .group = Group::kHyperLogLog,
     .since = "2.8.9",
     .complexity = "O(1) for one key, cheap while nothing new was added; O(N) with a large constant for N keys.",
     .summary = "Estimates how many distinct elements one or several HyperLogLogs have seen together.",
     .args = kPfcountArgs},
    {.name = "pfmerge",
     .arity = -2,
     .flags = kWrite | kDenyOom,
     .acl = kAclHyperLogLog,
     .handler = PfMerge,
     .keys = kMergeKeys,
     .group = Group::kHyperLogLog,
     .since = "2.8.9",
     .complexity = "O(N) with a large constant for N keys.",
     .summary = "Makes a HyperLogLog of all that several have seen.",
     .args = kPfmergeArgs},
    {.name = "pfdebug",
     .arity = 3,
     .flags = kWrite | kDenyOom | kAdmin | kSystemCommand,
     .acl = kAclHyperLogLog,
     .handler = PfDebug,
     .keys = kDebugsKey,
     .group = Group::kHyperLogLog,
     .since = "2.8.9",
     .complexity = "O(1)",
     .summary = "Shows or converts how a HyperLogLog is kept.",
     .args = kPfdebugArgs},
    {.name = "pfselftest",
     .arity = 1,
     .flags = kAdmin | kSystemCommand,
     .acl = kAclHyperLogLog,
     .handler = PfSelfTest,
     .group = Group::kHyperLogLog,
     .since = "2.8.9",
     .complexity = "O(1)",
     .summary = "Checks the HyperLogLog code of this very server."},
};

}  // namespace

std::span<const CommandRow> HyperLogLogCommands() { return kRows; }

}  // namespace tessera
