// maxmemory: makes room when used memory is above the limit, by deleting keys as maxmemory-policy says.
//
// Which key is worst is found as Redis does: a few keys at random from each database, the best candidates of all
// samples kept in a pool across calls. What is deleted is propagated as DEL or UNLINK (lazyfree-lazy-eviction).
//
// When much has to go (the limit was lowered), a call stops after the time that maxmemory-eviction-tenacity allows and
// the loop goes on with it, a slice a turn. Until then every command frees as much as was added since the last one, so
// that the work is spread and memory does not grow. Values that are freed on another thread count until they are freed;
// nothing more is deleted for them meanwhile.
//
// Not counted against the limit: replies to replicas and the AOF buffer, because evicting would only make them grow.
// Loop thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/services.h"
#include "server/store/entry.h"

namespace tessera {

namespace store {
class Database;
}
class LazyFree;
class MemoryMeter;

class Eviction {
 public:
  Eviction(Services& services, MemoryMeter& meter, const LazyFree* lazy_free)
      : services_(services), meter_(meter), lazy_free_(lazy_free) {}

  enum class Result : uint8_t {
    kEnough,   // memory is under the limit, or the limit does not apply now
    kRunning,  // not yet, but keys are being deleted: commands go on
    kFull,     // nothing can be deleted: commands that take memory are refused
  };
  // Before a command; only while maxmemory is set.
  Result MakeRoom();
  // Background work: true while there is more to do at once.
  bool Step();
  // Every 100 ms: starts what nobody's command does.
  void Check();
  // CONFIG SET maxmemory and its companions.
  void OptionsChanged();

  // Replies to replicas and the AOF buffer.
  size_t NotCounted() const;
  // Milliseconds above the limit: since CONFIG RESETSTAT, and now if it is exceeded.
  int64_t exceeded_total_ms(int64_t now_us) const;
  int64_t exceeded_now_ms(int64_t now_us) const;
  void ResetFigures();

 private:
  struct Candidate {
    uint64_t score;  // the higher, the sooner it goes
    int db;
    std::string key;
  };
  enum class Found : uint8_t { kYes, kNone, kNotYet };

  bool Applies() const;
  // Bytes above the limit; 0 = under it.
  size_t Excess();
  Result Run(size_t excess, size_t goal, int64_t start_us);
  Result Note(Result result, int64_t now_us);
  Found EvictOne();
  Found EvictFromPool();
  Found EvictRandom();
  void Erase(store::Database& db, std::string_view key);
  uint64_t Score(store::EntryRef entry) const;
  void Sample(store::Database& db);
  void Offer(int db, std::string_view key, uint64_t score);
  store::EntryRef Draw(store::Database& db);
  bool OnlyVolatile() const;
  int64_t TimeLimitUs() const;
  size_t FreeingElsewhere() const;

  Services& services_;
  MemoryMeter& meter_;
  const LazyFree* lazy_free_;
  std::vector<Candidate> pool_;  // ascending by score
  bool running_ = false;
  size_t used_after_ = 0;        // when the last call ended
  int64_t measured_us_ = 0;
  uint64_t measured_freed_ = 0;  // LazyFree::freed then
  int next_db_ = 0;              // the random policies take turns
  int64_t exceeded_since_us_ = 0;
  int64_t exceeded_total_us_ = 0;
};

}  // namespace tessera
