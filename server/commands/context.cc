#include "server/commands/context.h"

#include "server/blocked_keys.h"
#include "server/config/config.h"
#include "server/dispatcher.h"
#include "server/pubsub.h"
#include "server/stats.h"

namespace tessera {
namespace {

store::Viewer ViewerOf(const Session& session) {
  return session.kind == SessionKind::kPrimary ? store::Viewer::kPrimary : store::Viewer::kClient;
}

}  // namespace

store::EntryRef CommandContext::Find(std::string_view key) {
  const store::Touch touch = session.no_touch && !row.has(kWrite) ? store::Touch::kNo : store::Touch::kYes;
  const store::EntryRef entry = db().Lookup(key, {touch, ViewerOf(session)});
  ++(entry ? services.stats.keyspace_hits : services.stats.keyspace_misses);
  if (!entry) Notify('m', "keymiss", key);
  return entry;
}

store::EntryRef CommandContext::FindUntouched(std::string_view key) {
  const store::EntryRef entry = FindToInspect(key);
  if (!entry) Notify('m', "keymiss", key);
  return entry;
}

store::EntryRef CommandContext::FindToInspect(std::string_view key) {
  const store::EntryRef entry = db().Lookup(key, {store::Touch::kNo, ViewerOf(session)});
  ++(entry ? services.stats.keyspace_hits : services.stats.keyspace_misses);
  return entry;
}

store::EntryRef CommandContext::FindForWrite(std::string_view key) {
  return db().Lookup(key, {store::Touch::kYes, ViewerOf(session)});
}

void CommandContext::PropagateIn(int db, std::span<const std::string_view> command) {
  propagation = Propagation::kOverridden;
  if (session.kind == SessionKind::kNormal) services.dispatcher.AlsoPropagate(db, command);
}

bool CommandContext::TellsOfNewKeys() const {
  return (services.config.notify_keyspace_events & config::kNotifyNew) != 0;
}

void CommandContext::BlockOnKeys(const KeyWait& wait) { services.blocked_keys.Block(*this, wait); }

void CommandContext::SignalKey(std::string_view key) { services.blocked_keys.Signal(session.db, key); }

void CommandContext::NotifyIn(int db, char event_class, std::string_view event, std::string_view key) {
  if (services.config.notify_keyspace_events != 0) [[unlikely]]
    services.pubsub.NotifyKeyspace(db, event_class, event, key);
}

}  // namespace tessera
