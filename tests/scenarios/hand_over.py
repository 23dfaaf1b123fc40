#!/usr/bin/env python3
"""A primary that is told to stop hands its slots over first: how long writes stand still, what is kept, and when it cannot."""

import argparse
import os
import signal
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import Cluster, node_id, nodes_seen_by
from support.cluster_client import ClusterClient, Writer
from support.gap import GapWriter
from support.process import Server
from support.resp import ReplyError
from support.scenario import case, contains, equal, main
from support.slots import key_slot
from support.wait import eventually

KEY = "gap"
SLOT = key_slot(KEY)


def built(binaries, node_timeout_ms=15000, **more):
    more = {"repl_diskless_sync_delay": 0, **more}
    cluster = Cluster(binaries, 6, node_timeout_ms, **more)
    cluster.create(replicas=1)
    cluster.wait_until_replicas_online()
    return cluster


def ended(server, limit_s=60):
    eventually(lambda: not server.running(), limit_s, f"{server} ends", interval_s=0.01)
    equal(server.process.returncode, 0, f"exit code of {server}")


def terminate(server, limit_s=60):
    """SIGTERM; how long the process took to end."""
    start = time.monotonic()
    server.signal(signal.SIGTERM)
    ended(server, limit_s)
    return time.monotonic() - start


def end(cluster):
    for server in cluster.servers:
        server.kill()


def rounds(cluster, count, limit_ms, what):
    """SIGTERM to the primary of the key again and again, while it and others are written; prints the gaps."""
    gap = GapWriter([s.port for s in cluster.servers], KEY)
    gap.start()
    load = [Writer([s.port for s in cluster.servers], prefix=f"load:{n}").start() for n in range(2)]
    gaps, usual = [], []
    for number in range(count):
        eventually(lambda: gap.acknowledged > 0 and gap.gap_ms() < 1000, 60, "writes flow")
        usual.append(usual_gap_ms(gap))
        victim = cluster.primary_of(SLOT)
        gap.mark()
        duration = terminate(victim)
        assert duration < 5, f"{victim} took {duration:.1f} s to stop"
        acknowledged = gap.acknowledged
        eventually(lambda: gap.acknowledged > acknowledged + 20, 60, "writes go on without the old primary")
        gaps.append(gap.gap_ms())
        contains(victim.log(), "The slots are handed over", f"round {number}")
        for writer in load:
            equal(writer.verify(), [], f"acknowledged writes that round {number} lost")
            writer.resume()
        victim.start()
        cluster.wait_until_agreed()
        cluster.wait_until_replicas_online()
    gap.end()
    for writer in load:
        writer.stop()
        equal(dict(writer.failures), {}, "failed writes")
    equal(gap.failed, [], "failed writes")
    short_gaps(gaps, usual, limit_ms, what)


def usual_gap_ms(gap):
    """How long writes stand still without any reason but the machine's."""
    gap.mark()
    time.sleep(0.3)
    return gap.gap_ms()


def short_gaps(gaps, usual, limit_ms, what):
    """The usual ones tell a busy machine from a slow hand-over."""
    median = statistics.median(gaps)
    print(f"  {what}: write gap of {len(gaps)} hand-overs: median {median:.0f} ms, max {max(gaps):.0f} ms, otherwise {max(usual):.0f} ms")
    assert median < limit_ms, f"{what}: {gaps}, otherwise {usual}"


@case
def write_gap(options):
    """Back and forth between the two nodes of a shard, within two node timeouts: votes for manual failovers do not wait."""
    cluster = built(options.server, appendfsync="everysec")
    rounds(cluster, options.rounds, options.gap_ms, "own replicas")
    end(cluster)


@case
def write_gap_with_redis_replicas(options):
    """The replicas are stock Redis, asked as an operator would ask them; the password of the cluster is used."""
    binaries = [options.server] * 3 + [options.reference] * 3
    cluster = built(binaries)
    gap = GapWriter([s.port for s in cluster.servers], KEY)
    gap.start()
    gaps, usual = [], []
    tesseras = [s for s in cluster.servers if s.binary == options.server]
    for victim in tesseras:
        slot = next(n for n in cluster.nodes().values() if n.id == node_id(victim)).ranges[0][0]
        key = next(f"k{n}" for n in range(100000) if key_slot(f"k{n}") == slot)
        gap.key = key
        eventually(lambda: gap.client._owner[slot] == victim.port, 60, f"{victim} is written to")
        usual.append(usual_gap_ms(gap))
        gap.mark()
        terminate(victim)
        acknowledged = gap.acknowledged
        eventually(lambda: gap.acknowledged > acknowledged + 20, 60, "writes go on at the Redis replica")
        gaps.append(gap.gap_ms())
        contains(victim.log(), "The slots are handed over")
        eventually(lambda: cluster.primary_of(slot).binary == options.reference, 60, "the Redis replica has the slots for all")
        victim.start()
        cluster.wait_until_agreed()
        cluster.wait_until_replicas_online()
    gap.end()
    equal(gap.failed, [], "failed writes")
    short_gaps(gaps, usual, max(500, options.gap_ms), "Redis replicas")
    end(cluster)


