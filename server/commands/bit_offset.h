// Offsets of bits as clients write them, shared by the bitmap commands and BITFIELD.
#pragma once

#include <cstdint>
#include <string_view>

#include "server/commands/context.h"

namespace tessera {

// Replies and returns false unless `text` is an offset that proto-max-bulk-len allows. With `field_width`, "#3" stands
// for three times that many bits.
bool ReadBitOffset(CommandContext& ctx, std::string_view text, unsigned field_width, uint64_t& offset);

}  // namespace tessera
