#!/usr/bin/env python3
"""Replication between Redis and Tessera in both directions, all types: whole, partial, chained, promoted, slow and interrupted.

Every case runs with each as the primary of the other and compares key by key. `--long` runs each with all settings and larger
amounts; `--rounds N --seed S` adds random mixes of settings, loads and faults, each printed with its seed.
"""

import argparse
import glob
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import process
from support.all_types import Families, Load, fill_all, fill_bytes, link_is_up, same, wait_until_caught_up
from support.dataset import Held
from support.process import Server
from support.proxy import Proxy
from support.resp import Client
from support.scenario import Skip, case, contains, equal, main
from support.wait import eventually

_families = {}


def families(options):
    if not _families:
        _families["all"] = Families(options.server, options.reference)
    return _families["all"]


def directions(options):
    """(primary, replica) binaries."""
    for pair in ((options.reference, options.server), (options.server, options.reference)):
        print(f"  {os.path.basename(pair[0])} -> {os.path.basename(pair[1])}", flush=True)
        yield pair


def some(options, primary_binary, *choices):
    """All of them in the long form, and otherwise one, another one in each direction."""
    return choices if options.long else [choices[(primary_binary == options.server) % len(choices)]]


def primary_of(binary, **options):
    return Server(binary, **{"repl_diskless_sync_delay": 0, "repl_timeout": 20, **options}).start()


def replica_of(binary, port, **options):
    server = Server(binary, replicaof=["127.0.0.1", port], **{"repl_diskless_sync_delay": 0, "repl_timeout": 20, **options})
    return server.start()


def wait_for_link(server, timeout_s=90):
    eventually(lambda: link_is_up(server), timeout_s, f"{server} has its link up")


def stat(server, name):
    return int(server.info("stats")[name])


# A PING in the stream may reach one replica and not the other: where offsets are compared, nothing flows by itself. Keys past
# their time are gone as well, once all have been read.
SILENT = {"repl_ping_replica_period": 3600, "repl_timeout": 7200}


def kill(*servers):
    for server in servers:
        server.kill()


def no_image_left(server):
    """Half-received and half-sent images are gone."""
    eventually(lambda: not glob.glob(server.path("temp-*")), 60, f"no temporary image in {server.directory}")


@case
def full_sync_of_every_type(options):
    """At rest: what arrives is exactly what was there, consumers, delivery times and all."""
    for primary_binary, replica_binary in directions(options):
        for settings in (
            {"repl_diskless_sync": "no"},
            {"repl_diskless_sync": "yes", "repl_diskless_load": "swapdb", "rdbcompression": "no", "rdbchecksum": "no"},
            {"repl_diskless_sync": "no", "appendonly": "yes", "list_max_listpack_size": 4, "hash_max_listpack_entries": 4},
        ):
            primary = primary_of(primary_binary, **settings)
            fill_all(primary, databases=(0, 9))
            replica = replica_of(replica_binary, primary.port, **settings)
            wait_for_link(replica)
            assert same(primary, replica, Held.exact, f"{settings}") > 70
            # And back to where it was, by commands on top.
            fill_all(primary, ":later")
            same(primary, replica)
            kill(primary, replica)


@case
def full_sync_under_load(options):
    for primary_binary, replica_binary in directions(options):
        for diskless in some(options, primary_binary, "no", "yes"):
            primary = primary_of(primary_binary, repl_diskless_sync=diskless)
            fill_all(primary)
            fill_bytes(primary, 300)
            with Load(primary, families(options), f"sync {diskless}") as load:
                load.moved(200)
                with Proxy(primary.port) as proxy:
                    proxy.limit(12_000_000)  # so that a good part of the load happens during the image
                    replica = replica_of(replica_binary, proxy.port)
                    load.moved(100)
                    wait_for_link(replica)
                    load.moved(200)
                    proxy.limit(None)
                    load.end()
                    same(primary, replica, what=f"diskless {diskless}")
            kill(primary, replica)


