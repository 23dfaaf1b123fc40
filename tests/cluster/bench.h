// A bench for one cluster::Core: its node table comes from a nodes.conf text, its peers are played by the test, which
// hands in their messages and reads the effects. Time is a number.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cluster/core.h"
#include "fmt/core.h"

namespace tessera::cluster {

// Ids "aaaa…", "bbbb…": one letter or digit names a node.
inline NodeId Id(char c) { return NodeId(std::string(NodeId::kLength, c)); }
inline std::string IdText(char c) { return std::string(NodeId::kLength, c); }

inline SlotSet Slots(int from, int to) {
  SlotSet set;
  for (int slot = from; slot <= to; ++slot) set.set(static_cast<size_t>(slot));
  return set;
}

template <typename E>
std::vector<E> All(const Effects& effects) {
  std::vector<E> found;
  for (const Effect& effect : effects)
    if (const E* e = std::get_if<E>(&effect)) found.push_back(*e);
  return found;
}
template <typename E>
bool Has(const Effects& effects) {
  return !All<E>(effects).empty();
}
// Where in `effects` the first E stands; -1 = nowhere.
template <typename E>
int Position(const Effects& effects) {
  for (size_t i = 0; i < effects.size(); ++i)
    if (std::holds_alternative<E>(effects[i])) return static_cast<int>(i);
  return -1;
}
inline bool Noted(const Effects& effects, std::string_view words) {
  for (const Note& note : All<Note>(effects))
    if (note.text.find(words) != std::string::npos) return true;
  return false;
}

struct Node {
  char name;
  std::string flags;  // "master", "slave,fail", ...; the bench adds "myself" to the first
  char primary = '-';
  Epoch epoch = 0;
  std::string slots = {};  // " 0-100"
};

class Bench {
 public:
  static constexpr Millis kStart = 1'700'000'000'000;

  // The first node is the core's own. Node x lives at 10.0.0.<x>:7000, bus port 17000.
  explicit Bench(std::vector<Node> nodes, Options options = DefaultOptions(), Epoch current_epoch = 10,
                 Epoch last_vote_epoch = 0, bool loading = false)
      : nodes_(std::move(nodes)) {
    std::string text;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const Node& n = nodes_[i];
      std::string shard = IdText(n.primary == '-' ? n.name : n.primary);
      text +=
          fmt::format("{} {}:7000@17000,,tls-port=0,shard-id={} {}{} {} 0 {} {} connected{}\n", IdText(n.name),
                      Ip(n.name), shard, i == 0 ? "myself," : "", n.flags, n.primary == '-' ? "-" : IdText(n.primary),
                      i == 0 ? 0 : 1, n.epoch, n.slots.empty() ? "" : " " + n.slots);
    }
    text += fmt::format("vars currentEpoch {} lastVoteEpoch {}\n", current_epoch, last_vote_epoch);
    std::string error;
    core = Core::Load(options, 42, now, text, &error);
    EXPECT_TRUE(core) << error;
    if (!loading) core->Handle(now, SlotsWithKeys{});
    node_timeout_ms = options.node_timeout_ms;
  }

  static Options DefaultOptions() {
    Options o;
    o.node_timeout_ms = 1000;
    o.announced.port = 7000;
    o.announced.bus_port = 17000;
    return o;
  }
  static std::string Ip(char name) { return fmt::format("10.0.0.{}", static_cast<int>(name)); }

