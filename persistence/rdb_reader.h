// Reads RDB versions 1 to 12, pushed in pieces of any size, from files and sockets alike. A record is handed out as
// soon as its last byte is there. Memory follows the bytes received, never a length that the input merely claims.
//
// Strings are records. Every other value goes to a SnapshotVisitor while it arrives, in steps of bounded work:
//   reader.Feed(bytes);
//   while (true) switch (reader.Next(&values)) {
//     case RdbRead::kRecord: Apply(reader.record()); continue;   // views are valid until the next Feed or Next
//     case RdbRead::kNeedMore: ...feed more, or at the end of the input: the file is cut short at reader.offset()
//     case RdbRead::kEnd: ...checksum verified; reader.Rest() is what followed the image
//     case RdbRead::kError: ...reader.error(); nothing more can be read
//   }
// `values` gets Begin…, parts and EndValue only, during calls of Next: its caller has seen the kSelectDb record before
// and gets a kValuePart record when parts were handed out and more are to come, kValue after EndValue. A visitor that
// cannot go on (out of memory, a member twice) remembers that; its caller asks it after each of these records and
// stops, reader.RefuseValue(reason) words the error. Whatever the visitor built without EndValue is to be thrown away.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "persistence/rdb_format.h"
#include "persistence/rdb_value_reader.h"
#include "persistence/snapshot_visitor.h"

namespace tessera::persistence {

enum class RdbRead { kRecord, kNeedMore, kEnd, kError };

struct RdbRecord {
  enum class Kind {
    kAux,        // name, value
    kSelectDb,   // database
    kResizeDb,   // key_count, expiring_count: hints from the file, not to be trusted with memory
    kString,     // entry, value; database
    kValuePart,  // entry, database: some of a value went to the visitor
    kValue,      // entry, database: EndValue was called
    kNoValue,    // entry, database: a value without elements, which servers before 7.0 wrote by mistake; skipped
    kFunction,   // value: the code of a function library
    kModuleAux,  // name: of the module, whose data is skipped
  };
  Kind kind = Kind::kAux;
  uint64_t offset = 0;  // of the record's first byte
  std::string_view name;
  std::string_view value;
  uint32_t database = 0;
  uint64_t key_count = 0;
  uint64_t expiring_count = 0;
  EntryHeader entry;
};

struct RdbError {
  uint64_t offset = 0;         // of the byte or record that is wrong
  std::string reason;          // what is wrong
  std::string advice;          // what the user may do about it
  std::string ToText() const;  // "at byte 17: reason; advice"
};

struct RdbReaderOptions {
  bool verify_checksum = true;             // rdbchecksum
  uint64_t string_bytes_max = 4ull << 30;  // longer strings are an error
  // Lengths, counts and orders inside values are always checked, whatever sanitize-dump-payload says.
};

class RdbReader {
 public:
  explicit RdbReader(RdbReaderOptions options = {}) : options_(options) {}

  void Feed(std::string_view bytes);
  // Without `values`, anything but strings is an error.
  RdbRead Next(SnapshotVisitor* values = nullptr);

  const RdbRecord& record() const { return record_; }
  const RdbError& error() const { return error_; }
  int version() const { return version_; }  // 0 before the header was read
  // Bytes consumed: the start of the record that comes next, or the end of the image after kEnd.
  uint64_t offset() const { return base_offset_ + position_; }
  // After kEnd: bytes that were fed but are not part of the image (an AOF tail, the end mark of a transfer).
  std::string_view Rest() const { return std::string_view(buffer_).substr(position_); }
  // Error text for input that stops here, for a caller that got kNeedMore at the end of a file.
  RdbError CutShort() const;
  // Error text for the value of the last record, for a caller whose visitor could not take it. Nothing more can be
  // read.
  const RdbError& RefuseValue(std::string reason, std::string advice = {});

 private:
  enum class State { kHeader, kRecords, kValue, kModuleAux, kChecksum, kEnd, kFailed };
  enum class Step { kRecord, kAgain, kNeedMore, kFailed };  // kAgain: consumed something, no record to show

  Step ReadHeader();
  Step ReadRecord(bool take_values);
  Step ReadEntry(uint8_t type, uint64_t start, bool take_values);
  Step RefuseType(uint8_t type, uint64_t start, const RdbCursor& body);
  Step ReadValue(SnapshotVisitor* values);
  Step ReadModuleAuxPart();
  Step ReadChecksum();
  Step Fail(uint64_t offset, std::string reason, std::string advice = {});
  void Consume(size_t end);  // moves position_ to `end` and the checksum with it
  void SumUpTo(size_t end);
  void ForgetConsumed();

  RdbReaderOptions options_;
  State state_ = State::kHeader;
  int version_ = 0;
  std::string buffer_;
  size_t position_ = 0;       // in buffer_: consumed up to here
  size_t summed_ = 0;         // in buffer_: in crc_ up to here
  uint64_t base_offset_ = 0;  // of buffer_[0] in the input
  uint64_t crc_ = 0;
  uint32_t database_ = 0;
  uint64_t entry_start_ = 0;    // where the attributes of the pending entry began
  bool entry_pending_ = false;  // expiry, idle or frequency was read, the type has to follow
  EntryHeader pending_;
  RdbValueReader value_;  // in State::kValue
  uint8_t value_type_ = 0;
  EntryHeader value_entry_;
  std::string value_key_;
  RdbRecord record_;
  RdbError error_;
  std::string key_scratch_;  // decompressed or formatted strings of the current record
  std::string value_scratch_;
};

}  // namespace tessera::persistence
