#include "server/store/set_object.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tessera::store {
namespace {

std::set<std::string> All(const Set& set) {
  std::set<std::string> all;
  IntScratch scratch;
  for (Set::Walk walk(set); walk.valid(); walk.Next()) all.emplace(walk.value().Text(scratch));
  return all;
}

TEST(SetObject, AgreesWithASetInEveryForm) {
  constexpr SetLimits kLimits = {.intset_entries_max = 40, .listpack_entries_max = 20, .listpack_value_bytes_max = 12};
  std::set<std::string_view> forms;
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    Set set(seed);
    std::set<std::string> model;
    std::vector<std::pair<std::unique_ptr<Object>, std::set<std::string>>> clones;
    const uint32_t span = 5 + random() % 400;
    const bool numbers_first = seed % 3 != 0;
    for (int step = 0; step < 1500; ++step) {
      std::string member;
      if (numbers_first && (step < 400 || random() % 2 == 0)) {
        const int64_t number = static_cast<int64_t>(random() % span) << (random() % 50);
        member = std::to_string(random() % 2 == 0 ? number : -number);
      } else {
        member = std::string(random() % 20, 'm') + std::to_string(random() % span);
      }
      if (random() % 5 < 3) {
        EXPECT_EQ(set.Add(member, kLimits), model.insert(member).second);
      } else {
        EXPECT_EQ(set.Erase(member), model.erase(member) == 1);
      }
      EXPECT_EQ(set.Contains(member), model.contains(member));
      ASSERT_EQ(set.size(), model.size());
      forms.insert(set.encoding());
      if (step % 200 == 0) {
        ASSERT_EQ(All(set), model);
        clones.emplace_back(set.Clone(), model);
      }
      if (!model.empty()) {
        IntScratch scratch;
        ASSERT_TRUE(model.contains(std::string(set.At(random() % model.size()).Text(scratch))));
      }
    }
    std::set<std::string> scanned;
    uint64_t position = 0;
    do {
      position = set.Scan(position, [&](const Unpacked& member) {
        IntScratch scratch;
        scanned.emplace(member.Text(scratch));
      });
    } while (position != 0);
    EXPECT_EQ(scanned, model);
    for (const auto& [clone, frozen] : clones) EXPECT_EQ(All(static_cast<Set&>(*clone)), frozen);
  }
  EXPECT_EQ(forms, (std::set<std::string_view>{"intset", "listpack", "hashtable"}));
}

TEST(SetObject, NumbersComeInOrderWhileTheSetIsSmall) {
  Set set(1);
  for (const char* member : {"300", "-5", "70000", "9223372036854775807", "0"}) set.Add(member, {});
  std::vector<std::string> order;
  IntScratch scratch;
  for (Set::Walk walk(set); walk.valid(); walk.Next()) order.emplace_back(walk.value().Text(scratch));
  EXPECT_EQ(order, (std::vector<std::string>{"-5", "0", "300", "70000", "9223372036854775807"}));
}

}  // namespace
}  // namespace tessera::store
