// The manifest of a multi-part AOF, as Redis 7 writes it: one line per file,
//   file appendonly.aof.1.base.rdb seq 1 type b
//   file appendonly.aof.1.incr.aof seq 1 type i
// types b(ase), h(istory, to be deleted), i(ncremental). Names with unusual bytes are quoted as redis.conf quotes them;
// lines that start with # are comments; further key-value pairs (startoffset, endoffset) are ignored. Ours hold two things
// that other servers skip: "bytes N" in lines of files that are complete, and at the end a comment, "# checksum " and
// 16 hex digits, CRC-64 as in RDB files of everything before.
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
  uint64_t bytes_min = 0;  // it had so many bytes, synced, when the manifest was written; fewer are damage
  bool operator==(const AofPart&) const = default;
};

struct AofManifest {
  std::optional<AofPart> base;
  std::vector<AofPart> history;
  std::vector<AofPart> increments;  // sequences strictly increasing
  bool has_checksum = false;        // as read
  bool operator==(const AofManifest& other) const {
    return base == other.base && history == other.history && increments == other.increments;
  }

  bool empty() const { return !base && increments.empty(); }
  std::string Format() const;
};

// Errors name the line. An empty manifest is one.
Result<AofManifest> ParseAofManifest(std::string_view text);

enum class AofBaseFormat { kRdb, kCommands };

std::string AofManifestName(std::string_view append_file_name);  // "appendonly.aof.manifest"
std::string AofBaseName(std::string_view append_file_name, uint64_t sequence, AofBaseFormat format);
std::string AofIncrementName(std::string_view append_file_name, uint64_t sequence);
// Of a file with such a name.
std::optional<uint64_t> AofIncrementSequence(std::string_view append_file_name, std::string_view name);

}  // namespace tessera::persistence
