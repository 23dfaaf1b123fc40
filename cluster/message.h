// One message of the cluster bus as a value, and its encoding: Redis 7's binary protocol, version 1, with ping
// extensions (hostname, human node name, forgotten node, shard id; Valkey's addresses and ports for clients).
// The grammar and the field offsets stand at the head of message.cc.
// Errors: Decode never reads past `bytes`; what is malformed is refused with a reason.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cluster/secret.h"
#include "cluster/types.h"

namespace tessera::cluster {

enum class MessageType : uint16_t {
  kPing = 0,
  kPong = 1,
  kMeet = 2,
  kFail = 3,
  kPublish = 4,
  kFailoverAuthRequest = 5,
  kFailoverAuthAck = 6,
  kUpdate = 7,
  kMfStart = 8,
  kModule = 9,
  kPublishShard = 10,
};
inline constexpr int kMessageTypeCount = 11;
const char* MessageTypeName(MessageType type);  // "ping", "auth-req", ... as in CLUSTER INFO

// What each message says of its sender.
struct Header {
  MessageType type = MessageType::kPing;
  NodeId sender;
  Epoch current_epoch = 0;
  Epoch config_epoch = 0;  // of the sender, or of its primary when the sender is a replica
  ReplicationOffset offset = 0;
  SlotSet slots;   // claimed by the sender, or by its primary
  NodeId primary;  // the sender's primary; none when it is one
  std::string ip;  // announced by the sender; empty = use the address the message came from
  uint16_t port = 0;
  uint16_t pport = 0;  // the plain-text port when `port` is TLS
  uint16_t bus_port = 0;
  uint16_t flags = 0;       // NodeFlag bits
  bool cluster_ok = false;  // the sender's view of cluster_state
  bool paused = false;      // mflags bit 0: primary paused for a manual failover
  bool force_ack = false;   // mflags bit 1: vote even if the primary is up
  bool extensions = false;  // mflags bit 2: an extension section follows
  uint16_t abilities = 0;   // Ability bits; 0 = a node of another make
};

// What a Tessera node can do beyond Redis's bus, told in bytes of the header that Redis leaves zero and ignores. A peer
// without the bit is spoken to as Redis speaks.
enum Ability : uint16_t {
  kTakesOverWhenAsked = 1,  // an MFSTART from its primary asks a replica to begin a manual failover
  kProvesItself = 2,        // understands the challenge, proof and secret extensions (addresses.cc)
};
inline constexpr uint16_t kOwnAbilities = kTakesOverWhenAsked | kProvesItself;

// What a ping, pong or meet tells of a third node.
struct GossipEntry {
  NodeId id;
  uint32_t ping_sent_s = 0;
  uint32_t pong_received_s = 0;
  std::string ip;
  uint16_t port = 0;
  uint16_t pport = 0;
  uint16_t bus_port = 0;
  uint16_t flags = 0;
};

struct Extensions {
  std::optional<std::string> hostname;
  std::optional<std::string> human_nodename;
  struct Forgotten {
    NodeId id;
    uint64_t ttl_s = 0;
  };
  std::vector<Forgotten> forgotten;
  std::optional<NodeId> shard_id;
  ClientEndpoint client;  // empty and 0 are not sent
  // Between Tessera nodes only.
  std::optional<std::string> challenge;  // kNonceBytes
  struct Proof {
    std::string code;  // kCodeBytes
    std::string ip;    // the prover's own idea of its address; empty = not known
    uint16_t bus_port = 0;
  };
  std::optional<Proof> proof;
  std::optional<Secret> secret;
};

struct GossipBody {
  std::vector<GossipEntry> entries;
  Extensions extensions;
};
struct FailBody {
  NodeId node;
};
struct PublishBody {  // kPublish and kPublishShard
  std::string channel;
  std::string message;
};
struct UpdateBody {
  Epoch config_epoch = 0;
  NodeId node;
  SlotSet slots;
};
struct EmptyBody {};  // auth-req, auth-ack, mfstart, module (ignored)

struct Message {
  Header header;
  std::variant<GossipBody, FailBody, PublishBody, UpdateBody, EmptyBody> body;
};

std::string Encode(const Message& message);

// How long the message at the head of `bytes` is: 0 = not enough bytes yet to tell; nullopt = not this protocol
// (bad signature or an impossible length): the link should be closed.
inline constexpr size_t kMessagePrefix = 8;  // signature and total length
std::optional<uint32_t> FramedLength(std::string_view bytes);

struct DecodeError {
  std::string reason;
};
// `bytes` is one whole framed message.
std::variant<Message, DecodeError> Decode(std::string_view bytes);

}  // namespace tessera::cluster
