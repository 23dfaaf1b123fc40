#!/usr/bin/env python3
"""A node of ours and a node of the reference on one bus: they meet, agree on slots and epochs, and redirect to each other."""

import itertools
import sys
import os

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import Cluster, info_of, node_id, nodes_seen_by, redis_cli
from support.cluster_client import ClusterClient
from support.process import Server
from support.scenario import case, contains, equal, main
from support.wait import eventually

NODE_TIMEOUT_MS = 5000
NO_FAILURE_MS = 15000  # where none needs to be noticed


def view(server):
    """What both sides must tell the same: for each id, where it is, who it is, its epoch and its slots."""
    return {
        id: (n.port, n.bus_port, [f for f in n.flags if f != "myself"], n.primary_id, n.config_epoch, n.range_text(), n.link)
        for id, n in nodes_seen_by(server).items()
    }


def two_nodes(options, who_meets, node_timeout_ms=NO_FAILURE_MS):
    ours = Server(options.server, cluster_enabled="yes", cluster_node_timeout=node_timeout_ms).start()
    theirs = Server(options.reference, cluster_enabled="yes", cluster_node_timeout=node_timeout_ms).start()
    first, second = (ours, theirs) if who_meets == "ours" else (theirs, ours)
    first.call("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
    second.call("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
    first.call("CLUSTER", "MEET", "127.0.0.1", second.port)
    for server in (first, second):
        eventually(lambda: info_of(server)["cluster_state"] == "ok", 60, f"{server} says ok")
    # Both came with epoch 0: the collision is resolved by the node with the smaller id.
    eventually(lambda: view(first) == view(second) and len({v[4] for v in view(first).values()}) == 2, 60, "both tell the same")
    return first, second


@case
def meet_and_redirect(options):
    for who in ("ours", "theirs"):
        first, second = two_nodes(options, who)
        nodes = nodes_seen_by(first)
        equal(nodes[node_id(first)].range_text(), "0-8191")
        equal(nodes[node_id(second)].range_text(), "8192-16383")
        eventually(lambda: [n.link for n in nodes_seen_by(first).values()] == ["connected"] * 2, 60, "linked")
        for server in (first, second):
            info = info_of(server)
            equal((info["cluster_known_nodes"], info["cluster_size"], info["cluster_slots_ok"]), ("2", "2", "16384"))
            contains(redis_cli("--cluster", "check", server.address), "[OK] All nodes agree about slots configuration.")
        # k2 is slot 449, k1 is 12706.
        equal(redis_cli("-p", second.port, "set", "k2", "v").strip(), f"MOVED 449 {first.address}")
        equal(redis_cli("-p", first.port, "set", "k1", "v").strip(), f"MOVED 12706 {second.address}")
        output = redis_cli("-c", "-p", first.port, input="set k1 v1\nset k2 v2\nget k1\n")
        equal(
            [line for line in output.splitlines() if line],
            [f"-> Redirected to slot [12706] located at {second.address}", "OK",
             f"-> Redirected to slot [449] located at {first.address}", "OK",
             f"-> Redirected to slot [12706] located at {second.address}", "v1"],
        )  # fmt: skip
        for server in (first, second):
            server.kill()


@case
def slots_move_between_them(options):
    first, second = two_nodes(options, "ours")
    first.call("SET", "k2", "v2")
    for source, target in ((first, second), (second, first)):
        redis_cli("--cluster", "reshard", source.address, "--cluster-from", node_id(source), "--cluster-to", node_id(target),
                  "--cluster-slots", 500, "--cluster-yes")  # fmt: skip
        eventually(lambda: view(first) == view(second), 60, "both tell the same after the reshard")
        holder = next(s for s in (first, second) if nodes_seen_by(first)[node_id(s)].ranges[0][0] == 0)
        equal(holder.call("GET", "k2"), b"v2")


@case
def a_newcomer_whose_only_acquaintance_leaves(options):
    """It knows everybody from the one it met, who left before telling the others: they learn of it all the same."""
    members = [Server(binary, cluster_enabled="yes", cluster_node_timeout=NODE_TIMEOUT_MS).start()
               for binary in (options.server, options.reference, options.reference)]  # fmt: skip
    for other in members[:2]:
        members[2].call("CLUSTER", "MEET", "127.0.0.1", other.port)
    for server in members:
        eventually(lambda: len(nodes_seen_by(server)) == 3, 60, f"{server} knows all")
    newcomer = Server(options.server, cluster_enabled="yes", cluster_node_timeout=NODE_TIMEOUT_MS).start()
    leaving = node_id(members[2])
    newcomer.call("CLUSTER", "MEET", "127.0.0.1", members[2].port)
    eventually(lambda: len(nodes_seen_by(newcomer)) == 4, 60, "the newcomer knows all", interval_s=0.005)
    left = [newcomer, *members[:2]]
    for server in left:
        equal(server.call("CLUSTER", "FORGET", leaving), b"OK")
    members[2].kill()
    for server in left:
        eventually(lambda: sorted(n.port for n in nodes_seen_by(server).values()) == sorted(s.port for s in left), 60, f"{server} knows those who stay")


@case
def failure_of_either_is_seen(options):
    for who in ("ours", "theirs"):
        first, second = two_nodes(options, who, NODE_TIMEOUT_MS)
        second.kill()
        gone = next(id for id, n in nodes_seen_by(first).items() if n.port == second.port)
        eventually(lambda: {"fail", "fail?"} & set(nodes_seen_by(first)[gone].flags), 60, f"{first} sees that {second} is gone")
        second.start()
        eventually(lambda: view(first) == view(second) and info_of(first)["cluster_state"] == "ok", 60, "both are back")
        for server in (first, second):
            server.kill()


@case
def six_nodes_with_failover_across(options):
    """Primaries and replicas of both kinds: every failover crosses from one kind to the other."""
    binaries = list(itertools.islice(itertools.cycle((options.server, options.reference)), 6))
    cluster = Cluster(binaries, 6, NODE_TIMEOUT_MS, repl_diskless_sync_delay=0)
    cluster.create(replicas=1)
    cluster.wait_until_replicas_online()
    cluster.check()
    client = ClusterClient([s.port for s in cluster.servers])
    for key in range(300):
        equal(client("SET", f"key:{key}", key), b"OK")
    for victim in cluster.servers[:2]:
        id = node_id(victim)
        heir = next(n for n in cluster.nodes().values() if n.primary_id == id)
        client("SET", "last", "word")
        cluster.wait_until_replicas_have_all()
        victim.kill()
        eventually(lambda: cluster.nodes()[heir.id].is_primary and cluster.nodes()[heir.id].ranges, 60, f"the replica of {victim} takes over")
        cluster.wait_until_agreed()
        for key in range(300):
            equal(client("GET", f"key:{key}"), str(key).encode(), f"key:{key} after the failover of {victim}")
        victim.start()
        eventually(lambda: nodes_seen_by(victim)[id].primary_id == heir.id, 60, f"{victim} comes back as a replica")
        cluster.wait_until_agreed()
    # And by hand, in both directions, without losing anything.
    for _ in range(2):
        cluster.wait_until_replicas_online()
        replica = next(s for s in cluster.servers if s.info("replication")["role"] == "slave")
        replica.call("CLUSTER", "FAILOVER")
        eventually(lambda: replica.info("replication")["role"] == "master", 60, f"manual failover to {replica}")
        cluster.wait_until_agreed()
        for key in range(300):
            equal(client("GET", f"key:{key}"), str(key).encode())


if __name__ == "__main__":
    main()
