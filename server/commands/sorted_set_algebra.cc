// What several sorted sets have in common, together, or apart: ZINTER, ZUNION, ZDIFF, their STORE forms, ZINTERCARD.
// Plain sets take part with a score of 1 for each member.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "server/commands/sorted_sets.h"
#include "server/commands/table.h"
#include "server/store/hash.h"
#include "server/store/set_object.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::IntScratch;
using store::Set;
using store::SortedSet;
using store::Unpacked;

enum class Operation : uint8_t { kUnion, kInter, kDiff };
enum class Aggregate : uint8_t { kSum, kMin, kMax };

// A sorted set, a set, or nothing under a key. Objects stay where they are while other keys are looked at.
struct Input {
  const SortedSet* sorted = nullptr;
  const Set* plain = nullptr;
  double weight = 1;

  uint64_t size() const { return sorted != nullptr ? sorted->size() : plain != nullptr ? plain->size() : 0; }
  std::optional<double> Find(const Unpacked& member) const {
    if (sorted != nullptr) return sorted->Score(member);
    return plain != nullptr && plain->Contains(member) ? std::optional(1.0) : std::nullopt;
  }
  // Calls `visit(member, score)` until it returns false.
  template <typename Visit>
  void ForEach(Visit visit) const {
    if (sorted != nullptr) {
      for (auto at = sorted->elements().Begin(); at.valid(); at.Next()) {
        if (!visit(SortedSet::MemberOf(at.element()), SortedSet::ScoreOf(at.element()))) return;
      }
    } else if (plain != nullptr) {
      for (Set::Walk walk(*plain); walk.valid(); walk.Next()) {
        if (!visit(walk.value(), 1.0)) return;
      }
    }
  }
};

struct Query {
  std::vector<Input> inputs;
  Aggregate aggregate = Aggregate::kSum;
  Scores with_scores = Scores::kNo;
  int64_t limit = 0;  // ZINTERCARD
};

enum class Form : uint8_t { kReply, kStore, kCount };

// From the number of keys on. Replies and returns false when something is wrong.
bool ReadQuery(CommandContext& ctx, Operation operation, Form form, Query& query) {
  protocol::ArgReader args(ctx.argv, form == Form::kStore ? 2 : 1);
  const auto count = args.NextInt<int64_t>();
  if (args.ok() && count < 1) {
    args.Fail(fmt::format("ERR at least 1 input key is needed for '{}' command", ctx.row.name));
  }
  if (args.ok() && static_cast<uint64_t>(count) > args.Remaining()) args.SyntaxError();
  for (int64_t i = 0; args.ok() && i < count; ++i) {
    const EntryRef entry = ctx.Find(args.Next());
    Input input;
    if (entry && entry.type() == store::Type::kZset) {
      input.sorted = ValueOf<SortedSet>(entry);
    } else if (entry && entry.type() == store::Type::kSet) {
      input.plain = ValueOf<Set>(entry);
    } else if (entry) {
      args.Fail(kWrongType);
    }
    query.inputs.push_back(input);
  }
  const bool combines = operation != Operation::kDiff && form != Form::kCount;
  while (args.HasNext()) {
    if (combines && args.Check("WEIGHTS", query.inputs.size())) {
      for (Input& input : query.inputs) input.weight = args.NextDouble("ERR weight value is not a float");
    } else if (combines && args.Check("AGGREGATE", 1)) {
      if (args.Check("SUM"))
        query.aggregate = Aggregate::kSum;
      else if (args.Check("MIN"))
        query.aggregate = Aggregate::kMin;
      else if (args.Check("MAX"))
        query.aggregate = Aggregate::kMax;
      else
        args.SyntaxError();
    } else if (form == Form::kReply && args.Check("WITHSCORES")) {
      query.with_scores = Scores::kYes;
    } else if (form == Form::kCount && args.Check("LIMIT", 1)) {
      query.limit = args.NextIntBetween(0, std::numeric_limits<int64_t>::max(), "ERR LIMIT can't be negative");
    } else {
      args.SyntaxError();
    }
  }
  if (!args.ok()) {
    ctx.reply.Error(args.error());
    return false;
  }
  // From the smallest on: fewer members to look for, and the order in which scores are summed up.
  if (operation != Operation::kDiff) {
    std::stable_sort(query.inputs.begin(), query.inputs.end(),
                     [](const Input& a, const Input& b) { return a.size() < b.size(); });
  }
  return true;
}

