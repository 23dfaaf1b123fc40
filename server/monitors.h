// MONITOR: clients that are shown every command the server executes, secrets blotted out. Sessions are not owned:
// whoever ends one calls Remove. Loop thread.
// Source of the line format: `+<seconds>.<microseconds> [<db> <address>] "word" ...`, as Redis 7.2 writes it.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "server/secret_arguments.h"
#include "server/session.h"

namespace tessera {

class Monitors {
 public:
  bool empty() const { return sessions_.empty(); }
  void Add(Session& session);
  void Remove(Session& session);
  // `by` has executed a command and is now in database by.db.
  void Show(const Session& by, std::span<const std::string_view> argv, SecretArguments secrets);

 private:
  std::vector<Session*> sessions_;
};

}  // namespace tessera
