// The cluster bus protocol of Redis 7, version 1. All integers big-endian; text fields are padded with zero bytes.
// Source: bytes captured from redis-server 7.0.15, and the public description of the bus in the cluster specification.
//
//   message   := header body
//
//   header, 2256 bytes:
//      0  4     signature "RCmb"
//      4  u32   length of the whole message
//      8  u16   protocol version, 1
//     10  u16   sender's client port
//     12  u16   message type
//     14  u16   number of gossip entries (ping, pong, meet)
//     16  u64   current epoch
//     24  u64   config epoch of the sender, or of its primary
//     32  u64   replication offset
//     40  40    sender's id
//     80  2048  slots: bit (s & 7) of byte (s >> 3)
//   2128  40    id of the sender's primary, zeros if it is one
//   2168  46    announced address as text, zero-terminated; empty = take it from the socket
//   2214  u16   number of extensions
//   2216  26    unused, zero
//   2242  4     zero; from Tessera: "Ts", abilities u16 (enum Ability)
//   2246  u16   plain-text port when the client port is TLS
//   2248  u16   bus port
//   2250  u16   node flags
//   2252  u8    cluster state: 0 ok, 1 fail
//   2253  u8    bit 0 paused, bit 1 force-ack, bit 2 extensions understood
//   2254  2     unused, zero
//
//   body of ping, pong, meet := gossip{count} extension{extensions}
//   gossip, 104 bytes: id 40, ping sent u32 (s), pong received u32 (s), address 46, port u16, bus port u16, flags u16,
//                      plain-text port u16, unused u16
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
//   body of fail              := id 40
//   body of publish, -shard   := channel length u32, message length u32, channel, message
//   body of update            := config epoch u64, id 40, slots 2048
//   body of module            := module id u64, length u32, type u8, bytes
//   auth-req, auth-ack, mfstart have none
#include "cluster/message.h"

#include <arpa/inet.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <limits>
#include <type_traits>

#include "fmt/core.h"

namespace tessera::cluster {
namespace {

constexpr std::string_view kSignature = "RCmb";
constexpr uint16_t kVersion = 1;
constexpr uint16_t kTesseraMark = 0x5473;  // "Ts"
constexpr size_t kHeaderSize = 2256;
constexpr size_t kGossipSize = 104;
constexpr size_t kAddressSize = 46;
constexpr size_t kExtensionHeaderSize = 8;
constexpr size_t kSlotBytes = kSlotCount / 8;
constexpr size_t kUpdateSize = 8 + NodeId::kLength + kSlotBytes;
constexpr size_t kModuleFixedSize = 13;
// Longest message accepted: a publish of the largest argument a client may send, with room to spare.
constexpr uint32_t kLengthMax = 1u << 30;

// A set of slots in memory is what it is on the wire: every message carries one, and bit by bit they took half of the
// codec's time. The golden bytes would notice another library or byte order.
static_assert(sizeof(SlotSet) == kSlotBytes && std::is_trivially_copyable_v<SlotSet>);
static_assert(std::endian::native == std::endian::little);

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
enum MessageFlag : uint8_t { kPausedFlag = 1, kForceAckFlag = 2, kExtensionsFlag = 4 };

// Appends fields in order; offsets follow from the grammar above and are pinned by golden bytes in the tests.
class Writer {
 public:
  void U8(uint8_t v) { out_.push_back(static_cast<char>(v)); }
  void U16(uint16_t v) { Integer(v, 2); }
  void U32(uint32_t v) { Integer(v, 4); }
  void U64(uint64_t v) { Integer(v, 8); }
  void Zeros(size_t n) { out_.append(n, '\0'); }
  void Raw(std::string_view bytes) { out_.append(bytes); }
  void Id(const NodeId& id) { Padded(id.view(), NodeId::kLength); }
  // Text in a field of `size` bytes; what does not fit is cut.
  void Padded(std::string_view text, size_t size) {
    text = text.substr(0, size);
    out_.append(text);
    Zeros(size - text.size());
  }
  void Slots(const SlotSet& slots) { out_.append(reinterpret_cast<const char*>(&slots), kSlotBytes); }
  void PatchU32(size_t at, uint32_t v) {
    for (int i = 0; i < 4; ++i) out_[at + i] = static_cast<char>(v >> (24 - 8 * i));
  }
  size_t size() const { return out_.size(); }
  void Reserve(size_t n) { out_.reserve(n); }
  std::string Take() { return std::move(out_); }

