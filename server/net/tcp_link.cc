#include "server/net/tcp_link.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstring>
#include <optional>

#include "protocol/output_buffer.h"
#include "server/net/event_loop.h"

namespace tessera {
namespace {

using boost::asio::ip::tcp;
using Descriptor = boost::asio::posix::stream_descriptor;
constexpr size_t kReadBytes = 64 << 10;
constexpr int kAcceptsPerEvent = 1000;

std::string Errno(int error) { return std::strerror(error); }

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  static std::optional<Address> Of(const std::string& ip, uint16_t port) {
    Address address;
    if (auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage); inet_pton(AF_INET, ip.c_str(), &v4->sin_addr) == 1) {
      v4->sin_family = AF_INET;
      v4->sin_port = htons(port);
      address.length = sizeof *v4;
      return address;
    }
    boost::system::error_code error;
    const auto v6 = boost::asio::ip::make_address_v6(ip, error);  // understands fe80::1%eth0
    if (error) return std::nullopt;
    const tcp::endpoint endpoint(v6, port);
    std::memcpy(&address.storage, endpoint.data(), endpoint.size());
    address.length = static_cast<socklen_t>(endpoint.size());
    return address;
  }
  std::string ip() const {
    char text[INET6_ADDRSTRLEN] = "";
    if (storage.ss_family == AF_INET) {
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr, text, sizeof text);
    } else if (storage.ss_family == AF_INET6) {
      const auto& v6 = reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr;
      if (IN6_IS_ADDR_V4MAPPED(&v6)) {
        inet_ntop(AF_INET, v6.s6_addr + 12, text, sizeof text);
      } else {
        inet_ntop(AF_INET6, &v6, text, sizeof text);
      }
    }
    return text;
  }
  uint16_t port() const {
    if (storage.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
    if (storage.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
    return 0;
  }
};

}  // namespace

struct TcpLink::Impl {
  Impl(EventLoop& loop, Events events) : loop(loop), events(std::move(events)), fd(loop.io()), resolver(loop.io()) {}

  EventLoop& loop;
  Events events;
  Descriptor fd;
  tcp::resolver resolver;
  std::unique_ptr<EventLoop::Timer> connect_timeout;
  protocol::OutputBuffer out;
  bool connected = false, dead = false, reading = false, writing = false, paused = false;
  Address peer, local;

  void LearnAddresses() {
    peer.length = local.length = sizeof(sockaddr_storage);
    getpeername(fd.native_handle(), reinterpret_cast<sockaddr*>(&peer.storage), &peer.length);
    getsockname(fd.native_handle(), reinterpret_cast<sockaddr*>(&local.storage), &local.length);
  }
};

TcpLink::TcpLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TcpLink::~TcpLink() = default;

