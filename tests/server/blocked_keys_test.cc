// Waiting for keys, shown with three commands of the test's own, which wait for strings: BTAKE (takes the first that is
// there), BMOVE (moves one to another key) and BSEE (does not take it, and is woken by its loss).
#include "server/blocked_keys.h"

#include <gtest/gtest.h>

#include "server/commands/context.h"
#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

bool Take(CommandContext& ctx, std::string_view key, std::string& value) {
  const store::EntryRef entry = ctx.FindForWrite(key);
  if (!entry) return false;
  store::IntScratch scratch;
  value = entry.AsString(scratch);
  ctx.db().Erase(key);
  return true;
}

void Btake(CommandContext& ctx) {
  int64_t deadline_us;
  if (!ReadTimeout(ctx, ctx.argv.back(), TimeoutUnit::kSeconds, deadline_us)) return;
  const Argv keys = ctx.argv.subspan(1, ctx.argv.size() - 2);
  std::string value;
  for (std::string_view key : keys) {
    if (!Take(ctx, key, value)) continue;
    ctx.Propagate({"GETDEL", key});
    return ctx.reply.Bulk(value);
  }
  ctx.BlockOnKeys({.keys = keys, .type = store::Type::kString, .deadline_us = deadline_us});
}

void Bmove(CommandContext& ctx) {
  std::string value;
  if (!Take(ctx, ctx.argv[1], value)) {
    return ctx.BlockOnKeys(
        {.keys = ctx.argv.subspan(1, 1), .type = store::Type::kString, .denied = KeyWait::Denied::kNull});
  }
  ASSERT_TRUE(ctx.db().SetString(ctx.argv[2], value, store::Expiry::None()));
  ctx.Propagate({"RENAME", ctx.argv[1], ctx.argv[2]});
  ctx.reply.Bulk(value);
}

// Waits until the key holds something else than its second argument; the next tries know better what that is.
void Bsee(CommandContext& ctx) {
  const store::EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!entry) return ctx.reply.Error("NOKEY gone");
  store::IntScratch scratch;
  const std::string value(entry.AsString(scratch));
  if (ctx.argv[2] != "$" && value != ctx.argv[2]) return ctx.reply.Bulk(value);
  const std::string_view argv[] = {ctx.argv[0], ctx.argv[1], value};
  ctx.BlockOnKeys({.keys = ctx.argv.subspan(1, 1), .type = store::Type::kString, .wakes_on_loss = true, .argv = argv});
}

void Touch(CommandContext& ctx) {
  ASSERT_TRUE(ctx.db().SetString(ctx.argv[1], ctx.argv[2], store::Expiry::Keep()));
  ctx.SignalKey(ctx.argv[1]);
  ctx.reply.Ok();
}

constexpr CommandRow kBtakeRow{.name = "btake", .arity = -3, .flags = kWrite | kBlocking, .handler = Btake};
constexpr CommandRow kBmoveRow{.name = "bmove", .arity = 3, .flags = kWrite | kBlocking, .handler = Bmove};
constexpr CommandRow kBseeRow{.name = "bsee", .arity = 3, .flags = kReadOnly | kBlocking, .handler = Bsee};
constexpr CommandRow kTouchRow{.name = "touchvalue", .arity = 3, .flags = kWrite, .handler = Touch};

struct Server : CommandFixture {
  Server() {
    for (const CommandRow* row : {&kBtakeRow, &kBmoveRow, &kBseeRow, &kTouchRow}) commands.Add(*row);
    dispatcher.set_last_us(1'000'000);
  }
};

struct Client : SessionLink {
  explicit Client(Server& server) : server(server), session(server.clients.NextId()) {
    session.link = this;
    server.clients.Add(session);
  }
  ~Client() override {
    server.blocking.Forget(session);
    server.clients.Remove(session);
  }
  void OutputPending() override { output_pending = true; }
  void CloseAfterReply() override { closing = true; }
  void CloseNow(std::string_view) override {}
  void Resume() override { ++resumed; }
  Figures figures() const override { return {}; }