@case
def partial_resync_of_every_type(options):
    """The link is cut again and again in the midst of the stream, and no byte of it is lost or applied twice."""
    for primary_binary, replica_binary in directions(options):
        primary = primary_of(primary_binary, repl_backlog_size="32mb")
        fill_all(primary)
        with Proxy(primary.port) as proxy:
            replica = replica_of(replica_binary, proxy.port)
            wait_for_link(replica)
            full, chance = stat(primary, "sync_full"), random.Random(5)
            with Load(primary, families(options), "partial") as load:
                for turn in range(1, 7):
                    load.moved(50)
                    partial = stat(primary, "sync_partial_ok")
                    proxy.cut_after(chance.randrange(1, 3000))
                    eventually(lambda: proxy.cuts == turn, 90, "cut in the midst of the stream")
                    load.moved(50)
                    # The link may still say that it is up.
                    eventually(lambda: stat(primary, "sync_partial_ok") > partial, 90, "a partial resync")
                    wait_for_link(replica)
                # A dead line, not a closed one: both sides have to notice by themselves.
                primary.call("CONFIG", "SET", "repl-timeout", 3)
                replica.call("CONFIG", "SET", "repl-timeout", 3)
                primary.call("CONFIG", "SET", "repl-ping-replica-period", 1)
                proxy.freeze()
                eventually(lambda: not link_is_up(replica), 60, "the replica gives the silent link up")
                proxy.cut()
                proxy.thaw()
                wait_for_link(replica)
            same(primary, replica)
            equal(stat(primary, "sync_full"), full, "full syncs")
            assert stat(primary, "sync_partial_ok") >= 7, "partial resyncs"
        kill(primary, replica)


@case
def large_backlog(options):
    """Almost a backlog behind (sixty megabytes in the long form), and still only what is missing goes over the line; then too far."""
    megabytes = 64 if options.long else 16
    for primary_binary, replica_binary in directions(options):
        primary = primary_of(primary_binary, repl_backlog_size=f"{megabytes}mb")
        fill_all(primary)
        with Proxy(primary.port) as proxy:
            replica = replica_of(replica_binary, proxy.port)
            wait_for_link(replica)
            full = stat(primary, "sync_full")
            proxy.refuse()
            eventually(lambda: not link_is_up(replica), 30, "link down")
            fill_bytes(primary, megabytes * 9, 100_000)
            proxy.accept()
            wait_for_link(replica)
            same(primary, replica)
            equal((stat(primary, "sync_full") - full, stat(primary, "sync_partial_ok")), (0, 1), "(full, partial)")
            proxy.refuse()
            eventually(lambda: not link_is_up(replica), 30, "link down")
            fill_bytes(primary, megabytes * 11, 100_000)
            proxy.accept()
            wait_for_link(replica)
            same(primary, replica)
            equal((stat(primary, "sync_full") - full, stat(primary, "sync_partial_ok")), (1, 1), "(full, partial)")
        kill(primary, replica)


def chained(options, kinds):
    """Three in a chain under load; the middle is cut off, then promoted, then the old first follows the last."""
    first = primary_of(kinds[0], repl_backlog_size="16mb", **SILENT)
    fill_all(first)
    with Proxy(first.port) as upper:
        middle = replica_of(kinds[1], upper.port, repl_backlog_size="16mb", **SILENT)
        wait_for_link(middle)
        with Proxy(middle.port) as lower:
            last = replica_of(kinds[2], lower.port, repl_backlog_size="16mb", **SILENT)
            wait_for_link(last)
            with Load(first, families(options), f"chain {os.path.basename(kinds[1])}") as load:
                for proxy in (upper, lower, upper):
                    load.moved(50)
                    proxy.cut()
                    load.moved(50)
                    wait_for_link(middle)
                    wait_for_link(last)
            same(first, middle)
            same(first, last)
            equal((stat(first, "sync_full"), stat(middle, "sync_full")), (1, 1), "full syncs so far")
            # A promotion: the last goes on with the middle's new id, the old first comes in by the old one, the second id.
            upper.refuse()
            eventually(lambda: not link_is_up(middle), 30, "link down")
            old_id = first.info("replication")["master_replid"]
            middle.call("REPLICAOF", "NO", "ONE")
            fill_all(middle, ":promoted")
            wait_for_link(last)
            same(middle, last)
            info = middle.info("replication")
            equal(info["master_replid2"], old_id, "the second id")
            partial = stat(middle, "sync_partial_ok")
            # The first has nothing beyond the promotion: nothing happened since all were the same.
            first.call("REPLICAOF", "127.0.0.1", middle.port)
            wait_for_link(first)
            equal(stat(middle, "sync_partial_ok"), partial + 1, "partial resyncs with the promoted one")
            equal(stat(middle, "sync_full"), 1, "full syncs by the promoted one")
            same(middle, first)
            # And once more: the last becomes primary of all, through the third id in a row.
            first.call("REPLICAOF", "127.0.0.1", last.port)
            middle_full, last_full = stat(middle, "sync_full"), stat(last, "sync_full")
            last.call("REPLICAOF", "NO", "ONE")
            middle.call("REPLICAOF", "127.0.0.1", last.port)
            fill_all(last, ":third")
            for server in (first, middle):
                wait_for_link(server)
                same(last, server)
            equal(stat(last, "sync_full") - last_full, 0, "full syncs by the third primary")
            equal(stat(middle, "sync_full"), middle_full)
    kill(first, middle, last)


