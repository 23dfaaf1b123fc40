// MIGRATE's words; the work is done by Migrator.
#include <string>

#include "server/commands/data.h"
#include "server/commands/table.h"
#include "server/migrator.h"

namespace tessera {
namespace {

// MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH password] [AUTH2 user password] [KEYS key ...]
bool ReadRequest(CommandContext& ctx, Migrator::Request& request) {
  protocol::ArgReader args(ctx.argv, 6);
  size_t first_key = 3, end_of_keys = 4;
  while (args.HasNext()) {
    if (args.Check("COPY")) {
      request.copy = true;
    } else if (args.Check("REPLACE")) {
      request.replace = true;
    } else if (args.Check("AUTH", 1)) {
      request.authenticate = true;
      ctx.HideArgument(args.index());
      request.password = args.Next();
    } else if (args.Check("AUTH2", 2)) {
      ctx.HideArgument(args.index());
      ctx.HideArgument(args.index() + 1);
      request.authenticate = true;
      request.user = args.Next();
      request.password = args.Next();
    } else if (args.Check("KEYS")) {
      if (!ctx.argv[3].empty())
        args.Fail("ERR When using MIGRATE KEYS option, the key argument must be set to the empty string");
      first_key = args.index();
      end_of_keys = ctx.argv.size();
      break;
    } else {
      args.SyntaxError();
    }
  }
  if (!args.ok()) {
    ctx.reply.Error(args.error());
    return false;
  }
  if (!ReadInteger(ctx, ctx.argv[5], request.timeout_ms) || !ReadInteger(ctx, ctx.argv[4], request.target_db))
    return false;
  if (request.timeout_ms <= 0) request.timeout_ms = 1000;
  request.host = ctx.argv[1];
  request.db = ctx.session.db;
  for (size_t i = first_key; i < end_of_keys; ++i)
    if (ctx.Find(ctx.argv[i])) request.keys.emplace_back(ctx.argv[i]);
  return true;
}

void MigrateCommand(CommandContext& ctx) {
  Migrator::Request request;
  if (!ReadRequest(ctx, request)) return;
  ctx.PropagateNothing();  // the deletions speak for themselves
  if (request.keys.empty()) return ctx.reply.SimpleString("NOKEY");
  const auto port = protocol::ParseInt64(ctx.argv[2]);
  if (!port || *port <= 0 || *port > 65535) return ctx.reply.Error("IOERR error or timeout connecting to the client");
  request.port = static_cast<uint16_t>(*port);
  if (ctx.services.migrator == nullptr) return ctx.reply.Error("ERR MIGRATE is not available here");
  ctx.services.migrator->Start(ctx.session, std::move(request));
}

// ---- rows

bool FindMigratedKeys(Argv argv, std::vector<KeyPosition>& keys) {
  constexpr uint16_t kFlags = kKeyRW | kKeyAccess | kKeyDelete;
  for (size_t i = 6; i < argv.size(); ++i) {
    if (protocol::EqualsIgnoreCase(argv[i], "KEYS")) {
      if (!argv[3].empty()) return false;
      for (++i; i < argv.size(); ++i) keys.push_back({static_cast<int>(i), kFlags});
      return true;
    }
    if (protocol::EqualsIgnoreCase(argv[i], "AUTH")) i += 1;
    if (protocol::EqualsIgnoreCase(argv[i], "AUTH2")) i += 2;
  }
  keys.push_back({3, kFlags});
  return true;
}
constexpr KeySpec kMigrateKeys[] = {{.flags = kKeyRW | kKeyAccess | kKeyDelete, .index = 3},
                                    {.flags = kKeyRW | kKeyAccess | kKeyDelete | kKeyIncomplete,
                                     .begin = KeySpec::Begin::kKeyword,
                                     .index = -2,
                                     .keyword = "KEYS",
                                     .last_key = -1}};
constexpr ArgSpec kMigrateKeySelector[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0},
                                           {.name = "empty-string", .type = ArgType::kPureToken, .token = "\"\""}};
constexpr ArgSpec kMigrateAuth2[] = {{.name = "username", .type = ArgType::kString},
                                     {.name = "password", .type = ArgType::kString}};
constexpr ArgSpec kMigrateAuthentication[] = {{.name = "auth",
                                               .type = ArgType::kString,
                                               .flags = kOptional,
                                               .token = "AUTH",
                                               .since = "4.0.7",
                                               .display = "password"},
                                              {.name = "auth2",
                                               .type = ArgType::kBlock,
                                               .flags = kOptional,
                                               .token = "AUTH2",
                                               .since = "6.0.0",
                                               .children = kMigrateAuth2}};
constexpr ArgSpec kMigrateArgs[] = {
    {.name = "host", .type = ArgType::kString},
    {.name = "port", .type = ArgType::kInteger},
    {.name = "key-selector", .type = ArgType::kOneOf, .children = kMigrateKeySelector},
    {.name = "destination-db", .type = ArgType::kInteger},
    {.name = "timeout", .type = ArgType::kInteger},
    {.name = "copy", .type = ArgType::kPureToken, .flags = kOptional, .token = "COPY", .since = "3.0.0"},
    {.name = "replace", .type = ArgType::kPureToken, .flags = kOptional, .token = "REPLACE", .since = "3.0.0"},
    {.name = "authentication", .type = ArgType::kOneOf, .flags = kOptional, .children = kMigrateAuthentication},
    {.name = "keys",
     .type = ArgType::kKey,
     .flags = kOptional | kMultiple,
     .token = "KEYS",
     .since = "3.0.6",
     .key_spec = 1,
     .display = "key"}};
constexpr std::string_view kMigrateTips[] = {"nondeterministic_output"};
constexpr HistoryEntry kMigrateHistory[] = {
    {"3.0.0", "`COPY` and `REPLACE`."}, {"3.0.6", "`KEYS`."}, {"4.0.7", "`AUTH`."}, {"6.0.0", "`AUTH2`."}};

constexpr CommandRow kRows[] = {
    {.name = "migrate",
     .arity = -6,
     .flags = kWrite | kMovableKeys | kNoMulti | kMovesSlots,  // it finishes later, which a transaction cannot
     .acl = kAclKeyspace | kAclDangerous,
     .handler = MigrateCommand,
     .keys = kMigrateKeys,
     .find_keys = FindMigratedKeys,
     .group = Group::kGeneric,
     .since = "2.6.0",
     .complexity = "DUMP and DEL here, RESTORE there, and O(N) bytes between the two.",
     .summary = "Moves keys to another server, so that they exist at one place at a time.",
     .args = kMigrateArgs,
     .tips = kMigrateTips,
     .history = kMigrateHistory},
};

}  // namespace

std::span<const CommandRow> MigrateCommands() { return kRows; }

}  // namespace tessera
