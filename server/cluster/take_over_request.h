// Asks a replica of another make to take over, as an operator would: one connection to its client port, AUTH with this
// node's own masterauth (nodes of a cluster share it), CLUSTER FAILOVER. Only failure is told; what comes of a success
// is seen on the bus. Loop thread; dropping the request closes its connection.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cluster/types.h"
#include "server/config/config.h"
#include "server/net/tcp_link.h"

namespace tessera {

class TakeOverRequest {
 public:
  using Refused = std::function<void(const std::string& reason)>;
  TakeOverRequest(EventLoop& loop, const config::Config& config, const cluster::Endpoint& replica, Refused refused);
  ~TakeOverRequest() { link_->Close(); }

 private:
  void Received(std::string_view bytes);
  void Fail(const std::string& reason);

  Refused refused_;
  std::string input_;
  int answers_due_ = 1;
  std::shared_ptr<TcpLink> link_;
};

}  // namespace tessera
