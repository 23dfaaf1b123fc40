// Consumer groups: making and changing them (XGROUP), acknowledging (XACK), looking at what is pending (XPENDING).
#include <fmt/core.h>

#include "server/commands/help.h"
#include "server/commands/streams.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using protocol::EqualsIgnoreCase;
using store::EntryRef;
using store::Stream;
using store::StreamConsumer;
using store::StreamGroup;
using store::StreamId;

// ---- XGROUP

void RefuseMissingKey(CommandContext& ctx) {
  ctx.reply.Error(
      "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM "
      "option to create an empty stream automatically.");
}

// The entry of an XGROUP subcommand that needs the stream, and the group where `needs_group`. Replies and returns an
// empty one when something is missing.
enum class NeedsGroup : uint8_t { kNo, kYes };
EntryRef RequireStream(CommandContext& ctx, NeedsGroup needs_group) {
  const std::string_view key = ctx.argv[2], group = ctx.argv[3];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kStream)) return {};
  if (!entry) {
    RefuseMissingKey(ctx);
    return {};
  }
  if (needs_group == NeedsGroup::kYes && ValueOf<Stream>(entry)->FindGroup(group) == nullptr) {
    ctx.reply.Error(fmt::format("NOGROUP No such consumer group '{}' for key name '{}'", UpToNul(group), UpToNul(key)));
    return {};
  }
  return entry;
}

// MKSTREAM and ENTRIESREAD. Replies and returns false on an error.
bool ReadGroupOptions(CommandContext& ctx, bool* make_stream, int64_t& entries_read) {
  for (size_t i = 5; i < ctx.argv.size(); ++i) {
    if (make_stream != nullptr && EqualsIgnoreCase(ctx.argv[i], "MKSTREAM")) {
      *make_stream = true;
    } else if (EqualsIgnoreCase(ctx.argv[i], "ENTRIESREAD") && i + 1 < ctx.argv.size()) {
      if (!ReadInteger(ctx, ctx.argv[++i], entries_read)) return false;
      if (entries_read < 0 && entries_read != store::kEntriesReadUnknown) {
        ctx.reply.Error("ERR value for ENTRIESREAD must be positive or -1");
        return false;
      }
    } else {
      RefuseSubcommandSyntax(ctx);
      return false;
    }
  }
  return true;
}

void XGroupCreate(CommandContext& ctx) {
  bool make_stream = false;
  int64_t entries_read = store::kEntriesReadUnknown;
  if (!ReadGroupOptions(ctx, &make_stream, entries_read)) return;
  const std::string_view key = ctx.argv[2], name = ctx.argv[3];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kStream)) return;
  if (!entry && !make_stream) return RefuseMissingKey(ctx);
  if (ctx.argv.size() > 8) return RefuseSubcommandSyntax(ctx);
  StreamId id;
  if (ctx.argv[4] == "$") {
    if (entry) id = ValueOf<Stream>(entry)->last_id();
  } else if (!ReadStreamId(ctx, ctx.argv[4], id)) {
    return;
  }
  Edit<Stream> stream(ctx, key, entry);
  const bool added = stream->AddGroup(name, id, entries_read) != nullptr;
  if (!stream.CommitInternal(added)) return;
  if (!added) return ctx.reply.Error("BUSYGROUP Consumer Group name already exists");
  ctx.Notify('t', "xgroup-create", key);
  ctx.reply.Ok();
}

void XGroupSetId(CommandContext& ctx) {
  int64_t entries_read = store::kEntriesReadUnknown;
  if (!ReadGroupOptions(ctx, nullptr, entries_read)) return;
  const std::string_view key = ctx.argv[2];
  const EntryRef entry = RequireStream(ctx, NeedsGroup::kYes);
  if (!entry) return;
  if (ctx.argv.size() != 5 && ctx.argv.size() != 7) return RefuseSubcommandSyntax(ctx);
  StreamId id = ValueOf<Stream>(entry)->last_id();
  if (ctx.argv[4] != "$" && !ParseStreamId(ctx.argv[4], 0, StreamIdForm::kOrEnds, id))
    return ctx.reply.Error(kInvalidStreamId);
  Edit<Stream> stream(ctx, key, entry);
  StreamGroup& group = *stream->FindGroup(ctx.argv[3]);
  group.last_id = id;
  group.entries_read = entries_read;
  if (!stream.CommitInternal()) return;
  ctx.Notify('t', "xgroup-setid", key);
  ctx.reply.Ok();
}

