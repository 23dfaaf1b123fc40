#include "server/net/tcp_link.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstring>
#include <filesystem>
#include <optional>

#include "protocol/output_buffer.h"
#include "server/log.h"
#include "server/net/event_loop.h"

namespace tessera {
namespace {

using boost::asio::ip::tcp;
using Descriptor = boost::asio::posix::stream_descriptor;
constexpr size_t kReadBytes = 64 << 10;
constexpr int kAcceptsPerEvent = 100;
constexpr int kAcceptRetryMs = 100;

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

// The link's state machine. Handlers of pending waits keep the link alive through `Self()`.
struct TcpLink::Impl {
  Impl(EventLoop& loop, Events events) : loop(loop), events(std::move(events)), fd(loop.io()), resolver(loop.io()) {}

  std::shared_ptr<TcpLink> Self() { return owner->shared_from_this(); }
  void StartConnecting(std::vector<Address> candidates);
  void TryNextAddress();
  void Connected();
  void WaitReadable();
  void OnReadable();
  void Flush();
  void Die(const std::string& reason);
  void LearnAddresses();

  EventLoop& loop;
  TcpLink* owner = nullptr;
  Target target;
  Events events;
  Descriptor fd;
  tcp::resolver resolver;
  std::unique_ptr<EventLoop::Timer> connect_timeout;
  std::vector<Address> untried;  // addresses of a host name, last one first
  protocol::OutputBuffer out;
  bool connected = false, dead = false, reading = false, writing = false, paused = false;
  Address peer, local;
};

TcpLink::TcpLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) { impl_->owner = this; }
TcpLink::~TcpLink() = default;

void TcpLink::Impl::LearnAddresses() {
  peer.length = local.length = sizeof(sockaddr_storage);
  getpeername(fd.native_handle(), reinterpret_cast<sockaddr*>(&peer.storage), &peer.length);
  getsockname(fd.native_handle(), reinterpret_cast<sockaddr*>(&local.storage), &local.length);
}

void TcpLink::Impl::Die(const std::string& reason) {
  if (dead) return;
  dead = true;
  connect_timeout.reset();
  resolver.cancel();
  boost::system::error_code ignored;
  fd.close(ignored);
  auto closed = std::move(events.closed);
  events = {};
  if (closed) closed(reason);
}

void TcpLink::Impl::WaitReadable() {
  if (dead || reading || paused || !connected) return;
  reading = true;
  fd.async_wait(Descriptor::wait_read, [this, self = Self()](const boost::system::error_code& error) {
    reading = false;
    if (!error && !dead) OnReadable();
  });
}

void TcpLink::Impl::OnReadable() {
  char bytes[kReadBytes];
  const ssize_t n = recv(fd.native_handle(), bytes, sizeof bytes, 0);
  if (n == 0) return Die("connection closed by peer");
  if (n < 0 && errno != EAGAIN && errno != EINTR) return Die(Errno(errno));
  if (n > 0 && events.received) {
    // A copy: the receiver may close the link, and with it its own events, in the middle of the call.
    auto received = events.received;
    received({bytes, static_cast<size_t>(n)});
  }
  WaitReadable();
}

void TcpLink::Impl::Flush() {
  if (dead || !connected) return;
  while (!out.empty()) {
    iovec parts[64];
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = static_cast<size_t>(out.Peek(parts, 64));
    const ssize_t n = sendmsg(fd.native_handle(), &message, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) return Die(Errno(errno));
    out.Consume(static_cast<size_t>(n));
  }
  if (out.empty()) {
    if (events.drained) {
      auto drained = events.drained;
      drained();
    }
    return;
  }
  if (writing) return;
  writing = true;
  fd.async_wait(Descriptor::wait_write, [this, self = Self()](const boost::system::error_code& error) {
    writing = false;
    if (!error) Flush();
  });
}

void TcpLink::Impl::StartConnecting(std::vector<Address> candidates) {
  untried = std::move(candidates);
  std::reverse(untried.begin(), untried.end());
  TryNextAddress();
}

void TcpLink::Impl::TryNextAddress() {
  const Address to = untried.back();
  untried.pop_back();
  auto failed = [this](const std::string& reason) {
    boost::system::error_code ignored;
    fd.close(ignored);
    untried.empty() ? Die(reason) : TryNextAddress();
  };
  const int socket_fd = socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket_fd < 0) return failed(Errno(errno));
  boost::system::error_code registered;
  fd.assign(socket_fd, registered);
  if (registered) {
    close(socket_fd);
    return failed(registered.message());
  }
  const int one = 1;
  setsockopt(socket_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (!target.source_address.empty()) {
    if (const auto from = Address::Of(target.source_address, 0)) {
      setsockopt(socket_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
      if (bind(socket_fd, reinterpret_cast<const sockaddr*>(&from->storage), from->length) != 0)
        return failed(fmt::format("cannot bind source address {}: {}", target.source_address, Errno(errno)));
    }
  }
  if (connect(socket_fd, reinterpret_cast<const sockaddr*>(&to.storage), to.length) != 0 && errno != EINPROGRESS)
    return failed(Errno(errno));
  fd.async_wait(Descriptor::wait_write, [this, self = Self(), failed](const boost::system::error_code& error) {
    if (error || dead) return;
    int result = 0;
    socklen_t length = sizeof result;
    getsockopt(fd.native_handle(), SOL_SOCKET, SO_ERROR, &result, &length);
    if (result != 0) return failed(Errno(result));
    Connected();
  });
}

void TcpLink::Impl::Connected() {
  connect_timeout.reset();
  connected = true;
  LearnAddresses();
  if (events.connected) {
    auto tell = events.connected;
    tell();
  }
  WaitReadable();
  Flush();
}

std::shared_ptr<TcpLink> TcpLink::Connect(EventLoop& loop, Target target, Events events) {
  std::shared_ptr<TcpLink> self(new TcpLink(std::make_unique<Impl>(loop, std::move(events))));
  Impl& impl = *self->impl_;
  std::weak_ptr<TcpLink> weak = self;
  impl.connect_timeout = loop.After(target.timeout_ms, [weak] {
    if (auto link = weak.lock()) link->impl_->Die("connection attempt timed out");
  });
  impl.target = std::move(target);
  // Posted, so that no callback comes before the owner holds the link.
  loop.Post([self] {
    Impl& impl = *self->impl_;
    if (impl.dead) return;
    const Target& target = impl.target;
    if (auto numeric = Address::Of(target.host, target.port)) return impl.StartConnecting({*numeric});
    impl.resolver.async_resolve(
        target.host, std::to_string(target.port),
        [self](const boost::system::error_code& error, const tcp::resolver::results_type& results) {
          Impl& impl = *self->impl_;
          if (impl.dead) return;
          std::vector<Address> addresses;
          for (const auto& result : results)
            if (auto address = Address::Of(result.endpoint().address().to_string(), impl.target.port))
              addresses.push_back(*address);
          if (error || addresses.empty())
            return impl.Die(fmt::format("cannot resolve '{}': {}", impl.target.host, error.message()));
          impl.StartConnecting(std::move(addresses));
        });
  });
  return self;
}

std::shared_ptr<TcpLink> TcpLink::Adopt(EventLoop& loop, int fd, Events events) {
  std::shared_ptr<TcpLink> self(new TcpLink(std::make_unique<Impl>(loop, std::move(events))));
  self->impl_->fd.assign(fd);
  self->impl_->connected = true;
  self->impl_->LearnAddresses();
  loop.Post([self] { self->impl_->WaitReadable(); });
  return self;
}

void TcpLink::Send(std::string_view bytes) {
  if (impl_->dead) return;
  const bool was_empty = impl_->out.empty();
  impl_->out.Append(bytes);
  if (was_empty && impl_->connected) impl_->loop.Post([self = shared_from_this()] { self->impl_->Flush(); });
}

size_t TcpLink::pending() const { return impl_->out.size(); }
bool TcpLink::open() const { return !impl_->dead; }

void TcpLink::Close() {
  impl_->events = {};
  impl_->Die({});
}

void TcpLink::PauseReading(bool paused) {
  impl_->paused = paused;
  if (!paused) impl_->WaitReadable();
}

std::string TcpLink::peer_ip() const { return impl_->peer.ip(); }
std::string TcpLink::local_ip() const { return impl_->local.ip(); }
uint16_t TcpLink::peer_port() const { return impl_->peer.port(); }

struct TcpAcceptor::Impl {
  Impl(EventLoop& loop, int fd, Accepted accepted) : loop(loop), fd(loop.io(), fd), accepted(std::move(accepted)) {}
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
        if (client < 0) {
          if (errno == EINTR || errno == ECONNABORTED) continue;
          // Out of descriptors or memory: the waiting client would wake us at once, again and again.
          if (errno != EAGAIN) return RetryLater(errno);
          break;
        }
        starved = false;
        if (unix_path.empty()) {
          const int one = 1;
          setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        }
        accepted(client, peer.ip(), peer.port());
      }
      if (*alive) Wait();
    });
  }

  void RetryLater(int error) {
    if (!starved) log::Warning("Cannot accept a connection: {}. Trying again until it works.", Errno(error));
    starved = true;
    retry = loop.After(kAcceptRetryMs, [this] { Wait(); });
  }

  EventLoop& loop;
  Descriptor fd;
  Accepted accepted;
  std::string unix_path;
  std::unique_ptr<EventLoop::Timer> retry;
  bool starved = false;  // the last attempt found no descriptor or memory; said once in the log
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

