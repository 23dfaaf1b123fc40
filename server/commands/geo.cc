// Places as scores of a sorted set: adding and reading them. Searching is in geo_search.cc.
#include "server/commands/geo.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "server/commands/table.h"

namespace tessera {

using store::EntryRef;
using store::SortedSet;

bool ReadPoint(CommandContext& ctx, std::string_view longitude, std::string_view latitude, GeoPoint& point) {
  const auto x = protocol::ParseDouble(longitude), y = protocol::ParseDouble(latitude);
  if (!x || !y) {
    ctx.reply.Error(kNotAFloat);
    return false;
  }
  point = {*x, *y};
  if (IsOnGrid(point)) return true;
  ctx.reply.Error(fmt::format("ERR invalid longitude,latitude pair {:f},{:f}", *x, *y));
  return false;
}

bool ReadUnit(CommandContext& ctx, std::string_view text, double& meters) {
  struct Unit {
    std::string_view name;
    double meters;
  };
  for (const Unit& unit : {Unit{"m", 1}, Unit{"km", 1000}, Unit{"ft", 0.3048}, Unit{"mi", 1609.34}}) {
    if (!protocol::EqualsIgnoreCase(text, unit.name)) continue;
    meters = unit.meters;
    return true;
  }
  ctx.reply.Error("ERR unsupported unit provided. please use M, KM, FT, MI");
  return false;
}

void ReplyPoint(CommandContext& ctx, const GeoPoint& point) {
  ctx.reply.Array(2);
  for (const double degrees : {point.longitude, point.latitude}) {
    const std::string text = protocol::LongDoubleText(degrees);
    if (ctx.reply.version() == 2) {
      ctx.reply.Bulk(text);
    } else {
      ctx.reply.Raw(fmt::format(",{}\r\n", text));
    }
  }
}

void ReplyDistance(CommandContext& ctx, double distance) { ctx.reply.Bulk(fmt::format("{:.4f}", distance)); }

namespace {

void GeoAdd(CommandContext& ctx) {
  AddOptions options;
  size_t at = 2;
  for (; at < ctx.argv.size(); ++at) {
    const std::string_view word = ctx.argv[at];
    if (protocol::EqualsIgnoreCase(word, "NX")) {
      options.nx = true;
    } else if (protocol::EqualsIgnoreCase(word, "XX")) {
      options.xx = true;
    } else if (protocol::EqualsIgnoreCase(word, "CH")) {
      options.ch = true;
    } else {
      break;
    }
  }
  const Argv places = ctx.argv.subspan(at);
  if (places.empty() || places.size() % 3 != 0 || (options.nx && options.xx)) return ctx.reply.Error(kSyntaxError);
  std::vector<double> scores;
  scores.reserve(places.size() / 3);
  for (size_t i = 0; i < places.size(); i += 3) {
    GeoPoint point;
    if (!ReadPoint(ctx, places[i], places[i + 1], point)) return;
    scores.push_back(static_cast<double>(EncodePoint(point)));
  }
  if (!AddToSortedSet(ctx, options, scores, places.subspan(2), 3)) return;

  // Replicas and the log get the scores, as Redis sends them.
  std::vector<std::string> texts;
  texts.reserve(scores.size());
  std::vector<std::string_view> command = {"zadd"};
  command.insert(command.end(), ctx.argv.begin() + 1, ctx.argv.begin() + static_cast<ptrdiff_t>(at));
  for (size_t i = 0; i < scores.size(); ++i) {
    command.push_back(texts.emplace_back(protocol::Int64Text(static_cast<int64_t>(scores[i]))));
    command.push_back(places[i * 3 + 2]);
  }
  ctx.PropagateIn(ctx.session.db, command);
}

void GeoPos(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  const Argv members = ctx.argv.subspan(2);
  ctx.reply.Array(static_cast<int64_t>(members.size()));
  for (std::string_view member : members) {
    const auto score = entry ? ValueOf<SortedSet>(entry)->Score(member) : std::nullopt;
    if (score) {
      ReplyPoint(ctx, DecodeScore(*score));
    } else {
      ctx.reply.NullArray();
    }
  }
}

void GeoDist(CommandContext& ctx) {
  double unit_meters = 1;
  if (ctx.argv.size() > 5) return ctx.reply.Error(kSyntaxError);
  if (ctx.argv.size() == 5 && !ReadUnit(ctx, ctx.argv[4], unit_meters)) return;
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  if (!entry) return ctx.reply.Null();
  const SortedSet& set = *ValueOf<SortedSet>(entry);
  const auto from = set.Score(ctx.argv[2]), to = set.Score(ctx.argv[3]);
  if (!from || !to) return ctx.reply.Null();
  ReplyDistance(ctx, DistanceMeters(DecodeScore(*from), DecodeScore(*to)) / unit_meters);
}

void GeoHash(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kZset)) return;
  const Argv members = ctx.argv.subspan(2);
  ctx.reply.Array(static_cast<int64_t>(members.size()));
  for (std::string_view member : members) {
    const auto score = entry ? ValueOf<SortedSet>(entry)->Score(member) : std::nullopt;
    if (!score) {
      ctx.reply.Null();
      continue;
    }
    char text[kGeohashChars];
    WriteGeohash(DecodeScore(*score), text);
    ctx.reply.Bulk({text, kGeohashChars});
  }
}

