// MIGRATE: keys go to another server while this one goes on serving.
//
// Redis stops its whole server until the target has answered. Here the client that asked is parked, the loop goes on,
// and two rules keep the keys whole:
//   1. A key leaves this server only when the target holds exactly its present value. Keys under way are watched
//      through the keyspace's door. One that changed while its copy travelled is not deleted but sent again (with
//      REPLACE, for what stands there is our own copy); one that was deleted here is deleted at the target as well.
//      Until the key is gone here, nobody is sent to the target for it, so its copy there is nobody's business.
//   2. A key that is written again and again would never be still. After kOptimisticRounds tries all writes are paused
//      for as long as one more round takes, at most until its timeout. Reads go on.
// Each key is deleted as soon as the target confirmed it, in the same turn of the loop; the deletions go down the
// stream as DEL. Two clients never move the same key at once: the later one waits.
//
// Connections are kept for ten seconds after their last use, by host and port. Owned by Node; loop thread.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/services.h"
#include "server/session.h"
#include "server/store/keyspace.h"

namespace tessera {

class EventLoop;

class Migrator : public store::ChangeObserver {
 public:
  struct Request {
    std::string host;
    uint16_t port = 0;
    int db = 0;  // of the keys, here
    int64_t target_db = 0;
    int64_t timeout_ms = 1000;  // longest silence of the target
    bool copy = false, replace = false;
    bool authenticate = false;
    std::string user, password;  // user empty: AUTH with a password alone
    std::vector<std::string> keys;
  };

  Migrator(EventLoop& loop, Services& services);
  ~Migrator() override;

  // Parks the session and answers it when all is done.
  void Start(Session& session, Request request);

  void OnChange(int db, uint16_t slot, std::string_view key, store::ChangeKind kind) override;
  void OnFlush(int db) override;
  void OnDropSlot(int db, uint16_t slot) override;
  void OnSwap(int first, int second) override;

 private:
  struct Job;
  struct Link;

  void Begin(const std::shared_ptr<Job>& job);
  void OpenLink(const std::shared_ptr<Job>& job);
  void SendPrelude(Job& job);
  void SendRound(Job& job);
  void OnReceived(Link& link, std::string_view bytes);
  void OnReply(Job& job, bool is_error, std::string_view text);
  void OnClosed(Link& link, bool timed_out);
  void Advance(const std::shared_ptr<Job>& job);
  void ArmTimer(Job& job);
  void Remove(Job& job, const std::string& key);
  void PropagateRemovals(Job& job);
  void Finish(const std::shared_ptr<Job>& job, std::string_view error);
  void ReleaseLink(Job& job, bool reusable);
  void MarkDatabase(int db);
  void DropIdleLinks();
  bool Conflicts(const Job& job) const;
  static std::string Place(int db, std::string_view key);

  EventLoop& loop_;
  Services& services_;
  std::list<std::shared_ptr<Job>> running_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::unordered_map<std::string, Job*> moving_;  // keys under way, by database and key
  std::multimap<std::string, std::shared_ptr<Link>> idle_;
  bool observing_ = false;
};

}  // namespace tessera
