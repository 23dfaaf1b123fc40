// XINFO: what a stream, its groups and their consumers look like.
#include <fmt/core.h>

#include "server/commands/help.h"
#include "server/commands/streams.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using protocol::EqualsIgnoreCase;
using store::EntryRef;
using store::PendingEntry;
using store::Stream;
using store::StreamConsumer;
using store::StreamGroup;

// Null, and answered, when the key is missing or something else.
const Stream* RequireStream(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[2]);
  if (!entry) {
    ctx.reply.Error(kNoSuchKey);
    return nullptr;
  }
  if (!CheckType(ctx, entry, store::Type::kStream)) return nullptr;
  return ValueOf<Stream>(entry);
}

void ReplyEntriesRead(CommandContext& ctx, const StreamGroup& group) {
  ctx.reply.Bulk("entries-read");
  if (group.entries_read == store::kEntriesReadUnknown) return ctx.reply.Null();
  ctx.reply.Integer(group.entries_read);
}

// How many entries the group has still to read, where that can be told.
void ReplyLag(CommandContext& ctx, const Stream& stream, const StreamGroup& group) {
  ctx.reply.Bulk("lag");
  int64_t read = 0;
  if (stream.entries_added() != 0) {
    const bool counted = group.entries_read != store::kEntriesReadUnknown && !stream.MayHaveGapsFrom(group.last_id);
    read = counted ? group.entries_read : stream.CountEverAddedUpTo(group.last_id);
    if (!counted && read == store::kEntriesReadUnknown) return ctx.reply.Null();
  }
  ctx.reply.Integer(static_cast<int64_t>(stream.entries_added()) - read);
}

void ReplyNamedId(CommandContext& ctx, std::string_view name, store::StreamId id) {
  ctx.reply.Bulk(name);
  ReplyStreamId(ctx, id);
}

void ReplyNamedInteger(CommandContext& ctx, std::string_view name, uint64_t value) {
  ctx.reply.Bulk(name);
  ctx.reply.Integer(static_cast<int64_t>(value));
}

// ---- XINFO STREAM

void ReplyEdge(CommandContext& ctx, const Stream& stream, Stream::Reader::Direction direction) {
  Stream::Reader reader(stream, {}, store::kStreamIdMax, direction);
  if (!reader.Next()) return ctx.reply.Null();
  ReplyStreamEntry(ctx, reader);
}

void ReplyConsumerFully(CommandContext& ctx, const StreamGroup& group, const StreamConsumer& consumer, int64_t count) {
  ctx.reply.Map(5);
  ctx.reply.Bulk("name");
  ctx.reply.Bulk(consumer.name());
  ReplyNamedInteger(ctx, "seen-time", static_cast<uint64_t>(consumer.seen_ms));
  ReplyNamedInteger(ctx, "active-time", static_cast<uint64_t>(consumer.active_ms));
  ReplyNamedInteger(ctx, "pel-count", consumer.pending_count());
  ctx.reply.Bulk("pending");
  const auto at = ctx.reply.Defer();
  int64_t told = 0;
  for (auto pending = consumer.pending().Begin(); pending.valid() && (count == 0 || told < count); pending.Next()) {
    const PendingEntry entry = *group.Find(StreamGroup::IdOf(pending.element()));
    ++told;
    ctx.reply.Array(3);
    ReplyStreamId(ctx, entry.id);
    ctx.reply.Integer(entry.delivered_ms);
    ctx.reply.Integer(static_cast<int64_t>(entry.deliveries));
  }
  ctx.reply.EndArray(at, told);
}

