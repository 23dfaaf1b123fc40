// sim [--seed N] [--seeds N] [--seconds N] [--trace] [--counters]: lives N random cluster lives from seed N on.
// Exit status 1 when a rule was broken; the line printed then says how to see that life again.
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "fmt/core.h"
#include "tests/sim/life.h"

int main(int argc, char** argv) {
  uint64_t seed = 1, seeds = 1, seconds = 0, failed = 0;
  bool trace = false, keep_going = false;
  for (int i = 1; i < argc; ++i) {
    auto number = [&] { return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0; };
    if (!std::strcmp(argv[i], "--seed")) {
      seed = number();
    } else if (!std::strcmp(argv[i], "--seeds")) {
      seeds = number();
    } else if (!std::strcmp(argv[i], "--seconds")) {
      seconds = number();
    } else if (!std::strcmp(argv[i], "--trace")) {
      trace = true;
    } else if (!std::strcmp(argv[i], "--keep-going")) {
      keep_going = true;
    } else {
      fmt::print(stderr, "usage: sim [--seed N] [--seeds N] [--seconds N] [--trace] [--keep-going]\n");
      return 2;
    }
  }
  fmt::print("sim: seeds {} to {}\n", seed, seed + seeds - 1);
  std::map<std::string, uint64_t> counters;
  tessera::cluster::Millis heal_max = 0, lived = 0;
  uint64_t done = 0;
  auto start = std::chrono::steady_clock::now();
  auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  for (uint64_t s = seed; s < seed + seeds; ++s) {
    if (seconds > 0 && elapsed() > static_cast<double>(seconds)) break;
    tessera::sim::LifeResult r = tessera::sim::Live(s, trace);
    ++done;
    lived += r.lived_ms;
    heal_max = std::max(heal_max, r.heal_ms);
    for (auto& [what, count] : r.counters) counters[what] += count;
    if (seeds == 1) fmt::print("seed {}: {}; trace {:016x}; healed in {} ms\n", s, r.shape, r.trace_hash, r.heal_ms);
    if (r.violation.empty()) continue;
    ++failed;
    fmt::print("FAILED seed {} ({})\n  {}\n  again: sim --seed {} --trace\n", s, r.shape, r.violation, s);
    std::fflush(stdout);
    if (!keep_going) break;
  }
  for (auto& [what, count] : counters) fmt::print("{:>12}  {}\n", count, what);
  fmt::print("{} lives, {} s of virtual time in {:.1f} s; slowest healing {} ms; {} failed\n", done, lived / 1000,
             elapsed(), heal_max, failed);
  return failed > 0 ? 1 : 0;
}
