// How element trees change: along a path from the root, whose shared nodes are copied first, and whose nodes are split and
// merged on the way back.
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "server/store/element_tree.h"

namespace tessera::store {
namespace {

constexpr uint32_t kChildrenMin = 16;
constexpr uint32_t kChildrenMerged = 48;

}  // namespace

// ---- paths and elements

// Where the pointer to the node at `level` of the path stands; the leaf's is at level `depth`.
ElementTree::Node*& ElementTree::Place(Path& path, int level) {
  if (level == 0) return root_;
  const auto [inner, index] = path.steps[level - 1];
  return inner->children()[index].node;
}

void ElementTree::Own(Path& path, OwnLeaf own_leaf) {
  for (int level = 0; level < path.depth; ++level) {
    Inner* inner = path.steps[level].node;
    if (!Shared(inner)) continue;
    Inner* copy = NewInner(inner->count + inner->count / 8, inner->level);
    const int64_t grown = static_cast<int64_t>(malloc_usable_size(copy)) - static_cast<int64_t>(malloc_usable_size(inner));
    copy->count = inner->count;
    copy->elements = inner->elements;
    copy->bytes = inner->bytes;
    std::copy_n(inner->children(), inner->count, copy->children());
    for (uint32_t i = 0; i < copy->count; ++i) Ref(copy->children()[i].node);
    Unref(inner);
    Place(path, level) = copy;
    path.steps[level].node = copy;
    Adjust(path, level + 1, 0, grown);
  }
  if (own_leaf == OwnLeaf::kNo || !Shared(path.leaf)) return;
  Leaf* copy = NewLeaf(path.leaf->used + path.leaf->used / 8);
  const int64_t grown = static_cast<int64_t>(BytesOf(copy)) - static_cast<int64_t>(BytesOf(path.leaf));
  copy->count = path.leaf->count;
  copy->used = path.leaf->used;
  memcpy(copy->data(), path.leaf->data(), copy->used);
  Unref(path.leaf);
  Place(path, path.depth) = copy;
  path.leaf = copy;
  Adjust(path, path.depth, 0, grown);
}

// Of the first `levels` nodes of the path.
void ElementTree::Adjust(Path& path, int levels, int64_t count_delta, int64_t bytes_delta) {
  for (int level = 0; level < levels; ++level) {
    const auto [inner, index] = path.steps[level];
    inner->elements += count_delta;
    inner->bytes += bytes_delta;
    inner->children()[index].count += count_delta;
  }
}

// Makes room for `bytes` of elements in the leaf, or gives back room it will not need.
void ElementTree::Fit(Path& path, size_t bytes) {
  const size_t held = malloc_usable_size(path.leaf);
  const size_t needed = sizeof(Leaf) + bytes;
  if (needed <= held && (held <= 128 || needed > held / 2)) return;
  // Large leaves grow by an eighth, so that n appends copy O(n) bytes; small ones by what the allocator rounds to.
  // Nothing is reserved beyond the size at which a leaf is split.
  const size_t largest = limited_ ? sizeof(Leaf) + layout().leaf_bytes_max : SIZE_MAX;
  const size_t wanted = needed > held ? std::max(needed, std::min(needed + bytes / 8, largest)) : needed;
  auto* leaf = static_cast<Leaf*>(realloc(static_cast<void*>(path.leaf), wanted));
  STORE_CHECK(leaf != nullptr);
  path.leaf = leaf;
  Place(path, path.depth) = leaf;
  Adjust(path, path.depth, 0, static_cast<int64_t>(malloc_usable_size(leaf)) - static_cast<int64_t>(held));
}

void ElementTree::Insert(const Cursor& at, PackedBytes element) {
  if (root_ == nullptr) {
    Leaf* leaf = NewLeaf(element.size());
    memcpy(leaf->data(), element.data(), element.size());
    leaf->count = 1;
    leaf->used = static_cast<uint32_t>(element.size());
    root_ = leaf;
    return;
  }
  Path path = at.path_;
  const uint32_t offset = at.offset_;
  if (TooLarge(uint64_t{path.leaf->used} + element.size(), uint64_t{path.leaf->count} + 1) &&
      layout().order != Order::kHash) {
    // At either end of the sequence a full leaf stays full and a new one is begun, so that queues and logs are dense.
    const auto at_end = [&](bool last) {
      for (int i = 0; i < path.depth; ++i) {
        if (path.steps[i].index != (last ? path.steps[i].node->count - 1 : 0)) return false;
      }
      return offset == (last ? path.leaf->used : 0);
    };
    const bool append = at_end(true);
    if (append || at_end(false)) {
      Own(path, OwnLeaf::kNo);
      Leaf* leaf = NewLeaf(element.size());
      memcpy(leaf->data(), element.data(), element.size());
      leaf->count = 1;
      leaf->used = static_cast<uint32_t>(element.size());
      for (int i = 0; i < path.depth; ++i) {
        path.steps[i].node->elements += 1;
        path.steps[i].node->bytes += BytesOf(leaf);
        if (i + 1 < path.depth) path.steps[i].node->children()[path.steps[i].index].count += 1;
      }
      const uint8_t* first = append ? leaf->data() : path.leaf->data();
      AddSibling(path, path.depth - 1, leaf, KeyOf(first), append);
      return;
    }
  }
  Own(path, OwnLeaf::kYes);
  Fit(path, size_t{path.leaf->used} + element.size());
  Leaf* leaf = path.leaf;
  memmove(leaf->data() + offset + element.size(), leaf->data() + offset, leaf->used - offset);
  memcpy(leaf->data() + offset, element.data(), element.size());
  leaf->used += static_cast<uint32_t>(element.size());
  leaf->count += 1;
  Adjust(path, path.depth, 1, 0);
  if (TooLarge(leaf->used, leaf->count)) SplitLeaf(path);
}

void ElementTree::Add(PackedBytes element) {
  Cursor cursor(this);
  if (root_ != nullptr) {
    DescendByKey(cursor.path_, root_->level == 0 ? 0 : KeyOf(reinterpret_cast<const uint8_t*>(element.data())));
    cursor.offset_ = cursor.used();
  }
  Insert(cursor, element);
}

void ElementTree::Replace(const Cursor& at, PackedBytes element) {
  Path path = at.path_;
  const uint32_t offset = at.offset_;
  const auto old_size = static_cast<uint32_t>(at.bytes().size());
  const size_t new_used = size_t{path.leaf->used} - old_size + element.size();
  Own(path, OwnLeaf::kYes);
  if (element.size() > old_size) Fit(path, new_used);
  uint8_t* place = path.leaf->data() + offset;
  memmove(place + element.size(), place + old_size, path.leaf->used - offset - old_size);
  memcpy(place, element.data(), element.size());
  path.leaf->used = static_cast<uint32_t>(new_used);
  if (element.size() < old_size) Fit(path, new_used);
  if (TooLarge(path.leaf->used, path.leaf->count)) SplitLeaf(path);
}

uint8_t* ElementTree::Resize(const Cursor& at, size_t bytes) {
  Path path = at.path_;
  const uint32_t offset = at.offset_;
  const auto old_size = static_cast<uint32_t>(at.bytes().size());
  const size_t new_used = size_t{path.leaf->used} - old_size + bytes;
  STORE_CHECK(!TooLarge(new_used, path.leaf->count) || path.leaf->count == 1);
  Own(path, OwnLeaf::kYes);
  if (bytes > old_size) Fit(path, new_used);
  uint8_t* const tail = path.leaf->data() + offset + old_size;
  memmove(path.leaf->data() + offset + bytes, tail, path.leaf->used - offset - old_size);
  path.leaf->used = static_cast<uint32_t>(new_used);
  if (bytes < old_size) Fit(path, new_used);
  return path.leaf->data() + offset;
}

void ElementTree::Tighten(const Cursor& at) {
  Path path = at.path_;
  const size_t held = BytesOf(path.leaf);
  const size_t needed = sizeof(Leaf) + path.leaf->used;
  if (Shared(path.leaf) || held < needed + needed / 32) return;
  Own(path, OwnLeaf::kNo);
  Leaf* leaf = NewLeaf(path.leaf->used);
  leaf->count = path.leaf->count;
  leaf->used = path.leaf->used;
  memcpy(leaf->data(), path.leaf->data(), leaf->used);
  Unref(path.leaf);
  path.leaf = leaf;
  Place(path, path.depth) = leaf;
  Adjust(path, path.depth, 0, static_cast<int64_t>(BytesOf(leaf)) - static_cast<int64_t>(held));
}

void ElementTree::Erase(const Cursor& at) {
  Path path = at.path_;
  const size_t size = at.bytes().size();
  EraseBytes(path, at.offset_, static_cast<uint32_t>(size), 1);
}

void ElementTree::EraseRange(uint64_t rank, uint64_t count) {
  count = std::min(count, this->count() - std::min(rank, this->count()));
  while (count > 0) {
    Cursor cursor = At(rank);
    if (const uint64_t taken = EraseSubtree(cursor, count); taken > 0) {
      count -= taken;
      continue;
    }
    const Leaf& leaf = *cursor.path_.leaf;
    const uint8_t* p = cursor.element();
    const uint8_t* const end = leaf.data() + leaf.used;
    uint32_t taken = 0;
    for (; p < end && taken < count; ++taken) p = Skip(p);
    count -= taken;
    EraseBytes(cursor.path_, cursor.offset_, static_cast<uint32_t>(p - cursor.element()), taken);
  }
}

// The largest subtree that begins at the cursor and has no more elements than `count`; returns how many it had.
uint64_t ElementTree::EraseSubtree(const Cursor& at, uint64_t count) {
  Path path = at.path_;
  uint64_t taken = path.leaf->count;
  if (at.offset_ != 0 || taken > count) return 0;
  int level = path.depth;
  for (; level > 0 && path.steps[level - 1].index == 0 && path.steps[level - 1].node->elements <= count; --level)
    taken = path.steps[level - 1].node->elements;
  Own(path, OwnLeaf::kNo);
  Adjust(path, level, -static_cast<int64_t>(taken), 0);
  RemoveChild(path, level);
  ShrinkRoot();
  return taken;
}

void ElementTree::EraseBytes(Path& path, uint32_t offset, uint32_t length, uint32_t count) {
  if (count == path.leaf->count) return RemoveLeaf(path);
  Own(path, OwnLeaf::kYes);
  uint8_t* place = path.leaf->data() + offset;
  memmove(place, place + length, path.leaf->used - offset - length);
  Shortened(path, length, count);
}

void ElementTree::EraseElements(Path& path, std::vector<uint32_t>& offsets) {
  if (offsets.size() == path.leaf->count) return RemoveLeaf(path);
  Own(path, OwnLeaf::kYes);
  std::sort(offsets.begin(), offsets.end());
  uint8_t* const data = path.leaf->data();
  uint8_t* to = data + offsets[0];
  for (size_t i = 0; i < offsets.size(); ++i) {
    const uint8_t* const from = Skip(data + offsets[i]);
    const uint8_t* const end = data + (i + 1 < offsets.size() ? offsets[i + 1] : path.leaf->used);
    memmove(to, from, static_cast<size_t>(end - from));
    to += end - from;
  }
  Shortened(path, path.leaf->used - static_cast<uint32_t>(to - data), static_cast<uint32_t>(offsets.size()));
}

void ElementTree::RemoveLeaf(Path& path) {
  Own(path, OwnLeaf::kNo);
  Adjust(path, path.depth, -static_cast<int64_t>(path.leaf->count), 0);
  RemoveChild(path, path.depth);
  ShrinkRoot();
}

// The leaf has lost so much, and its bytes are together again.
void ElementTree::Shortened(Path& path, uint32_t bytes, uint32_t count) {
  path.leaf->used -= bytes;
  path.leaf->count -= count;
  Adjust(path, path.depth, -static_cast<int64_t>(count), 0);
  Fit(path, path.leaf->used);
  if (path.depth > 0 && path.leaf->used < layout().leaf_bytes_max / 4) MergeLeaf(path);
  ShrinkRoot();
}

// ---- structure

void ElementTree::SplitLeaf(Path& path) {
  if (path.leaf->count < 2) return;
  if (layout().order == Order::kHash) return SplitLeafByHash(path);
  Leaf* left = path.leaf;
  const size_t bytes_before = BytesOf(left);
  const uint8_t* cut = left->data();
  uint32_t kept = 0;
  do {
    cut = Skip(cut);
    ++kept;
  } while (kept + 1 < left->count && Skip(cut) <= left->data() + left->used / 2);
  const auto kept_bytes = static_cast<uint32_t>(cut - left->data());
  Leaf* right = NewLeaf(left->used - kept_bytes);
  right->used = left->used - kept_bytes;
  right->count = left->count - kept;
  memcpy(right->data(), cut, right->used);
  left->used = kept_bytes;
  left->count = kept;
  left = static_cast<Leaf*>(realloc(static_cast<void*>(left), sizeof(Leaf) + kept_bytes));
  STORE_CHECK(left != nullptr);
  path.leaf = left;
  Place(path, path.depth) = left;
  Adjust(path, path.depth, 0,
         static_cast<int64_t>(BytesOf(left) + BytesOf(right)) - static_cast<int64_t>(bytes_before));
  AddSibling(path, path.depth - 1, right, KeyOf(right->data()), true);
}

void ElementTree::SplitLeafByHash(Path& path) {
  struct Part {
    uint64_t key;
    uint32_t offset;
    uint32_t size;
  };
  Leaf* whole = path.leaf;
  std::vector<Part> parts;
  parts.reserve(whole->count);
  for (const uint8_t *p = whole->data(), *end = p + whole->used; p < end;) {
    const uint8_t* next = Skip(p);
    parts.push_back({KeyOf(p), static_cast<uint32_t>(p - whole->data()), static_cast<uint32_t>(next - p)});
    p = next;
  }
  std::vector<uint64_t> keys(parts.size());
  std::transform(parts.begin(), parts.end(), keys.begin(), [](const Part& part) { return part.key; });
  std::sort(keys.begin(), keys.end());
  auto middle = keys.begin() + static_cast<ptrdiff_t>(keys.size() / 2);
  if (*middle == keys.front()) middle = std::upper_bound(keys.begin(), keys.end(), keys.front());
  if (middle == keys.end()) return;  // all of one hash
  const uint64_t cut = *middle;

  size_t left_bytes = 0;
  for (const Part& part : parts) left_bytes += part.key < cut ? part.size : 0;
  Leaf* left = NewLeaf(left_bytes + left_bytes / 8);
  Leaf* right = NewLeaf(whole->used - left_bytes + (whole->used - left_bytes) / 8);
  for (const Part& part : parts) {
    Leaf* target = part.key < cut ? left : right;
    memcpy(target->data() + target->used, whole->data() + part.offset, part.size);
    target->used += part.size;
    target->count += 1;
  }
  const size_t bytes_before = BytesOf(whole);
  Unref(whole);
  path.leaf = left;
  Place(path, path.depth) = left;
  Adjust(path, path.depth, 0,
         static_cast<int64_t>(BytesOf(left) + BytesOf(right)) - static_cast<int64_t>(bytes_before));
  AddSibling(path, path.depth - 1, right, cut, true);
}

// Puts a node beside the one that the path takes at `level`. The sums of the path's nodes know it already; `key` is the
// sibling's, or, if it comes before, that of the node it displaces.
void ElementTree::AddSibling(Path& path, int level, Node* sibling, uint64_t key, bool after) {
  Node* node = Place(path, level + 1);
  if (level < 0) {
    Inner* root = NewInner(2, node->level + 1);
    root->count = 2;
    root->children()[after ? 0 : 1] = {node, after ? 0 : key, CountOf(node)};
    root->children()[after ? 1 : 0] = {sibling, after ? key : 0, CountOf(sibling)};
    root->elements = CountOf(node) + CountOf(sibling);
    root->bytes += BytesOf(node) + BytesOf(sibling);
    root_ = root;
    return;
  }
  auto& [inner, index] = path.steps[level];
  const size_t needed = sizeof(Inner) + (inner->count + 1) * sizeof(Child);
  if (const size_t held = malloc_usable_size(inner); needed > held) {
    inner = static_cast<Inner*>(realloc(static_cast<void*>(inner), needed + inner->count / 8 * sizeof(Child)));
    STORE_CHECK(inner != nullptr);
    Place(path, level) = inner;
    const int64_t grown = static_cast<int64_t>(malloc_usable_size(inner)) - static_cast<int64_t>(held);
    for (int i = 0; i <= level; ++i) path.steps[i].node->bytes += grown;
  }
  Child* children = inner->children();
  children[index].count = CountOf(node);
  const uint32_t at = after ? index + 1 : index;
  std::copy_backward(children + at, children + inner->count, children + inner->count + 1);
  ++inner->count;
  if (!after) children[at + 1].key = key;
  children[at] = {sibling, after ? key : 0, CountOf(sibling)};
  if (inner->count > kChildrenMax) SplitInner(path, level, after && at + 1 == inner->count);
}

void ElementTree::SplitInner(Path& path, int level, bool appending) {
  Inner* left = path.steps[level].node;
  const uint32_t kept = appending ? left->count - left->count / 8 : left->count / 2;
  Inner* right = NewInner(left->count - kept, left->level);
  right->count = left->count - kept;
  std::copy_n(left->children() + kept, right->count, right->children());
  size_t moved_bytes = 0;
  for (uint32_t i = 0; i < right->count; ++i) {
    right->elements += right->children()[i].count;
    moved_bytes += BytesOf(right->children()[i].node);
  }
  const size_t own_bytes = right->bytes;
  right->bytes += moved_bytes;
  left->count = kept;
  left->elements -= right->elements;
  left->bytes -= moved_bytes;
  for (int i = 0; i < level; ++i) path.steps[i].node->bytes += own_bytes;
  AddSibling(path, level - 1, right, right->children()[0].key, true);
}

// Takes the node at `level` of the path out of its parent; its elements are no longer counted.
void ElementTree::RemoveChild(Path& path, int level) {
  Node* node = Place(path, level);
  if (level == 0) {
    root_ = nullptr;
    Unref(node);
    return;
  }
  const auto [inner, index] = path.steps[level - 1];
  const size_t freed = BytesOf(node);
  Unref(node);
  for (int i = 0; i < level; ++i) path.steps[i].node->bytes -= freed;
  std::copy(inner->children() + index + 1, inner->children() + inner->count, inner->children() + index);
  if (--inner->count == 0) return RemoveChild(path, level - 1);
  if (inner->count < kChildrenMin) MergeInner(path, level - 1);
}

void ElementTree::MergeLeaf(Path& path) {
  const auto [inner, index] = path.steps[path.depth - 1];
  Child* children = inner->children();
  for (const uint32_t left_index : {index, index - 1}) {  // with the right neighbour, or the left one
    if (left_index >= inner->count || left_index + 1 >= inner->count) continue;
    auto* left = static_cast<Leaf*>(children[left_index].node);
    auto* right = static_cast<Leaf*>(children[left_index + 1].node);
    const size_t used = size_t{left->used} + right->used;
    const size_t count = size_t{left->count} + right->count;
    if (used > layout().leaf_bytes_max / 4 * 3 || count > layout().leaf_count_max / 4 * 3) continue;
    Leaf* merged = NewLeaf(used);
    memcpy(merged->data(), left->data(), left->used);
    memcpy(merged->data() + left->used, right->data(), right->used);
    merged->used = static_cast<uint32_t>(used);
    merged->count = static_cast<uint32_t>(count);
    const int64_t grown = static_cast<int64_t>(BytesOf(merged)) - static_cast<int64_t>(BytesOf(left) + BytesOf(right));
    Unref(left);
    Unref(right);
    children[left_index].node = merged;
    children[left_index].count = count;
    std::copy(children + left_index + 2, children + inner->count, children + left_index + 1);
    --inner->count;
    for (int i = 0; i < path.depth; ++i) path.steps[i].node->bytes += grown;
    if (inner->count < kChildrenMin) MergeInner(path, path.depth - 1);
    return;
  }
}

void ElementTree::MergeInner(Path& path, int level) {
  if (level == 0) return;
  const auto [parent, index] = path.steps[level - 1];
  Child* siblings = parent->children();
  for (const uint32_t left_index : {index, index - 1}) {
    if (left_index >= parent->count || left_index + 1 >= parent->count) continue;
    auto* left = static_cast<Inner*>(siblings[left_index].node);
    auto* right = static_cast<Inner*>(siblings[left_index + 1].node);
    const uint32_t count = left->count + right->count;
    if (count > kChildrenMerged) continue;
    Inner* merged = NewInner(count, left->level);
    merged->count = count;
    std::copy_n(left->children(), left->count, merged->children());
    std::copy_n(right->children(), right->count, merged->children() + left->count);
    merged->children()[left->count].key = siblings[left_index + 1].key;
    merged->elements = left->elements + right->elements;
    const size_t shells = malloc_usable_size(left) + malloc_usable_size(right);
    const int64_t grown = static_cast<int64_t>(merged->bytes) - static_cast<int64_t>(shells);
    merged->bytes += left->bytes + right->bytes - shells;
    UnrefShell(left);
    UnrefShell(right);
    siblings[left_index].node = merged;
    siblings[left_index].count = merged->elements;
    std::copy(siblings + left_index + 2, siblings + parent->count, siblings + left_index + 1);
    --parent->count;
    for (int i = 0; i < level; ++i) path.steps[i].node->bytes += grown;
    if (parent->count < kChildrenMin) MergeInner(path, level - 1);
    return;
  }
}

void ElementTree::ShrinkRoot() {
  while (root_ != nullptr && root_->level > 0 && root_->count == 1) {
    auto* inner = static_cast<Inner*>(root_);
    root_ = inner->children()[0].node;
    UnrefShell(inner);
  }
}

}  // namespace tessera::store
