// The cluster specification's nouns as types of their own, so that a slot is never mistaken for an epoch.
// Source: the Redis Cluster specification. Values only; no ownership, no thread.
#pragma once

#include <array>
#include <bitset>
#include <chrono>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace tessera::cluster {

inline constexpr int kSlotCount = 16384;
using Slot = uint16_t;                    // 0 .. 16383
using SlotSet = std::bitset<kSlotCount>;  // bit i = slot i
using Epoch = uint64_t;                   // current epoch and config epoch
using ReplicationOffset = int64_t;
using Millis = int64_t;  // durations and wall-clock instants (unix time), milliseconds

// 40 lower-case hex digits; names a node or a shard for life. All zero bytes = none.
class NodeId {
 public:
  static constexpr size_t kLength = 40;
  NodeId() { bytes_.fill(0); }
  // `text` must be 40 characters; use IsValid first for untrusted text.
  explicit NodeId(std::string_view text) { std::memcpy(bytes_.data(), text.data(), kLength); }
  static bool IsValid(std::string_view text) {
    if (text.size() != kLength) return false;
    for (char c : text)
      if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
    return true;
  }
  bool empty() const { return bytes_[0] == 0; }
  std::string_view view() const { return {bytes_.data(), empty() ? 0 : kLength}; }
  std::string str() const { return std::string(view()); }
  auto operator<=>(const NodeId&) const = default;

 private:
  std::array<char, kLength> bytes_;
};

// What clients are told instead of a node's address and ports, where these differ from what its peers use (behind NAT,
// published container ports). Each is for itself; empty or 0 = clients are told what peers use.
struct ClientEndpoint {
  std::string ipv4;  // to clients that are connected over IPv4
  std::string ipv6;  // ... over IPv6
  uint16_t port = 0;
  uint16_t tls_port = 0;
  bool operator==(const ClientEndpoint&) const = default;
};

// Where a node can be reached; apart from its identity, because it may change while the node stays the same.
struct Endpoint {
  std::string ip;         // numeric IPv4 or IPv6; empty = unknown
  uint16_t port = 0;      // plain TCP clients, 0 = none
  uint16_t tls_port = 0;  // TLS clients, 0 = none
  uint16_t bus_port = 0;
  std::string hostname;  // announced, empty = none
  ClientEndpoint client;
  bool operator==(const Endpoint&) const = default;
};

// Who asks for addresses; decides which ones it is told.
struct Audience {
  bool tls = false;
  bool ipv6 = false;
};
inline const std::string& IpFor(const Endpoint& e, Audience who) {
  const std::string& own = who.ipv6 ? e.client.ipv6 : e.client.ipv4;
  return own.empty() ? e.ip : own;
}
inline uint16_t PlainPortFor(const Endpoint& e) { return e.client.port != 0 ? e.client.port : e.port; }
inline uint16_t TlsPortFor(const Endpoint& e) { return e.client.tls_port != 0 ? e.client.tls_port : e.tls_port; }
inline uint16_t PortFor(const Endpoint& e, Audience who) { return who.tls ? TlsPortFor(e) : PlainPortFor(e); }

// Node flags with the bus protocol's bit values (Redis Cluster bus, flags field).
enum NodeFlag : uint16_t {
  kPrimary = 1,
  kReplica = 2,
  kPfail = 4,
  kFail = 8,
  kMyself = 16,
  kHandshake = 32,
  kNoAddress = 64,
  kMeet = 128,
  kMigrateTo = 256,
  kNoFailover = 512,
  kExtensionsSupported = 1024,
};

}  // namespace tessera::cluster

template <>
struct std::hash<tessera::cluster::NodeId> {
  size_t operator()(const tessera::cluster::NodeId& id) const noexcept {
    return std::hash<std::string_view>()(id.view());
  }
};
