#include "tests/sim/coverage.h"

namespace tessera::sim {
namespace {

struct Noted {
  const char* words;
  const char* counter;
};

constexpr Noted kNotes[] = {
    // votes and elections (cluster/election.cc)
    {"is in epoch", "votes denied: epoch of the past"},
    {"heard no majority, which", "votes denied: no lease"},
    {"may have voted for their shard", "votes denied: its predecessor may vote"},
    {"voted in that epoch already", "votes denied: voted in that epoch"},
    {"it is a primary itself", "votes denied: candidate is a primary"},
    {"its primary is not failing", "votes denied: primary is not failing"},
    {"a replica of the same primary got a vote", "votes denied: a sibling got one lately"},
    {"has config epoch", "votes denied: slots have a newer owner"},
    {"Rank is now", "elections delayed for a sibling with more data"},
    {"the link to the primary has been down for too long", "elections not stood for: data too old"},
    {"never synchronised with its primary", "elections not stood for: data of another shard"},
    {"votes and expired", "elections expired"},
    {"Election won", "elections won by votes"},
    // manual failovers (manual_failover.cc)
    {"The primary paused its writes", "manual failovers that learned the final offset"},
    {"Manual failover timed out", "manual failovers timed out"},
    {"not waiting for its data", "manual failovers forced"},
    // claims (config_update.cc)
    {"Configuration change detected", "nodes that lost their last slot, or their primary's"},
    {"once all are loaded", "slots lost while loading"},
    {"dropping their keys", "slots lost to a newer claim"},
    {"is a replica now. Following", "replicas of replicas that moved up"},
    {"claims slots with an old configuration", "stale claims corrected"},
    {"configEpoch collision", "epoch collisions"},
    {"UPDATE from", "updates received"},
    {"that other nodes own; marked as importing", "starts with keys in foreign slots"},
    {"The last slot was given", "primaries that gave away their last slot"},
    // failure detection (failure_detector.cc)
    {"possibly failing", "nodes suspected"},
    {"Marking node", "failures agreed on"},
    {"FAIL message received", "failures learned"},
    {"and it is a replica: clearing", "failures cleared: replica"},
    {"and nobody took over", "failures cleared: nobody took over"},
    {"and it is a primary without slots", "failures cleared: primary without slots"},
    {"no majority)", "minorities that stopped serving"},
    {"unassigned or owned by a failed node", "clusters stopped for lack of coverage"},
    // places (receive.cc, gossip.cc, replica_migration.cc)
    {"was expected: two nodes", "nodes found at another's address"},
    {"under a new address", "new addresses learned by gossip"},
    {"dialling it there next", "new addresses learned"},
    {"Handshake with", "handshakes"},
    {"asking it to meet again", "nodes that introduced themselves again"},
    {"was removed from the cluster by an operator", "nodes forgotten because others forgot them"},
    {"Migrating to primary", "replicas migrated to an orphan"},
};

constexpr const char* kRequired[] = {
    "elections won",
    "elections expired",
    "elections delayed for a sibling with more data",
    "elections not stood for: data too old",
    "promotions by election",
    "promotions by FORCE",
    "promotions by TAKEOVER",
    "promotions by a planned failover",
    "votes denied: epoch of the past",
    "votes denied: its predecessor may vote",
    "votes denied: candidate is a primary",
    "votes denied: primary is not failing",
    "votes denied: a sibling got one lately",
    "manual failovers timed out",
    "deaths of a party to a manual failover",
    "deaths of a party to a reshard",
    "deaths of a process that waits for its disk",
    "deaths in the middle of a save",
    "deaths of a shard",
    "power lost before a save",
    "power lost while nodes.conf was written",
    "power lost before the rename of nodes.conf was synced",
    "power lost after a save",
    "saves that found the disk full",
    "saves whose file sync failed",
    "saves whose directory sync failed",
    "slow saves",
    "nodes silenced by their disk",
    "messages withheld by a silenced node",
    "unsynced writes lost with the power",
    "clock jumps",
    "pauses",
    "partitions",
    "partitions, one way",
    "partitions of no shape",
    "one-way losses",
    "stalls",
    "connections cut",
    "address changes",
    "addresses exchanged",
    "nodes found at another's address",
    "new addresses learned by gossip",
    "replicas held back",
    "partial resyncs",
    "full resyncs",
    "full resyncs broken off",
    "loads of a dataset broken off",
    "replicas of replicas that moved up",
    "replicas migrated to an orphan",
    "replicas re-pointed",
    "nodes reset and forgotten",
    "nodes forgotten because others forgot them",
    "nodes that lost their last slot, or their primary's",
    "slots lost to a newer claim",
    "slots dropped with keys",
    "takers killed before they told of a slot",
    "nodes that introduced themselves again",
    "slots migrated with keys",
    "stale claims corrected",
    "updates received",
    "epoch collisions",
    "failures cleared: replica",
    "failures cleared: nobody took over",
    "failures cleared: primary without slots",
    "minorities that stopped serving",
    "clusters stopped for lack of coverage",
    "ticks of a primary cut off",
    "reshards finished",
    "reshards abandoned",
    "writes redirected by ASK",
    "writes held back by a pause",
    "writes acknowledged by a primary that was replaced",
    "writes confirmed by all replicas",
    "writes confirmed by some replicas",
    "confirmed writes that had to be there at the end",
    "confirmed writes that had an excuse",
    "confirmed writes looked for after a promotion",
    "reads compared",
};

}  // namespace

void CountNote(std::string_view text, const std::function<void(const char*)>& count) {
  for (const Noted& note : kNotes)
    if (text.find(note.words) != std::string_view::npos) count(note.counter);
}

std::span<const char* const> RequiredBranches() { return kRequired; }

}  // namespace tessera::sim
