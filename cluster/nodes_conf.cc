// Text forms of the node table: CLUSTER NODES, and nodes.conf as Redis 7.2 writes it.
//
//   file  = *line vars
//   line  = id SP address SP flags SP ( primary-id / "-" ) SP ping-sent SP pong-received SP config-epoch SP link-state
//           *( SP slots ) LF
//   address = ip ":" port "@" bus-port [ "," hostname *( "," name "=" value ) ]
//             names: shard-id, nodename, tcp-port, tls-port; with separate addresses for clients Valkey's client-ipv4,
//             client-ipv6, client-tcp-port, client-tls-port (which Redis does not read)
//   slots = n / n "-" m / "[" n "->-" id "]" / "[" n "-<-" id "]"       (brackets on the "myself" line only)
//   vars  = "vars currentEpoch " n " lastVoteEpoch " n LF
//
// Redis 6.2 and 7.0 files (no names, perhaps no hostname) are read as well.
#include <algorithm>
#include <charconv>
#include <iterator>

#include "cluster/core_impl.h"

namespace tessera::cluster {
namespace {

struct FlagName {
  uint16_t flag;
  std::string_view name;
};
constexpr FlagName kFlagNames[] = {
    {kMyself, "myself"}, {kPrimary, "master"},      {kReplica, "slave"},    {kPfail, "fail?"},
    {kFail, "fail"},     {kHandshake, "handshake"}, {kNoAddress, "noaddr"}, {kNoFailover, "nofailover"}};

template <typename N>
bool ParseNumber(std::string_view text, N& n) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::vector<std::string_view> Split(std::string_view text, char separator, bool skip_empty) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t at = text.find(separator);
    std::string_view part = text.substr(0, at);
    if (!part.empty() || !skip_empty) parts.push_back(part);
    if (at == text.npos) return parts;
    text.remove_prefix(at + 1);
  }
}

void AppendSlotRanges(std::string& text, const SlotSet& slots) {
  for (size_t from = FirstSlot(slots); from < kSlotCount;) {
    size_t to = from;
    while (to + 1 < kSlotCount && slots.test(to + 1)) ++to;
    if (from == to)
      fmt::format_to(std::back_inserter(text), " {}", from);
    else
      fmt::format_to(std::back_inserter(text), " {}-{}", from, to);
    from = NextSlot(slots, to);
  }
}

std::string ParseAddress(std::string_view field, bool tls_cluster, NodeView& node) {
  auto parts = Split(field, ',', false);
  std::string_view address = parts[0];
  size_t colon = address.rfind(':');
  if (colon == address.npos) return "the address has no port";
  Endpoint& e = node.endpoint;
  e.ip = address.substr(0, colon);
  auto ports = Split(address.substr(colon + 1), '@', false);
  uint16_t port = 0;
  if (!ParseNumber(ports[0], port)) return "the port is not a number from 0 to 65535";
  if (ports.size() > 2 || (ports.size() == 2 && !ParseNumber(ports[1], e.bus_port)))
    return "the bus port is not a number from 0 to 65535";
  if (ports.size() == 1) e.bus_port = static_cast<uint16_t>(port + 10000);
  if (parts.size() > 1) e.hostname = parts[1];
  bool has_tcp = false, has_tls = false;
  for (size_t i = 2; i < parts.size(); ++i) {
    size_t equals = parts[i].find('=');
    if (equals == parts[i].npos) return fmt::format("'{}' is not name=value", parts[i]);
    std::string_view name = parts[i].substr(0, equals), value = parts[i].substr(equals + 1);
    if (name == "shard-id") {
      if (!NodeId::IsValid(value)) return "the shard-id is not 40 hexadecimal digits";
      node.shard_id = NodeId(value);
    } else if (name == "nodename") {
      node.human_nodename = value;
    } else if (name == "tcp-port") {
      if (!ParseNumber(value, e.port)) return "the tcp-port is not a number from 0 to 65535";
      has_tcp = true;
    } else if (name == "tls-port") {
      if (!ParseNumber(value, e.tls_port)) return "the tls-port is not a number from 0 to 65535";
      has_tls = true;
    } else if (name == "client-ipv4") {
      e.client.ipv4 = value;
    } else if (name == "client-ipv6") {
      e.client.ipv6 = value;
    } else if (name == "client-tcp-port") {
      if (!ParseNumber(value, e.client.port)) return "the client-tcp-port is not a number from 0 to 65535";
    } else if (name == "client-tls-port") {
      if (!ParseNumber(value, e.client.tls_port)) return "the client-tls-port is not a number from 0 to 65535";
    } else {
      return fmt::format("unknown field '{}'", name);
    }
  }
  if (has_tcp && has_tls) return "";
  const bool port_is_tls = has_tcp || (!has_tls && tls_cluster);
  (port_is_tls ? e.tls_port : e.port) = port;
  return "";
}

}  // namespace

