// COMMAND and its subcommands: everything they tell is read from the rows.
#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "protocol/glob.h"
#include "server/commands/context.h"
#include "server/commands/describe.h"
#include "server/commands/help.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using protocol::ArgReader;
using protocol::ReplyWriter;

// A set of the names of all bits that are set.
template <typename Bits>
void WriteNames(ReplyWriter& reply, std::span<const BitName<Bits>> names, std::type_identity_t<Bits> bits,
                std::string_view prefix = {}) {
  const auto at = reply.Defer();
  int64_t count = 0;
  for (const auto& [bit, name] : names) {
    if (!(bits & bit)) continue;
    reply.SimpleString(std::string(prefix) + std::string(name));
    ++count;
  }
  reply.EndSet(at, count);
}

void WriteTexts(ReplyWriter& reply, std::span<const std::string_view> texts) {
  reply.Set(static_cast<int64_t>(texts.size()));
  for (std::string_view text : texts) reply.Bulk(text);
}

void WriteStep(ReplyWriter& reply, std::string_view type,
               std::initializer_list<std::pair<std::string_view, int64_t>> spec, std::string_view keyword = {}) {
  reply.Map(2);
  reply.Bulk("type");
  reply.Bulk(type);
  reply.Bulk("spec");
  reply.Map(static_cast<int64_t>(spec.size()) + (keyword.empty() ? 0 : 1));
  if (!keyword.empty()) {
    reply.Bulk("keyword");
    reply.Bulk(keyword);
  }
  for (const auto& [name, value] : spec) {
    reply.Bulk(name);
    reply.Integer(value);
  }
}

void WriteKeySpec(ReplyWriter& reply, const KeySpec& spec) {
  reply.Map(spec.notes.empty() ? 3 : 4);
  if (!spec.notes.empty()) {
    reply.Bulk("notes");
    reply.Bulk(spec.notes);
  }
  reply.Bulk("flags");
  WriteNames(reply, KeyFlagNames(), spec.flags);
  reply.Bulk("begin_search");
  switch (spec.begin) {
    case KeySpec::Begin::kIndex:
      WriteStep(reply, "index", {{"index", spec.index}});
      break;
    case KeySpec::Begin::kKeyword:
      WriteStep(reply, "keyword", {{"startfrom", spec.index}}, spec.keyword);
      break;
    case KeySpec::Begin::kUnknown:
      WriteStep(reply, "unknown", {});
      break;
  }
  reply.Bulk("find_keys");
  switch (spec.find) {
    case KeySpec::Find::kRange:
      WriteStep(reply, "range", {{"lastkey", spec.last_key}, {"keystep", spec.step}, {"limit", spec.limit}});
      break;
    case KeySpec::Find::kKeyNum:
      WriteStep(reply, "keynum",
                {{"keynumidx", spec.keynum_index}, {"firstkey", spec.first_key}, {"keystep", spec.step}});
      break;
    case KeySpec::Find::kUnknown:
      WriteStep(reply, "unknown", {});
      break;
  }
}

void WriteInfo(ReplyWriter& reply, const CommandTable& table, const CommandRow& row) {
  const LegacyKeys keys = LegacyKeysOf(row);
  reply.Array(10);
  reply.Bulk(table.FullName(row));
  reply.Integer(row.arity);
  WriteNames(reply, CommandFlagNames(), ShownFlags(row));
  reply.Integer(keys.first);
  reply.Integer(keys.last);
  reply.Integer(keys.step);
  WriteNames(reply, AclCategoryNames(), AclCategories(row), "@");
  WriteTexts(reply, row.tips);
  reply.Set(static_cast<int64_t>(row.keys.size()));
  for (const KeySpec& spec : row.keys) WriteKeySpec(reply, spec);
  reply.Set(static_cast<int64_t>(row.subcommands.size()));
  for (const CommandRow& sub : row.subcommands) WriteInfo(reply, table, sub);
}

