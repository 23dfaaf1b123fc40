"""A cluster of processes, driven with the stock redis-cli, and the node table as its nodes tell it."""

import re
from dataclasses import dataclass

from .process import Server, converse, run
from .resp import ReplyError, parse_info
from .slots import SLOTS
from .wait import TimedOut, eventually


PATIENCE_S = 20  # for an answer of a process that lives; the machine may be busy with anything


@dataclass
class Node:
    """One line of CLUSTER NODES."""

    id: str
    host: str
    port: int
    bus_port: int
    hostname: str
    flags: list
    primary_id: str
    ping_sent_ms: int
    pong_received_ms: int
    config_epoch: int
    link: str
    ranges: list  # (first, last)
    moving: list  # "[slot->-id]" and "[slot-<-id]"

    @property
    def slots(self):
        return sum(last - first + 1 for first, last in self.ranges)

    @property
    def is_primary(self):
        return "master" in self.flags

    @property
    def failed(self):
        return "fail" in self.flags

    def range_text(self):
        return " ".join(f"{a}-{b}" if a != b else str(a) for a, b in self.ranges)


_LINE = re.compile(
    r"^([0-9a-f]{40}) ([0-9a-f.:]*):(\d+)@(\d+)((?:,[^ ]*)*) (\S+) (-|[0-9a-f]{40}) (\d+) (\d+) (\d+) (connected|disconnected)(.*)$"
)


def parse_nodes(text):
    """CLUSTER NODES by node id; every line must have the documented form."""
    nodes = {}
    for line in text.decode().splitlines():
        match = _LINE.match(line)
        assert match, f"not a CLUSTER NODES line: {line!r}"
        ranges, moving = [], []
        for word in match[12].split():
            if word.startswith("["):
                moving.append(word)
            else:
                first, _, last = word.partition("-")
                ranges.append((int(first), int(last or first)))
        nodes[match[1]] = Node(
            match[1], match[2], int(match[3]), int(match[4]), match[5].lstrip(","), match[6].split(","), match[7],
            int(match[8]), int(match[9]), int(match[10]), match[11], ranges, moving,
        )  # fmt: skip
    return nodes


def nodes_seen_by(server):
    with server.client(timeout_s=PATIENCE_S) as client:
        return parse_nodes(client.ok("CLUSTER", "NODES"))


def info_of(server):
    with server.client(timeout_s=PATIENCE_S) as client:
        return parse_info(client.ok("CLUSTER", "INFO"))


def node_id(server):
    with server.client(timeout_s=PATIENCE_S) as client:
        return client.ok("CLUSTER", "MYID").decode()


def signature(server):
    """What all nodes must agree on: who owns which slots, who replicates whom, no slot half way."""
    nodes = nodes_seen_by(server).values()
    return tuple(
        sorted((n.id, n.port, "fail" in n.flags, n.primary_id, n.config_epoch if n.ranges else -1, n.range_text()) for n in nodes)
    ), any(n.moving for n in nodes)


def redis_cli(*arguments, timeout_s=600.0, input=None, check=True):
    return run(["redis-cli", *arguments], timeout_s=timeout_s, input=input, check=check)


