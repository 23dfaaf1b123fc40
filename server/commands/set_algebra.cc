// What several sets have in common, together, or apart: SINTER, SUNION, SDIFF, their STORE forms, SINTERCARD.
#include <algorithm>
#include <memory>
#include <vector>

#include "server/commands/edit.h"
#include "server/commands/table.h"
#include "server/store/set_object.h"
#include "server/values/limits.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::IntScratch;
using store::Set;

// The sets under `keys`, null for missing ones. Replies and returns false when a key holds something else. Objects stay
// where they are while other keys are looked at.
bool CollectSets(CommandContext& ctx, Argv keys, std::vector<const Set*>& sets) {
  sets.reserve(keys.size());
  for (std::string_view key : keys) {
    const EntryRef entry = ctx.Find(key);
    if (!CheckType(ctx, entry, store::Type::kSet)) return false;
    sets.push_back(ValueOf<Set>(entry));
  }
  return true;
}

// Calls `visit` for members of the intersection until it returns false. O(smallest * sets).
template <typename Visit>
void Intersect(std::vector<const Set*> sets, Visit visit) {
  if (std::find(sets.begin(), sets.end(), nullptr) != sets.end()) return;
  std::stable_sort(sets.begin(), sets.end(), [](const Set* a, const Set* b) { return a->size() < b->size(); });
  std::vector<Set::Finder> others;
  for (const Set* set : sets)
    if (set != sets[0]) others.emplace_back(*set);
  for (Set::Walk walk(*sets[0]); walk.valid(); walk.Next()) {
    const bool everywhere =
        std::all_of(others.begin(), others.end(), [&](Set::Finder& other) { return other.Contains(walk); });
    if (everywhere && !visit(walk.value())) return;
  }
}

using Result = std::unique_ptr<Set>;

Result Unite(CommandContext& ctx, const std::vector<const Set*>& sets) {
  auto result = std::make_unique<Set>(ctx.keyspace.object_seed());
  const store::SetLimits limits = SetLimitsOf(ctx.services.config);
  for (const Set* set : sets) {
    if (set == nullptr) continue;
    for (Set::Walk walk(*set); walk.valid(); walk.Next()) (void)result->Add(walk.value(), limits);
  }
  return result;
}

Result Subtract(CommandContext& ctx, const std::vector<const Set*>& sets) {
  auto result = std::make_unique<Set>(ctx.keyspace.object_seed());
  const Set* first = sets[0];
  if (first == nullptr) return result;
  const store::SetLimits limits = SetLimitsOf(ctx.services.config);
  std::vector<const Set*> others;
  uint64_t members_of_others = 0;
  for (size_t i = 1; i < sets.size(); ++i) {
    if (sets[i] == first) return result;
    if (sets[i] == nullptr) continue;
    others.push_back(sets[i]);
    members_of_others += sets[i]->size();
  }
  // Asking all others about each member, or taking the members of the others away, whichever is less work.
  if (first->size() * others.size() / 2 <= first->size() + members_of_others) {
    // The largest is most likely to hold a member.
    std::stable_sort(others.begin(), others.end(), [](const Set* a, const Set* b) { return a->size() > b->size(); });
    std::vector<Set::Finder> finders;
    for (const Set* set : others) finders.emplace_back(*set);
    for (Set::Walk walk(*first); walk.valid(); walk.Next()) {
      const bool elsewhere =
          std::any_of(finders.begin(), finders.end(), [&](Set::Finder& other) { return other.Contains(walk); });
      if (!elsewhere) (void)result->Add(walk.value(), limits);
    }
    return result;
  }
  for (Set::Walk walk(*first); walk.valid(); walk.Next()) (void)result->Add(walk.value(), limits);
  for (const Set* set : others) {
    for (Set::Walk walk(*set); walk.valid() && result->size() > 0; walk.Next()) {
      IntScratch scratch;
      (void)result->Erase(walk.value().Text(scratch));
    }
  }
  return result;
}

