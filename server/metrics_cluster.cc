// Figures of replication and of the cluster.
#include "server/metrics_rows.h"

#include "server/cluster/cluster_shell.h"

namespace tessera::metrics {
namespace {

bool IsReplica(Source s) { return s.services.replication.is_replica(); }
int64_t SecondsSince(Source s, int64_t unix_ms) { return unix_ms == 0 ? -1 : (s.now.unix_ms - unix_ms) / 1000; }
// A figure only replicas have.
template <Value (*Get)(Source)>
Value AsReplica(Source s) {
  return IsReplica(s) ? Get(s) : Value(kAbsent);
}
template <Value (*Get)(Source)>
Value WhileSyncing(Source s) {
  return IsReplica(s) && s.replication.sync_in_progress ? Get(s) : Value(kAbsent);
}

Labels PrimaryLabels(Source s) {
  return {{"master_host", s.services.replication.primary_host()},
          {"master_port", std::to_string(s.services.replication.primary_port())}};
}

constexpr MetricRow kReplication[] = {
    {"role", kText, [](Source s) { return Text(IsReplica(s) ? "slave" : "master"); }},
    {"master_host", kText, AsReplica<[](Source s) -> Value { return s.services.replication.primary_host(); }>},
    {"master_port", kGauge, AsReplica<[](Source s) { return Int(s.services.replication.primary_port()); }>},
    {"master_link_status",
     kText,
     AsReplica<[](Source s) -> Value {
       return Status{s.services.replication.primary_link_up(), "up", "down"};
     }>,
     {"master_link_up", "1 while synchronised with the primary.", 1, PrimaryLabels}},
    {"master_last_io_seconds_ago",
     kGauge,
     AsReplica<[](Source s) {
       return Int(s.services.replication.primary_link_up()
                      ? SecondsSince(s, s.services.replication.primary_last_io_ms())
                      : -1);
     }>,
     {"master_last_io_seconds_ago", "Seconds since the primary was heard; -1: not connected.", 1, PrimaryLabels}},
    {"master_sync_in_progress",
     kGauge,
     AsReplica<[](Source s) { return Flag(s.replication.sync_in_progress); }>,
     {"master_sync_in_progress", "1 while a full synchronisation is received.", 1, PrimaryLabels}},
    {"slave_read_repl_offset", kGauge, AsReplica<[](Source s) { return Int(s.replication.read_offset); }>},
    {"slave_repl_offset",
     kGauge,
     AsReplica<[](Source s) { return Int(s.services.replication.offset()); }>,
     {"slave_repl_offset", "Offset up to which the stream of the primary is processed.", 1, PrimaryLabels}},
    {"master_sync_total_bytes", kGauge, WhileSyncing<[](Source s) { return Int(s.replication.sync_total_bytes); }>},
    {"master_sync_read_bytes", kGauge, WhileSyncing<[](Source s) { return Int(s.replication.sync_read_bytes); }>},
    {"master_sync_left_bytes", kGauge,
     WhileSyncing<[](Source s) { return Int(s.replication.sync_total_bytes - s.replication.sync_read_bytes); }>},
    {"master_sync_perc", kGauge, WhileSyncing<[](Source s) {
       return Real(s.replication.sync_total_bytes <= 0
                       ? 0
                       : 100 * Ratio(static_cast<uint64_t>(s.replication.sync_read_bytes),
                                     static_cast<uint64_t>(s.replication.sync_total_bytes)));
     }>},
    {"master_sync_last_io_seconds_ago", kGauge,
     WhileSyncing<[](Source s) { return Int(SecondsSince(s, s.replication.sync_last_io_ms)); }>},
    {"master_link_down_since_seconds",
     kGauge,
     AsReplica<[](Source s) {
       return s.services.replication.primary_link_up() ? Value(kAbsent)
                                                       : Int(SecondsSince(s, s.replication.link_down_since_ms));
     }>,
     {"master_link_down_since_seconds", "Seconds since the link to the primary went down."}},
    {"slave_priority",
     kGauge,
     AsReplica<[](Source s) { return Int(Config(s).replica_priority); }>,
     {"slave_priority", "replica-priority."}},
    {"slave_read_only", kGauge, AsReplica<[](Source s) { return Flag(Config(s).replica_read_only); }>},
    {"replica_announced", kGauge, AsReplica<[](Source s) { return Flag(Config(s).replica_announced); }>},
    {"connected_slaves",
     kGauge,
     [](Source s) { return Uint(s.replication.replicas.size()); },
     {"connected_slaves", "Replicas connected."}},
    {"min_slaves_good_slaves", kGauge,
     [](Source s) -> Value {
       if (Config(s).min_replicas_to_write == 0 || Config(s).min_replicas_max_lag == 0) return kAbsent;
       const auto& replicas = s.replication.replicas;
       return Int(std::count_if(replicas.begin(), replicas.end(), [&](const auto& replica) {
         return replica.state == "online" && replica.lag_s <= Config(s).min_replicas_max_lag;
       }));
     }},
};

constexpr MetricRow kHistory[] = {
    {"master_failover_state", kText, [](Source) { return Text("no-failover"); }},
    {"master_replid", kText, [](Source s) { return Text(s.replication.replication_id); }},
    {"master_replid2", kText, [](Source s) { return Text(s.replication.second_replication_id); }},
    {"master_repl_offset",
     kGauge,
     [](Source s) { return Int(s.services.replication.offset()); },
     {"master_repl_offset", "Offset of the replication stream."}},
    {"second_repl_offset",
     kGauge,
     [](Source s) { return Int(s.replication.second_offset); },
     {"second_repl_offset", "Offset up to which the second replication id is valid."}},
    {"repl_backlog_active",
     kGauge,
     [](Source s) { return Flag(s.replication.backlog_active); },
     {"repl_backlog_is_active", "1 if there is a backlog."}},
    {"repl_backlog_size",
     kGauge,
     [](Source s) { return Uint(s.replication.backlog_size); },
     {"replication_backlog_bytes", "Size of the backlog."}},
    {"repl_backlog_first_byte_offset",
     kGauge,
     [](Source s) { return Int(s.replication.backlog_first_offset); },
     {"repl_backlog_first_byte_offset", "Offset of the oldest byte in the backlog."}},
    {"repl_backlog_histlen",
     kGauge,
     [](Source s) { return Uint(s.replication.backlog_length); },
     {"repl_backlog_history_bytes", "Bytes in the backlog."}},
};

constexpr MetricRow kCluster[] = {
    {"cluster_enabled",
     kGauge,
     [](Source s) { return Flag(s.services.cluster != nullptr); },
     {"cluster_enabled", "1 in cluster mode."}},
};

template <auto Member>
Value InCluster(Source s) {
  return s.services.cluster == nullptr ? Value(kAbsent) : Uint(static_cast<uint64_t>(s.cluster.*Member));
}

// CLUSTER INFO.
using F = cluster::InfoFigures;
constexpr MetricRow kClusterInfo[] = {
    {"cluster_state",
     kText,
     [](Source s) -> Value {
       return s.services.cluster == nullptr ? Value(kAbsent) : Status{s.cluster.ok, "ok", "fail"};
     },
     {"cluster_state", "1 if the cluster serves all slots it must."}},
    {"cluster_slots_assigned",
     kGauge,
     InCluster<&F::slots_assigned>,
     {"cluster_slots_assigned", "Slots that have an owner."}},
    {"cluster_slots_ok", kGauge, InCluster<&F::slots_ok>, {"cluster_slots_ok", "Slots whose owner is well."}},
    {"cluster_slots_pfail",
     kGauge,
     InCluster<&F::slots_pfail>,
     {"cluster_slots_pfail", "Slots whose owner this node cannot reach."}},
    {"cluster_slots_fail",
     kGauge,
     InCluster<&F::slots_fail>,
     {"cluster_slots_fail", "Slots whose owner has failed in the eyes of the majority."}},
    {"cluster_known_nodes",
     kGauge,
     InCluster<&F::known_nodes>,
     {"cluster_known_nodes", "Nodes known, this one included."}},
    {"cluster_size", kGauge, InCluster<&F::size>, {"cluster_size", "Primaries with slots."}},
    {"cluster_current_epoch",
     kGauge,
     InCluster<&F::current_epoch>,
     {"cluster_current_epoch", "The largest epoch seen."}},
    {"cluster_my_epoch",
     kGauge,
     InCluster<&F::my_epoch>,
     {"cluster_my_epoch", "The epoch of this node's configuration, of its primary's on a replica."}},
    {"cluster_stats_messages_sent",
     kCounter,
     InCluster<&F::messages_sent>,
     {"cluster_messages_sent_total", "Messages sent on the cluster bus."}},
    {"cluster_stats_messages_received",
     kCounter,
     InCluster<&F::messages_received>,
     {"cluster_messages_received_total", "Messages received on the cluster bus."}},
    {"total_cluster_links_buffer_limit_exceeded", kCounter, InCluster<&F::links_over_buffer_limit>},
};

}  // namespace

constinit const std::span<const MetricRow> kReplicationRows = kReplication;
constinit const std::span<const MetricRow> kHistoryRows = kHistory;
constinit const std::span<const MetricRow> kClusterRows = kCluster;
constinit const std::span<const MetricRow> kClusterInfoRows = kClusterInfo;

}  // namespace tessera::metrics
