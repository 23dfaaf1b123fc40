// A server without sockets: commands go through the real dispatcher, replies come back as values, and what would go
// down the propagation stream is kept. Time stands still unless the test moves it.
//
//   CommandFixture server;
//   EXPECT_EQ(server("SET k v"), "+OK");
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/resp_parser.h"
#include "protocol/resp_reply.h"
#include "protocol/split_args.h"
#include "server/blocked_keys.h"
#include "server/blocking.h"
#include "server/clients.h"
#include "server/cluster/cluster_shell.h"
#include "server/commands/table.h"
#include "server/config/options.h"
#include "server/dispatcher.h"
#include "server/durability/durability.h"
#include "server/eviction.h"
#include "server/latency_monitor.h"
#include "server/lifecycle.h"
#include "server/monitors.h"
#include "server/memory_meter.h"
#include "server/net/disk_thread.h"
#include "server/net/event_loop.h"
#include "server/pubsub.h"
#include "server/replication/replication.h"
#include "server/replication/stream.h"
#include "server/services.h"
#include "server/session.h"
#include "server/slowlog.h"
#include "server/stats.h"
#include "server/store/keyspace.h"
#include "server/watches.h"
#include "tests/support/memory_file_system.h"

namespace tessera {

class CommandFixture : private StreamSink {
 public:
  static constexpr int64_t kStartMs = 1'700'000'000'000;

  explicit CommandFixture(store::KeyspaceOptions keyspace_options = {.hash_seed = 1,
                                                                     .arena_bytes_max = size_t{1} << 30},
                          persistence::FileSystem* file_system = nullptr)
      : keyspace(keyspace_options),
        watches(keyspace),
        pubsub(options.config()),
        disk(loop),
        services{options.config(), options, keyspace, commands,    dispatcher, clients,   blocking,
                 blocked_keys, watches, monitors, pubsub,  stats,   slowlog,  replication, durability, lifecycle, nullptr},
        blocked_keys(services),
        dispatcher(services, stream),
        lifecycle(loop, services),
        durability(loop, disk, file_system != nullptr ? *file_system : files, services, stream),
        replication(loop, disk, services, stream),
        memory(keyspace),
        eviction(services, memory, nullptr),
        latency(options.config()),
        session(clients.NextId()) {
    services.memory = &memory;
    services.eviction = &eviction;
    services.latency = &latency;
    keyspace.AddObserver(&dispatcher);
    keyspace.AddObserver(&watches);
    stream.AddSink(*this);
    clients.Add(session);
  }
  ~CommandFixture() override { stream.RemoveSink(*this); }

  // What keeps the propagated commands; a test may take it off the stream.
  StreamSink& sink() { return *this; }

  // One line, quoted as in redis-cli; the reply as Reply::DebugText shows it.
  std::string operator()(std::string_view line) { return operator()(session, line); }
  std::string operator()(Session& client, std::string_view line) {
    const auto words = protocol::SplitArgs(line);
    if (!words) return "unbalanced quotes in the test";
    return Execute(client, *words).DebugText();
  }
  protocol::Reply Execute(Session& client, const std::vector<std::string>& words) {
    const std::vector<std::string_view> argv(words.begin(), words.end());
    dispatcher.Execute(client, argv, now_ms);
    return TakeReply(client);
  }
  protocol::Reply TakeReply(Session& client) {
    std::string bytes;
    iovec parts[64];
    while (!client.out.empty()) {
      const int n = client.out.Peek(parts, 64);
      for (int i = 0; i < n; ++i) {
        bytes.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
        client.out.Consume(parts[i].iov_len);
      }
    }
    protocol::ReplyParser parser;
    protocol::Reply reply;
    size_t consumed = 0;
    if (parser.Parse(bytes, consumed, reply) != protocol::ReplyParser::Status::kReply || consumed != bytes.size())
      reply = {.type = protocol::Reply::Type::kError, .text = "not exactly one reply: " + bytes};
    return reply;
  }

  // What went down the stream since the last call, a command a line, without SELECT.
  std::vector<std::string> TakePropagated() { return std::exchange(propagated_, {}); }

  int64_t now_ms = kStartMs;
  config::Options options;
  EventLoop loop;
  persistence::MemoryFileSystem files;
  store::Keyspace keyspace;
  CommandTable commands;
  Clients clients;
  Blocking blocking;
  Watches watches;
  Monitors monitors;
  PubSub pubsub;
  Stats stats;
  SlowLog slowlog;
  ReplicationStream stream;
  DiskThread disk;
  Services services;  // before the parts, which may keep references it holds
  BlockedKeys blocked_keys;
  Dispatcher dispatcher;
  Lifecycle lifecycle;
  Durability durability;
  Replication replication;
  MemoryMeter memory;
  Eviction eviction;
  LatencyMonitor latency;
  Session session;

 private:
  void OnStream(std::string_view bytes, int64_t) override {
    protocol::RequestParser parser;
    std::vector<std::string_view> argv;
    while (!bytes.empty()) {
      const auto result = parser.Parse(bytes, argv);
      if (result.status != protocol::ParseResult::Status::kCommand) break;
      std::string line;
      for (std::string_view word : argv) {
        if (!line.empty()) line += ' ';
        line += word;
      }
      if (argv[0] != "SELECT") propagated_.push_back(line);
      bytes.remove_prefix(result.consumed);
    }
  }

  std::vector<std::string> propagated_;
};

}  // namespace tessera
