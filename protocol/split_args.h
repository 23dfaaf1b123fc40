// Splits one line of text into words by Redis's quoting rules, as inline requests and redis.conf use them:
//   word       = runs of plain characters, "double quoted" and 'single quoted' parts
//   "..."      knows \n \r \t \b \a, \xHH and \<any other character> for itself
//   '...'      knows \' only
// A closing quote must be followed by white space or the end of the line. A NUL ends the line.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::protocol {

// Appends the words of `line` to `words`. Words without quotes are views into `line`, the others are views into
// `scratch`, which is overwritten. False when quotes are unbalanced; `words` then holds no useful value.
[[nodiscard]] bool SplitArgs(std::string_view line, std::string& scratch, std::vector<std::string_view>& words);

// The same with owned words, for callers that are not in a hurry. No value when quotes are unbalanced.
[[nodiscard]] std::optional<std::vector<std::string>> SplitArgs(std::string_view line);

// `text` in double quotes with \n \r \t \a \b \" \\ and \xHH for what is not printable, such that SplitArgs reads it
// back.
[[nodiscard]] std::string Quoted(std::string_view text);

}  // namespace tessera::protocol
