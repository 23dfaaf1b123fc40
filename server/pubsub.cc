#include "server/pubsub.h"

#include <fmt/core.h>

#include <random>

#include "cluster/slot.h"
#include "protocol/glob.h"
#include "server/config/config.h"
#include "server/store/hash.h"

namespace tessera {
namespace {

constexpr size_t kFrameKept = 64 << 10;

void AppendBulk(std::string& out, std::string_view bytes) {
  out += '$';
  out += std::to_string(bytes.size());
  out += "\r\n";
  out += bytes;
  out += "\r\n";
}

uint32_t FlagOfClass(char event_class) {
  switch (event_class) {
    case 'g': return config::kNotifyGeneric;
    case '$': return config::kNotifyString;
    case 'l': return config::kNotifyList;
    case 's': return config::kNotifySet;
    case 'h': return config::kNotifyHash;
    case 'z': return config::kNotifySortedSet;
    case 'x': return config::kNotifyExpired;
    case 'e': return config::kNotifyEvicted;
    case 't': return config::kNotifyStream;
    case 'm': return config::kNotifyKeyMiss;
    case 'd': return config::kNotifyModule;
    case 'n': return config::kNotifyNew;
    default: return 0;
  }
}

// A per-process seed: names come from clients, who must not be able to choose their hashes.
uint64_t HashSeed() {
  static const uint64_t seed = (uint64_t{std::random_device()()} << 32) | std::random_device()();
  return seed;
}

size_t& CountOf(Session& session, PubSub::Kind kind) {
  switch (kind) {
    case PubSub::Kind::kChannel: return session.subscribed.channels;
    case PubSub::Kind::kPattern: return session.subscribed.patterns;
    case PubSub::Kind::kShardChannel: break;
  }
  return session.subscribed.shard_channels;
}

}  // namespace

size_t PubSub::Hash::operator()(std::string_view name) const { return store::HashKey(name, HashSeed()); }

bool PubSub::Subscribe(Session& session, Kind kind, std::string_view name) {
  Memberships& mine = memberships_[static_cast<int>(kind)][&session];
  if (mine.contains(name)) return false;
  auto it = topics(kind).find(name);
  if (it == topics(kind).end()) {
    it = topics(kind).emplace(name, Topic()).first;
    it->second.name = name;
  }
  Topic& topic = it->second;
  mine.emplace(topic.name, Membership{&topic, topic.listeners.size()});
  topic.listeners.push_back(&session);
  ++CountOf(session, kind);
  return true;
}

bool PubSub::Unsubscribe(Session& session, Kind kind, std::string_view name) {
  auto& all = memberships_[static_cast<int>(kind)];
  auto mine = all.find(&session);
  if (mine == all.end()) return false;
  auto it = mine->second.find(name);
  if (it == mine->second.end()) return false;
  const Membership membership = it->second;
  mine->second.erase(it);
  if (mine->second.empty()) all.erase(mine);
  Leave(session, kind, membership);
  return true;
}

// The last listener takes the place of the one that leaves.
void PubSub::Leave(Session& session, Kind kind, const Membership& membership) {
  Topic& topic = *membership.topic;
  --CountOf(session, kind);
  Session* last = topic.listeners.back();
  topic.listeners.pop_back();
  if (last != &session) {
    topic.listeners[membership.index] = last;
    memberships_[static_cast<int>(kind)].at(last).at(topic.name).index = membership.index;
  }
  if (topic.listeners.empty()) topics(kind).erase(topics(kind).find(topic.name));
}

std::vector<std::string> PubSub::NamesOf(const Session& session, Kind kind) const {
  std::vector<std::string> names;
  const auto& all = memberships_[static_cast<int>(kind)];
  if (auto mine = all.find(&session); mine != all.end())
    for (const auto& [name, membership] : mine->second) names.emplace_back(name);
  return names;
}

void PubSub::Forget(Session& session) {
  for (Kind kind : {Kind::kChannel, Kind::kPattern, Kind::kShardChannel}) {
    auto& all = memberships_[static_cast<int>(kind)];
    auto mine = all.find(&session);
    if (mine == all.end()) continue;
    const Memberships leaving = std::move(mine->second);
    all.erase(mine);
    for (const auto& [name, membership] : leaving) Leave(session, kind, membership);
  }
}

size_t PubSub::Deliver(const Topic& topic, std::string_view head, std::string_view channel, std::string_view message) {
  frame_.assign(head);
  AppendBulk(frame_, channel);
  AppendBulk(frame_, message);
  for (Session* session : topic.listeners) {
    frame_[0] = session->reply.version() == 2 ? '*' : '>';  // all that differs between the versions
    session->Push(frame_);
  }
  if (frame_.capacity() > kFrameKept) frame_ = {};
  return topic.listeners.size();
}

size_t PubSub::Publish(std::string_view channel, std::string_view message) {
  size_t deliveries = 0;
  if (auto it = topics(Kind::kChannel).find(channel); it != topics(Kind::kChannel).end())
    deliveries += Deliver(it->second, "*3\r\n$7\r\nmessage\r\n", channel, message);
  for (const auto& [pattern, topic] : topics(Kind::kPattern)) {
    if (!protocol::GlobMatch(pattern, channel)) continue;
    std::string head = "*4\r\n$8\r\npmessage\r\n";
    AppendBulk(head, pattern);
    deliveries += Deliver(topic, head, channel, message);
  }
  return deliveries;
}

size_t PubSub::PublishShard(std::string_view channel, std::string_view message) {
  auto it = topics(Kind::kShardChannel).find(channel);
  if (it == topics(Kind::kShardChannel).end()) return 0;
  return Deliver(it->second, "*3\r\n$8\r\nsmessage\r\n", channel, message);
}

void PubSub::DropShardChannels(const std::function<bool(uint16_t slot)>& served) {
  std::vector<std::string> leaving;
  for (const auto& [name, topic] : topics(Kind::kShardChannel))
    if (!served(cluster::SlotOf(name))) leaving.push_back(name);
  for (const std::string& name : leaving) {
    const std::vector<Session*> listeners = topics(Kind::kShardChannel).at(name).listeners;
    for (Session* session : listeners) {
      Unsubscribe(*session, Kind::kShardChannel, name);
      std::string frame = session->reply.version() == 2 ? "*3\r\n" : ">3\r\n";
      AppendBulk(frame, "sunsubscribe");
      AppendBulk(frame, name);
      frame += fmt::format(":{}\r\n", session->subscribed.shard_channels);
      session->Push(frame);
    }
  }
}

void PubSub::Notify(int db, char event_class, std::string_view event, std::string_view key) {
  const uint32_t wanted = config_.notify_keyspace_events;
  if ((wanted & FlagOfClass(event_class)) == 0) return;
  std::string channel;
  if ((wanted & config::kNotifyKeyspace) != 0) {
    channel = fmt::format("__keyspace@{}__:", db);
    channel += key;
    Publish(channel, event);
  }
  if ((wanted & config::kNotifyKeyevent) != 0) {
    channel = fmt::format("__keyevent@{}__:{}", db, event);
    Publish(channel, key);
  }
}

size_t PubSub::ListenerCount(Kind kind, std::string_view name) const {
  auto it = topics(kind).find(name);
  return it == topics(kind).end() ? 0 : it->second.listeners.size();
}

void PubSub::ForEach(Kind kind, const std::function<void(std::string_view name)>& visit) const {
  for (const auto& [name, topic] : topics(kind)) visit(name);
}

}  // namespace tessera
