#include "server/store/element_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace tessera::store {
namespace {

std::string Pack(std::string_view text) {
  std::string packed;
  AppendPacked(text, &packed);
  return packed;
}

std::string TextAt(const uint8_t* p) {
  IntScratch scratch;
  return std::string(Unpack(p).Text(scratch));
}

std::vector<std::string> All(const ElementTree& tree) {
  std::vector<std::string> all;
  for (auto cursor = tree.Begin(); cursor.valid(); cursor.Next()) all.emplace_back(cursor.bytes());
  return all;
}

using Clones = std::vector<std::pair<ElementTree, std::vector<std::string>>>;

TEST(Packed, EveryValueComesBackAndIsSkippedWhole) {
  const std::vector<std::string> values = {
      "", "a", "0", "31", "32", "-1", "127", "128", "-128", "-129", "32767", "32768", "8388607", "8388608", "2147483647",
      "2147483648", "-2147483648", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "007", "-0",
      std::string(127, 'x'), std::string(128, 'x'), std::string(16383, 'x'), std::string(16384, 'x'),
      std::string(70000, 'x')};
  for (const std::string& value : values) {
    const std::string packed = Pack(value);
    const auto* begin = reinterpret_cast<const uint8_t*>(packed.data());
    EXPECT_EQ(TextAt(begin), value);
    EXPECT_EQ(SkipPacked(begin), begin + packed.size()) << value.substr(0, 30);
  }
}

TEST(Packed, ManyAreSkippedAsOneAfterTheOther) {
  std::mt19937 random(3);
  std::string packed;
  for (int run = 0; run < 300; ++run) {
    const size_t sizes[] = {0, 1, 9, 126, 127, 128, 129, 16383, 16384};
    const std::string value =
        run % 3 == 0 ? std::to_string(random()) : std::string(sizes[random() % std::size(sizes)], 'x');
    for (uint32_t times = random() % 5; times > 0; --times) packed += Pack(value);
  }
  const auto* const begin = reinterpret_cast<const uint8_t*>(packed.data());
  const uint8_t* p = begin;
  for (uint64_t count = 0; p < begin + packed.size(); ++count, p = SkipPacked(p))
    ASSERT_EQ(SkipPacked(begin, count), p);
}

TEST(Packed, ScoresKeepTheirValue) {
  for (const double value : std::initializer_list<double>{
           0.0, -0.0, 1.0, -1.5, 1e300, 9007199254740992.0, 9007199254740994.0, -INFINITY, INFINITY, 5e-324}) {
    std::string packed;
    AppendPackedDouble(value, &packed);
    const auto* begin = reinterpret_cast<const uint8_t*>(packed.data());
    const double back = Unpack(begin).AsDouble();
    EXPECT_EQ(memcmp(&back, &value, sizeof(value)), 0) << value;
    EXPECT_EQ(SkipPacked(begin), begin + packed.size());
  }
}

// Against a vector, through random changes, with clones taken on the way that must not change any more.
TEST(ElementTree, SequenceAgreesWithAVector) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    std::mt19937 random(seed);
    ElementTree tree(ElementTree::Use::kTestSequence, 7);
    tree.SetLimited();
    std::vector<std::string> model;
    Clones clones;
    const uint32_t growth = 40 + random() % 30;
    for (int step = 0; step < 3000; ++step) {
      const uint32_t action = random() % 100;
      if (action < growth || model.empty()) {
        const std::string element =
            Pack(random() % 3 == 0 ? std::to_string(random() % 100000)
                                   : std::string(random() % 20, static_cast<char>('a' + random() % 26)));
        const uint32_t where = random() % 4;
        const size_t rank = where == 0 ? 0 : where < 3 ? model.size() : random() % (model.size() + 1);
        tree.Insert(tree.At(rank), element);
        model.insert(model.begin() + static_cast<ptrdiff_t>(rank), element);
      } else if (action < 90) {
        const size_t rank = random() % model.size();
        tree.Erase(tree.At(rank));
        model.erase(model.begin() + static_cast<ptrdiff_t>(rank));
      } else if (action < 95) {
        const size_t rank = random() % model.size();
        const std::string element = Pack(std::string(random() % 100, 'z'));
        tree.Replace(tree.At(rank), element);
        model[rank] = element;
      } else if (action < 97) {
        const size_t rank = random() % model.size();
        const size_t count = random() % (model.size() / 2 + 1);
        tree.EraseRange(rank, count);
        const size_t end = std::min(model.size(), rank + count);
        model.erase(model.begin() + static_cast<ptrdiff_t>(rank), model.begin() + static_cast<ptrdiff_t>(end));
      } else if (clones.size() < 5) {
        clones.emplace_back(tree.Clone(), model);
      } else {
        clones.erase(clones.begin());
      }
      ASSERT_EQ(tree.count(), model.size());
      if (step % 50 == 0) {
        tree.CheckInvariants();
        ASSERT_EQ(All(tree), model) << "seed " << seed << " step " << step;
        for (const auto& [clone, frozen] : clones) {
          clone.CheckInvariants();
          ASSERT_EQ(All(clone), frozen);
        }
      }
      if (!model.empty()) {
        const size_t rank = random() % model.size();
        auto cursor = tree.At(rank);
        ASSERT_EQ(cursor.bytes(), model[rank]);
        ASSERT_EQ(cursor.rank(), rank);
        ASSERT_EQ(cursor.Previous(), rank > 0);
        if (rank > 0) {
          ASSERT_EQ(cursor.bytes(), model[rank - 1]);
        }
      }
    }
  }
}

