#include "server/lifecycle.h"

#include "server/blocking.h"
#include "server/clients.h"
#include "server/config/config.h"
#include "server/durability/durability.h"
#include "server/log.h"
#include "server/net/event_loop.h"
#include "server/replication/replication.h"

namespace tessera {

std::string Lifecycle::RequestShutdown(const ShutdownOptions& options, Session* client) {
  if (shutting_down_) return "ERR Errors trying to SHUTDOWN. Check logs.";
  options_ = options;
  // Half a dataset must not replace the whole one on disk.
  const bool loading = services_.durability.loading() || services_.replication.loading();
  if (loading) options_.save = ShutdownOptions::Save::kNoSave;
  shutting_down_ = true;
  client_id_ = client != nullptr ? client->id : 0;
  const int64_t now_ms = loop_.now().mono_ms();
  if (!options.now && !loading && services_.config.shutdown_timeout > 0 && !services_.replication.is_replica() &&
      !services_.replication.AllReplicasCaughtUp()) {
    deadline_ms_ = now_ms + int64_t{services_.config.shutdown_timeout} * 1000;
    services_.clients.Pause(Clients::PauseReason::kShutdown, Clients::PauseScope::kWrites, INT64_MAX / 2);
    services_.replication.RequestAcknowledgements();
    log::Notice("Shutting down: waiting up to {} seconds for replicas to catch up; writes are held back meanwhile",
                services_.config.shutdown_timeout);
    if (client != nullptr)
      services_.blocking.Block(*client, BlockKind::kShutdown, 0, [](Session& session, WakeReason) {
        session.reply.Error("ERR Errors trying to SHUTDOWN. Check logs.");
      });
    return {};
  }
  return Finish() ? std::string() : "ERR Errors trying to SHUTDOWN. Check logs.";
}

bool Lifecycle::Abort() {
  if (!shutting_down_) return false;
  shutting_down_ = false;
  services_.clients.Unpause(Clients::PauseReason::kShutdown);
  log::Notice("Shutdown aborted; serving goes on");
  if (Session* client = services_.clients.Find(client_id_)) services_.blocking.Wake(*client, WakeReason::kReady);
  return true;
}

void Lifecycle::Cron() {
  if (!shutting_down_) return;
  const bool caught_up = services_.replication.AllReplicasCaughtUp();
  if (!caught_up && loop_.now().mono_ms() < deadline_ms_) return;
  if (!caught_up) log::Warning("Some replicas did not catch up in time; what they miss they will ask for on return");
  if (Finish()) return;
  if (Session* client = services_.clients.Find(client_id_)) services_.blocking.Wake(*client, WakeReason::kReady);
}

bool Lifecycle::Finish() {
  const bool save = options_.save == ShutdownOptions::Save::kSave ||
                    (options_.save == ShutdownOptions::Save::kAsConfigured && !services_.config.save.empty());
  const std::string error = services_.durability.FinishForShutdown(save);
  if (!error.empty()) {
    if (!options_.force) {
      log::Warning("Not shutting down, because data would be lost: {}. Serving goes on; use SHUTDOWN FORCE or NOSAVE to "
                   "stop anyway.",
                   error);
      shutting_down_ = false;
      services_.clients.Unpause(Clients::PauseReason::kShutdown);
      return false;
    }
    log::Warning("Shutting down although saving failed: {}", error);
  }
  log::Warning("Tessera is now ready to exit, bye bye...");
  exit_code_ = 0;
  loop_.Stop();
  return true;
}

}  // namespace tessera
