// Where nodes are, and whom to believe about it.
//
// Redis believes whoever sends an id. Here a node that turns up under another address is believed
// - if it proves that it knows the cluster's secret, when it has proven so before ("holder"), or
// - if it is of another make (Redis) or new: when somebody answers by that id at the address we dial, and knows of
//   itself no less than we do;
// and in either case only if nobody answers by that id at the old address any more: of a node and a copy of its disk
// the one that is there stays. At its old address a node is believed without a proof (its secret's file may be lost, or
// a Redis may have taken over its data), until it has proven itself to this process once.
//
// A secret is drawn at the first start and kept beside nodes.conf. It is told to Tessera nodes only, on links this node
// dialled itself to the address of a member, as long as that member has not shown that it has it; of two secrets the
// older one wins. Who wants to know whether a peer has it sends a nonce (challenge) and gets a code (proof) over nonce,
// both ids, both ends of the connection and the address the prover announces. The ends are in it so that a stranger in
// between cannot pass off a proof as his own. Behind an address translation they differ: such nodes are treated as
// those of another make. This keeps out strangers who can reach the bus, and neighbours who got a used address. It does
// not keep out who can read or change the traffic between the nodes; the bus is not encrypted.
//
// A node that nobody finds at its address is looked for: where its host name leads now, where others reach it (gossip),
// and at the seeds. Whoever might be found there is asked by a probe: a link that is adopted if the right node answers.
#include <algorithm>

#include "cluster/core_impl.h"

namespace tessera::cluster {
namespace {

constexpr Millis kOldPlaceAnswersMs = 1000;  // the time it has to answer when somebody claims its id elsewhere
constexpr Millis kProbeTimeoutMs = 3000;
constexpr Millis kMissingMs = 500;  // without a link for so long: search
constexpr Millis kSearchPeriodMs = 1000;
constexpr Millis kLongMissingMs = 60000;  // and after that more slowly
constexpr Millis kSlowSearchPeriodMs = 5000;
// Questions and proofs do not wait for the next usual ping: the first few go at once, the others at growing distances.
constexpr int kExtraPingsAtOnce = 3;
constexpr Millis kAskAgainMs = 100;
constexpr Millis kAskAgainMaxMs = 5000;
constexpr int kFailedProofsMax = 7;
constexpr size_t kProbesMax = 64;
constexpr size_t kFormerMax = 8;
constexpr Millis kRenoteMs = 10000;
constexpr std::string_view kFileMark = "tessera-cluster-secret 1";

// Who proves it to whom, the two ends of the connection between them, and the address the prover announces, if any.
struct Statement {
  const NodeId& prover;
  const NodeId& verifier;
  std::string_view prover_ip, verifier_ip, announced_ip;
  uint16_t bus_port;
  std::string Text(std::string_view nonce) const {
    return fmt::format("{}{}{} {} {} {} {}", nonce, prover.view(), verifier.view(), prover_ip, verifier_ip,
                       announced_ip, bus_port);
  }
};

bool SamePlace(const Endpoint& a, const Endpoint& b) { return a.ip == b.ip && a.bus_port == b.bus_port; }

}  // namespace

// ---- the secret ----

void Core::Impl::DrawSecret() {
  secret.created_ms = now;
  for (uint8_t& byte : secret.key) byte = static_cast<uint8_t>(rng());
  former.clear();
  holders.clear();
  up_to_date.clear();
  offered.clear();
}

std::string Core::SecretText() const {
  const Impl& d = *impl_;
  std::string text = fmt::format("{}\nsecret {}\n", kFileMark, d.secret.Text());
  for (const Secret& secret : d.former) text += fmt::format("former {}\n", secret.Text());
  for (const NodeId& id : d.holders) text += fmt::format("holder {}\n", id.view());
  return text;
}

bool Core::LoadSecret(std::string_view text) {
  std::optional<Secret> secret;
  std::vector<Secret> former;
  std::set<NodeId> holders;
  bool first = true;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == text.npos) return false;  // cut short
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    const std::string_view value = line.size() > 7 ? line.substr(7) : std::string_view();
    if (first) {
      if (line != kFileMark) return false;
      first = false;
    } else if (line.starts_with("holder ")) {
      if (!NodeId::IsValid(value)) return false;
      holders.insert(NodeId(value));
    } else if (line.starts_with("secret ") || line.starts_with("former ")) {
      const auto parsed = Secret::Parse(value);
      if (!parsed) return false;
      if (line.starts_with("secret "))
        secret = parsed;
      else
        former.push_back(*parsed);
    } else {
      return false;
    }
  }
  if (!secret) return false;
  impl_->secret = *secret;
  impl_->former = std::move(former);
  impl_->holders = std::move(holders);
  return true;
}

