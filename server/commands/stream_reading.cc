// XREAD and XREADGROUP: what is new in several streams, for a client of its own or for a member of a group, waiting for
// it if there is nothing.
#include <fmt/core.h>

#include <vector>

#include "server/blocked_keys.h"
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

struct ReadOptions {
  bool as_group = false;
  std::string_view group, consumer;
  bool no_ack = false;
  bool blocks = false;
  int64_t deadline_us = 0;
  uint64_t count = 0;  // 0 = all
  Argv keys;
  size_t ids_at = 0;

  // Per key: after which id; kNew of a group: what nobody of it has read.
  struct From {
    StreamId after;
    bool is_new = false;
  };
  std::vector<From> from;
};

// Replies and returns false on an error.
bool ReadOptionsOf(CommandContext& ctx, ReadOptions& options) {
  const auto refuse = [&ctx](std::string_view why) {
    ctx.reply.Error(why);
    return false;
  };
  const Argv argv = ctx.argv;
  bool group_given = false;
  for (size_t i = 1; i < argv.size() && options.ids_at == 0; ++i) {
    const size_t more = argv.size() - i - 1;
    if (more >= 1 && EqualsIgnoreCase(argv[i], "BLOCK")) {
      if (!ReadTimeout(ctx, argv[++i], TimeoutUnit::kMilliseconds, options.deadline_us)) return false;
      options.blocks = true;
    } else if (more >= 1 && EqualsIgnoreCase(argv[i], "COUNT")) {
      int64_t count;
      if (!ReadInteger(ctx, argv[++i], count)) return false;
      options.count = count < 0 ? 0 : static_cast<uint64_t>(count);
    } else if (more >= 1 && EqualsIgnoreCase(argv[i], "STREAMS")) {
      if (more % 2 != 0)
        return refuse(fmt::format("ERR Unbalanced '{}' list of streams: for each stream key an ID or '{}' must be "
                                  "specified.",
                                  ctx.row.name, options.as_group ? '>' : '$'));
      options.keys = argv.subspan(i + 1, more / 2);
      options.ids_at = i + 1 + more / 2;
    } else if (more >= 2 && EqualsIgnoreCase(argv[i], "GROUP")) {
      if (!options.as_group)
        return refuse("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.");
      group_given = true;
      options.group = argv[i + 1];
      options.consumer = argv[i + 2];
      i += 2;
    } else if (EqualsIgnoreCase(argv[i], "NOACK")) {
      if (!options.as_group)
        return refuse("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.");
      options.no_ack = true;
    } else {
      return refuse(kSyntaxError);
    }
  }
  if (options.ids_at == 0) return refuse(kSyntaxError);
  if (options.as_group && !group_given) return refuse("ERR Missing GROUP option for XREADGROUP");
  return true;
}

// What an id argument means. Replies and returns false when there is no such stream or group, or no such id.
bool ReadFrom(CommandContext& ctx, const ReadOptions& options, size_t i, ReadOptions::From& from) {
  const std::string_view key = options.keys[i], id = ctx.argv[options.ids_at + i];
  const EntryRef entry = ctx.Find(key);
  if (!CheckType(ctx, entry, store::Type::kStream)) return false;
  const Stream* stream = ValueOf<Stream>(entry);
  if (options.as_group &&
      RequireGroup(ctx, stream, key, options.group, " in XREADGROUP with GROUP option") == nullptr) {
    return false;
  }
  if (id == "$") {
    if (stream != nullptr) from.after = stream->last_id();
    if (!options.as_group) return true;
    ctx.reply.Error(
        "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
        "specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.");
    return false;
  }
  if (id == ">") {
    from.is_new = true;
    if (options.as_group) return true;
    ctx.reply.Error(
        "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.");
    return false;
  }
  if (!ReadStreamId(ctx, id, from.after)) return false;
  from.is_new = options.as_group && from.after == store::kStreamIdMax;  // behind it there is no history either
  return true;
}

// The reply of both: an array of pairs, in RESP3 a map; nothing is written before the first stream has something.
class StreamsReply {
 public:
  explicit StreamsReply(CommandContext& ctx) : ctx_(ctx), at_(ctx.reply.Defer()) {}
  void Begin(std::string_view key) {
    ++count_;
    if (ctx_.reply.version() == 2) ctx_.reply.Array(2);
    ctx_.reply.Bulk(key);
  }
  bool empty() const { return count_ == 0; }
  void End() {
    if (ctx_.reply.version() == 2) return ctx_.reply.EndArray(at_, count_);
    ctx_.reply.EndMap(at_, count_);
  }

 private:
  CommandContext& ctx_;
  const protocol::ReplyWriter::Deferred at_;
  int64_t count_ = 0;
};

