#include "server/cluster/nodes_file.h"

#include <gtest/gtest.h>

#include <sstream>

#include "cluster/core.h"

namespace tessera {
namespace {

std::string Sample() {
  const std::string a(40, 'a'), b(40, 'b'), c(40, 'c');
  return a + " 10.0.0.1:7000@17000,,tls-port=0,shard-id=" + a + " myself,master - 0 0 7 connected 0-100 200 [5->-" + b + "]\n" +
         b + " 10.0.0.2:7000@17000,host,tls-port=0,shard-id=" + b + " master - 0 1700000000000 8 connected 300-16383\n" + c +
         " 10.0.0.3:7000@17000,,tls-port=0,shard-id=" + a + " slave " + a + " 0 1700000000000 7 connected\n" +
         "vars currentEpoch 9 lastVoteEpoch 8\n";
}

std::string WithoutAddresses(const std::string& text) {
  std::istringstream lines(text);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    const size_t begin = line.find(' '), end = line.find(' ', begin + 1);
    out += line.starts_with("vars") ? line : line.substr(0, begin) + line.substr(end);
    out += '\n';
  }
  return out;
}

// As the server loads it; empty when it refuses.
std::string Loaded(const std::string& text) {
  if (!CheckNodesChecksum(text).empty()) return {};
  std::string error;
  const auto core = cluster::Core::Load({}, 1, 1700000000000, text, &error);
  return core == nullptr ? std::string() : WithoutAddresses(core->StateText());
}

TEST(NodesFile, AddsAVariableToTheLastLine) {
  const std::string text = WithNodesChecksum(Sample());
  EXPECT_TRUE(text.starts_with(Sample().substr(0, Sample().size() - 1) + " checksum "));
  EXPECT_EQ(CheckNodesChecksum(text), "");
  EXPECT_EQ(Loaded(text), Loaded(Sample()));
  EXPECT_NE(Loaded(text), "");
}

TEST(NodesFile, AcceptsFilesWithoutChecksumAndOtherAddresses) {
  EXPECT_EQ(CheckNodesChecksum(Sample()), "");
  std::string moved = WithNodesChecksum(Sample());
  moved.replace(moved.find("10.0.0.1:"), 9, "192.168.100.200:");
  EXPECT_EQ(CheckNodesChecksum(moved), "");
}

TEST(NodesFile, NoticesDamageOfAnyByte) {
  const std::string good = WithNodesChecksum(Sample());
  const std::string right = Loaded(good);
  int refused = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    for (int mask : {1, 1 << (at % 8), 0x0f, 0xff, static_cast<int>(static_cast<uint8_t>(good[at]))}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ mask);
      const std::string loaded = Loaded(bad);
      refused += loaded.empty();
      EXPECT_TRUE(loaded.empty() || loaded == right) << "byte " << at << " xor " << mask << "\n" << loaded;
    }
  }
  EXPECT_GT(refused, static_cast<int>(good.size()) * 3);
}

TEST(NodesFile, NoticesACutAnywhere) {
  const std::string good = WithNodesChecksum(Sample());
  for (size_t length = 1; length < good.size(); ++length) {
    const std::string loaded = Loaded(good.substr(0, length));
    EXPECT_TRUE(loaded.empty() || loaded == Loaded(good)) << length << "\n" << loaded;
  }
}

}  // namespace
}  // namespace tessera
