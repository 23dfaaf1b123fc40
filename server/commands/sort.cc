// SORT: the elements of a list, set or sorted set in order, by their own value or by that of other keys.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "server/commands/edit.h"
#include "server/commands/table.h"
#include "server/store/hash_object.h"
#include "server/store/list_object.h"
#include "server/store/set_object.h"
#include "server/store/sorted_set_object.h"
#include "server/values/limits.h"

namespace tessera {
namespace {

using store::EntryRef;
using store::IntScratch;

struct Request {
  std::optional<std::string_view> by;
  std::vector<std::string_view> get;
  std::string_view target;
  bool store = false, descending = false, alpha = false;
  int64_t offset = 0, count = -1;
};

struct Element {
  std::string text;
  std::optional<std::string> weight;  // with BY and ALPHA
  double score = 0;                   // without ALPHA
};

enum class MayStore : uint8_t { kNo, kYes };

bool ReadRequest(CommandContext& ctx, MayStore may_store, Request& request) {
  protocol::ArgReader args(ctx.argv, 2);
  while (args.HasNext()) {
    if (args.Check("ASC")) {
      request.descending = false;
    } else if (args.Check("DESC")) {
      request.descending = true;
    } else if (args.Check("ALPHA")) {
      request.alpha = true;
    } else if (args.Check("LIMIT", 2)) {
      request.offset = args.NextInt<int64_t>();
      request.count = args.NextInt<int64_t>();
    } else if (may_store == MayStore::kYes && args.Check("STORE", 1)) {
      request.store = true;
      request.target = args.Next();
    } else if (args.Check("BY", 1)) {
      request.by = args.Next();
      // The pattern's keys may lie in any slot.
      if (ctx.keyspace.cluster() && request.by->find('*') != std::string_view::npos)
        args.Fail("ERR BY option of SORT denied in Cluster mode.");
    } else if (args.Check("GET", 1)) {
      request.get.push_back(args.Next());
      if (ctx.keyspace.cluster()) args.Fail("ERR GET option of SORT denied in Cluster mode.");
    } else {
      args.SyntaxError();
    }
  }
  if (!args.ok()) ctx.reply.Error(args.error());
  return args.ok();
}

std::vector<Element> ElementsOf(EntryRef entry) {
  std::vector<Element> elements;
  if (!entry) return elements;
  IntScratch scratch;
  elements.reserve(entry.object()->size());
  const auto take = [&](const store::Unpacked& value) { elements.push_back({.text = std::string(value.Text(scratch))}); };
  switch (entry.type()) {
    case store::Type::kList:
      for (auto at = ValueOf<store::List>(entry)->elements().Begin(); at.valid(); at.Next()) take(at.value());
      break;
    case store::Type::kSet:
      for (store::Set::Walk walk(*ValueOf<store::Set>(entry)); walk.valid(); walk.Next()) take(walk.value());
      break;
    default:
      for (auto at = ValueOf<store::SortedSet>(entry)->elements().Begin(); at.valid(); at.Next()) {
        take(store::SortedSet::MemberOf(at.element()));
      }
  }
  return elements;
}

// The value that a pattern names for an element: "#" is the element itself, "a*b" the string under the key with the
// element in place of the asterisk, "a*b->f" a field of the hash there.
std::optional<std::string> LookUp(CommandContext& ctx, std::string_view pattern, std::string_view element) {
  if (pattern == "#") return std::string(element);
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return std::nullopt;
  std::string_view field;
  const size_t arrow = pattern.find("->", star + 1);
  if (arrow != std::string_view::npos && arrow + 2 < pattern.size()) {
    field = pattern.substr(arrow + 2);
    pattern = pattern.substr(0, arrow);
  }
  std::string key(pattern.substr(0, star));
  key.append(element).append(pattern.substr(star + 1));
  const EntryRef entry = ctx.Find(key);
  if (!entry) return std::nullopt;
  IntScratch scratch;
  if (field.empty()) {
    if (entry.type() != store::Type::kString) return std::nullopt;
    return std::string(entry.AsString(scratch));
  }
  if (entry.type() != store::Type::kHash) return std::nullopt;
  const auto found = ValueOf<store::Hash>(entry)->Find(field);
  if (!found.valid()) return std::nullopt;
  return std::string(store::Hash::ValueOf(found.element()).Text(scratch));
}

// False when an element's weight is no number; all are looked up nevertheless.
bool Weigh(CommandContext& ctx, const Request& request, std::vector<Element>& elements) {
  bool numbers = true;
  for (Element& element : elements) {
    if (request.by) element.weight = LookUp(ctx, *request.by, element.text);
    if (request.alpha || (request.by && !element.weight)) continue;
    const std::string& text = request.by ? *element.weight : element.text;
    // As strtod: an empty text is 0; what a double cannot hold exactly enough is refused.
    char* end;
    errno = 0;
    element.score = std::strtod(text.c_str(), &end);
    if (*end != '\0' || errno == ERANGE || std::isnan(element.score)) numbers = false;
  }
  return numbers;
}

void Order(const Request& request, std::vector<Element>& elements) {
  const auto compare = [&](const Element& a, const Element& b) {
    if (!request.alpha) {
      if (a.score != b.score) return a.score < b.score ? -1 : 1;
      return a.text.compare(b.text);
    }
    if (!request.by) return a.text.compare(b.text);
    if (!a.weight || !b.weight) return a.weight ? 1 : b.weight ? -1 : 0;
    return a.weight->compare(*b.weight);
  };
  std::stable_sort(elements.begin(), elements.end(), [&](const Element& a, const Element& b) {
    return request.descending ? compare(b, a) < 0 : compare(a, b) < 0;
  });
}

void SortInto(CommandContext& ctx, MayStore may_store) {
  Request request;
  if (!ReadRequest(ctx, may_store, request)) return;
  EntryRef entry = ctx.Find(ctx.argv[1]);
  if (entry && entry.type() != store::Type::kList && entry.type() != store::Type::kSet &&
      entry.type() != store::Type::kZset)
    return ctx.reply.Error(kWrongType);
  if (entry && entry.type() == store::Type::kZset) {
    // A small one becomes a large one, as OBJECT ENCODING tells in Redis too.
    Edit<store::SortedSet> set(ctx, ctx.argv[1], entry);
    set->BecomeLarge();
    (void)set.Commit(false);
    entry = ctx.db().Peek(ctx.argv[1]);
  }

  bool as_it_is = request.by && request.by->find('*') == std::string_view::npos;
  if (as_it_is && request.store && entry && entry.type() == store::Type::kSet) {
    // What is stored must not depend on the order in which this server happens to keep a set.
    as_it_is = false;
    request.alpha = true;
    request.by.reset();
  }
  std::vector<Element> elements = ElementsOf(entry);
  if (as_it_is) {
    if (request.descending && entry && entry.type() != store::Type::kSet)
      std::reverse(elements.begin(), elements.end());
  } else {
    if (!Weigh(ctx, request, elements)) return ctx.reply.Error("ERR One or more scores can't be converted into double");
    Order(request, elements);
  }

  const auto size = static_cast<int64_t>(elements.size());
  const int64_t first = std::clamp<int64_t>(request.offset, 0, size);
  const int64_t wanted = request.count < 0 ? size - first : std::min(request.count, size - first);
  const std::span<const Element> chosen = std::span(elements).subspan(first, wanted);
  const size_t per_element = request.get.empty() ? 1 : request.get.size();
  const auto told = static_cast<int64_t>(chosen.size() * per_element);

  if (!request.store) {
    ctx.reply.Array(told);
    for (const Element& element : chosen) {
      if (request.get.empty()) ctx.reply.Bulk(element.text);
      for (std::string_view pattern : request.get) {
        const auto value = LookUp(ctx, pattern, element.text);
        value ? ctx.reply.Bulk(*value) : ctx.reply.Null();
      }
    }
    return;
  }
  if (chosen.empty()) {
    EraseTarget(ctx, request.target);
    return ctx.reply.Integer(0);
  }
  auto list = std::make_unique<store::List>(ctx.keyspace.object_seed());
  for (const Element& element : chosen) {
    if (request.get.empty()) list->Push(store::List::Side::kTail, element.text);
    for (std::string_view pattern : request.get)
      list->Push(store::List::Side::kTail, LookUp(ctx, pattern, element.text).value_or(""));
  }
  list->ChooseEncoding(ListLimitsOf(ctx.services.config));
  if (!ctx.db().SetObject(request.target, std::move(list), store::Expiry::None()))
    return ctx.reply.Error(kOutOfMemory);
  ctx.Notify('l', "sortstore", request.target);
  ctx.reply.Integer(told);
}

void Sort(CommandContext& ctx) { SortInto(ctx, MayStore::kYes); }
void SortRo(CommandContext& ctx) { SortInto(ctx, MayStore::kNo); }

// ---- rows

// The last STORE counts; the words of other options are not mistaken for it.
bool FindSortKeys(Argv argv, std::vector<KeyPosition>& keys) {
  int at = 0;
  for (size_t i = 2; i < argv.size(); ++i) {
    if (protocol::EqualsIgnoreCase(argv[i], "LIMIT")) {
      i += 2;
    } else if (protocol::EqualsIgnoreCase(argv[i], "BY") || protocol::EqualsIgnoreCase(argv[i], "GET")) {
      i += 1;
    } else if (protocol::EqualsIgnoreCase(argv[i], "STORE") && i + 1 < argv.size()) {
      at = static_cast<int>(i + 1);
    }
  }
  keys.push_back({1, kKeyRO | kKeyAccess});
  if (at != 0) keys.push_back({at, kKeyOW | kKeyUpdate});
  return true;
}

constexpr KeySpec kSorted = {.flags = kKeyRO | kKeyAccess, .index = 1};
constexpr KeySpec kNamedByElements = {
    .flags = kKeyRO | kKeyAccess,
    .begin = KeySpec::Begin::kUnknown,
    .find = KeySpec::Find::kUnknown,
    .notes = "The patterns of BY and GET name keys by the elements that are sorted."};
constexpr KeySpec kTarget = {.flags = kKeyOW | kKeyUpdate,
                             .begin = KeySpec::Begin::kUnknown,
                             .find = KeySpec::Find::kUnknown,
                             .notes = "STORE may stand anywhere among the options."};
constexpr KeySpec kSortKeys[] = {kSorted, kNamedByElements, kTarget};
constexpr KeySpec kSortRoKeys[] = {kSorted, kNamedByElements};

constexpr ArgSpec kOffsetAndCount[] = {{.name = "offset", .type = ArgType::kInteger},
                                       {.name = "count", .type = ArgType::kInteger}};
constexpr ArgSpec kOrders[] = {{.name = "asc", .type = ArgType::kPureToken, .token = "ASC"},
                               {.name = "desc", .type = ArgType::kPureToken, .token = "DESC"}};
constexpr ArgSpec kKeyArg = {.name = "key", .type = ArgType::kKey, .key_spec = 0};
constexpr ArgSpec kByArg = {
    .name = "by-pattern", .type = ArgType::kPattern, .flags = kOptional, .token = "BY", .key_spec = 1, .display = "pattern"};
constexpr ArgSpec kLimitArg = {
    .name = "limit", .type = ArgType::kBlock, .flags = kOptional, .token = "LIMIT", .children = kOffsetAndCount};
constexpr ArgSpec kGetArg = {.name = "get-pattern",
                             .type = ArgType::kPattern,
                             .flags = kOptional | kMultiple | kMultipleToken,
                             .token = "GET",
                             .key_spec = 1,
                             .display = "pattern"};
constexpr ArgSpec kOrderArg = {.name = "order", .type = ArgType::kOneOf, .flags = kOptional, .children = kOrders};
constexpr ArgSpec kAlphaArg = {.name = "sorting", .type = ArgType::kPureToken, .flags = kOptional, .token = "ALPHA"};
constexpr ArgSpec kSortArgs[] = {
    kKeyArg,
    kByArg,
    kLimitArg,
    kGetArg,
    kOrderArg,
    kAlphaArg,
    {.name = "destination", .type = ArgType::kKey, .flags = kOptional, .token = "STORE", .key_spec = 2}};
constexpr ArgSpec kSortRoArgs[] = {kKeyArg, kByArg, kLimitArg, kGetArg, kOrderArg, kAlphaArg};
constexpr std::string_view kSortComplexity = "O(N*log(N)) for N elements, O(N) when they stay as they are.";

constexpr CommandRow kRows[] = {
    {.name = "sort",
     .arity = -2,
     .flags = kWrite | kDenyOom | kMovableKeys,
     .acl = kAclSet | kAclSortedSet | kAclList | kAclDangerous,
     .handler = Sort,
     .keys = kSortKeys,
     .find_keys = FindSortKeys,
     .group = Group::kGeneric,
     .since = "1.0.0",
     .complexity = kSortComplexity,
     .summary = "Answers the elements of a list, set or sorted set in order, or stores them as a list.",
     .args = kSortArgs},
    {.name = "sort_ro",
     .arity = -2,
     .flags = kReadOnly | kMovableKeys,
     .acl = kAclSet | kAclSortedSet | kAclList | kAclDangerous,
     .handler = SortRo,
     .keys = kSortRoKeys,
     .group = Group::kGeneric,
     .since = "7.0.0",
     .complexity = kSortComplexity,
     .summary = "Answers the elements of a list, set or sorted set in order.",
     .args = kSortRoArgs},
};

}  // namespace

std::span<const CommandRow> SortCommands() { return kRows; }

}  // namespace tessera
