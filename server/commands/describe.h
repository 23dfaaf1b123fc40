// What COMMAND and ACL tell about rows: the names of flags, categories, groups and argument types, in Redis's words and
// order. Pure functions of the row.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "server/commands/command.h"

namespace tessera {

template <typename Bits>
struct BitName {
  Bits bit;
  std::string_view name;
};

std::span<const BitName<uint64_t>> CommandFlagNames();
std::span<const BitName<uint32_t>> AclCategoryNames();
std::span<const BitName<uint16_t>> KeyFlagNames();
std::span<const BitName<uint8_t>> ArgFlagNames();
std::string_view GroupName(Group group);
std::string_view ArgTypeName(ArgType type);

// Flags as COMMAND shows them: those of the row, and movablekeys where the key specifications say so.
uint64_t ShownFlags(const CommandRow& row);
// Categories of the row and those its flags imply.
uint32_t AclCategories(const CommandRow& row);
// 0 when there is no category of that name (without '@').
uint32_t AclCategoryByName(std::string_view name);

// First key, last key and step as clients older than key specifications read them; zeros when they cannot say it.
struct LegacyKeys {
  int first = 0, last = 0, step = 0;
};
LegacyKeys LegacyKeysOf(const CommandRow& row);

// "<key> [NX|XX] [EX <seconds>]".
std::string Outline(std::span<const ArgSpec> args);

}  // namespace tessera
