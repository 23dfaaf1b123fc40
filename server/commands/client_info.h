// One client in the words of CLIENT LIST, and the filters that CLIENT LIST and CLIENT KILL share.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "server/commands/table.h"
#include "server/session.h"

namespace tessera {

inline constexpr std::string_view kBadClientName =
    "ERR Client names cannot contain spaces, newlines or special characters.";

// Printable ASCII without spaces, so that CLIENT LIST stays readable by machines; empty is fine.
bool IsValidClientText(std::string_view text);

// A line of CLIENT LIST, without its end.
std::string DescribeClient(const Session& session, const CommandTable& commands, int64_t now_us);

enum class ClientType : uint8_t { kNormal, kReplica, kPubsub, kPrimary };
ClientType TypeOf(const Session& session);
// "normal", "replica" or "slave", "pubsub", "master"; in any case.
std::optional<ClientType> ClientTypeByName(std::string_view name);

struct ClientFilter {
  std::optional<uint64_t> id;
  std::optional<ClientType> type;
  std::optional<std::string> user, address, local_address;
  std::optional<int64_t> max_age_s;  // older than this
  bool Matches(const Session& session, int64_t now_us) const;
};
// The filters of CLIENT KILL: option, value, option, value ... `skip_me` changes only when SKIPME is given. Returns the
// error reply, or an empty string.
std::string ReadClientFilter(std::span<const std::string_view> words, ClientFilter& filter, bool& skip_me);

}  // namespace tessera
