// The one structure behind lists, sets, hashes, sorted sets and streams: a sequence of packed elements in a counted
// B+tree whose nodes can be shared.
//
// An element is a fixed number of packed values (packed.h). Leaves hold elements back to back, so an element costs its
// bytes and little more; a small value is a single leaf. Inner nodes know the number of elements below each child, so
// that a rank is found in O(log n), and an order key per child, so that an element is. Three orders:
//   kRank    the caller decides where an element goes (lists)
//   kHash    by the hash of an element's first value, coarsely: a leaf covers a range of hashes and is unsorted inside.
//            A single leaf thus keeps the order of insertion, as Redis's small hashes and sets do.
//   kSorted  by an order key that the layout computes; elements of equal keys are told apart by the caller
//
// Nodes are counted references. Clone() is O(1): both trees share all nodes, and a change copies the nodes on the way
// to it that are shared. Snapshots, COPY and lazy freeing rest on this. A tree is used by one thread at a time; trees
// that share nodes may be used and destroyed by different threads.
//
// Cursors are views of one tree and valid until its next change.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "server/store/check.h"
#include "server/store/packed.h"

namespace tessera::store {

class ElementTree {
 public:
  enum class Order : uint8_t { kRank, kHash, kSorted };

  // Whose elements these are. One byte in every tree, where a pointer to the layout would make each small value larger.
  enum class Use : uint8_t {
    kList,
    kSet,
    kHash,
    kFieldExpiriesByField,
    kFieldExpiriesByTime,
    kSortedSet,
    kSortedSetIndex,
    kStream,
    kStreamGroup,
    kStreamConsumer,
    // With small leaves, so that tests reach every shape of tree.
    kTestSequence,
    kTestMap,
    kTestSorted,
  };
  // What all trees of one use have in common.
  struct Layout {
    Order order;
    uint8_t values;  // per element
    // A leaf above either is split. With its header a full leaf should fill a size class of the allocator.
    uint32_t leaf_bytes_max;
    uint32_t leaf_count_max;
    // kSorted: the order key, never decreasing along the sequence. kHash: null = hash of the first value.
    uint64_t (*key)(const uint8_t* element) = nullptr;
  };

  class Cursor;
  class BackwardCursor;
  class Finder;
  static constexpr uint32_t kLeafHeaderBytes = 16;

  // `seed`: of the hash.
  ElementTree(Use use, uint32_t seed) : seed_(seed), use_(use) {}
  ~ElementTree() { Clear(); }
  ElementTree(ElementTree&& other) noexcept
      : root_(std::exchange(other.root_, nullptr)), seed_(other.seed_), use_(other.use_), limited_(other.limited_) {}
  ElementTree& operator=(ElementTree&& other) noexcept;
  ElementTree Clone() const;

  uint32_t seed() const { return seed_; }
  uint64_t count() const;
  bool empty() const { return root_ == nullptr; }
  // Heap bytes of all nodes, shared ones included.
  size_t MemoryBytes() const;
  // Bytes of the elements of a tree of one leaf; SIZE_MAX for larger ones.
  size_t single_leaf_bytes() const;
  // About how many allocations Clear would free.
  size_t FreeEffort() const;

  // Without limits everything stays in one leaf, whatever its size: the small encodings, whose bounds the owner keeps.
  // Setting limits splits what is too large; limits cannot be taken back except by Clear.
  bool limited() const { return limited_; }
  void SetLimited();

  void Clear();

  // ---- places
  Cursor Begin() const;
  Cursor End() const;
  // rank <= count().
  Cursor At(uint64_t rank) const;
  // kHash: the element whose first value has these packed bytes; not valid() if there is none.
  Cursor Find(PackedBytes first_value) const;
  uint64_t HashOf(PackedBytes first_value) const;
  // kHash: of the elements near the order key `key` the one that `rate` rates highest; not valid() if all rate 0.
  template <typename Rate>
  Cursor FindBest(uint64_t key, Rate rate) const;
  // kSorted: the first element that is not before the target, or the end. `key` is the target's order key;
  // `before(element)` tells whether an element is before the target and is true for a beginning of the sequence.
  template <typename Before>
  Cursor LowerBound(uint64_t key, Before before) const;
  // kHash: visits the elements at or after `position` of the leaf that covers it and returns where the next leaf starts,
  // 0 after the last: a walk by positions sees every element that stays throughout, whatever changes meanwhile. Without
  // limits the tree is visited whole, wherever the position is.
  template <typename Visit>
  uint64_t ScanLeaf(uint64_t position, Visit visit) const;

