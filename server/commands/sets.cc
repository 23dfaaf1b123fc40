// Sets, one at a time; what several sets have in common is in set_algebra.cc.
#include <algorithm>
#include <string>
#include <vector>

#include "server/commands/edit.h"
#include "server/commands/element_scan.h"
#include "server/commands/table.h"
#include "server/store/set_object.h"
#include "server/values/limits.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::IntScratch;
using store::Set;

void SAdd(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kSet)) return;
  Edit<Set> set(ctx, key, entry);
  const store::SetLimits limits = SetLimitsOf(ctx.services.config);
  const Argv members = ctx.argv.subspan(2);
  if (set.creates()) {
    set->Begin(members[0], members.size(), limits);
  } else {
    set->Expect(members.size(), limits);
  }
  int64_t added = 0;
  for (std::string_view member : members) added += set->Add(member, limits);
  if (!set.Commit(added > 0)) return;
  if (added > 0) ctx.Notify('s', "sadd", key);
  ctx.reply.Integer(added);
}

void SRem(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kSet)) return;
  if (!entry) return ctx.reply.Integer(0);
  Edit<Set> set(ctx, key, entry);
  int64_t removed = 0;
  for (std::string_view member : ctx.argv.subspan(2)) removed += set->Erase(member);
  if (!set.Commit(removed > 0)) return;
  if (removed > 0) ctx.Notify('s', "srem", key);
  if (set.removed()) ctx.Notify('g', "del", key);
  ctx.reply.Integer(removed);
}

void SMove(CommandContext& ctx) {
  const std::string_view from = ctx.argv[1], to = ctx.argv[2], member = ctx.argv[3];
  const EntryRef source = ctx.FindForWrite(from);
  if (!source) return ctx.reply.Integer(0);
  const store::Type source_type = source.type();
  const bool held = source_type == store::Type::kSet && ValueOf<Set>(source)->Contains(member);
  const EntryRef target = ctx.FindForWrite(to);
  if (source_type != store::Type::kSet) return ctx.reply.Error(kWrongType);
  if (!CheckType(ctx, target, store::Type::kSet)) return;
  if (from == to || !held) return ctx.reply.Integer(held);
  {
    Edit<Set> set(ctx, from, ctx.FindForWrite(from));
    (void)set->Erase(member);
    if (!set.Commit()) return;
    ctx.Notify('s', "srem", from);
    if (set.removed()) ctx.Notify('g', "del", from);
  }
  Edit<Set> set(ctx, to, ctx.FindForWrite(to));
  const bool added = set->Add(member, SetLimitsOf(ctx.services.config));
  if (!set.Commit(added)) return;
  if (added) ctx.Notify('s', "sadd", to);
  ctx.reply.Integer(1);
}

void SIsMember(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kSet)) return;
  ctx.reply.Integer(entry && ValueOf<Set>(entry)->Contains(ctx.argv[2]));
}

void SMIsMember(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kSet)) return;
  const Argv members = ctx.argv.subspan(2);
  ctx.reply.Array(static_cast<int64_t>(members.size()));
  for (std::string_view member : members) ctx.reply.Integer(entry && ValueOf<Set>(entry)->Contains(member));
}

void SCard(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kSet)) return;
  ctx.reply.Integer(entry ? static_cast<int64_t>(entry.object()->size()) : 0);
}

void SMembers(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kSet)) return;
  if (!entry) return ctx.reply.Set(0);
  const Set& set = *ValueOf<Set>(entry);
  ctx.reply.Set(static_cast<int64_t>(set.size()));
  IntScratch scratch;
  for (Set::Walk walk(set); walk.valid(); walk.Next()) ctx.reply.Bulk(walk.value().Text(scratch));
}

void SScan(CommandContext& ctx) {
  const std::optional<uint64_t> cursor = ReadCursor(ctx.argv[2]);
  if (!cursor) return ctx.reply.Error("ERR invalid cursor");
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!entry) return ReplyEmptyScan(ctx);
  if (!CheckType(ctx, entry, store::Type::kSet)) return;
  ElementScan scan{.position = *cursor};
  if (!ReadElementScan(ctx, scan)) return;
  const Set& set = *ValueOf<Set>(entry);
  ReplyElementScan(ctx, scan, [&](uint64_t position, int64_t& looked_at, int64_t& found) {
    return set.Scan(position, [&](const store::Unpacked& member) {
      ++looked_at;
      IntScratch scratch;
      const std::string_view text = member.Text(scratch);
      if (!scan.Matches(text)) return;
      ctx.reply.Bulk(text);
      ++found;
    });
  });
}

