// Commands about the connection itself: AUTH, HELLO, RESET, SELECT, PING, ECHO, QUIT.
#include <fmt/core.h>

#include <limits>

#include "server/commands/client_info.h"
#include "server/commands/context.h"
#include "server/commands/table.h"
#include "server/config/config.h"
#include "server/durability/durability.h"
#include "server/monitors.h"
#include "server/pubsub.h"
#include "server/replication/replication.h"
#include "server/stats.h"
#include "server/version.h"
#include "server/watches.h"

namespace tessera {
namespace {

using protocol::ArgReader;

constexpr std::string_view kWrongPass = "WRONGPASS invalid username-password pair or user is disabled.";

// Compares in a time that does not tell where the difference is.
bool SameSecret(std::string_view a, std::string_view b) {
  unsigned difference = a.size() != b.size();
  for (size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b.empty() ? 0 : b[i % b.size()]);
  return difference == 0;
}

// The default user is the only one; without requirepass any password will do.
bool Authenticate(CommandContext& ctx, std::string_view user, std::string_view password) {
  const std::string& required = ctx.services.config.requirepass;
  if (user == "default" && (required.empty() || SameSecret(password, required))) {
    ctx.session.authenticated = true;
    ctx.session.user = "default";
    return true;
  }
  ++ctx.services.stats.acl_access_denied_auth;
  return false;
}

void Auth(CommandContext& ctx) {
  for (size_t i = 1; i < ctx.argv.size(); ++i) ctx.HideArgument(i);
  if (ctx.argv.size() > 3) return ctx.reply.Error(kSyntaxError);
  const bool named = ctx.argv.size() == 3;
  if (!named && ctx.services.config.requirepass.empty())
    return ctx.reply.Error(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
        "configuration is correct?");
  if (!Authenticate(ctx, named ? ctx.argv[1] : "default", ctx.argv.back())) return ctx.reply.Error(kWrongPass);
  ctx.reply.Ok();
}

void Hello(CommandContext& ctx) {
  int64_t version = 0;
  if (ctx.argv.size() >= 2) {
    const auto wanted = protocol::ParseInt64(ctx.argv[1]);
    if (!wanted) return ctx.reply.Error("ERR Protocol version is not an integer or out of range");
    version = *wanted;
    if (version < 2 || version > 3) return ctx.reply.Error("NOPROTO unsupported protocol version");
  }
  std::optional<std::pair<std::string_view, std::string_view>> credentials;
  std::optional<std::string_view> name;
  ArgReader args(ctx.argv, 2);
  while (args.HasNext()) {
    if (args.Check("AUTH", 2)) {
      ctx.HideArgument(args.index());
      ctx.HideArgument(args.index() + 1);
      const std::string_view user = args.Next();
      credentials = {user, args.Next()};
    } else if (args.Check("SETNAME", 1)) {
      name = args.Next();
      if (!IsValidClientText(*name)) return ctx.reply.Error(kBadClientName);
    } else {
      return ctx.reply.Error(fmt::format("ERR Syntax error in HELLO option '{}'", args.Peek()));
    }
  }
  if (credentials && !Authenticate(ctx, credentials->first, credentials->second)) return ctx.reply.Error(kWrongPass);
  if (!ctx.session.authenticated && !ctx.services.config.requirepass.empty())
    return ctx.reply.Error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> "
        "<pass> option can be used to authenticate the client and select the RESP protocol version at the same time");
  if (name) ctx.session.name = *name;
  if (version != 0) ctx.reply.set_version(static_cast<int>(version));

  ctx.reply.Map(7);
  ctx.reply.Bulk("server");
  ctx.reply.Bulk("redis");
  ctx.reply.Bulk("version");
  ctx.reply.Bulk(kRedisVersion);
  ctx.reply.Bulk("proto");
  ctx.reply.Integer(ctx.reply.version());
  ctx.reply.Bulk("id");
  ctx.reply.Integer(static_cast<int64_t>(ctx.session.id));
  ctx.reply.Bulk("mode");
  ctx.reply.Bulk(ctx.services.cluster != nullptr ? "cluster" : "standalone");
  ctx.reply.Bulk("role");
  ctx.reply.Bulk(ctx.services.replication.is_replica() ? "replica" : "master");
  ctx.reply.Bulk("modules");
  ctx.reply.Array(0);
}

void Ping(CommandContext& ctx) {
  if (ctx.argv.size() > 2) return ctx.reply.Error("ERR wrong number of arguments for 'ping' command");
  if (ctx.session.subscribed.any() && ctx.reply.version() == 2) {
    ctx.reply.Array(2);
    ctx.reply.Bulk("pong");
    ctx.reply.Bulk(ctx.argv.size() == 2 ? ctx.argv[1] : std::string_view());
  } else if (ctx.argv.size() == 2) {
    ctx.reply.Bulk(ctx.argv[1]);
  } else {
    ctx.reply.SimpleString("PONG");
  }
}

void Echo(CommandContext& ctx) { ctx.reply.Bulk(ctx.argv[1]); }

void Quit(CommandContext& ctx) {
  ctx.reply.Ok();
  if (ctx.session.link != nullptr) ctx.session.link->CloseAfterReply();
}

void Reset(CommandContext& ctx) {
  Session& session = ctx.session;
  if (session.kind != SessionKind::kNormal) return ctx.reply.Error("ERR can only reset normal client connections");
  ctx.services.watches.Unwatch(session);
  ctx.services.pubsub.Forget(session);
  ctx.services.monitors.Remove(session);
  session.transaction = {};
  session.db = 0;
  session.readonly = session.asking = session.no_evict = session.no_touch = false;
  session.reply_mode = ReplyMode::kOn;
  session.name.clear();
  session.user = "default";
  session.authenticated = ctx.services.config.requirepass.empty();
  ctx.reply.set_version(2);
  ctx.reply.SimpleString("RESET");
}

void Select(CommandContext& ctx) {
  ArgReader args(ctx.argv);
  const int64_t index = args.NextIntBetween(std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max());
  if (!args.ok()) return ctx.reply.Error(args.error());
  if (ctx.services.cluster != nullptr && index != 0)
    return ctx.reply.Error("ERR SELECT is not allowed in cluster mode");
  if (index < 0 || index >= ctx.keyspace.database_count()) return ctx.reply.Error("ERR DB index is out of range");
  ctx.session.db = static_cast<int>(index);
  ctx.reply.Ok();
}

constexpr ArgSpec kAuthArgs[] = {{.name = "username", .flags = kOptional, .since = "6.0.0"}, {.name = "password"}};
constexpr HistoryEntry kAuthHistory[] = {{"6.0.0", "Takes a user name too."}};
constexpr ArgSpec kEchoArgs[] = {{.name = "message"}};
constexpr ArgSpec kHelloArgumentsUsernamePasswordArgs[] = {{.name = "username"}, {.name = "password"}};
constexpr ArgSpec kHelloArgumentsArgs[] = {{.name = "protover", .type = ArgType::kInteger},
                                           {.name = "username_password",
                                            .type = ArgType::kBlock,
                                            .flags = kOptional,
                                            .token = "AUTH",
                                            .children = kHelloArgumentsUsernamePasswordArgs},
                                           {.name = "clientname", .flags = kOptional, .token = "SETNAME"}};
constexpr ArgSpec kHelloArgs[] = {
    {.name = "arguments", .type = ArgType::kBlock, .flags = kOptional, .children = kHelloArgumentsArgs}};
constexpr HistoryEntry kHelloHistory[] = {
    {"6.2.0", "The version became optional; without it the connection is described."}};
constexpr ArgSpec kPingArgs[] = {{.name = "message", .flags = kOptional}};
constexpr std::string_view kPingTips[] = {"request_policy:all_shards", "response_policy:all_succeeded"};
constexpr ArgSpec kSelectArgs[] = {{.name = "index", .type = ArgType::kInteger}};
constexpr CommandRow kRows[] = {
    {.name = "auth",
     .arity = -2,
     .flags = kNoScript | kLoading | kStale | kFast | kNoAuth | kAllowBusy,
     .acl = kAclConnection,
     .handler = Auth,
     .group = Group::kConnection,
     .since = "1.0.0",
     .complexity = "O(N) in the number of passwords of the user.",
     .summary = "Authenticates the connection.",
     .args = kAuthArgs,
     .history = kAuthHistory},
    {.name = "echo",
     .arity = 2,
     .flags = kLoading | kStale | kFast,
     .acl = kAclConnection,
     .handler = Echo,
     .group = Group::kConnection,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Gives its argument back.",
     .args = kEchoArgs},
    {.name = "hello",
     .arity = -1,
     .flags = kNoScript | kLoading | kStale | kFast | kNoAuth | kAllowBusy,
     .acl = kAclConnection,
     .handler = Hello,
     .group = Group::kConnection,
     .since = "6.0.0",
     .complexity = "O(1)",
     .summary = "Chooses the protocol version; may authenticate and name the connection.",
     .args = kHelloArgs,
     .history = kHelloHistory},
    {.name = "ping",
     .arity = -1,
     .flags = kFast | kWhileSubscribed | kNeedsDisk,
     .acl = kAclConnection,
     .handler = Ping,
     .group = Group::kConnection,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Answers PONG, or the given text.",
     .args = kPingArgs,
     .tips = kPingTips},
    {.name = "quit",
     .arity = -1,
     .flags = kNoScript | kLoading | kStale | kFast | kNoAuth | kAllowBusy | kTransactionControl | kWhileSubscribed,
     .acl = kAclConnection,
     .handler = Quit,
     .group = Group::kConnection,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Closes the connection."},
    {.name = "reset",
     .arity = 1,
     .flags = kNoScript | kLoading | kStale | kFast | kNoAuth | kAllowBusy | kTransactionControl | kWhileSubscribed,
     .acl = kAclConnection,
     .handler = Reset,
     .group = Group::kConnection,
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Puts the connection back into the state it was opened in."},
    {.name = "select",
     .arity = 2,
     .flags = kLoading | kStale | kFast | kInStream,
     .acl = kAclConnection,
     .handler = Select,
     .group = Group::kConnection,
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Chooses the database for the commands that follow.",
     .args = kSelectArgs},
};

}  // namespace

std::span<const CommandRow> ConnectionCommands() { return kRows; }

}  // namespace tessera
