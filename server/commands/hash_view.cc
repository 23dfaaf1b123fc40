#include "server/commands/hash_view.h"

#include <limits>

namespace tessera {
namespace {

bool SomeAreDue(const CommandContext& ctx, store::EntryRef entry) {
  if (!entry || entry.type() != store::Type::kHash) return false;
  const int64_t first_ms = entry.object()->FirstElementExpiryMs();
  return first_ms != store::kNoExpiry && first_ms < ctx.now.unix_ms;
}

}  // namespace

store::EntryRef FindHashForWrite(CommandContext& ctx, std::string_view key) {
  const store::EntryRef entry = ctx.FindForWrite(key);
  if (!SomeAreDue(ctx, entry) || IsReplay(ctx.session)) return entry;
  (void)ctx.db().ExpireElements(key);
  return ctx.db().Peek(key);
}

HashView::HashView(CommandContext& ctx, std::string_view key) {
  store::EntryRef entry = ctx.Find(key);
  if (!CheckType(ctx, entry, store::Type::kHash)) return;
  ok_ = true;
  if (SomeAreDue(ctx, entry) && !IsReplay(ctx.session)) {
    if (ctx.keyspace.expiry_mode() == store::ExpiryMode::kDeleteExpired) {
      (void)ctx.db().ExpireElements(key);
      entry = ctx.db().Peek(key);
    } else if (ctx.keyspace.expiry_mode() == store::ExpiryMode::kHideExpired) {
      without_expired_ = entry.object()->Clone();
      auto& rest = static_cast<store::Hash&>(*without_expired_);
      (void)rest.EraseDue(ctx.now.unix_ms, std::numeric_limits<size_t>::max());
      if (rest.size() > 0) hash_ = &rest;
      return;
    }
  }
  hash_ = ValueOf<store::Hash>(entry);
}

}  // namespace tessera
