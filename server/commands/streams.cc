// Streams as logs: adding entries, deleting and trimming them, reading ranges.
#include <optional>
#include <span>
#include <vector>

#include "server/commands/streams.h"
#include "server/commands/table.h"

namespace tessera {
namespace {

using protocol::EqualsIgnoreCase;
using store::EntryRef;
using store::Stream;
using store::StreamId;
using store::StreamTrim;

// ---- options of XADD and XTRIM

struct AddOrTrim {
  StreamTrim trim;
  size_t threshold_at = 0;  // in argv; the "~" stands before it
  bool no_create = false;
  bool id_given = false, sequence_given = true;
  StreamId id;
  size_t id_at = 0;
};

enum class Adds : uint8_t { kNo, kYes };

bool ReadTrimOption(CommandContext& ctx, StreamTrim::By by, size_t& i, AddOrTrim& options) {
  const Argv argv = ctx.argv;
  if (options.trim.by != StreamTrim::By::kNothing) {
    ctx.reply.Error("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
    return false;
  }
  options.trim.whole_blocks = false;
  ++i;
  if (i + 1 < argv.size() && (argv[i] == "~" || argv[i] == "=")) options.trim.whole_blocks = argv[i++] == "~";
  if (by == StreamTrim::By::kLength) {
    int64_t length;
    if (!ReadInteger(ctx, argv[i], length)) return false;
    if (length < 0) {
      ctx.reply.Error("ERR The MAXLEN argument must be >= 0.");
      return false;
    }
    options.trim.length_max = static_cast<uint64_t>(length);
  } else if (!ReadStreamId(ctx, argv[i], options.trim.id_min)) {
    return false;
  }
  options.trim.by = by;
  options.threshold_at = i;
  return true;
}

// Everything up to the id of XADD. Replies and returns false on an error.
bool ReadAddOrTrim(CommandContext& ctx, Adds adds, AddOrTrim& options) {
  const auto refuse = [&ctx](std::string_view why) {
    ctx.reply.Error(why);
    return false;
  };
  const Argv argv = ctx.argv;
  bool limit_given = false;
  int64_t limit = 0;
  size_t i = 2;
  for (; i < argv.size(); ++i) {
    const bool more = i + 1 < argv.size();
    if (adds == Adds::kYes && argv[i] == "*") {
      break;
    } else if (more && EqualsIgnoreCase(argv[i], "maxlen")) {
      if (!ReadTrimOption(ctx, StreamTrim::By::kLength, i, options)) return false;
    } else if (more && EqualsIgnoreCase(argv[i], "minid")) {
      if (!ReadTrimOption(ctx, StreamTrim::By::kId, i, options)) return false;
    } else if (more && EqualsIgnoreCase(argv[i], "limit")) {
      if (!ReadInteger(ctx, argv[++i], limit)) return false;
      if (limit < 0) return refuse("ERR The LIMIT argument must be >= 0.");
      limit_given = true;
    } else if (adds == Adds::kYes && EqualsIgnoreCase(argv[i], "nomkstream")) {
      options.no_create = true;
    } else if (adds == Adds::kYes) {
      bool any_sequence = false;
      if (!ParseStreamId(argv[i], 0, StreamIdForm::kExact, options.id, &any_sequence)) return refuse(kInvalidStreamId);
      options.id_given = true;
      options.sequence_given = !any_sequence;
      break;
    } else {
      return refuse(kSyntaxError);
    }
  }
  options.id_at = i;
  const bool trims = options.trim.by != StreamTrim::By::kNothing;
  if (limit != 0 && !trims)
    return refuse("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
  if (adds == Adds::kNo && !trims)
    return refuse("ERR syntax error, XTRIM must be called with a trimming strategy");
  if (IsReplay(ctx.session)) return true;  // what it trims was decided where the command came from
  if (limit_given && !options.trim.whole_blocks)
    return refuse("ERR syntax error, LIMIT cannot be used without the special ~ option");
  if (!limit_given && options.trim.whole_blocks) {
    const int64_t entries_max = ctx.services.config.stream_node_max_entries;
    limit = entries_max <= 0 ? 10000 : std::min<int64_t>(std::min<int64_t>(entries_max, 10000) * 100, 1000000);
  }
  options.trim.limit = static_cast<uint64_t>(limit);
  return true;
}

// The command with the words that depended on this node's blocks and clock replaced by what came of them.
class Rewritten {
 public:
  explicit Rewritten(Argv argv) {
    if (argv.size() > kInline) large_.assign(argv.begin(), argv.end());
    std::copy_n(argv.begin(), argv.size() > kInline ? 0 : argv.size(), small_);
    words_ = argv.size() > kInline ? std::span(large_) : std::span(small_, argv.size());
  }
  std::string_view& operator[](size_t i) { return words_[i]; }
  std::span<const std::string_view> words() const { return words_; }

 private:
  static constexpr size_t kInline = 24;
  std::string_view small_[kInline];
  std::vector<std::string_view> large_;
  std::span<std::string_view> words_;
};

// What "~" trimmed, said exactly.
struct ExactThreshold {
  ExactThreshold(const Stream& stream, const StreamTrim& trim)
      : length(static_cast<int64_t>(stream.size())), id(stream.front_id()), by(trim.by) {}
  std::string_view text() const { return by == StreamTrim::By::kLength ? std::string_view(length) : id; }
  NumberText length;
  StreamIdText id;
  StreamTrim::By by;
};

// ---- XADD

// False when there is no id left that the request allows.
bool ChooseId(const Stream& stream, const AddOrTrim& options, int64_t now_ms, StreamId& id) {
  id = options.id;
  if (!options.id_given) {
    id = {static_cast<uint64_t>(now_ms), 0};
    if (id.ms <= stream.last_id().ms) {
      id = stream.last_id();
      return id.Increment();
    }
  } else if (!options.sequence_given && stream.last_id().ms == id.ms) {
    if (stream.last_id().sequence == StreamId::kMost) return false;
    id.sequence = stream.last_id().sequence + 1;
  }
  return id > stream.last_id();
}

void XAdd(CommandContext& ctx) {
  AddOrTrim options;
  if (!ReadAddOrTrim(ctx, Adds::kYes, options)) return;
  if (options.id_at + 2 >= ctx.argv.size() || (ctx.argv.size() - options.id_at) % 2 == 0)
    return ctx.reply.Error("ERR wrong number of arguments for 'xadd' command");
  if (options.id_given && options.sequence_given && options.id.is_zero())
    return ctx.reply.Error("ERR The ID specified in XADD must be greater than 0-0");
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kStream)) return;
  if (!entry && options.no_create) return ctx.reply.Null();

  const Argv pairs = ctx.argv.subspan(options.id_at + 1);
  size_t bytes = 0;
  for (const std::string_view text : pairs) bytes += text.size();
  Edit<Stream> stream(ctx, key, entry);
  StreamId id;
  std::string_view error;
  if (stream->last_id() == store::kStreamIdMax) {
    error = "ERR The stream has exhausted the last possible ID, unable to add more items";
  } else if (!ChooseId(*stream, options, ctx.now.unix_ms, id)) {
    error = "ERR The ID specified in XADD is equal or smaller than the target stream top item";
  } else if (bytes > Stream::kEntryBytesMax) {
    error = "ERR Elements are too large to be stored";
  }
  if (!error.empty()) {
    if (stream.Commit(false)) ctx.reply.Error(error);
    return;
  }
  stream->Append(id, pairs, StreamLimitsOf(ctx.services.config));
  const bool trimmed = stream->Trim(options.trim) > 0;
  const bool rewrites_id = !options.id_given || !options.sequence_given;
  std::optional<ExactThreshold> threshold;
  if (options.trim.whole_blocks) threshold.emplace(*stream, options.trim);
  if (!stream.Commit()) return;
  const StreamIdText id_text(id);
  if (rewrites_id || options.trim.whole_blocks) {
    Rewritten command(ctx.argv);
    command[options.id_at] = id_text;
    if (threshold) {
      command[options.threshold_at - 1] = "=";
      command[options.threshold_at] = threshold->text();
    }
    ctx.PropagateIn(ctx.session.db, command.words());
  }
  ctx.Notify('t', "xadd", key);
  if (trimmed) ctx.Notify('t', "xtrim", key);
  ctx.SignalKey(key);
  ctx.reply.Bulk(id_text);
}

// ---- the others

void XTrim(CommandContext& ctx) {
  AddOrTrim options;
  if (!ReadAddOrTrim(ctx, Adds::kNo, options)) return;
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kStream)) return;
  if (!entry) return ctx.reply.Integer(0);
  Edit<Stream> stream(ctx, key, entry);
  const uint64_t gone = stream->Trim(options.trim);
  const ExactThreshold threshold(*stream, options.trim);
  if (!stream.Commit(gone > 0)) return;
  if (gone > 0) {
    if (options.trim.whole_blocks) {
      Rewritten command(ctx.argv);
      command[options.threshold_at - 1] = "=";
      command[options.threshold_at] = threshold.text();
      ctx.PropagateIn(ctx.session.db, command.words());
    }
    ctx.Notify('t', "xtrim", key);
  }
  ctx.reply.Integer(static_cast<int64_t>(gone));
}

void XDel(CommandContext& ctx) {
  const std::string_view key = ctx.argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!CheckType(ctx, entry, store::Type::kStream)) return;
  if (!entry) return ctx.reply.Integer(0);
  StreamId id;
  for (const std::string_view text : ctx.argv.subspan(2)) {
    if (!ReadStreamId(ctx, text, id)) return;
  }
  Edit<Stream> stream(ctx, key, entry);
  int64_t deleted = 0;
  for (const std::string_view text : ctx.argv.subspan(2)) {
    (void)ParseStreamId(text, 0, StreamIdForm::kExact, id);
    if (!stream->Erase(id)) continue;
    if (id > stream->max_deleted_id()) stream->SetMaxDeletedId(id);
    ++deleted;
  }
  if (!stream.Commit(deleted > 0)) return;
  if (deleted > 0) ctx.Notify('t', "xdel", key);
  ctx.reply.Integer(deleted);
}

void XSetId(CommandContext& ctx) {
  const Argv argv = ctx.argv;
  StreamId id, max_deleted;
  int64_t entries_added = -1;
  if (!ReadStreamId(ctx, argv[2], id)) return;
  for (size_t i = 3; i < argv.size(); i += 2) {
    const bool more = i + 1 < argv.size();
    if (more && EqualsIgnoreCase(argv[i], "ENTRIESADDED")) {
      if (!ReadInteger(ctx, argv[i + 1], entries_added)) return;
      if (entries_added < 0) return ctx.reply.Error("ERR entries_added must be positive");
    } else if (more && EqualsIgnoreCase(argv[i], "MAXDELETEDID")) {
      if (!ReadStreamId(ctx, argv[i + 1], max_deleted)) return;
      if (id < max_deleted)
        return ctx.reply.Error("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id");
    } else {
      return ctx.reply.Error(kSyntaxError);
    }
  }
  const std::string_view key = argv[1];
  const EntryRef entry = ctx.FindForWrite(key);
  if (!entry) return ctx.reply.Error(kNoSuchKey);
  if (!CheckType(ctx, entry, store::Type::kStream)) return;
  const Stream& now = *ValueOf<Stream>(entry);
  if (id < now.max_deleted_id())
    return ctx.reply.Error("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
  if (now.size() > 0) {
    if (id < now.top_id())
      return ctx.reply.Error("ERR The ID specified in XSETID is smaller than the target stream top item");
    if (entries_added != -1 && now.size() > static_cast<uint64_t>(entries_added))
      return ctx.reply.Error("ERR The entries_added specified in XSETID is smaller than the target stream length");
  }
  Edit<Stream> stream(ctx, key, entry);
  stream->SetLastId(id);
  if (entries_added != -1) stream->SetEntriesAdded(static_cast<uint64_t>(entries_added));
  if (!max_deleted.is_zero()) stream->SetMaxDeletedId(max_deleted);
  if (!stream.CommitInternal()) return;
  ctx.reply.Ok();
  ctx.Notify('t', "xsetid", key);
}

void XLen(CommandContext& ctx) {
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kStream)) return;
  ctx.reply.Integer(entry ? static_cast<int64_t>(entry.object()->size()) : 0);
}

void ReplyWithRange(CommandContext& ctx, size_t first_at, size_t last_at, Stream::Reader::Direction direction) {
  StreamId first, last;
  if (!ReadIntervalStart(ctx, ctx.argv[first_at], first) || !ReadIntervalEnd(ctx, ctx.argv[last_at], last)) return;
  int64_t count = -1;
  for (size_t i = 4; i < ctx.argv.size(); i += 2) {
    if (i + 1 >= ctx.argv.size() || !EqualsIgnoreCase(ctx.argv[i], "COUNT")) return ctx.reply.Error(kSyntaxError);
    if (!ReadInteger(ctx, ctx.argv[i + 1], count)) return;
    count = std::max<int64_t>(count, 0);
  }
  const EntryRef entry = ctx.Find(ctx.argv[1]);
  if (!CheckType(ctx, entry, store::Type::kStream)) return;
  if (!entry) return ctx.reply.Array(0);
  if (count == 0) return ctx.reply.NullArray();
  const auto at = ctx.reply.Defer();
  int64_t told = 0;
  for (Stream::Reader reader(*ValueOf<Stream>(entry), first, last, direction); told != count && reader.Next(); ++told)
    ReplyStreamEntry(ctx, reader);
  ctx.reply.EndArray(at, told);
}

void XRange(CommandContext& ctx) { ReplyWithRange(ctx, 2, 3, Stream::Reader::Direction::kForward); }
void XRevRange(CommandContext& ctx) { ReplyWithRange(ctx, 3, 2, Stream::Reader::Direction::kBackward); }

// ---- rows

constexpr KeySpec kReadsKey[] = {{.flags = kKeyRO | kKeyAccess, .index = 1}};
constexpr KeySpec kLooksKey[] = {{.flags = kKeyRO, .index = 1}};
constexpr KeySpec kUpdatesKey[] = {{.flags = kKeyRW | kKeyUpdate, .index = 1}};
constexpr KeySpec kDeletesIn[] = {{.flags = kKeyRW | kKeyDelete, .index = 1}};
constexpr KeySpec kAddsTo[] = {{.flags = kKeyRW | kKeyUpdate,
                                .index = 1,
                                .notes = "UPDATE instead of INSERT because of the optional trimming feature"}};

constexpr std::string_view kChangingTips[] = {"nondeterministic_output"};

constexpr ArgSpec kStrategies[] = {
    {.name = "maxlen", .type = ArgType::kPureToken, .token = "MAXLEN"},
    {.name = "minid", .type = ArgType::kPureToken, .token = "MINID", .since = "6.2.0"}};
constexpr ArgSpec kOperators[] = {{.name = "equal", .type = ArgType::kPureToken, .token = "="},
                                  {.name = "approximately", .type = ArgType::kPureToken, .token = "~"}};
constexpr ArgSpec kTrimParts[] = {
    {.name = "strategy", .type = ArgType::kOneOf, .children = kStrategies},
    {.name = "operator", .type = ArgType::kOneOf, .flags = kOptional, .children = kOperators},
    {.name = "threshold"},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "LIMIT", .since = "6.2.0"}};
constexpr ArgSpec kIdChoices[] = {{.name = "auto-id", .type = ArgType::kPureToken, .token = "*"}, {.name = "id"}};
constexpr ArgSpec kFieldAndValue[] = {{.name = "field"}, {.name = "value"}};
constexpr ArgSpec kXAddArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "nomkstream", .type = ArgType::kPureToken, .flags = kOptional, .token = "NOMKSTREAM", .since = "6.2.0"},
    {.name = "trim", .type = ArgType::kBlock, .flags = kOptional, .children = kTrimParts},
    {.name = "id-selector", .type = ArgType::kOneOf, .children = kIdChoices},
    {.name = "data", .type = ArgType::kBlock, .flags = kMultiple, .children = kFieldAndValue}};
constexpr ArgSpec kXTrimArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                  {.name = "trim", .type = ArgType::kBlock, .children = kTrimParts}};
constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr ArgSpec kXDelArgs[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                 {.name = "id", .flags = kMultiple}};
constexpr ArgSpec kXSetIdArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "last-id"},
    {.name = "entries-added", .type = ArgType::kInteger, .flags = kOptional, .token = "ENTRIESADDED", .since = "7.0.0"},
    {.name = "max-deleted-id", .flags = kOptional, .token = "MAXDELETEDID", .since = "7.0.0"}};
constexpr ArgSpec kXRangeArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "start"},
    {.name = "end"},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"}};
constexpr ArgSpec kXRevRangeArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "end"},
    {.name = "start"},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "COUNT"}};

constexpr HistoryEntry kXAddHistory[] = {
    {"6.2.0", "Added the `NOMKSTREAM` option, `MINID` trimming strategy and the `LIMIT` option."},
    {"7.0.0", "Added support for the `<ms>-*` explicit ID form."}};
constexpr HistoryEntry kXTrimHistory[] = {{"6.2.0", "Added the `MINID` trimming strategy and the `LIMIT` option."}};
constexpr HistoryEntry kXSetIdHistory[] = {
    {"7.0.0", "Added the `entries_added` and `max_deleted_entry_id` arguments."}};
constexpr HistoryEntry kRangeHistory[] = {{"6.2.0", "Added exclusive ranges."}};

constexpr CommandRow kRows[] = {
    {.name = "xadd",
     .arity = -5,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclStream,
     .handler = XAdd,
     .keys = kAddsTo,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(1) to add; O(N) for N entries that trimming takes away.",
     .summary = "Appends an entry to a stream, creating it if need be, and trims it when asked to.",
     .args = kXAddArgs,
     .tips = kChangingTips,
     .history = kXAddHistory},
    {.name = "xdel",
     .arity = -3,
     .flags = kWrite | kFast,
     .acl = kAclStream,
     .handler = XDel,
     .keys = kDeletesIn,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(1) per id, however large the stream is.",
     .summary = "Deletes entries of a stream by their ids.",
     .args = kXDelArgs},
    {.name = "xlen",
     .arity = 2,
     .flags = kReadOnly | kFast,
     .acl = kAclStream,
     .handler = XLen,
     .keys = kLooksKey,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Counts the entries of a stream.",
     .args = kOneKey},
    {.name = "xrange",
     .arity = -4,
     .flags = kReadOnly,
     .acl = kAclStream,
     .handler = XRange,
     .keys = kReadsKey,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(N) for N entries answered.",
     .summary = "Reads the entries of a stream between two ids, oldest first.",
     .args = kXRangeArgs,
     .history = kRangeHistory},
    {.name = "xrevrange",
     .arity = -4,
     .flags = kReadOnly,
     .acl = kAclStream,
     .handler = XRevRange,
     .keys = kReadsKey,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(N) for N entries answered.",
     .summary = "Reads the entries of a stream between two ids, youngest first.",
     .args = kXRevRangeArgs,
     .history = kRangeHistory},
    {.name = "xsetid",
     .arity = -3,
     .flags = kWrite | kDenyOom | kFast,
     .acl = kAclStream,
     .handler = XSetId,
     .keys = kUpdatesKey,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Sets what a stream remembers of its past: its last id, and on request the other counters (internal).",
     .args = kXSetIdArgs,
     .history = kXSetIdHistory},
    {.name = "xtrim",
     .arity = -4,
     .flags = kWrite,
     .acl = kAclStream,
     .handler = XTrim,
     .keys = kDeletesIn,
     .group = Group::kStream,
     .since = "5.0.0",
     .complexity = "O(N) for N entries taken away, whole blocks at a time where possible.",
     .summary = "Takes the oldest entries of a stream away, by length or by id.",
     .args = kXTrimArgs,
     .tips = kChangingTips,
     .history = kXTrimHistory},
};

}  // namespace

std::span<const CommandRow> StreamCommands() { return kRows; }

}  // namespace tessera
