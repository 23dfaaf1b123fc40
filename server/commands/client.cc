// CLIENT and its subcommands. Tracking is not offered yet: it answers as a server where nobody tracks.
#include <fmt/core.h>

#include "server/blocking.h"
#include "server/clients.h"
#include "server/commands/client_info.h"
#include "server/commands/context.h"
#include "server/commands/help.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using protocol::ArgReader;
using protocol::EqualsIgnoreCase;

// ON or OFF as the only argument; anything else is a syntax error, answered here.
std::optional<bool> OnOrOff(CommandContext& ctx) {
  if (EqualsIgnoreCase(ctx.argv[2], "on")) return true;
  if (EqualsIgnoreCase(ctx.argv[2], "off")) return false;
  ctx.reply.Error(kSyntaxError);
  return std::nullopt;
}

// For argv-mem: the client that asks is the only one with a command under way.
void NoteArguments(CommandContext& ctx) {
  ctx.session.argv_bytes = 0;
  for (std::string_view word : ctx.argv) ctx.session.argv_bytes += word.size();
}

void ClientId(CommandContext& ctx) { ctx.reply.Integer(static_cast<int64_t>(ctx.session.id)); }

void ClientInfo(CommandContext& ctx) {
  NoteArguments(ctx);
  ctx.reply.Verbatim("txt", DescribeClient(ctx.session, ctx.services.commands, ctx.now.mono_us) + "\n");
}

void ClientGetname(CommandContext& ctx) {
  if (ctx.session.name.empty()) return ctx.reply.Null();
  ctx.reply.Bulk(ctx.session.name);
}

void ClientSetname(CommandContext& ctx) {
  if (!IsValidClientText(ctx.argv[2])) return ctx.reply.Error(kBadClientName);
  ctx.session.name = ctx.argv[2];
  ctx.reply.Ok();
}

void ClientSetinfo(CommandContext& ctx) {
  const std::string_view what = ctx.argv[2];
  std::string* target = EqualsIgnoreCase(what, "lib-name")  ? &ctx.session.lib_name
                        : EqualsIgnoreCase(what, "lib-ver") ? &ctx.session.lib_version
                                                            : nullptr;
  if (target == nullptr) return ctx.reply.Error(fmt::format("ERR Unrecognized option '{}'", what));
  if (!IsValidClientText(ctx.argv[3]))
    return ctx.reply.Error(fmt::format("ERR {} cannot contain spaces, newlines or special characters.", what));
  *target = ctx.argv[3];
  ctx.reply.Ok();
}

void ClientNoEvict(CommandContext& ctx) {
  if (auto on = OnOrOff(ctx)) {
    ctx.session.no_evict = *on;
    ctx.reply.Ok();
  }
}

void ClientNoTouch(CommandContext& ctx) {
  if (auto on = OnOrOff(ctx)) {
    ctx.session.no_touch = *on;
    ctx.reply.Ok();
  }
}

// The dispatcher mutes replies by the mode that holds after the command, so OFF and SKIP stay silent themselves.
void ClientReply(CommandContext& ctx) {
  if (EqualsIgnoreCase(ctx.argv[2], "on")) {
    ctx.session.reply_mode = ReplyMode::kOn;
    ctx.reply.Ok();
  } else if (EqualsIgnoreCase(ctx.argv[2], "off")) {
    ctx.session.reply_mode = ReplyMode::kOff;
  } else if (EqualsIgnoreCase(ctx.argv[2], "skip")) {
    if (ctx.session.reply_mode != ReplyMode::kOff) ctx.session.reply_mode = ReplyMode::kSkipNext;
  } else {
    ctx.reply.Error(kSyntaxError);
  }
}

void ClientList(CommandContext& ctx) {
  ArgReader args(ctx.argv, 2);
  std::vector<const Session*> shown;
  if (args.Remaining() == 2 && args.Check("TYPE")) {
    const std::string_view name = args.Next();
    const auto type = ClientTypeByName(name);
    if (!type) return ctx.reply.Error(fmt::format("ERR Unknown client type '{}'", name));
    for (const auto& [id, session] : ctx.services.clients.all())
      if (TypeOf(*session) == *type) shown.push_back(session);
  } else if (args.Remaining() >= 2 && args.Check("ID")) {
    while (args.HasNext()) {
      const auto id = protocol::ParseInt64(args.Next());
      if (!id) return ctx.reply.Error("ERR Invalid client ID");
      if (const Session* session = ctx.services.clients.Find(static_cast<uint64_t>(*id))) shown.push_back(session);
    }
  } else if (args.HasNext()) {
    return ctx.reply.Error(kSyntaxError);
  } else {
    for (const auto& [id, session] : ctx.services.clients.all()) shown.push_back(session);
  }
  std::string text;
  NoteArguments(ctx);
  for (const Session* session : shown) {
    text += DescribeClient(*session, ctx.services.commands, ctx.now.mono_us);
    text += '\n';
  }
  ctx.session.argv_bytes = 0;
  ctx.reply.Verbatim("txt", text);
}

