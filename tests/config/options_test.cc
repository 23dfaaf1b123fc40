#include "server/config/options.h"

#include <gtest/gtest.h>

#include <set>

#include "protocol/glob.h"
#include "server/config/option.h"
#include "server/config/special_options.h"

namespace tessera::config {
namespace {

std::string Set(Options& options, std::vector<std::string_view> pairs) { return options.Set(pairs, {}); }

std::string GetOne(const Options& options, std::string_view name) {
  const std::string_view globs[] = {name};
  const auto pairs = options.Get(globs);
  return pairs.size() == 1 ? pairs[0].second : "(none)";
}

TEST(OptionTable, NamesAreUniqueLowerCaseAndFindable) {
  std::set<std::string_view> names;
  for (const Option& option : AllOptions()) {
    for (const std::string_view name : {option.name, option.alias}) {
      if (name.empty()) continue;
      EXPECT_TRUE(names.insert(name).second) << name;
      EXPECT_TRUE(protocol::IsLiteralGlob(name)) << name;
      EXPECT_EQ(FindOption(name), &option);
      for (const char c : name) EXPECT_FALSE(c >= 'A' && c <= 'Z') << name;
    }
  }
  EXPECT_EQ(FindOption(""), nullptr);
  EXPECT_EQ(FindOption("PORT"), FindOption("port"));
}

TEST(OptionTable, EveryValueReadsBackFromItsText) {
  Config config;
  for (const Option& option : AllOptions()) {
    const std::string text = OptionText(config, option);
    if (option.name == "replicaof") continue;  // "no one" shows as nothing
    std::string error;
    EXPECT_TRUE(SetOptionFromText(config, option, text, error)) << option.name << ": " << error;
    EXPECT_EQ(OptionText(config, option), text) << option.name;
  }
}

TEST(Config, StartsAtTheDefaults) {
  const Config config;
  EXPECT_EQ(config.port, 6379);
  EXPECT_EQ(config.bind, (std::vector<std::string>{"*", "-::*"}));
  EXPECT_TRUE(config.protected_mode);
  EXPECT_EQ(config.appendfsync, AppendFsync::kEverySec);
  EXPECT_EQ(config.save, (std::vector<SavePoint>{{3600, 1}, {300, 100}, {60, 10000}}));
  EXPECT_EQ(config.client_output_buffer_limit[kClientReplica], (OutputBufferLimit{256 << 20, 64 << 20, 60}));
  EXPECT_EQ(config.proto_max_bulk_len, int64_t{512} << 20);
  EXPECT_EQ(config.shutdown_on_sigterm, 0);
}

TEST(Maxmemory, MayBeAPartOfWhatThereIs) {
  Options options;
  options.mutable_config().memory_limit = 1000;
  EXPECT_EQ(Set(options, {"maxmemory", "75%"}), "");
  EXPECT_EQ(options.config().maxmemory, 750u);
  options.mutable_config().memory_limit = 199;
  ResolveMaxmemory(options.mutable_config());
  EXPECT_EQ(options.config().maxmemory, 149u);
  options.mutable_config().memory_limit = 1000;
  EXPECT_EQ(GetOne(options, "maxmemory"), "75%");
  EXPECT_EQ(Set(options, {"maxmemory", "AUTO"}), "");
  EXPECT_EQ(options.config().maxmemory, 700u);
  EXPECT_EQ(GetOne(options, "maxmemory"), "auto");
  EXPECT_EQ(Set(options, {"maxmemory", "2kb"}), "");
  EXPECT_EQ(options.config().maxmemory, 2048u);
  EXPECT_EQ(GetOne(options, "maxmemory"), "2048");
}

TEST(Maxmemory, FollowsTheLimit) {
  Options options;
  EXPECT_EQ(Set(options, {"maxmemory", "50%"}), "");
  EXPECT_EQ(options.config().maxmemory, 0u);  // of nobody knows what: no limit
  options.mutable_config().memory_limit = 4000;
  ResolveMaxmemory(options.mutable_config());
  EXPECT_EQ(options.config().maxmemory, 2000u);
  EXPECT_EQ(Set(options, {"maxmemory", "7"}), "");
  options.mutable_config().memory_limit = 8000;
  ResolveMaxmemory(options.mutable_config());
  EXPECT_EQ(options.config().maxmemory, 7u);
}

TEST(Maxmemory, RefusesOtherParts) {
  Options options;
  EXPECT_EQ(Set(options, {"maxmemory", "1mb"}), "");
  for (const char* text : {"0%", "101%", "-5%", "%", "5 %", "automatic"})
    EXPECT_NE(Set(options, {"maxmemory", text}), "") << text;
  EXPECT_EQ(options.config().maxmemory, 1u << 20);
  EXPECT_EQ(GetOne(options, "maxmemory"), "1048576");
}

TEST(Maxmemory, IsRewrittenAsItWasGiven) {
  Options options;
  options.mutable_config().memory_limit = 1000;
  EXPECT_EQ(Set(options, {"maxmemory", "75%"}), "");
  EXPECT_NE(RewrittenText(options.config(), "maxmemory 1gb\n").find("maxmemory 75%\n"), std::string::npos);
  EXPECT_EQ(Set(options, {"maxmemory", "auto"}), "");
  EXPECT_NE(RewrittenText(options.config(), "").find("maxmemory auto\n"), std::string::npos);
  EXPECT_EQ(Set(options, {"maxmemory", "0"}), "");
  EXPECT_EQ(RewrittenText(options.config(), "").find("maxmemory"), std::string::npos);
}

TEST(Options, SetChangesWhatCodeReads) {
  Options options;
  EXPECT_EQ(
      Set(options, {"maxmemory", "1gb", "SLAVE-priority", "7", "shutdown-on-sigterm", "nosave now",
                    "client-output-buffer-limit", "slave 1mb 2kb 3", "notify-keyspace-events", "Kgn", "hz", "9999"}),
      "");
  EXPECT_EQ(options.config().maxmemory, uint64_t{1} << 30);
  EXPECT_EQ(options.config().replica_priority, 7);
  EXPECT_EQ(options.config().shutdown_on_sigterm, kShutdownNoSave | kShutdownNow);
  EXPECT_EQ(options.config().client_output_buffer_limit[kClientReplica], (OutputBufferLimit{1 << 20, 2048, 3}));
  EXPECT_EQ(options.config().hz, 500);
  EXPECT_EQ(GetOne(options, "notify-keyspace-events"), "gnK");
  EXPECT_EQ(GetOne(options, "shutdown-on-sigterm"), "nosave now");
  EXPECT_EQ(GetOne(options, "slave-priority"), "7");
}

TEST(Options, SetIsAllOrNothing) {
  Options options;
  EXPECT_EQ(Set(options, {"maxmemory", "100mb", "maxmemory-samples", "0"}),
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory-samples') - argument must be between 1 and "
            "2147483647 inclusive");
  EXPECT_EQ(options.config().maxmemory, 0u);
}

TEST(Options, SetNamesTheFirstFaultyArgument) {
  Options options;
  EXPECT_EQ(Set(options, {"slave-priority", "7", "foo", "bar", "daemonize", "no"}),
            "ERR Unknown option or number of arguments for CONFIG SET - 'foo'");
  EXPECT_EQ(Set(options, {"daemonize", "no", "foo", "bar"}),
            "ERR CONFIG SET failed (possibly related to argument 'daemonize') - can't set immutable config");
  EXPECT_EQ(Set(options, {"timeout", "1", "timeout", "2"}),
            "ERR CONFIG SET failed (possibly related to argument 'timeout') - duplicate parameter");
  EXPECT_EQ(Set(options, {"replica-priority", "1", "slave-priority", "2"}), "");
  EXPECT_EQ(options.config().replica_priority, 2);
  EXPECT_EQ(Set(options, {"dir", "/"}),
            "ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config");
  EXPECT_EQ(Set(options, {"timeout"}), "ERR syntax error");
  EXPECT_EQ(options.Set(std::vector<std::string_view>{"appendonly", "yes"}, {.loading = true}),
            "LOADING Redis is loading the dataset in memory");
}

TEST(Options, ProtectedOptionsOpenWhenAllowed) {
  Options options;
  options.mutable_config().enable_protected_configs = Allowed::kLocal;
  const std::vector<std::string_view> pairs = {"dir", "/"};
  EXPECT_NE(options.Set(pairs, {}), "");
  EXPECT_EQ(options.Set(pairs, {.local = true}), "");
  EXPECT_EQ(options.config().dir, "/");
}

TEST(Options, RefusedChangeRollsBackEverywhere) {
  Options options;
  std::vector<std::string> calls;
  options.Subscribe({"timeout"}, [&](const Config& now, const Config& before) {
    calls.push_back("timeout " + std::to_string(before.timeout) + ">" + std::to_string(now.timeout));
    return std::string();
  });
  options.Subscribe({"port", "bind"}, [&](const Config& now, const Config&) {
    calls.push_back("port " + std::to_string(now.port));
    return now.port == 1 ? std::string("Unable to listen on this port. Check server logs.") : std::string();
  });
  EXPECT_EQ(Set(options, {"timeout", "5", "port", "1", "maxclients", "3"}),
            "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server "
            "logs.");
  EXPECT_EQ(calls, (std::vector<std::string>{"timeout 0>5", "port 1", "timeout 5>0", "port 6379"}));
  EXPECT_EQ(options.config().timeout, 0);
  EXPECT_EQ(options.config().maxclients, 10000);
  calls.clear();
  EXPECT_EQ(Set(options, {"timeout", "0", "port", "2"}), "");
  EXPECT_EQ(calls, (std::vector<std::string>{"port 2"}));
}

TEST(Options, GetAnswersGlobsOnceAndHidesTheHidden) {
  Options options;
  const std::string_view globs[] = {"PORT", "port", "p?rt", "*-delay", "nothing"};
  const auto pairs = options.Get(globs);
  EXPECT_EQ(pairs, (Options::Pairs{{"PORT", "6379"}, {"repl-diskless-sync-delay", "5"}}));
  EXPECT_EQ(GetOne(options, "key-load-delay"), "0");
}

TEST(Options, NamesOptionsThatDoNothingYet) {
  Options options;
  EXPECT_TRUE(options.InertInUse().empty());
  EXPECT_EQ(Set(options, {"tls-port", "6380", "list-compress-depth", "1", "timeout", "3"}), "");
  EXPECT_EQ(options.InertInUse(), (std::vector<std::string>{"list-compress-depth", "tls-port"}));
}

TEST(Options, KnowsSecrets) {
  EXPECT_TRUE(Options::IsSensitive("requirepass"));
  EXPECT_TRUE(Options::IsSensitive("MASTERAUTH"));
  EXPECT_FALSE(Options::IsSensitive("port"));
}

TEST(RewrittenText, KeepsCommentsAndOrder) {
  Options options;
  Config& config = options.mutable_config();
  config.dir = "/data";
  config.port = 7911;
  config.save = {{900, 1}};
  config.maxclients = 6000;
  config.rename_commands = {{"KEYS", ""}};
  config.client_output_buffer_limit[kClientPubSub] = {1, 2, 3};
  EXPECT_EQ(Set(options, {"slave-priority", "7", "maxmemory", "3mb", "maxmemory-clients", "5%", "masterauth", "a b\"c",
                          "shutdown-on-sigterm", "save now"}),
            "");
  EXPECT_EQ(
      RewrittenText(config,
                    "# my conf\nport 7911\n\n\n# c2\nsave 900 1\nsave 300 10\nslave-priority 100\nmaxmemory 1gb\n"
                    "client-output-buffer-limit normal 0 0 0\nmaxclients 5000\nmaxclients 6000\nrename-command KEYS "
                    "\"\"\nwhat is this\n\"unbalanced\n  include  other.conf\nbind * -::*\nlogfile \"\""),
      "# my conf\nport 7911\n\n# c2\nsave 900 1\n\nreplica-priority 7\nmaxmemory 3mb\nclient-output-buffer-limit "
      "normal 0 0 0\nmaxclients 6000\n\nrename-command KEYS \"\"\n# ??? what is this\n# ??? \"unbalanced\ninclude  "
      "other.conf\n\nlogfile \"\"\n\n# Generated by CONFIG REWRITE\nclient-output-buffer-limit pubsub 1 2 "
      "3\nmaxmemory-clients 5%\ndir \"/data\"\nshutdown-on-sigterm save now\nlatency-tracking-info-percentiles 50 99 "
      "99.9\nmasterauth \"a b\\\"c\"\n");
}

TEST(RewrittenText, IsAFixedPoint) {
  Options options;
  EXPECT_EQ(Set(options, {"maxmemory", "1000", "appendfsync", "no", "save", ""}), "");
  const std::string once = RewrittenText(options.config(), "port 6379\n");
  EXPECT_EQ(RewrittenText(options.config(), once), once);
}

}  // namespace
}  // namespace tessera::config