@case
def all_at_once(options):
    """Nobody is left to hand over to: every node ends soon, and what was acknowledged is there afterwards."""
    cluster = built(options.server, appendfsync="everysec")
    client = ClusterClient([s.port for s in cluster.servers])
    for n in range(300):
        equal(client("SET", f"key:{n}", n), b"OK")
    start = time.monotonic()
    for server in cluster.servers:
        server.signal(signal.SIGTERM)
    for server in cluster.servers:
        ended(server)
    took = time.monotonic() - start
    print(f"  six nodes ended in {took:.1f} s")
    assert took < 9, "outside of a grace period of ten seconds"
    client.close()
    cluster.start()
    cluster.wait_until_agreed()
    for n in range(300):
        equal(client("GET", f"key:{n}"), str(n).encode(), f"key:{n}")
    end(cluster)


@case
def refusals(options):
    """What cannot be handed over: no replica, one that hangs, one that must not; and the options of SHUTDOWN."""
    cluster = built(options.server)
    nodes = cluster.nodes()
    primaries = [s for s in cluster.servers if s.info("replication")["role"] == "master"]
    replica_of = {p.port: cluster.by_id(next(n.id for n in nodes.values() if n.primary_id == node_id(p))) for p in primaries}
    client = ClusterClient([s.port for s in cluster.servers])
    for n in range(200):
        equal(client("SET", f"key:{n}", n), b"OK")

    # SAFE alone refuses; FAILOVER makes it safe.
    first, second, third = primaries
    try:
        first.call("SHUTDOWN", "SAFE")
        raise AssertionError("SHUTDOWN SAFE of a primary with slots")
    except ReplyError as error:
        contains(str(error), "Errors trying to SHUTDOWN")
    try:
        first.call("SHUTDOWN", "SAFE", "FAILOVER")
    except (ConnectionError, OSError):
        pass
    ended(first)
    contains(first.log(), "The slots are handed over")
    first.start()
    cluster.wait_until_agreed()
    cluster.wait_until_replicas_online()

    # A replica that hangs costs shutdown-timeout at most.
    hung = replica_of[second.port]
    second.call("CONFIG", "SET", "shutdown-timeout", 3)
    hung.stop()
    duration = terminate(second)
    assert duration < 6, f"{duration:.1f} s with shutdown-timeout 3"
    contains(second.log(), "does not react")
    hung.signal(signal.SIGCONT)
    second.start()
    cluster.wait_until_agreed()
    cluster.wait_until_replicas_online()

    # An explicit option without failover: none.
    third.call("CONFIG", "SET", "shutdown-on-sigterm", "nosave force")
    equal(third.call("CONFIG", "GET", "shutdown-on-sigterm")[1], b"nosave force")
    terminate(third)
    assert "Asking replica" not in third.log()
    third.start()
    cluster.wait_until_agreed()

    # No replica at all: as Redis does it, with the append-only file complete.
    replica_of[third.port].kill()
    eventually(lambda: third.info("replication")["connected_slaves"] == "0", 60, "the replica is gone")
    third.call("CONFIG", "SET", "shutdown-on-sigterm", "failover")
    terminate(third)
    contains(third.log(), "Shutting down without handing the slots over")
    third.start()
    replica_of[third.port].start()
    cluster.wait_until_agreed()
    for n in range(200):
        equal(client("GET", f"key:{n}"), str(n).encode(), f"key:{n}")
    end(cluster)

    alone = Server(options.server).start()
    try:
        alone.call("SHUTDOWN", "FAILOVER")
        raise AssertionError("SHUTDOWN FAILOVER without a cluster")
    except ReplyError as error:
        contains(str(error), "cluster mode")
    alone.call("CONFIG", "SET", "shutdown-on-sigterm", "failover")
    terminate(alone)


@case
def no_long_save(options):
    """A dataset that takes longer to save than there is time: the slots go first, the save is left out."""
    cluster = built(options.server, save="900 1", shutdown_timeout=3, appendonly="no")
    victim = cluster.primary_of(SLOT)
    with victim.client() as client:
        for n in range(16):
            client.ok("SETRANGE", f"{{{KEY}}}{n}", 10_000_000, "x")
    eventually(lambda: victim.info("replication")["slave0"].split("offset=")[1].split(",")[0]
               == victim.info("replication")["master_repl_offset"], 60, "the replica has it")  # fmt: skip
    assert terminate(victim) < 4
    contains(victim.log(), "The slots are handed over")
    contains(victim.log(), "The dataset is not saved")
    assert nodes_seen_by(cluster.primary_of(SLOT))
    end(cluster)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="hand-overs under load (default: %(default)s)")
    parser.add_argument("--gap-ms", type=int, default=200, help="allowed median of the write gap (default: %(default)s)")
    main(parser)