void XGroupDestroy(CommandContext& ctx) {
  const std::string_view key = ctx.argv[2];
  const EntryRef entry = RequireStream(ctx, NeedsGroup::kNo);
  if (!entry) return;
  Edit<Stream> stream(ctx, key, entry);
  const bool removed = stream->RemoveGroup(ctx.argv[3]);
  if (!stream.CommitInternal(removed)) return;
  if (removed) {
    ctx.Notify('t', "xgroup-destroy", key);
    ctx.SignalKey(key);  // who waits to read for the group is told that it is gone
  }
  ctx.reply.Integer(removed ? 1 : 0);
}

void XGroupCreateConsumer(CommandContext& ctx) {
  const std::string_view key = ctx.argv[2];
  const EntryRef entry = RequireStream(ctx, NeedsGroup::kYes);
  if (!entry) return;
  Edit<Stream> stream(ctx, key, entry);
  StreamGroup& group = *stream->FindGroup(ctx.argv[3]);
  const bool added = group.FindConsumer(ctx.argv[4]) == nullptr;
  if (added) (void)group.AddConsumer(ctx.argv[4], ctx.now.unix_ms);
  if (!stream.CommitInternal(added)) return;
  if (added) ctx.Notify('t', "xgroup-createconsumer", key);
  ctx.reply.Integer(added ? 1 : 0);
}

void XGroupDelConsumer(CommandContext& ctx) {
  const std::string_view key = ctx.argv[2];
  const EntryRef entry = RequireStream(ctx, NeedsGroup::kYes);
  if (!entry) return;
  Edit<Stream> stream(ctx, key, entry);
  StreamGroup& group = *stream->FindGroup(ctx.argv[3]);
  StreamConsumer* consumer = group.FindConsumer(ctx.argv[4]);
  const uint64_t pending = consumer != nullptr ? consumer->pending_count() : 0;
  if (consumer != nullptr) group.RemoveConsumer(*consumer);
  if (!stream.CommitInternal(consumer != nullptr)) return;
  if (consumer != nullptr) ctx.Notify('t', "xgroup-delconsumer", key);
  ctx.reply.Integer(static_cast<int64_t>(pending));
}

// ---- XACK

void XAck(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.Find(key);
  if (!CheckType(ctx, entry, store::Type::kStream)) return;
  if (!entry || ValueOf<Stream>(entry)->FindGroup(ctx.argv[2]) == nullptr) return ctx.reply.Integer(0);
  StreamId id;
  for (const std::string_view text : ctx.argv.subspan(3)) {
    if (!ReadStreamId(ctx, text, id)) return;
  }
  Edit<Stream> stream(ctx, key, entry);
  StreamGroup& group = *stream->FindGroup(ctx.argv[2]);
  int64_t removed = 0;
  for (const std::string_view text : ctx.argv.subspan(3)) {
    (void)ParseStreamId(text, 0, StreamIdForm::kExact, id);
    removed += group.Remove(id);
  }
  if (!stream.CommitInternal(removed > 0)) return;
  ctx.reply.Integer(removed);
}

// ---- XPENDING

void ReplyWithSummary(CommandContext& ctx, const StreamGroup& group) {
  ctx.reply.Array(4);
  ctx.reply.Integer(static_cast<int64_t>(group.pending_count()));
  if (group.pending_count() == 0) {
    ctx.reply.Null();
    ctx.reply.Null();
    return ctx.reply.NullArray();
  }
  auto last = group.pending().End();
  (void)last.Previous();
  ReplyStreamId(ctx, StreamGroup::IdOf(group.pending().Begin().element()));
  ReplyStreamId(ctx, StreamGroup::IdOf(last.element()));
  const auto at = ctx.reply.Defer();
  int64_t told = 0;
  for (const StreamConsumer* consumer : group.consumers()) {
    if (consumer->pending_count() == 0) continue;
    ++told;
    ctx.reply.Array(2);
    ctx.reply.Bulk(consumer->name());
    ctx.reply.BulkInteger(static_cast<int64_t>(consumer->pending_count()));
  }
  ctx.reply.EndArray(at, told);
}

