"""A server filled with every type: by hand, with each encoding that a file or a stream may carry, and by the generator."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, ".."))
from generator import FAMILIES, Generator, learn_families
from rows import read_rows
from support.resp import Error

FAR_MS = 4_000_000_000_000


def every_encoding():
    """Commands by family that make each type in each encoding at Redis's default thresholds, with and without expiry."""
    integers = {"16": 1000, "32": 100_000, "64": 2**40}
    members = [b"", b"a", b"\x00\xff\r\n", b"12", b"-3", b"9223372036854775807", b"x" * 64, b"007", b"1.5"]
    many = [f"member:{i}" for i in range(700)]
    yield "set", [["SADD", f"set:int{bits}", *range(0, base * 7, base)] for bits, base in integers.items()]
    yield "set", [["SADD", "set:small", *members], ["SADD", "set:large", *many], ["SADD", "set:long", "y" * 5000, "z"],
                  ["SADD", "set:manyints", *range(-300, 300)]]  # fmt: skip
    yield "list", [["RPUSH", "list:small", *members], ["RPUSH", "list:large", *many * 3], ["RPUSH", "list:long", "y" * 9000, "z" * 70_000, "w"],
                   ["RPUSH", "list:compressible", *["abc" * 500] * 60], ["RPUSH", "list:ints", *range(-2000, 2000, 3)],
                   ["RPUSH", "list:one", "x"]]  # fmt: skip
    yield "hash", [["HSET", "hash:small", *members, "last"], ["HSET", "hash:large", *(w for m in many for w in (m, m[::-1]))],
                   ["HSET", "hash:long", "f", "y" * 5000], ["HSET", "hash:ints", *range(100)]]  # fmt: skip
    scores = ["-inf", "-1.5", "-0.0", "0", "1e-300", "3.141592653589793238", "17179869184", "1e308", "inf"]
    yield "sorted-set", [["ZADD", "zset:small", *(w for pair in zip(scores, members) for w in pair)],
                         ["ZADD", "zset:large", *(w for i, m in enumerate(many) for w in (i * 1.1, m))], ["ZADD", "zset:long", 1, "y" * 5000]]  # fmt: skip
    stream = [["XADD", "stream:like", f"{i}-{i % 3}", "sensor", i, "t", "21.5"] for i in range(1, 350)]
    stream += [["XADD", "stream:odd", f"5-{i}", *(str(w) for w in range(2 + i % 4 * 2)), "f", "v" * (i * 7)] for i in range(1, 150)]
    stream += [["XDEL", "stream:like", *(f"{i}-{i % 3}" for i in range(1, 300, 4))], ["XADD", "stream:empty", "7-7", "a", "b"], ["XDEL", "stream:empty", "7-7"],
               ["XGROUP", "CREATE", "stream:like", "g1", "0"], ["XGROUP", "CREATE", "stream:like", "g2", "$"],
               ["XGROUP", "CREATE", "stream:like", "g3", "100-1", "ENTRIESREAD", "50"], ["XGROUP", "CREATE", "stream:none", "g", "$", "MKSTREAM"],
               ["XGROUP", "CREATECONSUMER", "stream:like", "g1", "idle"], ["XREADGROUP", "GROUP", "g1", "c1", "COUNT", 60, "STREAMS", "stream:like", ">"],
               ["XREADGROUP", "GROUP", "g1", "c2", "COUNT", 10, "STREAMS", "stream:like", ">"], ["XACK", "stream:like", "g1", "5-2", "9-0"],
               ["XCLAIM", "stream:like", "g1", "c2", 0, "6-0", "7-1", "TIME", "1600000000000", "RETRYCOUNT", 7],
               ["XADD", "stream:far", "0-1", "f", "v"], ["XADD", "stream:far", "5-18446744073709551615", "f", "", "", "g"],
               ["XADD", "stream:far", "6-0", b"\x00\xff", "9223372036854775807", "f", "-9223372036854775808"],
               ["XADD", "stream:far", "9223372036854775808-1", "f", "v" * 5000], ["XADD", "stream:far", "18446744073709551614-0", "f", 1, "g", 2, "h", 3],
               ["XADD", "stream:far", "18446744073709551615-18446744073709551614", "f", "v"],
               ["XGROUP", "CREATE", "stream:far", "", "0"], ["XGROUP", "CREATE", "stream:far", "g\x00h", "18446744073709551615-18446744073709551615"],
               ["XREADGROUP", "GROUP", "", "", "COUNT", 2, "STREAMS", "stream:far", ">"], ["XREADGROUP", "GROUP", "", "c\x00d", "STREAMS", "stream:far", ">"],
               ["XCLAIM", "stream:far", "", "retried", 0, "6-0", "TIME", "1", "RETRYCOUNT", 4_000_000_000], ["XDEL", "stream:far", "5-18446744073709551615"],
               *(["XADD", "stream:gone", f"{i}-0", "f", i] for i in range(1, 250)), ["XGROUP", "CREATE", "stream:gone", "g", "0"],
               ["XREADGROUP", "GROUP", "g", "c", "COUNT", 200, "STREAMS", "stream:gone", ">"], ["XTRIM", "stream:gone", "MAXLEN", 0],
               *(["XGROUP", "CREATE", "stream:groups", f"group:{i}", f"{i}-5", "MKSTREAM"] for i in range(40)),
               *(["XADD", "stream:groups", f"{i}-0", "f", i] for i in range(1, 40)),
               *(["XREADGROUP", "GROUP", f"group:{i % 40}", f"c{i}", "COUNT", 1, "STREAMS", "stream:groups", ">"] for i in range(160)),
               ["XTRIM", "stream:odd", "MAXLEN", 120], ["XSETID", "stream:empty", "20-1", "ENTRIESADDED", 9, "MAXDELETEDID", "7-7"]]  # fmt: skip
    yield "stream", stream
    yield "hyperloglog", [["PFADD", "hll:sparse", *range(50)], ["PFADD", "hll:dense", *range(20_000)], ["PFADD", "hll:empty"]]
    yield "geo", [["GEOADD", "geo", "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania", "-179.9", "-85", "edge"]]
    yield "bitmap", [["SETBIT", "bits", i * i, 1] for i in range(200)]


