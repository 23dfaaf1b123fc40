#include "server/commands/functions.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "persistence/dump.h"
#include "protocol/glob.h"
#include "server/commands/context.h"
#include "server/commands/help.h"
#include "server/config/config.h"
#include "server/store/keyspace.h"

namespace tessera {
namespace {

using Libraries = std::vector<std::string>;

// Of the first line, "#!<engine> name=<library>"; empty when there is none.
std::string_view NameOf(std::string_view code) {
  const std::string_view line = code.substr(0, code.find('\n'));
  const size_t at = line.find(" name=");
  if (!line.starts_with("#!") || at == std::string_view::npos) return {};
  const std::string_view name = line.substr(at + 6);
  return name.substr(0, name.find_first_of(" \t\r"));
}

auto Find(Libraries& libraries, std::string_view name) {
  return std::find_if(libraries.begin(), libraries.end(), [&](const std::string& code) { return NameOf(code) == name; });
}

void Keep(CommandContext& ctx, const Libraries& libraries) {
  ctx.keyspace.DropFunctionLibraries();
  for (const std::string& code : libraries) ctx.keyspace.AddFunctionLibrary(code);
  ctx.PropagateAlways();
}

void Dump(CommandContext& ctx) {
  std::string payload;
  persistence::DumpWriter dump(&payload, ctx.services.config.rdbcompression);
  for (const std::string& code : ctx.keyspace.function_libraries()) dump.FunctionLibrary(code);
  dump.Finish();
  ctx.reply.Bulk(payload);
}

void List(CommandContext& ctx) {
  protocol::ArgReader args(ctx.argv, 2);
  bool with_code = false;
  std::optional<std::string_view> pattern;
  while (args.HasNext()) {
    if (!with_code && args.Check("WITHCODE")) {
      with_code = true;
    } else if (!pattern && args.Check("LIBRARYNAME", 1)) {
      pattern = args.Next();
    } else {
      return ctx.reply.Error("ERR Unknown argument " + std::string(args.Next()));
    }
  }
  const auto at = ctx.reply.Defer();
  int64_t count = 0;
  for (const std::string& code : ctx.keyspace.function_libraries()) {
    const std::string_view name = NameOf(code);
    if (pattern && !protocol::GlobMatch(*pattern, name, protocol::GlobCase::kInsensitive)) continue;
    ++count;
    ctx.reply.Map(with_code ? 4 : 3);
    ctx.reply.Bulk("library_name");
    ctx.reply.Bulk(name);
    ctx.reply.Bulk("engine");
    ctx.reply.Bulk("LUA");
    ctx.reply.Bulk("functions");  // which only an engine could tell
    ctx.reply.Array(0);
    if (!with_code) continue;
    ctx.reply.Bulk("library_code");
    ctx.reply.Bulk(code);
  }
  ctx.reply.EndArray(at, count);
}

void Restore(CommandContext& ctx) {
  enum class Policy { kAppend, kFlush, kReplace } policy = Policy::kAppend;
  if (ctx.argv.size() > 4) return RefuseSubcommandSyntax(ctx);
  if (ctx.argv.size() == 4) {
    if (protocol::EqualsIgnoreCase(ctx.argv[3], "FLUSH")) {
      policy = Policy::kFlush;
    } else if (protocol::EqualsIgnoreCase(ctx.argv[3], "REPLACE")) {
      policy = Policy::kReplace;
    } else if (!protocol::EqualsIgnoreCase(ctx.argv[3], "APPEND")) {
      return ctx.reply.Error("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.");
    }
  }
  Libraries restored;
  const persistence::DumpRead read = persistence::ReadFunctionsDump(ctx.argv[2], &restored);
  if (read == persistence::DumpRead::kBadFooter) return ctx.reply.Error("ERR DUMP payload version or checksum are wrong");
  if (read != persistence::DumpRead::kOk) return ctx.reply.Error("ERR failed loading functions from the payload");
  Libraries libraries = policy == Policy::kFlush ? Libraries() : ctx.keyspace.function_libraries();
  for (std::string& code : restored) {
    const auto present = Find(libraries, NameOf(code));
    if (present == libraries.end()) {
      libraries.push_back(std::move(code));
    } else if (policy == Policy::kReplace) {
      *present = std::move(code);
    } else {
      return ctx.reply.Error(fmt::format("ERR Library {} already exists", NameOf(code)));
    }
  }
  Keep(ctx, libraries);
  ctx.reply.Ok();
}

void Flush(CommandContext& ctx) {
  if (ctx.argv.size() > 3 || (ctx.argv.size() == 3 && !protocol::EqualsIgnoreCase(ctx.argv[2], "SYNC") &&
                              !protocol::EqualsIgnoreCase(ctx.argv[2], "ASYNC"))) {
    return ctx.reply.Error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
  }
  Keep(ctx, {});
  ctx.reply.Ok();
}

void Delete(CommandContext& ctx) {
  Libraries libraries = ctx.keyspace.function_libraries();
  const auto found = Find(libraries, ctx.argv[2]);
  if (found == libraries.end()) return ctx.reply.Error("ERR Library not found");
  libraries.erase(found);
  Keep(ctx, libraries);
  ctx.reply.Ok();
}

// What a primary or a file says was run by an engine already. A client's code would never have been.
void Load(CommandContext& ctx) {
  const bool replace = ctx.argv.size() == 4 && protocol::EqualsIgnoreCase(ctx.argv[2], "REPLACE");
  if (ctx.argv.size() != (replace ? 4u : 3u))
    return ctx.reply.Error(fmt::format("ERR Unknown option given: {}", ctx.argv[2]));
  if (ctx.session.kind == SessionKind::kNormal)
    return ctx.reply.Error("ERR This server keeps function libraries, but has no engine to load one");
  const std::string_view code = ctx.argv.back(), name = NameOf(code);
  if (name.empty()) return ctx.reply.Error("ERR Missing library metadata");
  Libraries libraries = ctx.keyspace.function_libraries();
  const auto present = Find(libraries, name);
  if (present == libraries.end()) {
    libraries.emplace_back(code);
  } else if (replace) {
    *present = code;
  } else {
    return ctx.reply.Error(fmt::format("ERR Library '{}' already exists", name));
  }
  Keep(ctx, libraries);
  ctx.reply.Bulk(name);
}

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
    Writer("delete", 3, 0, Delete, kDeleteArgs, "Deletes a library."),
    {.name = "dump",
     .arity = 2,
     .flags = kNoScript,
     .acl = kAclScripting,
     .handler = Dump,
     .group = Group::kScripting,
     .since = "7.0.0",
     .complexity = "O(1)",
     .summary = "Answers all libraries in the form that RESTORE takes."},
    Writer("flush", -2, 0, Flush, kFlushArgs, "Deletes all libraries."),
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
     .summary = "Lists the libraries.",
     .args = kListArgs,
     .tips = kListTips},
    Writer("load", -3, kDenyOom, Load, kLoadArgs, "Keeps a library that a primary has loaded; refused to clients."),
    Writer("restore", -3, kDenyOom, Restore, kRestoreArgs, "Adds libraries in the form of DUMP."),
};

constexpr CommandRow kRows[] = {
    {.name = "function",
     .arity = -2,
     .group = Group::kScripting,
     .since = "7.0.0",
     .complexity = "Depends on the subcommand.",
     .summary = "Libraries of functions: kept and handed on, but not called here.",
     .subcommands = kSubcommands},
};

}  // namespace

std::span<const CommandRow> FunctionCommands() { return kRows; }

}  // namespace tessera
