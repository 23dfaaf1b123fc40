#include <benchmark/benchmark.h>

#include <string>

#include "cluster/slot.h"

namespace {

void BM_SlotOf(benchmark::State& state) {
  std::string key(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) {
    benchmark::DoNotOptimize(key.data());
    benchmark::DoNotOptimize(tessera::cluster::SlotOf(key));
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_SlotOf)->Arg(4)->Arg(16)->Arg(40)->Arg(512);

void BM_SlotOfHashTag(benchmark::State& state) {
  std::string key = "{user1000}.following:0123456789";
  for (auto _ : state) {
    benchmark::DoNotOptimize(key.data());
    benchmark::DoNotOptimize(tessera::cluster::SlotOf(key));
  }
}
BENCHMARK(BM_SlotOfHashTag);

}  // namespace

BENCHMARK_MAIN();