void Wait(CommandContext& ctx, const ReadOptions& options) {
  if (!options.blocks) return ctx.reply.NullArray();
  // "$" is the last id as it was when the waiting began.
  std::vector<std::string_view> argv(ctx.argv.begin(), ctx.argv.end());
  std::vector<StreamIdText> texts;
  texts.reserve(options.keys.size());
  for (size_t i = 0; i < options.keys.size(); ++i) {
    if (argv[options.ids_at + i] != "$") continue;
    texts.emplace_back(options.from[i].after);
    argv[options.ids_at + i] = texts.back();
  }
  ctx.BlockOnKeys({.keys = options.keys,
                   .type = store::Type::kStream,
                   .deadline_us = options.deadline_us,
                   .wakes_on_loss = options.as_group,
                   .argv = argv});
}

// ---- XREAD

void XRead(CommandContext& ctx) {
  ReadOptions options;
  if (!ReadOptionsOf(ctx, options)) return;
  options.from.resize(options.keys.size());
  for (size_t i = 0; i < options.keys.size(); ++i) {
    if (!ReadFrom(ctx, options, i, options.from[i])) return;
  }
  StreamsReply reply(ctx);
  for (size_t i = 0; i < options.keys.size(); ++i) {
    const Stream* stream = ValueOf<Stream>(ctx.FindUntouched(options.keys[i]));
    StreamId first = options.from[i].after;
    if (stream == nullptr || stream->size() == 0 || stream->top_id() <= first) continue;
    first.Increment();
    reply.Begin(options.keys[i]);
    const auto at = ctx.reply.Defer();
    uint64_t told = 0;
    for (Stream::Reader reader(*stream, first, store::kStreamIdMax);
         (options.count == 0 || told < options.count) && reader.Next(); ++told)
      ReplyStreamEntry(ctx, reader);
    ctx.reply.EndArray(at, static_cast<int64_t>(told));
  }
  if (reply.empty()) return Wait(ctx, options);
  reply.End();
}

// ---- XREADGROUP

// What the consumer was given before and has not acknowledged; given once more now.
void ReplyWithHistory(CommandContext& ctx, const ReadOptions& options, const Stream& stream, StreamGroup& group,
                      const StreamConsumer& consumer, StreamId after) {
  std::vector<StreamId> given;
  const auto at = ctx.reply.Defer();
  int64_t told = 0;
  auto pending = StreamGroup::From(consumer.pending(), after);
  for (; pending.valid() && (options.count == 0 || static_cast<uint64_t>(told) < options.count); pending.Next()) {
    const StreamId id = StreamGroup::IdOf(pending.element());
    if (id == after) continue;
    ++told;
    if (ReplyStreamEntry(ctx, stream, id)) {
      given.push_back(id);
      continue;
    }
    ctx.reply.Array(2);  // deleted meanwhile
    ReplyStreamId(ctx, id);
    ctx.reply.NullArray();
  }
  ctx.reply.EndArray(at, told);
  for (const StreamId id : given) {
    store::PendingEntry entry = *group.Find(id);
    entry.delivered_ms = ctx.now.unix_ms;
    ++entry.deliveries;
    group.Put(entry);
  }
}

// What nobody of the group was given before.
void ReplyWithNew(CommandContext& ctx, const ReadOptions& options, std::string_view key, const Stream& stream,
                  StreamGroup& group, StreamConsumer& consumer) {
  StreamId first = group.last_id;
  first.Increment();
  const auto at = ctx.reply.Defer();
  uint64_t told = 0;
  for (Stream::Reader reader(stream, first, store::kStreamIdMax);
       (options.count == 0 || told < options.count) && reader.Next(); ++told) {
    const StreamId id = reader.id();
    if (group.entries_read != store::kEntriesReadUnknown && !stream.MayHaveGapsFrom(id)) {
      ++group.entries_read;
    } else if (stream.entries_added() != 0) {
      group.entries_read = stream.CountEverAddedUpTo(id);
    }
    group.last_id = id;
    ReplyStreamEntry(ctx, reader);
    if (options.no_ack) continue;
    const store::PendingEntry entry = {
        .id = id, .consumer = consumer.number(), .delivered_ms = ctx.now.unix_ms, .deliveries = 1};
    group.Put(entry);
    consumer.active_ms = ctx.now.unix_ms;
    PropagateDelivery(ctx, key, group, StreamIdText(id), entry);
  }
  ctx.reply.EndArray(at, static_cast<int64_t>(told));
  // Deliveries tell replicas how far the group is, but not how many entries it has read.
  if (told > 0) PropagateGroupPosition(ctx, key, group);
}

