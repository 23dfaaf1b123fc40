// Whoever can reach the bus port without being of the cluster: what that may cost.
#include "tests/cluster/bench.h"

namespace tessera::cluster {
namespace {

LinkId Inbound(size_t number) { return kInboundLinkBit | (0x10000 + number); }

TEST(Strangers, HoldOnlySoManyLinksTheOldestOfThemGo) {
  Bench b(SixNodes('a'));
  b.Settle();
  b.Deliver(b.From('b'));
  const LinkId known = kInboundLinkBit | 'b';
  EXPECT_TRUE(b.core->IsOfKnownNode(known));
  for (size_t i = 0; i < kStrangersMax; ++i)
    EXPECT_FALSE(Has<CloseLink>(b.core->Handle(b.now + static_cast<Millis>(i), LinkAccepted{Inbound(i)}))) << i;
  b.now += 1000;
  for (size_t i = 0; i < 10; ++i) {
    const auto closed = All<CloseLink>(b.core->Handle(b.now, LinkAccepted{Inbound(kStrangersMax + i)}));
    ASSERT_EQ(closed.size(), 1u);
    EXPECT_EQ(closed[0].link, Inbound(i));
    EXPECT_FALSE(b.core->IsOfKnownNode(Inbound(i)));
  }
  EXPECT_TRUE(b.core->IsOfKnownNode(known));
  EXPECT_FALSE(b.SentOf(b.Deliver(b.From('b')), MessageType::kPong).empty());
}

TEST(Strangers, WhoAsksTwiceToBeMetIsDialledOnce) {
  Bench b(SixNodes('a'));
  b.Settle();
  const size_t before = b.core->nodes().size();
  for (int i = 0; i < 3; ++i) b.Deliver(b.From('7', MessageType::kMeet));
  EXPECT_EQ(b.core->nodes().size(), before + 1);
  Message elsewhere = b.From('7', MessageType::kMeet);
  elsewhere.header.bus_port = 17001;
  b.Deliver(elsewhere);
  EXPECT_EQ(b.core->nodes().size(), before + 2);
}

}  // namespace
}  // namespace tessera::cluster
