// sim [--seed N] [--seeds N] [--seconds N] [--trace] [--keep-going] [--require-branches]: lives N random cluster lives
// from seed N on, for at most so many seconds of CPU. Exit status 1 when a rule was broken (the line printed then says how
// to see that life again), or when a rare branch was never reached.
#include <ctime>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "fmt/core.h"
#include "tests/sim/coverage.h"
#include "tests/sim/life.h"

namespace {

// Fewer may well miss a branch.
constexpr uint64_t kLivesForBranches = 200;

}  // namespace

int main(int argc, char** argv) {
  uint64_t seed = 1, seeds = 1, seconds = 0, failed = 0;
  bool trace = false, keep_going = false, require_branches = false;
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
    } else if (!std::strcmp(argv[i], "--require-branches")) {
      require_branches = true;
    } else {
      fmt::print(stderr, "usage: sim [--seed N] [--seeds N] [--seconds N] [--trace] [--keep-going] [--require-branches]\n");
      return 2;
    }
  }
  fmt::print("sim: seeds {} to {}\n", seed, seed + seeds - 1);
  std::map<std::string, uint64_t> counters;
  tessera::cluster::Millis heal_max = 0, lived = 0;
  uint64_t done = 0;
  auto elapsed = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
  for (uint64_t s = seed; s < seed + seeds; ++s) {
    if (seconds > 0 && elapsed() > static_cast<double>(seconds)) break;
    tessera::sim::LifeResult r = tessera::sim::Live(s, trace);
    ++done;
    lived += r.lived_ms;
    heal_max = std::max(heal_max, r.heal_ms);
    for (auto& [what, count] : r.counters)
      counters[what] = what.ends_with("(most)") ? std::max(counters[what], count) : counters[what] + count;
    if (seeds == 1) fmt::print("seed {}: {}; trace {:016x}; healed in {} ms\n", s, r.shape, r.trace_hash, r.heal_ms);
    if (r.violation.empty()) continue;
    ++failed;
    fmt::print("FAILED seed {} ({})\n  {}\n  again: sim --seed {} --trace\n", s, r.shape, r.violation, s);
    std::fflush(stdout);
    if (!keep_going) break;
  }
  for (auto& [what, count] : counters) fmt::print("{:>12}  {}\n", count, what);
  fmt::print("{} lives, {} s of virtual time in {:.1f} s of CPU; slowest healing {} ms; {} failed\n", done, lived / 1000,
             elapsed(), heal_max, failed);
  int missing = 0;
  if (require_branches && done < kLivesForBranches)
    fmt::print("too few lives to say which branches they never reach\n");
  else if (require_branches)
    for (const char* branch : tessera::sim::RequiredBranches())
      if (counters[branch] == 0 && ++missing) fmt::print("NEVER REACHED: {}\n", branch);
  return failed > 0 || missing > 0 ? 1 : 0;
}
