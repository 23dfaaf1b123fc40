#include "server/net/event_loop.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

namespace tessera {
namespace {

// Handlers run per turn before replies are flushed: bounds how long a reply waits behind other clients' requests.
constexpr int kHandlersPerTurn = 256;
constexpr int64_t kSleepMaxUs = 100'000;

class OnceTimer : public EventLoop::Timer {
 public:
  OnceTimer(boost::asio::io_context& io, int64_t delay_ms, std::function<void()> task)
      : timer_(io, std::chrono::milliseconds(delay_ms)) {
    timer_.async_wait([task = std::move(task)](const boost::system::error_code& error) {
      if (!error) task();
    });
  }

 private:
  boost::asio::steady_timer timer_;
};

class PeriodicTimer : public EventLoop::Timer {
 public:
  PeriodicTimer(boost::asio::io_context& io, int period_ms, std::function<void()> task)
      : timer_(io), period_(period_ms), task_(std::move(task)) {
    Arm();
  }

 private:
  void Arm() {
    timer_.expires_after(period_);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      task_();
      Arm();
    });
  }
  boost::asio::steady_timer timer_;
  std::chrono::milliseconds period_;
  std::function<void()> task_;
};

}  // namespace

// Descriptors are touched by the loop's thread only; Post from other threads stays safe under this hint.
EventLoop::EventLoop() : io_(std::make_unique<boost::asio::io_context>(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO)) {}
EventLoop::~EventLoop() = default;

void EventLoop::Post(std::function<void()> task) { boost::asio::post(*io_, std::move(task)); }

void EventLoop::Every(int period_ms, std::function<void()> task) {
  periodic_.push_back(std::make_unique<PeriodicTimer>(*io_, period_ms, std::move(task)));
}

std::unique_ptr<EventLoop::Timer> EventLoop::After(int64_t delay_ms, std::function<void()> task) {
  return std::make_unique<OnceTimer>(*io_, delay_ms, std::move(task));
}

void EventLoop::Run() {
  while (!stopped_) Turn();
}

void EventLoop::RunUntil(const std::function<bool()>& done) {
  while (!stopped_ && !done()) Turn();
}

int64_t EventLoop::SleepUs() const {
  const int64_t wake_us = next_wake_us_ ? next_wake_us_() : 0;
  return wake_us == 0 ? kSleepMaxUs : std::clamp<int64_t>(wake_us - MonotonicUs(), 0, kSleepMaxUs);
}

void EventLoop::Turn() {
  int handled = 0;
  stale_ = true;
  if (!busy_) handled = static_cast<int>(io_->run_one_for(std::chrono::microseconds(SleepUs())));
  while (!stopped_ && handled < kHandlersPerTurn && io_->poll_one() != 0) ++handled;
  if (io_->stopped()) io_->restart();
  busy_ = false;
  for (auto& slice : background_) busy_ |= slice();
  for (auto& hook : end_of_turn_) hook();
}

}  // namespace tessera
