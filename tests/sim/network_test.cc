// The simulated network keeps its own promises: otherwise what the lives show means nothing.
#include "tests/sim/network.h"

#include <gtest/gtest.h>

#include "cluster/message.h"

namespace tessera::sim {
namespace {

using cluster::kInboundLinkBit;

std::string MessageNumber(uint64_t epoch) {
  cluster::Message m;
  m.header.sender = cluster::NodeId(std::string(40, 'a'));
  m.header.current_epoch = epoch;
  m.body = cluster::GossipBody{};
  return cluster::Encode(m);
}

// Two hosts, whose processes write down what they hear.
class TwoHosts : public ::testing::Test, protected Hosts {
 protected:
  TwoHosts() : random_(1), network_(scheduler_, random_, *this, 2) {}

  bool Powered(int n) const override { return powered_[n]; }
  bool Alive(int n) const override { return alive_[n]; }
  bool Paused(int n) const override { return paused_[n]; }
  uint32_t Life(int n) const override { return life_[n]; }
  int NodeAt(const std::string& ip, uint16_t) const override { return ip == ip_[0] ? 0 : ip == ip_[1] ? 1 : -1; }
  const std::string& Address(int n) const override { return ip_[n]; }
  LinkId NewInboundLink(int) override { return kInboundLinkBit | ++inbound_; }
  void OnAccepted(int n, LinkId) override { heard_[n].push_back("accepted"); }
  void OnOpened(int n, LinkId) override { heard_[n].push_back("opened"); }
  void OnClosed(int n, LinkId) override { heard_[n].push_back("closed"); }
  void OnMessage(int n, LinkId, std::string_view bytes, const std::string&, const std::string&) override {
    auto message = std::get<cluster::Message>(cluster::Decode(bytes));
    heard_[n].push_back(std::to_string(message.header.current_epoch));
  }
  void OnBrokenStream(int n, LinkId) override { heard_[n].push_back("broken"); }

  void Run(Millis duration) {
    Millis end = scheduler_.now() + duration;
    while (scheduler_.HasTaskBefore(end)) scheduler_.RunOne();
    scheduler_.AdvanceTo(end);
  }
  void Connect() {
    network_.Dial(0, 5, "b", 1);
    Run(1000);
    heard_[0].clear();
    heard_[1].clear();
  }
  void Die(int n, bool power) {
    network_.ProcessDied(n, power);
    alive_[n] = false;
    powered_[n] = !power;
    ++life_[n];
  }
  void Start(int n) {
    alive_[n] = powered_[n] = true;
    ++life_[n];
    network_.Pump(n);
  }

  using Heard = std::vector<std::string>;
  bool powered_[2] = {true, true}, alive_[2] = {true, true}, paused_[2] = {false, false};
  uint32_t life_[2] = {1, 1};
  std::string ip_[2] = {"a", "b"};
  uint64_t inbound_ = 0;
  Heard heard_[2];
  Scheduler scheduler_;
  Random random_;
  Network network_;
};

TEST_F(TwoHosts, MessagesArriveWholeAndInOrder) {
  network_.Dial(0, 5, "b", 1);
  Run(1000);
  EXPECT_EQ(heard_[0], Heard{"opened"});
  EXPECT_EQ(heard_[1], Heard{"accepted"});
  Heard expected;
  heard_[1].clear();
  for (uint64_t i = 0; i < 300; ++i) {  // enough that some are sent in two pieces
    network_.Send(0, 5, MessageNumber(i));
    expected.push_back(std::to_string(i));
  }
  Run(1000);
  EXPECT_EQ(heard_[1], expected);
}

TEST_F(TwoHosts, ABlockedPathHoldsBytesAndTheOtherDirectionGoesOn) {
  Connect();
  network_.Block(0, 1);
  network_.Send(0, 5, MessageNumber(1));
  network_.Send(1, kInboundLinkBit | 1, MessageNumber(2));
  Run(60000);
  EXPECT_EQ(heard_[1], Heard{});
  EXPECT_EQ(heard_[0], Heard{"2"});
  network_.Unblock(0, 1);
  EXPECT_EQ(heard_[1], Heard{"1"});
}

TEST_F(TwoHosts, DiallingADeadProcessIsRefusedAndADeadHostSaysNothing) {
  Die(1, false);
  network_.Dial(0, 5, "b", 1);
  Run(1000);
  EXPECT_EQ(heard_[0], Heard{"closed"});
  heard_[0].clear();
  powered_[1] = false;
  network_.Dial(0, 6, "b", 1);
  network_.Dial(0, 7, "nobody", 1);
  Run(60000);
  EXPECT_EQ(heard_[0], Heard{});
}

TEST_F(TwoHosts, AKilledProcessClosesItsConnections) {
  Connect();
  Die(1, false);
  Run(1000);
  EXPECT_EQ(heard_[0], Heard{"closed"});
  EXPECT_FALSE(network_.IsOpen(0, 5));
}

TEST_F(TwoHosts, APowerLossIsNoticedOnlyWhenTheHostIsBack) {
  Connect();
  Die(1, true);
  network_.Send(0, 5, MessageNumber(1));
  Run(60000);
  EXPECT_EQ(heard_[0], Heard{});
  Start(1);
  Run(1000);
  EXPECT_EQ(heard_[0], Heard{"closed"});
  EXPECT_EQ(heard_[1], Heard{});
}

TEST_F(TwoHosts, AStoppedProcessAcceptsButHearsNothingUntilItGoesOn) {
  paused_[1] = true;
  network_.Dial(0, 5, "b", 1);
  Run(1000);
  EXPECT_EQ(heard_[0], Heard{"opened"});
  network_.Send(0, 5, MessageNumber(1));
  Run(60000);
  EXPECT_EQ(heard_[1], Heard{});
  paused_[1] = false;
  network_.Pump(1);
  EXPECT_EQ(heard_[1], (Heard{"accepted", "1"}));
}

TEST_F(TwoHosts, ACutLeavesHalfAMessageThatIsNeverHeard) {
  Connect();
  network_.Send(0, 5, MessageNumber(1));
  ASSERT_TRUE(network_.CutOne(0));
  Run(1000);
  EXPECT_EQ(heard_[0], Heard{"closed"});
  EXPECT_EQ(heard_[1], Heard{"closed"});
  EXPECT_FALSE(network_.CutOne(0));
}

TEST_F(TwoHosts, ClosingTellsTheOtherEndAfterWhatWasSent) {
  Connect();
  network_.Send(0, 5, MessageNumber(1));
  network_.Close(0, 5);
  Run(1000);
  EXPECT_EQ(heard_[0], Heard{});
  EXPECT_EQ(heard_[1], (Heard{"1", "closed"}));
}

}  // namespace
}  // namespace tessera::sim
