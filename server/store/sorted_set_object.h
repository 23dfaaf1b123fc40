// Sorted sets. The elements (score, member) stand in one element tree, ordered by score and, where scores are equal, by
// the bytes of the members. A small set is nothing else ("listpack"); a large one has an index beside it ("skiplist")
// that finds a member's score. As in Redis, a set that became large stays so.
//
// The index is a tree of (32 bits of the member's hash, score, locator): it does not repeat the member, which the score
// leads to. Where more than kTiesMax members share a score, that would be a long search; there the locator is a
// beginning of the member, long enough to tell it from its neighbours. Elsewhere the locator is empty.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "server/store/element_tree.h"

namespace tessera::store {

// zset-max-listpack-entries, zset-max-listpack-value.
struct SortedSetLimits {
  uint64_t entries_max = 128;
  uint64_t value_bytes_max = 64;
};

// Scores from `min` to `max`, each included or not.
struct ScoreRange {
  double min = 0, max = 0;
  bool min_exclusive = false, max_exclusive = false;
};

// One end of a range of members.
struct LexBound {
  enum class Kind : uint8_t { kFirst, kMember, kLast } kind = Kind::kMember;  // kFirst: "-", kLast: "+"
  bool exclusive = false;
  std::string_view text = {};
};
struct LexRange {
  LexBound min, max;
};

// The elements of ranks first, first + 1 ... last - 1.
struct RankRange {
  uint64_t first = 0, last = 0;
  bool empty() const { return first >= last; }
  uint64_t count() const { return empty() ? 0 : last - first; }
};

class SortedSet final : public Object {
 public:
  explicit SortedSet(uint32_t seed) : sorted_(ElementTree::Use::kSortedSet, seed) { sorted_.SetLimited(); }

  Type type() const override { return Type::kZset; }
  std::string_view encoding() const override { return index_ != nullptr ? "skiplist" : "listpack"; }
  uint64_t size() const override { return sorted_.count(); }
  size_t MemoryBytes() const override {
    return sizeof(*this) + sorted_.MemoryBytes() + (index_ ? sizeof(*index_) + index_->MemoryBytes() : 0);
  }
  size_t FreeEffort() const override { return 1 + sorted_.FreeEffort() + (index_ ? index_->FreeEffort() : 0); }
  std::unique_ptr<Object> Clone() const override;

  // ---- reading
  // All elements, in order. Scores are never NaN.
  const ElementTree& elements() const { return sorted_; }
  static double ScoreOf(const uint8_t* element) { return UnpackNumber(element); }
  static Unpacked MemberOf(const uint8_t* element) { return Unpack(SkipPacked(element)); }

  std::optional<double> Score(std::string_view member) const;
  std::optional<double> Score(const Unpacked& member) const;
  struct Ranked {
    uint64_t rank;  // 0: the lowest score
    double score;
  };
  std::optional<Ranked> Rank(std::string_view member) const;
  RankRange InScores(const ScoreRange& range) const;
  // The first element with this score or a higher one, or the end.
  ElementTree::Cursor FromScore(double score) const { return Behind(score, false); }
  // All members are expected to have the same score; otherwise small sets answer what Redis answers, seen from the
  // lowest score upwards or from the highest downwards.
  enum class From : uint8_t { kLowest, kHighest };
  RankRange InMembers(const LexRange& range, From from) const;
  // ZSCAN: visits elements from `position` on and returns the next one, 0 at the end; small sets are visited whole.
  template <typename Visit>
  uint64_t Scan(uint64_t position, Visit visit) const;

  // ---- changing
  // A member and where it stands, if it is there; good until the next change. Holds views of the text.
  class Place;
  Place Find(std::string_view member);
  // A member that Find did not find.
  void Insert(const Place& place, double score, const SortedSetLimits& limits);
  // One that it did.
  void SetScore(const Place& place, double score);
  void Erase(const Place& place);
  // Adds the member or sets its score; true when added.
  bool Set(std::string_view member, double score, const SortedSetLimits& limits);
  bool Erase(std::string_view member);
  void EraseRange(RankRange range);
  // Takes the large form at once when so many members ask for it.
  void Expect(uint64_t count, size_t longest_bytes, const SortedSetLimits& limits) {
    if (count > limits.entries_max || longest_bytes > limits.value_bytes_max) BecomeLarge();
  }
  // Once and for all; no change of its content.
  void BecomeLarge();

  // Fills an empty set with elements that come in order.
  class Builder;

  // Aborts when tree and index contradict each other; for tests.
  void CheckInvariants() const;

  // The order keys of its trees.
  static uint64_t SortedKey(const uint8_t* element) { return OrderKey(ScoreOf(element)); }
  static uint64_t IndexKey(const uint8_t* element) {
    return static_cast<uint64_t>(static_cast<uint32_t>(UnpackInteger(element))) << 32;
  }

 private:
  static constexpr uint64_t kTiesMax = 32;
  struct IndexProbe;

  static uint64_t OrderKey(double score);
  uint32_t HashOf(PackedBytes member) const { return static_cast<uint32_t>(sorted_.HashOf(member) >> 32); }
  static PackedBytes PackedMember(const uint8_t* element);

  ElementTree::Cursor LowerBound(double score, std::string_view member) const;
  // Behind all elements of lower scores, and of this one.
  ElementTree::Cursor Behind(double score, bool or_equal) const;
  uint64_t CountBelow(double score, bool or_equal) const { return Behind(score, or_equal).rank(); }
  RankRange InMembersOfSmall(const LexRange& range, From from) const;
  // The index's entry for a member of this score.
  ElementTree::Cursor FindInIndex(uint32_t hash, double score, std::string_view member) const;
  enum class Tied : uint8_t { kNo, kYes };
  Tied InsertSorted(const Place& place, double score);
  // A locator for a member that is in the tree.
  std::string_view Locator(double score, std::string_view member) const;
  std::string_view LocatorOfNew(double score, std::string_view member, Tied tied, uint64_t* ties) const;
  void GiveLocators(double score);
  void EraseFromIndex(ElementTree::Cursor& at, uint64_t count);  // of `sorted_`, from there on
  template <typename Visit>
  void VisitIndexed(const uint8_t* index_element, Visit& visit) const;

  ElementTree sorted_;
  std::unique_ptr<ElementTree> index_;  // null: small
};

class SortedSet::Place {
 public:
  bool there() const { return in_order_.valid(); }
  double score() const { return ScoreOf(in_order_.element()); }
  uint64_t rank() const { return in_order_.rank(); }
  std::string_view member() const { return member_; }

 private:
  friend class SortedSet;
  Place(const SortedSet& set, std::string_view member);
  Place(const SortedSet& set, const Unpacked& member);
  void Locate(const SortedSet& set);

  IntScratch scratch_;
  std::string_view member_;
  PackBuffer packed_;
  uint32_t hash_ = 0;
  ElementTree::Cursor in_order_, in_index_;
};

class SortedSet::Builder {
 public:
  explicit Builder(SortedSet& set) : set_(set) {}
  void PushBack(const Unpacked& member, double score);
  // Chooses the form.
  void Finish(const SortedSetLimits& limits) { set_.Expect(set_.size(), longest_bytes_, limits); }

 private:
  SortedSet& set_;
  size_t longest_bytes_ = 0;
};

inline SortedSet::Place SortedSet::Find(std::string_view member) { return Place(*this, member); }

template <typename Visit>
void SortedSet::VisitIndexed(const uint8_t* index_element, Visit& visit) const {
  const auto hash = static_cast<uint32_t>(Unpack(index_element).integer);
  const uint8_t* const score_at = SkipPacked(index_element);
  const double score = Unpack(score_at).AsDouble();
  const std::string_view locator = Unpack(SkipPacked(score_at)).text;
  IntScratch scratch;
  for (auto at = LowerBound(score, locator); at.valid() && ScoreOf(at.element()) == score; at.Next()) {
    if (!MemberOf(at.element()).Text(scratch).starts_with(locator)) return;
    if (HashOf(PackedMember(at.element())) == hash) visit(at.element());
  }
}

template <typename Visit>
uint64_t SortedSet::Scan(uint64_t position, Visit visit) const {
  if (index_ != nullptr) {
    return index_->ScanLeaf(position, [&](const uint8_t* element) { VisitIndexed(element, visit); });
  }
  for (auto at = sorted_.Begin(); at.valid(); at.Next()) visit(at.element());
  return 0;
}

}  // namespace tessera::store