Result IntersectAll(CommandContext& ctx, const std::vector<const Set*>& sets) {
  auto result = std::make_unique<Set>(ctx.keyspace.object_seed());
  const store::SetLimits limits = SetLimitsOf(ctx.services.config);
  Intersect(sets, [&](const store::Unpacked& member) {
    (void)result->Add(member, limits);
    return true;
  });
  return result;
}

void ReplySet(CommandContext& ctx, const Set& set) {
  ctx.reply.Set(static_cast<int64_t>(set.size()));
  IntScratch scratch;
  for (Set::Walk walk(set); walk.valid(); walk.Next()) ctx.reply.Bulk(walk.value().Text(scratch));
}

using Operation = Result (*)(CommandContext&, const std::vector<const Set*>&);

void Answer(CommandContext& ctx, Operation operation) {
  std::vector<const Set*> sets;
  if (!CollectSets(ctx, ctx.argv.subspan(1), sets)) return;
  if (sets.size() == 1) return sets[0] == nullptr ? ctx.reply.Set(0) : ReplySet(ctx, *sets[0]);
  Result result = operation(ctx, sets);
  ReplySet(ctx, *result);
  ctx.keyspace.Discard(std::move(result));
}

void StoreResult(CommandContext& ctx, Operation operation, std::string_view event) {
  std::vector<const Set*> sets;
  if (!CollectSets(ctx, ctx.argv.subspan(2), sets)) return;
  const std::string_view target = ctx.argv[1];
  Result result = operation(ctx, sets);
  const auto size = static_cast<int64_t>(result->size());
  if (size == 0) {
    EraseTarget(ctx, target);
    return ctx.reply.Integer(0);
  }
  if (!ctx.db().SetObject(target, std::move(result), store::Expiry::None())) return ctx.reply.Error(kOutOfMemory);
  ctx.Notify('s', event, target);
  ctx.reply.Integer(size);
}

void SInter(CommandContext& ctx) {
  std::vector<const Set*> sets;
  if (!CollectSets(ctx, ctx.argv.subspan(1), sets)) return;
  const auto mark = ctx.reply.Defer();
  int64_t found = 0;
  Intersect(std::move(sets), [&](const store::Unpacked& member) {
    IntScratch scratch;
    ctx.reply.Bulk(member.Text(scratch));
    ++found;
    return true;
  });
  ctx.reply.EndSet(mark, found);
}

void SUnion(CommandContext& ctx) { Answer(ctx, Unite); }
void SDiff(CommandContext& ctx) { Answer(ctx, Subtract); }
void SInterStore(CommandContext& ctx) { StoreResult(ctx, IntersectAll, "sinterstore"); }
void SUnionStore(CommandContext& ctx) { StoreResult(ctx, Unite, "sunionstore"); }
void SDiffStore(CommandContext& ctx) { StoreResult(ctx, Subtract, "sdiffstore"); }

void SInterCard(CommandContext& ctx) {
  protocol::ArgReader args(ctx.argv, 1);
  const int64_t key_count =
      args.NextIntBetween(1, std::numeric_limits<int64_t>::max(), "ERR numkeys should be greater than 0");
  if (args.ok() && static_cast<uint64_t>(key_count) > ctx.argv.size() - 2)
    args.Fail("ERR Number of keys can't be greater than number of args");
  if (!args.ok()) return ctx.reply.Error(args.error());
  int64_t limit = 0;
  args.Skip(static_cast<size_t>(key_count));
  while (args.HasNext()) {
    if (args.Check("LIMIT", 1)) {
      limit = args.NextIntBetween(0, std::numeric_limits<int64_t>::max(), "ERR LIMIT can't be negative");
    } else {
      args.SyntaxError();
    }
  }
  if (!args.ok()) return ctx.reply.Error(args.error());
  std::vector<const Set*> sets;
  if (!CollectSets(ctx, ctx.argv.subspan(2, static_cast<size_t>(key_count)), sets)) return;
  int64_t found = 0;
  Intersect(std::move(sets), [&](const store::Unpacked&) { return ++found != limit; });
  ctx.reply.Integer(found);
}

