// Those who follow us: their synchronisation (partial, full from disk or diskless) and their acknowledgements.
//
// A full synchronisation:  kWaiting --snapshot begins (+FULLRESYNC id offset)--> kReceiving --image sent--> kOnline.
// From the snapshot's instant on the stream gathers in the replica's `held` bytes and follows the image. After a diskless
// image it waits for the replica's first acknowledgement, because the receiver finds the image's end by its last bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/file_system.h"
#include "persistence/posix_file_system.h"
#include "server/durability/background_save.h"
#include "server/replication/stream.h"
#include "server/services.h"
#include "server/session.h"

namespace tessera {

class DiskThread;
class EventLoop;

// Hangs on the session of a replica's connection.
struct Session::ReplicaSide {
  enum class State : uint8_t { kHandshake, kWaiting, kReceiving, kAwaitingAck, kOnline };
  State state = State::kHandshake;
  uint16_t port = 0;          // announced: listening-port
  std::string address;        // announced: ip-address
  bool understands_eof = false;
  bool understands_psync2 = false;
  bool knows_field_expiry = false;  // otherwise see field_expiry.h
  bool only_image = false;    // REPLCONF rdb-only: a backup, not a replica
  bool old_protocol = false;  // SYNC: no offsets, no acknowledgements
  int64_t acknowledged = 0;   // offset
  int64_t acknowledged_ms = 0;  // monotonic, when
  int64_t fsynced = 0;        // offset in the replica's AOF (FACK)
  int64_t waiting_since_ms = 0;
  uint64_t sent = 0;            // bytes that had left when last looked at,
  int64_t sent_ms = 0;          // and since when: a receiver that takes nothing is given up
  protocol::OutputBuffer held;  // the stream since the snapshot
  std::unique_ptr<persistence::File> image;  // disk-based: what is being sent
  uint64_t image_bytes = 0, image_sent = 0;
  uint64_t image_end = 0;  // where the image ends so far, counted in bytes sent on this connection (network_out)
};

class Replicas {
 public:
  Replicas(EventLoop& loop, DiskThread& disk, Services& services, ReplicationStream& stream);
  ~Replicas();

  // PSYNC and SYNC (`id` empty): takes the connection over. `id` "?" asks for everything.
  void Synchronise(Session& session, std::string_view id, int64_t offset);
  void Acknowledge(Session& session, int64_t offset, int64_t fsynced);
  void Forget(Session& session);
  void DisconnectAll(std::string_view reason);
  void Feed(std::string_view bytes);
  void Cron();

  bool empty() const { return replicas_.empty(); }
  const std::vector<Session*>& all() const { return replicas_; }
  int64_t GoodCount() const;
  int CountAcknowledging(int64_t offset) const;
  bool AllAcknowledge(int64_t offset) const;
  // When a replica was last heard of, monotonic: it acknowledges, or sends line feeds while it loads.
  static int64_t HeardMs(const Session& session);
  // What counts for client-output-buffer-limit: the stream that waits for the replica, but no part of an image, of which
  // we never hold much.
  static size_t StreamBytesWaiting(const Session& session);
  // The address clients know a replica by.
  static std::string AddressOf(const Session& session);

  // The same for what replicas have synced into their AOF.
  int CountSynced(int64_t offset) const;

  // WAIT and WAITAOF: wakes the blocked session when `satisfied`, asked after each acknowledgement and sync.
  void AddWaiter(Session& session, std::function<bool()> satisfied);
  void CheckWaiters();

 private:
  class Snapshot;
  struct Waiter {
    uint64_t session_id;
    std::function<bool()> satisfied;
  };
  void StartSnapshot();
  void BecomeOnline(Session& session);
  // Bytes of the stream as this replica understands them.
  static void AppendStream(protocol::OutputBuffer& out, const Session& session, std::string_view bytes);
  static void AppendImage(Session& session, std::string_view bytes);
  void SendImage(Session& session);
  void CronOf(Session& session);
  bool NearContainerLimit() const;
  bool Work();

  EventLoop& loop_;
  DiskThread& disk_;
  Services& services_;
  ReplicationStream& stream_;
  persistence::PosixFileSystem files_;
  std::vector<Session*> replicas_;
  std::vector<Waiter> waiters_;
  std::unique_ptr<Snapshot> snapshot_;
};

}  // namespace tessera
