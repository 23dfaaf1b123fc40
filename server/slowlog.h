// The commands that took longer than slowlog-log-slower-than, newest first, at most slowlog-max-len. Loop thread.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <span>
#include <vector>

#include "server/secret_arguments.h"

namespace tessera {

class SlowLog {
 public:
  struct Entry {
    int64_t id;
    int64_t unix_s;
    int64_t duration_us;
    std::vector<std::string> argv;  // shortened to 32 arguments of 128 bytes as Redis shows them
    std::string peer, client_name;
  };
  void Add(std::span<const std::string_view> argv, int64_t unix_s, int64_t duration_us, std::string_view peer,
           std::string_view client_name, SecretArguments secrets, size_t max_len);
  void Clear() { entries_.clear(); }
  void Trim(size_t max_len) {
    while (entries_.size() > max_len) entries_.pop_back();
  }
  const std::deque<Entry>& entries() const { return entries_; }

 private:
  int64_t next_id_ = 0;
  std::deque<Entry> entries_;
};

}  // namespace tessera
