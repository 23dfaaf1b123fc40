#!/usr/bin/env python3
"""Replication between every pair of the two servers: full and partial resync, chains, WAIT, expiry."""

import itertools
import sys
import os
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.process import Server
from support.proxy import Proxy
from support.resp import Error, encode
from support.scenario import case, contains, equal, main
from support.wait import eventually


def server_pairs(options):
    """(primary, replica) binaries: ours with itself and, in both directions, with the reference."""
    binaries = list(dict.fromkeys([options.server, options.reference]))
    for pair in itertools.product(binaries, repeat=2):
        if options.server in pair:
            print(f"  primary {os.path.basename(pair[0])}, replica {os.path.basename(pair[1])}", flush=True)
            yield pair


def link_is_up(server):
    return server.info("replication")["master_link_status"] == "up"


def digest(server):
    """All databases' keys, values and expiry times."""
    held = {}
    with server.client() as client:
        for database in range(16):
            client.ok("SELECT", database)
            keys = sorted(client.ok("KEYS", "*"))
            values = client.pipeline([("GET", key) for key in keys])
            times = client.pipeline([("PEXPIRETIME", key) for key in keys])
            # A replica may still list a key past its time that its primary has not yet told it to drop.
            read = zip(keys, values, times)
            held.update({(database, k): (value, at) for k, value, at in read if value is not None and at != -2})
    return held


def same_data(primary, replica, timeout_s=30):
    def caught_up():
        a, b = primary.info("replication"), replica.info("replication")
        return a["master_repl_offset"] == b["master_repl_offset"] or None

    eventually(caught_up, timeout_s, "the replica has caught up")
    theirs, ours = digest(replica), digest(primary)
    read_ms = time.time() * 1000
    # What expired between the two readings may be in the earlier one only.
    theirs, ours = ({k: (v, at) for k, (v, at) in held.items() if not 0 <= at <= read_ms} for held in (theirs, ours))
    different = {key: (theirs.get(key), ours.get(key)) for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key)}
    equal(different, {}, "keys that differ, as (replica, primary)")


def fill(server, count=2000, prefix="key"):
    with server.client() as client:
        commands = [("SET", f"{prefix}:{i}", f"value {i}" * (i % 7 + 1)) for i in range(count)]
        commands += [("PEXPIRE", f"{prefix}:{i}", 10_000_000 + i) for i in range(0, count, 5)]
        commands += [("SELECT", 3), ("SET", "elsewhere", "\x00\xff\r\n"), ("SET", "big", "x" * 300_000), ("SELECT", 0)]
        for reply in client.pipeline(commands):
            assert not isinstance(reply, Error), reply


def write_a_little(server, tag):
    """Every kind of change that a stream carries."""
    with server.client() as client:
        for command in (
            ("SET", f"{tag}:a", 1), ("INCRBY", f"{tag}:a", 41), ("SET", f"{tag}:b", "x", "EX", 5000), ("APPEND", f"{tag}:b", "y"),
            ("INCRBYFLOAT", f"{tag}:f", "0.1"), ("GETEX", f"{tag}:b", "PERSIST"), ("EXPIRE", f"{tag}:a", 9000),
            ("MSET", f"{tag}:c", 1, f"{tag}:d", 2), ("RENAME", f"{tag}:c", f"{tag}:e"), ("COPY", f"{tag}:e", f"{tag}:g", "DB", 2),
            ("MOVE", f"{tag}:d", 4), ("GETDEL", f"{tag}:e"), ("SETRANGE", f"{tag}:r", 5, "abc"), ("MULTI",), ("SET", f"{tag}:m", 1),
            ("INCR", f"{tag}:m"), ("EXEC",), ("SET", f"{tag}:gone", 1, "PX", 1), ("SWAPDB", 5, 4), ("SETEX", f"{tag}:s", 700, "v"),
        ):  # fmt: skip
            client.ok(*command)


# A PING in the stream may reach one replica and not the other: where offsets are compared, nothing flows by itself.
SILENT = {"repl_ping_replica_period": 3600, "repl_timeout": 7200}


