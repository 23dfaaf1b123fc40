#include "server/info.h"

#include <gtest/gtest.h>

#include <set>

#include "server/metrics.h"
#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

std::string Info(CommandFixture& server, std::vector<std::string> sections = {}) {
  sections.insert(sections.begin(), "INFO");
  return server.Execute(server.session, sections).text;
}

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(Info, ShowsSectionsAsAsked) {
  CommandFixture server;
  const std::string by_default = Info(server);
  EXPECT_EQ(by_default.substr(0, 32), "# Server\r\nredis_version:7.2.4\r\ns");
  EXPECT_TRUE(Contains(by_default, "\r\n\r\n# Clients\r\n"));
  EXPECT_FALSE(Contains(by_default, "# Commandstats"));
  EXPECT_TRUE(Contains(Info(server, {"everything"}), "# Commandstats\r\ncmdstat_info:calls=1,"));
  const std::string two = Info(server, {"CPU", "replication", "nosuch", "cpu"});
  EXPECT_EQ(two.substr(0, 29), "# Replication\r\nrole:master\r\nc");
  EXPECT_TRUE(Contains(two, "\r\n\r\n# CPU\r\nused_cpu_sys:"));
  EXPECT_EQ(Info(server, {"nosuch"}), "");
}

TEST(Info, CountsCommandsErrorsAndKeys) {
  CommandFixture server;
  server("SET a 1 EX 100");
  server("GET none");
  server("INCR");
  server("LPUSHX");
  server("INCR a x");
  EXPECT_TRUE(Contains(Info(server, {"keyspace"}), "db0:keys=1,expires=1,avg_ttl="));
  EXPECT_TRUE(Contains(Info(server, {"stats"}), "keyspace_misses:1\r\n"));
  EXPECT_TRUE(Contains(Info(server, {"errorstats"}), "errorstat_ERR:count=3\r\n"));
  EXPECT_TRUE(
      Contains(Info(server, {"commandstats"}), "cmdstat_incr:calls=0,usec=0,usec_per_call=0.00,rejected_calls=2"));
  EXPECT_TRUE(Contains(Info(server, {"latencystats"}), "latency_percentiles_usec_get:p50="));
  EXPECT_EQ(server("CONFIG RESETSTAT"), "+OK");
  EXPECT_TRUE(Contains(Info(server, {"stats"}), "keyspace_misses:0\r\n"));
  EXPECT_EQ(Info(server, {"errorstats"}), "# Errorstats\r\n");
}

TEST(MetricRows, HaveUniqueNames) {
  std::set<std::string_view> names;
  for (const MetricSection& section : MetricSections()) {
    for (const MetricRow& row : section.rows) EXPECT_TRUE(names.insert(row.name).second) << row.name;
    for (const MetricRow& row : section.rows_after) EXPECT_TRUE(names.insert(row.name).second) << row.name;
  }
}

TEST(HumanBytes, PicksTheUnit) {
  EXPECT_EQ(HumanBytes(0), "0B");
  EXPECT_EQ(HumanBytes(1023), "1023B");
  EXPECT_EQ(HumanBytes(1536), "1.50K");
  EXPECT_EQ(HumanBytes(uint64_t{3} << 30), "3.00G");
}

TEST(SlowLog, AnswersTheNewestFirst) {
  CommandFixture server;
  server("CONFIG SET slowlog-log-slower-than 0");
  server("SET a 1");
  server("PING");
  const protocol::Reply reply = server.Execute(server.session, {"SLOWLOG", "GET", "2"});
  ASSERT_EQ(reply.elements.size(), 2u);
  EXPECT_EQ(reply.elements[0].elements[3].DebugText(), R"(["PING"])");
  EXPECT_EQ(reply.elements[1].elements[3].DebugText(), R"(["SET", "a", "1"])");
  EXPECT_EQ(server("SLOWLOG GET -2"), "-ERR count should be greater than or equal to -1");
  EXPECT_EQ(server("SLOWLOG GET 1 2"),
            "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.");
  server("CONFIG SET slowlog-log-slower-than -1");
  EXPECT_EQ(server("SLOWLOG RESET"), "+OK");
  EXPECT_EQ(server("SLOWLOG LEN"), ":0");
}

TEST(Latency, CountsCallsByDuration) {
  CommandFixture server;
  server("GET a");
  server("GET a");
  EXPECT_EQ(server("LATENCY HISTOGRAM get").substr(0, 31), R"(["get", ["calls", :2, "histogra)");
  EXPECT_EQ(server("LATENCY LATEST"), "[]");
  EXPECT_EQ(server("LATENCY GRAPH command"), "-ERR No samples available for event 'command'");
}

TEST(Acl, KnowsOneUser) {
  CommandFixture server;
  EXPECT_EQ(server("ACL WHOAMI"), "\"default\"");
  EXPECT_EQ(server("ACL LIST"), R"(["user default on nopass ~* &* +@all"])");
  EXPECT_EQ(server("ACL GETUSER nobody"), "(nil)");
  EXPECT_EQ(server("ACL CAT nosuch"), "-ERR Unknown category 'nosuch'");
  EXPECT_EQ(server("ACL DRYRUN default GET"), "-ERR wrong number of arguments for 'get' command");
  EXPECT_EQ(server.Execute(server.session, {"ACL", "GENPASS", "5"}).text.size(), 2u);
}

TEST(Debug, NeedsPermission) {
  CommandFixture server;
  EXPECT_EQ(server("DEBUG SLEEP 0").substr(0, 29), "-ERR DEBUG command not allowe");
  server.options.mutable_config().enable_debug_command = config::Allowed::kLocal;
  server.session.peer = "10.0.0.1:1";
  EXPECT_EQ(server("DEBUG SLEEP 0").substr(0, 29), "-ERR DEBUG command not allowe");
  server.session.peer = "127.0.0.1:1";
  EXPECT_EQ(server("DEBUG SLEEP 0"), "+OK");
  EXPECT_EQ(server("DEBUG POPULATE 3 x 20"), "+OK");
  EXPECT_EQ(server("STRLEN x:2"), ":20");
  EXPECT_EQ(server("DEBUG NOSUCH"),
            "-ERR unknown subcommand or wrong number of arguments for 'NOSUCH'. Try DEBUG HELP.");
}

}  // namespace
}  // namespace tessera
