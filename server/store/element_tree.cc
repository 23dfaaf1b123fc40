#include "server/store/element_tree.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "server/store/hash.h"

namespace tessera::store {
namespace {

uint64_t Load64(const uint8_t* bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof(word));
  return word;
}

const uint8_t* AsBytes(PackedBytes text) { return reinterpret_cast<const uint8_t*>(text.data()); }

}  // namespace

// ---- nodes

ElementTree::Leaf* ElementTree::NewLeaf(size_t bytes) {
  static_assert(sizeof(Leaf) == kLeafHeaderBytes);
  auto* leaf = static_cast<Leaf*>(malloc(sizeof(Leaf) + bytes));
  STORE_CHECK(leaf != nullptr);
  static_cast<Node&>(*leaf) = {.refs = 1, .count = 0, .used = 0, .level = 0};
  return leaf;
}

ElementTree::Inner* ElementTree::NewInner(uint32_t children, uint8_t level) {
  auto* inner = static_cast<Inner*>(malloc(sizeof(Inner) + children * sizeof(Child)));
  STORE_CHECK(inner != nullptr);
  static_cast<Node&>(*inner) = {.refs = 1, .count = 0, .used = 0, .level = level};
  inner->elements = 0;
  inner->bytes = malloc_usable_size(inner);
  return inner;
}

void ElementTree::Ref(Node* node) { __atomic_fetch_add(&node->refs, 1, __ATOMIC_RELAXED); }

void ElementTree::Unref(Node* node) {
  if (__atomic_fetch_sub(&node->refs, 1, __ATOMIC_ACQ_REL) > 1) return;
  if (node->level > 0) {
    auto* inner = static_cast<Inner*>(node);
    for (uint32_t i = 0; i < inner->count; ++i) Unref(inner->children()[i].node);
  }
  free(node);
}

void ElementTree::UnrefShell(Inner* node) {
  if (Shared(node)) {
    for (uint32_t i = 0; i < node->count; ++i) Ref(node->children()[i].node);
    Unref(node);
  } else {
    free(node);
  }
}

size_t ElementTree::BytesOf(const Node* node) {
  return node->level == 0 ? malloc_usable_size(const_cast<Node*>(node)) : static_cast<const Inner*>(node)->bytes;
}

uint64_t ElementTree::CountOf(const Node* node) {
  return node->level == 0 ? node->count : static_cast<const Inner*>(node)->elements;
}

// ---- the tree as a whole

ElementTree& ElementTree::operator=(ElementTree&& other) noexcept {
  if (this == &other) return *this;
  Clear();
  root_ = std::exchange(other.root_, nullptr);
  seed_ = other.seed_;
  use_ = other.use_;
  limited_ = other.limited_;
  return *this;
}

ElementTree ElementTree::Clone() const {
  ElementTree copy(use_, seed_);
  copy.limited_ = limited_;
  copy.root_ = root_;
  if (root_ != nullptr) Ref(root_);
  return copy;
}

uint64_t ElementTree::count() const { return root_ == nullptr ? 0 : CountOf(root_); }
size_t ElementTree::MemoryBytes() const { return root_ == nullptr ? 0 : BytesOf(root_); }

size_t ElementTree::single_leaf_bytes() const {
  if (root_ == nullptr) return 0;
  return root_->level == 0 ? root_->used : SIZE_MAX;
}

size_t ElementTree::FreeEffort() const {
  if (root_ == nullptr) return 0;
  if (root_->level == 0) return 1;
  // A root of leaves has one child per allocation; further up, leaves are about half full.
  if (root_->level == 1) return root_->count + 1;
  return static_cast<Inner*>(root_)->bytes / (layout().leaf_bytes_max + 1) + kChildrenMax;
}

void ElementTree::Clear() {
  if (root_ != nullptr) Unref(std::exchange(root_, nullptr));
  limited_ = false;
}

void ElementTree::SetLimited() {
  if (limited_) return;
  limited_ = true;
  if (root_ == nullptr || !TooLarge(root_->used, root_->count)) return;
  ElementTree whole(use_, seed_);
  std::swap(root_, whole.root_);
  for (Cursor cursor = whole.Begin(); cursor.valid(); cursor.Next()) {
    if (layout().order == Order::kHash) {
      Add(cursor.bytes());
    } else {
      PushBack(cursor.bytes());
    }
  }
}

// ---- places

uint64_t ElementTree::HashOf(PackedBytes first_value) const { return HashKey(first_value, seed_); }

uint64_t ElementTree::KeyOf(const uint8_t* element) const {
  if (layout().key != nullptr) return layout().key(element);
  if (layout().order != Order::kHash) return 0;
  return HashOf({reinterpret_cast<const char*>(element), static_cast<size_t>(SkipPacked(element) - element)});
}

void ElementTree::DescendToFirst(Path& path, Node* node) {
  while (node->level > 0) {
    auto* inner = static_cast<Inner*>(node);
    path.steps[path.depth++] = {inner, 0};
    node = inner->children()[0].node;
  }
  path.leaf = static_cast<Leaf*>(node);
}

