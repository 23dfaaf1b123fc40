#!/usr/bin/env python3
"""What is acknowledged survives kill -9 and SIGTERM whatever the disk work under way; a full disk stops only writes."""

import argparse
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.process import Server, run, temporary_directory
from support.resp import Error, encode
from support.scenario import Skip, case, contains, equal, main
from support.wait import eventually
from support.writer import Writer, check

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--loops", type=int, default=6)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--megabytes", type=int, default=100, help="of a large value")


def begin(server, first=0, count=3):
    writers = [Writer(server.port, n, first) for n in range(count)]
    for writer in writers:
        writer.start()
    eventually(lambda: all(writer.acknowledged or writer.error for writer in writers), 30, ignore=())
    return writers


def idle(server):
    info = server.info("persistence")
    return all(info[name] == "0" for name in ("rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled"))


def filled(binary, megabytes, **options):
    server = Server(binary, **options).start()
    with server.client() as client:
        for i in range(megabytes):
            client.pipeline([("SET", f"fill:{i}:{k}", os.urandom(500) * 20) for k in range(100)])
    return server


@case
def kill_9_in_the_middle_of_disk_work(options):
    chance = random.Random(options.seed)
    for policy in ("always", "everysec", "no"):
        server = filled(options.server, 10, appendonly="yes", appendfsync=policy, save="3600 1")
        for loop in range(options.loops):
            writers = begin(server, first=loop * 10_000_000)
            with server.client() as client:
                for _ in range(chance.randrange(4)):
                    client(chance.choice(["BGSAVE", "BGREWRITEAOF"]))
                    time.sleep(chance.uniform(0, 0.05))
            server.kill()
            for writer in writers:
                writer.join(30)
            server.start()
            check(server, writers, f"appendfsync {policy}, loop {loop}")
        run(["redis-check-aof", server.path("appendonlydir", "appendonly.aof.manifest")])
        server.kill()


@case
def policies_change_under_pipelines(options):
    """No reply is left behind the gate, whatever is switched meanwhile; SIGTERM loses nothing."""
    chance = random.Random(options.seed)
    server = Server(options.server, appendonly="yes", appendfsync="always", save="").start()
    for loop in range(options.loops):
        writers = begin(server)
        with server.client() as client:
            for _ in range(30):
                name, values = chance.choice([("appendfsync", ["always", "everysec", "no"]), ("appendonly", ["yes", "no"])])
                client.ok("CONFIG", "SET", name, chance.choice(values))
                if chance.random() < 0.3:
                    client(chance.choice(["BGSAVE", "BGREWRITEAOF"]))
                time.sleep(chance.uniform(0, 0.02))
            client.ok("CONFIG", "SET", "appendonly", "yes")
        if loop % 2:
            eventually(lambda: idle(server), 90)
        before = [max(writer.acknowledged.values()) for writer in writers]
        eventually(lambda: all(max(w.acknowledged.values()) > b for w, b in zip(writers, before)), 60, "replies", ignore=())
        server.terminate()  # In even loops the first base may not be complete yet.
        for writer in writers:
            writer.join(30)
        server.start()
        check(server, writers, f"loop {loop}")
        server.call("FLUSHALL")
        server.call("CONFIG", "SET", "appendfsync", "always")
    server.terminate()


@case
def replies_behind_a_rewrite(options):
    server = Server(options.server, appendonly="yes", appendfsync="always").start()
    with server.client(timeout_s=60) as client:
        for _ in range(20):
            equal(client.pipeline([("SET", "a", 1), ("BGREWRITEAOF",), ("GET", "a")])[::2], [b"OK", b"1"])
            eventually(lambda: idle(server), 90)
    names = sorted(os.listdir(server.path("appendonlydir")))
    eventually(lambda: len(os.listdir(server.path("appendonlydir"))) == 3, 60, f"only base, increment and manifest of {names}")


@case
def acknowledged_before_sigterm_is_in_the_rdb(options):
    for _ in range(3):
        server = Server(options.server, save="3600 1").start()
        writers = begin(server)
        server.call("BGSAVE")
        server.terminate()
        for writer in writers:
            writer.join(30)
        server.start()
        check(server, writers, "after SIGTERM")
        with server.client() as client:
            client.socket.sendall(encode(("SET", "x", 1)) + encode(("SHUTDOWN",)) + encode(("SET", "x", 2)))
            equal(client.read(), b"OK")
            try:
                raise AssertionError(f"answered after SHUTDOWN: {client.read()}")
            except ConnectionError:
                pass
        server.wait()
        server.start()
        equal(server.call("GET", "x"), b"1")
        server.kill()


