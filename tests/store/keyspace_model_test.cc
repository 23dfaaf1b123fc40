// Random operations on a keyspace, compared with plain maps; scans and snapshots run meanwhile and are held to their
// promises.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/store/keyspace.h"
#include "server/store/snapshot.h"

namespace tessera::store {
namespace {

struct Value {
  std::string text;
  int64_t expiry_ms = kNoExpiry;
  bool operator==(const Value&) const = default;
};
using Model = std::unordered_map<std::string, Value>;

uint64_t Fnv(std::string_view text) {
  uint64_t hash = 1469598103934665603ULL;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211ULL;
  return hash;
}
// Few slots with many keys, and many with few.
uint16_t FewSlots(std::string_view key) { return static_cast<uint16_t>(Fnv(key) % 4 * 5000); }
uint16_t ManySlots(std::string_view key) { return static_cast<uint16_t>(Fnv(key) % kSlotCount); }

struct Copy : SnapshotVisitor {
  bool OnEntry(int db, uint16_t, EntryRef entry) override {
    IntScratch scratch;
    const bool is_new =
        seen[db]
            .try_emplace(std::string(entry.key()), Value{std::string(entry.AsString(scratch)), entry.expiry_ms()})
            .second;
    EXPECT_TRUE(is_new) << "visited twice: " << entry.key();
    return ++calls % stop_every != 0;
  }
  std::map<int, Model> seen;
  std::map<int, Model> expected;
  uint32_t calls = 0;
  uint32_t stop_every = 7;
  std::unique_ptr<Snapshot> snapshot;
};

struct ScanInProgress {
  int db;
  uint64_t cursor = 0;
  std::set<std::string> must;
};

struct Shape {
  const char* name;
  bool cluster;
  uint16_t (*slot_of)(std::string_view);
  int keys;
  int operations;
  bool stable_only;  // no flushes
};

class ModelTest : public testing::TestWithParam<std::tuple<Shape, uint64_t>>, public ChangeObserver {
 protected:
  void OnChange(int db, uint16_t slot, std::string_view key, ChangeKind kind) override {
    if (shape().cluster) {
      EXPECT_EQ(slot, shape().slot_of(key));
    }
    ++changes_;
    if (kind != ChangeKind::kExpired) return;
    const auto it = models_[db].find(std::string(key));
    ASSERT_NE(it, models_[db].end());
    EXPECT_NE(it->second.expiry_ms, kNoExpiry);
    EXPECT_LT(it->second.expiry_ms, now_);
    Gone(db, it->first);
    models_[db].erase(it);
    ++expired_;
  }
  void OnExpired(int db, uint16_t, std::string_view key) override {
    EXPECT_TRUE(models_[db].contains(std::string(key)));
  }

  const Shape& shape() const { return std::get<0>(GetParam()); }

  void Gone(int db, const std::string& key) {
    for (auto& scan : scans_) {
      if (scan.db == db) scan.must.erase(key);
    }
  }
  void AllGone(int db) {
    for (auto& scan : scans_) {
      if (scan.db == db) scan.must.clear();
    }
  }

  std::string RandomKey() {
    const uint32_t n = random_() % static_cast<uint32_t>(shape().keys);
    std::string key = "key:" + std::to_string(n);
    if (n % 97 == 0) key += std::string(600, 'L');  // beyond what fits a block
    return key;
  }
  std::string RandomText() {
    switch (random_() % 12) {
      case 0:
        return std::to_string(static_cast<int64_t>(random_() | random_() << 32) >> (random_() % 64));
      case 1:
        return std::string(900 + random_() % 300, 'm');
      case 2:
        return random_() % 20 == 0 ? std::string(5000 + random_() % 5000, 'h') : "";
      default:
        return std::string(random_() % 60, static_cast<char>('a' + random_() % 26));
    }
  }

  void Check(int db, const std::string& key) {
    const EntryRef entry = keyspace_->db(db).Peek(key);
    const auto it = models_[db].find(key);
    ASSERT_EQ(static_cast<bool>(entry), it != models_[db].end()) << key;
    if (!entry) return;
    IntScratch scratch;
    EXPECT_EQ(entry.AsString(scratch), it->second.text);
    EXPECT_EQ(entry.expiry_ms(), it->second.expiry_ms);
    EXPECT_EQ(entry.key(), key);
  }

