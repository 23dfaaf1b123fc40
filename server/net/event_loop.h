// The loop that owns the process's one execution thread: turns of "wait, handle what is ready, end of turn".
// At the end of a turn the log is written and replies are flushed, once for everything the turn did.
// Only Post may be called from other threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "server/clock.h"

namespace boost::asio {
class io_context;
}

namespace tessera {

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;

  void Run();
  // The turn under way is ended early, with its end-of-turn work.
  void Stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }
  // Runs turns until `done` says so; for start-up work (loading) that must answer clients meanwhile.
  void RunUntil(const std::function<bool()>& done);

  // Any thread; runs on the loop's thread in its next turn.
  void Post(std::function<void()> task);
  // Every `period_ms` until the loop dies; the first time after one period.
  void Every(int period_ms, std::function<void()> task);
  // Once after `delay_ms`. The returned handle cancels on destruction.
  class Timer {
   public:
    virtual ~Timer() = default;
  };
  [[nodiscard]] std::unique_ptr<Timer> After(int64_t delay_ms, std::function<void()> task);

  // `next` says the monotonic instant in microseconds by which the loop must not sleep any longer, 0 = none.
  void SleepNoLongerThan(std::function<int64_t()> next) { next_wake_us_ = std::move(next); }
  // In order of registration.
  void AtEndOfTurn(std::function<void()> hook) { end_of_turn_.push_back(std::move(hook)); }
  // Called once a turn before its end for a bounded slice (about a millisecond) of background work; while any returns
  // true the loop does not sleep.
  void AddBackgroundWork(std::function<bool()> slice) { background_.push_back(std::move(slice)); }

  // The current turn's clock reading.
  const Now& now() const {
    if (stale_) {
      now_ = clock_ ? clock_() : ReadClock();
      stale_ = false;
    }
    return now_;
  }
  // In place of the system's clocks, for tests. Timers go by the real one.
  void UseClock(std::function<Now()> clock) { clock_ = std::move(clock); }
  boost::asio::io_context& io() { return *io_; }

 private:
  void Turn();
  int64_t SleepUs() const;

  std::unique_ptr<boost::asio::io_context> io_;
  std::vector<std::function<void()>> end_of_turn_;
  std::vector<std::function<bool()>> background_;
  std::function<int64_t()> next_wake_us_;
  std::vector<std::unique_ptr<Timer>> periodic_;
  mutable Now now_;            // read when first asked for in a turn, so that waiting does not age it
  mutable bool stale_ = true;
  bool stopped_ = false;
  bool busy_ = false;
  std::function<Now()> clock_;  // empty: the system's
};

}  // namespace tessera
