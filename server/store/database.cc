// Reading and changing keys: the door, and everything that goes through it.
#include <algorithm>
#include <cstring>

#include "server/store/check.h"
#include "server/store/entry_block.h"
#include "server/store/hash_object.h"
#include "server/store/keyspace.h"
#include "server/store/keyspace_tables.h"
#include "server/store/snapshot.h"

namespace tessera::store {
namespace {

// Capacity for a string that is being built in place: twice its size, but at most a megabyte more.
size_t GrowthCapacity(size_t length) {
  constexpr size_t kExtraMax = 1024 * 1024;
  return length + std::min(length, kExtraMax);
}

int64_t ClampExpiry(int64_t expiry_ms) { return std::min(expiry_ms, kExpiryMsMax); }

int64_t ExpiryAfter(Expiry expiry, EntryRef old_entry) {
  if (expiry.none()) return kNoExpiry;
  if (expiry.keep()) return old_entry ? old_entry.expiry_ms() : kNoExpiry;
  return ClampExpiry(expiry.at_ms());
}

uint8_t* MutableBlock(EntryRef entry) { return const_cast<uint8_t*>(entry.block()); }

}  // namespace

Database::Database(Keyspace& keyspace, int index)
    : keyspace_(keyspace),
      index_(index),
      tables_(std::make_shared<KeyspaceTables>(keyspace.options_.cluster ? kSlotCount : 1)) {}

Database::~Database() = default;

uint64_t Database::size() const { return tables_->size; }
uint64_t Database::volatile_count() const { return tables_->volatile_count; }

StoreContext& Database::context() const { return keyspace_.internals_->context; }

Table& Database::TableOf(const KeyRef& key) const {
  return tables_->tables[keyspace_.options_.cluster ? key.slot() : 0];
}

KeyRef Database::Resolve(const KeyRef& key) const { return key.ready() ? key : keyspace_.Prepare(key.text()); }

EntryRef Database::At(const uint32_t* place) const {
  return place == nullptr ? EntryRef() : EntryRef(context().arena.At(*place));
}

bool Database::IsPastExpiry(EntryRef entry) const {
  return entry.has_expiry() && keyspace_.now_ms_ > entry.expiry_ms();
}

bool Database::IsExpired(EntryRef entry) const {
  return keyspace_.expiry_mode_ != ExpiryMode::kIgnore && IsPastExpiry(entry);
}

// ---- the door

void Database::BeforeChange(const KeyRef& key) {
  for (Snapshot* snapshot : keyspace_.snapshots_) snapshot->BeforeChange(tables_.get(), key.slot(), key.hash());
}

void Database::AfterChange(const KeyRef& key, ChangeKind kind) {
  for (ChangeObserver* observer : keyspace_.observers_) observer->OnChange(index_, key.slot(), key.text(), kind);
}

// ---- reading

EntryRef Database::Peek(const KeyRef& key) const {
  const KeyRef ready = Resolve(key);
  return At(TableOf(ready).Find(context(), ready.hash(), ready.text()));
}

EntryRef Database::Lookup(const KeyRef& key, LookupOptions options) {
  const KeyRef ready = Resolve(key);
  uint32_t* place = TableOf(ready).Find(context(), ready.hash(), ready.text());
  if (place == nullptr) return {};
  const EntryRef entry = At(place);
  if (IsPastExpiry(entry)) {
    switch (keyspace_.expiry_mode_) {
      case ExpiryMode::kDeleteExpired:
        EraseFound(ready, place, ChangeKind::kExpired);
        return {};
      case ExpiryMode::kHideExpired:
        if (options.viewer == Viewer::kClient) return {};
        break;
      case ExpiryMode::kIgnore:
        break;
    }
  }
  if (options.touch == Touch::kYes) TouchEntry(entry);
  return entry;
}

uint32_t* Database::FindLive(const KeyRef& key) {
  uint32_t* place = TableOf(key).Find(context(), key.hash(), key.text());
  if (place == nullptr || keyspace_.expiry_mode_ != ExpiryMode::kDeleteExpired || !IsPastExpiry(At(place)))
    return place;
  EraseFound(key, place, ChangeKind::kExpired);
  return nullptr;
}

void Database::PrefetchBucket(const KeyRef& prepared) const { TableOf(prepared).PrefetchBucket(prepared.hash()); }

void Database::PrefetchEntry(const KeyRef& prepared) const {
  TableOf(prepared).PrefetchEntry(context(), prepared.hash());
}

// ---- writing

// Puts `value` under `key`, whose present entry is at `place` (null: none). Values too long for a block go to the heap
// here; pointers in `value` become the entry's on success, and what the old entry owned and the new one does not is
// freed. Returns the entry's handle, or 0 when out of memory: nothing has changed then.
uint32_t Database::Store(const KeyRef& key, uint32_t* place, EntryValue value, int64_t expiry_ms, uint32_t access_bits,
                         ChangeKind kind) {
  StoreContext& context = this->context();
  HeapString* heap = nullptr;
  const bool has_expiry = expiry_ms != kNoExpiry;
  const EntryKey entry_key = place != nullptr ? EntryKey::Of(At(place).block()) : EntryKey{.text = key.text()};
  const size_t key_bytes = place != nullptr                             ? entry_key.EncodedBytes()
                           : entry_key.text.size() > kKeyBytesInlineMax ? sizeof(HeapString*)
                                                                        : entry_key.text.size();
  if (value.encoding == Encoding::kRaw &&
      EntryHeadBytes(key_bytes, has_expiry) + value.EncodedBytes() > kEntryBytesMax) {
    const size_t length = value.bytes.size() + value.zeros;
    heap = NewHeapString(context, length, value.room_ahead ? GrowthCapacity(length) : length);
    if (heap == nullptr) return 0;
    if (!value.bytes.empty()) memcpy(heap->data(), value.bytes.data(), value.bytes.size());
    memset(heap->data() + value.bytes.size(), 0, value.zeros);
    value = {.encoding = Encoding::kHeap, .modified = value.modified, .pointer = heap};
  }
  if (place == nullptr) {
    const uint32_t handle = StoreNew(key, value, expiry_ms, access_bits, kind);
    if (handle == 0 && heap != nullptr) FreeHeapString(context, heap);
    return handle;
  }

  const uint32_t old_handle = *place;
  uint8_t* old_block = context.arena.At(old_handle);
  const EntryRef old_entry(old_block);
  const int64_t old_expiry_ms = old_entry.expiry_ms();
  const EntryValue old_value = EntryValue::Of(old_block);
  const size_t old_bytes = EntryBytes(entry_key, old_entry.has_expiry(), old_value);
  const size_t new_bytes = EntryBytes(entry_key, has_expiry, value);
  uint32_t handle = old_handle;
  const bool in_place = Arena::RoundUp(old_bytes) == Arena::RoundUp(new_bytes);
  if (!in_place) {
    handle = context.arena.Allocate(new_bytes);
    if (handle == 0) {
      if (heap != nullptr) FreeHeapString(context, heap);
      return 0;
    }
  }
  BeforeChange(key);
  if (in_place) {
    // By way of the stack: the new text may be part of the old block.
    uint8_t fresh[kEntryBytesMax];
    WriteEntry(fresh, entry_key, expiry_ms, access_bits, value);
    if (old_value.pointer != nullptr && old_value.pointer != value.pointer) FreeOwnedValue(context, old_block);
    memcpy(old_block, fresh, new_bytes);
  } else {
    WriteEntry(context.arena.At(handle), entry_key, expiry_ms, access_bits, value);
    if (old_value.pointer != nullptr && old_value.pointer != value.pointer) FreeOwnedValue(context, old_block);
  }
  TableOf(key).Replace(context, key.hash(), place, handle, old_expiry_ms, expiry_ms);
  tables_->CountVolatile(int{has_expiry} - int{old_expiry_ms != kNoExpiry});
  // The caller's text may be the old block's.
  AfterChange(KeyRef(KeyOf(context.arena.At(handle)), key.hash(), key.slot()), kind);
  if (!in_place) context.arena.Free(old_handle);
  return handle;
}

uint32_t Database::StoreNew(const KeyRef& key, const EntryValue& value, int64_t expiry_ms, uint32_t access_bits,
                            ChangeKind kind) {
  StoreContext& context = this->context();
  EntryKey entry_key{.text = key.text()};
  if (key.text().size() > kKeyBytesInlineMax) {
    entry_key.heap = NewHeapString(context, key.text().size(), key.text().size());
    if (entry_key.heap == nullptr) return 0;
    memcpy(entry_key.heap->data(), key.text().data(), key.text().size());
  }
  const bool has_expiry = expiry_ms != kNoExpiry;
  const uint32_t handle = context.arena.Allocate(EntryBytes(entry_key, has_expiry, value));
  bool stored = handle != 0;
  if (stored) {
    WriteEntry(context.arena.At(handle), entry_key, expiry_ms, access_bits, value);
    BeforeChange(key);
    stored = TableOf(key).Insert(context, key.hash(), handle);
    if (!stored) context.arena.Free(handle);
  }
  if (!stored) {
    if (entry_key.heap != nullptr) FreeHeapString(context, entry_key.heap);
    return 0;
  }
  tables_->CountKey(key.slot(), 1);
  if (has_expiry) tables_->CountVolatile(1);
  AfterChange(key, kind);
  return handle;
}

void Database::EraseFound(const KeyRef& key, uint32_t* place, ChangeKind kind, ValueFate fate) {
  StoreContext& context = this->context();
  const uint32_t handle = *place;
  const EntryRef entry = At(place);
  BeforeChange(key);
  TableOf(key).Remove(context, key.hash(), handle);
  tables_->CountKey(key.slot(), -1);
  if (entry.has_expiry()) tables_->CountVolatile(-1);
  // The caller's text may be the entry's own, and the other way round it may be gone: the block is still here.
  const KeyRef name(entry.key(), key.hash(), key.slot());
  if (kind == ChangeKind::kExpired) {
    for (ChangeObserver* observer : keyspace_.observers_) observer->OnExpired(index_, key.slot(), name.text());
  }
  AfterChange(name, kind);
  if (fate == ValueFate::kFree) {
    FreeEntry(context, handle);
  } else {
    FreeEntryOnly(context, handle);
  }
}

bool Database::SetString(const KeyRef& key, std::string_view text, Expiry expiry, StringForm form) {
  const KeyRef ready = Resolve(key);
  uint32_t* place = FindLive(ready);
  EntryValue value{.bytes = text};
  if (form == StringForm::kTryInteger) {
    if (const auto integer = ParseCanonicalInteger(text)) value = EntryValue::Integer(*integer);
  }
  const EntryRef old_entry = At(place);
  const uint32_t access_bits =
      old_entry && keyspace_.access_policy_ == AccessPolicy::kLfu ? old_entry.access_bits() : InitialAccessBits();
  return Store(ready, place, value, ExpiryAfter(expiry, old_entry), access_bits,
               place != nullptr ? ChangeKind::kOverwritten : ChangeKind::kCreated) != 0;
}

bool Database::SetInteger(const KeyRef& key, int64_t integer, Expiry expiry) {
  const KeyRef ready = Resolve(key);
  uint32_t* place = FindLive(ready);
  const EntryRef old_entry = At(place);
  const uint32_t access_bits =
      old_entry && keyspace_.access_policy_ == AccessPolicy::kLfu ? old_entry.access_bits() : InitialAccessBits();
  return Store(ready, place, EntryValue::Integer(integer), ExpiryAfter(expiry, old_entry), access_bits,
               place != nullptr ? ChangeKind::kModified : ChangeKind::kCreated) != 0;
}

bool Database::SetObject(const KeyRef& key, std::unique_ptr<Object> object, Expiry expiry) {
  const KeyRef ready = Resolve(key);
  uint32_t* place = FindLive(ready);
  const EntryValue value{.encoding = Encoding::kObject, .pointer = object.get()};
  if (Store(ready, place, value, ExpiryAfter(expiry, At(place)), InitialAccessBits(),
            place != nullptr ? ChangeKind::kOverwritten : ChangeKind::kCreated) == 0) {
    return false;
  }
  context().heap_bytes += object->MemoryBytes();
  NoteElementExpiry(ready, *object);
  (void)object.release();
  return true;
}

void Database::NoteElementExpiry(const KeyRef& key, const Object& object) {
  const int64_t at_ms = object.FirstElementExpiryMs();
  if (at_ms == kNoExpiry) return;
  keyspace_.internals_->element_expiries.insert({at_ms, index_, std::string(key.text())});
}

bool Database::ExpireElements(const KeyRef& key, size_t limit) {
  const EntryRef entry = Peek(key);
  if (!entry) return false;
  const Object* found = entry.object();
  if (found == nullptr || found->type() != Type::kHash || keyspace_.expiry_mode_ != ExpiryMode::kDeleteExpired) return true;
  const int64_t first_ms = found->FirstElementExpiryMs();
  if (first_ms == kNoExpiry || first_ms >= keyspace_.now_ms_) return true;
  auto* hash = static_cast<Hash*>(BeginEdit(key));
  if (hash == nullptr) return false;  // the key itself had expired
  const std::vector<std::string> fields = hash->EraseDue(keyspace_.now_ms_, limit);
  const KeyRef ready = Resolve(key);
  for (ChangeObserver* observer : keyspace_.observers_) {
    observer->OnFieldsExpired(index_, ready.slot(), ready.text(), fields,
                              hash->size() == 0 ? ChangeObserver::Left::kNothing : ChangeObserver::Left::kSome);
  }
  return EndEdit(key, Edited::kYes);
}

Object* Database::BeginEdit(const KeyRef& key) {
  const KeyRef ready = Resolve(key);
  const EntryRef entry = At(FindLive(ready));
  if (!entry || entry.encoding() != Encoding::kObject) return nullptr;
  BeforeChange(ready);
  Object* object = entry.object();
  edited_bytes_ = object->MemoryBytes();
  return object;
}

bool Database::EndEdit(const KeyRef& key, Edited edited) {
  const KeyRef ready = Resolve(key);
  uint32_t* place = TableOf(ready).Find(context(), ready.hash(), ready.text());
  const EntryRef entry = At(place);
  const Object* object = entry.object();
  context().heap_bytes += object->MemoryBytes() - edited_bytes_;
  NoteElementExpiry(ready, *object);
  if (edited == Edited::kNo) return true;
  if (object->size() == 0 && object->type() != Type::kStream) {
    EraseFound(ready, place, ChangeKind::kDeleted);
    return false;
  }
  AfterChange(KeyRef(entry.key(), ready.hash(), ready.slot()),
              edited == Edited::kYes ? ChangeKind::kModified : ChangeKind::kInternal);
  return true;
}

std::optional<std::span<char>> Database::ResizeString(const KeyRef& key, size_t length, GrowthRoom room,
                                                      ChangeKind kind) {
  const KeyRef ready = Resolve(key);
  StoreContext& context = this->context();
  uint32_t* place = FindLive(ready);
  const EntryRef entry = At(place);
  if (entry && entry.encoding() == Encoding::kHeap) {
    BeforeChange(ready);
    EntryValue value = EntryValue::Of(entry.block());
    auto* string = static_cast<HeapString*>(value.pointer);
    if (length > string->capacity) {
      string = GrowHeapString(context, string, room == GrowthRoom::kAhead ? GrowthCapacity(length) : length);
      if (string == nullptr) return std::nullopt;
      memcpy(const_cast<uint8_t*>(PartsOf(entry.block()).value), &string, sizeof(string));
    }
    if (length > string->size) memset(string->data() + string->size, 0, length - string->size);
    string->size = length;
    TouchEntry(entry);
    AfterChange(KeyRef(entry.key(), ready.hash(), ready.slot()), kind);
    return std::span<char>(string->data(), length);
  }
  EntryValue value{.modified = true, .zeros = length};
  IntScratch scratch;
  if (entry) {
    value.bytes = entry.AsString(scratch);
    value.bytes = value.bytes.substr(0, std::min(value.bytes.size(), length));
    value.zeros = length - value.bytes.size();
    value.room_ahead = room == GrowthRoom::kAhead && value.zeros != 0;
    TouchEntry(entry);
  }
  const uint32_t handle = Store(ready, place, value, entry ? entry.expiry_ms() : kNoExpiry,
                                entry ? entry.access_bits() : InitialAccessBits(),
                                !entry && kind == ChangeKind::kModified ? ChangeKind::kCreated : kind);
  if (handle == 0) return std::nullopt;
  const std::string_view text = EntryRef(context.arena.At(handle)).AsString(scratch);
  return std::span<char>(const_cast<char*>(text.data()), text.size());
}

bool Database::SetExpiry(const KeyRef& key, int64_t unix_ms) {
  const KeyRef ready = Resolve(key);
  uint32_t* place = FindLive(ready);
  if (place == nullptr) return false;
  const EntryRef entry = At(place);
  return Store(ready, place, EntryValue::Of(entry.block()), ClampExpiry(std::max<int64_t>(unix_ms, 0)),
               entry.access_bits(), ChangeKind::kExpiry) != 0;
}

bool Database::ClearExpiry(const KeyRef& key) {
  const KeyRef ready = Resolve(key);
  uint32_t* place = FindLive(ready);
  if (place == nullptr) return false;
  const EntryRef entry = At(place);
  if (!entry.has_expiry()) return false;
  return Store(ready, place, EntryValue::Of(entry.block()), kNoExpiry, entry.access_bits(), ChangeKind::kExpiry) != 0;
}

bool Database::Erase(const KeyRef& key, EraseReason reason) {
  const KeyRef ready = Resolve(key);
  uint32_t* place = reason == EraseReason::kStoredNothing
                        ? TableOf(ready).Find(context(), ready.hash(), ready.text())
                        : FindLive(ready);
  if (place == nullptr) return false;
  ChangeKind kind = ChangeKind::kDeleted;
  if (reason == EraseReason::kEvicted) kind = ChangeKind::kEvicted;
  if (reason == EraseReason::kMovedAway) kind = ChangeKind::kMovedAway;
  EraseFound(ready, place, kind);
  return true;
}

bool Database::MoveEntry(const KeyRef& from, Database& target, const KeyRef& to, MoveOptions options) {
  const KeyRef source = Resolve(from);
  const KeyRef destination = target.Resolve(to);
  if (&target == this && source.text() == destination.text()) return FindLive(source) != nullptr;
  uint32_t* target_place = target.FindLive(destination);
  uint32_t* place = FindLive(source);
  if (place == nullptr) return false;
  const uint32_t handle = *place;
  const EntryRef entry = At(place);
  const EntryValue value = EntryValue::Of(entry.block());
  // Until the source is erased, both entries know the same heap value.
  if (target.Store(destination, target_place, value, ExpiryAfter(options.expiry, entry), entry.access_bits(),
                   target_place != nullptr ? ChangeKind::kOverwritten : ChangeKind::kCreated) == 0) {
    return false;
  }
  if (const Object* object = entry.object()) target.NoteElementExpiry(destination, *object);
  place = TableOf(source).Find(context(), source.hash(), source.text());
  STORE_CHECK(place != nullptr && *place == handle);
  EraseFound(source, place, ChangeKind::kMovedAway, ValueFate::kKeep);
  return true;
}

bool Database::CopyEntry(const KeyRef& from, Database& target, const KeyRef& to, MoveOptions options) {
  const KeyRef source = Resolve(from);
  const KeyRef destination = target.Resolve(to);
  if (&target == this && source.text() == destination.text()) return FindLive(source) != nullptr;
  uint32_t* target_place = target.FindLive(destination);
  uint32_t* place = FindLive(source);
  if (place == nullptr) return false;
  const EntryRef entry = At(place);
  EntryValue value = EntryValue::Of(entry.block());
  if (value.encoding == Encoding::kObject) {
    return target.SetObject(destination, entry.object()->Clone(),
                            entry.has_expiry() && options.expiry.keep() ? Expiry::AtMs(entry.expiry_ms())
                            : options.expiry.keep()                     ? Expiry::None()
                                                                        : options.expiry);
  }
  if (value.encoding == Encoding::kHeap) {
    IntScratch scratch;
    value = {.modified = value.modified, .bytes = entry.AsString(scratch)};
  }
  return target.Store(destination, target_place, value, ExpiryAfter(options.expiry, entry), InitialAccessBits(),
                      target_place != nullptr ? ChangeKind::kOverwritten : ChangeKind::kCreated) != 0;
}

// ---- access bits

uint32_t Database::InitialAccessBits() const {
  constexpr uint32_t kLfuInitial = 5;
  if (keyspace_.access_policy_ == AccessPolicy::kLfu) return Keyspace::LfuMinutes(keyspace_.now_ms_) << 8 | kLfuInitial;
  return Keyspace::LruClock(keyspace_.now_ms_);
}

void Database::TouchEntry(EntryRef entry) {
  uint32_t bits;
  if (keyspace_.access_policy_ == AccessPolicy::kLfu) {
    uint32_t counter = keyspace_.Frequency(entry);
    counter = Keyspace::LfuIncrement(counter, keyspace_.lfu_log_factor_, context().Random());
    bits = Keyspace::LfuMinutes(keyspace_.now_ms_) << 8 | counter;
  } else {
    bits = Keyspace::LruClock(keyspace_.now_ms_);
  }
  // Most of the time nothing changes and the line stays clean.
  if (bits != entry.access_bits()) StoreAccessBits(MutableBlock(entry), bits);
}

void Database::SetIdleSeconds(const KeyRef& key, uint64_t idle_seconds) {
  if (keyspace_.access_policy_ == AccessPolicy::kLfu) return;
  const EntryRef entry = Peek(key);
  if (!entry) return;
  const uint64_t idle = std::min<uint64_t>(idle_seconds, Keyspace::kLruClockMask);
  StoreAccessBits(MutableBlock(entry),
                  (Keyspace::LruClock(keyspace_.now_ms_) - static_cast<uint32_t>(idle)) & Keyspace::kLruClockMask);
}

void Database::SetFrequency(const KeyRef& key, uint8_t counter) {
  if (keyspace_.access_policy_ != AccessPolicy::kLfu) return;
  const EntryRef entry = Peek(key);
  if (entry) StoreAccessBits(MutableBlock(entry), Keyspace::LfuMinutes(keyspace_.now_ms_) << 8 | counter);
}

}  // namespace tessera::store
