#!/usr/bin/env python3
"""All nodes go down and come back under other addresses: the cluster finds itself again, without MEET, with its data.

Loopback has many addresses: node n of life l is bound to 127.<20 + l>.<random>.<n>, every node to the same port.
"""

import argparse
import os
import random
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import parse_nodes
from support.ports import free_port
from support.process import Server, run
from support.resp import Client, ReplyError, parse_info
from support.scenario import case, contains, equal, main
from support.slots import SLOTS, key_slot
from support.wait import eventually

NODES = 6
LIMIT_S = 10.0
NODE_TIMEOUT_MS = 15000  # the default: nothing here waits for it


class Host:
    """A node whose address changes from life to life; its directory stays."""

    def __init__(self, options, number, port, announce, **more):
        self.number, self.port, self.announce = number, port, announce
        self.server = Server(
            options.server, port=port, appendonly="yes", appendfsync="everysec", protected_mode="no", cluster_enabled="yes",
            cluster_node_timeout=NODE_TIMEOUT_MS, repl_diskless_sync_delay=0, shutdown_on_sigterm="nosave force", **more,
        )  # fmt: skip
        self.ip = None

    def start(self, ip):
        self.ip = ip
        self.server.options.update({"bind": ip, "bind-source-addr": ip})
        if self.announce:
            self.server.options["cluster-announce-ip"] = ip
        self.server.launch()

    def client(self):
        return Client(self.port, host=self.ip, timeout_s=5)

    def call(self, *words):
        with self.client() as client:
            return client.ok(*words)


class Hosts:
    def __init__(self, options, announce=False, **more):
        self.port = free_port()
        self.life = 0
        self.hosts = [Host(options, n, self.port, announce, **more) for n in range(1, NODES + 1)]

    def addresses(self):
        self.life += 1
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
            eventually(lambda: not host.server.running(), 30, "a node ends")

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
        eventually(lambda: all(host.call("DBSIZE") == 0 for host in self.hosts), 30, "all answer", ignore=(OSError, ReplyError))
        run(["redis-cli", "--cluster", "create", *[f"{h.ip}:{h.port}" for h in self.hosts], "--cluster-replicas", "1",
             "--cluster-yes"], timeout_s=120)  # fmt: skip
        self.wait_until_found(60)

        def settled():
            seen = [parse_nodes(host.call("CLUSTER", "NODES")).values() for host in self.hosts]
            return all(sum(n.primary_id != "-" for n in nodes) == NODES // 2 for nodes in seen) and self.found()

        eventually(settled, 60, "replicas have their primaries", ignore=(OSError, ReplyError))

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
        for host in hosts.hosts:
            if "cluster-seeds" in host.server.options:
                host.server.options["cluster-seeds"] = [f"{ip}:{hosts.port}" for ip in random.sample(addresses, 2)]
        hosts.start(addresses)
        took.append(hosts.wait_until_found(max(60, LIMIT_S)))
        equal(hosts.roles(), before, "roles and slots")
        hosts.verify(turn, keys=20)
    print(f"  {what}: {rounds} moves, found again after median {statistics.median(took):.1f} s, max {max(took):.1f} s")
    assert max(took) < LIMIT_S, took


@case
def by_seeds(options):
    """Own addresses from the interface (here: what they are bound to), peers from the list of seeds."""
    hosts = Hosts(options, cluster_seeds=["127.0.0.1:1"])
    hosts.create()
    moves(hosts, options.rounds, "seeds")
    hosts.end()


@case
def by_seeds_and_announced(options):
    hosts = Hosts(options, announce=True, cluster_seeds=["127.0.0.1:1"])
    hosts.create()
    moves(hosts, max(1, options.rounds // 2), "seeds, announced addresses")
    hosts.end()


@case
def by_name(options):
    """All addresses in nodes.conf are wrong; the host names lead on. One machine, so the ports tell the nodes apart."""
    servers = []
    for number in range(NODES):
        servers.append(
            Server(options.server, appendonly="yes", cluster_enabled="yes", cluster_node_timeout=NODE_TIMEOUT_MS,
                   cluster_announce_hostname="localhost", repl_diskless_sync_delay=0).start()
        )  # fmt: skip
    run(["redis-cli", "--cluster", "create", *[s.address for s in servers], "--cluster-replicas", "1", "--cluster-yes"], timeout_s=120)

    def well():
        for server in servers:
            with server.client() as client:
                nodes = parse_nodes(client.ok("CLUSTER", "NODES")).values()
                if parse_info(client.ok("CLUSTER", "INFO"))["cluster_state"] != "ok" or len(nodes) != NODES:
                    return False
                if any(n.link != "connected" or n.host != "127.0.0.1" or not n.hostname.startswith("localhost") for n in nodes):
                    return False
        return True

    eventually(well, 60, "the cluster is there", ignore=(OSError,))
    time.sleep(2)
    for server in servers:
        server.kill()
    for server in servers:
        path = os.path.join(server.directory, "nodes.conf")
        with open(path) as file:
            text = file.read()
        contains(text, "127.0.0.1:")
        with open(path, "w") as file:
            file.write(text.replace("127.0.0.1:", "127.99.9.9:"))
    for server in servers:
        server.launch()
    start = time.monotonic()
    eventually(well, 60, "the names led to the nodes", ignore=(OSError, ReplyError))
    took = time.monotonic() - start
    print(f"  names: found again after {took:.1f} s")
    assert took < 2 * LIMIT_S
    for server in servers:
        server.kill()


@case
def strangers(options):
    """Another process with the id of a node that is down, or of one that lives, does not get its place."""
    hosts = Hosts(options, cluster_seeds=["127.0.0.1:1"])
    hosts.create()
    victim = hosts.hosts[-1]
    time.sleep(2)
    id = victim.call("CLUSTER", "MYID").decode()
    with open(os.path.join(victim.server.directory, "nodes.conf")) as file:
        text = file.read()
    victim.server.kill()
    # It knows the whole node table, but not the secret.
    stranger = Host(options, 99, hosts.port, False)
    with open(os.path.join(stranger.server.directory, "nodes.conf"), "w") as file:
        file.write(text)
    stranger.start("127.66.6.6")
    eventually(lambda: stranger.call("CLUSTER", "MYID").decode() == id, 20, "the stranger has the id", ignore=(OSError,))
    time.sleep(5)
    for host in hosts.hosts[:-1]:
        equal(parse_nodes(host.call("CLUSTER", "NODES"))[id].host, victim.ip, f"where node {host.number} looks for it")
    assert any("does not prove" in host.server.log() for host in hosts.hosts[:-1]), "somebody says so in its log"
    # The true one comes back elsewhere, and is believed.
    victim.start("127.21.7.7")
    hosts.wait_until_found(30)
    equal({parse_nodes(h.call("CLUSTER", "NODES"))[id].host for h in hosts.hosts}, {"127.21.7.7"})
    stranger.server.kill()
    hosts.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="moves of the whole cluster (default: %(default)s; long: 100)")
    main(parser)
