// FUNCTION without an engine: libraries are kept and handed on as part of the dataset, so that redis-cli can add this
// server to a cluster of nodes that know functions (it restores theirs on the new node), and nothing is lost on the way.
#pragma once

#include <span>

#include "server/commands/command.h"

namespace tessera {

std::span<const CommandRow> FunctionCommands();

}  // namespace tessera