@case
def chain_with_tessera_in_the_middle(options):
    chained(options, (options.reference, options.server, options.reference))


@case
def chain_with_redis_in_the_middle(options):
    chained(options, (options.server, options.reference, options.server))


@case
def siblings_follow_the_promoted_one(options):
    """The primary dies; of its two replicas one is promoted and the other goes on with the second id, whichever kind they are."""
    kinds = (options.reference, options.server)
    for heir_kind, sibling_kind in ((kinds[0], kinds[1]), (kinds[1], kinds[0])):
        for primary_kind in kinds:
            primary = primary_of(primary_kind, repl_backlog_size="8mb", **SILENT)
            fill_all(primary)
            heir, sibling = (replica_of(kind, primary.port, repl_backlog_size="8mb", **SILENT) for kind in (heir_kind, sibling_kind))
            for server in (heir, sibling):
                wait_for_link(server)
            with Load(primary, families(options), "siblings") as load:
                load.moved(100)
            for server in (heir, sibling):
                same(primary, server)
            sibling.call("REPLICAOF", "NO", "ONE")  # behind on purpose
            sibling.call("REPLICAOF", "127.0.0.1", primary.port)
            wait_for_link(sibling)
            fill_all(primary, ":more")
            for server in (heir, sibling):
                same(primary, server)
            primary.kill()
            heir.call("REPLICAOF", "NO", "ONE")
            fill_all(heir, ":heir")
            full = stat(heir, "sync_full")
            sibling.call("REPLICAOF", "127.0.0.1", heir.port)
            wait_for_link(sibling)
            same(heir, sibling)
            equal((stat(heir, "sync_full") - full, stat(heir, "sync_partial_ok")), (0, 1), "(full, partial) of the heir")
            kill(heir, sibling)


@case
def output_buffer_limit_of_replicas(options):
    """A replica that stops reading is dropped at the limit, the primary's memory stays bounded, and all is well afterwards."""
    for primary_binary, replica_binary in directions(options):
        for limit, what in some(options, primary_binary, ("replica 2mb 0 0", "hard"), ("replica 0 1mb 2", "soft")):
            primary = primary_of(primary_binary, client_output_buffer_limit=limit.split(), repl_backlog_size="16kb")
            fill_all(primary)
            replica = replica_of(replica_binary, primary.port)
            wait_for_link(replica)
            same(primary, replica)
            before = int(primary.info("memory")["used_memory"])
            replica.stop()
            number = 0

            def dropped():
                nonlocal number
                with primary.client() as client:
                    # The same keys over and over: the data does not grow, what waits for the replica does.
                    client.pipeline([("SET", f"over:{(number + i) % 20}", bytes([i]) * 50_000) for i in range(40)])
                    number += 40
                    return client.info("replication")["connected_slaves"] == "0"

            eventually(dropped, 60, f"dropped at the {what} limit", interval_s=0.1)
            assert number * 50_000 < 400_000_000
            eventually(lambda: int(primary.info("memory")["used_memory"]) - before < 40_000_000, 30, "no more than 40 MB of it are kept")
            contains(primary.log(), "output-buffer-limit" if primary_binary == options.server else "output buffer limits")
            replica.cont()
            wait_for_link(replica)
            same(primary, replica)
            kill(primary, replica)


