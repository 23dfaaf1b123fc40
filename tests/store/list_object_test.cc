#include "server/store/list_object.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace tessera::store {
namespace {

using Side = List::Side;
using Model = std::deque<std::string>;

Model Forwards(const List& list) {
  Model all;
  list.Forwards(0, [&](uint64_t index, const uint8_t* element) {
    EXPECT_EQ(index, all.size());
    IntScratch scratch;
    all.emplace_back(Unpack(element).Text(scratch));
    return true;
  });
  return all;
}

Model Backwards(const List& list) {
  Model all;
  if (list.size() == 0) return all;
  list.Backwards(list.size() - 1, [&](uint64_t index, const uint8_t* element) {
    EXPECT_EQ(index, list.size() - 1 - all.size());
    IntScratch scratch;
    all.emplace_front(Unpack(element).Text(scratch));
    return true;
  });
  return all;
}

uint64_t RemoveFrom(Model& model, const std::string& value, Side side, uint64_t count) {
  uint64_t removed = 0;
  for (; removed < count; ++removed) {
    const auto first = std::find(model.begin(), model.end(), value);
    if (first == model.end()) break;
    if (side == Side::kHead) {
      model.erase(first);
    } else {
      model.erase(std::prev(std::find(model.rbegin(), model.rend(), value).base()));
    }
  }
  return removed;
}

TEST(ListObject, AgreesWithADeque) {
  for (uint32_t seed = 1; seed <= 15; ++seed) {
    std::mt19937 random(seed);
    List list(seed);
    Model model;
    std::vector<std::pair<std::unique_ptr<Object>, Model>> clones;
    const uint32_t span = 2 + random() % 300;
    const ListLimits limits(seed % 2 == 0 ? -1 : 100);
    const auto value = [&] {
      if (random() % 3 == 0) return std::to_string(static_cast<int64_t>(random() % span) << (random() % 40));
      return std::string(random() % 40 == 0 ? 3000 : random() % 30, 'v') + std::to_string(random() % span);
    };
    for (int step = 0; step < 2500; ++step) {
      const std::string text = value();
      const uint64_t size = model.size(), place = size == 0 ? 0 : random() % size;
      switch (random() % 12) {
        case 0:
        case 1:
        case 2:
          list.Push(Side::kTail, text);
          model.push_back(text);
          break;
        case 3:
        case 4:
          list.Push(Side::kHead, text);
          model.push_front(text);
          break;
        case 5:
          list.Insert(place, text);
          model.insert(model.begin() + static_cast<ptrdiff_t>(place), text);
          break;
        case 6:
          if (size == 0) break;
          list.Set(place, text);
          model[place] = text;
          break;
        case 7:
          if (size == 0) break;
          list.Pop(Side::kHead);
          model.pop_front();
          break;
        case 8:
          if (size == 0) break;
          list.Pop(Side::kTail);
          model.pop_back();
          break;
        case 9: {
          const uint64_t count = random() % 8 == 0 ? random() % (size + 5) : random() % 4;
          list.EraseRange(place, count);
          model.erase(model.begin() + static_cast<ptrdiff_t>(place),
                      model.begin() + static_cast<ptrdiff_t>(std::min(size, place + count)));
          break;
        }
        case 10: {
          const Side side = random() % 2 == 0 ? Side::kHead : Side::kTail;
          const uint64_t count = random() % 4 == 0 ? size : random() % 3;
          const std::string wanted = size == 0 || random() % 4 == 0 ? text : model[place];
          ASSERT_EQ(list.Remove(wanted, side, count), RemoveFrom(model, wanted, side, count));
          break;
        }
        default:
          list.Shrink(limits);
          list.Grow(text.size(), 1, limits);
      }
      ASSERT_EQ(list.size(), model.size());
      if (step % 250 == 0) {
        list.elements().CheckInvariants();
        ASSERT_EQ(Forwards(list), model);
        ASSERT_EQ(Backwards(list), model);
        clones.emplace_back(list.Clone(), model);
      }
    }
    for (const auto& [clone, expected] : clones) ASSERT_EQ(Forwards(static_cast<const List&>(*clone)), expected);
  }
}

TEST(ListObject, RemovesManyOfMany) {
  List list(1);
  Model model;
  for (int i = 0; i < 20000; ++i) {
    const std::string text = i % 3 == 0 ? "x" : std::to_string(i);
    list.Push(Side::kTail, text);
    model.push_back(text);
  }
  EXPECT_EQ(list.Remove("x", Side::kTail, 5000), 5000u);
  EXPECT_EQ(RemoveFrom(model, "x", Side::kTail, 5000), 5000u);
  EXPECT_EQ(Forwards(list), model);
  list.elements().CheckInvariants();
}

// The bound of 8 KiB counts what is there as a listpack and what comes by its length.
TEST(ListObject, IsAQuicklistWhenTheNextAdditionWouldBeTooMuch) {
  const ListLimits limits(-2);
  List list(1);
  const std::string value(100, 'v');  // 103 bytes in a listpack
  const auto add = [&] {
    list.Grow(value.size(), 1, limits);
    list.Push(Side::kTail, value);
  };
  for (int i = 0; i < 79; ++i) add();  // 7 + 79 * 103 = 8144
  EXPECT_EQ(list.encoding(), "listpack");
  add();
  EXPECT_EQ(list.encoding(), "quicklist");
  // Back at half of it: 7 + 39 * 103 = 4024.
  while (list.size() > 40) {
    list.Pop(Side::kHead);
    list.Shrink(limits);
  }
  EXPECT_EQ(list.encoding(), "quicklist");
  list.Pop(Side::kHead);
  list.Shrink(limits);
  EXPECT_EQ(list.encoding(), "listpack");
}

TEST(ListObject, CountsAgainAfterLargeRangesHaveGone) {
  const ListLimits limits(-2);
  List list(1);
  list.Grow(100000, 1, limits);
  for (int i = 0; i < 100000; ++i) list.Push(Side::kTail, std::to_string(i));
  EXPECT_EQ(list.encoding(), "quicklist");
  list.EraseRange(10, 99980);
  list.Shrink(limits);
  EXPECT_EQ(list.encoding(), "listpack");
  list.Grow(8192 - 7 - 10 * 2 - 10 * 5, 1, limits);  // ten numbers of a digit, ten of five
  EXPECT_EQ(list.encoding(), "listpack");
  list.Grow(8192 - 7 - 10 * 2 - 10 * 5 + 1, 1, limits);
  EXPECT_EQ(list.encoding(), "quicklist");
}

TEST(ListObject, BoundsMayBeNumbersOfElements) {
  const ListLimits three(3), none(0);
  List list(1);
  for (int i = 0; i < 3; ++i) {
    list.Grow(1, 1, three);
    list.Push(Side::kTail, "a");
  }
  EXPECT_EQ(list.encoding(), "listpack");
  list.Grow(1, 1, three);
  EXPECT_EQ(list.encoding(), "quicklist");
  list.Shrink(three);
  EXPECT_EQ(list.encoding(), "quicklist");
  list.EraseRange(0, 2);
  list.Shrink(three);
  EXPECT_EQ(list.encoding(), "listpack");
  list.Grow(1, 1, none);
  EXPECT_EQ(list.encoding(), "quicklist");
  List long_one(1);
  long_one.Grow(9000, 1, three);
  EXPECT_EQ(long_one.encoding(), "quicklist");
  EXPECT_TRUE(ListLimits(-5).Exceeded(65537, 1));
  EXPECT_FALSE(ListLimits(-5).Exceeded(65536, 1));
  EXPECT_FALSE(ListLimits(-9).Exceeded(65536, 1));
  EXPECT_TRUE(ListLimits(-1).Exceeded(4097, 1));
}

}  // namespace
}  // namespace tessera::store