  // The reply, or "waits".
  std::string operator()(std::string_view line) {
    const auto words = protocol::SplitArgs(line);
    const std::vector<std::string_view> argv(words->begin(), words->end());
    server.dispatcher.Execute(session, argv, server.now_ms);
    return state();
  }
  std::string state() {
    if (session.out.empty() && session.is_blocked()) return "waits";
    return server.TakeReply(session).DebugText();
  }

  Server& server;
  Session session;
  bool output_pending = false, closing = false;
  int resumed = 0;
};

using Lines = std::vector<std::string>;

TEST(BlockedKeys, TheFirstToWaitIsTheFirstToBeServed) {
  Server server;
  Client a(server), b(server), c(server);
  EXPECT_EQ(a("BTAKE k 0"), "waits");
  EXPECT_EQ(b("BTAKE k 0"), "waits");
  EXPECT_EQ(c("BTAKE other k 0"), "waits");
  EXPECT_EQ(server.blocking.size(), 3u);
  EXPECT_EQ(server.blocked_keys.key_count(), 2u);
  server.TakePropagated();
  EXPECT_EQ(server("SET k 1"), "+OK");
  EXPECT_EQ(a.state(), "\"1\"");
  EXPECT_TRUE(a.output_pending);
  EXPECT_EQ(a.resumed, 1);
  EXPECT_EQ(b.state(), "waits");
  EXPECT_EQ(server.TakePropagated(), (Lines{"SET k 1", "GETDEL k"}));
  EXPECT_EQ(a.session.written_offset, server.stream.offset());
  EXPECT_EQ(server("SET k 2"), "+OK");
  EXPECT_EQ(b.state(), "\"2\"");
  EXPECT_EQ(server("SET k 3"), "+OK");
  EXPECT_EQ(c.state(), "\"3\"");
  EXPECT_EQ(server.blocked_keys.key_count(), 0u);
  EXPECT_EQ(server("SET k 4"), "+OK");
  EXPECT_EQ(server("GET k"), "\"4\"");
}

TEST(BlockedKeys, WhoFindsSomethingDoesNotWait) {
  Server server;
  Client a(server);
  server("SET k 1");
  EXPECT_EQ(a("BTAKE none k 0"), "\"1\"");
}

TEST(BlockedKeys, ServesChains) {
  Server server;
  Client a(server), b(server), c(server);
  EXPECT_EQ(c("BTAKE z 0"), "waits");
  EXPECT_EQ(a("BMOVE x y"), "waits");
  EXPECT_EQ(b("BMOVE y z"), "waits");
  server("SET x 1");
  EXPECT_EQ(a.state(), "\"1\"");
  EXPECT_EQ(b.state(), "\"1\"");
  EXPECT_EQ(c.state(), "\"1\"");
  EXPECT_EQ(server.TakePropagated(), (Lines{"SET x 1", "RENAME x y", "RENAME y z", "GETDEL z"}));
  EXPECT_EQ(server("DBSIZE"), ":0");
}

TEST(BlockedKeys, ACircleEnds) {
  Server server;
  Client a(server), b(server);
  EXPECT_EQ(a("BMOVE x y"), "waits");
  EXPECT_EQ(b("BMOVE y x"), "waits");
  server("SET x 1");
  EXPECT_EQ(a.state(), "\"1\"");
  EXPECT_EQ(b.state(), "\"1\"");
  EXPECT_EQ(server("GET x"), "\"1\"");
}

TEST(BlockedKeys, ATransactionIsOneUnit) {
  Server server;
  Client a(server), b(server), c(server);
  EXPECT_EQ(a("BTAKE k1 0"), "waits");
  EXPECT_EQ(b("BTAKE k2 0"), "waits");
  EXPECT_EQ(c("BTAKE k3 0"), "waits");
  for (const char* line : {"MULTI", "SET k2 b", "SET k1 a", "SET k3 c", "DEL k3"}) server(line);
  EXPECT_EQ(a.state(), "waits");
  server("EXEC");
  EXPECT_EQ(a.state(), "\"a\"");
  EXPECT_EQ(b.state(), "\"b\"");
  EXPECT_EQ(c.state(), "waits");
  EXPECT_EQ(server.TakePropagated(),
            (Lines{"MULTI", "SET k2 b", "SET k1 a", "SET k3 c", "DEL k3", "EXEC", "GETDEL k2", "GETDEL k1"}));
}