// ---- rows

constexpr KeySpec kUpdatesKey[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1}};
constexpr ArgSpec kConditionChoice[] = {{.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
                                        {.name = "xx", .type = ArgType::kPureToken, .token = "XX"}};
constexpr ArgSpec kLongitudeLatitudeMember[] = {{.name = "longitude", .type = ArgType::kDouble},
                                                {.name = "latitude", .type = ArgType::kDouble},
                                                {.name = "member"}};
constexpr ArgSpec kAddArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "condition", .type = ArgType::kOneOf, .flags = kOptional, .since = "6.2.0", .children = kConditionChoice},
    {.name = "change", .type = ArgType::kPureToken, .flags = kOptional, .token = "CH", .since = "6.2.0"},
    {.name = "longitude_latitude_member",
     .type = ArgType::kBlock,
     .flags = kMultiple,
     .children = kLongitudeLatitudeMember}};
constexpr HistoryEntry kAddHistory[] = {{"6.2.0", "Added `CH`, `NX` and `XX`."}};
constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr ArgSpec kKeyAndMembers[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                      {.name = "member", .flags = kMultiple}};
constexpr ArgSpec kUnitChoice[] = {{.name = "m", .type = ArgType::kPureToken, .token = "M"},
                                   {.name = "km", .type = ArgType::kPureToken, .token = "KM"},
                                   {.name = "ft", .type = ArgType::kPureToken, .token = "FT"},
                                   {.name = "mi", .type = ArgType::kPureToken, .token = "MI"}};
constexpr ArgSpec kDistArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "member1"},
    {.name = "member2"},
    {.name = "unit", .type = ArgType::kOneOf, .flags = kOptional, .children = kUnitChoice}};

constexpr CommandRow kRows[] = {
    {.name = "geoadd",
     .arity = -5,
     .flags = kWrite | kDenyOom,
     .acl = kAclGeo,
     .handler = GeoAdd,
     .keys = kUpdatesKey,
     .group = Group::kGeo,
     .since = "3.2.0",
     .complexity = "O(log(N)) per member, for N elements.",
     .summary = "Adds members with longitude and latitude to a sorted set, or moves them.",
     .args = kAddArgs,
     .history = kAddHistory},
    {.name = "geopos",
     .arity = -2,
     .flags = kReadOnly,
     .acl = kAclGeo,
     .handler = GeoPos,
     .keys = kReadsKey,
     .group = Group::kGeo,
     .since = "3.2.0",
     .complexity = "O(M*log(N)) for M members given, N elements.",
     .summary = "Reads the longitudes and latitudes of members.",
     .args = kKeyAndMembers},
    {.name = "geodist",
     .arity = -4,
     .flags = kReadOnly,
     .acl = kAclGeo,
     .handler = GeoDist,
     .keys = kReadsKey,
     .group = Group::kGeo,
     .since = "3.2.0",
     .complexity = "O(log(N)) for N elements.",
     .summary = "Tells the distance between two members.",
     .args = kDistArgs},
    {.name = "geohash",
     .arity = -2,
     .flags = kReadOnly,
     .acl = kAclGeo,
     .handler = GeoHash,
     .keys = kReadsKey,
     .group = Group::kGeo,
     .since = "3.2.0",
     .complexity = "O(M*log(N)) for M members given, N elements.",
     .summary = "Tells the places of members as standard geohash texts.",
     .args = kKeyAndMembers},
};

}  // namespace

std::span<const CommandRow> GeoCommands() { return kRows; }

}  // namespace tessera
