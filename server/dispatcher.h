// The way of a request through the house: find the row, pass the gates, queue or call, account, propagate.
//
//   connection --argv--> Execute: row, arity, auth, routing, state gates, MULTI queue
//                          --> Call: handler, statistics, slow log
//                                --> propagation: one frame in the stream, or MULTI ... EXEC around several
//
// An execution unit is one command, or one EXEC with all its commands; what a unit changes enters the stream together.
// Loop thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/clock.h"
#include "server/commands/command.h"
#include "server/commands/table.h"
#include "server/services.h"
#include "server/session.h"
#include "server/store/keyspace.h"

namespace tessera {

struct CommandContext;
class ReplicationStream;

class Dispatcher : public store::ChangeObserver {
 public:
  enum class Outcome : uint8_t {
    kDone,       // answered, queued or refused
    kBlocked,    // will be answered later; the pipeline rests
    kPostponed,  // not executed (clients are paused): offer the same command again when resumed
  };

  // `services` may still be under construction; nothing is called before the first command.
  Dispatcher(Services& services, ReplicationStream& stream) : services_(services), stream_(stream) {}

  // A client's command, with all gates. `wall_ms`: the turn's unix time.
  Outcome Execute(Session& session, std::span<const std::string_view> argv, int64_t wall_ms);

  // A command that was accepted elsewhere: from our primary, or from the AOF. Only unknown commands, arity and MULTI are
  // looked at; nothing is propagated. Returns an error text if it cannot be executed.
  std::string Replay(Session& session, std::span<const std::string_view> argv, int64_t wall_ms);

  // A command that waited for keys tries again (BlockedKeys): through all gates, as a unit of its own. The client is
  // answered, or it is blocked again.
  void Retry(Session& session, const CommandRow& row, const CommandRow* parent, std::span<const std::string_view> argv,
             int64_t wall_ms, bool muted);
  // CLIENT PAUSE and its like hold this command of this client back.
  bool IsPaused(const Session& session, const CommandRow& row) const;
  // A command that waited was answered outside of Call; `errors`: the session's count before.
  void CountAnswered(Session& session, const CommandRow& row, uint64_t errors);

  // EXEC's work; called by its handler.
  void RunTransaction(CommandContext& exec);

  // Adds a command to what the running unit propagates; outside of a unit it enters the stream at once.
  void AlsoPropagate(int db, std::span<const std::string_view> command);

  // The keyspace's door reports here: counts changes, propagates expiries and evictions.
  void OnChange(int db, uint16_t slot, std::string_view key, store::ChangeKind kind) override;
  void OnExpired(int db, uint16_t slot, std::string_view key) override;
  void OnFieldsExpired(int db, uint16_t slot, std::string_view key, std::span<const std::string> fields,
                       Left left) override;
  void OnFlush(int db) override;
  void OnSwap(int first, int second) override;

  bool in_transaction() const { return transaction_depth_ > 0; }

  // Monotonic instant of the latest clock reading, good to a few microseconds while commands run.
  int64_t last_us() const { return last_us_; }
  void set_last_us(int64_t us) { last_us_ = us; }

 private:
  void CloseForHttp(Session& session);
  // Reused from unit to unit, so that rewriting a command for the stream costs no allocation.
  struct Pending {
    int db = 0;
    bool control = false;  // changes no data: not for the AOF
    size_t argc = 0;
    std::vector<std::string> argv;  // at least argc
  };
  // The first gate that refuses, as an error reply; empty = pass.
  std::string Refusal(Session& session, const CommandRow& row, std::span<const std::string_view> argv);
  void Refuse(Session& session, const CommandRow* row, std::string_view error);
  bool IsOutOfMemory(const Session& session, const CommandRow& row, bool may_take_memory);
  void Queue(Session& session, const CommandRow& row, std::span<const std::string_view> argv);
  void Call(Session& session, const CommandRow& row, std::span<const std::string_view> argv, int64_t wall_ms);
  void CountError(std::string_view code);
  void AddPending(int db, std::span<const std::string_view> command, bool control);
  void BeginUnit() { ++unit_depth_; }
  void EndUnit();

  Services& services_;
  ReplicationStream& stream_;
  int unit_depth_ = 0;
  int transaction_depth_ = 0;
  uint64_t changes_ = 0;
  std::vector<Pending> pending_;
  size_t pending_count_ = 0, pending_bytes_ = 0;
  std::vector<std::string_view> argv_scratch_;
  int64_t last_us_ = 0;
  int64_t http_said_us_ = 0;  // when the log last spoke of HTTP clients

  friend struct CommandContext;
};

std::string UnknownCommandText(std::span<const std::string_view> argv);

}  // namespace tessera
