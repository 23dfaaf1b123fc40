// A server whose disk fails at every operation in turn: it answers reads, refuses writes while it must, takes them again
// when the disk does, and after a crash has what it promised.
#include <gtest/gtest.h>

#include <cerrno>
#include <deque>

#include "fmt/core.h"
#include "server/log.h"
#include "tests/support/command_fixture.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/memory_file_system.h"

namespace tessera {
namespace {

using persistence::CrashKeeps;
using persistence::Faults;
using persistence::FaultyFileSystem;
using persistence::MemoryFileSystem;

// Counts in the key "n". What it promised is what a client would have been told.
class CountingServer {
 public:
  explicit CountingServer(persistence::FileSystem& disk, config::AppendFsync policy = config::AppendFsync::kAlways)
      : server_({.hash_seed = 1, .arena_bytes_max = size_t{1} << 26}, &disk) {
    config::Config& config = server_.options.mutable_config();
    config.appendonly = true;
    config.appendfsync = policy;
    config.save = {{1, 1}};
    log::SetLevel(static_cast<log::Level>(config::LogLevel::kNothing));
    server_.loop.UseClock([this] { return Now{.unix_ms = server_.now_ms, .mono_us = server_.now_ms * 1000}; });
  }

  std::string Start() {
    std::string error = server_.durability.LoadAtStart();
    if (error.empty()) error = server_.durability.StartAppendOnly();
    if (error.empty()) counted_ = promised_ = Read();
    return error;
  }
  int64_t Read() {
    const std::string reply = server_("GET n");
    return reply == "(nil)" ? 0 : std::stoll(reply.substr(1));
  }
  // Empty = counted.
  std::string Count() {
    EXPECT_EQ(Read(), counted_);
    const std::string reply = server_("INCR n");
    if (!reply.starts_with(':')) return reply;
    ++counted_;
    server_.durability.EndOfTurn();
    pending_.push_back({counted_, server_.durability.gate().appended});
    return {};
  }
  std::string Do(std::string_view command) { return server_(command); }
  // All that is under way ends, well or not.
  void Settle() {
    server_.loop.RunUntil([this] {
      const auto f = server_.durability.figures();
      return !f.bgsave_in_progress && !f.aof_rewrite_in_progress && f.aof_pending_bio_fsync == 0;
    });
    server_.durability.EndOfTurn();
    const ReplyGate& gate = server_.durability.gate();
    while (!pending_.empty() && pending_.front().mark <= gate.synced) {
      promised_ = pending_.front().count;
      pending_.pop_front();
    }
  }
  void Wait(int64_t ms) {
    server_.now_ms += ms;
    server_.loop.Post([] {});  // a turn that does not sleep, for a new reading of the clock
    server_.loop.RunUntil([turns = 0]() mutable { return turns++ > 0; });
    server_.durability.Cron();
    Settle();
  }
  void Life() {
    for (std::string_view work : {"PING", "BGSAVE", "BGREWRITEAOF", "SAVE", "BGREWRITEAOF"}) {
      Count();
      Settle();
      Do(work);
      Count();
      Settle();
      Wait(200);
    }
  }
  bool AllWell() {
    const auto f = server_.durability.figures();
    return server_.durability.WriteRefusal().empty() && f.aof_last_write_ok && f.aof_last_bgrewrite_ok && f.last_bgsave_ok &&
           !f.aof_rewrite_scheduled;
  }
  std::string Refusal() const { return server_.durability.WriteRefusal(); }
  size_t buffered() const { return server_.durability.aof_buffer_bytes(); }
  int64_t counted() const { return counted_; }
  int64_t promised() const { return promised_; }
  CommandFixture& server() { return server_; }