std::string FlagsText(uint16_t flags) {
  std::string text;
  for (const FlagName& f : kFlagNames) {
    if (!(flags & f.flag)) continue;
    if (!text.empty()) text += ',';
    text += f.name;
  }
  return text.empty() ? "noflags" : text;
}

// For nodes.conf when nobody asks.
void Core::Impl::AppendNodeLine(std::string& text, const NodeView& node, std::optional<Audience> who) const {
  const Endpoint& e = node.endpoint;
  const bool for_file = !who;
  auto put = std::back_inserter(text);
  fmt::format_to(put, "{} {}:{}@{}", node.id.view(), who ? IpFor(e, *who) : e.ip,
                 who                   ? PortFor(e, *who)
                 : options.tls_cluster ? e.tls_port
                                       : e.port,
                 e.bus_port);
  if (!e.hostname.empty() || for_file) fmt::format_to(put, ",{}", e.hostname);
  if (for_file) {
    if (options.tls_cluster)
      fmt::format_to(put, ",tcp-port={}", e.port);
    else
      fmt::format_to(put, ",tls-port={}", e.tls_port);
    if (!node.human_nodename.empty()) fmt::format_to(put, ",nodename={}", node.human_nodename);
    if (!e.client.ipv4.empty()) fmt::format_to(put, ",client-ipv4={}", e.client.ipv4);
    if (!e.client.ipv6.empty()) fmt::format_to(put, ",client-ipv6={}", e.client.ipv6);
    if (e.client.port != 0) fmt::format_to(put, ",client-tcp-port={}", e.client.port);
    if (e.client.tls_port != 0) fmt::format_to(put, ",client-tls-port={}", e.client.tls_port);
    fmt::format_to(put, ",shard-id={}", node.shard_id.view());
  }
  Epoch epoch = node.config_epoch;
  if (IsReplica(node))
    if (auto it = nodes.find(node.primary); it != nodes.end()) epoch = it->second.config_epoch;
  fmt::format_to(put, " {} {} {} {} {} {}", FlagsText(node.flags), node.primary.empty() ? "-" : node.primary.view(),
                 node.ping_sent_ms, node.pong_received_ms, epoch,
                 node.outbound_connected || &node == me ? "connected" : "disconnected");
  AppendSlotRanges(text, node.slots);
  if (&node != me) return;
  for (int slot = 0; slot < kSlotCount; ++slot) {
    if (migrating_to[slot]) fmt::format_to(put, " [{}->-{}]", slot, migrating_to[slot]->id.view());
    if (importing_from[slot]) fmt::format_to(put, " [{}-<-{}]", slot, importing_from[slot]->id.view());
  }
}

std::string Core::NodeLine(const NodeView& node, Audience who) const {
  std::string text;
  impl_->AppendNodeLine(text, node, who);
  return text;
}

std::string Core::NodesText(Millis, Audience who) const {
  std::string text;
  for (const auto& [id, node] : impl_->nodes) {
    impl_->AppendNodeLine(text, node, who);
    text += '\n';
  }
  return text;
}

std::string Core::Impl::StateText() const {
  std::string text;
  for (const auto& [id, node] : nodes) {
    if (InHandshake(node)) continue;
    AppendNodeLine(text, node, std::nullopt);
    text += '\n';
  }
  fmt::format_to(std::back_inserter(text), "vars currentEpoch {} lastVoteEpoch {}\n", current_epoch, last_vote_epoch);
  return text;
}