  // What the model says once lazy expiry has looked at the key.
  void LookAt(int db, const std::string& key) {
    const bool expired =
        models_[db].contains(key) && models_[db][key].expiry_ms != kNoExpiry && models_[db][key].expiry_ms < now_;
    const EntryRef entry = keyspace_->db(db).Lookup(key);
    EXPECT_EQ(static_cast<bool>(entry), models_[db].contains(key));
    if (expired) {
      EXPECT_FALSE(entry);
    }
    Check(db, key);
  }

  void Operate() {
    const int db_count = keyspace_->database_count();
    const int db = static_cast<int>(random_() % db_count);
    Database& database = keyspace_->db(db);
    Model& model = models_[db];
    const std::string key = RandomKey();
    // Grows and shrinks in turns.
    const bool shrinking = step_ / (shape().operations / 6) % 2 == 1;
    const uint32_t choice = random_() % 100;
    if (choice < (shrinking ? 8u : 45u)) {
      const std::string text = RandomText();
      const bool keep = random_() % 4 == 0;
      const bool volatile_key = !keep && random_() % 3 == 0;
      const int64_t expiry = now_ + 1 + static_cast<int64_t>(random_() % 20000);
      LookAt(db, key);
      ASSERT_TRUE(database.SetString(key, text,
                                     keep           ? Expiry::Keep()
                                     : volatile_key ? Expiry::AtMs(expiry)
                                                    : Expiry::None()));
      Value& value = model[key];
      value.text = text;
      if (!keep) value.expiry_ms = volatile_key ? expiry : kNoExpiry;
    } else if (choice < 70) {
      LookAt(db, key);
      const bool existed = model.erase(key) > 0;
      EXPECT_EQ(database.Erase(key), existed);
      Gone(db, key);
    } else if (choice < 76) {
      LookAt(db, key);
      const size_t length = random_() % 8 == 0 ? random_() % 6000 : random_() % 200;
      const auto bytes = database.ResizeString(key, length);
      ASSERT_TRUE(bytes.has_value());
      ASSERT_EQ(bytes->size(), length);
      Value& value = model[key];
      value.text.resize(length, '\0');
      EXPECT_EQ(std::string_view(bytes->data(), length), value.text);
      if (length > 0) {
        (*bytes)[length - 1] = '!';
        value.text[length - 1] = '!';
      }
    } else if (choice < 80) {
      LookAt(db, key);
      const int64_t integer = static_cast<int64_t>(random_());
      ASSERT_TRUE(database.SetInteger(key, integer));
      model[key].text = std::to_string(integer);
    } else if (choice < 84) {
      LookAt(db, key);
      const int64_t expiry = now_ + static_cast<int64_t>(random_() % 100000);
      EXPECT_EQ(database.SetExpiry(key, expiry), model.contains(key));
      if (model.contains(key)) model[key].expiry_ms = expiry;
    } else if (choice < 86) {
      LookAt(db, key);
      EXPECT_EQ(database.ClearExpiry(key), model.contains(key) && model[key].expiry_ms != kNoExpiry);
      if (model.contains(key)) model[key].expiry_ms = kNoExpiry;
    } else if (choice < 90) {
      const std::string to = RandomKey();
      const int to_db = static_cast<int>(random_() % db_count);
      if (to == key && to_db == db) return;
      LookAt(db, key);
      LookAt(to_db, to);
      const bool exists = model.contains(key);
      const bool copy = random_() % 2 == 0;
      EXPECT_EQ(
          copy ? database.CopyEntry(key, keyspace_->db(to_db), to) : database.MoveEntry(key, keyspace_->db(to_db), to),
          exists);
      if (exists) {
        models_[to_db][to] = model[key];
        if (!copy) {
          model.erase(key);
          Gone(db, key);
        }
      }
      Check(to_db, to);
    } else if (choice < 94) {
      LookAt(db, key);
    } else if (choice < 95) {
      now_ += static_cast<int64_t>(random_() % 500);
      keyspace_->SetNow(now_);
    } else if (choice < 96) {
      keyspace_->ExpireStep(random_() % 50);
    } else if (choice < 97) {
      keyspace_->ResizeStep(random_() % 20);
      keyspace_->FreeStep(random_() % 200);
    } else if (choice < 98) {
      const EntryRef entry = database.RandomEntry();
      EXPECT_EQ(static_cast<bool>(entry), !model.empty());
      if (entry) {
        EXPECT_TRUE(model.contains(std::string(entry.key())));
      }
      const EntryRef volatile_entry = database.RandomVolatileEntry();
      if (volatile_entry) {
        EXPECT_TRUE(volatile_entry.has_expiry());
      }
    } else if (shape().stable_only || random_() % 400 != 0) {
      return;
    } else {
      DropMuch(db);
    }
    Check(db, key);
    EXPECT_EQ(database.size(), model.size());
  }

