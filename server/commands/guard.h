// Commands that only some may use: enable-debug-command and the like.
#pragma once

#include "server/config/config.h"
#include "server/session.h"

namespace tessera {

// Connected through the Unix socket or the loopback address.
inline bool IsLocal(const Session& session) {
  return session.unix_socket || session.peer.starts_with("127.") || session.peer.starts_with("[::1]") ||
         session.peer.starts_with("::1:");
}

inline bool MayUse(config::Allowed allowed, const Session& session) {
  return allowed == config::Allowed::kYes || (allowed == config::Allowed::kLocal && IsLocal(session));
}

}  // namespace tessera
