#!/usr/bin/env python3
"""Primaries change under load: by hand in all three ways, by kill -9, and after the plug of all six was pulled at once."""

import sys
import os

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import Cluster, node_id, nodes_seen_by
from support.cluster_client import ClusterClient, Writer
from support.scenario import case, equal, main
from support.slots import key_slot
from support.wait import eventually

NODE_TIMEOUT_MS = 5000  # a failover that nobody asked for would take a machine that lets a process wait for so long
NO_FAILOVER_MS = 15000  # where no failure needs to be noticed


def built(options, node_timeout_ms=NODE_TIMEOUT_MS, **more):
    cluster = Cluster(options.server, 6, node_timeout_ms, repl_diskless_sync_delay=0, **more)
    cluster.create(replicas=1)
    cluster.wait_until_replicas_online()
    return cluster


def replica_for(cluster, slot):
    id = node_id(eventually(lambda: cluster.primary_of(slot), 30, f"{slot} has an owner"))
    return cluster.by_id(next(n.id for n in cluster.nodes().values() if n.primary_id == id))


def reports_are_sound(cluster):
    """CLUSTER SHARDS and LINKS hold together whatever is going on."""
    for server in cluster.running():
        with server.client() as client:
            shards = client.ok("CLUSTER", "SHARDS")
            ids = [dict(zip(node[::2], node[1::2]))[b"id"] for shard in shards for node in shard[3]]
            equal(len(ids), len(set(ids)), "nodes of CLUSTER SHARDS, each once")
            for link in client.ok("CLUSTER", "LINKS"):
                fields = dict(zip(link[::2], link[1::2]))
                assert fields[b"direction"] in (b"to", b"from") and fields[b"send-buffer-used"] >= 0, fields


@case
def by_hand_under_load(options):
    cluster = built(options)
    writer = Writer([s.port for s in cluster.servers]).start()
    # Each in another shard: primaries do not vote twice about one of them within two node timeouts.
    for slot, how in ((0, ()), (6000, ()), (12000, ("FORCE",)), (0, ("TAKEOVER",))):
        cluster.wait_until_replicas_online()
        before = writer.writes
        eventually(lambda: writer.writes > before + 200, 60, "writes flow")
        replica = replica_for(cluster, slot)
        equal(replica.call("CLUSTER", "FAILOVER", *how), b"OK")
        reports_are_sound(cluster)
        eventually(lambda: replica.info("replication")["role"] == "master", 60, f"{replica} takes over {how}")
        cluster.wait_until_agreed()
        cluster.wait_until_replicas_online()
        lost = writer.verify()
        if not how:
            equal(lost, [], "acknowledged writes that a planned failover lost")
        writer.resume(forgive=True)
    writer.stop()
    equal(dict(writer.failures), {}, "failed writes")
    offsets_agree(cluster)
    for server in cluster.servers:
        server.kill()


def offsets_agree(cluster):
    """Primary and replica name the same history and the same place in it, and hold the same keys."""
    by_port = {s.port: s for s in cluster.servers}
    for server in cluster.running():
        info = server.info("replication")
        if info["role"] != "slave":
            continue
        primary = by_port[int(info["master_port"])]

        def same():
            a, b = primary.info("replication"), server.info("replication")
            fields = ("master_replid", "master_repl_offset")
            return [a[f] for f in fields] == [b[f] for f in fields]

        eventually(same, 30, f"{server} and {primary} agree on id and offset")
        eventually(lambda: primary.call("DBSIZE") == server.call("DBSIZE"), 30, "as many keys")


@case
def by_kill_under_load(options):
    cluster = built(options, appendfsync="always")
    writer = Writer([s.port for s in cluster.servers]).start()
    for _ in range(2):
        cluster.wait_until_replicas_online()
        victim = next(s for s in cluster.running() if s.info("replication")["role"] == "master")
        id = node_id(victim)
        before = writer.writes
        eventually(lambda: writer.writes > before + 200, 60, "writes flow")
        acknowledged = dict(writer.acknowledged)
        cluster.wait_until_replicas_have_all()
        victim.kill()
        reports_are_sound(cluster)
        eventually(
            lambda: any(n.is_primary and n.ranges and not n.failed and n.id != id for n in cluster.nodes().values())
            and not cluster.nodes()[id].ranges, 60, f"somebody takes over from {victim}",
        )  # fmt: skip
        victim.start()
        eventually(lambda: not nodes_seen_by(victim)[id].is_primary, 60, f"{victim} is a replica now")
        cluster.wait_until_agreed()
        cluster.wait_until_replicas_online()
        # Replication is asynchronous: what the replica did not have yet may be gone, but not more.
        lost = writer.verify()
        equal([each for each in lost if not acknowledged.get(each[0], -1) <= each[2] <= each[1]], [], "lost writes that the replica had")
        writer.resume(forgive=True)
    writer.stop()
    offsets_agree(cluster)
    for server in cluster.servers:
        server.kill()


