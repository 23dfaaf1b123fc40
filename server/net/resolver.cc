#include "server/net/resolver.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <cstring>

#include "server/net/event_loop.h"

namespace tessera {

using boost::asio::ip::tcp;

struct Resolver::Impl {
  explicit Impl(EventLoop& loop) : resolver(loop.io()) {}
  tcp::resolver resolver;
};

Resolver::Resolver(EventLoop& loop) : impl_(std::make_unique<Impl>(loop)) {}
Resolver::~Resolver() = default;

void Resolver::Resolve(const std::string& host, Resolved resolved) {
  impl_->resolver.async_resolve(host, "",
                                [resolved = std::move(resolved)](const boost::system::error_code& error,
                                                                 const tcp::resolver::results_type& results) {
                                  if (error == boost::asio::error::operation_aborted) return;
                                  std::vector<std::string> addresses;
                                  if (!error)
                                    for (const auto& result : results)
                                      addresses.push_back(result.endpoint().address().to_string());
                                  resolved(addresses);
                                });
}

std::vector<std::string> InterfaceAddresses() {
  std::vector<std::string> addresses;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return addresses;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || (one->ifa_flags & IFF_UP) == 0 || (one->ifa_flags & IFF_LOOPBACK) != 0) continue;
    char text[INET6_ADDRSTRLEN] = "";
    if (one->ifa_addr->sa_family == AF_INET) {
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr, text, sizeof text);
    } else if (one->ifa_addr->sa_family == AF_INET6) {
      const auto& v6 = reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr;
      if (IN6_IS_ADDR_LINKLOCAL(&v6)) continue;
      inet_ntop(AF_INET6, &v6, text, sizeof text);
    } else {
      continue;
    }
    addresses.emplace_back(text);
  }
  freeifaddrs(all);
  return addresses;
}

bool IsOwnAddress(const std::string& ip) {
  sockaddr_storage storage{};
  socklen_t length = 0;
  if (auto* v4 = reinterpret_cast<sockaddr_in*>(&storage); inet_pton(AF_INET, ip.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    length = sizeof *v4;
  } else if (auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
             inet_pton(AF_INET6, ip.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    length = sizeof *v6;
  } else {
    return false;
  }
  const int fd = socket(storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool own = bind(fd, reinterpret_cast<const sockaddr*>(&storage), length) == 0;
  close(fd);
  return own;
}

}  // namespace tessera