void ElementTree::DescendToLast(Path& path, Node* node) {
  while (node->level > 0) {
    auto* inner = static_cast<Inner*>(node);
    path.steps[path.depth++] = {inner, inner->count - 1};
    node = inner->children()[inner->count - 1].node;
  }
  path.leaf = static_cast<Leaf*>(node);
}

// To the last child whose key is not above `key`.
uint32_t ElementTree::ChildByKey(const Inner& inner, uint64_t key) {
  const Child* children = inner.children();
  // Without a branch on the keys: hashes would make every second one a surprise.
  uint32_t low = 0;
  for (uint32_t count = inner.count; count > 1;) {
    const uint32_t half = count / 2;
    low += children[low + half].key <= key ? half : 0;
    count -= half;
  }
  return low;
}

void ElementTree::DescendByKey(Path& path, uint64_t key) const {
  Node* node = root_;
  while (node->level > 0) {
    auto* inner = static_cast<Inner*>(node);
    const uint32_t index = ChildByKey(*inner, key);
    path.steps[path.depth++] = {inner, index};
    node = inner->children()[index].node;
  }
  path.leaf = static_cast<Leaf*>(node);
}

uint64_t ElementTree::KeyOfLeaf(const Path& path) {
  for (int i = path.depth - 1; i >= 0; --i) {
    const auto [inner, index] = path.steps[i];
    if (index > 0) return inner->children()[index].key;
  }
  return 0;
}

uint64_t ElementTree::KeyBehind(const Path& path) {
  for (int i = path.depth - 1; i >= 0; --i) {
    const auto [inner, index] = path.steps[i];
    if (index + 1 < inner->count) return inner->children()[index + 1].key;
  }
  return 0;
}

const uint8_t* ElementTree::FirstElement(const Node* node) {
  while (node->level > 0) node = static_cast<const Inner*>(node)->children()[0].node;
  return static_cast<const Leaf*>(node)->data();
}

ElementTree::Cursor ElementTree::Begin() const {
  Cursor cursor(this);
  if (root_ != nullptr) DescendToFirst(cursor.path_, root_);
  return cursor;
}

ElementTree::Cursor ElementTree::End() const {
  Cursor cursor(this);
  if (root_ == nullptr) return cursor;
  DescendToLast(cursor.path_, root_);
  cursor.offset_ = cursor.used();
  return cursor;
}

ElementTree::Cursor ElementTree::At(uint64_t rank) const {
  if (rank >= count()) return End();
  Cursor cursor(this);
  Node* node = root_;
  while (node->level > 0) {
    auto* inner = static_cast<Inner*>(node);
    uint32_t index = 0;
    // From the nearer end.
    if (rank < inner->elements / 2) {
      while (rank >= inner->children()[index].count) rank -= inner->children()[index++].count;
    } else {
      uint64_t begin = inner->elements;
      index = inner->count;
      while (begin > rank) begin -= inner->children()[--index].count;
      rank -= begin;
    }
    cursor.path_.steps[cursor.path_.depth++] = {inner, index};
    node = inner->children()[index].node;
  }
  auto* leaf = static_cast<Leaf*>(node);
  cursor.path_.leaf = leaf;
  cursor.offset_ = static_cast<uint32_t>(SkipPacked(leaf->data(), rank * layout().values) - leaf->data());
  return cursor;
}

uint32_t ElementTree::FindInLeaf(const Leaf& leaf, PackedBytes first_value) const {
  const uint8_t* const begin = leaf.data();
  const uint8_t* const end = begin + leaf.used;
  const auto wanted = static_cast<uint8_t>(first_value[0]);
  const size_t size = first_value.size();
  // Names mostly differ at their ends.
  const uint64_t tail = size >= 8 ? Load64(AsBytes(first_value) + size - 8) : 0;
  // Where the head alone tells the size, the processor need not wait for it to look at the next one of that size.
  const bool head_tells_size = PackedHeadTellsSize(wanted);
  for (const uint8_t* p = begin; p < end;) {
    const uint8_t* next;
    if (*p != wanted) {
      next = SkipPacked(p);
    } else {
      next = head_tells_size ? p + size : SkipPacked(p);
      if (static_cast<size_t>(next - p) == size && (size < 8 || Load64(next - 8) == tail) &&
          memcmp(p, first_value.data(), size) == 0)
        return static_cast<uint32_t>(p - begin);
    }
    for (int i = layout().values - 1; i > 0; --i) next = SkipPacked(next);
    p = next;
  }
  return UINT32_MAX;
}

ElementTree::Cursor ElementTree::Find(PackedBytes first_value) const {
  Cursor cursor(this);
  if (root_ == nullptr) return cursor;
  if (root_->level == 0) {
    cursor.path_.leaf = static_cast<Leaf*>(root_);
  } else {
    DescendByKey(cursor.path_, HashOf(first_value));
  }
  cursor.offset_ = FindInLeaf(*cursor.path_.leaf, first_value);
  if (cursor.offset_ == UINT32_MAX) cursor.path_.leaf = nullptr;
  return cursor;
}