double Weighted(double score, double weight) {
  const double product = score * weight;
  return std::isnan(product) ? 0 : product;
}

double Combine(Aggregate aggregate, double score, double other) {
  switch (aggregate) {
    case Aggregate::kSum:
      score += other;
      return std::isnan(score) ? 0 : score;  // infinities of both signs
    case Aggregate::kMin:
      return other < score ? other : score;
    case Aggregate::kMax:
      return other > score ? other : score;
  }
  return score;
}

// Members are views of the inputs.
struct Scored {
  double score;
  Unpacked member;
};

struct MemberHash {
  size_t operator()(const Unpacked& member) const {
    if (!member.is_integer()) return store::HashKey(member.text, 0);
    return store::HashKey({reinterpret_cast<const char*>(&member.integer), sizeof(member.integer)}, 1);
  }
};
struct SameMember {
  bool operator()(const Unpacked& a, const Unpacked& b) const {
    return a.form == b.form && a.integer == b.integer && a.text == b.text;
  }
};

std::vector<Scored> Unite(const Query& query) {
  std::vector<Scored> result;
  std::unordered_map<Unpacked, size_t, MemberHash, SameMember> places;
  places.reserve(query.inputs.back().size());
  for (const Input& input : query.inputs) {
    input.ForEach([&](const Unpacked& member, double score) {
      const double weighted = Weighted(score, input.weight);
      const auto [place, is_new] = places.try_emplace(member, result.size());
      if (is_new) {
        result.push_back({weighted, member});
      } else {
        double& sum = result[place->second].score;
        sum = Combine(query.aggregate, sum, weighted);
      }
      return true;
    });
  }
  return result;
}

// Calls `visit` for what all inputs have, until it returns false.
template <typename Visit>
void Intersect(const Query& query, Visit visit) {
  const Input& smallest = query.inputs.front();
  if (smallest.size() == 0) return;
  smallest.ForEach([&](const Unpacked& member, double score) {
    double sum = Weighted(score, smallest.weight);
    for (size_t i = 1; i < query.inputs.size(); ++i) {
      const auto found = query.inputs[i].Find(member);
      if (!found) return true;
      sum = Combine(query.aggregate, sum, *found * query.inputs[i].weight);
    }
    return visit(Scored{sum, member});
  });
}

std::vector<Scored> Subtract(const Query& query) {
  std::vector<Scored> result;
  query.inputs.front().ForEach([&](const Unpacked& member, double score) {
    const bool elsewhere = std::any_of(query.inputs.begin() + 1, query.inputs.end(),
                                       [&](const Input& input) { return input.Find(member).has_value(); });
    if (!elsewhere) result.push_back({score, member});
    return true;
  });
  return result;
}

// In the order of a sorted set.
std::vector<Scored> Compute(const Query& query, Operation operation) {
  std::vector<Scored> result;
  if (operation == Operation::kUnion) {
    result = Unite(query);
  } else if (operation == Operation::kDiff) {
    result = Subtract(query);
  } else {
    Intersect(query, [&](const Scored& scored) {
      result.push_back(scored);
      return true;
    });
  }
  std::sort(result.begin(), result.end(), [](const Scored& a, const Scored& b) {
    if (a.score != b.score) return a.score < b.score;
    IntScratch x, y;
    return a.member.Text(x) < b.member.Text(y);
  });
  return result;
}

