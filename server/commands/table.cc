#include "server/commands/table.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>

#include "protocol/number.h"
#include "server/commands/functions.h"

namespace tessera {
namespace {

using Argv = std::span<const std::string_view>;

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

namespace {

// As atoi reads it, to the last overflow.
int LeadingDigits(std::string_view text) {
  return static_cast<int>(std::strtol(std::string(text).c_str(), nullptr, 10));
}

// The keys of `spec`, whose count stands at `at`.
bool AddCountedKeys(const KeySpec& spec, Argv argv, size_t at, int64_t count, uint16_t flags,
                    std::vector<KeyPosition>& keys) {
  const int first = static_cast<int>(at) - spec.keynum_index + spec.first_key;
  if (count < 1 || count > (static_cast<int>(argv.size()) - first) / spec.step) return false;
  for (int i = 0; i < count; ++i) keys.push_back({first + i * spec.step, flags});
  return true;
}

// The keys of all specifications, in their order.
bool AddSpecifiedKeys(const CommandRow& row, Argv argv, std::vector<KeyPosition>& keys) {
  const int argc = static_cast<int>(argv.size());
  for (const KeySpec& spec : row.keys) {
    if (spec.begin == KeySpec::Begin::kUnknown || spec.find == KeySpec::Find::kUnknown) continue;
    int first = spec.index;
    if (spec.begin == KeySpec::Begin::kKeyword) {
      const int step = spec.index < 0 ? -1 : 1;
      int i = spec.index < 0 ? argc + spec.index : spec.index;
      while (i >= 1 && i < argc && !CommandTable::SameName(argv[i], spec.keyword)) i += step;
      if (i < 1 || i + 1 >= argc) continue;
      first = i + 1;
    }
    if (spec.find == KeySpec::Find::kKeyNum) {
      const auto at = static_cast<size_t>(first + spec.keynum_index);
      if (at >= argv.size()) return false;
      const auto count = protocol::ParseInt64(argv[at]);
      if (!count || !AddCountedKeys(spec, argv, at, *count, spec.flags, keys)) return false;
      continue;
    }
    int last = argc + spec.last_key;
    if (spec.last_key >= 0)
      last = first + spec.last_key;
    else if (spec.limit > 1)
      last = first + (argc - first) / spec.limit + spec.last_key;
    for (int i = first; i <= last; i += spec.step) {
      if (i >= argc) return false;
      keys.push_back({i, spec.flags});
    }
  }
  return true;
}

bool OrNone(bool well_formed, std::vector<KeyPosition>& keys) {
  if (!well_formed) keys.clear();
  return well_formed;
}

}  // namespace

bool FindRoutedKeys(const CommandRow& row, Argv argv, std::vector<KeyPosition>& keys) {
  keys.clear();
  if (row.find_keys != nullptr) return OrNone(row.find_keys(argv, keys), keys);
  const auto counted = std::ranges::find(row.keys, KeySpec::Find::kKeyNum, &KeySpec::find);
  if (counted == row.keys.end()) return OrNone(AddSpecifiedKeys(row, argv, keys), keys);
  const auto at = static_cast<size_t>(counted->index + counted->keynum_index);
  if (at >= argv.size()) return false;
  const int count = LeadingDigits(argv[at]);
  if (!AddCountedKeys(*counted, argv, at, count, 0, keys)) return false;
  for (const KeySpec& spec : row.keys)
    if (&spec != &*counted) keys.push_back({spec.index});
  return true;
}

bool FindKeys(const CommandRow& row, Argv argv, std::vector<KeyPosition>& keys) {
  constexpr uint16_t kUnreliable = kKeyIncomplete | kKeyVariableFlags;
  const bool reliable = std::ranges::none_of(row.keys, [](const KeySpec& spec) {
    return (spec.flags & kUnreliable) != 0 || spec.find == KeySpec::Find::kUnknown;
  });
  keys.clear();
  if (reliable && AddSpecifiedKeys(row, argv, keys)) return true;
  return FindRoutedKeys(row, argv, keys);
}

}  // namespace tessera