TEST(ElementTree, MapAgreesWithAMap) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    ElementTree tree(ElementTree::Use::kTestMap, seed);
    std::map<std::string, std::string> model;
    for (int step = 0; step < 4000; ++step) {
      if (step == 500) tree.SetLimited();
      const std::string field = Pack("f" + std::to_string(random() % (seed * 40)));
      const std::string value = Pack(std::string(random() % 30, 'v'));
      auto found = tree.Find(field);
      ASSERT_EQ(found.valid(), model.contains(field));
      if (random() % 100 < 60) {
        if (found.valid()) {
          tree.Replace(found, field + value);
        } else {
          tree.Add(field + value);
        }
        model[field] = value;
      } else if (found.valid()) {
        tree.Erase(found);
        model.erase(field);
      }
      if (step % 100 != 0) continue;
      tree.CheckInvariants();
      ASSERT_EQ(tree.count(), model.size());
      for (const auto& [key, text] : model) {
        auto cursor = tree.Find(key);
        ASSERT_TRUE(cursor.valid());
        ASSERT_EQ(cursor.bytes(), key + text);
      }
      // One after the other, by name and in the order of the hash.
      ElementTree::Finder by_name(tree), in_order(tree);
      for (uint32_t i = 0; i < seed * 40; ++i) {
        const std::string name = Pack("f" + std::to_string(i));
        ASSERT_EQ(by_name.Contains(name), model.contains(name));
        ASSERT_FALSE(by_name.Contains(Pack("g" + std::to_string(i))));
      }
      for (auto cursor = tree.Begin(); cursor.valid(); cursor.Next()) {
        const auto* end = SkipPacked(cursor.element());
        ASSERT_TRUE(in_order.Contains(cursor.bytes().substr(0, static_cast<size_t>(end - cursor.element()))));
      }
      std::map<std::string, int> walked;
      uint64_t position = 0;
      do {
        position = tree.ScanLeaf(position, [&](const uint8_t* p) { ++walked[TextAt(p)]; });
      } while (position != 0);
      ASSERT_EQ(walked.size(), model.size());
    }
  }
}

TEST(ElementTree, ASmallMapKeepsTheOrderOfInsertion) {
  ElementTree tree(ElementTree::Use::kTestMap, 1);
  std::vector<std::string> model;
  for (int i = 0; i < 50; ++i) {
    const std::string element = Pack("field" + std::to_string(i)) + Pack("1");
    tree.Add(element);
    model.push_back(element);
  }
  EXPECT_EQ(All(tree), model);
  tree.SetLimited();
  EXPECT_NE(All(tree), model);
  EXPECT_EQ(tree.count(), 50u);
}

