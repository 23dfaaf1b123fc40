// One client's socket: bytes in, commands through the dispatcher, replies out. Owns the client's session.
//
// Reading: a readable socket is read once per turn into the frontend's shared buffer; what is not a whole command yet
// moves to a buffer of its own, so that idle clients cost no buffer. Commands are parsed ahead, their keys prefetched,
// then executed in order. Writing: replies gather in the session's output and leave at the end of the turn, at most
// kBytesPerTurn per client, and not before the reply gate lets them.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "protocol/resp_parser.h"
#include "server/session.h"

namespace tessera {

class Frontend;

class Connection final : public SessionLink, public std::enable_shared_from_this<Connection> {
 public:
  Connection(Frontend& frontend, uint64_t id);
  ~Connection() override;

  // Takes over the socket; false when the system has no room for it, and the socket stays the caller's.
  bool Adopt(int fd);
  void Start();
  Session& session() { return session_; }

  // End of turn.
  void Flush();
  bool closed() const { return closed_; }
  // Enforces client-output-buffer-limit; called by the frontend after turns and by cron.
  void CheckOutputLimit(int64_t now_ms);

  void OutputPending() override;
  void CloseAfterReply() override;
  void CloseNow(std::string_view reason) override;
  void Resume() override;
  Figures figures() const override;

 private:
  friend class Frontend;
  void WaitReadable();
  void WaitWritable();
  void OnReadable();
  void OnEndOfInput();
  // After something may have been executed: closes what is over its limits, ends what has ended, or reads on.
  void GoOn();
  // Executes what `bytes` holds; returns how many bytes were used up.
  size_t Process(std::string_view bytes);
  void ProcessOwnBuffer();
  void KeepRest(std::string_view rest);
  bool MayProcess() const;
  // How many bytes of output may leave now.
  size_t Sendable();

  Frontend& frontend_;
  boost::asio::posix::stream_descriptor fd_;
  Session session_;
  protocol::RequestParser parser_;
  std::string rest_;  // bytes not yet executed, starting at a command's first byte
  bool reading_ = false, writing_ = false, closed_ = false, in_flush_list_ = false, resume_posted_ = false;
  bool in_gated_list_ = false;
  bool close_after_reply_ = false;
  bool input_ended_ = false;  // the client sends no more, but what it has sent is not all executed yet

  uint64_t sent_ = 0;  // bytes of output that left, since the connection's start
  struct GateMark {
    uint64_t position;  // bytes of output from here on ...
    uint64_t synced;    // ... wait until the log is synced up to here
    bool wrote;         // this client changed something since the mark before
  };
  std::deque<GateMark> gate_;
  uint64_t gated_to_ = 0;      // output position up to which marks were set
  int64_t gated_written_ = 0;  // the session's written_offset then
  int64_t soft_limit_since_ms_ = 0;
};

}  // namespace tessera