@case
def output_buffer_limit_during_the_image(options):
    """The stream that waits behind an image counts too."""
    for primary_binary, replica_binary in directions(options):
        for diskless in some(options, primary_binary, "no", "yes"):
            primary = primary_of(
                primary_binary, client_output_buffer_limit=["replica", "4mb", 0, 0], repl_backlog_size="16kb", repl_diskless_sync=diskless
            )
            fill_bytes(primary, 700)
            with Proxy(primary.port) as proxy:
                proxy.limit(2_000_000)
                replica = replica_of(replica_binary, proxy.port)
                eventually(lambda: proxy.from_target > 1_000_000, 60, "the image flows")
                with primary.client() as client:
                    for i in range(200):
                        client.ok("SET", f"over:{i % 10}", bytes([i]) * 100_000)
                eventually(lambda: stat(primary, "sync_full") >= 2, 60, "dropped and back for another image")
                proxy.limit(None)
                wait_for_link(replica)
                same(primary, replica)
            kill(primary, replica)


@case
def slow_replica(options):
    """A thin line for image and stream; clients of the primary do not feel it."""
    for primary_binary, replica_binary in directions(options):
        for diskless in some(options, primary_binary, "yes", "no"):
            primary = primary_of(primary_binary, repl_diskless_sync=diskless)
            fill_all(primary)
            fill_bytes(primary, 100)
            with Proxy(primary.port) as proxy:
                proxy.limit(1_500_000)
                replica = Server(replica_binary, repl_diskless_sync_delay=0, repl_timeout=20).start()
                worst, image = 0, {}
                with primary.client() as client:
                    replica.call("REPLICAOF", "127.0.0.1", proxy.port)
                    while not link_is_up(replica):
                        start = time.monotonic()
                        client.ok("INCR", "during")
                        worst = max(worst, time.monotonic() - start)
                        image[proxy.from_target] = True
                        time.sleep(0.01)
                print(f"    diskless {diskless}: longest answer during the image {worst * 1000:.0f} ms, {len(image)} answers")
                assert worst < 2
                # A primary that waited for the line would answer before the image and after it.
                assert len(image) > 10, image.keys()
                fill_bytes(primary, 30, prefix="later")
                same(primary, replica)
            kill(primary, replica)


@case
def replica_leaves_in_the_middle_of_the_image(options):
    """Cut at random places of the image and killed in its midst, with the old data served until the new is whole."""
    for primary_binary, replica_binary in directions(options):
        for diskless in some(options, primary_binary, "no", "yes"):
            primary = primary_of(primary_binary, repl_diskless_sync=diskless)
            fill_all(primary)
            fill_bytes(primary, 200)
            chance = random.Random(7)
            replica = Server(replica_binary, repl_diskless_sync_delay=0).start()
            replica.call("SET", "old", "data")
            with Proxy(primary.port) as proxy:
                # No image gets through whole, however late we look.
                proxy.cut_after(chance.randrange(100_000, 1_000_000), *(chance.randrange(100_000, 3_000_000) for _ in range(3)), *[3_000_000] * 100)
                replica.call("REPLICAOF", "127.0.0.1", proxy.port)
                for turn in range(1, 5):
                    eventually(lambda: proxy.cuts >= turn, 60, "cut in the midst of the image")
                    if replica_binary == options.server:
                        equal(replica.call("GET", "old"), b"data")
                # Killed while it receives, and back.
                proxy.limit(2_000_000)
                at = proxy.from_target
                eventually(lambda: proxy.from_target > at + 500_000, 60, "the image flows")
                eventually(lambda: replica.info("replication")["master_sync_in_progress"] == "1", 60, "it receives", interval_s=0.01)
                replica.kill()
                proxy.cut_after()
                equal(primary.call("PING"), b"PONG")
                replica.start(replicaof=["127.0.0.1", proxy.port])
                proxy.limit(None)
                wait_for_link(replica)
                same(primary, replica)
            no_image_left(primary)
            if replica_binary == options.server:  # Redis leaves what it had received when it was killed
                no_image_left(replica)
            kill(primary, replica)


