// What the shell does so that nodes are found again: this node's own address at the start, the seeds, and the file with
// the cluster's secret.
#include <fmt/core.h>

#include <algorithm>
#include <random>

#include "persistence/atomic_file.h"
#include "protocol/number.h"
#include "server/cluster/cluster_shell.h"
#include "server/config/config.h"
#include "server/log.h"

namespace tessera {
namespace {

std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(" ,"), text.size());
    if (end != 0) words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

std::optional<uint16_t> Port(std::string_view text) {
  const auto port = protocol::ParseInt64(text);
  if (!port || *port <= 0 || *port > 65535) return std::nullopt;
  return static_cast<uint16_t>(*port);
}

struct Seed {
  std::string host;
  std::optional<uint16_t> port, bus_port;
};

// host[:port[@bus-port]], an IPv6 address in brackets when a port follows.
Seed ParseSeed(std::string_view word) {
  Seed seed;
  if (const size_t at = word.find('@'); at != word.npos) {
    seed.bus_port = Port(word.substr(at + 1));
    word = word.substr(0, at);
  }
  const size_t colon = word.rfind(':');
  const bool bracket = word.starts_with('[');
  const bool has_port = colon != word.npos && (bracket ? word[colon - 1] == ']' : word.find(':') == colon);
  if (has_port) {
    seed.port = Port(word.substr(colon + 1));
    word = word.substr(0, colon);
  }
  if (bracket && word.ends_with(']')) word = word.substr(1, word.size() - 2);
  seed.host = word;
  return seed;
}

bool IsWildcard(std::string_view word) { return word == "*" || word == "::*" || word == "0.0.0.0" || word == "::"; }

}  // namespace

void ClusterShell::LoadSecret() {
  const std::string path = SecretPath();
  if (auto text = persistence::ReadFile(files_, path); text.ok()) {
    if (core_->LoadSecret(*text)) return;
    log::Warning(
        "{} cannot be understood: a new secret is drawn. Should this node move to another address, use CLUSTER "
        "MEET to tell the others",
        path);
  }
  std::random_device device;
  std::string text = fmt::format("tessera-cluster-secret 1\nsecret {} ", loop_.now().unix_ms);
  for (int i = 0; i < 16; ++i) text += fmt::format("{:02x}", device() & 0xff);
  core_->LoadSecret(text + "\n");
  if (auto status = persistence::ReplaceFile(files_, path, core_->SecretText(), persistence::OpenMode::kCreateSecret);
      !status.ok())
    log::Warning("Cannot write the cluster's secret: {}", status.text());
}

void ClusterShell::SaveSecret() {
  saver_.Run(
      [&files = files_, path = SecretPath(), text = core_->SecretText()] {
        // What cannot be written now is written with the next change; until then it is known in memory.
        (void)persistence::ReplaceFile(files, path, text, persistence::OpenMode::kCreateSecret).ok();
      },
      [] {});
}

std::string ClusterShell::SecretPath() const { return services_.config.cluster_config_file + ".secret"; }

// The address in nodes.conf may be another life's: this machine has another one now.
void ClusterShell::FindOwnAddress() {
  const config::Config& config = services_.config;
  const std::string old = core_->me().endpoint.ip;
  if (!config.cluster_announce_ip.empty() || old.empty()) return;
  std::vector<std::string> own;
  bool wildcard = false;
  for (std::string_view word : config.bind) {
    if (word.starts_with('-')) word.remove_prefix(1);
    if (IsWildcard(word))
      wildcard = true;
    else if (IsOwnAddress(std::string(word)))
      own.emplace_back(word);
  }
  if (own.empty() && wildcard && IsOwnAddress(old)) return;
  if (std::find(own.begin(), own.end(), old) != own.end()) return;
  if (own.empty()) own = InterfaceAddresses();
  const bool v6 = old.find(':') != old.npos;
  std::stable_partition(own.begin(), own.end(),
                        [v6](const std::string& ip) { return (ip.find(':') != ip.npos) == v6; });
  if (!own.empty()) {
    log::Notice("The address in the cluster configuration, {}, is not this machine's any more; {} is", old,
                own.front());
    Tell(cluster::OwnAddress{own.front()});
  }
  // Of several interfaces the announced name tells which one is meant.
  if (config.cluster_announce_hostname.empty() || own.size() < 2) return;
  resolver_.Resolve(config.cluster_announce_hostname, [this](const std::vector<std::string>& addresses) {
    for (const std::string& ip : addresses)
      if (IsOwnAddress(ip)) return Tell(cluster::OwnAddress{ip});
  });
}

void ClusterShell::AskSeeds() {
  const config::Config& config = services_.config;
  const auto own_port = static_cast<uint16_t>(config.port);
  const int bus_distance =
      config.cluster_port != 0 ? static_cast<int>(config.cluster_port - config.port) : kBusPortOffset;
  for (std::string_view word : Words(config.cluster_seeds)) {
    const Seed seed = ParseSeed(word);
    cluster::Endpoint where;
    where.port = seed.port.value_or(own_port);
    where.bus_port = seed.bus_port.value_or(static_cast<uint16_t>(where.port + bus_distance));
    const std::string key(word);
    if (!seeds_asked_.insert(key).second) continue;  // the answer to the last question is not there yet
    resolver_.Resolve(seed.host, [this, key, where](const std::vector<std::string>& addresses) {
      seeds_asked_.erase(key);
      cluster::SeedsResolved found;
      for (const std::string& ip : addresses) {
        found.addresses.push_back(where);
        found.addresses.back().ip = ip;
      }
      if (!found.addresses.empty()) Tell(found);
    });
  }
}

}  // namespace tessera
