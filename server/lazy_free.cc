#include "server/lazy_free.h"

#include <csignal>
#include <cstdlib>
#include <utility>

namespace tessera {

LazyFree::LazyFree() : thread_([this] { Work(); }) {}

LazyFree::~LazyFree() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void LazyFree::Free(std::unique_ptr<store::Object> object) { Add({.object = std::move(object)}); }
void LazyFree::FreeHeap(void* malloced) { Add({.object = nullptr, .heap = malloced}); }

void LazyFree::Add(Item item) {
  if (pending() >= kPendingMax) return Destroy(item);
  pending_.fetch_add(1, std::memory_order_relaxed);
  bool was_empty;
  {
    std::lock_guard lock(mutex_);
    was_empty = queue_.empty();
    queue_.push_back(std::move(item));
  }
  if (was_empty) wake_.notify_one();
}

void LazyFree::Drain() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return pending() == 0; });
}

void LazyFree::Destroy(Item& item) {
  item.object.reset();
  free(std::exchange(item.heap, nullptr));
}

void LazyFree::Work() {
  // Signals belong to the loop's thread.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::vector<Item> batch;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    batch.swap(queue_);
    lock.unlock();
    for (Item& item : batch) {
      Destroy(item);
      freed_.fetch_add(1, std::memory_order_relaxed);
      pending_.fetch_sub(1, std::memory_order_relaxed);
    }
    batch.clear();
    lock.lock();
    if (queue_.empty()) idle_.notify_all();
  }
}

}  // namespace tessera