void ClientKill(CommandContext& ctx) {
  const bool old_form = ctx.argv.size() == 3;
  ClientFilter filter;
  bool skip_me = !old_form;
  if (old_form) {
    filter.address = ctx.argv[2];
  } else if (const std::string error = ReadClientFilter(ctx.argv.subspan(2), filter, skip_me); !error.empty()) {
    return ctx.reply.Error(error);
  }
  std::vector<Session*> victims;
  for (const auto& [id, session] : ctx.services.clients.all())
    if (filter.Matches(*session, ctx.now.mono_us) && !(skip_me && session == &ctx.session)) victims.push_back(session);
  for (Session* victim : victims) {
    if (victim->link == nullptr) continue;
    if (victim == &ctx.session) {
      victim->link->CloseAfterReply();
    } else {
      victim->close_asap = true;
      victim->link->CloseNow("killed by CLIENT KILL");
    }
  }
  if (!old_form) return ctx.reply.Integer(static_cast<int64_t>(victims.size()));
  if (victims.empty()) return ctx.reply.Error("ERR No such client");
  ctx.reply.Ok();
}

void ClientPause(CommandContext& ctx) {
  Clients::PauseScope scope = Clients::PauseScope::kAll;
  if (ctx.argv.size() > 4) return RefuseSubcommandSyntax(ctx);
  if (ctx.argv.size() == 4) {
    if (EqualsIgnoreCase(ctx.argv[3], "write")) {
      scope = Clients::PauseScope::kWrites;
    } else if (!EqualsIgnoreCase(ctx.argv[3], "all")) {
      return ctx.reply.Error("ERR CLIENT PAUSE mode must be WRITE or ALL");
    }
  }
  const auto timeout_ms = protocol::ParseInt64(ctx.argv[2]);
  if (!timeout_ms) return ctx.reply.Error("ERR timeout is not an integer or out of range");
  if (*timeout_ms < 0) return ctx.reply.Error("ERR timeout is negative");
  int64_t until_ms;
  if (__builtin_add_overflow(ctx.now.mono_ms(), *timeout_ms, &until_ms))
    return ctx.reply.Error("ERR timeout is out of range");
  ctx.services.clients.Pause(Clients::PauseReason::kClient, scope, until_ms);
  ctx.reply.Ok();
}

void ClientUnpause(CommandContext& ctx) {
  ctx.services.clients.Unpause(Clients::PauseReason::kClient);
  ctx.reply.Ok();
}

void ClientUnblock(CommandContext& ctx) {
  WakeReason reason = WakeReason::kUnblockTimeout;
  if (ctx.argv.size() > 4) return RefuseSubcommandSyntax(ctx);
  if (ctx.argv.size() == 4) {
    if (EqualsIgnoreCase(ctx.argv[3], "error")) {
      reason = WakeReason::kUnblockError;
    } else if (!EqualsIgnoreCase(ctx.argv[3], "timeout")) {
      return ctx.reply.Error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    }
  }
  const auto id = protocol::ParseInt64(ctx.argv[2]);
  if (!id) return ctx.reply.Error(kNotAnInteger);
  Session* target = ctx.services.clients.Find(static_cast<uint64_t>(*id));
  // Whoever is paused, or waits for the shutdown, is not in a command that could time out.
  const bool may_time_out =
      target != nullptr && (target->blocked.kind == BlockKind::kWait || target->blocked.kind == BlockKind::kWaitAof ||
                            target->blocked.kind == BlockKind::kKeys);
  if (may_time_out) ctx.services.blocking.Wake(*target, reason);
  ctx.reply.Integer(may_time_out ? 1 : 0);
}

void ClientTracking(CommandContext& ctx) {
  if (auto on = OnOrOff(ctx)) {
    if (*on) return ctx.reply.Error("ERR client side caching is not supported by this server yet");
    ctx.reply.Ok();
  }
}

