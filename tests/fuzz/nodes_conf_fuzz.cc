// nodes.conf: it is refused with a line and a reason, or loaded; what was loaded is saved and loaded again unchanged.
#include <cstdlib>
#include <memory>
#include <string>

#include "cluster/core.h"
#include "server/cluster/nodes_file.h"
#include "tests/fuzz/fuzz.h"

using namespace tessera;

namespace {

std::unique_ptr<cluster::Core> Load(std::string_view text, std::string* error) {
  cluster::Options options;
  options.announced.port = 7000;
  options.announced.bus_port = 17000;
  return cluster::Core::Load(options, 1, 1'700'000'000'000, text, error);
}

}  // namespace

std::vector<std::string> FuzzCorpus() {
  const std::string a(40, 'a'), b(40, 'b'), c(40, 'c');
  const std::string whole =
      a + " 10.0.0.1:7000@17000,,tls-port=0,shard-id=" + a + " myself,master - 0 0 7 connected 0-100 200 [5->-" + b + "]\n" + b +
      " 10.0.0.2:7000@17000,host,tls-port=0,nodename=name,client-ipv4=1.2.3.4,client-tcp-port=5,shard-id=" + b +
      " master,nofailover - 0 1700000000000 8 connected 300-16383\n" + c + " [::1]:7000@17000,,tls-port=7001,shard-id=" + a +
      " slave,fail? " + a + " 1 1700000000000 7 disconnected\n" + "vars currentEpoch 9 lastVoteEpoch 8\n";
  return {whole,
          WithNodesChecksum(whole),
          a + " :0@0 myself,slave " + b + " 0 0 0 connected\n" + b + " 127.0.0.1:1 master - 0 0 1 connected 1 2 3\n"
              "vars currentEpoch 18446744073709551615 lastVoteEpoch 18446744073709551615\n",
          a + " 1:1@1 myself,master - 0 0 1 connected 0 [0-<-" + b + "] [16383->-" + b + "]\n" + b +
              " fe80::1:65535@65535 master,noaddr,migrate - 0 0 2 connected 16383\nvars currentEpoch 1 lastVoteEpoch 0\n"};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)CheckNodesChecksum(text);
  std::string error;
  const auto core = Load(text, &error);
  if ((core == nullptr) != !error.empty()) std::abort();
  if (core == nullptr) return error.starts_with("line ") ? 0 : (std::abort(), 0);

  const std::string saved = core->StateText();
  if (!CheckNodesChecksum(WithNodesChecksum(saved)).empty()) std::abort();
  const auto again = Load(WithNodesChecksum(saved), &error);
  if (again == nullptr || again->StateText() != saved) std::abort();
  for (int slot = 0; slot < cluster::kSlotCount; ++slot) {
    const auto* here = core->OwnerOf(static_cast<cluster::Slot>(slot));
    const auto* there = again->OwnerOf(static_cast<cluster::Slot>(slot));
    if ((here == nullptr) != (there == nullptr) || (here != nullptr && here->id != there->id)) std::abort();
  }
  // It lives, too.
  again->Handle(1'700'000'000'100, cluster::ReplicationStatus{});
  again->Handle(1'700'000'000'200, cluster::Tick{});
  return 0;
}
