#include "server/clients.h"

#include <algorithm>

namespace tessera {

void Clients::Pause(PauseReason reason, PauseScope scope, int64_t until_mono_ms) {
  PauseState& pause = pauses_[static_cast<int>(reason)];
  if (!pause.active) pause = {true, scope, until_mono_ms};
  pause.scope = std::max(pause.scope, scope);
  pause.until_ms = std::max(pause.until_ms, until_mono_ms);
  any_pause_ = true;
}

void Clients::Unpause(PauseReason reason) {
  PauseState& pause = pauses_[static_cast<int>(reason)];
  if (pause.active) pause.until_ms = 0;  // over; those held back go on at the end of the turn
}

bool Clients::Paused(PauseScope scope, int64_t mono_ms) const {
  for (const PauseState& pause : pauses_)
    if (pause.active && pause.until_ms > mono_ms && pause.scope >= scope) return true;
  return false;
}

int64_t Clients::pause_until_ms() const {
  int64_t until = 0;
  for (const PauseState& pause : pauses_)
    if (pause.active) until = std::max(until, pause.until_ms);
  return until;
}

void Clients::HoldBack(Session& session) {
  session.blocked.kind = BlockKind::kPaused;
  held_back_.push_back(session.id);
}

void Clients::ReleasePaused(int64_t mono_ms) {
  bool ended = false;
  for (PauseState& pause : pauses_) {
    if (!pause.active || pause.until_ms > mono_ms) continue;
    pause.active = false;
    ended = true;
  }
  any_pause_ = std::any_of(std::begin(pauses_), std::end(pauses_), [](const PauseState& p) { return p.active; });
  if (!ended) return;
  // Whoever is still concerned by a pause is held back again by the dispatcher.
  auto waiting = std::move(held_back_);
  held_back_.clear();
  for (uint64_t id : waiting) {
    Session* session = Find(id);
    if (session == nullptr || session->blocked.kind != BlockKind::kPaused) continue;
    session->blocked = {};
    if (session->link != nullptr) session->link->Resume();
  }
}

}  // namespace tessera
