// Writes RDB version 10. Output is appended to a string that the caller drains between calls (into a file, a socket, a
// block of memory), also between the parts of one value; what the writer holds back is little (rdb_value_writer.h).
//
//   RdbWriter writer(&buffer, {});
//   writer.Header(info);
//   writer.Database(0, keys, expires);  writer.String({.key = k}, v); ...   // drain buffer whenever it is big enough
//   writer.BeginSet({.key = k}, 2);  writer.Item(a);  writer.Item(b);  writer.EndValue();
//   writer.End();  // of the file; then look at failed()
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "persistence/rdb_value_writer.h"

namespace tessera::persistence {

struct RdbWriterOptions {
  bool compress = true;  // rdbcompression: LZF for strings of more than 20 bytes, where it helps
  bool checksum = true;  // rdbchecksum: otherwise the checksum field is 0
  bool field_expiry = true;  // otherwise fields are written as if they lived for ever, for readers before 7.4
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

class RdbWriter final : public RdbValueWriter {
 public:
  // `out` must outlive the writer. What it holds already is left alone and not part of the checksum.
  RdbWriter(std::string* out, RdbWriterOptions options)
      : RdbValueWriter(out, options.compress, options.field_expiry), checksum_(options.checksum) {}

  void Header(const RdbInfo& info);
  void Aux(std::string_view name, std::string_view value);
  void FunctionLibrary(std::string_view code);  // before the first database
  void Database(uint32_t index, uint64_t key_count, uint64_t expiring_count) override;
  void End();

 private:
  void Prefix(const EntryHeader& header, uint8_t type) override;
  void Appended(size_t begin) override;

  bool checksum_;
  uint64_t crc_ = 0;
};

}  // namespace tessera::persistence
