// Builds the parts of a server, hands each what it needs, and runs the loop. The only place that knows them all.
#pragma once

#include <memory>
#include <string>

namespace tessera {

namespace config {
class Options;
}

class Node {
 public:
  // `options` holds the configuration as started with; it must outlive the node.
  explicit Node(config::Options& options);
  ~Node();

  // Listens, loads, serves until shutdown; returns the process's exit code. What prevents the start is logged.
  int Run();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace tessera
