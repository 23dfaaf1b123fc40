// How the process ends: SIGTERM, SIGINT and SHUTDOWN all become one request. Loop thread.
//
//   hand over   in cluster mode, if asked: a primary's slots go to a replica first (cluster/hand_over.cc); its clients are
//               redirected for a moment longer
//   wait        otherwise: writes are held back until the replicas have everything, at most shutdown-timeout
//   finish      the append-only file is written and synced, then the dataset saved as configured; the loop stops
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "server/net/event_loop.h"
#include "server/session.h"

namespace tessera {

struct Services;

class Lifecycle {
 public:
  struct ShutdownOptions {
    enum class Save : uint8_t { kAsConfigured, kSave, kNoSave };
    Save save = Save::kAsConfigured;
    bool now = false;       // do not wait for lagging replicas
    bool force = false;     // go even if the save fails
    bool safe = false;      // do not go as a primary that serves slots
    bool failover = false;  // hand over first
  };
  Lifecycle(EventLoop& loop, Services& services) : loop_(loop), services_(services) {}

  // Begins the shutdown. Empty = it goes on (the caller gets no reply; `client`, if any, is answered only when it is
  // cancelled or fails), otherwise why not ("ERR ...").
  std::string RequestShutdown(const ShutdownOptions& options, Session* client);
  // SHUTDOWN ABORT; false when none is under way.
  bool Abort();
  bool shutting_down() const { return stage_ != Stage::kServing; }
  int exit_code() const { return exit_code_; }
  void Cron();  // every 100 ms: goes on with a shutdown that waits for replicas

 private:
  enum class Stage : uint8_t { kServing, kHandingOver, kRedirecting, kWaiting };
  bool StartHandOver();
  void HandOverEnded(bool handed_over);
  // False = nothing to wait for.
  bool StartWaiting();
  bool Finish();
  void FinishOrAnswer();
  void AnswerWaiting();
  void Stay();
  bool WorthSaving() const;

  EventLoop& loop_;
  Services& services_;
  Stage stage_ = Stage::kServing;
  ShutdownOptions options_;
  bool handed_over_ = false;
  int64_t deadline_ms_ = 0;  // monotonic: begin plus shutdown-timeout
  std::unique_ptr<EventLoop::Timer> redirecting_;
  uint64_t client_id_ = 0;
  int exit_code_ = 0;
};

}  // namespace tessera
