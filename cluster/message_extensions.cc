// The grammar, in the notation of message.cc:
//
//   extension        := length u32 (whole, a multiple of 8), type u16, unused u16, payload
//      type 0 hostname        zero-terminated text
//      type 1 human node name zero-terminated text                    (since 7.2)
//      type 2 forgotten node  id 40, seconds to keep it out u64       (since 7.2)
//      type 3 shard id        id 40                                   (since 7.2)
//      type 4 client IPv4     zero-terminated text                    (Valkey 8.1; another meaning in Redis 8: skipped
//                                                                      unless it is an address)
//      type 5 client IPv6     zero-terminated text                    (Valkey 8.1)
//      type 6 client port     u16, unused 6                           (Valkey 9)
//      type 7 client TLS port u16, unused 6                           (Valkey 9)
//      any other type is skipped
//      between Tessera nodes only, Redis never sees them:
//      type 0x7401 challenge  nonce 16
//      type 0x7402 proof      code 16, bus port u16, address 46
//      type 0x7403 secret     created u64 (ms), key 16
#include "cluster/message_extensions.h"

#include <arpa/inet.h>

namespace tessera::cluster {
namespace {

constexpr size_t kExtensionHeaderSize = 8;

enum ExtensionType : uint16_t {
  kHostname = 0,
  kHumanNodename = 1,
  kForgottenNode = 2,
  kShardId = 3,
  kClientIpv4 = 4,
  kClientIpv6 = 5,
  kClientPort = 6,
  kClientTlsPort = 7,
  kChallenge = 0x7401,
  kProof = 0x7402,
  kSecret = 0x7403,
};

void WriteTextExtension(FieldWriter& w, ExtensionType type, std::string_view text) {
  size_t payload = (text.size() + 1 + 7) / 8 * 8;
  w.U32(static_cast<uint32_t>(kExtensionHeaderSize + payload));
  w.U16(type);
  w.U16(0);
  w.Padded(text, payload);
}

void WritePortExtension(FieldWriter& w, ExtensionType type, uint16_t port) {
  w.U32(kExtensionHeaderSize + 8);
  w.U16(type);
  w.U16(0);
  w.U16(port);
  w.Zeros(6);
}

bool IsAddress(int family, const std::string& text) {
  unsigned char buffer[sizeof(in6_addr)];
  return inet_pton(family, text.c_str(), buffer) == 1;
}

}  // namespace

void WriteExtensions(FieldWriter& w, const Extensions& e) {
  if (e.hostname) WriteTextExtension(w, kHostname, *e.hostname);
  if (e.human_nodename) WriteTextExtension(w, kHumanNodename, *e.human_nodename);
  for (const Extensions::Forgotten& f : e.forgotten) {
    w.U32(kExtensionHeaderSize + NodeId::kLength + 8);
    w.U16(kForgottenNode);
    w.U16(0);
    w.Id(f.id);
    w.U64(f.ttl_s);
  }
  if (e.shard_id) {
    w.U32(kExtensionHeaderSize + NodeId::kLength);
    w.U16(kShardId);
    w.U16(0);
    w.Id(*e.shard_id);
  }
  if (!e.client.ipv4.empty()) WriteTextExtension(w, kClientIpv4, e.client.ipv4);
  if (!e.client.ipv6.empty()) WriteTextExtension(w, kClientIpv6, e.client.ipv6);
  if (e.client.port != 0) WritePortExtension(w, kClientPort, e.client.port);
  if (e.client.tls_port != 0) WritePortExtension(w, kClientTlsPort, e.client.tls_port);
  if (e.challenge) {
    w.U32(kExtensionHeaderSize + kNonceBytes);
    w.U16(kChallenge);
    w.U16(0);
    w.Padded(*e.challenge, kNonceBytes);
  }
  if (e.proof) {
    w.U32(kExtensionHeaderSize + kCodeBytes + 2 + kAddressSize);
    w.U16(kProof);
    w.U16(0);
    w.Padded(e.proof->code, kCodeBytes);
    w.U16(e.proof->bus_port);
    w.Padded(std::string_view(e.proof->ip).substr(0, kAddressSize - 1), kAddressSize);
  }
  if (e.secret) {
    w.U32(kExtensionHeaderSize + 8 + sizeof e.secret->key);
    w.U16(kSecret);
    w.U16(0);
    w.U64(static_cast<uint64_t>(e.secret->created_ms));
    w.Raw({reinterpret_cast<const char*>(e.secret->key.data()), e.secret->key.size()});
  }
}

size_t CountExtensions(const Extensions& e) {
  return (e.hostname ? 1 : 0) + (e.human_nodename ? 1 : 0) + e.forgotten.size() + (e.shard_id ? 1 : 0) +
         !e.client.ipv4.empty() + !e.client.ipv6.empty() + (e.client.port != 0) + (e.client.tls_port != 0) +
         (e.challenge ? 1 : 0) + (e.proof ? 1 : 0) + (e.secret ? 1 : 0);
}

void ReadExtension(FieldReader& message, Extensions& e) {
  uint32_t length = message.U32();
  uint16_t type = message.U16();
  message.U16();
  if (!message.error().empty()) return;
  if (length < kExtensionHeaderSize || length % 8 != 0) return message.Fail("impossible extension length");
  FieldReader payload(message.Raw(length - kExtensionHeaderSize));
  if (!message.error().empty()) return;
  switch (type) {
    case kHostname:
      e.hostname = payload.Word(payload.left());
      break;
    case kHumanNodename:
      e.human_nodename = payload.Word(payload.left());
      break;
    case kForgottenNode: {
      Extensions::Forgotten f;
      f.id = payload.Id();
      f.ttl_s = payload.U64();
      e.forgotten.push_back(f);
      break;
    }
    case kShardId:
      e.shard_id = payload.Id();
      break;
    case kClientIpv4:
      if (std::string ip = payload.Padded(payload.left()); IsAddress(AF_INET, ip)) e.client.ipv4 = std::move(ip);
      break;
    case kClientIpv6:
      if (std::string ip = payload.Padded(payload.left()); IsAddress(AF_INET6, ip)) e.client.ipv6 = std::move(ip);
      break;
    case kClientPort:
      e.client.port = payload.U16();
      break;
    case kClientTlsPort:
      e.client.tls_port = payload.U16();
      break;
    case kChallenge:
      e.challenge = payload.Raw(kNonceBytes);
      break;
    case kProof: {
      Extensions::Proof proof;
      proof.code = payload.Raw(kCodeBytes);
      proof.bus_port = payload.U16();
      proof.ip = payload.Padded(kAddressSize);
      e.proof = std::move(proof);
      break;
    }
    case kSecret: {
      Secret secret;
      secret.created_ms = static_cast<Millis>(payload.U64());
      const std::string_view key = payload.Raw(secret.key.size());
      if (key.size() == secret.key.size()) std::memcpy(secret.key.data(), key.data(), key.size());
      e.secret = secret;
      break;
    }
    default:
      break;  // of a newer version: skipped
  }
  if (!payload.error().empty()) message.Fail(payload.error());
}

}  // namespace tessera::cluster