@case
def primary_dies_in_the_middle_of_the_image(options):
    for primary_binary, replica_binary in directions(options):
        for diskless in some(options, primary_binary, "yes", "no"):
            primary = primary_of(primary_binary, repl_diskless_sync=diskless)
            fill_bytes(primary, 1000)
            primary.call("SAVE")
            replica = Server(replica_binary).start()
            replica.call("SET", "old", "data")
            with Proxy(primary.port) as proxy:
                proxy.limit(3_000_000)
                replica.call("REPLICAOF", "127.0.0.1", proxy.port)
                eventually(lambda: proxy.from_target > 1_000_000, 60, "the image flows")
                primary.kill()
                eventually(lambda: replica.info("replication")["master_sync_in_progress"] == "0", 120, "the image is given up")
                equal(replica.call("GET", "old"), b"data")
                proxy.limit(None)
                primary.start()
                fill_all(primary)
                wait_for_link(replica)
                same(primary, replica)
            no_image_left(replica)
            no_image_left(primary)
            kill(primary, replica)


@case
def replica_stops_reading_in_the_middle_of_the_image(options):
    """The primary gives it up after repl-timeout; another replica's image is not held up for ever. Redis as primary waits without
    end for one that takes nothing of a disk-based image, so here it is only the replica."""
    rounds = [(options.reference, "no"), (options.server, "yes"), (options.reference, "yes"), (options.server, "no")]
    for replica_binary, diskless in rounds if options.long else rounds[:1]:
        primary = primary_of(options.server, repl_diskless_sync=diskless, repl_timeout=3)
        fill_all(primary)
        fill_bytes(primary, 1000)
        # Whoever says it wants everything and then takes nothing.
        dead = Client(primary.port)
        dead.ok("REPLCONF", "listening-port", "1", "capa", "eof", "capa", "psync2")
        dead.send("PSYNC", "?", "-1")
        eventually(lambda: stat(primary, "sync_full") == 1, 30, "it counts as a replica")
        replica = replica_of(replica_binary, primary.port)
        eventually(lambda: f"port={replica.port}" in str(primary.info("replication")), 60)
        eventually(lambda: primary.info("replication")["connected_slaves"] == "1" or None, 60, "the dead one is given up")
        wait_for_link(replica)
        same(primary, replica)
        dead.close()
        # A real one falls asleep in its midst.
        other = Server(replica_binary, repl_timeout=3).start()
        with Proxy(primary.port) as proxy:
            proxy.limit(4_000_000)
            other.call("REPLICAOF", "127.0.0.1", proxy.port)
            eventually(lambda: proxy.from_target > 1_000_000, 60, "the image flows")
            proxy.freeze()
            eventually(lambda: primary.info("replication")["connected_slaves"] == "1", 60, "given up")
            proxy.limit(None)
            proxy.cut()
            proxy.thaw()
            wait_for_link(other)
            same(primary, other)
        kill(primary, replica, other)
        no_image_left(primary)


