#include "persistence/rdb_writer.h"

#include <charconv>
#include <limits>

#include "fmt/core.h"
#include "persistence/crc64.h"
#include "persistence/lzf.h"
#include "persistence/rdb_format.h"

namespace tessera::persistence {
namespace {

constexpr size_t kCompressFromBytes = 21;
constexpr size_t kIntegerTextBytesMax = 11;  // "-2147483648"

template <typename Integer>
void AppendLittleEndian(Integer number, std::string* out) {
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    out->push_back(static_cast<char>(static_cast<std::make_unsigned_t<Integer>>(number) >> (8 * i)));
  }
}

void AppendLength(uint64_t length, std::string* out) {
  if (length < 64) {
    out->push_back(static_cast<char>(length));
  } else if (length < 16384) {
    out->push_back(static_cast<char>(0x40 | (length >> 8)));
    out->push_back(static_cast<char>(length));
  } else {
    int bytes = length <= std::numeric_limits<uint32_t>::max() ? 4 : 8;
    out->push_back(static_cast<char>(bytes == 4 ? 0x80 : 0x81));
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out->push_back(static_cast<char>(length >> shift));
  }
}

// The number whose decimal text is exactly `text`, if 32 bits hold it.
std::optional<int32_t> ExactInteger(std::string_view text) {
  if (text.empty() || text.size() > kIntegerTextBytesMax) return std::nullopt;
  int32_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  // from_chars also takes "007" and "-0", which would come back changed.
  bool zero_first = text[0] == '0' || (text[0] == '-' && text[1] == '0');
  if (zero_first && text != "0") return std::nullopt;
  return number;
}

void AppendString(std::string_view text, bool compress, std::string* out) {
  if (std::optional<int32_t> number = ExactInteger(text)) {
    if (*number >= -128 && *number <= 127) {
      out->push_back('\xc0');
      out->push_back(static_cast<char>(*number));
    } else if (*number >= -32768 && *number <= 32767) {
      out->push_back('\xc1');
      AppendLittleEndian(static_cast<int16_t>(*number), out);
    } else {
      out->push_back('\xc2');
      AppendLittleEndian(*number, out);
    }
    return;
  }
  if (compress && text.size() >= kCompressFromBytes) {
    std::string compressed;
    if (size_t length = LzfCompress(text, &compressed)) {
      out->push_back('\xc3');
      AppendLength(length, out);
      AppendLength(text.size(), out);
      out->append(compressed);
      return;
    }
  }
  AppendLength(text.size(), out);
  out->append(text);
}

}  // namespace

class RdbWriter::Record {
 public:
  explicit Record(RdbWriter* writer) : writer_(writer), begin_(writer->out_->size()) {}
  ~Record() {
    if (!writer_->options_.checksum) return;
    writer_->crc_ = Crc64(writer_->crc_, std::string_view(*writer_->out_).substr(begin_));
  }

 private:
  RdbWriter* writer_;
  size_t begin_;
};

void RdbWriter::Header(const RdbInfo& info) {
  {
    Record record(this);
    fmt::format_to(std::back_inserter(*out_), "{}{:04}", kRdbMagic, kRdbVersionWritten);
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
  out_->push_back(static_cast<char>(kRdbAux));
  AppendString(name, options_.compress, out_);
  AppendString(value, options_.compress, out_);
}

void RdbWriter::Database(uint32_t index, uint64_t key_count, uint64_t expiring_count) {
  Record record(this);
  out_->push_back(static_cast<char>(kRdbSelectDb));
  AppendLength(index, out_);
  out_->push_back(static_cast<char>(kRdbResizeDb));
  AppendLength(key_count, out_);
  AppendLength(expiring_count, out_);
}

void RdbWriter::String(const EntryHeader& header, std::string_view value) {
  Record record(this);
  EntryPrefix(header, kRdbTypeString);
  AppendString(value, options_.compress, out_);
}

void RdbWriter::EntryPrefix(const EntryHeader& header, uint8_t type) {
  if (header.expiry_ms != kNoExpiry) {
    out_->push_back(static_cast<char>(kRdbExpireMs));
    AppendLittleEndian(header.expiry_ms, out_);
  }
  if (header.idle_seconds) {
    out_->push_back(static_cast<char>(kRdbIdle));
    AppendLength(*header.idle_seconds, out_);
  }
  if (header.frequency) {
    out_->push_back(static_cast<char>(kRdbFreq));
    out_->push_back(static_cast<char>(*header.frequency));
  }
  out_->push_back(static_cast<char>(type));
  AppendString(header.key, options_.compress, out_);
}

void RdbWriter::End() {
  {
    Record record(this);
    out_->push_back(static_cast<char>(kRdbEof));
  }
  AppendLittleEndian(options_.checksum ? crc_ : uint64_t{0}, out_);
}

void AppendDumpOfString(std::string_view value, bool compress, std::string* out) {
  size_t begin = out->size();
  out->push_back(static_cast<char>(kRdbTypeString));
  AppendString(value, compress, out);
  AppendLittleEndian(static_cast<uint16_t>(kRdbVersionWritten), out);
  AppendLittleEndian(Crc64(0, std::string_view(*out).substr(begin)), out);
}

}  // namespace tessera::persistence
