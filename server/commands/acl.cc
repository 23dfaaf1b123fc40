// ACL for a server whose only user is `default`, who may do everything once authenticated.
#include <fmt/core.h>

#include <random>

#include "server/commands/context.h"
#include "server/commands/describe.h"
#include "server/commands/help.h"
#include "server/commands/table.h"
#include "server/config/config.h"

namespace tessera {
namespace {

void AclWhoami(CommandContext& ctx) { ctx.reply.Bulk(ctx.session.user); }

void AclUsers(CommandContext& ctx) {
  ctx.reply.Array(1);
  ctx.reply.Bulk("default");
}

void AclList(CommandContext& ctx) {
  // The password is not shown, not even as a hash.
  const bool open = ctx.services.config.requirepass.empty();
  ctx.reply.Array(1);
  ctx.reply.Bulk(fmt::format("user default on{} ~* &* +@all", open ? " nopass" : ""));
}

void AclGetuser(CommandContext& ctx) {
  if (ctx.argv[2] != "default") return ctx.reply.Null();
  const bool open = ctx.services.config.requirepass.empty();
  ctx.reply.Map(6);
  ctx.reply.Bulk("flags");
  ctx.reply.Set(open ? 2 : 1);
  ctx.reply.Bulk("on");
  if (open) ctx.reply.Bulk("nopass");
  ctx.reply.Bulk("passwords");
  ctx.reply.Array(0);
  ctx.reply.Bulk("commands");
  ctx.reply.Bulk("+@all");
  ctx.reply.Bulk("keys");
  ctx.reply.Bulk("~*");
  ctx.reply.Bulk("channels");
  ctx.reply.Bulk("&*");
  ctx.reply.Bulk("selectors");
  ctx.reply.Array(0);
}

void AclCat(CommandContext& ctx) {
  if (ctx.argv.size() > 3) return RefuseSubcommandSyntax(ctx);
  if (ctx.argv.size() == 2) {
    ctx.reply.Array(static_cast<int64_t>(AclCategoryNames().size()));
    for (const auto& category : AclCategoryNames()) ctx.reply.Bulk(category.name);
    return;
  }
  const uint32_t category = AclCategoryByName(ctx.argv[2]);
  if (category == 0) return ctx.reply.Error(fmt::format("ERR Unknown category '{}'", ctx.argv[2]));
  const auto at = ctx.reply.Defer();
  int64_t count = 0;
  auto offer = [&](const CommandRow& row) {
    if (!(AclCategories(row) & category)) return;
    ctx.reply.Bulk(ctx.services.commands.FullName(row));
    ++count;
  };
  for (const CommandRow* row : ctx.services.commands.rows()) {
    offer(*row);
    for (const CommandRow& sub : row->subcommands) offer(sub);
  }
  ctx.reply.EndArray(at, count);
}

void AclGenpass(CommandContext& ctx) {
  constexpr int64_t kMaxBits = 4096;
  int64_t bits = 256;
  if (ctx.argv.size() > 3) return RefuseSubcommandSyntax(ctx);
  if (ctx.argv.size() == 3) {
    const auto wanted = protocol::ParseInt64(ctx.argv[2]);
    if (!wanted) return ctx.reply.Error(kNotAnInteger);
    if (*wanted <= 0 || *wanted > kMaxBits)
      return ctx.reply.Error(
          "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096");
    bits = *wanted;
  }
  std::random_device entropy;  // getrandom or the like: no generator of ours decides a password
  std::string password;
  for (int64_t i = 0; i < (bits + 3) / 4; ++i) password += "0123456789abcdef"[entropy() & 15];
  ctx.reply.Bulk(password);
}

void AclDryrun(CommandContext& ctx) {
  if (ctx.argv[2] != "default") return ctx.reply.Error(fmt::format("ERR User '{}' not found", ctx.argv[2]));
  const Argv inner = ctx.argv.subspan(3);
  const CommandTable::Result found = ctx.services.commands.Find(inner);
  if (found.found != CommandTable::Found::kYes)
    return ctx.reply.Error(fmt::format("ERR Command '{}' not found", inner[0]));
  const int argc = static_cast<int>(inner.size());
  if (found.row->arity > 0 ? argc != found.row->arity : argc < -found.row->arity)
    return ctx.reply.Error(
        fmt::format("ERR wrong number of arguments for '{}' command", ctx.services.commands.FullName(*found.row)));
  ctx.reply.Ok();
}

void AclLog(CommandContext& ctx) {
  if (ctx.argv.size() > 3) return RefuseSubcommandSyntax(ctx);
  if (ctx.argv.size() == 3) {
    if (protocol::EqualsIgnoreCase(ctx.argv[2], "reset")) return ctx.reply.Ok();
    if (!protocol::ParseInt64(ctx.argv[2])) return ctx.reply.Error(kNotAnInteger);
  }
  ctx.reply.Array(0);
}

constexpr ArgSpec kAclCatArgs[] = {{.name = "categoryname", .flags = kOptional}};
constexpr ArgSpec kAclDryrunArgs[] = {
    {.name = "username"}, {.name = "command"}, {.name = "arg", .flags = kOptional | kMultiple}};
constexpr ArgSpec kAclGenpassArgs[] = {{.name = "bits", .type = ArgType::kInteger, .flags = kOptional}};
constexpr ArgSpec kAclGetuserArgs[] = {{.name = "username"}};
constexpr HistoryEntry kAclGetuserHistory[] = {{"6.2.0", "Channel patterns."},
                                               {"7.0.0", "Selectors; key and channel patterns are shown as rules."}};
constexpr ArgSpec kAclLogOperationArgs[] = {{.name = "count", .type = ArgType::kInteger},
                                            {.name = "reset", .type = ArgType::kPureToken, .token = "RESET"}};
constexpr ArgSpec kAclLogArgs[] = {
    {.name = "operation", .type = ArgType::kOneOf, .flags = kOptional, .children = kAclLogOperationArgs}};
constexpr CommandRow kAclSubcommands[] = {
    {.name = "cat",
     .arity = -2,
     .flags = kNoScript | kLoading | kStale,
     .handler = AclCat,
     .group = Group::kServer,
     .since = "6.0.0",
     .complexity = "O(1)",
     .summary = "Lists categories, or the commands in one.",
     .args = kAclCatArgs},
    {.name = "dryrun",
     .arity = -4,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = AclDryrun,
     .group = Group::kServer,
     .since = "7.0.0",
     .complexity = "O(1)",
     .summary = "Tells whether a user may execute a command.",
     .args = kAclDryrunArgs},
    {.name = "genpass",
     .arity = -2,
     .flags = kNoScript | kLoading | kStale,
     .handler = AclGenpass,
     .group = Group::kServer,
     .since = "6.0.0",
     .complexity = "O(1)",
     .summary = "Makes a random password.",
     .args = kAclGenpassArgs},
    {.name = "getuser",
     .arity = 3,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = AclGetuser,
     .group = Group::kServer,
     .since = "6.0.0",
     .complexity = "O(N) in the number of rules of the user.",
     .summary = "Shows the rules of a user.",
     .args = kAclGetuserArgs,
     .history = kAclGetuserHistory},
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .handler = ReplyWithHelp,
     .group = Group::kServer,
     .since = "6.0.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "list",
     .arity = 2,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = AclList,
     .group = Group::kServer,
     .since = "6.0.0",
     .complexity = "O(N) in the number of users.",
     .summary = "Lists the rules of all users."},
    {.name = "log",
     .arity = -2,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = AclLog,
     .group = Group::kServer,
     .since = "6.0.0",
     .complexity = "O(N) in the number of entries shown.",
     .summary = "Shows what was refused.",
     .args = kAclLogArgs},
    {.name = "users",
     .arity = 2,
     .flags = kAdmin | kNoScript | kLoading | kStale,
     .handler = AclUsers,
     .group = Group::kServer,
     .since = "6.0.0",
     .complexity = "O(N) in the number of users.",
     .summary = "Lists the names of all users."},
    {.name = "whoami",
     .arity = 2,
     .flags = kNoScript | kLoading | kStale,
     .handler = AclWhoami,
     .group = Group::kServer,
     .since = "6.0.0",
     .complexity = "O(1)",
     .summary = "Tells the user of this connection."},
};
constexpr CommandRow kRows[] = {
    {.name = "acl",
     .arity = -2,
     .group = Group::kServer,
     .since = "6.0.0",
     .complexity = "Depends on the subcommand.",
     .summary = "Commands about users and their rights.",
     .subcommands = kAclSubcommands},
};

}  // namespace

std::span<const CommandRow> AclCommands() { return kRows; }

}  // namespace tessera
