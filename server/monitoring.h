// What monitoring and orchestration ask over HTTP (metrics-port): /metrics for Prometheus, /healthz (alive: the loop
// turns), /readyz (worth sending clients to: loaded, synchronised, the cluster ok). Loop thread.
#pragma once

#include <string>

#include "server/net/http_server.h"
#include "server/services.h"

namespace tessera {

class EventLoop;

// Why this server should get no clients now, or empty.
std::string NotReadyReason(const Services& services);

class Monitoring {
 public:
  Monitoring(EventLoop& loop, const Services& services);

  // As the configuration says; earlier listeners are closed. Empty = done (also when it is off), otherwise why not.
  std::string Listen();

 private:
  HttpServer::Response Answer(std::string_view path) const;

  EventLoop& loop_;
  const Services& services_;
  HttpServer http_;
};

}  // namespace tessera
