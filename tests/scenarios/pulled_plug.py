#!/usr/bin/env python3
"""kill -9 under load with `appendfsync always`, again and again: every acknowledged write is there after the restart."""

import argparse
import random
import sys
import os
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.process import Server, run
from support.resp import Client, encode
from support.scenario import case, main
from support.wait import eventually

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--loops", type=int, default=10)
parser.add_argument("--writers", type=int, default=4)
parser.add_argument("--pipeline", type=int, default=16)
parser.add_argument("--seed", type=int, default=1)

KEYS = 200


class PipeliningWriter(threading.Thread):
    """Overwrites its own keys with growing numbers, several requests in flight, until the connection breaks."""

    def __init__(self, port, number, first, depth):
        super().__init__(daemon=True)
        self.port, self.number, self.next, self.depth = port, number, first, depth
        self.sent, self.acknowledged, self.deleted = {}, {}, {}
        self.error = None

    def run(self):
        try:
            with Client(self.port, timeout_s=60) as client:
                while True:
                    batch = []
                    for _ in range(self.depth):
                        self.next += 1
                        batch.append((f"w{self.number}:{self.next % KEYS}", self.next))
                    self.sent.update(batch)
                    client.socket.sendall(b"".join(encode(("SET", key, value)) for key, value in batch))
                    for key, value in batch:
                        reply = client.read()
                        if reply != b"OK":
                            self.error = reply
                            return
                        self.acknowledged[key] = value
        except (ConnectionError, TimeoutError):
            pass


def plug_loop(options, **server_options):
    chance = random.Random(options.seed)
    server = Server(options.server, appendonly="yes", appendfsync="always", **server_options).start()
    acknowledged, sent, total = {}, {}, 0
    next_number = 0
    for loop in range(options.loops):
        writers = [PipeliningWriter(server.port, n, next_number, options.pipeline) for n in range(options.writers)]
        for writer in writers:
            writer.start()
        eventually(lambda: all(len(w.acknowledged) >= KEYS // 2 or w.error for w in writers), 60, "all writers write", ignore=())
        if loop % 3 == 2:
            with server.client() as client:
                client("BGREWRITEAOF")  # The plug may be pulled in the middle of a rewrite as well.
        time.sleep(chance.uniform(0, 0.3))
        server.kill()
        for writer in writers:
            writer.join(90)
            assert not writer.is_alive() and writer.error is None, writer.error
            total += writer.next - next_number
            acknowledged.update(writer.acknowledged)
            sent.update(writer.sent)
        next_number = max(writer.next for writer in writers)
        server.start()
        with server.client() as client:
            keys = sorted(sent)
            for key, value in zip(keys, client.pipeline([("GET", key) for key in keys])):
                found = int(value) if value is not None else -1
                least = acknowledged.get(key, -1)
                assert least <= found <= sent[key], f"loop {loop}, {key}: acknowledged {least}, found {found}, sent {sent[key]}"
                acknowledged[key] = found
        print(f"  loop {loop}: {len(acknowledged)} keys as acknowledged, about {total} writes so far", flush=True)
    server.terminate()
    # By name: a plug pulled in the middle of a rewrite may leave the manifest's temporary file behind.
    run(["redis-check-aof", server.path("appendonlydir", "appendonly.aof.manifest")])


@case
def appendfsync_always(options):
    plug_loop(options)


@case
def cluster_node(options):
    """A node alone with all slots: nodes.conf must survive the plug too."""
    server = Server(options.server, appendonly="yes", appendfsync="always", cluster_enabled="yes").start()
    server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    node = server.call("CLUSTER", "MYID")
    for loop in range(3):
        eventually(lambda: b"cluster_state:ok" in server.call("CLUSTER", "INFO"), 30)
        server.call("SET", f"key:{loop}", loop)
        server.kill()
        server.start()
        assert server.call("CLUSTER", "MYID") == node
        for earlier in range(loop + 1):
            eventually(lambda: b"cluster_state:ok" in server.call("CLUSTER", "INFO"), 30)
            assert server.call("GET", f"key:{earlier}") == str(earlier).encode()


if __name__ == "__main__":
    main(parser)
