#include "server/client_limits.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "server/clients.h"
#include "server/commands/client_info.h"
#include "server/log.h"
#include "server/stats.h"

namespace tessera {
namespace {

constexpr size_t kLimitMin = 128 << 10;
// The connection around the session: descriptor, parser, bookkeeping.
constexpr size_t kConnectionBytes = 1024;

}  // namespace

size_t ClientLimits::MemoryOf(const Session& session) {
  size_t bytes = sizeof(Session) + session.out.allocated() + session.transaction.bytes + session.name.capacity() +
                 session.lib_name.capacity() + session.lib_version.capacity();
  for (const auto& watched : session.transaction.watched) bytes += sizeof(watched) + watched.key.capacity();
  if (session.link != nullptr) bytes += kConnectionBytes + session.link->figures().read_buffer_capacity;
  return bytes;
}

size_t ClientLimits::limit() const {
  const config::Config& config = services_.config;
  if (config.maxmemory_clients == 0) return 0;
  if (config.maxmemory_clients > 0) return std::max(static_cast<size_t>(config.maxmemory_clients), kLimitMin);
  if (config.maxmemory == 0) return 0;
  const double part = static_cast<double>(config.maxmemory) * static_cast<double>(-config.maxmemory_clients) / 100;
  return std::max(static_cast<size_t>(part), kLimitMin);
}

void ClientLimits::Update(Session& session) {
  const size_t bytes = session.kind == SessionKind::kNormal && session.link != nullptr ? MemoryOf(session) : 0;
  total_ += bytes - session.counted_bytes;
  session.counted_bytes = bytes;
}

bool ClientLimits::Check(Session& session) {
  Update(session);
  EvictIfOver();
  return session.close_asap;
}

void ClientLimits::EvictIfOver() {
  const size_t limit = this->limit();
  if (limit == 0 || total_ < limit) return;
  std::vector<Session*> victims;
  for (const auto& [id, session] : services_.clients.all())
    if (session->counted_bytes != 0 && !session->no_evict && !session->close_asap) victims.push_back(session);
  const auto larger = [](const Session* a, const Session* b) { return a->counted_bytes > b->counted_bytes; };
  std::sort(victims.begin(), victims.end(), larger);
  for (Session* victim : victims) {
    if (total_ < limit) return;
    log::Notice("Evicting client: {}", DescribeClient(*victim, services_.commands, victim->last_interaction_us));
    ++services_.stats.evicted_clients;
    victim->close_asap = true;
    victim->link->CloseNow("maxmemory-clients");  // comes back to Forget
  }
}

void ClientLimits::Forget(Session& session) { total_ -= std::exchange(session.counted_bytes, 0); }

void ClientLimits::OptionsChanged() {
  for (const auto& [id, session] : services_.clients.all()) {
    if (on()) {
      Update(*session);
    } else {
      Forget(*session);
    }
  }
}

}  // namespace tessera
