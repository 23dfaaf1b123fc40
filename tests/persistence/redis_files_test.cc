// Our files before redis-server, redis-check-rdb and redis-check-aof, and theirs before our readers.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "fmt/core.h"
#include "persistence/aof_log.h"
#include "persistence/aof_writer.h"
#include "persistence/atomic_file.h"
#include "persistence/dump.h"
#include "persistence/null_visitor.h"
#include "persistence/posix_file_system.h"
#include "persistence/rdb_writer.h"
#include "persistence/recovery.h"
#include "tests/persistence/redis_process.h"

namespace tessera::persistence {
namespace {

struct Value {
  std::string text;
  int64_t expiry_ms = kNoExpiry;
  bool operator==(const Value&) const = default;
};
using Database = std::map<std::string, Value>;
using Dataset = std::map<uint32_t, Database>;

constexpr int64_t kFarFuture = 4102444800000;  // in 2100

Dataset SomeDataset() {
  Dataset data;
  std::mt19937_64 random(42);
  for (int i = 0; i < 600; ++i) {
    Value value;
    switch (i % 8) {
      case 0:
        value.text = std::to_string(static_cast<int8_t>(random()));
        break;
      case 1:
        value.text = std::to_string(static_cast<int16_t>(random()));
        break;
      case 2:
        value.text = std::to_string(static_cast<int32_t>(random()));
        break;
      case 3:
        value.text = std::to_string(static_cast<int64_t>(random()));
        break;
      case 4:
        value.text = std::string(random() % 40000, static_cast<char>('a' + i % 26));
        break;
      case 5:
        for (unsigned n = 0; n < random() % 200; ++n) value.text += static_cast<char>(random());
        break;
      case 6:
        for (unsigned n = 0; n < 300; ++n) value.text += fmt::format("word{} ", random() % 20);
        break;
      default:
        value.text = i % 16 == 7 ? "" : "007";
        break;
    }
    if (random() % 3 == 0) value.expiry_ms = kFarFuture + static_cast<int64_t>(random() % 1000000);
    std::string key = i % 50 == 0 ? std::to_string(i) : fmt::format("key:{}", i);
    if (i % 40 == 0) key = std::string(100, 'k') + key;
    data[i % 5 == 0 ? 3 : 0][key] = value;
  }
  data[0]["large"] = {std::string(3 << 20, 'L')};
  return data;
}

void Visit(const Dataset& data, SnapshotVisitor& visitor) {
  for (const auto& [index, database] : data) {
    visitor.Database(index, database.size(), 0);
    for (const auto& [key, value] : database) visitor.String({.key = key, .expiry_ms = value.expiry_ms}, value.text);
  }
}

std::string Image(const Dataset& data, bool aof_base) {
  std::string out;
  RdbWriter writer(&out, {});
  writer.Header({.created_s = 1700000000, .used_memory = 1000000, .aof_base = aof_base});
  Visit(data, writer);
  writer.End();
  return out;
}

// Applies what a loader yields; knows the commands that strings and expiries need.
class Applier {
 public:
  Dataset data;

  void StartFile() { database_ = 0; }
  void Apply(const RdbRecord& record) {
    if (record.kind != RdbRecord::Kind::kString) return;
    data[record.database][std::string(record.entry.key)] = {std::string(record.value), record.entry.expiry_ms};
  }
  void Apply(std::span<const std::string_view> argv) {
    if (argv[0] == "SELECT") {
      database_ = static_cast<uint32_t>(std::stoul(std::string(argv[1])));
    } else if (argv[0] == "SET") {
      Value value{std::string(argv[2])};
      if (argv.size() == 5 && argv[3] == "PXAT") value.expiry_ms = std::stoll(std::string(argv[4]));
      data[database_][std::string(argv[1])] = value;
    } else if (argv[0] == "PEXPIREAT") {
      data[database_][std::string(argv[1])].expiry_ms = std::stoll(std::string(argv[2]));
    } else if (argv[0] == "DEL") {
      data[database_].erase(std::string(argv[1]));
    } else if (argv[0] != "MULTI" && argv[0] != "EXEC") {
      ADD_FAILURE() << "unexpected command " << argv[0];
    }
  }

 private:
  uint32_t database_ = 0;
};

class RedisFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    for (std::string program : {"redis-server", "redis-check-rdb", "redis-check-aof"}) {
      if (!HaveProgram(program)) GTEST_SKIP() << program << " is not installed";
    }
    options_.aof.data_directory = directory_.path();
  }

