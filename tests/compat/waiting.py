#!/usr/bin/env python3
"""Clients that wait for keys: several connections to both servers, one step at a time.

Each story is a list of steps `name: COMMAND ...`. After each step both servers must have answered the same connections,
with the same replies in the same order per connection; a connection without an answer waits, on both. Before the answers
are compared, the step's effects have to be over: a PING on another connection is answered behind them.

    a: BLPOP k 0            sends; what arrives on any connection is compared
    a: BLPOP k 0.001        of a moment only: goes on when it is over
    %sleep 50               milliseconds, for timeouts
    %answered a b           goes on when those connections have the answers to all they have sent
    %unblock a [ERROR]      CLIENT UNBLOCK of that connection, by a helper
    %kill a                 CLIENT KILL of that connection
    %close a                the client goes away
    %replicaof / %primary   REPLICAOF of a port where nobody is / NO ONE

After the stories come random ones about lists and sorted sets, of the same kind; a seed gives the same ones again, and one
that differs is printed with as few lines as possible.
"""

import argparse
import collections
import os
import random
import select
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import normalise
from cases import split_line
from pair import Side
from shrinking import shortest
from sorted_set_stories import SORTED_SET_STORIES
from stream_stories import STREAM_STORIES
from support import process
from support.resp import encode
from support.scenario import add_server_options, resolve

STORIES = {
    "first come, first served": """
        a: BLPOP k 0
        b: BLPOP k 0
        c: BLPOP k 0
        d: RPUSH k 1
        d: RPUSH k 2 3
        d: LLEN k
        d: EXISTS k
    """,
    "several elements for several clients": """
        a: BLPOP k 0
        b: BRPOP k 0
        c: BLMPOP 0 1 k LEFT COUNT 2
        e: BLMPOP 0 1 k RIGHT COUNT 10
        d: RPUSH k 1 2 3 4 5 6
        d: EXISTS k
    """,
    "several keys": """
        a: BLPOP k1 k2 k3 0
        b: BLPOP k3 k2 0
        d: RPUSH k3 x
        d: RPUSH k2 y
        d: KEYS *
        a: BLPOP k1 k1 k1 0
        d: RPUSH k1 x y
        d: LRANGE k1 0 -1
    """,
    "chains of moves": """
        a: BLMOVE k1 k2 LEFT RIGHT 0
        b: BLMOVE k2 k3 LEFT RIGHT 0
        c: BRPOPLPUSH k3 k4 0
        e: BLPOP k4 0
        d: RPUSH k1 x
        d: KEYS *
    """,
    "a circle": """
        a: BLMOVE k1 k2 LEFT RIGHT 0
        b: BLMOVE k2 k1 LEFT RIGHT 0
        d: RPUSH k1 x
        d: LRANGE k1 0 -1
        d: LRANGE k2 0 -1
    """,
    "a move to itself": """
        a: BLMOVE k k LEFT RIGHT 0
        b: BLMOVE k k LEFT RIGHT 0
        d: RPUSH k x y z
        d: LRANGE k 0 -1
    """,
    "a transaction counts when it is over": """
        a: BLPOP k 0
        d: MULTI
        d: RPUSH k x
        d: DEL k
        d: EXEC
        d: MULTI
        d: RPUSH k x
        d: DEL k
        d: RPUSH k y z
        d: EXEC
        d: LRANGE k 0 -1
    """,
    "the order of readiness": """
        a: BLPOP k1 0
        b: BLPOP k2 0
        d: MULTI
        d: RPUSH k2 x
        d: RPUSH k1 y
        d: EXEC
    """,
    "other types": """
        a: BLPOP k 0
        d: SET k v
        d: DEL k
        d: RPUSH k x
        b: BLPOP k 0
        d: SET k v
        d: RPUSH j w
        d: RENAME j k
        d: EXISTS k
    """,
    "a target of another type": """
        a: BLMOVE k t LEFT RIGHT 0
        b: BLPOP k 0
        d: SET t v
        d: RPUSH k x
        d: EXISTS k
    """,
    "a key of another type among the keys at once": """
        d: SET s v
        a: BLPOP k s 0
        a: BLPOP s k 0
    """,
    "renames, copies, databases": """
        a: BLPOP k 0
        d: RPUSH j x
        d: RENAME j k
        a: BLPOP k 0
        d: RPUSH j y
        d: COPY j k
        d: DEL j
        b: SELECT 1
        b: BLPOP k 0
        d: RPUSH k z
        d: MOVE k 1
        b: BLPOP k 0
        d: RPUSH k w
        d: SWAPDB 0 1
        d: DBSIZE
    """,
    "restored": """
        a: BLPOP k 0
        d: RESTORE k 0 "\\x12\\x01\\x02\\x0e\\x0e\\x00\\x00\\x00\\x02\\x00\\x81a\\x02\\x81b\\x02\\xff\\n\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00"
        d: RPUSH k z
    """,
    "timeouts": """
        a: BLPOP k 0.05
        b: BLMOVE k j LEFT LEFT 0.05
        c: BRPOPLPUSH k j 0.05
        e: BLMPOP 0.05 1 k LEFT
        %answered a b c e
        d: RPUSH k x
        d: LLEN k
    """,
    "a pipeline rests while its client waits": """
        a: BLPOP k 0
        a: PING
        a: RPUSH j x
        d: EXISTS j
        d: RPUSH k x
        d: EXISTS j
    """,
    "unblocking": """
        a: BLPOP k 0
        b: BLMOVE k j LEFT LEFT 0
        c: BLPOP k 0
        %unblock a
        %unblock b ERROR
        %unblock b
        d: RPUSH k x
        %unblock d
    """,
    "leaving": """
        a: BLPOP k 0
        b: BLPOP k 0
        c: BLPOP k 0
        %kill a
        %close b
        d: RPUSH k x
        d: EXISTS k
    """,
    "a change of role": """
        a: BLPOP k 0
        %replicaof
        %primary
        d: RPUSH k x
        d: LLEN k
    """,
    "a role that does not change": """
        a: BLPOP k 0
        %primary
        d: RPUSH k x
    """,
    "deleted and flushed": """
        a: BLPOP k 0
        d: RPUSH j x
        d: DEL j
        d: FLUSHALL
        d: RPUSH k x
    """,
    "watching": """
        d: WATCH k
        a: BLPOP k 0
        b: RPUSH k x
        d: MULTI
        d: PING
        d: EXEC
    """,
    "a pause": """
        a: BLPOP k 0
        b: BLPOP k 0.1
        d: CLIENT PAUSE 100000 WRITE
        %sleep 300
        d: CLIENT UNPAUSE
        d: RPUSH k x
    """,
    "blocked within a transaction of its own": """
        a: MULTI
        a: BLPOP k 0
        a: RPUSH k x
        a: BLPOP k 0
        a: EXEC
    """,
    "silent clients": """
        a: CLIENT REPLY SKIP
        a: BLPOP k 0
        d: RPUSH k x y
        d: LRANGE k 0 -1
        a: PING
    """,
    "two clients and three keys": """
        a: BLPOP k1 k2 0
        b: BLPOP k2 k3 0
        d: RPUSH k2 x
        d: RPUSH k3 x
    """,
}


