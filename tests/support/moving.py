"""Clusters that go down and come back under other addresses, and how soon they have found themselves again.

On loopback node n of life l is bound to 127.<20 + l>.<random>.<n>. With a network (support/namespaces.py) every node has a
host of its own, is bound to nothing, and learns its address from the interface; two lives of three on another subnet, the
third on the same with the addresses exchanged.
"""

import os
import random
import statistics
import time

from .cluster import parse_nodes
from .ports import free_port
from .process import Server, run
from .resp import Client, ReplyError, parse_info
from .scenario import equal
from .slots import SLOTS, key_slot
from .wait import eventually

NODES = 6
LIMIT_S = 10.0
NODE_TIMEOUT_MS = 15000  # the default: nothing here waits for it


class Host:
    """A node whose address changes from life to life; its directory stays."""

    def __init__(self, options, number, port, announce=False, place=None, **more):
        self.number, self.port, self.announce, self.place = number, port, announce, place
        self.server = Server(
            options.server, port=port, appendonly="yes", appendfsync="everysec", protected_mode="no", cluster_enabled="yes",
            cluster_node_timeout=NODE_TIMEOUT_MS, repl_diskless_sync_delay=0, shutdown_on_sigterm="nosave force",
            prefix=place.prefix if place else (), **more,
        )  # fmt: skip
        self.ip = None

    def start(self, ip):
        self.ip = ip
        self.server.options.update({"bind": None} if self.place else {"bind": ip, "bind-source-addr": ip})
        if self.announce:
            self.server.options["cluster-announce-ip"] = ip
        self.server.launch()

    def client(self):
        return Client(self.port, host=self.ip, timeout_s=20)

    def call(self, *words):
        with self.client() as client:
            return client.ok(*words)


def is_written_down(directory, nodes):
    """nodes.conf, which is written when there is time, tells what CLUSTER NODES tells (`nodes`)."""
    with open(os.path.join(directory, "nodes.conf"), "rb") as file:
        lines = [line for line in file.read().splitlines() if not line.startswith(b"vars")]

    def told(table):
        names = {id: n.hostname.split(",")[0] for id, n in table.items()}  # or "tls-port=..." in the file, when there is no name
        return {id: (n.host, n.port, names[id] if "=" not in names[id] else "", n.primary_id, n.range_text()) for id, n in table.items()}

    return told(parse_nodes(b"\n".join(lines))) == told(nodes)


class Hosts:
    def __init__(self, options, announce=False, network=None, **more):
        self.port = free_port()
        self.life = 0
        self.network = network
        places = network.hosts if network else [None] * NODES
        self.hosts = [Host(options, n, self.port, announce, places[n - 1], **more) for n in range(1, NODES + 1)]

    def addresses(self):
        """Of the next life; with a network its hosts have them then."""
        self.life += 1
        if self.network:
            if self.life % 3 != 2:
                self.network.subnet = f"10.{random.randrange(50, 250)}.{random.randrange(1, 250)}"
                numbers = random.sample(range(1, 100), len(self.network.hosts))
            else:
                numbers = [int(host.address.rpartition(".")[2]) for host in self.network.hosts]
                numbers = numbers[1:] + numbers[:1]
            self.network.renumber(numbers)
            return [host.place.address for host in self.hosts]
        block = random.randrange(1, 255)
        return [f"127.{20 + self.life % 100}.{block}.{host.number}" for host in self.hosts]

    def start(self, addresses):
        for host, ip in zip(self.hosts, addresses):
            host.start(ip)

    def end(self, how="kill"):
        for host in self.hosts:
            if how == "kill":
                host.server.kill()
            else:
                host.server.signal(15)
        for host in self.hosts:
            eventually(lambda: not host.server.running(), 60, "a node ends")

    def found(self):
        """All nodes say ok, know all others under their present addresses, are linked with them, and replicas are in sync."""
        now = {host.ip for host in self.hosts}
        for host in self.hosts:
            with host.client() as client:
                info = parse_info(client.ok("CLUSTER", "INFO"))
                if info["cluster_state"] != "ok" or int(info["cluster_slots_ok"]) != SLOTS:
                    return False
                nodes = parse_nodes(client.ok("CLUSTER", "NODES")).values()
                if {n.host for n in nodes} != now or any(n.link != "connected" or n.failed for n in nodes):
                    return False
                replication = client.info("replication")
                if replication["role"] == "slave" and replication["master_link_status"] != "up":
                    return False
        return True

    def wait_until_found(self, limit_s):
        start = time.monotonic()
        eventually(self.found, limit_s, "all nodes found each other", interval_s=0.05, ignore=(OSError, ReplyError))
        return time.monotonic() - start

    def create(self):
        self.start(self.addresses())
        eventually(lambda: all(host.call("DBSIZE") == 0 for host in self.hosts), 60, "all answer", ignore=(OSError, ReplyError))
        run(["redis-cli", "--cluster", "create", *[f"{h.ip}:{h.port}" for h in self.hosts], "--cluster-replicas", "1",
             "--cluster-yes"], timeout_s=240)  # fmt: skip
        self.wait_until_found(60)

        def settled():
            seen = [parse_nodes(host.call("CLUSTER", "NODES")).values() for host in self.hosts]
            return all(sum(n.primary_id != "-" for n in nodes) == NODES // 2 for nodes in seen) and self.found()

        eventually(settled, 60, "replicas have their primaries", ignore=(OSError, ReplyError))

    def node_table_is_written_down(self, host):
        return is_written_down(host.server.directory, parse_nodes(host.call("CLUSTER", "NODES")))

    def owner(self, key):
        slot = key_slot(key)
        nodes = parse_nodes(self.hosts[0].call("CLUSTER", "NODES")).values()
        ip = next(n.host for n in nodes if any(a <= slot <= b for a, b in n.ranges))
        return next(host for host in self.hosts if host.ip == ip)

    def write(self, turn, keys=60):
        for n in range(keys):
            equal(self.owner(f"key:{n}").call("SET", f"key:{n}", f"{turn}:{n}"), b"OK")

    def verify(self, turn, keys=60):
        for n in range(keys):
            equal(self.owner(f"key:{n}").call("GET", f"key:{n}"), f"{turn}:{n}".encode(), f"key:{n}")

    def roles(self):
        return {id: (n.primary_id, n.range_text()) for id, n in parse_nodes(self.hosts[0].call("CLUSTER", "NODES")).items()}


def moves(hosts, rounds, what):
    """Down, and up elsewhere, again and again; prints how long it takes until all is well."""
    took = []
    for turn in range(rounds):
        hosts.write(turn, keys=20)
        time.sleep(1.1)  # appendfsync everysec, and replicas
        before = hosts.roles()
        hosts.end("kill" if turn % 2 else "term")
        addresses = hosts.addresses()
        seeds = [f"{ip}:{hosts.port}" for ip in random.sample(addresses, 2)]  # the same for all, or islands may form
        for host in hosts.hosts:
            if "cluster-seeds" in host.server.options:
                host.server.options["cluster-seeds"] = seeds
        hosts.start(addresses)
        took.append(hosts.wait_until_found(max(60, LIMIT_S)))
        equal(hosts.roles(), before, "roles and slots")
        hosts.verify(turn, keys=20)
    print(f"  {what}: {rounds} moves, found again after median {statistics.median(took):.1f} s, max {max(took):.1f} s")
    assert max(took) < LIMIT_S, took