void PopOne(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kSet)) return;
  if (!entry) return ctx.reply.Null();
  Edit<Set> set(ctx, key, entry);
  IntScratch scratch;
  const std::string member(set->At(ctx.keyspace.RandomBelow(set->size())).Text(scratch));
  (void)set->Erase(member);
  if (!set.Commit()) return;
  ctx.Notify('s', "spop", key);
  ctx.Propagate({"SREM", key, member});
  if (set.removed()) ctx.Notify('g', "del", key);
  ctx.reply.Bulk(member);
}

void SPop(CommandContext& ctx) {
  if (ctx.argv.size() == 2) return PopOne(ctx);
  if (ctx.argv.size() > 3) return ctx.reply.Error(kSyntaxError);
  const std::string_view key = ctx.argv[1];
  const auto count = protocol::ParseInt64(ctx.argv[2]);
  if (!count || *count < 0) return ctx.reply.Error("ERR value is out of range, must be positive");
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kSet)) return;
  if (!entry || *count == 0) return ctx.reply.Set(0);

  const uint64_t size = entry.object()->size();
  IntScratch scratch;
  if (static_cast<uint64_t>(*count) >= size) {
    ctx.reply.Set(static_cast<int64_t>(size));
    for (Set::Walk walk(*ValueOf<Set>(entry)); walk.valid(); walk.Next()) ctx.reply.Bulk(walk.value().Text(scratch));
    ctx.db().Erase(key);
    ctx.Notify('s', "spop", key);
    ctx.Notify('g', "del", key);
    return ctx.Propagate({ctx.services.config.lazyfree_lazy_server_del ? "UNLINK" : "DEL", key});
  }

  std::vector<std::string> popped;
  popped.reserve(static_cast<size_t>(*count));
  for (uint64_t index : ChooseIndexes(ctx.keyspace, size, static_cast<uint64_t>(*count))) {
    popped.emplace_back(ValueOf<Set>(entry)->At(index).Text(scratch));
  }
  Edit<Set> set(ctx, key, entry);
  for (const std::string& member : popped) (void)set->Erase(member);
  if (!set.Commit()) return;
  ctx.Notify('s', "spop", key);
  constexpr size_t kMembersPerCommand = 1024;
  for (size_t i = 0; i < popped.size(); i += kMembersPerCommand) {
    std::vector<std::string_view> command = {"SREM", key};
    command.insert(command.end(), popped.begin() + static_cast<ptrdiff_t>(i),
                   popped.begin() + static_cast<ptrdiff_t>(std::min(popped.size(), i + kMembersPerCommand)));
    ctx.PropagateIn(ctx.session.db, command);
  }
  ctx.reply.Set(*count);
  for (const std::string& member : popped) ctx.reply.Bulk(member);
}

void SRandMember(CommandContext& ctx) {
  if (ctx.argv.size() > 3) return ctx.reply.Error(kSyntaxError);
  const bool one = ctx.argv.size() == 2;
  int64_t count = 1;
  if (!one) {
    constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
    protocol::ArgReader args(ctx.argv, 2);
    count = args.NextIntBetween(-kMax, kMax);
    if (!args.ok()) return ctx.reply.Error(args.error());
  }
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kSet)) return;
  if (!entry) return one ? ctx.reply.Null() : ctx.reply.Array(0);
  const Set& set = *ValueOf<Set>(entry);
  const uint64_t size = set.size();
  IntScratch scratch;
  if (one) return ctx.reply.Bulk(set.At(ctx.keyspace.RandomBelow(size)).Text(scratch));
  if (count < 0) {
    // The same member may come several times.
    ctx.reply.Array(-count);
    for (; count < 0; ++count) ctx.reply.Bulk(set.At(ctx.keyspace.RandomBelow(size)).Text(scratch));
    return;
  }
  if (static_cast<uint64_t>(count) >= size) {
    ctx.reply.Array(static_cast<int64_t>(size));
    for (Set::Walk walk(set); walk.valid(); walk.Next()) ctx.reply.Bulk(walk.value().Text(scratch));
    return;
  }
  ctx.reply.Array(count);
  for (uint64_t index : ChooseIndexes(ctx.keyspace, size, static_cast<uint64_t>(count))) {
    ctx.reply.Bulk(set.At(index).Text(scratch));
  }
}

// ---- rows

constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr KeySpec kLooksKey[] = {{.flags = kKeyRO, .index = 1}};
constexpr KeySpec kInsertsIn[] = {{.flags = kKeyRW | kKeyInsert, .index = 1}};
constexpr KeySpec kDeletesIn[] = {{.flags = kKeyRW | kKeyDelete, .index = 1}};
constexpr KeySpec kPopsFrom[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 1}};
constexpr KeySpec kMoves[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 1},
                              {.flags = kKeyRW | kKeyInsert, .index = 2}};

constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr ArgSpec kKeyAndMember[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}, {.name = "member"}};
constexpr ArgSpec kKeyAndMembers[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                      {.name = "member", .flags = kMultiple}};
constexpr ArgSpec kMoveArgs[] = {{.name = "source", .type = ArgType::kKey, .key_spec = 0},
                                 {.name = "destination", .type = ArgType::kKey, .key_spec = 1},
                                 {.name = "member"}};
constexpr ArgSpec kPopArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .since = "3.2.0"}};
constexpr ArgSpec kRandArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .since = "2.6.0"}};
constexpr ArgSpec kScanArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "cursor", .type = ArgType::kInteger},
    {.name = "pattern", .type = ArgType::kPattern, .flags = kOptional, .token = "MATCH"},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"}};
constexpr HistoryEntry kManyMembers[] = {{"2.4.0", "Accepts multiple `member` arguments."}};
constexpr HistoryEntry kPopHistory[] = {{"3.2.0", "Added the `count` argument."}};
constexpr HistoryEntry kRandHistory[] = {{"2.6.0", "Added the optional `count` argument."}};
constexpr std::string_view kUnorderedTips[] = {"nondeterministic_output_order"};
constexpr std::string_view kRandomTips[] = {"nondeterministic_output"};

constexpr CommandRow kRows[] = {
    {.name = "sadd",
     .arity = -3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclSet,
     .handler = SAdd,
     .keys = kInsertsIn,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(1) per member.",
     .summary = "Adds members to a set, creating it if need be.",
     .args = kKeyAndMembers,
     .history = kManyMembers},
    {.name = "srem",
     .arity = -3,
     .flags = kWrite | kFast,
     .acl = kAclSet,
     .handler = SRem,
     .keys = kDeletesIn,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(N) for N members given.",
     .summary = "Removes members from a set; a set left empty goes away.",
     .args = kKeyAndMembers,
     .history = kManyMembers},
    {.name = "smove",
     .arity = 4,
     .flags = kWrite | kFast,
     .acl = kAclSet,
     .handler = SMove,
     .keys = kMoves,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Takes a member out of one set and puts it into another.",
     .args = kMoveArgs},
    {.name = "sismember",
     .arity = 3,
     .flags = kReadOnly | kFast,
     .acl = kAclSet,
     .handler = SIsMember,
     .keys = kLooksKey,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Tells whether a set has a member.",
     .args = kKeyAndMember},
    {.name = "smismember",
     .arity = -3,
     .flags = kReadOnly | kFast,
     .acl = kAclSet,
     .handler = SMIsMember,
     .keys = kReadsKey,
     .group = Group::kSet,
     .since = "6.2.0",
     .complexity = "O(N) for N members given.",
     .summary = "Tells for each of several members whether a set has it.",
     .args = kKeyAndMembers},
    {.name = "scard",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclSet,
     .handler = SCard,
     .keys = kLooksKey,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Counts the members of a set.",
     .args = kOneKey},
    {.name = "smembers",
     .arity = 2,
     .flags = kReadOnly,
     .acl = kAclSet,
     .handler = SMembers,
     .keys = kReadsKey,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(N) for N members.",
     .summary = "Reads all members of a set.",
     .args = kOneKey,
     .tips = kUnorderedTips},
    {.name = "sscan",
     .arity = -3,
     .flags = kReadOnly,
     .acl = kAclSet,
     .handler = SScan,
     .keys = kReadsKey,
     .group = Group::kSet,
     .since = "2.8.0",
     .complexity = "O(1) per call, O(N) for a whole walk over N members.",
     .summary = "Walks over the members of a set, some at a time.",
     .args = kScanArgs,
     .tips = kRandomTips},
    {.name = "spop",
     .arity = -2,
     .flags = kWrite | kFast,
     .acl = kAclSet,
     .handler = SPop,
     .keys = kPopsFrom,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(N) for N members taken.",
     .summary = "Takes random members out of a set and answers them.",
     .args = kPopArgs,
     .tips = kRandomTips,
     .history = kPopHistory},
    {.name = "srandmember",
     .arity = -2,
     .flags = kReadOnly,
     .acl = kAclSet,
     .handler = SRandMember,
     .keys = kReadsKey,
     .group = Group::kSet,
     .since = "1.0.0",
     .complexity = "O(N) for N members answered.",
     .summary = "Answers random members of a set and leaves them in it.",
     .args = kRandArgs,
     .tips = kRandomTips,
     .history = kRandHistory},
};

}  // namespace

std::span<const CommandRow> SetCommands() { return kRows; }

}  // namespace tessera