class Cluster:
    """`binaries` is one binary for all nodes, or a list with one for each. `hosts` (support/namespaces.py) gives each its own."""

    def __init__(self, binaries, nodes=6, node_timeout_ms=2000, first_port=None, hosts=None, **options):
        self.node_timeout_ms = node_timeout_ms
        self.options = options
        self.servers = []
        self._first_port = first_port
        self._hosts = hosts
        for index in range(nodes):
            self.add_server(binaries if isinstance(binaries, str) else binaries[index])

    def add_server(self, binary):
        """One more process, started and empty, not yet member of the cluster."""
        port = self._first_port + len(self.servers) if self._first_port else None
        place = {}
        if self._hosts:
            host = self._hosts[len(self.servers)]
            place = {"host": host.address, "prefix": host.prefix, "protected_mode": "no"}
        server = Server(
            binary, port=port, **place, cluster_enabled="yes", cluster_node_timeout=self.node_timeout_ms, **{"appendonly": "yes", **self.options}
        )
        self.servers.append(server)
        return server.start()

    # The tools, where they run: here, or (support/containers.py) inside a node's container.
    def redis_cli(self, *arguments, **options):
        return redis_cli(*arguments, **options)

    def converse(self, arguments, dialogue, **limits):
        """redis-cli on a terminal, with its questions answered."""
        return converse(["redis-cli", *arguments], dialogue, **limits)

    def start(self):
        for server in self.servers:
            if not server.running():
                server.start()
        return self

    def create(self, replicas=1):
        """redis-cli --cluster create, answering yes as a person would; returns what it wrote."""
        self.start()
        output = self.converse(
            ["--cluster", "create", *[s.address for s in self.servers], "--cluster-replicas", replicas],
            [("(type 'yes' to accept): ", "yes")],
            limit_s=240,  # it waits for the nodes to join for ever
        )
        self.wait_until_agreed()
        return output

    def running(self):
        return [server for server in self.servers if server.running()]

    def wait_until_agreed(self, timeout_s=120.0):
        """Waits until all running nodes are in state ok and tell the same about slots, roles and epochs."""

        def agreed():
            states = [info_of(server) for server in self.running()]
            if any(s["cluster_state"] != "ok" or int(s["cluster_slots_ok"]) != SLOTS for s in states):
                return False
            seen = {signature(server) for server in self.running()}
            return len(seen) == 1 and not next(iter(seen))[1]

        # A replica that loads its primary's image says LOADING.
        what = "all running nodes agree on slots, roles and epochs"
        try:
            eventually(agreed, timeout_s, what, interval_s=0.1, ignore=(OSError, ReplyError))
        except TimedOut as error:
            views = (f"{s} ({info_of(s)['cluster_state']}):\n{s.call('CLUSTER', 'NODES').decode()}" for s in self.running())
            raise TimedOut("\n".join([str(error), *views])) from error

    def wait_until_replicas_have_all(self, timeout_s=120.0):
        """Waits until every replica has what its primary had when this was called: that much must survive the primary.
        (A replica that took over meanwhile is none.)"""
        self.wait_until_replicas_online(timeout_s)
        by_port = {server.port: server for server in self.running()}
        pairs = [(s, info) for s in self.running() if (info := s.info("replication"))["role"] == "slave"]
        goals = [(replica, by_port[int(info["master_port"])].info("replication")["master_repl_offset"]) for replica, info in pairs]
        for replica, goal in goals:
            eventually(lambda: int(replica.info("replication").get("slave_repl_offset", goal)) >= int(goal), timeout_s, f"{replica} has come to {goal}")

    def wait_until_replicas_online(self, timeout_s=120.0):
        def online():
            for server in self.running():
                info = server.info("replication")
                if info["role"] == "slave" and info["master_link_status"] != "up":
                    return False
            return True

        eventually(online, timeout_s, "all replicas have their link up")

    def check(self, server=None):
        """redis-cli --cluster check, until it is content with everything; returns what it wrote."""
        address = (server or self.running()[0]).address

        def content():
            output = self.redis_cli("--cluster", "check", address, check=False)
            good = (
                "[OK] All nodes agree about slots configuration." in output
                and "[OK] All 16384 slots covered." in output
                and "[ERR]" not in output
                and "[WARNING]" not in output
            )
            return output if good else None

        return eventually(content, 90, "redis-cli --cluster check is content", interval_s=0.3)

    def nodes(self):
        return nodes_seen_by(self.running()[0])

    def by_id(self, id):
        port = self.nodes()[id].port
        return next(server for server in self.servers if server.port == port)

    def primary_of(self, slot):
        for node in self.nodes().values():
            if node.is_primary and not node.failed and any(a <= slot <= b for a, b in node.ranges):
                return next(server for server in self.servers if server.port == node.port)
        return None
