// What a replica hears from whoever answers at its primary's address: handshake replies, images of both forms, the stream.
// Whole and in pieces it does the same; without a full synchronisation nothing is replaced; afterwards the server is well.
//
//   input = mode u8, what the primary sends before it closes the connection
// `mode`: bit 0 the replica has a past to continue, bit 1 checksums of images are verified.
#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include <fmt/core.h>

#include "persistence/rdb_writer.h"
#include "server/log.h"
#include "tests/fuzz/fuzz.h"
#include "tests/persistence/value_model.h"
#include "tests/support/command_fixture.h"

using namespace tessera;

namespace {

constexpr std::string_view kPastId = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
constexpr int64_t kPastOffset = 100;
constexpr int64_t kPatienceUs = 20'000'000;

void Require(bool holds, std::string_view what) {
  if (holds) return;
  fmt::print(stderr, "not so: {}\n", what);
  std::abort();
}

// The primary's side, and a directory for the files of its images.
class Primary {
 public:
  Primary() {
    char directory[] = "/tmp/psync-fuzz-XXXXXX";
    Require(mkdtemp(directory) != nullptr && chdir(directory) == 0, "a directory");
    directory_ = directory;
    (void)log::Open("/dev/null", log::Level::kWarning);
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    Require(bind(listener_, reinterpret_cast<sockaddr*>(&address), length) == 0 && listen(listener_, 8) == 0, "a listener");
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
  }
  ~Primary() {
    close(listener_);
    std::filesystem::remove_all(directory_);
  }
  int port() const { return port_; }
  int Accept() { return accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); }
  bool HasTemporaryFiles() const {
    for (const auto& entry : std::filesystem::directory_iterator(directory_))
      if (entry.path().filename().string().starts_with("temp-")) return true;
    return false;
  }

 private:
  std::string directory_;
  int listener_ = -1, port_ = 0;
};

Primary& ThePrimary() {
  static Primary primary;
  return primary;
}

// What a replica made of it.
struct Outcome {
  std::map<std::string, std::string> values;  // by database and key
  int64_t offset = 0, offset_before = 0;
  std::string id;  // unless it is one of its own
  bool operator==(const Outcome&) const = default;
};

Outcome Deliver(std::string_view bytes, uint8_t mode, size_t piece) {
  CommandFixture server;
  server.loop.UseClock([] { return Now{CommandFixture::kStartMs, MonotonicUs()}; });
  server.loop.SleepNoLongerThan([] { return int64_t{1}; });
  server.options.mutable_config().rdbchecksum = (mode & 2) != 0;
  Require(server("SET before 1") == "+OK", "SET");
  const int64_t offset_before = mode & 1 ? kPastOffset : server.replication.offset();
  if (mode & 1) server.replication.RestoreHistory(kPastId, kPastOffset, 0, true);

  auto until = [&](std::string_view what, const std::function<bool()>& done) {
    const int64_t end = MonotonicUs() + kPatienceUs;
    server.loop.RunUntil([&] {
      Require(MonotonicUs() < end, what);
      return done();
    });
  };
  int peer = -1;
  server(fmt::format("REPLICAOF 127.0.0.1 {}", ThePrimary().port()));
  until("the replica dials", [&] { return (peer = ThePrimary().Accept()) >= 0; });
  int turns = 0;
  for (std::string_view rest = bytes; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size()))) {
    std::string_view part = rest.substr(0, piece);
    until("the replica reads or hangs up", [&] {
      const ssize_t n = send(peer, part.data(), part.size(), MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) part = {};
      if (n > 0) part.remove_prefix(static_cast<size_t>(n));
      return part.empty();
    });
    turns = 0;
    server.loop.RunUntil([&] { return ++turns > 3; });
  }
  shutdown(peer, SHUT_WR);
  until("the replica hangs up", [&] {
    char heard[4096];
    const ssize_t n = recv(peer, heard, sizeof heard, 0);
    return n == 0 || (n < 0 && errno != EAGAIN);
  });
  close(peer);
  server.disk.Drain();

  Outcome outcome;
  outcome.offset = server.replication.offset();
  outcome.offset_before = offset_before;
  outcome.id = server.replication.replication_id();
  if (bytes.find(outcome.id) == std::string_view::npos && outcome.id != kPastId) outcome.id.clear();
  Require(outcome.offset >= 0, "the offset is no offset");
  Require(outcome.offset <= INT64_MAX / 2, "the offset has room to grow");
  Require(server.replication.is_replica(), "still a replica");
  Require(!server.loop.stopped(), "still running");
  Require(server("REPLICAOF NO ONE") == "+OK", "a primary again");
  Require(!ThePrimary().HasTemporaryFiles(), "no file is left over");
  Require(server("PING") == "+PONG" && server("SET after 2") == "+OK" && server("GET after") == "\"2\"", "it serves");
  for (int db = 0; db < 16; ++db) {
    Require(server(fmt::format("SELECT {}", db)) == "+OK", "SELECT");
    const auto keys = server.Execute(server.session, {"KEYS", "*"});
    const auto size = server.Execute(server.session, {"DBSIZE"});
    Require(size.integer == static_cast<int64_t>(keys.elements.size()), "every key is counted once");
    for (const auto& key : keys.elements) {
      const auto value = server.Execute(server.session, {"DUMP", key.text});
      Require(!value.IsError() && !value.IsNull(), "every value can be dumped");
      outcome.values[fmt::format("{} {}", db, key.text)] = value.text;
    }
  }
  return outcome;
}

