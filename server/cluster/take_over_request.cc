#include "server/cluster/take_over_request.h"

#include <fmt/core.h>

#include <initializer_list>
#include <utility>

#include "server/net/event_loop.h"

namespace tessera {
namespace {

constexpr int kTimeoutMs = 1000;

std::string Frame(std::initializer_list<std::string_view> words) {
  std::string frame = fmt::format("*{}\r\n", words.size());
  for (std::string_view word : words) frame += fmt::format("${}\r\n{}\r\n", word.size(), word);
  return frame;
}

}  // namespace

TakeOverRequest::TakeOverRequest(EventLoop& loop, const config::Config& config, const cluster::Endpoint& replica,
                                 Refused refused)
    : refused_(std::move(refused)) {
  link_ = TcpLink::Connect(
      loop,
      {.host = replica.ip, .port = replica.port, .source_address = config.bind_source_addr, .timeout_ms = kTimeoutMs},
      {.connected = [] {},
       .received = [this](std::string_view bytes) { Received(bytes); },
       .closed = [this](const std::string& reason) { Fail(reason); }});
  if (!config.masterauth.empty()) {
    ++answers_due_;
    link_->Send(config.masteruser.empty() ? Frame({"AUTH", config.masterauth})
                                          : Frame({"AUTH", config.masteruser, config.masterauth}));
  }
  link_->Send(Frame({"CLUSTER", "FAILOVER"}));
}

void TakeOverRequest::Received(std::string_view bytes) {
  input_.append(bytes);
  for (size_t end; answers_due_ > 0 && (end = input_.find("\r\n")) != std::string::npos;) {
    const std::string line = input_.substr(0, end);
    input_.erase(0, end + 2);
    // A password where none is needed is no reason to give up.
    const bool is_auth = answers_due_ == 2;
    --answers_due_;
    if (!line.starts_with('-') || is_auth) continue;
    return Fail(fmt::format("it answers '{}'", line));
  }
}

void TakeOverRequest::Fail(const std::string& reason) {
  if (answers_due_ == 0 && !reason.starts_with("it answers")) return;  // told, and hung up since
  answers_due_ = 0;
  // The owner may drop this object in the call.
  if (auto refused = std::exchange(refused_, nullptr)) refused(reason);
}

}  // namespace tessera