def replica_of(binary, port, **options):
    return Server(binary, replicaof=["127.0.0.1", port], repl_diskless_sync_delay=0, **options).start()


def full_sync(options, **both):
    for primary_binary, replica_binary in server_pairs(options):
        primary = Server(primary_binary, repl_diskless_sync_delay=0, **both).start()
        fill(primary)
        replica = replica_of(replica_binary, primary.port, **both)
        eventually(lambda: link_is_up(replica), 60, "link up")
        same_data(primary, replica)
        write_a_little(primary, "after")
        same_data(primary, replica)
        info = primary.info("replication")
        equal(info["role"], "master")
        equal(info["connected_slaves"], "1")
        contains(info["slave0"], f"port={replica.port},state=online,offset=")
        info = replica.info("replication")
        equal((info["role"], info["master_port"]), ("slave", str(primary.port)))
        with replica.client() as client:
            equal(client("SET", "k", "v"), b"READONLY You can't write against a read only replica.")
            role = client("ROLE")
            equal(role[:4], [b"slave", b"127.0.0.1", primary.port, b"connected"])
            # A promoted replica goes on with the data it has, under a new replication id.
            client.ok("REPLICAOF", "NO", "ONE")
            equal(client("SET", "k", "v"), b"OK")
        assert replica.info("replication")["master_replid"] != primary.info("replication")["master_replid"]
        equal(replica.info("replication")["master_replid2"], primary.info("replication")["master_replid"])
        for server in (primary, replica):
            server.kill()


@case
def full_sync_through_a_file(options):
    full_sync(options, repl_diskless_sync="no")


@case
def full_sync_diskless(options):
    full_sync(options, repl_diskless_sync="yes")


@case
def full_sync_diskless_loaded_from_the_socket(options):
    full_sync(options, repl_diskless_sync="yes", repl_diskless_load="swapdb")


@case
def full_sync_with_aof(options):
    full_sync(options, appendonly="yes")


@case
def partial_resync_after_a_cut(options):
    for primary_binary, replica_binary in server_pairs(options):
        primary = Server(primary_binary, repl_diskless_sync_delay=0, repl_backlog_size="4mb").start()
        fill(primary, 300)
        with Proxy(primary.port) as proxy:
            replica = replica_of(replica_binary, proxy.port)
            eventually(lambda: link_is_up(replica), 60, "link up")
            same_data(primary, replica)
            full = int(primary.info("stats")["sync_full"])
            for turn in range(3):
                proxy.refuse()
                eventually(lambda: not link_is_up(replica), 30, "link down")
                write_a_little(primary, f"cut{turn}")
                proxy.accept()
                eventually(lambda: link_is_up(replica), 60, "link up again")
                same_data(primary, replica)
                equal(int(primary.info("stats")["sync_partial_ok"]), turn + 1, "partial resyncs")
            with primary.client() as client:
                assert client.ok("CLIENT", "KILL", "TYPE", "replica") >= 1
            write_a_little(primary, "killed")
            eventually(lambda: int(primary.info("stats")["sync_partial_ok"]) == 4, 60, "a partial resync after CLIENT KILL")
            same_data(primary, replica)
            equal(int(primary.info("stats")["sync_full"]), full, "no further full sync")
            # Further behind than the backlog reaches, only a full sync helps.
            proxy.refuse()
            eventually(lambda: not link_is_up(replica), 30, "link down")
            primary.call("CONFIG", "SET", "repl-backlog-size", "16kb")
            fill(primary, 2000, "much")
            proxy.accept()
            eventually(lambda: link_is_up(replica), 60, "link up again")
            same_data(primary, replica)
            equal(int(primary.info("stats")["sync_full"]), full + 1, "a full sync")
        for server in (primary, replica):
            server.kill()


