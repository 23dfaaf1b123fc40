#include "server/lifecycle.h"

#include <algorithm>

#include "server/blocking.h"
#include "server/clients.h"
#include "server/cluster/cluster_shell.h"
#include "server/config/config.h"
#include "server/durability/durability.h"
#include "server/log.h"
#include "server/memory_meter.h"
#include "server/replication/replication.h"

namespace tessera {
namespace {

constexpr std::string_view kFailed = "ERR Errors trying to SHUTDOWN. Check logs.";
constexpr int64_t kHandOverMsMax = 5000;
// After a hand-over clients that come again are still told where the slots are.
constexpr int64_t kRedirectMs = 200;
// What a save writes at least, to judge whether one still fits into the time there is.
constexpr int64_t kSaveBytesPerMs = 50 << 10;

bool ServesSlots(const Services& services) {
  if (services.cluster == nullptr) return false;
  const cluster::NodeView& me = services.cluster->core().me();
  return me.is(cluster::kPrimary) && me.slot_count != 0;
}

}  // namespace

std::string Lifecycle::RequestShutdown(const ShutdownOptions& options, Session* client) {
  if (shutting_down()) return std::string(kFailed);
  options_ = options;
  handed_over_ = false;
  // Half a dataset must not replace the whole one on disk.
  const bool loading = services_.durability.loading() || services_.replication.loading();
  if (loading) options_.save = ShutdownOptions::Save::kNoSave;
  client_id_ = client != nullptr ? client->id : 0;
  deadline_ms_ = loop_.now().mono_ms() + services_.config.shutdown_timeout * 1000;
  if (options.safe && !options.force && !options.failover && ServesSlots(services_)) {
    Finish();  // says why not
    return std::string(kFailed);
  }
  if (!loading && (StartHandOver() || StartWaiting())) {
    // A hand-over may have failed, and the shutdown with it, before this returns.
    if (!shutting_down()) return std::string(kFailed);
    if (client != nullptr)
      services_.blocking.Block(*client, BlockKind::kShutdown, 0,
                               [](Session& session, WakeReason) { session.reply.Error(kFailed); });
    return {};
  }
  return Finish() ? std::string() : std::string(kFailed);
}

bool Lifecycle::StartHandOver() {
  if (!options_.failover || !ServesSlots(services_) || services_.config.shutdown_timeout == 0) return false;
  stage_ = Stage::kHandingOver;
  const int64_t limit_ms = std::min(kHandOverMsMax, services_.config.shutdown_timeout * 1000);
  const std::string error = services_.cluster->HandOver(limit_ms, [this](bool handed_over) { HandOverEnded(handed_over); });
  if (error.empty()) return true;
  stage_ = Stage::kServing;
  log::Notice("Shutting down without handing the slots over: {}", error.substr(4));
  return false;
}

void Lifecycle::HandOverEnded(bool handed_over) {
  if (stage_ != Stage::kHandingOver) return;
  handed_over_ = handed_over;
  if (handed_over) {
    stage_ = Stage::kRedirecting;
    redirecting_ = loop_.After(kRedirectMs, [this] { FinishOrAnswer(); });
  } else if (!StartWaiting()) {
    FinishOrAnswer();
  }
}

bool Lifecycle::StartWaiting() {
  if (options_.now || services_.config.shutdown_timeout == 0 || services_.replication.is_replica() ||
      services_.replication.AllReplicasCaughtUp())
    return false;
  stage_ = Stage::kWaiting;
  services_.clients.Pause(Clients::PauseReason::kShutdown, Clients::PauseScope::kWrites, INT64_MAX / 2);
  services_.replication.RequestAcknowledgements();
  log::Notice("Shutting down: waiting up to {} seconds for replicas to catch up; writes are held back meanwhile",
              services_.config.shutdown_timeout);
  return true;
}

void Lifecycle::Stay() {
  stage_ = Stage::kServing;
  redirecting_.reset();
  services_.clients.Unpause(Clients::PauseReason::kShutdown);
  if (services_.cluster != nullptr) services_.cluster->CancelHandOver();
}

bool Lifecycle::Abort() {
  if (!shutting_down()) return false;
  Stay();
  log::Notice("Shutdown aborted; serving goes on");
  AnswerWaiting();
  return true;
}

void Lifecycle::Cron() {
  if (stage_ != Stage::kWaiting) return;
  const bool caught_up = services_.replication.AllReplicasCaughtUp();
  if (!caught_up && loop_.now().mono_ms() < deadline_ms_) return;
  if (!caught_up) log::Warning("Some replicas did not catch up in time; what they miss they will ask for on return");
  FinishOrAnswer();
}

void Lifecycle::FinishOrAnswer() {
  if (!Finish()) AnswerWaiting();
}

void Lifecycle::AnswerWaiting() {
  Session* client = services_.clients.Find(client_id_);
  if (client != nullptr && client->blocked.kind == BlockKind::kShutdown)
    services_.blocking.Wake(*client, WakeReason::kReady);
}

// A save by configuration only costs time when the data is elsewhere too, with the new primary or in the append-only file:
// one that would hardly end within shutdown-timeout, and might be cut short by whoever waits for this process, is left out.
bool Lifecycle::WorthSaving() const {
  if (services_.config.save.empty()) return false;
  if (!handed_over_ && !services_.config.appendonly) return true;
  const int64_t left_ms = std::max<int64_t>(deadline_ms_ - loop_.now().mono_ms(), 0);
  const auto bytes = services_.memory != nullptr ? static_cast<int64_t>(services_.memory->Measure()) : 0;
  if (bytes / kSaveBytesPerMs <= left_ms) return true;
  log::Notice("The dataset is not saved: that could take longer than there is time, and {}",
              handed_over_ ? "a replica has it" : "the append-only file holds it");
  return false;
}

bool Lifecycle::Finish() {
  using Save = ShutdownOptions::Save;
  if (options_.safe && !options_.force && ServesSlots(services_)) {
    log::Warning("Not shutting down, because SAFE was asked for and this node is a primary that serves slots.");
    Stay();
    return false;
  }
  const bool save = options_.save == Save::kSave || (options_.save == Save::kAsConfigured && WorthSaving());
  const std::string error = services_.durability.FinishForShutdown(save);
  if (!error.empty()) {
    if (!options_.force) {
      log::Warning("Not shutting down, because data would be lost: {}. Serving goes on; use SHUTDOWN FORCE or NOSAVE to "
                   "stop anyway.",
                   error);
      Stay();
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
