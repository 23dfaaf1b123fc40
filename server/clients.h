// Everyone who is connected, by id and in the order of their arrival; CLIENT LIST, KILL and PAUSE work on it.
// Sessions are owned by their connections and enter and leave here. Loop thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "server/session.h"

namespace tessera {

class Clients {
 public:
  uint64_t NextId() { return ++last_id_; }
  void Add(Session& session) { sessions_.emplace(session.id, &session); }
  void Remove(Session& session) { sessions_.erase(session.id); }
  Session* Find(uint64_t id) const {
    auto it = sessions_.find(id);
    return it == sessions_.end() ? nullptr : it->second;
  }
  size_t size() const { return sessions_.size(); }
  const std::map<uint64_t, Session*>& all() const { return sessions_; }

  // CLIENT PAUSE and the pause of a manual failover; the stricter and the later one win. Instants: monotonic ms.
  enum class PauseScope : uint8_t { kWrites, kAll };
  enum class PauseReason : uint8_t { kClient, kFailover, kShutdown, kMigration };
  void Pause(PauseReason reason, PauseScope scope, int64_t until_mono_ms);
  void Unpause(PauseReason reason);
  bool writes_paused(int64_t mono_ms) const { return any_pause_ && Paused(PauseScope::kWrites, mono_ms); }
  bool all_paused(int64_t mono_ms) const { return any_pause_ && Paused(PauseScope::kAll, mono_ms); }
  bool paused_for(PauseReason reason) const { return any_pause_ && pauses_[static_cast<int>(reason)].active; }
  int64_t pause_until_ms() const;
  // A client whose command must wait until the pause ends.
  void HoldBack(Session& session);
  // Lets everyone go on whose pause is over; called each turn while any_paused().
  void ReleasePaused(int64_t mono_ms);
  bool any_pause() const { return any_pause_; }

 private:
  struct PauseState {
    bool active = false;
    PauseScope scope = PauseScope::kWrites;
    int64_t until_ms = 0;
  };
  bool Paused(PauseScope scope, int64_t mono_ms) const;

  uint64_t last_id_ = 0;
  std::map<uint64_t, Session*> sessions_;
  PauseState pauses_[4];
  bool any_pause_ = false;
  std::vector<uint64_t> held_back_;
};

}  // namespace tessera
