// HELP of every container of subcommands, rendered from its rows in the layout Redis clients know.
#pragma once

namespace tessera {

struct CommandContext;
void ReplyWithHelp(CommandContext& ctx);

}  // namespace tessera
