#include "server/net/connection.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "server/blocking.h"
#include "server/client_limits.h"
#include "server/clients.h"
#include "server/config/config.h"
#include "server/dispatcher.h"
#include "server/log.h"
#include "server/net/frontend.h"
#include "server/replication/replicas.h"
#include "server/replication/replication.h"
#include "server/stats.h"
#include "server/store/keyspace.h"
#include "server/watches.h"

namespace tessera {
namespace {

using Descriptor = boost::asio::posix::stream_descriptor;

// Commands parsed ahead of execution, so that their keys' cache lines are on their way.
constexpr size_t kBatch = 16;
// What one client may send in one turn: a slow reader of gigabytes must not starve the others.
constexpr size_t kBytesPerTurn = 1 << 20;
// A client with more than this unsent is not executed further until it reads: its pipeline waits in its socket instead
// of our memory.
constexpr size_t kOutputPause = 32 << 20;
// What client-output-buffer-limit does not see of a client that is no replica: the fixed buffer that Redis fills first.
constexpr size_t kOutputNotCounted = 16 << 10;
// A blocked client may go on sending this much before we stop reading it.
constexpr size_t kBlockedRestMax = 1 << 20;
// Of the rest of a large argument, this much is read at once.
constexpr size_t kLargeReadMax = 256 << 10;
constexpr int kPartsPerWrite = 64;

}  // namespace

Connection::Connection(Frontend& frontend, uint64_t id)
    : frontend_(frontend), fd_(frontend.loop().io()), session_(id) {
  session_.link = this;
}

bool Connection::Adopt(int fd) {
  boost::system::error_code error;
  fd_.assign(fd, error);
  return !error;
}

Connection::~Connection() = default;

void Connection::Start() {
  const config::Config& config = frontend_.services().config;
  parser_.limits().max_bulk = static_cast<size_t>(config.proto_max_bulk_len);
  parser_.limits().authenticated = session_.authenticated;
  WaitReadable();
}

void Connection::WaitReadable() {
  if (reading_ || closed_ || close_after_reply_ || input_ended_) return;
  reading_ = true;
  fd_.async_wait(Descriptor::wait_read, [self = shared_from_this()](const boost::system::error_code& error) {
    self->reading_ = false;
    if (!error && !self->closed_) self->OnReadable();
  });
}

void Connection::WaitWritable() {
  if (writing_ || closed_) return;
  writing_ = true;
  fd_.async_wait(Descriptor::wait_write, [self = shared_from_this()](const boost::system::error_code& error) {
    self->writing_ = false;
    if (error || self->closed_) return;
    self->frontend_.ScheduleFlush(*self);
    self->Resume();
  });
}

bool Connection::MayProcess() const {
  // What is executed after the last save of a shutdown would be acknowledged and lost.
  // A replica's acknowledgements are heard however much it has still to read.
  return !closed_ && !close_after_reply_ && !session_.is_blocked() && !frontend_.loop().stopped() &&
         (session_.out.size() < kOutputPause || session_.kind == SessionKind::kReplica);
}

void Connection::OnReadable() {
  Stats& stats = frontend_.services().stats;
  ++stats.total_reads_processed;
  char* into = frontend_.read_buffer_.data();
  size_t room = frontend_.read_buffer_.size();
  const bool append = !rest_.empty();
  const size_t kept = rest_.size();
  if (append) {
    // The rest of a large argument goes straight where it belongs.
    room = std::max(room, std::min(parser_.needed_hint(), kLargeReadMax));
    rest_.resize(kept + room);
    into = rest_.data() + kept;
  }
  const ssize_t n = recv(fd_.native_handle(), into, room, 0);
  if (append) rest_.resize(kept + static_cast<size_t>(std::max<ssize_t>(n, 0)));
  if (n == 0) return OnEndOfInput();
  if (n < 0) {
    if (errno != EAGAIN && errno != EINTR) return CloseNow(std::strerror(errno));
    return WaitReadable();
  }
  session_.network_in += static_cast<uint64_t>(n);
  stats.net_input_bytes += static_cast<uint64_t>(n);
  session_.last_interaction_us = frontend_.loop().now().mono_us;

  if (append) {
    ProcessOwnBuffer();
  } else {
    const std::string_view bytes(into, static_cast<size_t>(n));
    const size_t used = MayProcess() ? Process(bytes) : 0;
    if (!closed_) KeepRest(bytes.substr(used));
  }
  GoOn();
}

void Connection::GoOn() {
  if (closed_) return;
  if (ClientLimits* limits = frontend_.services().client_limits; limits->on()) limits->Update(session_);
  const auto limit = static_cast<size_t>(frontend_.services().config.client_query_buffer_limit);
  if (limit != 0 && rest_.size() + session_.transaction.bytes > limit) {
    ++frontend_.services().stats.client_query_buffer_limit_disconnections;
    log::Warning("Closing client {} ({}): its unexecuted input exceeds client-query-buffer-limit", session_.id,
                 session_.peer);
    return CloseNow("query buffer limit");
  }
  if (input_ended_) {
    if (MayProcess()) CloseAfterReply();
    return;
  }
  if (MayProcess() || rest_.size() < kBlockedRestMax) WaitReadable();
}

// What the client has asked for is still answered, as far as it reads on (`printf ... | nc`); what it waits for is not.
void Connection::OnEndOfInput() {
  if (session_.kind != SessionKind::kNormal) return CloseNow("closed by client");
  if (session_.is_blocked()) {
    frontend_.services().blocking.Forget(session_);
    session_.blocked = {};
    rest_.clear();
  }
  if (session_.out.empty()) return CloseNow("closed by client");
  input_ended_ = true;
  GoOn();
}

void Connection::KeepRest(std::string_view rest) {
  if (rest.empty()) return;
  if (const size_t hint = parser_.needed_hint(); hint > rest.size())
    rest_.reserve(rest.size() + std::min<size_t>(hint, 64 << 20));
  rest_.assign(rest);
}

void Connection::ProcessOwnBuffer() {
  const size_t used = MayProcess() ? Process(rest_) : 0;
  if (used == 0) return;
  if (used == rest_.size()) {
    // Memory of a large request goes back at once, of small ones it is kept while more is coming.
    if (rest_.capacity() > 64 << 10) {
      rest_ = {};
    } else {
      rest_.clear();
    }
  } else {
    rest_.erase(0, used);
  }
}

size_t Connection::Process(std::string_view bytes) {
  Services& services = frontend_.services();
  Dispatcher& dispatcher = services.dispatcher;
  auto& batch = frontend_.batch_;
  size_t ends[kBatch];
  size_t used = 0;
  const int64_t wall_ms = frontend_.loop().now().unix_ms;
  // What came before in this turn is not the first command's time.
  dispatcher.set_last_us(std::max(dispatcher.last_us(), frontend_.loop().now().mono_us));
  bool starved = false;
  while (!starved && used < bytes.size() && MayProcess()) {
    // Until a client is authenticated, the next command may change how the one after it is to be read.
    const bool trusted = session_.authenticated || services.config.requirepass.empty();
    const size_t ahead = trusted ? kBatch : 1;
    size_t count = 0;
    size_t parsed = used;
    std::string error;
    parser_.limits().authenticated = trusted;
    parser_.limits().max_bulk = static_cast<size_t>(services.config.proto_max_bulk_len);
    while (count < ahead && parsed < bytes.size()) {
      const bool is_inline = bytes[parsed] != '*';
      const auto result = parser_.Parse(bytes.substr(parsed), batch[count]);
      using Status = protocol::ParseResult::Status;
      if (result.status == Status::kNeedMore) {
        starved = true;
        break;
      }
      if (result.status == Status::kError) {
        error = result.error;
        break;
      }
      parsed += result.consumed;
      if (result.status == Status::kEmpty) {
        // Belongs to the command before it: what is kept later must begin where the parser's half-read command does.
        (count == 0 ? used : ends[count - 1]) = parsed;
        continue;
      }
      ends[count++] = parsed;
      if (is_inline) break;  // its words live in the parser, which the next Parse call reuses
    }
    if (count > 1) {
      store::Database& db = services.keyspace.db(session_.db);
      store::KeyRef keys[kBatch] = {"", "", "", "", "", "", "", "", "", "", "", "", "", "", "", ""};
      for (size_t i = 0; i < count; ++i) {
        if (batch[i].size() < 2) continue;
        keys[i] = services.keyspace.Prepare(batch[i][1]);
        db.PrefetchBucket(keys[i]);
      }
      for (size_t i = 0; i < count; ++i)
        if (keys[i].ready()) db.PrefetchEntry(keys[i]);
    }
    for (size_t i = 0; i < count; ++i) {
      const auto outcome = dispatcher.Execute(session_, batch[i], wall_ms);
      if (outcome == Dispatcher::Outcome::kPostponed) {
        parser_.Reset();
        if (!session_.out.empty()) frontend_.ScheduleFlush(*this);
        return used;
      }
      used = ends[i];
      if (!MayProcess()) {
        parser_.Reset();
        break;
      }
    }
    if (!error.empty() && MayProcess()) {
      log::Verbose("Protocol error from client {} ({}): {}", session_.id, session_.peer, error);
      session_.reply.Error("ERR " + error);
      CloseAfterReply();
      used = bytes.size();
      break;
    }
  }
  if (!session_.out.empty()) {
    frontend_.ScheduleFlush(*this);
    CheckOutputLimit(frontend_.loop().now().mono_ms());
  }
  return used;
}

size_t Connection::Sendable() {
  const size_t pending = session_.out.size();
  ReplyGate& gate = frontend_.gate();
  if (session_.kind == SessionKind::kReplica) return pending;
  if (!gate.active) gate_.clear();  // appendfsync was changed: nobody may ever sync up to the marks
  while (!gate_.empty() && gate_.front().synced <= gate.synced) gate_.pop_front();
  // Replies to reads alone do not wait for a disk that may never come back.
  while (gate.disk_failing && !gate_.empty() && !gate_.front().wrote) gate_.pop_front();
  if (gate.closed() && sent_ + pending > gated_to_) {
    const bool wrote = session_.written_offset != std::exchange(gated_written_, session_.written_offset);
    gate_.push_back({std::max(gated_to_, sent_), gate.appended, wrote});
    gated_to_ = sent_ + pending;
  }
  if (gate_.empty()) return pending;
  return static_cast<size_t>(std::min<uint64_t>(pending, gate_.front().position - std::min(gate_.front().position, sent_)));
}

void Connection::Flush() {
  if (closed_) return;
  Stats& stats = frontend_.services().stats;
  size_t sendable = Sendable();
  size_t budget = kBytesPerTurn;
  while (sendable > 0 && budget > 0) {
    iovec parts[kPartsPerWrite];
    msghdr message{};
    message.msg_iov = parts;
    int count = session_.out.Peek(parts, kPartsPerWrite);
    size_t total = 0;
    for (int i = 0; i < count; ++i) {
      const size_t allowed = std::min(sendable, budget) - total;
      if (parts[i].iov_len >= allowed) {
        parts[i].iov_len = allowed;
        total += allowed;
        count = i + 1;
        break;
      }
      total += parts[i].iov_len;
    }
    message.msg_iovlen = static_cast<size_t>(count);
    const ssize_t n = count == 1 ? send(fd_.native_handle(), parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL)
                                 : sendmsg(fd_.native_handle(), &message, MSG_NOSIGNAL);
    ++stats.total_writes_processed;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) return CloseNow(std::strerror(errno));
    session_.out.Consume(static_cast<size_t>(n));
    const auto sent = static_cast<size_t>(n);
    sent_ += sent;
    sendable -= sent;
    budget -= sent;
    session_.network_out += sent;
    if (session_.kind == SessionKind::kNormal) session_.last_interaction_us = frontend_.loop().now().mono_us;
    stats.net_output_bytes += sent;
    if (session_.kind == SessionKind::kReplica) stats.net_repl_output_bytes += sent;
    if (sent < total) break;  // the socket is full: no need to hear it again
  }
  if (ClientLimits* limits = frontend_.services().client_limits; limits->on()) limits->Update(session_);
  if (session_.out.empty()) {
    if (close_after_reply_) return CloseNow("done");
    return;
  }
  // What others fill is measured here: a listener may never send a command of its own.
  if (session_.subscribed.any() || session_.monitoring) {
    CheckOutputLimit(frontend_.loop().now().mono_ms());
    if (closed_) return;
  }
  if (sendable > 0) {
    WaitWritable();
  } else if (!gate_.empty() && !in_gated_list_) {
    in_gated_list_ = true;
    frontend_.gated_.push_back(shared_from_this());
  }
}

