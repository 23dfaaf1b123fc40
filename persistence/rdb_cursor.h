// The smallest pieces of the RDB format, read from bytes of which only a beginning may be there yet. Shared by the file
// reader and RESTORE. Grammar in rdb_format.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tessera::persistence {

enum class RdbGot { kOk, kNeedMore, kBad };

// A string that is there completely, not yet decoded: finding its end costs nothing however long it is, so a caller may
// look again from the start of a record each time more bytes arrive.
struct RdbString {
  enum class Form { kRaw, kInteger, kCompressed };
  Form form = Form::kRaw;
  std::string_view stored;  // kRaw, kCompressed
  int64_t number = 0;       // kInteger
  size_t length = 0;        // kCompressed: when decompressed
  size_t position = 0;      // of its first byte
};

class RdbCursor {
 public:
  RdbCursor(std::string_view bytes, size_t position, uint64_t string_bytes_max)
      : bytes_(bytes), position_(position), string_bytes_max_(string_bytes_max) {}

  size_t position() const { return position_; }
  void Seek(size_t position) { position_ = position; }
  // After kBad: where and why.
  size_t bad_position() const { return bad_position_; }
  const std::string& bad_reason() const { return bad_reason_; }

  RdbGot Byte(uint8_t* byte);
  RdbGot Skip(uint64_t count);
  RdbGot LittleEndian(int bytes, uint64_t* number);
  RdbGot Length(uint64_t* length);
  RdbGot String(RdbString* string);
  // Bytes of `string`: a view of the input, or of `scratch`. False when compressed data is broken.
  static bool Decode(const RdbString& string, std::string* scratch, std::string_view* out);

 private:
  RdbGot Bad(size_t position, std::string reason);
  RdbGot LengthOrForm(uint64_t* length, bool* is_form);

  std::string_view bytes_;
  size_t position_;
  uint64_t string_bytes_max_;
  size_t bad_position_ = 0;
  std::string bad_reason_;
};

}  // namespace tessera::persistence
