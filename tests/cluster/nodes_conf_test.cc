#include <random>

#include "tests/cluster/bench.h"

namespace tessera::cluster {
namespace {

std::string LoadError(const std::string& text) {
  std::string error;
  auto core = Core::Load(Bench::DefaultOptions(), 1, Bench::kStart, text, &error);
  return core ? "" : error;
}
const std::string kA = IdText('a'), kB = IdText('b');
const std::string kVars = "vars currentEpoch 3 lastVoteEpoch 2\n";

TEST(NodesConf, WritesRedisFormat) {
  Bench b({{'a', "master", '-', 7, "0-100"}, {'d', "slave,fail", 'a', 7}}, Bench::DefaultOptions(), 9, 8);
  Effects effects;
  ASSERT_EQ(b.core->AddSlots(b.now, Slots(200, 200), effects), "");
  std::string expected = fmt::format(
      "{0} 10.0.0.97:7000@17000,,tls-port=0,shard-id={0} myself,master - 0 0 7 connected 0-100 200\n"
      "{1} 10.0.0.100:7000@17000,,tls-port=0,shard-id={0} slave,fail {0} 0 {2} 7 disconnected\n"
      "vars currentEpoch 9 lastVoteEpoch 8\n",
      kA, IdText('d'), b.now);
  EXPECT_EQ(b.core->StateText(), expected);
}

TEST(NodesConf, WritesHostnamesHumanNamesAndOpenSlots) {
  Options options = Bench::DefaultOptions();
  options.announced.hostname = "host-a.example";
  options.human_nodename = "blue";
  Bench b({{'a', "master", '-', 7, "0-1"}, {'b', "master", '-', 8, "2-3"}}, options);
  Effects effects;
  ASSERT_EQ(b.core->SetSlotMigrating(b.now, 1, kB, effects), "");
  ASSERT_EQ(b.core->SetSlotImporting(b.now, 2, kB, effects), "");
  std::string text = b.core->StateText();
  EXPECT_EQ(text.substr(0, text.find('\n')),
            kA + " 10.0.0.97:7000@17000,host-a.example,tls-port=0,nodename=blue,shard-id=" + kA +
                " myself,master - 0 0 7 connected 0-1 [1->-" + kB + "] [2-<-" + kB + "]");
  std::string nodes = b.core->NodesText(b.now, {});
  EXPECT_NE(nodes.find(kA + " 10.0.0.97:7000@17000,host-a.example myself,master - 0 0 7 connected 0-1 [1->-"),
            std::string::npos)
      << nodes;
  EXPECT_NE(nodes.find(kB + " 10.0.0.98:7000@17000 master - "), std::string::npos) << nodes;
}

TEST(NodesConf, ClientsAreToldOtherAddressesThanPeers) {
  Options options = Bench::DefaultOptions();
  options.announced.client = {.ipv4 = "203.0.113.7", .ipv6 = "2001:db8::7", .port = 30001, .tls_port = 30002};
  Bench b({{'a', "master", '-', 7, "0-1"}, {'b', "master", '-', 8, "2-3"}}, options);
  const std::string text = b.core->StateText();
  EXPECT_EQ(text.substr(0, text.find('\n')),
            kA + " 10.0.0.97:7000@17000,,tls-port=0,client-ipv4=203.0.113.7,client-ipv6=2001:db8::7,client-tcp-port=30001,"
                 "client-tls-port=30002,shard-id=" + kA + " myself,master - 0 0 7 connected 0-1");
  const NodeView& me = b.core->me();
  EXPECT_EQ(b.core->NodeLine(me, {}).substr(41, 25), "203.0.113.7:30001@17000 m");
  EXPECT_EQ(b.core->NodeLine(me, {.ipv6 = true}).substr(41, 25), "2001:db8::7:30001@17000 m");
  EXPECT_EQ(b.core->NodeLine(me, {.tls = true}).substr(41, 25), "203.0.113.7:30002@17000 m");
  EXPECT_EQ(b.core->NodeLine(*b.core->Find(kB), {}).substr(41, 20), "10.0.0.98:7000@17000");
  std::string error;
  auto again = Core::Load(options, 9, b.now, text, &error);
  ASSERT_TRUE(again) << error;
  EXPECT_EQ(again->StateText(), text);
}

TEST(NodesConf, ReadsWhatItWrote) {
  Bench b(SixNodes('d'));
  b.Settle();
  b.DeclareFailed('a', 'b');
  std::string text = b.core->StateText();
  std::string error;
  auto again = Core::Load(Bench::DefaultOptions(), 9, b.now, text, &error);
  ASSERT_TRUE(again) << error;
  EXPECT_EQ(again->self(), Id('d'));
  EXPECT_EQ(again->me().primary, Id('a'));
  EXPECT_TRUE(again->Find(kA)->is(kFail));
  EXPECT_EQ(again->OwnerOf(100)->id, Id('a'));
  EXPECT_EQ(again->current_epoch(), b.core->current_epoch());
}

TEST(NodesConf, ReadsTheFormsOf62And70) {
  EXPECT_EQ(LoadError(kA + " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-16383\n" + kVars), "");
  EXPECT_EQ(LoadError(kA + " :7000@17000,host myself,master - 0 0 1 connected\n" + kVars), "");
  EXPECT_EQ(LoadError(kA + " ::1:7000@17000 myself,master - 0 0 1 connected\n\n" + kVars), "");
  EXPECT_EQ(LoadError(kA + " 1.2.3.4:7000 myself,master - 0 0 1 connected\n" + kVars), "");
}

TEST(NodesConf, ReadsARestartedTlsNode) {
  Options options = Bench::DefaultOptions();
  options.tls_cluster = true;
  options.announced.tls_port = 7001;
  std::string error;
  auto core =
      Core::Load(options, 1, Bench::kStart,
                 kA + " 1.2.3.4:7001@17001,,tcp-port=7000,shard-id=" + kA + " myself,master - 0 0 1 connected\n" + kB +
                     " 1.2.3.5:8001@18001,,tcp-port=8000,shard-id=" + kB + " master - 0 0 2 connected\n" + kVars,
                 &error);
  ASSERT_TRUE(core) << error;
  EXPECT_EQ(core->Find(kB)->endpoint.tls_port, 8001);
  EXPECT_EQ(core->Find(kB)->endpoint.port, 8000);
  EXPECT_NE(core->StateText().find("1.2.3.4:7001@17000,,tcp-port=7000,shard-id="), std::string::npos);
}

TEST(NodesConf, GivesReplicasTheirPrimarysShard) {
  std::string error;
  auto core = Core::Load(Bench::DefaultOptions(), 1, Bench::kStart,
                         kA + " 1.2.3.4:1@2 myself,slave " + kB + " 0 0 1 connected\n" + kB +
                             " 1.2.3.5:1@2 master - 0 0 1 connected\n" + kVars,
                         &error);
  ASSERT_TRUE(core) << error;
  EXPECT_EQ(core->me().shard_id, core->Find(kB)->shard_id);
}

TEST(NodesConf, RaisesTheCurrentEpochToTheGreatestConfigEpoch) {
  std::string error;
  auto core = Core::Load(Bench::DefaultOptions(), 1, Bench::kStart,
                         kA + " 1.2.3.4:1@2 myself,master - 0 0 99 connected\n" + kVars, &error);
  ASSERT_TRUE(core) << error;
  EXPECT_EQ(core->current_epoch(), 99u);
}

TEST(NodesConf, RefusesWithLineAndReason) {
  const std::string ok = kA + " 1.2.3.4:1@2 myself,master - 0 0 1 connected 0-5\n";
  const std::pair<std::string, std::string> cases[] = {
      {"", "line 1: no node is flagged myself"},
      {kVars, "line 2: no node is flagged myself"},
      {ok, "line 2: the vars line is missing: the file is not complete"},
      {ok + "vars currentEpoch\n", "line 2: vars need pairs of name and value"},
      {ok + "vars currentEpoch x\n", "line 2: currentEpoch is not a number"},
      {"abc\n", "line 1: a node needs at least eight fields"},
      {"abc 1.2.3.4:1@2 myself,master - 0 0 1 connected\n", "line 1: the node id is not 40 hexadecimal digits"},
      {ok + ok, "line 2: this node stands on an earlier line, too"},
      {kA + " 1.2.3.4 myself,master - 0 0 1 connected\n", "line 1: the address has no port"},
      {kA + " 1.2.3.4:99999@2 master - 0 0 1 connected\n", "line 1: the port is not a number from 0 to 65535"},
      {kA + " 1.2.3.4:1@x master - 0 0 1 connected\n", "line 1: the bus port is not a number from 0 to 65535"},
      {kA + " 1.2.3.4:1@2,h,shard-id=1 master - 0 0 1 connected\n",
       "line 1: the shard-id is not 40 hexadecimal digits"},
      {kA + " 1.2.3.4:1@2,h,colour=red master - 0 0 1 connected\n", "line 1: unknown field 'colour'"},
      {kA + " 1.2.3.4:1@2 myself,captain - 0 0 1 connected\n", "line 1: unknown flag 'captain'"},
      {ok + kB + " 1.2.3.4:1@2 myself,master - 0 0 1 connected\n", "line 2: a second node is flagged myself"},
      {kA + " 1.2.3.4:1@2 myself,slave " + kB + " 0 0 1 connected\n" + kVars,
       "line 1: the primary is not in this file"},
      {kA + " 1.2.3.4:1@2 myself,master - 0 0 -1 connected\n", "line 1: the config epoch is not a number"},
      {kA + " 1.2.3.4:1@2 myself,master - 0 0 1 connected 5-4\n", "line 1: '5-4' is not a range of slots"},
      {kA + " 1.2.3.4:1@2 myself,master - 0 0 1 connected 16384\n", "line 1: '16384' is not a range of slots"},
      {ok + kB + " 1.2.3.4:1@2 master - 0 0 1 connected 5\n", "line 2: slot 5 is assigned twice"},
      {kA + " 1.2.3.4:1@2 myself,master - 0 0 1 connected [5->-x]\n", "line 1: '[5->-x]' is not an open slot"},
      {kA + " 1.2.3.4:1@2 myself,master - 0 0 1 connected [5->-" + kB + "]\n" + kVars,
       "line 1: the other node of open slot 5 is not in this file"},
  };
  for (const auto& [text, error] : cases) EXPECT_EQ(LoadError(text), error) << text;
}

TEST(NodesConf, SurvivesDamageAnywhere) {
  Bench b(SixNodes('a'));
  Effects effects;
  b.core->SetSlotMigrating(b.now, 1, kB, effects);
  const std::string good = b.core->StateText();
  std::mt19937_64 rng(7);
  int refused = 0;
  for (int i = 0; i < 600; ++i) {
    std::string text = good;
    for (int n = static_cast<int>(rng() % 3) + 1; n > 0; --n) {
      size_t at = rng() % text.size();
      switch (rng() % 3) {
        case 0:
          text[at] = static_cast<char>(rng());
          break;
        case 1:
          text.erase(at, rng() % 50 + 1);
          break;
        default:
          text.insert(at, 1, " ,-@:[]\n0"[rng() % 9]);
      }
    }
    std::string error;
    auto core = Core::Load(Bench::DefaultOptions(), 1, Bench::kStart, text, &error);
    if (!core) {
      ++refused;
      EXPECT_EQ(error.rfind("line ", 0), 0u) << error;
    }
  }
  EXPECT_GT(refused, 200);
}

TEST(ClusterInfo, HasRedisFields) {
  Bench b(SixNodes('a'));
  b.Settle();
  Effects effects;
  std::string text = b.core->InfoText(b.now);
  EXPECT_EQ(text.substr(0, text.find("cluster_stats")),
            "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\ncluster_slots_pfail:0\r\n"
            "cluster_slots_fail:0\r\ncluster_known_nodes:6\r\ncluster_size:3\r\ncluster_current_epoch:10\r\n"
            "cluster_my_epoch:1\r\n");
  EXPECT_NE(text.find("cluster_stats_messages_ping_sent:"), std::string::npos);
  EXPECT_NE(text.find("cluster_stats_messages_pong_received:"), std::string::npos);
  EXPECT_EQ(text.find("cluster_stats_messages_fail_sent:"), std::string::npos) << "zeros are left out";
  EXPECT_NE(text.find("\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n"), std::string::npos);
  b.core->Handle(b.now, LinkClosed{b.View('b').outbound, true});
  EXPECT_NE(b.core->InfoText(b.now).find("total_cluster_links_buffer_limit_exceeded:1"), std::string::npos);
}

}  // namespace
}  // namespace tessera::cluster
