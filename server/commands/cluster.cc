// CLUSTER's rows, and ASKING, READONLY, READWRITE, by which a client tells how it wants to be routed.
#include "server/commands/cluster.h"

#include "server/commands/context.h"
#include "server/commands/help.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

namespace on = cluster_commands;

constexpr std::string_view kDisabled = "ERR This instance has cluster support disabled";

template <void (*handler)(CommandContext&, ClusterShell&)>
void InCluster(CommandContext& ctx) {
  if (ctx.services.cluster == nullptr) return ctx.reply.Error(kDisabled);
  handler(ctx, *ctx.services.cluster);
}

void Help(CommandContext& ctx, ClusterShell&) { ReplyWithHelp(ctx); }

void Asking(CommandContext& ctx, ClusterShell&) {
  ctx.session.asking = true;
  ctx.reply.Ok();
}

void ReadOnly(CommandContext& ctx, ClusterShell&) {
  ctx.session.readonly = true;
  ctx.reply.Ok();
}

void ReadWrite(CommandContext& ctx, ClusterShell&) {
  ctx.session.readonly = false;
  ctx.reply.Ok();
}

constexpr uint64_t kAdministers = kAdmin | kNoAsyncLoading | kStale;
constexpr std::string_view kNondeterministic[] = {"nondeterministic_output"};

constexpr ArgSpec kNodeId[] = {{.name = "node-id"}};
constexpr ArgSpec kSlotArg[] = {{.name = "slot", .type = ArgType::kInteger}};
constexpr ArgSpec kSlotsArg[] = {{.name = "slot", .type = ArgType::kInteger, .flags = kMultiple}};
constexpr ArgSpec kRangeArgs[] = {{.name = "start-slot", .type = ArgType::kInteger},
                                  {.name = "end-slot", .type = ArgType::kInteger}};
constexpr ArgSpec kRangesArg[] = {
    {.name = "range", .type = ArgType::kBlock, .flags = kMultiple, .children = kRangeArgs}};
constexpr ArgSpec kFailoverModes[] = {{.name = "force", .type = ArgType::kPureToken, .token = "FORCE"},
                                      {.name = "takeover", .type = ArgType::kPureToken, .token = "TAKEOVER"}};
constexpr ArgSpec kFailoverArgs[] = {
    {.name = "options", .type = ArgType::kOneOf, .flags = kOptional, .children = kFailoverModes}};
constexpr ArgSpec kGetKeysArgs[] = {{.name = "slot", .type = ArgType::kInteger},
                                    {.name = "count", .type = ArgType::kInteger}};
constexpr ArgSpec kKeySlotArgs[] = {{.name = "key"}};
constexpr ArgSpec kMeetArgs[] = {
    {.name = "ip"},
    {.name = "port", .type = ArgType::kInteger},
    {.name = "cluster-bus-port", .type = ArgType::kInteger, .flags = kOptional, .since = "4.0.0"}};
constexpr ArgSpec kResetModes[] = {{.name = "hard", .type = ArgType::kPureToken, .token = "HARD"},
                                   {.name = "soft", .type = ArgType::kPureToken, .token = "SOFT"}};
constexpr ArgSpec kResetArgs[] = {
    {.name = "reset-type", .type = ArgType::kOneOf, .flags = kOptional, .children = kResetModes}};
constexpr ArgSpec kEpochArgs[] = {{.name = "config-epoch", .type = ArgType::kInteger}};
constexpr ArgSpec kSetSlotActions[] = {{.name = "importing", .token = "IMPORTING", .display = "node-id"},
                                       {.name = "migrating", .token = "MIGRATING", .display = "node-id"},
                                       {.name = "node", .token = "NODE", .display = "node-id"},
                                       {.name = "stable", .type = ArgType::kPureToken, .token = "STABLE"}};
constexpr ArgSpec kSetSlotArgs[] = {{.name = "slot", .type = ArgType::kInteger},
                                    {.name = "subcommand", .type = ArgType::kOneOf, .children = kSetSlotActions}};

