#!/usr/bin/env python3
"""Streams on their own: what Redis 7.2 does differently from the reference that the comparisons run against, and large
streams, which are copied, saved and deleted without holding others up."""

import argparse
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.dataset import Held, read_all
from support.process import Server
from support.resp import Error, encode
from support.scenario import case, equal, main
from support.wait import eventually

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--entries", type=int, default=100_000, help="of the large stream")

BATCH = 2000


def fields(flat):
    return dict(zip(flat[::2], flat[1::2]))


@case
def consumers_are_made_by_looking(options):
    server = Server(options.server).start()
    with server.client() as client:
        client.ok("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
        equal(client("XREADGROUP", "GROUP", "g", "reader", "STREAMS", "s", ">"), None)
        equal(client("XCLAIM", "s", "g", "claimer", 0, "1-0"), [])
        equal(client("XAUTOCLAIM", "s", "g", "auto", 0, 0), [b"0-0", [], []])
        idle = {consumer[b"name"]: consumer for consumer in map(fields, client("XINFO", "CONSUMERS", "s", "g"))}
        equal(sorted(idle), [b"auto", b"claimer", b"reader"])
        equal({consumer[b"inactive"] for consumer in idle.values()}, {-1})
        client.ok("XADD", "s", "1-0", "f", "v")
        equal(client("XREADGROUP", "GROUP", "g", "reader", "NOACK", "STREAMS", "s", ">"), [[b"s", [[b"1-0", [b"f", b"v"]]]]])
        client.ok("XADD", "s", "2-0", "f", "v")
        client.ok("XREADGROUP", "GROUP", "g", "claimer", "STREAMS", "s", ">")
        after = {consumer[b"name"]: consumer[b"inactive"] for consumer in map(fields, client("XINFO", "CONSUMERS", "s", "g"))}
        equal(after[b"reader"], -1, "what needs no acknowledgement is no activity")
        assert after[b"claimer"] >= 0
        group = fields(fields(client("XINFO", "STREAM", "s", "FULL"))[b"groups"][0])
        times = {fields(c)[b"name"]: (fields(c)[b"seen-time"], fields(c)[b"active-time"]) for c in group[b"consumers"]}
        equal(times[b"auto"][1], -1)
        assert times[b"claimer"][1] > times[b"claimer"][0] - 1000 and abs(times[b"auto"][0] / 1000 - time.time()) < 60


@case
def what_is_refused(options):
    server = Server(options.server).start()
    with server.client() as client:
        for i in (5, 6):
            client.ok("XADD", "s", f"{i}-0", "f", "v")
        client.ok("XDEL", "s", "6-0")
        equal(client("XSETID", "s", "5-5"), Error(b"ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"))
        client.ok("XADD", "t", "5-18446744073709551615", "f", "v")
        equal(client("XADD", "t", "5-*", "f", "v"),
              Error(b"ERR The ID specified in XADD is equal or smaller than the target stream top item"))  # fmt: skip
        equal(client("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", "t", ">"),
              Error(b"ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."))  # fmt: skip


class Pinger(threading.Thread):
    """The longest that a PING waited."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.client, self.worst_s, self.stopping = server.client(timeout_s=60), 0.0, False
        self.start()

    def run(self):
        with self.client as client:
            while not self.stopping:
                start = time.monotonic()
                client("PING")
                self.worst_s = max(self.worst_s, time.monotonic() - start)
                time.sleep(0.0005)

    def stop(self):
        self.stopping = True
        self.join(60)
        return self.worst_s * 1000


def fill(client, entries):
    for first in range(1, entries + 1, BATCH):
        last = min(first + BATCH, entries + 1)
        client.socket.sendall(b"".join(encode(["XADD", "s", f"{i}-0", "sensor", i % 100, "temperature", "21.5"]) for i in range(first, last)))
        for _ in range(first, last):
            client.read()
    client.ok("XGROUP", "CREATE", "s", "g", "0")
    read = 0
    while read < entries:
        read += len(client.ok("XREADGROUP", "GROUP", "g", f"c{read % 7}", "COUNT", 5000, "STREAMS", "s", ">")[0][1])


def milliseconds_of(server, *command):
    """Of its last and only call."""
    server.call("CONFIG", "RESETSTAT")
    server.call(*command)
    stats = server.info("commandstats")[f"cmdstat_{command[0].lower()}"]
    return int(dict(pair.split("=") for pair in stats.split(","))["usec"]) / 1000


@case
def a_large_stream_stays_calm(options):
    server = Server(options.server).start()
    with server.client(timeout_s=120) as client:
        fill(client, options.entries)
        figures = {}
        for name, command in (("COPY", ["COPY", "s", "t", "REPLACE"]), ("DEL", ["DEL", "t"]), ("UNLINK", ["UNLINK", "t"])):
            tries = []
            for _ in range(5):  # Others may take the processor away in the midst of one.
                client("COPY", "s", "t")
                tries.append(milliseconds_of(server, *command))
            figures[name] = min(tries)
        pinger = Pinger(server)
        client.ok("BGSAVE")
        while server.info("persistence")["rdb_bgsave_in_progress"] == "1":
            client.ok("XADD", "s", "*", "f", "v")
            for entry in client.ok("XPENDING", "s", "g", "-", "+", 1):
                client.ok("XACK", "s", "g", entry[0])
        figures["a PING while saving"] = pinger.stop()
        equal(server.info("persistence")["rdb_last_bgsave_status"], "ok")
        print("  ms at most: " + ", ".join(f"{name} {figure:.2f}" for name, figure in figures.items()), flush=True)
        # A step of the copying or freeing is a shared node and not an entry.
        for name in ("COPY", "DEL", "UNLINK"):
            assert figures[name] < 5, f"{name} of {options.entries} entries took {figures[name]} ms"


@case
def a_large_stream_is_saved_as_it_was(options):
    """What is written meanwhile is not in the file."""
    server = Server(options.server, save="").start()
    with server.client(timeout_s=120) as client:
        fill(client, min(options.entries, 5000))
        expected = read_all(server)
        client.socket.sendall(encode(["BGSAVE"]) + b"".join(encode(command) for i in range(200) for command in (
            ["XADD", "s", "*", "f", "v"], ["XDEL", "s", f"{i * 20 + 1}-0"], ["XACK", "s", "g", f"{i * 10 + 7}-0"], ["XGROUP", "DELCONSUMER", "s", "g", f"c{i}"],
            ["XCLAIM", "s", "g", "thief", 0, f"{i * 5 + 3}-0"], ["XTRIM", "s", "MAXLEN", "~", 5000 - i * 20],
        )))  # fmt: skip
        for _ in range(1 + 200 * 6):
            client.read()
        eventually(lambda: server.info("persistence")["rdb_bgsave_in_progress"] == "0", 60)
        server.kill()
        server.start()
        assert read_all(server, view=Held.exact) == expected, "the file holds something else than the server did when the save began"


if __name__ == "__main__":
    main(parser)