std::string Core::Impl::ParseState(std::string_view text) {
  struct OpenSlot {
    int line;
    Slot slot;
    bool migrating;
    NodeId other;
  };
  std::vector<OpenSlot> open_slots;
  std::vector<std::pair<int, NodeView*>> replicas;  // line, node: primaries may stand further down
  std::map<NodeId, int> with_shard;
  bool has_vars = false;
  int line_number = 0;
  auto fault = [&](int line, std::string_view reason) { return fmt::format("line {}: {}", line, reason); };

  for (std::string_view line : Split(text, '\n', false)) {
    ++line_number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    auto fields = Split(line, ' ', true);
    if (fields.empty()) continue;
    if (fields[0] == "vars") {
      if (fields.size() % 2 == 0) return fault(line_number, "vars need pairs of name and value");
      for (size_t i = 1; i < fields.size(); i += 2) {
        Epoch* variable = fields[i] == "currentEpoch"    ? &current_epoch
                          : fields[i] == "lastVoteEpoch" ? &last_vote_epoch
                                                         : nullptr;
        if (variable && !ParseNumber(fields[i + 1], *variable))
          return fault(line_number, fmt::format("{} is not a number", fields[i]));
      }
      has_vars = true;
      continue;
    }
    if (fields.size() < 8) return fault(line_number, "a node needs at least eight fields");
    if (!NodeId::IsValid(fields[0])) return fault(line_number, "the node id is not 40 hexadecimal digits");
    const NodeId id(fields[0]);
    if (Lookup(id)) return fault(line_number, "this node stands on an earlier line, too");
    NodeView* node = AddNode(id, 0);
    node->called = true;
    const NodeId random_shard = node->shard_id;
    if (auto reason = ParseAddress(fields[1], options.tls_cluster, *node); !reason.empty())
      return fault(line_number, reason);
    if (node->shard_id != random_shard) with_shard[id] = line_number;

    if (fields[2] != "noflags") {
      for (std::string_view name : Split(fields[2], ',', false)) {
        auto known = std::find_if(std::begin(kFlagNames), std::end(kFlagNames),
                                  [&](const FlagName& f) { return f.name == name; });
        if (known == std::end(kFlagNames)) return fault(line_number, fmt::format("unknown flag '{}'", name));
        node->flags |= known->flag;
      }
    }
    if (node->is(kMyself)) {
      if (me) return fault(line_number, "a second node is flagged myself");
      me = node;
    }
    if (IsPrimary(*node) && IsReplica(*node)) return fault(line_number, "the node is flagged master and slave");
    if (Failed(*node)) node->fail_since_ms = 0;  // of another life: the first pong clears it

    if (fields[3] != "-") {
      if (!NodeId::IsValid(fields[3])) return fault(line_number, "the primary's id is not 40 hexadecimal digits");
      node->primary = NodeId(fields[3]);
      replicas.emplace_back(line_number, node);
    }
    if (!ParseNumber(fields[4], node->ping_sent_ms)) return fault(line_number, "ping-sent is not a number");
    if (!ParseNumber(fields[5], node->pong_received_ms)) return fault(line_number, "pong-received is not a number");
    // Dates of another life: count from now.
    if (node->ping_sent_ms) node->ping_sent_ms = now;
    if (node->pong_received_ms) node->pong_received_ms = now;
    if (!ParseNumber(fields[6], node->config_epoch)) return fault(line_number, "the config epoch is not a number");

    for (size_t i = 8; i < fields.size(); ++i) {
      std::string_view field = fields[i];
      if (field[0] == '[') {
        size_t dash = field.find('-');
        Slot slot = 0;
        if (field.back() != ']' || dash == field.npos || !ParseNumber(field.substr(1, dash - 1), slot) ||
            slot >= kSlotCount || field.size() != dash + 3 + NodeId::kLength + 1 ||
            (field.substr(dash, 3) != "->-" && field.substr(dash, 3) != "-<-") ||
            !NodeId::IsValid(field.substr(dash + 3, NodeId::kLength)))
          return fault(line_number, fmt::format("'{}' is not an open slot", field));
        open_slots.push_back(
            {line_number, slot, field[dash + 1] == '>', NodeId(field.substr(dash + 3, NodeId::kLength))});
        continue;
      }
      auto ends = Split(field, '-', false);
      Slot from = 0, to = 0;
      if (ends.size() > 2 || !ParseNumber(ends.front(), from) || !ParseNumber(ends.back(), to) || from > to ||
          to >= kSlotCount)
        return fault(line_number, fmt::format("'{}' is not a range of slots", field));
      for (int slot = from; slot <= to; ++slot) {
        if (owner[slot]) return fault(line_number, fmt::format("slot {} is assigned twice", slot));
        AssignSlot(static_cast<Slot>(slot), node);
      }
    }
  }
  if (!me) return fault(line_number, "no node is flagged myself");
  if (!has_vars) return fault(line_number, "the vars line is missing: the file is not complete");
  for (auto [line, node] : replicas) {
    NodeView* primary = PrimaryOf(*node);
    if (!primary) return fault(line, "the primary is not in this file");
    primary->flags |= kMigrateTo;
    // A replica lives in its primary's shard; files before 7.2 know no shards.
    if (!with_shard.contains(primary->id) && with_shard.contains(node->id)) {
      primary->shard_id = node->shard_id;
      with_shard[primary->id] = line;
    }
    node->shard_id = primary->shard_id;
  }
  for (const OpenSlot& open : open_slots) {
    NodeView* other = Lookup(open.other);
    if (!other) return fault(open.line, fmt::format("the other node of open slot {} is not in this file", open.slot));
    (open.migrating ? migrating_to : importing_from)[open.slot] = other;
  }
  current_epoch = std::max(current_epoch, MaxEpoch());
  return "";
}

}  // namespace tessera::cluster
