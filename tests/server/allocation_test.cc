// The hot path allocates nothing per command: counted by replacing the program's operator new.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "tests/support/command_fixture.h"

namespace {
size_t allocations = 0;  // of this test program, which has one thread that counts
}

[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* block = std::malloc(bytes)) return block;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, size_t) noexcept { std::free(block); }

namespace tessera {
namespace {

// Allocations of a thousand executions of a command, after a few to warm up.
size_t AllocationsOf(CommandFixture& server, std::vector<std::string_view> argv) {
  server("CONFIG SET slowlog-log-slower-than -1");  // a busy machine makes any command slow
  auto run = [&](int times) {
    for (int i = 0; i < times; ++i) {
      server.dispatcher.Execute(server.session, argv, CommandFixture::kStartMs);
      server.session.out.Clear();
    }
  };
  run(10);
  const size_t before = allocations;
  run(1000);
  return allocations - before;
}

TEST(HotPath, AllocatesNothingForSingleKeyCommands) {
  CommandFixture server;
  server.stream.RemoveSink(server.sink());
  EXPECT_EQ(AllocationsOf(server, {"SET", "key:000000000001", "value:0000000001"}), 0u);
  EXPECT_EQ(AllocationsOf(server, {"GET", "key:000000000001"}), 0u);
  EXPECT_EQ(AllocationsOf(server, {"INCR", "counter"}), 0u);
  EXPECT_EQ(AllocationsOf(server, {"EXISTS", "key:000000000001"}), 0u);
  EXPECT_EQ(AllocationsOf(server, {"EXPIRE", "key:000000000001", "100"}), 0u);
  EXPECT_EQ(AllocationsOf(server, {"TTL", "key:000000000001"}), 0u);
}

TEST(HotPath, AllocatesNothingForSeveralKeys) {
  CommandFixture server;
  server.stream.RemoveSink(server.sink());
  EXPECT_EQ(AllocationsOf(server, {"MSET", "a", "1", "b", "two", "c", "3"}), 0u);
  EXPECT_EQ(AllocationsOf(server, {"MGET", "a", "b", "c", "missing"}), 0u);
}

TEST(HotPath, AllocatesNothingToPropagate) {
  CommandFixture server;
  server.stream.RemoveSink(server.sink());
  struct Ignore : StreamSink {
    void OnStream(std::string_view, int64_t) override {}
  } ignore;
  server.stream.AddSink(ignore);
  EXPECT_EQ(AllocationsOf(server, {"SET", "key:000000000001", "value:0000000001"}), 0u);
  EXPECT_EQ(AllocationsOf(server, {"SET", "key:000000000001", "value:0000000001", "EX", "100"}), 0u);
  server.stream.RemoveSink(ignore);
}

}  // namespace
}  // namespace tessera
