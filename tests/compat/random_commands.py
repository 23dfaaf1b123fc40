#!/usr/bin/env python3
"""Sends the same random commands to two servers and compares what they answer, which keyspace events they tell, and what
they hold afterwards.

A round starts with an empty keyspace. Replies are compared byte for byte as one block; only where the blocks differ are
they parsed and compared one by one with the hooks of normalise.py. A round that differs is run again with fewer and fewer
commands until no command can be left out, and printed as a script for cases/. The same seed gives the same commands.
"""

import argparse
import os
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import normalise
from events import Listeners
from pair import Pair, exchange
from support import process
from support.rdb import make_dump
from support.resp import encode, parse_frame, to_bytes
from support.scenario import add_server_options, resolve

KEYS = [f"k{i}" for i in range(12)] + ["", "a b", "\x00\xff", "{tag}1", "{tag}2", "*", "k" * 300]
SMALL = [0, 1, -1, 2, 3, 7, 10, 100]
INTEGERS = SMALL + [
    "9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809", "18446744073709551615",
    "4294967295", "536870911", "536870912", "+1", "-0", "01", "1.0", " 1", "1 ", "", "abc", "0x10", "1e3", "\x001",
]  # fmt: skip
FLOATS = [
    "0", "1", "-1", "0.1", "3.0e3", "1e-5", "1.5", "-2.25", "inf", "-inf", "+inf", "nan", "1e308", "1e4000", "abc", "", " 1",
    "1 ", "0x1p3", "5e-324", "123456789.987654321", "10000000000000000000000", "3.141592653589793238", "-0.0", ".5", "5.", "1e",
]  # fmt: skip
VALUES = INTEGERS + FLOATS + [
    "x", "value", "hello world", "\x00\x01\xff", "\r\n", "e" * 44, "e" * 45, "z" * 1000, "abcabcabcabc" * 50, "0" * 21,
    "12345678901234567890", "OK", "ohmytext", "mynewtext",
]  # fmt: skip
# Moments far from now, so that the few milliseconds between the two servers cannot decide anything.
FUTURE_S = range(100_000, 90_000_000, 997)


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.rows = [(weight, make) for weight, make in self.families()]
        self.weights = [weight for weight, _ in self.rows]

    def pick(self, *choices):
        return self.random.choice(choices)

    def key(self):
        # Most of the traffic on few keys, so that commands meet.
        return self.random.choice(KEYS[:6]) if self.random.random() < 0.8 else self.random.choice(KEYS)

    def value(self):
        return self.random.choice(VALUES)

    def integer(self):
        return self.random.choice(INTEGERS) if self.random.random() < 0.4 else self.random.choice(SMALL)

    def seconds(self):
        return self.random.choice(FUTURE_S)

    def expiry(self, unit_ms):
        """A number of seconds or milliseconds that is far ahead, past, or nonsense."""
        chance = self.random.random()
        if chance < 0.6:
            return self.seconds() * (1000 if unit_ms else 1)
        return self.pick(0, -1, -100000, "abc", "", "1.5", "9223372036854775807", "-9223372036854775808", "9223372036854775")

    def at(self, unit_ms):
        chance = self.random.random()
        if chance < 0.6:
            return (4_000_000_000 + self.seconds()) * (1000 if unit_ms else 1)
        return self.pick(0, 1, -1, 1000, "abc", "9223372036854775807", "9223372036854775", "")

    def case(self, word):
        return self.random.choice((word, word, word.lower(), word.title()))

    def some(self, options, most=3):
        """A few of the options, which are callables that give a list of words, in any order and maybe repeated."""
        words = []
        for _ in range(self.random.choices(range(most + 1), (4, 5, 2, 1)[: most + 1])[0]):
            words += self.random.choice(options)()
        return words

    def expiry_words(self):
        return [
            lambda: ["EX", self.expiry(False)], lambda: ["PX", self.expiry(True)], lambda: ["EXAT", self.at(False)],
            lambda: ["PXAT", self.at(True)],
        ]  # fmt: skip

    def offset(self):
        return self.pick(0, 1, 5, -1, -5, 100, -100, 1000, "536870911", "536870912", "-9223372036854775808", "abc", "9223372036854775807")

    def small_offset(self):
        return self.pick(0, 1, 5, 44, 100, 1000, -1, "536870912", "9223372036854775807", "abc")

    def conditions(self):
        return self.some([lambda: [self.pick("NX", "XX", "GT", "LT", "nx", "gt", "bad", "")]], 2)

    def set_words(self):
        return self.some(
            self.expiry_words() + [lambda: [self.pick("NX", "XX", "GET", "KEEPTTL", "PERSIST", "bad")] for _ in range(4)]
        )

    def keys(self, most=4):
        return [self.key() for _ in range(self.random.randint(0, most))]

    def pairs(self):
        return [word for _ in range(self.random.randint(0, 3)) for word in (self.key(), self.value())]

    def restore(self):
        payload = make_dump(to_bytes(self.value()), self.pick(1, 8, 9, 10))
        chance = self.random.random()
        if chance < 0.2:
            at = self.random.randrange(len(payload))
            payload = payload[:at] + bytes([payload[at] ^ (1 << self.random.randrange(8))]) + payload[at + 1 :]
        elif chance < 0.25:
            payload = payload[: self.random.randrange(len(payload))]
        ttl = self.pick(0, 0, 0, self.seconds() * 1000, -1, "abc")
        words = self.some([lambda: [self.pick("REPLACE", "ABSTTL", "bad")], lambda: ["IDLETIME", self.integer()],
                           lambda: ["FREQ", self.pick(0, 1, 255, 256, -1, "x")]], 2)  # fmt: skip
        if "ABSTTL" in words and isinstance(ttl, int) and ttl > 0:
            ttl += 4_000_000_000_000
        return ["RESTORE", self.key(), ttl, payload, *words]

    def families(self):
        key, value, integer = self.key, self.value, self.integer
        yield 12, lambda: ["SET", key(), value(), *self.set_words()]
        yield 10, lambda: ["GET", key()]
        yield 3, lambda: ["GETSET", key(), value()]
        yield 3, lambda: ["GETDEL", key()]
        yield 4, lambda: ["GETEX", key(), *self.some(self.expiry_words() + [lambda: [self.pick("PERSIST", "NX", "KEEPTTL")]], 2)]
        yield 3, lambda: ["SETNX", key(), value()]
        yield 2, lambda: ["SETEX", key(), self.expiry(False), value()]
        yield 2, lambda: ["PSETEX", key(), self.expiry(True), value()]
        yield 5, lambda: ["APPEND", key(), value()]
        yield 3, lambda: ["STRLEN", key()]
        yield 5, lambda: ["SETRANGE", key(), self.small_offset(), value()]
        yield 5, lambda: [self.pick("GETRANGE", "SUBSTR"), key(), self.offset(), self.offset()]
        yield 5, lambda: [self.pick("INCR", "DECR"), key()]
        yield 5, lambda: [self.pick("INCRBY", "DECRBY"), key(), integer()]
        yield 5, lambda: ["INCRBYFLOAT", key(), self.random.choice(FLOATS)]
        yield 3, lambda: ["MGET", *self.keys()]
        yield 3, lambda: ["MSET", *self.pairs(), *self.pick([], [], [], [key()])]
        yield 2, lambda: ["MSETNX", *self.pairs()]
        yield 2, lambda: ["LCS", key(), key(), *self.some([lambda: [self.pick("LEN", "IDX", "WITHMATCHLEN", "bad")],
                                                          lambda: ["MINMATCHLEN", integer()]], 2)]  # fmt: skip
        yield 4, lambda: [self.pick("DEL", "UNLINK", "EXISTS", "TOUCH"), *self.keys()]
        yield 3, lambda: [self.pick("TYPE", "PERSIST", "DUMP"), key()]
        yield 3, lambda: [self.pick("RENAME", "RENAMENX"), key(), key()]
        yield 3, lambda: ["COPY", key(), key(), *self.some([lambda: ["REPLACE"], lambda: ["DB", self.pick(0, 1, 1, 15, 16, -1, "x")]], 2)]
        yield 2, lambda: ["MOVE", key(), self.pick(0, 1, 15, 16, -1, "x")]
        yield 4, lambda: ["EXPIRE", key(), self.expiry(False), *self.conditions()]
        yield 4, lambda: ["PEXPIRE", key(), self.expiry(True), *self.conditions()]
        yield 4, lambda: ["EXPIREAT", key(), self.at(False), *self.conditions()]
        yield 4, lambda: ["PEXPIREAT", key(), self.at(True), *self.conditions()]
        yield 1, lambda: [self.pick("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"), key()]
        yield 3, lambda: ["OBJECT", "ENCODING", key()]
        yield 1, lambda: ["OBJECT", self.pick("REFCOUNT", "IDLETIME", "FREQ", "bad"), *self.keys(2)]
        yield 2, self.restore
        yield 1, lambda: ["KEYS", self.pick("*", "k?", "[a-k]1", "k[^1]", "\\*", "", "k*1", "{tag}*", "[", "k[0-", "?")]
        yield 1, lambda: ["RANDOMKEY"]
        yield 1, lambda: ["DBSIZE"]
        yield 2, lambda: ["SELECT", self.pick(0, 0, 0, 1, 15, 16, -1, "x")]
        yield 0.3, lambda: ["SWAPDB", self.pick(0, 1, 16, "x"), self.pick(0, 1, 15, -1, "y")]
        yield 0.3, lambda: [self.pick("FLUSHDB", "FLUSHALL"), *self.pick([], [], ["SYNC"], ["bad"], ["SYNC", "SYNC"])]
        yield 2, lambda: [self.pick("MULTI", "EXEC", "EXEC", "DISCARD", "UNWATCH")]
        yield 1, lambda: ["WATCH", *self.keys(2)]
        yield 1, lambda: [self.pick("ECHO", "PING"), *[value() for _ in range(self.pick(0, 1, 1, 2))]]
        yield 0.5, lambda: ["SCAN", self.pick(0, "x", "", "0"), *self.some([lambda: ["COUNT", self.pick(1000, 0, -1, "x")],
                            lambda: ["MATCH", "*"], lambda: ["TYPE", "string"], lambda: ["bad"]], 2)]  # fmt: skip
        yield 1, lambda: [self.pick("", "NOSUCH", "GET", "SET", "INCR", "OBJECT", "MGET", "LCS", "COPY", "x" * 200), *self.keys(2)]

    def command(self):
        words = self.random.choices(self.rows, self.weights)[0][1]()
        words[0] = self.case(words[0])
        return [word if isinstance(word, bytes) else str(word).encode("latin-1") for word in words]


