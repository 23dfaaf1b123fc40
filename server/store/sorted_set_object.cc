#include "server/store/sorted_set_object.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>
#include <vector>

namespace tessera::store {
namespace {

// How much of a member beyond what tells it from its neighbours goes into a locator, so that it still does when more
// members have come between.
constexpr size_t kLocatorSpareBytes = 3;

size_t CommonPrefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

std::string_view MemberText(const uint8_t* element, IntScratch& scratch) {
  return SortedSet::MemberOf(element).Text(scratch);
}

// As a signed number a hash takes a byte less.
void AppendHash(uint32_t hash, PackBuffer* out) { AppendPackedInteger(static_cast<int32_t>(hash), out); }

// A zero has no sign, as in Redis's small sorted sets.
void AppendScore(double score, PackBuffer* out) { AppendPackedDouble(score + 0.0, out); }

void AppendIndexed(uint32_t hash, double score, std::string_view locator, PackBuffer* out) {
  AppendHash(hash, out);
  AppendScore(score, out);
  AppendPackedBytes(locator, out);
}

void AppendMember(const Unpacked& member, PackBuffer* out) {
  if (member.is_integer()) {
    AppendPackedInteger(member.integer, out);
  } else {
    AppendPackedBytes(member.text, out);
  }
}

struct Indexed {
  explicit Indexed(const uint8_t* element) {
    const uint8_t* const score_at = SkipPacked(element);
    hash = static_cast<uint32_t>(UnpackInteger(element));
    score = UnpackNumber(score_at);
    locator = Unpack(SkipPacked(score_at)).text;
  }
  uint32_t hash;
  double score;
  std::string_view locator;
};

bool IsBeforeMin(std::string_view member, const LexBound& min) {
  if (min.kind != LexBound::Kind::kMember) return min.kind == LexBound::Kind::kLast;
  return min.exclusive ? member <= min.text : member < min.text;
}

bool IsBeyondMax(std::string_view member, const LexBound& max) {
  if (max.kind != LexBound::Kind::kMember) return max.kind == LexBound::Kind::kFirst;
  return max.exclusive ? member >= max.text : member > max.text;
}

bool IsEmpty(const LexRange& range) {
  if (range.min.kind != range.max.kind) return range.min.kind > range.max.kind;
  if (range.min.kind != LexBound::Kind::kMember) return range.min.exclusive || range.max.exclusive;
  const int order = range.min.text.compare(range.max.text);
  return order > 0 || (order == 0 && (range.min.exclusive || range.max.exclusive));
}

}  // namespace

// ---- reading

// Doubles as integers of the same order; the two zeros are one score.
uint64_t SortedSet::OrderKey(double score) {
  const auto bits = std::bit_cast<uint64_t>(score == 0 ? 0.0 : score);
  return bits >> 63 != 0 ? ~bits : bits | uint64_t{1} << 63;
}

PackedBytes SortedSet::PackedMember(const uint8_t* element) {
  const uint8_t* const member = SkipPacked(element);
  return {reinterpret_cast<const char*>(member), static_cast<size_t>(SkipPacked(member) - member)};
}

std::unique_ptr<Object> SortedSet::Clone() const {
  auto copy = std::make_unique<SortedSet>(sorted_.seed());
  copy->sorted_ = sorted_.Clone();
  if (index_ != nullptr) copy->index_ = std::make_unique<ElementTree>(index_->Clone());
  return copy;
}

ElementTree::Cursor SortedSet::LowerBound(double score, std::string_view member) const {
  const uint64_t target = OrderKey(score);
  return sorted_.LowerBound(target, [target, member](const uint8_t* element) {
    const uint64_t key = SortedKey(element);
    if (key != target) return key < target;
    IntScratch scratch;
    return MemberText(element, scratch) < member;
  });
}

ElementTree::Cursor SortedSet::Behind(double score, bool or_equal) const {
  const uint64_t target = OrderKey(score);
  return sorted_.LowerBound(target, [target, or_equal](const uint8_t* element) {
    const uint64_t key = SortedKey(element);
    return key < target || (or_equal && key == target);
  });
}

SortedSet::Place::Place(const SortedSet& set, std::string_view member)
    : member_(member), in_order_(set.sorted_.End()), in_index_(in_order_) {
  AppendPacked(member, &packed_);
  Locate(set);
}

SortedSet::Place::Place(const SortedSet& set, const Unpacked& member)
    : member_(member.Text(scratch_)), in_order_(set.sorted_.End()), in_index_(in_order_) {
  AppendMember(member, &packed_);
  Locate(set);
}

void SortedSet::Place::Locate(const SortedSet& set) {
  const PackedBytes packed = packed_;
  if (set.index_ == nullptr) {
    for (in_order_ = set.sorted_.Begin(); in_order_.valid(); in_order_.Next()) {
      if (PackedMember(in_order_.element()) == packed) return;
    }
    return;
  }
  hash_ = set.HashOf(packed);
  const auto wanted = static_cast<int32_t>(hash_);
  // What the hash leads to is only a candidate: the member itself stands in the other tree.
  in_index_ = set.index_->FindBest(uint64_t{hash_} << 32, [&](const uint8_t* element) -> size_t {
    if (UnpackInteger(element) != wanted) return 0;
    const Indexed candidate(element);
    if (!member_.starts_with(candidate.locator)) return 0;
    const auto at = set.LowerBound(candidate.score, member_);
    if (!at.valid() || PackedMember(at.element()) != packed || ScoreOf(at.element()) != candidate.score) return 0;
    in_order_ = at;
    return 1 + candidate.locator.size();
  });
}

std::optional<double> SortedSet::Score(std::string_view member) const {
  const Place place(*this, member);
  return place.there() ? std::optional(place.score()) : std::nullopt;
}

std::optional<double> SortedSet::Score(const Unpacked& member) const {
  const Place place(*this, member);
  return place.there() ? std::optional(place.score()) : std::nullopt;
}

std::optional<SortedSet::Ranked> SortedSet::Rank(std::string_view member) const {
  const Place place(*this, member);
  if (!place.there()) return std::nullopt;
  return Ranked{.rank = place.rank(), .score = place.score()};
}

RankRange SortedSet::InScores(const ScoreRange& range) const {
  if (range.min > range.max || (range.min == range.max && (range.min_exclusive || range.max_exclusive))) return {};
  return {.first = CountBelow(range.min, range.min_exclusive), .last = CountBelow(range.max, !range.max_exclusive)};
}

RankRange SortedSet::InMembers(const LexRange& range, From from) const {
  if (IsEmpty(range) || sorted_.empty()) return {};
  if (index_ == nullptr) return InMembersOfSmall(range, from);
  const uint64_t target = SortedKey(sorted_.Begin().element());
  const auto count_where = [&](auto holds) {
    const auto at = sorted_.LowerBound(target, [&](const uint8_t* element) {
      IntScratch scratch;
      return holds(MemberText(element, scratch));
    });
    return at.rank();
  };
  return {.first = count_where([&](std::string_view member) { return IsBeforeMin(member, range.min); }),
          .last = count_where([&](std::string_view member) { return !IsBeyondMax(member, range.max); })};
}

RankRange SortedSet::InMembersOfSmall(const LexRange& range, From from) const {
  const auto at_end = [this] { return sorted_.At(sorted_.count() - 1); };
  IntScratch scratch;
  if (IsBeforeMin(MemberText(at_end().element(), scratch), range.min)) return {};
  if (IsBeyondMax(MemberText(sorted_.Begin().element(), scratch), range.max)) return {};
  RankRange found;
  if (from == From::kLowest) {
    auto at = sorted_.Begin();
    for (; at.valid() && IsBeforeMin(MemberText(at.element(), scratch), range.min); at.Next()) ++found.first;
    found.last = found.first;
    for (; at.valid() && !IsBeyondMax(MemberText(at.element(), scratch), range.max); at.Next()) ++found.last;
    return found;
  }
  ElementTree::BackwardCursor at(at_end());
  found.last = sorted_.count();
  for (; at.valid() && IsBeyondMax(MemberText(at.element(), scratch), range.max); at.Next()) --found.last;
  found.first = found.last;
  for (; at.valid() && !IsBeforeMin(MemberText(at.element(), scratch), range.min); at.Next()) --found.first;
  return found;
}

// ---- the index

ElementTree::Cursor SortedSet::FindInIndex(uint32_t hash, double score, std::string_view member) const {
  // Two members may agree in hash and score. The longest locator that fits is the right one: whatever remains still
  // fits the other member.
  return index_->FindBest(uint64_t{hash} << 32, [&](const uint8_t* element) -> size_t {
    const Indexed candidate(element);
    const bool fits = candidate.hash == hash && candidate.score == score && member.starts_with(candidate.locator);
    return fits ? 1 + candidate.locator.size() : 0;
  });
}

void SortedSet::BecomeLarge() {
  if (index_ != nullptr) return;
  index_ = std::make_unique<ElementTree>(ElementTree::Use::kSortedSetIndex, sorted_.seed());
  index_->SetLimited();
  uint64_t ties = 0;
  double last_score = 0;
  for (auto at = sorted_.Begin(); at.valid(); at.Next()) {
    const double score = ScoreOf(at.element());
    ties = ties > 0 && score == last_score ? ties + 1 : 1;
    last_score = score;
    PackBuffer indexed;
    AppendIndexed(HashOf(PackedMember(at.element())), score, {}, &indexed);
    index_->Add(indexed);
  }
  // Separately, since locators are found through the whole index.
  ties = 0;
  for (auto at = sorted_.Begin(); at.valid(); at.Next()) {
    const double score = ScoreOf(at.element());
    ties = ties > 0 && score == last_score ? ties + 1 : 1;
    last_score = score;
    if (ties == kTiesMax + 1) GiveLocators(score);
  }
}

std::string_view SortedSet::Locator(double score, std::string_view member) const {
  const auto at = LowerBound(score, member);
  IntScratch scratch;
  size_t shared = 0;
  auto neighbour = at;
  if (neighbour.Previous() && ScoreOf(neighbour.element()) == score) {
    shared = CommonPrefix(MemberText(neighbour.element(), scratch), member);
  }
  neighbour = at;
  neighbour.Next();
  if (neighbour.valid() && ScoreOf(neighbour.element()) == score) {
    shared = std::max(shared, CommonPrefix(MemberText(neighbour.element(), scratch), member));
  }
  return member.substr(0, shared + 1 + kLocatorSpareBytes);
}

// Too many members share a score: from now on each of them can be found by its beginning.
void SortedSet::GiveLocators(double score) {
  for (auto at = LowerBound(score, {}); at.valid() && ScoreOf(at.element()) == score; at.Next()) {
    IntScratch scratch;
    const std::string_view member = MemberText(at.element(), scratch);
    const uint32_t hash = HashOf(PackedMember(at.element()));
    const auto found = FindInIndex(hash, score, member);
    if (!Indexed(found.element()).locator.empty()) continue;
    PackBuffer indexed;
    AppendIndexed(hash, ScoreOf(at.element()), Locator(score, member), &indexed);
    index_->Replace(found, indexed);
  }
}

std::string_view SortedSet::LocatorOfNew(double score, std::string_view member, Tied tied, uint64_t* ties) const {
  *ties = tied == Tied::kYes ? CountBelow(score, true) - CountBelow(score, false) : 1;
  return *ties > kTiesMax + 1 ? Locator(score, member) : std::string_view();
}

void SortedSet::EraseFromIndex(ElementTree::Cursor& at, uint64_t count) {
  struct Member {
    uint32_t hash;
    double score;
    const uint8_t* element;
  };
  std::vector<Member> members;
  members.reserve(count);
  for (; members.size() < count; at.Next())
    members.push_back({HashOf(PackedMember(at.element())), ScoreOf(at.element()), at.element()});
  std::sort(members.begin(), members.end(), [](const Member& a, const Member& b) { return a.hash < b.hash; });
  index_->EraseBest(
      members.size(), [&](size_t i) { return uint64_t{members[i].hash} << 32; },
      [&](size_t i, const uint8_t* element) -> size_t {
        const Member& member = members[i];
        if (UnpackInteger(element) != static_cast<int32_t>(member.hash)) return 0;
        const Indexed candidate(element);
        if (candidate.score != member.score) return 0;
        IntScratch scratch;
        const std::string_view locator = candidate.locator;
        return locator.empty() || MemberText(member.element, scratch).starts_with(locator) ? 1 + locator.size() : 0;
      });
}

// ---- changing

SortedSet::Tied SortedSet::InsertSorted(const Place& place, double score) {
  PackBuffer element;
  AppendScore(score, &element);
  element.append(place.packed_.view());
  const uint64_t target = OrderKey(score);
  // Both future neighbours are looked at on the way, if they have the same score.
  Tied tied = Tied::kNo;
  sorted_.InsertSorted(element, [&](const uint8_t* other) {
    const uint64_t key = SortedKey(other);
    if (key != target) return key < target;
    tied = Tied::kYes;
    IntScratch scratch;
    return MemberText(other, scratch) < place.member_;
  });
  return tied;
}

void SortedSet::Insert(const Place& place, double score, const SortedSetLimits& limits) {
  if (index_ == nullptr) {
    (void)InsertSorted(place, score);
    Expect(sorted_.count(), place.member_.size(), limits);
    return;
  }
  const Tied tied = InsertSorted(place, score);
  uint64_t ties;
  PackBuffer indexed;
  AppendIndexed(place.hash_, score, LocatorOfNew(score, place.member_, tied, &ties), &indexed);
  index_->Add(indexed);
  if (ties == kTiesMax + 1) GiveLocators(score);
}

void SortedSet::SetScore(const Place& place, double score) {
  sorted_.Erase(place.in_order_);
  const Tied tied = InsertSorted(place, score);
  if (index_ == nullptr) return;
  uint64_t ties;
  PackBuffer indexed;
  AppendIndexed(place.hash_, score, LocatorOfNew(score, place.member_, tied, &ties), &indexed);
  index_->Replace(place.in_index_, indexed);
  if (ties == kTiesMax + 1) GiveLocators(score);
}

void SortedSet::Erase(const Place& place) {
  if (index_ != nullptr) index_->Erase(place.in_index_);
  sorted_.Erase(place.in_order_);
}

bool SortedSet::Set(std::string_view member, double score, const SortedSetLimits& limits) {
  const Place place(*this, member);
  if (place.there()) {
    SetScore(place, score);
    return false;
  }
  Insert(place, score, limits);
  return true;
}

bool SortedSet::Erase(std::string_view member) {
  const Place place(*this, member);
  if (!place.there()) return false;
  Erase(place);
  return true;
}

void SortedSet::EraseRange(RankRange range) {
  range.last = std::min(range.last, sorted_.count());
  if (range.empty()) return;
  if (index_ != nullptr) {
    // Many at a time, so that every leaf of the index is changed once.
    constexpr uint64_t kTogether = 1 << 20;
    auto at = sorted_.At(range.first);
    for (uint64_t left = range.count(); left > 0;) {
      const uint64_t some = std::min(left, kTogether);
      EraseFromIndex(at, some);
      left -= some;
    }
  }
  sorted_.EraseRange(range.first, range.count());
}

void SortedSet::Builder::PushBack(const Unpacked& member, double score) {
  IntScratch scratch;
  longest_bytes_ = std::max(longest_bytes_, member.Text(scratch).size());
  PackBuffer element;
  AppendScore(score, &element);
  AppendMember(member, &element);
  set_.sorted_.PushBack(element);
}

void SortedSet::CheckInvariants() const {
  sorted_.CheckInvariants();
  if (index_ == nullptr) return;
  index_->CheckInvariants();
  STORE_CHECK(index_->count() == sorted_.count());
  uint64_t ties = 0, without_locator = 0;
  double last_score = 0;
  std::string last;
  IntScratch scratch;
  for (auto at = sorted_.Begin(); at.valid(); at.Next()) {
    const double score = ScoreOf(at.element());
    const std::string_view member = MemberText(at.element(), scratch);
    if (ties == 0 || score != last_score) {
      STORE_CHECK(ties == 0 || last_score < score);
      ties = without_locator = 0;
    } else {
      STORE_CHECK(last < member);
    }
    const auto found = FindInIndex(HashOf(PackedMember(at.element())), score, member);
    STORE_CHECK(found.valid());
    without_locator += Indexed(found.element()).locator.empty() && !member.empty();
    STORE_CHECK(++ties <= kTiesMax || without_locator == 0);
    last_score = score;
    last = member;
  }
}

}  // namespace tessera::store
