#include "persistence/aof_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <random>
#include <thread>

#include "fmt/core.h"
#include "persistence/aof_reader.h"
#include "persistence/aof_writer.h"
#include "persistence/rdb_writer.h"
#include "persistence/recovery.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/memory_file_system.h"

namespace tessera::persistence {
namespace {

// The data set of these tests is one counter. The log holds "NEXT n" commands, each of which is only right when the
// counter is n - 1: a gap or a repetition in what is loaded shows at once.
std::string NextCommand(uint64_t number) {
  std::string text = fmt::format("{}", number);
  const std::string_view argv[] = {"NEXT", text};
  std::string out;
  AppendCommand(argv, &out);
  return out;
}

std::string Image(uint64_t counter) {
  std::string out;
  RdbWriter writer(&out, {});
  writer.Header({.aof_base = true});
  writer.Database(0, 1, 0);
  writer.String({.key = "counter"}, fmt::format("{}", counter));
  writer.End();
  return out;
}

std::string ImageAsCommands(uint64_t counter) {
  std::string out;
  AofCommandWriter writer(&out);
  writer.Database(0, 1, 0);
  writer.String({.key = "counter"}, fmt::format("{}", counter));
  return out;
}

struct LoadedCounter {
  std::string error;
  uint64_t counter = 0;
  std::vector<std::string> notes;
};

LoadedCounter Load(FileSystem& disk) {
  LoadedCounter result;
  RecoveryOptions options{.append_only = true};
  Result<RecoveryPlan> plan = PlanRecovery(disk, options);
  if (!plan.ok()) return {plan.status().text()};
  DatasetLoader loader(disk, *plan, options);
  while (true) {
    switch (loader.Next()) {
      case Loaded::kRdbRecord:
        if (loader.rdb_record().kind == RdbRecord::Kind::kString) {
          result.counter = std::stoull(std::string(loader.rdb_record().value));
        }
        break;
      case Loaded::kCommand: {
        uint64_t number = std::stoull(std::string(loader.argv().back()));
        if (loader.argv()[0] == "SET") result.counter = number;
        if (loader.argv()[0] != "NEXT") break;
        if (number != result.counter + 1) return {fmt::format("{} follows {}", number, result.counter)};
        result.counter = number;
        break;
      }
      case Loaded::kNote:
        result.notes.push_back(loader.note());
        break;
      case Loaded::kFileDone:
        break;
      case Loaded::kDone:
        return result;
      case Loaded::kError:
        return {loader.error().text()};
    }
  }
}

// A process that counts and logs. It goes on after failures as a server would: what could not be logged is not counted.
class Counter {
 public:
  explicit Counter(FileSystem& disk) : disk_(disk) {}

  uint64_t counter = 0;
  uint64_t promised = 0;  // what must be there after a crash
  std::optional<AofLog> log;

  bool Start() {
    LoadedCounter loaded = Load(disk_);
    if (!loaded.error.empty()) return false;
    Result<AofLog> opened = AofLog::Open(disk_, {});
    if (!opened.ok()) return false;
    log.emplace(std::move(*opened));
    if (!log->StartAppending(Image(loaded.counter), AofBaseFormat::kRdb).ok()) return false;
    counter = loaded.counter;
    return true;
  }
  void Count(int times) {
    for (int i = 0; i < times; ++i) {
      if (log->appending() && !log->Append(NextCommand(counter + 1)).ok()) continue;
      ++counter;
    }
  }
  void Sync() {
    if (log->appending() && log->Sync().ok() && !log->rewriting()) promised = counter;
    if (attached_rewrite_ && log->appending() && log->synced_offset() == log->appended_offset()) promised = counter;
  }
  void Rewrite(AofBaseFormat format, bool finish) {
    attached_rewrite_ = log->appending();
    auto file = log->StartRewrite();
    if (file.ok()) {
      std::string image = format == AofBaseFormat::kRdb ? Image(counter) : ImageAsCommands(counter);
      Count(2);
      bool written = true;
      for (size_t at = 0; at < image.size() && written; at += 40) {
        written = (*file)->Append(std::string_view(image).substr(at, 40)).ok();
      }
      Sync();
      Count(1);
      if (written && finish) {
        if (log->FinishRewrite(format).ok()) log->DeleteHistory();
      } else {
        log->AbortRewrite();
      }
    }
    attached_rewrite_ = false;
  }
  void Life() {
    Count(3);
    Sync();
    Count(2);
    Rewrite(AofBaseFormat::kRdb, true);
    Count(2);
    Sync();
    Rewrite(AofBaseFormat::kRdb, false);
    Rewrite(AofBaseFormat::kCommands, true);
    Count(1);
    Sync();
    // Off, changes that nobody logs, and on again.
    const bool was_on = log->appending();
    if (log->StopAppending().ok() && was_on) promised = counter;
    Count(5);
    Rewrite(AofBaseFormat::kRdb, true);
    Count(1);
    Sync();
    Rewrite(AofBaseFormat::kRdb, true);
  }