namespace {

// The free functions below are the link's state machine; they keep the link alive through `self`.
template <typename Link, typename Impl>
void Die(const std::shared_ptr<Link>& self, Impl& impl, const std::string& reason) {
  if (impl.dead) return;
  impl.dead = true;
  impl.connect_timeout.reset();
  boost::system::error_code ignored;
  impl.fd.close(ignored);
  auto closed = std::move(impl.events.closed);
  impl.events = {};
  if (closed) closed(reason);
  (void)self;
}

template <typename Link, typename Impl>
void WaitReadable(const std::shared_ptr<Link>& self, Impl& impl) {
  if (impl.dead || impl.reading || impl.paused || !impl.connected) return;
  impl.reading = true;
  impl.fd.async_wait(Descriptor::wait_read, [self, &impl](const boost::system::error_code& error) {
    impl.reading = false;
    if (error || impl.dead) return;
    char bytes[kReadBytes];
    const ssize_t n = recv(impl.fd.native_handle(), bytes, sizeof bytes, 0);
    if (n == 0) return Die(self, impl, "connection closed by peer");
    if (n < 0 && errno != EAGAIN && errno != EINTR) return Die(self, impl, Errno(errno));
    if (n > 0 && impl.events.received) {
      // A copy: the receiver may close the link, and with it its own events, in the middle of the call.
      auto received = impl.events.received;
      received({bytes, static_cast<size_t>(n)});
    }
    WaitReadable(self, impl);
  });
}

template <typename Link, typename Impl>
void Flush(const std::shared_ptr<Link>& self, Impl& impl) {
  while (!impl.out.empty()) {
    iovec parts[64];
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = static_cast<size_t>(impl.out.Peek(parts, 64));
    const ssize_t n = sendmsg(impl.fd.native_handle(), &message, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) return Die(self, impl, Errno(errno));
    impl.out.Consume(static_cast<size_t>(n));
  }
  if (impl.out.empty()) {
    if (impl.events.drained) {
      auto drained = impl.events.drained;
      drained();
    }
    return;
  }
  if (impl.writing) return;
  impl.writing = true;
  impl.fd.async_wait(Descriptor::wait_write, [self, &impl](const boost::system::error_code& error) {
    impl.writing = false;
    if (!error && !impl.dead) Flush(self, impl);
  });
}

template <typename Link, typename Impl>
void StartConnecting(const std::shared_ptr<Link>& self, Impl& impl, const Address& to, const std::string& source) {
  const int fd = socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Die(self, impl, Errno(errno));
  impl.fd.assign(fd);
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (!source.empty()) {
    auto from = Address::Of(source, 0);
    if (from) {
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
      if (bind(fd, reinterpret_cast<sockaddr*>(&from->storage), from->length) != 0)
        return Die(self, impl, fmt::format("cannot bind source address {}: {}", source, Errno(errno)));
    }
  }
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to.storage), to.length) != 0 && errno != EINPROGRESS)
    return Die(self, impl, Errno(errno));
  impl.fd.async_wait(Descriptor::wait_write, [self, &impl](const boost::system::error_code& error) {
    if (error || impl.dead) return;
    int result = 0;
    socklen_t length = sizeof result;
    getsockopt(impl.fd.native_handle(), SOL_SOCKET, SO_ERROR, &result, &length);
    if (result != 0) return Die(self, impl, Errno(result));
    impl.connect_timeout.reset();
    impl.connected = true;
    impl.LearnAddresses();
    if (impl.events.connected) {
      auto connected = impl.events.connected;
      connected();
    }
    if (impl.dead) return;
    WaitReadable(self, impl);
    Flush(self, impl);
  });
}

}  // namespace

std::shared_ptr<TcpLink> TcpLink::Connect(EventLoop& loop, Target target, Events events) {
  std::shared_ptr<TcpLink> self(new TcpLink(std::make_unique<Impl>(loop, std::move(events))));
  Impl& impl = *self->impl_;
  std::weak_ptr<TcpLink> weak = self;
  impl.connect_timeout = loop.After(target.timeout_ms, [weak] {
    if (auto link = weak.lock()) Die(link, *link->impl_, "connection attempt timed out");
  });
  // Posted, so that no callback comes before the owner holds the link.
  loop.Post([self, target = std::move(target)] {
    Impl& impl = *self->impl_;
    if (impl.dead) return;
    if (auto numeric = Address::Of(target.host, target.port))
      return StartConnecting(self, impl, *numeric, target.source_address);
    impl.resolver.async_resolve(
        target.host, std::to_string(target.port),
        [self, target](const boost::system::error_code& error, const tcp::resolver::results_type& results) {
          Impl& impl = *self->impl_;
          if (impl.dead) return;
          if (error || results.empty())
            return Die(self, impl, fmt::format("cannot resolve '{}': {}", target.host, error.message()));
          auto address = Address::Of(results.begin()->endpoint().address().to_string(), target.port);
          StartConnecting(self, impl, *address, target.source_address);
        });
  });
  return self;
}

std::shared_ptr<TcpLink> TcpLink::Adopt(EventLoop& loop, int fd, Events events) {
  std::shared_ptr<TcpLink> self(new TcpLink(std::make_unique<Impl>(loop, std::move(events))));
  self->impl_->fd.assign(fd);
  self->impl_->connected = true;
  self->impl_->LearnAddresses();
  loop.Post([self] { WaitReadable(self, *self->impl_); });
  return self;
}

void TcpLink::Send(std::string_view bytes) {
  if (impl_->dead) return;
  const bool was_empty = impl_->out.empty();
  impl_->out.Append(bytes);
  if (was_empty && impl_->connected)
    impl_->loop.Post([self = shared_from_this()] {
      if (!self->impl_->dead) Flush(self, *self->impl_);
    });
}