  void DropMuch(int db) {
    Database& database = keyspace_->db(db);
    if (shape().cluster && random_() % 4 != 0) {
      const std::string key = RandomKey();
      const uint16_t slot = shape().slot_of(key);
      const uint64_t count = database.CountInSlot(slot);
      EXPECT_EQ(database.DropSlot(slot), count);
      EXPECT_EQ(std::erase_if(models_[db], [&](const auto& item) { return shape().slot_of(item.first) == slot; }),
                count);
      for (auto& scan : scans_) {
        std::erase_if(scan.must, [&](const auto& name) { return shape().slot_of(name) == slot; });
      }
      EXPECT_TRUE(database.KeysInSlot(slot, 10).empty());
    } else if (keyspace_->database_count() > 1 && random_() % 2 == 0) {
      const int other = static_cast<int>(random_() % keyspace_->database_count());
      keyspace_->Swap(db, other);
      std::swap(models_[db], models_[other]);
      std::erase_if(scans_, [&](const auto& scan) { return scan.db == db || scan.db == other; });
    } else {
      database.Flush();
      models_[db].clear();
      AllGone(db);
    }
  }

  void WorkOnScans() {
    if (scans_.size() < 3 && random_() % 200 == 0) {
      ScanInProgress scan{.db = static_cast<int>(random_() % keyspace_->database_count())};
      for (const auto& [key, value] : models_[scan.db]) {
        if (value.expiry_ms == kNoExpiry || value.expiry_ms > now_ + 1000000) scan.must.insert(key);
      }
      scans_.push_back(scan);
    }
    for (size_t i = 0; i < scans_.size(); ++i) {
      if (random_() % 4 != 0) continue;
      auto& scan = scans_[i];
      scan.cursor = keyspace_->db(scan.db).Scan(scan.cursor, 1 + random_() % 20, [&](EntryRef entry) {
        EXPECT_TRUE(models_[scan.db].contains(std::string(entry.key())));
        scan.must.erase(std::string(entry.key()));
      });
      if (scan.cursor != 0) continue;
      // Keys given an expiry meanwhile may have been passed over.
      for (const auto& key : scan.must) {
        const auto it = models_[scan.db].find(key);
        EXPECT_TRUE(it != models_[scan.db].end() && it->second.expiry_ms != kNoExpiry && it->second.expiry_ms < now_)
            << key << " was not scanned";
      }
      ++scans_done_;
      scans_.erase(scans_.begin() + static_cast<long>(i--));
    }
  }

  void WorkOnSnapshots() {
    if (copies_.size() < 3 && random_() % 500 == 0) {
      auto copy = std::make_unique<Copy>();
      copy->stop_every = 1 + random_() % 30;
      for (int db = 0; db < keyspace_->database_count(); ++db) {
        if (!models_[db].empty()) copy->expected[db] = models_[db];
      }
      copy->snapshot = std::make_unique<Snapshot>(*keyspace_, *copy);
      copies_.push_back(std::move(copy));
    }
    for (size_t i = 0; i < copies_.size(); ++i) {
      if (random_() % 10 != 0) continue;
      Copy& copy = *copies_[i];
      if (copy.snapshot->Step(random_() % 40)) continue;
      EXPECT_TRUE(copy.snapshot->done());
      EXPECT_EQ(copy.snapshot->visited(), copy.snapshot->total());
      EXPECT_EQ(copy.seen, copy.expected);
      ++snapshots_done_;
      copies_.erase(copies_.begin() + static_cast<long>(i--));
    }
  }

