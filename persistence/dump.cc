#include "persistence/dump.h"

#include "fmt/core.h"
#include "persistence/crc64.h"
#include "persistence/rdb_cursor.h"
#include "persistence/rdb_format.h"
#include "persistence/rdb_value_reader.h"

namespace tessera::persistence {
namespace {

constexpr size_t kChecksumBytes = 8;
constexpr size_t kFooterBytes = 2 + kChecksumBytes;
constexpr uint64_t kLibraryBytesMax = 512u << 20;  // decompressed

// What is wrong with the footer, or the body in front of it.
std::string CheckFooter(std::string_view payload, std::string_view* body) {
  if (payload.size() < kFooterBytes) return "shorter than its footer";
  *body = payload.substr(0, payload.size() - kFooterBytes);
  RdbCursor footer(payload, body->size(), 0);
  uint64_t version, stored;
  static_cast<void>(footer.LittleEndian(2, &version));
  static_cast<void>(footer.LittleEndian(kChecksumBytes, &stored));
  if (version > kRdbVersionMax) return fmt::format("format version {}", version);
  if (stored != Crc64(0, payload.substr(0, payload.size() - kChecksumBytes))) return "wrong checksum";
  return {};
}

}  // namespace

void DumpWriter::FunctionLibrary(std::string_view code) {
  AppendByte(kRdbFunction2);
  AppendString(code);
}

void DumpWriter::Finish() {
  AppendLittleEndian(kRdbVersionWritten, 2);
  AppendLittleEndian(Crc64(0, std::string_view(out()).substr(begin_)), kChecksumBytes);
}

bool IsNewerThanWritten(std::string_view payload) {
  uint64_t version = 0;
  RdbCursor footer(payload, payload.size() - kFooterBytes, 0);
  static_cast<void>(footer.LittleEndian(2, &version));
  return version > kRdbVersionWritten;
}

DumpRead ReadFunctionsDump(std::string_view payload, std::vector<std::string>* libraries) {
  std::string_view body;
  if (!CheckFooter(payload, &body).empty()) return DumpRead::kBadFooter;
  RdbCursor cursor(body, 0, kLibraryBytesMax);
  while (cursor.position() < body.size()) {
    uint8_t opcode;
    RdbString string;
    std::string scratch;
    std::string_view code;
    if (cursor.Byte(&opcode) != RdbGot::kOk || opcode != kRdbFunction2) return DumpRead::kBadData;
    if (cursor.String(&string) != RdbGot::kOk || !RdbCursor::Decode(string, &scratch, &code)) return DumpRead::kBadData;
    libraries->emplace_back(code);
  }
  return DumpRead::kOk;
}

DumpResult ReadDump(std::string_view payload, const EntryHeader& header, SnapshotVisitor& visitor,
                    uint64_t string_bytes_max) {
  std::string_view body;
  if (std::string fault = CheckFooter(payload, &body); !fault.empty()) return {DumpRead::kBadFooter, std::move(fault)};
  RdbCursor cursor(body, 0, string_bytes_max);
  uint8_t type;
  if (cursor.Byte(&type) != RdbGot::kOk) return {DumpRead::kBadData, "no value"};
  if (type == kRdbTypeModule || type == kRdbTypeModulePreGa) {
    uint64_t module = 0;
    const bool named = type == kRdbTypeModule && cursor.Length(&module) == RdbGot::kOk;
    return {DumpRead::kUnsupportedType,
            named ? fmt::format("a value of the module {}", RdbModuleName(module)) : std::string(RdbTypeName(type))};
  }
  if (!RdbValueReader::Knows(type)) return {DumpRead::kBadData, fmt::format("unknown type {}", type)};
  RdbValueReader reader;
  reader.Start(type, header);
  while (true) {
    switch (reader.Read(cursor, visitor)) {
      case RdbStep::kPart:
        continue;
      case RdbStep::kNeedMore:
        return {DumpRead::kBadData, "the value is cut short"};
      case RdbStep::kNoValue:
        return {DumpRead::kBadData, "the value has no elements"};
      case RdbStep::kFailed:
        return {DumpRead::kBadData, reader.bad_reason()};
      case RdbStep::kDone:
        break;
    }
    if (cursor.position() != body.size()) return {DumpRead::kBadData, "bytes follow the value"};
    return {DumpRead::kOk, {}};
  }
}

}  // namespace tessera::persistence
