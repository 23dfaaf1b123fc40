#include "persistence/file_system.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <functional>

#include "persistence/atomic_file.h"
#include "persistence/posix_file_system.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/memory_file_system.h"

namespace tessera::persistence {
namespace {

// The same contract for the real file system and for the one that stands in for it.
class AnyFileSystem : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) {
      char name[] = "/tmp/tessera-files-XXXXXX";
      ASSERT_NE(mkdtemp(name), nullptr);
      directory_ = name;
      file_system_ = std::make_unique<PosixFileSystem>();
    } else {
      directory_ = "top";
      file_system_ = std::make_unique<MemoryFileSystem>();
      ASSERT_TRUE(file_system_->MakeDirectory(directory_).ok());
    }
  }
  void TearDown() override {
    if (GetParam()) std::filesystem::remove_all(directory_);
  }

  std::string Path(std::string_view name) { return JoinPath(directory_, name); }
  std::string Contents(std::string_view name) {
    Result<std::string> contents = ReadFile(*file_system_, Path(name));
    return contents.ok() ? *contents : contents.status().text();
  }

  std::unique_ptr<FileSystem> file_system_;
  std::string directory_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, AnyFileSystem, ::testing::Values(true, false),
                         [](const auto& info) { return info.param ? "Posix" : "Memory"; });

TEST_P(AnyFileSystem, AppendsToTheEndAlsoAfterTruncation) {
  auto file = file_system_->Open(Path("f"), OpenMode::kCreate);
  ASSERT_TRUE(file.ok()) << file.status().text();
  ASSERT_TRUE((*file)->Append("hello world").ok());
  ASSERT_TRUE((*file)->Truncate(5).ok());
  ASSERT_TRUE((*file)->Append("!").ok());
  ASSERT_TRUE((*file)->Sync().ok());
  EXPECT_EQ(*(*file)->Size(), 6u);
  EXPECT_EQ(Contents("f"), "hello!");
  char buffer[10];
  EXPECT_EQ(*(*file)->ReadAt(4, buffer), 2u);
  EXPECT_EQ(*(*file)->ReadAt(60, buffer), 0u);

  auto again = file_system_->Open(Path("f"), OpenMode::kAppend);
  ASSERT_TRUE((*again)->Append("?").ok());
  EXPECT_EQ(Contents("f"), "hello!?");
  again = file_system_->Open(Path("f"), OpenMode::kCreate);
  EXPECT_EQ(*file_system_->FileSize(Path("f")), 0u);
}

TEST_P(AnyFileSystem, RenamesReplacesRemovesAndLists) {
  ASSERT_TRUE(file_system_->MakeDirectory(Path("d")).ok());
  ASSERT_TRUE(file_system_->MakeDirectory(Path("d")).ok());
  ASSERT_TRUE(ReplaceFile(*file_system_, Path("b"), "1").ok());
  ASSERT_TRUE(ReplaceFile(*file_system_, Path("a"), "2").ok());
  ASSERT_TRUE(ReplaceFile(*file_system_, Path("a"), "3").ok());
  EXPECT_EQ(*file_system_->List(directory_), (std::vector<std::string>{"a", "b", "d"}));
  ASSERT_TRUE(file_system_->Rename(Path("a"), Path("b")).ok());
  EXPECT_EQ(Contents("b"), "3");
  ASSERT_TRUE(file_system_->Rename(Path("b"), Path("d/c")).ok());
  EXPECT_EQ(*file_system_->List(directory_), (std::vector<std::string>{"d"}));
  ASSERT_TRUE(file_system_->Remove(Path("d/c")).ok());
  ASSERT_TRUE(file_system_->SyncDirectory(Path("d")).ok());
  EXPECT_TRUE(file_system_->List(Path("d"))->empty());
}

TEST_P(AnyFileSystem, HidesWhatIsSecret) {
  ASSERT_TRUE(ReplaceFile(*file_system_, Path("f"), "known").ok());
  ASSERT_TRUE(ReplaceFile(*file_system_, Path("f"), "secret", OpenMode::kCreateSecret).ok());
  EXPECT_EQ(Contents("f"), "secret");
  if (!GetParam()) return;
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(Path("f")).permissions(), perms::owner_read | perms::owner_write);
}

