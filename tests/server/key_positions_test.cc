#include <gtest/gtest.h>

#include "server/commands/table.h"

namespace tessera {
namespace {

std::string KeysFoundBy(decltype(FindKeys) find, const std::vector<std::string_view>& argv) {
  const CommandTable table;
  const CommandTable::Result found = table.Find(argv);
  std::vector<KeyPosition> keys;
  if (!find(*found.row, argv, keys)) return "malformed";
  std::string text;
  for (const KeyPosition& key : keys) text += std::string(argv[static_cast<size_t>(key.index)]) + ",";
  return text;
}

std::string KeysOf(const std::vector<std::string_view>& argv) { return KeysFoundBy(FindKeys, argv); }
std::string RoutedKeysOf(const std::vector<std::string_view>& argv) { return KeysFoundBy(FindRoutedKeys, argv); }

TEST(FindKeys, ReadsMigratesListOnlyBehindAnEmptyKey) {
  EXPECT_EQ(KeysOf({"MIGRATE", "h", "1", "a", "0", "10"}), "a,");
  EXPECT_EQ(KeysOf({"MIGRATE", "h", "1", "", "0", "10", "AUTH", "pw", "KEYS", "a", "b"}), "a,b,");
  EXPECT_EQ(KeysOf({"MIGRATE", "h", "1", "keys", "0", "10"}), "keys,");
  EXPECT_EQ(KeysOf({"MIGRATE", "h", "1", "", "0", "10"}), ",");
  EXPECT_EQ(KeysOf({"MIGRATE", "h", "1", "a", "0", "10", "KEYS", "b"}), "malformed");
}

TEST(FindKeys, FollowsTheSpecificationsWhereTheyAreExact) {
  EXPECT_EQ(KeysOf({"ZUNIONSTORE", "t", "2", "a", "b", "WEIGHTS", "1", "2"}), "t,a,b,");
  EXPECT_EQ(KeysOf({"GEORADIUS", "k", "1", "1", "1", "m", "STORE", "a", "STOREDIST", "b"}), "k,a,b,");
  EXPECT_EQ(KeysOf({"ZUNION", "2x", "a", "b"}), "a,b,");
  EXPECT_EQ(KeysOf({"ZUNION", "3", "a", "b"}), "malformed");
  EXPECT_EQ(KeysOf({"ZUNIONSTORE", "t", "0", "a"}), "malformed");
  EXPECT_EQ(KeysOf({"XREAD", "COUNT", "STREAMS", "STREAMS", "a", "0"}), "STREAMS,");
}

// A cluster redirects by these, in this order; all of it as redis-server does.
TEST(FindRoutedKeys, PutsCountedKeysBeforeTheTarget) {
  EXPECT_EQ(RoutedKeysOf({"ZUNIONSTORE", "t", "2", "a", "b", "WEIGHTS", "1", "2"}), "a,b,t,");
  EXPECT_EQ(RoutedKeysOf({"ZDIFFSTORE", "t", "1x", "a"}), "a,t,");
  EXPECT_EQ(RoutedKeysOf({"BLMPOP", "0", "1", "a", "LEFT"}), "a,");
}

TEST(FindRoutedKeys, TakesTheDigitsInFrontForTheCount) {
  for (const char* count : {"2", "2x", " 2", "+2", "2.5", "02", "\t2", "4294967298"})
    EXPECT_EQ(RoutedKeysOf({"ZUNION", count, "a", "b"}), "a,b,") << count;
  for (const char* count : {"", "x", "0", "-1", "3", "9223372036854775807", "18446744073709551618"})
    EXPECT_EQ(RoutedKeysOf({"ZUNION", count, "a", "b"}), "malformed") << count;
}

TEST(FindRoutedKeys, SeesTheLastOfSeveralTargets) {
  EXPECT_EQ(RoutedKeysOf({"GEORADIUS", "k", "1", "1", "1", "m", "STOREDIST", "a", "STORE", "b"}), "k,b,");
  EXPECT_EQ(RoutedKeysOf({"GEORADIUS", "k", "1", "1", "1", "m", "STORE", "STORE", "STORE", "b"}), "k,b,");
  EXPECT_EQ(RoutedKeysOf({"GEORADIUSBYMEMBER", "k", "m", "1", "km", "STORE"}), "k,");
  EXPECT_EQ(RoutedKeysOf({"SORT", "k", "STORE", "a", "BY", "STORE", "STORE", "b"}), "k,b,");
}

TEST(FindRoutedKeys, FindsStreamsBehindWellFormedOptions) {
  EXPECT_EQ(RoutedKeysOf({"XREAD", "COUNT", "STREAMS", "STREAMS", "a", "0"}), "a,");
  EXPECT_EQ(RoutedKeysOf({"XREAD", "STREAMS", "a", "b", "0"}), "malformed");
  EXPECT_EQ(RoutedKeysOf({"XREADGROUP", "GROUP", "g", "STREAMS", "STREAMS", "a", ">"}), "a,");
  EXPECT_EQ(RoutedKeysOf({"XREAD", "NONSENSE", "STREAMS", "a", "0"}), "malformed");
}

TEST(FindKeys, StepsThroughPairs) {
  EXPECT_EQ(KeysOf({"MSET", "a", "1", "b", "2"}), "a,b,");
  EXPECT_EQ(KeysOf({"DEL", "a", "b"}), "a,b,");
  EXPECT_EQ(KeysOf({"PING"}), "");
}

}  // namespace
}  // namespace tessera
