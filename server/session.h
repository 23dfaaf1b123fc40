// What the server knows of one client: its selected database, protocol version, transaction, names and limits.
// A session is independent of sockets (tests and the AOF loader have sessions without one); net/connection.h owns the
// session of a socket. Lives on the loop's thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/output_buffer.h"
#include "protocol/reply_writer.h"
#include "server/clock.h"

namespace tessera {

struct CommandRow;
class Session;

// What a session asks of the socket behind it. All calls only note the wish; the connection acts at the end of the turn.
class SessionLink {
 public:
  struct Figures {  // for CLIENT LIST
    int fd = -1;
    size_t query_buffer = 0, query_buffer_free = 0, read_buffer_capacity = 0;
    size_t output_bytes = 0;
    bool want_write = false;
  };
  virtual ~SessionLink() = default;
  virtual void OutputPending() = 0;     // session.out got bytes outside of the session's own command
  virtual void CloseAfterReply() = 0;   // no more commands; flush what is there, then close
  virtual void CloseNow(std::string_view reason) = 0;
  virtual void Resume() = 0;            // unblocked or unpaused: go on with the pipeline
  virtual Figures figures() const = 0;
};

enum class SessionKind : uint8_t { kNormal, kReplica, kPrimary, kLoader };
enum class ReplyMode : uint8_t { kOn, kOff, kSkipNext, kSkip };

struct QueuedCommand {
  const CommandRow* row;
  std::vector<std::string> argv;
};

// MULTI ... EXEC of one client.
struct Transaction {
  bool open = false;
  bool failed = false;      // a command could not be queued: EXEC answers EXECABORT
  bool watch_broken = false;  // a watched key changed: EXEC answers null
  std::vector<QueuedCommand> commands;
  struct WatchedKey {
    int db;
    std::string key;
    bool was_expired;  // already logically expired at WATCH: its deletion then breaks nothing
  };
  std::vector<WatchedKey> watched;
  size_t bytes = 0;
};

enum class BlockKind : uint8_t { kNone, kWait, kWaitAof, kKeys, kPaused, kShutdown, kFreeing, kExternal };

// A command that finishes later. `resume` writes the reply into session.reply.
enum class WakeReason : uint8_t { kReady, kTimeout, kUnblockTimeout, kUnblockError, kRoleChange };
struct Blocked {
  BlockKind kind = BlockKind::kNone;
  int64_t deadline_us = 0;  // monotonic; 0 = for ever
  bool muted = false;       // CLIENT REPLY OFF or SKIP: the answer is not sent
  std::function<void(Session&, WakeReason)> resume;
};

class Session {
 public:
  explicit Session(uint64_t id, SessionKind kind = SessionKind::kNormal) : id(id), kind(kind), reply(&out) {}
  Session(const Session&) = delete;

  const uint64_t id;
  SessionKind kind;
  SessionLink* link = nullptr;  // null without a socket

  protocol::OutputBuffer out;
  protocol::ReplyWriter reply;  // writes to `out`; knows the RESP version

  int db = 0;
  bool authenticated = true;
  bool readonly = false;       // READONLY
  bool asking = false;         // ASKING: for the next command only
  bool no_evict = false;
  bool no_touch = false;
  bool unix_socket = false;
  bool close_asap = false;
  ReplyMode reply_mode = ReplyMode::kOn;
  bool muted() const { return reply_mode == ReplyMode::kOff || reply_mode == ReplyMode::kSkip; }
  std::string user = "default";
  std::string name, lib_name, lib_version;
  std::string peer, local;     // "ip:port" or "/path:0"

  Transaction transaction;
  Blocked blocked;
  bool is_blocked() const { return blocked.kind != BlockKind::kNone; }

  const CommandRow* last_command = nullptr;        // for CLIENT LIST cmd=
  const CommandRow* last_command_parent = nullptr; // its container, if it is a subcommand
  int64_t created_us = 0;
  int64_t last_interaction_us = 0;
  uint64_t commands = 0;
  uint64_t network_in = 0, network_out = 0;
  size_t counted_bytes = 0;    // as last seen by ClientLimits
  size_t argv_bytes = 0;       // of a command that looks at its own client; CLIENT LIST argv-mem
  int64_t written_offset = 0;  // replication offset after this client's last write: what WAIT waits for
  int64_t written_aof_offset = 0;

  // What PubSub keeps of this client.
  struct Subscribed {
    size_t channels = 0, patterns = 0, shard_channels = 0;
    bool any() const { return channels + patterns + shard_channels != 0; }
  } subscribed;
  bool monitoring = false;  // MONITOR

  // Bytes that answer nothing: messages, lines of MONITOR. While a command of this very client runs they wait in
  // `pushes` until its reply is complete; CLIENT REPLY does not concern them.
  void Push(std::string_view bytes) {
    if (executing) {
      pushes.append(bytes);
      return;
    }
    out.Append(bytes);
    if (link != nullptr) link->OutputPending();
  }
  bool executing = false;
  std::string pushes;

  // A replica's connection, seen by the primary (kind == kReplica).
  struct ReplicaSide;
  std::shared_ptr<ReplicaSide> replica;
};

}  // namespace tessera