TEST_P(AnyFileSystem, ReportsErrorsWithNumberAndPath) {
  Status missing = file_system_->Open(Path("none"), OpenMode::kRead).status();
  EXPECT_EQ(missing.code(), ENOENT);
  EXPECT_EQ(missing.path(), Path("none"));
  EXPECT_EQ(missing.text(), "cannot open " + Path("none") + ": No such file or directory");
  EXPECT_EQ(file_system_->FileSize(Path("none")).status().code(), ENOENT);
  EXPECT_EQ(file_system_->Remove(Path("none")).code(), ENOENT);
  EXPECT_EQ(file_system_->Rename(Path("none"), Path("x")).code(), ENOENT);
  EXPECT_EQ(file_system_->List(Path("none")).status().code(), ENOENT);
  EXPECT_EQ(file_system_->SyncDirectory(Path("none")).code(), ENOENT);
  EXPECT_EQ(file_system_->Open(Path("none/f"), OpenMode::kCreate).status().code(), ENOENT);
  EXPECT_FALSE(*file_system_->Exists(Path("none")));
}

TEST_P(AnyFileSystem, LocksAFileOnce) {
  auto first = file_system_->Lock(Path("lock"));
  ASSERT_TRUE(first.ok()) << first.status().text();
  EXPECT_EQ(file_system_->Lock(Path("lock")).status().code(), EWOULDBLOCK);
  first->reset();
  EXPECT_TRUE(file_system_->Lock(Path("lock")).ok());
}

TEST_P(AnyFileSystem, RefusesToReadMoreThanAllowed) {
  ASSERT_TRUE(ReplaceFile(*file_system_, Path("f"), "12345").ok());
  EXPECT_EQ(ReadFile(*file_system_, Path("f"), 4).status().code(), EFBIG);
  EXPECT_EQ(*ReadFile(*file_system_, Path("f"), 5), "12345");
}

TEST_P(AnyFileSystem, KnowsWhenAnOpenFileHasNoNameAnyMore) {
  auto file = file_system_->Open(Path("f"), OpenMode::kCreate);
  EXPECT_TRUE(*(*file)->HasName());
  ASSERT_TRUE(file_system_->Rename(Path("f"), Path("g")).ok());
  EXPECT_TRUE(*(*file)->HasName());
  ASSERT_TRUE(file_system_->Remove(Path("g")).ok());
  EXPECT_FALSE(*(*file)->HasName());
}

// RDB files, the manifest and nodes.conf are all written like this.
TEST(AtomicFile, LeavesTheOldContentsWhereverTheDiskIsFull) {
  const std::string contents(300, 'n');
  for (uint64_t room = 0; room <= contents.size(); ++room) {
    for (size_t write_bytes_max : {size_t{7}, size_t{1000}}) {
      MemoryFileSystem disk;
      disk.Put("f", "old");
      FaultyFileSystem faulty(disk);
      faulty.faults.bytes_left = room;
      faulty.faults.write_bytes_max = write_bytes_max;
      const Status status = ReplaceFile(faulty, "f", contents);
      EXPECT_EQ(status.ok(), room == contents.size());
      EXPECT_EQ(disk.Contents("f"), status.ok() ? contents : "old");
      EXPECT_EQ(*disk.List("."), (std::vector<std::string>{"f"})) << "the unfinished file gives its room back";
      faulty.faults.bytes_left = Faults::kNever;
      EXPECT_TRUE(ReplaceFile(faulty, "f", contents).ok());
    }
  }
}

