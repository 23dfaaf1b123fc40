// Text in double quotes as redis.conf, the AOF manifest and error messages show arbitrary bytes: \\ \" \n \r \t \a \b
// and \xHH for the rest that does not print.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::persistence {

// At most `bytes_max` bytes of `text`; what is left out is shown as "..." behind the closing quote.
std::string Quoted(std::string_view text, size_t bytes_max = std::string_view::npos);

// Splits a line into words separated by blanks, "quoted" with the escapes above or 'quoted' with \' only. Nothing when
// a quote is not closed or is followed by something other than a blank.
std::optional<std::vector<std::string>> SplitQuoted(std::string_view line);

}  // namespace tessera::persistence
