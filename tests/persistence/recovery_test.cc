#include "persistence/recovery.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "fmt/core.h"
#include "persistence/aof_writer.h"
#include "persistence/rdb_writer.h"
#include "tests/support/memory_file_system.h"

namespace tessera::persistence {
namespace {

std::string Command(std::vector<std::string_view> argv) {
  std::string out;
  AppendCommand(argv, &out);
  return out;
}

std::string Image(std::string_view key, std::string_view value) {
  std::string out;
  RdbWriter writer(&out, {});
  writer.Header({});
  writer.Database(0, 1, 0);
  writer.String({.key = key}, value);
  writer.End();
  return out;
}

// Everything a loader reports, a word per record or command; notes and errors come last.
struct Loading {
  std::string records;
  std::string note;
  std::string error;
};

Loading Load(FileSystem& disk, const RecoveryOptions& options) {
  Loading loading;
  Result<RecoveryPlan> plan = PlanRecovery(disk, options);
  if (!plan.ok()) return {.error = plan.status().text()};
  DatasetLoader loader(disk, *plan, options);
  while (true) {
    switch (loader.Next()) {
      case Loaded::kRdbRecord:
        if (loader.rdb_record().kind != RdbRecord::Kind::kString) break;
        loading.records += fmt::format("{}={} ", loader.rdb_record().entry.key, loader.rdb_record().value);
        break;
      case Loaded::kCommand:
        for (std::string_view argument : loader.argv()) loading.records += fmt::format("{} ", argument);
        break;
      case Loaded::kNote:
        loading.note = loader.note();
        break;
      case Loaded::kFileDone:
        loading.records += "| ";
        break;
      case Loaded::kError:
        loading.error = loader.error().text();
        return loading;
      case Loaded::kDone:
        EXPECT_EQ(loader.loaded_bytes(), loader.plan().bytes) << loading.note;
        return loading;
    }
  }
}

class Recovery : public ::testing::Test {
 protected:
  Recovery() { EXPECT_TRUE(disk_.MakeDirectory("appendonlydir").ok()); }
  void Part(const std::string& name, std::string contents) { disk_.Put("appendonlydir/" + name, std::move(contents)); }

