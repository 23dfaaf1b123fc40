// Values of every type and encoding before redis-server and back.
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "fmt/core.h"
#include "persistence/aof_log.h"
#include "persistence/aof_writer.h"
#include "persistence/atomic_file.h"
#include "persistence/dump.h"
#include "persistence/posix_file_system.h"
#include "persistence/rdb_reader.h"
#include "persistence/rdb_writer.h"
#include "tests/persistence/crafted_values.h"
#include "tests/persistence/redis_process.h"
#include "tests/persistence/value_model.h"

namespace tessera::persistence {
namespace {

using Databases = std::map<uint32_t, ModelDatabase>;

class RedisValues : public ::testing::Test {
 protected:
  void SetUp() override {
    for (std::string program : {"redis-server", "redis-check-rdb"}) {
      if (!HaveProgram(program)) GTEST_SKIP() << program << " is not installed";
    }
  }

  std::string Path(std::string_view name) { return JoinPath(directory_.path(), name); }

  std::vector<std::string> Options(std::vector<std::string> more = {}) {
    std::vector<std::string> options = {"--enable-debug-command", "yes", "--sanitize-dump-payload", "yes"};
    options.insert(options.end(), more.begin(), more.end());
    return options;
  }

  static ModelValue Restored(std::string_view payload, std::string* reason = nullptr) {
    ModelBuilder builder;
    DumpResult result = ReadDump(payload, {.key = "k"}, builder);
    if (reason != nullptr) {
      *reason = result.reason;
    } else {
      EXPECT_EQ(result.reason, "");
    }
    return result.read == DumpRead::kOk ? builder.last : ModelValue{};
  }

  static std::string Dumped(const ModelValue& value) {
    std::string payload;
    DumpWriter writer(&payload, true);
    Walk(value, {}, writer);
    writer.Finish();
    return payload;
  }

  Databases Load() {
    Result<std::string> image = ReadFile(files_, Path("dump.rdb"));
    EXPECT_TRUE(image.ok());
    RdbReader reader;
    ModelBuilder builder;
    reader.Feed(*image);
    RdbRead read;
    while ((read = reader.Next(&builder)) == RdbRead::kRecord) {
      if (reader.record().kind == RdbRecord::Kind::kSelectDb) builder.Select(reader.record().database);
      if (reader.record().kind == RdbRecord::Kind::kString) {
        builder.PutString(reader.record().entry, reader.record().value);
      }
    }
    EXPECT_EQ(read, RdbRead::kEnd) << reader.error().ToText();
    return builder.databases;
  }

  void Write(const Databases& databases) {
    std::string image;
    RdbWriter writer(&image, {});
    writer.Header({});
    Walk(databases, writer);
    writer.End();
    ASSERT_TRUE(ReplaceFile(files_, Path("dump.rdb"), image).ok());
  }