TcpAcceptor::TcpAcceptor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TcpAcceptor::~TcpAcceptor() = default;

namespace {

// The descriptor, or -1 with errno set.
int BindAndListen(const Address& address, bool v6_only, int backlog) {
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int one = 1;
  if (address.storage.ss_family != AF_UNIX) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (v6_only) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0 || listen(fd, backlog) != 0) {
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

// A word of `bind`: a numeric address, "*", "::*", or a host name, which is resolved to an IPv4 address on the spot.
std::optional<Address> BindAddress(const std::string& word, uint16_t port) {
  if (word == "*") return Address::Of("0.0.0.0", port);
  if (word == "::*") return Address::Of("::", port);
  if (auto numeric = Address::Of(word, port)) return numeric;
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(word.c_str(), nullptr, &hints, &found) != 0 || found == nullptr) return std::nullopt;
  Address address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.length = found->ai_addrlen;
  reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port = htons(port);
  freeaddrinfo(found);
  return address;
}

// The machine does not know this kind of address at all, such as IPv6 switched off.
bool IsUnsupported(int error) {
  return error == ENOPROTOOPT || error == EPROTONOSUPPORT || error == ESOCKTNOSUPPORT || error == EPFNOSUPPORT ||
         error == EAFNOSUPPORT;
}

}  // namespace