void Core::Impl::AdoptSecret(const Secret& other, const NodeView& from) {
  Say(Severity::kVerbose, "Node {} has an older cluster secret: it is this node's now", NodeName(from));
  former.insert(former.begin(), secret);
  if (former.size() > kFormerMax) former.resize(kFormerMax);
  secret = other;
  up_to_date.clear();
  for (auto& [id, link] : links) link.extra_pings = 0;  // what did not fit may now
  Emit(SaveSecret{});
}

// ---- challenge and proof ----

void Core::Impl::AddProof(Link& link, const NodeView* peer, Extensions& x) {
  if (!(link.abilities & kProvesItself)) return;
  const bool established = !link.inbound && !link.probe && peer && !InHandshake(*peer);
  if (!link.proven || (established && !up_to_date.contains(peer->id))) {
    if (link.nonce.empty())
      for (size_t i = 0; i < kNonceBytes; ++i) link.nonce.push_back(static_cast<char>(rng()));
    x.challenge = link.nonce;
  }
  if (!link.owed.empty()) {
    const std::string& ip = options.announced.ip;
    const uint16_t bus_port = me->endpoint.bus_port;
    const Statement statement{me->id, link.owed_to, link.local_ip, link.peer_ip, ip, bus_port};
    x.proof = Extensions::Proof{AuthenticationCode(secret, statement.Text(link.owed)), ip, bus_port};
    link.owed.clear();
  }
  if (established && !up_to_date.contains(peer->id) && (link.proven || !SharesSecret(*peer))) x.secret = secret;
}

void Core::Impl::LearnProof(Received& r, const Extensions& x) {
  Link& link = *r.link;
  const Header& h = r.header;
  link.abilities = h.abilities;
  link.local_ip = r.event.local_ip;
  link.peer_ip = r.event.peer_ip;
  if (x.challenge && x.challenge->size() == kNonceBytes) {
    link.owed = *x.challenge;
    link.owed_to = h.sender;
  }
  NodeView* node = r.known;
  if (!node || node == me) return;
  const bool at_home = !link.inbound && !link.probe && link.node == node;
  if (at_home && !(h.abilities & kProvesItself)) node->proven = false;  // a Redis has taken over its place
  if (x.secret && *x.secret != secret) offered[node->id] = *x.secret;
  if (!x.proof || link.nonce.empty()) return;

  const Statement statement{node->id, me->id, link.peer_ip, link.local_ip, x.proof->ip, x.proof->bus_port};
  const std::string text = statement.Text(link.nonce);
  auto fits = [&](const Secret& s) { return AuthenticationCode(s, text) == x.proof->code; };
  link.nonce.clear();
  bool current = fits(secret);
  bool known = current || std::any_of(former.begin(), former.end(), fits);
  if (!known && at_home) {
    if (auto it = offered.find(node->id); it != offered.end() && it->second < secret && fits(it->second)) {
      AdoptSecret(it->second, *node);
      known = current = true;
    }
  }
  if (!known) {
    ++link.failed_proofs;
    if (at_home && link.failed_proofs > kFailedProofsMax) node->proven = false;  // its secret is lost
    return;
  }
  link.proven = node->proven = true;
  link.proven_at = Endpoint{.ip = x.proof->ip.empty() ? link.peer_ip : x.proof->ip, .bus_port = x.proof->bus_port};
  if (current) up_to_date.insert(node->id);
  if (holders.insert(node->id).second) Emit(SaveSecret{});
}

// A link we dialled, on which something is to be proven by either side, and it is time for a ping about it.
bool Core::Impl::AsksNow(const Link& link) const {
  if (link.inbound || link.probe || !link.open || !link.node || InHandshake(*link.node)) return false;
  if (!(link.abilities & kProvesItself)) return false;
  if (link.owed.empty() && link.proven && up_to_date.contains(link.node->id)) return false;
  if (link.extra_pings < kExtraPingsAtOnce) return true;
  const int doublings = std::min(link.extra_pings - kExtraPingsAtOnce, 10);
  return now - link.last_ping_ms >= std::min(kAskAgainMs << doublings, kAskAgainMaxMs);
}

