#include "server/net/http_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <list>
#include <optional>

#include "server/net/event_loop.h"
#include "server/net/tcp_link.h"

namespace tessera {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

class Connection;
using Connections = std::list<std::weak_ptr<Connection>>;  // oldest first

struct Shared {
  HttpServer::Handler handler;
  HttpServer::Limits limits;
  Connections connections;
};

bool IsIpv6(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  return getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0 && address.ss_family == AF_INET6;
}

// Lives as long as one of its operations is under way; `shared` may die before it.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, std::shared_ptr<Shared> shared)
      : stream_(std::move(socket)), shared_(std::move(shared)) {}
  ~Connection() { Leave(); }

  void Start(Connections::iterator place) {
    place_ = place;
    listed_ = true;
    Read();
  }
  // Ends its operation, and with that its life, in a later turn.
  void Close() {
    Leave();
    stream_.close();
  }

 private:
  void Leave() {
    if (listed_) shared_->connections.erase(place_);
    listed_ = false;
  }

  void Read() {
    parser_.emplace();
    parser_->header_limit(shared_->limits.header_bytes);
    parser_->body_limit(shared_->limits.header_bytes);
    stream_.expires_after(std::chrono::milliseconds(shared_->limits.request_ms));
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](const beast::error_code& error, size_t) { self->OnRead(error); });
  }

  void OnRead(const beast::error_code& error) {
    if (!error) return Answer(parser_->get());
    // Ends and deadlines of the connection need no answer; what is no HTTP gets one, as far as it can be sent.
    if (error.category() != http::make_error_code(http::error::end_of_stream).category() ||
        error == http::error::end_of_stream || error == http::error::partial_message)
      return;
    const int status = error == http::error::body_limit                                              ? 413
                       : error == http::error::header_limit || error == http::error::buffer_overflow ? 431
                                                                                                     : 400;
    Send({.status = status, .body = status == 400 ? "bad request\n" : "request too large\n"}, 11, false, false);
  }

  void Answer(const http::request<http::string_body>& request) {
    const bool head = request.method() == http::verb::head;
    if (!head && request.method() != http::verb::get)
      return Send({.status = 405, .body = "only GET and HEAD\n"}, request.version(), false, false);
    const std::string_view target(request.target().data(), request.target().size());
    Send(shared_->handler(target.substr(0, target.find('?'))), request.version(), request.keep_alive(), head);
  }

  void Send(HttpServer::Response answer, unsigned version, bool keep_alive, bool head) {
    response_.emplace();
    response_->version(version);
    response_->result(static_cast<unsigned>(answer.status));
    response_->set(http::field::server, "tessera");
    response_->set(http::field::content_type, answer.content_type);
    response_->set(http::field::cache_control, "no-store");
    if (answer.status == 405) response_->set(http::field::allow, "GET, HEAD");
    response_->keep_alive(keep_alive);
    const size_t length = answer.body.size();
    if (!head) response_->body() = std::move(answer.body);
    response_->content_length(length);
    stream_.expires_after(std::chrono::milliseconds(shared_->limits.reply_ms));
    http::async_write(stream_, *response_,
                      [self = shared_from_this(), keep_alive](const beast::error_code& error, size_t) {
                        if (!error && keep_alive) return self->Read();
                        beast::error_code ignored;
                        self->stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
                      });
  }

  beast::tcp_stream stream_;
  std::shared_ptr<Shared> shared_;
  beast::flat_buffer buffer_{16 << 10};
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::string_body>> response_;
  Connections::iterator place_;
  bool listed_ = false;
};

}  // namespace

struct HttpServer::Impl {
  void Accept(int fd) {
    boost::system::error_code error;
    tcp::socket socket(loop.io());
    socket.assign(IsIpv6(fd) ? tcp::v6() : tcp::v4(), fd, error);
    if (error) {
      close(fd);
      return;
    }
    auto& connections = shared->connections;
    while (open() >= shared->limits.connections)
      if (auto oldest = connections.front().lock()) oldest->Close();
    auto connection = std::make_shared<Connection>(std::move(socket), shared);
    connection->Start(connections.insert(connections.end(), connection));
  }

  size_t open() const { return shared->connections.size(); }

  void CloseAll() {
    while (!shared->connections.empty())
      if (auto connection = shared->connections.front().lock()) connection->Close();
  }

  EventLoop& loop;
  std::shared_ptr<Shared> shared;
  std::vector<std::unique_ptr<TcpAcceptor>> acceptors = {};
  std::vector<std::string> listening = {};
};

HttpServer::HttpServer(EventLoop& loop, Handler handler, Limits limits)
    : impl_(new Impl{loop, std::make_shared<Shared>(Shared{std::move(handler), limits, {}})}) {}

HttpServer::~HttpServer() {
  impl_->CloseAll();
  impl_->shared->handler = [](std::string_view) { return Response{.status = 503}; };
}

std::string HttpServer::Listen(const std::vector<std::string>& bind, uint16_t port, int backlog) {
  impl_->acceptors.clear();
  impl_->listening.clear();
  impl_->CloseAll();
  if (port == 0) return {};
  std::string error = TcpAcceptor::Listen(
      impl_->loop, bind, port, backlog,
      [impl = impl_.get()](int fd, const std::string&, uint16_t) { impl->Accept(fd); }, impl_->acceptors);
  if (!error.empty()) {
    impl_->acceptors.clear();
    return error;
  }
  for (const auto& acceptor : impl_->acceptors) impl_->listening.push_back(acceptor->address());
  return {};
}

const std::vector<std::string>& HttpServer::listening() const { return impl_->listening; }
size_t HttpServer::connections() const { return impl_->open(); }

}  // namespace tessera
