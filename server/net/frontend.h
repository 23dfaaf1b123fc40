// Where clients come in: listeners, admission (maxclients, protected mode), the connections and their end-of-turn flush.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/net/connection.h"
#include "server/net/event_loop.h"
#include "server/net/reply_gate.h"
#include "server/net/tcp_link.h"
#include "server/services.h"

namespace tessera {

class Frontend {
 public:
  Frontend(EventLoop& loop, Services& services);
  ~Frontend();

  // Closes earlier listeners, binds all of `bind` and the Unix socket. Empty = done (see listening()), otherwise why
  // not, and nothing listens.
  std::string Listen();
  void StopListening();
  // Last words: flushes what can be flushed without waiting and closes everyone.
  void CloseAll();

  void EndOfTurn();        // after the log was written
  void Cron();             // every 100 ms: idle timeouts, output limits
  void OnLogSynced();      // the reply gate moved

  EventLoop& loop() { return loop_; }
  Services& services() { return services_; }
  ReplyGate& gate();
  const std::vector<std::string>& listening() const { return listening_; }  // addresses, for the start-up log

 private:
  friend class Connection;
  void Accept(int fd, const std::string& peer_ip, uint16_t peer_port, bool unix_socket);
  void Remove(Connection& connection);
  void ScheduleFlush(Connection& connection);

  EventLoop& loop_;
  Services& services_;
  std::vector<std::unique_ptr<TcpAcceptor>> acceptors_;
  std::vector<std::string> listening_;
  std::unordered_map<uint64_t, std::shared_ptr<Connection>> connections_;
  std::vector<std::shared_ptr<Connection>> to_flush_, flushing_;
  std::vector<std::shared_ptr<Connection>> gated_;
  std::vector<char> read_buffer_;                       // shared by all connections, used within one call
  std::vector<std::vector<std::string_view>> batch_;    // commands parsed ahead, reused
};

}  // namespace tessera
