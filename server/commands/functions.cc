#include "server/commands/functions.h"

#include <string>

#include "persistence/dump.h"
#include "persistence/null_visitor.h"
#include "server/commands/context.h"
#include "server/commands/help.h"

namespace tessera {
namespace {

constexpr std::string_view kUnsupported = "ERR Function libraries are not supported by this server";

void Dump(CommandContext& ctx) {
  std::string payload;
  persistence::DumpWriter(&payload, false).Finish();  // the footer of nothing
  ctx.reply.Bulk(payload);
}

void List(CommandContext& ctx) {
  protocol::ArgReader args(ctx.argv, 2);
  bool pattern = false, code = false;
  while (args.HasNext()) {
    if (!code && args.Check("WITHCODE")) {
      code = true;
    } else if (!pattern && args.Check("LIBRARYNAME", 1)) {
      pattern = true;
      args.Next();
    } else {
      return ctx.reply.Error("ERR Unknown argument " + std::string(args.Next()));
    }
  }
  ctx.reply.Array(0);
}

void Restore(CommandContext& ctx) {
  ctx.PropagateNothing();
  persistence::NullVisitor nobody;
  const persistence::DumpResult result = persistence::ReadDump(ctx.argv[2], {}, nobody);
  if (result.read == persistence::DumpRead::kBadFooter)
    return ctx.reply.Error("ERR DUMP payload version or checksum are wrong");
  constexpr size_t kFooterBytes = 10;
  if (ctx.argv[2].size() > kFooterBytes) return ctx.reply.Error(kUnsupported);
  ctx.reply.Ok();
}

void Flush(CommandContext& ctx) {
  ctx.PropagateNothing();
  ctx.reply.Ok();
}

void Delete(CommandContext& ctx) { ctx.reply.Error("ERR Library not found"); }
void Load(CommandContext& ctx) { ctx.reply.Error(kUnsupported); }

constexpr ArgSpec kListArgs[] = {{.name = "library-name-pattern", .flags = kOptional, .token = "LIBRARYNAME"},
                                 {.name = "withcode", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHCODE"}};
constexpr ArgSpec kPolicies[] = {{.name = "flush", .type = ArgType::kPureToken, .token = "FLUSH"},
                                 {.name = "append", .type = ArgType::kPureToken, .token = "APPEND"},
                                 {.name = "replace", .type = ArgType::kPureToken, .token = "REPLACE"}};
constexpr ArgSpec kRestoreArgs[] = {{.name = "serialized-value"},
                                    {.name = "policy", .type = ArgType::kOneOf, .flags = kOptional, .children = kPolicies}};
constexpr ArgSpec kModes[] = {{.name = "async", .type = ArgType::kPureToken, .token = "ASYNC"},
                              {.name = "sync", .type = ArgType::kPureToken, .token = "SYNC"}};
constexpr ArgSpec kFlushArgs[] = {{.name = "flush-type", .type = ArgType::kOneOf, .flags = kOptional, .children = kModes}};
constexpr ArgSpec kDeleteArgs[] = {{.name = "library-name"}};
constexpr ArgSpec kLoadArgs[] = {{.name = "replace", .type = ArgType::kPureToken, .flags = kOptional, .token = "REPLACE"},
                                 {.name = "function-code"}};
constexpr std::string_view kListTips[] = {"nondeterministic_output_order"};
constexpr std::string_view kWriteTips[] = {"request_policy:all_shards", "response_policy:all_succeeded"};

constexpr CommandRow Writer(std::string_view name, int arity, uint64_t flags, CommandHandler handler,
                            std::span<const ArgSpec> args, std::string_view summary) {
  return {.name = name,
          .arity = arity,
          .flags = kWrite | kNoScript | flags,
          .acl = kAclScripting,
          .handler = handler,
          .group = Group::kScripting,
          .since = "7.0.0",
          .complexity = "O(1)",
          .summary = summary,
          .args = args,
          .tips = kWriteTips};
}

constexpr CommandRow kSubcommands[] = {
    Writer("delete", 3, 0, Delete, kDeleteArgs, "Would delete a library; there is none."),
    {.name = "dump",
     .arity = 2,
     .flags = kNoScript,
     .acl = kAclScripting,
     .handler = Dump,
     .group = Group::kScripting,
     .since = "7.0.0",
     .complexity = "O(1)",
     .summary = "Answers all libraries, which are none, in the form that RESTORE takes."},
    Writer("flush", -2, 0, Flush, kFlushArgs, "Deletes all libraries; there is none."),
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .acl = kAclScripting,
     .handler = ReplyWithHelp,
     .group = Group::kScripting,
     .since = "7.0.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "list",
     .arity = -2,
     .flags = kNoScript,
     .acl = kAclScripting,
     .handler = List,
     .group = Group::kScripting,
     .since = "7.0.0",
     .complexity = "O(1)",
     .summary = "Lists the libraries; there is none.",
     .args = kListArgs,
     .tips = kListTips},
    Writer("load", -3, kDenyOom, Load, kLoadArgs, "Refused: libraries are not supported."),
    Writer("restore", -3, kDenyOom, Restore, kRestoreArgs, "Takes what DUMP answered, as long as it holds no library."),
};

constexpr CommandRow kRows[] = {
    {.name = "function",
     .arity = -2,
     .group = Group::kScripting,
     .since = "7.0.0",
     .complexity = "Depends on the subcommand.",
     .summary = "Libraries of functions, of which this server holds none.",
     .subcommands = kSubcommands},
};

}  // namespace

std::span<const CommandRow> FunctionCommands() { return kRows; }

}  // namespace tessera
