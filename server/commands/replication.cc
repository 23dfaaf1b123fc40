// REPLICAOF, ROLE, WAIT, WAITAOF, and what replicas say: REPLCONF, PSYNC, SYNC.
#include <fmt/core.h>

#include "server/blocked_keys.h"
#include "server/blocking.h"
#include "server/commands/context.h"
#include "server/commands/table.h"
#include "server/config/config.h"
#include "server/dispatcher.h"
#include "server/durability/durability.h"
#include "server/log.h"
#include "server/replication/field_expiry.h"
#include "server/replication/primary_link.h"
#include "server/replication/replicas.h"
#include "server/replication/replication.h"

namespace tessera {
namespace {

constexpr std::string_view kNoAofToWaitFor =
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

using protocol::ArgReader;
using protocol::EqualsIgnoreCase;

void ReplicaOf(CommandContext& ctx) {
  Replication& replication = ctx.services.replication;
  if (ctx.services.cluster != nullptr) return ctx.reply.Error("ERR REPLICAOF not allowed in cluster mode.");
  ctx.PropagateNothing();
  if (EqualsIgnoreCase(ctx.argv[1], "no") && EqualsIgnoreCase(ctx.argv[2], "one")) {
    replication.BecomePrimary();
    return ctx.reply.Ok();
  }
  const auto port = protocol::ParseInt64(ctx.argv[2]);
  if (!port || *port < 0 || *port > 65535) return ctx.reply.Error("ERR Invalid master port");
  if (replication.is_replica() && replication.primary_host() == ctx.argv[1] && replication.primary_port() == *port)
    return ctx.reply.SimpleString("OK Already connected to specified master");
  replication.Follow(std::string(ctx.argv[1]), static_cast<uint16_t>(*port));
  ctx.reply.Ok();
}

std::string_view LinkStateName(PrimaryLink::State state) {
  switch (state) {
    case PrimaryLink::State::kWaiting:
      return "connect";
    case PrimaryLink::State::kConnecting:
      return "connecting";
    case PrimaryLink::State::kHandshake:
      return "handshake";
    case PrimaryLink::State::kReceiving:
    case PrimaryLink::State::kLoading:
      return "sync";
    case PrimaryLink::State::kOnline:
      return "connected";
  }
  return "unknown";
}

void Role(CommandContext& ctx) {
  const Replication& replication = ctx.services.replication;
  if (const PrimaryLink* primary = replication.primary()) {
    ctx.reply.Array(5);
    ctx.reply.Bulk("slave");
    ctx.reply.Bulk(primary->host());
    ctx.reply.Integer(primary->port());
    ctx.reply.Bulk(LinkStateName(primary->state()));
    ctx.reply.Integer(primary->online() ? replication.offset() : -1);
    return;
  }
  ctx.reply.Array(3);
  ctx.reply.Bulk("master");
  ctx.reply.Integer(replication.offset());
  const auto at = ctx.reply.Defer();
  int64_t count = 0;
  for (const Session* session : replication.replicas().all()) {
    if (session->replica->state != Session::ReplicaSide::State::kOnline) continue;
    ++count;
    ctx.reply.Array(3);
    ctx.reply.Bulk(Replicas::AddressOf(*session));
    ctx.reply.BulkInteger(session->replica->port);
    ctx.reply.BulkInteger(session->replica->acknowledged);
  }
  ctx.reply.EndArray(at, count);
}

void Wait(CommandContext& ctx) {
  Replication& replication = ctx.services.replication;
  if (replication.is_replica())
    return ctx.reply.Error("ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a "
                           "replica is configured to be writable (which is not the default) writes to replicas are just "
                           "local and are not propagated.");
  ArgReader args(ctx.argv);
  const auto wanted = args.NextInt<int64_t>(kNotAnInteger);
  if (!args.ok()) return ctx.reply.Error(args.error());
  int64_t deadline_us;
  if (!ReadTimeout(ctx, ctx.argv[2], TimeoutUnit::kMilliseconds, deadline_us)) return;
  const int64_t offset = ctx.session.written_offset;
  const int acknowledged = replication.ReplicasAcknowledging(offset);
  if (acknowledged >= wanted || ctx.services.dispatcher.in_transaction()) return ctx.reply.Integer(acknowledged);
  replication.replicas().AddWaiter(
      ctx.session, [&replication, offset, wanted] { return replication.ReplicasAcknowledging(offset) >= wanted; });
  ctx.services.blocking.Block(ctx.session, BlockKind::kWait, deadline_us,
                              [&replication, offset](Session& session, WakeReason reason) {
                                if (!ReplyIfForced(session, reason))
                                  session.reply.Integer(replication.ReplicasAcknowledging(offset));
                              });
  replication.RequestAcknowledgements();
}

void WaitAof(CommandContext& ctx) {
  Replication& replication = ctx.services.replication;
  Durability& durability = ctx.services.durability;
  const auto local = protocol::ParseInt64(ctx.argv[1]);
  if (!local) return ctx.reply.Error(kNotAnInteger);
  if (*local < 0 || *local > 1) return ctx.reply.Error("ERR value is out of range, value must between 0 and 1");
  const auto remote = protocol::ParseInt64(ctx.argv[2]);
  if (!remote || *remote < 0 || *remote > INT32_MAX) return ctx.reply.Error("ERR value is out of range, must be positive");
  int64_t deadline_us;
  if (!ReadTimeout(ctx, ctx.argv[3], TimeoutUnit::kMilliseconds, deadline_us)) return;
  if (replication.is_replica())
    return ctx.reply.Error("ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are "
                           "just local and are not propagated.");
  if (*local == 1 && !ctx.services.config.appendonly) return ctx.reply.Error(kNoAofToWaitFor);
  const int64_t offset = ctx.session.written_offset;
  const uint64_t logged = durability.LoggedUpTo();
  // While it waits, the file may be turned off before a failing disk took all.
  auto hopeless = [&durability, &config = ctx.services.config, local = *local, logged] {
    return local == 1 && !config.appendonly && !durability.IsSynced(logged);
  };
  auto answer = [&replication, &durability, offset, logged, hopeless](protocol::ReplyWriter& reply) {
    if (hopeless()) return reply.Error(kNoAofToWaitFor);
    reply.Array(2);
    reply.Integer(durability.IsSynced(logged) ? 1 : 0);
    reply.Integer(replication.replicas().CountSynced(offset));
  };
  auto satisfied = [&replication, &durability, offset, logged, hopeless, local = *local, remote = *remote] {
    return hopeless() ||
           ((local == 0 || durability.IsSynced(logged)) && replication.replicas().CountSynced(offset) >= remote);
  };
  if (satisfied() || ctx.services.dispatcher.in_transaction()) return answer(ctx.reply);
  replication.replicas().AddWaiter(ctx.session, satisfied);
  ctx.services.blocking.Block(ctx.session, BlockKind::kWaitAof, deadline_us,
                              [answer](Session& session, WakeReason reason) {
                                if (!ReplyIfForced(session, reason)) answer(session.reply);
                              });
  if (*remote > 0) replication.RequestAcknowledgements();
}

void ReplConf(CommandContext& ctx) {
  if (ctx.argv.size() % 2 == 0) return ctx.reply.Error(kSyntaxError);
  Replication& replication = ctx.services.replication;
  auto side = [&]() -> Session::ReplicaSide& {
    if (!ctx.session.replica) ctx.session.replica = std::make_shared<Session::ReplicaSide>();
    return *ctx.session.replica;
  };
  for (size_t i = 1; i + 1 < ctx.argv.size(); i += 2) {
    const std::string_view option = ctx.argv[i], value = ctx.argv[i + 1];
    if (EqualsIgnoreCase(option, "listening-port")) {
      const auto port = protocol::ParseInt64(value);
      if (!port || *port < 0 || *port > 65535) return ctx.reply.Error(kNotAnInteger);
      side().port = static_cast<uint16_t>(*port);
    } else if (EqualsIgnoreCase(option, "ip-address")) {
      if (value.size() > 255)
        return ctx.reply.Error(fmt::format("ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                                           value.size()));
      side().address = value;
    } else if (EqualsIgnoreCase(option, "capa")) {
      side().understands_eof |= EqualsIgnoreCase(value, "eof");
      side().understands_psync2 |= EqualsIgnoreCase(value, "psync2");
      side().knows_field_expiry |= EqualsIgnoreCase(value, kFieldExpiryCapability);
    } else if (EqualsIgnoreCase(option, "ack")) {
      // Acknowledgements are not answered: the replica is only listening to the stream.
      const auto offset = protocol::ParseInt64(value);
      if (ctx.session.kind != SessionKind::kReplica || !offset) return;
      int64_t fsynced = 0;
      if (i + 3 < ctx.argv.size() && EqualsIgnoreCase(ctx.argv[i + 2], "fack"))
        fsynced = protocol::ParseInt64(ctx.argv[i + 3]).value_or(0);
      return replication.replicas().Acknowledge(ctx.session, *offset, fsynced);
    } else if (EqualsIgnoreCase(option, "getack")) {
      return;  // asked by a primary over its own link; from a client it means nothing
    } else if (EqualsIgnoreCase(option, "rdb-only")) {
      const auto only = protocol::ParseInt64(value);
      if (!only || (*only != 0 && *only != 1)) return ctx.reply.Error(kNotAnInteger);
      side().only_image = *only == 1;
    } else if (EqualsIgnoreCase(option, "rdb-filter-only")) {
      if (!value.empty())
        return ctx.reply.Error(fmt::format("ERR Unsupported REPLCONF option: {}", option));
    } else {
      return ctx.reply.Error(fmt::format("ERR Unrecognized REPLCONF option: {}", option));
    }
  }
  ctx.reply.Ok();
}

void Synchronise(CommandContext& ctx, std::string_view id, int64_t offset) {
  Replication& replication = ctx.services.replication;
  if (ctx.session.kind == SessionKind::kReplica) return;
  if (ctx.session.link == nullptr) return ctx.reply.Error("ERR SYNC and PSYNC need a connection");
  if (replication.is_replica() && !replication.primary_link_up())
    return ctx.reply.Error("NOMASTERLINK Can't SYNC while not connected with my master");
  replication.replicas().Synchronise(ctx.session, id, offset);
}

void PSync(CommandContext& ctx) {
  const auto offset = protocol::ParseInt64(ctx.argv[2]);
  if (!offset) return ctx.reply.Error(kNotAnInteger);
  Synchronise(ctx, ctx.argv[1], *offset);
}

void Sync(CommandContext& ctx) {
  Synchronise(ctx, {}, -1);
}

constexpr ArgSpec kReplicaOfHostPort[] = {{.name = "host"}, {.name = "port", .type = ArgType::kInteger}};
constexpr ArgSpec kReplicaOfNoOne[] = {{.name = "no", .type = ArgType::kPureToken, .token = "NO"},
                                       {.name = "one", .type = ArgType::kPureToken, .token = "ONE"}};
constexpr ArgSpec kReplicaOfForms[] = {
    {.name = "host-port", .type = ArgType::kBlock, .children = kReplicaOfHostPort},
    {.name = "no-one", .type = ArgType::kBlock, .children = kReplicaOfNoOne}};
constexpr ArgSpec kReplicaOfArgs[] = {{.name = "args", .type = ArgType::kOneOf, .children = kReplicaOfForms}};
constexpr ArgSpec kWaitArgs[] = {{.name = "numreplicas", .type = ArgType::kInteger},
                                 {.name = "timeout", .type = ArgType::kInteger}};
constexpr ArgSpec kWaitAofArgs[] = {{.name = "numlocal", .type = ArgType::kInteger},
                                    {.name = "numreplicas", .type = ArgType::kInteger},
                                    {.name = "timeout", .type = ArgType::kInteger}};
constexpr ArgSpec kPsyncArgs[] = {{.name = "replicationid"}, {.name = "offset", .type = ArgType::kInteger}};
constexpr std::string_view kWaitTips[] = {"request_policy:all_shards", "response_policy:agg_min"};

constexpr CommandRow kRows[] = {
    {.name = "replicaof",
     .arity = 3,
     .flags = kAdmin | kNoScript | kStale | kNoAsyncLoading,
     .handler = ReplicaOf,
     .group = Group::kServer,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Makes the server a replica of another one, or a primary again.",
     .args = kReplicaOfArgs},
    {.name = "slaveof",
     .arity = 3,
     .flags = kAdmin | kNoScript | kStale | kNoAsyncLoading,
     .handler = ReplicaOf,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Older name of REPLICAOF.",
     .args = kReplicaOfArgs,
     .deprecated_since = "5.0.0",
     .replaced_by = "`REPLICAOF`"},
    {.name = "role",
     .arity = 1,
     .flags = kNoScript | kLoading | kStale | kFast,
     .acl = kAclAdmin | kAclDangerous,
     .handler = Role,
     .group = Group::kServer,
     .since = "2.8.12",
     .complexity = "O(1)",
     .summary = "Tells whether the server is a primary or a replica, and of whom."},
    {.name = "wait",
     .arity = 3,
     .flags = kBlocking | kNoScript,
     .acl = kAclConnection,
     .handler = Wait,
     .group = Group::kGeneric,
     .since = "3.0.0",
     .complexity = "O(1)",
     .summary = "Waits until so many replicas have this client's writes.",
     .args = kWaitArgs,
     .tips = kWaitTips},
    {.name = "waitaof",
     .arity = 4,
     .flags = kBlocking | kNoScript,
     .acl = kAclConnection,
     .handler = WaitAof,
     .group = Group::kGeneric,
     .since = "7.2.0",
     .complexity = "O(1)",
     .summary = "Waits until this client's writes are synced into the AOF here and of so many replicas.",
     .args = kWaitAofArgs,
     .tips = kWaitTips},
    {.name = "replconf",
     .arity = -1,
     .flags = kAdmin | kNoScript | kLoading | kStale | kAllowBusy | kWhilePaused | kSystemCommand,
     .handler = ReplConf,
     .group = Group::kServer,
     .since = "3.0.0",
     .complexity = "O(1)",
     .summary = "What replicas tell their primary about themselves (internal)."},
    {.name = "psync",
     .arity = -3,
     .flags = kAdmin | kNoScript | kNoAsyncLoading | kNoMulti | kWhilePaused,
     .handler = PSync,
     .group = Group::kServer,
     .since = "2.8.0",
     .complexity = "O(1)",
     .summary = "Asks for the stream of changes from an offset on (internal).",
     .args = kPsyncArgs},
    {.name = "sync",
     .arity = 1,
     .flags = kAdmin | kNoScript | kNoAsyncLoading | kNoMulti | kWhilePaused,
     .handler = Sync,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Asks for the whole dataset and the stream (internal)."},
};

}  // namespace

std::span<const CommandRow> ReplicationCommands() { return kRows; }

}  // namespace tessera
