#include "persistence/rdb_writer.h"

#include "fmt/core.h"
#include "persistence/crc64.h"
#include "persistence/rdb_format.h"

namespace tessera::persistence {

void RdbWriter::Appended(size_t begin) {
  if (checksum_) crc_ = Crc64(crc_, std::string_view(out()).substr(begin));
}

void RdbWriter::Header(const RdbInfo& info) {
  {
    Record record(this);
    fmt::format_to(std::back_inserter(out()), "{}{:04}", kRdbMagic, kRdbVersionWritten);
  }
  Aux("redis-ver", info.redis_version);
  Aux("redis-bits", "64");
  Aux("ctime", fmt::format("{}", info.created_s));
  Aux("used-mem", fmt::format("{}", info.used_memory));
  if (!info.replication_id.empty()) {
    Aux("repl-stream-db", fmt::format("{}", info.replication_database));
    Aux("repl-id", info.replication_id);
    Aux("repl-offset", fmt::format("{}", info.replication_offset));
  }
  Aux("aof-base", info.aof_base ? "1" : "0");
}

void RdbWriter::Aux(std::string_view name, std::string_view value) {
  Record record(this);
  AppendByte(kRdbAux);
  AppendString(name);
  AppendString(value);
}

void RdbWriter::FunctionLibrary(std::string_view code) {
  Record record(this);
  AppendByte(kRdbFunction2);
  AppendString(code);
}

void RdbWriter::Database(uint32_t index, uint64_t key_count, uint64_t expiring_count) {
  Record record(this);
  AppendByte(kRdbSelectDb);
  AppendLength(index);
  AppendByte(kRdbResizeDb);
  AppendLength(key_count);
  AppendLength(expiring_count);
}

void RdbWriter::Prefix(const EntryHeader& header, uint8_t type) {
  if (header.expiry_ms != kNoExpiry) {
    AppendByte(kRdbExpireMs);
    AppendLittleEndian(static_cast<uint64_t>(header.expiry_ms), 8);
  }
  if (header.idle_seconds) {
    AppendByte(kRdbIdle);
    AppendLength(*header.idle_seconds);
  }
  if (header.frequency) {
    AppendByte(kRdbFreq);
    AppendByte(*header.frequency);
  }
  AppendByte(type);
  AppendString(header.key);
}

void RdbWriter::End() {
  {
    Record record(this);
    AppendByte(kRdbEof);
  }
  AppendLittleEndian(checksum_ ? crc_ : uint64_t{0}, 8);
}

}  // namespace tessera::persistence
