// Builds the parts of a server, hands each what it needs, and runs the loop. The only place that knows them all.
#pragma once

#include <functional>
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
  // `when_listening` is called once the node's addresses and files are its own.
  int Run(const std::function<void()>& when_listening);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace tessera
