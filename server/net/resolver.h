// Host names to numeric addresses, without holding the loop up: a helper thread asks. Loop thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace tessera {

class EventLoop;

class Resolver {
 public:
  // Numeric addresses, in the resolver's order; none when the name is not known (now).
  using Resolved = std::function<void(const std::vector<std::string>& addresses)>;
  explicit Resolver(EventLoop& loop);
  ~Resolver();
  // A numeric address resolves to itself. `resolved` is called from the loop, unless the resolver is gone by then.
  void Resolve(const std::string& host, Resolved resolved);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Addresses of this machine, in the order of its interfaces.
std::vector<std::string> InterfaceAddresses();
// Whether sockets here can be bound to it.
bool IsOwnAddress(const std::string& ip);

}  // namespace tessera