TEST(BlockedKeys, InsideATransactionNobodyWaits) {
  Server server;
  server("MULTI");
  server("BTAKE k 0");
  server("BMOVE k j");
  EXPECT_EQ(server("EXEC"), "[(nil), (nil)]");
  EXPECT_EQ(server.blocking.size(), 0u);
}

TEST(BlockedKeys, ThePrimaryAndTheLogDoNotWait) {
  Server server;
  Session primary(99, SessionKind::kPrimary);
  const std::string_view words[] = {"BTAKE", "k", "0"};
  EXPECT_EQ(server.dispatcher.Replay(primary, words, server.now_ms), "");
  EXPECT_FALSE(primary.is_blocked());
}

TEST(BlockedKeys, AReplayedChangeServesToo) {
  Server server;
  Client a(server);
  EXPECT_EQ(a("BSEE k x"), "-NOKEY gone");
  server("SET k x");
  EXPECT_EQ(a("BSEE k x"), "waits");
  Session primary(99, SessionKind::kPrimary);
  const std::string_view words[] = {"SET", "k", "y"};
  EXPECT_EQ(server.dispatcher.Replay(primary, words, server.now_ms), "");
  EXPECT_EQ(a.state(), "\"y\"");
}

TEST(BlockedKeys, RenamesMovesAndSwapsMakeReady) {
  Server server;
  Client a(server), b(server), c(server), d(server);
  server("SET x 1");
  EXPECT_EQ(a("BTAKE k 0"), "waits");
  server("RENAME x k");
  EXPECT_EQ(a.state(), "\"1\"");
  b.session.db = c.session.db = 1;
  EXPECT_EQ(b("BTAKE k 0"), "waits");
  EXPECT_EQ(c("BTAKE j 0"), "waits");
  EXPECT_EQ(d("BTAKE j 0"), "waits");
  server("SET k 2");
  EXPECT_EQ(b.state(), "waits");
  server("MOVE k 1");
  EXPECT_EQ(b.state(), "\"2\"");
  Client other(server);
  other.session.db = 2;
  other("SET j 3");
  EXPECT_EQ(server("SWAPDB 2 1"), "+OK");
  EXPECT_EQ(c.state(), "\"3\"");
  EXPECT_EQ(d.state(), "waits");
}

TEST(BlockedKeys, TimeoutsAnswerANullArray) {
  Server server;
  Client a(server);
  EXPECT_EQ(a("BTAKE k -1"), "-ERR timeout is negative");
  EXPECT_EQ(a("BTAKE k -inf"), "-ERR timeout is negative");
  EXPECT_EQ(a("BTAKE k x"), "-ERR timeout is not a float or out of range");
  EXPECT_EQ(a("BTAKE k nan"), "-ERR timeout is not a float or out of range");
  EXPECT_EQ(a("BTAKE k inf"), "-ERR timeout is out of range");
  EXPECT_EQ(a("BTAKE k 9223372036854775"), "-ERR timeout is out of range");
  EXPECT_EQ(a("BTAKE k 0.0001"), "waits");  // counts as a millisecond
  const int64_t deadline_us = server.blocking.NextDeadlineUs();
  EXPECT_EQ(deadline_us % 1000, a.session.blocked.deadline_us % 1000);
  EXPECT_GT(deadline_us, 0);
  server.blocking.WakeExpired(deadline_us - 1);
  EXPECT_EQ(a.state(), "waits");
  const uint64_t calls = server.stats.per_command[&kBtakeRow].calls;
  server.blocking.WakeExpired(deadline_us);
  EXPECT_EQ(a.state(), "(nil)");
  EXPECT_EQ(server.stats.per_command[&kBtakeRow].calls, calls + 1);
  EXPECT_EQ(server.blocked_keys.key_count(), 0u);
}