void Connection::CheckOutputLimit(int64_t now_ms) {
  const auto& limit = frontend_.services().config.client_output_buffer_limit[session_.kind == SessionKind::kReplica ? 1
                                                                              : session_.subscribed.any()         ? 2
                                                                                                                   : 0];
  auto used = Replicas::StreamBytesWaiting(session_);
  if (session_.kind != SessionKind::kReplica) used -= std::min(used, kOutputNotCounted);
  auto hard_bytes = static_cast<size_t>(limit.hard_bytes);
  // To be as far behind as the backlog reaches is no fault of a replica.
  if (session_.kind == SessionKind::kReplica)
    hard_bytes = std::max(hard_bytes, static_cast<size_t>(frontend_.services().config.repl_backlog_size));
  bool over = limit.hard_bytes != 0 && used > hard_bytes;
  if (limit.soft_bytes != 0 && used > static_cast<size_t>(limit.soft_bytes)) {
    if (soft_limit_since_ms_ == 0) soft_limit_since_ms_ = now_ms;
    over |= now_ms - soft_limit_since_ms_ > limit.soft_seconds * 1000;
  } else {
    soft_limit_since_ms_ = 0;
  }
  if (!over || closed_) return;
  ++frontend_.services().stats.client_output_buffer_limit_disconnections;
  log::Warning("Closing client {} ({}): {} bytes of unread replies exceed client-output-buffer-limit", session_.id,
               session_.peer, used);
  CloseNow("output buffer limit");
}

void Connection::OutputPending() { frontend_.ScheduleFlush(*this); }

void Connection::CloseAfterReply() {
  close_after_reply_ = true;
  frontend_.ScheduleFlush(*this);
}

void Connection::CloseNow(std::string_view reason) {
  if (closed_) return;
  closed_ = true;
  if (!reason.empty()) log::Debug("Client {} ({}) gone: {}", session_.id, session_.peer, reason);
  boost::system::error_code ignored;
  fd_.close(ignored);
  frontend_.Remove(*this);
}

void Connection::Resume() {
  if (resume_posted_ || closed_) return;
  resume_posted_ = true;
  frontend_.loop().Post([self = shared_from_this()] {
    self->resume_posted_ = false;
    if (self->closed_) return;
    self->ProcessOwnBuffer();
    self->GoOn();
  });
}

SessionLink::Figures Connection::figures() const {
  auto& fd = const_cast<Descriptor&>(fd_);
  return {.fd = closed_ ? -1 : fd.native_handle(),
          .query_buffer = rest_.size(),
          .query_buffer_free = rest_.capacity() - rest_.size(),
          .read_buffer_capacity = rest_.capacity(),
          .output_bytes = session_.out.size(),
          .want_write = writing_};
}

}  // namespace tessera