  // ---- changes; `element` must not point into the tree
  // kRank: before the element at the cursor.
  void Insert(const Cursor& at, PackedBytes element);
  // kRank, and kSorted when it belongs there.
  void PushBack(PackedBytes element);
  // kSorted: where LowerBound would point to.
  template <typename Before>
  void InsertSorted(PackedBytes element, Before before);
  // kHash. The element must not be there yet.
  void Add(PackedBytes element);
  // The new element must belong to the same place.
  void Replace(const Cursor& at, PackedBytes element);
  // Makes the element `bytes` long and hands it out for rewriting: what it held stays, up to the shorter length. It must
  // be a whole element again, of the same place, before anything else happens to the tree.
  uint8_t* Resize(const Cursor& at, size_t bytes);
  // Gives back what the leaf of an element has in reserve for growing.
  void Tighten(const Cursor& at);
  void Erase(const Cursor& at);
  // Leaf by leaf: O(log n) and the leaves concerned.
  void EraseRange(uint64_t rank, uint64_t count);
  // kHash: for each i < count, of the elements near key(i) the one that rate(i, element) rates highest, as FindBest would
  // find them one by one. The keys ascend, so that every leaf is changed once; each element must be there.
  template <typename Key, typename Rate>
  void EraseBest(size_t count, Key key, Rate rate);

  // Aborts when counts, bounds or sizes contradict each other; for tests.
  void CheckInvariants() const;

 private:
  static const Layout kLayouts[];  // by use (element_layouts.cc)
  const Layout& layout() const { return kLayouts[static_cast<size_t>(use_)]; }

  struct Node;
  struct Leaf;
  struct Inner;
  struct Child;
  static constexpr int kLevelsMax = 16;
  static constexpr uint32_t kChildrenMax = 64;

  struct Path {
    struct Step {
      Inner* node;
      uint32_t index;
    };
    Step steps[kLevelsMax];
    int depth = 0;
    Leaf* leaf = nullptr;
  };

  static Leaf* NewLeaf(size_t bytes);
  static Inner* NewInner(uint32_t children, uint8_t level);
  static bool Shared(const Node* node);
  static void Ref(Node* node);
  static void Unref(Node* node);
  // Frees an inner node whose children live on elsewhere.
  static void UnrefShell(Inner* node);
  static size_t BytesOf(const Node* node);
  static uint64_t CountOf(const Node* node);

  const uint8_t* Skip(const uint8_t* element) const {
    for (int i = layout().values; i > 0; --i) element = SkipPacked(element);
    return element;
  }
  uint64_t KeyOf(const uint8_t* element) const;
  static void DescendToFirst(Path& path, Node* node);
  static void DescendToLast(Path& path, Node* node);
  void DescendByKey(Path& path, uint64_t key) const;
  // Where a target belongs: in front of an element, or at the end of the leaf that would take it.
  template <typename Before>
  Cursor Seek(uint64_t key, Before before) const;
  static uint32_t ChildByKey(const Inner& inner, uint64_t key);
  // Where the element with this first value begins, UINT32_MAX if it is not there.
  uint32_t FindInLeaf(const Leaf& leaf, PackedBytes first_value) const;
  static const uint8_t* FirstElement(const Node* node);

