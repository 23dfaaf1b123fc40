#!/usr/bin/env python3
"""Why slots: what moves when a fourth node joins three, for the three ways of placing keys that the tutorial compares.

    hash modulo   node = hash(key) mod nodes
    ring          consistent hashing; a node owns the arc up to each of its points
    slots         node = table[CRC16(key) mod 16384]; the new node is given the first 1365 or 1366 slots of each other's range

Prints the fraction of keys that moved and how evenly they lie afterwards, and fails when the figures do not tell the story.
"""

import argparse
import bisect
import hashlib
import random
import sys
import os

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.slots import SLOTS, key_slot


def hash64(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def modulo(nodes):
    return lambda key: hash64(key) % nodes


def ring(nodes, points_per_node):
    points = sorted((hash64(f"node {node} point {point}"), node) for node in range(nodes) for point in range(points_per_node))
    positions = [position for position, _ in points]
    return lambda key: points[bisect.bisect_left(positions, hash64(key)) % len(points)][1]


def slots(table):
    return lambda key: table[key_slot(key)]


def three_ranges():
    return [0] * 5461 + [1] * 5462 + [2] * 5461


def with_fourth(table):
    """What redis-cli --cluster reshard does with 4096 slots from all: from the largest range one more than from the others."""
    table = list(table)
    for node, count in ((1, 1366), (0, 1365), (2, 1365)):
        first = table.index(node)
        table[first : first + count] = [3] * count
    return table


def figures(before, after, keys):
    moved = sum(before(key) != after(key) for key in keys) / len(keys)
    loads = [0] * 4
    for key in keys:
        loads[after(key)] += 1
    shares = [load / len(keys) for load in loads]
    return moved, shares


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--server", help="ignored; every test program takes it")
    options = parser.parse_args()
    keys = [f"user:{random.Random(index).getrandbits(40)}" for index in range(options.keys)]
    table = three_ranges()
    rows = {
        "hash modulo": figures(modulo(3), modulo(4), keys),
        "ring, 1 point per node": figures(ring(3, 1), ring(4, 1), keys),
        "ring, 100 points per node": figures(ring(3, 100), ring(4, 100), keys),
        "16384 slots": figures(slots(table), slots(with_fourth(table)), keys),
    }
    print(f"{options.keys} keys; a fourth node joins three\n")
    print("| placement | keys moved | smallest share | largest share |")
    print("| --- | --- | --- | --- |")
    for name, (moved, shares) in rows.items():
        print(f"| {name} | {moved:.1%} | {min(shares):.1%} | {max(shares):.1%} |")

    exact = sum(a != b for a, b in zip(table, with_fourth(table)))
    print(f"\nslots moved: {exact} of {SLOTS}, exactly a quarter; slots of each node: {[with_fourth(table).count(n) for n in range(4)]}")
    assert exact == SLOTS // 4
    assert [with_fourth(table).count(node) for node in range(4)] == [4096] * 4
    assert 0.74 < rows["hash modulo"][0] < 0.76
    assert 0.24 < rows["16384 slots"][0] < 0.26
    spread = {name: max(shares) - min(shares) for name, (_, shares) in rows.items()}
    assert spread["16384 slots"] < 0.02 < spread["ring, 1 point per node"]
    assert spread["16384 slots"] < spread["ring, 100 points per node"]


if __name__ == "__main__":
    main()
