#!/usr/bin/env python3
"""new_addresses.py with a host of its own for every node (support/namespaces.py): bound to nothing, the nodes learn their new
addresses from their interfaces; other subnets, and neighbours' used addresses on the same one.

Ends with 77 where namespaces are not permitted, and says why.
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import namespaces
from support.cluster import parse_nodes
from support.moving import NODES, Host, Hosts, moves
from support.scenario import case, equal, main
from support.wait import eventually


@case
def by_seeds(options):
    with namespaces.Network(NODES) as network:
        hosts = Hosts(options, network=network, cluster_seeds=["127.0.0.1:1"])
        hosts.create()
        moves(hosts, options.rounds, "hosts of their own, seeds")
        hosts.end()


@case
def a_stranger_at_a_used_address(options):
    """Who knows the id of a node that is away and calls from elsewhere, or from another member's old address, gets nothing."""
    with namespaces.Network(NODES + 1) as network:
        hosts = Hosts(options, network=network, cluster_seeds=["127.0.0.1:1"])
        hosts.create()
        eventually(lambda: hosts.node_table_is_written_down(hosts.hosts[-1]), 60, "nodes.conf")
        victim, other = hosts.hosts[-1], hosts.hosts[-2]
        id = victim.call("CLUSTER", "MYID").decode()
        with open(os.path.join(victim.server.directory, "nodes.conf")) as file:
            text = file.read()
        used = other.ip
        victim.server.kill()
        other.server.kill()
        numbers = [int(host.address.rpartition(".")[2]) for host in network.hosts]
        numbers[NODES - 1], numbers[NODES - 2], numbers[NODES] = 201, 202, int(used.rpartition(".")[2])
        network.renumber(numbers)
        stranger = Host(options, NODES + 1, hosts.port, place=network.hosts[NODES])
        with open(os.path.join(stranger.server.directory, "nodes.conf"), "w") as file:
            file.write(text)
        stranger.start(used)
        eventually(lambda: stranger.call("CLUSTER", "MYID").decode() == id, 60, "the stranger has the id", ignore=(OSError,))
        eventually(lambda: any("does not prove" in host.server.log() for host in hosts.hosts[:-2]), 60, "somebody says so in its log")
        time.sleep(3)  # for it to go on trying
        for host in hosts.hosts[:-2]:
            equal(parse_nodes(host.call("CLUSTER", "NODES"))[id].host, victim.ip, f"where node {host.number} looks for it")
        for host in (victim, other):
            host.start(host.place.address)
        hosts.wait_until_found(60)
        stranger.server.kill()
        hosts.end()


if __name__ == "__main__":
    namespaces.enter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="moves of the whole cluster (default: %(default)s; long: 100)")
    main(parser)
