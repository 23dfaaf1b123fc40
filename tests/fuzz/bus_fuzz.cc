// The cluster core among hostile peers: well-formed and broken messages from known and unknown senders, over links either way.
// What strangers say changes nothing, what is decided stays consistent, and what would be saved can be loaded again.
//
//   input  = record*
//   record = link u8, field u8, value u8, size u16 (big-endian), message[size]
// `link`: which link it comes by (2 bits), whether the message's length is set right (bit 2 clear), how much time passes before
// it. `field` and `value` overwrite one field of the header by an interesting number, which mutations of 2 kB seldom hit.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>

#include <fmt/core.h>

#include "cluster/core.h"
#include "tests/fuzz/fuzz.h"

using namespace tessera::cluster;

namespace {

constexpr Millis kStart = 1'700'000'000'000;
constexpr size_t kSenderAt = 40;

NodeId Id(char c) { return NodeId(std::string(NodeId::kLength, c)); }

void Require(bool holds) {
  if (!holds) std::abort();
}

// This node `a`, primaries b and c, replicas d of a and e of b.
std::string StateOf(char self) {
  std::string text;
  auto node = [&](char name, std::string_view flags, char primary, int epoch, std::string_view slots) {
    const std::string id(NodeId::kLength, name), of(NodeId::kLength, primary == '-' ? name : primary);
    text += fmt::format("{} 10.0.0.{}:7000@17000,,tls-port=0,shard-id={} {}{} {} 0 0 {} connected{}\n", id, name - 'a' + 1, of,
                        name == self ? "myself," : "", flags, primary == '-' ? "-" : of, epoch, slots);
  };
  node('a', "master", '-', 1, " 0-9");
  node('b', "master", '-', 2, " 10-19 [20->-" + std::string(NodeId::kLength, 'a') + "]");
  node('c', "master", '-', 3, " 20-29");
  node('d', "slave", 'a', 1, "");
  node('e', "slave", 'b', 2, "");
  return text + "vars currentEpoch 5 lastVoteEpoch 0\n";
}

Message Of(MessageType type, char sender) {
  Message m;
  Header& h = m.header;
  h.type = type;
  h.sender = Id(sender);
  h.current_epoch = 5;
  h.port = 7000;
  h.bus_port = 17000;
  h.cluster_ok = h.extensions = true;
  h.flags = sender == 'd' || sender == 'e' ? kReplica : kPrimary;
  if (h.flags == kReplica) h.primary = Id(sender == 'd' ? 'a' : 'b');
  const char speaker = sender == 'd' ? 'a' : sender == 'e' ? 'b' : sender;
  if (speaker >= 'a' && speaker <= 'c') {
    h.config_epoch = static_cast<Epoch>(speaker - 'a' + 1);
    for (int slot = 0; slot < 10; ++slot) h.slots.set(static_cast<size_t>((speaker - 'a') * 10 + slot));
  }
  m.body = EmptyBody{};
  if (type == MessageType::kPing || type == MessageType::kPong || type == MessageType::kMeet) {
    GossipBody body;
    body.extensions.shard_id = Id(speaker);
    m.body = body;
  }
  return m;
}

std::string Record(const Message& message, uint8_t link, uint8_t field = 0, uint8_t value = 0) {
  const std::string bytes = Encode(message);
  std::string record{static_cast<char>(link), static_cast<char>(field), static_cast<char>(value)};
  record += static_cast<char>(bytes.size() >> 8);
  record += static_cast<char>(bytes.size());
  return record + bytes;
}

void Overwrite(std::string& message, uint8_t field, uint8_t value) {
  struct Field {
    size_t at, size;
  };
  static constexpr Field kFields[] = {{4, 4},    {8, 2},    {10, 2},   {12, 2},   {14, 2},   {16, 8},  {24, 8},  {32, 8},
                                      {2214, 2}, {2246, 2}, {2248, 2}, {2250, 2}, {2252, 1}, {2253, 1}, {2256, 8}, {2260, 4}};
  static constexpr uint64_t kValues[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 32, 48, 64, 65, 127, 128, 255, 256, 65535,
                                         0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000,
                                         0xffffffffffffffff, 0xfffffffffffffffe, 2255, 2256, 2257};
  if (field == 0 || field > std::size(kFields)) return;
  const auto [at, size] = kFields[field - 1];
  if (message.size() < at + size) return;
  const uint64_t number = kValues[value % std::size(kValues)];
  for (size_t i = 0; i < size; ++i) message[at + i] = static_cast<char>(number >> (8 * (size - 1 - i)));
}

class Node {
 public:
  explicit Node(char self) : self_(Id(self)) {
    std::string error;
    Options options;
    options.node_timeout_ms = 1000;
    options.announced.port = 7000;
    options.announced.bus_port = 17000;
    core_ = Core::Load(options, 42, now_, StateOf(self), &error);
    Require(core_ != nullptr);
    for (LinkId link : kInbound) core_->Handle(now_, LinkAccepted{link});
    Tick();
    for (const auto& [link, node] : outbound_) {
      Message pong = Of(MessageType::kPong, node.view()[0]);
      Check(core_->Handle(now_, MessageReceived{link, Encode(pong), "10.0.0.2", "10.0.0.1"}));
    }
    Tick();
  }

