#include "server/commands/data.h"

#include <fmt/core.h>

#include <limits>
#include <unordered_set>

#include "server/config/config.h"

namespace tessera {

int64_t StringBytesMax(const CommandContext& ctx) { return ctx.services.config.proto_max_bulk_len; }

bool CheckStringLength(CommandContext& ctx, uint64_t size, uint64_t appended) {
  if (IsReplay(ctx.session)) return true;
  const uint64_t max = static_cast<uint64_t>(StringBytesMax(ctx));
  if (size <= max && appended <= max - size) return true;
  ctx.reply.Error(kStringTooLong);
  return false;
}

void LeaveRaw(CommandContext& ctx, std::string_view key, store::EntryRef entry) {
  if (entry.encoding_name() == "raw") return;
  (void)ctx.db().ResizeString(key, entry.string_length(), store::GrowthRoom::kExact, store::ChangeKind::kForm);
}

void ReplyInvalidExpireTime(CommandContext& ctx) {
  ctx.reply.Error(fmt::format("ERR invalid expire time in '{}' command", ctx.row.name));
}

bool IsAlreadyExpired(const CommandContext& ctx, int64_t unix_ms) {
  return unix_ms <= ctx.now.unix_ms && !IsReplay(ctx.session) &&
         ctx.keyspace.expiry_mode() == store::ExpiryMode::kDeleteExpired;
}

void DeleteAsExpired(CommandContext& ctx, std::string_view key) {
  ctx.db().Erase(key);
  ctx.Propagate({ctx.services.config.lazyfree_lazy_expire ? "UNLINK" : "DEL", key});
  ctx.Notify('g', "del", key);
}

void EraseTarget(CommandContext& ctx, std::string_view target) {
  if (ctx.db().Erase(target, store::EraseReason::kStoredNothing)) ctx.Notify('g', "del", target);
}

bool ReadDatabase(CommandContext& ctx, std::string_view text, int& db) {
  int64_t wanted;
  if (!ReadInteger(ctx, text, wanted)) return false;
  constexpr int64_t kMin = std::numeric_limits<int>::min(), kMax = std::numeric_limits<int>::max();
  if (wanted < kMin || wanted > kMax) {
    ctx.reply.Error(fmt::format("ERR value is out of range, value must between {} and {}", kMin, kMax));
    return false;
  }
  // A cluster has one database; another configured number is refused by the handlers, as not allowed there.
  const int64_t count = ctx.keyspace.cluster() ? ctx.services.config.databases : ctx.keyspace.database_count();
  if (wanted < 0 || wanted >= count) {
    ctx.reply.Error(kDbOutOfRange);
    return false;
  }
  db = static_cast<int>(wanted);
  return true;
}

// Floyd's choice.
std::vector<uint64_t> ChooseIndexes(store::Keyspace& keyspace, uint64_t size, uint64_t count) {
  std::vector<uint64_t> chosen;
  chosen.reserve(count);
  std::unordered_set<uint64_t> seen;
  for (uint64_t i = size - count; i < size; ++i) {
    uint64_t index = keyspace.RandomBelow(i + 1);
    if (!seen.insert(index).second) seen.insert(index = i);
    chosen.push_back(index);
  }
  return chosen;
}

}  // namespace tessera