void ClientCaching(CommandContext& ctx) {
  ctx.reply.Error(
      "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled");
}

void ClientGetredir(CommandContext& ctx) { ctx.reply.Integer(-1); }

void ClientTrackinginfo(CommandContext& ctx) {
  ctx.reply.Map(3);
  ctx.reply.Bulk("flags");
  ctx.reply.Set(1);
  ctx.reply.Bulk("off");
  ctx.reply.Bulk("redirect");
  ctx.reply.Integer(-1);
  ctx.reply.Bulk("prefixes");
  ctx.reply.Array(0);
}

constexpr ArgSpec kClientCachingModeArgs[] = {{.name = "yes", .type = ArgType::kPureToken, .token = "YES"},
                                              {.name = "no", .type = ArgType::kPureToken, .token = "NO"}};
constexpr ArgSpec kClientCachingArgs[] = {
    {.name = "mode", .type = ArgType::kOneOf, .children = kClientCachingModeArgs}};
constexpr std::string_view kClientInfoTips[] = {"nondeterministic_output"};
constexpr ArgSpec kClientKillFilterNewFormatNormalMasterSlavePubsubArgs[] = {
    {.name = "normal", .type = ArgType::kPureToken, .token = "NORMAL"},
    {.name = "master", .type = ArgType::kPureToken, .token = "MASTER", .since = "3.2.0"},
    {.name = "slave", .type = ArgType::kPureToken, .token = "SLAVE"},
    {.name = "replica", .type = ArgType::kPureToken, .token = "REPLICA", .since = "5.0.0"},
    {.name = "pubsub", .type = ArgType::kPureToken, .token = "PUBSUB"}};
constexpr ArgSpec kClientKillFilterNewFormatArgs[] = {
    {.name = "client-id", .type = ArgType::kInteger, .flags = kOptional, .token = "ID", .since = "2.8.12"},
    {.name = "normal_master_slave_pubsub",
     .type = ArgType::kOneOf,
     .flags = kOptional,
     .token = "TYPE",
     .since = "2.8.12",
     .children = kClientKillFilterNewFormatNormalMasterSlavePubsubArgs},
    {.name = "username", .flags = kOptional, .token = "USER"},
    {.name = "ip:port", .flags = kOptional, .token = "ADDR"},
    {.name = "ip:port", .flags = kOptional, .token = "LADDR", .since = "6.2.0"},
    {.name = "yes/no", .flags = kOptional, .token = "SKIPME"}};
constexpr ArgSpec kClientKillFilterArgs[] = {
    {.name = "ip:port", .deprecated_since = "2.8.12"},
    {.name = "new-format", .type = ArgType::kOneOf, .flags = kMultiple, .children = kClientKillFilterNewFormatArgs}};
constexpr ArgSpec kClientKillArgs[] = {{.name = "filter", .type = ArgType::kOneOf, .children = kClientKillFilterArgs}};
constexpr HistoryEntry kClientKillHistory[] = {{"2.8.12", "Takes filters."},
                                               {"2.8.12", "Filter ID."},
                                               {"3.2.0", "Type master."},
                                               {"5.0.0", "Type replica; slave means the same."},
                                               {"6.2.0", "Filter LADDR."}};
constexpr ArgSpec kClientListNormalMasterReplicaPubsubArgs[] = {
    {.name = "normal", .type = ArgType::kPureToken, .token = "NORMAL"},
    {.name = "master", .type = ArgType::kPureToken, .token = "MASTER"},
    {.name = "replica", .type = ArgType::kPureToken, .token = "REPLICA"},
    {.name = "pubsub", .type = ArgType::kPureToken, .token = "PUBSUB"}};
constexpr ArgSpec kClientListIdArgs[] = {{.name = "client-id", .type = ArgType::kInteger, .flags = kMultiple}};
constexpr ArgSpec kClientListArgs[] = {{.name = "normal_master_replica_pubsub",
                                        .type = ArgType::kOneOf,
                                        .flags = kOptional,
                                        .token = "TYPE",
                                        .since = "5.0.0",
                                        .children = kClientListNormalMasterReplicaPubsubArgs},
                                       {.name = "id",
                                        .type = ArgType::kBlock,
                                        .flags = kOptional,
                                        .token = "ID",
                                        .since = "6.2.0",
                                        .children = kClientListIdArgs}};