# On the first of two nodes; the slots of k (7629) and k3 are its own.
CLUSTER_STORIES = {
    "the slot goes to another node": """
        a: BLPOP k 0
        b: BLPOP k3 0
        d: CLUSTER SETSLOT 7629 MIGRATING ${ID2}
        d: CLUSTER SETSLOT 7629 NODE ${ID2}
        %answered a
        d: RPUSH k3 x
        a: BLPOP k 0
        d: CLUSTER SETSLOT 7629 NODE ${ID1}
        a: BLPOP k 0
        d: RPUSH k x
    """,
}


class Cast:
    """The connections of one story to one server."""

    def __init__(self, side, protocol):
        self.side = side
        self.protocol = protocol
        self.clients = {}
        self.owed = collections.Counter()  # answers, by connection
        self.closed = set()
        self.helper = side.connect(2)
        self.helper("FLUSHALL")

    def client(self, name):
        if name not in self.clients:
            self.clients[name] = self.side.connect(self.protocol)
            self.clients[name].id = self.clients[name]("CLIENT", "ID")
        return self.clients[name]

    def settle(self):
        # What a command makes ready is served before its reply leaves; a pipeline that rested goes on a turn later.
        for _ in range(3):
            self.helper("PING")

    def heard(self):
        """What has arrived since the last time, by connection."""
        news = {}
        for name, client in self.clients.items():
            frames = []
            while name not in self.closed and self.readable(client):
                try:
                    frames.append(self.side.blank_out(client.read_frame()))
                except (ConnectionError, EOFError):
                    frames.append(("closed", None))
                    self.closed.add(name)
            if frames:
                news[name] = frames
                self.owed[name] -= len(frames)
        return news

    @staticmethod
    def readable(client):
        return bool(client._buffer) or bool(select.select([client.socket], [], [], 0)[0])

    def step(self, line):
        words = split_line(line)
        if words[0] == b"%sleep":
            time.sleep(int(words[1]) / 1000)
        elif words[0] == b"%answered":
            pass
        elif words[0] == b"%unblock":
            reply = self.helper("CLIENT", "UNBLOCK", self.client(words[1].decode()).id, *words[2:])
            return {"helper": [(":", str(reply).encode())]}
        elif words[0] == b"%kill":
            self.helper("CLIENT", "KILL", "ID", self.client(words[1].decode()).id)
        elif words[0] == b"%close":
            self.closed.add(words[1].decode())
            self.client(words[1].decode()).close()
        elif words[0] == b"%replicaof":
            self.helper("REPLICAOF", "127.0.0.1", 1)
        elif words[0] == b"%primary":
            self.helper("REPLICAOF", "NO", "ONE")
        else:
            name = words.pop(0)[:-1].decode()
            client = self.client(name)
            self.owed[name] += 1
            client.send_raw(encode([self.side.fill_in(word) for word in words]))
        return {}

    def end(self):
        for name, client in self.clients.items():
            if name not in self.closed:
                client.close()
        self.helper.close()


