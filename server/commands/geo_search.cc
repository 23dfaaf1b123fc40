// Searching for places within a circle or a box: GEOSEARCH, and the older GEORADIUS.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "server/commands/geo.h"
#include "server/commands/partial_sort.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::SortedSet;
using store::Unpacked;

// GEORADIUS and GEORADIUSBYMEMBER have their shape in fixed places; GEOSEARCH in options.
enum class Variant : uint8_t { kAround, kAroundMember, kSearch };
enum class Storing : uint8_t { kNever, kOption, kAlways };
enum class Sorting : uint8_t { kNo, kNearestFirst, kFarthestFirst };

struct Query {
  Variant variant;
  Storing storing;
  const SortedSet* set = nullptr;
  GeoShape shape;
  double unit_meters = 1;
  bool with_distance = false, with_hash = false, with_point = false;
  bool any = false;
  int64_t count = 0;  // 0: all
  Sorting sorting = Sorting::kNo;
  bool stores = false, stores_distance = false;
  std::string_view target;
  bool from_member = false, from_point = false, by_radius = false, by_box = false;
};

struct Hit {
  Unpacked member;
  double score;
  double distance_meters;
  GeoPoint point;
};

bool ReadLength(CommandContext& ctx, std::string_view text, std::string_view error, double& length) {
  const auto value = protocol::ParseDouble(text);
  if (!value) ctx.reply.Error(error);
  length = value.value_or(0);
  return value.has_value();
}

bool ReadRadius(CommandContext& ctx, std::string_view radius, std::string_view unit, Query& query) {
  double length;
  if (!ReadLength(ctx, radius, "ERR need numeric radius", length)) return false;
  if (length < 0) {
    ctx.reply.Error("ERR radius cannot be negative");
    return false;
  }
  if (!ReadUnit(ctx, unit, query.unit_meters)) return false;
  query.shape.kind = GeoShape::Kind::kCircle;
  query.shape.radius_meters = length * query.unit_meters;
  return true;
}

bool ReadBox(CommandContext& ctx, Argv argv, Query& query) {
  double width, height;
  if (!ReadLength(ctx, argv[0], "ERR need numeric width", width) ||
      !ReadLength(ctx, argv[1], "ERR need numeric height", height)) {
    return false;
  }
  if (width < 0 || height < 0) {
    ctx.reply.Error("ERR height or width cannot be negative");
    return false;
  }
  if (!ReadUnit(ctx, argv[2], query.unit_meters)) return false;
  query.shape.kind = GeoShape::Kind::kBox;
  query.shape.width_meters = width * query.unit_meters;
  query.shape.height_meters = height * query.unit_meters;
  return true;
}

bool ReadMember(CommandContext& ctx, std::string_view member, Query& query) {
  const auto score = query.set->Score(member);
  if (!score) {
    ctx.reply.Error("ERR could not decode requested zset member");
    return false;
  }
  query.shape.center = DecodeScore(*score);
  return true;
}

// argv[at] and what follows it; `at` goes to the last word it took. False: answered.
bool ReadOption(CommandContext& ctx, size_t& at, Query& query) {
  const Argv argv = ctx.argv;
  const size_t followers = argv.size() - at - 1;
  const bool search = query.variant == Variant::kSearch;
  const auto is = [&](std::string_view word, size_t wanted = 0) {
    return followers >= wanted && protocol::EqualsIgnoreCase(argv[at], word);
  };
  if (is("WITHDIST")) {
    query.with_distance = true;
  } else if (is("WITHHASH")) {
    query.with_hash = true;
  } else if (is("WITHCOORD")) {
    query.with_point = true;
  } else if (is("ANY")) {
    query.any = true;
  } else if (is("ASC")) {
    query.sorting = Sorting::kNearestFirst;
  } else if (is("DESC")) {
    query.sorting = Sorting::kFarthestFirst;
  } else if (is("COUNT", 1)) {
    if (!ReadInteger(ctx, argv[++at], query.count)) return false;
    if (query.count <= 0) {
      ctx.reply.Error("ERR COUNT must be > 0");
      return false;
    }
  } else if (query.storing == Storing::kOption && (is("STORE", 1) || is("STOREDIST", 1))) {
    query.stores = true;
    query.stores_distance = is("STOREDIST");
    query.target = argv[++at];
  } else if (query.storing == Storing::kAlways && is("STOREDIST")) {
    query.stores_distance = true;
  } else if (search && !query.from_point && is("FROMMEMBER", 1)) {
    query.from_member = true;
    ++at;
    if (query.set != nullptr && !ReadMember(ctx, argv[at], query)) return false;
  } else if (search && !query.from_member && is("FROMLONLAT", 2)) {
    query.from_point = true;
    at += 2;
    if (!ReadPoint(ctx, argv[at - 1], argv[at], query.shape.center)) return false;
  } else if (search && !query.by_box && is("BYRADIUS", 2)) {
    query.by_radius = true;
    at += 2;
    if (!ReadRadius(ctx, argv[at - 1], argv[at], query)) return false;
  } else if (search && !query.by_radius && is("BYBOX", 3)) {
    query.by_box = true;
    at += 3;
    if (!ReadBox(ctx, argv.subspan(at - 2, 3), query)) return false;
  } else {
    ctx.reply.Error(kSyntaxError);
    return false;
  }
  return true;
}

