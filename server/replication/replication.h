// PSYNC2, both sides joined: the history (replication ids and offset), the backlog, the role. Replicas (replicas.h) are
// those who follow us, the primary link (primary_link.h) is to the one we follow.
// Loop thread. Source: the replication protocol of Redis 7 (PSYNC, REPLCONF, the $EOF: diskless framing).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/replication/stream.h"
#include "server/services.h"
#include "server/session.h"

namespace tessera {

class DiskThread;
class EventLoop;
class PrimaryLink;
class Replicas;

// A dataset's past by name: up to `second_offset` it is also known under the second id (before a promotion).
struct History {
  std::string id;
  std::string second_id = std::string(40, '0');
  int64_t second_offset = -1;
  void Renew(int64_t offset);   // a promotion: the past stays known under the old id
  void Forget();                // a new dataset
  static std::string RandomId();
};

class Replication : public StreamSink {
 public:
  Replication(EventLoop& loop, DiskThread& disk, Services& services, ReplicationStream& stream);
  ~Replication() override;

  // ---- role
  bool is_replica() const { return primary_ != nullptr; }
  // REPLICAOF host port; the cluster calls it too. Keeps the present data until the primary's arrives.
  // `node_id`: of the cluster node that must answer there; empty = anybody.
  void Follow(const std::string& host, uint16_t port, std::string_view node_id = {});
  // Takes nothing more from the primary until one of the other two; a dataset that has arrived is loaded to its end.
  void StopFollowing();
  // REPLICAOF NO ONE: keeps the data, starts a new history that continues the old one (second replication id).
  void BecomePrimary();
  std::string primary_host() const;
  uint16_t primary_port() const;
  bool primary_link_up() const;
  bool loading() const;                // a full synchronisation is being applied
  // Unix ms of the last byte heard from a primary while synchronised with it; 0 never, or the data is not worth anything.
  int64_t primary_last_io_ms() const { return heard_primary_ms_; }
  int64_t offset() const { return stream_.offset(); }  // produced as primary, processed as replica
  std::string_view replication_id() const { return history_.id; }
  const History& history() const { return history_; }
  // Somebody else may know this dataset by our history's id: it is worth asking to continue, and keeping in RDB files.
  bool has_past() const { return has_past_; }

  // ---- as primary
  Replicas& replicas() { return *replicas_; }
  const Replicas& replicas() const { return *replicas_; }
  const PrimaryLink* primary() const { return primary_.get(); }
  bool EnoughReplicasToWrite() const;  // min-replicas-to-write / -max-lag
  int ReplicasAcknowledging(int64_t offset) const;
  // Asks all replicas for an acknowledgement (WAIT), once a turn.
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


  const Backlog* backlog() const { return backlog_ ? &*backlog_ : nullptr; }
  void EnsureBacklog();
  // A replica wants everything: without a backlog there is no past worth naming, so a new history begins.
  void PrepareFullSynchronisation();
  void ResizeBacklog(size_t bytes);
  // The byte position a replica named in PSYNC can be continued from, under the id it named.
  bool CanContinue(std::string_view id, int64_t offset) const;

  // ---- from the primary link
  // The dataset is about to be replaced: what is here in between belongs to no history.
  void ForsakeHistory();
  // After a full synchronisation; the stream goes on in database `db`.
  void AdoptHistory(std::string_view id, int64_t offset, int db);
  void ContinueHistory(std::string_view new_id);            // +CONTINUE with another id
  void HeardPrimary();                                      // while synchronised
  // ---- state that survives a restart in RDB aux fields
  // A replica goes on where it was. A primary may have made changes that the file does not know: it begins a history of
  // its own, which continues the old one up to `offset` only.
  void RestoreHistory(std::string_view replication_id, int64_t offset, int db, bool as_replica);

  void Cron();  // every 100 ms
  void OnStream(std::string_view bytes, int64_t offset) override;
  void OnControl(std::string_view bytes, int64_t offset) override { OnStream(bytes, offset); }

 private:
  // What a file says may be of a server with more databases.
  int DatabaseOrFirst(int db) const;
  // The primary of a paused write side neither pings nor asks: its offset stands still for the replica that takes over.
  bool Silent() const;

  EventLoop& loop_;
  DiskThread& disk_;
  Services& services_;
  ReplicationStream& stream_;
  History history_;
  std::optional<Backlog> backlog_;
  std::unique_ptr<Replicas> replicas_;
  std::unique_ptr<PrimaryLink> primary_;
  int64_t last_ping_ms_ = 0;
  int64_t heard_primary_ms_ = 0;  // unix
  bool acknowledgements_wanted_ = false;
  bool has_past_ = false;
  int64_t alone_since_ms_ = 0;  // no replicas: the backlog is freed some time later
};

}  // namespace tessera
