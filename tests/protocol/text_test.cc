// Numbers, globs, sizes and arguments as text.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>

#include "protocol/args.h"
#include "protocol/glob.h"
#include "protocol/memory_size.h"
#include "protocol/number.h"

namespace tessera::protocol {
namespace {

TEST(Number, TakesOnlyCanonicalIntegers) {
  for (const int64_t value : {int64_t{0}, int64_t{-1}, int64_t{42}, std::numeric_limits<int64_t>::max(),
                              std::numeric_limits<int64_t>::min(), int64_t{1000000000000000000}}) {
    EXPECT_EQ(ParseInt64(std::to_string(value)), value);
    EXPECT_EQ(Int64Text(value), std::to_string(value));
    EXPECT_EQ(Int64Chars(value), std::to_string(value).size());
  }
  for (const char* text : {"", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "0x1", "9223372036854775808",
                           "-9223372036854775809", "99999999999999999999", "1a"}) {
    EXPECT_FALSE(ParseInt64(text)) << text;
  }
  EXPECT_EQ(ParseUint64("18446744073709551615"), std::numeric_limits<uint64_t>::max());
  EXPECT_FALSE(ParseUint64("18446744073709551616"));
  EXPECT_FALSE(ParseUint64("-1"));
}

TEST(Number, ReadsFloatsAsStrtodWithoutSpacesAndNan) {
  EXPECT_EQ(ParseDouble("1e3"), 1000.0);
  EXPECT_EQ(ParseDouble("+.5"), 0.5);
  EXPECT_EQ(ParseDouble("0x10"), 16.0);
  EXPECT_EQ(ParseDouble("-INF"), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(ParseDouble("infinity"), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(ParseDouble(std::string(200, '1')));
  for (const char* text : {"", " 1", "1 ", "nan", "1e400", "1e-400", "abc", "1e", "--1"}) {
    EXPECT_FALSE(ParseDouble(text)) << text;
    if (text[0] != '1' || text[1] != 'e' || text[2] == '\0') {
      EXPECT_FALSE(ParseLongDouble(text)) << text;
    }
  }
  EXPECT_FALSE(ParseDouble(std::string_view("1\0", 2)));
}

TEST(Number, WritesDoublesShortest) {
  const std::pair<double, const char*> cases[] = {
      {0.1, "0.1"},
      {-0.0, "-0"},
      {3, "3"},
      {-1.5, "-1.5"},
      {1e15, "1000000000000000"},
      {1e20, "1e+20"},
      {1.5e300, "1.5e+300"},
      {1e-7, "1e-7"},
      {0.00001, "0.00001"},
      {1.25e-10, "1.25e-10"},
      {3.0000000000000004, "3.0000000000000004"},
      {1234567890.125, "1234567890.125"},
      {1e19, "1e+19"},
      {std::numeric_limits<double>::infinity(), "inf"},
      {-std::numeric_limits<double>::infinity(), "-inf"},
  };
  for (const auto& [value, text] : cases) {
    EXPECT_EQ(DoubleText(value), text);
  }
  std::mt19937_64 random(5);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = random();
    double value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    if (value != value) continue;
    const std::string text = DoubleText(value);
    ASSERT_LT(text.size(), kMaxDoubleChars);
    EXPECT_EQ(std::strtod(text.c_str(), nullptr), value) << text;
  }
}

TEST(Number, WritesLongDoublesForPeople) {
  EXPECT_EQ(LongDoubleText(10.6L), "10.6");
  EXPECT_EQ(LongDoubleText(5000.0L), "5000");
  EXPECT_EQ(LongDoubleText(*ParseLongDouble("0.1") + *ParseLongDouble("0.2")), "0.3");
  EXPECT_EQ(LongDoubleText(-0.0L), "0");
  EXPECT_EQ(LongDoubleText(1e20L), "100000000000000000000");
  EXPECT_EQ(LongDoubleText(std::numeric_limits<long double>::max()).size(), 4933u);
}

TEST(Glob, FollowsRedis) {
  struct Case {
    const char* pattern;
    const char* text;
    bool matches;
  };
  const Case cases[] = {
      {"*", "", false},  // as in Redis
      {"", "", true},
      {"", "a", false},
      {"a*c", "abc", true},
      {"a*c", "abcd", false},
      {"h?llo", "hello", true},
      {"h?llo", "hllo", false},
      {"h[ae]llo", "hallo", true},
      {"h[ae]llo", "hillo", false},
      {"h[^e]llo", "hello", false},
      {"h[^e]llo", "hallo", true},
      {"h[a-b]llo", "hbllo", true},
      {"h[b-a]llo", "hallo", true},
      {"h\\*llo", "h*llo", true},
      {"h\\*llo", "hello", false},
      {"[a", "a", true},
      {"[]a]", "a]", false},
      {"[\\]]", "]", true},
      {"[a-]", "a", true},
      {"a\\", "a\\", true},
      {"**a**", "xay", true},
      {"*a*b*c", "1a2b3c", true},
      {"*a*b*c", "1a2c3b", false},
      {"ab*", "ab", true},
      {"[^a]", "", false},
      {"HELLO", "hello", false},
      {"a*?", "a", false},
  };
  for (const Case& c : cases) EXPECT_EQ(GlobMatch(c.pattern, c.text), c.matches) << c.pattern << " " << c.text;
  EXPECT_TRUE(GlobMatch("H[A-C]*", "hbLLO", GlobCase::kInsensitive));
}

TEST(Glob, ManyStarsStayCheap) {
  std::string pattern;
  for (int i = 0; i < 2000; ++i) pattern += "a*";
  EXPECT_FALSE(GlobMatch(pattern + "b", std::string(20000, 'a')));
}

TEST(MemorySize, KnowsUnits) {
  EXPECT_EQ(ParseMemorySize("1gb"), uint64_t{1} << 30);
  EXPECT_EQ(ParseMemorySize("64MB"), uint64_t{64} << 20);
  EXPECT_EQ(ParseMemorySize("1k"), 1000u);
  EXPECT_EQ(ParseMemorySize("7b"), 7u);
  EXPECT_EQ(ParseMemorySize("0"), 0u);
  EXPECT_EQ(ParseMemorySize(""), 0u);
  EXPECT_EQ(ParseMemorySize("99999999999999999999"), UINT64_MAX);
  for (const char* text : {"-1", "1tb", "1.5gb", "99999999999gb", "1 mb"}) {
    EXPECT_FALSE(ParseMemorySize(text)) << text;
  }
  EXPECT_EQ(MemorySizeText(uint64_t{3} << 30), "3gb");
  EXPECT_EQ(MemorySizeText(0), "0");
  EXPECT_EQ(MemorySizeText(1025), "1025");
}

TEST(ArgReader, KeepsTheFirstError) {
  const std::string_view argv[] = {"SET", "k", "ex", "abc", "px", "1"};
  ArgReader args(argv, 2);
  EXPECT_TRUE(args.Check("EX"));
  EXPECT_EQ(args.NextInt<int64_t>(), 0);
  EXPECT_FALSE(args.HasNext());
  EXPECT_FALSE(args.Check("PX"));
  args.SyntaxError();
  EXPECT_EQ(args.error(), kNotAnInteger);
}

TEST(ArgReader, ChecksRanges) {
  const std::string_view argv[] = {"X", "300", "5", "1.5", "18446744073709551615"};
  ArgReader narrow(argv);
  narrow.NextInt<int8_t>();
  EXPECT_EQ(narrow.error(), kOutOfRange);
  ArgReader between(argv);
  between.NextIntBetween(0, 10);
  EXPECT_EQ(between.error(), "ERR value is out of range, value must between 0 and 10");
  ArgReader good(argv);
  EXPECT_EQ(good.NextInt<int16_t>(), 300);
  EXPECT_EQ(good.NextIntBetween(5, 5), 5);
  EXPECT_EQ(good.NextDouble(), 1.5);
  EXPECT_EQ(good.NextUint64(), std::numeric_limits<uint64_t>::max());
  EXPECT_TRUE(good.ok());
  good.Next();
  EXPECT_EQ(good.error(), kSyntaxError);
}

}  // namespace
}  // namespace tessera::protocol
