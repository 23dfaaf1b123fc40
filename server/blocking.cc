#include "server/blocking.h"

namespace tessera {

void Blocking::Block(Session& session, BlockKind kind, int64_t deadline_us,
                     std::function<void(Session&, WakeReason)> resume) {
  session.blocked = {kind, deadline_us, std::move(resume)};
  blocked_.insert(&session);
  if (deadline_us != 0) deadlines_.emplace(deadline_us, &session);
}

void Blocking::Wake(Session& session, WakeReason reason) {
  if (!blocked_.contains(&session)) return;
  auto resume = std::move(session.blocked.resume);
  Forget(session);
  resume(session, reason);
  if (session.link != nullptr) {
    session.link->OutputPending();
    session.link->Resume();
  }
}

void Blocking::WakeAll(BlockKind kind) {
  if (blocked_.empty()) return;
  const auto all = blocked_;
  for (Session* session : all)
    if (session->blocked.kind == kind) Wake(*session, WakeReason::kReady);
}

void Blocking::Forget(Session& session) {
  if (blocked_.erase(&session) == 0) return;
  deadlines_.erase({session.blocked.deadline_us, &session});
  session.blocked = {};
}

void Blocking::WakeForRoleChange() {
  const auto all = blocked_;
  for (Session* session : all) {
    const BlockKind kind = session->blocked.kind;
    if (kind != BlockKind::kWait && kind != BlockKind::kWaitAof && kind != BlockKind::kKeys) continue;
    Wake(*session, WakeReason::kRoleChange);
    if (session->link != nullptr) session->link->CloseAfterReply();
  }
}

void Blocking::WakeExpired(int64_t now_us) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_us)
    Wake(*deadlines_.begin()->second, WakeReason::kTimeout);
}

}  // namespace tessera