@case
def field_expiry_and_a_redis_that_does_not_know_it(options):
    """Redis 7.0 gets such hashes without expiries, and deletes fields when their Tessera primary says so; nothing else suffers."""
    for diskless in ("no", "yes"):
        primary = primary_of(options.server, repl_diskless_sync=diskless)
        with primary.client() as client:
            fields = [word for i in range(300) for word in (f"f{i}", i)]
            for key in ("small", "gone"):
                client.ok("HSET", key, *fields[:8])
            client.ok("HSET", "large", *fields)
            for key in ("small", "large"):
                client.ok("HPEXPIRE", key, 6000, "FIELDS", 2, "f0", "f1")
            client.ok("HPEXPIRE", "gone", 6000, "FIELDS", 4, "f0", "f1", "f2", "f3")
            client.ok("HEXPIRE", "large", 100_000, "FIELDS", 1, "f2")
            payload = client.ok("DUMP", "large")
            between = replica_of(options.server, primary.port, repl_diskless_sync=diskless)
            wait_for_link(between)
            with Proxy(primary.port) as proxy:
                direct, behind = replica_of(options.reference, proxy.port), replica_of(options.reference, between.port)
                for server in (direct, behind):
                    wait_for_link(server)
                contains(primary.log(), "do not know field expiry")
                equal(between.call("HPTTL", "large", "FIELDS", 1, "f2")[0] > 90_000, True, "our own replica knows")
                # In the stream, alone and in a transaction that Redis would otherwise refuse as a whole; over a cut link too.
                for name in ("stream", "missed"):
                    if name == "missed":
                        proxy.refuse()
                        eventually(lambda: not link_is_up(direct), 30, "link down")
                    client.ok("HSET", name, "a", 1, "b", 2)
                    client.ok("HPEXPIRE", name, 3000, "FIELDS", 1, "a")
                    for command in (("MULTI",), ("SET", f"{name}:in", 1), ("HPEXPIRE", name, 3000, "FIELDS", 1, "a"), ("hpersist", name, "FIELDS", 1, "b"),
                                    ("SET", f"{name}:in2", 2), ("EXEC",)):  # fmt: skip
                        client.ok(*command)
                    client.ok("RESTORE", f"{name}:restored", 0, payload)
                    proxy.accept()
                    wait_for_link(direct)
                equal(client.ok("HPTTL", "stream:restored", "FIELDS", 1, "f2")[0] > 90_000, True)
                wait_until_caught_up(primary, between)
                equal(between.call("HPTTL", "stream:restored", "FIELDS", 1, "f2")[0] > 90_000, True, "restored at our own replica")
                left = {"small": 2, "large": 298, "gone": 0, "stream": 1, "missed": 1, "stream:restored": 298, "missed:restored": 298}
                eventually(lambda: {key: client.ok("HLEN", key) for key in left} == left, 60, "all fields that run out are gone")
                for server in (between, direct, behind):
                    same(primary, server)
                equal(stat(primary, "sync_partial_ok"), 1, "partial resyncs")
            for server in (direct, behind):
                assert "CRITICAL" not in server.log() and "sending an error to its master" not in server.log(), server.log()[-2000:]
            # To move such a key there is refused rather than its expiry lost without a word.
            target = Server(options.reference).start()
            reply = client("MIGRATE", "127.0.0.1", target.port, "large", 0, 25000)
            contains(reply, b"ERR Target instance replied with error: ERR Bad data format")
            equal(client.ok("HLEN", "large"), 298)
            client.ok("HPERSIST", "large", "FIELDS", 1, "f2")
            equal(client("MIGRATE", "127.0.0.1", target.port, "large", 0, 25000), b"OK")
            equal(target.call("HLEN", "large"), 298)
        kill(primary, between, direct, behind, target)


@case
def keys_that_run_out(options):
    """Expiry is the primary's word, before, during and after the image, also over the promotion of the replica."""
    for primary_binary, replica_binary in directions(options):
        primary = primary_of(primary_binary)
        with primary.client() as client:
            for i in range(400):
                client.ok("SET", f"soon:{i}", i, "PX", 50 + i * 10)
                client.ok("HSET", f"soonhash:{i}", "f", "v")
                client.ok("PEXPIRE", f"soonhash:{i}", 50 + i * 10)
                client.ok("SET", f"late:{i}", i, "PXAT", 4_000_000_000_000 + i)
        replica = replica_of(replica_binary, primary.port)
        wait_for_link(replica)
        eventually(lambda: primary.call("DBSIZE") == 400, 30, "all short ones have run out")
        eventually(lambda: replica.call("DBSIZE") == 400, 30, "at the replica too")
        same(primary, replica)
        with primary.client() as client:
            for i in range(100):
                client.ok("SET", f"after:{i}", i, "PX", 3000)
            for command in (("MULTI",), ("SET", "kept", 1, "PX", 3000), ("PERSIST", "kept"), ("EXEC",)):
                client.ok(*command)
        wait_until_caught_up(primary, replica)
        primary.kill()
        replica.call("REPLICAOF", "NO", "ONE")
        eventually(lambda: replica.call("DBSIZE") == 401, 30, "the promoted one lets them run out")
        equal(replica.call("PTTL", "kept"), -1)
        replica.kill()


@case
def restart_of_either_with_everything(options):
    """The replica comes back and goes on where it was; the primary comes back from its file and is followed again."""
    for primary_binary, replica_binary in directions(options):
        for log in some(options, primary_binary, "no", "yes"):
            # Redis 7.0 loses the replication position when it loads an AOF; we and its RDB keep it.
            primary = primary_of(primary_binary, save="900 1", appendonly="no", repl_backlog_size="8mb")
            fill_all(primary)
            replica = replica_of(replica_binary, primary.port, save="900 1", appendonly=log)
            wait_for_link(replica)
            same(primary, replica)
            replica.terminate()
            fill_all(primary, ":away")
            replica.start()
            wait_for_link(replica)
            same(primary, replica)
            if log == "no":
                equal(stat(primary, "sync_partial_ok"), 1, "partial resyncs")
            primary.terminate()
            primary.start()
            wait_for_link(replica)
            fill_all(primary, ":back")
            same(primary, replica)
            kill(primary, replica)