@case
def sigterm_while_loading_saves_nothing(options):
    server = filled(options.server, 100, save="3600 1")
    server.call("SAVE")
    size = os.path.getsize(server.path("dump.rdb"))
    server.kill()
    seen = 0
    for turn in range(20):
        if turn >= 3 and seen:
            break
        server.launch()
        with eventually(lambda: server.client(), 60, interval_s=0.002) as client:
            reply = client("PING")
            seen += isinstance(reply, Error) and reply.code == "LOADING"
            info = client.info("persistence")
            if info["loading"] == "1":
                assert 0 <= int(info["loading_loaded_bytes"]) <= int(info["loading_total_bytes"]) == size, info
        equal(server.terminate(), 0)
        equal(os.path.getsize(server.path("dump.rdb")), size, "dump.rdb")
    assert seen, "the server was never seen loading"


@case
def large_values(options):
    server = Server(options.server, appendonly="yes", auto_aof_rewrite_percentage=0).start()
    value = os.urandom(1 << 20) * options.megabytes
    with server.client(timeout_s=120) as client:
        client.ok("SET", "large", value)
        client.ok("SAVE")
        client.ok("APPEND", "large", "!")
        client.ok("BGREWRITEAOF")
        eventually(lambda: idle(server), 120)
        client.ok("SET", "other", value)
    run(["redis-check-rdb", server.path("dump.rdb")])
    run(["redis-check-aof", server.path("appendonlydir", "appendonly.aof.manifest")])
    for appendonly, end in (("yes", b"!"), ("no", b"")):
        server.kill()
        server.start(appendonly=appendonly, timeout_s=120)
        with server.client(timeout_s=120) as client:
            assert client.ok("GET", "large") == value + end, "the value is not what was written"


@case
def failed_save_and_misconf(options):
    server = Server(options.server, save="3600 1").start()
    with server.client() as client:
        client.ok("SET", "k", "v")
        saved = client.ok("LASTSAVE")
        os.mkdir(server.path("dump.rdb"))
        client("BGSAVE")
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 60)
        equal(client("SET", "k", "w").code, "MISCONF")
        equal(client.ok("GET", "k"), b"v")
        equal(client.ok("LASTSAVE"), saved)
        client.ok("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        client.ok("SET", "k", "x")
        client.ok("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes")
        equal(client("SET", "k", "y").code, "MISCONF")
        os.rmdir(server.path("dump.rdb"))
        client.ok("BGSAVE")
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok", 60)
        client.ok("SET", "k", "z")
    equal([name for name in os.listdir(server.directory) if name.startswith("temp-")], [])


@case
def full_disk(options):
    directory = temporary_directory()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", directory], capture_output=True)
    if mounted.returncode != 0:
        raise Skip("not allowed to mount a tmpfs")
    try:
        for policy in ("always", "everysec"):
            server = Server(options.server, directory=directory, appendonly="yes", appendfsync=policy)
            server.log_path = os.path.join(temporary_directory(), "log")
            server.start()
            ballast = os.path.join(directory, "ballast")
            with server.client() as client, server.client(timeout_s=60) as waiting:
                client.ok("SET", "before", "x" * 1000)
                with open(ballast, "wb") as file:
                    try:
                        while True:
                            file.write(bytes(1 << 16))
                            file.flush()
                    except OSError:
                        pass
                large = os.urandom(1 << 20)
                waiting.socket.sendall(encode(("SET", "large", large)))

                def refuses():
                    with server.client() as new:
                        return new.info("persistence")["aof_last_write_status"] == "err"

                eventually(refuses, 60)
                equal(client("SET", "other", large).code, "MISCONF")
                equal(client.ok("GET", "before"), b"x" * 1000, "reads go on")
                equal(client.info("persistence")["aof_last_write_status"], "err")
                contains(client("BGREWRITEAOF"), b"ERR")
                if policy == "always":
                    with server.client() as new:
                        equal(new.ok("GET", "before"), b"x" * 1000)
                    waiting.socket.settimeout(0.5)
                    try:
                        raise AssertionError(f"acknowledged without a disk: {waiting.read()}")
                    except TimeoutError:
                        pass
                    waiting.socket.settimeout(60)
                os.remove(ballast)
                equal(waiting.read(), b"OK")
                eventually(lambda: client("SET", "after", "v") == b"OK", 60)
                equal(client.info("persistence")["aof_last_write_status"], "ok")
            server.kill()
            server.start()
            equal([server.call("STRLEN", key) for key in ("before", "large", "other", "after")], [1000, 1 << 20, 0, 1])
            server.call("FLUSHALL")
            server.call("BGREWRITEAOF")
            eventually(lambda: idle(server), 90)
            equal(server.terminate(), 0)
    finally:
        subprocess.run(["umount", "-l", directory])


if __name__ == "__main__":
    main(parser)
