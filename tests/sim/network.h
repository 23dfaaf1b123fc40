// The simulated network: TCP-like connections between hosts as two directed byte streams each. What is sent arrives in
// order, late, in pieces, or not until a cut path is mended; a connection may break in the middle of a message.
//
// Faults: a path from one host to another can be blocked (bytes wait, as with retransmission; the other direction goes
// on), slowed, stalled for a while; connections can be reset. A process that dies resets its connections; a host that
// loses power says nothing, and answers with a reset once it is back.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/core.h"
#include "tests/sim/scheduler.h"

namespace tessera::sim {

using cluster::LinkId;

// What the network asks of the hosts and tells the processes on them.
class Hosts {
 public:
  virtual ~Hosts() = default;
  virtual bool Powered(int node) const = 0;
  virtual bool Alive(int node) const = 0;   // the process exists
  virtual bool Paused(int node) const = 0;  // stopped: its kernel still talks
  virtual uint32_t Life(int node) const = 0;
  virtual int NodeAt(const std::string& ip, uint16_t bus_port) const = 0;  // -1 = nobody
  virtual const std::string& Address(int node) const = 0;
  virtual LinkId NewInboundLink(int node) = 0;

  virtual void OnAccepted(int node, LinkId link) = 0;
  virtual void OnOpened(int node, LinkId link) = 0;
  virtual void OnClosed(int node, LinkId link) = 0;
  virtual void OnMessage(int node, LinkId link, std::string_view bytes, const std::string& peer_ip,
                         const std::string& local_ip) = 0;
  virtual void OnBrokenStream(int node, LinkId link) = 0;
};

class Network {
 public:
  Network(Scheduler& scheduler, Random& random, Hosts& hosts, int node_count);

  void Dial(int node, LinkId link, const std::string& ip, uint16_t bus_port);
  void Send(int node, LinkId link, std::string bytes);
  void Close(int node, LinkId link);
  bool IsOpen(int node, LinkId link) const;     // the process may send on it
  int PeerOf(int node, LinkId link) const;      // -1 = no such link
  void ProcessDied(int node, bool power_lost);  // call before the host stops being Powered
  // Call when a host came back, resumed, or a path was mended: moves what was waiting.
  void Pump(int node);

  void Block(int from, int to) { path(from, to).blocked = true; }
  void Unblock(int from, int to);
  void UnblockAll();
  bool Blocked(int from, int to) const { return paths_[from * node_count_ + to].blocked; }
  void Stall(int from, int to, Millis duration);
  void Slow(int from, int to, Millis extra_ms) { path(from, to).extra_ms = extra_ms; }
  // Resets one open connection of `node`, chosen at random, with part of a message already delivered. False if none.
  bool CutOne(int node);

 private:
  enum class Kind { kSyn, kSynAck, kAccept, kData, kReset };
  struct Segment {
    Millis at;
    Kind kind;
    std::string bytes;
  };
  struct Stream {
    std::deque<Segment> queue;
    Millis last_at = 0;
    std::string received;  // bytes at the receiver, not yet a whole message
  };
  struct Connection {
    uint64_t id;
    // Side 0 dialled, side 1 accepted.
    int node[2];
    uint32_t life[2] = {0, 0};
    LinkId link[2] = {0, 0};
    std::string ip[2];
    bool open[2] = {false, false};    // the process there knows it as open
    bool closed[2] = {false, false};  // ... as closed
    bool silent[2] = {false, false};  // ... lost its power, and the other end does not know
    Stream from[2];
  };
  using ConnectionPtr = std::shared_ptr<Connection>;
  struct Path {
    bool blocked = false;
    Millis stalled_until = 0;
    Millis extra_ms = 0;
  };

  Path& path(int from, int to) { return paths_[from * node_count_ + to]; }
  ConnectionPtr Find(int node, LinkId link, int* side) const;
  void Push(const ConnectionPtr& c, int side, Kind kind, std::string bytes = {});
  void PumpStream(const ConnectionPtr& c, int side);
  void Arrive(const ConnectionPtr& c, int side, Segment segment);
  void Frames(const ConnectionPtr& c, int side);
  void EndClosed(const ConnectionPtr& c, int side);

  Scheduler& scheduler_;
  Random& random_;
  Hosts& hosts_;
  int node_count_;
  std::vector<Path> paths_;
  uint64_t next_id_ = 1;
  Millis base_latency_ms_;
  std::map<uint64_t, ConnectionPtr> connections_;
  std::map<std::pair<int, LinkId>, std::pair<uint64_t, int>> ends_;  // (node, link) -> (connection, side)
};

}  // namespace tessera::sim
