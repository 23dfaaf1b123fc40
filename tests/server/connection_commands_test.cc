#include <gtest/gtest.h>

#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

// Sets an option as CONFIG SET would.
void SetOption(CommandFixture& server, std::string_view name, std::string_view value) {
  const std::string_view pair[] = {name, value};
  ASSERT_EQ(server.options.Set(pair, {}), "");
}

TEST(Hello, ChangesTheProtocolAndDescribesTheConnection) {
  CommandFixture server;
  const std::string facts = R"("version": "7.2.4", "proto": :3, "id": :1, "mode": "standalone", "role": "master", )";
  EXPECT_EQ(server("HELLO 3 SETNAME me"), R"({"server": "redis", )" + facts + R"("modules": []})");
  EXPECT_EQ(server("CLIENT GETNAME"), "\"me\"");
  EXPECT_EQ(server("GET none"), "(nil)");
  EXPECT_EQ(server.Execute(server.session, {"HELLO", "2"}).type, protocol::Reply::Type::kArray);
}

TEST(Hello, RefusesWithoutChangingAnything) {
  CommandFixture server;
  EXPECT_EQ(server("HELLO 4"), "-NOPROTO unsupported protocol version");
  EXPECT_EQ(server("HELLO x"), "-ERR Protocol version is not an integer or out of range");
  EXPECT_EQ(server("HELLO 3 AUTH default"), "-ERR Syntax error in HELLO option 'AUTH'");
  EXPECT_EQ(server("HELLO 3 SETNAME 'a b'"),
            "-ERR Client names cannot contain spaces, newlines or special characters.");
  EXPECT_EQ(server("HELLO 3 SETNAME x AUTH nobody x"),
            "-WRONGPASS invalid username-password pair or user is disabled.");
  EXPECT_EQ(server("CLIENT GETNAME"), "(nil)");
  EXPECT_EQ(server.session.reply.version(), 2);
}

TEST(Auth, ChecksThePasswordOfTheDefaultUser) {
  CommandFixture server;
  EXPECT_EQ(server("AUTH x").substr(0, 60), "-ERR AUTH <password> called without any password configured ");
  SetOption(server, "requirepass", "secret");
  server.session.authenticated = false;
  EXPECT_EQ(server("PING"), "-NOAUTH Authentication required.");
  EXPECT_EQ(server("HELLO 3").substr(0, 22), "-NOAUTH HELLO must be ");
  EXPECT_EQ(server("AUTH secre"), "-WRONGPASS invalid username-password pair or user is disabled.");
  EXPECT_EQ(server("AUTH secrett"), "-WRONGPASS invalid username-password pair or user is disabled.");
  EXPECT_EQ(server("AUTH nobody secret"), "-WRONGPASS invalid username-password pair or user is disabled.");
  EXPECT_EQ(server("AUTH ''"), "-WRONGPASS invalid username-password pair or user is disabled.");
  EXPECT_EQ(server.stats.acl_access_denied_auth, 4u);
  EXPECT_EQ(server("AUTH default secret"), "+OK");
  EXPECT_EQ(server("PING"), "+PONG");
  EXPECT_EQ(server("RESET"), "+RESET");
  EXPECT_EQ(server("PING"), "-NOAUTH Authentication required.");
}

TEST(Reset, LeavesTransactionDatabaseNameAndProtocolBehind) {
  CommandFixture server;
  server("HELLO 3");
  server("SELECT 3");
  server("CLIENT SETNAME x");
  server("WATCH k");
  server("MULTI");
  EXPECT_EQ(server("RESET"), "+RESET");
  EXPECT_EQ(server("EXEC"), "-ERR EXEC without MULTI");
  EXPECT_EQ(server("CLIENT GETNAME"), "(nil)");
  EXPECT_EQ(server.session.db, 0);
  EXPECT_EQ(server.session.reply.version(), 2);
  EXPECT_EQ(server.watches.watched_keys(), 0u);
}

TEST(Select, KnowsTheRange) {
  CommandFixture server;
  EXPECT_EQ(server("SELECT 15"), "+OK");
  EXPECT_EQ(server("SELECT 16"), "-ERR DB index is out of range");
  EXPECT_EQ(server("SELECT -1"), "-ERR DB index is out of range");
  EXPECT_EQ(server("SELECT x"), "-ERR value is not an integer or out of range");
  EXPECT_EQ(server("SELECT 99999999999"), "-ERR value is out of range, value must between -2147483648 and 2147483647");
  EXPECT_EQ(server.session.db, 15);
}

TEST(Ping, GivesItsArgumentBack) {
  CommandFixture server;
  EXPECT_EQ(server("PING"), "+PONG");
  EXPECT_EQ(server("PING x"), "\"x\"");
  EXPECT_EQ(server("PING x y"), "-ERR wrong number of arguments for 'ping' command");
  server.session.subscribed.channels = 1;
  EXPECT_EQ(server("PING"), R"(["pong", ""])");
}

}  // namespace
}  // namespace tessera
