// The rare branches that lives must reach: whatever they show about the others would mean little otherwise. A branch is a
// counter of World::Count; those inside the core are recognised by what it notes for the log.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace tessera::sim {

void CountNote(std::string_view text, const std::function<void(const char*)>& count);
// Every counter that a few hundred lives together must have raised.
std::span<const char* const> RequiredBranches();

}  // namespace tessera::sim
