// WATCH: which sessions watch which key. A change of a watched key breaks the transactions of its watchers.
// Hangs on the keyspace's mutation door. Loop thread.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/session.h"
#include "server/store/keyspace.h"

namespace tessera {

class Watches : public store::ChangeObserver {
 public:
  explicit Watches(store::Keyspace& keyspace) : keyspace_(keyspace) {}
  void Watch(Session& session, std::string_view key, int64_t now_ms);
  void Unwatch(Session& session);
  // A watched key that expired without anybody deleting it breaks the transaction too, unless it was expired already.
  bool AnyExpired(Session& session, int64_t now_ms) const;
  size_t watched_keys() const { return watchers_.size(); }

  void OnChange(int db, uint16_t slot, std::string_view key, store::ChangeKind kind) override;
  void OnFlush(int db) override;
  void OnDropSlot(int db, uint16_t slot) override;
  void OnSwap(int first, int second) override;

 private:
  void Break(int db, std::string_view key, bool by_expiry);
  void BreakExisting(int db);
  static std::string Place(int db, std::string_view key);

  store::Keyspace& keyspace_;
  std::unordered_map<std::string, std::vector<Session*>> watchers_;  // by database and key
};

}  // namespace tessera
