// XCLAIM and XAUTOCLAIM: what is pending with one consumer goes to another.
#include <fmt/core.h>

#include <vector>

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
using store::StreamId;

enum class Answer : uint8_t { kEntries, kIds };

bool ReadIdle(CommandContext& ctx, std::string_view text, std::string_view error, int64_t& idle_ms_min) {
  const auto parsed = protocol::ParseInt64(text);
  if (!parsed) {
    ctx.reply.Error(error);
    return false;
  }
  idle_ms_min = std::max<int64_t>(*parsed, 0);
  return true;
}

// The consumer that claims, made if need be, and seen now.
StreamConsumer& Claimer(CommandContext& ctx, StreamGroup& group, std::string_view name, bool& created) {
  StreamConsumer* consumer = group.FindConsumer(name);
  created = consumer == nullptr;
  if (created) consumer = &group.AddConsumer(name, ctx.now.unix_ms);
  consumer->seen_ms = ctx.now.unix_ms;
  return *consumer;
}

void ReplyClaimed(CommandContext& ctx, const Stream& stream, StreamId id, Answer answer) {
  if (answer == Answer::kIds) return ReplyStreamId(ctx, id);
  (void)ReplyStreamEntry(ctx, stream, id);
}

// ---- XCLAIM

struct ClaimOptions {
  int64_t idle_ms_min = 0;
  Argv ids;
  bool force = false;
  Answer answer = Answer::kEntries;
  int64_t delivered_ms = -1;
  int64_t deliveries = -1;
  StreamId last_id;
};

bool ReadClaimOptions(CommandContext& ctx, ClaimOptions& options) {
  const Argv argv = ctx.argv;
  StreamId id;
  size_t i = 5;
  while (i < argv.size() && ParseStreamId(argv[i], 0, StreamIdForm::kExact, id)) ++i;
  options.ids = argv.subspan(5, i - 5);
  const auto read = [&](std::string_view text, std::string_view name, int64_t& value) {
    const auto parsed = protocol::ParseInt64(text);
    if (parsed) return value = *parsed, true;
    ctx.reply.Error(fmt::format("ERR Invalid {} option argument for XCLAIM", name));
    return false;
  };
  for (; i < argv.size(); ++i) {
    const bool more = i + 1 < argv.size();
    if (EqualsIgnoreCase(argv[i], "FORCE")) {
      options.force = true;
    } else if (EqualsIgnoreCase(argv[i], "JUSTID")) {
      options.answer = Answer::kIds;
    } else if (more && EqualsIgnoreCase(argv[i], "IDLE")) {
      int64_t idle_ms;
      if (!read(argv[++i], "IDLE", idle_ms)) return false;
      options.delivered_ms =
          static_cast<int64_t>(static_cast<uint64_t>(ctx.now.unix_ms) - static_cast<uint64_t>(idle_ms));
    } else if (more && EqualsIgnoreCase(argv[i], "TIME")) {
      if (!read(argv[++i], "TIME", options.delivered_ms)) return false;
    } else if (more && EqualsIgnoreCase(argv[i], "RETRYCOUNT")) {
      if (!read(argv[++i], "RETRYCOUNT", options.deliveries)) return false;
    } else if (more && EqualsIgnoreCase(argv[i], "LASTID")) {
      if (!ReadStreamId(ctx, argv[++i], options.last_id)) return false;
    } else {
      ctx.reply.Error(fmt::format("ERR Unrecognized XCLAIM option '{}'", UpToNul(argv[i])));
      return false;
    }
  }
  // A time that cannot be is a client's clock gone astray, and means now.
  if (options.delivered_ms < 0 || options.delivered_ms > ctx.now.unix_ms) options.delivered_ms = ctx.now.unix_ms;
  return true;
}

