// PSYNC2, both sides. As primary: the backlog, the replicas' connections, full synchronisations (from disk or diskless)
// and their acknowledgements. As replica: the link to the primary, its handshake, loading and the stream.
// Loop thread. Source: the replication protocol of Redis 7 (PSYNC, REPLCONF, the $EOF: diskless framing).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

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

  // ---- INFO replication
  struct Figures {
    struct Replica {
      std::string ip;
      uint16_t port = 0;
      std::string_view state;  // "wait_bgsave", "send_bulk", "online"
      int64_t acknowledged_offset = 0;
      int64_t lag_s = 0;  // since its latest acknowledgement
    };
    std::vector<Replica> replicas;
    std::string replication_id, second_replication_id;
    int64_t second_offset = -1;  // up to where the second id is continued by us; -1 none
    bool backlog_active = false;
    uint64_t backlog_size = 0, backlog_length = 0;
    int64_t backlog_first_offset = 0;  // of its oldest byte, counted from 1
    // as replica
    bool sync_in_progress = false;
    int64_t sync_total_bytes = 0, sync_read_bytes = 0;  // total -1: not known (diskless)
    int64_t sync_last_io_ms = 0;                        // unix ms
    int64_t link_down_since_ms = 0;                     // unix ms; 0 while up
    int64_t read_offset = 0;                            // received, not all processed yet
  };
  Figures figures() const;

  // ---- state that survives a restart in RDB aux fields
  void RestoreHistory(std::string_view replication_id, int64_t offset);

  void Cron();  // every 100 ms

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera
