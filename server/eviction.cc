#include "server/eviction.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "server/clients.h"
#include "server/clock.h"
#include "server/config/config.h"
#include "server/durability/durability.h"
#include "server/latency_monitor.h"
#include "server/lazy_free.h"
#include "server/memory_meter.h"
#include "server/replication/replicas.h"
#include "server/replication/replication.h"
#include "server/store/keyspace.h"

namespace tessera {
namespace {

using Policy = config::MaxmemoryPolicy;

constexpr size_t kPoolSize = 16;
constexpr int kKeysPerClockReading = 16;
// What other threads allocate and free is asked for this often while memory seems to be above the limit.
constexpr int64_t kMeasureUs = 2000;
// Samples that found nothing but keys of the pool that are gone meanwhile.
constexpr int kRounds = 16;

}  // namespace

size_t Eviction::FreeingElsewhere() const { return lazy_free_ == nullptr ? 0 : lazy_free_->pending(); }

bool Eviction::OnlyVolatile() const {
  const Policy policy = services_.config.maxmemory_policy;
  return policy == Policy::kVolatileLru || policy == Policy::kVolatileLfu || policy == Policy::kVolatileRandom ||
         policy == Policy::kVolatileTtl;
}

// A share of a millisecond up to 10, then growing to a few minutes; 100 is no limit.
int64_t Eviction::TimeLimitUs() const {
  const int64_t tenacity = services_.config.maxmemory_eviction_tenacity;
  if (tenacity <= 10) return 50 * tenacity;
  if (tenacity >= 100) return INT64_MAX;
  return static_cast<int64_t>(500 * std::pow(1.15, static_cast<double>(tenacity - 10)));
}

bool Eviction::Applies() const {
  const config::Config& config = services_.config;
  if (config.maxmemory == 0 || services_.durability.loading() || services_.replication.loading()) return false;
  if (services_.replication.is_replica() && config.replica_ignore_maxmemory) return false;
  return !services_.clients.any_pause() || !services_.clients.writes_paused(MonotonicUs() / 1000);
}

size_t Eviction::NotCounted() const {
  size_t bytes = services_.durability.aof_buffer_bytes();
  for (const Session* session : services_.replication.replicas().all()) {
    bytes += session->out.allocated();
    if (session->replica != nullptr) bytes += session->replica->held.allocated();
  }
  return bytes;
}

size_t Eviction::Excess() {
  const uint64_t limit = services_.config.maxmemory;
  if (limit == 0) return 0;
  const auto above = [&](size_t used) { return used > limit ? used - limit : 0; };
  if (above(meter_.Estimate()) == 0) return 0;
  const uint64_t freed = lazy_free_ == nullptr ? 0 : lazy_free_->freed();
  if (const int64_t now_us = MonotonicUs(); now_us - measured_us_ > kMeasureUs || freed != measured_freed_) {
    measured_us_ = now_us;
    measured_freed_ = freed;
    meter_.Measure();
  }
  const size_t used = meter_.Estimate();
  return above(used - std::min(used, NotCounted()));
}

Eviction::Result Eviction::MakeRoom() {
  const size_t excess = Excess();
  if (excess == 0) {
    if (exceeded_since_us_ != 0) Note(Result::kEnough, MonotonicUs());
    return Result::kEnough;
  }
  if (!Applies()) return Result::kEnough;
  const int64_t now_us = MonotonicUs();
  if (services_.config.maxmemory_policy == Policy::kNoEviction) return Note(Result::kFull, now_us);
  size_t goal = excess;
  if (running_ || FreeingElsewhere() != 0) {
    const size_t used = meter_.Estimate();
    goal = used > used_after_ ? used - used_after_ : 0;
    running_ = true;
    if (goal == 0) return Note(Result::kRunning, now_us);
  }
  return Note(Run(excess, goal, now_us), now_us);
}

bool Eviction::Step() {
  if (!running_) return false;
  running_ = false;
  const size_t excess = Excess();
  const int64_t now_us = MonotonicUs();
  if (excess == 0 || !Applies() || services_.config.maxmemory_policy == Policy::kNoEviction) {
    if (excess == 0) Note(Result::kEnough, now_us);
    return false;
  }
  if (FreeingElsewhere() != 0) {
    running_ = true;
    return false;  // Check looks again
  }
  Note(Run(excess, excess, now_us), now_us);
  return running_;
}

void Eviction::Check() {
  if (services_.config.maxmemory == 0) {
    running_ = false;
    Note(Result::kEnough, MonotonicUs());
  } else if (Excess() == 0) {
    Note(Result::kEnough, MonotonicUs());
  } else if (services_.config.maxmemory_policy != Policy::kNoEviction && Applies()) {
    running_ = true;
    used_after_ = meter_.Estimate();
  }
}

void Eviction::OptionsChanged() {
  pool_.clear();  // scores of another policy mean something else
  Check();
}

// Deletes until `goal` bytes are free or memory is under the limit.
Eviction::Result Eviction::Run(size_t excess, size_t goal, int64_t start_us) {
  const int64_t limit_us = TimeLimitUs();
  const size_t used_before = meter_.Estimate();
  const size_t being_freed = FreeingElsewhere();
  Result result = Result::kRunning;
  for (int keys = 1;; ++keys) {
    const Found found = EvictOne();
    if (found == Found::kNone && FreeingElsewhere() == 0) result = Result::kFull;
    if (found != Found::kYes) break;
    const size_t used = meter_.Estimate();
    const size_t freed = used_before > used ? used_before - used : 0;
    if (freed >= excess) {
      result = Result::kEnough;
      break;
    }
    if (freed >= goal || FreeingElsewhere() > being_freed) break;
    if (keys % kKeysPerClockReading == 0 && MonotonicUs() - start_us > limit_us) break;
  }
  running_ = result == Result::kRunning;
  used_after_ = meter_.Estimate();
  if (services_.latency != nullptr && services_.latency->on())
    services_.latency->Offer("eviction-cycle", MonotonicUs() - start_us);
  return result;
}

Eviction::Result Eviction::Note(Result result, int64_t now_us) {
  if (result != Result::kEnough) {
    if (exceeded_since_us_ == 0) exceeded_since_us_ = now_us;
  } else if (exceeded_since_us_ != 0) {
    exceeded_total_us_ += now_us - exceeded_since_us_;
    exceeded_since_us_ = 0;
  }
  return result;
}

int64_t Eviction::exceeded_now_ms(int64_t now_us) const {
  return exceeded_since_us_ == 0 ? 0 : std::max<int64_t>(0, now_us - exceeded_since_us_) / 1000;
}

int64_t Eviction::exceeded_total_ms(int64_t now_us) const {
  const int64_t now = exceeded_since_us_ == 0 ? 0 : std::max<int64_t>(0, now_us - exceeded_since_us_);
  return (exceeded_total_us_ + now) / 1000;
}

void Eviction::ResetFigures() { exceeded_total_us_ = exceeded_since_us_ = 0; }

Eviction::Found Eviction::EvictOne() {
  const Policy policy = services_.config.maxmemory_policy;
  const bool random = policy == Policy::kAllKeysRandom || policy == Policy::kVolatileRandom;
  return random ? EvictRandom() : EvictFromPool();
}

Eviction::Found Eviction::EvictRandom() {
  const int count = services_.keyspace.database_count();
  bool any = false;
  for (int i = 0; i < count; ++i) {
    store::Database& db = services_.keyspace.db(next_db_++ % count);
    next_db_ %= count;
    if ((OnlyVolatile() ? db.volatile_count() : db.size()) == 0) continue;
    any = true;
    const store::EntryRef entry = Draw(db);
    if (!entry) continue;
    Erase(db, std::string(entry.key()));
    return Found::kYes;
  }
  return any ? Found::kNotYet : Found::kNone;
}

Eviction::Found Eviction::EvictFromPool() {
  store::Keyspace& keyspace = services_.keyspace;
  const bool only_volatile = OnlyVolatile();
  for (int round = 0; round < kRounds; ++round) {
    bool any = false;
    for (int i = 0; i < keyspace.database_count(); ++i) {
      store::Database& db = keyspace.db(i);
      if ((only_volatile ? db.volatile_count() : db.size()) == 0) continue;
      any = true;
      Sample(db);
    }
    if (!any) return Found::kNone;
    while (!pool_.empty()) {
      const Candidate best = std::move(pool_.back());
      pool_.pop_back();
      if (best.db >= keyspace.database_count()) continue;
      store::Database& db = keyspace.db(best.db);
      const store::EntryRef entry = db.Peek(best.key);
      // One that was used since it was sampled has earned its stay.
      if (!entry || (only_volatile && !entry.has_expiry()) || Score(entry) < best.score) continue;
      Erase(db, best.key);
      return Found::kYes;
    }
  }
  return Found::kNotYet;
}

void Eviction::Erase(store::Database& db, std::string_view key) {
  LatencyMonitor* latency = services_.latency;
  const int64_t start_us = latency != nullptr && latency->on() ? MonotonicUs() : 0;
  // One that has expired goes as expired.
  db.Erase(key, store::EraseReason::kEvicted);
  if (start_us != 0) latency->Offer("eviction-del", MonotonicUs() - start_us);
}

store::EntryRef Eviction::Draw(store::Database& db) {
  if (!OnlyVolatile()) return db.RandomEntry();
  const store::EntryRef entry = db.RandomVolatileEntry();
  return entry ? entry : db.SearchVolatileEntry();
}

// The higher, the sooner it goes.
uint64_t Eviction::Score(store::EntryRef entry) const {
  switch (services_.config.maxmemory_policy) {
    case Policy::kVolatileTtl:
      return UINT64_MAX - static_cast<uint64_t>(entry.expiry_ms());
    case Policy::kAllKeysLfu:
    case Policy::kVolatileLfu:
      return 255 - services_.keyspace.Frequency(entry);
    default:
      return services_.keyspace.IdleSeconds(entry);
  }
}

void Eviction::Sample(store::Database& db) {
  const uint64_t keys = OnlyVolatile() ? db.volatile_count() : db.size();
  // More samples than keys would draw the same ones again.
  const auto samples = std::min<uint64_t>(static_cast<uint64_t>(services_.config.maxmemory_samples), keys * 2);
  for (uint64_t i = 0; i < samples; ++i) {
    const store::EntryRef entry = Draw(db);
    if (!entry) return;
    Offer(db.index(), entry.key(), Score(entry));
  }
}

void Eviction::Offer(int db, std::string_view key, uint64_t score) {
  const auto below = [](const Candidate& candidate, uint64_t wanted) { return candidate.score < wanted; };
  auto at = std::lower_bound(pool_.begin(), pool_.end(), score, below);
  for (auto same = at; same != pool_.end() && same->score == score; ++same)
    if (same->db == db && same->key == key) return;
  if (pool_.size() == kPoolSize) {
    if (at == pool_.begin()) return;  // no better than what is there
    --at;
    std::rotate(pool_.begin(), pool_.begin() + 1, at + 1);  // the worst makes room, its string is used again
    at->score = score;
    at->db = db;
    at->key.assign(key);
    return;
  }
  pool_.insert(at, Candidate{score, db, std::string(key)});
}

}  // namespace tessera