constexpr HistoryEntry kClientListHistory[] = {{"2.8.12", "Field id."},
                                               {"5.0.0", "Filter TYPE."},
                                               {"6.0.0", "Field user."},
                                               {"6.2.0", "Fields argv-mem, tot-mem, laddr and redir; filter ID."},
                                               {"7.0.0", "Fields resp, multi-mem, rbs and rbp."},
                                               {"7.0.3", "Field ssub."},
                                               {"7.2.0", "Fields lib-name and lib-ver."}};
constexpr ArgSpec kClientNoEvictEnabledArgs[] = {{.name = "on", .type = ArgType::kPureToken, .token = "ON"},
                                                 {.name = "off", .type = ArgType::kPureToken, .token = "OFF"}};
constexpr ArgSpec kClientNoEvictArgs[] = {
    {.name = "enabled", .type = ArgType::kOneOf, .children = kClientNoEvictEnabledArgs}};
constexpr ArgSpec kClientPauseModeArgs[] = {{.name = "write", .type = ArgType::kPureToken, .token = "WRITE"},
                                            {.name = "all", .type = ArgType::kPureToken, .token = "ALL"}};
constexpr ArgSpec kClientPauseArgs[] = {
    {.name = "timeout", .type = ArgType::kInteger},
    {.name = "mode", .type = ArgType::kOneOf, .flags = kOptional, .since = "6.2.0", .children = kClientPauseModeArgs}};
constexpr HistoryEntry kClientPauseHistory[] = {{"6.2.0", "Modes, with WRITE as the new one."}};
constexpr ArgSpec kClientReplyOnOffSkipArgs[] = {{.name = "on", .type = ArgType::kPureToken, .token = "ON"},
                                                 {.name = "off", .type = ArgType::kPureToken, .token = "OFF"},
                                                 {.name = "skip", .type = ArgType::kPureToken, .token = "SKIP"}};
constexpr ArgSpec kClientReplyArgs[] = {
    {.name = "on_off_skip", .type = ArgType::kOneOf, .children = kClientReplyOnOffSkipArgs}};
constexpr ArgSpec kClientSetinfoAttrArgs[] = {{.name = "libname", .token = "LIB-NAME"},
                                              {.name = "libver", .token = "LIB-VER"}};
constexpr ArgSpec kClientSetinfoArgs[] = {
    {.name = "attr", .type = ArgType::kOneOf, .children = kClientSetinfoAttrArgs}};
constexpr std::string_view kClientSetinfoTips[] = {"request_policy:all_nodes", "response_policy:all_succeeded"};
constexpr ArgSpec kClientSetnameArgs[] = {{.name = "connection-name"}};
constexpr ArgSpec kClientTrackingArgs[] = {
    {.name = "status", .type = ArgType::kOneOf, .children = kClientNoEvictEnabledArgs},
    {.name = "client-id", .type = ArgType::kInteger, .flags = kOptional, .token = "REDIRECT"},
    {.name = "prefix", .flags = kOptional | kMultiple | kMultipleToken, .token = "PREFIX"},
    {.name = "bcast", .type = ArgType::kPureToken, .flags = kOptional, .token = "BCAST"},
    {.name = "optin", .type = ArgType::kPureToken, .flags = kOptional, .token = "OPTIN"},
    {.name = "optout", .type = ArgType::kPureToken, .flags = kOptional, .token = "OPTOUT"},
    {.name = "noloop", .type = ArgType::kPureToken, .flags = kOptional, .token = "NOLOOP"}};
constexpr ArgSpec kClientUnblockTimeoutErrorArgs[] = {
    {.name = "timeout", .type = ArgType::kPureToken, .token = "TIMEOUT"},
    {.name = "error", .type = ArgType::kPureToken, .token = "ERROR"}};
constexpr ArgSpec kClientUnblockArgs[] = {
    {.name = "client-id", .type = ArgType::kInteger},
    {.name = "timeout_error", .type = ArgType::kOneOf, .flags = kOptional, .children = kClientUnblockTimeoutErrorArgs}};
