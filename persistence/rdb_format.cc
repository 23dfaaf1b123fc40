#include "persistence/rdb_format.h"

namespace tessera::persistence {

std::string_view RdbTypeName(uint8_t type) {
  switch (type) {
    case 0:
      return "string";
    case 1:
      return "list";
    case 2:
      return "set";
    case 3:
      return "sorted set with text scores";
    case 4:
      return "hash";
    case 5:
      return "sorted set";
    case 6:
      return "module value before its release";
    case 7:
      return "module value";
    case 9:
      return "hash as zipmap";
    case 10:
      return "list as ziplist";
    case 11:
      return "set of integers";
    case 12:
      return "sorted set as ziplist";
    case 13:
      return "hash as ziplist";
    case 14:
      return "list as quicklist";
    case 15:
      return "stream";
    case 16:
      return "hash as listpack";
    case 17:
      return "sorted set as listpack";
    case 18:
      return "list as quicklist of listpacks";
    case 19:
      return "stream of the second kind";
    case 20:
      return "set as listpack";
    case 21:
      return "stream of the third kind";
    case 22:
    case 24:
      return "hash with field expiries";
    case 23:
    case 25:
      return "hash with field expiries as listpack";
  }
  return {};
}

std::string RdbModuleName(uint64_t module_id) {
  constexpr std::string_view kCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string name;
  for (int shift = 58; shift >= 10; shift -= 6) name += kCharacters[(module_id >> shift) & 63];
  return name;
}

}  // namespace tessera::persistence
