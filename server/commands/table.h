// All rows, by name. Looking up is case-insensitive and allocates nothing; subcommands are found through their parent.
#pragma once

#include <span>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/commands/command.h"

namespace tessera {

class CommandTable {
 public:
  // Applies nothing but the rows; `rename-command` of the configuration renames or hides afterwards.
  CommandTable();
  // The row a request names, subcommands resolved: `parent` is set when the row is a subcommand.
  // kUnknownSubcommand: the parent exists (and is returned in `parent`), the subcommand does not.
  enum class Found { kYes, kUnknown, kUnknownSubcommand };
  struct Result {
    Found found;
    const CommandRow* row;
    const CommandRow* parent;
  };
  Result Find(std::span<const std::string_view> argv) const;
  const CommandRow* FindTop(std::string_view name) const;
  const std::vector<const CommandRow*>& rows() const { return rows_; }  // top level, in order of the files
  static bool SameName(std::string_view a, std::string_view b) { return Equal()(a, b); }
  // One more row, which must outlive the table (tests of what happens to every command).
  void Add(const CommandRow& row);
  // Empty `to` removes the command. False when `from` is unknown or `to` is taken.
  bool Rename(std::string_view from, std::string_view to);
  // "config|get" for subcommands.
  std::string FullName(const CommandRow& row) const;
  const CommandRow* ParentOf(const CommandRow& row) const;

 private:
  struct Hash {
    size_t operator()(std::string_view name) const;
  };
  struct Equal {
    bool operator()(std::string_view a, std::string_view b) const;
  };
  std::vector<const CommandRow*> rows_;
  std::unordered_map<std::string_view, const CommandRow*, Hash, Equal> by_name_;
  std::unordered_map<const CommandRow*, const CommandRow*> parents_;
  std::vector<std::unique_ptr<std::string>> renamed_;
};

// The keys of a request as COMMAND GETKEYS tells them: from its row's key specifications, and where those fail, as
// redirections find them. Both return false when the request is malformed, and leave no keys then.
bool FindKeys(const CommandRow& row, std::span<const std::string_view> argv, std::vector<KeyPosition>& keys);
// As redirections find them, and in the order in which they are judged: keys that are counted come first (the target of
// ZUNIONSTORE after its sources), and a count is whatever digits it starts with.
bool FindRoutedKeys(const CommandRow& row, std::span<const std::string_view> argv, std::vector<KeyPosition>& keys);

// One span per file of rows; table.cc lists them.
std::span<const CommandRow> StringCommands();
std::span<const CommandRow> StringPartCommands();   // APPEND, SETRANGE, LCS ...
std::span<const CommandRow> CounterCommands();      // INCR ...
std::span<const CommandRow> HashCommands();
std::span<const CommandRow> HashExpiryCommands();  // HEXPIRE ...
std::span<const CommandRow> BitmapCommands();
std::span<const CommandRow> BitfieldCommands();
std::span<const CommandRow> HyperLogLogCommands();
std::span<const CommandRow> KeyCommands();
std::span<const CommandRow> SetAlgebraCommands();   // SINTER, SUNION, SDIFF ...
std::span<const CommandRow> SetCommands();
std::span<const CommandRow> SortCommands();
std::span<const CommandRow> ScanCommands();         // KEYS, SCAN, RANDOMKEY, DBSIZE
std::span<const CommandRow> ObjectCommands();       // OBJECT, MEMORY
std::span<const CommandRow> ExpiryCommands();
std::span<const CommandRow> TransferCommands();     // DUMP, RESTORE
std::span<const CommandRow> ListCommands();
std::span<const CommandRow> ListEditCommands();  // LSET, LTRIM, LREM, LINSERT
std::span<const CommandRow> ListMoveCommands();  // LMOVE, LMPOP ... and all that waits for lists
std::span<const CommandRow> StreamCommands();
std::span<const CommandRow> StreamReadCommands();   // XREAD, XREADGROUP
std::span<const CommandRow> StreamGroupCommands();  // XGROUP, XACK, XPENDING
std::span<const CommandRow> StreamClaimCommands();  // XCLAIM, XAUTOCLAIM
std::span<const CommandRow> StreamInfoCommands();   // XINFO
std::span<const CommandRow> MigrateCommands();
std::span<const CommandRow> TransactionCommands();
std::span<const CommandRow> ConnectionCommands();
std::span<const CommandRow> ClientCommands();
std::span<const CommandRow> IntrospectionCommands();  // COMMAND
std::span<const CommandRow> ConfigCommands();
std::span<const CommandRow> ServerCommands();      // TIME, INFO, SLOWLOG ...
std::span<const CommandRow> LatencyCommands();
std::span<const CommandRow> AclCommands();
std::span<const CommandRow> DebugCommands();
std::span<const CommandRow> DurabilityCommands();
std::span<const CommandRow> ReplicationCommands();
std::span<const CommandRow> ClusterCommands();
std::span<const CommandRow> PubsubCommands();
std::span<const CommandRow> GeoCommands();
std::span<const CommandRow> GeoSearchCommands();    // GEOSEARCH, GEORADIUS ...
std::span<const CommandRow> SortedSetCommands();
std::span<const CommandRow> SortedSetAlgebraCommands();  // ZUNION ...
std::span<const CommandRow> SortedSetPopCommands();      // ZPOPMIN, BZMPOP ...
std::span<const CommandRow> SortedSetRangeCommands();    // ZRANGE ...

}  // namespace tessera