# ---- random mixes


def random_round(options, seed):
    chance = random.Random(seed)
    kinds = [options.server, options.reference]
    chance.shuffle(kinds)
    kinds.append(chance.choice(kinds))
    settings = {
        "repl_diskless_sync": chance.choice(("yes", "no")),
        "repl_diskless_load": chance.choice(("disabled", "on-empty-db", "swapdb")),
        "repl_backlog_size": chance.choice(("16kb", "1mb", "32mb")),
        "repl_diskless_sync_delay": chance.choice((0, 0, 1)),
        "appendonly": chance.choice(("yes", "no")),
        "repl_timeout": chance.choice((5, 20)),
        "repl_ping_replica_period": 1,
        "save": chance.choice(("", "900 1")),
        "rdbcompression": chance.choice(("yes", "no")),
    }
    print(f"  seed {seed}: {' -> '.join(os.path.basename(kind) for kind in kinds)}, {settings}", flush=True)
    servers = [Server(kind, **settings).start() for kind in kinds]
    fill_all(servers[0], databases=(0, 3))
    fill_bytes(servers[0], chance.randrange(0, 200))
    order = [0, 1, 2]
    proxies = []

    def follow():
        """A chain in the present order, or both behind the first."""
        for proxy in proxies:
            proxy.close()
        proxies.clear()
        chain = chance.random() < 0.5
        servers[order[0]].call("REPLICAOF", "NO", "ONE")
        for place in (1, 2):
            proxy = Proxy(servers[order[place - 1 if chain else 0]].port)
            proxies.append(proxy)
            servers[order[place]].call("REPLICAOF", "127.0.0.1", proxy.port)

    try:
        follow()
        for step in range(4):
            load = Load(servers[order[0]], families(options), f"{seed}/{step}", only=chance.sample(families(options).names, 4))
            with load:
                for _ in range(chance.randrange(1, 6)):
                    fault, proxy = chance.choice(("cut", "cut_after", "freeze", "slow", "kill", "sleep", "resync")), chance.choice(proxies)
                    replica = servers[order[chance.choice((1, 2))]]
                    load.moved(chance.randrange(1, 100))
                    if fault == "cut":
                        proxy.cut()
                    elif fault == "cut_after":
                        proxy.cut_after(chance.randrange(1, 1_000_000))
                    elif fault == "freeze":
                        proxy.freeze()
                        load.moved(chance.randrange(1, 100))
                        proxy.thaw()
                    elif fault == "slow":
                        proxy.limit(chance.choice((300_000, 3_000_000)))
                    elif fault == "kill":
                        replica.options["replicaof"] = replica.call("CONFIG", "GET", "replicaof")[1].split()
                        replica.options["replicaof"] = [word.decode() for word in replica.options["replicaof"]]
                        replica.kill() if chance.random() < 0.5 else replica.terminate()
                        load.moved(10)
                        replica.start()
                    elif fault == "sleep":
                        replica.stop()
                        load.moved(50)
                        replica.cont()
                    else:
                        replica.call("CONFIG", "SET", "repl-backlog-size", chance.choice((16384, 1 << 20)))
            for proxy in proxies:
                proxy.limit(None)
                proxy.cut_after()
            for place in (1, 2):
                wait_for_link(servers[order[place]], 120)
                same(servers[order[0]], servers[order[place]], what=f"seed {seed}, step {step}")
            chance.shuffle(order)
            follow()
    finally:
        for proxy in proxies:
            proxy.close()
    kill(*servers)


@case
def random_mixes(options):
    if not options.rounds:
        raise Skip("long form only: --rounds")
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    for number in range(options.rounds):
        random_round(options, seed + number)
        process.end_all()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="every case with all settings and larger amounts")
    parser.add_argument("--rounds", type=int, default=0, help="random mixes after the cases")
    parser.add_argument("--seed", type=int, help="of the first round")
    main(parser)