  TemporaryDirectory directory_;
  PosixFileSystem files_;
};

std::string Number(int64_t number) { return std::to_string(number); }

// Values of each type in each form that this server knows. Returns the type byte that each key's DUMP begins with.
std::map<std::string, int> Fill(RedisProcess& redis) {
  std::map<std::string, int> types;
  auto add = [&](const std::string& key, int type, const std::string& command, size_t first, size_t count,
                 const std::function<std::vector<std::string>(size_t)>& words) {
    types[key] = type;
    for (size_t i = first; i < first + count; ++i) {
      std::vector<std::string> item = words(i);
      std::vector<std::string_view> argv = {command, key};
      argv.insert(argv.end(), item.begin(), item.end());
      EXPECT_NE(redis.Call(argv).rfind("ERR", 0), 0u) << key;
    }
  };
  std::mt19937_64 random(5);
  auto text = [&](size_t i) {
    switch (i % 6) {
      case 0:
        return Number(static_cast<int64_t>(random()) >> (random() % 64));
      case 1:
        return std::string(random() % 200, static_cast<char>('a' + i % 26));
      case 2:
        return std::string("00") + Number(static_cast<int64_t>(i));
      case 3:
        return std::string("\0\xff", 2) + Number(static_cast<int64_t>(i));
      default:
        return "item" + Number(static_cast<int64_t>(i));
    }
  };
  redis.Call({"SET", "text", "v"});
  add("list", 18, "RPUSH", 0, 20, [&](size_t i) { return std::vector<std::string>{text(i)}; });
  redis.Call({"CONFIG", "SET", "list-max-listpack-size", "4", "list-compress-depth", "1"});
  add("list of nodes", 18, "RPUSH", 0, 300, [&](size_t i) { return std::vector<std::string>{text(i)}; });
  redis.Call({"DEBUG", "QUICKLIST-PACKED-THRESHOLD", "100b"});
  add("list with plain nodes", 18, "RPUSH", 0, 20,
      [&](size_t i) { return std::vector<std::string>{std::string(i % 2 * 150 + 1, 'p')}; });
  redis.Call({"DEBUG", "QUICKLIST-PACKED-THRESHOLD", "0"});
  add("integers 16", 11, "SADD", 0, 50,
      [&](size_t i) { return std::vector<std::string>{Number(static_cast<int64_t>(i) - 9)}; });
  add("integers 32", 11, "SADD", 0, 50,
      [&](size_t i) { return std::vector<std::string>{Number(static_cast<int64_t>(i) * 90000)}; });
  add("integers 64", 11, "SADD", 0, 50,
      [&](size_t i) { return std::vector<std::string>{Number((static_cast<int64_t>(i) - 25) << 40)}; });
  add("set", 2, "SADD", 0, 200, [&](size_t i) { return std::vector<std::string>{text(i)}; });
  add("small hash", 16, "HSET", 0, 30, [&](size_t i) {
    return std::vector<std::string>{Number(static_cast<int64_t>(i * i)), Number(-static_cast<int64_t>(i))};
  });
  add("hash", 4, "HSET", 0, 200, [&](size_t i) { return std::vector<std::string>{text(i), text(i + 1)}; });
  add("small sorted set", 17, "ZADD", 0, 30, [&](size_t i) {
    return std::vector<std::string>{fmt::format("{}", static_cast<double>(i) / 3),
                                    "m" + Number(static_cast<int64_t>(i))};
  });
  redis.Call({"ZADD", "small sorted set", "inf", "top", "-inf", "bottom", "7", "seven"});
  add("sorted set", 5, "ZADD", 0, 300, [&](size_t i) {
    return std::vector<std::string>{fmt::format("{}e{}", static_cast<double>(i) / 7, i), text(i)};
  });
  redis.Call({"ZADD", "sorted set", "inf", "top", "-inf", "bottom"});

  add("stream", 19, "XADD", 1, 350, [&](size_t i) {
    std::vector<std::string> words = {fmt::format("{}-{}", 1700000000000 + i / 2, i), "name",
                                      Number(static_cast<int64_t>(i)), "k", text(i)};
    if (i % 10 == 0) words.insert(words.end(), {"more", "fields"});
    return words;
  });
  for (int i : {1, 2, 3, 120, 200, 201, 350})
    redis.Call({"XDEL", "stream", fmt::format("{}-{}", 1700000000000 + i / 2, i)});
  redis.Call({"XGROUP", "CREATE", "stream", "g", "0"});
  redis.Call({"XGROUP", "CREATE", "stream", "second", "1700000000100-201", "ENTRIESREAD", "77"});
  redis.Call({"XGROUP", "CREATE", "stream", "nobody", "$"});
  redis.Call({"XREADGROUP", "GROUP", "g", "alice", "COUNT", "5", "STREAMS", "stream", ">"});
  redis.Call({"XREADGROUP", "GROUP", "g", "bob", "COUNT", "120", "STREAMS", "stream", ">"});
  redis.Call({"XREADGROUP", "GROUP", "g", "alice", "COUNT", "7", "STREAMS", "stream", ">"});
  redis.Call({"XREADGROUP", "GROUP", "g", "alice", "COUNT", "7", "STREAMS", "stream", "0"});
  redis.Call({"XREADGROUP", "GROUP", "second", "carol", "STREAMS", "stream", ">"});
  redis.Call({"XGROUP", "CREATECONSUMER", "stream", "g", "idle one"});
  redis.Call({"XDEL", "stream", "1700000000002-5"});  // pending, but gone
  redis.Call({"XADD", "emptied stream", "5-5", "f", "v"});
  redis.Call({"XDEL", "emptied stream", "5-5"});
  redis.Call({"XGROUP", "CREATE", "fresh stream", "g", "$", "MKSTREAM"});
  types["emptied stream"] = types["fresh stream"] = 19;
  for (const char* key : {"list", "set", "hash", "sorted set", "stream"})
    redis.Call({"PEXPIREAT", key, "4102444800123"});
  return types;
}

std::string Groups(RedisProcess& redis, std::string_view key) {
  return redis.Call({"XINFO", "STREAM", key, "FULL", "COUNT", "0"});
}

TEST_F(RedisValues, LoadHereAndBackThereWithTheSameContents) {
  std::string digest, streams;
  {
    RedisProcess redis(directory_.path(), Options());
    ASSERT_TRUE(redis.ready());
    for (const auto& [key, type] : Fill(redis)) EXPECT_EQ(redis.Call({"DUMP", key})[0], type) << key;
    digest = redis.Call({"DEBUG", "DIGEST"});
    for (const char* key : {"stream", "emptied stream", "fresh stream"}) streams += Groups(redis, key);
    ASSERT_EQ(redis.Call({"SAVE"}), "OK");
  }
  const Databases databases = Load();
  EXPECT_EQ(databases.at(0).size(), 15u);
  Write(databases);
  EXPECT_EQ(system(("redis-check-rdb " + Path("dump.rdb") + " > /dev/null 2>&1").c_str()), 0);
  RedisProcess redis(directory_.path(), Options());
  ASSERT_TRUE(redis.ready());
  EXPECT_EQ(redis.Call({"DEBUG", "DIGEST"}), digest);
  std::string again;
  for (const char* key : {"stream", "emptied stream", "fresh stream"}) again += Groups(redis, key);
  // The radix tree's shape depends on the order in which it was filled.
  auto without_shape = [](std::string text) {
    for (const char* name : {"radix-tree-keys ", "radix-tree-nodes "}) {
      for (size_t at = 0; (at = text.find(name, at)) != std::string::npos; ++at) {
        size_t digits = at + std::string_view(name).size();
        text.erase(digits, text.find(' ', digits) - digits);
      }
    }
    return text;
  };
  EXPECT_EQ(without_shape(again), without_shape(streams));
  ASSERT_EQ(redis.Call({"SAVE"}), "OK");
  const Databases last = Load();
  for (const auto& [key, value] : databases.at(0)) EXPECT_TRUE(last.at(0).at(key).Sorted() == value.Sorted()) << key;
}

// Without what commands cannot bring back: when consumers were seen, and pending entries that have been deleted.
ModelDatabase AsCommandsTell(ModelDatabase database) {
  for (auto& [key, value] : database) {
    value = value.Sorted();
    for (ModelGroup& group : value.groups) {
      std::set<StreamId> ids;
      for (const auto& entry : value.entries) ids.insert(entry.first);
      std::erase_if(group.pending, [&](const ModelPending& pending) { return !ids.contains(pending.id); });
      for (ModelConsumer& consumer : group.consumers) {
        consumer.seen_ms = consumer.active_ms = 0;
        std::erase_if(consumer.pending, [&](StreamId id) { return !ids.contains(id); });
      }
    }
  }
  return database;
}

TEST_F(RedisValues, OfOurCommandsAreTheSame) {
  {
    RedisProcess redis(directory_.path(), Options());
    ASSERT_TRUE(redis.ready());
    Fill(redis);
    ASSERT_EQ(redis.Call({"SAVE"}), "OK");
  }
  Databases databases = Load();
  databases[7] = SampleValues();
  databases[7].erase("expiring hash");
  databases[7]["set"].idle_seconds.reset();
  databases[7]["hash"].frequency.reset();
  std::string commands;
  AofCommandWriter writer(&commands);
  Walk(databases, writer);
  Result<AofLog> log = AofLog::Open(files_, {.data_directory = directory_.path()});
  ASSERT_TRUE(log.ok() && log->StartAppending(commands, AofBaseFormat::kCommands).ok());
  ASSERT_TRUE(log->StopAppending().ok());

  RedisProcess redis(directory_.path(), Options({"--appendonly", "yes"}));
  ASSERT_TRUE(redis.ready());
  ASSERT_EQ(redis.Call({"SAVE"}), "OK");
  const Databases loaded = Load();
  for (const auto& [index, database] : databases) {
    const ModelDatabase expected = AsCommandsTell(database), got = AsCommandsTell(loaded.at(index));
    EXPECT_EQ(got.size(), expected.size());
    for (const auto& [key, value] : expected) EXPECT_TRUE(got.contains(key) && got.at(key) == value) << key;
  }
}

TEST_F(RedisValues, CrossInDumpPayloads) {
  RedisProcess redis(directory_.path(), Options());
  ASSERT_TRUE(redis.ready());
  for (const auto& [key, type] : Fill(redis)) {
    const ModelValue value = Restored(redis.Call({"DUMP", key}));
    EXPECT_EQ(redis.Call({"RESTORE", "back", "0", Dumped(value), "REPLACE"}), "OK") << key;
    redis.Call({"PERSIST", key});  // digests know of expiries
    EXPECT_EQ(redis.Call({"DEBUG", "DIGEST-VALUE", "back"}), redis.Call({"DEBUG", "DIGEST-VALUE", key})) << key;
    EXPECT_TRUE(Restored(redis.Call({"DUMP", "back"})).Sorted() == value.Sorted()) << key;
  }
}

TEST_F(RedisValues, InEveryOldFormMeanTheSameHereAndThere) {
  RedisProcess redis(directory_.path(), Options());
  ASSERT_TRUE(redis.ready());
  for (const CraftedValue& crafted : CraftedValues()) {
    SCOPED_TRACE(crafted.name);
    const ModelValue here = Restored(Payload(crafted));
    ASSERT_NE(here.kind, ModelValue::Kind::kNone);
    if (crafted.type > kRdbTypeStream2) continue;  // not known there
    ASSERT_EQ(redis.Call({"RESTORE", "theirs", "0", Payload(crafted), "REPLACE"}), "OK");
    ASSERT_EQ(redis.Call({"RESTORE", "ours", "0", Dumped(here), "REPLACE"}), "OK");
    EXPECT_EQ(redis.Call({"DEBUG", "DIGEST-VALUE", "ours"}), redis.Call({"DEBUG", "DIGEST-VALUE", "theirs"}));
    const ModelValue there = Restored(redis.Call({"DUMP", "theirs"}));
    EXPECT_TRUE(there.Sorted() == here.Sorted());
  }
}

TEST_F(RedisValues, RefuseAtLeastTheCorruptPayloadsThatRedisRefuses) {
  RedisProcess redis(directory_.path(), Options());
  ASSERT_TRUE(redis.ready());
  std::mt19937 random(17);
  int accepted = 0, stricter = 0;
  for (const CraftedValue& crafted : CraftedValues()) {
    if (crafted.type > kRdbTypeStream2) continue;
    for (int round = 0; round < 150; ++round) {
      std::string body = static_cast<char>(crafted.type) + crafted.body;
      for (unsigned i = 0; i <= random() % 2; ++i) {
        const size_t at = 1 + random() % (std::min<size_t>(body.size(), 1200) - 1);
        body[at] = random() % 2 == 0 ? static_cast<char>(random()) : static_cast<char>(body[at] ^ (1 << random() % 8));
      }
      const std::string payload = SignedPayload(body);
      std::string reason;
      const ModelValue here = Restored(payload, &reason);
      const std::string there = redis.Call({"RESTORE", "theirs", "0", payload, "REPLACE"});
      ASSERT_FALSE(there.empty()) << crafted.name << " stopped the server";
      if (here.kind == ModelValue::Kind::kNone) {
        stricter += there == "OK";
        continue;
      }
      if (here.HasDuplicates()) continue;  // refused by whoever builds the value
      ++accepted;
      ASSERT_EQ(there, "OK") << crafted.name << " round " << round;
      ASSERT_EQ(redis.Call({"RESTORE", "ours", "0", Dumped(here), "REPLACE"}), "OK") << crafted.name;
      ASSERT_EQ(redis.Call({"DEBUG", "DIGEST-VALUE", "ours"}), redis.Call({"DEBUG", "DIGEST-VALUE", "theirs"}))
          << crafted.name << " round " << round;
    }
  }
  EXPECT_GT(accepted, 500);
  RecordProperty("stricter", stricter);
}

}  // namespace
}  // namespace tessera::persistence
