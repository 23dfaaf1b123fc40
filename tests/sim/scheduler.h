// Virtual time: tasks ordered by the instant they are due, first come first served within an instant. One thread.
#pragma once

#include <cassert>
#include <cstdint>
#include <functional>
#include <queue>
#include <random>
#include <vector>

#include "cluster/types.h"

namespace tessera::sim {

using cluster::Millis;

// All chance of one life. Own arithmetic instead of <random> distributions, whose results a library may change.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t Next() { return engine_(); }
  int64_t Below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }
  int64_t Between(int64_t first, int64_t last) { return first + Below(last - first + 1); }
  bool Chance(double probability) { return static_cast<double>(engine_() >> 11) * 0x1p-53 < probability; }

 private:
  std::mt19937_64 engine_;
};

class Scheduler {
 public:
  Millis now() const { return now_; }
  void After(Millis delay, std::function<void()> task) { At(now_ + delay, std::move(task)); }
  void At(Millis when, std::function<void()> task) {
    queue_.push({when < now_ ? now_ : when, sequence_++, std::move(task)});
  }
  bool HasTaskBefore(Millis limit) const { return !queue_.empty() && queue_.top().when <= limit; }
  void RunOne() {
    assert(!queue_.empty());
    Task task = std::move(const_cast<Task&>(queue_.top()));
    queue_.pop();
    now_ = task.when;
    task.run();
  }
  void AdvanceTo(Millis when) {
    if (when > now_) now_ = when;
  }

 private:
  struct Task {
    Millis when;
    uint64_t sequence;
    std::function<void()> run;
    bool operator<(const Task& other) const {
      return when != other.when ? when > other.when : sequence > other.sequence;
    }
  };
  std::priority_queue<Task> queue_;
  Millis now_ = 0;
  uint64_t sequence_ = 0;
};

}  // namespace tessera::sim
