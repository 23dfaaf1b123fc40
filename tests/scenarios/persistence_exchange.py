#!/usr/bin/env python3
"""RDB and AOF files go from the reference to us and back, and Redis's own checkers accept ours."""

import itertools
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from compat.filling import fill_at_random, fill_every_encoding, known_families
from support.dataset import Held, not_expired, read_all
from support.process import Server, StartFailed, run, temporary_directory
from support.resp import Error
from support.scenario import case, contains, equal, main
from support.wait import eventually


def content():
    """Commands for every shape that a string takes in a file: integers of each width, compressible, binary, large, expiring."""
    yield from (("SET", f"int:{i}", value) for i, value in enumerate(
        [0, -1, 127, 128, -128, -129, 32767, 32768, -32769, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63), "007", "+1", "1.5"]
    ))  # fmt: skip
    yield from (("SET", f"len:{n}", "x" * n) for n in (0, 1, 4, 5, 20, 21, 63, 64, 255, 256, 16383, 16384, 70000))
    yield from (("SET", f"noise:{n}", os.urandom(n)) for n in (1, 19, 21, 64, 1000, 20000))
    yield "SET", b"\x00\xff\r\n", b"\r\n\x00"
    yield "SET", "", ""
    yield "SET", "k" * 20000, "long key"
    yield "SET", "repeated", b"abcabcabd" * 3000
    for i in range(3000):
        yield "SET", f"key:{i}", f"value:{i}"
    for i in range(0, 3000, 3):
        yield "PEXPIREAT", f"key:{i}", 4_000_000_000_000 + i
    yield "SET", "short lived", "v", "PX", "1"
    for database in (1, 9, 15):
        yield "SELECT", database
        yield "SET", "here", database
    yield "SELECT", 0


def fill(server):
    with server.client() as client:
        for reply in client.pipeline(content()):
            assert not isinstance(reply, Error), reply


def same(server, expected, what="", view=Held.exact):
    now_ms = time.time() * 1000
    held, expected = not_expired(read_all(server, view=view), now_ms), not_expired(expected, now_ms)
    different = sorted(key for key in held.keys() | expected.keys() if held.get(key) != expected.get(key))
    shown = {key: (held.get(key), expected.get(key)) for key in different[:2]}
    equal(shown, {}, f"{what}: {len(different)} keys differ, as (loaded, expected)")


def both_ways(options):
    for writer, reader in itertools.product(dict.fromkeys((options.server, options.reference)), repeat=2):
        if options.server not in (writer, reader):
            continue
        print(f"  {os.path.basename(writer)} -> {os.path.basename(reader)}", flush=True)
        yield writer, reader


def wait_for_rewrite(server):
    def done():
        info = server.info("persistence")
        return info["aof_rewrite_in_progress"] == info["aof_rewrite_scheduled"] == "0"

    eventually(done, 90, "the AOF is rewritten")


def moved(server, binary, **options):
    """Another server on a copy of the directory."""
    directory = temporary_directory()
    shutil.copytree(server.directory, directory, dirs_exist_ok=True)
    return Server(binary, directory=directory, **options)


@case
def rdb(options):
    for writer, reader in both_ways(options):
        for compression in ("yes", "no"):
            first = Server(writer, rdbcompression=compression).start()
            fill(first)
            equal(first.call("SAVE"), b"OK")
            expected = read_all(first)
            contains(run(["redis-check-rdb", first.path("dump.rdb")]), "\\o/ RDB looks OK! \\o/")
            first.kill()
            second = moved(first, reader).start()
            same(second, expected)
            second.kill()


@case
def rdb_in_the_background(options):
    server = Server(options.server).start()
    fill(server)
    contains(server.call("BGSAVE"), b"Background saving started")
    eventually(lambda: server.info("persistence")["rdb_bgsave_in_progress"] == "0", 90)
    equal(server.info("persistence")["rdb_last_bgsave_status"], "ok")
    contains(run(["redis-check-rdb", server.path("dump.rdb")]), "RDB looks OK!")


@case
def save_points(options):
    server = Server(options.server, save="1 5").start()
    with server.client() as client:
        for i in range(10):
            client.ok("SET", f"k{i}", i)
        eventually(lambda: client.info("persistence")["rdb_changes_since_last_save"] == "0", 90, "saved on its own")
    server.kill()
    server.start()
    equal(server.call("DBSIZE"), 10)