  void CheckAll() {
    for (int db = 0; db < keyspace_->database_count(); ++db) {
      Model seen;
      uint64_t volatile_count = 0;
      keyspace_->db(db).ForEach([&](EntryRef entry) {
        IntScratch scratch;
        EXPECT_TRUE(
            seen.try_emplace(std::string(entry.key()), Value{std::string(entry.AsString(scratch)), entry.expiry_ms()})
                .second);
        volatile_count += entry.has_expiry();
      });
      ASSERT_EQ(seen, models_[db]);
      EXPECT_EQ(keyspace_->db(db).volatile_count(), volatile_count);
      if (!shape().cluster) continue;
      std::map<uint16_t, uint64_t> counts;
      for (const auto& [key, value] : seen) ++counts[shape().slot_of(key)];
      for (uint32_t slot = 0; slot < kSlotCount; ++slot) {
        const auto it = counts.find(static_cast<uint16_t>(slot));
        ASSERT_EQ(keyspace_->db(db).CountInSlot(static_cast<uint16_t>(slot)), it == counts.end() ? 0 : it->second);
      }
    }
  }

  std::mt19937_64 random_;
  std::unique_ptr<Keyspace> keyspace_;
  std::map<int, Model> models_;
  std::vector<ScanInProgress> scans_;
  std::vector<std::unique_ptr<Copy>> copies_;
  int64_t now_ = 1700000000000;
  int step_ = 0;
  uint64_t changes_ = 0;
  uint64_t expired_ = 0;
  int scans_done_ = 0;
  int snapshots_done_ = 0;
};

TEST_P(ModelTest, BehavesLikeMapsWithScansAndSnapshotsInFlight) {
  const uint64_t seed = std::get<1>(GetParam());
  random_.seed(seed);
  keyspace_ = std::make_unique<Keyspace>(KeyspaceOptions{.databases = 3,
                                                         .cluster = shape().cluster,
                                                         .hash_seed = seed,
                                                         .slot_of = shape().slot_of,
                                                         .arena_bytes_max = size_t{1} << 30});
  keyspace_->SetNow(now_);
  keyspace_->AddObserver(this);
  for (step_ = 0; step_ < shape().operations && !HasFailure(); ++step_) {
    Operate();
    WorkOnScans();
    WorkOnSnapshots();
    if (step_ % (shape().operations / 8) == 0) CheckAll();
  }
  CheckAll();
  EXPECT_GT(expired_, 10u);
  EXPECT_GT(scans_done_, 0);
  EXPECT_GT(snapshots_done_, 0);
  EXPECT_GT(changes_, 100u);
  copies_.clear();

  // In the end everything expires or is flushed, and nothing is left.
  now_ += 10000000;
  keyspace_->SetNow(now_);
  // The first loop may end a pass begun before time jumped, the second one is a whole pass.
  for (int pass = 0; pass < 2; ++pass) {
    while (keyspace_->ExpireStep(100).more_due) {
    }
  }
  for (int db = 0; db < keyspace_->database_count(); ++db) EXPECT_EQ(keyspace_->db(db).volatile_count(), 0u);
  CheckAll();
  keyspace_->FlushAll();
  while (keyspace_->FreeStep(100)) {
  }
  EXPECT_EQ(keyspace_->memory().entry_bytes, 0u);
  EXPECT_EQ(keyspace_->memory().heap_bytes, 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ModelTest,
                         testing::Combine(testing::Values(Shape{"standalone_small", false, nullptr, 300, 30000, false},
                                                          Shape{"standalone_large", false, nullptr, 20000, 60000, true},
                                                          Shape{"few_slots", true, FewSlots, 8000, 40000, false},
                                                          Shape{"many_slots", true, ManySlots, 4000, 20000, false}),
                                          testing::Values(1, 2)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param).name) + "_" +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace tessera::store
