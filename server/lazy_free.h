// Frees large values on a thread of its own, so that the loop never spends seconds in a destructor. Whatever the
// lazyfree-* options say: they only choose what is propagated, DEL or UNLINK.
//
// The queue has a limit: when the helper falls that far behind, the loop frees what comes next itself, so that deleting
// faster than memory can be given back does not fill it. Built before the keyspace it serves and destroyed after it; the
// destructor finishes what is queued.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "server/store/reclaimer.h"

namespace tessera {

class LazyFree final : public store::Reclaimer {
 public:
  static constexpr size_t kPendingMax = 100'000;

  LazyFree();
  ~LazyFree() override;
  LazyFree(const LazyFree&) = delete;

  // Loop thread.
  void Free(std::unique_ptr<store::Object> object) override;
  void FreeHeap(void* malloced) override;

  // Any thread. Handed over and not freed yet.
  size_t pending() const { return pending_.load(std::memory_order_relaxed); }
  // Freed since the last ResetCount.
  uint64_t freed() const { return freed_.load(std::memory_order_relaxed); }
  void ResetCount() { freed_.store(0, std::memory_order_relaxed); }
  // Waits until nothing is pending; for tests.
  void Drain();

 private:
  struct Item {
    std::unique_ptr<store::Object> object;
    void* heap = nullptr;
  };
  void Add(Item item);
  void Work();
  static void Destroy(Item& item);

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::vector<Item> queue_;
  bool stopping_ = false;
  std::atomic<size_t> pending_ = 0;
  std::atomic<uint64_t> freed_ = 0;
  std::thread thread_;
};

}  // namespace tessera
