#include "server/commands/help.h"

#include <fmt/core.h>

#include <cctype>
#include <string>
#include <vector>

#include "server/commands/context.h"
#include "server/commands/describe.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

std::string Upper(std::string_view name) {
  std::string text(name);
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

void ReplyWithHelp(CommandContext& ctx) {
  const CommandRow* container = ctx.services.commands.ParentOf(ctx.row);
  std::vector<std::string> lines;
  lines.push_back(fmt::format("{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", Upper(container->name)));
  auto add = [&lines](const CommandRow& row) {
    std::string usage = Upper(row.name);
    if (!row.args.empty()) usage += " " + Outline(row.args);
    lines.push_back(std::move(usage));
    lines.push_back("    " + std::string(row.summary));
  };
  for (const CommandRow& row : container->subcommands)
    if (&row != &ctx.row) add(row);
  add(ctx.row);
  ctx.reply.Array(static_cast<int64_t>(lines.size()));
  for (const std::string& line : lines) ctx.reply.SimpleString(line);
}

void RefuseSubcommandSyntax(CommandContext& ctx) {
  ctx.reply.Error(fmt::format("ERR unknown subcommand or wrong number of arguments for '{}'. Try {} HELP.",
                              ctx.argv[1].substr(0, 128), Upper(ctx.services.commands.ParentOf(ctx.row)->name)));
}

}  // namespace tessera
