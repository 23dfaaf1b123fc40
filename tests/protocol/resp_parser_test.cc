#include "protocol/resp_parser.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>

#include "protocol/split_args.h"

namespace tessera::protocol {
namespace {

using Status = ParseResult::Status;
using Words = std::vector<std::string>;

struct Outcome {
  std::vector<Words> commands;
  std::string error;
  size_t left = 0;
  bool operator==(const Outcome&) const = default;
};

// Feeds `input` in pieces that end at the given places, each time from a heap block of exactly the unread size, so that
// ASan sees a read beyond it and nothing can rely on the buffer staying where it was.
Outcome Feed(std::string_view input, const std::vector<size_t>& ends, RequestParser::Limits limits = {}) {
  RequestParser parser(limits);
  Outcome outcome;
  std::vector<std::string_view> argv;
  size_t start = 0;
  for (const size_t end : ends) {
    while (start < end) {
      const size_t size = end - start;
      const std::unique_ptr<char[]> block(new char[size]);
      std::memcpy(block.get(), input.data() + start, size);
      const ParseResult result = parser.Parse({block.get(), size}, argv);
      if (result.status == Status::kNeedMore) {
        EXPECT_EQ(result.consumed, 0u);
        break;
      }
      if (result.status == Status::kError) {
        outcome.error = result.error;
        return outcome;
      }
      EXPECT_GT(result.consumed, 0u);
      EXPECT_LE(result.consumed, size);
      if (result.status == Status::kCommand) outcome.commands.emplace_back(argv.begin(), argv.end());
      start += result.consumed;
    }
  }
  outcome.left = input.size() - start;
  return outcome;
}

Outcome FeedWhole(std::string_view input, RequestParser::Limits limits = {}) {
  return Feed(input, {input.size()}, limits);
}

std::vector<size_t> EveryByte(std::string_view input) {
  std::vector<size_t> ends;
  const size_t step = input.size() < 4096 ? 1 : 509;  // long ones would take long, for copying
  for (size_t i = 1; i < input.size(); i += step) ends.push_back(i);
  ends.push_back(input.size());
  return ends;
}

std::string Request(const Words& words) {
  std::string out = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  return out;
}

TEST(RequestParser, ReadsTheSameWholeBytewiseAndSplitAnywhere) {
  const std::string input = Request({"SET", "key", "a\r\nb"}) + "*0\r\nGET  'a b' \"\\x41\\n\"\r\n\r\n*-1\r\n" +
                            Request({"", std::string(300, 'x'), "12345678901"}) + "PING\n" + Request({"LAST"});
  const std::vector<Words> expected = {
      {"SET", "key", "a\r\nb"}, {"GET", "a b", "A\n"}, {"", std::string(300, 'x'), "12345678901"}, {"PING"}, {"LAST"}};
  EXPECT_EQ(FeedWhole(input).commands, expected);
  EXPECT_EQ(Feed(input, EveryByte(input)).commands, expected);
  for (size_t split = 1; split < input.size(); ++split) {
    const Outcome outcome = Feed(input, {split, input.size()});
    EXPECT_EQ(outcome.commands, expected) << "split at " << split;
    EXPECT_EQ(outcome.left, 0u);
  }
}

TEST(RequestParser, WordsErrorsAsRedisDoes) {
  const std::pair<std::string, std::string> cases[] = {
      {"*1\r\nabc\r\n", "Protocol error: expected '$', got 'a'"},
      {"*2\r\n$1\r\na\r\n:1\r\n", "Protocol error: expected '$', got ':'"},
      {"*x\r\n", "Protocol error: invalid multibulk length"},
      {"*\r\n", "Protocol error: invalid multibulk length"},
      {"*01\r\n", "Protocol error: invalid multibulk length"},
      {"*2147483648\r\n", "Protocol error: invalid multibulk length"},
      {"*99999999999999999999\r\n", "Protocol error: invalid multibulk length"},
      {"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$04\r\nPING\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$9223372036854775807\r\n", "Protocol error: invalid bulk length"},
      {"set \"a b\r\n", "Protocol error: unbalanced quotes in request"},
      {"echo \"a\"b\r\n", "Protocol error: unbalanced quotes in request"},
      {std::string(70000, 'a'), "Protocol error: too big inline request"},
      {"*" + std::string(70000, '1'), "Protocol error: too big mbulk count string"},
      {"*1\r\n$" + std::string(70000, '1'), "Protocol error: too big bulk count string"},
  };
  for (const auto& [input, error] : cases) {
    EXPECT_EQ(FeedWhole(input).error, error);
    EXPECT_EQ(Feed(input, EveryByte(input)).error, error);
  }
}

TEST(RequestParser, AnInlineRequestWithAZeroByteNeverEnds) {
  const std::string hello("\x16\x03\x01\0\n\r\nPING\r\n", 13);
  for (size_t cut = 1; cut <= hello.size(); ++cut) {
    const Outcome outcome = Feed(hello, {cut, hello.size()});
    EXPECT_TRUE(outcome.commands.empty() && outcome.error.empty()) << cut;
  }
  EXPECT_EQ(Feed(hello + std::string(70000, 'x'), {70013}).error, "Protocol error: too big inline request");
  EXPECT_EQ(Feed(std::string("PING\r\n\0PING\r\n", 13), {13}).commands.size(), 1u);
}

TEST(RequestParser, GivesStrangersLittleRoom) {
  RequestParser::Limits limits;
  limits.authenticated = false;
  EXPECT_EQ(FeedWhole("*11\r\n", limits).error, "Protocol error: unauthenticated multibulk length");
  EXPECT_EQ(FeedWhole("*1\r\n$16385\r\n", limits).error, "Protocol error: unauthenticated bulk length");
  const Words words(10, std::string(16384, 'x'));
  EXPECT_EQ(FeedWhole(Request(words), limits).commands, std::vector<Words>{words});
}

TEST(RequestParser, HonoursTheConfiguredBulkLimit) {
  RequestParser::Limits limits;
  limits.max_bulk = 5;
  EXPECT_EQ(FeedWhole(Request({"12345"}), limits).commands.size(), 1u);
  EXPECT_EQ(FeedWhole(Request({"123456"}), limits).error, "Protocol error: invalid bulk length");
}

TEST(RequestParser, HugeAnnouncedCountsCostNothing) {
  RequestParser parser;
  std::vector<std::string_view> argv;
  EXPECT_EQ(parser.Parse("*2147483647\r\n$1\r\na\r\n", argv).status, Status::kNeedMore);
  EXPECT_LT(argv.capacity(), 1000u);
}

TEST(RequestParser, SaysHowMuchABulkStillNeeds) {
  RequestParser parser;
  std::vector<std::string_view> argv;
  EXPECT_EQ(parser.Parse("*1\r\n$1000\r\nabc", argv).status, Status::kNeedMore);
  EXPECT_EQ(parser.needed_hint(), 999u);
  EXPECT_EQ(parser.Parse("*1\r\n$1000\r\nabcd", argv).status, Status::kNeedMore);
  EXPECT_EQ(parser.needed_hint(), 998u);
}

TEST(RequestParser, BytewiseCostIsLinear) {
  // 100,000 words in 500,000 pieces: quadratic work would not finish within the test's patience.
  std::string input = "*100000\r\n";
  for (int i = 0; i < 100000; ++i) input += "$1\r\nx\r\n";
  RequestParser parser;
  std::vector<std::string_view> argv;
  for (size_t end = 1; end < input.size(); ++end) {
    ASSERT_EQ(parser.Parse(std::string_view(input).substr(0, end), argv).status, Status::kNeedMore);
  }
  ASSERT_EQ(parser.Parse(input, argv).status, Status::kCommand);
  EXPECT_EQ(argv.size(), 100000u);
}

TEST(RequestParser, MutatedInputReadsTheSameInAnyPieces) {
  const std::string seed_input = Request({"SET", "key", "value"}) + "ECHO \"quoted \\x01\" 'single'\r\n" +
                                 Request({"MSET", "a", "1", "b", std::string(40, 'z')}) + "*0\r\n" + Request({"PING"});
  std::mt19937 random(20240607);
  const auto pick = [&random](size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random); };
  const std::string_view alphabet = "*$\r\n0123456789-\"'\\x ";
  for (int round = 0; round < 4000; ++round) {
    std::string input = seed_input;
    for (size_t i = pick(6); i-- > 0;) {
      const size_t at = pick(input.size());
      switch (pick(3)) {
        case 0:
          input[at] = alphabet[pick(alphabet.size())];
          break;
        case 1:
          input.erase(at, 1 + pick(3));
          break;
        default:
          input.insert(at, 1, pick(4) == 0 ? static_cast<char>(pick(256)) : alphabet[pick(alphabet.size())]);
      }
    }
    const Outcome whole = FeedWhole(input);
    std::vector<size_t> ends;
    for (size_t at = 0; at < input.size();) ends.push_back(at = std::min(input.size(), at + 1 + pick(20)));
    EXPECT_EQ(Feed(input, ends), whole) << "round " << round;
  }
}

TEST(SplitArgs, ReadsBackWhatQuotedWrites) {
  std::string all;
  for (int c = 0; c < 256; ++c) all.push_back(static_cast<char>(c));
  const auto words = SplitArgs(Quoted(all) + " plain " + Quoted(""));
  ASSERT_TRUE(words);
  EXPECT_EQ(*words, (Words{all, "plain", ""}));
}

TEST(SplitArgs, JoinsQuotedPartsOfOneWord) {
  EXPECT_EQ(*SplitArgs("foo\"bar\" 'a\\'b\\n' a\vb"), (Words{"foobar", "a'b\\n", "a\vb"}));
  EXPECT_EQ(*SplitArgs("  \t "), Words{});
  EXPECT_FALSE(SplitArgs("'open"));
  EXPECT_FALSE(SplitArgs("\"open\\\""));
}

}  // namespace
}  // namespace tessera::protocol
