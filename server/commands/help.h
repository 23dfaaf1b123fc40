// HELP of every container of subcommands, rendered from its rows in the layout Redis clients know.
#pragma once

namespace tessera {

struct CommandContext;
void ReplyWithHelp(CommandContext& ctx);
// Refuses a subcommand whose number of arguments its arity lets pass but its grammar does not.
void RefuseSubcommandSyntax(CommandContext& ctx);

}  // namespace tessera
