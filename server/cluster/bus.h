// The cluster bus's sockets: framed messages in, bytes out, links named by the core's LinkIds. Loop thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/core.h"
#include "server/net/tcp_link.h"

namespace tessera {

class EventLoop;

class ClusterBus {
 public:
  // What happens on links; called from the loop, never from within a call of the owner.
  using OnEvent = std::function<void(const cluster::Event&)>;
  // Whether a known node is at the other end: only such may send large messages.
  using IsKnown = std::function<bool(cluster::LinkId)>;
  ClusterBus(EventLoop& loop, OnEvent on_event, IsKnown is_known)
      : loop_(loop), on_event_(std::move(on_event)), is_known_(std::move(is_known)) {}

  // Empty = listening on all addresses, otherwise why not.
  std::string Listen(const std::vector<std::string>& addresses, uint16_t port, int backlog);
  void Open(const cluster::OpenLink& open, int timeout_ms, const std::string& source_address);
  // `limit` bytes may wait at most (0 = any number); beyond it the link is closed and the core told.
  void Send(cluster::LinkId link, std::string_view bytes, size_t limit);
  void Close(cluster::LinkId link);

  struct Figures {
    cluster::LinkId link;
    size_t pending;   // bytes not yet sent
    size_t received;  // bytes kept of a message that has not arrived whole
  };
  std::vector<Figures> figures() const;
  size_t links() const { return links_.size(); }

 private:
  struct Link {
    std::shared_ptr<TcpLink> tcp;
    std::string received;  // not yet a whole message
  };
  void Accept(int fd);
  TcpLink::Events EventsOf(cluster::LinkId id);
  void Received(cluster::LinkId id, std::string_view bytes);
  void Lost(cluster::LinkId id, bool over_limit);

  EventLoop& loop_;
  OnEvent on_event_;
  IsKnown is_known_;
  std::vector<std::unique_ptr<TcpAcceptor>> acceptors_;
  std::map<cluster::LinkId, Link> links_;
  cluster::LinkId next_inbound_ = cluster::kInboundLinkBit;
};

}  // namespace tessera
