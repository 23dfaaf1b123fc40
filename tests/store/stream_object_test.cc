#include "server/store/stream_object.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace tessera::store {
namespace {

using Fields = std::vector<std::string>;  // name, value, name, value ...
using Direction = Stream::Reader::Direction;

void Add(Stream& stream, StreamId id, const Fields& fields, const StreamLimits& limits = {}) {
  const std::vector<std::string_view> views(fields.begin(), fields.end());
  stream.Append(id, views, limits);
}

Fields FieldsOf(const Stream::Reader& reader) {
  Fields fields;
  reader.ForEachField([&](const Unpacked& name, const Unpacked& value) {
    IntScratch scratch;
    fields.emplace_back(name.Text(scratch));
    fields.emplace_back(value.Text(scratch));
  });
  return fields;
}

std::vector<std::pair<StreamId, Fields>> Read(const Stream& stream, StreamId first = {}, StreamId last = kStreamIdMax,
                                              Direction direction = Direction::kForward) {
  std::vector<std::pair<StreamId, Fields>> entries;
  for (Stream::Reader reader(stream, first, last, direction); reader.Next();)
    entries.emplace_back(reader.id(), FieldsOf(reader));
  return entries;
}

const Stream& AsStream(const std::unique_ptr<Object>& object) { return static_cast<const Stream&>(*object); }

TEST(StreamId, StepsOverTheEndOfAMillisecond) {
  StreamId id = {5, StreamId::kMost};
  EXPECT_TRUE(id.Increment());
  EXPECT_EQ(id, (StreamId{6, 0}));
  EXPECT_TRUE(id.Decrement());
  EXPECT_EQ(id, (StreamId{5, StreamId::kMost}));
  StreamId last = kStreamIdMax, first;
  EXPECT_FALSE(last.Increment());
  EXPECT_FALSE(first.Decrement());
  EXPECT_EQ(last, kStreamIdMax);
}

TEST(Stream, IdsOfEveryDistanceComeBack) {
  Stream stream;
  const std::vector<StreamId> ids = {{0, 1}, {0, 2}, {0, 200}, {1, 0}, {1, 1}, {16, 0}, {17, 5}, {40, 0}, {1000000, 7},
                                     {1000000, StreamId::kMost}, {StreamId::kMost - 1, 0}, {StreamId::kMost, StreamId::kMost}};
  for (const StreamId id : ids) Add(stream, id, {"a", "1"});
  stream.CheckInvariants();
  const auto all = Read(stream);
  ASSERT_EQ(all.size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(all[i].first, ids[i]) << i;
  EXPECT_EQ(stream.block_count(), 1u);
  auto backward = Read(stream, {0, 2}, {17, 5}, Direction::kBackward);
  ASSERT_EQ(backward.size(), 6u);
  EXPECT_EQ(backward.front().first, (StreamId{17, 5}));
  EXPECT_EQ(backward.back().first, (StreamId{0, 2}));
}

TEST(Stream, BlocksEndWhereTheNodesOfAListpackStreamWould) {
  // Figures of redis-server 7.0: nodes of 100 entries, or of about 4096 bytes as a listpack.
  Stream small;
  for (uint64_t i = 1; i <= 250; ++i) Add(small, {i, 0}, {"f", std::to_string(i)});
  EXPECT_EQ(small.block_count(), 3u);
  for (uint64_t i = 1; i <= 99; ++i) EXPECT_TRUE(small.Erase({i, 0}));
  EXPECT_EQ(small.block_count(), 3u);
  EXPECT_TRUE(small.Erase({100, 0}));
  EXPECT_EQ(small.block_count(), 2u);
  Stream unlimited;
  for (uint64_t i = 1; i <= 1000; ++i) Add(unlimited, {i, 0}, {"f", "v"}, {.node_bytes_max = 0, .node_entries_max = 0});
  EXPECT_EQ(unlimited.block_count(), 1u);
  unlimited.CheckInvariants();
}

TEST(Stream, TrimsWholeBlocksOnlyWhenAskedTo) {
  const auto make = [] {
    auto stream = std::make_unique<Stream>();
    for (uint64_t i = 1; i <= 250; ++i) Add(*stream, {i, 0}, {"f", std::to_string(i)});
    return stream;
  };
  auto stream = make();
  EXPECT_EQ(stream->Trim({.by = StreamTrim::By::kLength, .whole_blocks = true, .length_max = 151}), 0u);
  EXPECT_EQ(stream->Trim({.by = StreamTrim::By::kLength, .whole_blocks = true, .length_max = 100}), 100u);
  EXPECT_EQ(stream->Trim({.by = StreamTrim::By::kLength, .length_max = 3}), 147u);
  EXPECT_EQ(stream->first_id(), (StreamId{248, 0}));
  stream->CheckInvariants();
  stream = make();
  EXPECT_EQ(stream->Trim({.by = StreamTrim::By::kId, .whole_blocks = true, .id_min = {200, 0}}), 100u);
  EXPECT_EQ(stream->Trim({.by = StreamTrim::By::kId, .id_min = {200, 0}, .limit = 10}), 0u);
  EXPECT_EQ(stream->Trim({.by = StreamTrim::By::kId, .id_min = {200, 0}}), 99u);
  EXPECT_EQ(stream->first_id(), (StreamId{200, 0}));
  EXPECT_EQ(stream->Trim({.by = StreamTrim::By::kId, .id_min = kStreamIdMax}), 51u);
  EXPECT_EQ(stream->size(), 0u);
  EXPECT_EQ(stream->last_id(), (StreamId{250, 0}));
  EXPECT_TRUE(stream->first_id().is_zero());
  stream->CheckInvariants();
}

TEST(Stream, ABlockWhoseYoungestEntryWasDeletedCanBeTrimmedEmpty) {
  Stream stream;
  for (uint64_t i = 1; i <= 3; ++i) Add(stream, {i, 0}, {"f", "v"});
  EXPECT_TRUE(stream.Erase({3, 0}));
  EXPECT_EQ(stream.Trim({.by = StreamTrim::By::kId, .id_min = {3, 0}}), 2u);
  EXPECT_EQ(stream.size(), 0u);
  stream.CheckInvariants();
}

TEST(Stream, TellsWhatWasEverAddedWhereNothingIsMissing) {
  Stream stream;
  EXPECT_EQ(stream.CountEverAddedUpTo({5, 0}), 0);
  for (uint64_t i = 1; i <= 5; ++i) Add(stream, {i, 0}, {"f", "v"});
  EXPECT_EQ(stream.CountEverAddedUpTo({0, 0}), 0);
  EXPECT_EQ(stream.CountEverAddedUpTo({1, 0}), 1);
  EXPECT_EQ(stream.CountEverAddedUpTo({3, 0}), kEntriesReadUnknown);
  EXPECT_EQ(stream.CountEverAddedUpTo({5, 0}), 5);
  EXPECT_EQ(stream.CountEverAddedUpTo({6, 0}), kEntriesReadUnknown);
  stream.Erase({3, 0});
  stream.SetMaxDeletedId({3, 0});
  EXPECT_TRUE(stream.MayHaveGapsFrom({3, 0}));
  EXPECT_FALSE(stream.MayHaveGapsFrom({4, 0}));
  EXPECT_EQ(stream.CountEverAddedUpTo({1, 0}), kEntriesReadUnknown);
  // What was deleted before the first entry is no gap.
  EXPECT_EQ(stream.Trim({.by = StreamTrim::By::kId, .id_min = {4, 0}}), 2u);
  EXPECT_FALSE(stream.MayHaveGapsFrom({1, 0}));
  EXPECT_EQ(stream.CountEverAddedUpTo({1, 0}), 3);
  EXPECT_EQ(stream.CountEverAddedUpTo({4, 0}), 4);
}

TEST(StreamGroup, DeliveriesChangeHandsAndGoWithTheirConsumer) {
  Stream stream;
  StreamGroup& group = *stream.AddGroup("g", {}, 0);
  EXPECT_EQ(stream.AddGroup("g", {}, 0), nullptr);
  const uint32_t alice = group.AddConsumer("alice", 5).number();
  const uint32_t bob = group.AddConsumer("bob", 6).number();
  for (uint64_t i = 1; i <= 1000; ++i) group.Put({{i, i}, i % 2 == 0 ? alice : bob, 100, 1});
  EXPECT_EQ(group.FindConsumer("alice")->pending_count(), 500u);
  group.Put({{1, 1}, alice, 200, 2});
  EXPECT_EQ(group.FindConsumer("alice")->pending_count(), 501u);
  EXPECT_EQ(group.Find({1, 1})->deliveries, 2u);
  group.CheckInvariants();
  EXPECT_TRUE(group.Remove({1, 1}));
  EXPECT_FALSE(group.Remove({1, 1}));
  EXPECT_FALSE(group.Remove({1, 2}));
  group.RemoveConsumer(*group.FindConsumer("alice"));
  EXPECT_EQ(group.pending_count(), 499u);
  EXPECT_EQ(group.AddConsumer("carol", 7).number(), alice);
  stream.CheckInvariants();
  EXPECT_TRUE(stream.RemoveGroup("g"));
  EXPECT_FALSE(stream.RemoveGroup("g"));
  stream.CheckInvariants();
}

// ---- random operations against a simple model

struct Model {
  std::map<StreamId, Fields> entries;
  struct Group {
    std::map<StreamId, std::pair<std::string, uint64_t>> pending;  // consumer, deliveries
    std::vector<std::string> consumers;                            // sorted
  };
  std::map<std::string, Group> groups;
};

void ExpectEqual(const Stream& stream, const Model& model) {
  stream.CheckInvariants();
  const std::vector<std::pair<StreamId, Fields>> expected(model.entries.begin(), model.entries.end());
  ASSERT_EQ(Read(stream), expected);
  auto backward = Read(stream, {}, kStreamIdMax, Direction::kBackward);
  std::reverse(backward.begin(), backward.end());
  ASSERT_EQ(backward, expected);
  ASSERT_EQ(stream.groups().size(), model.groups.size());
  for (const auto& group : stream.groups()) {
    const Model::Group& wanted = model.groups.at(group->name());
    std::vector<std::string> names;
    for (const StreamConsumer* consumer : group->consumers()) names.push_back(consumer->name());
    ASSERT_EQ(names, wanted.consumers);
    std::map<StreamId, std::pair<std::string, uint64_t>> pending;
    for (auto at = group->pending().Begin(); at.valid(); at.Next()) {
      const PendingEntry entry = StreamGroup::Read(at.element());
      pending[entry.id] = {group->ConsumerAt(entry.consumer).name(), entry.deliveries};
    }
    ASSERT_EQ(pending, wanted.pending);
  }
}

class StreamLife {
 public:
  explicit StreamLife(uint32_t seed) : random_(seed) {
    limits_.node_entries_max = Below(2) == 0 ? 100 : 1 + Below(20);
    limits_.node_bytes_max = Below(3) == 0 ? 200 : 4096;
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) {
      Step();
      if (i % 50 == 0) ExpectEqual(*stream_, model_);
      if (Below(100) == 0) {
        clones_.emplace_back(stream_->Clone(), model_);
        if (clones_.size() > 4) {
          // Sometimes the clone lives on and the original is what it was cloned from.
          if (Below(2) == 0) {
            std::unique_ptr<Stream> copy(static_cast<Stream*>(clones_.front().first.release()));
            ExpectEqual(*copy, clones_.front().second);
            stream_ = std::move(copy);
            model_ = clones_.front().second;
          } else {
            ExpectEqual(AsStream(clones_.front().first), clones_.front().second);
          }
          clones_.erase(clones_.begin());
        }
      }
    }
    for (const auto& [clone, model] : clones_) ExpectEqual(AsStream(clone), model);
    ExpectEqual(*stream_, model_);
  }

 private:
  uint64_t Below(uint64_t n) { return random_() % n; }

  Fields SomeFields() {
    Fields fields;
    const uint64_t count = Below(4) == 0 ? 1 + Below(4) : 2;
    for (uint64_t i = 0; i < count; ++i) {
      fields.push_back(Below(4) == 0 ? std::to_string(Below(1000)) : "field" + std::to_string(i));
      fields.push_back(Below(2) == 0 ? std::to_string(static_cast<int64_t>(random_()) >> Below(60))
                                     : std::string(Below(20) == 0 ? Below(6000) : Below(30), 'v'));
    }
    return fields;
  }
  StreamId SomeId() {
    if (model_.entries.empty() || Below(5) == 0) return {Below(100), Below(3)};
    auto it = model_.entries.begin();
    std::advance(it, Below(model_.entries.size()));
    return it->first;
  }

  void Step() {
    switch (Below(12)) {
      default: {
        StreamId id = stream_->last_id();
        switch (Below(4)) {
          case 0: id.sequence += 1 + Below(300); break;
          case 1: id = {id.ms + 1 + Below(40), 0}; break;
          case 2: id = {id.ms + 1 + Below(1000), Below(5)}; break;
          default: id.sequence += 1;
        }
        const Fields fields = SomeFields();
        Add(*stream_, id, fields, limits_);
        model_.entries[id] = fields;
        return;
      }
      case 0:
      case 1: {
        const StreamId id = SomeId();
        ASSERT_EQ(stream_->Contains(id), model_.entries.count(id) == 1);
        ASSERT_EQ(stream_->Erase(id), model_.entries.erase(id) == 1);
        return;
      }
      case 2: {
        if (Below(10) != 0) return;
        const uint64_t keep = Below(model_.entries.size() + 1);
        const bool whole = Below(2) == 0;
        const uint64_t gone = stream_->Trim({.by = StreamTrim::By::kLength, .whole_blocks = whole, .length_max = keep});
        if (!whole) {
          ASSERT_EQ(gone, model_.entries.size() - keep);
        }
        ASSERT_LE(gone, model_.entries.size() - keep);
        for (uint64_t i = 0; i < gone; ++i) model_.entries.erase(model_.entries.begin());
        return;
      }
      case 3: {
        if (Below(10) != 0) return;
        const StreamId id = SomeId();
        const uint64_t gone = stream_->Trim({.by = StreamTrim::By::kId, .id_min = id});
        const auto stay = model_.entries.lower_bound(id);
        ASSERT_EQ(gone, static_cast<uint64_t>(std::distance(model_.entries.begin(), stay)));
        model_.entries.erase(model_.entries.begin(), stay);
        return;
      }
      case 4: {
        const StreamId first = SomeId(), last = SomeId();
        std::vector<std::pair<StreamId, Fields>> expected;
        for (auto it = model_.entries.lower_bound(first); it != model_.entries.end() && it->first <= last; ++it)
          expected.push_back(*it);
        ASSERT_EQ(Read(*stream_, first, last), expected);
        std::reverse(expected.begin(), expected.end());
        ASSERT_EQ(Read(*stream_, first, last, Direction::kBackward), expected);
        return;
      }
      case 5:
        return GroupStep();
      case 6: {
        for (int i = 0; i < 5; ++i) GroupStep();
        return;
      }
    }
  }

  void GroupStep() {
    const std::string group_name(1, static_cast<char>('a' + Below(3)));
    StreamGroup* group = stream_->FindGroup(group_name);
    if (group == nullptr) {
      ASSERT_NE(stream_->AddGroup(group_name, {}, 0), nullptr);
      model_.groups[group_name];
      return;
    }
    Model::Group& wanted = model_.groups.at(group_name);
    const std::string name = "consumer " + std::to_string(Below(6)) + std::string(Below(2) * 20, '.');
    StreamConsumer* consumer = group->FindConsumer(name);
    if (Below(200) == 0) {
      ASSERT_TRUE(stream_->RemoveGroup(group_name));
      model_.groups.erase(group_name);
      return;
    }
    if (consumer == nullptr) {
      group->AddConsumer(name, 1);
      wanted.consumers.insert(std::lower_bound(wanted.consumers.begin(), wanted.consumers.end(), name), name);
      return;
    }
    if (Below(60) == 0) {
      group->RemoveConsumer(*consumer);
      std::erase(wanted.consumers, name);
      std::erase_if(wanted.pending, [&](const auto& entry) { return entry.second.first == name; });
      return;
    }
    const StreamId id = SomeId();
    if (Below(3) == 0) {
      ASSERT_EQ(group->Remove(id), wanted.pending.erase(id) == 1);
    } else {
      const uint64_t deliveries = Below(100);
      group->Put({id, consumer->number(), static_cast<int64_t>(Below(1u << 30)), deliveries});
      wanted.pending[id] = {name, deliveries};
    }
  }

  std::mt19937_64 random_;
  StreamLimits limits_;
  std::unique_ptr<Stream> stream_ = std::make_unique<Stream>();
  Model model_;
  std::vector<std::pair<std::unique_ptr<Object>, Model>> clones_;
};

TEST(Stream, KeepsToTheModelThroughRandomChangesAndClones) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    StreamLife(seed).Run(2000);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace tessera::store