def hook(words):
    if words[:2] == [b"d:", b"KEYS"]:
        return normalise.any_order
    return normalise.hook_for(words[1:]) if words[1:] and words[1].startswith(b"X") else normalise.same


def equal(words, a, b):
    if a.keys() != b.keys():
        return False
    compare = hook(words)
    return all(len(a[name]) == len(b[name]) and all(map(compare, a[name], b[name])) for name in a)


def expected(words, a, b):
    """Whether all that differs are replies that different versions write differently."""
    same_frames = a.keys() == b.keys() and all(len(a[name]) == len(b[name]) for name in a)
    pairs = [pair for name in a for pair in zip(a[name], b[name])] if same_frames else []
    return same_frames and all(x == y or normalise.expected_difference(words[1:], x, y) for x, y in pairs)


def run(name, story, sides, protocol):
    """The differences of one story, as text."""
    casts = [Cast(side, protocol) for side in sides]
    try:
        for line in filter(None, map(str.strip, story.splitlines())):
            heard = [cast.step(line) for cast in casts]
            # What one server has answered the other may be about to answer.
            until = time.monotonic() + 20
            while True:
                for cast, news in zip(casts, heard):
                    cast.settle()
                    for who, frames in cast.heard().items():
                        news.setdefault(who, []).extend(frames)
                words = split_line(line)
                # What waits for a moment is over before the next step, which may depend on it.
                owed = {words[0][:-1].decode()} if words[-1] == A_MOMENT else set()
                answered = words[0] != b"%answered" or all(cast.owed[name.decode()] == 0 for cast in casts for name in words[1:])
                if (equal(words, *heard) or expected(words, *heard)) and owed <= heard[0].keys() and answered:
                    break
                if time.monotonic() > until:
                    shown = ["; ".join(f"{who}: {' '.join(map(normalise.text, frames))}" for who, frames in sorted(news.items()))
                             for news in heard]  # fmt: skip
                    return f"{name}, RESP{protocol}: {line}\n    A {shown[0]}\n    B {shown[1]}"
                time.sleep(0.01)
    finally:
        for cast in casts:
            cast.end()
    return None


A_MOMENT = b"0.001"