@case
def chain_of_replicas(options):
    for first, second in server_pairs(options):
        primary = Server(first, repl_diskless_sync_delay=0).start()
        fill(primary, 500)
        middle = replica_of(second, primary.port)
        last = replica_of(first, middle.port)
        for server in (middle, last):
            eventually(lambda: link_is_up(server), 60, "link up")
        write_a_little(primary, "chained")
        same_data(primary, middle)
        same_data(primary, last)
        # The middle one becomes primary; the last one and the old primary follow with partial resyncs.
        middle.call("REPLICAOF", "NO", "ONE")
        write_a_little(middle, "promoted")
        same_data(middle, last)
        equal(int(middle.info("stats")["sync_full"]), 1, "full syncs served by the promoted replica")
        for server in (primary, middle, last):
            server.kill()


@case
def sibling_resyncs_partially_with_a_promoted_replica(options):
    for first, second in server_pairs(options):
        primary = Server(first, repl_diskless_sync_delay=0, **SILENT).start()
        fill(primary, 200)
        heir, sibling = replica_of(second, primary.port, **SILENT), replica_of(second, primary.port, **SILENT)
        for server in (heir, sibling):
            eventually(lambda: link_is_up(server), 60, "link up")
            same_data(primary, server)
        primary.kill()
        heir.call("REPLICAOF", "NO", "ONE")
        sibling.call("REPLICAOF", "127.0.0.1", heir.port)
        eventually(lambda: link_is_up(sibling), 60, "the sibling follows the heir")
        equal(int(heir.info("stats")["sync_partial_ok"]), 1, "partial resyncs")
        equal(int(heir.info("stats")["sync_full"]), 0, "full syncs")
        write_a_little(heir, "heir")
        same_data(heir, sibling)
        for server in (heir, sibling):
            server.kill()


@case
def restart_of_a_replica_resyncs_partially(options):
    """The RDB file keeps replication id and offset over a clean restart."""
    for first, second in server_pairs(options):
        primary = Server(first, repl_diskless_sync_delay=0).start()
        fill(primary, 200)
        replica = replica_of(second, primary.port, save="900 1")
        eventually(lambda: link_is_up(replica), 60, "link up")
        same_data(primary, replica)
        replica.terminate()
        write_a_little(primary, "away")
        replica.start()
        eventually(lambda: link_is_up(replica), 60, "link up")
        same_data(primary, replica)
        equal(int(primary.info("stats")["sync_partial_ok"]), 1, "partial resyncs")
        for server in (primary, replica):
            server.kill()


@case
def wait_counts_replicas(options):
    for first, second in server_pairs(options):
        primary = Server(first, repl_diskless_sync_delay=0).start()
        replicas = [replica_of(second, primary.port) for _ in range(2)]
        for server in replicas:
            eventually(lambda: link_is_up(server), 60, "link up")
        with primary.client(timeout_s=90) as client:
            for number in range(20):
                client.ok("SET", "k", number)
                equal(client("WAIT", 2, 60000), 2)
            replicas[0].stop()
            client.ok("SET", "k", "stopped")
            equal(client("WAIT", 1, 60000), 1)
            start = time.monotonic()
            equal(client("WAIT", 2, 300), 1)
            assert time.monotonic() - start >= 0.29
            replicas[0].cont()
            equal(client("WAIT", 2, 60000), 2)
        with replicas[0].client() as client:
            assert client("WAIT", 0, 0).startswith(b"ERR WAIT cannot be used with replica instances.")
        for server in [primary, *replicas]:
            server.kill()


