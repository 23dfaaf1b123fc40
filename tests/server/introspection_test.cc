#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "server/commands/describe.h"
#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

using protocol::Reply;

TEST(CommandInfo, TellsWhatTheRowSays) {
  CommandFixture server;
  EXPECT_EQ(server("COMMAND INFO get nosuch"),
            R"([["get", :2, [+readonly, +fast], :1, :1, :1, [+@read, +@string, +@fast], [], )"
            R"([["flags", [+RO, +access], "begin_search", ["type", "index", "spec", ["index", :1]], )"
            R"("find_keys", ["type", "range", "spec", ["lastkey", :0, "keystep", :1, "limit", :0]]]], []], (nil)])");
  EXPECT_EQ(server("COMMAND INFO client|id").substr(0, 47), R"([["client|id", :2, [+noscript, +loading, +stale)");
}

TEST(CommandList, FindsSubcommandsByPattern) {
  CommandFixture server;
  EXPECT_EQ(server("COMMAND LIST FILTERBY PATTERN config|*e*"),
            R"(["config|get", "config|help", "config|resetstat", "config|rewrite", "config|set"])");
  EXPECT_EQ(server("COMMAND LIST FILTERBY MODULE x"), "[]");
  EXPECT_EQ(server("COMMAND LIST FILTERBY ACLCAT nosuch"), "[]");
  EXPECT_EQ(server("COMMAND LIST FILTERBY WHAT x"), "-ERR syntax error");
  EXPECT_EQ(server("COMMAND COUNT"), ":" + std::to_string(server.commands.rows().size()));
}

TEST(CommandGetkeys, FindsKeysOrSaysWhyNot) {
  CommandFixture server;
  EXPECT_EQ(server("COMMAND GETKEYS MSET a 1 b 2"), R"(["a", "b"])");
  EXPECT_EQ(server("COMMAND GETKEYSANDFLAGS GET a"), R"([["a", [+RO, +access]]])");
  EXPECT_EQ(server("COMMAND GETKEYS PING"), "-ERR The command has no key arguments");
  EXPECT_EQ(server("COMMAND GETKEYS NOSUCH a"), "-ERR Invalid command specified");
  EXPECT_EQ(server("COMMAND GETKEYS GET"), "-ERR Invalid number of arguments specified for command");
}

TEST(CommandDocs, NestsSubcommands) {
  CommandFixture server;
  server("HELLO 3");
  const Reply reply = server.Execute(server.session, {"COMMAND", "DOCS", "config", "nosuch"});
  ASSERT_EQ(reply.type, Reply::Type::kMap);
  ASSERT_EQ(reply.elements.size(), 2u);
  const Reply& docs = reply.elements[1];
  EXPECT_EQ(docs.elements[0].text, "summary");
  EXPECT_EQ(docs.elements[docs.elements.size() - 2].text, "subcommands");
  EXPECT_EQ(docs.elements.back().elements[0].text, "config|get");
}

TEST(Help, EndsWithItself) {
  CommandFixture server;
  const Reply reply = server.Execute(server.session, {"CONFIG", "HELP"});
  ASSERT_EQ(reply.elements.size(), 11u);
  EXPECT_EQ(reply.elements[0].text, "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
  EXPECT_EQ(reply.elements[9].text, "HELP");
}

TEST(Outline, ShowsOptionsTokensAndChoices) {
  constexpr ArgSpec kChoice[] = {{.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
                                 {.name = "xx", .type = ArgType::kPureToken, .token = "XX"}};
  const ArgSpec args[] = {{.name = "key", .type = ArgType::kKey, .flags = kMultiple},
                          {.name = "condition", .type = ArgType::kOneOf, .flags = kOptional, .children = kChoice},
                          {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"}};
  EXPECT_EQ(Outline(args), "<key> [<key> ...] [NX|XX] [COUNT <count>]");
}

// What a row says must not contradict itself; everything else about it is compared with the reference server.
TEST(CommandRows, AreConsistent) {
  CommandTable table;
  std::set<std::string> names;
  std::vector<const CommandRow*> all;
  for (const CommandRow* row : table.rows()) {
    all.push_back(row);
    for (const CommandRow& sub : row->subcommands) all.push_back(&sub);
  }
  for (const CommandRow* row : all) {
    const std::string name = table.FullName(*row);
    EXPECT_TRUE(names.insert(name).second) << name << " is there twice";
    EXPECT_FALSE(row->has(kWrite) && row->has(kReadOnly)) << name;
    EXPECT_TRUE(row->handler != nullptr || !row->subcommands.empty()) << name;
    EXPECT_NE(row->arity, 0) << name;
    EXPECT_FALSE(row->summary.empty() || row->since.empty()) << name;
    EXPECT_TRUE(std::none_of(row->name.begin(), row->name.end(), [](char c) { return c >= 'A' && c <= 'Z'; })) << name;
    for (const KeySpec& key : row->keys) {
      const bool changes = key.flags & (kKeyRW | kKeyOW | kKeyRM);
      EXPECT_TRUE(changes || (key.flags & (kKeyRO | kKeyNotKey))) << name << ": a key neither read nor written";
      EXPECT_FALSE(changes && row->has(kReadOnly) && !row->has(kMayReplicate))
          << name << ": a read-only command changes a key";
    }
  }
}

}  // namespace
}  // namespace tessera