# {l} are lists only, {z} sorted sets, {k} anything; {m} and {y} are lists and sorted sets that are waited for together. Of those
# only one at a time may get something, and none another type: 7.2 runs the command again, from its first key on.
WAITS = [
    "BLPOP {k} 0", "BRPOP {k} 0", "BLMPOP 0 1 {k} {end}", "BLMOVE {k} {l} {end} {end} 0", "BZPOPMIN {k} 0", "BZMPOP 0 1 {k} MAX COUNT {n}",
    "BLPOP {m} {m} 0", "BRPOP {m} {m} {m} 0", "BLMOVE {l} {l} {end} {end} 0", "BRPOPLPUSH {l} {l} 0", "BLMPOP 0 2 {m} {m} {end} COUNT {n}",
    "BZPOPMIN {z} 0", "BZPOPMAX {y} {y} 0", "BZMPOP 0 2 {y} {y} MIN COUNT {n}",
]  # fmt: skip
CHANGES = [
    "LPUSH {l} {n}", "RPUSH {l} {n} {n}", "RPUSH {l} a b c d e", "LMOVE {l} {l} {end} {end}", "SORT {l} ALPHA STORE {l}", "SORT {z} ALPHA STORE {l}",
    "LPOP {l}", "LINSERT {l} BEFORE a z", "LPUSHX {l} q", "RENAME {l} {l}", "COPY {l} {l} REPLACE", "BLMOVE {l} {l} {end} {end} 0.001", "BLPOP {l} 0.001", "LRANGE {l} 0 -1",
    "ZADD {z} {n} a", "ZADD {z} 1 a 2 b 3 c", "ZUNIONSTORE {z} 1 {z}", "ZRANGESTORE {z} {z} 0 -1", "GEOADD {z} 1 1 a", "ZPOPMIN {z}", "ZINCRBY {z} 1 a", "RENAME {z} {z}",
    "COPY {z} {z} REPLACE", "BZPOPMIN {z} 0.001", "ZRANGE {z} 0 -1 WITHSCORES",
    "LPUSH {k} {n}", "ZADD {k} {n} a", "SADD {k} x", "SET {k} x", "DEL {k}", "RENAME {k} {k}", "COPY {k} {k} REPLACE", "TYPE {k}",
    "DEL l1 l2 l3 z1 z2 k1", "EXPIRE {k} 0", "EXPIRE {l} 0", "MOVE {l} 1", "FLUSHDB", "FLUSHALL", "EXISTS l1 l2 l3 z1 z2 z3 k1 k2",
]  # fmt: skip


ONE_AT_A_TIME = ["LPUSH {m} {n}", "RPUSH {m} {n} {n}", "RPUSH {m} a b c d", "ZADD {y} {n} a", "ZADD {y} 1 a 2 b", "DEL {m} {y}"]


def random_story(seed):
    """Lines of one."""
    draw = random.Random(seed)

    def filled(pattern):
        words = {"{l}": ("l1", "l1", "l2", "l3"), "{z}": ("z1", "z1", "z2", "z3"), "{k}": ("k1", "k1", "k2"), "{m}": ("m1", "m2"), "{y}": ("y1", "y2"), "{n}": "123", "{end}": ("LEFT", "RIGHT")}
        return " ".join(draw.choice(words[word]) if word in words else word for word in pattern.split())

    lines = []
    while len(lines) < 60:
        chance = draw.random()
        if chance < 0.45:
            lines.append(f"{draw.choice('abcefgh')}: {filled(draw.choice(WAITS))}")
        elif chance < 0.55:
            lines += ["d: MULTI", *(f"d: {filled(draw.choice(CHANGES + WAITS))}" for _ in range(draw.randrange(1, 5))), "d: EXEC"]
        elif chance < 0.6:
            lines.append(f"%unblock {draw.choice('abcefgh')} {draw.choice(('TIMEOUT', 'ERROR'))}")
        else:
            lines.append(f"d: {filled(draw.choice(CHANGES if draw.random() < 0.7 else ONE_AT_A_TIME))}")
    return lines


def run_random(sides, options):
    """Whether all random stories went alike."""
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    for number in range(options.random):
        lines, protocol = random_story(f"{seed}/{number}"), 2 + number % 2

        def differs(some):
            return run(f"random story {number}", "\n".join(some), sides, protocol)

        if differs(lines):
            fewer = shortest(lines, differs, time.monotonic() + 60)
            print(f"{differs(fewer)}\n  the story:")
            print("\n".join("    " + line for line in fewer), flush=True)
            return False
    print(f"{options.random} random stories, no differences")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_server_options(parser)
    parser.add_argument("stories", nargs="*", help="names of stories (default: all, and random ones)")
    parser.add_argument("--random", type=int, default=20, help="how many random stories")
    parser.add_argument("--seed", type=int, help="of the random stories; default: a new one, printed")
    options = parser.parse_args()
    failed = False
    for stories, cluster in ((STORIES | SORTED_SET_STORIES | STREAM_STORIES, False), (CLUSTER_STORIES, True)):
        wanted = {name: story for name, story in stories.items() if not options.stories or name in options.stories}
        if not wanted:
            continue
        sides = [Side(name, resolve(binary), {}, cluster) for name, binary in (("A", options.server), ("B", options.reference))]
        for name, story in wanted.items():
            for protocol in (2, 3):
                if difference := run(name, story, sides, protocol):
                    print(difference, flush=True)
                    failed = True
        print(f"{len(wanted)} stories, {'differences' if failed else 'no differences'}")
        if not cluster and not options.stories:
            failed |= not run_random(sides, options)
    process.end_all()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
