// One helper thread for calls that block on the disk (fsync, writing snapshots), so that the loop never does.
// Jobs run in order; each completion runs on the loop's thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace tessera {

class EventLoop;

class DiskThread {
 public:
  explicit DiskThread(EventLoop& loop);
  ~DiskThread();  // finishes the queued jobs; their completions are dropped
  DiskThread(const DiskThread&) = delete;

  // `job` must not touch what belongs to the loop; `done` may be empty.
  void Run(std::function<void()> job, std::function<void()> done);
  // Waits until everything queued has run (completions come later, from the loop).
  void Drain();

 private:
  void Work();

  struct Job {
    std::function<void()> work, done;
  };
  EventLoop& loop_;
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  bool working_ = false;
  std::thread thread_;
};

}  // namespace tessera
