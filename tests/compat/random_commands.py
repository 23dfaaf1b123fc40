#!/usr/bin/env python3
"""Sends the same random commands to two servers and compares what they answer, what they notify, and what they hold afterwards.

The commands are made from the servers' own command tables: in turns from the reference's and from that of the server under test.
A round starts with an empty keyspace. Replies are compared byte for byte as one block; only where the blocks differ are they
parsed and compared one by one with the hooks of normalise.py and the checks of checks.py. A round that differs is run again with
fewer and fewer commands until no command can be left out, and printed as a script for cases/. The same seed gives the same
commands.
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
from generator import DEFAULT_SETTINGS, FAMILIES, Generator, Unit, learn_families
from normalise import show
from pair import NoAnswer, Pair, exchange
from rows import read_rows
from shrinking import shortest
from support.dataset import read_database
from support.rdb import make_dump
from support.resp import Incomplete, encode, parse_frame
from support.scenario import add_server_options, resolve

END = b"end of round"
DATABASES = (0, 1, 15)


def payloads_for_restore(server):
    """(family, DUMP payload) of every type and size, made by the reference so that both servers must know them."""
    made = [("string", make_dump(value, version)) for value in (b"", b"7", b"value", b"x" * 100) for version in (1, 8, 9, 10)]
    with server.client() as client:
        client.ok("FLUSHALL")
        for command in (
            ["RPUSH", "l", *range(20)], ["RPUSH", "L", *["x" * 3000] * 6], ["SADD", "s", *range(20)], ["SADD", "S", "a", "b", "c"], ["HSET", "h", "a", 1, "b", 2],
            ["HSET", "H", *(w for i in range(200) for w in (f"f{i}", i))], ["ZADD", "z", 1, "a", 2.5, "b", "inf", "c"],
            ["ZADD", "Z", *(w for i in range(200) for w in (i / 7, f"m{i}"))], ["XADD", "x", "5-1", "f", "v"], ["XADD", "x", "6-1", "f", "v", "g", "w"],
            ["XGROUP", "CREATE", "x", "g1", "0"], ["XREADGROUP", "GROUP", "g1", "c1", "COUNT", 1, "STREAMS", "x", ">"], ["PFADD", "p", *range(50)],
        ):  # fmt: skip
            client.ok(*command)
        for family, keys in (("list", "lL"), ("set", "sS"), ("hash", "hH"), ("sorted-set", "zZ"), ("stream", "x"), ("hyperloglog", "p")):
            made += [(family, client.ok("DUMP", key)) for key in keys]
        client.ok("FLUSHALL")
    return made


class Tester:
    """Runs rounds of one connection each, so that MULTI and SELECT belong to the round."""

    def __init__(self, pair, with_events=True):
        self.pair = pair
        self.with_events = with_events
        self.comparable = True
        self.listeners = Listeners(pair)
        self.expected = {}

    def difference(self, protocol, units, settings):
        """Runs the units on empty servers; what differs, as (text, name of the command), or None. A server that has died is
        what differs, and is started again the next time."""
        if not self.pair.running():
            self.pair.revive()
            self.listeners.open()
        clients = self.pair.connect(protocol)
        try:
            for client in clients:
                client.ok("FLUSHALL")
                client.pipeline([("CONFIG", "SET", name, value) for name, value in (DEFAULT_SETTINGS | settings).items()])
            normalise.begin()
            self.listeners.difference()
            self.comparable = True  # until an expected difference of replies lets the events differ too
            # EXEC may be outstanding; DISCARD ends it, and either reply is compared like any other.
            tail = [[b"DISCARD"], [b"SELECT", b"0"]]
            requests = [command for unit in units for command in unit.commands] + tail
            data = b"".join(map(encode, requests)) + encode([b"ECHO", END])
            blocks = exchange([client.socket for client in clients], data, b"$%d\r\n%s\r\n" % (len(END), END))
            if blocks[0] != blocks[1]:
                found = self.compare_replies(units + [Unit(tail)], blocks)
                if found:
                    return found
            # Of what SORT looks for and does not find, the order is that of a table.
            sorts = any(command[0].upper().startswith(b"SORT") for command in requests)
            found = self.listeners.difference((lambda event: event[1] != b"keymiss" and not event[0].endswith(b":keymiss")) if sorts else None)
            if found and self.with_events and self.comparable:
                return found, None
            return self.compare_keyspaces(clients)
        except NoAnswer as error:
            return self.waiting(requests, error.blocks), None
        except (OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}{self.pair.last_words()}", None
        finally:
            for client in clients:
                client.close()

    @staticmethod
    def waiting(requests, blocks):
        """Which command each side has not answered."""
        lines = ["no answer in time"]
        for side, block in zip("AB", blocks):
            count = at = 0
            try:
                while at < len(block):
                    _, at = parse_frame(block, at)
                    count += 1
            except Incomplete:
                pass
            lines.append(f"{side} {'answered all' if count > len(requests) else show((requests + [[END]])[count])[:300]}")
        return "\n    ".join(lines)

    def compare_replies(self, units, blocks):
        commands = [command for unit in units for command in unit.commands]
        try:
            replies = self.replies_of(commands, blocks)
        except Incomplete:
            return "the replies end early", None
        at = 0
        for unit in units:
            mine = replies[at : at + len(unit.commands)]
            at += len(unit.commands)
            if unit.check:
                outcome = unit.check(unit.commands, mine, self.compare_one)
                if outcome:
                    return outcome, show(unit.commands[1][:1])
                continue
            for command, (a, b) in zip(unit.commands, mine):
                outcome = self.compare_one(command, a, b)
                if outcome:
                    return outcome, show(command[:1])
        return None

    def replies_of(self, commands, blocks):
        """A pair of replies for each command; for one that ran in a transaction, that of its run."""
        replies, positions, queued = [], [0, 0], None
        for index, command in enumerate(commands):
            a, positions[0] = parse_frame(blocks[0], positions[0])
            b, positions[1] = parse_frame(blocks[1], positions[1])
            word = command[0].upper()
            if queued is None:
                if word == b"MULTI" and a == b == ("+", b"OK"):
                    queued = []
            elif word == b"EXEC" and a[0] == b[0] == "*" and a[1] is not None and b[1] is not None:
                if len(a[1]) == len(b[1]) == len(queued):
                    for position, x, y in zip(queued, a[1], b[1]):
                        replies[position] = (x, y)
                    a = b
                queued = None
            elif word in (b"EXEC", b"DISCARD", b"RESET") and not (a[0] == "-" and b"wrong number" in a[1]):
                queued = None
            elif a == b == ("+", b"QUEUED"):
                queued.append(index)
            replies.append((a, b))
        return replies

    def compare_one(self, command, a, b):
        # Only these tell of ports and nodes. In a value, the digits of a port are a value.
        if self.pair.cluster and (command[0].upper() == b"CLUSTER" or "-" in (a[0], b[0])):
            a, b = self.pair.a.blank_out(a), self.pair.b.blank_out(b)
        if a == b or normalise.hook_for(command)(a, b):
            return None
        # A key past its time counts until somebody happens to look at it.
        if command[0].upper() in (b"DBSIZE", b"RANDOMKEY") and "-" not in (a[0], b[0]):
            return None
        name = normalise.expected_difference(command, a, b)
        if name:
            self.expected[name] = self.expected.get(name, 0) + 1
            self.comparable &= command[0].upper() == b"OBJECT"
            return None
        return f"{show(command)[:300]}\n    A {normalise.text(a)[:500]}\n    B {normalise.text(b)[:500]}"

    def compare_keyspaces(self, clients):
        for database in DATABASES[: 1 if self.pair.cluster else None]:
            for client in clients:
                client.ok("SELECT", database)
            a, b = (read_database(client) for client in clients)
            if a.keys() != b.keys():
                return f"database {database}: only in A {sorted(a.keys() - b.keys())}, only in B {sorted(b.keys() - a.keys())}", None
            for key in a:
                outcome = self.compare_held(key, a[key], b[key])
                if outcome:
                    return f"database {database}, key {key!r}: {outcome}", None
        return None

    def compare_held(self, key, a, b):
        if a.content != b.content:
            return f"A holds {str(a.content)[:600]}, B {str(b.content)[:600]}"
        if a.encoding != b.encoding:
            frames = ("$", bytes(a.encoding)), ("$", bytes(b.encoding))
            name = normalise.expected_difference([b"OBJECT", b"ENCODING", key], *frames)
            if not name:
                return f"encoding {a.encoding!r} in A, {b.encoding!r} in B"
            self.expected[name] = self.expected.get(name, 0) + 1
        # An expiry is kept in 48 bits of milliseconds: later ones are cut to that.
        cut = a.expires_at_ms == (1 << 48) - 1 < b.expires_at_ms
        moments = [] if cut else [("expires", a.expires_at_ms, b.expires_at_ms)]
        for what, x, y in [*moments, *(("delivered", *times) for times in zip(a.times, b.times))]:
            if x != y and not (x > 0 and y > 0 and abs(x - y) <= normalise.slack_ms()):
                return f"{what} at {x} in A, {y} in B"
        return None

    def shrink(self, protocol, units, settings, budget_s):
        """Leaves out units, ever fewer at a time, and then arguments, while the rest still differs."""
        deadline = time.monotonic() + budget_s

        def differ(fewer):
            return self.difference(protocol, fewer, settings)

        units = shortest(units, differ, deadline)
        for at, unit in enumerate(units):
            if unit.check or len(unit.commands) > 1 or len(unit.commands[0]) < 6:
                continue

            def differs(words):
                return differ(units[:at] + [Unit([words])] + units[at + 1 :])

            units[at] = Unit([shortest(unit.commands[0], differs, deadline)])
        if settings and self.difference(protocol, units, {}):
            settings = {}
        return units, settings


def both_know(pair, mute):
    """The rows that rounds draw from, in turns; says which commands one of the two lacks."""
    ours, theirs = (read_rows(side.servers[0]) for side in (pair.a, pair.b))
    learn_families([*theirs.values(), *ours.values()])
    lacking = sorted(theirs.keys() - ours.keys())
    if lacking:
        print(f"not in A: {' '.join(lacking)}")
    # A family is there with its first command, and then wholly; what is about several families, when all are there.
    families = {row.group for row in ours.values() if row.group in FAMILIES}
    missing = [name for name in lacking if theirs[name].group in families or len(families) == len(FAMILIES)]
    if ours.keys() - theirs.keys():
        print(f"only in A: {' '.join(sorted(ours.keys() - theirs.keys()))}")
    common = sorted(name for name in ours.keys() & theirs.keys() if name not in mute)
    return [[table[name] for name in common] for table in (theirs, ours)], missing


def main(cluster=False):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_server_options(parser)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--rounds", type=int, help="instead of --seconds")
    parser.add_argument("--first", type=int, default=0, help="number of the first round, to run one again")
    parser.add_argument("--commands", type=int, default=500, help="units of commands per round")
    parser.add_argument("--failures", type=int, default=5, help="stop after this many differing rounds")
    parser.add_argument("--only", action="append", choices=sorted(FAMILIES), help="a family of commands; may be repeated")
    parser.add_argument("--mute", action="append", default=[], help="a command to leave out; may be repeated")
    parser.add_argument("--mute-failed", action="store_true", help="go on without a command that has differed")
    parser.add_argument("--cluster", action="store_true", default=cluster, help="two clusters of two nodes instead of two servers")
    parser.add_argument("--no-events", action="store_true", help="do not compare keyspace events")
    parser.add_argument("--shrink-seconds", type=float, default=30)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    # Timeouts of blocking commands are looked at so many times a second.
    pair = Pair(resolve(options.server), resolve(options.reference), {"hz": 500, "enable-debug-command": "yes"}, options.cluster)
    tables, missing = both_know(pair, set(options.mute))
    groups = {row.group for row in tables[0]}
    payloads = [] if options.cluster else [payload for family, payload in payloads_for_restore(pair.b.servers[0]) if family in groups]
    tester = Tester(pair, not options.no_events)
    start = time.monotonic()
    rounds = failures = sent = 0
    muted = set()
    while (rounds < options.rounds) if options.rounds else (time.monotonic() < start + options.seconds):
        number = options.first + rounds
        generator = Generator(f"{seed}/{number}", tables[number // 2 % 2], payloads, options.cluster, options.only, muted)
        protocol = 2 + number % 2
        units = [generator.unit() for _ in range(options.commands)]
        rounds += 1
        sent += sum(len(unit.commands) for unit in units)
        found = tester.difference(protocol, units, generator.settings)
        if not found:
            continue
        failures += 1
        settings = generator.settings
        units, settings = tester.shrink(protocol, units, settings, options.shrink_seconds)
        found = tester.difference(protocol, units, settings) or found
        print(f"\nround {number}, RESP{protocol}: {found[0]}\n  shortest sequence{f' with {settings}' if settings else ''}:")
        shown = [command for unit in units for command in unit.commands]
        for command in shown[-60:]:
            print("    " + show(command)[:400])
        sys.stdout.flush()
        if options.mute_failed:
            muted.add((found[1] or show(shown[-1][:1])).upper())
        if failures >= options.failures:
            break
    elapsed = time.monotonic() - start
    print(f"{rounds} rounds, {sent} commands to each server in {elapsed:.0f} s; {failures} rounds differ", end="")
    print("".join(f"; {count} expected ({name})" for name, count in sorted(tester.expected.items())))
    if missing:
        print(f"missing: {' '.join(missing)}")
    sys.exit(1 if failures or missing else 0)


if __name__ == "__main__":
    main()
