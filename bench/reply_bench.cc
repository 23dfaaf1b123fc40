// Replies into the output buffer and out of it again, a pipeline of 64 per flush.
#include <benchmark/benchmark.h>

#include <string>

#include "protocol/output_buffer.h"
#include "protocol/reply_writer.h"

namespace {

using tessera::protocol::OutputBuffer;
using tessera::protocol::ReplyWriter;

constexpr int kPipeline = 64;

template <typename Write>
void WriteReplies(benchmark::State& state, Write write) {
  OutputBuffer buffer;
  ReplyWriter reply(&buffer, 3);
  int64_t bytes = 0;
  for (auto _ : state) {
    for (int i = 0; i < kPipeline; ++i) write(reply, i);
    iovec entries[64];
    benchmark::DoNotOptimize(buffer.Peek(entries, 64));
    bytes += static_cast<int64_t>(buffer.size());
    buffer.Clear();
  }
  state.SetItemsProcessed(state.iterations() * kPipeline);
  state.SetBytesProcessed(bytes);
}

void BM_Ok(benchmark::State& state) {
  WriteReplies(state, [](ReplyWriter& reply, int) { reply.Ok(); });
}
BENCHMARK(BM_Ok);

void BM_Integer(benchmark::State& state) {
  WriteReplies(state, [](ReplyWriter& reply, int i) { reply.Integer(i * 1000003); });
}
BENCHMARK(BM_Integer);

void BM_Null(benchmark::State& state) {
  WriteReplies(state, [](ReplyWriter& reply, int) { reply.Null(); });
}
BENCHMARK(BM_Null);

void BM_Bulk(benchmark::State& state) {
  const std::string value(static_cast<size_t>(state.range(0)), 'x');
  WriteReplies(state, [&value](ReplyWriter& reply, int) { reply.Bulk(value); });
}
BENCHMARK(BM_Bulk)->Arg(3)->Arg(16)->Arg(100)->Arg(4096)->Arg(100000);

void BM_Double(benchmark::State& state) {
  WriteReplies(state, [](ReplyWriter& reply, int i) { reply.Double(i * 0.1); });
}
BENCHMARK(BM_Double);

void BM_DeferredArrayOfTen(benchmark::State& state) {
  WriteReplies(state, [](ReplyWriter& reply, int) {
    const auto mark = reply.Defer();
    for (int i = 0; i < 10; ++i) reply.Bulk("0123456789abcdef");
    reply.EndArray(mark, 10);
  });
}
BENCHMARK(BM_DeferredArrayOfTen);

}  // namespace

BENCHMARK_MAIN();
