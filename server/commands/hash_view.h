// A hash as the commands on it find it: fields past their expiry are gone. A primary deletes them on the way; a replica,
// which deletes on its primary's word only, hides them from its clients.
#pragma once

#include <memory>
#include <string_view>

#include "server/commands/edit.h"
#include "server/store/hash_object.h"

namespace tessera {

// For commands that will change it. The entry may be of another type, or missing.
store::EntryRef FindHashForWrite(CommandContext& ctx, std::string_view key);

class HashView {
 public:
  // Replies WRONGTYPE when the key holds something else: then not ok().
  HashView(CommandContext& ctx, std::string_view key);
  bool ok() const { return ok_; }
  // Null when there is no such hash, or nothing of it left.
  const store::Hash* get() const { return hash_; }

 private:
  bool ok_ = false;
  const store::Hash* hash_ = nullptr;
  std::unique_ptr<store::Object> without_expired_;
};

}  // namespace tessera
