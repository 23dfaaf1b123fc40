// Listening: SUBSCRIBE and its kin, PUBLISH, SPUBLISH, PUBSUB; MONITOR.
#include "server/pubsub.h"

#include <fmt/core.h>

#include "protocol/glob.h"
#include "server/cluster/cluster_shell.h"
#include "server/commands/context.h"
#include "server/commands/help.h"
#include "server/commands/table.h"
#include "server/dispatcher.h"
#include "server/monitors.h"

namespace tessera {
namespace {

using Kind = PubSub::Kind;

// What a reply counts: shard channels for themselves, channels and patterns together.
size_t CountShown(const Session& session, Kind kind) {
  return kind == Kind::kShardChannel ? session.subscribed.shard_channels
                                     : session.subscribed.channels + session.subscribed.patterns;
}

// One answer per channel. It is a message rather than a reply: a client that has turned replies off gets it too.
void Answer(CommandContext& ctx, std::string_view word, std::optional<std::string_view> name, Kind kind) {
  protocol::OutputBuffer aside;
  protocol::ReplyWriter aside_writer(&aside, ctx.reply.version());
  const bool muted = ctx.session.muted();
  protocol::ReplyWriter& to = muted ? aside_writer : ctx.reply;
  to.Push(3);
  to.Bulk(word);
  if (name) {
    to.Bulk(*name);
  } else {
    to.Null();
  }
  to.Integer(static_cast<int64_t>(CountShown(ctx.session, kind)));
  if (!muted) return;
  iovec parts[8];
  const int count = aside.Peek(parts, 8);
  for (int i = 0; i < count; ++i) ctx.session.Push({static_cast<const char*>(parts[i].iov_base), parts[i].iov_len});
}

void SubscribeTo(CommandContext& ctx, Kind kind, std::string_view word) {
  for (std::string_view name : ctx.argv.subspan(1)) {
    ctx.services.pubsub.Subscribe(ctx.session, kind, name);
    Answer(ctx, word, name, kind);
  }
}

void UnsubscribeFrom(CommandContext& ctx, Kind kind, std::string_view word) {
  PubSub& pubsub = ctx.services.pubsub;
  if (ctx.argv.size() > 1) {
    for (std::string_view name : ctx.argv.subspan(1)) {
      pubsub.Unsubscribe(ctx.session, kind, name);
      Answer(ctx, word, name, kind);
    }
    return;
  }
  const std::vector<std::string> names = pubsub.NamesOf(ctx.session, kind);
  for (const std::string& name : names) {
    pubsub.Unsubscribe(ctx.session, kind, name);
    Answer(ctx, word, name, kind);
  }
  if (names.empty()) Answer(ctx, word, std::nullopt, kind);
}

void Subscribe(CommandContext& ctx) { SubscribeTo(ctx, Kind::kChannel, "subscribe"); }
void Unsubscribe(CommandContext& ctx) { UnsubscribeFrom(ctx, Kind::kChannel, "unsubscribe"); }
void PSubscribe(CommandContext& ctx) { SubscribeTo(ctx, Kind::kPattern, "psubscribe"); }
void PUnsubscribe(CommandContext& ctx) { UnsubscribeFrom(ctx, Kind::kPattern, "punsubscribe"); }
void SSubscribe(CommandContext& ctx) { SubscribeTo(ctx, Kind::kShardChannel, "ssubscribe"); }
void SUnsubscribe(CommandContext& ctx) { UnsubscribeFrom(ctx, Kind::kShardChannel, "sunsubscribe"); }

// In a cluster the bus carries messages, otherwise the replication stream does. The reply counts listeners here only.
void PublishTo(CommandContext& ctx, Kind kind) {
  const std::string_view channel = ctx.argv[1], message = ctx.argv[2];
  const bool sharded = kind == Kind::kShardChannel;
  PubSub& pubsub = ctx.services.pubsub;
  const size_t heard = sharded ? pubsub.PublishShard(channel, message) : pubsub.Publish(channel, message);
  if (ctx.services.cluster == nullptr) {
    ctx.PropagateToReplicas();
  } else if (ctx.session.kind == SessionKind::kNormal) {
    ctx.services.cluster->BroadcastPublish(sharded, channel, message);
  }
  ctx.reply.Integer(static_cast<int64_t>(heard));
}

void Publish(CommandContext& ctx) { PublishTo(ctx, Kind::kChannel); }
void SPublish(CommandContext& ctx) { PublishTo(ctx, Kind::kShardChannel); }

void ReplyNames(CommandContext& ctx, Kind kind) {
  if (ctx.argv.size() > 3) return RefuseSubcommandSyntax(ctx);
  const auto start = ctx.reply.Defer();
  int64_t count = 0;
  ctx.services.pubsub.ForEach(kind, [&](std::string_view name) {
    if (ctx.argv.size() == 3 && !protocol::GlobMatch(ctx.argv[2], name)) return;
    ctx.reply.Bulk(name);
    ++count;
  });
  ctx.reply.EndArray(start, count);
}

void ReplyCounts(CommandContext& ctx, Kind kind) {
  ctx.reply.Array(static_cast<int64_t>(2 * (ctx.argv.size() - 2)));
  for (std::string_view name : ctx.argv.subspan(2)) {
    ctx.reply.Bulk(name);
    ctx.reply.Integer(static_cast<int64_t>(ctx.services.pubsub.ListenerCount(kind, name)));
  }
}

void PubsubChannels(CommandContext& ctx) { ReplyNames(ctx, Kind::kChannel); }
void PubsubShardChannels(CommandContext& ctx) { ReplyNames(ctx, Kind::kShardChannel); }
void PubsubNumsub(CommandContext& ctx) { ReplyCounts(ctx, Kind::kChannel); }
void PubsubShardNumsub(CommandContext& ctx) { ReplyCounts(ctx, Kind::kShardChannel); }
void PubsubNumpat(CommandContext& ctx) {
  ctx.reply.Integer(static_cast<int64_t>(ctx.services.pubsub.size(Kind::kPattern)));
}

// A client that monitors already is not answered, as in Redis.
void Monitor(CommandContext& ctx) {
  if (ctx.services.dispatcher.in_transaction())
    return ctx.reply.Error("ERR MONITOR isn't allowed for DENY BLOCKING client");
  if (ctx.session.kind != SessionKind::kNormal || ctx.session.monitoring) return;
  ctx.services.monitors.Add(ctx.session);
  ctx.reply.Ok();
}

constexpr uint64_t kListening = kPubsub | kNoScript | kLoading | kStale | kWhileSubscribed;
constexpr uint64_t kPublishing = kPubsub | kLoading | kStale | kFast | kMayReplicate;
constexpr uint64_t kInquiring = kPubsub | kLoading | kStale;

constexpr KeySpec kShardChannelKey[] = {{.flags = kKeyNotKey, .index = 1}};
constexpr KeySpec kShardChannelKeys[] = {{.flags = kKeyNotKey, .index = 1, .last_key = -1}};
constexpr ArgSpec kChannelArgs[] = {{.name = "channel", .flags = kMultiple}};
constexpr ArgSpec kOptionalChannelArgs[] = {{.name = "channel", .flags = kOptional | kMultiple}};
constexpr ArgSpec kPatternArgs[] = {{.name = "pattern", .type = ArgType::kPattern, .flags = kMultiple}};
constexpr ArgSpec kOptionalPatternArgs[] = {
    {.name = "pattern", .type = ArgType::kPattern, .flags = kOptional | kMultiple}};
constexpr ArgSpec kOnePatternArgs[] = {{.name = "pattern", .type = ArgType::kPattern, .flags = kOptional}};
constexpr ArgSpec kShardChannelArgs[] = {{.name = "shardchannel", .flags = kMultiple}};
constexpr ArgSpec kOptionalShardChannelArgs[] = {{.name = "shardchannel", .flags = kOptional | kMultiple}};
constexpr ArgSpec kPublishArgs[] = {{.name = "channel"}, {.name = "message"}};
constexpr ArgSpec kSPublishArgs[] = {{.name = "shardchannel"}, {.name = "message"}};

constexpr CommandRow kPubsubSubcommands[] = {
    {.name = "channels",
     .arity = -2,
     .flags = kInquiring,
     .handler = PubsubChannels,
     .group = Group::kPubsub,
     .since = "2.8.0",
     .complexity = "O(N) in the number of channels.",
     .summary = "Lists the channels that somebody listens to.",
     .args = kOnePatternArgs},
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .handler = ReplyWithHelp,
     .group = Group::kPubsub,
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "numpat",
     .arity = 2,
     .flags = kInquiring,
     .handler = PubsubNumpat,
     .group = Group::kPubsub,
     .since = "2.8.0",
     .complexity = "O(1)",
     .summary = "Counts the patterns that somebody listens to."},
    {.name = "numsub",
     .arity = -2,
     .flags = kInquiring,
     .handler = PubsubNumsub,
     .group = Group::kPubsub,
     .since = "2.8.0",
     .complexity = "O(N) in the number of channels asked for.",
     .summary = "Counts the listeners of channels.",
     .args = kOptionalChannelArgs},
    {.name = "shardchannels",
     .arity = -2,
     .flags = kInquiring,
     .handler = PubsubShardChannels,
     .group = Group::kPubsub,
     .since = "7.0.0",
     .complexity = "O(N) in the number of shard channels.",
     .summary = "Lists the shard channels that somebody listens to.",
     .args = kOnePatternArgs},
    {.name = "shardnumsub",
     .arity = -2,
     .flags = kInquiring,
     .handler = PubsubShardNumsub,
     .group = Group::kPubsub,
     .since = "7.0.0",
     .complexity = "O(N) in the number of shard channels asked for.",
     .summary = "Counts the listeners of shard channels.",
     .args = kOptionalShardChannelArgs},
};

constexpr CommandRow kRows[] = {
    {.name = "monitor",
     .arity = 1,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = Monitor,
     .group = Group::kServer,
     .since = "1.0.0",
     .summary = "Shows every command that is executed, as it happens."},
    {.name = "publish",
     .arity = 3,
     .flags = kPublishing,
     .handler = Publish,
     .group = Group::kPubsub,
     .since = "2.0.0",
     .complexity = "O(N+M): N listeners of the channel, M patterns in use.",
     .summary = "Sends a message to the listeners of a channel.",
     .args = kPublishArgs},
    {.name = "subscribe",
     .arity = -2,
     .flags = kListening,
     .handler = Subscribe,
     .group = Group::kPubsub,
     .since = "2.0.0",
     .complexity = "O(N) in the number of channels.",
     .summary = "Begins to listen to channels.",
     .args = kChannelArgs},
    {.name = "unsubscribe",
     .arity = -1,
     .flags = kListening,
     .handler = Unsubscribe,
     .group = Group::kPubsub,
     .since = "2.0.0",
     .complexity = "O(N) in the number of channels.",
     .summary = "Ends listening to channels, or to all of them.",
     .args = kOptionalChannelArgs},
    {.name = "psubscribe",
     .arity = -2,
     .flags = kListening,
     .handler = PSubscribe,
     .group = Group::kPubsub,
     .since = "2.0.0",
     .complexity = "O(N) in the number of patterns.",
     .summary = "Begins to listen to all channels that match patterns.",
     .args = kPatternArgs},
    {.name = "punsubscribe",
     .arity = -1,
     .flags = kListening,
     .handler = PUnsubscribe,
     .group = Group::kPubsub,
     .since = "2.0.0",
     .complexity = "O(N) in the number of patterns.",
     .summary = "Ends listening to patterns, or to all of them.",
     .args = kOptionalPatternArgs},
    {.name = "spublish",
     .arity = 3,
     .flags = kPublishing,
     .handler = SPublish,
     .keys = kShardChannelKey,
     .group = Group::kPubsub,
     .since = "7.0.0",
     .complexity = "O(N) in the number of listeners.",
     .summary = "Sends a message to the listeners of a shard channel.",
     .args = kSPublishArgs},
    {.name = "ssubscribe",
     .arity = -2,
     .flags = kListening,
     .handler = SSubscribe,
     .keys = kShardChannelKeys,
     .group = Group::kPubsub,
     .since = "7.0.0",
     .complexity = "O(N) in the number of shard channels.",
     .summary = "Begins to listen to shard channels.",
     .args = kShardChannelArgs},
    {.name = "sunsubscribe",
     .arity = -1,
     .flags = kListening,
     .handler = SUnsubscribe,
     .keys = kShardChannelKeys,
     .group = Group::kPubsub,
     .since = "7.0.0",
     .complexity = "O(N) in the number of shard channels.",
     .summary = "Ends listening to shard channels, or to all of them.",
     .args = kOptionalShardChannelArgs},
    {.name = "pubsub",
     .arity = -2,
     .group = Group::kPubsub,
     .since = "2.8.0",
     .complexity = "Depends on the subcommand.",
     .summary = "Commands about channels and their listeners.",
     .subcommands = kPubsubSubcommands},
};

}  // namespace

std::span<const CommandRow> PubsubCommands() { return kRows; }

}  // namespace tessera
