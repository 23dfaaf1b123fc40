// A redis-server of this machine, as the judge of our files: on a Unix socket, with a directory of its own, stopped by
// the destructor.
#pragma once

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "persistence/aof_writer.h"

namespace tessera::persistence {

inline bool HaveProgram(const std::string& name) {
  return system(("command -v " + name + " > /dev/null 2>&1").c_str()) == 0;
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char name[] = "/tmp/tessera-redis-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class RedisProcess {
 public:
  // Starts in `directory` with further options; ready() tells whether it answered.
  RedisProcess(const std::string& directory, std::vector<std::string> options) : socket_path_(directory + "/socket") {
    std::vector<std::string> words = {"redis-server",     "--port", "0",       "--unixsocket",
                                      socket_path_,       "--dir",  directory, "--logfile",
                                      directory + "/log", "--save", ""};
    words.insert(words.end(), options.begin(), options.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // also when the test crashes
      execvp(argv[0], argv.data());
      _exit(127);
    }
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(90);
    while (std::chrono::steady_clock::now() < deadline) {
      if (waitpid(child_, nullptr, WNOHANG) == child_) {
        child_ = -1;
        return;
      }
      if (Connect() && Call({"PING"}) == "PONG") {
        ready_ = true;
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  ~RedisProcess() { Stop(); }

  bool ready() const { return ready_; }
  void Stop() {
    if (descriptor_ >= 0) close(descriptor_);
    descriptor_ = -1;
    if (child_ > 0) {
      kill(child_, SIGTERM);
      waitpid(child_, nullptr, 0);
    }
    child_ = -1;
  }

  // The reply without its RESP clothes: "(nil)" for none, "[a b [c]]" for arrays.
  std::string Call(std::vector<std::string_view> argv) {
    std::string bytes;
    AppendCommand(argv, &bytes);
    if (send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) return "";
    return ReadReply();
  }

 private:
  bool Connect() {
    if (descriptor_ >= 0) close(descriptor_);
    buffer_.clear();
    descriptor_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    socket_path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    return connect(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  std::string ReadReply() {
    std::string line = ReadLine();
    if (line.empty()) return line;
    if (line[0] == '*') {
      std::string text = "[";
      for (long count = std::stol(line.substr(1)); count > 0; --count)
        text += (text.size() > 1 ? " " : "") + ReadReply();
      return text + "]";
    }
    if (line[0] != '$') return line.substr(1);
    long length = std::stol(line.substr(1));
    if (length < 0) return "(nil)";
    while (buffer_.size() < static_cast<size_t>(length) + 2 && Receive()) {
    }
    std::string value = buffer_.substr(0, static_cast<size_t>(length));
    buffer_.erase(0, static_cast<size_t>(length) + 2);
    return value;
  }
  bool Receive() {
    char bytes[65536];
    ssize_t count = recv(descriptor_, bytes, sizeof(bytes), 0);
    if (count <= 0) return false;
    buffer_.append(bytes, static_cast<size_t>(count));
    return true;
  }
  std::string ReadLine() {
    size_t end;
    while ((end = buffer_.find("\r\n")) == std::string::npos) {
      if (!Receive()) return "";
    }
    std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 2);
    return line;
  }

  std::string socket_path_;
  pid_t child_ = -1;
  int descriptor_ = -1;
  bool ready_ = false;
  std::string buffer_;
};

}  // namespace tessera::persistence