  // Changes, along a path that only this tree knows afterwards. They leave the path unusable unless said otherwise.
  enum class OwnLeaf : uint8_t { kNo, kYes };
  void Own(Path& path, OwnLeaf own_leaf);  // keeps the path
  bool TooLarge(uint64_t bytes, uint64_t count) const {
    return limited_ && (bytes > layout().leaf_bytes_max || count > layout().leaf_count_max);
  }
  Node*& Place(Path& path, int level);
  void Fit(Path& path, size_t bytes);  // keeps the path
  void Adjust(Path& path, int levels, int64_t count_delta, int64_t bytes_delta);
  uint64_t EraseSubtree(const Cursor& at, uint64_t count);
  void EraseBytes(Path& path, uint32_t offset, uint32_t length, uint32_t count);
  void EraseElements(Path& path, std::vector<uint32_t>& offsets);
  void RemoveLeaf(Path& path);
  void Shortened(Path& path, uint32_t bytes, uint32_t count);
  static uint64_t KeyOfLeaf(const Path& path);  // no element before has this key or a greater one; 0 for the first leaf
  static uint64_t KeyBehind(const Path& path);  // where the next leaf begins; 0 = there is none
  void SplitLeaf(Path& path);
  void SplitLeafByHash(Path& path);
  void AddSibling(Path& path, int level, Node* sibling, uint64_t key, bool after);
  void SplitInner(Path& path, int level, bool appending);
  void RemoveChild(Path& path, int level);
  void MergeLeaf(Path& path);
  void MergeInner(Path& path, int level);
  void ShrinkRoot();
  uint64_t CheckNode(const Node* node, size_t* bytes, uint64_t low, uint64_t high) const;

  Node* root_ = nullptr;
  uint32_t seed_;
  Use use_;
  bool limited_ = false;

  friend class Cursor;
  friend class BackwardCursor;
  friend class Finder;
};

// A place in a tree: an element, or the end.
class ElementTree::Cursor {
 public:
  // A place in no tree, never valid.
  static Cursor None() { return Cursor(nullptr); }
  bool valid() const { return path_.leaf != nullptr && offset_ < used(); }
  // Its packed bytes; valid() only.
  const uint8_t* element() const;
  PackedBytes bytes() const;
  Unpacked value() const { return Unpack(element()); }
  // Elements before this one. O(log n), and the leaf.
  uint64_t rank() const;
  void Next();
  // To the element before; false at the first one.
  bool Previous();

 private:
  friend class ElementTree;
  friend class BackwardCursor;
  explicit Cursor(const ElementTree* tree) : tree_(tree) {}
  uint32_t used() const;
  // From the end of a leaf to the beginning of the next, if there is one.
  void Normalise();

  const ElementTree* tree_;
  Path path_;
  uint32_t offset_ = 0;
};

// A walk towards the beginning in O(1) per element: it knows where the elements of the leaf at hand begin.
class ElementTree::BackwardCursor {
 public:
  // Begins at the element of this cursor, if there is one.
  explicit BackwardCursor(const Cursor& from) : cursor_(from) {
    if (cursor_.valid()) Collect();
  }
  bool valid() const { return !offsets_.empty(); }
  const uint8_t* element() const;
  // To the element before.
  void Next();

 private:
  void Collect();

  Cursor cursor_;
  std::vector<uint32_t> offsets_;  // of the elements from the leaf's first to the current one
};

// kHash: looks up one value after the other; they are found faster when they come in the order of the hash, as from
// another tree with the same seed. Valid until the tree changes.
class ElementTree::Finder {
 public:
  explicit Finder(const ElementTree& tree) : tree_(&tree) {}
  bool Contains(PackedBytes first_value);

 private:
  const ElementTree* tree_;
  const Leaf* leaf_ = nullptr;  // of the last one; it covers the hashes from low_ to before high_ (0: to the end)
  uint64_t low_ = 0;
  uint64_t high_ = 0;
};

// ---- the nodes, here for the templates

struct ElementTree::Node {
  uint32_t refs;     // atomically, where it can be shared
  uint32_t count;    // elements of a leaf, children of an inner node
  uint32_t used;     // leaf: bytes of its elements
  uint8_t level;     // 0: leaf
};

struct ElementTree::Leaf : Node {
  uint8_t* data() { return reinterpret_cast<uint8_t*>(this + 1); }
  const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(this + 1); }
};

struct ElementTree::Child {
  Node* node;
  uint64_t key;    // kHash, kSorted: no element below has a smaller one (the first child's is not looked at)
  uint64_t count;  // elements below
};

struct ElementTree::Inner : Node {
  uint64_t elements;  // below
  uint64_t bytes;     // of this node and all below
  Child* children() { return reinterpret_cast<Child*>(this + 1); }
  const Child* children() const { return reinterpret_cast<const Child*>(this + 1); }
};

inline void ElementTree::PushBack(PackedBytes element) { Insert(End(), element); }
inline bool ElementTree::Shared(const Node* node) { return __atomic_load_n(&node->refs, __ATOMIC_ACQUIRE) > 1; }