struct PendingQuery {
  int64_t idle_ms_min = 0;
  int64_t count = 0;
  StreamId first, last;
  const std::string_view* consumer = nullptr;  // null: all
};

void ReplyWithPending(CommandContext& ctx, const StreamGroup& group, const PendingQuery& query) {
  const StreamConsumer* consumer = nullptr;
  if (query.consumer != nullptr) {
    consumer = group.FindConsumer(*query.consumer);
    if (consumer == nullptr) return ctx.reply.Array(0);
  }
  const auto at = ctx.reply.Defer();
  int64_t told = 0;
  auto pending = StreamGroup::From(consumer != nullptr ? consumer->pending() : group.pending(), query.first);
  for (; told < query.count && pending.valid(); pending.Next()) {
    const StreamId id = StreamGroup::IdOf(pending.element());
    if (id > query.last) break;
    const store::PendingEntry entry = consumer != nullptr ? *group.Find(id) : StreamGroup::Read(pending.element());
    const int64_t idle_ms = ctx.now.unix_ms - entry.delivered_ms;
    if (query.idle_ms_min != 0 && idle_ms < query.idle_ms_min) continue;
    ++told;
    ctx.reply.Array(4);
    ReplyStreamId(ctx, id);
    ctx.reply.Bulk(group.ConsumerAt(entry.consumer).name());
    ctx.reply.Integer(std::max<int64_t>(idle_ms, 0));
    ctx.reply.Integer(static_cast<int64_t>(entry.deliveries));
  }
  ctx.reply.EndArray(at, told);
}

void XPending(CommandContext& ctx) {
  const Argv argv = ctx.argv;
  if (argv.size() != 3 && (argv.size() < 6 || argv.size() > 9)) return ctx.reply.Error(kSyntaxError);
  PendingQuery query;
  if (argv.size() != 3) {
    size_t at = 3;
    if (EqualsIgnoreCase(argv[3], "IDLE")) {
      if (!ReadInteger(ctx, argv[4], query.idle_ms_min)) return;
      if (argv.size() < 8) return ctx.reply.Error(kSyntaxError);
      at = 5;
    }
    if (!ReadInteger(ctx, argv[at + 2], query.count) || !ReadIntervalStart(ctx, argv[at], query.first) ||
        !ReadIntervalEnd(ctx, argv[at + 1], query.last)) {
      return;
    }
    if (at + 3 < argv.size()) query.consumer = &argv[at + 3];
  }
  const EntryRef entry = ctx.Find(argv[1]);
  if (!CheckType(ctx, entry, store::Type::kStream)) return;
  const StreamGroup* group = RequireGroup(ctx, ValueOf<Stream>(entry), argv[1], argv[2]);
  if (group == nullptr) return;
  if (argv.size() == 3) return ReplyWithSummary(ctx, *group);
  ReplyWithPending(ctx, *group, query);
}

// ---- rows

constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr KeySpec kUpdatesKey[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1}};
constexpr KeySpec kInsertsSecond[] = {{.flags = kKeyRW | kKeyInsert, .index = 2}};
constexpr KeySpec kDeletesInSecond[] = {{.flags = kKeyRW | kKeyDelete, .index = 2}};
constexpr KeySpec kUpdatesSecond[] = {{.flags = kKeyRW | kKeyUpdate, .index = 2}};

constexpr std::string_view kChangingTips[] = {"nondeterministic_output"};

constexpr ArgSpec kIdChoices[] = {{.name = "id"},
                                  {.name = "new-id", .type = ArgType::kPureToken, .token = "$"}};
constexpr ArgSpec kCreateArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "group"},
    {.name = "id-selector", .type = ArgType::kOneOf, .children = kIdChoices},
    {.name = "mkstream", .type = ArgType::kPureToken, .flags = kOptional, .token = "MKSTREAM"},
    {.name = "entries-read",
     .type = ArgType::kInteger,
     .flags = kOptional,
     .token = "ENTRIESREAD",
     .display = "entries-read-id"}};
