// Serve here, or where instead: the redirection rules of the Redis Cluster specification, per command.
#include <fmt/core.h>

#include "cluster/slot.h"
#include "server/cluster/cluster_shell.h"
#include "server/config/config.h"
#include "server/store/keyspace.h"

namespace tessera {

struct ClusterShell::Query {
  int slot = -1;  // -1: no key seen yet
  std::string_view first_key;
  bool several_keys = false;
  int missing = 0, existing = 0;  // counted only while the slot moves
  bool moving = false;            // the slot is migrating or importing here
  bool read_only = true;
  bool moves_slots = false;
  bool shard_channels = false;  // SPUBLISH, SSUBSCRIBE: no keys that could be missing; any node of the shard will do
};

std::string ClusterShell::AddKeys(Query& query, const CommandRow& row, std::span<const std::string_view> argv) {
  query.read_only &= !row.has(kWrite);
  query.moves_slots |= row.has(kMovesSlots);
  query.shard_channels |= row.has(kPubsub);
  // Where keys are miscounted there are none: the command runs here and says what is wrong with it.
  FindRoutedKeys(row, argv, key_scratch_);
  for (const KeyPosition& position : key_scratch_) {
    const std::string_view key = argv[static_cast<size_t>(position.index)];
    const cluster::Slot slot = cluster::SlotOf(key);
    if (query.slot < 0) {
      query.slot = slot;
      query.first_key = key;
      if (core_->OwnerOf(slot) == nullptr) return "CLUSTERDOWN Hash slot not served";
      query.moving = !query.shard_channels &&
                     (core_->MigratingTo(slot) != nullptr || core_->ImportingFrom(slot) != nullptr);
    } else if (slot != query.slot) {
      return "CROSSSLOT Keys in request don't hash to the same slot";
    } else if (key != query.first_key) {
      query.several_keys = true;
    }
    if (query.moving) {
      store::Database& db = services_.keyspace.db(0);
      const store::EntryRef entry = db.Peek(key);
      ++(entry && !db.IsExpired(entry) ? query.existing : query.missing);
    }
  }
  return {};
}

std::string ClusterShell::Route(const Session& session, const CommandRow& row, std::span<const std::string_view> argv) {
  const bool exec = row.has(kEndsTransaction) && session.transaction.open;
  if (row.keys.empty() && !exec) return {};
  if (loop_.now().unix_ms > lease_until_ms_) CheckLease();
  // The usual case: one key, at a fixed place, in a slot that is settled here.
  if (!exec && row.keys.size() == 1) {
    const KeySpec& spec = row.keys[0];
    if (spec.begin == KeySpec::Begin::kIndex && spec.find == KeySpec::Find::kRange && spec.last_key == 0 &&
        static_cast<size_t>(spec.index) < argv.size() &&
        serve_[cluster::SlotOf(argv[static_cast<size_t>(spec.index)])])
      return {};
  }
  Query query;
  if (exec) {
    std::vector<std::string_view> words;
    for (const QueuedCommand& command : session.transaction.commands) {
      words.assign(command.argv.begin(), command.argv.end());
      if (std::string error = AddKeys(query, *command.row, words); !error.empty()) return error;
    }
  } else if (std::string error = AddKeys(query, row, argv); !error.empty()) {
    return error;
  }
  if (query.slot < 0) return {};
  if (!session.asking && row.has(kAsking)) {
    Session& flagged = const_cast<Session&>(session);
    flagged.asking = true;
  }
  return Judge(query, session);
}

std::string ClusterShell::RouteWaiting(const Session& session, const CommandRow& row, std::string_view key) const {
  if (!core_->ok()) return "CLUSTERDOWN The cluster is down";
  const cluster::Slot slot = cluster::SlotOf(key);
  const cluster::NodeView* owner = core_->OwnerOf(slot);
  if (owner == nullptr) return "CLUSTERDOWN Hash slot not served";
  if (owner->id == core_->self() || core_->ImportingFrom(slot) != nullptr) return {};
  const cluster::NodeView& me = core_->me();
  if (session.readonly && !row.has(kWrite) && me.is(cluster::kReplica) && me.primary == owner->id) return {};
  return Redirection("MOVED", slot, *owner, session);
}

cluster::Audience ClusterShell::AudienceOf(const Session& session) {
  // Without TLS so far. A session's peer is "ip:port", an IPv6 address in brackets; ::ffff:1.2.3.4 came over IPv4.
  return {.tls = false, .ipv6 = session.peer.starts_with('[') && !session.peer.starts_with("[::ffff:")};
}

std::string ClusterShell::Redirection(std::string_view how, cluster::Slot slot, const cluster::NodeView& to,
                                      const Session& session) const {
  const cluster::Audience who = AudienceOf(session);
  return fmt::format("{} {} {}:{}", how, slot, PreferredHost(to, who), cluster::PortFor(to.endpoint, who));
}

std::string ClusterShell::PreferredHost(const cluster::NodeView& node, cluster::Audience who) const {
  using config::EndpointType;
  switch (static_cast<EndpointType>(core_->options().preferred_endpoint_type)) {
    case EndpointType::kIp:
      return cluster::IpFor(node.endpoint, who);
    case EndpointType::kHostname:
      return node.endpoint.hostname.empty() ? "?" : node.endpoint.hostname;
    case EndpointType::kUnknown:
      break;
  }
  return {};
}

std::string ClusterShell::Judge(const Query& query, const Session& session) {
  const cluster::Options& options = core_->options();
  const auto slot = static_cast<cluster::Slot>(query.slot);
  if (!core_->ok()) {
    if (query.shard_channels) {
      if (!options.allow_pubsubshard_when_down) return "CLUSTERDOWN The cluster is down";
    } else if (!options.allow_reads_when_down) {
      return "CLUSTERDOWN The cluster is down";
    } else if (!query.read_only) {
      return "CLUSTERDOWN The cluster is down and only accepts read commands";
    }
  }
  const cluster::NodeView* owner = core_->OwnerOf(slot);
  const bool mine = owner->id == core_->self();
  const cluster::NodeView* to = core_->MigratingTo(slot);
  const cluster::NodeView* from = core_->ImportingFrom(slot);
  if (query.moves_slots && (to != nullptr || from != nullptr)) return {};
  if (to != nullptr && mine && query.missing > 0) {
    if (query.existing > 0) return "TRYAGAIN Multiple keys request during rehashing of slot";
    if (to->id == core_->self()) return {};  // an operator's slip; sending the client here again would not help
    return Redirection("ASK", slot, *to, session);
  }
  if (from != nullptr && session.asking) {
    if (query.several_keys && query.missing > 0) return "TRYAGAIN Multiple keys request during rehashing of slot";
    return {};
  }
  if (mine) return {};
  const cluster::NodeView& me = core_->me();
  if ((query.shard_channels || (session.readonly && query.read_only)) && me.is(cluster::kReplica) && me.primary == owner->id) return {};
  return Redirection("MOVED", slot, *owner, session);
}

}  // namespace tessera
