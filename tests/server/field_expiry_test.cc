#include "server/replication/field_expiry.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "protocol/resp_parser.h"

namespace tessera {
namespace {

std::string Command(const std::vector<std::string>& words) {
  std::string out = fmt::format("*{}\r\n", words.size());
  for (const std::string& word : words) out += fmt::format("${}\r\n{}\r\n", word.size(), word);
  return out;
}

// The commands' first words, or nothing when the bytes are not whole commands.
std::vector<std::string> Names(std::string_view bytes) {
  protocol::RequestParser parser;
  std::vector<std::string_view> argv;
  std::vector<std::string> names;
  while (!bytes.empty()) {
    const auto result = parser.Parse(bytes, argv);
    if (result.status != protocol::ParseResult::Status::kCommand) return {};
    names.emplace_back(argv[0]);
    bytes.remove_prefix(result.consumed);
  }
  return names;
}

TEST(FieldExpiryOfStreams, GivesWayToAsManyBytesThatDoNothing) {
  for (size_t length = 1; length < 1500; ++length) {
    const std::string set = Command({"SET", "k", "v"});
    const std::string hidden = Command({"HPEXPIREAT", "k", "4000000000000", "FIELDS", "1", std::string(length, 'f')});
    const std::string stream = Command({"MULTI"}) + set + hidden + set + Command({"EXEC"});
    ASSERT_TRUE(MayTouchFieldExpiry(stream));
    const std::string plain = WithoutFieldExpiry(stream);
    ASSERT_EQ(plain.size(), stream.size()) << length;
    ASSERT_FALSE(MayTouchFieldExpiry(plain));
    std::vector<std::string> names = Names(plain);
    std::erase(names, "PING");
    ASSERT_EQ(names, (std::vector<std::string>{"MULTI", "SET", "SET", "EXEC"})) << length;
  }
}

TEST(FieldExpiryOfStreams, LeavesOtherBytesAlone) {
  const std::string others = "\n" + Command({"HSET", "HPEXPIREAT", "\r\nHPERSIST"}) + Command({"HDEL", "k", "f"}) + "\n";
  EXPECT_EQ(WithoutFieldExpiry(others), others);
  const std::string whole = Command({"hpersist", "k", "FIELDS", "1", "f"});
  for (size_t cut = 1; cut < whole.size(); ++cut) {
    EXPECT_EQ(WithoutFieldExpiry(whole.substr(0, cut)), whole.substr(0, cut));
  }
  EXPECT_EQ(WithoutFieldExpiry(whole).size(), whole.size());
  EXPECT_EQ(Names(WithoutFieldExpiry(whole)), std::vector<std::string>{"PING"});
}

}  // namespace
}  // namespace tessera
