// The manifest of a multi-part AOF, as Redis 7 writes it: one line per file,
//   file appendonly.aof.1.base.rdb seq 1 type b
//   file appendonly.aof.1.incr.aof seq 1 type i
// types b(ase), h(istory, to be deleted), i(ncremental). Names with unusual bytes are quoted as redis.conf quotes them;
// lines that start with # are comments; further key-value pairs (startoffset, endoffset) are ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/result.h"

namespace tessera::persistence {

struct AofPart {
  std::string name;  // within the AOF directory
  uint64_t sequence = 0;
  bool operator==(const AofPart&) const = default;
};

struct AofManifest {
  std::optional<AofPart> base;
  std::vector<AofPart> history;
  std::vector<AofPart> increments;  // sequences strictly increasing
  bool operator==(const AofManifest&) const = default;

  bool empty() const { return !base && increments.empty(); }
  std::string Format() const;
};

// Errors name the line. An empty manifest is one.
Result<AofManifest> ParseAofManifest(std::string_view text);

enum class AofBaseFormat { kRdb, kCommands };

std::string AofManifestName(std::string_view append_file_name);  // "appendonly.aof.manifest"
std::string AofBaseName(std::string_view append_file_name, uint64_t sequence, AofBaseFormat format);
std::string AofIncrementName(std::string_view append_file_name, uint64_t sequence);

}  // namespace tessera::persistence
