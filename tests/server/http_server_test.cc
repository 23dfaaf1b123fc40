#include "server/net/http_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>

#include "server/net/event_loop.h"
#include "server/net/tcp_link.h"

namespace tessera {
namespace {

uint16_t FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), length), 0);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  close(fd);
  return ntohs(address.sin_port);
}

// A client on the server's own loop.
struct Client {
  Client(EventLoop& loop, uint16_t port) : loop(loop) {
    link = TcpLink::Connect(loop, {.host = "127.0.0.1", .port = port},
                            {.connected = [] {},
                             .received = [this](std::string_view bytes) { text += bytes; },
                             .closed = [this](const std::string&) { closed = true; }});
  }
  ~Client() { link->Close(); }
  void Send(std::string_view bytes) { link->Send(bytes); }
  // Until the whole end of what has been received is `part`, or the connection is closed.
  bool Ends(std::string_view part) {
    loop.RunUntil([&] { return closed || text.ends_with(part); });
    return text.ends_with(part);
  }
  bool Closes() {
    loop.RunUntil([&] { return closed; });
    return closed;
  }
  int status() const { return text.size() < 12 ? 0 : std::stoi(text.substr(9, 3)); }

  EventLoop& loop;
  std::shared_ptr<TcpLink> link;
  std::string text;
  bool closed = false;
};

class HttpServerTest : public testing::Test {
 protected:
  void Start(HttpServer::Limits limits = {}) {
    server = std::make_unique<HttpServer>(
        loop,
        [this](std::string_view path) {
          asked.emplace_back(path);
          if (path == "/large") return HttpServer::Response{.body = std::string(4 << 20, 'x') + "end"};
          return path == "/ok" ? HttpServer::Response{.body = "fine"}
                               : HttpServer::Response{.status = 404, .body = "none"};
        },
        limits);
    // Whoever connects to somewhere else meanwhile may get the port that was free.
    std::string error = server->Listen({"127.0.0.1"}, port, 16);
    for (int attempt = 0; !error.empty() && attempt < 20; ++attempt) {
      port = FreePort();
      error = server->Listen({"127.0.0.1"}, port, 16);
    }
    ASSERT_EQ(error, "");
  }

  EventLoop loop;
  uint16_t port = FreePort();
  std::vector<std::string> asked;
  std::unique_ptr<HttpServer> server;
};

TEST_F(HttpServerTest, AnswersSeveralRequestsOfAConnection) {
  Start();
  Client client(loop, port);
  client.Send("GET /ok?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(client.Ends("\r\n\r\nfine"));
  EXPECT_EQ(client.status(), 200);
  client.Send("GET /other HTTP/1.1\r\nHost: a\r\n\r\nGET /ok HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(client.Closes());
  EXPECT_TRUE(client.text.find("404 Not Found") != std::string::npos);
  EXPECT_EQ(asked, (std::vector<std::string>{"/ok", "/other", "/ok"}));
}

TEST_F(HttpServerTest, AnswersARequestThatComesByteByByte) {
  Start();
  Client client(loop, port);
  for (char c : std::string("GET /ok HTTP/1.0\r\nA: b\r\n\r\n")) {
    client.Send(std::string_view(&c, 1));
    loop.RunUntil([&] { return client.link->pending() == 0; });
  }
  EXPECT_TRUE(client.Closes());
  EXPECT_TRUE(client.text.ends_with("\r\n\r\nfine"));
}

TEST_F(HttpServerTest, AnswersHeadWithoutABody) {
  Start();
  Client client(loop, port);
  client.Send("HEAD /ok HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(client.Closes());
  EXPECT_TRUE(client.text.find("Content-Length: 4\r\n") != std::string::npos);
  EXPECT_TRUE(client.text.ends_with("\r\n\r\n"));
}

TEST_F(HttpServerTest, SendsWhatDoesNotFitIntoTheSocket) {
  Start();
  Client client(loop, port);
  client.Send("GET /large HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(client.Ends("xend"));
  EXPECT_GT(client.text.size(), size_t{4} << 20);
}

TEST_F(HttpServerTest, RefusesWhatItDoesNotServe) {
  Start();
  const std::pair<std::string, int> cases[] = {
      {"POST /ok HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405},
      {"DELETE /ok HTTP/1.1\r\n\r\n", 405},
      {"nonsense\r\n\r\n", 400},
      {"*1\r\n$4\r\nPING\r\n", 400},
      {"GET /ok HTTP/9.9\r\n\r\n", 400},
      {std::string("GET /ok HTTP/1.1\r\nA: ") + std::string(9000, 'a') + "\r\n\r\n", 431},
      {"POST /ok HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", 413},
      {"POST /ok HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400},
  };
  for (const auto& [request, status] : cases) {
    Client client(loop, port);
    client.Send(request);
    EXPECT_TRUE(client.Closes());
    EXPECT_EQ(client.status(), status) << request.substr(0, 40);
  }
  EXPECT_TRUE(asked.empty());
}

TEST_F(HttpServerTest, GivesUpOnSlowRequests) {
  Start({.request_ms = 30});
  Client silent(loop, port), slow(loop, port);
  slow.Send("GET /ok HTTP/1.1\r\n");
  EXPECT_TRUE(silent.Closes());
  EXPECT_TRUE(slow.Closes());
  loop.RunUntil([&] { return server->connections() == 0; });
}

TEST_F(HttpServerTest, ClosesTheOldestOfTooManyConnections) {
  Start({.connections = 3});
  std::vector<std::unique_ptr<Client>> idle;
  for (int i = 0; i < 8; ++i) {
    idle.push_back(std::make_unique<Client>(loop, port));
    idle.back()->Send("G");
  }
  loop.RunUntil([&] {
    size_t closed = 0;
    for (const auto& client : idle) closed += client->closed;
    return closed == 5;
  });
  EXPECT_LE(server->connections(), 3u);
  Client client(loop, port);
  client.Send("GET /ok HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(client.Ends("fine"));
}

TEST_F(HttpServerTest, SurvivesItsOwnEndWithConnectionsOpen) {
  Start();
  Client client(loop, port);
  client.Send("GET /ok HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(client.Ends("fine"));
  server.reset();
  EXPECT_TRUE(client.Closes());
}

TEST_F(HttpServerTest, SurvivesRandomRequests) {
  Start();
  std::mt19937 random(11);
  const std::string good =
      "GET /ok?a=b HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: 2\r\nTransfer-Encoding: "
      "chunked\r\n\r\n0\r\n\r\n";
  for (int round = 0; round < 300; ++round) {
    std::string request = good.substr(0, 1 + random() % good.size());
    for (size_t changes = random() % 6; changes > 0; --changes)
      request[random() % request.size()] = static_cast<char>(random() % 3 == 0 ? "\r\n: \0/"[random() % 6] : random());
    Client client(loop, port);
    client.Send(request);
    loop.RunUntil([&] { return client.closed || client.link->pending() == 0; });
  }
  Client client(loop, port);
  client.Send("GET /ok HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(client.Ends("fine"));
}

}  // namespace
}  // namespace tessera
