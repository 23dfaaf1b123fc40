"""Every type in every encoding on one server or spread over a cluster, a load that goes on changing all of them, and the comparison."""

import itertools
import threading
import time

from compat.filling import every_encoding, known_families, random_units

from .dataset import Held, not_expired, read_all
from .process import Server
from .resp import Client, Error
from .wait import eventually


class Families:
    """What all the servers know: the command rows and the families of the generator."""

    def __init__(self, *binaries):
        servers = [Server(binary).start() for binary in dict.fromkeys(binaries)]
        self.rows, self.names = known_families(servers)
        for server in servers:
            server.kill()


def _key_at(command):
    if command[0] == "XGROUP":
        return 2
    return command.index("STREAMS") + 1 if command[0] == "XREADGROUP" else 1


def commands_of_every_type(suffix=""):
    """Single-key commands that make every type in every encoding, strings and moments of expiry too: (key, command)."""
    expiring = itertools.count(4_000_000_020_000, 60_000)  # apart enough to be told apart after a MIGRATE, which shifts them a little
    seen = set()
    for _, commands in every_encoding():
        for command in commands:
            command = list(command)
            at = _key_at(command)
            key = command[at] = command[at] + suffix
            yield key, command
            if key not in seen and len(seen) % 3 == 0:
                yield key, ["PEXPIREAT", key, next(expiring)]
            seen.add(key)
    texts = ["", "0", "-1", "12345678901234567", "9223372036854775807", "007", "1.5", "\x00\xff\r\n", "x" * 45, "abc" * 5000, "y" * 70_000]
    for number, text in enumerate(texts):
        key = f"string:{number}{suffix}"
        yield key, ["SET", key, text]
        if number % 2:
            yield key, ["PEXPIREAT", key, next(expiring)]


def fill_all(server, suffix="", databases=(0,)):
    with server.client(timeout_s=60) as client:
        for database in databases:
            client.ok("SELECT", database)
            commands = [command for _, command in commands_of_every_type(suffix)]
            for command, reply in zip(commands, client.pipeline(commands, window=200)):
                assert not isinstance(reply, Error), (command[:4], reply)


def fill_bytes(server, count, each=20_000, prefix="bulk"):
    """`count` values that do not compress well, so that an image takes its time."""
    with server.client(timeout_s=60) as client:
        seed = b"".join(i.to_bytes(4, "little") for i in range(0, each * 7919, 7919 * 4))[:each]
        client.pipeline((("SET", f"{prefix}:{i}", bytes([i & 255]) + seed[i % 97 :]) for i in range(count)), window=50)


class Load(threading.Thread):
    """Random commands of all families on one server, without a break, until it is stopped; the same seed, the same commands."""

    def __init__(self, server, families, seed=1, only=None, pause_s=0.005):
        super().__init__(daemon=True)
        self.server, self.families, self.seed, self.pause_s = server, families, seed, pause_s
        self.only = only or families.names
        self.units = 0
        self.error = None
        self._stopping = threading.Event()

    def run(self):
        try:
            with Client(self.server.port, timeout_s=60) as client:
                for turn in itertools.count():
                    units = random_units(f"{self.seed}/{turn}", self.families.rows, self.only, 300)
                    for unit in units:
                        if self._stopping.is_set():
                            client("DISCARD")
                            return
                        client.pipeline(unit.commands)
                        self.units += 1
                        if self.units % 10 == 0:
                            self._stopping.wait(self.pause_s)
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.end()

    def end(self):
        self._stopping.set()
        self.join(60)

    def moved(self, units=20, timeout_s=90):
        """Waits until some more has happened."""
        goal = self.units + units
        eventually(lambda: self.units >= goal or self.error, timeout_s, "the load goes on")
        assert self.error is None, self.error


def link_is_up(server):
    return server.info("replication")["master_link_status"] == "up"


def wait_until_caught_up(primary, replica, timeout_s=60):
    def caught_up():
        a, b = primary.info("replication"), replica.info("replication")
        return b["master_link_status"] == "up" and a["master_repl_offset"] == b["slave_repl_offset"]

    eventually(caught_up, timeout_s, f"{replica} has caught up with {primary}", interval_s=0.02)


def _where(a, b):
    """Both as text, from a little before the place where they differ."""
    a, b = str(a), str(b)
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    start = max(0, at - 150)
    return f"at {at}: has ...{a[start : at + 150]}...\n    instead of ...{b[start : at + 150]}..."


def differences(held, expected, shown=3):
    keys = sorted(key for key in held.keys() | expected.keys() if held.get(key) != expected.get(key))
    return "\n  ".join([f"{len(keys)} keys differ", *(f"{key} {_where(held.get(key), expected.get(key))}" for key in keys[:shown])]) if keys else ""


def same(primary, replica, view=Held.propagated, what=""):
    """Every key in every database, compared one by one."""
    wait_until_caught_up(primary, replica)
    expected = read_all(primary, view=view)
    wait_until_caught_up(primary, replica)  # reading may have expired keys
    held = read_all(replica, view=view)
    # What expired between the two readings is in the earlier one only.
    now_ms = time.time() * 1000
    found = differences(not_expired(held, now_ms), not_expired(expected, now_ms))
    if found:
        raise AssertionError(f"{what or replica}: {found}")
    return len(expected)
