// Writes RDB version 10. Output is appended to a string that the caller drains between calls (into a file, a socket, a
// block of memory); the writer keeps no other copy. Nothing here can fail.
//
//   RdbWriter writer(&buffer, {});
//   writer.Header(info);
//   writer.Database(0, keys, expires);  writer.String({.key = k}, v); ...   // drain buffer whenever it is big enough
//   writer.End();
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "persistence/snapshot_visitor.h"

namespace tessera::persistence {

struct RdbWriterOptions {
  bool compress = true;  // rdbcompression: LZF for strings of more than 20 bytes, where it helps
  bool checksum = true;  // rdbchecksum: otherwise the checksum field is 0
};

// The aux fields at the head of a file. An absent one is not written.
struct RdbInfo {
  std::string_view redis_version = "7.2.4";
  int64_t created_s = 0;  // unix time
  uint64_t used_memory = 0;
  bool aof_base = false;
  // Where the data stands in the replication stream; written together when replication_id is set.
  std::string_view replication_id;
  int64_t replication_offset = 0;
  int replication_database = 0;  // repl-stream-db
};

class RdbWriter final : public SnapshotVisitor {
 public:
  // `out` must outlive the writer. What it holds already is left alone and not part of the checksum.
  RdbWriter(std::string* out, RdbWriterOptions options) : out_(out), options_(options) {}

  void Header(const RdbInfo& info);
  void Aux(std::string_view name, std::string_view value);
  void Database(uint32_t index, uint64_t key_count, uint64_t expiring_count) override;
  void String(const EntryHeader& header, std::string_view value) override;
  void End();

 private:
  class Record;  // extends the checksum over what one call appended
  void EntryPrefix(const EntryHeader& header, uint8_t type);

  std::string* out_;
  RdbWriterOptions options_;
  uint64_t crc_ = 0;
};

// DUMP: type, value, RDB version (2 bytes little endian), CRC64 of all that. Appended to `out`.
void AppendDumpOfString(std::string_view value, bool compress, std::string* out);

}  // namespace tessera::persistence
