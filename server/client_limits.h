// maxmemory-clients: when all clients together hold more memory than allowed, the largest are disconnected until they
// hold less. Replicas and the primary are not counted, and clients that said CLIENT NO-EVICT ON are spared.
// Loop thread.
#pragma once

#include <cstddef>

#include "server/config/config.h"
#include "server/services.h"
#include "server/session.h"

namespace tessera {

class ClientLimits {
 public:
  explicit ClientLimits(Services& services) : services_(services) {}

  // What a client holds: its session, input not yet executed, replies not yet read, queued and watched, names.
  static size_t MemoryOf(const Session& session);

  bool on() const { return services_.config.maxmemory_clients != 0 && limit() != 0; }
  // Bytes; 0 = no limit. A limit too low to talk to the server at all is raised.
  size_t limit() const;

  // While on(): counts the client anew.
  void Update(Session& session);
  // The same before a command; true when the client itself had to go.
  bool Check(Session& session);
  void EvictIfOver();
  void Forget(Session& session);
  // Counts everyone anew: the limit may just have been set.
  void OptionsChanged();

 private:
  Services& services_;
  size_t total_ = 0;  // of normal clients and subscribers
};

}  // namespace tessera