@case
def all_at_once(options):
    cluster = built(options, NO_FAILOVER_MS, appendfsync="always")
    client = ClusterClient([s.port for s in cluster.servers])
    for turn in range(2):
        for key in range(500):
            equal(client("SET", f"key:{key}", f"{turn}:{key}"), b"OK")
        before = {id: (n.primary_id, n.range_text()) for id, n in cluster.nodes().items()}
        for server in cluster.servers:
            server.kill()
        for server in cluster.servers:
            server.launch()
        for server in cluster.servers:
            server.wait_until_ready()
        cluster.wait_until_agreed()
        cluster.wait_until_replicas_online()
        equal({id: (n.primary_id, n.range_text()) for id, n in cluster.nodes().items()}, before, "roles and slots")
        for key in range(500):
            equal(client("GET", f"key:{key}"), f"{turn}:{key}".encode(), f"key:{key} after all were killed")
        offsets_agree(cluster)
    for server in cluster.servers:
        server.kill()


@case
def slots_lost_while_loading(options):
    """A primary comes back and hears while it loads that others have most of its slots: none of their keys stays, neither in
    memory nor in its log, where a fix would take them for the slot's latest."""
    cluster = Cluster(options.server, 3, NO_FAILOVER_MS)
    cluster.create(replicas=0)
    heir, back, third = cluster.servers
    first, last = cluster.nodes()[node_id(back)].ranges[0]
    tags = {}  # slot -> hash tag
    for n in range(10**6):
        if len(tags) == 40:
            break
        if first <= key_slot(f"t{n}") <= last:
            tags.setdefault(key_slot(f"t{n}"), f"t{n}")
    kept = set(sorted(tags)[-5:])
    moved = range(first, min(kept))
    with back.client() as client:
        for tag in tags.values():
            equal(set(client.pipeline([("SET", f"{{{tag}}}:{n}", n) for n in range(4000)])), {b"OK"})
    back.kill()
    for server in (heir, third):
        with server.client() as client:
            equal(set(client.pipeline([("CLUSTER", "SETSLOT", slot, "NODE", node_id(heir)) for slot in moved])), {b"OK"})
    heir.call("CLUSTER", "BUMPEPOCH")
    for start in ("after the loss", "once more"):
        back.start()
        cluster.wait_until_agreed()  # no slot half way either
        equal({slot: back.call("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in tags}, {slot: 4000 * (slot in kept) for slot in tags}, start)
        equal(back.call("DBSIZE"), 4000 * len(kept), start)
        back.kill()


@case
def replicas_follow_the_heir(options):
    """Three replicas of one primary: after its death two of them follow the third, with partial resyncs."""
    cluster = Cluster(options.server, 6, NODE_TIMEOUT_MS, repl_diskless_sync_delay=0, cluster_allow_replica_migration="no")
    cluster.create(replicas=1)
    cluster.wait_until_replicas_online()
    first = next(n for n in cluster.nodes().values() if n.ranges)
    extra = [cluster.add_server(options.server) for _ in range(2)]
    for server in extra:
        server.call("CLUSTER", "MEET", "127.0.0.1", cluster.servers[0].port)
        eventually(lambda: first.id in nodes_seen_by(server), 60, "they have met")
        server.call("CLUSTER", "REPLICATE", first.id)
    cluster.wait_until_agreed()
    cluster.wait_until_replicas_online()
    client = ClusterClient([s.port for s in cluster.servers])
    for key in range(300):
        equal(client("SET", f"key:{key}", key), b"OK")
    offsets_agree(cluster)
    victim = cluster.by_id(first.id)
    siblings = [cluster.by_id(n.id) for n in cluster.nodes().values() if n.primary_id == first.id]
    equal(len(siblings), 3)
    victim.kill()
    eventually(lambda: sum(s.info("replication")["role"] == "master" for s in siblings) == 1, 60, "one of them takes over")
    heir = next(s for s in siblings if s.info("replication")["role"] == "master")
    cluster.wait_until_agreed()
    cluster.wait_until_replicas_online()
    stats = heir.info("stats")
    equal(stats["sync_full"], "0", "full resyncs with the heir")
    assert int(stats["sync_partial_ok"]) >= 2, stats  # more, when a link broke and was made again
    for key in range(300):
        equal(client("GET", f"key:{key}"), str(key).encode())
    offsets_agree(cluster)
    for server in cluster.servers:
        server.kill()


@case
def host_names_are_told(options):
    cluster = built(options, NO_FAILOVER_MS)
    for number, server in enumerate(cluster.servers):
        server.call("CONFIG", "SET", "cluster-announce-hostname", f"node-{number}.example")
    ids = {node_id(s): f"node-{n}.example" for n, s in enumerate(cluster.servers)}
    eventually(
        lambda: all({id: n.hostname.split(",")[0] for id, n in nodes_seen_by(s).items()} == ids for s in cluster.servers),
        60, "all know all names",
    )  # fmt: skip
    for server in cluster.servers:
        server.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
    asked = cluster.servers[0]
    with asked.client() as client:
        replies = [client("GET", f"key:{key}") for key in range(50)]
    moved = [reply for reply in replies if reply is not None and reply.startswith(b"MOVED")]
    assert moved and all(b".example:" in reply for reply in moved), replies[:5]
    for server in cluster.servers:
        server.kill()


if __name__ == "__main__":
    main()
