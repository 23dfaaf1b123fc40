// A byte stream to another machine for everything that is not a client: the cluster bus, replication, MIGRATE.
// Connects or takes over an accepted socket, buffers what is sent, hands over what arrives. Loop thread; callbacks come
// from the loop, never from within a call of the owner.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

class EventLoop;

class TcpLink : public std::enable_shared_from_this<TcpLink> {
 public:
  struct Events {
    std::function<void()> connected;                      // outbound only
    std::function<void(std::string_view bytes)> received; // everything that arrived; the receiver keeps what it needs
    std::function<void(const std::string& reason)> closed;  // once; the link is dead afterwards
    std::function<void()> drained = {};                   // everything sent has left; optional
  };
  struct Target {
    std::string host;  // numeric address or host name; names are resolved on a helper thread
    uint16_t port = 0;
    std::string source_address = {};  // bind-source-addr; empty = any
    int timeout_ms = 5000;            // for connecting; then Events::closed says so
  };
  static std::shared_ptr<TcpLink> Connect(EventLoop& loop, Target target, Events events);
  static std::shared_ptr<TcpLink> Adopt(EventLoop& loop, int fd, Events events);
  ~TcpLink();

  void Send(std::string_view bytes);
  size_t pending() const;          // bytes not yet handed to the kernel
  // No more callbacks; what is pending is dropped.
  void Close();
  bool open() const;
  // While true nothing is read, so that a receiver can push back.
  void PauseReading(bool paused);
  // Numeric addresses of both ends; empty before it is connected.
  std::string peer_ip() const;
  std::string local_ip() const;
  uint16_t peer_port() const;

 private:
  struct Impl;
  explicit TcpLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Listens and hands over accepted sockets (non-blocking, close-on-exec, TCP_NODELAY) with the peer's address.
class TcpAcceptor {
 public:
  using Accepted = std::function<void(int fd, const std::string& peer_ip, uint16_t peer_port)>;
  // One acceptor per word of `bind` ("*", "::*", an address, a host name), added to `acceptors`. A word with "-" before
  // it is passed over when its address does not exist here, every word when its protocol does not. Empty = done,
  // otherwise why not; the acceptors made until then stay in the list.
  static std::string Listen(EventLoop& loop, const std::vector<std::string>& bind, uint16_t port, int backlog,
                            const Accepted& accepted, std::vector<std::unique_ptr<TcpAcceptor>>& acceptors);
  // Null with `error` set when it cannot.
  // `path` is unlinked first and on destruction. `mode` 0 = leave the umask's.
  static std::unique_ptr<TcpAcceptor> ListenUnix(EventLoop& loop, const std::string& path, unsigned mode, int backlog,
                                                 Accepted accepted, std::string* error);
  ~TcpAcceptor();
  std::string address() const;  // "ip:port", "[ip]:port" or the path, for the log

 private:
  struct Impl;
  explicit TcpAcceptor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera
