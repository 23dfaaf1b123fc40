#include "tests/cluster/net.h"

namespace tessera::cluster {
namespace {

TEST(Secret, CodesAreThoseOfTheReference) {
  Secret secret;
  for (uint8_t i = 0; i < 16; ++i) secret.key[i] = i;
  auto hex = [&](std::string_view message) {
    std::string text;
    for (unsigned char c : AuthenticationCode(secret, message)) text += fmt::format("{:02x}", c);
    return text;
  };
  EXPECT_EQ(hex(""), "a3817f04ba25a8e66df67214c7550293");
  EXPECT_EQ(hex(std::string_view("\0", 1)), "da87c1d86b99af44347659119b22fc45");
}

TEST(Secret, IsReadBackFromItsFileAndNothingElseIs) {
  Core core(Bench::DefaultOptions(), 1, Bench::kStart), other(Bench::DefaultOptions(), 2, Bench::kStart);
  const std::string text = core.SecretText();
  ASSERT_NE(text, other.SecretText());
  for (size_t n = 0; n < text.size(); ++n) EXPECT_FALSE(other.LoadSecret(text.substr(0, n))) << n;
  EXPECT_TRUE(other.LoadSecret(text + "holder " + IdText('a') + "\n"));
  EXPECT_EQ(other.SecretText(), text + "holder " + IdText('a') + "\n");
}

// ---- a cluster of Tessera nodes ----

std::string SecretLine(const std::string& text) {
  const size_t at = text.find("\nsecret ") + 1;
  return text.substr(at, text.find('\n', at) - at);
}

struct Cluster : Net {
  explicit Cluster(size_t count = 3, bool seeds = false, bool names = false) : Net(count) {
    for (size_t i = 0; i < count; ++i) {
      Options options = Bench::DefaultOptions();
      options.has_seeds = seeds;
      if (names) options.announced.hostname = fmt::format("node-{}", i);
      SetOptions(i, options);
    }
    for (size_t i = 1; i < count; ++i) Meet(0, i);
    Run(5000);
  }
  bool AllConnected(Millis limit) {
    for (Millis end = now + limit; now < end;) {
      Run(100);
      bool all = true;
      for (size_t i = 0; i < hosts.size(); ++i)
        for (size_t j = 0; j < hosts.size(); ++j)
          all &= i == j || (View(i, j).outbound_connected && View(i, j).endpoint.ip == hosts[j].ip);
      if (all) return true;
    }
    return false;
  }
  void MoveAll() {
    std::vector<Disk> disks;
    for (size_t i = 0; i < hosts.size(); ++i) disks.push_back(DiskOf(i));
    for (size_t i = 0; i < hosts.size(); ++i) Stop(i);
    now += 1000;
    for (size_t i = 0; i < hosts.size(); ++i) Start(i, disks[i], fmt::format("10.7.0.{}", i + 1));
  }
  // A stranger at `ip`, who says to be `id`.
  Effects Say(size_t to, const Message& m, const std::string& ip) {
    const LinkId link = kInboundLinkBit | (1ull << 40);
    core(to).Handle(now, LinkClosed{link});
    core(to).Handle(now, LinkAccepted{link});
    return core(to).Handle(now, MessageReceived{link, Encode(m), ip, hosts[to].ip});
  }
  Message As(size_t who, MessageType type = MessageType::kPing) {
    Message m;
    m.header.type = type;
    m.header.sender = core(who).self();
    m.header.current_epoch = m.header.config_epoch = 900;
    m.header.port = 7000;
    m.header.bus_port = 17000;
    m.header.flags = kPrimary;
    m.header.extensions = true;
    if (type == MessageType::kPing || type == MessageType::kMeet || type == MessageType::kPong)
      m.body = GossipBody{};
    else
      m.body = EmptyBody{};
    return m;
  }
};

TEST(Address, NodesThatMetShareTheOldestSecretAndSaveWhoHasIt) {
  Cluster c(5);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(SecretLine(c.core(i).SecretText()), SecretLine(c.core(0).SecretText()));
    for (size_t j = 0; j < 5; ++j)
      if (i != j) {
        EXPECT_NE(c.core(i).SecretText().find("holder " + c.core(j).self().str()), std::string::npos) << i << j;
      }
  }
}

TEST(Address, NodesThatMetAreHeardSoonOnEveryLink) {
  Cluster c(1);
  for (size_t i = 1; i < 7; ++i) {
    c.hosts.push_back({std::make_unique<Core>(c.hosts[0].options, 100 - i, c.now), fmt::format("10.0.0.{}", i + 1),
                       c.hosts[0].options});
    c.Meet(0, i);
  }
  c.Run(3000);
  uint64_t messages = 0;
  for (size_t i = 0; i < 7; ++i) messages += c.core(i).Figures().messages_sent;
  EXPECT_LT(messages, 7u * 6 * 30) << "nor do questions chase each other";
  ASSERT_EQ(c.links.size(), 7u * 6);
  for (const Net::Link& link : c.links) {
    const size_t other = link.from != 0 && link.to != 0 ? 0 : link.from != 1 && link.to != 1 ? 1 : 2;
    Message m = c.As(link.from, MessageType::kFail);
    m.header.current_epoch = m.header.config_epoch = 0;
    m.body = FailBody{c.core(other).self()};
    const auto& host = c.hosts[link.to];
    host.core->Handle(c.now, MessageReceived{link.at_to, Encode(m), c.hosts[link.from].ip, host.ip});
    EXPECT_TRUE(c.View(link.to, other).is(kFail)) << link.from << " to " << link.to;
    c.Run(2500);  // cleared again
  }
}

TEST(Address, AllMoveAtOnceAndOneSeedBringsThemTogether) {
  Cluster c(6, true);
  c.MoveAll();
  EXPECT_TRUE(c.AllConnected(5000));
}

TEST(Address, AllMoveAtOnceAndTheirNamesLeadToThem) {
  Cluster c(6, false, true);
  c.MoveAll();
  EXPECT_TRUE(c.AllConnected(5000));
}

TEST(Address, OneThatMovesFindsTheOthers) {
  Cluster c(3);
  auto disk = c.DiskOf(1);
  c.Stop(1);
  c.Start(1, disk, "10.9.9.9");
  EXPECT_TRUE(c.AllConnected(5000));
}

TEST(Address, TwoThatExchangeTheirAddressesAreFound) {
  Cluster c(4);
  auto one = c.DiskOf(1), two = c.DiskOf(2);
  c.Stop(1);
  c.Stop(2);
  const std::string ip = c.hosts[1].ip;
  c.Start(1, one, c.hosts[2].ip);
  c.Start(2, two, ip);
  EXPECT_TRUE(c.AllConnected(8000));
}

TEST(Address, AStrangerWhoKnowsAnIdDoesNotGetIt) {
  for (MessageType type : {MessageType::kPing, MessageType::kMeet}) {
    for (uint16_t abilities : {uint16_t{0}, kOwnAbilities}) {
      Cluster c(3);
      auto disk = c.DiskOf(1);
      const std::string home = c.hosts[1].ip;
      const Message m = [&] {
        Message message = c.As(1, type);
        message.header.abilities = abilities;
        return message;
      }();
      c.Stop(1);  // its place is empty, even
      for (int i = 0; i < 20; ++i) {
        c.CarryOut(0, c.Say(0, m, "10.66.6.6"));
        c.Run(200);
      }
      EXPECT_EQ(c.core(0).Find(m.header.sender.view())->endpoint.ip, home);
      EXPECT_LT(c.core(0).current_epoch(), 900u) << "nothing of what it says is learned";
      c.Start(1, disk, "10.9.9.9");
      EXPECT_TRUE(c.AllConnected(5000)) << "the true one is";
    }
  }
}

TEST(Address, AStrangerIsNotHeardUnderAnIdThatProvedItself) {
  Cluster c(3);
  Message m = c.As(1, MessageType::kFail);
  m.body = FailBody{c.core(2).self()};
  for (const char* ip : {"10.66.6.6", "10.0.0.2"}) c.Say(0, m, ip);
  EXPECT_FALSE(c.View(0, 2).is(kFail));
  m.header.ip = c.hosts[1].ip;  // easily said
  c.Say(0, m, "10.66.6.6");
  EXPECT_FALSE(c.View(0, 2).is(kFail));
}

// Who answers a challenge by passing it on to the node itself proves the node's address, not his own.
TEST(Address, AProofCannotBePassedOff) {
  Cluster c(3);
  auto ping = [&](size_t who) {
    Message m = c.As(who);
    m.header.abilities = kOwnAbilities;
    m.header.current_epoch = m.header.config_epoch = 0;
    return m;
  };
  auto answer = [](const Effects& effects) -> Extensions {
    for (const Send& send : All<Send>(effects)) {
      auto decoded = Decode(send.bytes);
      return std::get<GossipBody>(std::get<Message>(decoded).body).extensions;
    }
    return {};
  };
  const LinkId link = kInboundLinkBit | (1ull << 41);
  c.core(0).Handle(c.now, LinkAccepted{link});
  Message m = ping(1);
  const Extensions asked =
      answer(c.core(0).Handle(c.now, MessageReceived{link, Encode(m), "10.66.6.6", c.hosts[0].ip}));
  ASSERT_TRUE(asked.challenge);
  // To node 1, in the name of node 0.
  Message relay = ping(0);
  std::get<GossipBody>(relay.body).extensions.challenge = asked.challenge;
  const Extensions got = answer(c.Say(1, relay, "10.66.6.6"));
  ASSERT_TRUE(got.proof);
  c.Stop(1);
  std::get<GossipBody>(m.body).extensions.proof = got.proof;
  c.CarryOut(0, c.core(0).Handle(c.now, MessageReceived{link, Encode(m), "10.66.6.6", c.hosts[0].ip}));
  c.Run(3000);
  EXPECT_NE(c.core(0).Find(m.header.sender.view())->endpoint.ip, "10.66.6.6");
}

TEST(Address, OfANodeAndACopyOfItsDiskTheLivingOneStays) {
  Cluster c(3);
  c.hosts.push_back({nullptr, "", c.hosts[1].options});
  c.Start(3, c.DiskOf(1), "10.55.5.5");
  c.Run(10000);
  EXPECT_EQ(c.View(0, 1).endpoint.ip, "10.0.0.2");
  EXPECT_EQ(c.View(2, 1).endpoint.ip, "10.0.0.2");
  c.Stop(1);
  c.Run(10000);
  EXPECT_EQ(c.core(0).Find(c.core(3).self().view())->endpoint.ip, "10.55.5.5") << "when that is gone, the copy is it";
}

TEST(Address, ANodeThatLostItsSecretIsBelievedWhereItWasAndElsewhereAfterAMeet) {
  Cluster c(3);
  auto disk = c.DiskOf(1);
  disk.secret.clear();
  c.Stop(1);
  c.Start(1, disk, "10.0.0.2");
  EXPECT_TRUE(c.AllConnected(5000));
  c.Stop(1);
  c.Start(1, disk, "10.9.9.9");
  c.Run(5000);
  EXPECT_EQ(c.View(0, 1).endpoint.ip, "10.0.0.2");
  c.Meet(0, 1);
  c.Meet(2, 1);
  EXPECT_TRUE(c.AllConnected(5000));
}

TEST(Address, ANodeThatAnnouncesAnotherAddressWhileItRunsIsFollowed) {
  Cluster c(3);
  Options options = c.hosts[1].options;
  options.announced.ip = c.hosts[1].ip = "203.0.113.5";
  c.SetOptions(1, options);
  EXPECT_TRUE(c.AllConnected(5000));
}

TEST(Address, ResetLeavesTheSecretBehind) {
  Cluster c(2);
  const std::string before = SecretLine(c.core(1).SecretText());
  Effects effects;
  ASSERT_EQ(c.core(1).Reset(c.now, ResetMode::kSoft, true, effects), "");
  EXPECT_NE(SecretLine(c.core(1).SecretText()), before);
  EXPECT_TRUE(Has<SaveSecret>(effects));
}

// ---- among nodes of another make, played by the test ----

// The link by which `ip` is looked at; 0 = none.
LinkId ProbeTo(const Effects& effects, std::string_view ip) {
  for (const OpenLink& open : All<OpenLink>(effects))
    if (open.ip == ip) return open.link;
  return 0;
}

struct Foreign : Bench {
  Foreign() : Bench(SixNodes('d')) { Settle(); }
  void Lose(char name) {
    dead.insert(name);
    CarryOut(core->Handle(now, LinkClosed{View(name).outbound}));
  }
  Effects AnswerOn(LinkId link, const Message& m, std::string ip) {
    core->Handle(now, LinkOpened{link});
    return core->Handle(now, MessageReceived{link, Encode(m), ip, "10.0.0.1"});
  }
};

TEST(ForeignAddress, IsBelievedWhenTheNodeAnswersThereAndNotAtItsOldPlace) {
  Foreign b;
  b.Lose('a');
  const LinkId link = ProbeTo(b.Deliver(b.From('a'), "10.7.7.7"), "10.7.7.7");
  ASSERT_NE(link, 0u);
  EXPECT_EQ(b.View('a').endpoint.ip, Bench::Ip('a')) << "a call alone says nothing";
  Effects effects = b.AnswerOn(link, b.From('a', MessageType::kPong), "10.7.7.7");
  EXPECT_EQ(b.View('a').endpoint.ip, "10.7.7.7");
  EXPECT_EQ(b.View('a').outbound, link);
  auto follow = All<FollowPrimary>(effects);
  ASSERT_EQ(follow.size(), 1u) << "replication is pointed at the new address";
  EXPECT_EQ(follow[0].endpoint.ip, "10.7.7.7");
}

TEST(ForeignAddress, IsNotBelievedWhileTheNodeAnswersAtItsOldPlace) {
  Foreign b;
  const LinkId link = ProbeTo(b.Deliver(b.From('a'), "10.7.7.7"), "10.7.7.7");
  ASSERT_NE(link, 0u);
  EXPECT_TRUE(Has<CloseLink>(b.AnswerOn(link, b.From('a', MessageType::kPong), "10.7.7.7")));
  EXPECT_EQ(b.View('a').endpoint.ip, Bench::Ip('a'));
}

TEST(ForeignAddress, IsNotBelievedOfSomebodyWhoKnowsLess) {
  Foreign b;
  b.Lose('a');
  const LinkId link = ProbeTo(b.Deliver(b.From('a'), "10.7.7.7"), "10.7.7.7");
  Message m = b.From('a', MessageType::kPong);
  m.header.config_epoch = 0;
  EXPECT_TRUE(Noted(b.AnswerOn(link, m, "10.7.7.7"), "knows less"));
  EXPECT_EQ(b.View('a').endpoint.ip, Bench::Ip('a'));
}

TEST(ForeignAddress, OfSomebodyElseIsNotTaken) {
  Foreign b;
  b.Lose('a');
  const LinkId link = ProbeTo(b.Deliver(b.From('a'), "10.7.7.7"), "10.7.7.7");
  b.AnswerOn(link, b.From('9', MessageType::kPong), "10.7.7.7");
  EXPECT_EQ(b.View('a').endpoint.ip, Bench::Ip('a'));
  EXPECT_FALSE(b.Knows('9')) << "a probe makes no members";
}

TEST(ForeignAddress, ToldByAnotherNodeIsLookedAt) {
  Foreign b;
  Message m = b.From('c');
  auto g = b.About('b', kPrimary);
  g.ip = "10.8.8.8";
  std::get<GossipBody>(m.body).entries = {g};
  EXPECT_EQ(ProbeTo(b.Deliver(m), "10.8.8.8"), 0u) << "reachable here: gossip does not move it";
  b.Lose('b');
  EXPECT_NE(ProbeTo(b.Deliver(m), "10.8.8.8"), 0u);
}

TEST(ForeignAddress, NeverSeesWhatIsBetweenTesseraNodes) {
  Foreign b;
  for (auto& sent : b.SentOf(b.Deliver(b.From('b')), MessageType::kPong)) {
    const Extensions& x = std::get<GossipBody>(sent.message.body).extensions;
    EXPECT_FALSE(x.challenge || x.proof || x.secret);
  }
}

TEST(Seeds, AreAskedOnlyWhileNodesAreMissing) {
  Options options = Bench::DefaultOptions();
  options.has_seeds = true;
  Bench b(SixNodes('a'), options);
  b.Settle();
  EXPECT_FALSE(Has<AskSeeds>(b.Run(3000)));
  b.dead.insert('c');
  b.core->Handle(b.now, LinkClosed{b.View('c').outbound});
  EXPECT_TRUE(Has<AskSeeds>(b.Run(1000)));
}

}  // namespace
}  // namespace tessera::cluster
