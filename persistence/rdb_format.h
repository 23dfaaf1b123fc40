// Numbers of the RDB format, shared by writer and reader.
//
//   file   = "REDIS" version(4 digits) record* EOF crc64(8 bytes little endian, from version 5, 0 = not computed)
//   record = AUX string string | SELECTDB length | RESIZEDB length length | FUNCTION2 string | MODULE_AUX ...
//          | [EXPIRETIME_MS int64le | EXPIRETIME int32le] [IDLE length | FREQ byte] type key:string value
//   length = 00xxxxxx | 01xxxxxx byte | 10000000 uint32be | 10000001 uint64be
//   string = length bytes | 11000000 int8 | 11000001 int16le | 11000010 int32le
//          | 11000011 compressed-length:length length:length LZF bytes
//
// Values by type ("blob" is a string whose bytes have a format of their own, see rdb_listpack.h and rdb_ziplist.h):
//   1 list, 2 set          count:length string*
//   3 sorted set           count:length (string text-score)*      text-score = byte text | 253 NaN | 254 inf | 255 -inf
//   4 hash                 count:length (field:string value:string)*
//   5 sorted set           count:length (string float64le)*
//   7 module value         module-id:length ...
//   9 zipmap, 10 12 13 ziplist, 11 intset, 16 17 20 listpack: one blob
//   14 list                count:length ziplist-blob*
//   18 list                count:length (1 string | 2 listpack-blob)*
//   15 19 21 stream        see rdb_stream.h
//   24 hash, field expiry  min-expiry:int64le count:length (ttl:length field:string value:string)*
//                          the field expires at min-expiry + ttl - 1 (unix ms), never when ttl is 0
//   22 as 24 without min-expiry, ttl is the unix time in ms
//   25 hash, field expiry  min-expiry:int64le listpack-blob of (field, value, unix time in ms or 0)
//   23 as 25 without min-expiry
//
// Source: the files Redis 2.x to 7.4 write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tessera::persistence {

inline constexpr std::string_view kRdbMagic = "REDIS";
inline constexpr size_t kRdbHeaderBytes = 9;
inline constexpr int kRdbVersionWritten = 10;  // Redis 7.0; 7.2 and 7.4 read it too
inline constexpr int kRdbVersionMax = 12;      // Redis 7.4
inline constexpr int kRdbVersionWithChecksum = 5;

enum RdbOpcode : uint8_t {
  kRdbSlotInfo = 244,
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

enum RdbType : uint8_t {
  kRdbTypeString = 0,
  kRdbTypeList = 1,
  kRdbTypeSet = 2,
  kRdbTypeZsetText = 3,
  kRdbTypeHash = 4,
  kRdbTypeZset = 5,
  kRdbTypeModulePreGa = 6,
  kRdbTypeModule = 7,
  kRdbTypeHashZipmap = 9,
  kRdbTypeListZiplist = 10,
  kRdbTypeSetIntset = 11,
  kRdbTypeZsetZiplist = 12,
  kRdbTypeHashZiplist = 13,
  kRdbTypeListQuicklist = 14,
  kRdbTypeStream1 = 15,
  kRdbTypeHashListpack = 16,
  kRdbTypeZsetListpack = 17,
  kRdbTypeListQuicklist2 = 18,
  kRdbTypeStream2 = 19,
  kRdbTypeSetListpack = 20,
  kRdbTypeStream3 = 21,
  kRdbTypeHashExpiryPreGa = 22,
  kRdbTypeHashListpackExpiryPreGa = 23,
  kRdbTypeHashExpiry = 24,
  kRdbTypeHashListpackExpiry = 25,
};

// "list (quicklist 2)" and the like; empty when the number is no type.
std::string_view RdbTypeName(uint8_t type);
// Of the module behind a module id: 9 characters of 6 bits each, above 10 bits of a version.
std::string RdbModuleName(uint64_t module_id);

}  // namespace tessera::persistence
