#include "server/blocking.h"

namespace tessera {

void Blocking::Block(Session& session, BlockKind kind, int64_t deadline_us,
                     std::function<void(Session&, WakeReason)> resume) {
  session.blocked = {.kind = kind, .deadline_us = deadline_us, .resume = std::move(resume)};
  blocked_.insert(&session);
  if (deadline_us != 0) deadlines_.emplace(deadline_us, &session);
}

void Blocking::Wake(Session& session, WakeReason reason) {
  if (!blocked_.contains(&session)) return;
  Answer(session, [resume = std::move(session.blocked.resume), reason](Session& waiting) { resume(waiting, reason); });
}

void Blocking::WakeWith(Session& session, std::string_view error) {
  if (blocked_.contains(&session)) Answer(session, [error](Session& waiting) { waiting.reply.Error(error); });
}

void Blocking::Answer(Session& session, const std::function<void(Session&)>& reply) {
  const bool muted = session.blocked.muted;
  Forget(session);
  const protocol::OutputBuffer::Mark before = session.out.End();
  reply(session);
  if (muted) session.reply.Discard(before);
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
  if (session.blocked.kind == BlockKind::kKeys && key_wait_ended_) key_wait_ended_(session);
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

bool ReplyIfForced(Session& session, WakeReason reason) {
  if (reason == WakeReason::kRoleChange) {
    session.reply.Error("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)");
  } else if (reason == WakeReason::kUnblockError) {
    session.reply.Error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
  } else {
    return false;
  }
  return true;
}

}  // namespace tessera