def types_known_to_both(options):
    """(rows, families) that both servers know."""
    servers = [Server(binary).start() for binary in (options.server, options.reference)]
    known = known_families(servers)
    for server in servers:
        server.kill()
    return known


SMALL_PACKED = {
    "hash_max_listpack_entries": 8, "hash_max_listpack_value": 16, "set_max_intset_entries": 8, "zset_max_listpack_entries": 8,
    "zset_max_listpack_value": 16, "list_max_listpack_size": 4, "stream_node_max_entries": 5, "hll_sparse_max_bytes": 100, "list_compress_depth": 1,
}  # fmt: skip


@case
def every_type_in_an_rdb(options):
    rows, families = types_known_to_both(options)
    for seed, (writer, reader) in enumerate(both_ways(options)):
        for settings in ({}, {"rdbcompression": "no", **SMALL_PACKED}):
            first = Server(writer, **settings).start()
            fill_every_encoding(first, families)
            fill_at_random(first, seed, rows, families)
            equal(first.call("SAVE"), b"OK")
            expected = read_all(first)
            contains(run(["redis-check-rdb", first.path("dump.rdb")]), "\\o/ RDB looks OK! \\o/")
            first.kill()
            # Thresholds of the reader are its own: what is packed in the file need not stay so.
            for theirs in ({}, SMALL_PACKED):
                second = moved(first, reader, **theirs).start()
                same(second, expected, f"{settings} -> {theirs}")
                second.kill()


@case
def every_type_in_an_aof(options):
    rows, families = types_known_to_both(options)
    for seed, (writer, reader) in enumerate(both_ways(options)):
        for preamble in ("yes", "no"):
            first = Server(writer, appendonly="yes", aof_use_rdb_preamble=preamble).start()
            fill_every_encoding(first, families)
            fill_at_random(first, f"before {seed}", rows, families, 4)
            with first.client() as client:
                client.ok("BGREWRITEAOF")
                wait_for_rewrite(first)
            fill_at_random(first, f"after {seed}", rows, families, 6)
            expected = read_all(first, view=Held.rewritten)
            first.terminate()
            contains(run(["redis-check-aof", first.path("appendonlydir", "appendonly.aof.manifest")]), "All AOF files and manifest are valid")
            second = moved(first, reader, appendonly="yes").start()
            same(second, expected, f"preamble {preamble}", Held.rewritten)
            second.kill()


@case
def function_libraries_are_handed_on(options):
    """From an RDB of the reference through a server of ours, its AOF and a replica, and back."""
    call = "redis.register_function{function_name='f', callback=function() return 17 end, flags={'no-writes'}}"
    code = "#!lua name=mylib\n" + call
    first = Server(options.reference).start()
    first.call("FUNCTION", "LOAD", code)
    equal(first.call("SAVE"), b"OK")
    first.kill()
    second = moved(first, options.server).start()
    second.call("CONFIG", "SET", "aof-use-rdb-preamble", "no")
    second.call("FLUSHALL")
    second.call("CONFIG", "SET", "appendonly", "yes")
    wait_for_rewrite(second)
    replica = Server(options.reference).start()
    replica.call("REPLICAOF", "127.0.0.1", second.port)
    eventually(lambda: replica.info("replication")["master_link_status"] == "up", 90, "synchronised")
    equal(replica.call("FCALL", "f", 0), 17)
    replica.kill()
    second.kill()
    third = moved(second, options.server, appendonly="yes").start()
    equal(third.call("SAVE"), b"OK")
    third.kill()
    last = moved(third, options.reference).start()
    equal(last.call("FCALL", "f", 0), 17)
    last.kill()


@case
def every_type_dumped_and_restored(options):
    rows, families = types_known_to_both(options)
    for seed, (writer, reader) in enumerate(both_ways(options)):
        for settings in ({}, SMALL_PACKED):
            first, second = Server(writer, **settings).start(), Server(reader, sanitize_dump_payload="yes").start()
            fill_every_encoding(first, families)
            fill_at_random(first, f"dumped {seed}", rows, families, 6)
            with first.client() as source, second.client() as target:
                for database in range(16):
                    source.ok("SELECT", database)
                    target.ok("SELECT", database)
                    for key in source("KEYS", "*"):
                        payload = source("DUMP", key)
                        if payload is not None:
                            target.ok("RESTORE", key, max(0, source("PEXPIRETIME", key)), payload, "ABSTTL")
            same(second, read_all(first), f"{settings}")
            first.kill()
            second.kill()


