// Several cluster::Core joined by links that deliver at once; for what takes more than one core. Time is a number.
#pragma once

#include "tests/cluster/bench.h"

namespace tessera::cluster {

// Cores joined by links that deliver at once. Addresses are "10.0.0.<i>".
struct Net {
  struct Host {
    std::unique_ptr<Core> core;
    std::string ip;
    Options options;
  };
  struct Link {
    size_t from, to;
    LinkId at_from, at_to;
  };
  explicit Net(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      Options options = Bench::DefaultOptions();
      hosts.push_back({std::make_unique<Core>(options, i + 1, now), fmt::format("10.0.0.{}", i + 1), options});
    }
  }
  void CarryOut(size_t at, const Effects& effects) {
    for (const Effect& effect : effects) {
      if (const auto* open = std::get_if<OpenLink>(&effect)) {
        for (size_t i = 0; i < hosts.size(); ++i) {
          const bool there =
              open->by_name ? hosts[i].options.announced.hostname == open->hostname : hosts[i].ip == open->ip;
          if (!there || !hosts[i].core) continue;
          LinkId accepted = kInboundLinkBit | ++links_made;
          links.push_back({at, i, open->link, accepted});
          CarryOut(i, hosts[i].core->Handle(now, LinkAccepted{accepted}));
          CarryOut(at, hosts[at].core->Handle(now, LinkOpened{open->link}));
        }
      } else if (const auto* send = std::get_if<Send>(&effect)) {
        for (const Link& link : std::vector<Link>(links)) {
          const bool forth = link.from == at && link.at_from == send->link;
          const bool back = link.to == at && link.at_to == send->link;
          if (!forth && !back) continue;
          size_t to = forth ? link.to : link.from;
          CarryOut(to, hosts[to].core->Handle(now, MessageReceived{forth ? link.at_to : link.at_from, send->bytes,
                                                                   hosts[at].ip, hosts[to].ip}));
        }
      } else if (std::get_if<AskSeeds>(&effect)) {
        SeedsResolved found;
        for (const Host& host : hosts) found.addresses.push_back({.ip = host.ip, .port = 7000, .bus_port = 17000});
        CarryOut(at, hosts[at].core->Handle(now, found));
      } else if (const auto* close = std::get_if<CloseLink>(&effect)) {
        for (size_t i = 0; i < links.size(); ++i) {
          Link link = links[i];
          bool mine = (link.from == at && link.at_from == close->link) || (link.to == at && link.at_to == close->link);
          if (!mine) continue;
          links.erase(links.begin() + static_cast<ptrdiff_t>(i));
          const bool forth = link.at_from == close->link && link.from == at;
          size_t other = forth ? link.to : link.from;
          CarryOut(other, hosts[other].core->Handle(now, LinkClosed{forth ? link.at_to : link.at_from}));
          break;
        }
      }
    }
  }
  void Run(Millis duration) {
    for (Millis end = now + duration; now < end;) {
      now += 100;
      for (size_t i = 0; i < hosts.size(); ++i)
        if (hosts[i].core) CarryOut(i, hosts[i].core->Handle(now, Tick{}));
    }
  }
  void Meet(size_t from, size_t to) {
    Effects effects;
    EXPECT_EQ(hosts[from].core->Meet(now, hosts[to].ip, 7000, 17000, effects), "");
    CarryOut(from, effects);
  }
  Core& core(size_t i) { return *hosts[i].core; }
  const NodeView& View(size_t by, size_t of) { return *core(by).Find(core(of).self().view()); }
  void SetOptions(size_t i, Options options) {
    hosts[i].options = options;
    Effects effects;
    core(i).SetOptions(now, std::move(options), effects);
    CarryOut(i, effects);
  }

  // ---- processes that end and come back elsewhere ----
  struct Disk {
    std::string state, secret;
  };
  Disk DiskOf(size_t i) { return {core(i).StateText(), core(i).SecretText()}; }
  void Stop(size_t i) {
    hosts[i].core.reset();
    for (bool found = true; found;) {
      found = false;
      for (size_t l = 0; l < links.size() && !found; ++l) {
        const Link link = links[l];
        if (link.from != i && link.to != i) continue;
        found = true;
        links.erase(links.begin() + static_cast<ptrdiff_t>(l));
        const size_t other = link.from == i ? link.to : link.from;
        if (!hosts[other].core) continue;
        CarryOut(other, hosts[other].core->Handle(now, LinkClosed{link.from == i ? link.at_to : link.at_from}));
      }
    }
  }
  void Start(size_t i, const Disk& disk, std::string ip) {
    hosts[i].ip = std::move(ip);
    std::string error;
    hosts[i].core = Core::Load(hosts[i].options, now + i, now, disk.state, &error);
    ASSERT_TRUE(hosts[i].core) << error;
    if (!disk.secret.empty()) {
      EXPECT_TRUE(hosts[i].core->LoadSecret(disk.secret));
    }
    CarryOut(i, hosts[i].core->Handle(now, OwnAddress{hosts[i].ip}));
  }

  Millis now = Bench::kStart;
  std::vector<Host> hosts;
  std::vector<Link> links;
  uint64_t links_made = 0;
};

}  // namespace tessera::cluster
