#!/usr/bin/env python3
"""All nodes go down and come back under other addresses: the cluster finds itself again, without MEET, with its data.

On loopback addresses here; new_addresses_in_namespaces.py has hosts of their own for the nodes.
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import parse_nodes
from support.moving import LIMIT_S, NODE_TIMEOUT_MS, NODES, Host, Hosts, is_written_down, moves
from support.process import Server, run
from support.resp import ReplyError, parse_info
from support.scenario import case, contains, equal, main
from support.wait import eventually


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
    run(["redis-cli", "--cluster", "create", *[s.address for s in servers], "--cluster-replicas", "1", "--cluster-yes"], timeout_s=240)

    def well():
        for server in servers:
            with server.client() as client:
                nodes = parse_nodes(client.ok("CLUSTER", "NODES")).values()
                if parse_info(client.ok("CLUSTER", "INFO"))["cluster_state"] != "ok" or len(nodes) != NODES:
                    return False
                if any(n.link != "connected" or n.host != "127.0.0.1" or not n.hostname.startswith("localhost") for n in nodes):
                    return False
        return True

    eventually(well, 60, "the cluster is there", ignore=(OSError, ReplyError))
    for server in servers:
        eventually(lambda: is_written_down(server.directory, parse_nodes(server.call("CLUSTER", "NODES"))), 60, f"nodes.conf of {server}")
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
    eventually(lambda: hosts.node_table_is_written_down(victim), 60, "nodes.conf")
    id = victim.call("CLUSTER", "MYID").decode()
    with open(os.path.join(victim.server.directory, "nodes.conf")) as file:
        text = file.read()
    victim.server.kill()
    # It knows the whole node table, but not the secret.
    stranger = Host(options, 99, hosts.port)
    with open(os.path.join(stranger.server.directory, "nodes.conf"), "w") as file:
        file.write(text)
    stranger.start("127.66.6.6")
    eventually(lambda: stranger.call("CLUSTER", "MYID").decode() == id, 60, "the stranger has the id", ignore=(OSError,))
    eventually(lambda: any("does not prove" in host.server.log() for host in hosts.hosts[:-1]), 60, "somebody says so in its log")
    time.sleep(3)  # for it to go on trying
    for host in hosts.hosts[:-1]:
        equal(parse_nodes(host.call("CLUSTER", "NODES"))[id].host, victim.ip, f"where node {host.number} looks for it")
    # The true one comes back elsewhere, and is believed.
    victim.start("127.21.7.7")
    hosts.wait_until_found(60)
    equal({parse_nodes(h.call("CLUSTER", "NODES"))[id].host for h in hosts.hosts}, {"127.21.7.7"})
    stranger.server.kill()
    hosts.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="moves of the whole cluster (default: %(default)s; long: 100)")
    main(parser)