// Map entries that are left out when their value is empty.
class OptionalFields {
 public:
  explicit OptionalFields(ReplyWriter& reply) : reply_(reply), at_(reply.Defer()) {}
  void Text(std::string_view name, std::string_view value) {
    if (!value.empty()) Name(name).Bulk(value);
  }
  ReplyWriter& Name(std::string_view name) {
    ++count_;
    reply_.Bulk(name);
    return reply_;
  }
  void End() { reply_.EndMap(at_, count_); }

 private:
  ReplyWriter& reply_;
  ReplyWriter::Deferred at_;
  int64_t count_ = 0;
};

void WriteArgs(ReplyWriter& reply, std::span<const ArgSpec> args) {
  reply.Array(static_cast<int64_t>(args.size()));
  for (const ArgSpec& arg : args) {
    const bool leaf = arg.type != ArgType::kOneOf && arg.type != ArgType::kBlock;
    OptionalFields fields(reply);
    fields.Text("name", arg.name);
    fields.Text("type", ArgTypeName(arg.type));
    if (leaf) fields.Text("display_text", arg.display.empty() ? arg.name : arg.display);
    if (arg.key_spec >= 0) fields.Name("key_spec_index").Integer(arg.key_spec);
    fields.Text("token", arg.token);
    fields.Text("summary", arg.summary);
    fields.Text("since", arg.since);
    fields.Text("deprecated_since", arg.deprecated_since);
    if (arg.flags != 0) WriteNames(fields.Name("flags"), ArgFlagNames(), arg.flags);
    if (!arg.children.empty()) WriteArgs(fields.Name("arguments"), arg.children);
    fields.End();
  }
}

void WriteDocs(ReplyWriter& reply, const CommandTable& table, const CommandRow& row) {
  OptionalFields fields(reply);
  fields.Text("summary", row.summary);
  fields.Text("since", row.since);
  fields.Text("group", GroupName(row.group));
  fields.Text("complexity", row.complexity);
  const bool deprecated = !row.deprecated_since.empty(), internal = row.has(kSystemCommand);
  if (deprecated || internal) {
    fields.Name("doc_flags").Set(int64_t{deprecated} + int64_t{internal});
    if (deprecated) reply.SimpleString("deprecated");
    if (internal) reply.SimpleString("syscmd");
  }
  fields.Text("deprecated_since", row.deprecated_since);
  fields.Text("replaced_by", row.replaced_by);
  if (!row.history.empty()) {
    fields.Name("history").Set(static_cast<int64_t>(row.history.size()));
    for (const HistoryEntry& entry : row.history) {
      reply.Array(2);
      reply.Bulk(entry.since);
      reply.Bulk(entry.what);
    }
  }
  if (!row.args.empty()) WriteArgs(fields.Name("arguments"), row.args);
  if (!row.subcommands.empty()) {
    fields.Name("subcommands").Map(static_cast<int64_t>(row.subcommands.size()));
    for (const CommandRow& sub : row.subcommands) {
      reply.Bulk(table.FullName(sub));
      WriteDocs(reply, table, sub);
    }
  }
  fields.End();
}

// "config" or "config|get"; null when there is none.
const CommandRow* FindByFullName(const CommandTable& table, std::string_view name) {
  const size_t bar = name.find('|');
  const CommandRow* row = table.FindTop(name.substr(0, bar));
  if (row == nullptr || bar == std::string_view::npos) return row;
  for (const CommandRow& sub : row->subcommands)
    if (CommandTable::SameName(sub.name, name.substr(bar + 1))) return &sub;
  return nullptr;
}

void WriteAllInfo(CommandContext& ctx) {
  const CommandTable& table = ctx.services.commands;
  ctx.reply.Array(static_cast<int64_t>(table.rows().size()));
  for (const CommandRow* row : table.rows()) WriteInfo(ctx.reply, table, *row);
}

void CommandAll(CommandContext& ctx) { WriteAllInfo(ctx); }

void CommandCount(CommandContext& ctx) { ctx.reply.Integer(static_cast<int64_t>(ctx.services.commands.rows().size())); }

