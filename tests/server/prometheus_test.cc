#include "server/prometheus.h"

#include <gtest/gtest.h>

#include <charconv>
#include <map>
#include <set>
#include <utility>

#include "server/metrics.h"
#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

bool IsName(std::string_view text) {
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return false;
  return text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:") == text.npos;
}

// A page read back, line by line as the format has it; `faults` says what is wrong with it.
struct Page {
  struct Family {
    std::string type;
    int heads = 0;
  };
  std::map<std::string, Family> families;
  std::map<std::string, std::string> samples;  // "name{labels}" as it stands there, to its value
  std::vector<std::string> faults;

  explicit Page(std::string_view text) {
    if (!text.ends_with('\n')) faults.push_back("the last line has no end");
    std::string current;
    while (!text.empty()) {
      const std::string_view line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(line.size() + 1, text.size()));
      if (line.starts_with("# HELP ") || line.starts_with("# TYPE ")) {
        const std::string_view rest = line.substr(7);
        const std::string name(rest.substr(0, rest.find(' ')));
        const std::string_view word = rest.substr(std::min(name.size() + 1, rest.size()));
        if (!IsName(name) || word.empty()) Fault(line);
        if (line[2] == 'H') {
          if (++families[name].heads > 1) Fault(line);  // the lines of a family stand together
          current = name;
        } else if (name != current || !families[name].type.empty()) {
          Fault(line);
        } else {
          families[name].type = word;
        }
      } else {
        ReadSample(line, current);
      }
    }
  }

  std::string operator[](const std::string& series) const {
    auto found = samples.find(series);
    return found == samples.end() ? "(not there)" : found->second;
  }

 private:
  void Fault(std::string_view line) { faults.emplace_back(line); }

  void ReadSample(std::string_view line, const std::string& family) {
    size_t at = line.find_first_of("{ ");
    if (at == line.npos) return Fault(line);
    const std::string_view name = line.substr(0, at);
    const std::string& type = families[family].type;
    const bool summary = type == "summary" && (name == family + "_sum" || name == family + "_count");
    if (!IsName(name) || type.empty() || (name != family && !summary)) return Fault(line);
    if (line[at] == '{') {
      do {
        const size_t equals = line.find("=\"", ++at);
        if (equals == line.npos || !IsName(line.substr(at, equals - at))) return Fault(line);
        for (at = equals + 2; at < line.size() && line[at] != '"'; ++at)
          if (line[at] == '\\' && std::string_view("\\\"n").find(line[++at]) == std::string_view::npos)
            return Fault(line);
      } while (++at < line.size() && line[at] == ',');
      if (at >= line.size() || line[at++] != '}') return Fault(line);
    }
    if (at >= line.size() || line[at] != ' ') return Fault(line);
    const std::string_view value = line.substr(at + 1);
    double number = 0;
    const auto parsed = std::from_chars(value.data(), value.data() + value.size(), number);
    if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size()) return Fault(line);
    if (type == "counter" && number < 0) return Fault(line);
    if (!samples.emplace(line.substr(0, at), value).second) Fault(line);
  }
};

Page Render(CommandFixture& server) { return Page(RenderPrometheus(server.services, server.loop.now())); }

TEST(Prometheus, EveryLineIsASampleOrTheHeadOfItsFamily) {
  CommandFixture server;
  for (const char* line : {"SET a 1 EX 100", "GET a", "GET none", "INCR", "LPUSHX", "RPUSH l a b", "SUBSCRIBE c"})
    server(line);
  const Page page = Render(server);
  EXPECT_EQ(page.faults, std::vector<std::string>());
  EXPECT_GT(page.samples.size(), 150u);
  for (const auto& [name, family] : page.families) {
    EXPECT_TRUE(name.starts_with("redis_")) << name;
    EXPECT_TRUE(family.type == "counter" || family.type == "gauge" || family.type == "summary") << name;
  }
}

TEST(Prometheus, TellsWhatTheServerDid) {
  CommandFixture server;
  Page page = Render(server);
  EXPECT_EQ(page["redis_up"], "1");
  EXPECT_EQ(page["redis_keyspace_misses_total"], "0");
  EXPECT_EQ(page["redis_commands_total{cmd=\"get\"}"], "(not there)");
  for (const char* line : {"SET a 1 EX 100", "SET b 1", "GET a", "GET none", "GET"}) server(line);
  page = Render(server);
  EXPECT_EQ(page["redis_commands_total{cmd=\"get\"}"], "2");
  EXPECT_EQ(page["redis_keyspace_hits_total"], "1");
  EXPECT_EQ(page["redis_keyspace_misses_total"], "1");
  EXPECT_EQ(page["redis_db_keys{db=\"db0\"}"], "2");
  EXPECT_EQ(page["redis_db_keys_expiring{db=\"db0\"}"], "1");
  EXPECT_EQ(page["redis_errors_total{err=\"ERR\"}"], "1");
  EXPECT_EQ(page["redis_rdb_changes_since_last_save"], "2");
}

TEST(Prometheus, FollowsTheConfiguration) {
  CommandFixture server;
  EXPECT_EQ(server("CONFIG SET maxmemory 100mb maxclients 500"), "+OK");
  const Page page = Render(server);
  EXPECT_EQ(page["redis_config_maxmemory"], "104857600");
  EXPECT_EQ(page["redis_memory_max_bytes"], "104857600");
  EXPECT_EQ(page["redis_config_maxclients"], "500");
}

TEST(Prometheus, KeepsLargeCountersWhole) {
  CommandFixture server;
  server.stats.net_input_bytes = (uint64_t{1} << 60) + 1;
  EXPECT_EQ(Render(server)["redis_net_input_bytes_total"], "1152921504606846977");
}

TEST(Prometheus, EscapesLabels) {
  CommandFixture server;
  server.stats.errors["A\"B\\C\nD"] = 3;
  const Page page = Render(server);
  EXPECT_EQ(page.faults, std::vector<std::string>());
  EXPECT_EQ(page["redis_errors_total{err=\"A\\\"B\\\\C\\nD\"}"], "3");
}

TEST(Prometheus, LeavesOutWhatDoesNotApply) {
  CommandFixture server;
  EXPECT_EQ(Render(server).families.count("redis_slave_info"), 0u);
  EXPECT_EQ(Render(server).families.count("redis_cluster_state"), 0u);
}

TEST(Prometheus, NoTwoFiguresHaveOneName) {
  std::set<std::string_view> names;
  for (const MetricSection& section : MetricSections()) {
    for (auto rows : {section.rows, section.rows_after})
      for (const MetricRow& row : rows) {
        if (row.exported.name.empty()) continue;
        EXPECT_TRUE(names.insert(row.exported.name).second) << row.exported.name;
        EXPECT_FALSE(row.exported.help.empty()) << row.exported.name;
      }
    for (const SeriesRow& row : section.series) EXPECT_TRUE(names.insert(row.name).second) << row.name;
  }
}

}  // namespace
}  // namespace tessera
