#include "tests/sim/network.h"

namespace tessera::sim {

Network::Network(Scheduler& scheduler, Random& random, Hosts& hosts, int node_count)
    : scheduler_(scheduler),
      random_(random),
      hosts_(hosts),
      node_count_(node_count),
      paths_(static_cast<size_t>(node_count * node_count)),
      base_latency_ms_(random.Between(0, 4)) {}

Network::ConnectionPtr Network::Find(int node, LinkId link, int* side) const {
  auto end = ends_.find({node, link});
  if (end == ends_.end()) return nullptr;
  *side = end->second.second;
  return connections_.at(end->second.first);
}

void Network::Dial(int node, LinkId link, const std::string& ip, uint16_t bus_port) {
  auto c = std::make_shared<Connection>();
  c->id = next_id_++;
  c->node[0] = node;
  c->node[1] = hosts_.NodeAt(ip, bus_port);
  c->life[0] = hosts_.Life(node);
  c->link[0] = link;
  c->ip[0] = hosts_.Address(node);
  c->ip[1] = ip;
  connections_[c->id] = c;
  ends_[{node, link}] = {c->id, 0};
  if (c->node[1] >= 0) Push(c, 0, Kind::kSyn);  // an address nobody has never answers
}

void Network::Send(int node, LinkId link, std::string bytes) {
  int side = 0;
  ConnectionPtr c = Find(node, link, &side);
  if (!c || !c->open[side]) return;
  if (bytes.size() > 1 && random_.Chance(0.02)) {
    size_t cut = static_cast<size_t>(random_.Between(1, static_cast<int64_t>(bytes.size()) - 1));
    Push(c, side, Kind::kData, bytes.substr(0, cut));
    Push(c, side, Kind::kData, bytes.substr(cut));
  } else {
    Push(c, side, Kind::kData, std::move(bytes));
  }
}

void Network::Close(int node, LinkId link) {
  int side = 0;
  ConnectionPtr c = Find(node, link, &side);
  if (!c) return;
  if (c->node[1] >= 0) Push(c, side, Kind::kReset);
  EndClosed(c, side);
}

bool Network::IsOpen(int node, LinkId link) const {
  int side = 0;
  ConnectionPtr c = Find(node, link, &side);
  return c && c->open[side];
}

int Network::PeerOf(int node, LinkId link) const {
  int side = 0;
  ConnectionPtr c = Find(node, link, &side);
  return c ? c->node[1 - side] : -1;
}

void Network::ProcessDied(int node, bool power_lost) {
  std::vector<std::pair<ConnectionPtr, int>> mine;
  for (auto it = ends_.lower_bound({node, 0}); it != ends_.end() && it->first.first == node; ++it)
    mine.emplace_back(connections_.at(it->second.first), it->second.second);
  for (auto& [c, side] : mine) {
    if (!power_lost && c->node[1] >= 0) Push(c, side, Kind::kReset);
    c->silent[side] = power_lost;
    EndClosed(c, side);
  }
}

void Network::EndClosed(const ConnectionPtr& c, int side) {
  c->closed[side] = true;
  c->open[side] = false;
  ends_.erase({c->node[side], c->link[side]});
  if (c->closed[0] && (c->closed[1] || c->node[1] < 0)) connections_.erase(c->id);
}

void Network::Push(const ConnectionPtr& c, int side, Kind kind, std::string bytes) {
  Stream& s = c->from[side];
  Millis latency = base_latency_ms_ + random_.Below(3) + path(c->node[side], c->node[1 - side]).extra_ms;
  if (random_.Chance(0.01)) latency += random_.Below(200);
  s.last_at = std::max(s.last_at, scheduler_.now() + latency);
  s.queue.push_back({s.last_at, kind, std::move(bytes)});
  scheduler_.At(s.last_at, [this, weak = std::weak_ptr<Connection>(c), side] {
    if (auto live = weak.lock()) PumpStream(live, side);
  });
}

void Network::PumpStream(const ConnectionPtr& c, int side) {
  int from = c->node[side], to = c->node[1 - side];
  Stream& s = c->from[side];
  while (!s.queue.empty() && s.queue.front().at <= scheduler_.now()) {
    if (path(from, to).blocked || path(from, to).stalled_until > scheduler_.now()) return;
    if (!hosts_.Powered(to)) return;  // retransmitted until it is back
    Kind kind = s.queue.front().kind;
    if (hosts_.Alive(to) && hosts_.Paused(to) && kind != Kind::kSyn) return;  // waits in the kernel's buffer
    Segment segment = std::move(s.queue.front());
    s.queue.pop_front();
    Arrive(c, 1 - side, std::move(segment));
  }
}

// `side` is the receiver's.
void Network::Arrive(const ConnectionPtr& c, int side, Segment segment) {
  int node = c->node[side];
  if (segment.kind == Kind::kSyn) {
    if (hosts_.Address(node) != c->ip[1]) return;  // the host has moved: nobody is there any more
    if (!hosts_.Alive(node)) {
      c->closed[1] = true;
      return Push(c, side, Kind::kReset);  // refused
    }
    c->life[1] = hosts_.Life(node);
    c->from[0].queue.push_front({scheduler_.now(), Kind::kAccept, {}});
    return Push(c, side, Kind::kSynAck);
  }
  if (c->closed[side]) {
    if (c->silent[side] && segment.kind != Kind::kReset) Push(c, side, Kind::kReset);
    c->silent[side] = false;
    return;
  }
  if (!hosts_.Alive(node) || hosts_.Life(node) != c->life[side]) {
    // The process this connection belonged to is gone.
    if (side == 1 && c->link[1] == 0) c->closed[1] = true;
    if (!c->closed[side]) EndClosed(c, side);
    if (segment.kind != Kind::kReset) Push(c, side, Kind::kReset);
    return;
  }
  switch (segment.kind) {
    case Kind::kSyn:
      break;
    case Kind::kAccept:
      c->link[1] = hosts_.NewInboundLink(node);
      c->open[1] = true;
      ends_[{node, c->link[1]}] = {c->id, 1};
      hosts_.OnAccepted(node, c->link[1]);
      break;
    case Kind::kSynAck:
      c->open[0] = true;
      hosts_.OnOpened(node, c->link[0]);
      break;
    case Kind::kData:
      c->from[1 - side].received += segment.bytes;
      Frames(c, side);
      break;
    case Kind::kReset: {
      LinkId link = c->link[side];
      EndClosed(c, side);
      if (link != 0) hosts_.OnClosed(node, link);
      break;
    }
  }
}

void Network::Frames(const ConnectionPtr& c, int side) {
  std::string& received = c->from[1 - side].received;
  uint32_t life = c->life[side];
  while (c->open[side]) {
    std::optional<uint32_t> length = cluster::FramedLength(received);
    if (!length) return hosts_.OnBrokenStream(c->node[side], c->link[side]);
    if (*length == 0 || received.size() < *length) return;
    std::string message = received.substr(0, *length);
    received.erase(0, *length);
    hosts_.OnMessage(c->node[side], c->link[side], message, c->ip[1 - side], c->ip[side]);
    if (!hosts_.Alive(c->node[side]) || hosts_.Life(c->node[side]) != life) return;
  }
}

void Network::Pump(int node) {
  std::vector<ConnectionPtr> all;
  for (auto& [id, c] : connections_)
    if (c->node[0] == node || c->node[1] == node) all.push_back(c);
  for (auto& c : all)
    for (int side : {0, 1})
      if (c->node[1] >= 0) PumpStream(c, side);
}

void Network::Unblock(int from, int to) {
  path(from, to).blocked = false;
  Pump(to);
}

void Network::UnblockAll() {
  for (Path& p : paths_) p = Path{};
  for (int n = 0; n < node_count_; ++n) Pump(n);
}

void Network::Stall(int from, int to, Millis duration) {
  path(from, to).stalled_until = scheduler_.now() + duration;
  scheduler_.After(duration, [this, to] { Pump(to); });
}

bool Network::CutOne(int node) {
  std::vector<std::pair<ConnectionPtr, int>> mine;
  for (auto it = ends_.lower_bound({node, 0}); it != ends_.end() && it->first.first == node; ++it) {
    ConnectionPtr c = connections_.at(it->second.first);
    if (c->open[0] && c->open[1]) mine.emplace_back(c, it->second.second);
  }
  if (mine.empty()) return false;
  ConnectionPtr c = mine[random_.Below(static_cast<int64_t>(mine.size()))].first;
  for (int side : {0, 1}) {
    std::deque<Segment>& queue = c->from[side].queue;
    if (queue.size() > 1) queue.resize(1);
    if (!queue.empty() && queue.front().bytes.size() > 1) queue.front().bytes.resize(queue.front().bytes.size() / 2);
    c->from[side].last_at = 0;
    Push(c, side, Kind::kReset);
  }
  return true;
}

}  // namespace tessera::sim
