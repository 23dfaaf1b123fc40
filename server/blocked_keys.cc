#include "server/blocked_keys.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "server/blocking.h"
#include "server/commands/context.h"
#include "server/dispatcher.h"
#include "server/durability/durability.h"
#include "server/replication/replication.h"

namespace tessera {

// Everyone who waits for one key.
struct BlockedKeys::Queue {
  int db;
  std::string key;
  std::list<Session*> sessions;
  size_t awaiting_loss = 0;
  bool ready = false;  // its place is in ready_ or held_
};

// What one client waits for.
struct BlockedKeys::Wait {
  const CommandRow* row;
  const CommandRow* parent;
  std::vector<std::string> argv;
  store::Type type;
  int64_t deadline_us;
  bool wakes_on_loss;
  std::vector<std::pair<Queue*, std::list<Session*>::iterator>> places;
};

bool ReadTimeout(CommandContext& ctx, std::string_view text, TimeoutUnit unit, int64_t& deadline_us) {
  const auto refuse = [&ctx](std::string_view why) {
    ctx.reply.Error(why);
    return false;
  };
  int64_t timeout_ms;
  if (unit == TimeoutUnit::kSeconds) {
    const auto seconds = protocol::ParseLongDouble(text);
    if (!seconds) return refuse("ERR timeout is not a float or out of range");
    const long double wanted_ms = std::ceil(*seconds * 1000);
    constexpr auto kMax = static_cast<long double>(std::numeric_limits<int64_t>::max());
    if (*seconds * 1000 > kMax) return refuse("ERR timeout is out of range");
    timeout_ms = wanted_ms < 0 ? -1 : static_cast<int64_t>(wanted_ms);
  } else {
    const auto parsed = protocol::ParseInt64(text);
    if (!parsed) return refuse("ERR timeout is not an integer or out of range");
    timeout_ms = *parsed;
  }
  if (timeout_ms < 0) return refuse("ERR timeout is negative");
  if (timeout_ms > std::numeric_limits<int64_t>::max() - ctx.now.unix_ms) return refuse("ERR timeout is out of range");
  // What no clock of ours will ever show is never.
  constexpr int64_t kNeverMs = std::numeric_limits<int64_t>::max() / 2000;
  deadline_us = timeout_ms == 0 || timeout_ms > kNeverMs ? 0 : ctx.now.mono_us + timeout_ms * 1000;
  return true;
}

BlockedKeys::BlockedKeys(Services& services)
    : services_(services), queues_(static_cast<size_t>(services.keyspace.database_count())) {
  services_.blocking.WhenKeyWaitEnds([this](Session& session) { Remove(session); });
}

BlockedKeys::~BlockedKeys() {
  if (!waits_.empty()) services_.keyspace.RemoveObserver(this);
  services_.blocking.WhenKeyWaitEnds({});
}

void BlockedKeys::Block(CommandContext& ctx, const KeyWait& wanted) {
  Session& session = ctx.session;
  if (session.kind != SessionKind::kNormal || services_.dispatcher.in_transaction()) {
    if (wanted.denied == KeyWait::Denied::kNull) return ctx.reply.Null();
    return ctx.reply.NullArray();
  }
  const bool again = retrying_ == &session;
  auto wait = std::make_unique<Wait>();
  wait->row = &ctx.row;
  wait->parent = session.last_command_parent;
  wait->type = wanted.type;
  wait->deadline_us = again ? retried_->deadline_us : wanted.deadline_us;
  wait->wakes_on_loss = wanted.wakes_on_loss;
  const Argv argv = wanted.argv.empty() ? ctx.argv : wanted.argv;
  wait->argv.assign(argv.begin(), argv.end());
  Queues& queues = queues_[static_cast<size_t>(session.db)];
  for (std::string_view key : wanted.keys) {
    auto it = queues.find(key);
    if (it == queues.end()) {
      it = queues.emplace(key, std::make_unique<Queue>()).first;
      it->second->db = session.db;
      it->second->key = key;
      ++key_count_;
    }
    Queue& queue = *it->second;
    // The same key twice is one wait; it would be our own that was added last.
    if (!queue.sessions.empty() && queue.sessions.back() == &session) continue;
    queue.sessions.push_back(&session);
    wait->places.emplace_back(&queue, std::prev(queue.sessions.end()));
    if (wait->wakes_on_loss && queue.awaiting_loss++ == 0) ++loss_key_count_;
  }
  if (waits_.empty()) services_.keyspace.AddObserver(this);
  const int64_t deadline_us = wait->deadline_us;
  waits_[&session] = std::move(wait);
  services_.blocking.Block(session, BlockKind::kKeys, deadline_us,
                           [this, row = &ctx.row](Session& waiting, WakeReason reason) {
                             const uint64_t errors = waiting.reply.error_count();
                             if (!ReplyIfForced(waiting, reason)) waiting.reply.NullArray();
                             services_.dispatcher.CountAnswered(waiting, *row, errors);
                           });
}

void BlockedKeys::Remove(Session& session) {
  const auto it = waits_.find(&session);
  if (it == waits_.end()) return;
  const std::unique_ptr<Wait> wait = std::move(it->second);
  waits_.erase(it);
  for (auto [queue, place] : wait->places) {
    queue->sessions.erase(place);
    if (wait->wakes_on_loss && --queue->awaiting_loss == 0) --loss_key_count_;
    if (!queue->sessions.empty()) continue;
    --key_count_;
    queues_[static_cast<size_t>(queue->db)].erase(queue->key);
  }
  session.asking = false;
  if (waits_.empty()) services_.keyspace.RemoveObserver(this);
}

void BlockedKeys::Note(int db, std::string_view key, Event event) {
  Queues& queues = queues_[static_cast<size_t>(db)];
  if (queues.empty()) return;
  const auto it = queues.find(key);
  if (it == queues.end()) return;
  if (event == Event::kThere || it->second->awaiting_loss != 0) Note(*it->second);
}

void BlockedKeys::Note(Queue& queue) {
  if (queue.ready) return;
  queue.ready = true;
  ready_.push_back({queue.db, queue.key});
}

void BlockedKeys::OnChange(int db, uint16_t, std::string_view key, store::ChangeKind kind) {
  switch (kind) {
    case store::ChangeKind::kCreated:
    case store::ChangeKind::kOverwritten:
      return Note(db, key, Event::kThere);
    case store::ChangeKind::kDeleted:
    case store::ChangeKind::kExpired:
    case store::ChangeKind::kEvicted:
    case store::ChangeKind::kMovedAway:
      return Note(db, key, Event::kGone);
    case store::ChangeKind::kInternal:
    case store::ChangeKind::kForm:
    case store::ChangeKind::kModified:  // not every change in place is news to those who wait: see Signal
    case store::ChangeKind::kExpiry:
      return;
  }
}

void BlockedKeys::OnFlush(int db) {
  for (auto& [key, queue] : queues_[static_cast<size_t>(db)])
    if (queue->awaiting_loss != 0 && services_.keyspace.db(db).Peek(key)) Note(*queue);
}

void BlockedKeys::OnDropSlot(int db, uint16_t) { OnFlush(db); }

void BlockedKeys::OnSwap(int first, int second) {
  for (int db : {first, second})
    for (auto& [key, queue] : queues_[static_cast<size_t>(db)])
      if (queue->awaiting_loss != 0 || services_.keyspace.db(db).Peek(key)) Note(*queue);
}

void BlockedKeys::Serve(int64_t wall_ms) {
  if (serving_ || services_.durability.loading() || services_.replication.loading()) return;
  serving_ = true;
  for (Place& place : std::exchange(held_, {})) ready_.push_back(std::move(place));
  while (!ready_.empty()) {
    const Place place = std::move(ready_.front());
    ready_.pop_front();
    ServeKey(place.db, place.key, wall_ms);
  }
  serving_ = false;
}

void BlockedKeys::ServeKey(int db, const std::string& key, int64_t wall_ms) {
  Queues& queues = queues_[static_cast<size_t>(db)];
  auto found = queues.find(key);
  if (found == queues.end()) return;
  found->second->ready = false;
  // Who tries in vain goes to the end, so that each is asked once. The queue lives as long as any of the others is in
  // it.
  auto place = found->second->sessions.begin();
  for (size_t left = found->second->sessions.size(); left > 0; --left) {
    Queue& queue = *found->second;
    Session* const session = *place++;
    const store::EntryRef entry = services_.keyspace.db(db).Peek(key);
    if (!entry && queue.awaiting_loss == 0) return;
    const Wait& wait = *waits_.at(session);
    if (!wait.wakes_on_loss && (!entry || entry.type() != wait.type)) continue;
    if (services_.dispatcher.IsPaused(*session, *wait.row)) {
      if (!std::exchange(queue.ready, true)) held_.push_back({db, key});
      continue;
    }
    TryAgain(*session, wall_ms);
    found = queues.find(key);
    if (found == queues.end()) return;
  }
}

void BlockedKeys::TryAgain(Session& session, int64_t wall_ms) {
  const auto it = waits_.find(&session);
  // Copies, because the handler may replace the wait by another.
  Wait wait = *it->second;
  wait.places.clear();
  const std::vector<std::string_view> argv(wait.argv.begin(), wait.argv.end());
  const bool asking = session.asking, muted = session.blocked.muted;
  services_.blocking.Forget(session);
  session.asking = asking;
  retrying_ = &session;
  retried_ = &wait;
  services_.dispatcher.Retry(session, *wait.row, wait.parent, argv, wall_ms, muted);
  retrying_ = nullptr;
  retried_ = nullptr;
}

void BlockedKeys::EndWhere(const Judge& judge) {
  std::vector<std::pair<Session*, std::string>> ends;
  for (const auto& [session, wait] : waits_)
    if (std::string error = judge(*session, *wait->row, wait->places.front().first->key); !error.empty())
      ends.emplace_back(session, std::move(error));
  for (auto& [session, error] : ends) services_.blocking.WakeWith(*session, error);
}

}  // namespace tessera