  void Receive(uint8_t from, const std::string& bytes) {
    now_ += (from >> 3) * 40;
    const bool inbound = from % 4 < 2 || outbound_.empty();
    LinkId link = kInbound[from % 2];
    if (!inbound) link = std::next(outbound_.begin(), from % 4 == 2 ? 0 : outbound_.size() - 1)->first;

    const std::string state = core_->StateText(), seen = core_->NodesText(now_, {});
    const Epoch epoch = core_->current_epoch();
    const size_t nodes = core_->nodes().size();
    const auto decoded = Decode(bytes);
    const auto* message = std::get_if<Message>(&decoded);
    const NodeView* sender =
        message != nullptr ? core_->Find(std::string_view(bytes).substr(kSenderAt, NodeId::kLength)) : nullptr;
    const bool known = sender != nullptr && !sender->is(kHandshake);

    Effects effects = core_->Handle(now_, MessageReceived{link, bytes, "10.0.0.77", "10.0.0.1"});
    Require(core_->current_epoch() >= epoch);
    Require(core_->self() == self_);
    if (message == nullptr || (!known && inbound && message->header.type != MessageType::kMeet)) {
      // A stranger may ask whether somebody is there, and is told.
      const bool ping = message != nullptr && message->header.type == MessageType::kPing;
      Require(core_->StateText() == state && core_->NodesText(now_, {}) == seen);
      int sent = 0;
      for (const Effect& effect : effects) {
        if (const auto* send = std::get_if<Send>(&effect)) {
          Require(ping && send->link == link && ++sent == 1);
        } else {
          Require(std::holds_alternative<Note>(effect));
        }
      }
    } else if (!known) {
      Require(core_->nodes().size() <= nodes + 1);
    } else {
      const auto* gossip = std::get_if<GossipBody>(&message->body);
      Require(core_->nodes().size() <= nodes + (gossip != nullptr ? gossip->entries.size() : 0));
    }
    Check(effects);
    CheckState();
  }

  void Tick() {
    core_->Handle(now_, ReplicationStatus{});
    Check(core_->Handle(now_, tessera::cluster::Tick{}));
    now_ += 100;
  }

 private:
  static constexpr LinkId kInbound[] = {kInboundLinkBit | 1, kInboundLinkBit | 2};

  // What goes out can be read, and goes where something is.
  void Check(const Effects& effects) {
    for (const Effect& effect : effects) {
      if (const auto* send = std::get_if<Send>(&effect)) {
        const auto sent = Decode(send->bytes);
        Require(std::holds_alternative<Message>(sent) && std::get<Message>(sent).header.sender == self_);
      } else if (const auto* open = std::get_if<OpenLink>(&effect)) {
        Require(core_->nodes().contains(open->node));
        outbound_[open->link] = open->node;
        opening_.push_back(open->link);
      } else if (const auto* close = std::get_if<CloseLink>(&effect)) {
        outbound_.erase(close->link);
        // The peer dials again.
        if (close->link & kInboundLinkBit) core_->Handle(now_, LinkAccepted{close->link});
      }
    }
    while (!opening_.empty()) {
      const LinkId link = opening_.back();
      opening_.pop_back();
      if (outbound_.contains(link)) Check(core_->Handle(now_, LinkOpened{link}));
    }
  }

  void CheckState() {
    int owned = 0, counted = 0;
    std::map<NodeId, int> slots;
    for (int slot = 0; slot < kSlotCount; ++slot) {
      const NodeView* owner = core_->OwnerOf(static_cast<Slot>(slot));
      if (owner == nullptr) continue;
      ++slots[owner->id];
      ++owned;
    }
    for (const auto& [id, node] : core_->nodes()) {
      Require(id == node.id && NodeId::IsValid(id.view()));
      Require(!(node.is(kPrimary) && node.is(kReplica)));
      Require(node.slot_count == slots[id] && node.slot_count == static_cast<int>(node.slots.count()));
      Require(!node.is(kMyself) || id == self_);
      counted += node.slot_count;
    }
    Require(owned == counted);
    Require(core_->me().is(kMyself) && core_->me().primary != self_);
    // A restart finds the same cluster.
    std::string error;
    const std::string state = core_->StateText();
    const auto again = Core::Load(core_->options(), 1, now_, state, &error);
    if (again == nullptr) fmt::print(stderr, "the state cannot be loaded: {}\n{}", error, state);
    Require(again != nullptr);
    size_t known = 0;
    for (const auto& [id, node] : core_->nodes()) {
      if (node.is(kHandshake)) continue;
      ++known;
      const NodeView* loaded = again->Find(id.view());
      Require(loaded != nullptr && loaded->slots == node.slots && loaded->endpoint == node.endpoint);
    }
    Require(again->nodes().size() == known);
    const std::string shown = core_->NodesText(now_, {});
    Require(static_cast<size_t>(std::count(shown.begin(), shown.end(), '\n')) == core_->nodes().size());
  }

