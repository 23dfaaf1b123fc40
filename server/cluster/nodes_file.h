// nodes.conf on disk: the core's text with a checksum among the variables of its last line, which Redis skips. Addresses
// are not covered, because users replace them with scripts when containers get new ones.
//   vars currentEpoch 3 lastVoteEpoch 2 checksum 0123456789abcdef
#pragma once

#include <string>
#include <string_view>

namespace tessera {

std::string WithNodesChecksum(std::string text);
// Empty: it is complete and has no checksum or the right one. Otherwise what is wrong.
std::string CheckNodesChecksum(std::string_view text);

}  // namespace tessera
