#include <gtest/gtest.h>

#include <map>
#include <random>

#include "server/store/hash_object.h"
#include "tests/support/command_fixture.h"

namespace tessera {
namespace {

class HashExpiry : public ::testing::Test {
 protected:
  std::string Do(std::string_view line) { return server(line); }
  CommandFixture server;
};

TEST_F(HashExpiry, AFieldGoesWhenItsTimeHasCome) {
  Do("HSET h a 1 b 2");
  EXPECT_EQ(Do("HPEXPIRE h 100 FIELDS 2 a x"), "[:1, :-2]");
  EXPECT_EQ(Do("HPTTL h FIELDS 3 a b x"), "[:100, :-1, :-2]");
  server.now_ms += 101;
  EXPECT_EQ(Do("HGET h a"), Do("HGET h nothing"));
  EXPECT_EQ(Do("HLEN h"), ":1");
  EXPECT_EQ(Do("HKEYS h"), "[\"b\"]");
}

TEST_F(HashExpiry, AHashWhoseFieldsAreAllGoneIsGone) {
  Do("HSET h a 1");
  Do("HPEXPIRE h 100 FIELDS 1 a");
  server.now_ms += 101;
  EXPECT_EQ(Do("HLEN h"), ":0");
  EXPECT_EQ(Do("EXISTS h"), ":0");
}

TEST_F(HashExpiry, SettingAFieldTakesItsExpiryOffAndCountingKeepsIt) {
  Do("HSET h a 1 b 1");
  Do("HPEXPIRE h 100 FIELDS 2 a b");
  Do("HSET h a 2");
  Do("HINCRBY h b 1");
  EXPECT_EQ(Do("HPTTL h FIELDS 2 a b"), "[:-1, :100]");
}

TEST_F(HashExpiry, ConditionsCompareWithTheExpiryThereIs) {
  Do("HSET h a 1");
  EXPECT_EQ(Do("HEXPIRE h 10 XX FIELDS 1 a"), "[:0]");
  EXPECT_EQ(Do("HEXPIRE h 10 GT FIELDS 1 a"), "[:0]");
  EXPECT_EQ(Do("HEXPIRE h 10 NX FIELDS 1 a"), "[:1]");
  EXPECT_EQ(Do("HEXPIRE h 10 NX FIELDS 1 a"), "[:0]");
  EXPECT_EQ(Do("HEXPIRE h 20 LT FIELDS 1 a"), "[:0]");
  EXPECT_EQ(Do("HEXPIRE h 20 GT FIELDS 1 a"), "[:1]");
  EXPECT_EQ(Do("HTTL h FIELDS 1 a"), "[:20]");
  EXPECT_EQ(Do("HEXPIRE h 0 FIELDS 1 a"), "[:2]");
  EXPECT_EQ(Do("EXISTS h"), ":0");
}

TEST_F(HashExpiry, CopiesAndNewNamesKeepExpiring) {
  Do("HSET h a 1 b 2");
  Do("HPEXPIRE h 100 FIELDS 1 a");
  Do("COPY h copy");
  Do("RENAME h renamed");
  server.now_ms += 101;
  server.keyspace.SetNow(CommandFixture::kStartMs + 101);
  (void)server.keyspace.ExpireStep();
  for (const char* key : {"copy", "renamed"}) EXPECT_EQ(server.keyspace.db(0).Peek(key).object()->size(), 1u) << key;
}

TEST(HashObject, AgreesWithAMapThroughFormsExpiriesAndClones) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    std::mt19937 random(seed);
    store::Hash hash(seed);
    struct Value {
      std::string text;
      int64_t expiry = store::kNoExpiry;
      bool operator==(const Value&) const = default;
    };
    using Model = std::map<std::string, Value>;
    Model model;
    std::vector<std::pair<std::unique_ptr<store::Object>, Model>> clones;
    const store::HashLimits limits = {.entries_max = seed * 3, .value_bytes_max = 40};
    int64_t now = 1000;
    const auto all = [](const store::Hash& of) {
      Model found;
      store::IntScratch a, b;
      for (auto at = of.elements().Begin(); at.valid(); at.Next()) {
        const std::string field(at.value().Text(a));
        found[field] = {std::string(store::Hash::ValueOf(at.element()).Text(b)), of.ExpiryOf(field)};
      }
      return found;
    };
    for (int step = 0; step < 1500; ++step) {
      const std::string field = "f" + std::to_string(random() % 120);
      switch (random() % 6) {
        case 0:
        case 1: {
          const std::string text(random() % 50, 'v');
          EXPECT_EQ(hash.Set(field, text, limits) == store::Hash::SetResult::kAdded, !model.contains(field));
          model[field] = {text};
          break;
        }
        case 2: {
          (void)hash.Update(field, "7", limits);
          model[field].text = "7";
          break;
        }
        case 3:
          EXPECT_EQ(hash.Erase(field), model.erase(field) == 1);
          break;
        case 4:
          if (!model.contains(field)) break;
          model[field].expiry = now + static_cast<int64_t>(random() % 50);
          hash.SetExpiry(field, model[field].expiry);
          break;
        default: {
          now += random() % 5;
          const auto due = [&](const auto& item) {
            return item.second.expiry != store::kNoExpiry && item.second.expiry < now;
          };
          EXPECT_EQ(hash.EraseDue(now, 1000).size(), std::erase_if(model, due));
        }
      }
      ASSERT_EQ(hash.size(), model.size());
      if (step % 300 == 0) clones.emplace_back(hash.Clone(), model);
    }
    EXPECT_EQ(all(hash), model);
    for (const auto& [clone, frozen] : clones) EXPECT_EQ(all(static_cast<store::Hash&>(*clone)), frozen);
  }
}

}  // namespace
}  // namespace tessera