std::string TcpAcceptor::Listen(EventLoop& loop, const std::vector<std::string>& bind, uint16_t port, int backlog,
                                const Accepted& accepted, std::vector<std::unique_ptr<TcpAcceptor>>& acceptors) {
  for (std::string word : bind) {
    const bool optional = word.starts_with('-');
    if (optional) word.erase(0, 1);
    const auto address = BindAddress(word, port);
    if (!address) {
      if (optional) continue;
      return fmt::format("bind {}: no such address", word);
    }
    const int fd = BindAndListen(*address, address->storage.ss_family == AF_INET6, backlog);
    if (fd < 0) {
      const int error = errno;
      if (IsUnsupported(error) || (optional && error == EADDRNOTAVAIL)) {
        log::Verbose("Not listening on {} port {}: {}", word, port, Errno(error));
        continue;
      }
      return fmt::format("bind {} port {}: {}", word, port, Errno(error));
    }
    auto impl = std::make_unique<Impl>(loop, fd, accepted);
    impl->Wait();
    acceptors.push_back(std::unique_ptr<TcpAcceptor>(new TcpAcceptor(std::move(impl))));
  }
  return {};
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
  const int fd = BindAndListen(address, false, backlog);
  if (fd < 0) {
    *error = Errno(errno);
    return nullptr;
  }
  if (mode != 0) chmod(path.c_str(), mode);
  auto impl = std::make_unique<Impl>(loop, fd, std::move(accepted));
  impl->unix_path = std::filesystem::absolute(path).string();  // the working directory may change
  impl->Wait();
  return std::unique_ptr<TcpAcceptor>(new TcpAcceptor(std::move(impl)));
}

std::string TcpAcceptor::address() const {
  if (!impl_->unix_path.empty()) return impl_->unix_path;
  Address local;
  local.length = sizeof local.storage;
  getsockname(impl_->fd.native_handle(), reinterpret_cast<sockaddr*>(&local.storage), &local.length);
  return local.storage.ss_family == AF_INET6 ? fmt::format("[{}]:{}", local.ip(), local.port())
                                             : fmt::format("{}:{}", local.ip(), local.port());
}

}  // namespace tessera