 private:
  FileSystem& disk_;
  bool attached_rewrite_ = false;
};

using Prepare = std::function<void(MemoryFileSystem&)>;

void OldSingleFile(MemoryFileSystem& disk) {
  disk.Put("appendonly.aof", Image(10) + NextCommand(11) + NextCommand(12));
}

// Stops the disk at every operation, crashes, and starts again on what is left.
void CrashEverywhere(const Prepare& prepare, uint64_t initial) {
  for (CrashKeeps keeps : {CrashKeeps::kOnlySynced, CrashKeeps::kEverything, CrashKeeps::kSomething}) {
    bool finished = false;
    for (uint64_t stop = 0; !finished; ++stop) {
      ASSERT_LT(stop, 1000u);
      for (uint64_t seed = 0; seed < (keeps == CrashKeeps::kSomething ? 10 : 1); ++seed) {
        SCOPED_TRACE(fmt::format("stop {} keeps {} seed {}", stop, static_cast<int>(keeps), seed));
        MemoryFileSystem disk;
        prepare(disk);
        FaultyFileSystem faulty(disk);
        faulty.faults.stop_at_operation = stop;
        Counter counter(faulty);
        counter.promised = initial;
        uint64_t counted = initial;
        if (counter.Start()) {
          counter.Life();
          counted = counter.counter;
        }
        finished = !faulty.stopped();
        disk.Crash(keeps, seed);

        LoadedCounter loaded = Load(disk);
        ASSERT_EQ(loaded.error, "");
        EXPECT_GE(loaded.counter, counter.promised);
        // A command whose append failed half way was never acknowledged, but cannot be complete either.
        EXPECT_LE(loaded.counter, counted);
        Counter second(disk);
        ASSERT_TRUE(second.Start());
        EXPECT_EQ(second.counter, loaded.counter);
        second.Life();
        disk.Crash(CrashKeeps::kOnlySynced);
        LoadedCounter again = Load(disk);
        ASSERT_EQ(again.error, "");
        EXPECT_GE(again.counter, second.promised);
        EXPECT_GT(again.counter, loaded.counter);
      }
    }
  }
}

TEST(AofLog, LoadsAfterACrashAtEveryOperation) {
  CrashEverywhere([](MemoryFileSystem&) {}, 0);
}

TEST(AofLog, LoadsAfterACrashAtEveryOperationOfATakeOver) { CrashEverywhere(OldSingleFile, 12); }

TEST(AofLog, GoesOnAfterAFailureOfAnyOperation) {
  for (bool single_file : {false, true}) {
    uint64_t operations = 1;
    for (uint64_t failing = 0; failing < operations; ++failing) {
      for (uint64_t seed = 0; seed < 5; ++seed) {
        SCOPED_TRACE(fmt::format("failing {} seed {} single {}", failing, seed, single_file));
        MemoryFileSystem disk;
        if (single_file) OldSingleFile(disk);
        FaultyFileSystem faulty(disk);
        faulty.faults.fail_operation = failing;
        Counter counter(faulty);
        if (!counter.Start()) {
          ASSERT_TRUE(counter.Start());
        }
        counter.Life();
        counter.Life();
        operations = faulty.operations();
        MemoryFileSystem& after = disk;
        after.Crash(seed == 0 ? CrashKeeps::kOnlySynced : CrashKeeps::kSomething, seed);
        LoadedCounter loaded = Load(after);
        ASSERT_EQ(loaded.error, "");
        EXPECT_GE(loaded.counter, counter.promised);
        EXPECT_LE(loaded.counter, counter.counter);
      }
    }
    EXPECT_GT(operations, 100u);
  }
}

// A failure that leaves unsure which manifest is in force, and a crash some time later.
TEST(AofLog, LoadsAfterACrashThatFollowsAFailure) {
  std::mt19937 random(21);
  for (int round = 0; round < 1500; ++round) {
    MemoryFileSystem disk;
    if (round % 4 == 0) OldSingleFile(disk);
    FaultyFileSystem faulty(disk);
    faulty.faults.fail_operation = random() % 150;
    faulty.faults.stop_at_operation = faulty.faults.fail_operation + 1 + random() % 40;
    SCOPED_TRACE(fmt::format("round {} failing {} stop {}", round, faulty.faults.fail_operation,
                             faulty.faults.stop_at_operation));
    Counter counter(faulty);
    if (!counter.Start() && !counter.Start()) continue;
    counter.Life();
    disk.Crash(round % 2 ? CrashKeeps::kEverything : CrashKeeps::kSomething, static_cast<uint64_t>(round));
    LoadedCounter loaded = Load(disk);
    ASSERT_EQ(loaded.error, "");
    EXPECT_GE(loaded.counter, counter.promised);
    EXPECT_LE(loaded.counter, counter.counter);
  }
}

TEST(AofLog, NamesItsFilesAsRedisDoes) {
  MemoryFileSystem disk;
  Counter counter(disk);
  ASSERT_TRUE(counter.Start());
  EXPECT_EQ(
      *disk.List("appendonlydir"),
      (std::vector<std::string>{"appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof", "appendonly.aof.manifest"}));
  const std::string manifest = disk.Contents("appendonlydir/appendonly.aof.manifest");
  EXPECT_EQ(manifest.substr(0, manifest.find('#')),
            fmt::format("file appendonly.aof.1.base.rdb seq 1 type b bytes {}\nfile appendonly.aof.1.incr.aof seq 1 type i\n",
                        Image(0).size()));
  counter.Count(1);
  counter.Rewrite(AofBaseFormat::kCommands, true);
  EXPECT_EQ(
      *disk.List("appendonlydir"),
      (std::vector<std::string>{"appendonly.aof.2.base.aof", "appendonly.aof.2.incr.aof", "appendonly.aof.manifest"}));
}

TEST(AofLog, CutsBackAPartialAppend) {
  MemoryFileSystem disk;
  FaultyFileSystem faulty(disk);
  Counter counter(faulty);
  ASSERT_TRUE(counter.Start());
  counter.Count(2);
  std::string before = disk.Contents("appendonlydir/appendonly.aof.1.incr.aof");
  faulty.faults.bytes_left = 7;
  EXPECT_EQ(counter.log->Append(NextCommand(3)).code(), ENOSPC);
  EXPECT_EQ(disk.Contents("appendonlydir/appendonly.aof.1.incr.aof"), before);
  EXPECT_EQ(counter.log->appended_offset(), before.size());
  faulty.faults.bytes_left = Faults::kNever;
  EXPECT_TRUE(counter.log->Append(NextCommand(3)).ok());
  EXPECT_EQ(Load(disk).counter, 3u);
}

TEST(AofLog, CutsBackLaterWhenTheDiskWasGoneEntirely) {
  MemoryFileSystem disk;
  FaultyFileSystem faulty(disk);
  Counter counter(faulty);
  ASSERT_TRUE(counter.Start());
  counter.Count(2);
  faulty.faults.stop_at_operation = faulty.operations();
  EXPECT_FALSE(counter.log->Append(NextCommand(3)).ok());
  EXPECT_FALSE(counter.log->Append(NextCommand(3)).ok());
  faulty.faults.stop_at_operation = Faults::kNever;
  EXPECT_TRUE(counter.log->Append(NextCommand(3)).ok());
  EXPECT_EQ(Load(disk).error, "");
  EXPECT_EQ(Load(disk).counter, 3u);
}

TEST(AofLog, AppendsThroughShortWrites) {
  MemoryFileSystem disk;
  FaultyFileSystem faulty(disk);
  faulty.faults.write_bytes_max = 1;
  Counter counter(faulty);
  ASSERT_TRUE(counter.Start());
  counter.Life();
  EXPECT_EQ(Load(disk).counter, counter.counter);
}

TEST(AofLog, CountsSyncedBytesOnlyAfterASuccessfulSync) {
  MemoryFileSystem disk;
  FaultyFileSystem faulty(disk);
  Counter counter(faulty);
  ASSERT_TRUE(counter.Start());
  counter.Count(1);
  faulty.faults.syncs_to_fail = 1;
  EXPECT_FALSE(counter.log->Sync().ok());
  EXPECT_EQ(counter.log->synced_offset(), 0u);
  AofSyncPoint point = counter.log->SyncPoint();
  counter.Count(1);
  EXPECT_TRUE(point.file->Sync().ok());
  counter.log->MarkSynced(point);
  EXPECT_EQ(counter.log->synced_offset(), NextCommand(1).size());
  EXPECT_EQ(counter.log->appended_offset(), 2 * NextCommand(1).size());
}

TEST(AofLog, LetsAnotherThreadSyncWhileItAppends) {
  MemoryFileSystem disk;
  Counter counter(disk);
  ASSERT_TRUE(counter.Start());
  for (int round = 0; round < 50; ++round) {
    counter.Count(1);
    AofSyncPoint point = counter.log->SyncPoint();
    uint64_t covered = counter.counter;
    Status status;
    std::thread helper([&] { status = point.file->Sync(); });
    counter.Count(3);
    if (round == 25) counter.Rewrite(AofBaseFormat::kRdb, true);
    helper.join();
    ASSERT_TRUE(status.ok());
    counter.log->MarkSynced(point);
    counter.promised = std::max(counter.promised, covered);
  }
  disk.Crash(CrashKeeps::kOnlySynced);
  EXPECT_GE(Load(disk).counter, counter.promised);
}

TEST(AofLog, KnowsItsSizes) {
  MemoryFileSystem disk;
  Counter counter(disk);
  ASSERT_TRUE(counter.Start());
  uint64_t base = Image(0).size();
  counter.Count(4);
  EXPECT_EQ(counter.log->base_bytes(), base);
  EXPECT_EQ(counter.log->total_bytes(), base + 4 * NextCommand(1).size());
  ASSERT_TRUE(counter.log->StartRewrite().ok());  // ends the increment with a checksum line
  const uint64_t sealed = disk.Contents("appendonlydir/appendonly.aof.1.incr.aof").size();
  EXPECT_GT(sealed, 4 * NextCommand(1).size());
  counter.Count(1);
  EXPECT_EQ(counter.log->total_bytes(), base + sealed + NextCommand(1).size());
  EXPECT_EQ(counter.log->appended_offset(), 5 * NextCommand(1).size()) << "checksum lines do not count";
  counter.log->AbortRewrite();
  Result<AofLog> again = AofLog::Open(disk, {});
  EXPECT_EQ(again->total_bytes(), base + sealed + NextCommand(1).size());
  ASSERT_TRUE(again->StartAppending("", AofBaseFormat::kRdb).ok());
  EXPECT_EQ(again->total_bytes(), base + sealed + NextCommand(1).size());
}

TEST(AofLog, CoversWhatItAppendsWithChecksumLines) {
  MemoryFileSystem disk;
  for (int life = 0; life < 3; ++life) {
    Counter counter(disk);
    ASSERT_TRUE(counter.Start());
    counter.Count(500);
    if (life != 1) counter.log->Seal();  // the second life ends without
  }
  const std::string text = disk.Contents("appendonlydir/appendonly.aof.1.incr.aof");
  AofReader reader;
  reader.Feed(text);
  while (reader.Next() == AofRead::kCommand) continue;
  EXPECT_TRUE(reader.AtBoundary()) << reader.error_reason();
  EXPECT_EQ(reader.checked_offset(), text.size());
  EXPECT_GT(std::count(text.begin(), text.end(), '#'), 1500 * 25 / 4096);
  EXPECT_EQ(Load(disk).counter, 1500u);
}

TEST(AofLog, GoesOnWithoutAChecksumLineThatFoundNoRoom) {
  MemoryFileSystem disk;
  FaultyFileSystem faulty(disk);
  Counter counter(faulty);
  ASSERT_TRUE(counter.Start());
  counter.Count(2);
  faulty.faults.bytes_left = 10;
  counter.log->Seal();
  EXPECT_EQ(disk.Contents("appendonlydir/appendonly.aof.1.incr.aof").find('#'), std::string::npos);
  faulty.faults.bytes_left = Faults::kNever;
  counter.Count(1);
  counter.log->Seal();
  EXPECT_NE(disk.Contents("appendonlydir/appendonly.aof.1.incr.aof").find('#'), std::string::npos);
  EXPECT_EQ(Load(disk).counter, 3u);
}

// Full for some operations, then not: whatever was refused is not there, whatever was taken is.
TEST(AofLog, GoesOnAfterADiskThatWasFullForAWhile) {
  uint64_t operations = 1;
  for (uint64_t failing = 0; failing < operations; ++failing) {
    for (uint64_t count : {3, 17, 60}) {
      SCOPED_TRACE(fmt::format("failing {} times {}", failing, count));
      MemoryFileSystem disk;
      FaultyFileSystem faulty(disk);
      faulty.faults = {.fail_operation = failing, .fail_count = count, .error = ENOSPC};
      Counter counter(faulty);
      bool started = counter.Start();
      for (int i = 0; i < 100 && !started; ++i) started = counter.Start();
      ASSERT_TRUE(started);
      counter.Life();
      counter.Life();
      operations = faulty.operations();
      disk.Crash(failing % 2 ? CrashKeeps::kOnlySynced : CrashKeeps::kSomething, failing);
      LoadedCounter loaded = Load(disk);
      ASSERT_EQ(loaded.error, "");
      EXPECT_GE(loaded.counter, counter.promised);
      EXPECT_LE(loaded.counter, counter.counter);
    }
  }
}

TEST(AofLog, NoticesWhenItsFileIsRemoved) {
  MemoryFileSystem disk;
  Counter counter(disk);
  ASSERT_TRUE(counter.Start());
  EXPECT_TRUE(counter.log->StillThere().ok());
  ASSERT_TRUE(disk.Remove("appendonlydir/appendonly.aof.1.incr.aof").ok());
  EXPECT_EQ(counter.log->StillThere().code(), ENOENT);
}

TEST(AofLog, DoesNotPileUpEmptyIncrements) {
  MemoryFileSystem disk;
  Counter counter(disk);
  ASSERT_TRUE(counter.Start());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(counter.log->StartRewrite().ok());
    counter.log->AbortRewrite();
  }
  EXPECT_EQ(counter.log->manifest().increments.size(), 1u);
}

TEST(AofLog, RefusesToStartAfreshOverDataWithoutManifest) {
  MemoryFileSystem disk;
  Counter counter(disk);
  ASSERT_TRUE(counter.Start());
  counter.Count(1);
  ASSERT_TRUE(disk.Remove("appendonlydir/appendonly.aof.manifest").ok());
  Result<AofLog> log = AofLog::Open(disk, {});
  ASSERT_FALSE(log.ok());
  EXPECT_NE(log.status().text().find("appendonly.aof.1.incr.aof"), std::string::npos) << log.status().text();
}

TEST(AofLog, ReportsAMissingPartAndABrokenManifest) {
  MemoryFileSystem disk;
  disk.Put("appendonly.aof", "");
  ASSERT_TRUE(disk.MakeDirectory("appendonlydir").ok());
  disk.Put("appendonlydir/appendonly.aof.manifest", "file x.1.incr.aof seq 1 type i\n");
  Result<AofLog> log = AofLog::Open(disk, {});
  ASSERT_FALSE(log.ok());
  EXPECT_NE(log.status().text().find("x.1.incr.aof"), std::string::npos);
  disk.Put("appendonlydir/appendonly.aof.manifest", "nonsense\n");
  log = AofLog::Open(disk, {});
  ASSERT_FALSE(log.ok());
  EXPECT_NE(log.status().text().find("line 1"), std::string::npos) << log.status().text();
}

TEST(AofLog, DeletesHistoryThatACrashLeft) {
  MemoryFileSystem disk;
  Counter counter(disk);
  ASSERT_TRUE(counter.Start());
  counter.Count(1);
  auto file = counter.log->StartRewrite();
  ASSERT_TRUE((*file)->Append(Image(1)).ok());
  ASSERT_TRUE(counter.log->FinishRewrite(AofBaseFormat::kRdb).ok());
  EXPECT_EQ(counter.log->HistoryPaths(), (std::vector<std::string>{"appendonlydir/appendonly.aof.1.base.rdb",
                                                                   "appendonlydir/appendonly.aof.1.incr.aof"}));
  disk.Crash(CrashKeeps::kEverything);
  ASSERT_TRUE(AofLog::Open(disk, {}).ok());
  EXPECT_EQ(disk.List("appendonlydir")->size(), 3u);
  EXPECT_EQ(Load(disk).counter, 1u);
}

}  // namespace
}  // namespace tessera::persistence
