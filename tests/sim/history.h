// What clients were told, and what became of it: every acknowledged write, who confirmed it under WAIT, and who has
// reigned over the slots that clients use. What it sees broken it reports to World::Violate.
//
//   confirmed   A write that every replica of its primary confirmed before WAIT returned may not be lost, unless something
//               happened under which Redis's rules let it go: then it carries an excuse (see Excuse()).
//   deposed     A primary acknowledges nothing any more within its node timeout after a majority of the primaries knew its
//               elected successor.
//   return      Ownership changes only in favour of a greater config epoch, and a primary that was replaced gets such an
//               epoch by an election or an operator, never by the settling of an epoch collision.
//   planned     A replica that takes over by a plain CLUSTER FAILOVER holds every write of the primary it replaces.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "cluster/core.h"

namespace tessera::sim {

class World;

class History {
 public:
  explicit History(World& world) : world_(world) {}

  struct Write {
    uint64_t value;
    cluster::Slot slot;
    int node;
    cluster::Millis at;
    bool asked = false;  // came by an ASK redirection
    bool confirmed_by_all = false;
    const char* excuse = nullptr;  // why it may be lost although confirmed by all
  };
  // Returns the number of the write.
  size_t Acknowledged(Write write);
  void Confirmed(size_t write, uint32_t by);
  void Read(int node, cluster::Slot slot);  // served by `node`

  void Started(int node);
  void AfterStep(int node);
  // An operator moves the slot: what it holds is copied, unconfirmed, and no rule protects it until `until`.
  void Moving(cluster::Slot slot, cluster::Millis until);

  // At the end, when all agree.
  void CheckAtEnd();
  int LostWrites() const;  // acknowledged writes that the owner of their slot does not have
  size_t size() const { return writes_.size(); }

 private:
  enum class How { kFormation, kElection, kForced, kTakeover, kOperator, kCollision };
  struct Reign {  // the claim with the greatest config epoch
    int node = -1;
    cluster::Epoch epoch = 0;
    How how = How::kFormation;
  };
  struct Claims {  // of a node after its last step
    cluster::NodeId id;
    bool primary = false;
    bool manual = false;  // a manual failover is under way
    cluster::NodeId followed;
    cluster::Epoch epoch = 0;
    uint32_t slots = 0;  // a bit per tracked slot
  };
  struct Deposed {
    int by = -1;
    cluster::Epoch epoch = 0;
    cluster::Millis since = -1;
  };
  Claims ClaimsOf(int node) const;
  Claims& before(int node);
  void Claim(int node, const Claims& was, const Claims& is, How how);
  void Promoted(int node, const Claims& was, const Claims& is, How how);
  void CheckPlannedFailover(int node, const Claims& was, const Claims& is);
  void CheckLosses(int node, const Claims& was, const Claims& is);
  void FindReign(int tracked);
  void CheckDeposed(int node, int tracked);
  bool MajorityKnows(int node, int tracked) const;
  // Whom it would take a slot from does not know it, nor does any other node that runs.
  bool IsForgotten(int node, int successor) const;
  bool Holds(int node, const Write& write) const;
  bool AllReplicasIn(int node, uint32_t by) const;
  void Excuse(Write& write, const char* why);
  Write* Open(size_t write);  // confirmed by all and without excuse, else null

  World& world_;
  std::vector<Write> writes_;
  std::map<int, std::vector<size_t>> confirmed_;  // by tracked slot: writes confirmed by all
  std::vector<Claims> before_;
  std::map<int, Reign> reigns_;                         // by tracked slot
  std::map<int, cluster::Millis> moving_until_ms_;      // by tracked slot; by a reshard or a TAKEOVER
  std::map<int, cluster::Millis> resharding_until_ms_;  // by a reshard only
  std::map<int, Deposed> deposed_;                      // by node
};

}  // namespace tessera::sim
