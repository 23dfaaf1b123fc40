#include "server/cluster/bus.h"

#include <fmt/core.h>

#include "server/log.h"
#include "server/net/event_loop.h"

namespace tessera {

namespace {

// Longest message of somebody unknown: a ping that tells of ten thousand nodes.
constexpr uint32_t kStrangersMessageMax = 1u << 20;

}  // namespace

std::string ClusterBus::Listen(const std::vector<std::string>& addresses, uint16_t port, int backlog) {
  const std::string error = TcpAcceptor::Listen(
      loop_, addresses, port, backlog, [this](int fd, const std::string&, uint16_t) { Accept(fd); }, acceptors_);
  if (!error.empty()) return fmt::format("Could not listen for the cluster bus: {}", error);
  if (acceptors_.empty()) return fmt::format("Could not listen for the cluster bus on port {}: no address available", port);
  return {};
}

TcpLink::Events ClusterBus::EventsOf(cluster::LinkId id) {
  return {.connected = [this, id] { on_event_(cluster::LinkOpened{id}); },
          .received = [this, id](std::string_view bytes) { Received(id, bytes); },
          .closed =
              [this, id](const std::string& reason) {
                log::Debug("Cluster bus link {:x} closed: {}", id, reason);
                Lost(id, false);
              }};
}

void ClusterBus::Accept(int fd) {
  const cluster::LinkId id = ++next_inbound_;
  links_[id].tcp = TcpLink::Adopt(loop_, fd, EventsOf(id));
  on_event_(cluster::LinkAccepted{id});
}

void ClusterBus::Open(const cluster::OpenLink& open, int timeout_ms, const std::string& source_address) {
  links_[open.link].tcp = TcpLink::Connect(loop_,
                                           {.host = open.by_name ? open.hostname : open.ip,
                                            .port = open.bus_port,
                                            .source_address = source_address,
                                            .timeout_ms = timeout_ms},
                                           EventsOf(open.link));
}

void ClusterBus::Received(cluster::LinkId id, std::string_view bytes) {
  auto it = links_.find(id);
  if (it == links_.end()) return;
  const std::string peer_ip = it->second.tcp->peer_ip();
  const std::string local_ip = it->second.tcp->local_ip();
  it->second.received.append(bytes);
  // The buffer is taken out: the core may have the link closed in the middle.
  std::string pending = std::move(it->second.received);
  it->second.received.clear();
  std::string_view rest = pending;
  while (rest.size() >= cluster::kMessagePrefix) {
    const auto length = cluster::FramedLength(rest);
    if (!length || (*length > kStrangersMessageMax && !is_known_(id))) {
      log::Warning("A peer at {} does not speak the cluster bus protocol; its link is closed", peer_ip);
      it->second.tcp->Close();
      return Lost(id, false);
    }
    if (*length == 0 || rest.size() < *length) break;
    on_event_(cluster::MessageReceived{id, rest.substr(0, *length), peer_ip, local_ip});
    it = links_.find(id);
    if (it == links_.end()) return;
    rest.remove_prefix(*length);
  }
  it->second.received.assign(rest);
}

void ClusterBus::Send(cluster::LinkId id, std::string_view bytes, size_t limit) {
  auto it = links_.find(id);
  if (it == links_.end()) return;
  TcpLink& tcp = *it->second.tcp;
  if (limit != 0 && tcp.pending() + bytes.size() > limit) {
    log::Warning("Cluster bus link to {} holds {} unsent bytes, more than cluster-link-sendbuf-limit: it is closed",
                 tcp.peer_ip(), tcp.pending());
    tcp.Close();
    loop_.Post([this, id] { Lost(id, true); });
    return;
  }
  tcp.Send(bytes);
}

void ClusterBus::Close(cluster::LinkId id) {
  auto it = links_.find(id);
  if (it == links_.end()) return;
  it->second.tcp->Close();
  links_.erase(it);
}

void ClusterBus::Lost(cluster::LinkId id, bool over_limit) {
  if (links_.erase(id) != 0) on_event_(cluster::LinkClosed{id, over_limit});
}

std::vector<ClusterBus::Figures> ClusterBus::figures() const {
  std::vector<Figures> all;
  for (const auto& [id, link] : links_) all.push_back({id, link.tcp->pending(), link.received.size()});
  return all;
}

}  // namespace tessera