TEST(ElementTree, AWalkByPositionsSurvivesChanges) {
  ElementTree tree(ElementTree::Use::kTestMap, 3);
  tree.SetLimited();
  for (int i = 0; i < 2000; ++i) tree.Add(Pack("stay" + std::to_string(i)) + Pack("x"));
  std::map<std::string, int> seen;
  uint64_t position = 0;
  int come = 0, gone = 0;
  do {
    position = tree.ScanLeaf(position, [&](const uint8_t* p) { ++seen[TextAt(p)]; });
    for (int i = 0; i < 20; ++i) tree.Add(Pack("come" + std::to_string(come++)) + Pack("x"));
    if (position % 2 == 0) {
      for (; gone < come - 5; ++gone) {
        auto cursor = tree.Find(Pack("come" + std::to_string(gone)));
        if (cursor.valid()) tree.Erase(cursor);
      }
    }
  } while (position != 0);
  for (int i = 0; i < 2000; ++i) EXPECT_EQ(seen.count("stay" + std::to_string(i)), 1u);
}

TEST(ElementTree, SortedAgreesWithASortedVector) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    std::mt19937 random(seed);
    ElementTree tree(ElementTree::Use::kTestSorted, 0);
    tree.SetLimited();
    std::vector<std::string> model;
    const uint32_t letters = 1 + random() % 5;  // few keys, so that many elements share one
    Clones clones;
    for (int step = 0; step < 3000; ++step) {
      std::string text(1, static_cast<char>('a' + random() % letters));
      text += std::string(random() % 4, static_cast<char>('a' + random() % 26));
      text += static_cast<char>('a' + random() % 26);
      const auto before = [&text](const uint8_t* p) { return Unpack(p).text < text; };
      const auto place = std::lower_bound(model.begin(), model.end(), text);
      const auto cursor = tree.LowerBound(static_cast<uint8_t>(text[0]), before);
      ASSERT_EQ(cursor.valid(), place != model.end());
      if (cursor.valid()) {
        ASSERT_EQ(cursor.value().text, *place);
      }
      ASSERT_EQ(cursor.rank(), static_cast<uint64_t>(place - model.begin()));
      const bool there = place != model.end() && *place == text;
      if (random() % 100 < (step < 1500 ? 70u : 20u)) {
        if (!there) {
          tree.InsertSorted(Pack(text), before);
          model.insert(place, text);
        }
      } else if (!model.empty()) {
        const size_t rank = random() % model.size();
        tree.Erase(tree.At(rank));
        model.erase(model.begin() + static_cast<ptrdiff_t>(rank));
      }
      if (step % 500 == 0) clones.emplace_back(tree.Clone(), model);
      if (step % 100 == 0) {
        tree.CheckInvariants();
        ASSERT_EQ(tree.count(), model.size());
      }
    }
    for (const auto& [clone, frozen] : clones) {
      clone.CheckInvariants();
      const auto all = All(clone);
      ASSERT_EQ(all.size(), frozen.size());
      for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i].substr(1), frozen[i]);
    }
  }
}

TEST(ElementTree, QueuesAndLogsAreDense) {
  for (const bool front : {false, true}) {
    ElementTree tree(ElementTree::Use::kList, 0);
    tree.SetLimited();
    constexpr size_t kCount = 100000;
    const std::string element = Pack(std::string(15, 'x'));
    for (size_t i = 0; i < kCount; ++i) tree.Insert(front ? tree.Begin() : tree.End(), element);
    tree.CheckInvariants();
    EXPECT_LT(tree.MemoryBytes(), kCount * element.size() * 118 / 100) << front;
    tree.EraseRange(0, kCount - 1);
    tree.CheckInvariants();
    EXPECT_EQ(tree.count(), 1u);
    EXPECT_LT(tree.MemoryBytes(), 300u);
    tree.EraseRange(0, 1);
    EXPECT_EQ(tree.MemoryBytes(), 0u);
  }
}

}  // namespace
}  // namespace tessera::store