 private:
  void Integer(uint64_t v, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) out_.push_back(static_cast<char>(v >> (8 * i)));
  }
  std::string out_;
};

bool IsWord(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte > ' ' && byte != 0x7f && byte != ',' && byte != '"' && byte != '\'' && byte != '\\';
  });
}

// Reads fields in order. The first read past the end, or an id that is none, makes it fail for good; reads then return
// zeros, so the caller asks once at the end.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  uint8_t U8() { return static_cast<uint8_t>(Integer(1)); }
  uint16_t U16() { return static_cast<uint16_t>(Integer(2)); }
  uint32_t U32() { return static_cast<uint32_t>(Integer(4)); }
  uint64_t U64() { return Integer(8); }
  std::string_view Raw(size_t n) {
    if (n > rest_.size()) {
      Fail("truncated");
      return {};
    }
    std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }
  // Zero-terminated text in a field of `size` bytes.
  std::string Padded(size_t size) {
    std::string_view field = Raw(size);
    return std::string(field.substr(0, std::min(field.size(), field.find('\0'))));
  }
  // The same for a name or an address; none when it is not a single word. It goes into nodes.conf and CLUSTER NODES, where
  // anything else would be read as something else, or keep this node from starting again.
  std::string Word(size_t size) {
    std::string text = Padded(size);
    return IsWord(text) ? text : std::string();
  }
  NodeId Id() {
    std::string_view field = Raw(NodeId::kLength);
    if (!error_.empty()) return {};
    if (!NodeId::IsValid(field)) {
      Fail("invalid node id");
      return {};
    }
    return NodeId(field);
  }
  NodeId IdOrNone() {
    std::string_view field = rest_.substr(0, NodeId::kLength);
    if (field.size() == NodeId::kLength && field.find_first_not_of('\0') == std::string_view::npos) {
      rest_.remove_prefix(NodeId::kLength);
      return {};
    }
    return Id();
  }
  SlotSet Slots() {
    SlotSet slots;
    std::string_view field = Raw(kSlotBytes);
    if (!field.empty()) std::memcpy(static_cast<void*>(&slots), field.data(), kSlotBytes);
    return slots;
  }
  void Fail(std::string_view reason) {
    if (error_.empty()) error_ = reason;
    rest_ = {};
  }
  const std::string& error() const { return error_; }
  size_t left() const { return rest_.size(); }

 private:
  uint64_t Integer(size_t bytes) {
    uint64_t v = 0;
    for (char c : Raw(bytes)) v = v << 8 | static_cast<unsigned char>(c);
    return v;
  }
  std::string_view rest_;
  std::string error_;
};

bool CarriesGossip(MessageType type) {
  return type == MessageType::kPing || type == MessageType::kPong || type == MessageType::kMeet;
}

void WriteTextExtension(Writer& w, ExtensionType type, std::string_view text) {
  size_t payload = (text.size() + 1 + 7) / 8 * 8;
  w.U32(static_cast<uint32_t>(kExtensionHeaderSize + payload));
  w.U16(type);
  w.U16(0);
  w.Padded(text, payload);
}