  // Ticks, and carries out what a shell would: every link opens at once, every ping on it is answered while `alive`.
  Effects Tick() { return CarryOut(core->Handle(now, cluster::Tick{})); }
  Effects Run(Millis duration) {
    Effects all;
    for (Millis end = now + duration; now < end;) {
      now += 100;
      Effects some = Tick();
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }
  // Links to all, cluster_state settled.
  void Settle() { Run(3000); }

  Effects CarryOut(Effects effects) {
    Effects more;
    for (const Effect& effect : effects) {
      if (const auto* open = std::get_if<OpenLink>(&effect)) {
        if (dead.contains(NameOf(open->node))) {
          Append(more, core->Handle(now, LinkClosed{open->link}));
          continue;
        }
        outbound[open->link] = open->node;
        Append(more, CarryOut(core->Handle(now, LinkOpened{open->link})));
      } else if (const auto* send = std::get_if<Send>(&effect)) {
        Answer(*send, more);
      }
    }
    Append(effects, std::move(more));
    return effects;
  }

  // What `sender` would say, by the bench's table. Change it before handing it in.
  Message From(char sender, MessageType type = MessageType::kPing) {
    Message m;
    const Node& n = Find(sender);
    m.header.type = type;
    m.header.sender = Id(sender);
    m.header.current_epoch = core->current_epoch();
    m.header.port = 7000;
    m.header.bus_port = 17000;
    m.header.extensions = true;
    m.header.cluster_ok = true;
    const Node& speaker = n.primary == '-' ? n : Find(n.primary);
    m.header.config_epoch = speaker.epoch;
    m.header.slots = ParseSlots(speaker.slots);
    m.header.offset = offsets[sender];
    if (n.primary != '-') m.header.primary = Id(n.primary);
    m.header.flags = n.flags.find("slave") != std::string::npos ? kReplica : kPrimary;
    if (type == MessageType::kPing || type == MessageType::kPong || type == MessageType::kMeet) {
      GossipBody body;
      body.extensions.shard_id = Id(n.primary == '-' ? n.name : n.primary);
      m.body = body;
    } else {
      m.body = EmptyBody{};
    }
    return m;
  }
  GossipEntry About(char name, uint16_t flags) {
    GossipEntry g;
    g.id = Id(name);
    g.flags = flags;
    g.ip = Ip(name);
    g.port = 7000;
    g.bus_port = 17000;
    g.pong_received_s = static_cast<uint32_t>(now / 1000);
    return g;
  }

  // By the sender's own link to us. Effects are returned, and carried out only where links are concerned.
  Effects Deliver(const Message& m, std::string ip = "") {
    char name = NameOf(m.header.sender);
    LinkId link = kInboundLinkBit | static_cast<LinkId>(static_cast<unsigned char>(name));
    if (inbound.insert(link).second) core->Handle(now, LinkAccepted{link});
    std::string bytes = Encode(m);
    return core->Handle(now, MessageReceived{link, bytes, ip.empty() ? Ip(name) : ip, "10.0.0.1"});
  }
  // By our link to the node.
  Effects Reply(const Message& m) {
    const NodeView* node = core->Find(m.header.sender.view());
    std::string bytes = Encode(m);
    return core->Handle(now, MessageReceived{node->outbound, bytes, node->endpoint.ip, "10.0.0.1"});
  }

  struct Sent {
    char to;  // '?' = somebody without a link of its own
    Message message;
  };
  std::vector<Sent> SentOf(const Effects& effects, MessageType type) {
    std::vector<Sent> found;
    for (const Send& send : All<Send>(effects)) {
      auto decoded = Decode(send.bytes);
      const Message* m = std::get_if<Message>(&decoded);
      if (!m) {
        ADD_FAILURE() << "sent something undecodable: " << std::get<DecodeError>(decoded).reason;
        continue;
      }
      if (m->header.type != type) continue;
      char to = send.link & kInboundLinkBit ? static_cast<char>(send.link & 0xff)
                                            : (outbound.contains(send.link) ? NameOf(outbound[send.link]) : '?');
      found.push_back({to, *m});
    }
    return found;
  }

  const NodeView& View(char name) const {
    const NodeView* view = core->Find(IdText(name));
    EXPECT_TRUE(view) << "node " << name << " is not known";
    static const NodeView kNone;
    return view ? *view : kNone;
  }
  bool Knows(char name) const { return core->Find(IdText(name)) != nullptr; }
  Node& Find(char name) {
    for (Node& n : nodes_)
      if (n.name == name) return n;
    nodes_.push_back({name, "master"});
    return nodes_.back();
  }
  char NameOf(const NodeId& id) const { return id.empty() ? '-' : id.view()[0]; }

  // Both other primaries say so, and they are enough for a majority with or without us.
  void ReportFailing(char about, std::string_view reporters) {
    for (char reporter : reporters) {
      Message m = From(reporter);
      std::get<GossipBody>(m.body).entries.push_back(About(about, kPrimary | kPfail));
      last = Deliver(m);
    }
  }
  // As another node's FAIL message tells.
  Effects DeclareFailed(char about, char teller) {
    Message m = From(teller, MessageType::kFail);
    m.body = FailBody{Id(about)};
    return Deliver(m);
  }

  Millis now = kStart;
  Millis node_timeout_ms = 0;
  std::unique_ptr<Core> core;
  std::set<char> dead;  // neither dialled nor answering
  std::map<char, ReplicationOffset> offsets;
  std::map<LinkId, NodeId> outbound;
  std::set<LinkId> inbound;
  Effects last;

 private:
  static void Append(Effects& to, Effects from) {
    for (Effect& effect : from) to.push_back(std::move(effect));
  }
  void Answer(const Send& send, Effects& more) {
    auto to = outbound.find(send.link);
    if (to == outbound.end() || dead.contains(NameOf(to->second)) || !core->Find(to->second.view())) return;
    auto decoded = Decode(send.bytes);
    const Message* m = std::get_if<Message>(&decoded);
    if (!m || (m->header.type != MessageType::kPing && m->header.type != MessageType::kMeet)) return;
    std::string bytes = Encode(From(NameOf(to->second), MessageType::kPong));
    Append(more, CarryOut(core->Handle(now, MessageReceived{send.link, bytes, Ip(NameOf(to->second)), "10.0.0.1"})));
  }
  static SlotSet ParseSlots(const std::string& text) {
    if (text.empty()) return {};
    size_t dash = text.find('-');
    return Slots(std::stoi(text), dash == text.npos ? std::stoi(text) : std::stoi(text.substr(dash + 1)));
  }
  std::vector<Node> nodes_;
};

// Three primaries a (us), b, c with a third of the slots each, and replicas d of a, e of b, f of c.
inline std::vector<Node> SixNodes(char self) {
  std::vector<Node> nodes = {{'a', "master", '-', 1, "0-5460"},
                             {'b', "master", '-', 2, "5461-10922"},
                             {'c', "master", '-', 3, "10923-16383"},
                             {'d', "slave", 'a', 1},
                             {'e', "slave", 'b', 2},
                             {'f', "slave", 'c', 3}};
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i].name == self) std::swap(nodes[0], nodes[i]);
  return nodes;
}

}  // namespace tessera::cluster
