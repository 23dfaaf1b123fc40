#include "server/net/disk_thread.h"

#include <csignal>

#include "server/net/event_loop.h"

namespace tessera {

DiskThread::DiskThread(EventLoop& loop) : loop_(loop), thread_([this] { Work(); }) {}

DiskThread::~DiskThread() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void DiskThread::Run(std::function<void()> job, std::function<void()> done) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back({std::move(job), std::move(done)});
  }
  wake_.notify_one();
}

void DiskThread::Drain() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return jobs_.empty() && !working_; });
}

void DiskThread::Work() {
  // Signals belong to the loop's thread.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    working_ = true;
    lock.unlock();
    job.work();
    if (job.done) loop_.Post(std::move(job.done));
    lock.lock();
    working_ = false;
    if (jobs_.empty()) idle_.notify_all();
  }
}

}  // namespace tessera
