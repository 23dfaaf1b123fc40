// The safety rules of the cluster, watched at every step of a simulated life. What it sees broken it reports to
// World::Violate.
//
//   votes       a node votes at most once per epoch, also across restarts, and the vote is on its disk before it is
//   sent epochs      a node's current epoch never goes back; no message tells an epoch that is not on the sender's
//   disk; a
//               primary's config epoch never exceeds its current epoch
//   elections   an epoch is won by one node, and with votes of a majority of the primaries that have slots
//   cut off     a primary that for longer than a node timeout has no path to and from a majority of primaries refuses
//   writes
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/core.h"

namespace tessera::sim {

class World;

class Checker {
 public:
  explicit Checker(World& world) : world_(world) {}

  void Started(int node);  // new process, loaded from disk
  void OnSend(int node, int peer, std::string_view bytes);
  void AfterStep(int node);
  void AfterTick(int node);
  void OnSaved(int node);  // the disk's nodes.conf changed
  // Something that lets bytes arrive again, or a change of a node's own clock: waiting times start anew.
  void RestartWaiting();
  // The next role change of `node` is the operator's doing and needs no election.
  void ExpectForcedRole(int node, bool expected);

 private:
  struct Identity {  // of one node id
    cluster::Epoch current = 0;
    cluster::Epoch told = 0;
    std::map<cluster::Epoch, std::string> votes;  // epoch -> candidate
  };
  struct Process {
    std::string id;
    bool primary = true;
    cluster::Epoch config_epoch = 0;
    bool forced_role = false;
    cluster::Epoch durable_current = 0, durable_vote = 0;
    cluster::Millis cut_since_ms = -1;
    int cluster_size = 0;
  };
  void RoleChanged(int node, Process& p);
  Process& process(int node);

  World& world_;
  std::vector<Process> processes_;
  std::map<std::string, Identity> identities_;
  std::map<cluster::Epoch, std::string> winners_;
};

}  // namespace tessera::sim