void XReadGroup(CommandContext& ctx) {
  ReadOptions options = {.as_group = true, .group = {}, .consumer = {}, .keys = {}, .from = {}};
  if (!ReadOptionsOf(ctx, options)) return;
  options.from.resize(options.keys.size());
  for (size_t i = 0; i < options.keys.size(); ++i) {
    if (!ReadFrom(ctx, options, i, options.from[i])) return;
  }
  ctx.PropagateNothing();  // but for what is told below
  StreamsReply reply(ctx);
  for (size_t i = 0; i < options.keys.size(); ++i) {
    const std::string_view key = options.keys[i];
    const EntryRef entry = ctx.FindForWrite(key);
    if (!entry) continue;  // can expire between two looks only when the clock of the command moves, which it does not
    Edit<Stream> stream(ctx, key, entry);
    StreamGroup& group = *stream->FindGroup(options.group);
    const auto [after, is_new] = options.from[i];
    const bool serves = !is_new || (stream->size() > 0 && stream->top_id() > group.last_id);
    StreamConsumer* consumer = group.FindConsumer(options.consumer);
    const bool created = consumer == nullptr;
    if (created) consumer = &group.AddConsumer(options.consumer, ctx.now.unix_ms);
    consumer->seen_ms = ctx.now.unix_ms;
    if (created && options.no_ack)
      ctx.Propagate({"XGROUP", "CREATECONSUMER", key, options.group, options.consumer});
    if (serves) {
      reply.Begin(key);
      if (is_new) {
        ReplyWithNew(ctx, options, key, *stream, group, *consumer);
      } else {
        ReplyWithHistory(ctx, options, *stream, group, *consumer, after);
      }
    }
    if (!stream.CommitInternal(created || serves)) return;
    if (created) ctx.Notify('t', "xgroup-createconsumer", key);
  }
  if (reply.empty()) return Wait(ctx, options);
  reply.End();
}

// ---- rows

constexpr KeySpec kReadStreams[] = {{.flags = kKeyRO | kKeyAccess,
                                     .begin = KeySpec::Begin::kKeyword,
                                     .index = 1,
                                     .keyword = "STREAMS",
                                     .last_key = -1,
                                     .limit = 2}};
constexpr KeySpec kReadGroupStreams[] = {{.flags = kKeyRO | kKeyAccess,
                                          .begin = KeySpec::Begin::kKeyword,
                                          .index = 4,
                                          .keyword = "STREAMS",
                                          .last_key = -1,
                                          .limit = 2}};
constexpr ArgSpec kStreams[] = {{.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0},
                                {.name = "id", .flags = kMultiple}};
constexpr ArgSpec kGroupParts[] = {{.name = "group"}, {.name = "consumer"}};
constexpr ArgSpec kXReadArgs[] = {
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"},
    {.name = "milliseconds", .type = ArgType::kInteger, .flags = kOptional, .token = "BLOCK"},
    {.name = "streams", .type = ArgType::kBlock, .token = "STREAMS", .children = kStreams}};
constexpr ArgSpec kXReadGroupArgs[] = {
    {.name = "group-block", .type = ArgType::kBlock, .token = "GROUP", .children = kGroupParts},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"},
    {.name = "milliseconds", .type = ArgType::kInteger, .flags = kOptional, .token = "BLOCK"},
    {.name = "noack", .type = ArgType::kPureToken, .flags = kOptional, .token = "NOACK"},
    {.name = "streams", .type = ArgType::kBlock, .token = "STREAMS", .children = kStreams}};

// The first STREAMS that is no option's value, with an id for each key behind it; its key specification is less exact.
bool FindStreams(Argv argv, std::vector<KeyPosition>& keys) {
  for (size_t i = 1; i < argv.size(); ++i) {
    if (EqualsIgnoreCase(argv[i], "STREAMS")) {
      const size_t words = argv.size() - i - 1;
      for (size_t at = i + 1; at <= i + words / 2; ++at) keys.push_back({static_cast<int>(at)});
      return words != 0 && words % 2 == 0;
    }
    if (EqualsIgnoreCase(argv[i], "BLOCK") || EqualsIgnoreCase(argv[i], "COUNT")) {
      ++i;
    } else if (EqualsIgnoreCase(argv[i], "GROUP")) {
      i += 2;
    } else if (!EqualsIgnoreCase(argv[i], "NOACK")) {
      return false;
    }
  }
  return false;
}

constexpr CommandRow kRows[] = {
    {.name = "xread",
     .arity = -4,
     .flags = kReadOnly | kBlocking | kMovableKeys,
     .acl = kAclStream,
     .handler = XRead,
     .keys = kReadStreams,
     .find_keys = FindStreams,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(N) for N entries answered; an XADD that serves M waiting clients pays O(M).",
     .summary = "Reads what came after given ids in one or more streams; waits for it if asked to.",
     .args = kXReadArgs},
    {.name = "xreadgroup",
     .arity = -7,
     .flags = kWrite | kBlocking | kMovableKeys,
     .acl = kAclStream,
     .handler = XReadGroup,
     .keys = kReadGroupStreams,
     .find_keys = FindStreams,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(N) for N entries answered; an XADD that serves M waiting clients pays O(M).",
     .summary = "Reads as a consumer of a group: entries new to the group, or those it holds already.",
     .args = kXReadGroupArgs},
};

}  // namespace

std::span<const CommandRow> StreamReadCommands() { return kRows; }

}  // namespace tessera