  MemoryFileSystem disk_;
  RecoveryOptions rdb_;
  RecoveryOptions aof_{.append_only = true};
};

TEST_F(Recovery, PlansNothingInAnEmptyDirectory) {
  EXPECT_TRUE(PlanRecovery(disk_, rdb_)->files.empty());
  Result<RecoveryPlan> plan = PlanRecovery(disk_, aof_);
  EXPECT_TRUE(plan->files.empty());
  EXPECT_EQ(plan->ignored_rdb, "");
}

TEST_F(Recovery, LoadsTheRdbFileUnlessAppendOnly) {
  disk_.Put("dump.rdb", Image("k", "v"));
  EXPECT_EQ(Load(disk_, rdb_).records, "k=v | ");
  Result<RecoveryPlan> plan = PlanRecovery(disk_, aof_);
  EXPECT_TRUE(plan->files.empty());
  EXPECT_EQ(plan->ignored_rdb, "dump.rdb");
}

TEST_F(Recovery, LoadsBaseThenIncrementsInOrder) {
  Part("appendonly.aof.manifest",
       "file old seq 1 type h\nfile b.rdb seq 2 type b\nfile i2 seq 2 type i\nfile i3 seq 3 type i\n");
  Part("b.rdb", Image("k", "v"));
  Part("i2", Command({"SET", "a", "1"}));
  Part("i3", Command({"SET", "b", "2"}));
  disk_.Put("dump.rdb", Image("other", "x"));
  Result<RecoveryPlan> plan = PlanRecovery(disk_, aof_);
  ASSERT_TRUE(plan.ok()) << plan.status().text();
  ASSERT_EQ(plan->files.size(), 3u);
  EXPECT_EQ(plan->files[0].kind, RecoveryFile::Kind::kAofBase);
  EXPECT_EQ(plan->files[1].kind, RecoveryFile::Kind::kAofIncrement);
  EXPECT_EQ(plan->ignored_rdb, "");
  EXPECT_EQ(Load(disk_, aof_).records, "k=v | SET a 1 | SET b 2 | ");
}

TEST_F(Recovery, LoadsASingleFileWithAnImageInFront) {
  disk_.Put("appendonly.aof", Image("k", "v") + Command({"SET", "a", "1"}) + "#TS:1\r\n" + Command({"DEL", "k"}));
  EXPECT_EQ(Load(disk_, aof_).records, "k=v SET a 1 DEL k | ");
}

TEST_F(Recovery, FailsWhenThePlanCannotBeMade) {
  Part("appendonly.aof.manifest", "file b seq 1 type b\n");
  EXPECT_EQ(PlanRecovery(disk_, aof_).status().code(), ENOENT);
  Part("appendonly.aof.manifest", "file b\n");
  EXPECT_NE(PlanRecovery(disk_, aof_).status().text().find("appendonly.aof.manifest: line 1"), std::string::npos)
      << PlanRecovery(disk_, aof_).status().text();
}

TEST_F(Recovery, YieldsAPrefixOfALogCutAnywhereAndCutsIt) {
  std::string log = Command({"SET", "a", "1"}) + Command({"MULTI"}) + Command({"SET", "b", "2"}) +
                    Command({"SET", "c", "3"}) + Command({"EXEC"}) + Command({"SET", "d", "4"});
  Part("appendonly.aof.manifest", "file i seq 1 type i\n");
  for (size_t length = 0; length <= log.size(); ++length) {
    Part("i", log.substr(0, length));
    Loading loading = Load(disk_, aof_);
    ASSERT_EQ(loading.error, "");
    std::string_view whole = "SET a 1 MULTI SET b 2 SET c 3 EXEC SET d 4 ";
    std::string records = loading.records.substr(0, loading.records.size() - 2);
    EXPECT_TRUE(whole.starts_with(records)) << records;
    // Never a part of a transaction.
    EXPECT_TRUE(records.empty() || records == "SET a 1 " || records == "SET a 1 MULTI SET b 2 SET c 3 EXEC " ||
                records == whole)
        << records;
    // Cut to where it is clean: the second time there is nothing to say.
    Loading again = Load(disk_, aof_);
    EXPECT_EQ(again.records, loading.records);
    EXPECT_EQ(again.note, "");
    EXPECT_EQ(loading.note.empty(), disk_.Contents("appendonlydir/i").size() == length);
  }
}

TEST_F(Recovery, LeavesATruncatedLogAloneWhenToldSo) {
  aof_.load_truncated = false;
  Part("appendonly.aof.manifest", "file i seq 1 type i\n");
  std::string log = Command({"SET", "a", "1"}) + "*2\r\n";
  Part("i", log);
  Loading loading = Load(disk_, aof_);
  EXPECT_NE(loading.error.find("after byte 27"), std::string::npos) << loading.error;
  EXPECT_EQ(disk_.Contents("appendonlydir/i"), log);
}

TEST_F(Recovery, AcceptsACutOnlyAtTheVeryEnd) {
  Part("appendonly.aof.manifest", "file i1 seq 1 type i\nfile i2 seq 2 type i\nfile i3 seq 3 type i\n");
  Part("i1", Command({"SET", "a", "1"}));
  Part("i2", Command({"SET", "b", "2"}) + "*2\r\n");
  Part("i3", Command({"SET", "c", "3"}));
  EXPECT_NE(Load(disk_, aof_).error.find("further files follow"), std::string::npos);
  Part("i3", "");
  Loading loading = Load(disk_, aof_);
  EXPECT_EQ(loading.error, "");
  EXPECT_EQ(loading.records, "SET a 1 | SET b 2 | | ");
  EXPECT_NE(loading.note.find("i2"), std::string::npos);
}

TEST_F(Recovery, CutsOffZeroesButNotDamage) {
  Part("appendonly.aof.manifest", "file i seq 1 type i\n");
  std::string good = Command({"SET", "a", "1"});
  std::string torn = Command({"SET", "b", "2"});
  for (size_t kept = 0; kept < torn.size(); ++kept) {
    Part("i", good + torn.substr(0, kept) + std::string(5000, '\0'));
    Loading loading = Load(disk_, aof_);
    EXPECT_EQ(loading.error, "") << kept;
    EXPECT_EQ(disk_.Contents("appendonlydir/i"), good);
  }
  Part("i", good + std::string(500, '\0') + torn);
  EXPECT_NE(Load(disk_, aof_).error.find("at byte 27"), std::string::npos);
}

TEST_F(Recovery, ReportsADamagedImageWithFileAndOffset) {
  std::string image = Image("k", "v");
  disk_.Put("dump.rdb", image.substr(0, image.size() - 12));
  EXPECT_NE(Load(disk_, rdb_).error.find("dump.rdb: at byte"), std::string::npos);
  disk_.Put("dump.rdb", "");
  EXPECT_NE(Load(disk_, rdb_).error.find("is empty"), std::string::npos);
  Part("appendonly.aof.manifest", "file b seq 1 type b\n");
  Part("b", image.substr(0, image.size() - 12));
  EXPECT_NE(Load(disk_, aof_).error.find("appendonlydir/b: at byte"), std::string::npos);
}

}  // namespace
}  // namespace tessera::persistence
