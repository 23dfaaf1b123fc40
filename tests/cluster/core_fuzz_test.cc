// A core among liars: messages that are well-formed and mean anything, commands with any argument, links that come and
// go. Nothing crashes, and the node table stays consistent.
#include <random>

#include "tests/cluster/bench.h"

namespace tessera::cluster {
namespace {

void ExpectConsistent(const Core& core) {
  int owned = 0;
  std::map<NodeId, int> slots;
  for (int slot = 0; slot < kSlotCount; ++slot)
    if (const NodeView* owner = core.OwnerOf(static_cast<Slot>(slot))) {
      ASSERT_EQ(core.Find(owner->id.view()), owner);
      ++slots[owner->id];
      ++owned;
    }
  int counted = 0;
  for (const auto& [id, node] : core.nodes()) {
    ASSERT_EQ(id, node.id);
    ASSERT_EQ(node.slot_count, static_cast<int>(node.slots.count()));
    ASSERT_EQ(node.slot_count, slots[id]);
    ASSERT_FALSE(node.is(kPrimary) && node.is(kReplica));
    ASSERT_TRUE(node.primary.empty() || !node.is(kPrimary)) << "a primary has no primary";
    counted += node.slot_count;
  }
  ASSERT_EQ(counted, owned);
  ASSERT_TRUE(core.me().is(kMyself));
  ASSERT_NE(core.me().primary, core.self());
}

class Liar {
 public:
  Liar(uint64_t seed, char self) : rng_(seed), b_(SixNodes(self)) { b_.Settle(); }

  void Step() {
    b_.now += static_cast<Millis>(rng_() % 200);
    switch (rng_() % 8) {
      case 0:
        b_.Tick();
        break;
      case 1:
        Command();
        break;
      case 2:
        b_.core->Handle(b_.now, Status());
        break;
      case 3:
        DropLink();
        break;
      case 4: {
        // Over an outbound link, where the sender should be the one dialled.
        if (b_.outbound.empty()) break;
        auto link = std::next(b_.outbound.begin(), static_cast<ptrdiff_t>(rng_() % b_.outbound.size()));
        std::string bytes = Encode(Lie());
        b_.CarryOut(b_.core->Handle(b_.now, MessageReceived{link->first, bytes, "10.0.0.99", "10.0.0.1"}));
        break;
      }
      default:
        b_.CarryOut(b_.Deliver(Lie()));
    }
  }
  const Core& core() const { return *b_.core; }

 private:
  char Name() { return "abcdef0123"[rng_() % 10]; }
  NodeId AnyId() { return rng_() % 8 ? Id(Name()) : NodeId(); }
  Epoch AnyEpoch() { return b_.core->current_epoch() + rng_() % 4 - (b_.core->current_epoch() > 2 ? 2 : 0); }
  SlotSet AnySlots() {
    int from = static_cast<int>(rng_() % kSlotCount), to = static_cast<int>(rng_() % kSlotCount);
    return from <= to ? Slots(from, to) : SlotSet();
  }
  ReplicationStatus Status() {
    return {.offset = static_cast<ReplicationOffset>(rng_() % 3),
            .primary_link_up = rng_() % 2 == 0,
            .primary_last_io_ms = b_.now - static_cast<Millis>(rng_() % 20000)};
  }
  Message Lie() {
    Message m = b_.From(Name(), static_cast<MessageType>(rng_() % kMessageTypeCount));
    Header& h = m.header;
    h.current_epoch = AnyEpoch();
    h.config_epoch = AnyEpoch();
    if (rng_() % 2) h.slots = AnySlots();
    if (rng_() % 3 == 0) h.primary = AnyId();
    h.flags = static_cast<uint16_t>(rng_());
    h.paused = rng_() % 2;
    h.force_ack = rng_() % 2;
    h.offset = static_cast<ReplicationOffset>(rng_() % 3);
    switch (h.type) {
      case MessageType::kPing:
      case MessageType::kPong:
      case MessageType::kMeet: {
        auto& body = std::get<GossipBody>(m.body);
        for (size_t n = rng_() % 4; n > 0; --n) {
          GossipEntry g = b_.About(Name(), static_cast<uint16_t>(rng_()));
          if (rng_() % 4 == 0) g.ip = "10.1.1.1";
          body.entries.push_back(g);
        }
        if (rng_() % 10 == 0) body.extensions.forgotten.push_back({Id(Name()), rng_() % 2});
        if (rng_() % 4 == 0) body.extensions.shard_id = AnyId();
        break;
      }
      case MessageType::kFail:
        m.body = FailBody{AnyId()};
        break;
      case MessageType::kPublish:
      case MessageType::kPublishShard:
        m.body = PublishBody{"c", "m"};
        break;
      case MessageType::kUpdate:
        m.body = UpdateBody{AnyEpoch(), AnyId(), AnySlots()};
        break;
      default:
        m.body = EmptyBody{};
    }
    return m;
  }
  void DropLink() {
    if (b_.outbound.empty()) return;
    auto link = std::next(b_.outbound.begin(), static_cast<ptrdiff_t>(rng_() % b_.outbound.size()));
    b_.core->Handle(b_.now, LinkClosed{link->first});
  }
  void Command() {
    Effects e;
    Core& core = *b_.core;
    const std::string id = IdText(Name());
    const Slot slot = static_cast<Slot>(rng_() % kSlotCount);
    switch (rng_() % 12) {
      case 0:
        core.Meet(b_.now, "10.0.0.99", 7000, 17000, e);
        break;
      case 1:
        core.Forget(b_.now, id, e);
        break;
      case 2:
        core.AddSlots(b_.now, AnySlots(), e);
        break;
      case 3:
        core.DelSlots(b_.now, Slots(slot, slot), e);
        break;
      case 4:
        core.SetSlotMigrating(b_.now, slot, id, e);
        break;
      case 5:
        core.SetSlotImporting(b_.now, slot, id, e);
        break;
      case 6:
        core.SetSlotNode(b_.now, slot, id, rng_() % 2, e);
        break;
      case 7:
        core.Replicate(b_.now, id, true, e);
        break;
      case 8:
        core.Failover(b_.now, static_cast<FailoverMode>(rng_() % 3), e);
        break;
      case 9: {
        std::string reply;
        core.BumpEpoch(b_.now, reply, e);
        break;
      }
      case 10:
        core.SetSlotStable(b_.now, slot, e);
        break;
      default:
        if (rng_() % 20 == 0) core.Reset(b_.now, rng_() % 2 ? ResetMode::kHard : ResetMode::kSoft, true, e);
    }
    b_.CarryOut(std::move(e));
  }

  std::mt19937_64 rng_;
  Bench b_;
};

TEST(Core, StaysConsistentAmongLiars) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    Liar liar(seed, seed % 2 ? 'a' : 'd');
    for (int step = 0; step < 300; ++step) {
      liar.Step();
      if (step % 20) continue;
      ExpectConsistent(liar.core());
      if (testing::Test::HasFatalFailure()) return;
      liar.core().NodesText(0, {});
    }
  }
}

}  // namespace
}  // namespace tessera::cluster
