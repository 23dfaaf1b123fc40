// One declarative row per command: everything anybody asks of a command is asked of its row, and nobody compares names.
// Rows are constexpr, stand beside their handlers, and reach the table as one span per file (table.cc names the spans).
// Source of the fields: COMMAND INFO and COMMAND DOCS of Redis 7.2.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace tessera {

struct CommandContext;
using CommandHandler = void (*)(CommandContext&);

// Flags as COMMAND INFO shows them (the first block, in its order), and ours that it does not show.
enum CommandFlag : uint64_t {
  kWrite = 1ull << 0,
  kReadOnly = 1ull << 1,
  kDenyOom = 1ull << 2,
  kAdmin = 1ull << 3,
  kPubsub = 1ull << 4,
  kNoScript = 1ull << 5,
  kBlocking = 1ull << 6,
  kLoading = 1ull << 7,         // allowed while the dataset is loaded
  kStale = 1ull << 8,           // allowed on a replica that lost its primary with replica-serve-stale-data no
  kSkipMonitor = 1ull << 9,
  kSkipSlowlog = 1ull << 10,
  kAsking = 1ull << 11,         // implies ASKING (RESTORE-ASKING)
  kFast = 1ull << 12,
  kNoAuth = 1ull << 13,
  kMayReplicate = 1ull << 14,   // not shown either
  kNoAsyncLoading = 1ull << 15,
  kNoMulti = 1ull << 16,
  kMovableKeys = 1ull << 17,
  kAllowBusy = 1ull << 18,
  kNoMandatoryKeys = 1ull << 19,
  // not shown by COMMAND
  kTransactionControl = 1ull << 40,  // runs at once inside MULTI instead of being queued
  kSentinelOnlyDocs = 1ull << 41,
  kUntouched = 1ull << 42,           // does not count as the client's activity for OBJECT IDLETIME (OBJECT, DEBUG ...)
  kMovesSlots = 1ull << 44,          // served here though its slot is migrating or importing (MIGRATE)
  kEndsTransaction = 1ull << 45,       // EXEC: when it is refused, the transaction is over
  kWhileSubscribed = 1ull << 46,     // allowed to a RESP2 client that listens to channels
  kSystemCommand = 1ull << 47,         // COMMAND DOCS calls it internal (syscmd)
  kInStream = 1ull << 48,            // in a primary's stream and in logs though it changes nothing itself (SELECT, MULTI, EXEC)
  kWhilePaused = 1ull << 43,         // goes on though CLIENT PAUSE ALL holds the others back
};

enum AclCategory : uint32_t {
  kAclKeyspace = 1u << 0,
  kAclRead = 1u << 1,
  kAclWrite = 1u << 2,
  kAclSet = 1u << 3,
  kAclSortedSet = 1u << 4,
  kAclList = 1u << 5,
  kAclHash = 1u << 6,
  kAclString = 1u << 7,
  kAclBitmap = 1u << 8,
  kAclHyperLogLog = 1u << 9,
  kAclGeo = 1u << 10,
  kAclStream = 1u << 11,
  kAclPubsub = 1u << 12,
  kAclAdmin = 1u << 13,
  kAclFast = 1u << 14,
  kAclSlow = 1u << 15,
  kAclBlocking = 1u << 16,
  kAclDangerous = 1u << 17,
  kAclConnection = 1u << 18,
  kAclTransaction = 1u << 19,
  kAclScripting = 1u << 20,
};

enum class Group : uint8_t {
  kGeneric, kString, kList, kSet, kSortedSet, kHash, kPubsub, kTransactions, kConnection, kServer, kScripting,
  kHyperLogLog, kCluster, kSentinel, kGeo, kStream, kBitmap, kModule,
};

enum KeyFlag : uint16_t {
  kKeyRW = 1 << 0, kKeyRO = 1 << 1, kKeyOW = 1 << 2, kKeyRM = 1 << 3,
  kKeyAccess = 1 << 4, kKeyUpdate = 1 << 5, kKeyInsert = 1 << 6, kKeyDelete = 1 << 7,
  kKeyNotKey = 1 << 8, kKeyIncomplete = 1 << 9, kKeyVariableFlags = 1 << 10,
};

// Where keys start and how they go on; the two steps of Redis 7's key specifications.
struct KeySpec {
  enum class Begin : uint8_t { kIndex, kKeyword, kUnknown };
  enum class Find : uint8_t { kRange, kKeyNum, kUnknown };
  uint16_t flags = 0;
  Begin begin = Begin::kIndex;
  int index = 0;                  // kIndex: position of the first key; kKeyword: where the search starts
  std::string_view keyword = {};  // kKeyword
  Find find = Find::kRange;
  int last_key = 0;               // kRange: relative to the first key; negative = from the end
  int step = 1;                   // kRange, kKeyNum
  int limit = 0;                  // kRange
  int keynum_index = 0;           // kKeyNum: where the count stands, relative to the beginning
  int first_key = 0;              // kKeyNum
  std::string_view notes = {};
};

// Where a key of a request stands.
struct KeyPosition {
  int index;
  uint16_t flags = 0;  // KeyFlag
};
// Appends the keys of a request; false when it is malformed.
using KeyFinder = bool (*)(std::span<const std::string_view> argv, std::vector<KeyPosition>& keys);

// A command's arguments as COMMAND DOCS tells them.
enum class ArgType : uint8_t { kString, kInteger, kDouble, kKey, kPattern, kUnixTime, kPureToken, kOneOf, kBlock };
enum ArgFlag : uint8_t { kOptional = 1, kMultiple = 2, kMultipleToken = 4 };
struct ArgSpec {
  std::string_view name;
  ArgType type = ArgType::kString;
  uint8_t flags = 0;
  std::string_view token = {};
  std::string_view since = {};
  int key_spec = -1;
  std::span<const ArgSpec> children = {};
  std::string_view summary = {};
  std::string_view display = {};  // empty = same as name
  std::string_view deprecated_since = {};
};

struct HistoryEntry {
  std::string_view since;
  std::string_view what;
};

struct CommandRow {
  std::string_view name;                    // lower case; of a subcommand its own word only ("kill")
  int arity = 0;                            // negative = at least
  uint64_t flags = 0;                       // CommandFlag
  uint32_t acl = 0;                         // AclCategory beyond those the flags imply
  CommandHandler handler = nullptr;         // null only for rows that have subcommands and nothing of their own
  std::span<const KeySpec> keys = {};
  // Where the specifications cannot say it exactly: incomplete, with flags that vary, or other than what redirections see.
  KeyFinder find_keys = nullptr;
  Group group = Group::kGeneric;
  std::string_view since = {};
  std::string_view complexity = {};
  std::string_view summary = {};
  std::span<const ArgSpec> args = {};
  std::span<const CommandRow> subcommands = {};
  std::span<const std::string_view> tips = {};
  std::span<const HistoryEntry> history = {};
  std::string_view deprecated_since = {};
  std::string_view replaced_by = {};

  constexpr bool has(uint64_t flag) const { return flags & flag; }
};

}  // namespace tessera