constexpr ArgSpec kSetIdArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "group"},
    {.name = "id-selector", .type = ArgType::kOneOf, .children = kIdChoices},
    {.name = "entriesread",
     .type = ArgType::kInteger,
     .flags = kOptional,
     .token = "ENTRIESREAD",
     .display = "entries-read"}};
constexpr ArgSpec kGroupArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}, {.name = "group"}};
constexpr ArgSpec kConsumerArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0}, {.name = "group"}, {.name = "consumer"}};
constexpr ArgSpec kXAckArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                 {.name = "group"},
                                 {.name = "id", .flags = kMultiple}};
constexpr ArgSpec kFilterParts[] = {
    {.name = "min-idle-time", .type = ArgType::kInteger, .flags = kOptional, .token = "IDLE", .since = "6.2.0"},
    {.name = "start"},
    {.name = "end"},
    {.name = "count", .type = ArgType::kInteger},
    {.name = "consumer", .flags = kOptional}};
constexpr ArgSpec kXPendingArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "group"},
    {.name = "filters", .type = ArgType::kBlock, .flags = kOptional, .children = kFilterParts}};

constexpr HistoryEntry kCreateHistory[] = {{"7.0.0", "Added the `entries_read` named argument."}};
constexpr HistoryEntry kSetIdHistory[] = {{"7.0.0", "Added the optional `entries_read` argument."}};
constexpr HistoryEntry kXPendingHistory[] = {{"6.2.0", "Added the `IDLE` option and exclusive range intervals."}};

constexpr CommandRow kXGroupSubcommands[] = {
    {.name = "create",
     .arity = -5,
     .flags = kWrite | kDenyOom,
     .acl = kAclStream,
     .handler = XGroupCreate,
     .keys = kInsertsSecond,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Makes a consumer group that begins behind an id.",
     .args = kCreateArgs,
     .history = kCreateHistory},
    {.name = "createconsumer",
     .arity = 5,
     .flags = kWrite | kDenyOom,
     .acl = kAclStream,
     .handler = XGroupCreateConsumer,
     .keys = kInsertsSecond,
     .group = Group::kStream,
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Makes a consumer in a group.",
     .args = kConsumerArgs},
    {.name = "delconsumer",
     .arity = 5,
     .flags = kWrite,
     .acl = kAclStream,
     .handler = XGroupDelConsumer,
     .keys = kDeletesInSecond,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(N) for N entries pending with the consumer.",
     .summary = "Removes a consumer from a group, with what is pending with it.",
     .args = kConsumerArgs},
    {.name = "destroy",
     .arity = 4,
     .flags = kWrite,
     .acl = kAclStream,
     .handler = XGroupDestroy,
     .keys = kDeletesInSecond,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(N) for N entries pending in the group.",
     .summary = "Removes a consumer group.",
     .args = kGroupArgs},
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .acl = kAclStream,
     .handler = ReplyWithHelp,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "setid",
     .arity = -5,
     .flags = kWrite,
     .acl = kAclStream,
     .handler = XGroupSetId,
     .keys = kUpdatesSecond,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Sets behind which id a group goes on.",
     .args = kSetIdArgs,
     .history = kSetIdHistory},
};

constexpr CommandRow kRows[] = {
    {.name = "xack",
     .arity = -4,
     .flags = kWrite | kFast,
     .acl = kAclStream,
     .handler = XAck,
     .keys = kUpdatesKey,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(1) per id.",
     .summary = "Acknowledges entries: they are no longer pending in the group.",
     .args = kXAckArgs},
    {.name = "xgroup",
     .arity = -2,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "Depends on subcommand.",
     .summary = "Consumer groups: what makes, changes and removes them.",
     .subcommands = kXGroupSubcommands},
    {.name = "xpending",
     .arity = -3,
     .flags = kReadOnly,
     .acl = kAclStream,
     .handler = XPending,
     .keys = kReadsKey,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(N) for N entries looked at; the short form O(N) for N consumers.",
     .summary = "Tells what was delivered to a group and not acknowledged.",
     .args = kXPendingArgs,
     .tips = kChangingTips,
     .history = kXPendingHistory},
};

}  // namespace

std::span<const CommandRow> StreamGroupCommands() { return kRows; }

}  // namespace tessera
