// What a handler gets: its arguments, the database, now, the session and the reply; and, for the commands that
// administer the server, the services by name. Handlers of data commands use nothing of `services`.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/args.h"
#include "protocol/number.h"
#include "protocol/reply_writer.h"
#include "server/clock.h"
#include "server/commands/command.h"
#include "server/secret_arguments.h"
#include "server/services.h"
#include "server/session.h"
#include "server/store/keyspace.h"

namespace tessera {

using Argv = std::span<const std::string_view>;

struct KeyWait;

struct CommandContext {
  const CommandRow& row;
  Argv argv;
  Session& session;
  protocol::ReplyWriter& reply;
  store::Keyspace& keyspace;
  Now now;
  Services& services;

  store::Database& db() { return keyspace.db(session.db); }

  // Reads keys as a client sees them: an expired key is missing. Counts keyspace hits and misses and tells of a miss
  // ("keymiss"). For everything Redis looks up to read, in commands that write as well: the old value of GETSET, the
  // sources of SINTERSTORE. FindUntouched: for TTL, EXISTS and the like, which are no use of the key.
  store::EntryRef Find(std::string_view key);
  store::EntryRef FindUntouched(std::string_view key);
  // The same for OBJECT, which does not tell of misses.
  store::EntryRef FindToInspect(std::string_view key);
  // For keys that will be written: counts and tells nothing.
  store::EntryRef FindForWrite(std::string_view key);

  // What replicas and the AOF get. Nothing said: the command as it came, if it changed the keyspace.
  // Propagate: this instead (several calls: in this order, as one transaction). PropagateNothing: nothing.
  void Propagate(std::initializer_list<std::string_view> command) { PropagateIn(session.db, command); }
  void PropagateIn(int db, std::span<const std::string_view> command);
  void PropagateIn(int db, std::initializer_list<std::string_view> command) {
    PropagateIn(db, std::span(command.begin(), command.size()));
  }
  void PropagateNothing() { propagation = Propagation::kOverridden; }
  // The command as it came even though the keyspace did not change.
  void PropagateAlways() { propagation = Propagation::kForced; }
  // The same, but not to the AOF: it changes no data (PUBLISH).
  void PropagateToReplicas() { propagation = Propagation::kReplicas; }

  // The argument is a secret: neither SLOWLOG nor MONITOR shows it.
  void HideArgument(size_t index) { secrets.Add(index); }
  SecretArguments secrets;

  // ---- commands that wait for keys; see server/blocked_keys.h
  // Nothing to answer with: the client waits, and the handler runs again when a key has come.
  void BlockOnKeys(const KeyWait& wait);
  // The value of this key changed in place, and somebody may wait for just that (XADD).
  void SignalKey(std::string_view key);

  enum class Propagation { kAsChanged, kOverridden, kForced, kReplicas };
  Propagation propagation = Propagation::kAsChanged;

  // Whether anybody wants to hear "new". The keyspace's door tells it of keys that did not exist; commands for which
  // Redis deletes the old key and adds another (RENAME, COPY REPLACE, SINTERSTORE ...) tell it of replaced ones too.
  bool TellsOfNewKeys() const;

  // Keyspace events: `event` as Redis names it ("set", "del"), class letter as in notify-keyspace-events ('$', 'g', 'x' ...).
  void Notify(char event_class, std::string_view event, std::string_view key) { NotifyIn(session.db, event_class, event, key); }
  void NotifyIn(int db, char event_class, std::string_view event, std::string_view key);
};

// Frequent refusals, in Redis's words.
inline constexpr std::string_view kWrongType = "WRONGTYPE Operation against a key holding the wrong kind of value";
inline constexpr std::string_view kSyntaxError = "ERR syntax error";
inline constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";
inline constexpr std::string_view kNotAFloat = "ERR value is not a valid float";
inline constexpr std::string_view kNoSuchKey = "ERR no such key";

}  // namespace tessera