void ReplyComputed(CommandContext& ctx, Operation operation) {
  Query query;
  if (!ReadQuery(ctx, operation, Form::kReply, query)) return;
  const std::vector<Scored> result = Compute(query, operation);
  BeginElements(ctx, result.size(), query.with_scores);
  for (const Scored& scored : result) {
    if (query.with_scores == Scores::kYes && ctx.reply.version() > 2) ctx.reply.Array(2);
    IntScratch scratch;
    ctx.reply.Bulk(scored.member.Text(scratch));
    if (query.with_scores == Scores::kYes) ctx.reply.Double(scored.score);
  }
}

void StoreComputed(CommandContext& ctx, Operation operation, std::string_view event) {
  Query query;
  if (!ReadQuery(ctx, operation, Form::kStore, query)) return;
  auto stored = std::make_unique<SortedSet>(ctx.keyspace.object_seed());
  SortedSet::Builder builder(*stored);
  for (const Scored& scored : Compute(query, operation)) builder.PushBack(scored.member, scored.score);
  builder.Finish(SortedSetLimitsOf(ctx.services.config));
  StoreSortedSet(ctx, ctx.argv[1], std::move(stored), event);
}

void ZUnion(CommandContext& ctx) { ReplyComputed(ctx, Operation::kUnion); }
void ZInter(CommandContext& ctx) { ReplyComputed(ctx, Operation::kInter); }
void ZDiff(CommandContext& ctx) { ReplyComputed(ctx, Operation::kDiff); }
void ZUnionStore(CommandContext& ctx) { StoreComputed(ctx, Operation::kUnion, "zunionstore"); }
void ZInterStore(CommandContext& ctx) { StoreComputed(ctx, Operation::kInter, "zinterstore"); }
void ZDiffStore(CommandContext& ctx) { StoreComputed(ctx, Operation::kDiff, "zdiffstore"); }

void ZInterCard(CommandContext& ctx) {
  Query query;
  if (!ReadQuery(ctx, Operation::kInter, Form::kCount, query)) return;
  int64_t count = 0;
  Intersect(query, [&](const Scored&) { return ++count != query.limit; });
  ctx.reply.Integer(count);
}

// ---- rows

constexpr KeySpec kReadsKeys[] = {
    {.flags = kKeyRO | kKeyAccess, .index = 1, .find = KeySpec::Find::kKeyNum, .first_key = 1}};
constexpr ArgSpec kAggregateChoice[] = {{.name = "sum", .type = ArgType::kPureToken, .token = "SUM"},
                                        {.name = "min", .type = ArgType::kPureToken, .token = "MIN"},
                                        {.name = "max", .type = ArgType::kPureToken, .token = "MAX"}};
