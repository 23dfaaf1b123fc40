#include "server/durability/left_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "persistence/posix_file_system.h"

namespace tessera {
namespace {

TEST(LeftFiles, AreKnownByName) {
  EXPECT_EQ(MakerOfTemporaryImage("temp-123.rdb"), 123);
  EXPECT_EQ(MakerOfTemporaryImage("temp-bg-123.7.rdb"), 123);
  EXPECT_EQ(MakerOfTemporaryImage("temp-sync-123-99887766.rdb"), 123);
  EXPECT_EQ(MakerOfTemporaryImage("temp-1700000000.123.rdb"), 123);
  for (const char* name : {"dump.rdb", "temp-.rdb", "temp-12x.rdb", "temp-bg-12.rdb", "temp-sync-.rdb", "temp-1.2.3.rdb",
                           "temp-123.aof", "my-temp-123.rdb", "temp-99999999999999999999.rdb", "temp-0.rdb"}) {
    EXPECT_EQ(MakerOfTemporaryImage(name), 0) << name;
  }
}

TEST(LeftFiles, GoWhenTheirMakerIsGone) {
  const std::filesystem::path directory = std::filesystem::temp_directory_path() / ("left-files-" + std::to_string(getpid()));
  std::filesystem::create_directory(directory);
  const std::string mine = std::to_string(getpid()), gone = "2000000000", first = std::to_string(getppid());
  for (const std::string& name : {"temp-" + mine + ".rdb", "temp-1700000000." + gone + ".rdb", "temp-" + first + ".rdb",
                                  std::string("dump.rdb")}) {
    std::ofstream(directory / name) << "x";
  }
  persistence::PosixFileSystem files;
  RemoveLeftImages(files, directory.string());
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) left.push_back(entry.path().filename());
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (std::vector<std::string>{"dump.rdb", "temp-" + first + ".rdb"}));
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace tessera
