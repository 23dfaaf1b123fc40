#!/usr/bin/env python3
"""In a container of 512 MB with data for 60 % of it: snapshots, rewrites of the append-only file and full synchronisations
under writes do not get the server killed. And maxmemory as a part of the container's limit."""

import argparse
import concurrent.futures
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.memory_group import MemoryGroup
from support.process import Server
from support.resp import encode
from support.scenario import Skip, case, contains, equal, main
from support.wait import eventually

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--limit-mb", type=int, default=512)
parser.add_argument("--rounds", type=int, default=1, help="of every kind of work (default: %(default)s)")
parser.add_argument("--full-speed", action="store_true", help="writers that do not pause, but end after 20 s")

MB = 1 << 20
SIZES = [20, 100, 100, 400, 1000, 4000]  # of values
BATCH = 200


def value(index, version):
    return (b"%d:%d:" % (index, version)).ljust(SIZES[index % len(SIZES)], b"v")


def write(client, indexes, version):
    client.socket.sendall(b"".join(encode(["SET", b"key:%d" % i, value(i, version)]) for i in indexes))
    client.read_until(b"+OK\r\n" * len(indexes))


class Writer(threading.Thread):
    """Overwrites random keys until stopped: the worst for a snapshot, which has to keep what it has not written yet."""

    def __init__(self, server, keys, pause_s):
        super().__init__(daemon=True)
        self.server, self.keys, self.pause_s = server, keys, pause_s
        self.written, self.error, self.stopping = 0, None, False
        self.start()

    def run(self):
        chance = random.Random(1)
        try:
            with self.server.client(timeout_s=60) as client:
                while not self.stopping:
                    write(client, [chance.randrange(self.keys) for _ in range(BATCH)], self.written)
                    self.written += BATCH
                    time.sleep(self.pause_s)
        except (OSError, ConnectionError) as error:
            self.error = error

    def end(self):
        self.stopping = True

    def stop(self):
        self.end()
        self.join(120)
        assert self.error is None, f"after {self.written} writes: {self.error!r}"


class Peak:
    """The largest resident set while something is done."""

    def __init__(self, server):
        self.status, self.clear = f"/proc/{server.pid}/status", f"/proc/{server.pid}/clear_refs"

    def reset(self):
        with open(self.clear, "w") as file:
            file.write("5")

    def mb(self):
        with open(self.status) as file:
            return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))


@case
def at_sixty_per_cent(options):
    group = MemoryGroup(options.limit_mb * MB)
    server = Server(
        options.server, prefix=group.prefix(), appendonly="yes", appendfsync="everysec", auto_aof_rewrite_percentage=0,
        repl_diskless_sync_delay=0, repl_backlog_size="16mb",
    ).start(60)  # fmt: skip
    contains(server.log(), f"the container may use {options.limit_mb:.2f}M (cgroup v{group.version}")
    keys = 0
    with server.client(timeout_s=120) as client:
        while int(client.info("memory")["used_memory"]) < options.limit_mb * MB * 6 // 10:
            for _ in range(10):
                write(client, range(keys, keys + BATCH), 0)
                keys += BATCH
    peak = Peak(server)
    used = int(server.info("memory")["used_memory"]) // MB
    print(f"  {keys} keys, {used} MB used of {options.limit_mb} MB, resident {peak.mb()} MB")

    def bgsave():
        before = server.info("persistence")["rdb_saves"]
        server.call("BGSAVE")
        eventually(lambda: server.info("persistence")["rdb_saves"] != before, 300, "the snapshot is written")
        equal(server.info("persistence")["rdb_last_bgsave_status"], "ok")

    def rewrite():
        before = server.info("persistence")["aof_rewrites"]
        server.call("BGREWRITEAOF")
        eventually(lambda: server.info("persistence")["aof_rewrites"] != before, 300, "the rewrite is done")
        equal(server.info("persistence")["aof_last_bgrewrite_status"], "ok")

    def full_sync():
        replica = Server(options.server, replicaof=["127.0.0.1", server.port]).start(60)
        eventually(lambda: replica.info("replication")["master_link_status"] == "up", 300, "the replica is synchronised")
        replica.kill()

    def everything():
        replica = Server(options.server, replicaof=["127.0.0.1", server.port]).start(60)
        with concurrent.futures.ThreadPoolExecutor() as threads:
            saves = [threads.submit(work) for work in (bgsave, rewrite)]
            eventually(lambda: replica.info("replication")["master_link_status"] == "up", 300, "the replica is synchronised")
            for save in saves:
                save.result()
        replica.kill()

    for work in (bgsave, rewrite, full_sync, everything) * options.rounds:
        peak.reset()
        writer = Writer(server, keys, 0 if options.full_speed else 0.01)
        eventually(lambda: writer.written > 10 * BATCH or writer.error, 60, "writes go on")
        if options.full_speed:  # A replica cannot catch up with just anything; what counts is that the server lives.
            threading.Timer(20, writer.end).start()
        start = time.monotonic()
        work()
        seconds = time.monotonic() - start
        writer.stop()
        assert server.running(), f"ended during {work.__name__}:\n{server.log()[-1000:]}"
        equal(group.kills(), 0, "processes killed")
        print(f"  {work.__name__}: {seconds:.1f} s, {writer.written} writes, resident at most {peak.mb()} MB")
    equal(server.call("DBSIZE"), keys)
    equal(server.terminate(60), 0)


@case
def maxmemory_as_a_part(options):
    group = MemoryGroup(200 * MB)
    server = Server(options.server, prefix=group.prefix(), maxmemory="50%", maxmemory_policy="allkeys-lru").start(60)
    contains(server.log(), "the container may use 200.00M")
    contains(server.log(), "maxmemory 50% of it is 100.00M")
    info = server.info("memory")
    equal(int(info["maxmemory"]), 100 * MB)
    equal(int(info["container_memory_limit"]), 200 * MB)
    contains(info["container_memory_limit_source"], "/memory.")
    with server.client() as client:
        equal(client("CONFIG", "GET", "maxmemory"), [b"maxmemory", b"50%"])
        client.ok("CONFIG", "SET", "maxmemory", "auto")
        equal(client("CONFIG", "GET", "maxmemory"), [b"maxmemory", b"auto"])
        equal(int(client.info("memory")["maxmemory"]), 200 * MB * 70 // 100)
        client.ok("CONFIG", "SET", "maxmemory", "50%")
        for first in range(0, 200_000, BATCH):
            write(client, range(first, first + BATCH), 0)
        assert int(client.info("stats")["evicted_keys"]) > 0
        assert int(client.info("memory")["used_memory"]) < 105 * MB
    # The limit may change while the container runs.
    group.set_limit(240 * MB)
    eventually(lambda: int(server.info("memory")["maxmemory"]) == 120 * MB, 30, "maxmemory follows the container's limit")
    equal(server.terminate(60), 0)


@case
def rewritten_as_given(options):
    server = Server(options.server)
    path = server.path("my.conf")
    with open(path, "w") as file:
        file.write("maxmemory 40%\n")
    server.config_file = path
    server.start()
    server.call("CONFIG", "REWRITE")
    with open(path) as file:
        contains(file.read(), "maxmemory 40%\n")
    server.call("CONFIG", "SET", "maxmemory", "auto")
    server.call("CONFIG", "REWRITE")
    with open(path) as file:
        contains(file.read(), "maxmemory auto\n")
    assert int(server.info("memory")["maxmemory"]) > 0


if __name__ == "__main__":
    main(parser)
