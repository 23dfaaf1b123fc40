#include "server/log_format.h"

#include <gtest/gtest.h>

namespace tessera::log {
namespace {

using config::LogFormat;

constexpr int64_t kTime = 1'700'000'000'042;  // 2023-11-14T22:13:20.042Z

TEST(LogFormat, LegacyIsTheLayoutOfRedis) {
  const std::string line = Formatted(LogFormat::kLegacy, {7, 'M', kTime, Level::kWarning, "It broke"});
  EXPECT_TRUE(line.starts_with("7:M 1")) << line;
  EXPECT_TRUE(line.ends_with(".042 # It broke")) << line;
}

TEST(LogFormat, LogfmtHasNamedFields) {
  EXPECT_EQ(Formatted(LogFormat::kLogfmt, {7, 'S', kTime, Level::kNotice, "say \"hi\"\n"}),
            "pid=7 role=replica timestamp=\"2023-11-14T22:13:20.042Z\" level=notice message=\"say \\\"hi\\\"\\n\"");
}

TEST(LogFormat, JsonIsAnObjectPerLine) {
  EXPECT_EQ(Formatted(LogFormat::kJson, {7, 'M', kTime, Level::kDebug, "a\\b"}),
            R"({"pid":7,"role":"primary","timestamp":"2023-11-14T22:13:20.042Z","level":"debug","message":"a\\b"})");
}

TEST(LogFormat, JsonStaysValidWhateverTheTextIs) {
  EXPECT_EQ(JsonEscaped("tab\tbell\a del\x7f"), "tab\\tbell\\u0007 del\\u007f");
  EXPECT_EQ(JsonEscaped("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
  // Alone, cut short, overlong, surrogate, too large.
  for (const char* bad : {"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe0\x80\xaf"}) {
    const std::string escaped = JsonEscaped(bad);
    EXPECT_EQ(escaped.find_first_not_of("\xef\xbf\xbd"), std::string::npos) << bad;
    EXPECT_FALSE(escaped.empty());
  }
  EXPECT_EQ(JsonEscaped(std::string_view("\0x", 2)), "\\u0000x");
}

}  // namespace
}  // namespace tessera::log