  std::string Path(std::string_view name) { return JoinPath(directory_.path(), name); }

  bool Run(const std::string& command) {
    return system(fmt::format("{} > {}/output 2>&1", command, directory_.path()).c_str()) == 0;
  }
  std::string Output() {
    Result<std::string> text = ReadFile(files_, Path("output"));
    return text.ok() ? *text : "";
  }

  Dataset Load(bool append_only) {
    options_.append_only = append_only;
    Applier applier;
    Result<RecoveryPlan> plan = PlanRecovery(files_, options_);
    EXPECT_TRUE(plan.ok()) << plan.status().text();
    DatasetLoader loader(files_, *plan, options_);
    while (true) {
      switch (loader.Next()) {
        case Loaded::kRdbRecord:
          applier.Apply(loader.rdb_record());
          break;
        case Loaded::kCommand:
          applier.Apply(loader.argv());
          break;
        case Loaded::kFileDone:
          applier.StartFile();
          break;
        case Loaded::kDone:
          return applier.data;
        case Loaded::kNote:
          ADD_FAILURE() << loader.note();
          return {};
        case Loaded::kError:
          ADD_FAILURE() << loader.error().text();
          return {};
      }
    }
  }

  static void Fill(RedisProcess& redis, const Dataset& data) {
    for (const auto& [index, database] : data) {
      redis.Call({"SELECT", std::to_string(index)});
      for (const auto& [key, value] : database) {
        std::string expiry = std::to_string(value.expiry_ms);
        EXPECT_EQ(value.expiry_ms == kNoExpiry ? redis.Call({"SET", key, value.text})
                                               : redis.Call({"SET", key, value.text, "PXAT", expiry}),
                  "OK");
      }
    }
  }

  static void ExpectHolds(RedisProcess& redis, const Dataset& data) {
    for (const auto& [index, database] : data) {
      redis.Call({"SELECT", std::to_string(index)});
      EXPECT_EQ(redis.Call({"DBSIZE"}), std::to_string(database.size()));
      for (const auto& [key, value] : database) {
        EXPECT_EQ(redis.Call({"GET", key}), value.text) << key;
        EXPECT_EQ(redis.Call({"PEXPIRETIME", key}), std::to_string(value.expiry_ms)) << key;
      }
    }
  }

  TemporaryDirectory directory_;
  PosixFileSystem files_;
  RecoveryOptions options_;
};

TEST_F(RedisFiles, OurImagePassesTheCheckAndLoadsInRedis) {
  Dataset data = SomeDataset();
  ASSERT_TRUE(ReplaceFile(files_, Path("dump.rdb"), Image(data, false)).ok());
  EXPECT_TRUE(Run("redis-check-rdb " + Path("dump.rdb"))) << Output();
  RedisProcess redis(directory_.path(), {});
  ASSERT_TRUE(redis.ready());
  ExpectHolds(redis, data);
}

TEST_F(RedisFiles, TheCheckAcceptsUsageFieldsAndAZeroChecksum) {
  std::string out;
  RdbWriter writer(&out, {.compress = false, .checksum = false});
  writer.Header({.replication_id = "6f1b0c9e3d27a845b1fe09c2783d5a46e8107bfc", .replication_offset = 1 << 20});
  writer.Database(15, 2, 0);
  writer.String({.key = "a", .idle_seconds = 100000}, "x");
  writer.String({.key = "b", .frequency = 5}, std::string(70000, 'y'));
  writer.End();
  ASSERT_TRUE(ReplaceFile(files_, Path("dump.rdb"), out).ok());
  EXPECT_TRUE(Run("redis-check-rdb " + Path("dump.rdb"))) << Output();
}

TEST_F(RedisFiles, TheImageOfRedisLoadsHere) {
  Dataset data = SomeDataset();
  {
    RedisProcess redis(directory_.path(), {});
    ASSERT_TRUE(redis.ready());
    Fill(redis, data);
    EXPECT_EQ(redis.Call({"SAVE"}), "OK");
  }
  EXPECT_TRUE(Load(false) == data);
}

