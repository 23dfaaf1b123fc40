// Who listens to which channel, pattern or shard channel, and the delivery of messages and keyspace events to them.
//
// A message is encoded once per publication and copied to each listener's output, which leaves at the end of the turn.
// Names are kept once, however many listen; joining, leaving and finding one is independent of how many there are.
// Sessions are not owned: whoever ends one calls Forget. Loop thread.
// Source of the message formats: the pub/sub chapter of the Redis documentation; the counts in the replies are those of
// Redis 7.2.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/session.h"

namespace tessera {

namespace config {
struct Config;
}

class PubSub {
 public:
  enum class Kind : uint8_t { kChannel, kPattern, kShardChannel };
  static constexpr int kKinds = 3;

  explicit PubSub(const config::Config& config) : config_(config) {}
  PubSub(const PubSub&) = delete;

  // False when nothing changed. The session's counts follow.
  bool Subscribe(Session& session, Kind kind, std::string_view name);
  bool Unsubscribe(Session& session, Kind kind, std::string_view name);
  // What the session listens to, by name.
  std::vector<std::string> NamesOf(const Session& session, Kind kind) const;
  // The connection is gone, or starts afresh (RESET): nobody is told.
  void Forget(Session& session);

  // To the channel's listeners and those of matching patterns; returns how many deliveries that were.
  size_t Publish(std::string_view channel, std::string_view message);
  size_t PublishShard(std::string_view channel, std::string_view message);
  // Shard channels of slots that are not `served` here any more lose their listeners, who are told.
  void DropShardChannels(const std::function<bool(uint16_t slot)>& served);

  // A keyspace event, if notify-keyspace-events asks for it. `event_class` is the option's letter: '$', 'g', 'x' ...
  void NotifyKeyspace(int db, char event_class, std::string_view event, std::string_view key) {
    if (!topics_[0].empty() || !topics_[1].empty()) Notify(db, event_class, event, key);
  }

  // How many channels or patterns have listeners.
  size_t size(Kind kind) const { return topics_[static_cast<int>(kind)].size(); }
  size_t ListenerCount(Kind kind, std::string_view name) const;
  void ForEach(Kind kind, const std::function<void(std::string_view name)>& visit) const;

 private:
  struct Topic {
    std::string name;
    std::vector<Session*> listeners;
  };
  struct Membership {
    Topic* topic;
    size_t index;  // in topic->listeners
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view name) const;
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(std::string_view a, std::string_view b) const { return a == b; }
  };
  using Topics = std::unordered_map<std::string, Topic, Hash, Equal>;
  using Memberships = std::map<std::string_view, Membership>;  // by Topic::name

  Topics& topics(Kind kind) { return topics_[static_cast<int>(kind)]; }
  const Topics& topics(Kind kind) const { return topics_[static_cast<int>(kind)]; }
  void Leave(Session& session, Kind kind, const Membership& membership);
  size_t Deliver(const Topic& topic, std::string_view head, std::string_view channel, std::string_view message);
  void Notify(int db, char event_class, std::string_view event, std::string_view key);

  const config::Config& config_;
  Topics topics_[kKinds];
  std::unordered_map<const Session*, Memberships> memberships_[kKinds];
  std::string frame_;  // reused
};

}  // namespace tessera
