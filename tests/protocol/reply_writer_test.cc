#include "protocol/reply_writer.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>

#include "protocol/resp_reply.h"

namespace tessera::protocol {
namespace {

std::string Content(const OutputBuffer& buffer) {
  iovec entries[64];
  std::string out;
  const int count = buffer.Peek(entries, 64);
  for (int i = 0; i < count; ++i) out.append(static_cast<const char*>(entries[i].iov_base), entries[i].iov_len);
  return out;
}

template <typename Write>
std::string Written(int version, Write write) {
  OutputBuffer buffer;
  ReplyWriter reply(&buffer, version);
  write(reply);
  EXPECT_EQ(Content(buffer).size(), buffer.size());
  return Content(buffer);
}

TEST(ReplyWriter, WritesScalarsInBothVersions) {
  const auto all = [](ReplyWriter& reply) {
    reply.Ok();
    reply.SimpleString("a\r\nb");
    reply.Integer(-12);
    reply.Integer(7);
    reply.Bulk("");
    reply.Bulk("x\r\n");
    reply.BulkInteger(std::numeric_limits<int64_t>::min());
    reply.Double(0.5);
    reply.BigNumber("123");
    reply.Bool(true);
    reply.Verbatim("txt", "hi");
    reply.Null();
    reply.NullArray();
  };
  EXPECT_EQ(
      Written(2, all),
      "+OK\r\n+a  b\r\n:-12\r\n:7\r\n$0\r\n\r\n$3\r\nx\r\n\r\n$20\r\n-9223372036854775808\r\n$3\r\n0.5\r\n$3\r\n123\r\n"
      ":1\r\n$2\r\nhi\r\n$-1\r\n*-1\r\n");
  EXPECT_EQ(Written(3, all),
            "+OK\r\n+a  b\r\n:-12\r\n:7\r\n$0\r\n\r\n$3\r\nx\r\n\r\n$20\r\n-9223372036854775808\r\n,0.5\r\n(123\r\n"
            "#t\r\n=6\r\ntxt:hi\r\n_\r\n_\r\n");
}

TEST(ReplyWriter, WritesAggregatesInBothVersions) {
  const auto all = [](ReplyWriter& reply) {
    reply.Array(3);
    reply.Map(2);
    reply.Set(1);
    reply.Push(12);
  };
  EXPECT_EQ(Written(2, all), "*3\r\n*4\r\n*1\r\n*12\r\n");
  EXPECT_EQ(Written(3, all), "*3\r\n%2\r\n~1\r\n>12\r\n");
}

TEST(ReplyWriter, CountsErrorsAndKeepsTheLastCode) {
  OutputBuffer buffer;
  ReplyWriter reply(&buffer);
  reply.Integer(1);
  EXPECT_EQ(reply.error_count(), 0u);
  reply.Error("ERR one\r\ntwo\r\n");
  reply.Error("WRONGTYPE three");
  EXPECT_EQ(reply.error_count(), 2u);
  EXPECT_EQ(reply.last_error_code(), "WRONGTYPE");
  EXPECT_EQ(Content(buffer), ":1\r\n-ERR one  two\r\n-WRONGTYPE three\r\n");
}

TEST(ReplyWriter, PutsDeferredHeadersWhereTheyBelong) {
  for (const int body : {0, 1, 9, 10, 500, 3000, 40000}) {
    OutputBuffer buffer;
    ReplyWriter reply(&buffer, 3);
    reply.Bulk(std::string(16000, 'p'));
    const auto outer = reply.Defer();
    const auto inner = reply.Defer();
    for (int i = 0; i < body; ++i) reply.Integer(i % 10);
    reply.EndArray(inner, body);
    reply.Ok();
    reply.EndMap(outer, 1);
    std::string expected = "$16000\r\n" + std::string(16000, 'p') + "\r\n%1\r\n*" + std::to_string(body) + "\r\n";
    for (int i = 0; i < body; ++i) expected += ":" + std::to_string(i % 10) + "\r\n";
    EXPECT_EQ(Content(buffer), expected + "+OK\r\n") << body;
    EXPECT_EQ(buffer.size(), expected.size() + 5);
  }
}

TEST(ReplyWriter, DiscardTakesBackWhatWasWrittenSince) {
  OutputBuffer buffer;
  ReplyWriter reply(&buffer);
  reply.Ok();
  const auto mark = reply.Defer();
  reply.Bulk(std::string(100000, 'x'));
  reply.Integer(1);
  reply.Discard(mark);
  reply.Integer(2);
  EXPECT_EQ(Content(buffer), "+OK\r\n:2\r\n");
  EXPECT_EQ(buffer.size(), 9u);
  EXPECT_LT(buffer.allocated(), 20000u);
}

TEST(OutputBuffer, IsAQueueWhateverTheSizes) {
  std::mt19937 random(7);
  OutputBuffer buffer;
  std::string expected;
  unsigned char next = 0;
  for (int round = 0; round < 3000; ++round) {
    const unsigned kind = random() % 10;
    const size_t n = kind == 0 ? random() % 60000 : random() % 300;
    if (kind < 7) {
      std::string bytes(n, '\0');
      for (char& c : bytes) c = static_cast<char>(next++);
      if (kind == 1) {
        OutputBuffer other;
        other.Append(bytes);
        buffer.Splice(other);
        EXPECT_TRUE(other.empty());
        other.Append("x");
      } else if (kind == 2 && n > 0) {
        std::memcpy(buffer.Reserve(n + 10), bytes.data(), n);
        buffer.Commit(n);
      } else if (kind == 3) {
        const auto mark = buffer.End();
        buffer.Append(bytes);
        buffer.InsertAt(mark, "header");
        expected += "header";
      } else {
        buffer.Append(bytes);
      }
      expected += bytes;
    } else {
      const size_t consumed = kind == 9 ? expected.size() : std::min<size_t>(expected.size(), random() % 40000);
      buffer.Consume(consumed);
      expected.erase(0, consumed);
    }
    ASSERT_EQ(buffer.size(), expected.size());
    ASSERT_EQ(Content(buffer), expected) << round;
  }
}

TEST(OutputBuffer, GivesMemoryBackWhenDrained) {
  OutputBuffer buffer;
  EXPECT_EQ(buffer.allocated(), 0u);
  for (int i = 0; i < 1000; ++i) buffer.Append(std::string(5000, 'x'));
  buffer.Append(std::string(5000000, 'x'));
  EXPECT_GT(buffer.allocated(), 10000000u);
  buffer.Clear();
  EXPECT_LE(buffer.allocated(), 16384u);
  buffer.ReleaseSpare();
  EXPECT_EQ(buffer.allocated(), 0u);
  buffer.Append("again");
  EXPECT_EQ(Content(buffer), "again");
}

TEST(ReplyParser, ReadsBackInPieces) {
  OutputBuffer buffer;
  ReplyWriter reply(&buffer, 3);
  reply.Map(2);
  reply.Bulk("a\r\nb");
  reply.Array(0);
  reply.SimpleString("list");
  reply.Array(4);
  reply.Null();
  reply.Double(1.5);
  reply.Bool(false);
  reply.Verbatim("txt", "v");
  reply.Error("ERR no");
  const std::string wire = Content(buffer);
  const std::string expected = R"({"a\r\nb": [], +list: [(nil), ,1.5, #f, "v"]})";
  for (size_t piece = 1; piece <= wire.size(); ++piece) {
    ReplyParser parser;
    std::string pending;
    std::vector<std::string> seen;
    for (size_t at = 0; at < wire.size(); at += piece) {
      pending += wire.substr(at, piece);
      while (true) {
        Reply value;
        size_t consumed = 0;
        const auto status = parser.Parse(pending, consumed, value);
        pending.erase(0, consumed);
        ASSERT_NE(status, ReplyParser::Status::kError);
        if (status == ReplyParser::Status::kNeedMore) break;
        seen.push_back(value.DebugText());
      }
    }
    EXPECT_EQ(seen, (std::vector<std::string>{expected, "-ERR no"})) << piece;
  }
}

TEST(ReplyParser, RefusesWhatIsNotResp) {
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "*1\r\n";
  for (const std::string& input :
       {std::string("hello\r\n"), std::string("$x\r\n"), std::string("$-2\r\n"), std::string(":1a\r\n"),
        std::string("*99999999999\r\n"), std::string("$3\r\nabcde"), std::string("+a\n"), std::string("%-1\r\n"),
        std::string("$99999999999999\r\n"), std::string(100000, '+'), deep}) {
    ReplyParser parser;
    Reply value;
    size_t consumed = 0;
    EXPECT_EQ(parser.Parse(input, consumed, value), ReplyParser::Status::kError) << input.substr(0, 20);
  }
}

TEST(ReplyParser, SurvivesMutation) {
  const std::string seed_input =
      "*3\r\n$3\r\nabc\r\n%1\r\n+k\r\n:12\r\n~2\r\n_\r\n#t\r\n-ERR x\r\n,1.5\r\n=5\r\ntxt:a\r\n";
  std::mt19937 random(99);
  for (int round = 0; round < 5000; ++round) {
    std::string input = seed_input;
    for (int i = 0; i < 4; ++i) input[random() % input.size()] = "*$%~\r\n0129:-+"[random() % 13];
    ReplyParser parser;
    std::string_view rest = input;
    while (true) {
      Reply value;
      size_t consumed = 0;
      const auto status = parser.Parse(rest, consumed, value);
      ASSERT_LE(consumed, rest.size());
      rest.remove_prefix(consumed);
      if (status != ReplyParser::Status::kReply) break;
    }
  }
}

}  // namespace
}  // namespace tessera::protocol