void ReplyGroupFully(CommandContext& ctx, const Stream& stream, const StreamGroup& group, int64_t count) {
  ctx.reply.Map(7);
  ctx.reply.Bulk("name");
  ctx.reply.Bulk(group.name());
  ReplyNamedId(ctx, "last-delivered-id", group.last_id);
  ReplyEntriesRead(ctx, group);
  ReplyLag(ctx, stream, group);
  ReplyNamedInteger(ctx, "pel-count", group.pending_count());
  ctx.reply.Bulk("pending");
  const auto at = ctx.reply.Defer();
  int64_t told = 0;
  for (auto pending = group.pending().Begin(); pending.valid() && (count == 0 || told < count); pending.Next()) {
    const PendingEntry entry = StreamGroup::Read(pending.element());
    ++told;
    ctx.reply.Array(4);
    ReplyStreamId(ctx, entry.id);
    ctx.reply.Bulk(group.ConsumerAt(entry.consumer).name());
    ctx.reply.Integer(entry.delivered_ms);
    ctx.reply.Integer(static_cast<int64_t>(entry.deliveries));
  }
  ctx.reply.EndArray(at, told);
  ctx.reply.Bulk("consumers");
  ctx.reply.Array(static_cast<int64_t>(group.consumer_count()));
  for (const StreamConsumer* consumer : group.consumers()) ReplyConsumerFully(ctx, group, *consumer, count);
}

void XInfoStream(CommandContext& ctx) {
  const Stream* stream = RequireStream(ctx);
  if (stream == nullptr) return;
  const Argv argv = ctx.argv;
  const bool full = argv.size() > 3;
  int64_t count = 10;
  if (full) {
    if ((argv.size() != 4 && argv.size() != 6) || !EqualsIgnoreCase(argv[3], "FULL") ||
        (argv.size() == 6 && !EqualsIgnoreCase(argv[4], "COUNT"))) {
      return RefuseSubcommandSyntax(ctx);
    }
    if (argv.size() == 6 && !ReadInteger(ctx, argv[5], count)) return;
    if (count < 0) count = 10;
  }
  ctx.reply.Map(full ? 9 : 10);
  ReplyNamedInteger(ctx, "length", stream->size());
  // Redis keeps its nodes in a radix tree. Its keys are our blocks; of its inner nodes we have no like.
  ReplyNamedInteger(ctx, "radix-tree-keys", stream->block_count());
  ReplyNamedInteger(ctx, "radix-tree-nodes", stream->block_count() + 1);
  ReplyNamedId(ctx, "last-generated-id", stream->last_id());
  ReplyNamedId(ctx, "max-deleted-entry-id", stream->max_deleted_id());
  ReplyNamedInteger(ctx, "entries-added", stream->entries_added());
  ReplyNamedId(ctx, "recorded-first-entry-id", stream->first_id());
  if (!full) {
    ReplyNamedInteger(ctx, "groups", stream->groups().size());
    ctx.reply.Bulk("first-entry");
    ReplyEdge(ctx, *stream, Stream::Reader::Direction::kForward);
    ctx.reply.Bulk("last-entry");
    return ReplyEdge(ctx, *stream, Stream::Reader::Direction::kBackward);
  }
  ctx.reply.Bulk("entries");
  const auto at = ctx.reply.Defer();
  int64_t told = 0;
  for (Stream::Reader reader(*stream, {}, store::kStreamIdMax); (count == 0 || told < count) && reader.Next(); ++told)
    ReplyStreamEntry(ctx, reader);
  ctx.reply.EndArray(at, told);
  ctx.reply.Bulk("groups");
  ctx.reply.Array(static_cast<int64_t>(stream->groups().size()));
  for (const auto& group : stream->groups()) ReplyGroupFully(ctx, *stream, *group, count);
}

// ---- XINFO GROUPS and CONSUMERS

void XInfoGroups(CommandContext& ctx) {
  const Stream* stream = RequireStream(ctx);
  if (stream == nullptr) return;
  ctx.reply.Array(static_cast<int64_t>(stream->groups().size()));
  for (const auto& group : stream->groups()) {
    ctx.reply.Map(6);
    ctx.reply.Bulk("name");
    ctx.reply.Bulk(group->name());
    ReplyNamedInteger(ctx, "consumers", group->consumer_count());
    ReplyNamedInteger(ctx, "pending", group->pending_count());
    ReplyNamedId(ctx, "last-delivered-id", group->last_id);
    ReplyEntriesRead(ctx, *group);
    ReplyLag(ctx, *stream, *group);
  }
}