size_t TcpLink::pending() const { return impl_->out.size(); }
bool TcpLink::open() const { return !impl_->dead; }

void TcpLink::Close() {
  impl_->events = {};
  Die(shared_from_this(), *impl_, {});
}

void TcpLink::PauseReading(bool paused) {
  impl_->paused = paused;
  if (!paused) WaitReadable(shared_from_this(), *impl_);
}

std::string TcpLink::peer_ip() const { return impl_->peer.ip(); }
std::string TcpLink::local_ip() const { return impl_->local.ip(); }
uint16_t TcpLink::peer_port() const { return impl_->peer.port(); }

struct TcpAcceptor::Impl {
  Impl(EventLoop& loop, int fd, Accepted accepted) : fd(loop.io(), fd), accepted(std::move(accepted)) {}
  ~Impl() {
    *alive = false;
    if (!unix_path.empty()) unlink(unix_path.c_str());
  }

  void Wait() {
    fd.async_wait(Descriptor::wait_read, [this, alive = alive](const boost::system::error_code& error) {
      if (error || !*alive) return;
      for (int i = 0; i < kAcceptsPerEvent && *alive; ++i) {
        Address peer;
        peer.length = sizeof peer.storage;
        const int client = accept4(fd.native_handle(), reinterpret_cast<sockaddr*>(&peer.storage), &peer.length,
                                   SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) break;
        if (unix_path.empty()) {
          const int one = 1;
          setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        }
        accepted(client, peer.ip(), peer.port());
      }
      if (*alive) Wait();
    });
  }

  Descriptor fd;
  Accepted accepted;
  std::string unix_path;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

TcpAcceptor::TcpAcceptor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TcpAcceptor::~TcpAcceptor() = default;

namespace {

int BindAndListen(const Address& address, bool v6_only, int backlog, std::string* error) {
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    *error = Errno(errno);
    return -1;
  }
  const int one = 1;
  if (address.storage.ss_family != AF_UNIX) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (v6_only) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0 || listen(fd, backlog) != 0) {
    *error = Errno(errno);
    close(fd);
    return -1;
  }
  return fd;
}

}  // namespace

std::unique_ptr<TcpAcceptor> TcpAcceptor::Listen(EventLoop& loop, const std::string& ip, uint16_t port, int backlog,
                                                 Accepted accepted, std::string* error) {
  auto address = Address::Of(ip, port);
  if (!address) {
    *error = fmt::format("'{}' is not a numeric address", ip);
    return nullptr;
  }
  const int fd = BindAndListen(*address, address->storage.ss_family == AF_INET6, backlog, error);
  if (fd < 0) return nullptr;
  auto impl = std::make_unique<Impl>(loop, fd, std::move(accepted));
  impl->Wait();
  return std::unique_ptr<TcpAcceptor>(new TcpAcceptor(std::move(impl)));
}

std::unique_ptr<TcpAcceptor> TcpAcceptor::ListenUnix(EventLoop& loop, const std::string& path, unsigned mode, int backlog,
                                                     Accepted accepted, std::string* error) {
  Address address;
  auto* unix_address = reinterpret_cast<sockaddr_un*>(&address.storage);
  if (path.size() >= sizeof unix_address->sun_path) {
    *error = "path too long for a Unix socket";
    return nullptr;
  }
  unix_address->sun_family = AF_UNIX;
  std::memcpy(unix_address->sun_path, path.c_str(), path.size() + 1);
  address.length = sizeof *unix_address;
  unlink(path.c_str());
  const int fd = BindAndListen(address, false, backlog, error);
  if (fd < 0) return nullptr;
  if (mode != 0) chmod(path.c_str(), mode);
  auto impl = std::make_unique<Impl>(loop, fd, std::move(accepted));
  impl->unix_path = path;
  impl->Wait();
  return std::unique_ptr<TcpAcceptor>(new TcpAcceptor(std::move(impl)));
}

uint16_t TcpAcceptor::port() const {
  Address local;
  local.length = sizeof local.storage;
  getsockname(impl_->fd.native_handle(), reinterpret_cast<sockaddr*>(&local.storage), &local.length);
  return local.port();
}

}  // namespace tessera
