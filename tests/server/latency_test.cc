#include <fmt/core.h>
#include <gtest/gtest.h>

#include "server/commands/latency_text.h"
#include "server/latency_monitor.h"
#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

LatencyMonitor::Event EventOf(std::initializer_list<LatencyMonitor::Spike> spikes) {
  LatencyMonitor::Event event;
  for (const auto& spike : spikes) {
    event.spikes[event.next++] = spike;
    event.worst_ms = std::max(event.worst_ms, spike.ms);
  }
  return event;
}

TEST(LatencyMonitor, NotesOnlyWhatTakesLongEnoughAndOnlyWhenOn) {
  CommandFixture server;
  server.dispatcher.set_last_us(MonotonicUs());  // the first command is not to have begun at boot time
  server.latency.Offer("command", 5'000'000);
  EXPECT_TRUE(server.latency.events().empty());
  EXPECT_EQ(server("CONFIG SET latency-monitor-threshold 10"), "+OK");
  server.latency.Offer("command", 9'999);
  EXPECT_TRUE(server.latency.events().empty());
  server.latency.Offer("command", 10'000);
  ASSERT_EQ(server.latency.events().size(), 1u);
  EXPECT_EQ(server.latency.events().begin()->second.worst_ms, 10u);
}

TEST(LatencyMonitor, ResetForgetsEventsByName) {
  CommandFixture server;
  server.dispatcher.set_last_us(MonotonicUs());  // the first command is not to have begun at boot time
  server("CONFIG SET latency-monitor-threshold 1");
  for (const char* event : {"command", "aof-write", "expire-cycle"}) server.latency.Offer(event, 5'000);
  EXPECT_EQ(server("LATENCY RESET command nothing"), ":1");
  EXPECT_EQ(server("LATENCY HISTORY command"), "[]");
  EXPECT_EQ(server("LATENCY GRAPH command"), "-ERR No samples available for event 'command'");
  EXPECT_EQ(server("LATENCY RESET"), ":2");
  EXPECT_EQ(server("LATENCY LATEST"), "[]");
}

TEST(LatencyMonitor, KeepsTheLast160Spikes) {
  LatencyMonitor::Event event;
  for (int i = 1; i <= 200; ++i) {
    event.spikes[event.next] = {i, static_cast<uint32_t>(i)};
    event.next = (event.next + 1) % LatencyMonitor::Event::kSpikes;
  }
  int64_t expected = 41;
  event.ForEach([&](const LatencyMonitor::Spike& spike) { EXPECT_EQ(spike.unix_s, expected++); });
  EXPECT_EQ(expected, 201);
  EXPECT_EQ(event.latest().unix_s, 200);
}

// The picture that redis-server 7.0 draws of the same spikes.
TEST(LatencyGraph, DrawsBarsAndAges) {
  const auto event = EventOf({{1000, 15}, {1001, 51}, {1002, 10}, {1004, 303}, {1005, 123}});
  EXPECT_EQ(DrawSpikes("command", event, 1006),
            "command - high 303 ms, low 10 ms (all time high 303 ms)\n"
            "--------------------------------------------------------------------------------\n"
            "   # \n"
            "   | \n"
            "   |o\n"
            "_o_||\n"
            "     \n"
            "65421\n"
            "sssss\n");
}

TEST(LatencyDoctor, TellsWhatWasSeen) {
  CommandFixture server;
  server.dispatcher.set_last_us(MonotonicUs());  // the first command is not to have begun at boot time
  EXPECT_NE(DiagnoseLatency(server.latency, server.options.config(), 1).find("monitor is off"), std::string::npos);
  server("CONFIG SET latency-monitor-threshold 1");
  server.latency.Offer("command", 25'000);
  const std::string text = DiagnoseLatency(server.latency, server.options.config(), ReadClock().unix_s());
  EXPECT_NE(text.find("1. command: 1 latency spikes (average 25ms"), std::string::npos) << text;
  EXPECT_NE(text.find("SLOWLOG GET"), std::string::npos) << text;
}

}  // namespace
}  // namespace tessera