constexpr HistoryEntry kForgetHistory[] = {{"7.2.0", "The other nodes hear of it and forget the node too."}};
constexpr HistoryEntry kMeetHistory[] = {{"4.0.0", "Takes the bus port as an optional argument."}};
constexpr HistoryEntry kSlotsHistory[] = {{"4.0.0", "Tells the nodes' ids."},
                                          {"7.0.0", "Tells further addresses of each node."}};

constexpr CommandRow Subcommand(std::string_view name, int arity, uint64_t flags, CommandHandler handler,
                                std::string_view since, std::string_view complexity, std::string_view summary,
                                std::span<const ArgSpec> args = {}, std::span<const std::string_view> tips = {},
                                std::span<const HistoryEntry> history = {}) {
  return {.name = name,
          .arity = arity,
          .flags = flags,
          .handler = handler,
          .group = Group::kCluster,
          .since = since,
          .complexity = complexity,
          .summary = summary,
          .args = args,
          .tips = tips,
          .history = history};
}

constexpr CommandRow Deprecated(CommandRow row, std::string_view since, std::string_view replaced_by) {
  row.deprecated_since = since;
  row.replaced_by = replaced_by;
  return row;
}

constexpr std::string_view kPerSlot = "O(N) in the number of slots named.";
constexpr std::string_view kPerNode = "O(N) in the number of nodes known.";

constexpr CommandRow kSubcommands[] = {
    Subcommand("addslots", -3, kAdministers, InCluster<on::AddSlots>, "3.0.0", kPerSlot,
               "Makes this node the owner of slots nobody owns.", kSlotsArg),
    Subcommand("addslotsrange", -4, kAdministers, InCluster<on::AddSlotsRange>, "7.0.0", kPerSlot,
               "Makes this node the owner of ranges of slots nobody owns.", kRangesArg),
    Subcommand("bumpepoch", 2, kAdministers, InCluster<on::BumpEpoch>, "3.0.0", "O(1)",
               "Gives this node a config epoch above all others.", {}, kNondeterministic),
    Subcommand("count-failure-reports", 3, kAdmin | kStale, InCluster<on::CountFailureReports>, "3.0.0",
               "O(N) in the number of failure reports.", "Counts the nodes that report a node as failing.", kNodeId,
               kNondeterministic),
    Subcommand("countkeysinslot", 3, kStale, InCluster<on::CountKeysInSlot>, "3.0.0", "O(1)",
               "Counts the keys this node holds in a slot.", kSlotArg),
    Subcommand("delslots", -3, kAdministers, InCluster<on::DelSlots>, "3.0.0", kPerSlot,
               "Makes this node forget who owns slots.", kSlotsArg),
    Subcommand("delslotsrange", -4, kAdministers, InCluster<on::DelSlotsRange>, "7.0.0", kPerSlot,
               "Makes this node forget who owns ranges of slots.", kRangesArg),
    Subcommand("failover", -2, kAdministers, InCluster<on::Failover>, "3.0.0", "O(1)",
               "Makes this replica take its primary's place.", kFailoverArgs),
    Subcommand("flushslots", 2, kAdministers, InCluster<on::FlushSlots>, "3.0.0", "O(1)",
               "Gives up all slots of this node."),
    Subcommand("forget", 3, kAdministers, InCluster<on::Forget>, "3.0.0", "O(1)",
               "Removes a node from those this node knows.", kNodeId, {}, kForgetHistory),
    Subcommand("getkeysinslot", 4, kStale, InCluster<on::GetKeysInSlot>, "3.0.0",
               "O(N) in the number of keys asked for.", "Lists keys this node holds in a slot.", kGetKeysArgs,
               kNondeterministic),
    Subcommand("help", 2, kLoading | kStale, InCluster<Help>, "5.0.0", "O(1)", "Lists the subcommands."),
    Subcommand("info", 2, kStale, InCluster<on::Info>, "3.0.0", "O(1)",
               "Shows the state of the cluster in figures, as this node sees it.", {}, kNondeterministic),
    Subcommand("keyslot", 3, kStale, InCluster<on::KeySlot>, "3.0.0", "O(N) in the length of the key.",
               "Tells which slot a key belongs to.", kKeySlotArgs),
    Subcommand("links", 2, kStale, InCluster<on::Links>, "7.0.0", kPerNode,
               "Lists the connections of the cluster bus, to and from each node.", {}, kNondeterministic),
    Subcommand("meet", -4, kAdministers, InCluster<on::Meet>, "3.0.0", "O(1)",
               "Introduces this node to another and so to its cluster.", kMeetArgs, {}, kMeetHistory),
    Subcommand("myid", 2, kStale, InCluster<on::MyId>, "3.0.0", "O(1)", "Tells this node's id."),
    Subcommand("myshardid", 2, kStale, InCluster<on::MyShardId>, "7.2.0", "O(1)",
               "Tells the id of the shard this node belongs to.", {}, kNondeterministic),
    Subcommand("nodes", 2, kStale, InCluster<on::Nodes>, "3.0.0", kPerNode,
               "Lists all nodes this node knows, a line each.", {}, kNondeterministic),
    Subcommand("replicas", 3, kAdmin | kStale, InCluster<on::Replicas>, "5.0.0", kPerNode,
               "Lists the replicas of a primary, a line each.", kNodeId, kNondeterministic),
    Subcommand("replicate", 3, kAdministers, InCluster<on::Replicate>, "3.0.0", "O(1)",
               "Makes this node a replica of another.", kNodeId),
    Subcommand("reset", -2, kAdmin | kNoScript | kStale, InCluster<on::Reset>, "3.0.0",
               "O(N) in the number of nodes known; a replica drops its data too.",
               "Makes this node a new one that knows no other.", kResetArgs),
    Subcommand("saveconfig", 2, kAdministers, InCluster<on::SaveConfig>, "3.0.0", "O(1)",
               "Writes what this node knows of the cluster to its file."),
    Subcommand("set-config-epoch", 3, kAdministers, InCluster<on::SetConfigEpoch>, "3.0.0", "O(1)",
               "Gives a new node its first config epoch.", kEpochArgs),
    Subcommand("setslot", -4, kAdministers, InCluster<on::SetSlot>, "3.0.0", "O(1)",
               "Marks a slot as moving, as settled, or as another node's.", kSetSlotArgs),
    Subcommand("shards", 2, kStale, InCluster<on::Shards>, "7.0.0", kPerNode,
               "Lists the shards: their slots and their nodes.", {}, kNondeterministic),
    Deprecated(Subcommand("slaves", 3, kAdmin | kStale, InCluster<on::Replicas>, "3.0.0", kPerNode,
                          "Lists the replicas of a primary, a line each.", kNodeId, kNondeterministic),
               "5.0.0", "`CLUSTER REPLICAS`"),
    Deprecated(
        Subcommand("slots", 2, kStale, InCluster<on::Slots>, "3.0.0", kPerNode,
                   "Lists the ranges of slots and the nodes that serve them.", {}, kNondeterministic, kSlotsHistory),
        "7.0.0", "`CLUSTER SHARDS`"),
};

constexpr CommandRow kRows[] = {
    {.name = "cluster",
     .arity = -2,
     .group = Group::kCluster,
     .since = "3.0.0",
     .complexity = "Depends on the subcommand.",
     .summary = "Commands about the cluster this node is part of.",
     .subcommands = kSubcommands},
    {.name = "asking",
     .arity = 1,
     .flags = kFast,
     .acl = kAclConnection,
     .handler = InCluster<Asking>,
     .group = Group::kCluster,
     .since = "3.0.0",
     .complexity = "O(1)",
     .summary = "Lets the next command into a slot that is being imported, as an ASK redirection told."},
    {.name = "readonly",
     .arity = 1,
     .flags = kLoading | kStale | kFast,
     .acl = kAclConnection,
     .handler = InCluster<ReadOnly>,
     .group = Group::kCluster,
     .since = "3.0.0",
     .complexity = "O(1)",
     .summary = "Lets this connection read from a replica in a cluster."},
    {.name = "readwrite",
     .arity = 1,
     .flags = kLoading | kStale | kFast,
     .acl = kAclConnection,
     .handler = InCluster<ReadWrite>,
     .group = Group::kCluster,
     .since = "3.0.0",
     .complexity = "O(1)",
     .summary = "Has reads at a replica redirected to its primary again."},
};

}  // namespace

std::span<const CommandRow> ClusterCommands() { return kRows; }

}  // namespace tessera
