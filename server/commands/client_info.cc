#include "server/commands/client_info.h"

#include <fmt/core.h>

#include <algorithm>

#include "protocol/args.h"
#include "protocol/number.h"
#include "server/client_limits.h"

namespace tessera {
namespace {

std::string FlagLetters(const Session& session) {
  std::string letters;
  auto add = [&letters](bool set, char letter) {
    if (set) letters += letter;
  };
  add(session.monitoring, 'O');
  add(session.kind == SessionKind::kReplica, 'S');
  add(session.kind == SessionKind::kPrimary, 'M');
  add(session.subscribed.any(), 'P');
  add(session.transaction.open, 'x');
  add(session.is_blocked(), 'b');
  add(session.transaction.watch_broken, 'd');
  add(session.close_asap, 'A');
  add(session.unix_socket, 'U');
  add(session.readonly, 'r');
  add(session.no_evict, 'e');
  add(session.no_touch, 'T');
  return letters.empty() ? "N" : letters;
}

}  // namespace

bool IsValidClientText(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '!' && c <= '~'; });
}

std::string DescribeClient(const Session& session, const CommandTable& commands, int64_t now_us) {
  const SessionLink::Figures link = session.link != nullptr ? session.link->figures() : SessionLink::Figures();
  const int64_t age_s = (now_us - session.created_us) / 1000000;
  const int64_t idle_s = std::max<int64_t>(0, now_us - session.last_interaction_us) / 1000000;
  const std::string command =
      session.last_command == nullptr ? std::string("NULL") : commands.FullName(*session.last_command);
  const protocol::OutputBuffer::Chunks chunks = session.out.chunks();
  return fmt::format(
      "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} qbuf={} "
      "qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={} omem={} tot-mem={} events={} cmd={} user={} "
      "redir={} resp={} lib-name={} lib-ver={}",
      session.id, session.peer, session.local, link.fd, session.name, age_s, idle_s, FlagLetters(session), session.db,
      session.subscribed.channels, session.subscribed.patterns, session.subscribed.shard_channels,
      session.transaction.open ? static_cast<int64_t>(session.transaction.commands.size()) : -1, link.query_buffer,
      link.query_buffer_free, session.argv_bytes, session.transaction.bytes, chunks.first_capacity, chunks.first_capacity,
      chunks.first_bytes, chunks.more, session.out.allocated() - chunks.first_capacity,
      ClientLimits::MemoryOf(session) + session.argv_bytes,
      link.want_write ? "rw" : "r", command, session.user, -1, session.reply.version(), session.lib_name,
      session.lib_version);
}

ClientType TypeOf(const Session& session) {
  if (session.kind == SessionKind::kPrimary) return ClientType::kPrimary;
  if (session.kind == SessionKind::kReplica) return ClientType::kReplica;
  return session.subscribed.any() ? ClientType::kPubsub : ClientType::kNormal;
}

std::optional<ClientType> ClientTypeByName(std::string_view name) {
  using protocol::EqualsIgnoreCase;
  if (EqualsIgnoreCase(name, "normal")) return ClientType::kNormal;
  if (EqualsIgnoreCase(name, "replica") || EqualsIgnoreCase(name, "slave")) return ClientType::kReplica;
  if (EqualsIgnoreCase(name, "pubsub")) return ClientType::kPubsub;
  if (EqualsIgnoreCase(name, "master")) return ClientType::kPrimary;
  return std::nullopt;
}

bool ClientFilter::Matches(const Session& session, int64_t now_us) const {
  return (!id || session.id == *id) && (!type || TypeOf(session) == *type) && (!user || session.user == *user) &&
         (!address || session.peer == *address) && (!local_address || session.local == *local_address) &&
         (!max_age_s || (now_us - session.created_us) / 1000000 >= *max_age_s);
}

std::string ReadClientFilter(std::span<const std::string_view> words, ClientFilter& filter, bool& skip_me) {
  protocol::ArgReader args(words, 0);
  while (args.HasNext()) {
    if (args.Check("ID", 1)) {
      const auto id = protocol::ParseInt64(args.Next());
      if (!id || *id <= 0) return "ERR client-id should be greater than 0";
      filter.id = static_cast<uint64_t>(*id);
    } else if (args.Check("TYPE", 1)) {
      const std::string_view name = args.Next();
      filter.type = ClientTypeByName(name);
      if (!filter.type) return fmt::format("ERR Unknown client type '{}'", name);
    } else if (args.Check("ADDR", 1)) {
      filter.address = args.Next();
    } else if (args.Check("LADDR", 1)) {
      filter.local_address = args.Next();
    } else if (args.Check("USER", 1)) {
      filter.user = args.Next();
      if (*filter.user != "default") return fmt::format("ERR No such user '{}'", *filter.user);
    } else if (args.Check("MAXAGE", 1)) {
      const auto age = protocol::ParseInt64(args.Next());
      if (!age) return "ERR maxage is not an integer or out of range";
      if (*age <= 0) return "ERR maxage should be greater than 0";
      filter.max_age_s = *age;
    } else if (args.Check("SKIPME", 1)) {
      const std::string_view answer = args.Next();
      skip_me = protocol::EqualsIgnoreCase(answer, "yes");
      if (!skip_me && !protocol::EqualsIgnoreCase(answer, "no")) args.SyntaxError();
    } else {
      args.SyntaxError();
    }
  }
  return args.error();
}

}  // namespace tessera