@case
def aof(options):
    for writer, reader in both_ways(options):
        for preamble in ("yes", "no"):
            first = Server(writer, appendonly="yes", appendfsync="always", aof_use_rdb_preamble=preamble).start()
            fill(first)
            with first.client() as client:
                client.ok("BGREWRITEAOF")
                wait_for_rewrite(first)
                for command in (
                    ("SET", "after", "rewrite"), ("INCRBYFLOAT", "f", "1.5"), ("SET", "e", "x", "EX", 100000), ("APPEND", "e", "y"),
                    ("SELECT", 5), ("SET", "five", "\r\n"), ("MULTI",), ("SET", "m", 1), ("INCR", "m"), ("EXEC",), ("SELECT", 0),
                    ("DEL", "key:1"), ("RENAME", "key:2", "renamed"), ("GETEX", "renamed", "PXAT", 4000000000000), ("SWAPDB", 7, 5),
                    ("MOVE", "key:4", 9), ("COPY", "key:5", "copied", "DB", 3), ("PERSIST", "renamed"),
                ):  # fmt: skip
                    client.ok(*command)
            expected = read_all(first)
            first.kill()
            manifest = first.path("appendonlydir", "appendonly.aof.manifest")
            contains(run(["redis-check-aof", manifest]), "All AOF files and manifest are valid")
            second = moved(first, reader, appendonly="yes").start()
            same(second, expected)
            second.call("SET", "goes", "on")
            expected = read_all(second)
            second.terminate()
            second.start()
            same(second, expected, "after another restart")
            second.kill()


@case
def aof_switched_on_later(options):
    server = Server(options.server).start()
    fill(server)
    server.call("CONFIG", "SET", "appendonly", "yes")
    wait_for_rewrite(server)
    assert os.path.exists(server.path("appendonlydir", "appendonly.aof.manifest"))
    server.call("SET", "later", "v")
    expected = read_all(server)
    server.terminate()
    server.start(appendonly="yes")
    same(server, expected)


@case
def cut_tail_is_loaded_or_refused(options):
    server = Server(options.server, appendonly="yes", appendfsync="always").start()
    for i in range(20):
        server.call("SET", f"k{i}", i)
    server.kill()
    name = next(n for n in os.listdir(server.path("appendonlydir")) if n.endswith("incr.aof"))
    path = server.path("appendonlydir", name)
    with open(path, "rb") as file:
        whole = file.read()
    for cut in (1, 3, 10, 17):
        with open(path, "wb") as file:
            file.write(whole[:-cut])
        server.start(aof_load_truncated="yes")
        equal(server.call("DBSIZE"), 19, f"{cut} bytes cut")
        server.kill()
        with open(path, "wb") as file:
            file.write(whole[:-cut])
        try:
            server.start(aof_load_truncated="no")
        except StartFailed:
            pass
        else:
            raise AssertionError("a truncated AOF was loaded against aof-load-truncated no")
    with open(path, "wb") as file:
        file.write(whole[:100] + b"garbage" + whole[107:])
    try:
        server.start(aof_load_truncated="yes")
    except StartFailed:
        pass
    else:
        raise AssertionError("an AOF with garbage in the middle was loaded")


@case
def torn_rdb_is_refused(options):
    server = Server(options.server).start()
    fill(server)
    server.call("SAVE")
    server.kill()
    with open(server.path("dump.rdb"), "rb") as file:
        whole = file.read()
    for damaged in (whole[: len(whole) // 2], whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:], b"NOTREDIS" + whole[8:]):
        with open(server.path("dump.rdb"), "wb") as file:
            file.write(damaged)
        try:
            server.start()
        except StartFailed:
            pass
        else:
            raise AssertionError("a damaged RDB was loaded")


@case
def automatic_rewrite(options):
    server = Server(options.server, appendonly="yes", auto_aof_rewrite_min_size="64kb", auto_aof_rewrite_percentage=100).start()
    with server.client() as client:

        def rewritten():
            client.pipeline([("SET", f"k{i % 10}", "x" * 100) for i in range(200)])
            return any(".2.base." in name for name in os.listdir(server.path("appendonlydir")))

        eventually(rewritten, 90, "rewritten on its own")
        assert int(client.info("persistence")["aof_base_size"]) < 64 * 1024
    expected = read_all(server)
    server.terminate()
    server.start()
    same(server, expected)


if __name__ == "__main__":
    main()