TEST(BlockedKeys, TheDeadlineStaysWhenATryIsInVain) {
  Server server;
  Client a(server);
  EXPECT_EQ(a("BTAKE k j 100"), "waits");
  const int64_t deadline_us = server.blocking.NextDeadlineUs();
  server.dispatcher.set_last_us(5'000'000);
  for (const char* line : {"MULTI", "SET k 1", "DEL k", "EXEC"}) server(line);
  EXPECT_EQ(server.blocking.NextDeadlineUs(), deadline_us);
  server.blocked_keys.Signal(0, "k");
  server.blocked_keys.Serve(server.now_ms);
  EXPECT_EQ(a.state(), "waits");
  EXPECT_EQ(server.blocking.NextDeadlineUs(), deadline_us);
}

TEST(BlockedKeys, LossWakesWhoAskedForIt) {
  Server server;
  Client a(server), b(server);
  server("SET k 1");
  EXPECT_EQ(a("BSEE k $"), "waits");
  EXPECT_EQ(server.blocked_keys.keys_awaiting_loss(), 1u);
  EXPECT_EQ(server("TOUCHVALUE k 1"), "+OK");
  EXPECT_EQ(a.state(), "waits");
  EXPECT_EQ(server("TOUCHVALUE k 2"), "+OK");
  EXPECT_EQ(a.state(), "\"2\"");
  EXPECT_EQ(a("BSEE k $"), "waits");
  server("DEL k");
  EXPECT_EQ(a.state(), "-NOKEY gone");
  server("SET k 1");
  EXPECT_EQ(a("BSEE k $"), "waits");
  server("FLUSHALL");
  EXPECT_EQ(a.state(), "-NOKEY gone");
  server("SET k 1 PX 10");
  EXPECT_EQ(a("BSEE k $"), "waits");
  server.now_ms += 20;
  EXPECT_EQ(server("GET k"), "(nil)");
  EXPECT_EQ(a.state(), "-NOKEY gone");
  EXPECT_EQ(server.blocked_keys.keys_awaiting_loss(), 0u);
}

TEST(BlockedKeys, WhoLeavesLeavesNothing) {
  Server server;
  {
    Client a(server);
    EXPECT_EQ(a("BTAKE k j k 10"), "waits");
    EXPECT_EQ(server.blocked_keys.key_count(), 2u);
  }
  EXPECT_EQ(server.blocked_keys.key_count(), 0u);
  EXPECT_EQ(server.blocking.NextDeadlineUs(), 0);
  EXPECT_EQ(server("SET k 1"), "+OK");
}