std::string Command(std::initializer_list<std::string_view> words) {
  std::string frame = fmt::format("*{}\r\n", words.size());
  for (std::string_view word : words) frame += fmt::format("${}\r\n{}\r\n", word.size(), word);
  return frame;
}

}  // namespace

std::vector<std::string> FuzzCorpus() {
  const std::string handshake = "+PONG\r\n+OK\r\n+OK\r\n";
  const std::string id(40, 'b'), mark(40, 'e');
  std::string image;
  persistence::RdbWriter writer(&image, {});
  writer.Header({.replication_id = id, .replication_offset = 7, .replication_database = 3});
  Walk({{0, persistence::SampleValues()}}, writer);
  writer.End();
  std::string absurd;
  persistence::RdbWriter absurd_writer(&absurd, {});
  absurd_writer.Header({.replication_id = id, .replication_offset = -7, .replication_database = 1'000'000});
  absurd_writer.End();
  const std::string full = handshake + "+FULLRESYNC " + id + " 1000\r\n\n\n";
  const std::string by_length = full + fmt::format("${}\r\n", image.size()) + image;
  const std::string stream = Command({"SELECT", "1"}) + Command({"SET", "k", "v"}) + Command({"PING"}) + "\r\n" +
                             Command({"MULTI"}) + Command({"HSET", "h", "f", "v"}) + Command({"RPUSH", "l", "1", "2"}) +
                             Command({"EXEC"}) + Command({"REPLCONF", "GETACK", "*"}) + Command({"DEL", "k", "before"}) +
                             Command({"XADD", "s", "1-1", "a", "b"}) + Command({"PEXPIREAT", "h", "99999999999999"});
  // Nothing that a primary ever sends.
  std::vector<std::string> strange;
  for (const auto& command :
       {Command({"REPLICAOF", "NO", "ONE"}), Command({"REPLICAOF", "127.0.0.1", "1"}), Command({"SHUTDOWN", "NOSAVE"}),
        Command({"BLPOP", "none", "0"}), Command({"SUBSCRIBE", "c"}), Command({"MONITOR"}), Command({"PSYNC", "?", "-1"}),
        Command({"WAIT", "1", "0"}), Command({"CLIENT", "KILL", "TYPE", "master"}), Command({"CLIENT", "PAUSE", "100000"}),
        Command({"CLIENT", "REPLY", "OFF"}), Command({"RESET"}), Command({"QUIT"}), Command({"HELLO", "3"}),
        Command({"EXEC"}), Command({"DISCARD"}), Command({"WATCH", "k"}), Command({"XREAD", "BLOCK", "0", "STREAMS", "s", "$"}),
        Command({"MIGRATE", "127.0.0.1", "1", "k", "0", "1000"}), Command({"DEBUG", "JMAP"}), Command({"FAILOVER"}),
        Command({"CONFIG", "SET", "maxmemory", "1"}), Command({"SWAPDB", "0", "99"}), Command({"SELECT", "-1"}),
        Command({"SELECT", "99999999999"}), Command({"SAVE"}), Command({"BGREWRITEAOF"}), Command({"SYNC"}),
        Command({"FLUSHALL"}), Command({"COPY", "before", "x", "DB", "77"}), Command({"RESTORE", "k", "0", "garbage"})})
    strange.push_back(command);

  std::vector<std::string> corpus;
  for (char mode : {'\0', '\1', '\2'}) {
    auto add = [&](std::string text) { corpus.push_back(mode + std::move(text)); };
    add(by_length + stream);
    add(full + "$EOF:" + mark + "\r\n" + image + mark);
    add(handshake + "+CONTINUE\r\n" + stream);
    add(handshake + "+CONTINUE " + id + "\r\n" + stream + stream);
    add("-NOAUTH Authentication required.\r\n-ERR x\r\n-ERR x\r\n-NOMASTERLINK no\r\n");
    add("+PONG\r\n$40\r\n\n\n+OK\r\n-LOADING\r\n");
    add(full + fmt::format("${}\r\n", absurd.size()) + absurd + stream);
    for (const char* offset : {"-1", "9223372036854775807", "99999999999999999999", "x", "", "1 2"})
      add(handshake + "+FULLRESYNC " + id + " " + offset + "\r\n" + fmt::format("${}\r\n", image.size()) + image + stream);
    for (const char* wrong : {"short", "", " ", "\x01\x02"})
      add(handshake + "+FULLRESYNC " + wrong + " 5\r\n$0\r\n");
    for (const char* length : {"-1", "0", "5x", "18446744073709551615", "99999999999999999999", "EOF:short", ""})
      add(full + "$" + length + "\r\n" + image);
    for (const std::string& command : strange) add(by_length + command + stream);
    for (const std::string& command : strange) add(handshake + "+CONTINUE " + id + "\r\n" + Command({"MULTI"}) + command +
                                                   Command({"EXEC"}) + stream);
  }
  return corpus;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = Deliver(bytes, data[0], std::string_view::npos);
  if (bytes.find("+FULLRESYNC ") == std::string_view::npos && bytes.find("+CONTINUE") == std::string_view::npos) {
    Require(whole.offset == whole.offset_before, "nobody moved the offset");
    Require(whole.values.size() == 2 && whole.values.contains("0 before"), "the data is what it was");
  }
  // The mark at the end of such an image is seen where a piece ends: the primary sends nothing behind it until it is asked.
  if (bytes.find("$EOF:") != std::string_view::npos) return 0;
  const Outcome pieces = Deliver(bytes, data[0], 1 + bytes.size() / (2 + bytes.size() % 31));
  Require(pieces == whole, "pieces mean what the whole means");
  return 0;
}
