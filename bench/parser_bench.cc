// Requests to argv, as the connection does it: many commands in one buffer, and large values.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "protocol/resp_parser.h"

namespace {

using tessera::protocol::ParseResult;
using tessera::protocol::RequestParser;

std::string Request(const std::vector<std::string>& words) {
  std::string out = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  return out;
}

void ParseAll(benchmark::State& state, const std::string& input, int64_t commands) {
  RequestParser parser;
  std::vector<std::string_view> argv;
  for (auto _ : state) {
    std::string_view rest = input;
    while (!rest.empty()) {
      const ParseResult result = parser.Parse(rest, argv);
      if (result.status != ParseResult::Status::kCommand) {
        state.SkipWithError("not a command");
        return;
      }
      benchmark::DoNotOptimize(argv.data());
      rest.remove_prefix(result.consumed);
    }
  }
  state.SetItemsProcessed(state.iterations() * commands);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(input.size()));
}

std::string Repeated(const std::string& text, int64_t n) {
  std::string out;
  for (int64_t i = 0; i < n; ++i) out += text;
  return out;
}

void BM_ParseGet(benchmark::State& state) {
  ParseAll(state, Repeated(Request({"GET", "key:000000012345"}), state.range(0)), state.range(0));
}
BENCHMARK(BM_ParseGet)->Arg(1)->Arg(16)->Arg(64);

void BM_ParseSet(benchmark::State& state) {
  const std::string request =
      Request({"SET", "key:000000012345", std::string(static_cast<size_t>(state.range(1)), 'x')});
  ParseAll(state, Repeated(request, state.range(0)), state.range(0));
}
BENCHMARK(BM_ParseSet)->Args({1, 3})->Args({16, 3})->Args({64, 3})->Args({1, 100000});

void BM_ParseMset(benchmark::State& state) {
  std::vector<std::string> words = {"MSET"};
  for (int i = 0; i < 10; ++i) {
    words.push_back("key:00000001234" + std::to_string(i));
    words.push_back("xxx");
  }
  ParseAll(state, Repeated(Request(words), 16), 16);
}
BENCHMARK(BM_ParseMset);

void BM_ParseInline(benchmark::State& state) { ParseAll(state, Repeated("SET key:000000012345 xxx\r\n", 16), 16); }
BENCHMARK(BM_ParseInline);

// Every command cut in two by the end of a read.
void BM_ParseCutSet(benchmark::State& state) {
  const std::string request = Request({"SET", "key:000000012345", "xxx"});
  const std::string_view first = std::string_view(request).substr(0, request.size() / 2);
  RequestParser parser;
  std::vector<std::string_view> argv;
  for (auto _ : state) {
    benchmark::DoNotOptimize(parser.Parse(first, argv).status);
    benchmark::DoNotOptimize(parser.Parse(request, argv).status);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ParseCutSet);

}  // namespace

BENCHMARK_MAIN();