inline uint32_t ElementTree::Cursor::used() const { return path_.leaf->used; }
inline const uint8_t* ElementTree::Cursor::element() const { return path_.leaf->data() + offset_; }

inline const uint8_t* ElementTree::BackwardCursor::element() const {
  return cursor_.path_.leaf->data() + offsets_.back();
}

inline PackedBytes ElementTree::Cursor::bytes() const {
  const uint8_t* begin = element();
  return {reinterpret_cast<const char*>(begin), static_cast<size_t>(tree_->Skip(begin) - begin)};
}

template <typename Rate>
ElementTree::Cursor ElementTree::FindBest(uint64_t key, Rate rate) const {
  Cursor cursor(this);
  if (root_ == nullptr) return cursor;
  DescendByKey(cursor.path_, key);
  const Leaf& leaf = *cursor.path_.leaf;
  const uint8_t* const end = leaf.data() + leaf.used;
  size_t best = 0;
  for (const uint8_t* p = leaf.data(); p < end; p = Skip(p)) {
    const size_t rating = rate(p);
    if (rating <= best) continue;
    best = rating;
    cursor.offset_ = static_cast<uint32_t>(p - leaf.data());
  }
  if (best == 0) cursor.path_.leaf = nullptr;
  return cursor;
}

template <typename Before>
ElementTree::Cursor ElementTree::Seek(uint64_t key, Before before) const {
  Cursor cursor(this);
  if (root_ == nullptr) return cursor;
  Node* node = root_;
  while (node->level > 0) {
    auto* inner = static_cast<Inner*>(node);
    const Child* children = inner->children();
    // Below `low` all children may hold elements before the target, from `high` on none does.
    uint32_t low = 0, high = inner->count;
    while (high - low > 1) {
      const uint32_t middle = low + (high - low) / 2;
      const bool go_right = children[middle].key != key ? children[middle].key < key
                                                        : before(FirstElement(children[middle].node));
      (go_right ? low : high) = middle;
    }
    cursor.path_.steps[cursor.path_.depth++] = {inner, low};
    node = children[low].node;
  }
  auto* leaf = static_cast<Leaf*>(node);
  cursor.path_.leaf = leaf;
  const uint8_t* const end = leaf->data() + leaf->used;
  const uint8_t* p = leaf->data();
  while (p < end && before(p)) p = Skip(p);
  cursor.offset_ = static_cast<uint32_t>(p - leaf->data());
  return cursor;
}

template <typename Before>
ElementTree::Cursor ElementTree::LowerBound(uint64_t key, Before before) const {
  Cursor cursor = Seek(key, before);
  if (root_ != nullptr) cursor.Normalise();
  return cursor;
}

template <typename Before>
void ElementTree::InsertSorted(PackedBytes element, Before before) {
  Insert(Seek(layout().key(reinterpret_cast<const uint8_t*>(element.data())), before), element);
}

template <typename Visit>
uint64_t ElementTree::ScanLeaf(uint64_t position, Visit visit) const {
  if (root_ == nullptr) return 0;
  Path path;
  DescendByKey(path, position);
  for (const uint8_t *p = path.leaf->data(), *end = p + path.leaf->used; p < end; p = Skip(p)) {
    if (position == 0 || !limited_ || KeyOf(p) >= position) visit(p);
  }
  return KeyBehind(path);
}

template <typename Key, typename Rate>
void ElementTree::EraseBest(size_t count, Key key, Rate rate) {
  std::vector<uint32_t> found;
  for (size_t i = 0; i < count;) {
    STORE_CHECK(root_ != nullptr);
    Path path;
    DescendByKey(path, key(i));
    const uint64_t behind = KeyBehind(path);
    const uint8_t* const data = path.leaf->data();
    found.clear();
    for (; i < count && (behind == 0 || key(i) < behind); ++i) {
      size_t best = 0;
      uint32_t offset = 0;
      for (const uint8_t *p = data, *end = data + path.leaf->used; p < end; p = Skip(p)) {
        const size_t rating = rate(i, p);
        const auto at = static_cast<uint32_t>(p - data);
        if (rating <= best || std::find(found.begin(), found.end(), at) != found.end()) continue;
        best = rating;
        offset = at;
      }
      STORE_CHECK(best > 0);
      found.push_back(offset);
    }
    EraseElements(path, found);
  }
}

}  // namespace tessera::store
