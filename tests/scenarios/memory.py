#!/usr/bin/env python3
"""Memory limits under pressure: maxmemory holds while a million keys are written, its replica stays the same, large values
and whole datasets go away without holding others up, and clients that hold too much are sent away."""

import argparse
import itertools
import os
import random
import shutil
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.process import Server
from support.resp import Error, encode, parse_info
from support.scenario import case, equal, main
from support.wait import eventually

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--keys", type=int, default=1_000_000)
parser.add_argument("--hit-rates", action="store_true", help="also compare hit rates with the reference server (minutes)")

BATCH = 2000


def write(client, start, end, value=b"v" * 50, after=lambda: None):
    for first in range(start, end, BATCH):
        last = min(first + BATCH, end)
        client.socket.sendall(b"".join(encode(["SET", b"key:%d" % i, value]) for i in range(first, last)))
        client.read_until(b"+OK\r\n" * (last - first))
        after()


def number(server, section, name):
    return int(server.info(section)[name])


def loop_seconds(server):
    """For which the server's loop has had a processor; the time that others had it is not the server's."""
    with open(f"/proc/{server.pid}/task/{server.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Pinger(threading.Thread):
    """How long a PING waits while others keep the server busy."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.client = server.client(timeout_s=60)
        self.worst_s = 0.0
        self.waits = []
        self.stopping = False

    def run(self):
        with self.client as client:
            while not self.stopping:
                start = time.monotonic()
                client("PING")
                self.waits.append(time.monotonic() - start)
                time.sleep(0.0005)

    def stop(self):
        self.stopping = True
        self.join(60)
        self.waits.sort()
        return f"p50 {self.waits[len(self.waits) // 2] * 1e3:.2f} ms, max {self.waits[-1] * 1e3:.2f} ms"


@case
def a_million_sets_under_a_limit(options):
    limit = (4 << 20) + options.keys * 20
    primary = Server(options.server, maxmemory=limit, maxmemory_policy="allkeys-lru").start()
    replica = Server(options.server, replicaof=["localhost", primary.port]).start()
    eventually(lambda: replica.info("replication").get("master_link_status") == "up", 60)
    over, batches = [], itertools.count()
    with primary.client(timeout_s=120) as client, primary.client() as watch:

        def look():
            if next(batches) % 20 == 0:
                memory = dict(line.split(b":", 1) for line in watch("INFO", "memory").split(b"\r\n") if b":" in line)
                over.append(int(memory[b"used_memory"]) - int(memory[b"mem_not_counted_for_evict"]) - limit)

        write(client, 0, options.keys, after=look)
    # Tables grow by segments of a quarter of a megabyte; evicting as much takes some turns.
    assert max(over) < max(limit // 50, 1 << 20), f"memory was {max(over)} bytes over the limit"
    with primary.client() as client:
        # At once, and then no more: the replies of what follows take room too.
        *_, (stats, size, _) = client.pipeline([("MULTI",), ("INFO", "stats"), ("DBSIZE",), ("CONFIG", "SET", "maxmemory", 0), ("EXEC",)])
    evicted = int(parse_info(stats)["evicted_keys"])
    equal(evicted + size, options.keys)
    assert evicted > 0
    eventually(lambda: replica.info("replication")["slave_repl_offset"] == primary.info("replication")["master_repl_offset"], 60)
    equal(replica.call("DBSIZE"), primary.call("DBSIZE"))
    assert contents(replica) == contents(primary), "the replica has other keys or values"
    equal(number(replica, "stats", "evicted_keys"), 0)
    # The youngest are all there.
    with primary.client() as client:
        kept = sum(client("EXISTS", f"key:{i}") for i in range(options.keys - 1000, options.keys))
    assert kept > 950, kept
    print(f"  {evicted} evicted, at most {max(0, max(over))} bytes over the limit of {limit}")


def contents(server):
    found = {}
    cursor = b"0"
    with server.client(timeout_s=60) as client:
        while True:
            cursor, keys = client("SCAN", cursor, "COUNT", 1000)
            found.update(zip(keys, client("MGET", *keys)) if keys else [])
            if cursor == b"0":
                return found


@case
def a_lowered_limit_does_not_hold_others_up(options):
    server = Server(options.server, maxmemory_policy="allkeys-random").start()
    with server.client(timeout_s=120) as client:
        write(client, 0, options.keys // 2)
    used = number(server, "memory", "used_memory")
    pinger = Pinger(server)
    pinger.start()
    start = time.monotonic()
    target = used // 2
    server.call("CONFIG", "SET", "maxmemory", target)
    eventually(lambda: number(server, "memory", "used_memory") <= target, 60)
    print(f"  {used - target} bytes evicted in {time.monotonic() - start:.2f} s, PING meanwhile: {pinger.stop()}")


@case
def a_flush_does_not_hold_others_up(options):
    for mode in ("SYNC", "ASYNC"):
        server = Server(options.server, enable_debug_command="yes").start()
        with server.client(timeout_s=300) as client:
            empty = number(server, "memory", "used_memory")
            client.ok("DEBUG", "POPULATE", options.keys, "key", 20)
            pinger = Pinger(server)
            pinger.start()
            start, before = time.monotonic(), loop_seconds(server)
            client.ok("FLUSHALL", mode)
            took, worked = time.monotonic() - start, loop_seconds(server) - before
            if mode == "SYNC":
                left = number(server, "memory", "used_memory") - empty
                assert left < 2 << 20, f"{left} bytes are still used after FLUSHALL SYNC"
                equal(number(server, "memory", "lazyfree_pending_objects"), 0)
            else:
                assert took < 1 and worked < 0.5, f"{took:.2f} s, of which the loop worked {worked:.2f} s"
                eventually(lambda: number(server, "memory", "lazyfree_pending_objects") == 0, 60)
        equal(number(server, "memory", "lazyfreed_objects"), options.keys)
        print(f"  FLUSHALL {mode} took {took * 1e3:.1f} ms, PING meanwhile: {pinger.stop()}")


@case
def large_values_die_elsewhere(options):
    server = Server(options.server).start()
    big = b"x" * (8 << 20)
    with server.client(timeout_s=60) as client:
        for i in range(20):
            client.ok("SET", f"big:{i}", big)
        before = number(server, "memory", "used_memory")
        equal(client("DEL", *[f"big:{i}" for i in range(20)]), 20)
    eventually(lambda: number(server, "memory", "lazyfreed_objects") == 20, 60)
    eventually(lambda: number(server, "memory", "lazyfree_pending_objects") == 0, 60)  # one after the other
    assert before - number(server, "memory", "used_memory") > 150 << 20
    equal(server.call("CONFIG", "RESETSTAT"), b"OK")
    equal(number(server, "memory", "lazyfreed_objects"), 0)


@case
def no_eviction_refuses_and_recovers(options):
    server = Server(options.server).start()
    with server.client() as client:
        with server.client() as filler:
            write(filler, 0, 20_000)
        # With the filler's buffers.
        eventually(lambda: client.info("clients")["connected_clients"] == "1", 60, "the filler is gone")
        used = int(client.info("memory")["used_memory"])
        client.ok("CONFIG", "SET", "maxmemory", used - 100_000)
        for command in (["SET", "a", "b"], ["APPEND", "a", "b"], ["SETRANGE", "a", "1", "b"]):
            error = client(*command)
            equal(error, Error(b"OOM command not allowed when used memory > 'maxmemory'."))
        equal(client("GET", "key:1"), b"v" * 50)
        assert number(server, "stats", "current_eviction_exceeded_time") >= 0
        for i in range(3000):
            client("DEL", f"key:{i}")
        client.ok("SET", "a", "b")
        equal(number(server, "stats", "current_eviction_exceeded_time"), 0)


@case
def the_largest_clients_go_first(options):
    server = Server(options.server, maxmemory_clients="8mb").start()
    with server.client() as client:
        client.ok("SET", "large", b"x" * (1 << 20))
        spared = server.client()
        equal(spared("CLIENT", "NO-EVICT", "ON"), b"OK")
        # Two that do not read what they ask for, and many small ones.
        small = [server.client() for _ in range(50)]
        for one in small:
            equal(one("PING"), b"PONG")
        spared.socket.sendall(encode(["GET", "large"]) * 4)
        greedy = socket.create_connection(("127.0.0.1", server.port))
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            for _ in range(400):
                greedy.sendall(encode(["GET", "large"]))
        except OSError:
            pass
        eventually(lambda: number(server, "stats", "evicted_clients") == 1, 60)
        for one in small:
            equal(one("PING"), b"PONG")
        for _ in range(4):
            equal(len(spared.read()), 1 << 20)
        assert number(server, "memory", "mem_clients_normal") < 8 << 20
        # A half-sent command counts as well.
        sender = socket.create_connection(("127.0.0.1", server.port))
        try:
            sender.sendall(b"*2\r\n$3\r\nGET\r\n$40000000\r\n" + b"y" * (16 << 20))
        except OSError:
            pass
        eventually(lambda: number(server, "stats", "evicted_clients") == 2, 60)


@case
def hit_rates_of_a_cache(options):
    """Keys are read with Zipf's frequencies and written when missing; the cache holds about a fifth of them."""
    if not options.hit_rates:
        return
    servers = [options.server] + ([options.reference] if shutil.which(options.reference) else [])
    for policy in ("allkeys-lru", "allkeys-lfu", "allkeys-random"):
        for binary in servers:
            server = Server(binary, maxmemory_policy=policy).start()
            rate = hit_rate(server, options.keys // 10)
            print(f"  {policy:15} {server}: {rate:.1%} with {server.call('DBSIZE')} keys held")
            server.terminate(30)


def hit_rate(server, count, held=0.2):
    value = b"v" * 100
    target = int(count * held)
    with server.client(timeout_s=60) as client:
        write(client, 0, target, value)
        time.sleep(0.5)
        limit = number(server, "memory", "used_memory")
        # The limit in keys shall be the same for all servers, whatever a key costs them.
        for _ in range(6):
            client.ok("CONFIG", "SET", "maxmemory", limit)
            write(client, target, 2 * target, value)
            limit += (target - client("DBSIZE")) * 130
        random.seed(1)
        hits = total = 0
        weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(count)))
        ranks = list(range(count))
        random.shuffle(ranks)
        for turn in range(int(4 * count / BATCH)):
            keys = random.choices(ranks, cum_weights=weights, k=BATCH)
            client.socket.sendall(b"".join(encode(["GET", b"key:%d" % key]) for key in keys))
            missing = {key for key in keys if client.read() is None}
            replies = sum(1 for key in keys if key not in missing)
            if missing:
                client.socket.sendall(b"".join(encode(["SET", b"key:%d" % key, value]) for key in missing))
                client.read_until(b"+OK\r\n" * len(missing))
            if turn * BATCH >= 2 * count:
                hits += replies
                total += BATCH
    return hits / total


if __name__ == "__main__":
    main(parser)
