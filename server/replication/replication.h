// PSYNC2, both sides. As primary: the backlog, the replicas' connections, full synchronisations (from disk or diskless)
// and their acknowledgements. As replica: the link to the primary, its handshake, loading and the stream.
// Loop thread. Source: the replication protocol of Redis 7 (PSYNC, REPLCONF, the $EOF: diskless framing).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "server/replication/stream.h"
#include "server/services.h"
#include "server/session.h"

namespace tessera {

class DiskThread;
class EventLoop;

class Replication {
 public:
  Replication(EventLoop& loop, DiskThread& disk, Services& services, ReplicationStream& stream);
  ~Replication();

  // ---- role
  bool is_replica() const;
  // REPLICAOF host port; the cluster calls it too. Keeps the present data until the primary's arrives.
  void Follow(const std::string& host, uint16_t port);
  // REPLICAOF NO ONE: keeps the data, starts a new history that continues the old one (second replication id).
  void BecomePrimary();
  std::string primary_host() const;
  uint16_t primary_port() const;
  bool primary_link_up() const;
  int64_t primary_last_io_ms() const;  // unix ms of the last byte heard; 0 never
  int64_t offset() const;              // produced as primary, processed as replica
  std::string_view replication_id() const;

  // ---- as primary
  bool EnoughReplicasToWrite() const;  // min-replicas-to-write / -max-lag
  int ReplicasAcknowledging(int64_t offset) const;
  // Asks all replicas for an acknowledgement (WAIT).
  void RequestAcknowledgements();
  bool HasReplicas() const;
  bool AllReplicasCaughtUp() const;
  // A connection that turned into a replica has gone.
  void ForgetReplica(Session& session);

  // ---- state that survives a restart in RDB aux fields
  void RestoreHistory(std::string_view replication_id, int64_t offset);

  void Cron();  // every 100 ms

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera
