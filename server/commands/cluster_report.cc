// CLUSTER subcommands that only tell. Reply shapes: CLUSTER SLOTS, SHARDS and LINKS of Redis 7.2.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "cluster/core.h"
#include "cluster/slot.h"
#include "server/cluster/cluster_shell.h"
#include "server/commands/cluster.h"
#include "server/commands/context.h"
#include "server/replication/replication.h"

namespace tessera::cluster_commands {
namespace {

using cluster::Core;
using cluster::NodeView;
using protocol::ParseInt64;

constexpr int kIpEndpoint = 0, kHostnameEndpoint = 1, kUnknownEndpoint = 2;  // cluster::Options

bool IsSelf(const Core& core, const NodeView& node) { return node.id == core.self(); }

int64_t OffsetOf(CommandContext& ctx, const Core& core, const NodeView& node) {
  return IsSelf(core, node) ? ctx.services.replication.offset() : node.offset;
}

// A replica that has no data yet, or failed, is of no use to a client that reads CLUSTER SLOTS.
bool IsUsefulReplica(CommandContext& ctx, const Core& core, const NodeView& node) {
  return !node.is(cluster::kFail) && OffsetOf(ctx, core, node) != 0;
}

std::vector<const NodeView*> ReplicasOf(const Core& core, const NodeView& primary) {
  std::vector<const NodeView*> replicas;
  for (const auto& [id, node] : core.nodes())
    if (node.is(cluster::kReplica) && node.primary == primary.id) replicas.push_back(&node);
  return replicas;
}

// CLUSTER SLOTS: preferred endpoint, port, id, and what else is known of the address.
void WriteSlotsNode(CommandContext& ctx, ClusterShell& shell, const NodeView& node) {
  const int type = shell.core().options().preferred_endpoint_type;
  const cluster::Audience who = ClusterShell::AudienceOf(ctx.session);
  ctx.reply.Array(4);
  if (type == kUnknownEndpoint) {
    ctx.reply.Null();
  } else {
    ctx.reply.Bulk(shell.PreferredHost(node, who));
  }
  ctx.reply.Integer(cluster::PortFor(node.endpoint, who));
  ctx.reply.Bulk(node.id.view());
  const bool with_ip = type != kIpEndpoint;
  const bool with_hostname = type != kHostnameEndpoint && !node.endpoint.hostname.empty();
  ctx.reply.Map(with_ip + with_hostname);
  if (with_ip) {
    ctx.reply.Bulk("ip");
    ctx.reply.Bulk(cluster::IpFor(node.endpoint, who));
  }
  if (with_hostname) {
    ctx.reply.Bulk("hostname");
    ctx.reply.Bulk(node.endpoint.hostname);
  }
}

void WriteSlotsRange(CommandContext& ctx, ClusterShell& shell, const NodeView& owner, int first, int last,
                     const std::vector<const NodeView*>& replicas) {
  ctx.reply.Array(3 + static_cast<int64_t>(replicas.size()));
  ctx.reply.Integer(first);
  ctx.reply.Integer(last);
  WriteSlotsNode(ctx, shell, owner);
  for (const NodeView* replica : replicas) WriteSlotsNode(ctx, shell, *replica);
}

void WriteShardsNode(CommandContext& ctx, ClusterShell& shell, const NodeView& node) {
  const bool replica = node.is(cluster::kReplica);
  const cluster::Audience who = ClusterShell::AudienceOf(ctx.session);
  const int64_t offset = OffsetOf(ctx, shell.core(), node);
  int64_t fields = 0;
  const auto map = ctx.reply.Defer();
  auto text = [&](std::string_view name, std::string_view value) {
    ctx.reply.Bulk(name);
    ctx.reply.Bulk(value);
    ++fields;
  };
  auto number = [&](std::string_view name, int64_t value) {
    ctx.reply.Bulk(name);
    ctx.reply.Integer(value);
    ++fields;
  };
  text("id", node.id.view());
  if (node.endpoint.port != 0) number("port", cluster::PlainPortFor(node.endpoint));
  if (node.endpoint.tls_port != 0) number("tls-port", cluster::TlsPortFor(node.endpoint));
  text("ip", cluster::IpFor(node.endpoint, who));
  text("endpoint", shell.PreferredHost(node, who));
  if (!node.endpoint.hostname.empty()) text("hostname", node.endpoint.hostname);
  text("role", replica ? "replica" : "master");
  number("replication-offset", offset);
  text("health", node.is(cluster::kFail) ? "fail" : replica && offset == 0 ? "loading" : "online");
  ctx.reply.EndMap(map, fields);
}

// A shard's slots, as first and last of each range.
void WriteRanges(CommandContext& ctx, const cluster::SlotSet& slots) {
  int64_t count = 0;
  const auto array = ctx.reply.Defer();
  for (int slot = 0; slot < cluster::kSlotCount; ++slot) {
    if (!slots[static_cast<size_t>(slot)]) continue;
    ctx.reply.Integer(slot);
    while (slot + 1 < cluster::kSlotCount && slots[static_cast<size_t>(slot) + 1]) ++slot;
    ctx.reply.Integer(slot);
    count += 2;
  }
  ctx.reply.EndArray(array, count);
}

const NodeView& PrimaryOf(const Core& core, const NodeView& node) {
  auto it = node.is(cluster::kReplica) ? core.nodes().find(node.primary) : core.nodes().end();
  return it == core.nodes().end() ? node : it->second;
}

struct Link {
  const NodeView* node;
  cluster::LinkId id;
  std::string_view direction;
  int64_t created_ms;
};

void WriteLink(CommandContext& ctx, ClusterShell& shell, const Link& link) {
  const auto pending = static_cast<int64_t>(shell.send_buffer_bytes(link.id));
  ctx.reply.Map(6);
  ctx.reply.Bulk("direction");
  ctx.reply.Bulk(link.direction);
  ctx.reply.Bulk("node");
  ctx.reply.Bulk(link.node->id.view());
  ctx.reply.Bulk("create-time");
  ctx.reply.Integer(link.created_ms);
  ctx.reply.Bulk("events");
  ctx.reply.Bulk(pending > 0 ? "rw" : "r");
  ctx.reply.Bulk("send-buffer-allocated");
  ctx.reply.Integer(pending);
  ctx.reply.Bulk("send-buffer-used");
  ctx.reply.Integer(pending);
}

}  // namespace

void Nodes(CommandContext& ctx, ClusterShell& shell) {
  ctx.reply.Verbatim("txt", shell.core().NodesText(ctx.now.unix_ms, ClusterShell::AudienceOf(ctx.session)));
}

void Info(CommandContext& ctx, ClusterShell& shell) {
  ctx.reply.Verbatim("txt", shell.core().InfoText(ctx.now.unix_ms));
}

void Slots(CommandContext& ctx, ClusterShell& shell) {
  const Core& core = shell.core();
  std::map<const NodeView*, std::vector<const NodeView*>> replicas;  // the useful ones of each owner
  int64_t ranges = 0;
  const auto array = ctx.reply.Defer();
  for (int first = 0, last; first < cluster::kSlotCount; first = last + 1) {
    last = first;
    const NodeView* owner = core.OwnerOf(static_cast<cluster::Slot>(first));
    if (owner == nullptr) continue;
    while (last + 1 < cluster::kSlotCount && core.OwnerOf(static_cast<cluster::Slot>(last + 1)) == owner) ++last;
    auto [it, fresh] = replicas.try_emplace(owner);
    if (fresh) {
      it->second = ReplicasOf(core, *owner);
      std::erase_if(it->second, [&](const NodeView* node) { return !IsUsefulReplica(ctx, core, *node); });
    }
    WriteSlotsRange(ctx, shell, *owner, first, last, it->second);
    ++ranges;
  }
  ctx.reply.EndArray(array, ranges);
}

void Shards(CommandContext& ctx, ClusterShell& shell) {
  const Core& core = shell.core();
  // By shard id; a replica counts to its primary's shard even before its own shard id has arrived. A node we do not
  // know yet (in handshake) is no part of the cluster.
  std::map<cluster::NodeId, std::vector<const NodeView*>> shards;
  for (const auto& [id, node] : core.nodes()) {
    if (node.is(cluster::kHandshake)) continue;
    const NodeView& primary = PrimaryOf(core, node);
    shards[primary.shard_id.empty() ? primary.id : primary.shard_id].push_back(&node);
  }
  ctx.reply.Array(static_cast<int64_t>(shards.size()));
  for (auto& [id, nodes] : shards) {
    std::stable_partition(nodes.begin(), nodes.end(),
                          [](const NodeView* node) { return !node->is(cluster::kReplica); });
    // A primary that failed may stand beside its successor for a while, without slots.
    cluster::SlotSet slots;
    for (const NodeView* node : nodes) slots |= node->slots;
    ctx.reply.Map(2);
    ctx.reply.Bulk("slots");
    WriteRanges(ctx, slots);
    ctx.reply.Bulk("nodes");
    ctx.reply.Array(static_cast<int64_t>(nodes.size()));
    for (const NodeView* node : nodes) WriteShardsNode(ctx, shell, *node);
  }
}

void Links(CommandContext& ctx, ClusterShell& shell) {
  std::vector<Link> links;
  for (const auto& [id, node] : shell.core().nodes()) {
    if (node.outbound != 0) links.push_back({&node, node.outbound, "to", node.outbound_created_ms});
    if (node.inbound != 0) links.push_back({&node, node.inbound, "from", node.inbound_created_ms});
  }
  ctx.reply.Array(static_cast<int64_t>(links.size()));
  for (const Link& link : links) WriteLink(ctx, shell, link);
}

void MyId(CommandContext& ctx, ClusterShell& shell) { ctx.reply.Bulk(shell.core().self().view()); }
void MyShardId(CommandContext& ctx, ClusterShell& shell) { ctx.reply.Bulk(shell.core().me().shard_id.view()); }

void Replicas(CommandContext& ctx, ClusterShell& shell) {
  const Core& core = shell.core();
  const NodeView* node = core.Find(ctx.argv[2]);
  if (node == nullptr) return ctx.reply.Error(fmt::format("ERR Unknown node {}", ctx.argv[2]));
  if (node->is(cluster::kReplica)) return ctx.reply.Error("ERR The specified node is not a master");
  const auto replicas = ReplicasOf(core, *node);
  ctx.reply.Array(static_cast<int64_t>(replicas.size()));
  for (const NodeView* replica : replicas) ctx.reply.Bulk(core.NodeLine(*replica, ClusterShell::AudienceOf(ctx.session)));
}

void KeySlot(CommandContext& ctx, ClusterShell&) { ctx.reply.Integer(cluster::SlotOf(ctx.argv[2])); }

void CountKeysInSlot(CommandContext& ctx, ClusterShell&) {
  const auto slot = ParseInt64(ctx.argv[2]);
  if (!slot) return ctx.reply.Error(kNotAnInteger);
  if (*slot < 0 || *slot >= cluster::kSlotCount) return ctx.reply.Error("ERR Invalid slot");
  ctx.reply.Integer(static_cast<int64_t>(ctx.keyspace.db(0).CountInSlot(static_cast<uint16_t>(*slot))));
}

void GetKeysInSlot(CommandContext& ctx, ClusterShell&) {
  const auto slot = ParseInt64(ctx.argv[2]);
  const auto limit = ParseInt64(ctx.argv[3]);
  if (!slot || !limit) return ctx.reply.Error(kNotAnInteger);
  if (*slot < 0 || *slot >= cluster::kSlotCount || *limit < 0)
    return ctx.reply.Error("ERR Invalid slot or number of keys");
  const store::Database& db = ctx.keyspace.db(0);
  const auto wanted = std::min(static_cast<uint64_t>(*limit), db.CountInSlot(static_cast<uint16_t>(*slot)));
  const auto keys = db.KeysInSlot(static_cast<uint16_t>(*slot), wanted);
  ctx.reply.Array(static_cast<int64_t>(keys.size()));
  for (const std::string& key : keys) ctx.reply.Bulk(key);
}

void CountFailureReports(CommandContext& ctx, ClusterShell& shell) {
  std::string error;
  const int reports = shell.core().FailureReports(ctx.now.unix_ms, ctx.argv[2], &error);
  if (!error.empty()) return ctx.reply.Error(error);
  ctx.reply.Integer(reports);
}

}  // namespace tessera::cluster_commands
