// Sets, in one of three forms as in Redis 7.2: sorted numbers ("intset"), an element tree in order of insertion while
// small ("listpack") or by hash ("hashtable"). A form is left for a larger one only.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "server/store/element_tree.h"
#include "server/store/int_array.h"

namespace tessera::store {

// set-max-intset-entries, set-max-listpack-entries, set-max-listpack-value.
struct SetLimits {
  uint64_t intset_entries_max = 512;
  uint64_t listpack_entries_max = 128;
  uint64_t listpack_value_bytes_max = 64;
};

class Set final : public Object {
 public:
  explicit Set(uint32_t seed) : tree_(ElementTree::Use::kSet, seed) {}

  Type type() const override { return Type::kSet; }
  std::string_view encoding() const override;
  uint64_t size() const override { return form_ == Form::kIntset ? ints_.size() : tree_.count(); }
  size_t MemoryBytes() const override { return sizeof(*this) + tree_.MemoryBytes() + ints_.MemoryBytes(); }
  size_t FreeEffort() const override { return 1 + tree_.FreeEffort(); }
  std::unique_ptr<Object> Clone() const override;

  bool Contains(std::string_view member) const;
  bool Contains(const Unpacked& member) const;
  // `index` < size(); every member has exactly one, until the next change.
  Unpacked At(uint64_t index) const;

  class Finder;
  // Members in the order they are kept in; valid until the next change.
  class Walk {
   public:
    explicit Walk(const Set& set) : set_(set), at_(set.tree_.Begin()) {}
    bool valid() const { return set_.form_ == Form::kIntset ? index_ < set_.ints_.size() : at_.valid(); }
    Unpacked value() const;
    void Next();

   private:
    friend class Finder;
    const Set& set_;
    size_t index_ = 0;
    ElementTree::Cursor at_;
  };
  // Looks up the members of one set after the other in this one; valid until it changes.
  class Finder {
   public:
    explicit Finder(const Set& set) : set_(&set), tree_(set.tree_) {}
    bool Contains(const Walk& walk);

   private:
    const Set* set_;
    ElementTree::Finder tree_;
  };
  // SSCAN: visits members from `position` on and returns the next one, 0 at the end; small sets are visited whole.
  template <typename Visit>
  uint64_t Scan(uint64_t position, Visit visit) const {
    if (form_ != Form::kIntset) {
      return tree_.ScanLeaf(position, [&](const uint8_t* element) { visit(Unpack(element)); });
    }
    for (Walk walk(*this); walk.valid(); walk.Next()) visit(walk.value());
    return 0;
  }

  // False when it was there already.
  bool Add(std::string_view member, const SetLimits& limits);
  bool Add(const Unpacked& member, const SetLimits& limits);
  bool Erase(std::string_view member);
  // An empty set chooses its form by the first of `count` members to come.
  void Begin(std::string_view first, uint64_t count, const SetLimits& limits);
  // Takes the large form at once if `count` members to come ask for it.
  void Expect(uint64_t count, const SetLimits& limits);

 private:
  enum class Form : uint8_t { kIntset, kListpack, kHashtable };

  void Become(Form form);
  bool LongestIntegerFits(const SetLimits& limits) const;

  [[no_unique_address]] ElementTree tree_;  // kListpack, kHashtable
  Form form_ = Form::kIntset;               // in what the tree leaves of its last word
  IntArray ints_;                           // kIntset
};

static_assert(sizeof(Set) == 32);

}  // namespace tessera::store
