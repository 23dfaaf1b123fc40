// The keyspace's basic operations on one table: insert, hit, miss, overwrite, expiry pass; 1 and 10 million keys of 16
// bytes.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string_view>

#include "server/store/keyspace.h"

namespace {

using tessera::store::Database;
using tessera::store::EntryRef;
using tessera::store::Expiry;
using tessera::store::ExpiryMode;
using tessera::store::KeyRef;
using tessera::store::Keyspace;

constexpr int64_t kNowMs = 1700000000000;

struct Key {
  char text[17];
  explicit Key(uint64_t n) { snprintf(text, sizeof(text), "%016lx", n * 0x9e3779b97f4a7c15UL); }
  operator std::string_view() const { return {text, 16}; }
};

std::unique_ptr<Keyspace> Filled(uint64_t count, Expiry expiry = Expiry::None()) {
  auto keyspace = std::make_unique<Keyspace>(tessera::store::KeyspaceOptions{.databases = 1, .hash_seed = 42});
  keyspace->SetNow(kNowMs);
  for (uint64_t n = 0; n < count; ++n) {
    if (!keyspace->db(0).SetString(std::string_view(Key(n)), std::string_view(Key(~n)), expiry)) std::abort();
  }
  return keyspace;
}

// Visits all numbers below `count` in an order that caches do not like.
uint64_t Scramble(uint64_t n, uint64_t count) { return n * 0x9e3779b97f4a7c15ULL % count; }

void Insert(benchmark::State& state) {
  for (auto _ : state) {
    auto keyspace = Filled(state.range(0));
    benchmark::DoNotOptimize(keyspace->size());
    state.PauseTiming();
    keyspace.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void Hit(benchmark::State& state) {
  auto keyspace = Filled(state.range(0));
  uint64_t n = 0;
  for (auto _ : state) {
    const Key key(Scramble(n++, state.range(0)));
    benchmark::DoNotOptimize(keyspace->db(0).Lookup(std::string_view(key)));
  }
  state.SetItemsProcessed(state.iterations());
}

// As a pipeline parsed ahead does it: buckets of all, entries of all, then the lookups.
void HitPrefetched(benchmark::State& state) {
  constexpr int kBatch = 16;
  auto keyspace = Filled(state.range(0));
  Database& database = keyspace->db(0);
  uint64_t n = 0;
  for (auto _ : state) {
    Key keys[kBatch] = {Key(Scramble(n, state.range(0))),      Key(Scramble(n + 1, state.range(0))),
                        Key(Scramble(n + 2, state.range(0))),  Key(Scramble(n + 3, state.range(0))),
                        Key(Scramble(n + 4, state.range(0))),  Key(Scramble(n + 5, state.range(0))),
                        Key(Scramble(n + 6, state.range(0))),  Key(Scramble(n + 7, state.range(0))),
                        Key(Scramble(n + 8, state.range(0))),  Key(Scramble(n + 9, state.range(0))),
                        Key(Scramble(n + 10, state.range(0))), Key(Scramble(n + 11, state.range(0))),
                        Key(Scramble(n + 12, state.range(0))), Key(Scramble(n + 13, state.range(0))),
                        Key(Scramble(n + 14, state.range(0))), Key(Scramble(n + 15, state.range(0)))};
    n += kBatch;
    uint64_t hashes[kBatch];
    for (int i = 0; i < kBatch; ++i) {
      const KeyRef key = keyspace->Prepare(keys[i]);
      hashes[i] = key.hash();
      database.PrefetchBucket(key);
    }
    for (int i = 0; i < kBatch; ++i) database.PrefetchEntry(KeyRef(keys[i], hashes[i], 0));
    for (int i = 0; i < kBatch; ++i) benchmark::DoNotOptimize(database.Lookup(KeyRef(keys[i], hashes[i], 0)));
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}

void Miss(benchmark::State& state) {
  auto keyspace = Filled(state.range(0));
  uint64_t n = state.range(0);
  for (auto _ : state) {
    const Key key(n++);
    benchmark::DoNotOptimize(keyspace->db(0).Lookup(std::string_view(key)));
  }
  state.SetItemsProcessed(state.iterations());
}

void Overwrite(benchmark::State& state) {
  auto keyspace = Filled(state.range(0));
  uint64_t n = 0;
  for (auto _ : state) {
    const Key key(Scramble(n++, state.range(0)));
    benchmark::DoNotOptimize(
        keyspace->db(0).SetString(std::string_view(key), std::string_view(Key(n)), Expiry::None()));
  }
  state.SetItemsProcessed(state.iterations());
}

// Search through keys with an expiry of which none is due: a whole pass.
void ExpirePass(benchmark::State& state) {
  auto keyspace = Filled(state.range(0), Expiry::AtMs(kNowMs + 36000000));
  // One key a second that is due keeps the passes coming.
  int64_t now = kNowMs;
  for (auto _ : state) {
    state.PauseTiming();
    now += 1000;
    keyspace->SetNow(now);
    if (!keyspace->db(0).SetString("due", "value", Expiry::AtMs(now - 1))) std::abort();
    state.ResumeTiming();
    while (keyspace->ExpireStep().more_due) {
    }
  }
}

BENCHMARK(Insert)->Arg(1000000)->Arg(10000000)->Unit(benchmark::kMillisecond)->Iterations(1);
BENCHMARK(Hit)->Arg(1000000)->Arg(10000000);
BENCHMARK(HitPrefetched)->Arg(1000000)->Arg(10000000);
BENCHMARK(Miss)->Arg(1000000)->Arg(10000000);
BENCHMARK(Overwrite)->Arg(1000000)->Arg(10000000);
BENCHMARK(ExpirePass)->Arg(1000000)->Arg(10000000)->Unit(benchmark::kMillisecond)->Iterations(10);

}  // namespace

BENCHMARK_MAIN();
