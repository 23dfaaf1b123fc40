// Commands that finish later (WAIT, CLIENT PAUSE's victims apart): who waits, until when, and how they are answered.
// A blocked session's pipeline rests until its command is answered. Loop thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "server/session.h"

namespace tessera {

class Blocking {
 public:
  // `deadline_us` monotonic, 0 = never. `resume` answers the command; it is called exactly once unless the client leaves.
  void Block(Session& session, BlockKind kind, int64_t deadline_us,
             std::function<void(Session&, WakeReason)> resume);
  void Wake(Session& session, WakeReason reason);
  // With an error in place of the command's own answer.
  void WakeWith(Session& session, std::string_view error);
  void WakeAll(BlockKind kind);
  void Forget(Session& session);  // the client left
  void WakeExpired(int64_t now_us);
  // We became a replica: whoever waits for keys or replicas here is told so and disconnected.
  void WakeForRoleChange();
  int64_t NextDeadlineUs() const { return deadlines_.empty() ? 0 : deadlines_.begin()->first; }
  size_t size() const { return blocked_.size(); }
  size_t with_deadline() const { return deadlines_.size(); }
  const std::set<Session*>& all() const { return blocked_; }
  // Who keeps the queues of keys hears when a wait for keys ends, however it ends.
  void WhenKeyWaitEnds(std::function<void(Session&)> listener) { key_wait_ended_ = std::move(listener); }

 private:
  void Answer(Session& session, const std::function<void(Session&)>& reply);

  std::set<std::pair<int64_t, Session*>> deadlines_;
  std::set<Session*> blocked_;
  std::function<void(Session&)> key_wait_ended_;
};

// Writes the error of a wait that did not end by itself (CLIENT UNBLOCK ERROR, role change); false if it did.
bool ReplyIfForced(Session& session, WakeReason reason);

}  // namespace tessera