// Whether what comes by this link is the word of the node it names (r.known).
bool Core::Impl::Trusts(const Received& r) const {
  const NodeView& node = *r.known;
  if (!r.link->inbound) return r.link->node == r.known;
  if (r.link->proven) return true;
  if (node.proven) return false;
  const Endpoint place = EndpointFrom(r);
  if (place.bus_port != node.endpoint.bus_port) return false;
  // What a header says of its origin is easily said: not enough for a node that could prove itself.
  if (SharesSecret(node)) return place.ip == node.endpoint.ip && r.event.peer_ip == node.endpoint.ip;
  return place.ip == node.endpoint.ip || (!node.other_ip.empty() && place.ip == node.other_ip);
}

// ---- claims ----

void Core::Impl::OnClaim(const Received& r) {
  NodeView* node = r.known;
  const Link& link = *r.link;
  const Endpoint place = EndpointFrom(r);
  if (SamePlace(place, node->endpoint)) {
    // Client ports are not what makes a place.
    if (r.sender && (place.port != node->endpoint.port || place.tls_port != node->endpoint.tls_port)) {
      node->endpoint.port = place.port;
      node->endpoint.tls_port = place.tls_port;
      map_changed = true;
      WantSave();
    }
    return;
  }
  if (link.proven) {
    if (SamePlace(link.proven_at, place)) return Claim(node, place);
    r.link->proven = false;  // it announces another address than it proved: to be proven anew
    return;
  }
  if (!SharesSecret(*node)) {
    Probe(node, place, false);
    return;
  }
  if (!(link.abilities & kProvesItself) || link.failed_proofs)
    RefuseClaim(node, place, "it does not prove to be of this cluster");
}

void Core::Impl::RefuseClaim(NodeView* node, const Endpoint& place, std::string_view why) {
  if (now - node->refusal_noted_ms < kRenoteMs) return;
  node->refusal_noted_ms = now;
  Say(Severity::kWarning,
      "Somebody at {}:{} says to be node {}: not believed, because {}. If it is right, use CLUSTER MEET", place.ip,
      place.bus_port, NodeName(*node), why);
}

void Core::Impl::Claim(NodeView* node, const Endpoint& place) {
  if (!node->outbound_connected) return MoveTo(node, place);
  if (node->claim && SamePlace(*node->claim, place)) return;
  node->claim = place;
  node->claim_ms = now;
  node->claim_answered_ms = 0;
  SendPing(node->outbound, MessageType::kPing);
}

void Core::Impl::SettleClaims() {
  for (auto& [id, node] : nodes) {
    if (!node.claim) continue;
    const Endpoint place = *node.claim;
    if (!node.outbound_connected || (!node.claim_answered_ms && now - node.claim_ms >= kOldPlaceAnswersMs)) {
      MoveTo(&node, place);
    } else if (node.claim_answered_ms) {
      RefuseClaim(&node, place, "the node answers at the address known here");
      node.claim.reset();
    }
  }
}

void Core::Impl::MoveTo(NodeView* node, Endpoint to) {
  node->claim.reset();
  node->other_ip.clear();
  to.hostname = node->endpoint.hostname;
  to.client = node->endpoint.client;
  if (to == node->endpoint && !node->is(kNoAddress)) return;
  if (node->outbound) CloseLinkById(node->outbound);
  node->endpoint = std::move(to);
  node->flags &= ~kNoAddress;
  state_check_wanted = map_changed = true;
  WantSave();
  Say(Severity::kNotice, "Address of node {} is now {}:{}; dialling it there next", node->id.view(), node->endpoint.ip,
      MainPort(node->endpoint));
}

// ---- probes ----

// False = no need: one is under way, or nobody could be there.
bool Core::Impl::Probe(NodeView* node, const Endpoint& target, bool by_name) {
  if (!by_name && (target.ip.empty() || target.bus_port == 0 || SamePlace(target, me->endpoint))) return false;
  size_t probes = 0;
  for (const auto& [id, link] : links) {
    if (!link.probe) continue;
    if (by_name ? link.by_name && link.node == node : !link.by_name && SamePlace(link.target, target)) return false;
    if (++probes >= kProbesMax) return false;
  }
  const LinkId id = next_link++;
  Link& link = links[id];
  link.node = node;
  link.created_ms = now;
  link.probe = true;
  link.by_name = by_name;
  link.target = target;
  Emit(OpenLink{id, node ? node->id : NodeId(), target.ip, target.bus_port, target.hostname, by_name});
  return true;
}

