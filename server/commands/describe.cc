#include "server/commands/describe.h"

#include <algorithm>

#include "server/commands/table.h"

namespace tessera {
namespace {

constexpr BitName<uint64_t> kCommandFlagNames[] = {
    {kWrite, "write"},
    {kReadOnly, "readonly"},
    {kDenyOom, "denyoom"},
    {kAdmin, "admin"},
    {kPubsub, "pubsub"},
    {kNoScript, "noscript"},
    {kBlocking, "blocking"},
    {kLoading, "loading"},
    {kStale, "stale"},
    {kSkipMonitor, "skip_monitor"},
    {kSkipSlowlog, "skip_slowlog"},
    {kAsking, "asking"},
    {kFast, "fast"},
    {kNoAuth, "no_auth"},
    {kNoMandatoryKeys, "no_mandatory_keys"},
    {kNoAsyncLoading, "no_async_loading"},
    {kNoMulti, "no_multi"},
    {kMovableKeys, "movablekeys"},
    {kAllowBusy, "allow_busy"},
};

constexpr BitName<uint32_t> kAclCategoryNames[] = {
    {kAclKeyspace, "keyspace"},
    {kAclRead, "read"},
    {kAclWrite, "write"},
    {kAclSet, "set"},
    {kAclSortedSet, "sortedset"},
    {kAclList, "list"},
    {kAclHash, "hash"},
    {kAclString, "string"},
    {kAclBitmap, "bitmap"},
    {kAclHyperLogLog, "hyperloglog"},
    {kAclGeo, "geo"},
    {kAclStream, "stream"},
    {kAclPubsub, "pubsub"},
    {kAclAdmin, "admin"},
    {kAclFast, "fast"},
    {kAclSlow, "slow"},
    {kAclBlocking, "blocking"},
    {kAclDangerous, "dangerous"},
    {kAclConnection, "connection"},
    {kAclTransaction, "transaction"},
    {kAclScripting, "scripting"},
};

constexpr BitName<uint16_t> kKeyFlagNames[] = {
    {kKeyRW, "RW"},
    {kKeyRO, "RO"},
    {kKeyOW, "OW"},
    {kKeyRM, "RM"},
    {kKeyAccess, "access"},
    {kKeyUpdate, "update"},
    {kKeyInsert, "insert"},
    {kKeyDelete, "delete"},
    {kKeyNotKey, "not_key"},
    {kKeyIncomplete, "incomplete"},
    {kKeyVariableFlags, "variable_flags"},
};

constexpr BitName<uint8_t> kArgFlagNames[] = {
    {kOptional, "optional"}, {kMultiple, "multiple"}, {kMultipleToken, "multiple_token"}};

std::string OutlineOf(const ArgSpec& arg) {
  std::string value;
  switch (arg.type) {
    case ArgType::kPureToken:
      value = arg.token;
      break;
    case ArgType::kOneOf:
      for (const ArgSpec& child : arg.children) {
        if (!value.empty()) value += '|';
        value += OutlineOf(child);
      }
      if (!(arg.flags & kOptional) || !arg.token.empty()) value = "(" + value + ")";
      break;
    case ArgType::kBlock:
      value = Outline(arg.children);
      break;
    default:
      value = "<" + std::string(arg.display.empty() ? arg.name : arg.display) + ">";
  }
  if (!arg.token.empty() && arg.type != ArgType::kPureToken) {
    const std::string with_token = std::string(arg.token) + " " + value;
    if (arg.flags & kMultiple) value += " [" + (arg.flags & kMultipleToken ? with_token : value) + " ...]";
    value = std::string(arg.token) + " " + value;
  } else if (arg.flags & kMultiple) {
    value += " [" + value + " ...]";
  }
  return arg.flags & kOptional ? "[" + value + "]" : value;
}

}  // namespace

std::span<const BitName<uint64_t>> CommandFlagNames() { return kCommandFlagNames; }
std::span<const BitName<uint32_t>> AclCategoryNames() { return kAclCategoryNames; }
std::span<const BitName<uint16_t>> KeyFlagNames() { return kKeyFlagNames; }
std::span<const BitName<uint8_t>> ArgFlagNames() { return kArgFlagNames; }

std::string_view GroupName(Group group) {
  constexpr std::string_view kNames[] = {"generic", "string",       "list",       "set",    "sorted-set", "hash",
                                         "pubsub",  "transactions", "connection", "server", "scripting",  "hyperloglog",
                                         "cluster", "sentinel",     "geo",        "stream", "bitmap",     "module"};
  return kNames[static_cast<int>(group)];
}

std::string_view ArgTypeName(ArgType type) {
  constexpr std::string_view kNames[] = {"string",    "integer",    "double", "key",  "pattern",
                                         "unix-time", "pure-token", "oneof",  "block"};
  return kNames[static_cast<int>(type)];
}

uint64_t ShownFlags(const CommandRow& row) {
  const bool movable = std::any_of(row.keys.begin(), row.keys.end(), [](const KeySpec& spec) {
    return spec.begin != KeySpec::Begin::kIndex || spec.find != KeySpec::Find::kRange;
  });
  return movable ? row.flags | kMovableKeys : row.flags;
}

uint32_t AclCategories(const CommandRow& row) {
  uint32_t acl = row.acl;
  if (row.has(kWrite)) acl |= kAclWrite;
  // Reading a value is what the category means; commands of scripts and the like are read-only in another sense.
  if (row.has(kReadOnly) && !(acl & kAclScripting)) acl |= kAclRead;
  if (row.has(kAdmin)) acl |= kAclAdmin | kAclDangerous;
  if (row.has(kPubsub)) acl |= kAclPubsub;
  if (row.has(kFast)) acl |= kAclFast;
  if (row.has(kBlocking)) acl |= kAclBlocking;
  if (!(acl & kAclFast)) acl |= kAclSlow;
  return acl;
}

uint32_t AclCategoryByName(std::string_view name) {
  for (const auto& category : kAclCategoryNames)
    if (CommandTable::SameName(category.name, name)) return category.bit;
  return 0;
}

LegacyKeys LegacyKeysOf(const CommandRow& row) {
  auto simple = [](const KeySpec& spec) {
    return spec.begin == KeySpec::Begin::kIndex && spec.find == KeySpec::Find::kRange;
  };
  auto last_of = [](const KeySpec& spec) { return spec.last_key >= 0 ? spec.index + spec.last_key : spec.last_key; };
  if (row.keys.size() == 1 && simple(row.keys[0])) {
    const KeySpec& spec = row.keys[0];
    return {spec.index, last_of(spec), spec.step};
  }
  // Several specifications count as one range only while each begins where the one before ended.
  LegacyKeys keys;
  for (const KeySpec& spec : row.keys) {
    if (!simple(spec) || spec.step != 1) continue;
    if (keys.last != 0 && keys.last != spec.index - 1) continue;
    if (keys.first == 0) keys.first = spec.index;
    keys.last = last_of(spec);
    keys.step = 1;
    if (keys.last < 0) break;
  }
  return keys;
}

std::string Outline(std::span<const ArgSpec> args) {
  std::string text;
  for (const ArgSpec& arg : args) {
    if (!text.empty()) text += ' ';
    text += OutlineOf(arg);
  }
  return text;
}

}  // namespace tessera