constexpr CommandRow kClientSubcommands[] = {
    {.name = "caching",
     .arity = 3,
     .flags = kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientCaching,
     .group = Group::kConnection,
     .since = "6.0.0",
     .complexity = "O(1)",
     .summary = "Says whether the keys of the next command are tracked.",
     .args = kClientCachingArgs},
    {.name = "getname",
     .arity = 2,
     .flags = kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientGetname,
     .group = Group::kConnection,
     .since = "2.6.9",
     .complexity = "O(1)",
     .summary = "Tells the name of this connection."},
    {.name = "getredir",
     .arity = 2,
     .flags = kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientGetredir,
     .group = Group::kConnection,
     .since = "6.0.0",
     .complexity = "O(1)",
     .summary = "Tells which client gets the invalidation messages of this one."},
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .acl = kAclConnection,
     .handler = ReplyWithHelp,
     .group = Group::kConnection,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "id",
     .arity = 2,
     .flags = kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientId,
     .group = Group::kConnection,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Tells the id of this connection."},
    {.name = "info",
     .arity = 2,
     .flags = kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientInfo,
     .group = Group::kConnection,
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Describes this connection.",
     .tips = kClientInfoTips},
    {.name = "kill",
     .arity = -3,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientKill,
     .group = Group::kConnection,
     .since = "2.4.0",
     .complexity = "O(N) in the number of clients.",
     .summary = "Closes connections that match.",
     .args = kClientKillArgs,
     .history = kClientKillHistory},
    {.name = "list",
     .arity = -2,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientList,
     .group = Group::kConnection,
     .since = "2.4.0",
     .complexity = "O(N) in the number of clients.",
     .summary = "Describes all connections, or those that match.",
     .args = kClientListArgs,
     .tips = kClientInfoTips,
     .history = kClientListHistory},
    {.name = "no-evict",
     .arity = 3,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientNoEvict,
     .group = Group::kConnection,
     .since = "7.0.0",
     .complexity = "O(1)",
     .summary = "Exempts this connection from client eviction.",
     .args = kClientNoEvictArgs},
    {.name = "no-touch",
     .arity = 3,
     .flags = kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientNoTouch,
     .group = Group::kConnection,
     .since = "7.2.0",
     .complexity = "O(1)",
     .summary = "Makes the commands of this connection leave the access times of keys alone.",
     .args = kClientNoEvictArgs},
    {.name = "pause",
     .arity = -3,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientPause,
     .group = Group::kConnection,
     .since = "2.9.50",
     .complexity = "O(1)",
     .summary = "Holds back the commands of clients for some time.",
     .args = kClientPauseArgs,
     .history = kClientPauseHistory},
    {.name = "reply",
     .arity = 3,
     .flags = kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientReply,
     .group = Group::kConnection,
     .since = "3.2.0",
     .complexity = "O(1)",
     .summary = "Says whether commands of this connection are answered.",
     .args = kClientReplyArgs},
    {.name = "setinfo",
     .arity = 4,
     .flags = kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientSetinfo,
     .group = Group::kConnection,
     .since = "7.2.0",
     .complexity = "O(1)",
     .summary = "Notes the name or version of the client library.",
     .args = kClientSetinfoArgs,
     .tips = kClientSetinfoTips},
    {.name = "setname",
     .arity = 3,
     .flags = kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientSetname,
     .group = Group::kConnection,
     .since = "2.6.9",
     .complexity = "O(1)",
     .summary = "Names this connection.",
     .args = kClientSetnameArgs,
     .tips = kClientSetinfoTips},
    {.name = "tracking",
     .arity = -3,
     .flags = kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientTracking,
     .group = Group::kConnection,
     .since = "6.0.0",
     .complexity = "O(1), more with some options.",
     .summary = "Turns tracking of read keys on or off.",
     .args = kClientTrackingArgs},
    {.name = "trackinginfo",
     .arity = 2,
     .flags = kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientTrackinginfo,
     .group = Group::kConnection,
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Describes the key tracking of this connection."},
    {.name = "unblock",
     .arity = -3,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientUnblock,
     .group = Group::kConnection,
     .since = "5.0.0",
     .complexity = "O(log N) in the number of clients.",
     .summary = "Ends the waiting of a client in a blocking command.",
     .args = kClientUnblockArgs},
    {.name = "unpause",
     .arity = 2,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .acl = kAclConnection,
     .handler = ClientUnpause,
     .group = Group::kConnection,
     .since = "6.2.0",
     .complexity = "O(N) in the number of paused clients.",
     .summary = "Ends a pause."},
};
constexpr CommandRow kRows[] = {
    {.name = "client",
     .arity = -2,
     .group = Group::kConnection,
     .since = "2.4.0",
     .complexity = "Depends on the subcommand.",
     .summary = "Commands about client connections.",
     .subcommands = kClientSubcommands},
};

}  // namespace

std::span<const CommandRow> ClientCommands() { return kRows; }

}  // namespace tessera
