// A change of a list, set, hash, sorted set or stream from within a handler:
//
//   const store::EntryRef entry = ctx.FindForWrite(key);
//   if (!CheckType(ctx, entry, store::Type::kHash)) return;
//   Edit<store::Hash> hash(ctx, key, entry);             // a missing key begins as an empty value
//   ... = hash->Set(field, value, limits);
//   if (!hash.Commit(changed)) return;                   // before the reply and the events; out of memory was answered
//   ctx.Notify('h', "hset", key);
//   if (hash.removed()) ctx.Notify('g', "del", key);     // nothing is left, so the key is gone
//
// Between construction and Commit nothing else of the keyspace may be touched: an EntryRef of another key must have been
// read (or its elements copied) before, or be read-only use of a different entry. Not committing is a bug.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "server/commands/data.h"
#include "server/store/check.h"

namespace tessera {

// Replies WRONGTYPE and returns false when the key holds another type. A missing key passes.
inline bool CheckType(CommandContext& ctx, store::EntryRef entry, store::Type type) {
  if (!entry || entry.type() == type) return true;
  ctx.reply.Error(kWrongType);
  return false;
}

// The value of an entry that CheckType has passed; null for a missing one.
template <typename T>
const T* ValueOf(store::EntryRef entry) {
  return entry ? static_cast<const T*>(entry.object()) : nullptr;
}

template <typename T>
class Edit {
 public:
  Edit(CommandContext& ctx, std::string_view key, store::EntryRef entry) : Edit(ctx, ctx.db(), key, entry) {}
  Edit(CommandContext& ctx, store::Database& db, std::string_view key, store::EntryRef entry)
      : ctx_(ctx), db_(db), key_(key) {
    if (entry) {
      object_ = static_cast<T*>(db_.BeginEdit(key_));
      STORE_CHECK(object_ != nullptr);
    } else {
      created_ = std::make_unique<T>(ctx.keyspace.object_seed());
      object_ = created_.get();
    }
  }
  Edit(const Edit&) = delete;
  Edit& operator=(const Edit&) = delete;
  ~Edit() { STORE_CHECK(committed_); }

  T* operator->() { return object_; }
  T& operator*() { return *object_; }
  bool creates() const { return created_ != nullptr; }

  // False when memory is short: that was answered then.
  [[nodiscard]] bool Commit(bool changed = true) {
    return End(changed ? store::Database::Edited::kYes : store::Database::Edited::kNo);
  }
  // After a change that WATCH does not look at.
  [[nodiscard]] bool CommitInternal(bool changed = true) {
    return End(changed ? store::Database::Edited::kInternally : store::Database::Edited::kNo);
  }
  bool removed() const { return removed_; }

 private:
  bool End(store::Database::Edited edited) {
    committed_ = true;
    if (created_ == nullptr) {
      removed_ = !db_.EndEdit(key_, edited);
      return true;
    }
    if (edited == store::Database::Edited::kNo) return true;
    if (created_->size() == 0 && created_->type() != store::Type::kStream) return true;
    if (db_.SetObject(key_, std::move(created_), store::Expiry::None())) return true;
    ctx_.reply.Error(kOutOfMemory);
    return false;
  }

  CommandContext& ctx_;
  store::Database& db_;
  std::string_view key_;
  std::unique_ptr<T> created_;
  T* object_;
  bool committed_ = false;
  bool removed_ = false;
};

}  // namespace tessera