void CommandInfo(CommandContext& ctx) {
  if (ctx.argv.size() == 2) return WriteAllInfo(ctx);
  ctx.reply.Array(static_cast<int64_t>(ctx.argv.size()) - 2);
  for (std::string_view name : ctx.argv.subspan(2)) {
    if (const CommandRow* row = FindByFullName(ctx.services.commands, name)) {
      WriteInfo(ctx.reply, ctx.services.commands, *row);
    } else {
      ctx.reply.Null();
    }
  }
}

void CommandDocs(CommandContext& ctx) {
  const CommandTable& table = ctx.services.commands;
  std::vector<const CommandRow*> rows;
  if (ctx.argv.size() == 2) {
    rows = table.rows();
  } else {
    for (std::string_view name : ctx.argv.subspan(2))
      if (const CommandRow* row = FindByFullName(table, name)) rows.push_back(row);
  }
  ctx.reply.Map(static_cast<int64_t>(rows.size()));
  for (const CommandRow* row : rows) {
    ctx.reply.Bulk(table.FullName(*row));
    WriteDocs(ctx.reply, table, *row);
  }
}

void CommandList(CommandContext& ctx) {
  const CommandTable& table = ctx.services.commands;
  enum class Filter { kNone, kModule, kCategory, kPattern } filter = Filter::kNone;
  std::string_view value;
  ArgReader args(ctx.argv, 2);
  if (args.HasNext()) {
    if (args.Remaining() != 3 || !args.Check("FILTERBY")) return ctx.reply.Error(kSyntaxError);
    if (args.Check("MODULE")) {
      filter = Filter::kModule;
    } else if (args.Check("ACLCAT")) {
      filter = Filter::kCategory;
    } else if (args.Check("PATTERN")) {
      filter = Filter::kPattern;
    } else {
      return ctx.reply.Error(kSyntaxError);
    }
    value = args.Next();
  }
  const uint32_t category = filter == Filter::kCategory ? AclCategoryByName(value) : 0;
  int64_t count = 0;
  const auto at = ctx.reply.Defer();
  auto offer = [&](const CommandRow& row) {
    const std::string name = table.FullName(row);
    if (filter == Filter::kModule || (filter == Filter::kCategory && !(AclCategories(row) & category)) ||
        (filter == Filter::kPattern && !protocol::GlobMatch(value, name, protocol::GlobCase::kInsensitive)))
      return;
    ctx.reply.Bulk(name);
    ++count;
  };
  for (const CommandRow* row : table.rows()) {
    offer(*row);
    for (const CommandRow& sub : row->subcommands) offer(sub);
  }
  ctx.reply.EndArray(at, count);
}

void ReplyWithKeys(CommandContext& ctx, bool with_flags) {
  const Argv inner = ctx.argv.subspan(2);
  const CommandTable::Result found = ctx.services.commands.Find(inner);
  if (found.found != CommandTable::Found::kYes) return ctx.reply.Error("ERR Invalid command specified");
  const CommandRow& row = *found.row;
  // Channels have slots too, but are no keys.
  const auto is_key = [](const KeySpec& spec) { return !(spec.flags & kKeyNotKey); };
  if (std::none_of(row.keys.begin(), row.keys.end(), is_key))
    return ctx.reply.Error("ERR The command has no key arguments");
  const int argc = static_cast<int>(inner.size());
  if (row.arity > 0 ? argc != row.arity : argc < -row.arity)
    return ctx.reply.Error("ERR Invalid number of arguments specified for command");
  std::vector<KeyPosition> keys;
  if (!FindKeys(row, inner, keys) || (keys.empty() && !row.has(kNoMandatoryKeys))) {
    if (row.has(kNoMandatoryKeys)) return ctx.reply.Array(0);
    return ctx.reply.Error("ERR Invalid arguments specified for command");
  }
  ctx.reply.Array(static_cast<int64_t>(keys.size()));
  for (const KeyPosition& key : keys) {
    if (with_flags) ctx.reply.Array(2);
    ctx.reply.Bulk(inner[key.index]);
    if (with_flags) WriteNames(ctx.reply, KeyFlagNames(), key.flags);
  }
}

void CommandGetkeys(CommandContext& ctx) { ReplyWithKeys(ctx, false); }
void CommandGetkeysandflags(CommandContext& ctx) { ReplyWithKeys(ctx, true); }

constexpr ArgSpec kCommandDocsArgs[] = {{.name = "command-name", .flags = kOptional | kMultiple}};
constexpr std::string_view kCommandDocsTips[] = {"nondeterministic_output_order"};
constexpr ArgSpec kCommandGetkeysArgs[] = {{.name = "command"}, {.name = "arg", .flags = kOptional | kMultiple}};
constexpr HistoryEntry kCommandInfoHistory[] = {{"7.0.0", "Without arguments it describes all commands."}};
constexpr ArgSpec kCommandListFilterbyArgs[] = {{.name = "module-name", .token = "MODULE"},
                                                {.name = "category", .token = "ACLCAT"},
                                                {.name = "pattern", .type = ArgType::kPattern, .token = "PATTERN"}};
constexpr ArgSpec kCommandListArgs[] = {{.name = "filterby",
                                         .type = ArgType::kOneOf,
                                         .flags = kOptional,
                                         .token = "FILTERBY",
                                         .children = kCommandListFilterbyArgs}};
constexpr CommandRow kCommandSubcommands[] = {
    {.name = "count",
     .arity = 2,
     .flags = kLoading | kStale,
     .acl = kAclConnection,
     .handler = CommandCount,
     .group = Group::kServer,
     .since = "2.8.13",
     .complexity = "O(1)",
     .summary = "Counts the commands."},
    {.name = "docs",
     .arity = -2,
     .flags = kLoading | kStale,
     .acl = kAclConnection,
     .handler = CommandDocs,
     .group = Group::kServer,
     .since = "7.0.0",
     .complexity = "O(N) in the number of commands asked for.",
     .summary = "Documents commands.",
     .args = kCommandDocsArgs,
     .tips = kCommandDocsTips},
    {.name = "getkeys",
     .arity = -3,
     .flags = kLoading | kStale,
     .acl = kAclConnection,
     .handler = CommandGetkeys,
     .group = Group::kServer,
     .since = "2.8.13",
     .complexity = "O(N) in the number of arguments.",
     .summary = "Finds the keys in a full command.",
     .args = kCommandGetkeysArgs},
    {.name = "getkeysandflags",
     .arity = -3,
     .flags = kLoading | kStale,
     .acl = kAclConnection,
     .handler = CommandGetkeysandflags,
     .group = Group::kServer,
     .since = "7.0.0",
     .complexity = "O(N) in the number of arguments.",
     .summary = "Finds the keys in a full command and what it does with them.",
     .args = kCommandGetkeysArgs},
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .acl = kAclConnection,
     .handler = ReplyWithHelp,
     .group = Group::kServer,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "info",
     .arity = -2,
     .flags = kLoading | kStale,
     .acl = kAclConnection,
     .handler = CommandInfo,
     .group = Group::kServer,
     .since = "2.8.13",
     .complexity = "O(N) in the number of commands asked for.",
     .summary = "Describes commands.",
     .args = kCommandDocsArgs,
     .tips = kCommandDocsTips,
     .history = kCommandInfoHistory},
    {.name = "list",
     .arity = -2,
     .flags = kLoading | kStale,
     .acl = kAclConnection,
     .handler = CommandList,
     .group = Group::kServer,
     .since = "7.0.0",
     .complexity = "O(N) in the number of commands.",
     .summary = "Lists the names of commands.",
     .args = kCommandListArgs,
     .tips = kCommandDocsTips},
};
constexpr CommandRow kRows[] = {
    {.name = "command",
     .arity = -1,
     .flags = kLoading | kStale,
     .acl = kAclConnection,
     .handler = CommandAll,
     .group = Group::kServer,
     .since = "2.8.13",
     .complexity = "O(N) in the number of commands.",
     .summary = "Describes all commands.",
     .subcommands = kCommandSubcommands,
     .tips = kCommandDocsTips},
};

}  // namespace

std::span<const CommandRow> IntrospectionCommands() { return kRows; }

}  // namespace tessera
