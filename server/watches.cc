#include "server/watches.h"

#include <algorithm>
#include <charconv>

namespace tessera {

std::string Watches::Place(int db, std::string_view key) {
  std::string place = std::to_string(db);
  place.push_back('/');
  place.append(key);
  return place;
}

void Watches::Watch(Session& session, std::string_view key, int64_t) {
  for (const auto& watched : session.transaction.watched)
    if (watched.db == session.db && watched.key == key) return;
  store::Database& db = keyspace_.db(session.db);
  const store::EntryRef entry = db.Peek(key);
  session.transaction.watched.push_back({session.db, std::string(key), entry && db.IsExpired(entry)});
  watchers_[Place(session.db, key)].push_back(&session);
}

void Watches::Unwatch(Session& session) {
  for (const auto& watched : session.transaction.watched) {
    auto it = watchers_.find(Place(watched.db, watched.key));
    if (it == watchers_.end()) continue;
    std::erase(it->second, &session);
    if (it->second.empty()) watchers_.erase(it);
  }
  session.transaction.watched.clear();
  session.transaction.watch_broken = false;
}

bool Watches::AnyExpired(Session& session, int64_t) const {
  for (const auto& watched : session.transaction.watched) {
    if (watched.was_expired) continue;
    const store::Database& db = keyspace_.db(watched.db);
    const store::EntryRef entry = db.Peek(watched.key);
    if (entry && db.IsExpired(entry)) return true;
  }
  return false;
}

void Watches::Break(int db, std::string_view key, bool by_expiry) {
  auto it = watchers_.find(Place(db, key));
  if (it == watchers_.end()) return;
  for (Session* session : it->second) {
    for (const auto& watched : session->transaction.watched) {
      if (watched.db != db || watched.key != key) continue;
      if (!(by_expiry && watched.was_expired)) session->transaction.watch_broken = true;
    }
  }
}

void Watches::OnChange(int db, uint16_t, std::string_view key, store::ChangeKind kind) {
  if (watchers_.empty() || kind == store::ChangeKind::kInternal || kind == store::ChangeKind::kForm) return;
  Break(db, key, kind == store::ChangeKind::kExpired);
}

void Watches::BreakExisting(int db) {
  // Only keys that exist now, before they go, count as changed.
  for (const auto& [place, sessions] : watchers_) {
    const size_t slash = place.find('/');
    int place_db = 0;
    std::from_chars(place.data(), place.data() + slash, place_db);
    if (place_db != db) continue;
    const std::string_view key = std::string_view(place).substr(slash + 1);
    if (keyspace_.db(db).Peek(key)) Break(db, key, false);
  }
}

void Watches::OnFlush(int db) {
  if (!watchers_.empty()) BreakExisting(db);
}

void Watches::OnDropSlot(int db, uint16_t) {
  if (!watchers_.empty()) BreakExisting(db);
}

void Watches::OnSwap(int first, int second) {
  if (watchers_.empty()) return;
  // A watched name changed if the key exists on either side of the swap.
  for (auto [db, other] : {std::pair{first, second}, std::pair{second, first}}) {
    for (const auto& [place, sessions] : watchers_) {
      const size_t slash = place.find('/');
      if (std::string_view(place).substr(0, slash) != std::to_string(db)) continue;
      const std::string_view key = std::string_view(place).substr(slash + 1);
      if (keyspace_.db(db).Peek(key) || keyspace_.db(other).Peek(key)) Break(db, key, false);
    }
  }
}

}  // namespace tessera
