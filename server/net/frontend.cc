#include "server/net/frontend.h"

#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/blocking.h"
#include "server/client_limits.h"
#include "server/clients.h"
#include "server/cluster/cluster_shell.h"
#include "server/config/config.h"
#include "server/durability/durability.h"
#include "server/log.h"
#include "server/monitors.h"
#include "server/pubsub.h"
#include "server/replication/replication.h"
#include "server/stats.h"
#include "server/watches.h"

namespace tessera {
namespace {

constexpr size_t kReadBufferBytes = 64 << 10;
constexpr size_t kCommandsAhead = 16;
// A client that is to be closed and takes nothing of its last replies for this long is closed without them.
constexpr int64_t kLastWordsUs = 60'000'000;

constexpr std::string_view kProtectedModeRefusal =
    "-DENIED Redis is running in protected mode: no password is set for the default user and the server listens on all "
    "interfaces, so only clients of the loopback interface are served. To let others in, set a password (requirepass), "
    "or name the interfaces to trust with 'bind', or switch the protection off with 'protected-mode no' in the "
    "configuration file, on the command line or by CONFIG SET from a local client.\r\n";

bool IsLoopback(const std::string& ip) { return ip.starts_with("127.") || ip == "::1"; }

std::string Bracketed(const std::string& ip, uint16_t port) {
  return ip.find(':') == std::string::npos ? fmt::format("{}:{}", ip, port) : fmt::format("[{}]:{}", ip, port);
}

void SetKeepAlive(int fd, int seconds) {
  const int one = 1;
  const int third = std::max(1, seconds / 3);
  const int probes = 3;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &third, sizeof third);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

std::string LocalAddress(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return {};
  char text[64] = "";
  char port[8] = "";
  getnameinfo(reinterpret_cast<sockaddr*>(&storage), length, text, sizeof text, port, sizeof port,
              NI_NUMERICHOST | NI_NUMERICSERV);
  return Bracketed(text, static_cast<uint16_t>(std::atoi(port)));
}

}  // namespace

Frontend::Frontend(EventLoop& loop, Services& services)
    : loop_(loop), services_(services), read_buffer_(kReadBufferBytes), batch_(kCommandsAhead) {}

Frontend::~Frontend() = default;

ReplyGate& Frontend::gate() { return services_.durability.gate(); }

std::string Frontend::Listen() {
  const config::Config& config = services_.config;
  auto accepted = [this](int fd, const std::string& ip, uint16_t port) { Accept(fd, ip, port, false); };
  acceptors_.clear();
  listening_.clear();
  std::vector<std::unique_ptr<TcpAcceptor>> acceptors;
  if (config.port != 0) {
    std::string error = TcpAcceptor::Listen(loop_, config.bind, static_cast<uint16_t>(config.port), config.tcp_backlog,
                                            accepted, acceptors);
    if (!error.empty()) return "Could not listen: " + error;
  }
  if (!config.unixsocket.empty()) {
    std::string error;
    auto acceptor = TcpAcceptor::ListenUnix(
        loop_, config.unixsocket, static_cast<unsigned>(config.unixsocketperm), config.tcp_backlog,
        [this](int fd, const std::string&, uint16_t) { Accept(fd, services_.config.unixsocket, 0, true); }, &error);
    if (acceptor == nullptr)
      return fmt::format("Could not listen on Unix socket {}: {}", config.unixsocket, error);
    acceptors.push_back(std::move(acceptor));
  }
  acceptors_ = std::move(acceptors);
  for (const auto& acceptor : acceptors_) listening_.push_back(acceptor->address());
  return {};
}

void Frontend::StopListening() { acceptors_.clear(); }

void Frontend::Accept(int fd, const std::string& peer_ip, uint16_t peer_port, bool unix_socket) {
  const config::Config& config = services_.config;
  auto refuse = [&](std::string_view text) {
    // One try; the client may not even be reading.
    [[maybe_unused]] ssize_t ignored = send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
    ++services_.stats.rejected_connections;
  };
  // Each node of the cluster takes two connections of its own, there and back.
  const size_t bus = services_.cluster != nullptr ? (services_.cluster->core().nodes().size() - 1) * 2 : 0;
  if (connections_.size() + bus >= static_cast<size_t>(config.maxclients))
    return refuse(services_.cluster != nullptr ? "-ERR max number of clients + cluster connections reached\r\n"
                                               : "-ERR max number of clients reached\r\n");
  if (config.protected_mode && config.requirepass.empty() && !unix_socket && !IsLoopback(peer_ip))
    return refuse(kProtectedModeRefusal);
  if (!unix_socket && config.tcp_keepalive > 0) SetKeepAlive(fd, config.tcp_keepalive);
  auto connection = std::make_shared<Connection>(*this, services_.clients.NextId());
  if (!connection->Adopt(fd)) return refuse("-ERR out of system resources\r\n");
  ++services_.stats.connections_received;
  Session& session = connection->session();
  session.authenticated = config.requirepass.empty();
  session.unix_socket = unix_socket;
  session.created_us = session.last_interaction_us = loop_.now().mono_us;
  session.peer = unix_socket ? config.unixsocket + ":0" : Bracketed(peer_ip, peer_port);
  session.local = unix_socket ? config.unixsocket + ":0" : LocalAddress(fd);
  services_.clients.Add(session);
  connections_.emplace(session.id, connection);
  connection->Start();
}

void Frontend::Remove(Connection& connection) {
  Session& session = connection.session();
  services_.watches.Unwatch(session);
  services_.pubsub.Forget(session);
  services_.monitors.Remove(session);
  services_.blocking.Forget(session);
  services_.clients.Remove(session);
  services_.client_limits->Forget(session);
  if (session.kind == SessionKind::kReplica) services_.replication.ForgetReplica(session);
  auto it = connections_.find(session.id);
  if (it == connections_.end()) return;
  // The caller is a member function of the connection: it dies after the turn's handler.
  loop_.Post([dying = std::move(it->second)] {});
  connections_.erase(it);
}

void Frontend::ScheduleFlush(Connection& connection) {
  if (connection.in_flush_list_ || connection.closed_) return;
  connection.in_flush_list_ = true;
  to_flush_.push_back(connection.shared_from_this());
}

void Frontend::EndOfTurn() {
  flushing_.swap(to_flush_);
  for (auto& connection : flushing_) {
    connection->in_flush_list_ = false;
    connection->Flush();
  }
  flushing_.clear();
  if (services_.client_limits->on()) services_.client_limits->EvictIfOver();
}

void Frontend::OnLogSynced() {
  auto waiting = std::move(gated_);
  gated_.clear();
  for (auto& connection : waiting) {
    connection->in_gated_list_ = false;
    ScheduleFlush(*connection);
  }
}

void Frontend::Cron() {
  const int64_t now_us = loop_.now().mono_us;
  const int64_t idle_us = int64_t{services_.config.timeout} * 1'000'000;
  std::vector<std::shared_ptr<Connection>> all;
  all.reserve(connections_.size());
  for (auto& [id, connection] : connections_) all.push_back(connection);
  for (auto& connection : all) {
    Session& session = connection->session();
    connection->CheckOutputLimit(now_us / 1000);
    if (idle_us > 0 && !connection->closed() && session.kind == SessionKind::kNormal && !session.is_blocked() &&
        !session.subscribed.any() && now_us - session.last_interaction_us > idle_us) {
      log::Verbose("Closing idle client {} ({})", session.id, session.peer);
      connection->CloseNow("idle timeout");
    }
    if (connection->close_after_reply_ && now_us - session.last_interaction_us > kLastWordsUs)
      connection->CloseNow("does not read its last replies");
  }
}

void Frontend::CloseAll() {
  std::vector<std::shared_ptr<Connection>> all;
  for (auto& [id, connection] : connections_) all.push_back(connection);
  for (auto& connection : all) {
    connection->Flush();
    connection->CloseNow("server is shutting down");
  }
}

}  // namespace tessera