_EXPIRING = ["set:int16", "set:small", "set:large", "list:small", "list:large", "hash:small", "hash:large", "zset:small", "zset:large", "stream:like", "geo"]


def fill_every_encoding(server, families):
    """What the server knows of `families`; other replies than success are errors of the test."""
    with server.client() as client:
        for family, commands in every_encoding():
            if family in families:
                for command, reply in zip(commands, client.pipeline(commands)):
                    assert not isinstance(reply, Error), (command[:4], reply)
        for at, key in enumerate(_EXPIRING):
            client("PEXPIREAT", key, FAR_MS + at)


def known_families(servers):
    """Rows that all servers know, and the families whose commands all are among them."""
    tables = [read_rows(server) for server in servers]
    common = {name: tables[0][name] for name in set.intersection(*map(set, tables))}
    learn_families(common.values())
    # A family counts when the command that fills it is there.
    first = {"string": "SET", "bitmap": "SETBIT", "hyperloglog": "PFADD", "list": "RPUSH", "set": "SADD", "hash": "HSET", "sorted-set": "ZADD",
             "geo": "GEOADD", "stream": "XADD"}  # fmt: skip
    return [common[name] for name in sorted(common)], [family for family in FAMILIES if first[family] in common]


# They would undo what was filled, or stop the connection for nothing.
UNDOING = {"FLUSHALL", "FLUSHDB", "SWAPDB", "PUBSUB", "KEYS", "SCAN", "RESTORE"}


def random_units(seed, rows, families, count=500):
    generator = Generator(seed, rows, families=families, muted=UNDOING)
    units = [generator.unit() for _ in range(count)]
    return [unit for unit in units if not any(_untold(command) for command in unit.commands)]


def _untold(command):
    """BITFIELD that fails may leave a string of zeros behind, of which Redis tells nobody."""
    return command[0].upper() == b"BITFIELD" and b"FAIL" in [word.upper() for word in command]


def fill_at_random(server, seed, rows, families, rounds=8, count=500):
    """Rounds of random commands, each in its own database."""
    with server.client() as client:
        for round in range(rounds):
            client.ok("SELECT", round % 16)
            units = random_units(f"{seed}/{round}", rows, families, count)
            client.pipeline([command for unit in units for command in unit.commands])
            client("DISCARD")
