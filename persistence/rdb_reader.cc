#include "persistence/rdb_reader.h"

#include <algorithm>
#include <cassert>
#include <limits>

#include "fmt/core.h"
#include "persistence/crc64.h"
#include "persistence/rdb_cursor.h"
#include "protocol/split_args.h"

namespace tessera::persistence {
namespace {

constexpr size_t kKeptCapacityBytes = 1 << 20;
constexpr size_t kChecksumBytes = 8;
constexpr size_t kKeyBytesShown = 128;
constexpr std::string_view kDamaged = "the data is damaged: use a backup or a replica's copy";

// A key as messages tell it.
std::string Shown(std::string_view key) {
  return protocol::Quoted(key.substr(0, kKeyBytesShown)) + (key.size() > kKeyBytesShown ? "..." : "");
}

enum ModulePart : uint64_t {
  kModuleEnd = 0,
  kModuleSigned = 1,
  kModuleUnsigned = 2,
  kModuleFloat = 3,
  kModuleDouble = 4,
  kModuleString = 5,
};

}  // namespace

std::string RdbError::ToText() const {
  std::string text = fmt::format("at byte {}: {}", offset, reason);
  if (!advice.empty()) text += "; " + advice;
  return text;
}

void RdbReader::Feed(std::string_view bytes) {
  ForgetConsumed();
  buffer_.append(bytes);
}

void RdbReader::ForgetConsumed() {
  // The views handed out point into the buffer, hence only here. Moving the rest only when it is the smaller part keeps
  // the total cost linear.
  if (position_ == 0 || position_ < buffer_.size() / 2) return;
  buffer_.erase(0, position_);
  if (buffer_.capacity() > kKeptCapacityBytes && buffer_.size() < kKeptCapacityBytes / 2) buffer_.shrink_to_fit();
  base_offset_ += position_;
  summed_ -= position_;
  position_ = 0;
}

RdbRead RdbReader::Next(SnapshotVisitor* values) {
  while (true) {
    Step step = Step::kFailed;
    switch (state_) {
      case State::kHeader:
        step = ReadHeader();
        break;
      case State::kRecords:
        step = ReadRecord(values != nullptr);
        break;
      case State::kValue:
        step = ReadValue(values);
        break;
      case State::kModuleAux:
        step = ReadModuleAuxPart();
        break;
      case State::kChecksum:
        step = ReadChecksum();
        break;
      case State::kEnd:
        return RdbRead::kEnd;
      case State::kFailed:
        return RdbRead::kError;
    }
    if (step == Step::kRecord) return RdbRead::kRecord;
    if (step == Step::kNeedMore) {
      // All bytes here belong to the unfinished record: sum them now rather than 512 MB at once.
      if (state_ != State::kChecksum) SumUpTo(buffer_.size());
      return RdbRead::kNeedMore;
    }
  }
}

RdbReader::Step RdbReader::Fail(uint64_t offset, std::string reason, std::string advice) {
  state_ = State::kFailed;
  error_ = {offset, std::move(reason), advice.empty() ? std::string(kDamaged) : std::move(advice)};
  return Step::kFailed;
}

const RdbError& RdbReader::RefuseValue(std::string reason, std::string advice) {
  Fail(record_.offset, fmt::format("key {}: {}", Shown(record_.entry.key), reason), std::move(advice));
  return error_;
}

RdbError RdbReader::CutShort() const {
  uint64_t end = base_offset_ + buffer_.size();
  if (state_ == State::kHeader && end == 0) return {0, "the file is empty", std::string(kDamaged)};
  std::string inside;
  if (state_ == State::kValue) inside = fmt::format("inside the value of key {}", Shown(value_key_));
  std::string_view where = state_ == State::kValue      ? std::string_view(inside)
                           : state_ == State::kHeader   ? "in the header"
                           : state_ == State::kChecksum ? "before the checksum"
                           : end == offset()            ? "where a record must follow"
                                                        : "inside a record";
  return {offset(), fmt::format("the data ends at byte {}, {}", end, where), std::string(kDamaged)};
}

void RdbReader::SumUpTo(size_t end) {
  if (!options_.verify_checksum || end <= summed_) return;
  crc_ = Crc64(crc_, std::string_view(buffer_).substr(summed_, end - summed_));
  summed_ = end;
}

void RdbReader::Consume(size_t end) {
  SumUpTo(end);
  summed_ = std::max(summed_, end);
  position_ = end;
}

RdbReader::Step RdbReader::ReadHeader() {
  std::string_view bytes = std::string_view(buffer_).substr(position_);
  std::string_view magic = bytes.substr(0, kRdbMagic.size());
  if (magic != kRdbMagic.substr(0, magic.size())) {
    return Fail(0, fmt::format("{} is not how an RDB file begins", protocol::Quoted(magic)), "check dir and dbfilename");
  }
  if (bytes.size() < kRdbHeaderBytes) return Step::kNeedMore;
  int version = 0;
  for (char c : bytes.substr(kRdbMagic.size(), kRdbHeaderBytes - kRdbMagic.size())) {
    if (c < '0' || c > '9') return Fail(kRdbMagic.size(), "the format version is not a number");
    version = version * 10 + (c - '0');
  }
  if (version < 1 || version > kRdbVersionMax) {
    return Fail(kRdbMagic.size(), fmt::format("format version {} is not between 1 and {}", version, kRdbVersionMax),
                "a newer server wrote it: copy the data over with a client, or with a server that writes an older one");
  }
  version_ = version;
  state_ = State::kRecords;
  Consume(position_ + kRdbHeaderBytes);
  return Step::kAgain;
}

RdbReader::Step RdbReader::ReadRecord(bool take_values) {
  RdbCursor cursor(buffer_, position_, options_.string_bytes_max);
  auto stopped = [&](RdbGot got) {
    if (got == RdbGot::kNeedMore) return Step::kNeedMore;
    return Fail(base_offset_ + cursor.bad_position(), cursor.bad_reason());
  };
  uint64_t start = offset();
  uint8_t opcode;
  if (RdbGot got = cursor.Byte(&opcode); got != RdbGot::kOk) return stopped(got);

  bool belongs_to_entry = opcode == kRdbExpireMs || opcode == kRdbExpireSeconds || opcode == kRdbIdle ||
                          opcode == kRdbFreq || opcode < kRdbSlotInfo;
  if (!belongs_to_entry && entry_pending_) {
    return Fail(start, "the expiry or usage of an entry is not followed by the entry");
  }
  if (belongs_to_entry && !entry_pending_) entry_start_ = start;

  uint64_t number = 0;
  RdbString name, value;
  RdbRecord record;
  record.offset = start;
  record.database = database_;
  switch (opcode) {
    case kRdbExpireMs:
    case kRdbExpireSeconds: {
      bool is_ms = opcode == kRdbExpireMs;
      if (RdbGot got = cursor.LittleEndian(is_ms ? 8 : 4, &number); got != RdbGot::kOk) return stopped(got);
      pending_.expiry_ms = is_ms ? static_cast<int64_t>(number) : int64_t{1000} * static_cast<int32_t>(number);
      break;
    }
    case kRdbIdle:
      if (RdbGot got = cursor.Length(&number); got != RdbGot::kOk) return stopped(got);
      pending_.idle_seconds = number;
      break;
    case kRdbFreq: {
      uint8_t frequency;
      if (RdbGot got = cursor.Byte(&frequency); got != RdbGot::kOk) return stopped(got);
      pending_.frequency = frequency;
      break;
    }
    case kRdbSelectDb:
      if (RdbGot got = cursor.Length(&number); got != RdbGot::kOk) return stopped(got);
      if (number > std::numeric_limits<int32_t>::max()) return Fail(start, fmt::format("database number {}", number));
      record.kind = RdbRecord::Kind::kSelectDb;
      record.database = database_ = static_cast<uint32_t>(number);
      break;
    case kRdbResizeDb:
      if (RdbGot got = cursor.Length(&record.key_count); got != RdbGot::kOk) return stopped(got);
      if (RdbGot got = cursor.Length(&record.expiring_count); got != RdbGot::kOk) return stopped(got);
      record.kind = RdbRecord::Kind::kResizeDb;
      break;
    case kRdbAux:
      if (RdbGot got = cursor.String(&name); got != RdbGot::kOk) return stopped(got);
      if (RdbGot got = cursor.String(&value); got != RdbGot::kOk) return stopped(got);
      record.kind = RdbRecord::Kind::kAux;
      if (!RdbCursor::Decode(name, &key_scratch_, &record.name)) {
        return Fail(base_offset_ + name.position, "compressed data is broken");
      }
      if (!RdbCursor::Decode(value, &value_scratch_, &record.value)) {
        return Fail(base_offset_ + value.position, "compressed data is broken");
      }
      break;
    case kRdbFunction2:
      if (RdbGot got = cursor.String(&value); got != RdbGot::kOk) return stopped(got);
      record.kind = RdbRecord::Kind::kFunction;
      if (!RdbCursor::Decode(value, &value_scratch_, &record.value)) {
        return Fail(base_offset_ + value.position, "compressed data is broken");
      }
      break;
    case kRdbFunctionPreGa:
      return Fail(start, "functions in the format of a Redis 7.0 release candidate",
                  "load the file with Redis 7.0 and save it again");
    case kRdbModuleAux:
      // Module id, then the number that says when to load, itself marked as a number.
      if (RdbGot got = cursor.Length(&number); got != RdbGot::kOk) return stopped(got);
      key_scratch_ = RdbModuleName(number);
      record.name = key_scratch_;
      for (int i = 0; i < 2; ++i) {
        if (RdbGot got = cursor.Length(&number); got != RdbGot::kOk) return stopped(got);
      }
      record.kind = RdbRecord::Kind::kModuleAux;
      state_ = State::kModuleAux;
      break;
    case kRdbSlotInfo:  // slot, keys in it, expiring ones: hints
      for (int i = 0; i < 3; ++i) {
        if (RdbGot got = cursor.Length(&number); got != RdbGot::kOk) return stopped(got);
      }
      Consume(cursor.position());
      return Step::kAgain;
    case kRdbEof:
      Consume(cursor.position());
      state_ = version_ >= kRdbVersionWithChecksum ? State::kChecksum : State::kEnd;
      return Step::kAgain;
    default:
      return ReadEntry(opcode, start, take_values);
  }
  Consume(cursor.position());
  if (belongs_to_entry) {
    entry_pending_ = true;
    return Step::kAgain;
  }
  record_ = record;
  return Step::kRecord;
}

RdbReader::Step RdbReader::ReadEntry(uint8_t type, uint64_t start, bool take_values) {
  RdbCursor cursor(buffer_, position_ + 1, options_.string_bytes_max);
  auto stopped = [&](RdbGot got) {
    if (got == RdbGot::kNeedMore) return Step::kNeedMore;
    return Fail(base_offset_ + cursor.bad_position(), cursor.bad_reason());
  };
  // Later versions count on from here; whatever is far off is damage.
  constexpr uint8_t kPlausibleTypeMax = 63;
  if (type > kPlausibleTypeMax || type == 8) return Fail(start, fmt::format("unknown record type {}", type));
  RdbString key, value;
  if (RdbGot got = cursor.String(&key); got != RdbGot::kOk) return stopped(got);
  size_t body_position = cursor.position();
  if (type == kRdbTypeString) {
    if (RdbGot got = cursor.String(&value); got != RdbGot::kOk) return stopped(got);
  }
  record_ = {};
  record_.kind = RdbRecord::Kind::kString;
  record_.offset = entry_start_;
  record_.database = database_;
  record_.entry = pending_;
  if (!RdbCursor::Decode(key, &key_scratch_, &record_.entry.key)) {
    return Fail(base_offset_ + key.position, "the compressed name of a key is broken");
  }
  if (type != kRdbTypeString) {
    if (!take_values || !RdbValueReader::Knows(type)) return RefuseType(type, start, cursor);
    value_key_ = record_.entry.key;
    value_entry_ = record_.entry;
    value_entry_.key = value_key_;
    value_type_ = type;
    value_.Start(type, value_entry_);
    state_ = State::kValue;
    pending_ = {};
    entry_pending_ = false;
    Consume(body_position);
    return Step::kAgain;
  }
  if (!RdbCursor::Decode(value, &value_scratch_, &record_.value)) {
    return Fail(base_offset_ + value.position,
                fmt::format("the compressed value of key {} is broken", Shown(record_.entry.key)));
  }
  pending_ = {};
  entry_pending_ = false;
  Consume(cursor.position());
  return Step::kRecord;
}

RdbReader::Step RdbReader::RefuseType(uint8_t type, uint64_t start, const RdbCursor& body) {
  const std::string key = Shown(record_.entry.key);
  constexpr std::string_view kRemove = "remove such keys on the server that wrote it and save again";
  const std::string_view name = RdbTypeName(type);
  if (name.empty()) {
    return Fail(start, fmt::format("key {} is of type {}, which is newer than this version", key, type),
                std::string(kRemove));
  }
  if (type != kRdbTypeModule) {
    if (type == kRdbTypeModulePreGa) {
      return Fail(start, fmt::format("key {} holds a {} (type {})", key, name, type), std::string(kRemove));
    }
    return Fail(start, fmt::format("key {} holds a {} (type {}), and only strings are supported yet", key, name, type),
                std::string(kRemove));
  }
  RdbCursor cursor = body;
  uint64_t module;
  if (RdbGot got = cursor.Length(&module); got == RdbGot::kNeedMore) return Step::kNeedMore;
  return Fail(start,
              fmt::format("key {} holds a value of the module {} (type {}), which is not there", key,
                          RdbModuleName(module), type),
              std::string(kRemove));
}

RdbReader::Step RdbReader::ReadValue(SnapshotVisitor* values) {
  assert(values != nullptr);  // a value begun with a visitor goes on with it
  RdbCursor cursor(buffer_, position_, options_.string_bytes_max);
  const RdbStep step = value_.Read(cursor, *values);
  record_ = {};
  record_.offset = entry_start_;
  record_.database = database_;
  record_.entry = value_entry_;
  if (step == RdbStep::kFailed) {
    return Fail(base_offset_ + value_.bad_position(),
                fmt::format("key {} ({}, type {}): {}", Shown(value_key_), RdbTypeName(value_type_),
                            value_type_, value_.bad_reason()));
  }
  Consume(cursor.position());
  switch (step) {
    case RdbStep::kNeedMore:
    case RdbStep::kFailed:
      return Step::kNeedMore;
    case RdbStep::kPart:
      record_.kind = RdbRecord::Kind::kValuePart;
      return Step::kRecord;
    case RdbStep::kDone:
      record_.kind = RdbRecord::Kind::kValue;
      break;
    case RdbStep::kNoValue:
      record_.kind = RdbRecord::Kind::kNoValue;
      break;
  }
  state_ = State::kRecords;
  return Step::kRecord;
}

RdbReader::Step RdbReader::ReadModuleAuxPart() {
  RdbCursor cursor(buffer_, position_, options_.string_bytes_max);
  uint64_t part;
  uint64_t number;
  RdbString string;
  RdbGot got = cursor.Length(&part);
  if (got == RdbGot::kOk) {
    switch (part) {
      case kModuleEnd:
        state_ = State::kRecords;
        break;
      case kModuleSigned:
      case kModuleUnsigned:
        got = cursor.Length(&number);
        break;
      case kModuleFloat:
        got = cursor.Skip(4);
        break;
      case kModuleDouble:
        got = cursor.Skip(8);
        break;
      case kModuleString:
        got = cursor.String(&string);
        break;
      default:
        return Fail(offset(), fmt::format("unknown kind of module data {}", part));
    }
  }
  if (got == RdbGot::kNeedMore) return Step::kNeedMore;
  if (got == RdbGot::kBad) return Fail(base_offset_ + cursor.bad_position(), cursor.bad_reason());
  Consume(cursor.position());
  return Step::kAgain;
}

RdbReader::Step RdbReader::ReadChecksum() {
  RdbCursor cursor(buffer_, position_, options_.string_bytes_max);
  uint64_t stored;
  if (cursor.LittleEndian(kChecksumBytes, &stored) != RdbGot::kOk) return Step::kNeedMore;
  if (options_.verify_checksum && stored != 0 && stored != crc_) {
    return Fail(offset(), fmt::format("the checksum is {:016x}, but the data's is {:016x}", stored, crc_));
  }
  position_ = summed_ = cursor.position();
  state_ = State::kEnd;
  return Step::kAgain;
}

}  // namespace tessera::persistence
