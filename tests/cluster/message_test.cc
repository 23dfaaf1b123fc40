// The golden messages were captured between nodes of redis-server 7.0.15 (announced hostnames, 127.0.0.1, client ports
// 17801 and up, bus ports 37801 and up).
#include "cluster/message.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <sstream>

namespace tessera::cluster {
namespace {

// "52ab 00*3" is the bytes 52 ab 00 00 00.
constexpr const char* kMeet =
    "52436d62000008e8000145890002 00*26 "
    "35383231643564373539643039313866366534633731653034626235633930316438633838393365 ff*625 01 00*1509 01 00*32 "
    "93a900110104 00*5 1800000000686f73742d302e6578616d706c650000 ";

constexpr const char* kPing =
    "52436d6200000a200001458900000003 00*7 03 00*7 01 00*7 "
    "0e38333137336232356637326265626333343933643466346163653333643336666562323839323465 ff*625 01 00*1509 01 "
    "00*32 93a901110004000032316464386635653435323264386336616365353365363030636436346237626236653034393233 "
    "6b03d9206b03d91f3132372e302e302e31 00*37 "
    "458c93ac0002000000003430353763353738623936633735616537363834376265643237336335643134323636303333 "
    "3365000000006b03d91f3132372e302e302e31 00*37 "
    "458a93aa0001000000006164336536363032313163313139396566346630363537326366656533633662303432656134 "
    "34316b03d91d6b03d91c3132372e302e302e31 00*37 458b93ab0005 00*7 1800000000686f73742d302e6578616d706c650000 ";

constexpr const char* kFail =
    "52436d62000008f8000145890003 00*9 03 00*7 01 00*7 "
    "0e38333137336232356637326265626333343933643466346163653333643336666562323839323465 ff*625 01 00*1542 "
    "93a901110000000061643365363630323131633131393965663466303635373263666565336336623034326561343431 ";

constexpr const char* kPublish =
    "52436d62000008e1000145890004 00*9 01 00*7 01 00*8 "
    "35383231643564373539643039313866366534633731653034626235633930316438633838393365 ff*625 01 00*1542 93a90011 "
    "00*7 04000000056368616e68656c6c6f ";

constexpr const char* kAuthRequest =
    "52436d62000008d0000145890005 00*9 02 00*15 "
    "0e35383231643564373539643039313866366534633731653034626235633930316438633838393365 00*625 fe ff*1422 "
    "63623239326363633166653931303532643939653438656637346639343266646335653537636531 00*80 93a9001200020000 ";

constexpr const char* kAuthAck =
    "52436d62000008d00001458a0006 00*9 02 00*15 "
    "0e63623239326363633166653931303532643939653438656637346639343266646335653537636531 00*625 fe ff*1422 00*120 "
    "93aa011100010000 ";

constexpr const char* kUpdate =
    "52436d6200001100000145890007 00*9 02 00*7 02 00*7 "
    "0e35383231643564373539643039313866366534633731653034626235633930316438633838393365 00*625 fe ff*1422 00*120 "
    "93a90011 00*11 0235383231643564373539643039313866366534633731653034626235633930316438633838393365 00*625 fe "
    "ff*1422 ";

constexpr const char* kMfStart =
    "52436d62000008d0000145890008 00*9 01 00*16 "
    "35383231643564373539643039313866366534633731653034626235633930316438633838393365 00*625 fe ff*1422 "
    "63623239326363633166653931303532643939653438656637346639343266646335653537636531 00*80 93a9001200000000 ";

constexpr const char* kPublishShard =
    "52436d62000008e300014589000a 00*9 03 00*7 01 00*8 "
    "38333137336232356637326265626333343933643466346163653333643336666562323839323465 ff*625 01 00*1542 93a90111 "
    "00*7 0600000005666f6f7b337d68656c6c6f ";

std::string Unpack(const char* text) {
  std::istringstream in(text);
  std::string out, token;
  while (in >> token) {
    auto byte = [&](size_t at) { return static_cast<char>(std::stoi(token.substr(at, 2), nullptr, 16)); };
    if (size_t star = token.find('*'); star != std::string::npos)
      out.append(std::stoul(token.substr(star + 1)), byte(0));
    else
      for (size_t i = 0; i < token.size(); i += 2) out.push_back(byte(i));
  }
  return out;
}

const std::vector<const char*>& AllGolden() {
  static const std::vector<const char*> all = {kMeet,    kPing,   kFail,    kPublish,     kAuthRequest,
                                               kAuthAck, kUpdate, kMfStart, kPublishShard};
  return all;
}

// Decodes from a heap block of exactly the message's size, so that a sanitizer sees every read past it.
std::variant<Message, DecodeError> DecodeExact(std::string_view bytes) {
  std::unique_ptr<char[]> block(new char[bytes.size()]);
  std::memcpy(block.get(), bytes.data(), bytes.size());
  return Decode({block.get(), bytes.size()});
}

Message MustDecode(const std::string& bytes) {
  auto result = DecodeExact(bytes);
  if (auto* error = std::get_if<DecodeError>(&result)) {
    ADD_FAILURE() << error->reason;
    return {};
  }
  return std::get<Message>(std::move(result));
}

std::string ErrorOf(const std::string& bytes) {
  auto result = DecodeExact(bytes);
  auto* error = std::get_if<DecodeError>(&result);
  return error ? error->reason : "decoded";
}

void SetU16(std::string& bytes, size_t at, uint16_t v) {
  bytes[at] = static_cast<char>(v >> 8);
  bytes[at + 1] = static_cast<char>(v);
}
void SetU32(std::string& bytes, size_t at, uint32_t v) {
  SetU16(bytes, at, static_cast<uint16_t>(v >> 16));
  SetU16(bytes, at + 2, static_cast<uint16_t>(v));
}
SlotSet Range(int first, int last) {
  SlotSet slots;
  for (int s = first; s <= last; ++s) slots.set(s);
  return slots;
}
NodeId Id(char digit) { return NodeId(std::string(40, digit)); }

Message FullPing() {
  Message m;
  m.header.sender = Id('a');
  m.header.extensions = true;
  m.header.slots = Range(100, 200);
  m.header.ip = "10.1.2.3";
  m.header.port = 6381;
  m.header.pport = 6380;
  m.header.bus_port = 16381;
  m.header.flags = kPrimary | kMyself;
  m.header.cluster_ok = true;
  m.header.paused = true;
  GossipBody body;
  GossipEntry g;
  g.id = Id('b');
  g.ping_sent_s = 0x01020304;
  g.pong_received_s = 0xfffefdfc;
  g.ip = "fe80:1111:2222:3333:4444:5555:6666:7777";
  g.port = 1;
  g.pport = 2;
  g.bus_port = 3;
  g.flags = kReplica | kPfail;
  body.entries.push_back(g);
  body.extensions.hostname = "1234567";  // with its terminator exactly 8 bytes
  body.extensions.human_nodename = "blue-1";
  body.extensions.forgotten = {{Id('c'), 60}, {Id('d'), 1}};
  body.extensions.shard_id = Id('e');
  m.body = body;
  return m;
}

TEST(Message, GoldenBytesOfEveryTypeSurviveDecodeAndEncode) {
  for (const char* golden : AllGolden()) {
    std::string bytes = Unpack(golden);
    EXPECT_EQ(FramedLength(bytes), bytes.size());
    Message m = MustDecode(bytes);
    EXPECT_EQ(Encode(m), bytes) << MessageTypeName(m.header.type);
  }
}

TEST(Message, ReadsAMeetOfTheReferenceServer) {
  Message m = MustDecode(Unpack(kMeet));
  EXPECT_EQ(m.header.type, MessageType::kMeet);
  EXPECT_EQ(m.header.sender.view(), "5821d5d759d0918f6e4c71e04bb5c901d8c8893e");
  EXPECT_TRUE(m.header.primary.empty());
  EXPECT_EQ(m.header.port, 17801);
  EXPECT_EQ(m.header.pport, 0);
  EXPECT_EQ(m.header.bus_port, 37801);
  EXPECT_EQ(m.header.flags, kPrimary | kMyself);
  EXPECT_FALSE(m.header.cluster_ok);
  EXPECT_TRUE(m.header.extensions);
  EXPECT_EQ(m.header.ip, "");
  EXPECT_EQ(m.header.slots, Range(0, 5000));
  const auto& body = std::get<GossipBody>(m.body);
  EXPECT_TRUE(body.entries.empty());
  EXPECT_EQ(body.extensions.hostname, "host-0.example");
  EXPECT_FALSE(body.extensions.human_nodename);
  EXPECT_FALSE(body.extensions.shard_id);
}

TEST(Message, ReadsTheGossipOfTheReferenceServer) {
  Message m = MustDecode(Unpack(kPing));
  EXPECT_EQ(m.header.current_epoch, 3u);
  EXPECT_EQ(m.header.config_epoch, 1u);
  EXPECT_EQ(m.header.offset, 14);
  EXPECT_TRUE(m.header.cluster_ok);
  EXPECT_EQ(m.header.flags, kPrimary | kMyself | kMigrateTo);
  const auto& body = std::get<GossipBody>(m.body);
  ASSERT_EQ(body.entries.size(), 3u);
  EXPECT_EQ(body.entries[0].id.view(), "21dd8f5e4522d8c6ace53e600cd64b7bb6e04923");
  EXPECT_EQ(body.entries[0].ip, "127.0.0.1");
  EXPECT_EQ(body.entries[0].port, 17804);
  EXPECT_EQ(body.entries[0].bus_port, 37804);
  EXPECT_EQ(body.entries[0].pport, 0);
  EXPECT_EQ(body.entries[0].flags, kReplica);
  EXPECT_EQ(body.entries[0].ping_sent_s, 0x6b03d920u);
  EXPECT_EQ(body.entries[0].pong_received_s, 0x6b03d91fu);
  EXPECT_EQ(body.entries[1].ping_sent_s, 0u);
  EXPECT_EQ(body.entries[2].flags, kPrimary | kPfail);
}

TEST(Message, ReadsTheOtherBodiesOfTheReferenceServer) {
  EXPECT_EQ(std::get<FailBody>(MustDecode(Unpack(kFail)).body).node.view(), "ad3e660211c1199ef4f06572cfee3c6b042ea441");

  Message publish = MustDecode(Unpack(kPublish));
  EXPECT_EQ(publish.header.type, MessageType::kPublish);
  EXPECT_EQ(std::get<PublishBody>(publish.body).channel, "chan");
  EXPECT_EQ(std::get<PublishBody>(publish.body).message, "hello");
  EXPECT_EQ(std::get<PublishBody>(MustDecode(Unpack(kPublishShard)).body).channel, "foo{3}");

  Message request = MustDecode(Unpack(kAuthRequest));
  EXPECT_TRUE(request.header.force_ack);
  EXPECT_EQ(request.header.current_epoch, 2u);
  EXPECT_EQ(request.header.primary.view(), "cb292ccc1fe91052d99e48ef74f942fdc5e57ce1");
  EXPECT_EQ(request.header.slots, Range(5001, 16383));

  Message update = MustDecode(Unpack(kUpdate));
  const auto& body = std::get<UpdateBody>(update.body);
  EXPECT_EQ(body.config_epoch, 2u);
  EXPECT_EQ(body.node, update.header.sender);
  EXPECT_EQ(body.slots, Range(5001, 16383));
}

TEST(Message, AllExtensionsAreAlignedAndSurvive) {
  std::string bytes = Encode(FullPing());
  // Header, one gossip entry, hostname 8+8, node name 8+8, twice forgotten 8+48, shard id 8+40.
  EXPECT_EQ(bytes.size(), 2256u + 104 + 16 + 16 + 2 * 56 + 48);
  Message m = MustDecode(bytes);
  const Extensions& e = std::get<GossipBody>(m.body).extensions;
  EXPECT_EQ(e.hostname, "1234567");
  EXPECT_EQ(e.human_nodename, "blue-1");
  ASSERT_EQ(e.forgotten.size(), 2u);
  EXPECT_EQ(e.forgotten[0].id, Id('c'));
  EXPECT_EQ(e.forgotten[0].ttl_s, 60u);
  EXPECT_EQ(e.shard_id, Id('e'));
  EXPECT_EQ(std::get<GossipBody>(m.body).entries[0].ip, "fe80:1111:2222:3333:4444:5555:6666:7777");
  EXPECT_EQ(Encode(m), bytes);
}

TEST(Message, ClientAddressesTravelAsInValkey) {
  Message m = FullPing();
  const std::string without = Encode(m);
  std::get<GossipBody>(m.body).extensions.client = {
      .ipv4 = "203.0.113.7", .ipv6 = "2001:db8::7", .port = 30001, .tls_port = 30002};
  const std::string bytes = Encode(m);
  const std::string expected(
      "\0\0\0\x18\0\4\0\0" "203.0.113.7\0\0\0\0\0"
      "\0\0\0\x18\0\5\0\0" "2001:db8::7\0\0\0\0\0"
      "\0\0\0\x10\0\6\0\0\x75\x31\0\0\0\0\0\0"
      "\0\0\0\x10\0\7\0\0\x75\x32\0\0\0\0\0\0",
      24 + 24 + 16 + 16);
  EXPECT_EQ(bytes.substr(without.size()), expected);
  const Message decoded = MustDecode(bytes);
  EXPECT_EQ(std::get<GossipBody>(decoded.body).extensions.client, std::get<GossipBody>(m.body).extensions.client);
}

TEST(Message, WhatIsNoAddressIsNoClientAddress) {
  // Redis 8 sends a secret under the number of Valkey's IPv4 address.
  Message m = FullPing();
  for (const char* text : {"5821d5d759d0918f6e4c71e04bb5c901d8c8893e", "banana", "::1", "1.2.3"}) {
    std::get<GossipBody>(m.body).extensions.client.ipv4 = text;
    EXPECT_EQ(std::get<GossipBody>(MustDecode(Encode(m)).body).extensions.client, ClientEndpoint()) << text;
  }
}

TEST(Message, ExtensionTypesOfNewerVersionsAreSkipped) {
  std::string bytes = Encode(FullPing());
  size_t hostname = 2256 + 104;
  SetU16(bytes, hostname + 4, 77);
  const Extensions e = std::get<GossipBody>(MustDecode(bytes).body).extensions;
  EXPECT_FALSE(e.hostname);
  EXPECT_EQ(e.human_nodename, "blue-1");
  EXPECT_EQ(e.shard_id, Id('e'));
}

TEST(Message, HostileExtensionLengthsAreRefused) {
  std::string good = Encode(FullPing());
  size_t hostname = 2256 + 104;
  for (uint32_t length : {0u, 1u, 7u, 9u, 15u, 0x80000000u, 0xfffffff8u, 0xffffffffu, 4096u}) {
    std::string bytes = good;
    SetU32(bytes, hostname, length);
    EXPECT_NE(ErrorOf(bytes), "decoded") << length;
  }
  std::string bytes = good;
  SetU32(bytes, bytes.size() - 48, 40);  // a shard id shorter than an id
  EXPECT_NE(ErrorOf(bytes), "decoded");
}

TEST(Message, HostileCountsAreRefused) {
  std::string bytes = Encode(FullPing());
  SetU16(bytes, 14, 0xffff);
  EXPECT_EQ(ErrorOf(bytes), "truncated gossip section");
  bytes = Encode(FullPing());
  SetU16(bytes, 2214, 6);
  EXPECT_EQ(ErrorOf(bytes), "truncated");
  bytes = Encode(FullPing());
  SetU16(bytes, 2214, 4);
  EXPECT_EQ(ErrorOf(bytes), "bytes left over after the body");
}

TEST(Message, HostilePublishLengthsAreRefused) {
  std::string good = Unpack(kPublish);
  for (uint32_t length : {0u, 3u, 5u, 0x7fffffffu, 0xfffffffcu, 0xffffffffu}) {
    std::string bytes = good;
    SetU32(bytes, 2256, length);
    EXPECT_NE(ErrorOf(bytes), "decoded") << length;
    bytes = good;
    SetU32(bytes, 2260, length == 5 ? 6 : length);
    EXPECT_NE(ErrorOf(bytes), "decoded") << length;
  }
}

TEST(Message, WrongSignatureVersionTypeOrIdIsRefused) {
  std::string good = Unpack(kPing);
  std::string bytes = good;
  bytes[0] = 'X';
  EXPECT_EQ(ErrorOf(bytes), "bad signature");
  EXPECT_EQ(FramedLength(bytes), std::nullopt);
  bytes = good;
  SetU16(bytes, 8, 2);
  EXPECT_EQ(ErrorOf(bytes), "unsupported protocol version 2");
  bytes = good;
  SetU16(bytes, 12, 11);
  EXPECT_EQ(ErrorOf(bytes), "unknown message type 11");
  for (size_t at : {size_t{40}, size_t{2256}}) {  // sender, first gossip entry
    bytes = good;
    bytes[at] = 'Z';
    EXPECT_EQ(ErrorOf(bytes), "invalid node id");
  }
  bytes = good;
  bytes[2128 + 7] = 'a';  // a primary's id that is neither zeros nor an id
  EXPECT_EQ(ErrorOf(bytes), "invalid node id");
}

TEST(Message, TruncatedAtEveryByteIsRefusedEvenIfTheLengthAgrees) {
  for (const char* golden : AllGolden()) {
    std::string good = Unpack(golden);
    for (size_t n = 0; n < good.size(); ++n) {
      std::string bytes = good.substr(0, n);
      ASSERT_NE(ErrorOf(bytes), "decoded");
      if (n < 8) continue;
      SetU32(bytes, 4, static_cast<uint32_t>(n));
      ASSERT_NE(ErrorOf(bytes), "decoded") << n;
    }
  }
}

TEST(Message, AddressesLongerThanTheirFieldAreCutAndTerminated) {
  Message m = FullPing();
  m.header.ip = std::string(60, '1');
  m = MustDecode(Encode(m));
  EXPECT_EQ(m.header.ip, std::string(45, '1'));
}

TEST(Message, NamesAndAddressesThatWouldBreakNodesConfAreNotHeard) {
  for (const char* text : {"a b", "1,2", "x\ny", "\x01", "it's", "back\\slash", "\x7f"}) {
    Message m = FullPing();
    m.header.ip = text;
    auto& body = std::get<GossipBody>(m.body);
    body.entries[0].ip = text;
    body.extensions.hostname = text;
    body.extensions.human_nodename = text;
    m = MustDecode(Encode(m));
    EXPECT_EQ(m.header.ip, "");
    EXPECT_EQ(std::get<GossipBody>(m.body).entries[0].ip, "");
    EXPECT_EQ(std::get<GossipBody>(m.body).extensions.hostname, "");
    EXPECT_EQ(std::get<GossipBody>(m.body).extensions.human_nodename, "");
  }
}

TEST(Message, MutatedBytesNeverBreakTheDecoder) {
  std::vector<std::string> seeds;
  for (const char* golden : AllGolden()) seeds.push_back(Unpack(golden));
  seeds.push_back(Encode(FullPing()));
  std::mt19937_64 random(20240601);
  auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  int decoded = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = seeds[below(seeds.size())];
    for (size_t changes = 1 + below(4); changes > 0; --changes) {
      switch (below(4)) {
        case 0:
          bytes[below(bytes.size())] = static_cast<char>(random());
          break;
        case 1:  // where the lengths and counts are
          bytes[bytes.size() - 1 - below(std::min<size_t>(bytes.size(), 400))] = static_cast<char>(random());
          break;
        case 2:
          bytes.resize(8 + below(bytes.size()));
          break;
        case 3:
          bytes.insert(below(bytes.size()), below(200), static_cast<char>(random()));
          break;
      }
    }
    if (below(4) != 0 && bytes.size() >= 8) SetU32(bytes, 4, static_cast<uint32_t>(bytes.size()));
    auto result = DecodeExact(bytes);
    if (auto* m = std::get_if<Message>(&result)) {
      ++decoded;
      // What was understood survives being said again.
      std::string again = Encode(*m);
      Message second = MustDecode(again);
      ASSERT_EQ(Encode(second), again);
    }
  }
  EXPECT_GT(decoded, 1000);
}

TEST(FramedLength, WaitsForThePrefixAndRefusesImpossibleLengths) {
  std::string good = Unpack(kFail);
  for (size_t n = 0; n < 8; ++n) EXPECT_EQ(FramedLength(std::string_view(good).substr(0, n)), 0u);
  EXPECT_EQ(FramedLength(std::string_view(good).substr(0, 8)), 2296u);
  for (uint32_t length : {0u, 8u, 2255u, 0x40000001u, 0xffffffffu}) {
    SetU32(good, 4, length);
    EXPECT_EQ(FramedLength(good), std::nullopt) << length;
  }
  EXPECT_EQ(FramedLength("RD"), std::nullopt);
}

}  // namespace
}  // namespace tessera::cluster