TEST(AtomicFile, LeavesOldOrNewContentsWhateverFails) {
  for (uint64_t failing = 0; failing < 5; ++failing) {
    for (int error : {ENOSPC, EROFS, EIO, EDQUOT}) {
      MemoryFileSystem disk;
      disk.Put("f", "old");
      FaultyFileSystem faulty(disk);
      faulty.faults = {.fail_operation = failing, .error = error};
      const Status status = ReplaceFile(faulty, "f", "new");
      EXPECT_EQ(status.code(), error) << failing;
      disk.Crash(CrashKeeps::kOnlySynced);
      EXPECT_EQ(disk.Contents("f"), "old");
      EXPECT_TRUE(ReplaceFile(disk, "f", "newer").ok());
      disk.Crash(CrashKeeps::kOnlySynced);
      EXPECT_EQ(disk.Contents("f"), "newer");
    }
  }
}

TEST(Paths, JoinAndSplit) {
  EXPECT_EQ(JoinPath(".", "f"), "f");
  EXPECT_EQ(JoinPath("a/", "f"), "a/f");
  EXPECT_EQ(DirectoryOf("a/b/c"), "a/b");
  EXPECT_EQ(DirectoryOf("c"), ".");
  EXPECT_EQ(DirectoryOf("/c"), "/");
}

TEST(MemoryFileSystem, ForgetsWhatWasNotSynced) {
  MemoryFileSystem disk;
  ASSERT_TRUE(ReplaceFile(disk, "f", "old").ok());
  auto file = disk.Open("f", OpenMode::kAppend);
  ASSERT_TRUE((*file)->Append(" synced").ok());
  ASSERT_TRUE((*file)->Sync().ok());
  ASSERT_TRUE((*file)->Append(" lost").ok());
  auto unlinked = disk.Open("g", OpenMode::kCreate);
  ASSERT_TRUE((*unlinked)->Sync().ok());
  disk.Crash(CrashKeeps::kOnlySynced);
  EXPECT_EQ(disk.Contents("f"), "old synced");
  EXPECT_FALSE(*disk.Exists("g"));
  EXPECT_FALSE((*file)->Append("x").ok());
}

TEST(ReplaceFile, LeavesTheOldOrTheNewContentsAfterACrashAnywhere) {
  for (CrashKeeps keeps : {CrashKeeps::kOnlySynced, CrashKeeps::kEverything, CrashKeeps::kSomething}) {
    bool finished = false;
    for (uint64_t stop = 0; !finished; ++stop) {
      for (uint64_t seed = 0; seed < 20; ++seed) {
        MemoryFileSystem disk;
        ASSERT_TRUE(ReplaceFile(disk, "f", "the old contents").ok());
        FaultyFileSystem faulty(disk);
        faulty.faults.stop_at_operation = stop;
        faulty.faults.write_bytes_max = 3;
        finished = ReplaceFile(faulty, "f", "the new").ok();
        disk.Crash(keeps, seed);
        std::string contents = disk.Contents("f");
        if (finished) {
          EXPECT_EQ(contents, "the new");
        } else {
          EXPECT_TRUE(contents == "the old contents" || contents == "the new") << contents;
        }
      }
    }
  }
}

TEST(ReplaceFile, KeepsTheOldContentsWhenTheDiskIsFull) {
  MemoryFileSystem disk;
  ASSERT_TRUE(ReplaceFile(disk, "f", "the old contents").ok());
  FaultyFileSystem faulty(disk);
  faulty.faults.bytes_left = 3;
  EXPECT_EQ(ReplaceFile(faulty, "f", "the new").code(), ENOSPC);
  EXPECT_EQ(disk.Contents("f"), "the old contents");
  EXPECT_EQ(*disk.List("."), (std::vector<std::string>{"f"}));
}

TEST(AtomicFile, RemovesItsTemporaryFileWhenGivenUp) {
  MemoryFileSystem disk;
  {
    auto file = AtomicFile::Create(disk, "f", "t");
    ASSERT_TRUE(file->Append("x").ok());
    EXPECT_TRUE(*disk.Exists("t"));
  }
  EXPECT_FALSE(*disk.Exists("t"));
  EXPECT_FALSE(*disk.Exists("f"));
}

}  // namespace
}  // namespace tessera::persistence