  Millis now_ = kStart;
  NodeId self_;
  std::unique_ptr<Core> core_;
  std::map<LinkId, NodeId> outbound_;
  std::vector<LinkId> opening_;
};

}  // namespace

std::vector<std::string> FuzzCorpus() {
  std::vector<std::string> corpus;
  for (char sender : {'b', 'e', '9'}) {
    Message ping = Of(MessageType::kPing, sender);
    GossipBody gossip = std::get<GossipBody>(ping.body);
    for (char about : {'c', 'd', '7'})
      gossip.entries.push_back({.id = Id(about), .pong_received_s = 1'700'000'000, .ip = "10.0.0.9", .port = 7000,
                                .bus_port = 17000, .flags = about == 'c' ? uint16_t{kPrimary | kPfail} : uint16_t{kPrimary}});
    gossip.extensions.hostname = "host.example";
    gossip.extensions.human_nodename = "name";
    gossip.extensions.forgotten.push_back({Id('c'), 60});
    ping.body = gossip;
    ping.header.ip = "10.0.0.77";
    Message meet = ping, pong = ping;
    meet.header.type = MessageType::kMeet;
    pong.header.type = MessageType::kPong;
    Message claim = Of(MessageType::kPing, sender);
    claim.header.config_epoch = claim.header.current_epoch = 9;
    claim.header.slots.set();
    Message fail = Of(MessageType::kFail, sender);
    fail.body = FailBody{Id('c')};
    Message publish = Of(MessageType::kPublish, sender);
    publish.body = PublishBody{"channel", "message"};
    Message update = Of(MessageType::kUpdate, sender);
    SlotSet some;
    some.set(5);
    some.set(25);
    update.body = UpdateBody{8, Id('c'), some};
    Message vote = Of(MessageType::kFailoverAuthRequest, sender);
    vote.header.current_epoch = 6;
    vote.header.force_ack = true;
    const Message ack = Of(MessageType::kFailoverAuthAck, sender), start = Of(MessageType::kMfStart, sender);
    corpus.push_back(Record(ping, 0) + Record(claim, 0));
    corpus.push_back(Record(pong, 2) + Record(ping, 0));
    corpus.push_back(Record(meet, 1) + Record(meet, 1) + Record(ping, 0));
    corpus.push_back(Record(fail, 0) + Record(fail, 1) + Record(vote, 0));
    corpus.push_back(Record(publish, 0) + Record(update, 1));
    corpus.push_back(Record(vote, 0) + Record(ack, 1) + Record(start, 0));
    // Texts that would break nodes.conf and CLUSTER NODES.
    for (const char* text : {"a b", "1,2", "x\ny 1", "\x01\x7f", "'\"\\"}) {
      Message hostile = ping;
      hostile.header.ip = text;
      GossipBody body = gossip;
      body.entries[2].ip = text;
      body.extensions.hostname = text;
      body.extensions.human_nodename = text;
      hostile.body = body;
      corpus.push_back(Record(hostile, 0) + Record(hostile, 1));
    }
    // The same with every field absurd in turn.
    for (uint8_t field = 1; field <= 16; ++field)
      corpus.push_back(Record(ping, 0, field, static_cast<uint8_t>(field * 7)) + Record(publish, 1, field, 27) +
                       Record(update, 4, field, 23));
  }
  return corpus;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  Node node(size % 3 == 0 ? 'd' : 'a');
  for (int records = 0; records < 4 && rest.size() > 5; ++records) {
    const auto byte = [&](size_t at) { return static_cast<uint8_t>(rest[at]); };
    const uint8_t link = byte(0);
    const size_t length = std::min<size_t>(byte(3) << 8 | byte(4), rest.size() - 5);
    std::string message(rest.substr(5, length));
    if ((link & 4) == 0 && message.size() >= kMessagePrefix) {
      message.replace(0, 4, "RCmb");
      for (int i = 0; i < 4; ++i) message[4 + static_cast<size_t>(i)] = static_cast<char>(message.size() >> (24 - 8 * i));
      Overwrite(message, byte(1), byte(2));
    }
    rest.remove_prefix(5 + length);
    // What the frame does not admit never comes to the core: the link is closed.
    const auto framed = FramedLength(message);
    if (!framed || *framed != message.size()) continue;
    node.Receive(link, message);
    if (link & 0x80) node.Tick();
  }
  return 0;
}
