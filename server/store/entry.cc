#include "server/store/entry.h"

#include <malloc.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <utility>

#include "server/store/check.h"
#include "server/store/entry_block.h"
#include "server/store/reclaimer.h"

namespace tessera::store {
namespace {

// The share of a bucket that one entry uses, at the usual fill.
constexpr size_t kTableShareBytes = 7;

size_t IntegerBytes(Encoding encoding) {
  return size_t{1} << (static_cast<int>(encoding) - static_cast<int>(Encoding::kInt8));
}

bool IsInteger(Encoding encoding) { return encoding >= Encoding::kInt8 && encoding <= Encoding::kInt64; }

int64_t ReadInteger(const uint8_t* p, Encoding encoding) {
  switch (encoding) {
    case Encoding::kInt8:
      return static_cast<int8_t>(*p);
    case Encoding::kInt16: {
      int16_t value;
      memcpy(&value, p, sizeof(value));
      return value;
    }
    case Encoding::kInt32: {
      int32_t value;
      memcpy(&value, p, sizeof(value));
      return value;
    }
    default: {
      int64_t value;
      memcpy(&value, p, sizeof(value));
      return value;
    }
  }
}

void* ReadPointer(const uint8_t* p) {
  void* pointer;
  memcpy(&pointer, p, sizeof(pointer));
  return pointer;
}

std::string_view ReadBytes(const uint8_t* p) {
  size_t size;
  p = ReadVarint(p, &size);
  return {reinterpret_cast<const char*>(p), size};
}

}  // namespace

std::string_view TypeName(Type type) {
  switch (type) {
    case Type::kString:
      return "string";
    case Type::kList:
      return "list";
    case Type::kSet:
      return "set";
    case Type::kZset:
      return "zset";
    case Type::kHash:
      return "hash";
    case Type::kStream:
      return "stream";
  }
  return "none";
}

std::optional<int64_t> ParseCanonicalInteger(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  const bool negative = text[0] == '-';
  if (negative && text.size() == 1) return std::nullopt;
  const char first = text[negative ? 1 : 0];
  if (first < '0' || first > '9') return std::nullopt;
  if (first == '0' && text.size() > 1) return std::nullopt;  // "01", "-0", "-01"
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string_view RenderInteger(int64_t value, IntScratch& scratch) {
  const auto result = std::to_chars(scratch.text, scratch.text + sizeof(scratch.text), value);
  return {scratch.text, static_cast<size_t>(result.ptr - scratch.text)};
}

Type EntryRef::type() const { return encoding() == Encoding::kObject ? object()->type() : Type::kString; }

std::string_view EntryRef::encoding_name() const {
  const Encoding kind = encoding();
  if (kind == Encoding::kObject) return object()->encoding();
  if (IsInteger(kind)) return "int";
  if (kind == Encoding::kHeap || (block_[0] & kModifiedBit) != 0) return "raw";
  return string_length() <= kEmbstrLengthMax ? "embstr" : "raw";
}

std::string_view EntryRef::key() const { return KeyOf(block_); }

int64_t EntryRef::expiry_ms() const {
  if (!has_expiry()) return kNoExpiry;
  const uint8_t* p = PartsOf(block_).expiry;
  int64_t expiry = 0;
  for (size_t i = 0; i < kExpiryBytes; ++i) expiry |= int64_t{p[i]} << (8 * i);
  return expiry;
}

std::string_view EntryRef::AsString(IntScratch& scratch) const {
  const uint8_t* value = PartsOf(block_).value;
  switch (encoding()) {
    case Encoding::kRaw:
      return ReadBytes(value);
    case Encoding::kHeap: {
      const auto* string = static_cast<const HeapString*>(ReadPointer(value));
      return {string->data(), string->size};
    }
    case Encoding::kObject:
      STORE_CHECK(false);
      return {};
    default:
      return RenderInteger(ReadInteger(value, encoding()), scratch);
  }
}

std::optional<int64_t> EntryRef::AsInteger() const {
  const Encoding kind = encoding();
  if (IsInteger(kind)) return ReadInteger(PartsOf(block_).value, kind);
  if (kind != Encoding::kRaw) return std::nullopt;  // heap strings are longer than any number
  return ParseCanonicalInteger(ReadBytes(PartsOf(block_).value));
}

size_t EntryRef::string_length() const {
  const uint8_t* value = PartsOf(block_).value;
  if (encoding() == Encoding::kRaw) return ReadBytes(value).size();
  IntScratch scratch;
  return AsString(scratch).size();
}

Object* EntryRef::object() const {
  return encoding() == Encoding::kObject ? static_cast<Object*>(ReadPointer(PartsOf(block_).value)) : nullptr;
}

size_t EntryRef::MemoryBytes() const {
  const EntryKey key = EntryKey::Of(block_);
  const EntryValue value = EntryValue::Of(block_);
  size_t bytes = Arena::RoundUp(EntryBytes(key, has_expiry(), value)) + kTableShareBytes;
  if (key.heap != nullptr) bytes += malloc_usable_size(key.heap);
  if (value.encoding == Encoding::kHeap) bytes += malloc_usable_size(value.pointer);
  if (value.encoding == Encoding::kObject) bytes += static_cast<const Object*>(value.pointer)->MemoryBytes();
  return bytes;
}

EntryValue EntryValue::Integer(int64_t value) {
  Encoding encoding = Encoding::kInt64;
  if (value == static_cast<int8_t>(value)) {
    encoding = Encoding::kInt8;
  } else if (value == static_cast<int16_t>(value)) {
    encoding = Encoding::kInt16;
  } else if (value == static_cast<int32_t>(value)) {
    encoding = Encoding::kInt32;
  }
  return {.encoding = encoding, .integer = value};
}

EntryValue EntryValue::Of(const uint8_t* block) {
  const EntryParts parts = PartsOf(block);
  EntryValue value{.encoding = EntryRef(block).encoding(), .modified = (block[0] & EntryRef::kModifiedBit) != 0};
  switch (value.encoding) {
    case Encoding::kRaw:
      value.bytes = ReadBytes(parts.value);
      break;
    case Encoding::kHeap:
    case Encoding::kObject:
      value.pointer = ReadPointer(parts.value);
      break;
    default:
      value.integer = ReadInteger(parts.value, value.encoding);
  }
  return value;
}

size_t EntryValue::EncodedBytes() const {
  switch (encoding) {
    case Encoding::kRaw:
      return VarintBytes(bytes.size() + zeros) + bytes.size() + zeros;
    case Encoding::kHeap:
    case Encoding::kObject:
      return sizeof(void*);
    default:
      return IntegerBytes(encoding);
  }
}

EntryKey EntryKey::Of(const uint8_t* block) {
  const EntryParts parts = PartsOf(block);
  EntryKey key{.text = {reinterpret_cast<const char*>(parts.key), parts.key_size}};
  if ((block[0] & EntryRef::kLongKeyBit) != 0) {
    // The text is the HeapString's own; step back to its head.
    key.heap = reinterpret_cast<HeapString*>(const_cast<uint8_t*>(parts.key)) - 1;
  }
  return key;
}

size_t EntryBytes(const EntryKey& key, bool has_expiry, const EntryValue& value) {
  return EntryHeadBytes(key.EncodedBytes(), has_expiry) + value.EncodedBytes();
}

void WriteEntry(uint8_t* out, const EntryKey& key, int64_t expiry_ms, uint32_t access_bits, const EntryValue& value) {
  const bool has_expiry = expiry_ms != kNoExpiry;
  out[0] = static_cast<uint8_t>(value.encoding) | (has_expiry ? EntryRef::kExpiryBit : 0) |
           (value.modified ? EntryRef::kModifiedBit : 0) | (key.heap != nullptr ? EntryRef::kLongKeyBit : 0);
  StoreAccessBits(out, access_bits);
  const size_t key_bytes = key.EncodedBytes();
  uint8_t* p = WriteVarint(out + kKeyLengthOffset, key_bytes);
  if (has_expiry) {
    for (size_t i = 0; i < kExpiryBytes; ++i) *p++ = static_cast<uint8_t>(expiry_ms >> (8 * i));
  }
  if (key.heap != nullptr) {
    memcpy(p, &key.heap, sizeof(key.heap));
  } else if (key_bytes > 0) {
    memcpy(p, key.text.data(), key_bytes);
  }
  p += key_bytes;
  switch (value.encoding) {
    case Encoding::kRaw:
      p = WriteVarint(p, value.bytes.size() + value.zeros);
      if (!value.bytes.empty()) memcpy(p, value.bytes.data(), value.bytes.size());
      memset(p + value.bytes.size(), 0, value.zeros);
      break;
    case Encoding::kHeap:
    case Encoding::kObject:
      memcpy(p, &value.pointer, sizeof(value.pointer));
      break;
    default:
      memcpy(p, &value.integer, IntegerBytes(value.encoding));  // little endian
  }
}

HeapString* NewHeapString(StoreContext& context, size_t size, size_t capacity) {
  auto* string = static_cast<HeapString*>(malloc(sizeof(HeapString) + capacity));
  if (string == nullptr) return nullptr;
  string->size = size;
  string->capacity = capacity;
  context.heap_bytes += malloc_usable_size(string);
  return string;
}

HeapString* GrowHeapString(StoreContext& context, HeapString* string, size_t capacity) {
  const size_t old_bytes = malloc_usable_size(string);
  auto* grown = static_cast<HeapString*>(realloc(static_cast<void*>(string), sizeof(HeapString) + capacity));
  if (grown == nullptr) return nullptr;
  grown->capacity = capacity;
  context.heap_bytes += malloc_usable_size(grown) - old_bytes;
  return grown;
}

void FreeHeapString(StoreContext& context, HeapString* string) {
  const size_t bytes = malloc_usable_size(string);
  context.heap_bytes -= bytes;
  if (context.reclaimer != nullptr && bytes > kReclaimHeapBytesMin) {
    context.reclaimer->FreeHeap(string);
  } else {
    free(string);
  }
}

void FreeOwnedValue(StoreContext& context, const uint8_t* block) {
  const Encoding encoding = EntryRef(block).encoding();
  if (encoding < Encoding::kHeap) return;
  void* pointer = ReadPointer(PartsOf(block).value);
  if (encoding == Encoding::kHeap) {
    FreeHeapString(context, static_cast<HeapString*>(pointer));
    return;
  }
  std::unique_ptr<Object> object(static_cast<Object*>(pointer));
  context.heap_bytes -= object->MemoryBytes();
  if (context.reclaimer != nullptr && object->FreeEffort() > kReclaimEffortMin) {
    context.reclaimer->Free(std::move(object));
  }
}

void FreeEntryOnly(StoreContext& context, uint32_t handle) {
  HeapString* long_key = EntryKey::Of(context.arena.At(handle)).heap;
  if (long_key != nullptr) FreeHeapString(context, long_key);
  context.arena.Free(handle);
}

void FreeEntry(StoreContext& context, uint32_t handle) {
  FreeOwnedValue(context, context.arena.At(handle));
  FreeEntryOnly(context, handle);
}

}  // namespace tessera::store
