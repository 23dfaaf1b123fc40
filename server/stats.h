// Counters of one node since start or CONFIG RESETSTAT; INFO and the metrics table read them. Plain numbers, loop thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

namespace tessera {

struct CommandRow;

struct Stats {
  // A rate over the last 16 samples of 100 ms, as INFO's instantaneous_* show it.
  struct Rate {
    std::array<double, 16> samples{};
    int next = 0;
    uint64_t last_total = 0;
    int64_t last_us = 0;
    void Sample(int64_t now_us, uint64_t total) {
      if (last_us != 0 && now_us > last_us) {
        samples[next] = static_cast<double>(total - last_total) * 1e6 / static_cast<double>(now_us - last_us);
        next = (next + 1) % static_cast<int>(samples.size());
      }
      last_us = now_us;
      last_total = total;
    }
    double value() const {
      double sum = 0;
      for (double s : samples) sum += s;
      return sum / static_cast<double>(samples.size());
    }
  };

  struct PerCommand {
    uint64_t calls = 0, rejected_calls = 0, failed_calls = 0;
    int64_t usec = 0;
    std::array<uint32_t, 64> latency_log2{};  // bucket i: below 2^i microseconds
  };

  int64_t started_unix_ms = 0;
  int64_t started_us = 0;

  uint64_t connections_received = 0, commands_processed = 0, rejected_connections = 0;
  uint64_t net_input_bytes = 0, net_output_bytes = 0;
  uint64_t net_repl_input_bytes = 0, net_repl_output_bytes = 0;
  uint64_t keyspace_hits = 0, keyspace_misses = 0;
  uint64_t expired_keys = 0, expired_fields = 0, evicted_keys = 0, evicted_clients = 0;
  uint64_t expired_time_cap_reached = 0;
  double expired_stale_percent = 0;
  uint64_t expire_cycle_us = 0;
  uint64_t sync_full = 0, sync_partial_ok = 0, sync_partial_err = 0;
  uint64_t total_error_replies = 0, unexpected_error_replies = 0;
  uint64_t acl_access_denied_auth = 0;
  uint64_t client_query_buffer_limit_disconnections = 0, client_output_buffer_limit_disconnections = 0;
  uint64_t total_reads_processed = 0, total_writes_processed = 0;
  uint64_t eventloop_cycles = 0, eventloop_duration_us = 0, eventloop_commands_us = 0;
  uint64_t migrate_cached_sockets = 0;
  uint64_t dirty = 0;  // changes of keys since start; the save points and rdb_changes_since_last_save count from it
  size_t peak_memory = 0;
  uint64_t freed_keys_at_reset = 0;  // of Keyspace::freed_keys

  Rate ops, input_bytes, output_bytes, repl_input_bytes, repl_output_bytes;

  std::unordered_map<const CommandRow*, PerCommand> per_command;
  std::map<std::string, uint64_t, std::less<>> errors;  // by first word, at most 128 kinds
  uint64_t dump_payloads_checked = 0;

  // CONFIG RESETSTAT. What is no statistic stays: start, changes since start, the peak of memory.
  void Reset() {
    Stats fresh;
    fresh.started_unix_ms = started_unix_ms;
    fresh.started_us = started_us;
    fresh.dirty = dirty;
    fresh.peak_memory = peak_memory;
    *this = std::move(fresh);
  }
};

}  // namespace tessera