constexpr ArgSpec kCombineArgs[] = {
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0},
    {.name = "weight", .type = ArgType::kInteger, .flags = kOptional | kMultiple, .token = "WEIGHTS"},
    {.name = "aggregate",
     .type = ArgType::kOneOf,
     .flags = kOptional,
     .token = "AGGREGATE",
     .children = kAggregateChoice},
    {.name = "withscores", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHSCORES"}};
constexpr ArgSpec kDiffArgs[] = {
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0},
    {.name = "withscores", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHSCORES"}};
constexpr KeySpec kStores[] = {
    {.flags = kKeyOW | kKeyUpdate, .index = 1},
    {.flags = kKeyRO | kKeyAccess, .index = 2, .find = KeySpec::Find::kKeyNum, .first_key = 1}};
constexpr ArgSpec kCombineStoreArgs[] = {
    {.name = "destination", .type = ArgType::kKey, .key_spec = 0},
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 1},
    {.name = "weight", .type = ArgType::kInteger, .flags = kOptional | kMultiple, .token = "WEIGHTS"},
    {.name = "aggregate",
     .type = ArgType::kOneOf,
     .flags = kOptional,
     .token = "AGGREGATE",
     .children = kAggregateChoice}};
constexpr ArgSpec kDiffStoreArgs[] = {{.name = "destination", .type = ArgType::kKey, .key_spec = 0},
                                      {.name = "numkeys", .type = ArgType::kInteger},
                                      {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 1}};
constexpr ArgSpec kCardArgs[] = {{.name = "numkeys", .type = ArgType::kInteger},
                                 {.name = "key", .type = ArgType::kKey, .flags = kMultiple, .key_spec = 0},
                                 {.name = "limit", .type = ArgType::kInteger, .flags = kOptional, .token = "LIMIT"}};

constexpr CommandRow kRows[] = {
    {.name = "zunion",
     .arity = -3,
     .flags = kReadOnly | kMovableKeys,
     .acl = kAclSortedSet,
     .handler = ZUnion,
     .keys = kReadsKeys,
     .group = Group::kSortedSet,
     .since = "6.2.0",
     .complexity = "O(N + M*log(M)) for N members of all sets, M different ones.",
     .summary = "Answers the members of several sorted sets together, their scores combined.",
     .args = kCombineArgs},
    {.name = "zinter",
     .arity = -3,
     .flags = kReadOnly | kMovableKeys,
     .acl = kAclSortedSet,
     .handler = ZInter,
     .keys = kReadsKeys,
     .group = Group::kSortedSet,
     .since = "6.2.0",
     .complexity = "O(N*K*log(N) + M*log(M)) for K sets, the smallest of N members, M in common.",
     .summary = "Answers the members that all sorted sets have, their scores combined.",
     .args = kCombineArgs},
    {.name = "zdiff",
     .arity = -3,
     .flags = kReadOnly | kMovableKeys,
     .acl = kAclSortedSet,
     .handler = ZDiff,
     .keys = kReadsKeys,
     .group = Group::kSortedSet,
     .since = "6.2.0",
     .complexity = "O(N*K*log(N) + M*log(M)) for K sets, the first of N members, M of them nowhere else.",
     .summary = "Answers the members that only the first sorted set has.",
     .args = kDiffArgs},
    {.name = "zunionstore",
     .arity = -4,
     .flags = kWrite | kDenyOom | kMovableKeys,
     .acl = kAclSortedSet,
     .handler = ZUnionStore,
     .keys = kStores,
     .group = Group::kSortedSet,
     .since = "2.0.0",
     .complexity = "O(N + M*log(M)) for N members of all sets, M different ones.",
     .summary = "Stores the members of several sorted sets together, their scores combined.",
     .args = kCombineStoreArgs},
    {.name = "zinterstore",
     .arity = -4,
     .flags = kWrite | kDenyOom | kMovableKeys,
     .acl = kAclSortedSet,
     .handler = ZInterStore,
     .keys = kStores,
     .group = Group::kSortedSet,
     .since = "2.0.0",
     .complexity = "O(N*K*log(N) + M*log(M)) for K sets, the smallest of N members, M in common.",
     .summary = "Stores the members that all sorted sets have, their scores combined.",
     .args = kCombineStoreArgs},
    {.name = "zdiffstore",
     .arity = -4,
     .flags = kWrite | kDenyOom | kMovableKeys,
     .acl = kAclSortedSet,
     .handler = ZDiffStore,
     .keys = kStores,
     .group = Group::kSortedSet,
     .since = "6.2.0",
     .complexity = "O(N*K*log(N) + M*log(M)) for K sets, the first of N members, M of them nowhere else.",
     .summary = "Stores the members that only the first sorted set has.",
     .args = kDiffStoreArgs},
    {.name = "zintercard",
     .arity = -3,
     .flags = kReadOnly | kMovableKeys,
     .acl = kAclSortedSet,
     .handler = ZInterCard,
     .keys = kReadsKeys,
     .group = Group::kSortedSet,
     .since = "7.0.0",
     .complexity = "O(N*K*log(N)) for K sets, the smallest of N members.",
     .summary = "Counts the members that all sorted sets have, up to a limit.",
     .args = kCardArgs},
};

}  // namespace

std::span<const CommandRow> SortedSetAlgebraCommands() { return kRows; }

}  // namespace tessera