class Tester:
    """Runs rounds; `rounds` of one connection each, so that MULTI and SELECT belong to the round."""

    def __init__(self, pair):
        self.pair = pair
        self.expected = {}
        self.listeners = Listeners(pair)

    def difference(self, protocol, commands):
        """Runs the commands on empty servers; what differs, as text, or None."""
        clients = self.pair.connect(protocol)
        try:
            for client in clients:
                client.ok("FLUSHALL")
            self.listeners.difference()
            self.comparable = True  # until an expected difference of replies lets the events differ too
            marker = b"$12\r\nend of round\r\n"
            # EXEC may be outstanding; DISCARD ends it, and either reply is compared like any other.
            tail = [[b"DISCARD"], [b"SELECT", b"0"]]
            requests = commands + tail
            data = b"".join(encode(command) for command in requests) + encode([b"ECHO", b"end of round"])
            blocks = exchange([client.socket for client in clients], data, marker)
            if blocks[0] != blocks[1]:
                found = self.compare_replies(requests, blocks)
                if found:
                    return found
            if (found := self.listeners.difference()) and self.comparable:
                return found
            return self.compare_keyspaces(clients)
        except (OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            for client in clients:
                client.close()

    def compare_replies(self, requests, blocks):
        positions = [0, 0]
        queued = None
        for command in requests:
            frames = []
            for side in (0, 1):
                frame, positions[side] = parse_frame(blocks[side], positions[side])
                frames.append(frame)
            a, b = frames
            word = command[0].upper()
            if queued is None:
                if word == b"MULTI" and a == b:
                    queued = []
                outcome = self.compare_one(command, a, b)
                if outcome:
                    return outcome
                continue
            if word == b"EXEC" and a[0] == b[0] == "*" and a[1] is not None and b[1] is not None:
                if len(a[1]) != len(b[1]) or len(a[1]) != len(queued):
                    return f"EXEC: {len(a[1])} and {len(b[1])} replies for {len(queued)} commands"
                for inner, x, y in zip(queued, a[1], b[1]):
                    outcome = self.compare_one(inner, x, y)
                    if outcome:
                        return "in EXEC: " + outcome
            else:
                outcome = self.compare_one(command, a, b)
                if outcome:
                    return outcome
            if word in (b"EXEC", b"DISCARD", b"RESET") and not (a[0] == "-" and b"wrong number" in a[1]):
                queued = None
            elif a == ("+", b"QUEUED"):
                queued.append(command)
        return None

    def compare_one(self, command, a, b):
        if a == b or normalise.hook_for(command)(a, b):
            return None
        # A key past its time counts until somebody happens to look at it.
        if command[0].upper() in (b"DBSIZE", b"RANDOMKEY") and "-" not in (a[0], b[0]):
            return None
        name = normalise.expected_difference(command, a, b)
        if name:
            self.expected[name] = self.expected.get(name, 0) + 1
            self.comparable = False
            return None
        return f"{show(command)}\n    A {normalise.text(a)[:500]}\n    B {normalise.text(b)[:500]}"

    def compare_keyspaces(self, clients):
        for database in (0, 1, 15):
            held = []
            for client in clients:
                client.ok("SELECT", database)
                keys = sorted(client.ok("KEYS", "*"))
                values = client.pipeline([("GET", key) for key in keys])
                moments = client.pipeline([("PEXPIRETIME", key) for key in keys])
                if client.ok("DBSIZE") < len(keys):
                    return f"database {database}: DBSIZE tells of fewer keys than KEYS"
                held.append(dict(zip(keys, zip(values, moments))))
            a, b = held
            if a.keys() != b.keys():
                return f"database {database}: only in A {sorted(a.keys() - b.keys())}, only in B {sorted(b.keys() - a.keys())}"
            for key in a:
                if a[key][0] != b[key][0]:
                    return f"database {database}, key {key!r}: A holds {a[key][0]!r}, B {b[key][0]!r}"
                # An expiry is kept in 48 bits of milliseconds: later ones are cut to that.
                x, y = a[key][1], min(b[key][1], (1 << 48) - 1)
                if x != y and not (x > 0 and y > 0 and abs(x - y) <= normalise.SLACK_MS):
                    return f"database {database}, key {key!r}: expires at {x} in A, {y} in B"
        return None

    def shrink(self, protocol, commands):
        """Leaves out commands, ever fewer at a time, while the rest still differs."""
        size = max(1, len(commands) // 2)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            at, progress = 0, False
            while at < len(commands) and time.monotonic() < deadline:
                fewer = commands[:at] + commands[at + size :]
                if self.pair.running() and self.difference(protocol, fewer):
                    commands, progress = fewer, True
                else:
                    at += size
            if size == 1 and not progress:
                break
            size = max(1, size // 2)
        return commands


def show(command):
    words = []
    for word in command:
        text = "".join(chr(c) if 32 <= c < 127 and c not in b"\"\\" else f"\\x{c:02x}" for c in word)
        words.append(f'"{text}"' if not text or set(text) - set("*-_.:{}+") and not text.replace("_", "a").isalnum() else text)
    return " ".join(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add_server_options(parser)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--rounds", type=int, help="instead of --seconds")
    parser.add_argument("--commands", type=int, default=1500, help="commands per round")
    parser.add_argument("--failures", type=int, default=5, help="stop after this many differing rounds")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    pair = Pair(resolve(options.server), resolve(options.reference))
    tester = Tester(pair)
    start = time.monotonic()
    rounds = failures = 0
    while (rounds < options.rounds) if options.rounds else (time.monotonic() < start + options.seconds):
        generator = Generator(f"{seed}/{rounds}")
        protocol = 2 + rounds % 2
        commands = [generator.command() for _ in range(options.commands)]
        rounds += 1
        found = tester.difference(protocol, commands)
        if not found:
            continue
        failures += 1
        if pair.running():
            commands = tester.shrink(protocol, commands)
            found = tester.difference(protocol, commands) or found
        print(f"\nround {rounds - 1}, RESP{protocol}: {found}\n  shortest sequence:")
        for command in commands[-60:]:
            print("    " + show(command)[:400])
        sys.stdout.flush()
        if not pair.running() or failures >= options.failures:
            process.dump_logs()
            break
    elapsed = time.monotonic() - start
    print(f"{rounds} rounds, {rounds * options.commands} commands to each server in {elapsed:.0f} s; {failures} rounds differ", end="")
    print("".join(f"; {count} expected ({name})" for name, count in tester.expected.items()))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
