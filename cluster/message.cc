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
//   body of ping, pong, meet := gossip{count} extension{extensions}, see message_extensions.cc
//   gossip, 104 bytes: id 40, ping sent u32 (s), pong received u32 (s), address 46, port u16, bus port u16, flags u16,
//                      plain-text port u16, unused u16
//   body of fail              := id 40
//   body of publish, -shard   := channel length u32, message length u32, channel, message
//   body of update            := config epoch u64, id 40, slots 2048
//   body of module            := module id u64, length u32, type u8, bytes
//   auth-req, auth-ack, mfstart have none
#include "cluster/message.h"

#include <cassert>
#include <limits>

#include "cluster/message_extensions.h"
#include "cluster/message_fields.h"
#include "fmt/core.h"

namespace tessera::cluster {
namespace {

constexpr std::string_view kSignature = "RCmb";
constexpr uint16_t kVersion = 1;
constexpr uint16_t kTesseraMark = 0x5473;  // "Ts"
constexpr size_t kHeaderSize = 2256;
constexpr size_t kGossipSize = 104;
constexpr size_t kUpdateSize = 8 + NodeId::kLength + kSlotBytes;
constexpr size_t kModuleFixedSize = 13;
// Longest message accepted: a publish of the largest argument a client may send, with room to spare.
constexpr uint32_t kLengthMax = 1u << 30;

enum MessageFlag : uint8_t { kPausedFlag = 1, kForceAckFlag = 2, kExtensionsFlag = 4 };

bool CarriesGossip(MessageType type) {
  return type == MessageType::kPing || type == MessageType::kPong || type == MessageType::kMeet;
}

GossipBody ReadGossip(FieldReader& r, uint16_t count, uint16_t extensions) {
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

PublishBody ReadPublish(FieldReader& r) {
  PublishBody body;
  uint32_t channel_size = r.U32();
  uint32_t message_size = r.U32();
  body.channel = r.Raw(channel_size);
  body.message = r.Raw(message_size);
  return body;
}

void ReadModule(FieldReader& r) {
  r.U64();
  uint32_t size = r.U32();
  r.U8();
  r.Raw(size);
}

void WriteHeader(FieldWriter& w, const Header& h, uint16_t count, uint16_t extensions) {
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
  FieldWriter w;
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
  FieldReader r(bytes.substr(kSignature.size(), 4));
  uint32_t length = r.U32();
  if (length < kHeaderSize || length > kLengthMax) return std::nullopt;
  return length;
}

std::variant<Message, DecodeError> Decode(std::string_view bytes) {
  FieldReader r(bytes);
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
