#include "server/commands/table.h"

#include <cstring>
#include <initializer_list>
#include <memory>

#include "protocol/number.h"
#include "server/commands/functions.h"

namespace tessera {
namespace {

constexpr char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

size_t CommandTable::Hash::operator()(std::string_view name) const {
  uint64_t h = 14695981039346656037ull;  // FNV-1a: names are short and come from us
  for (char c : name) h = (h ^ static_cast<unsigned char>(Lower(c))) * 1099511628211ull;
  return h;
}

bool CommandTable::Equal::operator()(std::string_view a, std::string_view b) const {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (Lower(a[i]) != Lower(b[i])) return false;
  return true;
}

CommandTable::CommandTable() {
  // clang-format off
  for (auto file : {
           AclCommands(),
           BitfieldCommands(),
           BitmapCommands(),
           ClientCommands(),
           ClusterCommands(),
           ConfigCommands(),
           ConnectionCommands(),
           CounterCommands(),
           DebugCommands(),
           DurabilityCommands(),
           ExpiryCommands(),
           FunctionCommands(),
           GeoCommands(),
           GeoSearchCommands(),
           HashCommands(),
           HashExpiryCommands(),
           HyperLogLogCommands(),
           IntrospectionCommands(),
           KeyCommands(),
           LatencyCommands(),
           ListCommands(),
           ListEditCommands(),
           ListMoveCommands(),
           MigrateCommands(),
           ObjectCommands(),
           PubsubCommands(),
           ReplicationCommands(),
           ScanCommands(),
           ServerCommands(),
           SetAlgebraCommands(),
           SetCommands(),
           SortCommands(),
           SortedSetAlgebraCommands(),
           SortedSetCommands(),
           SortedSetPopCommands(),
           SortedSetRangeCommands(),
           StreamClaimCommands(),
           StreamCommands(),
           StreamGroupCommands(),
           StreamInfoCommands(),
           StreamReadCommands(),
           StringCommands(),
           StringPartCommands(),
           TransactionCommands(),
           TransferCommands(),
       }) {
  // clang-format on
    for (const CommandRow& row : file) Add(row);
  }
}

void CommandTable::Add(const CommandRow& row) {
  rows_.push_back(&row);
  by_name_.emplace(row.name, &row);
  for (const CommandRow& sub : row.subcommands) parents_.emplace(&sub, &row);
}

const CommandRow* CommandTable::FindTop(std::string_view name) const {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

CommandTable::Result CommandTable::Find(std::span<const std::string_view> argv) const {
  const CommandRow* row = FindTop(argv[0]);
  if (row == nullptr) return {Found::kUnknown, nullptr, nullptr};
  if (row->subcommands.empty() || argv.size() < 2) return {Found::kYes, row, nullptr};
  for (const CommandRow& sub : row->subcommands)
    if (Equal()(sub.name, argv[1])) return {Found::kYes, &sub, row};
  return {Found::kUnknownSubcommand, nullptr, row};
}

bool CommandTable::Rename(std::string_view from, std::string_view to) {
  auto it = by_name_.find(from);
  if (it == by_name_.end()) return false;
  const CommandRow* row = it->second;
  if (!to.empty() && by_name_.contains(to)) return false;
  by_name_.erase(it);
  if (!to.empty()) {
    renamed_.push_back(std::make_unique<std::string>(to));
    by_name_.emplace(*renamed_.back(), row);
  }
  return true;
}

std::string CommandTable::FullName(const CommandRow& row) const {
  const CommandRow* parent = ParentOf(row);
  return parent == nullptr ? std::string(row.name) : std::string(parent->name) + "|" + std::string(row.name);
}

const CommandRow* CommandTable::ParentOf(const CommandRow& row) const {
  auto it = parents_.find(&row);
  return it == parents_.end() ? nullptr : it->second;
}

bool FindKeys(const CommandRow& row, std::span<const std::string_view> argv, std::vector<KeyPosition>& keys) {
  const int argc = static_cast<int>(argv.size());
  for (const KeySpec& spec : row.keys) {
    int first = spec.index;
    if (spec.locate != nullptr) {
      if (const int at = spec.locate(argv); at != 0) keys.push_back({at, spec.flags});
      continue;
    }
    if (spec.begin == KeySpec::Begin::kUnknown || spec.find == KeySpec::Find::kUnknown) continue;
    if (spec.begin == KeySpec::Begin::kKeyword) {
      const bool backwards = spec.index < 0;
      int i = backwards ? argc + spec.index : spec.index;
      const int step = backwards ? -1 : 1;
      for (; i >= 1 && i < argc; i += step)
        if (CommandTable::SameName(argv[i], spec.keyword)) break;
      if (i < 1 || i >= argc) continue;
      first = i + 1;
    }
    int last, step = spec.step;
    if (spec.find == KeySpec::Find::kRange) {
      if (spec.last_key >= 0) {
        last = first + spec.last_key;
      } else if (spec.limit <= 1) {
        last = argc + spec.last_key;
      } else {
        last = first + ((argc - first) / spec.limit) + spec.last_key;
      }
    } else {
      const int at = first + spec.keynum_index;
      if (at >= argc) return false;
      auto count = protocol::ParseInt64(argv[at]);
      // Only scripts may do without keys.
      const int64_t count_min = row.group == Group::kScripting ? 0 : 1;
      if (!count || *count < count_min || *count > argc) return false;
      const int first_key = first + spec.first_key;
      last = first_key + (static_cast<int>(*count) - 1) * step;
      first = first_key;
    }
    if (first >= argc && spec.begin == KeySpec::Begin::kKeyword) continue;
    for (int i = first; i <= last; i += step) {
      if (i < 1 || i >= argc) return false;
      if (spec.empty_is_none && argv[i].empty()) continue;
      const uint16_t flags = spec.flags_of != nullptr ? spec.flags_of(argv) : spec.flags;
      keys.push_back({i, static_cast<uint16_t>(flags & ~kKeyIncomplete)});
      if (spec.empty_is_none) return true;
    }
  }
  return true;
}

}  // namespace tessera