@case
def waitaof_counts_synced_logs(options):
    """Of Redis 7.2: the reference need not know it."""
    primary = Server(options.server, appendonly="yes", repl_diskless_sync_delay=0).start()
    logging = replica_of(options.server, primary.port, appendonly="yes")
    plain = replica_of(options.server, primary.port)
    for server in (logging, plain):
        eventually(lambda: link_is_up(server), 60, "link up")
    with primary.client(timeout_s=90) as client:
        for number in range(3):
            client.ok("SET", "k", number)
            equal(client("WAITAOF", 1, 1, 60000), [1, 1])
        equal(client("WAITAOF", 1, 2, 100), [1, 1], "the replica without a log does not count")
        client.ok("CONFIG", "SET", "appendfsync", "no")
        client.ok("SET", "k", "not synced")
        equal(client("WAITAOF", 1, 0, 100)[0], 0)
        client.ok("CONFIG", "SET", "appendonly", "no")
        assert client("WAITAOF", 1, 0, 0).startswith(b"ERR WAITAOF cannot be used when numlocal is set")
        # Who waits when the primary becomes a replica is told, and disconnected.
        with primary.client() as other:
            other.socket.sendall(encode(("WAIT", 3, 0)))
            eventually(lambda: primary.info("clients")["blocked_clients"] == "1", 30, "it waits")
            client.ok("REPLICAOF", "127.0.0.1", logging.port)
            assert other.read().startswith(b"UNBLOCKED "), "not told"
        assert client("WAITAOF", 0, 1, 0).startswith(b"ERR WAITAOF cannot be used with replica instances.")
    for server in (primary, logging, plain):
        server.kill()


@case
def replica_expires_on_the_primarys_word(options):
    for first, second in server_pairs(options):
        primary = Server(first, repl_diskless_sync_delay=0, repl_timeout=600, enable_debug_command="yes").start()
        with Proxy(primary.port) as proxy:
            replica = replica_of(second, proxy.port, repl_timeout=600)
            eventually(lambda: link_is_up(replica), 60, "link up")
            with primary.client(timeout_s=90) as client:
                # The primary shall not speak of their end before the line is dead, however long it takes to get there. And the
                # stream may begin to flow some time after a diskless image.
                client.ok("DEBUG", "SET-ACTIVE-EXPIRE", 0)
                client.ok("SET", "flows", 1)
                equal(client("WAIT", 1, 60000), 1)
                client.ok("DEL", "flows")
                client.pipeline([("SET", f"k{i}", "v", "PX", 300) for i in range(100)])
                equal(client("WAIT", 1, 60000), 1)
                proxy.freeze()
                client.ok("DEBUG", "SET-ACTIVE-EXPIRE", 1)
            eventually(lambda: primary.call("DBSIZE") == 0, 30, "the primary has expired all")
            with replica.client() as client:
                # It hides them from readers, but keeps them until it is told.
                equal(client("GET", "k1"), None)
                equal(client("EXISTS", "k2"), 0)
                equal(client("DBSIZE"), 100)
            proxy.thaw()
            eventually(lambda: replica.call("DBSIZE") == 0, 30, "the replica was told")
        for server in (primary, replica):
            server.kill()


@case
def writes_during_the_full_sync_arrive(options):
    for first, second in server_pairs(options):
        primary = Server(first, repl_diskless_sync_delay=0).start()
        fill(primary, 50_000)
        replica = Server(second, repl_diskless_sync_delay=0).start()
        with primary.client() as client:
            replica.call("REPLICAOF", "127.0.0.1", primary.port)
            number = 0
            while not link_is_up(replica):
                client.pipeline([("INCR", f"during:{(number + i) % 100}") for i in range(200)])
                number += 200
        same_data(primary, replica)
        for server in (primary, replica):
            server.kill()


@case
def stale_and_unreachable(options):
    primary = Server(options.server).start()
    replica = Server(options.server, replica_serve_stale_data="no").start()
    with Proxy(primary.port) as proxy:
        proxy.refuse()
        replica.call("REPLICAOF", "127.0.0.1", proxy.port)
        with replica.client() as client:
            equal(client("GET", "k"), b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")
            equal(client("PING"), b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")
            assert client.info("replication")["master_link_status"] == "down"
            equal(client("REPLICAOF", "127.0.0.1", proxy.port), b"OK Already connected to specified master")
    with primary.client() as client:
        client.ok("CONFIG", "SET", "min-replicas-to-write", 1)
        equal(client("SET", "k", "v"), b"NOREPLICAS Not enough good replicas to write.")
        equal(client("GET", "k"), None)


if __name__ == "__main__":
    main()
