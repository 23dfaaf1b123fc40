#include <gtest/gtest.h>

#include "server/commands/table.h"

namespace tessera {
namespace {

std::string KeysOf(std::vector<std::string_view> argv) {
  const CommandTable table;
  const CommandTable::Result found = table.Find(argv);
  std::vector<KeyPosition> keys;
  if (!FindKeys(*found.row, argv, keys)) return "malformed";
  std::string text;
  for (const KeyPosition& key : keys) text += std::string(argv[static_cast<size_t>(key.index)]) + ",";
  return text;
}

TEST(FindKeys, ReadsMigratesListOnlyBehindAnEmptyKey) {
  EXPECT_EQ(KeysOf({"MIGRATE", "h", "1", "a", "0", "10"}), "a,");
  EXPECT_EQ(KeysOf({"MIGRATE", "h", "1", "", "0", "10", "AUTH", "pw", "KEYS", "a", "b"}), "a,b,");
  EXPECT_EQ(KeysOf({"MIGRATE", "h", "1", "keys", "0", "10"}), "keys,");
  EXPECT_EQ(KeysOf({"MIGRATE", "h", "1", "", "0", "10"}), "");
}

TEST(FindKeys, StepsThroughPairs) {
  EXPECT_EQ(KeysOf({"MSET", "a", "1", "b", "2"}), "a,b,");
  EXPECT_EQ(KeysOf({"DEL", "a", "b"}), "a,b,");
  EXPECT_EQ(KeysOf({"PING"}), "");
}

}  // namespace
}  // namespace tessera
