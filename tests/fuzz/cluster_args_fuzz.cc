// CLUSTER with any arguments, through the command table, on a node that knows others: exactly one reply that is well-formed; what
// is refused changes nothing; what is done is consistent, and can be saved and loaded again.
//
//   input = mode u8, lines; each is a command as in redis-cli
// The loop does not turn: nobody is dialled.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <fmt/core.h>

#include "cluster/slot.h"
#include "server/cluster/nodes_file.h"
#include "server/log.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/command_fixture.h"

using namespace tessera;

namespace {

void Require(bool holds, std::string_view what, std::string_view command = {}) {
  if (holds) return;
  fmt::print(stderr, "not so: {} after '{}'\n", what, command);
  std::abort();
}

std::string Id(char name) { return std::string(40, name); }

// This node `a`, primaries b and c with slots, d a replica of b; or this node `d`.
std::string StateOf(char self) {
  std::string text;
  auto node = [&](char name, std::string_view flags, char primary, std::string_view rest) {
    text += fmt::format("{} 127.0.0.1:{}@{},,tls-port=0,shard-id={} {}{} {} 0 0 {} connected{}\n", Id(name), 7000 + name,
                        17000 + name, Id(primary == '-' ? name : primary), name == self ? "myself," : "", flags,
                        primary == '-' ? "-" : Id(primary), name == 'd' ? 2 : name - 'a' + 1, rest);
  };
  node('a', "master", '-', " 0-10 12000");
  node('b', "master", '-', " 11-20 16383");
  node('c', "master", '-', "");
  node('d', "slave", 'b', "");
  return text + "vars currentEpoch 5 lastVoteEpoch 0\n";
}

uint16_t FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  Require(bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0, "a free port");
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  close(fd);
  return ntohs(address.sin_port);
}

class Node {
 public:
  explicit Node(char self)
      : server({.cluster = true, .hash_seed = 1, .slot_of = [](std::string_view key) { return cluster::SlotOf(key); },
                .arena_bytes_max = size_t{1} << 30}) {
    config::Config& config = server.options.mutable_config();
    config.cluster_enabled = true;
    config.bind = {"127.0.0.1"};
    config.port = 7000;
    auto file = server.files.Open(config.cluster_config_file, persistence::OpenMode::kCreate);
    Require(file.ok() && (*file)->Append(StateOf(self)).ok(), "nodes.conf");
    for (int tries = 0; shell == nullptr; ++tries) {
      config.cluster_port = FreePort();
      auto made = std::make_unique<ClusterShell>(server.loop, server.files, server.services);
      const std::string error = made->Start();
      if (error.empty()) shell = std::move(made);
      Require(tries < 20, error);
    }
    server.services.cluster = shell.get();
    shell->DatasetLoaded();
  }
  ~Node() { server.services.cluster = nullptr; }

  void Run(const std::vector<std::string>& words, std::string_view line) {
    const std::string before = shell->core().StateText();
    const protocol::Reply reply = server.Execute(server.session, words);
    Require(!(reply.IsError() && reply.text.starts_with("not exactly one reply")), reply.text, line);
    const std::string after = shell->core().StateText();
    if (reply.IsError()) {
      Require(reply.text.find_first_of("\r\n") == std::string::npos, "an error is one line", line);
      Require(after == before, "what is refused changes nothing", line);
    }
    if (after == before) return;
    std::string error;
    Require(CheckNodesChecksum(WithNodesChecksum(after)).empty(), "its checksum is right", line);
    const auto again = cluster::Core::Load(shell->core().options(), 1, server.now_ms, after, &error);
    Require(again != nullptr, error, line);
    int counted = 0, owned = 0;
    for (const auto& [id, node] : shell->core().nodes()) counted += node.slot_count;
    for (int slot = 0; slot < cluster::kSlotCount; ++slot) {
      const auto* here = shell->core().OwnerOf(static_cast<cluster::Slot>(slot));
      const auto* there = again->OwnerOf(static_cast<cluster::Slot>(slot));
      owned += here != nullptr;
      Require((here == nullptr) == (there == nullptr) && (here == nullptr || here->id == there->id), "slots are saved", line);
    }
    Require(counted == owned, "slots are counted once", line);
  }

  CommandFixture server;
  std::unique_ptr<ClusterShell> shell;
};

}  // namespace

