// Sorts only the beginning of a sequence: the quicksort of Bentley and McIlroy ("Engineering a Sort Function", 1993) that
// leaves out the parts which lie behind what is wanted. Which of several equal elements come first follows from its
// choice of pivots and its exchanges, and clients can see it; so it has to be this algorithm and no other one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

namespace tessera {

// Afterwards the first `wanted` of `count` elements are in their places. `compare(a, b)`: below, at or above 0.
template <typename T, typename Compare>
void PartialSort(T* first, size_t count, size_t wanted, Compare compare) {
  constexpr size_t kInsertionMax = 6, kMedianOfThreeMin = 8, kMedianOfNineMin = 41;
  const auto median = [&](T* a, T* b, T* c) {
    if (compare(*a, *b) < 0) return compare(*b, *c) < 0 ? b : compare(*a, *c) < 0 ? c : a;
    return compare(*b, *c) > 0 ? b : compare(*a, *c) < 0 ? a : c;
  };
  while (count > kInsertionMax) {
    T* pivot = first + count / 2;
    if (count >= kMedianOfThreeMin) {
      T *low = first, *high = first + count - 1;
      if (count >= kMedianOfNineMin) {
        const size_t step = count / 8;
        low = median(low, low + step, low + 2 * step);
        pivot = median(pivot - step, pivot, pivot + step);
        high = median(high - 2 * step, high - step, high);
      }
      pivot = median(low, pivot, high);
    }
    std::swap(*first, *pivot);
    // Elements equal to the pivot gather at both ends: [first, equal_low) and (equal_high, end); between them, up to
    // `low` the smaller and from behind `high` the larger ones.
    T *equal_low = first + 1, *low = first + 1, *high = first + count - 1, *equal_high = high;
    while (true) {
      for (; low <= high; ++low) {
        const int order = compare(*low, *first);
        if (order > 0) break;
        if (order == 0) std::swap(*equal_low++, *low);
      }
      for (; low <= high; --high) {
        const int order = compare(*high, *first);
        if (order < 0) break;
        if (order == 0) std::swap(*equal_high--, *high);
      }
      if (low > high) break;
      std::swap(*low++, *high--);
    }
    // They move to the middle.
    T* const end = first + count;
    const size_t smaller = static_cast<size_t>(low - equal_low), larger = static_cast<size_t>(equal_high - high);
    size_t moved = std::min(static_cast<size_t>(equal_low - first), smaller);
    std::swap_ranges(first, first + moved, low - moved);
    moved = std::min(larger, static_cast<size_t>(end - equal_high) - 1);
    std::swap_ranges(low, low + moved, end - moved);
    if (smaller > 1) PartialSort(first, smaller, wanted, compare);
    const size_t before = count - larger;
    if (larger <= 1 || before >= wanted) return;
    first += before;
    count = larger;
    wanted -= before;
  }
  for (size_t i = 1; i < count; ++i)
    for (size_t j = i; j > 0 && compare(first[j - 1], first[j]) > 0; --j) std::swap(first[j - 1], first[j]);
}

}  // namespace tessera
