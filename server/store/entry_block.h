// Building, freeing and taking apart the blocks that entry.h describes. For the store's own files only.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "server/store/context.h"
#include "server/store/entry.h"

namespace tessera::store {

// Entries above this keep their value on the heap.
inline constexpr size_t kEntryBytesMax = 1024;
// Longer keys live on the heap as well.
inline constexpr size_t kKeyBytesInlineMax = 512;
inline constexpr size_t kAccessOffset = 1;
inline constexpr size_t kKeyLengthOffset = 4;
inline constexpr size_t kExpiryBytes = 6;

inline size_t VarintBytes(size_t value) {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : value < 0x10000000 ? 4 : 5;
}

inline const uint8_t* ReadVarint(const uint8_t* p, size_t* value) {
  size_t result = *p & 0x7f;
  for (int shift = 7; *p++ & 0x80; shift += 7) result |= size_t{*p & 0x7fu} << shift;
  *value = result;
  return p;
}

inline uint8_t* WriteVarint(uint8_t* p, size_t value) {
  while (value >= 0x80) {
    *p++ = static_cast<uint8_t>(value | 0x80);
    value >>= 7;
  }
  *p++ = static_cast<uint8_t>(value);
  return p;
}

// Where the parts of a block are.
struct EntryParts {
  const uint8_t* expiry;  // only meaningful with the expiry bit
  const uint8_t* key;
  size_t key_size;
  const uint8_t* value;
};

inline EntryParts PartsOf(const uint8_t* block) {
  EntryParts parts;
  parts.expiry = ReadVarint(block + kKeyLengthOffset, &parts.key_size);
  parts.key = parts.expiry + ((block[0] & EntryRef::kExpiryBit) != 0 ? kExpiryBytes : 0);
  parts.value = parts.key + parts.key_size;
  if (__builtin_expect((block[0] & EntryRef::kLongKeyBit) != 0, 0)) {
    const HeapString* key;
    memcpy(&key, parts.key, sizeof(key));
    parts.key = reinterpret_cast<const uint8_t*>(key->data());
    parts.key_size = key->size;
  }
  return parts;
}

inline std::string_view KeyOf(const uint8_t* block) {
  const EntryParts parts = PartsOf(block);
  return {reinterpret_cast<const char*>(parts.key), parts.key_size};
}

inline bool KeyEquals(const uint8_t* block, std::string_view key) {
  const EntryParts parts = PartsOf(block);
  return parts.key_size == key.size() && memcmp(parts.key, key.data(), key.size()) == 0;
}

inline void StoreAccessBits(uint8_t* block, uint32_t bits) {
  block[kAccessOffset] = static_cast<uint8_t>(bits);
  block[kAccessOffset + 1] = static_cast<uint8_t>(bits >> 8);
  block[kAccessOffset + 2] = static_cast<uint8_t>(bits >> 16);
}

inline void StoreExpiry(uint8_t* block, int64_t expiry_ms) {
  uint8_t* at = const_cast<uint8_t*>(PartsOf(block).expiry);
  for (size_t i = 0; i < kExpiryBytes; ++i) at[i] = static_cast<uint8_t>(expiry_ms >> (8 * i));
}

// A value on its way into a block.
struct EntryValue {
  Encoding encoding = Encoding::kRaw;
  bool modified = false;    // shown as "raw" whatever its length
  std::string_view bytes;   // kRaw
  size_t zeros = 0;         // kRaw: appended after `bytes`
  bool room_ahead = false;  // kRaw: on the heap with room to grow
  int64_t integer = 0;      // kInt*
  void* pointer = nullptr;  // kHeap, kObject

  static EntryValue Integer(int64_t value);
  // The value of a block, pointers borrowed.
  static EntryValue Of(const uint8_t* block);
  size_t EncodedBytes() const;
};

// A key on its way into a block; `heap` is set for keys longer than kKeyBytesInlineMax and owned by the block.
struct EntryKey {
  std::string_view text;
  HeapString* heap = nullptr;
  size_t EncodedBytes() const { return heap != nullptr ? sizeof(heap) : text.size(); }
  // The key of a block, the pointer borrowed.
  static EntryKey Of(const uint8_t* block);
};

// Everything before the value, for a key of `key_bytes` encoded bytes.
inline size_t EntryHeadBytes(size_t key_bytes, bool has_expiry) {
  return kKeyLengthOffset + VarintBytes(key_bytes) + (has_expiry ? kExpiryBytes : 0) + key_bytes;
}
size_t EntryBytes(const EntryKey& key, bool has_expiry, const EntryValue& value);

// Writes a block of EntryBytes at `out`, which must not overlap any of the inputs.
void WriteEntry(uint8_t* out, const EntryKey& key, int64_t expiry_ms, uint32_t access_bits, const EntryValue& value);

// Heap strings, counted in `context.heap_bytes`. Null when the heap refuses.
HeapString* NewHeapString(StoreContext& context, size_t size, size_t capacity);
HeapString* GrowHeapString(StoreContext& context, HeapString* string, size_t capacity);
void FreeHeapString(StoreContext& context, HeapString* string);

// Frees what the value of a block owns on the heap, if anything; the block must not be used for its value afterwards.
void FreeOwnedValue(StoreContext& context, const uint8_t* block);
// Frees a block with everything it owns.
void FreeEntry(StoreContext& context, uint32_t handle);
// The same, except for the value, which belongs to another entry now.
void FreeEntryOnly(StoreContext& context, uint32_t handle);

}  // namespace tessera::store