TEST_F(RedisFiles, OurLogPassesTheCheckLoadsInRedisAndComesBack) {
  for (AofBaseFormat format : {AofBaseFormat::kRdb, AofBaseFormat::kCommands}) {
    Dataset data = SomeDataset();
    std::string base;
    if (format == AofBaseFormat::kRdb) {
      base = Image(data, true);
    } else {
      AofCommandWriter writer(&base);
      Visit(data, writer);
    }
    Result<AofLog> log = AofLog::Open(files_, options_.aof);
    ASSERT_TRUE(log.ok()) << log.status().text();
    ASSERT_TRUE(log->StartAppending(base, format).ok());
    std::string bytes;
    for (std::vector<std::string_view> argv : std::vector<std::vector<std::string_view>>{
             {"SELECT", "3"}, {"MULTI"}, {"SET", "new", "1"}, {"SET", "new2", "2"}, {"EXEC"}, {"DEL", "new2"}}) {
      AppendCommand(argv, &bytes);
    }
    ASSERT_TRUE(log->Append(bytes).ok());
    auto file = log->StartRewrite();  // a second increment
    ASSERT_TRUE(file.ok()) << file.status().text();
    bytes.clear();
    AppendCommand(std::vector<std::string_view>{"SELECT", "3"}, &bytes);
    AppendCommand(std::vector<std::string_view>{"SET", "new3", "3"}, &bytes);
    ASSERT_TRUE(log->Append(bytes).ok());
    log->AbortRewrite();
    ASSERT_TRUE(log->StopAppending().ok());
    data[3]["new"] = {"1"};
    data[3]["new3"] = {"3"};

    EXPECT_TRUE(Run("redis-check-aof " + options_.aof.Manifest())) << Output();
    EXPECT_TRUE(Load(true) == data);
    {
      RedisProcess redis(directory_.path(), {"--appendonly", "yes"});
      ASSERT_TRUE(redis.ready());
      ExpectHolds(redis, data);
      redis.Call({"SELECT", "0"});
      EXPECT_EQ(redis.Call({"SET", "from-redis", "4"}), "OK");
      data[0]["from-redis"] = {"4"};
    }
    EXPECT_TRUE(Load(true) == data);
    std::filesystem::remove_all(Path("appendonlydir"));
  }
}

TEST_F(RedisFiles, TheLogOfRedisLoadsHereAlsoAfterARewrite) {
  for (std::string preamble : {"yes", "no"}) {
    Dataset data = SomeDataset();
    {
      RedisProcess redis(directory_.path(), {"--appendonly", "yes", "--aof-use-rdb-preamble", preamble,
                                             "--aof-timestamp-enabled", "yes", "--appendfilename", "my log.aof"});
      ASSERT_TRUE(redis.ready());
      Fill(redis, data);
      redis.Call({"BGREWRITEAOF"});
      redis.Call({"SELECT", "0"});
      redis.Call({"MULTI"});
      redis.Call({"SET", "x", "1"});
      redis.Call({"SET", "y", "2"});
      redis.Call({"EXEC"});  // the array's head is read here, its two elements below
      redis.Call({"PING"});
      redis.Call({"PING"});
      data[0]["x"] = {"1"};
      data[0]["y"] = {"2"};
      auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(90);
      while (std::chrono::steady_clock::now() < deadline &&
             !std::filesystem::exists(
                 Path(fmt::format("appendonlydir/my log.aof.2.base.{}", preamble == "yes" ? "rdb" : "aof")))) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
    options_.aof.append_file_name = "my log.aof";
    EXPECT_TRUE(Load(true) == data) << preamble;
    Result<AofLog> log = AofLog::Open(files_, options_.aof);
    ASSERT_TRUE(log.ok()) << log.status().text();
    EXPECT_TRUE(log->manifest().base.has_value());
    EXPECT_TRUE(log->StartAppending("", AofBaseFormat::kRdb).ok());
    std::filesystem::remove_all(Path("appendonlydir"));
  }
}

TEST_F(RedisFiles, DumpPayloadsAreExchangedBothWays) {
  RedisProcess redis(directory_.path(), {});
  ASSERT_TRUE(redis.ready());
  Dataset data = SomeDataset();
  for (const auto& [key, value] : data[0]) {
    if (value.text.size() > 100000) continue;
    std::string payload;
    DumpWriter dump(&payload, true);
    dump.String({}, value.text);
    dump.Finish();
    ASSERT_EQ(redis.Call({"RESTORE", key, "0", payload}), "OK") << key;
    EXPECT_EQ(redis.Call({"GET", key}), value.text);
    struct Text final : NullVisitor {
      void String(const EntryHeader&, std::string_view text) override { value = text; }
      std::string value;
    } back;
    EXPECT_EQ(ReadDump(redis.Call({"DUMP", key}), {}, back).reason, "");
    EXPECT_EQ(back.value, value.text);
  }
}

}  // namespace
}  // namespace tessera::persistence
