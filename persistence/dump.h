// DUMP payloads: a value as RDB files hold it (type, body), the RDB version (uint16le) and the CRC64 of all that.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/rdb_value_writer.h"
#include "persistence/snapshot_visitor.h"

namespace tessera::persistence {

// Makes one payload out of one value; header and Database are ignored.
//   DumpWriter dump(&payload, compress);  VisitTheValue(dump);  dump.Finish();
class DumpWriter final : public RdbValueWriter {
 public:
  // Appends to `out`, which must outlive the writer and not be drained before Finish.
  // Without `field_expiry` the fields of a hash are written as if they lived for ever, for readers before Redis 7.4.
  DumpWriter(std::string* out, bool compress, bool field_expiry = true)
      : RdbValueWriter(out, compress, field_expiry), begin_(out->size()) {}

  void Database(uint32_t, uint64_t, uint64_t) override {}
  void FunctionLibrary(std::string_view code);  // any number in place of a value: FUNCTION DUMP
  void Finish();

 private:
  void Prefix(const EntryHeader&, uint8_t type) override { AppendByte(type); }
  void Appended(size_t) override {}

  size_t begin_;
};

// Of a payload that is whole: readers of what DumpWriter writes may refuse it.
bool IsNewerThanWritten(std::string_view payload);

enum class DumpRead {
  kOk,
  kBadFooter,        // too short, newer version or wrong checksum: "DUMP payload version or checksum are wrong"
  kBadData,          // "Bad data format"
  kUnsupportedType,  // a type that cannot be restored (modules, later versions); `reason` names it
};
struct DumpResult {
  DumpRead read = DumpRead::kBadFooter;
  std::string reason;  // empty when kOk
};

// RESTORE. Hands the value of a payload that Redis up to 7.4 or this program made to `visitor`, under `header`. Every
// length, count and order in it is checked, whatever sanitize-dump-payload says: it costs little. After anything but
// kOk the visitor may have seen the beginning of a value, to be thrown away. A string longer than `string_bytes_max`
// is bad data.
DumpResult ReadDump(std::string_view payload, const EntryHeader& header, SnapshotVisitor& visitor,
                    uint64_t string_bytes_max = 512u << 20);

// FUNCTION RESTORE: appends the code of each library.
DumpRead ReadFunctionsDump(std::string_view payload, std::vector<std::string>* libraries);

}  // namespace tessera::persistence
