// A small HTTP/1.1 server for monitoring (metrics, probes), on the same loop as everything else and out of its way:
// GET and HEAD, small requests, few connections, all with deadlines. What a client does wrong costs it its connection.
// Loop thread. The library behind it (Boost.Beast) stays inside http_server.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

class EventLoop;

class HttpServer {
 public:
  struct Response {
    int status = 200;
    std::string content_type = "text/plain; charset=utf-8";
    std::string body;
  };
  // `path` without the query. Called from the loop.
  using Handler = std::function<Response(std::string_view path)>;
  struct Limits {
    size_t connections = 16;  // one more closes the oldest: whoever sits on connections keeps no probe out
    uint32_t header_bytes = 8 << 10;
    int request_ms = 10'000;  // for a whole request to arrive, the wait on an idle connection included, ...
    int reply_ms = 10'000;    // ... and for its reply to leave
  };

  HttpServer(EventLoop& loop, Handler handler) : HttpServer(loop, std::move(handler), Limits()) {}
  HttpServer(EventLoop& loop, Handler handler, Limits limits);
  ~HttpServer();

  // Closes earlier listeners and connections; port 0 only that. Empty = listening, otherwise why not.
  std::string Listen(const std::vector<std::string>& bind, uint16_t port, int backlog);
  const std::vector<std::string>& listening() const;
  size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera
