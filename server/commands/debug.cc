// DEBUG: what tests and tools need of it. One row, like the reference server's, with a table of its own words below.
#include <fmt/core.h>

#include <ctime>

#include "protocol/glob.h"
#include "server/commands/context.h"
#include "server/commands/guard.h"
#include "server/commands/table.h"
#include "server/durability/durability.h"
#include "server/log.h"
#include "server/values/digest.h"

namespace tessera {
namespace {

void DebugSleep(CommandContext& ctx) {
  const double seconds = protocol::ParseDouble(ctx.argv[2]).value_or(0);
  if (seconds > 0) {
    timespec time{static_cast<time_t>(seconds), 0};
    time.tv_nsec = static_cast<long>((seconds - static_cast<double>(time.tv_sec)) * 1e9);
    nanosleep(&time, nullptr);
  }
  ctx.reply.Ok();
}

void DebugObject(CommandContext& ctx) {
  const store::EntryRef entry = ctx.db().Peek(ctx.argv[2]);
  if (!entry || ctx.db().IsExpired(entry)) return ctx.reply.Error(kNoSuchKey);
  const size_t length = entry.type() == store::Type::kString ? entry.string_length() + 1 : entry.MemoryBytes();
  ctx.reply.SimpleString(
      fmt::format("Value at:{:#x} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
                  reinterpret_cast<uintptr_t>(entry.block()), entry.encoding_name(), length, entry.access_bits(),
                  ctx.keyspace.IdleSeconds(entry)));
}

void DebugDigest(CommandContext& ctx) { ctx.reply.SimpleString(DigestOfDataset(ctx.keyspace)); }

void DebugDigestValue(CommandContext& ctx) {
  const auto keys = ctx.argv.subspan(2);
  ctx.reply.Array(static_cast<int64_t>(keys.size()));
  for (std::string_view key : keys) {
    const store::EntryRef entry = ctx.db().Peek(key);
    ctx.reply.SimpleString(DigestOfValue(entry && !ctx.db().IsExpired(entry) ? entry : store::EntryRef()));
  }
}

void ReplyReloaded(CommandContext& ctx, Durability::Source source, Durability::Room room, std::string_view what) {
  ctx.PropagateNothing();
  if (const std::string error = ctx.services.durability.Reload(source, room); !error.empty()) {
    log::Warning("DEBUG {}: {}", ctx.argv[1], error);
    return ctx.reply.Error(fmt::format("ERR Error trying to load the {}, check server logs.", what));
  }
  ctx.reply.Ok();
}

void DebugReload(CommandContext& ctx) {
  bool save = true;
  auto room = Durability::Room::kFlush;
  for (std::string_view word : ctx.argv.subspan(2)) {
    if (protocol::EqualsIgnoreCase(word, "NOSAVE")) {
      save = false;
    } else if (protocol::EqualsIgnoreCase(word, "NOFLUSH") || protocol::EqualsIgnoreCase(word, "MERGE")) {
      room = Durability::Room::kOverlay;
    } else {
      return ctx.reply.Error("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.");
    }
  }
  if (save) {
    if (const std::string error = ctx.services.durability.Save(); !error.empty()) return ctx.reply.Error(error);
  }
  ReplyReloaded(ctx, Durability::Source::kRdb, room, "RDB dump");
}

void DebugLoadAof(CommandContext& ctx) {
  ReplyReloaded(ctx, Durability::Source::kAof, Durability::Room::kFlush, "AOF files");
}

void DebugStringmatchLen(CommandContext& ctx) {
  const auto length = protocol::ParseInt64(ctx.argv[2]);
  constexpr int64_t kLengthMax = int64_t{512} << 20;
  if (!length || *length < 0 || *length > kLengthMax) return ctx.reply.Error(kNotAnInteger);
  const std::string text(static_cast<size_t>(*length), 'A');
  ctx.reply.Integer(protocol::GlobMatch(ctx.argv[3], text) ? 1 : 0);
}

void DebugError(CommandContext& ctx) { ctx.reply.Error(ctx.argv[2]); }

void DebugLog(CommandContext& ctx) {
  log::Warning("DEBUG LOG: {}", ctx.argv[2]);
  ctx.reply.Ok();
}

void DebugPopulate(CommandContext& ctx) {
  const auto count = protocol::ParseInt64(ctx.argv[2]);
  const auto size = ctx.argv.size() > 4 ? protocol::ParseInt64(ctx.argv[4]) : std::optional<int64_t>(0);
  if (!count || *count < 0 || !size || *size < 0) return ctx.reply.Error("ERR value is out of range, must be positive");
  const std::string_view prefix = ctx.argv.size() > 3 ? ctx.argv[3] : "key";
  ctx.PropagateNothing();
  for (int64_t i = 0; i < *count; ++i) {
    const std::string key = fmt::format("{}:{}", prefix, i);
    if (ctx.db().Peek(key)) continue;
    std::string value = fmt::format("value:{}", i);
    if (*size > 0) value.resize(static_cast<size_t>(*size), '\0');
    if (!ctx.db().SetString(key, value, store::Expiry::None())) return ctx.reply.Error("ERR out of memory");
  }
  ctx.reply.Ok();
}

void DebugSetActiveExpire(CommandContext& ctx) {
  ctx.keyspace.SetActiveExpiry(ctx.argv[2] != "0");
  ctx.reply.Ok();
}

// Values of every RESP type, for tests of client libraries.
void DebugProtocol(CommandContext& ctx) {
  protocol::ReplyWriter& reply = ctx.reply;
  const auto is = [&ctx](std::string_view name) { return protocol::EqualsIgnoreCase(ctx.argv[2], name); };
  if (is("string")) return reply.Bulk("Hello World");
  if (is("integer")) return reply.Integer(12345);
  if (is("double")) return reply.Double(3.141);
  if (is("bignum")) return reply.BigNumber("1234567999999999999999999999999999999");
  if (is("null")) return reply.Null();
  if (is("verbatim")) return reply.Verbatim("txt", "This is a verbatim\nstring");
  if (is("true")) return reply.Bool(true);
  if (is("false")) return reply.Bool(false);
  if (is("array") || is("set")) {
    is("array") ? reply.Array(3) : reply.Set(3);
    for (int i = 0; i < 3; ++i) reply.Integer(i);
    return;
  }
  if (is("map")) {
    reply.Map(3);
    for (int i = 0; i < 3; ++i) {
      reply.Integer(i);
      reply.Bool(i == 1);
    }
    return;
  }
  if (is("attrib") || is("push")) {
    if (reply.version() < 3) return reply.Error("ERR RESP2 is not supported by this command");
    if (is("push")) {
      reply.Push(2);
      reply.Bulk("server-cpu-usage");
      reply.Integer(42);
      return reply.Bulk("Some real reply following the push reply");
    }
    reply.Attribute(1);
    reply.Bulk("key-popularity");
    reply.Array(2);
    reply.Bulk("key:123");
    reply.Integer(90);
    return reply.Bulk("Some real reply following the attribute");
  }
  reply.Error(
      "ERR Wrong protocol type name. Please use one of the following: "
      "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false");
}

struct Word {
  std::string_view name;
  size_t argc_min, argc_max;
  CommandHandler handler;
  std::string_view usage, summary;
};
constexpr Word kWords[] = {
    {"digest", 2, 2, DebugDigest, "DIGEST", "Tells a fingerprint of the dataset."},
    {"digest-value", 2, SIZE_MAX, DebugDigestValue, "DIGEST-VALUE [<key> ...]", "Tells a fingerprint of each value."},
    {"error", 3, 3, DebugError, "ERROR <text>", "Answers with this error."},
    {"loadaof", 2, 2, DebugLoadAof, "LOADAOF", "Empties the dataset and loads the append-only file."},
    {"log", 3, 3, DebugLog, "LOG <text>", "Writes a line into the log."},
    {"object", 3, 4, DebugObject, "OBJECT <key>", "Tells how a value is stored."},
    {"populate", 3, 5, DebugPopulate, "POPULATE <count> [<prefix>] [<size>]",
     "Creates keys <prefix>:<number> that do not exist yet; nothing is propagated."},
    {"protocol", 3, 3, DebugProtocol, "PROTOCOL <type>", "Answers with a value of this type."},
    {"reload", 2, SIZE_MAX, DebugReload, "RELOAD [NOSAVE] [NOFLUSH] [MERGE]",
     "Saves an RDB file, unless told not to, empties the dataset, unless told to keep it, and loads the file."},
    {"set-active-expire", 3, 3, DebugSetActiveExpire, "SET-ACTIVE-EXPIRE <0|1>",
     "Says whether expired keys are deleted before somebody asks for them."},
    {"sleep", 3, 3, DebugSleep, "SLEEP <seconds>", "Stops the server for this long; decimals are allowed."},
    {"stringmatch-len", 4, 4, DebugStringmatchLen, "STRINGMATCH-LEN <length> <pattern>",
     "Matches the pattern against that many letters A."},
};

void DebugHelp(CommandContext& ctx) {
  ctx.reply.Array(static_cast<int64_t>(2 * std::size(kWords) + 3));
  ctx.reply.SimpleString("DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
  for (const Word& word : kWords) {
    ctx.reply.SimpleString(word.usage);
    ctx.reply.SimpleString("    " + std::string(word.summary));
  }
  ctx.reply.SimpleString("HELP");
  ctx.reply.SimpleString("    Lists the subcommands.");
}

void Debug(CommandContext& ctx) {
  if (!MayUse(ctx.services.config.enable_debug_command, ctx.session))
    return ctx.reply.Error(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a "
        "local connection, otherwise you need to set this option in the configuration file, and then restart the "
        "server.");
  const size_t argc = ctx.argv.size();
  if (argc == 2 && protocol::EqualsIgnoreCase(ctx.argv[1], "help")) return DebugHelp(ctx);
  for (const Word& word : kWords)
    if (protocol::EqualsIgnoreCase(ctx.argv[1], word.name) && argc >= word.argc_min && argc <= word.argc_max)
      return word.handler(ctx);
  ctx.reply.Error(fmt::format("ERR unknown subcommand or wrong number of arguments for '{}'. Try DEBUG HELP.",
                              ctx.argv[1].substr(0, 128)));
}

constexpr CommandRow kRows[] = {
    {.name = "debug",
     .arity = -2,
     .flags = kAdmin | kNoScript | kLoading | kStale | kUntouched | kSystemCommand,
     .handler = Debug,
     .group = Group::kServer,
     .since = "1.0.0",
     .complexity = "Depends on the subcommand.",
     .summary = "Commands for tests of the server."},
};

}  // namespace

std::span<const CommandRow> DebugCommands() { return kRows; }

}  // namespace tessera
