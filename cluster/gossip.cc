// What this node tells the others in pings, pongs and meets, and what it believes of what they tell of third nodes.
#include <algorithm>

#include "cluster/core_impl.h"

namespace tessera::cluster {

// ---- sending ----

Message Core::Impl::MakeMessage(MessageType type) {
  Message m;
  Header& h = m.header;
  h.type = type;
  // A replica speaks for its primary: slots and config epoch are the primary's, the replica flag says so.
  NodeView* primary = PrimaryOf(*me);
  const NodeView& speaker = IsReplica(*me) && primary ? *primary : *me;
  h.sender = me->id;
  h.current_epoch = current_epoch;
  h.config_epoch = speaker.config_epoch;
  h.offset = replication.offset;
  h.slots = speaker.slots;
  h.primary = me->primary;
  h.ip = options.announced.ip;
  h.port = options.tls_cluster ? me->endpoint.tls_port : me->endpoint.port;
  h.pport = options.tls_cluster ? me->endpoint.port : me->endpoint.tls_port;
  h.bus_port = me->endpoint.bus_port;
  h.flags = me->flags;
  h.cluster_ok = state_ok;
  h.abilities = kOwnAbilities;
  h.paused = IsPrimary(*me) && manual.end_ms && manual.writes_paused;
  m.body = EmptyBody{};
  return m;
}

void Core::Impl::SendMessage(LinkId link, const Message& message) {
  auto it = links.find(link);
  if (HandedOver() || it == links.end() || !it->second.open) return;
  ++sent[static_cast<size_t>(message.header.type)];
  Emit(Send{link, Encode(message)});
}

void Core::Impl::Broadcast(const Message& message) {
  if (HandedOver()) return;
  std::string bytes;
  for (auto& [id, node] : nodes) {
    if (node.is(kMyself | kHandshake) || !node.outbound_connected) continue;
    if (bytes.empty()) bytes = Encode(message);
    ++sent[static_cast<size_t>(message.header.type)];
    Emit(Send{node.outbound, bytes});
  }
}

void Core::Impl::SendPing(LinkId link_id, MessageType type) {
  auto it = links.find(link_id);
  if (it == links.end() || !it->second.open) return;
  NodeView* peer = it->second.node;
  const bool probe = it->second.probe;
  it->second.last_ping_ms = now;
  // Of several unanswered pings the oldest counts.
  if (peer && !it->second.inbound && !probe && type == MessageType::kPing && !peer->ping_sent_ms) peer->ping_sent_ms = now;

  Message m = MakeMessage(type);
  m.header.extensions = true;  // says that extensions are understood here, even when none follows
  GossipBody body;
  std::set<const NodeView*> told;
  auto tell = [&](const NodeView& node) {
    const Endpoint& e = node.endpoint;
    body.entries.push_back(GossipEntry{node.id, static_cast<uint32_t>(node.ping_sent_ms / 1000),
                                       static_cast<uint32_t>(node.pong_received_ms / 1000), e.ip,
                                       options.tls_cluster ? e.tls_port : e.port,
                                       options.tls_cluster ? e.port : e.tls_port, e.bus_port, node.flags});
  };
  // A tenth of the cluster: with two exchanges per node and node timeout, a majority's failure reports then meet
  // within the reports' validity.
  int fresh = static_cast<int>(nodes.size()) - 2;
  const int wanted = std::min(std::max(3, static_cast<int>(nodes.size()) / 10), fresh);
  for (int attempts = wanted * 3; attempts > 0 && fresh > 0 && static_cast<int>(told.size()) < wanted; --attempts) {
    NodeView* node = RandomNode();
    if (node == me || node == peer || Suspected(*node)) continue;
    if (node->is(kHandshake | kNoAddress) || (!node->outbound && node->slot_count == 0)) {
      --fresh;
      continue;
    }
    if (!told.insert(node).second) continue;
    tell(*node);
    --fresh;
  }
  // Suspicions always travel: each is a vote for FAIL.
  for (const auto& [id, node] : nodes)
    if (Suspected(node) && !InHandshake(node)) tell(node);

  if (peer && !probe && peer->is(kExtensionsSupported)) {
    Extensions& x = body.extensions;
    if (!me->endpoint.hostname.empty()) x.hostname = me->endpoint.hostname;
    if (!me->human_nodename.empty()) x.human_nodename = me->human_nodename;
    for (const auto& [id, until] : forgotten)
      if (until > now) x.forgotten.push_back({id, static_cast<uint64_t>((until - now + 999) / 1000)});
    x.shard_id = me->shard_id;
    x.client = me->endpoint.client;
  }
  AddProof(it->second, peer, body.extensions);
  m.body = std::move(body);
  SendMessage(link_id, m);
}

void Core::Impl::BroadcastPong(PongTo whom) {
  for (auto& [id, node] : nodes) {
    if (node.is(kMyself | kHandshake) || !node.outbound_connected) continue;
    if (whom == PongTo::kSiblings) {
      bool sibling =
          IsReplica(node) && !node.primary.empty() && (node.primary == me->id || node.primary == me->primary);
      if (!sibling) continue;
    }
    SendPing(node.outbound, MessageType::kPong);
  }
}

void Core::Impl::SendUpdate(NodeView* to, NodeView* about) {
  if (!to->outbound_connected) return;
  Message m = MakeMessage(MessageType::kUpdate);
  m.body = UpdateBody{about->config_epoch, about->id, about->slots & ~unclaimed};
  SendMessage(to->outbound, m);
}

// ---- handshakes ----

bool Core::Impl::HandshakeInProgress(std::string_view ip, uint16_t port, uint16_t bus_port) {
  return std::any_of(nodes.begin(), nodes.end(), [&](const auto& entry) {
    const NodeView& n = entry.second;
    return InHandshake(n) && n.endpoint.ip == ip && MainPort(n.endpoint) == port && n.endpoint.bus_port == bus_port;
  });
}

void Core::Impl::StartHandshake(std::string_view ip, uint16_t port, uint16_t bus_port) {
  if (HandshakeInProgress(ip, port, bus_port)) return;
  NodeView* node = AddNode(RandomId(), kHandshake | kMeet);
  node->ordered = true;
  node->endpoint.ip = ip;
  (options.tls_cluster ? node->endpoint.tls_port : node->endpoint.port) = port;
  node->endpoint.bus_port = bus_port;
}

// ---- learning ----

void Core::Impl::LearnGossip(const GossipBody& body, NodeView* sender) {
  for (const GossipEntry& g : body.entries) {
    if (g.id.empty()) continue;
    const uint16_t port = options.tls_cluster ? g.pport : g.port;
    const uint16_t tls_port = options.tls_cluster ? g.port : g.pport;
    const bool failing = g.flags & (kFail | kPfail);
    NodeView* node = Lookup(g.id);
    if (node == me) continue;
    if (!node) {
      // Only somebody known may introduce nodes, or two clusters would merge by an address used twice.
      if (!sender || (g.flags & (kNoAddress | kHandshake)) || IsForgotten(g.id) || g.ip.empty()) continue;
      uint16_t flags = static_cast<uint16_t>(RoleIn(g.flags) | (g.flags & (kFail | kNoFailover)));
      node = AddNode(g.id, flags);
      node->endpoint.ip = g.ip;
      node->endpoint.port = port;
      node->endpoint.tls_port = tls_port;
      node->endpoint.bus_port = g.bus_port;
      Say(Severity::kVerbose, "Node {} was introduced by {}; dialling it next", NodeName(*node), NodeName(*sender));
      WantSave();
      continue;
    }
    if (sender && IsPrimary(*sender)) {
      if (failing) {
        AddFailureReport(node, sender);
        BecomeFailedIfMajorityAgrees(node);
      } else {
        RemoveFailureReport(node, sender->id);
      }
    }
    // Somebody else heard from it lately, and nobody suspects it: no need to ping it ourselves yet. Never believe a
    // date from the future.
    if (!failing && node->ping_sent_ms == 0 && !node->is(kFail | kPfail) && CountFailureReports(node) == 0) {
      Millis heard = static_cast<Millis>(g.pong_received_s) * 1000;
      if (heard <= now + 500 && heard > node->pong_received_ms) node->pong_received_ms = heard;
    }
    // We cannot reach it, the sender can, and under another address: see who answers there.
    const Endpoint& e = node->endpoint;
    if (sender && !InHandshake(*node) && (!node->outbound_connected || node->is(kFail | kPfail)) && !failing &&
        !(g.flags & kNoAddress) && !g.ip.empty() && (e.ip != g.ip || e.bus_port != g.bus_port) &&
        Probe(node, Endpoint{.ip = g.ip, .port = port, .tls_port = tls_port, .bus_port = g.bus_port}, false))
      Say(Severity::kVerbose, "Node {} is known to {} under a new address; looking who answers there", NodeName(*node),
          NodeName(*sender));
  }
}

void Core::Impl::LearnExtensions(const Extensions& extensions, NodeView* sender) {
  // What a sender does not say it does not have.
  std::string hostname = extensions.hostname.value_or("");
  std::string human_nodename = extensions.human_nodename.value_or("");
  if (sender->endpoint.hostname != hostname || sender->human_nodename != human_nodename ||
      sender->endpoint.client != extensions.client) {
    sender->endpoint.hostname = hostname;
    sender->human_nodename = human_nodename;
    sender->endpoint.client = extensions.client;
    map_changed = true;
    WantSave();
  }
  if (extensions.shard_id && !extensions.shard_id->empty()) {
    SetShard(sender, *extensions.shard_id);
  } else if (NodeView* primary = PrimaryOf(*sender)) {
    SetShard(sender, primary->shard_id);  // an older version: it knows no shards
  }
  for (const Extensions::Forgotten& f : extensions.forgotten) {
    NodeView* node = Lookup(f.id);
    if (!node || node == me || node == sender || node->id == me->primary) continue;
    Say(Severity::kNotice, "Node {} was removed from the cluster by an operator ({} tells); forgetting it for {} s",
        NodeName(*node), NodeName(*sender), f.ttl_s);
    Forget(node, now + static_cast<Millis>(std::min<uint64_t>(f.ttl_s, 86400)) * 1000);
  }
}

}  // namespace tessera::cluster
