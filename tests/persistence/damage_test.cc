// Files that were cut or have a wrong byte, everywhere: what is loaded is right, or a beginning where the options allow
// it, or the load ends with the file and the place. TESSERA_TEST_LONG=1 tries more values of each byte.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <functional>

#include "fmt/core.h"
#include "persistence/aof_sum.h"
#include "persistence/aof_writer.h"
#include "persistence/rdb_writer.h"
#include "persistence/recovery.h"
#include "tests/persistence/value_model.h"
#include "tests/support/memory_file_system.h"

namespace tessera::persistence {
namespace {

using Directory = std::map<std::string, std::string>;  // path to contents

struct Contents {
  std::map<uint32_t, ModelDatabase> values;
  std::vector<std::string> commands;
  bool operator==(const Contents&) const = default;
  bool IsBeginningOf(const Contents& whole) const {
    return values == whole.values && commands.size() <= whole.commands.size() &&
           std::equal(commands.begin(), commands.end(), whole.commands.begin());
  }
};

struct Loading {
  Contents contents;
  std::string note, error;
};

Loading Load(const Directory& directory, const RecoveryOptions& options) {
  MemoryFileSystem disk;
  EXPECT_TRUE(disk.MakeDirectory("appendonlydir").ok());
  for (const auto& [path, contents] : directory) disk.Put(path, contents);
  if (options.append_only) {
    Result<AofLog> log = AofLog::Open(disk, {});
    if (!log.ok()) return {.error = log.status().text()};
  }
  Result<RecoveryPlan> plan = PlanRecovery(disk, options);
  if (!plan.ok()) return {.error = plan.status().text()};
  DatasetLoader loader(disk, *plan, options);
  ModelBuilder builder;
  Loading loading;
  while (true) {
    switch (loader.Next(&builder)) {
      case Loaded::kRdbRecord: {
        const RdbRecord& record = loader.rdb_record();
        builder.Select(record.database);
        if (record.kind == RdbRecord::Kind::kString) builder.PutString(record.entry, record.value);
        break;
      }
      case Loaded::kCommand: {
        std::string& words = loading.contents.commands.emplace_back();
        for (std::string_view word : loader.argv()) words += fmt::format("{} ", word);
        break;
      }
      case Loaded::kNote:
        loading.note = loader.note();
        break;
      case Loaded::kFileDone:
        loading.contents.commands.emplace_back("end of a file");
        break;
      case Loaded::kError:
        loading.error = loader.error().text();
        [[fallthrough]];
      case Loaded::kDone:
        loading.contents.values = std::move(builder.databases);
        return loading;
    }
  }
}

ModelDatabase SmallValues() {
  ModelDatabase values = SampleValues();
  values.erase("fresh stream");
  for (auto& [key, value] : values) {
    if (value.items.size() > 8) value.items.resize(8);
    if (value.pairs.size() > 5) value.pairs.resize(5);
    if (value.scored.size() > 8) value.scored.resize(8);
    if (value.kind == ModelValue::Kind::kStream && value.entries.size() > 8) value.entries.resize(8);
  }
  return values;
}

std::string Image() {
  std::string out;
  RdbWriter writer(&out, {});
  writer.Header({.created_s = 1700000000, .aof_base = true, .replication_id = "0123456789012345678901234567890123456789"});
  Walk({{0, SmallValues()}}, writer);
  writer.End();
  return out;
}

std::string Command(std::vector<std::string_view> argv) {
  std::string out;
  AppendCommand(argv, &out);
  return out;
}

// Ends with a complete line, as an increment does after a clean end.
std::string WithSums(const std::vector<std::string>& pieces) {
  std::string out;
  AofSum sum;
  for (const std::string& piece : pieces) {
    out += piece;
    sum.Add(piece);
    out += sum.Line();
    sum = AofSum(out.size());
  }
  return out;
}

std::vector<std::string> Pieces(std::string_view letter) {
  std::string select = Command({"SELECT", "0"});
  std::string transaction = Command({"MULTI"}) + Command({"SET", letter, "100"}) + Command({"DEL", "x"}) + Command({"EXEC"});
  return {select + Command({"SET", letter, std::string(80, 'v')}), transaction + Command({"INCR", "n"}),
          Command({"RPUSH", "l", "", "12", "a\r\nb"})};
}

Directory OurAof(AofBaseFormat format) {
  Directory directory;
  AofManifest manifest;
  manifest.base = AofPart{AofBaseName("appendonly.aof", 2, format), 2};
  std::string base = Image();
  if (format == AofBaseFormat::kCommands) base = WithSums(Pieces("base"));
  manifest.base->bytes_min = base.size();
  manifest.history = {{AofBaseName("appendonly.aof", 1, format), 1}};
  manifest.increments = {{"appendonly.aof.3.incr.aof", 3}, {"appendonly.aof.4.incr.aof", 4}};
  const std::string first = WithSums(Pieces("first")), last = WithSums(Pieces("last"));
  manifest.increments[0].bytes_min = first.size();
  directory["appendonlydir/" + manifest.base->name] = base;
  directory["appendonlydir/appendonly.aof.3.incr.aof"] = first;
  directory["appendonlydir/appendonly.aof.4.incr.aof"] = last;
  directory["appendonlydir/appendonly.aof.manifest"] = manifest.Format();
  return directory;
}

bool Long() { return std::getenv("TESSERA_TEST_LONG") != nullptr; }

// Every byte, with another value in its place.
void ForEachFlip(const std::string& good, const std::function<void(std::string, std::string_view)>& visit) {
  for (size_t at = 0; at < good.size(); ++at) {
    std::vector<int> masks = {at % 5 == 0 ? static_cast<uint8_t>(good[at]) : 1 << (at % 8)};
    if (Long()) {
      masks.clear();
      for (int mask = 1; mask < 256; ++mask) masks.push_back(mask);
    }
    for (int mask : masks) {
      if (mask == 0) continue;
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ mask);
      visit(std::move(bad), fmt::format("byte {} of {} xor {}", at, good.size(), mask));
    }
  }
}

bool NamesPlace(const std::string& error, const std::string& path) {
  return error.find(path) != std::string::npos &&
         (error.find("byte ") != std::string::npos || error.find("line ") != std::string::npos);
}

void ExpectRightOrRefused(const Directory& good, const std::string& path, const RecoveryOptions& options) {
  const Loading whole = Load(good, options);
  ASSERT_EQ(whole.error, "");
  ASSERT_EQ(whole.note, "");
  int refused = 0, tried = 0;
  ForEachFlip(good.at(path), [&](std::string bad, std::string_view where) {
    Directory directory = good;
    directory[path] = std::move(bad);
    const Loading loading = Load(directory, options);
    ++tried;
    if (loading.error.empty()) {
      EXPECT_TRUE(loading.contents == whole.contents) << path << " " << where << " " << loading.note;
    } else {
      ++refused;
      EXPECT_TRUE(NamesPlace(loading.error, path)) << path << " " << where << ": " << loading.error;
    }
  });
  EXPECT_GT(refused, tried * 9 / 10);
}

TEST(Damage, OfAByteOfAnImageIsNoticed) {
  ExpectRightOrRefused({{"dump.rdb", Image()}}, "dump.rdb", {});
}

TEST(Damage, OfAByteOfAnAofIsNoticed) {
  for (AofBaseFormat format : {AofBaseFormat::kRdb, AofBaseFormat::kCommands}) {
    const Directory good = OurAof(format);
    for (const auto& [path, contents] : good) {
      if (path.ends_with("manifest") || (!Long() && path.ends_with(".rdb"))) continue;
      if (format == AofBaseFormat::kCommands && path.ends_with(".incr.aof")) continue;  // as with an image in front
      ExpectRightOrRefused(good, path, {.append_only = true});
    }
  }
}

TEST(Damage, OfAByteOfAManifestIsNoticed) {
  const Directory good = OurAof(AofBaseFormat::kRdb);
  const std::string path = "appendonlydir/appendonly.aof.manifest";
  const Loading whole = Load(good, {.append_only = true});
  ForEachFlip(good.at(path), [&](std::string bad, std::string_view where) {
    Directory directory = good;
    directory[path] = std::move(bad);
    const Loading loading = Load(directory, {.append_only = true});
    if (loading.error.empty()) {
      EXPECT_TRUE(loading.contents == whole.contents) << where;
    }
  });
}

TEST(Damage, OfAnyByteOfOtherServersFilesDoesNoHarm) {
  std::string log;
  for (const std::string& piece : Pieces("a")) log += piece;
  const std::string manifest = "file b.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
  const std::vector<std::pair<Directory, std::string>> cases = {
      {{{"appendonly.aof", log}}, "appendonly.aof"},
      {{{"appendonly.aof", Image() + log}}, "appendonly.aof"},
      {{{"appendonlydir/appendonly.aof.manifest", manifest},
        {"appendonlydir/b.rdb", Image()},
        {"appendonlydir/appendonly.aof.1.incr.aof", log}},
       "appendonlydir/appendonly.aof.manifest"},
  };
  for (const auto& [good, path] : cases) {
    ASSERT_EQ(Load(good, {.append_only = true}).error, "");
    ForEachFlip(good.at(path), [&, path = path, good = good](std::string bad, std::string_view where) {
      Directory directory = good;
      directory[path] = std::move(bad);
      const Loading loading = Load(directory, {.append_only = true});
      EXPECT_TRUE(loading.error.empty() || loading.error.find("appendonly") != std::string::npos) << where << loading.error;
    });
  }
}

TEST(Damage, ACutImageIsRefused) {
  const std::string image = Image();
  for (size_t length = 0; length < image.size(); ++length) {
    EXPECT_TRUE(NamesPlace(Load({{"dump.rdb", image.substr(0, length)}}, {}).error, "dump.rdb") || length == 0) << length;
  }
}

TEST(Damage, ACutAofLoadsAsABeginningOnlyWhereACrashCutsIt) {
  for (AofBaseFormat format : {AofBaseFormat::kRdb, AofBaseFormat::kCommands}) {
    const Directory good = OurAof(format);
    const Contents whole = Load(good, {.append_only = true}).contents;
    for (const auto& [path, contents] : good) {
      const bool last = path.ends_with("4.incr.aof");
      if (format == AofBaseFormat::kCommands && !path.ends_with(".base.aof")) continue;
      for (size_t length = 0; length < contents.size(); ++length) {
        SCOPED_TRACE(fmt::format("{} cut to {} of {}", path, length, contents.size()));
        Directory directory = good;
        directory[path].resize(length);
        const Loading loading = Load(directory, {.append_only = true});
        const Loading strict = Load(directory, {.append_only = true, .load_truncated = false});
        // Without its last line a manifest still says everything.
        const bool harmless = path.ends_with("manifest") && loading.error.empty();
        if (harmless) {
          EXPECT_TRUE(loading.contents == whole);
        } else if (!last) {
          EXPECT_NE(loading.error.find(path), std::string::npos) << loading.error;
        } else {
          EXPECT_EQ(loading.error, "");
          Contents beginning = loading.contents;
          beginning.commands.pop_back();  // the end of the file
          EXPECT_TRUE(beginning.IsBeginningOf(whole));
          // Either between two records, or told.
          if (strict.error.empty()) {
            EXPECT_TRUE(strict.contents == loading.contents && loading.note.empty());
          } else {
            EXPECT_TRUE(NamesPlace(strict.error, path)) << strict.error;
            EXPECT_NE(loading.note.find(path), std::string::npos) << loading.note;
          }
        }
      }
    }
  }
}

TEST(Damage, ACutSingleFileLoadsAsABeginningBehindItsImage) {
  const std::string image = Image();
  std::string log = image;
  for (const std::string& piece : Pieces("a")) log += piece;
  for (size_t length = 1; length < log.size(); ++length) {
    const Loading loading = Load({{"appendonly.aof", log.substr(0, length)}}, {.append_only = true});
    if (length < image.size()) {
      EXPECT_NE(loading.error, "") << length;
    } else {
      EXPECT_EQ(loading.error, "") << length;
    }
  }
}

// A wrong length makes the reader wait for bytes that never come: without checksum lines that looks like a torn end.
TEST(Damage, InTheMiddleIsNotTakenForATornEnd) {
  Directory directory = OurAof(AofBaseFormat::kRdb);
  std::string& log = directory["appendonlydir/appendonly.aof.4.incr.aof"];
  log = WithSums({Command({"SET", "k", std::string(1000, 'v')}), Command({"INCR", "n"})});
  const size_t at = log.find("$1000");
  ASSERT_NE(at, std::string::npos);
  log[at + 1] = '9';
  const Loading loading = Load(directory, {.append_only = true});
  EXPECT_NE(loading.error.find("the checksum line at byte"), std::string::npos) << loading.error;
}

TEST(Damage, LinesOfAnotherServerBetweenOursAreNotCovered) {
  Directory directory = OurAof(AofBaseFormat::kRdb);
  std::string& log = directory["appendonlydir/appendonly.aof.4.incr.aof"];
  log += Command({"SET", "by", "redis"});
  EXPECT_EQ(Load(directory, {.append_only = true}).error, "");
  // Where we append again, a line of length 0 comes first.
  log += AofSum(log.size()).Line();
  AofSum sum(log.size());
  const std::string command = Command({"SET", "by", "us"});
  sum.Add(command);
  log += command + sum.Line();
  const Loading loading = Load(directory, {.append_only = true});
  EXPECT_EQ(loading.error, "");
  EXPECT_EQ(loading.contents.commands.end()[-2], "SET by us ");
}

}  // namespace
}  // namespace tessera::persistence
