// What is known about an option: one row each, from which parsing, checking, CONFIG GET, SET, REWRITE and the defaults
// follow. Names, bounds, defaults and error texts are those of Redis 7.2.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/config/config.h"

namespace tessera::config {

enum class Kind : uint8_t {
  kBool,
  kInteger,
  kOctal,
  kMemory,           // "64mb"; an unsigned member may take all of 64 bits
  kMemoryOrPercent,  // "64mb" or "5%", kept as -5
  kEnum,
  kFlagSet,  // several names of an enumeration, or-ed
  kString,
  kSpecial,  // has functions of its own
};

enum OptionFlag : uint8_t {
  kImmutable = 1 << 0,     // not by CONFIG SET
  kProtected = 1 << 1,     // by CONFIG SET only when enable-protected-configs says so
  kHidden = 1 << 2,        // CONFIG GET shows it only when asked by its whole name
  kSensitive = 1 << 3,     // values do not belong into logs
  kDenyLoading = 1 << 4,   // not while the data set is being loaded
  kMultiWord = 1 << 5,     // has any number of words, which may also come as one argument with spaces between
  kEmptyIsUnset = 1 << 6,  // an empty string means that the option is not set at all
};

struct Choice {
  std::string_view name;
  int64_t value;
};

using Words = std::span<const std::string_view>;

struct SpecialKind {
  // False with the reason in `error` leaves `config` as it was.
  bool (*set)(Config& config, Words words, std::string& error);
  std::string (*get)(const Config& config);
  // What CONFIG REWRITE puts into the file, a line per entry. An entry whose `force` is off only replaces a line that
  // is there already.
  struct Line {
    std::string text;
    bool force;
  };
  std::vector<Line> (*lines)(const Config& config, std::string_view name);
};

struct Option {
  std::string_view name;
  std::string_view alias;  // an older name, or empty
  Kind kind;
  uint8_t flags;
  std::string_view initial;  // the default as text
  int64_t min = 0;
  uint64_t max = 0;
  // Values outside are moved to the nearer end without complaint.
  int64_t clamp_min = INT64_MIN;
  int64_t clamp_max = INT64_MAX;
  std::span<const Choice> choices = {};
  // Further checks of a string, or of a set of flags: the reason it is refused, or empty.
  std::string_view (*refuse)(std::string_view value) = nullptr;
  std::string_view (*refuse_flags)(int64_t flags) = nullptr;
  const SpecialKind* special = nullptr;
  // Access to the member; all null for an option that is not yet in effect.
  int64_t (*get_number)(const Config&) = nullptr;
  void (*set_number)(Config&, int64_t) = nullptr;
  const std::string& (*get_text)(const Config&) = nullptr;
  void (*set_text)(Config&, std::string_view) = nullptr;

  bool InEffect() const { return special != nullptr || get_number != nullptr || get_text != nullptr; }
};

// All rows, in the order CONFIG GET and REWRITE use.
std::span<const Option> AllOptions();

// By name or alias in any case; null if there is none.
const Option* FindOption(std::string_view name);

// Sets from the words behind the option's name. False with the reason in `error` leaves `config` as it was.
bool SetOption(Config& config, const Option& option, Words words, std::string& error);
// The same from one string, as CONFIG SET has it and as a file may have it in quotes.
bool SetOptionFromText(Config& config, const Option& option, std::string_view text, std::string& error);

// What CONFIG GET shows.
std::string OptionText(const Config& config, const Option& option);

}  // namespace tessera::config
