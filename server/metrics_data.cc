// Figures of the data: snapshots and the append-only file, counters of what was done.
#include "server/metrics_rows.h"

#include "server/eviction.h"
#include "server/pubsub.h"

namespace tessera::metrics {
namespace {

template <PubSub::Kind kind>
Value Listened(Source s) {
  return static_cast<uint64_t>(s.services.pubsub.size(kind));
}

Value LoadingPercent(Source s) {
  if (!s.persistence.loading) return kAbsent;
  return Real(100 * Ratio(s.persistence.loading_loaded_bytes, s.persistence.loading_total_bytes));
}

template <auto Member>
Value WhileLoading(Source s) {
  if (!s.persistence.loading) return kAbsent;
  return Int(static_cast<int64_t>(s.persistence.*Member));
}

template <auto Member>
Value WithAof(Source s) {
  if (!s.persistence.aof_enabled) return kAbsent;
  return Int(static_cast<int64_t>(s.persistence.*Member));
}

template <auto Member>
Value Persistence(Source s) {
  return Int(static_cast<int64_t>(s.persistence.*Member));
}

using P = Durability::Figures;
constexpr MetricRow kPersistence[] = {
    {"loading", kGauge, Persistence<&P::loading>, {"loading_dump_file", "1 while the dataset is being loaded."}},
    {"async_loading",
     kGauge,
     Persistence<&P::async_loading>,
     {"async_loading", "1 while a dataset is loaded beside the one that is served."}},
    {"current_cow_peak", kGauge, Persistence<&P::held_bytes_max>},
    {"current_cow_size", kGauge, Persistence<&P::held_bytes>},
    {"current_cow_size_age", kGauge, Zero},
    {"current_fork_perc", kGauge,
     [](Source s) {
       return Real(100 * Ratio(s.persistence.snapshot_keys_processed, s.persistence.snapshot_keys_total));
     }},
    {"current_save_keys_processed", kGauge, Persistence<&P::snapshot_keys_processed>},
    {"current_save_keys_total", kGauge, Persistence<&P::snapshot_keys_total>},
    {"rdb_changes_since_last_save",
     kGauge,
     Persistence<&P::changes_since_last_save>,
     {"rdb_changes_since_last_save", "Changes since the last snapshot."}},
    {"rdb_bgsave_in_progress",
     kGauge,
     Persistence<&P::bgsave_in_progress>,
     {"rdb_bgsave_in_progress", "1 while a snapshot is being written."}},
    {"rdb_last_save_time",
     kGauge,
     Persistence<&P::last_save_s>,
     {"rdb_last_save_timestamp_seconds", "When the last snapshot was completed."}},
    {"rdb_last_bgsave_status",
     kText,
     [](Source s) { return State(s.persistence.last_bgsave_ok); },
     {"rdb_last_bgsave_status", "1 if the last snapshot succeeded."}},
    {"rdb_last_bgsave_time_sec",
     kGauge,
     Persistence<&P::last_bgsave_time_s>,
     {"rdb_last_bgsave_duration_sec", "Seconds the last snapshot took; -1: none yet."}},
    {"rdb_current_bgsave_time_sec",
     kGauge,
     Persistence<&P::current_bgsave_time_s>,
     {"rdb_current_bgsave_duration_sec", "Seconds the running snapshot has taken; -1: none."}},
    {"rdb_saves", kCounter, Persistence<&P::saves>, {"rdb_saves_total", "Snapshots written."}},
    {"rdb_last_cow_size",
     kGauge,
     Persistence<&P::rdb_last_held_bytes>,
     {"rdb_last_cow_size_bytes", "Memory the last snapshot held at most."}},
    {"rdb_last_load_keys_expired",
     kGauge,
     Persistence<&P::last_load_keys_expired>,
     {"rdb_last_load_expired_keys", "Keys found expired when loading."}},
    {"rdb_last_load_keys_loaded",
     kGauge,
     Persistence<&P::last_load_keys_loaded>,
     {"rdb_last_load_loaded_keys", "Keys loaded."}},
    {"aof_enabled", kGauge, Persistence<&P::aof_enabled>, {"aof_enabled", "1 if the append-only file is on."}},
    {"aof_rewrite_in_progress",
     kGauge,
     Persistence<&P::aof_rewrite_in_progress>,
     {"aof_rewrite_in_progress", "1 while the append-only file is being rewritten."}},
    {"aof_rewrite_scheduled",
     kGauge,
     Persistence<&P::aof_rewrite_scheduled>,
     {"aof_rewrite_scheduled", "1 if a rewrite waits for its turn."}},
    {"aof_last_rewrite_time_sec",
     kGauge,
     Persistence<&P::aof_last_rewrite_time_s>,
     {"aof_last_rewrite_duration_sec", "Seconds the last rewrite took; -1: none yet."}},
    {"aof_current_rewrite_time_sec",
     kGauge,
     Persistence<&P::aof_current_rewrite_time_s>,
     {"aof_current_rewrite_duration_sec", "Seconds the running rewrite has taken; -1: none."}},
    {"aof_last_bgrewrite_status",
     kText,
     [](Source s) { return State(s.persistence.aof_last_bgrewrite_ok); },
     {"aof_last_bgrewrite_status", "1 if the last rewrite succeeded."}},
    {"aof_rewrites", kCounter, Persistence<&P::aof_rewrites>},
    {"aof_rewrites_consecutive_failures", kGauge, Persistence<&P::aof_rewrites_failed_in_a_row>},
    {"aof_last_write_status",
     kText,
     [](Source s) { return State(s.persistence.aof_last_write_ok); },
     {"aof_last_write_status", "1 if the last write to the append-only file succeeded."}},
    {"aof_last_cow_size",
     kGauge,
     Persistence<&P::aof_last_held_bytes>,
     {"aof_last_cow_size_bytes", "Memory the last rewrite held at most."}},
    {"module_fork_in_progress", kGauge, Zero, {"module_fork_in_progress", "Always 0: there are no modules."}},
    {"module_fork_last_cow_size", kGauge, Zero, {"module_fork_last_cow_size", "Always 0: there are no modules."}},
    {"aof_current_size",
     kGauge,
     WithAof<&P::aof_current_size>,
     {"aof_current_size_bytes", "Bytes in the append-only files."}},
    {"aof_base_size",
     kGauge,
     WithAof<&P::aof_base_size>,
     {"aof_base_size_bytes", "Bytes in them after the last rewrite."}},
    {"aof_pending_rewrite",
     kGauge,
     WithAof<&P::aof_rewrite_scheduled>,
     {"aof_pending_rewrite", "1 if a rewrite waits for its turn."}},
    {"aof_buffer_length",
     kGauge,
     WithAof<&P::aof_buffer_length>,
     {"aof_buffer_length", "Bytes not yet written to the append-only file."}},
    {"aof_pending_bio_fsync",
     kGauge,
     WithAof<&P::aof_pending_bio_fsync>,
     {"aof_pending_bio_fsync", "Syncs of the append-only file under way."}},
    {"aof_delayed_fsync", kCounter, WithAof<&P::aof_delayed_fsync>, {"aof_delayed_fsync", "Syncs that were late."}},
    {"loading_start_time", kGauge, WhileLoading<&P::loading_start_s>},
    {"loading_total_bytes", kGauge, WhileLoading<&P::loading_total_bytes>},
    {"loading_loaded_bytes", kGauge, WhileLoading<&P::loading_loaded_bytes>},
    {"loading_loaded_perc", kGauge, LoadingPercent},
};

template <auto Member>
Value Count(Source s) {
  return Uint(Counters(s).*Member);
}
template <auto Member>
Value PerSecond(Source s) {
  return Int(std::llround((Counters(s).*Member).value()));
}
template <auto Member>
Value KiloPerSecond(Source s) {
  return Real((Counters(s).*Member).value() / 1024);
}

constexpr MetricRow kStats[] = {
    {"total_connections_received",
     kCounter,
     Count<&Stats::connections_received>,
     {"connections_received_total", "Connections accepted."}},
    {"total_commands_processed",
     kCounter,
     Count<&Stats::commands_processed>,
     {"commands_processed_total", "Commands executed."}},
    {"instantaneous_ops_per_sec", kGauge, PerSecond<&Stats::ops>},
    {"total_net_input_bytes",
     kCounter,
     Count<&Stats::net_input_bytes>,
     {"net_input_bytes_total", "Bytes received from clients."}},
    {"total_net_output_bytes",
     kCounter,
     Count<&Stats::net_output_bytes>,
     {"net_output_bytes_total", "Bytes sent to clients."}},
    {"total_net_repl_input_bytes",
     kCounter,
     Count<&Stats::net_repl_input_bytes>,
     {"net_repl_input_bytes_total", "Bytes received from the primary."}},
    {"total_net_repl_output_bytes",
     kCounter,
     Count<&Stats::net_repl_output_bytes>,
     {"net_repl_output_bytes_total", "Bytes sent to replicas."}},
    {"instantaneous_input_kbps", kGauge, KiloPerSecond<&Stats::input_bytes>},
    {"instantaneous_output_kbps", kGauge, KiloPerSecond<&Stats::output_bytes>},
    {"instantaneous_input_repl_kbps", kGauge, KiloPerSecond<&Stats::repl_input_bytes>},
    {"instantaneous_output_repl_kbps", kGauge, KiloPerSecond<&Stats::repl_output_bytes>},
    {"rejected_connections",
     kCounter,
     Count<&Stats::rejected_connections>,
     {"rejected_connections_total", "Connections refused."}},
    {"sync_full",
     kCounter,
     Count<&Stats::sync_full>,
     {"replica_resyncs_full", "Full synchronisations given to replicas."}},
    {"sync_partial_ok",
     kCounter,
     Count<&Stats::sync_partial_ok>,
     {"replica_partial_resync_accepted", "Replicas that could go on where they were."}},
    {"sync_partial_err",
     kCounter,
     Count<&Stats::sync_partial_err>,
     {"replica_partial_resync_denied", "Replicas that wanted to go on and could not."}},
    {"expired_keys", kCounter, Count<&Stats::expired_keys>, {"expired_keys_total", "Keys that expired."}},
    {"expired_subkeys", kCounter, Count<&Stats::expired_fields>, {"expired_subkeys_total", "Fields that expired."}},
    {"expired_stale_perc",
     kGauge,
     [](Source s) { return Real(Counters(s).expired_stale_percent); },
     {"expired_stale_percentage", "Estimated share of keys that have expired and are still there."}},
    {"expired_time_cap_reached_count",
     kCounter,
     Count<&Stats::expired_time_cap_reached>,
     {"expired_time_cap_reached_total", "Runs of the search for expired keys that ran out of time."}},
    {"expire_cycle_cpu_milliseconds",
     kCounter,
     [](Source s) { return Uint(Counters(s).expire_cycle_us / 1000); },
     {"expire_cycle_cpu_time_ms_total", "Milliseconds spent on expired keys."}},
    {"evicted_keys",
     kCounter,
     Count<&Stats::evicted_keys>,
     {"evicted_keys_total", "Keys evicted because of maxmemory."}},
    {"evicted_clients",
     kCounter,
     Count<&Stats::evicted_clients>,
     {"evicted_clients_total", "Clients closed because of maxmemory-clients."}},
    {"total_eviction_exceeded_time",
     kCounter,
     [](Source s) {
       return Int(s.services.eviction == nullptr ? 0 : s.services.eviction->exceeded_total_ms(MonotonicUs()));
     },
     {"eviction_exceeded_time_ms_total", "Milliseconds spent above maxmemory."}},
    {"current_eviction_exceeded_time",
     kGauge,
     [](Source s) {
       return Int(s.services.eviction == nullptr ? 0 : s.services.eviction->exceeded_now_ms(MonotonicUs()));
     },
     {"current_eviction_exceeded_time_ms", "Milliseconds above maxmemory, this time."}},
    {"keyspace_hits", kCounter, Count<&Stats::keyspace_hits>, {"keyspace_hits_total", "Reads that found their key."}},
    {"keyspace_misses",
     kCounter,
     Count<&Stats::keyspace_misses>,
     {"keyspace_misses_total", "Reads that did not find their key."}},
    {"pubsub_channels", kGauge, Listened<PubSub::Kind::kChannel>, {"pubsub_channels", "Channels with a listener."}},
    {"pubsub_patterns", kGauge, Listened<PubSub::Kind::kPattern>, {"pubsub_patterns", "Patterns with a listener."}},
    {"pubsubshard_channels",
     kGauge,
     Listened<PubSub::Kind::kShardChannel>,
     {"pubsubshard_channels", "Shard channels with a listener."}},
    {"latest_fork_usec", kGauge, Zero, {"latest_fork_seconds", "Always 0: nothing here forks.", 1e-6}},
    {"total_forks", kCounter, Zero},
    {"migrate_cached_sockets",
     kGauge,
     Count<&Stats::migrate_cached_sockets>,
     {"migrate_cached_sockets_total", "Connections MIGRATE keeps open."}},
    {"slave_expires_tracked_keys",
     kGauge,
     Zero,
     {"slave_expires_tracked_keys", "Keys with a TTL written on a writable replica."}},
    {"active_defrag_hits", kCounter, Zero, {"defrag_hits", "Values moved by defragmentation."}},
    {"active_defrag_misses", kCounter, Zero, {"defrag_misses", "Values looked at by defragmentation and left."}},
    {"active_defrag_key_hits", kCounter, Zero, {"defrag_key_hits", "Keys moved by defragmentation."}},
    {"active_defrag_key_misses", kCounter, Zero, {"defrag_key_misses", "Keys looked at by defragmentation and left."}},
    {"total_active_defrag_time", kCounter, Zero},
    {"current_active_defrag_time", kGauge, Zero},
    {"tracking_total_keys", kGauge, Zero, {"tracking_total_keys", "Keys tracked for client-side caching."}},
    {"tracking_total_items",
     kGauge,
     Zero,
     {"tracking_total_items", "Pairs of key and client tracked for client-side caching."}},
    {"tracking_total_prefixes", kGauge, Zero, {"tracking_total_prefixes", "Prefixes tracked for client-side caching."}},
    {"unexpected_error_replies",
     kCounter,
     Count<&Stats::unexpected_error_replies>,
     {"unexpected_error_replies", "Errors where none should be, such as from a replica."}},
    {"total_error_replies", kCounter, Count<&Stats::total_error_replies>, {"total_error_replies", "Error replies."}},
    {"dump_payload_sanitizations",
     kCounter,
     Count<&Stats::dump_payloads_checked>,
     {"dump_payload_sanitizations", "Payloads checked in depth by RESTORE."}},
    {"total_reads_processed",
     kCounter,
     Count<&Stats::total_reads_processed>,
     {"total_reads_processed", "Reads from sockets of clients."}},
    {"total_writes_processed",
     kCounter,
     Count<&Stats::total_writes_processed>,
     {"total_writes_processed", "Writes to sockets of clients."}},
    {"io_threaded_reads_processed", kCounter, Zero, {"io_threaded_reads_processed", "Reads done by helper threads."}},
    {"io_threaded_writes_processed",
     kCounter,
     Zero,
     {"io_threaded_writes_processed", "Writes done by helper threads."}},
    {"reply_buffer_shrinks", kCounter, Zero, {"reply_buffer_shrinks_total", "Output buffers made smaller."}},
    {"reply_buffer_expands", kCounter, Zero, {"reply_buffer_expands_total", "Output buffers made larger."}},
    {"client_query_buffer_limit_disconnections",
     kCounter,
     Count<&Stats::client_query_buffer_limit_disconnections>,
     {"client_query_buffer_limit_disconnections_total", "Clients closed because of client-query-buffer-limit."}},
    {"client_output_buffer_limit_disconnections",
     kCounter,
     Count<&Stats::client_output_buffer_limit_disconnections>,
     {"client_output_buffer_limit_disconnections_total", "Clients closed because of client-output-buffer-limit."}},
    {"eventloop_cycles",
     kCounter,
     Count<&Stats::eventloop_cycles>,
     {"eventloop_cycles_total", "Turns of the event loop."}},
    {"eventloop_duration_sum",
     kCounter,
     Count<&Stats::eventloop_duration_us>,
     {"eventloop_duration_seconds_total", "Seconds the event loop worked.", 1e-6}},
    {"eventloop_duration_cmd_sum",
     kCounter,
     Count<&Stats::eventloop_commands_us>,
     {"eventloop_commands_duration_seconds_total", "Seconds the event loop executed commands.", 1e-6}},
    {"acl_access_denied_auth",
     kCounter,
     Count<&Stats::acl_access_denied_auth>,
     {"acl_access_denied_auth_total", "Passwords refused."}},
    {"acl_access_denied_cmd", kCounter, Zero, {"acl_access_denied_cmd_total", "Commands refused to users."}},
    {"acl_access_denied_key", kCounter, Zero, {"acl_access_denied_key_total", "Keys refused to users."}},
    {"acl_access_denied_channel", kCounter, Zero, {"acl_access_denied_channel_total", "Channels refused to users."}},
};

}  // namespace

constinit const std::span<const MetricRow> kPersistenceRows = kPersistence;
constinit const std::span<const MetricRow> kStatsRows = kStats;

}  // namespace tessera::metrics
