// How the process ends: SIGTERM, SIGINT and SHUTDOWN all become one request that waits for replicas and saves what the
// configuration says before the loop stops. Loop thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "server/session.h"

namespace tessera {

struct Services;
class EventLoop;

class Lifecycle {
 public:
  struct ShutdownOptions {
    enum class Save : uint8_t { kAsConfigured, kSave, kNoSave };
    Save save = Save::kAsConfigured;
    bool now = false;    // do not wait for lagging replicas
    bool force = false;  // go even if the save fails
  };
  Lifecycle(EventLoop& loop, Services& services) : loop_(loop), services_(services) {}

  // Begins the shutdown. Empty = it goes on (the caller gets no reply; `client`, if any, is answered only when it is
  // cancelled or fails), otherwise why not ("ERR ...").
  std::string RequestShutdown(const ShutdownOptions& options, Session* client);
  // SHUTDOWN ABORT; false when none is under way.
  bool Abort();
  bool shutting_down() const { return shutting_down_; }
  int exit_code() const { return exit_code_; }
  void Cron();  // every 100 ms: goes on with a shutdown that waits for replicas

 private:
  bool ReplicasCaughtUp() const;
  bool Finish();

  EventLoop& loop_;
  Services& services_;
  bool shutting_down_ = false;
  ShutdownOptions options_;
  int64_t deadline_ms_ = 0;
  uint64_t client_id_ = 0;
  int exit_code_ = 0;
};

}  // namespace tessera
