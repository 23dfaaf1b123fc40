// FUNCTION without an engine: a server that holds no libraries, so that redis-cli can add it to a cluster whose other
// nodes know functions (it restores theirs on the new node, and none is what most have).
#pragma once

#include <span>

#include "server/commands/command.h"

namespace tessera {

std::span<const CommandRow> FunctionCommands();

}  // namespace tessera