void Core::Impl::ReceiveOnProbe(Received& r) {
  if (r.header.type != MessageType::kPong) return;
  Link& link = *r.link;
  NodeView* node = r.known;
  if (!node || node == me) return CloseLinkById(r.link_id);
  Endpoint place = EndpointFrom(r);
  place.ip = r.event.peer_ip;
  place.bus_port = link.target.bus_port;
  const bool can_prove = link.abilities & kProvesItself;
  if (can_prove && !link.proven && link.extra_pings < (SharesSecret(*node) ? 4 : 2)) {
    ++link.extra_pings;
    return SendPing(r.link_id, MessageType::kPing);
  }
  auto refuse = [&](std::string_view why) {
    RefuseClaim(node, place, why);
    CloseLinkById(r.link_id);
  };
  if (!link.proven && SharesSecret(*node)) {
    if (!SamePlace(place, node->endpoint)) return refuse("it does not prove to be of this cluster");
    // At home, after all: the link of its own will see to it.
    return CloseLinkById(r.link_id);
  }
  if (link.proven && !SamePlace(link.proven_at, place)) {
    const Endpoint says = link.proven_at;
    CloseLinkById(r.link_id);
    if (!node->outbound_connected || !SamePlace(says, node->endpoint)) Probe(node, says, false);
    return;
  }
  if (!link.proven && r.header.config_epoch < node->config_epoch)
    return refuse("it knows less of itself than is known here");
  if (node->outbound_connected) {
    CloseLinkById(r.link_id);
    if (SamePlace(place, node->endpoint)) return;
    if (SharesSecret(*node)) return Claim(node, place);
    node->other_ip = place.ip;
    return;
  }
  // Found: the probe becomes the link to it.
  MoveTo(node, place);
  if (node->outbound) CloseLinkById(node->outbound);
  link.probe = link.by_name = false;
  link.node = node;
  node->outbound = r.link_id;
  node->outbound_connected = true;
  node->outbound_created_ms = now;
  node->ping_sent_ms = link.last_ping_ms;
  r.sender = node;
  LearnHeader(r);
  ReceiveGossipMessage(r);
}

void Core::Impl::TickAddresses() {
  SettleClaims();
  std::vector<LinkId> expired, unproven;
  for (auto& [id, link] : links) {
    if (link.probe && now - link.created_ms > kProbeTimeoutMs) expired.push_back(id);
    if (AsksNow(link)) unproven.push_back(id);
  }
  for (LinkId id : expired) CloseLinkById(id);
  for (LinkId id : unproven) {
    Link& link = links[id];
    ++link.extra_pings;
    SendPing(id, MessageType::kPing);
  }

  bool missing = false, lately = false;
  for (auto& [id, node] : nodes) {
    if (&node == me || InHandshake(node)) continue;
    if (node.outbound_connected) {
      node.lost_since_ms = 0;
      continue;
    }
    if (!node.lost_since_ms) node.lost_since_ms = now;
    const Millis lost_ms = now - node.lost_since_ms;
    if (lost_ms < kMissingMs) continue;
    missing = true;
    lately |= lost_ms < kLongMissingMs;
    if (node.endpoint.hostname.empty() || now < node.next_probe_ms) continue;
    node.next_probe_ms = now + (lost_ms < kLongMissingMs ? kSearchPeriodMs : kSlowSearchPeriodMs);
    Endpoint target = node.endpoint;
    if (target.bus_port == 0) target.bus_port = me->endpoint.bus_port;
    Probe(&node, target, true);
  }
  if (!missing || !options.has_seeds || now < next_seeds_ms) return;
  next_seeds_ms = now + (lately ? kSearchPeriodMs : kSlowSearchPeriodMs);
  Emit(AskSeeds{});
}

void Core::Impl::OnSeeds(const SeedsResolved& seeds) {
  for (const Endpoint& address : seeds.addresses) {
    const bool linked = std::any_of(nodes.begin(), nodes.end(), [&](const auto& entry) {
      return entry.second.outbound_connected && SamePlace(entry.second.endpoint, address);
    });
    if (!linked) Probe(nullptr, address, false);
  }
}

void Core::Impl::OnOwnAddress(const OwnAddress& event) {
  if (!options.announced.ip.empty() || event.ip.empty() || event.ip == me->endpoint.ip) return;
  me->endpoint.ip = event.ip;
  map_changed = true;
  WantSave();
  Say(Severity::kNotice, "This node's address is now {}", event.ip);
}

}  // namespace tessera::cluster