void WritePortExtension(Writer& w, ExtensionType type, uint16_t port) {
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

void WriteExtensions(Writer& w, const Extensions& e) {
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

void ReadExtension(Reader& message, Extensions& e) {
  uint32_t length = message.U32();
  uint16_t type = message.U16();
  message.U16();
  if (!message.error().empty()) return;
  if (length < kExtensionHeaderSize || length % 8 != 0) return message.Fail("impossible extension length");
  Reader payload(message.Raw(length - kExtensionHeaderSize));
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

GossipBody ReadGossip(Reader& r, uint16_t count, uint16_t extensions) {
  GossipBody body;
  if (r.left() < count * kGossipSize) {
    r.Fail("truncated gossip section");
    return body;
  }
  body.entries.reserve(count);
  for (int i = 0; i < count && r.error().empty(); ++i) {
    GossipEntry g;
    g.id = r.Id();
    g.ping_sent_s = r.U32();
    g.pong_received_s = r.U32();
    g.ip = r.Word(kAddressSize);
    g.port = r.U16();
    g.bus_port = r.U16();
    g.flags = r.U16();
    g.pport = r.U16();
    r.U16();
    body.entries.push_back(std::move(g));
  }
  for (int i = 0; i < extensions && r.error().empty(); ++i) ReadExtension(r, body.extensions);
  return body;
}

PublishBody ReadPublish(Reader& r) {
  PublishBody body;
  uint32_t channel_size = r.U32();
  uint32_t message_size = r.U32();
  body.channel = r.Raw(channel_size);
  body.message = r.Raw(message_size);
  return body;
}

void ReadModule(Reader& r) {
  r.U64();
  uint32_t size = r.U32();
  r.U8();
  r.Raw(size);
}

void WriteHeader(Writer& w, const Header& h, uint16_t count, uint16_t extensions) {
  w.Raw(kSignature);
  w.U32(0);  // length, patched at the end
  w.U16(kVersion);
  w.U16(h.port);
  w.U16(static_cast<uint16_t>(h.type));
  w.U16(count);
  w.U64(h.current_epoch);
  w.U64(h.config_epoch);
  w.U64(static_cast<uint64_t>(h.offset));
  w.Id(h.sender);
  w.Slots(h.slots);
  w.Id(h.primary);
  w.Padded(std::string_view(h.ip).substr(0, kAddressSize - 1), kAddressSize);
  w.U16(extensions);
  w.Zeros(26);
  w.U16(h.abilities ? kTesseraMark : 0);
  w.U16(h.abilities);
  w.U16(h.pport);
  w.U16(h.bus_port);
  w.U16(h.flags);
  w.U8(h.cluster_ok ? 0 : 1);
  w.U8((h.paused ? kPausedFlag : 0) | (h.force_ack ? kForceAckFlag : 0) | (h.extensions ? kExtensionsFlag : 0));
  w.Zeros(2);
  assert(w.size() == kHeaderSize);
}

}  // namespace

const char* MessageTypeName(MessageType type) {
  static constexpr const char* kNames[kMessageTypeCount] = {
      "ping", "pong", "meet", "fail", "publish", "auth-req", "auth-ack", "update", "mfstart", "module", "publishshard"};
  auto i = static_cast<size_t>(type);
  return i < kMessageTypeCount ? kNames[i] : "unknown";
}

std::string Encode(const Message& message) {
  const Header& h = message.header;
  Writer w;
  if (CarriesGossip(h.type)) {
    const auto& body = std::get<GossipBody>(message.body);
    size_t extensions = CountExtensions(body.extensions);
    assert(body.entries.size() <= std::numeric_limits<uint16_t>::max());
    assert(extensions <= std::numeric_limits<uint16_t>::max());
    w.Reserve(kHeaderSize + body.entries.size() * kGossipSize + extensions * 64);
    WriteHeader(w, h, static_cast<uint16_t>(body.entries.size()), static_cast<uint16_t>(extensions));
    for (const GossipEntry& g : body.entries) {
      w.Id(g.id);
      w.U32(g.ping_sent_s);
      w.U32(g.pong_received_s);
      w.Padded(std::string_view(g.ip).substr(0, kAddressSize - 1), kAddressSize);
      w.U16(g.port);
      w.U16(g.bus_port);
      w.U16(g.flags);
      w.U16(g.pport);
      w.U16(0);
    }
    WriteExtensions(w, body.extensions);
  } else {
    WriteHeader(w, h, 0, 0);
    if (const auto* fail = std::get_if<FailBody>(&message.body)) {
      w.Id(fail->node);
    } else if (const auto* publish = std::get_if<PublishBody>(&message.body)) {
      w.U32(static_cast<uint32_t>(publish->channel.size()));
      w.U32(static_cast<uint32_t>(publish->message.size()));
      w.Raw(publish->channel);
      w.Raw(publish->message);
    } else if (const auto* update = std::get_if<UpdateBody>(&message.body)) {
      w.U64(update->config_epoch);
      w.Id(update->node);
      w.Slots(update->slots);
    } else if (h.type == MessageType::kModule) {
      w.Zeros(kModuleFixedSize);
    }
  }
  assert(w.size() <= kLengthMax);
  w.PatchU32(4, static_cast<uint32_t>(w.size()));
  return w.Take();
}

std::optional<uint32_t> FramedLength(std::string_view bytes) {
  if (bytes.substr(0, kSignature.size()) != kSignature.substr(0, bytes.size())) return std::nullopt;
  if (bytes.size() < kMessagePrefix) return 0;
  Reader r(bytes.substr(kSignature.size(), 4));
  uint32_t length = r.U32();
  if (length < kHeaderSize || length > kLengthMax) return std::nullopt;
  return length;
}

std::variant<Message, DecodeError> Decode(std::string_view bytes) {
  Reader r(bytes);
  if (r.Raw(4) != kSignature) return DecodeError{"bad signature"};
  uint32_t length = r.U32();
  uint16_t version = r.U16();
  if (bytes.size() < kHeaderSize || length != bytes.size()) return DecodeError{"length does not match the message"};
  if (version != kVersion) return DecodeError{fmt::format("unsupported protocol version {}", version)};

  Message m;
  Header& h = m.header;
  h.port = r.U16();
  uint16_t type = r.U16();
  if (type >= kMessageTypeCount) return DecodeError{fmt::format("unknown message type {}", type)};
  h.type = static_cast<MessageType>(type);
  uint16_t count = r.U16();
  h.current_epoch = r.U64();
  h.config_epoch = r.U64();
  h.offset = static_cast<ReplicationOffset>(r.U64());
  h.sender = r.Id();
  h.slots = r.Slots();
  h.primary = r.IdOrNone();
  h.ip = r.Word(kAddressSize);
  uint16_t extensions = r.U16();
  r.Raw(26);
  const uint16_t mark = r.U16();
  const uint16_t abilities = r.U16();
  h.abilities = mark == kTesseraMark ? abilities : 0;
  h.pport = r.U16();
  h.bus_port = r.U16();
  h.flags = r.U16();
  h.cluster_ok = r.U8() == 0;
  uint8_t message_flags = r.U8();
  h.paused = message_flags & kPausedFlag;
  h.force_ack = message_flags & kForceAckFlag;
  h.extensions = message_flags & kExtensionsFlag;
  r.Raw(2);

  switch (h.type) {
    case MessageType::kPing:
    case MessageType::kPong:
    case MessageType::kMeet:
      m.body = ReadGossip(r, count, extensions);
      break;
    case MessageType::kFail:
      m.body = FailBody{r.Id()};
      break;
    case MessageType::kPublish:
    case MessageType::kPublishShard:
      m.body = ReadPublish(r);
      break;
    case MessageType::kUpdate: {
      UpdateBody update;
      update.config_epoch = r.U64();
      update.node = r.Id();
      update.slots = r.Slots();
      m.body = std::move(update);
      break;
    }
    case MessageType::kModule:
      ReadModule(r);
      m.body = EmptyBody{};
      break;
    case MessageType::kFailoverAuthRequest:
    case MessageType::kFailoverAuthAck:
    case MessageType::kMfStart:
      m.body = EmptyBody{};
      break;
  }
  if (!r.error().empty()) return DecodeError{r.error()};
  if (r.left() != 0) return DecodeError{"bytes left over after the body"};
  return m;
}

}  // namespace tessera::cluster