void XInfoConsumers(CommandContext& ctx) {
  const Stream* stream = RequireStream(ctx);
  if (stream == nullptr) return;
  const StreamGroup* group = stream->FindGroup(ctx.argv[3]);
  if (group == nullptr)
    return ctx.reply.Error(
        fmt::format("NOGROUP No such consumer group '{}' for key name '{}'", UpToNul(ctx.argv[3]), UpToNul(ctx.argv[2])));
  ctx.reply.Array(static_cast<int64_t>(group->consumer_count()));
  for (const StreamConsumer* consumer : group->consumers()) {
    const int64_t now_ms = ctx.now.unix_ms;
    ctx.reply.Map(4);
    ctx.reply.Bulk("name");
    ctx.reply.Bulk(consumer->name());
    ReplyNamedInteger(ctx, "pending", consumer->pending_count());
    ReplyNamedInteger(ctx, "idle", static_cast<uint64_t>(std::max<int64_t>(now_ms - consumer->seen_ms, 0)));
    ctx.reply.Bulk("inactive");
    ctx.reply.Integer(consumer->active_ms == -1 ? -1 : now_ms - consumer->active_ms);
  }
}

// ---- rows

constexpr KeySpec kReadsSecond[] = {{.flags = kKeyRO | kKeyAccess, .index = 2}};
constexpr std::string_view kChangingTips[] = {"nondeterministic_output"};
constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr ArgSpec kGroupArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}, {.name = "group"}};
constexpr ArgSpec kFullParts[] = {{.name = "full", .type = ArgType::kPureToken, .token = "FULL"},
                                  {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"}};
constexpr ArgSpec kStreamArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "full-block", .type = ArgType::kBlock, .flags = kOptional, .children = kFullParts}};
constexpr HistoryEntry kConsumersHistory[] = {{"7.2.0", "Added the `inactive` field, and changed the meaning of `idle`."}};
constexpr HistoryEntry kGroupsHistory[] = {{"7.0.0", "Added the `entries-read` and `lag` fields"}};
constexpr HistoryEntry kStreamHistory[] = {
    {"6.0.0", "Added the `FULL` modifier."},
    {"7.0.0",
     "Added the `max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, `entries-read` and `lag` fields"},
    {"7.2.0", "Added the `active-time` field, and changed the meaning of `seen-time`."}};

constexpr CommandRow kXInfoSubcommands[] = {
    {.name = "consumers",
     .arity = 4,
     .flags = kReadOnly,
     .acl = kAclStream,
     .handler = XInfoConsumers,
     .keys = kReadsSecond,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(N) for N consumers.",
     .summary = "Tells of the consumers of a group.",
     .args = kGroupArgs,
     .tips = kChangingTips,
     .history = kConsumersHistory},
    {.name = "groups",
     .arity = 3,
     .flags = kReadOnly,
     .acl = kAclStream,
     .handler = XInfoGroups,
     .keys = kReadsSecond,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(N) for N groups.",
     .summary = "Tells of the consumer groups of a stream.",
     .args = kOneKey,
     .history = kGroupsHistory},
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .acl = kAclStream,
     .handler = ReplyWithHelp,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "stream",
     .arity = -3,
     .flags = kReadOnly,
     .acl = kAclStream,
     .handler = XInfoStream,
     .keys = kReadsSecond,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(1); FULL: O(N) for what it tells.",
     .summary = "Tells of a stream, on request with its entries, groups and consumers.",
     .args = kStreamArgs,
     .history = kStreamHistory},
};

constexpr CommandRow kRows[] = {
    {.name = "xinfo",
     .arity = -2,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "Depends on subcommand.",
     .summary = "Streams, their groups and consumers, looked into.",
     .subcommands = kXInfoSubcommands},
};

}  // namespace

std::span<const CommandRow> StreamInfoCommands() { return kRows; }

}  // namespace tessera