 private:
  struct Pending {
    int64_t count;
    uint64_t mark;
  };
  CommandFixture server_;
  int64_t counted_ = 0, promised_ = 0;
  std::deque<Pending> pending_;
};

void ExpectRecovery(MemoryFileSystem& disk, CrashKeeps keeps, uint64_t seed, int64_t promised, int64_t counted) {
  disk.Crash(keeps, seed);
  CountingServer again(disk);
  ASSERT_EQ(again.Start(), "");
  EXPECT_GE(again.Read(), promised);
  EXPECT_LE(again.Read(), counted);
}

TEST(DiskFaults, AnyOperationMayFailAndTheServerRecoversByItself) {
  for (uint64_t count : {1, 4, 100000}) {
    uint64_t operations = 60, refused = 0;  // as many as a life takes, at least
    for (uint64_t failing = 0; failing < operations; failing += count == 4 ? 3 : 1) {
      const int error = std::array{ENOSPC, EIO, EROFS, EDQUOT}[failing % 4];
      SCOPED_TRACE(fmt::format("operation {} and {} in all fail with {}", failing, count, error));
      MemoryFileSystem disk;
      FaultyFileSystem faulty(disk);
      faulty.faults = {.fail_operation = failing, .fail_count = count, .error = error};
      {
        CountingServer server(faulty);
        if (!server.Start().empty()) {  // at the start a disk that refuses ends it, with a reason
          ++refused;
          continue;
        }
        server.Life();
        operations = std::max(operations, faulty.operations());
        // The disk heals.
        faulty.faults = {};
        for (int i = 0; i < 12; ++i) server.Wait(1100);
        EXPECT_EQ(server.Refusal(), "");
        server.Do("BGREWRITEAOF");  // what was only asked for once is not tried again
        server.Settle();
        EXPECT_TRUE(server.AllWell()) << server.Refusal();
        EXPECT_EQ(server.Count(), "");
        server.Settle();
        EXPECT_EQ(server.promised(), server.counted()) << "everything counted is promised in the end";
        EXPECT_EQ(server.Do("PING"), "+PONG");
        ExpectRecovery(disk, CrashKeeps::kOnlySynced, failing, server.promised(), server.counted());
      }
    }
    EXPECT_GT(operations, 65u);
    EXPECT_LT(refused, 30u);
  }
}

TEST(DiskFaults, NothingPromisedIsLostWhenPowerFailsWhileTheDiskRefuses) {
  uint64_t operations = 60;
  for (uint64_t failing = 0; failing < operations; ++failing) {
    SCOPED_TRACE(fmt::format("from operation {} on", failing));
    MemoryFileSystem disk;
    FaultyFileSystem faulty(disk);
    faulty.faults = {.fail_operation = failing, .fail_count = Faults::kNever, .error = ENOSPC};
    int64_t promised = 0, counted = 0;
    {
      CountingServer server(faulty);
      if (!server.Start().empty()) continue;
      server.Life();
      for (int i = 0; i < 3; ++i) server.Wait(1100);
      operations = std::max(operations, faulty.operations());
      promised = server.promised();
      counted = server.counted();
      const std::string reply = server.Do("SET x y");
      if (!server.Refusal().empty()) {
        EXPECT_TRUE(reply.starts_with("-MISCONF")) << reply;
        EXPECT_TRUE(server.Do("PING").starts_with("-MISCONF"));
      }
      ExpectRecovery(disk, failing % 2 ? CrashKeeps::kOnlySynced : CrashKeeps::kSomething, failing, promised, counted);
    }
  }
  EXPECT_GT(operations, 65u);
}

TEST(DiskFaults, RefusesAsRedisDoes) {
  MemoryFileSystem disk;
  FaultyFileSystem faulty(disk);
  CountingServer server(faulty, config::AppendFsync::kEverySec);
  ASSERT_EQ(server.Start(), "");
  faulty.faults = {.stop_at_operation = faulty.operations(), .error = ENOSPC};
  EXPECT_EQ(server.Count(), "");
  const std::string refusal = "-MISCONF Errors writing to the AOF file: No space left on device";
  EXPECT_EQ(server.Count(), refusal);
  EXPECT_EQ(server.Do("PING"), refusal);
  EXPECT_EQ(server.Do("GET n"), "\"1\"");
  EXPECT_EQ(server.Do("MULTI"), "+OK");
  EXPECT_EQ(server.Do("PING"), refusal);
  EXPECT_TRUE(server.Do("EXEC").starts_with("-EXECABORT"));
  faulty.faults = {};
  server.Wait(1100);
  EXPECT_EQ(server.Do("PING"), "+PONG");
  EXPECT_EQ(server.Count(), "");
}

// A replica goes on applying its primary's stream: what piles up for the disk must not fill the memory.
TEST(DiskFaults, ALogThatFallsTooFarBehindIsStartedOver) {
  MemoryFileSystem disk;
  FaultyFileSystem faulty(disk);
  CountingServer server(faulty);
  ASSERT_EQ(server.Start(), "");
  EXPECT_EQ(server.Count(), "");
  server.Settle();
  EXPECT_EQ(server.promised(), 1);
  faulty.faults = {.stop_at_operation = faulty.operations(), .error = ENOSPC};
  EXPECT_EQ(server.Count(), "");
  const std::string megabyte(1 << 20, 'x');
  const std::string_view command[] = {"SET", "large", megabyte};
  for (int i = 0; i < 70; ++i) server.server().stream.Feed(0, command);
  server.server().durability.EndOfTurn();
  EXPECT_GT(server.buffered(), size_t{64} << 20);
  server.Wait(1100);
  EXPECT_EQ(server.buffered(), 0u);
  for (int i = 0; i < 10; ++i) server.Wait(1100);
  EXPECT_EQ(server.promised(), 1) << "what is nowhere on disk is not promised";
  EXPECT_TRUE(server.Do("SET a b").starts_with("-MISCONF"));
  faulty.faults = {};
  for (int i = 0; i < 8; ++i) server.Wait(1100);
  EXPECT_TRUE(server.AllWell()) << server.Refusal();
  server.Settle();
  EXPECT_EQ(server.promised(), 2);
  ExpectRecovery(disk, CrashKeeps::kOnlySynced, 0, 2, 2);
}

TEST(DiskFaults, AnAofRemovedUnderTheServerIsWrittenAnew) {
  MemoryFileSystem disk;
  CountingServer server(disk);
  ASSERT_EQ(server.Start(), "");
  EXPECT_EQ(server.Count(), "");
  server.Settle();
  const std::vector<std::string> names = *disk.List("appendonlydir");
  for (const std::string& name : names) ASSERT_TRUE(disk.Remove("appendonlydir/" + name).ok());
  for (int i = 0; i < 3; ++i) server.Wait(1100);
  EXPECT_TRUE(server.AllWell()) << server.Refusal();
  EXPECT_EQ(server.Count(), "");
  server.Settle();
  ExpectRecovery(disk, CrashKeeps::kOnlySynced, 0, 2, 2);
}

}  // namespace
}  // namespace tessera
