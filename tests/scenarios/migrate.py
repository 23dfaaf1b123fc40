#!/usr/bin/env python3
"""MIGRATE: keys move between servers while clients go on writing, and no acknowledged write is lost on the way."""

import os
import select
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.process import Server
from support.resp import Error
from support.scenario import case, contains, equal, main
from support.wait import eventually


def migrate(client, target, *keys, options=(), db=0, timeout_ms=25000):
    return client("MIGRATE", "127.0.0.1", target.port, "", db, timeout_ms, *options, "KEYS", *keys)


@case
def between_all_kinds_of_servers(options):
    tessera, other = Server(options.server).start(), Server(options.server).start()
    redis = Server(options.reference).start()
    for source, target in ((tessera, other), (tessera, redis), (redis, tessera)):
        start = time.monotonic()
        with source.client() as here, target.client() as there:
            here("FLUSHALL"), there("FLUSHALL")
            here("SET", "plain", "value"), here("SET", "number", "17", "EX", "1000"), here("SET", "long", "x" * 100_000)
            equal(migrate(here, target, "plain", "number", "missing", "long"), b"OK")
            equal(here("DBSIZE"), 0)
            equal(there("MGET", "plain", "number", "missing", "long"), [b"value", b"17", None, b"x" * 100_000])
            equal(there("TTL", "plain"), -1)
            left_s = there("TTL", "number")
            assert 998 - (time.monotonic() - start) <= left_s <= 1000
            equal(migrate(here, target, "missing"), b"NOKEY")
            # To another database, with COPY; then over what stands there.
            here("SET", "k", "1")
            equal(here("MIGRATE", "127.0.0.1", target.port, "k", 3, 25000, "COPY"), b"OK")
            equal(here("GET", "k"), b"1")
            reply = migrate(here, target, "k", db=3)
            assert isinstance(reply, Error), reply
            equal(reply, b"ERR Target instance replied with error: BUSYKEY Target key name already exists.")
            here("SET", "k", "2")
            equal(migrate(here, target, "k", db=3, options=["REPLACE"]), b"OK")
            there("SELECT", 3)
            equal(there("GET", "k"), b"2")
            equal(here("EXISTS", "k"), 0)


@case
def some_keys_refused(options):
    source, target = Server(options.server).start(), Server(options.server).start()
    with source.client() as here, target.client() as there:
        here("MSET", "a", "1", "b", "2", "c", "3")
        there("SET", "b", "taken")
        contains(migrate(here, target, "a", "b", "c"), b"BUSYKEY")
        equal(here("MGET", "a", "b", "c"), [None, b"2", None])
        equal(there("MGET", "a", "b", "c"), [b"1", b"taken", b"3"])


@case
def passwords(options):
    source, target = Server(options.server).start(), Server(options.server, requirepass="secret").start()
    with source.client() as here, target.client() as there:
        there("AUTH", "secret")
        here("SET", "k", "v")
        contains(migrate(here, target, "k"), b"Target instance replied with error: NOAUTH")
        contains(migrate(here, target, "k", options=["AUTH", "wrong"]), b"Target instance replied with error: WRONGPASS")
        equal(here("GET", "k"), b"v")
        equal(migrate(here, target, "k", options=["AUTH", "secret"]), b"OK")
        here("SET", "k2", "v")
        equal(migrate(here, target, "k2", options=["AUTH2", "default", "secret"]), b"OK")
        equal(there("MGET", "k", "k2"), [b"v", b"v"])


@case
def silent_and_dead_targets(options):
    source, target = Server(options.server).start(), Server(options.server).start()
    with source.client() as here, source.client() as bystander:
        here("SET", "k", "v")
        equal(migrate(here, target, "k", options=["COPY"]), b"OK")
        target.stop()
        for timeout_ms in (700, 5000, 20000):
            start = time.monotonic()
            here.send("MIGRATE", "127.0.0.1", target.port, "k", 0, timeout_ms, "REPLACE")
            equal(bystander("GET", "k"), b"v")
            # Both answered: only a machine that was held up for so long has an excuse, and is asked again.
            stood_still = bool(select.select([here.socket], [], [], 0)[0])
            equal(here.read(), b"IOERR error or timeout reading to target instance")
            assert -0.1 < time.monotonic() - start - timeout_ms / 1000 < 4.3
            equal(here("GET", "k"), b"v")
            if not stood_still:
                break
        assert not stood_still, "the server stood still"
        target.cont()
        # A kept connection whose other end went away meanwhile is noticed and replaced.
        eventually(lambda: migrate(here, target, "k", options=["REPLACE", "COPY"]) == b"OK", 60)
        target.kill()
        target.start()
        equal(migrate(here, target, "k", options=["REPLACE"]), b"OK")
        here("SET", "k", "v")
        target.kill()
        contains(migrate(here, target, "k"), b"IOERR")
        equal(here("GET", "k"), b"v")


@case
def written_while_under_way(options):
    """The target sleeps while the keys travel; what clients change meanwhile reaches it all the same."""
    source, target = Server(options.server, appendonly="yes").start(), Server(options.server).start()
    start = time.monotonic()
    with source.client() as here, source.client() as writer, target.client() as there:
        for name in ("still", "changed", "deleted", "renewed", "shortened"):
            here("SET", name, "old")
        target.stop()
        here.send("MIGRATE", "127.0.0.1", target.port, "", 0, 20000, "KEYS", "still", "changed", "deleted", "renewed", "shortened")  # fmt: skip
        equal(writer("PING"), b"PONG")
        equal(writer("APPEND", "changed", "er"), 5)
        equal(writer("DEL", "deleted"), 1)
        writer("DEL", "renewed"), writer("SET", "renewed", "new", "EX", "1000")
        equal(writer("EXPIRE", "shortened", "500"), 1)
        # Another client that wants to move one of them has to wait for its turn.
        with source.client() as second:
            second.send("MIGRATE", "127.0.0.1", target.port, "changed", 0, 20000)
            time.sleep(0.1)
            target.cont()
            equal(here.read(), b"OK")
            equal(second.read(), b"NOKEY")
        equal(there("MGET", "still", "changed", "deleted", "renewed"), [b"old", b"older", None, b"new"])
        shortened_s, renewed_s = there("TTL", "shortened"), there("TTL", "renewed")
        elapsed_s = time.monotonic() - start
        assert 498 - elapsed_s <= shortened_s <= 500 and 998 - elapsed_s <= renewed_s <= 1000
        equal(here("DBSIZE"), 0)
    # The log tells the same story.
    source.kill()
    source.start()
    equal(source.call("DBSIZE"), 0)


@case
def a_key_that_never_rests(options):
    source, target = Server(options.server).start(), Server(options.server).start()
    acknowledged = {}

    def write(number):
        key = f"hot:{number}"
        with source.client() as client:
            value = 0
            while client("SET", key, value, "XX") is not None:
                acknowledged[key] = value
                value += 1

    keys = [f"hot:{n}" for n in range(4)]
    with source.client() as here, target.client() as there:
        for _ in range(10):
            there("FLUSHALL")
            for key in keys:
                here("SET", key, "-1")
            acknowledged.update({key: -1 for key in keys})
            writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
            for writer in writers:
                writer.start()
            time.sleep(0.05)
            equal(migrate(here, target, *keys), b"OK")
            for writer in writers:
                writer.join()
            equal({key: int(there("GET", key)) for key in keys}, acknowledged)
        equal(here("SET", "after", "1"), b"OK")


if __name__ == "__main__":
    main()
