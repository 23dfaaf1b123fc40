// One key with its value and expiry, packed into a single arena block.
//
// Layout, in this order and without padding:
//   u8       kind: encoding (bits 0-2), has expiry (3), modified in place (4), long key (5)
//   u24 LE   access bits: LRU clock in seconds modulo 2^24, or LFU minutes (16 bits) and counter (8 bits)
//   varint   key length
//   u48 LE   expiry, unix milliseconds (only with the expiry bit)
//   bytes    key; with the long key bit a pointer to a HeapString instead (the length is then that of the pointer)
//   value    kRaw: varint length, bytes; kInt8 … kInt64: 1, 2, 4 or 8 bytes LE;
//            kHeap: pointer to a HeapString; kObject: pointer to an Object
//
// An EntryRef is a view: it stays valid until the next change of the keyspace (any mutating call on Keyspace or
// Database, and any Lookup, which may delete an expired key). One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

namespace tessera::store {

enum class Type : uint8_t { kString, kList, kSet, kZset, kHash, kStream };

// As TYPE prints it.
std::string_view TypeName(Type type);

// Base of every value that is not a string. The entry owns it and deletes it with the key. Changed in place between
// Database::BeginEdit and EndEdit only.
class Object {
 public:
  virtual ~Object() = default;
  virtual Type type() const = 0;
  // As OBJECT ENCODING prints it.
  virtual std::string_view encoding() const = 0;
  // Elements; a value without any goes away with its key, streams apart.
  virtual uint64_t size() const = 0;
  // Heap bytes held, this object included. O(1).
  virtual size_t MemoryBytes() const = 0;
  // A value of its own with the same elements. O(1) for large values: what is equal is shared until one of them changes.
  // The clone may be used and destroyed on another thread.
  virtual std::unique_ptr<Object> Clone() const = 0;
  // When the first of its elements expires (hash fields), in unix milliseconds; kNoExpiry: none does. O(log n).
  virtual int64_t FirstElementExpiryMs() const { return -1; }
  // What destroying it costs, in allocations to be freed; from kReclaimEffortMin on (reclaimer.h) the destructor runs on
  // another thread. O(1).
  virtual size_t FreeEffort() const { return 1; }
};

// A string (or key) too long for the arena.
struct HeapString {
  size_t size;
  size_t capacity;
  char* data() { return reinterpret_cast<char*>(this + 1); }
  const char* data() const { return reinterpret_cast<const char*>(this + 1); }
};

// Room for a rendered int64.
struct IntScratch {
  char text[24];
};

// Longest string that OBJECT ENCODING calls embstr.
inline constexpr size_t kEmbstrLengthMax = 44;
inline constexpr int64_t kNoExpiry = -1;
// What 48 bits hold; later expiries are clamped to it (year 10889).
inline constexpr int64_t kExpiryMsMax = (int64_t{1} << 48) - 1;

enum class Encoding : uint8_t { kRaw, kInt8, kInt16, kInt32, kInt64, kHeap, kObject };

// Text of `value` if it is the canonical decimal form of an int64 (at most 20 characters), as Redis decides on "int".
std::optional<int64_t> ParseCanonicalInteger(std::string_view text);
std::string_view RenderInteger(int64_t value, IntScratch& scratch);

class EntryRef {
 public:
  EntryRef() = default;
  explicit EntryRef(const uint8_t* block) : block_(block) {}

  explicit operator bool() const { return block_ != nullptr; }

  Type type() const;
  // OBJECT ENCODING: int, embstr, raw, or the object's own name.
  std::string_view encoding_name() const;
  std::string_view key() const;

  bool has_expiry() const { return (block_[0] & kExpiryBit) != 0; }
  // Unix milliseconds, or kNoExpiry.
  int64_t expiry_ms() const;

  // Strings only. Integers are rendered into `scratch`; everything else is a view of the entry.
  std::string_view AsString(IntScratch& scratch) const;
  // The value as a number: stored integers directly, other strings only when canonical (leading zeros, spaces and plus
  // signs are refused, as Redis does for INCR). Empty for other types.
  std::optional<int64_t> AsInteger() const;
  // STRLEN.
  size_t string_length() const;

  // Null for strings.
  Object* object() const;

  // Raw LRU or LFU bits; Keyspace::IdleSeconds and Keyspace::Frequency interpret them.
  uint32_t access_bits() const { return block_[1] | block_[2] << 8 | block_[3] << 16; }

  // MEMORY USAGE: the block, what it owns on the heap, and the share of the table.
  size_t MemoryBytes() const;

  // For the store itself.
  static constexpr uint8_t kEncodingMask = 0x07;
  static constexpr uint8_t kExpiryBit = 0x08;
  static constexpr uint8_t kModifiedBit = 0x10;
  static constexpr uint8_t kLongKeyBit = 0x20;
  Encoding encoding() const { return static_cast<Encoding>(block_[0] & kEncodingMask); }
  const uint8_t* block() const { return block_; }

 private:
  const uint8_t* block_ = nullptr;
};

}  // namespace tessera::store
