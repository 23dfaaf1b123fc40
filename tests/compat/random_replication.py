#!/usr/bin/env python3
"""Random commands on a primary, in both directions between the two servers: what the replica then holds must be the same.

Finds what a command forgets to tell replicas (and with them the AOF), or tells in words that mean something else there. A round
that differs is shrunk to the shortest sequence. The same seed gives the same commands.
"""

import argparse
import os
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, ".."))
from filling import known_families, random_units
from normalise import show
from shrinking import shortest
from support import process
from support.dataset import Held, read_all
from support.process import Server
from support.scenario import add_server_options, resolve
from support.wait import eventually


class Replicated:
    """A primary and its replica."""

    def __init__(self, primary, replica):
        self.primary = Server(primary, hz=500, repl_diskless_sync_delay=0).start()
        self.replica = Server(replica, hz=500, repl_diskless_sync_delay=0, replicaof=["127.0.0.1", self.primary.port]).start()
        eventually(lambda: self.replica.info("replication")["master_link_status"] == "up", 60, "link up")

    def running(self):
        return self.primary.running() and self.replica.running()

    def difference(self, units):
        """Runs the units on the emptied primary; the first key that differs, as text, or None."""
        with self.primary.client() as client:
            client.ok("FLUSHALL")
            client.pipeline([command for unit in units for command in unit.commands])
            client("DISCARD")
            client.ok("SELECT", 0)
        self.wait()
        held, expected = (read_all(server, view=Held.propagated) for server in (self.replica, self.primary))
        # Reading may have told the replica of keys that were past their time.
        if held != expected:
            self.wait()
            held, expected = (read_all(server, view=Held.propagated) for server in (self.replica, self.primary))
        for key in sorted(held.keys() | expected.keys()):
            if held.get(key) != expected.get(key):
                return f"{key}: replica {str(held.get(key))[:500]}\n    primary {str(expected.get(key))[:500]}"
        return None

    def wait(self):
        def caught_up():
            a, b = self.primary.info("replication"), self.replica.info("replication")
            return b["master_link_status"] == "up" and a["master_repl_offset"] == b["slave_repl_offset"]

        eventually(caught_up, 90, "the replica has caught up", interval_s=0.002)

    def kill(self):
        self.primary.kill()
        self.replica.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_server_options(parser)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--seconds", type=float, default=10, help="for each of the pairs")
    parser.add_argument("--first", type=int, default=0, help="number of the first round, to run one again")
    parser.add_argument("--rounds", type=int, help="instead of --seconds")
    parser.add_argument("--commands", type=int, default=500)
    parser.add_argument("--failures", type=int, default=3, help="stop a pair after this many differing rounds")
    parser.add_argument("--only", action="append", help="a family of commands; may be repeated")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    ours, theirs = resolve(options.server), resolve(options.reference)
    both = [Server(binary).start() for binary in (ours, theirs)]
    rows, families = known_families(both)
    for server in both:
        server.kill()
    failed = False
    for primary, replica in dict.fromkeys([(theirs, ours), (ours, theirs), (ours, ours)]):
        pair = Replicated(primary, replica)
        start = time.monotonic()
        rounds = failures = 0
        while (rounds < options.rounds) if options.rounds else (time.monotonic() < start + options.seconds):
            number = options.first + rounds
            rounds += 1
            chosen = options.only or random.Random(f"{seed}/{number}").sample(families, min(2, len(families)))
            units = random_units(f"{seed}/{number}", rows, chosen, options.commands)
            found = pair.difference(units)
            if not found:
                continue
            failures += 1
            units = shortest(units, lambda fewer: pair.running() and pair.difference(fewer), time.monotonic() + 30)
            found = (pair.running() and pair.difference(units)) or found
            print(f"\nround {number}: {found}\n  shortest sequence:")
            for command in [command for unit in units for command in unit.commands][-60:]:
                print("    " + show(command)[:400])
            if failures >= options.failures or not pair.running():
                break
        names = " -> ".join(os.path.basename(binary) for binary in (primary, replica))
        print(f"{names}: {rounds} rounds of {options.commands}, {failures} differ", flush=True)
        failed |= bool(failures)
        pair.kill()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