bool ElementTree::Finder::Contains(PackedBytes first_value) {
  if (tree_->root_ == nullptr) return false;
  if (tree_->root_->level == 0)
    return tree_->FindInLeaf(*static_cast<const Leaf*>(tree_->root_), first_value) != UINT32_MAX;
  const uint64_t hash = tree_->HashOf(first_value);
  if (leaf_ == nullptr || hash < low_ || (high_ != 0 && hash >= high_)) {
    Path path;
    tree_->DescendByKey(path, hash);
    leaf_ = path.leaf;
    low_ = KeyOfLeaf(path);
    high_ = KeyBehind(path);
  }
  return tree_->FindInLeaf(*leaf_, first_value) != UINT32_MAX;
}

uint64_t ElementTree::Cursor::rank() const {
  if (path_.leaf == nullptr) return 0;
  uint64_t rank = 0;
  for (int i = 0; i < path_.depth; ++i) {
    const Child* children = path_.steps[i].node->children();
    for (uint32_t k = 0; k < path_.steps[i].index; ++k) rank += children[k].count;
  }
  const uint8_t* const stop = element();
  for (const uint8_t* p = path_.leaf->data(); p < stop; p = tree_->Skip(p)) ++rank;
  return rank;
}

void ElementTree::Cursor::Normalise() {
  if (offset_ < used()) return;
  for (int i = path_.depth - 1; i >= 0; --i) {
    auto& [inner, index] = path_.steps[i];
    if (index + 1 == inner->count) continue;
    ++index;
    path_.depth = i + 1;
    DescendToFirst(path_, inner->children()[index].node);
    offset_ = 0;
    return;
  }
}

void ElementTree::Cursor::Next() {
  offset_ = static_cast<uint32_t>(tree_->Skip(element()) - path_.leaf->data());
  Normalise();
}

bool ElementTree::Cursor::Previous() {
  if (path_.leaf == nullptr) return false;
  if (offset_ == 0) {
    int i = path_.depth - 1;
    while (i >= 0 && path_.steps[i].index == 0) --i;
    if (i < 0) return false;
    --path_.steps[i].index;
    path_.depth = i + 1;
    DescendToLast(path_, path_.steps[i].node->children()[path_.steps[i].index].node);
    offset_ = used();
  }
  const uint8_t* const stop = element();
  const uint8_t* p = path_.leaf->data();
  for (const uint8_t* next = tree_->Skip(p); next < stop; next = tree_->Skip(next)) p = next;
  offset_ = static_cast<uint32_t>(p - path_.leaf->data());
  return true;
}

void ElementTree::BackwardCursor::Collect() {
  const uint8_t* const data = cursor_.path_.leaf->data();
  for (const uint8_t* p = data; p <= data + cursor_.offset_; p = cursor_.tree_->Skip(p)) {
    offsets_.push_back(static_cast<uint32_t>(p - data));
  }
}

void ElementTree::BackwardCursor::Next() {
  offsets_.pop_back();
  if (!offsets_.empty()) return;
  cursor_.offset_ = 0;
  if (cursor_.Previous()) Collect();
}

// ---- tests

uint64_t ElementTree::CheckNode(const Node* node, size_t* bytes, uint64_t low, uint64_t high) const {
  STORE_CHECK(node->count > 0);
  if (node->level == 0) {
    const auto* leaf = static_cast<const Leaf*>(node);
    const uint8_t* p = leaf->data();
    uint32_t count = 0;
    for (uint64_t last = low; p < leaf->data() + leaf->used; p = Skip(p), ++count) {
      if (root_->level == 0 || layout().order == Order::kRank) continue;
      const uint64_t key = KeyOf(p);
      STORE_CHECK(key >= low && key <= high);
      STORE_CHECK(layout().order == Order::kHash || key >= last);
      last = key;
    }
    STORE_CHECK(p == leaf->data() + leaf->used && count == leaf->count);
    STORE_CHECK(sizeof(Leaf) + leaf->used <= malloc_usable_size(const_cast<Leaf*>(leaf)));
    *bytes += BytesOf(leaf);
    return count;
  }
  const auto* inner = static_cast<const Inner*>(node);
  STORE_CHECK(inner->count <= kChildrenMax);
  uint64_t elements = 0;
  size_t below = malloc_usable_size(const_cast<Inner*>(inner));
  for (uint32_t i = 0; i < inner->count; ++i) {
    const Child& child = inner->children()[i];
    STORE_CHECK(child.node->level + 1 == inner->level);
    const uint64_t child_low = i == 0 ? low : child.key;
    const uint64_t child_high = i + 1 < inner->count ? inner->children()[i + 1].key : high;
    const uint64_t count = CheckNode(child.node, &below, child_low, child_high);
    STORE_CHECK(count == child.count);
    elements += count;
  }
  STORE_CHECK(elements == inner->elements && below == inner->bytes);
  *bytes += below;
  return elements;
}

void ElementTree::CheckInvariants() const {
  size_t bytes = 0;
  if (root_ != nullptr) (void)CheckNode(root_, &bytes, 0, UINT64_MAX);
}

}  // namespace tessera::store