std::vector<std::string> FuzzCorpus() {
  const std::string a = Id('a'), b = Id('b'), c = Id('c'), d = Id('d'), e = Id('e');
  std::vector<std::string> lines = {
      "CLUSTER ADDSLOTS 100 101 16382", "CLUSTER ADDSLOTS 100 100", "CLUSTER ADDSLOTS -1 16384 99999999999999999999 x \"\"",
      "CLUSTER ADDSLOTSRANGE 100 200 300 400", "CLUSTER ADDSLOTSRANGE 5 1 0", "CLUSTER DELSLOTS 0 1 5 12000",
      "CLUSTER DELSLOTSRANGE 0 10 11 20 100 100", "CLUSTER SETSLOT 5 MIGRATING " + b, "CLUSTER SETSLOT 11 IMPORTING " + b,
      "CLUSTER SETSLOT 11 NODE " + a, "CLUSTER SETSLOT 5 NODE " + b, "CLUSTER SETSLOT 5 STABLE", "CLUSTER SETSLOT 5 NODE " + d,
      "CLUSTER SETSLOT 70000 NODE " + a, "CLUSTER SETSLOT 5 MIGRATING " + e, "CLUSTER SETSLOT 5 NONSENSE " + a,
      "CLUSTER MEET 127.0.0.1 7001", "CLUSTER MEET ::1 7001 17001", "CLUSTER MEET 1.2.3 65536", "CLUSTER MEET host 7001",
      "CLUSTER MEET 127.0.0.1 0 -1", "CLUSTER MEET 127.0.0.1 65535", "CLUSTER FORGET " + c, "CLUSTER FORGET " + a, "CLUSTER FORGET " + e,
      "CLUSTER FORGET abc", "CLUSTER REPLICATE " + b, "CLUSTER REPLICATE " + d, "CLUSTER REPLICATE " + a, "CLUSTER REPLICATE x",
      "CLUSTER FAILOVER", "CLUSTER FAILOVER FORCE", "CLUSTER FAILOVER TAKEOVER", "CLUSTER FAILOVER NOW", "CLUSTER RESET",
      "CLUSTER RESET HARD", "CLUSTER RESET SOFT", "CLUSTER RESET MILD", "CLUSTER FLUSHSLOTS", "CLUSTER BUMPEPOCH",
      "CLUSTER SET-CONFIG-EPOCH 7", "CLUSTER SET-CONFIG-EPOCH 18446744073709551615", "CLUSTER SET-CONFIG-EPOCH -1", "CLUSTER SAVECONFIG",
      "CLUSTER NODES", "CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER INFO", "CLUSTER LINKS", "CLUSTER MYID", "CLUSTER MYSHARDID",
      "CLUSTER COUNT-FAILURE-REPORTS " + b, "CLUSTER COUNTKEYSINSLOT 5", "CLUSTER GETKEYSINSLOT 5 10",
      "CLUSTER GETKEYSINSLOT 5 99999999999", "CLUSTER GETKEYSINSLOT 16384 -1", "CLUSTER KEYSLOT {a}b", "CLUSTER KEYSLOT \"\"",
      "CLUSTER REPLICAS " + b, "CLUSTER SLAVES " + c, "CLUSTER HELP", "CLUSTER", "CLUSTER \"\\r\\n\" x", "CLUSTER NOSUCH x"};
  std::vector<std::string> corpus;
  for (size_t i = 0; i < lines.size(); ++i)
    corpus.push_back(static_cast<char>(i % 2) + lines[i] + "\n" + lines[(i * 7 + 3) % lines.size()] + "\n" +
                     lines[(i * 13 + 5) % lines.size()] + "\n");
  return corpus;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool kQuiet = log::Open("/dev/null", log::Level::kWarning).empty();
  if (size == 0 || !kQuiet) return 0;
  Node node(data[0] % 2 == 0 ? 'a' : 'd');
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  for (int lines = 0; lines < 6 && !rest.empty(); ++lines) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    auto words = protocol::SplitArgs(line);
    if (!words || words->empty()) continue;
    // Whatever the mutation made of the name: what is asked here is CLUSTER.
    (*words)[0] = "CLUSTER";
    node.Run(*words, line);
  }
  return 0;
}