// What the options must not be, taken together; empty = all is well.
std::string Contradiction(const CommandContext& ctx, const Query& query) {
  if (query.stores && (query.with_distance || query.with_hash || query.with_point)) {
    return fmt::format("ERR {} is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
                       query.storing == Storing::kAlways ? "GEOSEARCHSTORE" : "STORE option in GEORADIUS");
  }
  if (query.variant == Variant::kSearch) {
    if (!query.from_member && !query.from_point) {
      return fmt::format("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {}", ctx.argv[0]);
    }
    if (!query.by_radius && !query.by_box) {
      return fmt::format("ERR exactly one of BYRADIUS and BYBOX can be specified for {}", ctx.argv[0]);
    }
  }
  if (query.any && query.count == 0) return "ERR the ANY argument requires COUNT argument";
  return {};
}

std::vector<Hit> Collect(const Query& query) {
  std::vector<Hit> hits;
  const uint64_t enough = query.any ? static_cast<uint64_t>(query.count) : 0;
  for (const ScoreSpan& span : CoverShape(query.shape)) {
    const auto end = static_cast<double>(span.end);
    for (auto at = query.set->FromScore(static_cast<double>(span.first)); at.valid(); at.Next()) {
      Hit hit{.member = SortedSet::MemberOf(at.element()), .score = SortedSet::ScoreOf(at.element())};
      if (hit.score >= end) break;
      if (enough != 0 && hits.size() >= enough) return hits;
      hit.point = DecodeScore(hit.score);
      if (query.shape.Contains(hit.point, hit.distance_meters)) hits.push_back(hit);
    }
  }
  return hits;
}

void ReplyHits(CommandContext& ctx, const Query& query, const std::vector<Hit>& hits) {
  const int extras = query.with_distance + query.with_hash + query.with_point;
  ctx.reply.Array(static_cast<int64_t>(hits.size()));
  for (const Hit& hit : hits) {
    if (extras > 0) ctx.reply.Array(1 + extras);
    store::IntScratch scratch;
    ctx.reply.Bulk(hit.member.Text(scratch));
    if (query.with_distance) ReplyDistance(ctx, hit.distance_meters / query.unit_meters);
    if (query.with_hash) ctx.reply.Integer(static_cast<int64_t>(hit.score));
    if (query.with_point) ReplyPoint(ctx, hit.point);
  }
}