// ---- rows

constexpr KeySpec kReadsKeys[] = {{.flags = kKeyRO | kKeyAccess, .index = 1, .last_key = -1}};
constexpr KeySpec kStores[] = {{.flags = kKeyOW | kKeyUpdate, .index = 1},
                               {.flags = kKeyRO | kKeyAccess, .index = 2, .last_key = -1}};
// Redis says of this one alone that it reads what it overwrites.
constexpr KeySpec kInterStores[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1},
                               {.flags = kKeyRO | kKeyAccess, .index = 2, .last_key = -1}};
constexpr KeySpec kCounts[] = {{.flags = kKeyRO | kKeyAccess,
                                .index = 1,
                                .find = KeySpec::Find::kKeyNum,
                                .keynum_index = 0,
                                .first_key = 1}};
constexpr ArgSpec kKeys[] = {{.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0}};
constexpr ArgSpec kStoreArgs[] = {{.name = "destination", .type = ArgType::kKey, .key_spec = 0},
                                  {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 1}};
constexpr ArgSpec kCardArgs[] = {
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0},
    {.name = "limit", .type = ArgType::kInteger, .flags = kOptional, .token = "LIMIT"}};
constexpr std::string_view kUnorderedTips[] = {"nondeterministic_output_order"};

constexpr CommandRow kRows[] = {
    {.name = "sinter",
     .arity = -2,
     .flags = kReadOnly,
     .acl = kAclSet,
     .handler = SInter,
     .keys = kReadsKeys,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(N*M) for M sets, the smallest of N members.",
     .summary = "Answers the members that all sets have.",
     .args = kKeys,
     .tips = kUnorderedTips},
    {.name = "sintercard",
     .arity = -3,
     .flags = kReadOnly | kMovableKeys,
     .acl = kAclSet,
     .handler = SInterCard,
     .keys = kCounts,
     .group = Group::kSet,
     .since = "7.0.0",
     .complexity = "O(N*M) for M sets, the smallest of N members.",
     .summary = "Counts the members that all sets have, up to a limit.",
     .args = kCardArgs},
    {.name = "sinterstore",
     .arity = -3,
     .flags = kWrite | kDenyOom,
     .acl = kAclSet,
     .handler = SInterStore,
     .keys = kInterStores,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(N*M) for M sets, the smallest of N members.",
     .summary = "Stores the members that all sets have.",
     .args = kStoreArgs},
    {.name = "sunion",
     .arity = -2,
     .flags = kReadOnly,
     .acl = kAclSet,
     .handler = SUnion,
     .keys = kReadsKeys,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(N) for N members in all sets.",
     .summary = "Answers the members that any of the sets has.",
     .args = kKeys,
     .tips = kUnorderedTips},
    {.name = "sunionstore",
     .arity = -3,
     .flags = kWrite | kDenyOom,
     .acl = kAclSet,
     .handler = SUnionStore,
     .keys = kStores,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(N) for N members in all sets.",
     .summary = "Stores the members that any of the sets has.",
     .args = kStoreArgs},
    {.name = "sdiff",
     .arity = -2,
     .flags = kReadOnly,
     .acl = kAclSet,
     .handler = SDiff,
     .keys = kReadsKeys,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(N) for N members in all sets.",
     .summary = "Answers the members of the first set that no other has.",
     .args = kKeys,
     .tips = kUnorderedTips},
    {.name = "sdiffstore",
     .arity = -3,
     .flags = kWrite | kDenyOom,
     .acl = kAclSet,
     .handler = SDiffStore,
     .keys = kStores,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(N) for N members in all sets.",
     .summary = "Stores the members of the first set that no other has.",
     .args = kStoreArgs},
};

}  // namespace

std::span<const CommandRow> SetAlgebraCommands() { return kRows; }

}  // namespace tessera
