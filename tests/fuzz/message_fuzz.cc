// Cluster bus messages: whatever is decoded survives being encoded and decoded again.
#include <cstdlib>

#include "cluster/message.h"
#include "tests/fuzz/fuzz.h"

using namespace tessera::cluster;

std::vector<std::string> FuzzCorpus() {
  auto of = [](MessageType type, auto body) {
    Message m;
    m.header.type = type;
    m.header.sender = NodeId(std::string(40, 'a'));
    m.body = std::move(body);
    return Encode(m);
  };
  NodeId id(std::string(40, 'b'));
  GossipBody gossip;
  gossip.entries.resize(2);
  for (GossipEntry& g : gossip.entries) g.id = id;
  gossip.extensions.hostname = "host";
  gossip.extensions.human_nodename = "name";
  gossip.extensions.forgotten.push_back({id, 60});
  gossip.extensions.shard_id = id;
  return {of(MessageType::kPing, gossip),
          of(MessageType::kFail, FailBody{id}),
          of(MessageType::kPublish, PublishBody{"channel", "message"}),
          of(MessageType::kUpdate, UpdateBody{7, id, {}}),
          of(MessageType::kModule, EmptyBody{}),
          of(MessageType::kMfStart, EmptyBody{})};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)FramedLength(bytes);
  auto result = Decode(bytes);
  if (auto* message = std::get_if<Message>(&result)) {
    std::string once = Encode(*message);
    auto again = Decode(once);
    if (!std::holds_alternative<Message>(again) || Encode(std::get<Message>(again)) != once) std::abort();
  }
  return 0;
}