void Search(CommandContext& ctx, Variant variant, Storing storing) {
  const Argv argv = ctx.argv;
  Query query{.variant = variant, .storing = storing};
  size_t at = 1;
  if (storing == Storing::kAlways) {
    query.stores = true;
    query.target = argv[at++];
  }
  const EntryRef entry = ctx.Find(argv[at++]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  query.set = ValueOf<SortedSet>(entry);
  if (variant == Variant::kAround) {
    if (!ReadPoint(ctx, argv[2], argv[3], query.shape.center) || !ReadRadius(ctx, argv[4], argv[5], query)) return;
    at = 6;
  } else if (variant == Variant::kAroundMember) {
    // Without a key the shape is not even looked at.
    if (query.set != nullptr && (!ReadMember(ctx, argv[2], query) || !ReadRadius(ctx, argv[3], argv[4], query))) return;
    at = 5;
  }
  for (; at < argv.size(); ++at) {
    if (!ReadOption(ctx, at, query)) return;
  }
  if (const std::string error = Contradiction(ctx, query); !error.empty()) return ctx.reply.Error(error);

  std::vector<Hit> hits;
  if (query.set != nullptr) {
    hits = Collect(query);
    // The nearest are meant, unless any will do.
    if (query.count != 0 && query.sorting == Sorting::kNo && !query.any) query.sorting = Sorting::kNearestFirst;
    if (query.sorting != Sorting::kNo) {
      const bool farthest_first = query.sorting == Sorting::kFarthestFirst;
      const auto closer = [farthest_first](const Hit& a, const Hit& b) {
        return farthest_first ? a.distance_meters > b.distance_meters : a.distance_meters < b.distance_meters;
      };
      if (query.count != 0 && hits.size() > static_cast<uint64_t>(query.count)) {
        PartialSort(hits.data(), hits.size(), static_cast<size_t>(query.count),
                    [closer](const Hit& a, const Hit& b) { return closer(a, b) ? -1 : closer(b, a) ? 1 : 0; });
      } else {
        std::stable_sort(hits.begin(), hits.end(), closer);
      }
    }
    if (query.count != 0 && hits.size() > static_cast<uint64_t>(query.count)) {
      hits.resize(static_cast<size_t>(query.count));
    }
  }
  if (!query.stores) return ReplyHits(ctx, query, hits);
  auto result = std::make_unique<SortedSet>(ctx.keyspace.object_seed());
  const store::SortedSetLimits limits = SortedSetLimitsOf(ctx.services.config);
  for (const Hit& hit : hits) {
    store::IntScratch scratch;
    const double score = query.stores_distance ? hit.distance_meters / query.unit_meters : hit.score;
    (void)result->Set(hit.member.Text(scratch), score, limits);
  }
  StoreSortedSet(ctx, query.target, std::move(result),
                 variant == Variant::kSearch ? "geosearchstore" : "georadiusstore");
}

void GeoSearch(CommandContext& ctx) { Search(ctx, Variant::kSearch, Storing::kNever); }
void GeoSearchStore(CommandContext& ctx) { Search(ctx, Variant::kSearch, Storing::kAlways); }
void GeoRadius(CommandContext& ctx) { Search(ctx, Variant::kAround, Storing::kOption); }
void GeoRadiusRo(CommandContext& ctx) { Search(ctx, Variant::kAround, Storing::kNever); }
void GeoRadiusByMember(CommandContext& ctx) { Search(ctx, Variant::kAroundMember, Storing::kOption); }
void GeoRadiusByMemberRo(CommandContext& ctx) { Search(ctx, Variant::kAroundMember, Storing::kNever); }

// ---- rows

constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr ArgSpec kLongitudeLatitude[] = {{.name = "longitude", .type = ArgType::kDouble},
                                          {.name = "latitude", .type = ArgType::kDouble}};
constexpr ArgSpec kFromChoice[] = {
    {.name = "member", .token = "FROMMEMBER"},
    {.name = "longitude_latitude", .type = ArgType::kBlock, .token = "FROMLONLAT", .children = kLongitudeLatitude}};
constexpr ArgSpec kUnitChoice[] = {{.name = "m", .type = ArgType::kPureToken, .token = "M"},
                                   {.name = "km", .type = ArgType::kPureToken, .token = "KM"},
                                   {.name = "ft", .type = ArgType::kPureToken, .token = "FT"},
                                   {.name = "mi", .type = ArgType::kPureToken, .token = "MI"}};
constexpr ArgSpec kCircle[] = {{.name = "radius", .type = ArgType::kDouble, .token = "BYRADIUS"},
                               {.name = "unit", .type = ArgType::kOneOf, .children = kUnitChoice}};
constexpr ArgSpec kBox[] = {{.name = "width", .type = ArgType::kDouble, .token = "BYBOX"},
                            {.name = "height", .type = ArgType::kDouble},
                            {.name = "unit", .type = ArgType::kOneOf, .children = kUnitChoice}};
constexpr ArgSpec kByChoice[] = {{.name = "circle", .type = ArgType::kBlock, .children = kCircle},
                                 {.name = "box", .type = ArgType::kBlock, .children = kBox}};
constexpr ArgSpec kOrderChoice[] = {{.name = "asc", .type = ArgType::kPureToken, .token = "ASC"},
                                    {.name = "desc", .type = ArgType::kPureToken, .token = "DESC"}};
constexpr ArgSpec kCount[] = {{.name = "count", .type = ArgType::kInteger, .token = "COUNT"},
                              {.name = "any", .type = ArgType::kPureToken, .flags = kOptional, .token = "ANY"}};
constexpr ArgSpec kSearchArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "from", .type = ArgType::kOneOf, .children = kFromChoice},
    {.name = "by", .type = ArgType::kOneOf, .children = kByChoice},
    {.name = "order", .type = ArgType::kOneOf, .flags = kOptional, .children = kOrderChoice},
    {.name = "count", .type = ArgType::kBlock, .flags = kOptional, .children = kCount},
    {.name = "withcoord", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHCOORD"},
    {.name = "withdist", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHDIST"},
    {.name = "withhash", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHHASH"}};
constexpr HistoryEntry kUnitsHistory[] = {{"7.0.0", "Units may be written in upper case."}};
constexpr KeySpec kStores[] = {{.flags = kKeyOW | kKeyUpdate, .index = 1}, {.flags = kKeyRO | kKeyAccess, .index = 2}};
constexpr ArgSpec kSearchStoreArgs[] = {
    {.name = "destination", .type = ArgType::kKey, .key_spec = 0},
    {.name = "source", .type = ArgType::kKey, .key_spec = 1},
    {.name = "from", .type = ArgType::kOneOf, .children = kFromChoice},
    {.name = "by", .type = ArgType::kOneOf, .children = kByChoice},
    {.name = "order", .type = ArgType::kOneOf, .flags = kOptional, .children = kOrderChoice},
    {.name = "count", .type = ArgType::kBlock, .flags = kOptional, .children = kCount},
    {.name = "storedist", .type = ArgType::kPureToken, .flags = kOptional, .token = "STOREDIST"}};
// Of several targets the last counts.
bool FindRadiusKeys(Argv argv, std::vector<KeyPosition>& keys) {
  int target = 0;
  for (size_t i = 5; i + 1 < argv.size(); ++i)
    if (protocol::EqualsIgnoreCase(argv[i], "STORE") || protocol::EqualsIgnoreCase(argv[i], "STOREDIST"))
      target = static_cast<int>(++i);
  keys.push_back({1});
  if (target != 0) keys.push_back({target});
  return true;
}
constexpr KeySpec kMayStore[] = {
    {.flags = kKeyRO | kKeyAccess, .index = 1},
    {.flags = kKeyOW | kKeyUpdate, .begin = KeySpec::Begin::kKeyword, .index = 6, .keyword = "STORE"},
    {.flags = kKeyOW | kKeyUpdate, .begin = KeySpec::Begin::kKeyword, .index = 6, .keyword = "STOREDIST"}};
constexpr ArgSpec kCountAny[] = {
    {.name = "count", .type = ArgType::kInteger, .token = "COUNT"},
    {.name = "any", .type = ArgType::kPureToken, .flags = kOptional, .token = "ANY", .since = "6.2.0"}};
constexpr ArgSpec kRadiusArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "longitude", .type = ArgType::kDouble},
    {.name = "latitude", .type = ArgType::kDouble},
    {.name = "radius", .type = ArgType::kDouble},
    {.name = "unit", .type = ArgType::kOneOf, .children = kUnitChoice},
    {.name = "withcoord", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHCOORD"},
    {.name = "withdist", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHDIST"},
    {.name = "withhash", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHHASH"},
    {.name = "count", .type = ArgType::kBlock, .flags = kOptional, .children = kCountAny},
    {.name = "order", .type = ArgType::kOneOf, .flags = kOptional, .children = kOrderChoice},
    {.name = "key", .type = ArgType::kKey, .flags = kOptional, .token = "STORE", .key_spec = 1},
    {.name = "key", .type = ArgType::kKey, .flags = kOptional, .token = "STOREDIST", .key_spec = 2}};
constexpr HistoryEntry kRadiusHistory[] = {{"6.2.0", "Added `ANY` behind `COUNT`."},
                                           {"7.0.0", "Units may be written in upper case."}};
constexpr ArgSpec kRadiusRoArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "longitude", .type = ArgType::kDouble},
    {.name = "latitude", .type = ArgType::kDouble},
    {.name = "radius", .type = ArgType::kDouble},
    {.name = "unit", .type = ArgType::kOneOf, .children = kUnitChoice},
    {.name = "withcoord", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHCOORD"},
    {.name = "withdist", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHDIST"},
    {.name = "withhash", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHHASH"},
    {.name = "count", .type = ArgType::kBlock, .flags = kOptional, .children = kCountAny},
    {.name = "order", .type = ArgType::kOneOf, .flags = kOptional, .children = kOrderChoice}};
constexpr HistoryEntry kAnyHistory[] = {{"6.2.0", "Added `ANY` behind `COUNT`."}};
constexpr KeySpec kMemberMayStore[] = {
    {.flags = kKeyRO | kKeyAccess, .index = 1},
    {.flags = kKeyOW | kKeyUpdate, .begin = KeySpec::Begin::kKeyword, .index = 5, .keyword = "STORE"},
    {.flags = kKeyOW | kKeyUpdate, .begin = KeySpec::Begin::kKeyword, .index = 5, .keyword = "STOREDIST"}};
constexpr ArgSpec kByMemberArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "member"},
    {.name = "radius", .type = ArgType::kDouble},
    {.name = "unit", .type = ArgType::kOneOf, .children = kUnitChoice},
    {.name = "withcoord", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHCOORD"},
    {.name = "withdist", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHDIST"},
    {.name = "withhash", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHHASH"},
    {.name = "count", .type = ArgType::kBlock, .flags = kOptional, .children = kCount},
    {.name = "order", .type = ArgType::kOneOf, .flags = kOptional, .children = kOrderChoice},
    {.name = "key", .type = ArgType::kKey, .flags = kOptional, .token = "STORE", .key_spec = 1},
    {.name = "key", .type = ArgType::kKey, .flags = kOptional, .token = "STOREDIST", .key_spec = 2}};
constexpr ArgSpec kByMemberRoArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "member"},
    {.name = "radius", .type = ArgType::kDouble},
    {.name = "unit", .type = ArgType::kOneOf, .children = kUnitChoice},
    {.name = "withcoord", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHCOORD"},
    {.name = "withdist", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHDIST"},
    {.name = "withhash", .type = ArgType::kPureToken, .flags = kOptional, .token = "WITHHASH"},
    {.name = "count", .type = ArgType::kBlock, .flags = kOptional, .children = kCount},
    {.name = "order", .type = ArgType::kOneOf, .flags = kOptional, .children = kOrderChoice}};

constexpr CommandRow kRows[] = {
    {.name = "geosearch",
     .arity = -7,
     .flags = kReadOnly,
     .acl = kAclGeo,
     .handler = GeoSearch,
     .keys = kReadsKey,
     .group = Group::kGeo,
     .since = "6.2.0",
     .complexity = "O(N+log(M)) for N members around the shape, M in all.",
     .summary = "Finds the members within a circle or box.",
     .args = kSearchArgs,
     .history = kUnitsHistory},
    {.name = "geosearchstore",
     .arity = -8,
     .flags = kWrite | kDenyOom,
     .acl = kAclGeo,
     .handler = GeoSearchStore,
     .keys = kStores,
     .group = Group::kGeo,
     .since = "6.2.0",
     .complexity = "O(N+log(M)) for N members around the shape, M in all.",
     .summary = "Stores the members within a circle or box under another key.",
     .args = kSearchStoreArgs,
     .history = kUnitsHistory},
    {.name = "georadius",
     .arity = -6,
     .flags = kWrite | kDenyOom | kMovableKeys,
     .acl = kAclGeo,
     .handler = GeoRadius,
     .keys = kMayStore,
     .find_keys = FindRadiusKeys,
     .group = Group::kGeo,
     .since = "3.2.0",
     .complexity = "O(N+log(M)) for N members around the circle, M in all.",
     .summary = "Finds, or stores, the members within a distance of a place.",
     .args = kRadiusArgs,
     .history = kRadiusHistory,
     .deprecated_since = "6.2.0",
     .replaced_by = "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"},
    {.name = "georadius_ro",
     .arity = -6,
     .flags = kReadOnly,
     .acl = kAclGeo,
     .handler = GeoRadiusRo,
     .keys = kReadsKey,
     .group = Group::kGeo,
     .since = "3.2.10",
     .complexity = "O(N+log(M)) for N members around the circle, M in all.",
     .summary = "Finds the members within a distance of a place.",
     .args = kRadiusRoArgs,
     .history = kAnyHistory,
     .deprecated_since = "6.2.0",
     .replaced_by = "`GEOSEARCH` with the `BYRADIUS` argument"},
    {.name = "georadiusbymember",
     .arity = -5,
     .flags = kWrite | kDenyOom | kMovableKeys,
     .acl = kAclGeo,
     .handler = GeoRadiusByMember,
     .keys = kMemberMayStore,
     .find_keys = FindRadiusKeys,
     .group = Group::kGeo,
     .since = "3.2.0",
     .complexity = "O(N+log(M)) for N members around the circle, M in all.",
     .summary = "Finds, or stores, the members within a distance of a member.",
     .args = kByMemberArgs,
     .history = kUnitsHistory,
     .deprecated_since = "6.2.0",
     .replaced_by = "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments"},
    {.name = "georadiusbymember_ro",
     .arity = -5,
     .flags = kReadOnly,
     .acl = kAclGeo,
     .handler = GeoRadiusByMemberRo,
     .keys = kReadsKey,
     .group = Group::kGeo,
     .since = "3.2.10",
     .complexity = "O(N+log(M)) for N members around the circle, M in all.",
     .summary = "Finds the members within a distance of a member.",
     .args = kByMemberRoArgs,
     .deprecated_since = "6.2.0",
     .replaced_by = "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"},
};

}  // namespace

std::span<const CommandRow> GeoSearchCommands() { return kRows; }

}  // namespace tessera
