#include "server/store/sorted_set_object.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tessera::store {
namespace {

using Model = std::map<std::string, double>;
using Ordered = std::vector<std::pair<double, std::string>>;

Ordered InOrder(const Model& model) {
  Ordered ordered;
  for (const auto& [member, score] : model) ordered.emplace_back(score, member);
  std::sort(ordered.begin(), ordered.end());
  return ordered;
}

Ordered All(const SortedSet& set) {
  Ordered all;
  IntScratch scratch;
  for (auto at = set.elements().Begin(); at.valid(); at.Next()) {
    all.emplace_back(SortedSet::ScoreOf(at.element()), SortedSet::MemberOf(at.element()).Text(scratch));
  }
  return all;
}

std::set<std::string> Scanned(const SortedSet& set) {
  std::set<std::string> members;
  IntScratch scratch;
  uint64_t position = 0;
  do {
    position = set.Scan(position,
                        [&](const uint8_t* element) { members.emplace(SortedSet::MemberOf(element).Text(scratch)); });
  } while (position != 0);
  return members;
}

void ExpectEqual(const SortedSet& set, const Model& model) {
  set.CheckInvariants();
  const Ordered ordered = InOrder(model);
  ASSERT_EQ(All(set), ordered);
  std::set<std::string> members;
  uint64_t rank = 0;
  for (const auto& [score, member] : ordered) {
    members.insert(member);
    const auto ranked = set.Rank(member);
    ASSERT_TRUE(ranked.has_value()) << member;
    ASSERT_EQ(ranked->score, score);
    ASSERT_EQ(ranked->rank, rank++);
  }
  ASSERT_EQ(Scanned(set), members);
}

// Random changes against a map, with clones on the way that must not change any more. The seed decides how many
// members share a score and what members look like.
TEST(SortedSet, AgreesWithAMap) {
  for (uint32_t seed = 1; seed <= 24; ++seed) {
    std::mt19937 random(seed);
    const SortedSetLimits limits{.entries_max = seed % 3 == 0 ? 8u : 128u, .value_bytes_max = 64};
    const uint32_t scores = seed % 4 == 0 ? 1 : seed % 4 == 1 ? 3 : 100000;
    const uint32_t members = 50u << seed % 5;
    const auto member = [&] {
      const uint32_t n = random() % members;
      if (seed % 2 == 0) return std::to_string(n * 7);
      return (n % 3 == 0 ? "a common beginning of members, " : "") + std::to_string(n) + std::string(n % 7, 'x');
    };
    const auto score = [&]() -> double {
      const uint32_t n = random() % scores;
      if (n % 17 == 5) return n % 2 ? -INFINITY : INFINITY;
      return n % 2 ? n : -(n / 7.0);
    };
    auto set = std::make_unique<SortedSet>(seed);
    Model model;
    std::vector<std::pair<std::unique_ptr<Object>, Model>> clones;
    for (int step = 0; step < 3000; ++step) {
      const uint32_t action = random() % 100;
      const std::string text = member();
      if (action < (step < 1800 ? 60u : 30u)) {
        const double value = score();
        ASSERT_EQ(set->Set(text, value, limits), !model.contains(text));
        model[text] = value;
      } else if (action < 90) {
        ASSERT_EQ(set->Erase(text), model.erase(text) == 1);
      } else if (action < 92 && !model.empty()) {
        const uint64_t first = random() % model.size(), last = first + random() % (model.size() / 8 + 1);
        const Ordered ordered = InOrder(model);
        for (uint64_t i = first; i < std::min<uint64_t>(last, ordered.size()); ++i) model.erase(ordered[i].second);
        set->EraseRange({first, last});
      } else if (action < 95) {
        const std::optional<double> found = set->Score(text);
        ASSERT_EQ(found.has_value(), model.contains(text));
        ASSERT_TRUE(!found || *found == model[text]);
      } else if (action < 96) {
        if (clones.size() == 4) clones.erase(clones.begin());
        clones.emplace_back(set->Clone(), model);
      }
      if (step % 250 == 249) {
        ASSERT_NO_FATAL_FAILURE(ExpectEqual(*set, model)) << "seed " << seed << " step " << step;
        for (const auto& [clone, frozen] : clones) {
          ASSERT_NO_FATAL_FAILURE(ExpectEqual(static_cast<const SortedSet&>(*clone), frozen));
        }
      }
    }
  }
}

TEST(SortedSet, RangesOfScoresAreThoseOfALinearSearch) {
  std::mt19937 random(5);
  SortedSet set(1);
  std::vector<double> scores;
  for (int i = 0; i < 700; ++i) {
    const double score = static_cast<int>(random() % 60) - 30;
    set.Set("m" + std::to_string(i), score, {});
    scores.push_back(score);
  }
  std::sort(scores.begin(), scores.end());
  for (int i = 0; i < 3000; ++i) {
    const auto bound = [&]() -> double {
      const uint32_t n = random() % 70;
      return n == 0 ? -INFINITY : n == 1 ? INFINITY : n / 2.0 * (n % 2 ? 1 : -1);
    };
    const ScoreRange range{bound(), bound(), random() % 2 == 0, random() % 2 == 0};
    const auto in = [&](double score) {
      return (range.min_exclusive ? score > range.min : score >= range.min) &&
             (range.max_exclusive ? score < range.max : score <= range.max);
    };
    const auto found = set.InScores(range);
    ASSERT_EQ(found.count(), static_cast<uint64_t>(std::count_if(scores.begin(), scores.end(), in)));
    if (!found.empty()) {
      ASSERT_TRUE(in(scores[found.first]) && in(scores[found.last - 1]));
    }
  }
}

TEST(SortedSet, RangesOfMembersCompareBytes) {
  using Kind = LexBound::Kind;
  for (const uint64_t entries_max : {1000u, 0u}) {
    SortedSet set(1);
    const SortedSetLimits limits{.entries_max = entries_max};
    for (const char* member : {"10", "9", "a", "", "b", "ba", "\xff", "-1"}) set.Set(member, 0, limits);
    EXPECT_EQ(set.encoding(), entries_max == 0 ? "skiplist" : "listpack");
    // "", "-1", "10", "9", "a", "b", "ba", "\xff"
    const auto ranks = [&](LexBound min, LexBound max) {
      const auto from_lowest = set.InMembers({min, max}, SortedSet::From::kLowest);
      const auto from_highest = set.InMembers({min, max}, SortedSet::From::kHighest);
      EXPECT_EQ(from_lowest.count(), from_highest.count());
      return std::pair(from_lowest.first, from_lowest.last);
    };
    EXPECT_EQ(ranks({Kind::kFirst}, {Kind::kLast}), (std::pair<uint64_t, uint64_t>(0, 8)));
    EXPECT_EQ(ranks({.text = "10"}, {.text = "b"}), (std::pair<uint64_t, uint64_t>(2, 6)));
    EXPECT_EQ(ranks({.exclusive = true, .text = "10"}, {.exclusive = true, .text = "b"}),
              (std::pair<uint64_t, uint64_t>(3, 5)));
    EXPECT_EQ(ranks({.text = "c"}, {Kind::kLast}), (std::pair<uint64_t, uint64_t>(7, 8)));
    EXPECT_EQ(set.InMembers({{Kind::kLast}, {Kind::kFirst}}, SortedSet::From::kLowest).count(), 0u);
    EXPECT_EQ(set.InMembers({{.text = "b"}, {.text = "a"}}, SortedSet::From::kLowest).count(), 0u);
  }
}

TEST(SortedSet, BothZerosAreOneScoreWithoutASign) {
  SortedSet set(1);
  set.Set("a", 0.0, {});
  set.Set("b", -0.0, {});
  set.Set("c", 0.0, {});
  EXPECT_FALSE(std::signbit(*set.Score("b")));
  EXPECT_EQ(set.Rank("b")->rank, 1u);
  EXPECT_EQ(set.InScores({.min = 0, .max = -0.0}).count(), 3u);
}

TEST(SortedSet, BecomesLargeAtItsLimitsAndStaysSo) {
  SortedSet set(1);
  const SortedSetLimits limits{.entries_max = 3, .value_bytes_max = 5};
  for (const char* member : {"a", "b", "c"}) set.Set(member, 1, limits);
  EXPECT_EQ(set.encoding(), "listpack");
  set.Set("d", 1, limits);
  EXPECT_EQ(set.encoding(), "skiplist");
  set.EraseRange({0, 3});
  EXPECT_EQ(set.encoding(), "skiplist");
  SortedSet other(1);
  other.Set("123456", 1, limits);
  EXPECT_EQ(other.encoding(), "skiplist");
}

TEST(SortedSet, AScanSeesMembersWhoseScoreChangesMeanwhile) {
  SortedSet set(9);
  std::set<std::string> expected;
  for (int i = 0; i < 3000; ++i) {
    set.Set("member:" + std::to_string(i), i % 2, {});
    expected.insert("member:" + std::to_string(i));
  }
  std::mt19937 random(3);
  std::set<std::string> seen;
  uint64_t position = 0;
  IntScratch scratch;
  do {
    position =
        set.Scan(position, [&](const uint8_t* element) { seen.emplace(SortedSet::MemberOf(element).Text(scratch)); });
    for (int i = 0; i < 20; ++i) set.Set("member:" + std::to_string(random() % 3000), random() % 3, {});
  } while (position != 0);
  EXPECT_EQ(seen, expected);
}

TEST(BackwardCursor, WalksFromAnywhereToTheBeginning) {
  SortedSet set(1);
  for (int i = 0; i < 500; ++i) set.Set(std::to_string(i), i, {});
  for (const uint64_t rank : {0u, 1u, 63u, 64u, 65u, 250u, 499u}) {
    auto expected = static_cast<int64_t>(rank);
    for (ElementTree::BackwardCursor at(set.elements().At(rank)); at.valid(); at.Next()) {
      ASSERT_EQ(SortedSet::ScoreOf(at.element()), static_cast<double>(expected--));
    }
    EXPECT_EQ(expected, -1);
  }
  EXPECT_FALSE(ElementTree::BackwardCursor(set.elements().End()).valid());
}

}  // namespace
}  // namespace tessera::store
