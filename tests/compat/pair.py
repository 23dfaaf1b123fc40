"""Two servers that get the same commands: A under test, B the reference. Alone, or as two clusters of two nodes each."""

import os
import re
import select
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import info_of, node_id, nodes_seen_by
from support.process import Server
from support.resp import Client
from support.wait import eventually

# Node 1 owns the first range, node 2 the second, nobody the last slots: MOVED, ASK and "slot not served" are all in reach.
CLUSTER_RANGES = ((0, 8191), (8192, 16000))


class Side:
    """One of the two: its servers, and names for what differs between two runs of the same thing."""

    def __init__(self, name, binary, options, cluster):
        self.name = name
        if not cluster:
            self.servers = [Server(binary, **options).start()]
            self.variables = {}
        else:
            options = {"cluster-enabled": "yes", "cluster-require-full-coverage": "no", "cluster-node-timeout": 30000, **options}
            self.servers = [Server(binary, **options).start() for _ in CLUSTER_RANGES]
            for server, (first, last) in zip(self.servers, CLUSTER_RANGES):
                server.call("CLUSTER", "ADDSLOTSRANGE", first, last)
            self.servers[0].call("CLUSTER", "SET-CONFIG-EPOCH", 1)
            self.servers[1].call("CLUSTER", "SET-CONFIG-EPOCH", 2)
            self.servers[0].call("CLUSTER", "MEET", "127.0.0.1", self.servers[1].port)
            for server in self.servers:
                eventually(lambda: info_of(server)["cluster_slots_assigned"] == "16001", 60, "both nodes know the slots")
                eventually(lambda: info_of(server)["cluster_state"] == "ok", 60, "the cluster is ok")
                eventually(lambda: all(n.link == "connected" for n in nodes_seen_by(server).values()), 60, "linked")
            self.variables = {}
            for number, server in enumerate(self.servers, 1):
                self.variables[f"${{ID{number}}}".encode()] = node_id(server).encode()
                self.variables[f"${{BUSPORT{number}}}".encode()] = str(server.port + 10000).encode()
                self.variables[f"${{PORT{number}}}".encode()] = str(server.port).encode()

    def connect(self, protocol, node=0):
        return Client(self.servers[node].port, protocol=protocol, timeout_s=60)

    def fill_in(self, argument):
        """${ID1}, ${PORT2} ... in a command become this side's own."""
        if b"${" in argument:
            for variable, value in self.variables.items():
                argument = argument.replace(variable, value)
        return argument

    def blank_out(self, frame):
        """The reverse, in a reply."""
        kind, payload = frame
        if isinstance(payload, list):
            return kind, [self.blank_out(item) for item in payload]
        if payload:
            for variable, value in self.variables.items():
                payload = re.sub(rb"(?<![0-9a-f])" + value + rb"(?![0-9a-f])", lambda _: variable, payload)
        return kind, payload


class Pair:
    def __init__(self, server, reference, options=None, cluster=False):
        self.cluster = cluster
        self.a = Side("A", server, options or {}, cluster)
        self.b = Side("B", reference, options or {}, cluster)

    def connect(self, protocol, node=0):
        return self.a.connect(protocol, node), self.b.connect(protocol, node)

    def running(self):
        return all(server.running() for side in (self.a, self.b) for server in side.servers)

    def last_words(self):
        """The end of the log of each server that has died."""
        dead = [(side.name, server) for side in (self.a, self.b) for server in side.servers if not server.running()]
        return "".join(f"\n    {name} died: {' / '.join(server.log().splitlines()[-3:])}" for name, server in dead)

    def revive(self):
        """Starts again what has died."""
        for side in (self.a, self.b):
            for server in side.servers:
                if not server.running():
                    server.start()
                    if self.cluster:
                        eventually(lambda: info_of(server)["cluster_state"] == "ok", 60, "the cluster is ok")


class NoAnswer(Exception):
    """A server did not answer in time; what all had sent until then."""

    def __init__(self, blocks):
        super().__init__(f"no answer in time, after {[block[-100:] for block in blocks]}")
        self.blocks = blocks


def exchange(sockets, data, end, timeout_s=30):
    """Sends the same bytes to all sockets, reading while sending so that nobody's buffer can fill up; every answer must
    end with `end`. Returns the answers."""
    state = {s.fileno(): [s, memoryview(data), bytearray()] for s in sockets}
    open_ends = set(state)
    while open_ends:
        writing = [f for f in open_ends if state[f][1]]
        readable, writable, _ = select.select(open_ends, writing, [], timeout_s)
        if not readable and not writable:
            raise NoAnswer([bytes(state[s.fileno()][2]) for s in sockets])
        for f in writable:
            state[f][1] = state[f][1][state[f][0].send(state[f][1][: 1 << 16]) :]
        for f in readable:
            received = state[f][0].recv(1 << 18)
            if not received:
                raise ConnectionError(f"a server closed the connection after {bytes(state[f][2][-200:])!r}")
            state[f][2] += received
            if not state[f][1] and state[f][2].endswith(end):
                open_ends.discard(f)
    return [bytes(state[s.fileno()][2]) for s in sockets]
