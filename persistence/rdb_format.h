// Numbers of the RDB format, shared by writer and reader.
//
//   file   = "REDIS" version(4 digits) record* EOF crc64(8 bytes little endian, from version 5, 0 = not computed)
//   record = AUX string string | SELECTDB length | RESIZEDB length length | FUNCTION2 string | MODULE_AUX ...
//          | [EXPIRETIME_MS int64le | EXPIRETIME int32le] [IDLE length | FREQ byte] type key:string value
//   length = 00xxxxxx | 01xxxxxx byte | 10000000 uint32be | 10000001 uint64be
//   string = length bytes | 11000000 int8 | 11000001 int16le | 11000010 int32le
//          | 11000011 compressed-length:length length:length LZF bytes
//
// Source: the files Redis 2.x to 7.2 write.
#pragma once

#include <cstdint>
#include <string_view>

namespace tessera::persistence {

inline constexpr std::string_view kRdbMagic = "REDIS";
inline constexpr size_t kRdbHeaderBytes = 9;
inline constexpr int kRdbVersionWritten = 10;  // Redis 7.0; 7.2 reads it too
inline constexpr int kRdbVersionMax = 11;      // Redis 7.2
inline constexpr int kRdbVersionWithChecksum = 5;

enum RdbOpcode : uint8_t {
  kRdbFunction2 = 245,
  kRdbFunctionPreGa = 246,
  kRdbModuleAux = 247,
  kRdbIdle = 248,
  kRdbFreq = 249,
  kRdbAux = 250,
  kRdbResizeDb = 251,
  kRdbExpireMs = 252,
  kRdbExpireSeconds = 253,
  kRdbSelectDb = 254,
  kRdbEof = 255,
};

enum RdbType : uint8_t { kRdbTypeString = 0 };

// "list (quicklist 2)" and the like; empty when the number is no type.
std::string_view RdbTypeName(uint8_t type);

}  // namespace tessera::persistence