void XClaim(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.Find(key);  // to read: a group must exist
  if (!CheckType(ctx, entry, store::Type::kStream)) return;
  if (RequireGroup(ctx, ValueOf<Stream>(entry), key, ctx.argv[2]) == nullptr) return;
  ClaimOptions options;
  if (!ReadIdle(ctx, ctx.argv[4], "ERR Invalid min-idle-time argument for XCLAIM", options.idle_ms_min)) return;
  if (!ReadClaimOptions(ctx, options)) return;

  ctx.PropagateNothing();  // but for what is told below
  Edit<Stream> stream(ctx, key, entry);
  StreamGroup& group = *stream->FindGroup(ctx.argv[2]);
  bool position_untold = options.last_id > group.last_id;
  if (position_untold) group.last_id = options.last_id;
  bool created;
  StreamConsumer& consumer = Claimer(ctx, group, ctx.argv[3], created);
  const auto at = ctx.reply.Defer();
  int64_t claimed = 0;
  for (const std::string_view text : options.ids) {
    StreamId id;
    (void)ParseStreamId(text, 0, StreamIdForm::kExact, id);
    std::optional<PendingEntry> pending = group.Find(id);
    if (!stream->Contains(id)) {
      if (!pending) continue;
      // Replicas find the entry gone, too, and forget the delivery.
      PropagateDelivery(ctx, key, group, text, *pending);
      position_untold = false;
      (void)group.Remove(id);
      continue;
    }
    if (!pending) {
      if (!options.force) continue;
      pending = {.id = id, .deliveries = 1};
    } else if (options.idle_ms_min > 0 && ctx.now.unix_ms - pending->delivered_ms < options.idle_ms_min) {
      continue;
    }
    pending->consumer = consumer.number();
    pending->delivered_ms = options.delivered_ms;
    if (options.deliveries >= 0) {
      pending->deliveries = static_cast<uint64_t>(options.deliveries);
    } else if (options.answer == Answer::kEntries) {
      ++pending->deliveries;
    }
    group.Put(*pending);
    consumer.active_ms = ctx.now.unix_ms;
    ReplyClaimed(ctx, *stream, id, options.answer);
    ++claimed;
    PropagateDelivery(ctx, key, group, text, *pending);
    position_untold = false;
  }
  if (position_untold) PropagateGroupPosition(ctx, key, group);
  ctx.reply.EndArray(at, claimed);
  if (!stream.CommitInternal()) return;
  if (created) ctx.Notify('t', "xgroup-createconsumer", key);
}

// ---- XAUTOCLAIM

void XAutoClaim(CommandContext& ctx) {
  constexpr int64_t kAttemptsPerEntry = 10;
  constexpr int64_t kCountMax = std::numeric_limits<int64_t>::max() / 16;
  const Argv argv = ctx.argv;
  const std::string_view key = argv[1];
  const EntryRef entry = ctx.Find(key);  // before all errors, since a miss is told
  int64_t idle_ms_min, count = 100;
  StreamId first;
  Answer answer = Answer::kEntries;
  if (!ReadIdle(ctx, argv[4], "ERR Invalid min-idle-time argument for XAUTOCLAIM", idle_ms_min)) return;
  if (!ReadIntervalStart(ctx, argv[5], first)) return;
  for (size_t i = 6; i < argv.size(); ++i) {
    if (i + 1 < argv.size() && EqualsIgnoreCase(argv[i], "COUNT")) {
      const auto parsed = protocol::ParseInt64(argv[++i]);
      if (!parsed || *parsed < 1 || *parsed > kCountMax) return ctx.reply.Error("ERR COUNT must be > 0");
      count = *parsed;
    } else if (EqualsIgnoreCase(argv[i], "JUSTID")) {
      answer = Answer::kIds;
    } else {
      return ctx.reply.Error(kSyntaxError);
    }
  }
  if (!CheckType(ctx, entry, store::Type::kStream)) return;
  if (RequireGroup(ctx, ValueOf<Stream>(entry), key, argv[2]) == nullptr) return;

  ctx.PropagateNothing();  // but for what is told below
  Edit<Stream> stream(ctx, key, entry);
  StreamGroup& group = *stream->FindGroup(argv[2]);
  bool created;
  StreamConsumer& consumer = Claimer(ctx, group, argv[3], created);

  // Looked up first, since a change ends the walk.
  struct Found {
    PendingEntry entry;
    bool exists;
  };
  std::vector<Found> found;
  int64_t claimed = 0;
  auto pending = StreamGroup::From(group.pending(), first);
  for (int64_t attempts = count * kAttemptsPerEntry; attempts > 0 && count > 0 && pending.valid();
       pending.Next(), --attempts) {
    const PendingEntry entry = StreamGroup::Read(pending.element());
    const bool exists = stream->Contains(entry.id);
    if (exists && idle_ms_min > 0 && ctx.now.unix_ms - entry.delivered_ms < idle_ms_min) continue;
    found.push_back({entry, exists});
    claimed += exists;
    --count;
  }
  ctx.reply.Array(3);
  ReplyStreamId(ctx, pending.valid() ? StreamGroup::IdOf(pending.element()) : StreamId());
  ctx.reply.Array(claimed);
  for (auto& [entry, exists] : found) {
    if (exists) {
      entry.consumer = consumer.number();
      entry.delivered_ms = ctx.now.unix_ms;
      if (answer == Answer::kEntries) ++entry.deliveries;
      group.Put(entry);
      consumer.active_ms = ctx.now.unix_ms;
      ReplyClaimed(ctx, *stream, entry.id, answer);
    }
    // Of one that is gone, too: replicas find it gone and forget the delivery.
    PropagateDelivery(ctx, key, group, StreamIdText(entry.id), entry);
    if (!exists) (void)group.Remove(entry.id);
  }
  ctx.reply.Array(static_cast<int64_t>(found.size()) - claimed);
  for (const auto& [entry, exists] : found)
    if (!exists) ReplyStreamId(ctx, entry.id);
  if (!stream.CommitInternal()) return;
  if (created) ctx.Notify('t', "xgroup-createconsumer", key);
}

