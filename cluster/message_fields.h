// The fields that messages of the cluster bus are made of, to be written and read one after the other. Private to
// cluster/message*.cc, which have the grammar.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "cluster/types.h"

namespace tessera::cluster {

constexpr size_t kAddressSize = 46;
constexpr size_t kSlotBytes = kSlotCount / 8;

// A set of slots in memory is what it is on the wire: every message carries one, and bit by bit they took half of the
// codec's time. The golden bytes would notice another library or byte order.
static_assert(sizeof(SlotSet) == kSlotBytes && std::is_trivially_copyable_v<SlotSet>);
static_assert(std::endian::native == std::endian::little);

// Appends fields in order; offsets follow from the grammar in message.cc and are pinned by golden bytes in the tests.
class FieldWriter {
 public:
  void U8(uint8_t v) { out_.push_back(static_cast<char>(v)); }
  void U16(uint16_t v) { Integer(v, 2); }
  void U32(uint32_t v) { Integer(v, 4); }
  void U64(uint64_t v) { Integer(v, 8); }
  void Zeros(size_t n) { out_.append(n, '\0'); }
  void Raw(std::string_view bytes) { out_.append(bytes); }
  void Id(const NodeId& id) { Padded(id.view(), NodeId::kLength); }
  // Text in a field of `size` bytes; what does not fit is cut.
  void Padded(std::string_view text, size_t size) {
    text = text.substr(0, size);
    out_.append(text);
    Zeros(size - text.size());
  }
  void Slots(const SlotSet& slots) { out_.append(reinterpret_cast<const char*>(&slots), kSlotBytes); }
  void PatchU32(size_t at, uint32_t v) {
    for (int i = 0; i < 4; ++i) out_[at + i] = static_cast<char>(v >> (24 - 8 * i));
  }
  size_t size() const { return out_.size(); }
  void Reserve(size_t n) { out_.reserve(n); }
  std::string Take() { return std::move(out_); }

 private:
  void Integer(uint64_t v, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) out_.push_back(static_cast<char>(v >> (8 * i)));
  }
  std::string out_;
};

// Reads fields in order. The first read past the end, or an id that is none, makes it fail for good; reads then return
// zeros, so the caller asks once at the end.
class FieldReader {
 public:
  explicit FieldReader(std::string_view bytes) : rest_(bytes) {}
  uint8_t U8() { return static_cast<uint8_t>(Integer(1)); }
  uint16_t U16() { return static_cast<uint16_t>(Integer(2)); }
  uint32_t U32() { return static_cast<uint32_t>(Integer(4)); }
  uint64_t U64() { return Integer(8); }
  std::string_view Raw(size_t n) {
    if (n > rest_.size()) {
      Fail("truncated");
      return {};
    }
    std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }
  // Zero-terminated text in a field of `size` bytes.
  std::string Padded(size_t size) {
    std::string_view field = Raw(size);
    return std::string(field.substr(0, std::min(field.size(), field.find('\0'))));
  }
  // The same for a name or an address; none when it is not a single word. It goes into nodes.conf and CLUSTER NODES,
  // where anything else would be read as something else, or keep this node from starting again.
  std::string Word(size_t size) {
    std::string text = Padded(size);
    return IsWord(text) ? text : std::string();
  }
  NodeId Id() {
    std::string_view field = Raw(NodeId::kLength);
    if (!error_.empty()) return {};
    if (!NodeId::IsValid(field)) {
      Fail("invalid node id");
      return {};
    }
    return NodeId(field);
  }
  NodeId IdOrNone() {
    std::string_view field = rest_.substr(0, NodeId::kLength);
    if (field.size() == NodeId::kLength && field.find_first_not_of('\0') == std::string_view::npos) {
      rest_.remove_prefix(NodeId::kLength);
      return {};
    }
    return Id();
  }
  SlotSet Slots() {
    SlotSet slots;
    std::string_view field = Raw(kSlotBytes);
    if (!field.empty()) std::memcpy(static_cast<void*>(&slots), field.data(), kSlotBytes);
    return slots;
  }
  void Fail(std::string_view reason) {
    if (error_.empty()) error_ = reason;
    rest_ = {};
  }
  const std::string& error() const { return error_; }
  size_t left() const { return rest_.size(); }

 private:
  static bool IsWord(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) {
      const auto byte = static_cast<unsigned char>(c);
      return byte > ' ' && byte != 0x7f && byte != ',' && byte != '"' && byte != '\'' && byte != '\\';
    });
  }
  uint64_t Integer(size_t bytes) {
    uint64_t v = 0;
    for (char c : Raw(bytes)) v = v << 8 | static_cast<unsigned char>(c);
    return v;
  }
  std::string_view rest_;
  std::string error_;
};

}  // namespace tessera::cluster
