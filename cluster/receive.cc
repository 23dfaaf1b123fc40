// One message from the bus: who says it, what of it is believed, who acts on it.
#include <algorithm>

#include "cluster/core_impl.h"

namespace tessera::cluster {

void Core::Impl::Receive(const MessageReceived& event) {
  auto link = links.find(event.link);
  if (link == links.end() || !link->second.open) return;
  auto decoded = Decode(event.bytes);
  if (auto* error = std::get_if<DecodeError>(&decoded)) {
    Say(Severity::kVerbose, "Ignored a bus message from {}: {}", event.peer_ip, error->reason);
    return;
  }
  const Message& message = std::get<Message>(decoded);
  const Header& h = message.header;
  ++received[static_cast<size_t>(h.type)];
  if (h.sender.empty()) return;

  NodeView* known = Lookup(h.sender);
  if (known && InHandshake(*known)) known = nullptr;
  Received r{event.link, &link->second, message, h, event, known, known};
  if (const auto* body = std::get_if<GossipBody>(&message.body)) LearnProof(r, body->extensions);
  if (r.link->probe) return ReceiveOnProbe(r);
  if (r.sender && r.sender != me) {
    if (!Trusts(r)) r.sender = nullptr;
    if (r.link->inbound && std::holds_alternative<GossipBody>(message.body)) OnClaim(r);
    // Settling a claim may have closed links.
    link = links.find(event.link);
    if (link == links.end()) return;
    r.link = &link->second;
  }
  // An outbound link speaks for the node it was opened to; another id on it is settled below, for pings only.
  const bool gossip = std::holds_alternative<GossipBody>(message.body);
  NodeView* peer = r.link->node;
  if (!gossip && !r.link->inbound && peer && peer->id != h.sender) return;
  if (r.sender == me && !gossip) return;
  if (r.sender && r.sender != me) LearnHeader(r);

  if (gossip) return ReceiveGossipMessage(r);
  if (!r.sender) {
    if (h.type == MessageType::kFail)
      Say(Severity::kNotice, "Ignoring a FAIL message from unknown node {}", h.sender.view());
    return;
  }
  switch (h.type) {
    case MessageType::kFail: {
      NodeView* failing = Lookup(std::get<FailBody>(message.body).node);
      if (!failing || failing == me || Failed(*failing)) return;
      Say(Severity::kNotice, "FAIL message received from {} about {}", NodeName(*r.sender), NodeName(*failing));
      BecomeFailed(failing);
      return;
    }
    case MessageType::kPublish:
    case MessageType::kPublishShard: {
      const auto& body = std::get<PublishBody>(message.body);
      Emit(Publish{h.type == MessageType::kPublishShard, body.channel, body.message});
      return;
    }
    case MessageType::kFailoverAuthRequest:
      return VoteIfAllowed(r);
    case MessageType::kFailoverAuthAck:
      return CountVote(r);
    case MessageType::kMfStart:
      return OnManualFailoverStart(r);
    case MessageType::kUpdate:
      return OnUpdate(r, std::get<UpdateBody>(message.body));
    default:
      return;
  }
}

// What every message of a known node says of it.
void Core::Impl::LearnHeader(Received& r) {
  NodeView* sender = r.sender;
  const Header& h = r.header;
  AttachInbound(r.link_id, *r.link, sender);
  if (h.extensions) sender->flags |= kExtensionsSupported;
  sender->abilities = h.abilities;
  sender->data_received_ms = now;
  if (h.current_epoch > current_epoch) current_epoch = h.current_epoch;
  // A replica speaks with its primary's.
  if (h.primary.empty() && h.config_epoch > sender->config_epoch) {
    sender->config_epoch = h.config_epoch;
    WantDurableSave();
  }
  sender->offset = h.offset;
  LearnPausedOffset(r);
}

void Core::Impl::LearnOwnAddress(const Received& r) {
  const bool unknown = me->endpoint.ip.empty();
  if (!options.announced.ip.empty() || (!unknown && r.header.type != MessageType::kMeet)) return;
  if (r.event.local_ip.empty() || r.event.local_ip == me->endpoint.ip) return;
  me->endpoint.ip = r.event.local_ip;
  map_changed = true;
  WantSave();
  Say(Severity::kNotice, "This node's address is now {}: {} reached it there", me->endpoint.ip, r.event.peer_ip);
}

Endpoint Core::Impl::EndpointFrom(const Received& r) const {
  const Header& h = r.header;
  Endpoint e;
  e.ip = h.ip.empty() ? r.event.peer_ip : h.ip;
  e.port = options.tls_cluster ? h.pport : h.port;
  e.tls_port = options.tls_cluster ? h.port : h.pport;
  e.bus_port = h.bus_port;
  return e;
}

// On an outbound link to a node in handshake: it now has a name. Elsewhere: is it the node we dialled?
bool Core::Impl::CompleteHandshake(Received& r) {
  if (r.link->inbound || !r.link->node) return true;
  NodeView* peer = r.link->node;
  if (InHandshake(*peer)) {
    if (NodeView* node = r.known) {
      Endpoint place = peer->endpoint;
      const bool ordered = peer->ordered;
      RemoveNode(peer);
      if (node == me) return false;
      Say(Severity::kVerbose, "Handshake: node {} is known already", NodeName(*node));
      if (!ordered) {
        Probe(node, place, false);
        return false;
      }
      // An operator says where it is: whatever it could prove before does not count against it.
      if (holders.erase(node->id)) Emit(SaveSecret{});
      node->proven = false;
      MoveTo(node, place);
      return false;
    }
    if (Lookup(r.header.sender)) return false;  // a temporary name of ours; never happens by chance
    RenameNode(peer, r.header.sender);
    peer->flags = static_cast<uint16_t>((peer->flags & ~(kHandshake | kMeet)) | RoleIn(r.header.flags));
    Say(Severity::kNotice, "Handshake with node {} completed", NodeName(*peer));
    WantSave();
    r.sender = peer;
    LearnHeader(r);
    return true;
  }
  if (peer->id != r.header.sender) {
    Say(Severity::kWarning,
        "Node {} answers at {}:{} where {} was expected: two nodes exchanged addresses, or one lost its nodes.conf. "
        "Waiting for {} to call from its new address",
        r.header.sender.view(), peer->endpoint.ip, peer->endpoint.bus_port, NodeName(*peer), peer->id.view());
    const Endpoint place = peer->endpoint;
    CloseLinkById(r.link_id);
    peer->endpoint.ip.clear();
    peer->endpoint.port = peer->endpoint.tls_port = peer->endpoint.bus_port = 0;
    peer->flags |= kNoAddress;
    map_changed = true;
    WantSave();
    if (r.known && r.known != me && !r.known->outbound_connected) Probe(r.known, place, false);
    return false;
  }
  return true;
}

void Core::Impl::ReceiveGossipMessage(Received& r) {
  const Header& h = r.header;
  const auto& body = std::get<GossipBody>(r.message.body);
  if (h.type != MessageType::kPong) {
    LearnOwnAddress(r);
    const Endpoint from = EndpointFrom(r);
    // Who asks again while it is being dialled is not dialled twice.
    if (!r.known && h.type == MessageType::kMeet && !HandshakeInProgress(from.ip, MainPort(from), from.bus_port)) {
      NodeView* node = AddNode(RandomId(), kHandshake);
      node->endpoint = from;
      Say(Severity::kVerbose, "Node {} at {}:{} asks to meet; dialling it next", h.sender.view(), node->endpoint.ip,
          node->endpoint.bus_port);
      LearnGossip(body, nullptr);
      WantSave();
    }
    SendPing(r.link_id, MessageType::kPong);
  }
  if (r.known && !r.sender && r.link->inbound) return;  // somebody who says to be it
  if (!CompleteHandshake(r)) return;

  NodeView* peer = r.link->node;
  if (r.sender && r.sender != me) {
    r.sender->flags = static_cast<uint16_t>((r.sender->flags & ~kNoFailover) | (h.flags & kNoFailover));
  }
  if (!r.link->inbound && h.type == MessageType::kPong) {
    peer->pong_received_ms = now;
    if (peer->ping_sent_ms) peer->answered_ms = peer->ping_sent_ms;
    peer->claim_answered_ms = now;
    peer->ping_sent_ms = 0;
    // Asked about a claim, the node says itself that it announces another address now.
    if (peer->claim && !h.ip.empty() && h.ip == peer->claim->ip && h.bus_port == peer->claim->bus_port)
      return MoveTo(peer, *peer->claim);
    if (AsksNow(*r.link)) {
      ++r.link->extra_pings;
      SendPing(r.link_id, MessageType::kPing);
    }
    if (Suspected(*peer)) {
      peer->flags &= ~kPfail;
      state_check_wanted = true;
      WantSave();
    } else if (Failed(*peer)) {
      ClearFailureIfAllowed(peer);
    }
  }
  if (!r.sender || r.sender == me) return;

  LearnRole(r);
  NodeView* claimant = IsPrimary(*r.sender) ? r.sender : PrimaryOf(*r.sender);
  if (!moved_here.empty()) ForgetMovesKnownTo(*r.sender, h.slots);
  if (claimant && claimant->slots != h.slots) {
    if (claimant == r.sender) LearnClaims(r.sender, h.config_epoch, h.slots);
    CorrectStaleClaims(r, claimant);
  }
  ResolveEpochCollision(r.sender);
  LearnGossip(body, r.sender);
  LearnExtensions(body.extensions, r.sender);
  LeaveSubReplication();
}

void Core::Impl::LearnRole(Received& r) {
  NodeView* sender = r.sender;
  const Header& h = r.header;
  if (h.primary.empty()) {
    BecomeKnownPrimary(sender);
    return;
  }
  NodeView* primary = Lookup(h.primary);
  if (primary == sender) return;
  if (IsPrimary(*sender)) {
    Say(Severity::kNotice, "Node {} is now a replica of {}", NodeName(*sender), h.primary.view());
    // A failover inside the shard: what the old primary held and now claims for the new one goes over at once, so
    // that there is no moment with slots of nobody until the new primary speaks for itself.
    const SlotSet moved = sender->slots & h.slots;
    const bool same_shard = primary && primary != me && !primary->is(kHandshake) &&
                            (primary->primary == sender->id || primary->shard_id == sender->shard_id);
    const bool newer = primary && (h.config_epoch > primary->config_epoch ||
                                   (IsPrimary(*primary) && h.config_epoch == primary->config_epoch));
    BecomeKnownReplica(sender, nullptr);
    if (same_shard && newer && moved.any()) {
      BecomeKnownPrimary(primary);
      primary->config_epoch = h.config_epoch;
      for (size_t slot = FirstSlot(moved); slot < kSlotCount; slot = NextSlot(moved, slot))
        AssignSlot(static_cast<Slot>(slot), primary);
      WantDurableSave();
    }
  }
  if (primary) BecomeKnownReplica(sender, primary);
}

}  // namespace tessera::cluster