// ---- rows

constexpr KeySpec kUpdatesKey[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1}};
constexpr KeySpec kDeletesIn[] = {{.flags = kKeyRW | kKeyDelete, .index = 1}};
constexpr std::string_view kChangingTips[] = {"nondeterministic_output"};

constexpr ArgSpec kXClaimArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "group"},
    {.name = "consumer"},
    {.name = "min-idle-time"},
    {.name = "id", .flags = kMultiple},
    {.name = "ms", .type = ArgType::kInteger, .flags = kOptional, .token = "IDLE"},
    {.name = "unix-time-milliseconds", .type = ArgType::kUnixTime, .flags = kOptional, .token = "TIME"},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "RETRYCOUNT"},
    {.name = "force", .type = ArgType::kPureToken, .flags = kOptional, .token = "FORCE"},
    {.name = "justid", .type = ArgType::kPureToken, .flags = kOptional, .token = "JUSTID"},
    {.name = "lastid", .flags = kOptional, .token = "LASTID"}};
constexpr ArgSpec kXAutoClaimArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "group"},
    {.name = "consumer"},
    {.name = "min-idle-time"},
    {.name = "start"},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"},
    {.name = "justid", .type = ArgType::kPureToken, .flags = kOptional, .token = "JUSTID"}};
constexpr HistoryEntry kXAutoClaimHistory[] = {
    {"7.0.0", "Added an element to the reply array, containing deleted entries the command cleared from the PEL"}};

constexpr CommandRow kRows[] = {
    {.name = "xautoclaim",
     .arity = -6,
     .flags = kWrite | kFast,
     .acl = kAclStream,
     .handler = XAutoClaim,
     .keys = kDeletesIn,
     .group = Group::kStream,
     .since = "6.2.0",
     .complexity = "O(1) while COUNT is small.",
     .summary = "Gives a consumer what others of its group have left pending for long, from an id on.",
     .args = kXAutoClaimArgs,
     .tips = kChangingTips,
     .history = kXAutoClaimHistory},
    {.name = "xclaim",
     .arity = -6,
     .flags = kWrite | kFast,
     .acl = kAclStream,
     .handler = XClaim,
     .keys = kUpdatesKey,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(log N) per id, for N entries pending in the group.",
     .summary = "Gives a consumer pending entries of others, as if they had been delivered to it.",
     .args = kXClaimArgs,
     .tips = kChangingTips},
};

}  // namespace

std::span<const CommandRow> StreamClaimCommands() { return kRows; }

}  // namespace tessera
