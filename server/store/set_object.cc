#include "server/store/set_object.h"

#include <algorithm>
#include <utility>

namespace tessera::store {
namespace {

size_t TextLength(int64_t value) {
  IntScratch scratch;
  return RenderInteger(value, scratch).size();
}

}  // namespace

std::string_view Set::encoding() const {
  switch (form_) {
    case Form::kIntset:
      return "intset";
    case Form::kListpack:
      return "listpack";
    case Form::kHashtable:
      return "hashtable";
  }
  return {};
}

std::unique_ptr<Object> Set::Clone() const {
  auto copy = std::make_unique<Set>(0);
  copy->tree_ = tree_.Clone();
  copy->ints_ = ints_.Clone();
  copy->form_ = form_;
  return copy;
}

bool Set::Contains(std::string_view member) const {
  if (form_ == Form::kIntset) {
    const auto integer = ParseCanonicalInteger(member);
    return integer && ints_.Contains(*integer);
  }
  if (tree_.empty()) return false;
  PackBuffer packed;
  AppendPacked(member, &packed);
  return tree_.Find(packed).valid();
}

bool Set::Contains(const Unpacked& member) const {
  if (form_ == Form::kIntset) return member.is_integer() && ints_.Contains(member.integer);
  if (tree_.empty()) return false;
  PackBuffer packed;
  // What was packed as a text is no number.
  member.is_integer() ? AppendPackedInteger(member.integer, &packed) : AppendPackedBytes(member.text, &packed);
  return tree_.Find(packed).valid();
}

Unpacked Set::At(uint64_t index) const {
  if (form_ == Form::kIntset) return {.form = Unpacked::Form::kInteger, .integer = ints_.At(index)};
  return tree_.At(index).value();
}

Unpacked Set::Walk::value() const {
  if (set_.form_ != Form::kIntset) return at_.value();
  return {.form = Unpacked::Form::kInteger, .integer = set_.ints_.At(index_)};
}

bool Set::Finder::Contains(const Walk& walk) {
  // Two trees pack a member alike.
  if (set_->form_ == Form::kIntset || walk.set_.form_ == Form::kIntset) return set_->Contains(walk.value());
  return tree_.Contains(walk.at_.bytes());
}

void Set::Walk::Next() {
  if (set_.form_ == Form::kIntset) {
    ++index_;
  } else {
    at_.Next();
  }
}

void Set::Become(Form form) {
  if (form_ == Form::kIntset) {
    for (size_t i = 0; i < ints_.size(); ++i) {
      PackBuffer packed;
      AppendPackedInteger(ints_.At(i), &packed);
      tree_.Add(packed);
    }
    ints_.Clear();
  }
  form_ = form;
  if (form == Form::kHashtable) tree_.SetLimited();
}

void Set::Begin(std::string_view first, uint64_t count, const SetLimits& limits) {
  if (count <= limits.intset_entries_max && ParseCanonicalInteger(first)) return;
  Become(count <= limits.listpack_entries_max ? Form::kListpack : Form::kHashtable);
}

void Set::Expect(uint64_t count, const SetLimits& limits) {
  if (form_ == Form::kIntset ? count > limits.intset_entries_max
                             : form_ == Form::kListpack && count > limits.listpack_entries_max) {
    Become(Form::kHashtable);
  }
}

bool Set::LongestIntegerFits(const SetLimits& limits) const {
  if (ints_.size() == 0) return true;
  return std::max(TextLength(ints_.At(0)), TextLength(ints_.At(ints_.size() - 1))) <= limits.listpack_value_bytes_max;
}

bool Set::Add(std::string_view member, const SetLimits& limits) {
  if (const auto integer = ParseCanonicalInteger(member)) {
    return Add(Unpacked{.form = Unpacked::Form::kInteger, .integer = *integer}, limits);
  }
  return Add(Unpacked{.text = member}, limits);
}

bool Set::Add(const Unpacked& member, const SetLimits& limits) {
  if (form_ == Form::kIntset && member.is_integer()) {
    if (!ints_.Insert(member.integer)) return false;
    if (ints_.size() > limits.intset_entries_max) Become(Form::kHashtable);
    return true;
  }
  PackBuffer packed;
  if (member.is_integer()) {
    AppendPackedInteger(member.integer, &packed);
  } else {
    AppendPackedBytes(member.text, &packed);
  }
  if (form_ != Form::kIntset && tree_.Find(packed).valid()) return false;
  if (form_ != Form::kHashtable) {
    const size_t length = member.is_integer() ? TextLength(member.integer) : member.text.size();
    const bool fits = size() < limits.listpack_entries_max && length <= limits.listpack_value_bytes_max &&
                      LongestIntegerFits(limits);
    if (!fits) {
      Become(Form::kHashtable);
    } else if (form_ == Form::kIntset) {
      Become(Form::kListpack);
    }
  }
  tree_.Add(packed);
  return true;
}

bool Set::Erase(std::string_view member) {
  const auto integer = ParseCanonicalInteger(member);
  if (form_ == Form::kIntset) return integer && ints_.Erase(*integer);
  PackBuffer packed;
  AppendPacked(member, &packed);
  const ElementTree::Cursor found = tree_.Find(packed);
  if (!found.valid()) return false;
  tree_.Erase(found);
  return true;
}

}  // namespace tessera::store