TEST(BlockedKeys, ClientUnblockEndsTheWaiting) {
  Server server;
  Client a(server);
  const std::string id = std::to_string(a.session.id);
  EXPECT_EQ(a("BTAKE k 0"), "waits");
  EXPECT_EQ(server("CLIENT UNBLOCK " + id), ":1");
  EXPECT_EQ(a.state(), "(nil)");
  EXPECT_EQ(a("BTAKE k 0"), "waits");
  EXPECT_EQ(server("CLIENT UNBLOCK " + id + " ERROR"), ":1");
  EXPECT_EQ(a.state(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
  EXPECT_EQ(server.stats.errors.find("UNBLOCKED")->second, 1u);
  EXPECT_EQ(server("CLIENT UNBLOCK " + id), ":0");
}

TEST(BlockedKeys, ARoleChangeEndsTheWaitingAndTheConnection) {
  Server server;
  Client a(server);
  EXPECT_EQ(a("BTAKE k 0"), "waits");
  server.blocking.WakeForRoleChange();
  EXPECT_EQ(a.state(), "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)");
  EXPECT_TRUE(a.closing);
}

TEST(BlockedKeys, APauseHoldsServingBack) {
  Server server;
  Client a(server);
  server("PING");
  EXPECT_EQ(a("BTAKE k 0"), "waits");
  for (const char* line : {"MULTI", "SET k 1", "CLIENT PAUSE 100000 WRITE", "EXEC"}) server(line);
  EXPECT_EQ(a.state(), "waits");
  EXPECT_TRUE(server.blocked_keys.any_held());
  server.blocked_keys.Serve(server.now_ms);
  EXPECT_EQ(a.state(), "waits");
  EXPECT_EQ(server("CLIENT UNPAUSE"), "+OK");
  server.clients.ReleasePaused(server.dispatcher.last_us() / 1000);
  server.blocked_keys.Serve(server.now_ms);
  EXPECT_EQ(a.state(), "\"1\"");
  EXPECT_FALSE(server.blocked_keys.any_held());
}

TEST(BlockedKeys, AGateMayRefuseTheTry) {
  Server server;
  Client a(server);
  EXPECT_EQ(a("BTAKE k 0"), "waits");
  server.options.mutable_config().min_replicas_to_write = 1;
  Session primary(99, SessionKind::kPrimary);
  const std::string_view words[] = {"SET", "k", "y"};
  server.dispatcher.Replay(primary, words, server.now_ms);
  EXPECT_EQ(a.state(), "-NOREPLICAS Not enough good replicas to write.");
  EXPECT_FALSE(a.session.is_blocked());
}

TEST(BlockedKeys, ServingBreaksWatches) {
  Server server;
  Client a(server), b(server);
  b("WATCH k");
  EXPECT_EQ(a("BTAKE k 0"), "waits");
  server("SET k 1");
  b("MULTI");
  b("PING");
  EXPECT_EQ(b("EXEC"), "(nil)");
}

TEST(BlockedKeys, CommandsCountOnceWhenTheyAreAnswered) {
  Server server;
  Client a(server);
  const uint64_t before = server.stats.commands_processed;
  EXPECT_EQ(a("BTAKE k 0"), "waits");
  EXPECT_EQ(server.stats.commands_processed, before);
  EXPECT_EQ(server.stats.per_command[&kBtakeRow].calls, 0u);
  server("SET k 1");
  EXPECT_EQ(a.state(), "\"1\"");
  EXPECT_EQ(server.stats.commands_processed, before + 2);
  EXPECT_EQ(server.stats.per_command[&kBtakeRow].calls, 1u);
}

TEST(BlockedKeys, MutedClientsAreServedSilently) {
  Server server;
  Client a(server);
  const auto silent = [&a](std::vector<std::string_view> argv) {
    a.server.dispatcher.Execute(a.session, argv, a.server.now_ms);
    return a.session.out.empty();
  };
  EXPECT_TRUE(silent({"CLIENT", "REPLY", "SKIP"}));
  EXPECT_TRUE(silent({"BTAKE", "k", "0"}));
  EXPECT_TRUE(a.session.is_blocked());
  server("SET k 1");
  EXPECT_FALSE(a.session.is_blocked());
  EXPECT_TRUE(a.session.out.empty());
  EXPECT_EQ(server("EXISTS k"), ":0");
  EXPECT_EQ(a("PING"), "+PONG");
}

TEST(BlockedKeys, AJudgeEndsWaiting) {
  Server server;
  Client a(server), b(server);
  EXPECT_EQ(a("BTAKE here 0"), "waits");
  EXPECT_EQ(b("BTAKE gone 0"), "waits");
  server.blocked_keys.EndWhere([](const Session&, const CommandRow&, std::string_view key) {
    return key == "gone" ? std::string("MOVED 1 :7000") : std::string();
  });
  EXPECT_EQ(a.state(), "waits");
  EXPECT_EQ(b.state(), "-MOVED 1 :7000");
}

TEST(BlockedKeys, ObservesOnlyWhileSomebodyWaits) {
  Server server;
  Client a(server), b(server);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(a("BTAKE k 0"), "waits");
    EXPECT_EQ(b("BTAKE k 0"), "waits");
    server("SET k 1");
    server("SET k 2");
    EXPECT_EQ(a.state(), "\"1\"");
    EXPECT_EQ(b.state(), "\"2\"");
  }
}

}  // namespace
}  // namespace tessera
