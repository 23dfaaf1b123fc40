// The cluster core's shell: bus sockets, nodes.conf, timers; carries out the core's effects and tells it events.
// The data plane asks it one question per command: serve here, or where instead. Loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cluster/core.h"
#include "persistence/file_system.h"
#include "server/commands/command.h"
#include "server/services.h"
#include "server/session.h"

namespace tessera {

class EventLoop;

class ClusterShell {
 public:
  ClusterShell(EventLoop& loop, persistence::FileSystem& files, Services& services);
  ~ClusterShell();

  // Locks and reads nodes.conf (or makes it) and listens on the bus port. Empty = done, otherwise why the start stops.
  std::string Start();
  // After loading: claims slots that hold keys though nobody owns them, as Redis does.
  void DatasetLoaded();

  // Empty = serve here; otherwise the whole error reply: MOVED, ASK, TRYAGAIN, CROSSSLOT, CLUSTERDOWN. `row` EXEC is
  // judged by the commands queued in the session.
  std::string Route(Session& session, const CommandRow& row, std::span<const std::string_view> argv);

  const cluster::Core& core() const;
  // Runs one of the core's commands and carries out its effects; what CLUSTER handlers use.
  template <typename Command>
  auto Run(Command command) {
    cluster::Effects effects;
    auto result = command(mutable_core(), effects);
    CarryOut(effects);
    return result;
  }
  void SaveNow();  // CLUSTER SAVECONFIG

  struct LinkFigures {  // CLUSTER LINKS
    bool inbound;
    cluster::NodeId node;
    int64_t created_ms;
    size_t send_buffer_allocated, send_buffer_used;
  };
  std::vector<LinkFigures> links() const;

 private:
  struct Impl;
  cluster::Core& mutable_core();
  void CarryOut(const cluster::Effects& effects);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera
