// Commands as the AOF holds them: RESP arrays of bulk strings.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "persistence/snapshot_visitor.h"

namespace tessera::persistence {

void AppendCommand(std::span<const std::string_view> argv, std::string* out);

// A snapshot as commands, for a base without RDB preamble (aof-use-rdb-preamble no). Appends to a string that the
// caller drains. SELECT precedes the entries of each database.
class AofCommandWriter final : public SnapshotVisitor {
 public:
  explicit AofCommandWriter(std::string* out) : out_(out) {}
  void Database(uint32_t index, uint64_t key_count, uint64_t expiring_count) override;
  void String(const EntryHeader& header, std::string_view value) override;

 private:
  std::string* out_;
};

}  // namespace tessera::persistence
