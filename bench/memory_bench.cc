// Resident memory per key of the bare store, and the slowest single operations.
//
//   bench_memory [--keys N] [--growth-keys N] [--mode cluster|standalone]
//
// For 16-byte keys with 16-byte values, with and without TTL, with slot tables and standalone, each in a process of its
// own: growth of the resident set divided by the number of keys. Then the slowest single insert, overwrite, erase,
// expiry step and free step while growing to --growth-keys and shrinking again; context switches of the machine show up
// there as well, so the counts above some limits are printed beside the maximum.
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/slot.h"
#include "server/store/keyspace.h"
#include "server/store/snapshot.h"

namespace {

using tessera::store::EntryRef;
using tessera::store::Expiry;
using tessera::store::Keyspace;
using tessera::store::KeyspaceOptions;

constexpr int64_t kNowMs = 1700000000000;

uint16_t SlotNumber(std::string_view key) { return static_cast<uint16_t>(tessera::cluster::SlotOf(key)); }

size_t ResidentBytes() {
  FILE* file = fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  size_t pages = 0;
  size_t resident = 0;
  if (fscanf(file, "%zu %zu", &pages, &resident) != 2) resident = 0;
  fclose(file);
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

struct Key {
  char text[25];  // the first 16 are the key; %lu may need more as far as the compiler knows
  explicit Key(uint64_t n) { snprintf(text, sizeof(text), "key:%012lu", n); }
  operator std::string_view() const { return {text, 16}; }
};

std::unique_ptr<Keyspace> NewKeyspace(bool cluster) {
  auto keyspace = std::make_unique<Keyspace>(
      KeyspaceOptions{.databases = 1, .cluster = cluster, .hash_seed = 0x5eed, .slot_of = SlotNumber});
  keyspace->SetNow(kNowMs);
  return keyspace;
}

void MeasureMemory(bool cluster, bool ttl, uint64_t keys) {
  const size_t before = ResidentBytes();
  auto keyspace = NewKeyspace(cluster);
  for (uint64_t n = 0; n < keys; ++n) {
    const Expiry expiry = ttl ? Expiry::AtMs(kNowMs + 3600000 + static_cast<int64_t>(n)) : Expiry::None();
    if (!keyspace->db(0).SetString(std::string_view(Key(n)), "value:0123456789", expiry)) std::abort();
  }
  while (keyspace->ResizeStep()) {
  }
  const double resident = static_cast<double>(ResidentBytes() - before) / static_cast<double>(keys);
  const auto memory = keyspace->memory();
  fmt::print("{:>11} {:>8} {:>10} {:>14.2f} {:>14.2f}\n", cluster ? "cluster" : "standalone", ttl ? "yes" : "no", keys,
             resident, static_cast<double>(memory.total()) / static_cast<double>(keys));
}

// Slowest operations of one kind.
class Slowest {
 public:
  template <typename Operation>
  void Time(Operation operation) {
    const double start = NowUs();
    operation();
    const double us = NowUs() - start;
    max_us_ = std::max(max_us_, us);
    sum_us_ += us;
    ++count_;
    above_100_ += us > 100;
    above_300_ += us > 300;
    above_1000_ += us > 1000;
  }
  void Print(const char* name) const {
    fmt::print("{:>22} {:>11} {:>9.3f} {:>10.0f} {:>9} {:>9} {:>9}\n", name, count_, sum_us_ / std::max(count_, 1.0),
               max_us_, above_100_, above_300_, above_1000_);
  }

 private:
  // CPU time of the thread (page faults and system calls included), because a busy machine takes the CPU away for
  // longer than any operation here lasts.
  static double NowUs() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
  }

  double max_us_ = 0;
  double sum_us_ = 0;
  double count_ = 0;
  uint64_t above_100_ = 0;
  uint64_t above_300_ = 0;
  uint64_t above_1000_ = 0;
};

struct Sink : tessera::store::SnapshotVisitor {
  bool OnEntry(int, uint16_t, EntryRef entry) override {
    bytes += entry.key().size();
    return true;
  }
  uint64_t bytes = 0;
};

void MeasureLatency(bool cluster, uint64_t keys) {
  auto keyspace = NewKeyspace(cluster);
  auto& database = keyspace->db(0);
  const auto set = [&](uint64_t n, Expiry expiry) {
    const Key key(n);
    if (!database.SetString(std::string_view(key), "value:0123456789", expiry)) std::abort();
  };
  Slowest insert, overwrite, overwrite_snapshot, snapshot_step, expire_step, erase, flush, free_step;
  for (uint64_t n = 0; n < keys; ++n) {
    const Key key(n);
    insert.Time([&] {
      if (!database.SetString(std::string_view(key), "value:0123456789", Expiry::None())) std::abort();
    });
  }
  for (uint64_t n = 0; n < keys / 4; ++n) overwrite.Time([&] { set(n, Expiry::None()); });
  {
    Sink sink;
    tessera::store::Snapshot snapshot(*keyspace, sink);
    bool more = true;
    for (uint64_t n = 0; more; ++n) {
      for (int i = 0; i < 200; ++i) overwrite_snapshot.Time([&] { set((n * 200 + i) * 7919 % keys, Expiry::None()); });
      snapshot_step.Time([&] { more = snapshot.Step(1000); });
    }
  }
  // A million keys (or a tenth) due in the same second.
  for (uint64_t n = 0; n < keys / 10; ++n) set(n, Expiry::AtMs(kNowMs + 5000));
  keyspace->SetNow(kNowMs + 7000);
  for (bool more = true; more;) expire_step.Time([&] { more = keyspace->ExpireStep().more_due; });
  if (database.volatile_count() != 0) fmt::print("keys left to expire: {}\n", database.volatile_count());
  for (uint64_t n = keys / 10; n < keys * 9 / 10; ++n) {
    const Key key(n);
    erase.Time([&] { database.Erase(std::string_view(key)); });
  }
  flush.Time([&] { database.Flush(); });
  for (bool more = true; more;) free_step.Time([&] { more = keyspace->FreeStep(); });

  fmt::print("\n{} to {} keys\n", cluster ? "cluster" : "standalone", keys);
  fmt::print("{:>22} {:>11} {:>9} {:>10} {:>9} {:>9} {:>9}\n", "operation", "count", "mean us", "max us", ">100 us",
             ">300 us", ">1 ms");
  insert.Print("insert");
  overwrite.Print("overwrite");
  overwrite_snapshot.Print("overwrite in snapshot");
  snapshot_step.Print("snapshot step (1000)");
  expire_step.Print("expire step");
  erase.Print("erase");
  flush.Print("flush");
  free_step.Print("free step");
}

// Each figure from a fresh process.
template <typename Work>
void InChild(Work work) {
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    work();
    fflush(stdout);
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
    fmt::print(stderr, "a measuring process failed\n");
    exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t keys = 5000000;
  uint64_t growth_keys = 10000000;
  std::vector<bool> modes = {true, false};
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--keys") == 0) keys = strtoull(argv[i + 1], nullptr, 10);
    if (strcmp(argv[i], "--mode") == 0) modes = {strcmp(argv[i + 1], "cluster") == 0};
    if (strcmp(argv[i], "--growth-keys") == 0) growth_keys = strtoull(argv[i + 1], nullptr, 10);
  }
  fmt::print("{:>11} {:>8} {:>10} {:>14} {:>14}\n", "mode", "TTL", "keys", "resident/key", "counted/key");
  for (const bool cluster : modes) {
    for (const bool ttl : {false, true}) InChild([&] { MeasureMemory(cluster, ttl, keys); });
  }
  if (growth_keys == 0) return 0;
  for (const bool cluster : modes) InChild([&] { MeasureLatency(cluster, growth_keys); });
  return 0;
}
