// CLUSTER's handlers: those that change the cluster (cluster_admin.cc) and those that tell of it (cluster_report.cc).
// The rows in cluster.cc call them through a guard that refuses while cluster mode is off.
#pragma once

namespace tessera {

class ClusterShell;
struct CommandContext;

namespace cluster_commands {

void Meet(CommandContext& ctx, ClusterShell& shell);
void Forget(CommandContext& ctx, ClusterShell& shell);
void Replicate(CommandContext& ctx, ClusterShell& shell);
void Failover(CommandContext& ctx, ClusterShell& shell);
void Reset(CommandContext& ctx, ClusterShell& shell);
void SetConfigEpoch(CommandContext& ctx, ClusterShell& shell);
void BumpEpoch(CommandContext& ctx, ClusterShell& shell);
void SaveConfig(CommandContext& ctx, ClusterShell& shell);
void AddSlots(CommandContext& ctx, ClusterShell& shell);
void AddSlotsRange(CommandContext& ctx, ClusterShell& shell);
void DelSlots(CommandContext& ctx, ClusterShell& shell);
void DelSlotsRange(CommandContext& ctx, ClusterShell& shell);
void FlushSlots(CommandContext& ctx, ClusterShell& shell);
void SetSlot(CommandContext& ctx, ClusterShell& shell);

void Nodes(CommandContext& ctx, ClusterShell& shell);
void Info(CommandContext& ctx, ClusterShell& shell);
void Slots(CommandContext& ctx, ClusterShell& shell);
void Shards(CommandContext& ctx, ClusterShell& shell);
void Links(CommandContext& ctx, ClusterShell& shell);
void MyId(CommandContext& ctx, ClusterShell& shell);
void MyShardId(CommandContext& ctx, ClusterShell& shell);
void Replicas(CommandContext& ctx, ClusterShell& shell);
void KeySlot(CommandContext& ctx, ClusterShell& shell);
void CountKeysInSlot(CommandContext& ctx, ClusterShell& shell);
void GetKeysInSlot(CommandContext& ctx, ClusterShell& shell);
void CountFailureReports(CommandContext& ctx, ClusterShell& shell);

}  // namespace cluster_commands
}  // namespace tessera
