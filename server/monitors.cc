#include "server/monitors.h"

#include <fmt/core.h>

#include <string>

#include "protocol/split_args.h"
#include "server/clock.h"

namespace tessera {

void Monitors::Add(Session& session) {
  session.monitoring = true;
  sessions_.push_back(&session);
}

void Monitors::Remove(Session& session) {
  if (!session.monitoring) return;
  session.monitoring = false;
  std::erase(sessions_, &session);
}

void Monitors::Show(const Session& by, std::span<const std::string_view> argv, SecretArguments secrets) {
  const int64_t now_us = UnixUs();
  const std::string_view unix_prefix = by.unix_socket ? "unix:" : "";
  std::string_view address = by.peer;
  if (by.unix_socket && address.ends_with(":0")) address.remove_suffix(2);
  std::string line = fmt::format("+{}.{:06} [{} {}{}]", now_us / 1'000'000, now_us % 1'000'000, by.db, unix_prefix, address);
  for (size_t i = 0; i < argv.size(); ++i) {
    line += ' ';
    line += protocol::Quoted(secrets.contains(i) ? kBlottedOut : argv[i]);
  }
  line += "\r\n";
  for (Session* session : sessions_)
    if (!session->muted()) session->Push(line);
}

}  // namespace tessera
