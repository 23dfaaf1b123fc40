// Commands that wait for keys (BLPOP, BLMOVE, BZPOPMIN, XREAD BLOCK ...): who waits for which keys, in what order, and
// who is served when a key comes.
//
// A handler tries, and says what it waits for if there was nothing:
//
//   void Blpop(CommandContext& ctx) {
//     int64_t deadline_us;
//     if (!ReadTimeout(ctx, ctx.argv.back(), TimeoutUnit::kSeconds, deadline_us)) return;
//     const Argv keys = ctx.argv.subspan(1, ctx.argv.size() - 2);
//     if (PopFromFirst(ctx, keys)) return;  // answered, or refused (WRONGTYPE)
//     ctx.BlockOnKeys({.keys = keys, .type = store::Type::kList, .deadline_us = deadline_us});
//   }
//
// That is all. When one of the keys holds a value of that type, the handler runs again from its beginning, with the
// same arguments and as an execution unit of its own: through all gates, with its own propagation, events, statistics
// and reply. So what it propagates must be what it did (ctx.Propagate({"LPOP", key})), never itself. If it ends in
// BlockOnKeys again, the client goes on waiting, with the deadline it had, at the end of its queues. At the deadline it
// gets a null array. Inside MULTI, from the primary and from the log nothing blocks: the client gets `.denied` at once.
//
// What makes a key ready: it was created, replaced, renamed or moved to this name; values changed in place must say so:
// XADD and XGROUP DESTROY call ctx.SignalKey(key). A key that goes away wakes only those with `.wakes_on_loss`
// (XREADGROUP), who then answer with their error. Several changes in one unit (EXEC) count as one, at the place of the
// first. Keys are served in the order in which they became ready, clients in the order in which they began to wait, and
// what serving them makes ready is served in turn.
//
// As an observer it is told of changes only while somebody waits. Loop thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/services.h"
#include "server/session.h"
#include "server/store/keyspace.h"

namespace tessera {

struct CommandContext;
struct CommandRow;

struct KeyWait {
  std::span<const std::string_view> keys;  // copied
  store::Type type = store::Type::kString;
  int64_t deadline_us = 0;  // monotonic; 0 = for ever
  bool wakes_on_loss = false;
  // What a client that must not block is answered.
  enum class Denied : uint8_t { kNullArray, kNull } denied = Denied::kNullArray;
  // The arguments of the next try, if not the same (XREAD replaces "$" by the id it stands for). Copied.
  std::span<const std::string_view> argv = {};
};

enum class TimeoutUnit : uint8_t { kSeconds, kMilliseconds };
// The deadline of a command that blocks, 0 = never; seconds may be fractions. Otherwise replies and returns false.
bool ReadTimeout(CommandContext& ctx, std::string_view text, TimeoutUnit unit, int64_t& deadline_us);

class BlockedKeys : public store::ChangeObserver {
 public:
  // `services` may still be under construction, but for keyspace and blocking.
  explicit BlockedKeys(Services& services);
  ~BlockedKeys() override;

  // CommandContext::BlockOnKeys.
  void Block(CommandContext& ctx, const KeyWait& wait);
  // A key whose value changed in place may have what somebody waits for.
  void Signal(int db, std::string_view key) { Note(db, key, Event::kThere); }

  // Between execution units, by the dispatcher.
  bool any_ready() const { return !ready_.empty(); }
  // Ready, but those who wait for it are paused.
  bool any_held() const { return !held_.empty(); }
  void Serve(int64_t wall_ms);
  // Runs a command again: MONITOR has shown it already.
  bool IsTryingAgain(const Session& session) const { return retrying_ == &session; }

  // Slots may have gone elsewhere: `judge` gets a client, its command and one of its keys, and returns the error that
  // ends its waiting, or nothing.
  using Judge = std::function<std::string(const Session&, const CommandRow&, std::string_view key)>;
  void EndWhere(const Judge& judge);

  // INFO clients.
  size_t key_count() const { return key_count_; }
  size_t keys_awaiting_loss() const { return loss_key_count_; }

  void OnChange(int db, uint16_t slot, std::string_view key, store::ChangeKind kind) override;
  void OnFlush(int db) override;
  void OnDropSlot(int db, uint16_t slot) override;
  void OnSwap(int first, int second) override;

 private:
  struct Queue;
  struct Wait;
  enum class Event : uint8_t { kThere, kGone };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  using Queues = std::unordered_map<std::string, std::unique_ptr<Queue>, Hash, std::equal_to<>>;

  void Note(int db, std::string_view key, Event event);
  void Note(Queue& queue);
  void ServeKey(int db, const std::string& key, int64_t wall_ms);
  void TryAgain(Session& session, int64_t wall_ms);
  void Remove(Session& session);

  Services& services_;
  std::vector<Queues> queues_;  // by database
  std::unordered_map<Session*, std::unique_ptr<Wait>> waits_;
  size_t key_count_ = 0, loss_key_count_ = 0;
  // The client that tries again just now, and what it waited for before.
  Wait* retried_ = nullptr;
  Session* retrying_ = nullptr;
  bool serving_ = false;
  struct Place {
    int db;
    std::string key;
  };
  std::deque<Place> ready_;
  std::vector<Place> held_;
};

}  // namespace tessera
