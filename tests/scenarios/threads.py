#!/usr/bin/env python3
"""Everything that helper threads do, at once and under load; meant for a server built with ThreadSanitizer:

    cmake --preset tsan -DTESSERA_BENCH=OFF && cmake --build build/tsan --target tessera-server
    tests/scenarios/threads.py --server build/tsan/server/tessera-server
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.process import Server
from support.scenario import case, contains, equal, main
from support.wait import eventually
from support.writer import Writer, check

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--seconds", type=float, default=8, help="of load in each case")


def load(server, seconds, also=lambda client, turn: None):
    writers = [Writer(server.port, n) for n in range(3)]
    for writer in writers:
        writer.start()
    until = time.monotonic() + seconds
    turn = 0
    with server.client(timeout_s=60) as client:
        while time.monotonic() < until:
            client("BGSAVE")
            client("BGREWRITEAOF")
            also(client, turn)
            turn += 1
            time.sleep(0.2)
    for writer in writers:
        writer.stopping = True
    for writer in writers:
        writer.join(60)
    check(server, writers, "under load")


def end(*servers):
    for server in servers:
        equal(server.terminate(60), 0, f"exit code of {server}")
        assert "ThreadSanitizer" not in server.log(), server.log()[-6000:]


@case
def policies(options):
    for policy in ("always", "everysec"):
        server = Server(options.server, appendonly="yes", appendfsync=policy, save="1 1").start()
        load(server, options.seconds)
        end(server)


@case
def switching(options):
    server = Server(options.server, appendonly="yes", appendfsync="always").start()

    def switch(client, turn):
        client.ok("CONFIG", "SET", "appendonly", "no" if turn % 2 else "yes")
        client.ok("CONFIG", "SET", "appendfsync", ("always", "everysec", "no")[turn % 3])

    load(server, options.seconds, switch)
    end(server)


@case
def replica(options):
    primary = Server(options.server, appendonly="yes").start()
    follower = Server(options.server, appendonly="yes", replicaof=["localhost", primary.port]).start()

    def again(client, turn):
        if turn % 5 == 4:
            with follower.client(timeout_s=60) as other:
                # A link of a moment may be loading an image.
                eventually(lambda: other("REPLICAOF", "NO", "ONE") == b"OK", 60, "told to be a primary")
                other.ok("SET", "other", "history")
                other.ok("REPLICAOF", "localhost", primary.port)

    load(primary, options.seconds, again)
    eventually(lambda: follower.info("replication").get("master_link_status") == "up", 60)
    end(follower, primary)


@case
def cluster_nodes(options):
    """nodes.conf is saved over and over while slots move and the AOF is written."""
    nodes = [Server(options.server, cluster_enabled="yes", cluster_node_timeout=15000, appendonly="yes").start() for _ in range(2)]
    nodes[0].call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    nodes[1].call("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].port + 10000)
    eventually(lambda: b"cluster_known_nodes:2" in nodes[0].call("CLUSTER", "INFO"), 60)
    eventually(lambda: b"cluster_state:ok" in nodes[0].call("CLUSTER", "INFO"), 60)

    def move(client, turn):
        client.ok("CLUSTER", "SAVECONFIG")
        client.ok("CLUSTER", "BUMPEPOCH")

    load(nodes[0], options.seconds, move)
    contains(nodes[0].call("CLUSTER", "INFO"), b"cluster_state:ok")
    end(*nodes)


@case
def lazy_freeing(options):
    """Large values and whole datasets are given back by another thread, while snapshots are written."""
    server = Server(options.server, appendonly="yes", maxmemory_policy="allkeys-random").start()
    big = b"x" * 200_000

    def churn(client, turn):
        for i in range(20):
            client.ok("SET", f"big:{i}", big)
            client("SADD", f"list:{i}", *[b"m%d" % n for n in range(2000)])
        client("UNLINK", *[f"big:{i}" for i in range(10)], *[f"list:{i}" for i in range(20)])
        client("INFO", "memory")
        # Some of what is left goes by eviction.
        client.ok("CONFIG", "SET", "maxmemory-clients", "1gb" if turn % 2 else "0")
        client.ok("SWAPDB", 8, 9)
        client("FLUSHDB", "SYNC" if turn % 2 else "ASYNC") if client("SELECT", 9) == b"OK" else None
        client.ok("SELECT", 0)

    load(server, options.seconds, churn)
    eventually(lambda: int(server.info("memory")["lazyfreed_objects"]) > 0, 60, "something was given back by the other thread")
    end(server)


if __name__ == "__main__":
    main(parser)
