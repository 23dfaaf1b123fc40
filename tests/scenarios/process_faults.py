#!/usr/bin/env python3
"""Processes of a cluster are killed (-9) and frozen (SIGSTOP) under load, round after round, at the worst moments.

Each round draws a fault from the catalogue below, heals the cluster, waits until all nodes agree, and holds what clients were
promised against what is there (support/history.py). Loss is excused only where Redis's rules allow it: a write acknowledged
without WAIT in slots whose owner was replaced in that round without being asked; keys of a slot that was being moved while one of
its two shards failed over. Without a failover nothing may be lost, whatever was killed.

    process_faults.py --rounds 300 --seed 7        # hundreds, by hand
    process_faults.py --rounds 50 --only reshard   # one kind
"""

import argparse
import os
import random
import shutil
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import Cluster, nodes_seen_by, redis_cli
from support.history import Excuse, Recorder
from support.resp import Client, Error, ReplyError
from support.scenario import case, equal, main
from support.slots import SLOTS, key_slot
from support.wait import TimedOut, eventually

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=0, help="random rounds (default: one of each kind that CI has time for)")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--only", help="only faults whose name contains this")
parser.add_argument("--node-timeout-ms", type=int, default=1500)
parser.add_argument("--ballast", type=int, default=1500, help="keys of 10 kB, so that saving and synchronising take a while")
parser.add_argument("--keep-going", action="store_true", help="report a failed round and build a new cluster")

FAULTS = []
BALLAST_BYTES = 10_000


def fault(function):
    FAULTS.append(function)
    return function


class Round:
    """One round: what it did, to whom, and what that excuses."""

    def __init__(self, test, number, function):
        self.test, self.cluster, self.number, self.function = test, test.cluster, number, function
        self.chance = random.Random(f"{test.seed}:{number}")
        self.timeout_s = test.cluster.node_timeout_ms / 1000
        self.actions = []
        self.moved_slots = set()
        self.threads = []
        self.began = time.monotonic()
        self.before = owners(self.cluster)

    def say(self, text):
        self.actions.append(f"{time.monotonic() - self.began:.2f} {text}")

    def sleep(self, least_s, most_s):
        """The moment of the next fault: chance, not a wait for something."""
        time.sleep(self.chance.uniform(least_s, most_s))

    def some(self, servers):
        return self.chance.choice(sorted(servers, key=lambda server: server.port))

    def primaries(self):
        return [server for server, primary in self.test.roles().items() if primary is None]

    def replica_of(self, primary):
        return next(server for server, of in self.test.roles().items() if of is primary)

    def kill(self, *servers):
        for server in servers:
            self.say(f"kill {server}")
            server.kill()

    def freeze(self, *servers):
        for server in servers:
            self.say(f"freeze {server}")
            server.stop()

    def thaw(self, *servers):
        for server in servers:
            self.say(f"thaw {server}")
            server.cont()

    def launch(self, *servers):
        for server in servers:
            self.say(f"start {server}")
            server.launch()

    def ask(self, server, *command):
        """A command whose reply may well not come; other threads go on meanwhile."""
        self.say(f"{server} {' '.join(map(str, command))}")

        def run():
            try:
                with Client(server.port, timeout_s=10) as client:
                    client(*command)
            except Exception:
                pass

        self.background(run)

    def background(self, run):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)

    def wait_for_heir(self, *dead):
        """Somebody takes over all slots of the dead primaries, within the time that detection and election may take."""
        ids = {self.test.ids[server] for server in dead}

        def taken():
            alive = next(s for s in self.cluster.servers if s.running() and self.test.ids[s] not in ids)
            nodes = nodes_seen_by(alive)
            return not any(nodes[id].ranges for id in ids)

        eventually(taken, 20 + 10 * self.timeout_s, f"somebody takes over from {[str(server) for server in dead]}")
        self.say("an heir")


def owners(cluster):
    """(owner's id, its config epoch) of every slot."""
    table = [None] * SLOTS
    for node in cluster.nodes().values():
        for first, last in node.ranges:
            table[first : last + 1] = [(node.id, node.config_epoch)] * (last - first + 1)
    return table


# ---- the catalogue ----


@fault
def primary_killed_and_back_at_once(r):
    victim = r.some(r.primaries())
    r.kill(victim)
    r.sleep(0, 0.3 * r.timeout_s)
    r.launch(victim)


@fault
def primary_killed_for_long(r):
    victim = r.some(r.primaries())
    r.kill(victim)
    r.wait_for_heir(victim)
    r.sleep(0, 1)


@fault
def primary_killed_comes_back_amid_the_election(r):
    victim = r.some(r.primaries())
    r.kill(victim)
    r.sleep(0.9 * r.timeout_s, 2 * r.timeout_s + 0.5)
    r.launch(victim)


@fault
def replica_killed(r):
    victim = r.replica_of(r.some(r.primaries()))
    r.kill(victim)
    r.sleep(0, 2 * r.timeout_s)
    r.launch(victim)
    r.sleep(0, 0.3)
    r.kill(victim)  # perhaps while it loads or synchronises


@fault
def primary_and_replica_killed(r):
    primary = r.some(r.primaries())
    both = [primary, r.replica_of(primary)]
    r.chance.shuffle(both)
    r.kill(both[0])
    r.sleep(0, 0.05)
    r.kill(both[1])
    r.sleep(0, 2.5 * r.timeout_s)
    r.chance.shuffle(both)
    r.launch(both[0])
    r.sleep(0, 2 * r.timeout_s)


@fault
def heir_killed_too(r):
    primary = r.some(r.primaries())
    replica = r.replica_of(primary)
    r.kill(primary)
    r.wait_for_heir(primary)
    r.launch(primary)
    r.sleep(0, 1)
    r.kill(replica)
    r.sleep(0, 3 * r.timeout_s)


@fault
def two_primaries_killed(r):
    victims = r.primaries()
    r.chance.shuffle(victims)
    r.kill(*victims[:2])
    r.sleep(0, 2 * r.timeout_s)


@fault
def all_killed(r):
    servers = list(r.cluster.servers)
    r.chance.shuffle(servers)
    for server in servers:
        r.kill(server)
        r.sleep(0, 0.02)
    r.chance.shuffle(servers)
    for server in servers:
        r.launch(server)
        r.sleep(0, 0.3)


@fault
def killed_during_rdb_save(r):
    primary = r.some(r.primaries())
    victim = r.some([primary, r.replica_of(primary)])
    r.ask(victim, "BGSAVE")
    r.sleep(0, 0.15)
    r.kill(victim)
    r.sleep(0, 2 * r.timeout_s)


@fault
def killed_during_aof_rewrite(r):
    primary = r.some(r.primaries())
    victim = r.some([primary, r.replica_of(primary)])
    r.ask(victim, "BGREWRITEAOF")
    r.sleep(0, 0.15)
    r.kill(victim)
    r.sleep(0, 0.3 * r.timeout_s)
    r.launch(victim)
    r.sleep(0, 0.1)
    r.kill(victim)


def synchronise_fully(r, primary):
    """The replica comes back without its data: all of it has to be sent."""
    replica = r.replica_of(primary)
    r.kill(replica)
    shutil.rmtree(replica.path("appendonlydir"))
    for name in os.listdir(replica.directory):
        if name.endswith(".rdb"):
            os.remove(replica.path(name))
    r.launch(replica)
    try:
        eventually(lambda: replica.info("replication")["master_sync_in_progress"] == "1", 5, "a full sync begins", interval_s=0.005)
    except (TimedOut, ReplyError):
        pass  # it was over before it was seen
    return replica


@fault
def primary_killed_during_full_sync(r):
    primary = r.some(r.primaries())
    synchronise_fully(r, primary)
    r.sleep(0, 0.2)
    r.kill(primary)
    r.sleep(0, 3 * r.timeout_s)
    r.launch(primary)
    r.sleep(0, 0.3)


@fault
def replica_killed_during_full_sync(r):
    primary = r.some(r.primaries())
    replica = synchronise_fully(r, primary)
    r.sleep(0, 0.2)
    r.kill(replica)
    r.launch(replica)
    r.sleep(0, 0.5)
    r.kill(r.some([primary, replica]))
    r.sleep(0, 0.5 * r.timeout_s)


@fault
def primary_frozen_during_full_sync(r):
    primary = r.some(r.primaries())
    synchronise_fully(r, primary)
    r.sleep(0, 0.1)
    r.freeze(primary)
    r.sleep(0.5 * r.timeout_s, 2.5 * r.timeout_s)
    r.thaw(primary)


@fault
def killed_during_failover_by_hand(r):
    primary = r.some(r.primaries())
    replica = r.replica_of(primary)
    how = r.chance.choice([(), (), ("FORCE",), ("TAKEOVER",)])
    others = [server for server in r.cluster.servers if server not in (primary, replica)]
    r.ask(replica, "CLUSTER", "FAILOVER", *how)
    r.sleep(0, 0.25)
    r.kill(r.chance.choice([primary, replica, r.some(others)]))
    r.sleep(0, 2 * r.timeout_s)


@fault
def replica_killed_while_it_is_elected(r):
    primary = r.some(r.primaries())
    replica = r.replica_of(primary)
    r.kill(primary)
    r.sleep(r.timeout_s + 0.3, r.timeout_s + 2)
    r.kill(replica)
    r.sleep(0, 1)
    r.launch(replica)
    r.sleep(0, r.timeout_s)


@fault
def voter_killed_during_election(r):
    victim, voter, _ = r.chance.sample(sorted(r.primaries(), key=lambda s: s.port), 3)
    r.kill(victim)
    r.sleep(r.timeout_s, r.timeout_s + 1.5)
    r.kill(voter)
    r.sleep(0, 1)
    r.launch(voter)
    r.sleep(0, 2 * r.timeout_s)


@fault
def primary_frozen_longer_than_the_node_timeout(r):
    victim = r.some(r.primaries())
    r.freeze(victim)
    r.wait_for_heir(victim)
    r.sleep(0, 1)
    r.thaw(victim)


@fault
def primary_frozen_about_the_node_timeout(r):
    victim = r.some(r.primaries())
    r.freeze(victim)
    r.sleep(0.5 * r.timeout_s, 2.5 * r.timeout_s)
    r.thaw(victim)


@fault
def replica_frozen_then_its_primary_killed(r):
    primary = r.some(r.primaries())
    replica = r.replica_of(primary)
    r.freeze(replica)
    r.sleep(0.5 * r.timeout_s, 2 * r.timeout_s)
    r.kill(primary)
    r.sleep(0, 0.2)
    r.thaw(replica)
    r.sleep(0, 3 * r.timeout_s)


@fault
def two_primaries_frozen(r):
    victims = r.primaries()
    r.chance.shuffle(victims)
    r.freeze(*victims[:2])
    r.sleep(0.5 * r.timeout_s, 3 * r.timeout_s)
    r.thaw(*victims[:2])


@fault
def all_frozen(r):
    r.freeze(*r.cluster.servers)
    r.sleep(0.5 * r.timeout_s, 3 * r.timeout_s)
    servers = list(r.cluster.servers)
    r.chance.shuffle(servers)
    for server in servers:
        r.thaw(server)
        r.sleep(0, 0.2)


def reshard(r, source, target):
    """Moves slots with keys that clients are busy with, as redis-cli does, in the background."""
    ids, nodes = r.test.ids, r.cluster.nodes()
    mine = set()
    for first, last in nodes[ids[source]].ranges:
        mine.update(range(first, last + 1))
    slots = [slot for slot in r.test.recorder.busy_slots() if slot in mine]
    r.chance.shuffle(slots)
    slots = slots[:12] + r.chance.sample(sorted(mine - set(slots)), 20)
    r.moved_slots = set(slots)
    r.say(f"moves {len(slots)} slots from {source} to {target}")
    others = [server for server in r.primaries() if server not in (source, target)]

    def move():
        try:
            with Client(source.port, timeout_s=5) as here, Client(target.port, timeout_s=5) as there:
                for slot in slots:
                    there.ok("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
                    here.ok("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
                    while keys := here.ok("CLUSTER", "GETKEYSINSLOT", slot, 3):
                        here.ok("MIGRATE", "127.0.0.1", target.port, "", 0, 3000, "KEYS", *keys)
                    for client in (there, here):
                        client.ok("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
                    for other in others:
                        other.call("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        except Exception as error:
            r.say(f"the move ends: {error!r:.80}")

    r.background(move)


@fault
def reshard_and_source_killed(r):
    source, target, _ = r.chance.sample(sorted(r.primaries(), key=lambda s: s.port), 3)
    reshard(r, source, target)
    r.sleep(0, 0.4)
    r.kill(source)
    r.sleep(0, 3 * r.timeout_s)


@fault
def reshard_and_target_killed(r):
    source, target, _ = r.chance.sample(sorted(r.primaries(), key=lambda s: s.port), 3)
    reshard(r, source, target)
    r.sleep(0, 0.4)
    r.kill(target)
    r.sleep(0, 3 * r.timeout_s)


@fault
def reshard_and_both_killed_and_back(r):
    source, target, _ = r.chance.sample(sorted(r.primaries(), key=lambda s: s.port), 3)
    reshard(r, source, target)
    r.sleep(0, 0.4)
    r.kill(source, target)
    r.sleep(0, 0.3 * r.timeout_s)
    r.launch(source, target)


@fault
def reshard_and_one_frozen(r):
    source, target, _ = r.chance.sample(sorted(r.primaries(), key=lambda s: s.port), 3)
    reshard(r, source, target)
    r.sleep(0, 0.3)
    victim = r.some([source, target])
    r.freeze(victim)
    r.sleep(0.5 * r.timeout_s, 2.5 * r.timeout_s)
    r.thaw(victim)


@fault
def anything(r):
    """Several faults of all kinds, one over the other."""
    for _ in range(r.chance.randint(2, 6)):
        server = r.some(r.cluster.servers)
        what = r.chance.choice(["kill", "kill", "start", "freeze", "thaw", "BGSAVE", "BGREWRITEAOF", "failover"])
        if what == "kill":
            r.kill(server)
        elif what == "freeze" and server.running():
            r.freeze(server)
        elif what == "failover" and server.running():
            r.ask(server, "CLUSTER", "FAILOVER", *r.chance.choice([(), ("FORCE",)]))
        elif what in ("BGSAVE", "BGREWRITEAOF") and server.running():
            r.ask(server, what)
        elif what == "thaw":
            r.thaw(server)
        elif not server.running():
            r.launch(server)
        r.sleep(0, 1.2 * r.timeout_s)


# ---- rounds ----


class Test:
    def __init__(self, options):
        self.options, self.seed = options, options.seed
        self.totals = {"excused": 0, "excused_reads": 0, "writes": 0, "failovers": 0}

    def build(self):
        self.cluster = Cluster(
            self.options.server, 6, self.options.node_timeout_ms, repl_diskless_sync_delay=0, appendfsync="everysec"
        )  # fmt: skip
        self.cluster.create(replicas=1)
        self.cluster.wait_until_replicas_online()
        by_port = {server.port: server for server in self.cluster.servers}
        self.ids = {by_port[node.port]: id for id, node in self.cluster.nodes().items()}
        self.recorder = Recorder([("127.0.0.1", s.port) for s in self.cluster.servers], seed=self.seed)
        for number in range(self.options.ballast):
            replies, _ = self.recorder.reader.request(*ballast(number), attempts=50)
            equal(replies, [b"OK"])
        self.recorder.start()

    def roles(self):
        """{server: the server it replicates, None for a primary}."""
        servers = {id: server for server, id in self.ids.items()}
        nodes = self.cluster.nodes()
        return {server: None if nodes[id].is_primary else servers[nodes[id].primary_id] for server, id in self.ids.items()}

    def heal(self, r):
        for server in self.cluster.servers:
            server.cont()
            if not server.running():
                server.launch()
        for server in self.cluster.servers:
            server.wait_until_ready(60)
        for thread in r.threads:
            thread.join(30)
            assert not thread.is_alive(), "a command hangs although everything is well"
        if r.moved_slots:
            self.settle_open_slots()
        self.cluster.wait_until_agreed(90)
        self.cluster.wait_until_replicas_online(60)

    def settle_open_slots(self):
        """What an operator does after a move that broke off."""

        def settled():
            address = self.cluster.servers[0].address
            if "[OK] All 16384 slots covered" in (output := redis_cli("--cluster", "check", address, check=False)) and not any(
                word in output for word in ("[ERR]", "[WARNING]")
            ):
                return True
            redis_cli("--cluster", "fix", address, "--cluster-replace", check=False, input="yes\n", timeout_s=60)
            return False

        eventually(settled, 90, "redis-cli --cluster fix settles the open slots", interval_s=0.5)

    def excuses(self, r):
        after = owners(self.cluster)
        before_shards = {id: epoch for id, epoch in filter(None, r.before)}
        after_shards = {id: epoch for id, epoch in filter(None, after)}
        replaced = {slot for slot in range(SLOTS) if r.before[slot] != after[slot]}
        if not r.moved_slots:
            if replaced:
                self.totals["failovers"] += 1
                return [Excuse(replaced, "the owner was replaced", r.began)]
            return []
        # Moved slots change their owner, and owners of moved slots their epoch, without any failover.
        if before_shards.keys() == after_shards.keys():
            return []
        self.totals["failovers"] += 1
        return [Excuse(replaced, "the owner was replaced", r.began), Excuse(r.moved_slots, "moved", r.began, whole_keys=True)]

    def compare_copies(self):
        """Primary and replica of each shard at the same offset hold the same; all ballast is there, once."""
        found = set()
        for replica, primary in self.roles().items():
            if primary is None:
                continue

            def same():
                a, b = primary.info("replication"), replica.info("replication")
                return all(a[f] == b[f] for f in ("master_replid", "master_repl_offset"))

            eventually(same, 30, f"{replica} is where {primary} is")
            contents = [contents_of(server) for server in (primary, replica)]
            if contents[0] != contents[1]:
                differ = [key for key in contents[0].keys() | contents[1].keys() if contents[0].get(key) != contents[1].get(key)]
                raise AssertionError(f"{primary} and {replica} differ in {len(differ)} keys, such as {sorted(differ)[:5]}")
            for key, content in contents[0].items():
                if key.startswith(b"ballast:"):
                    assert key not in found, f"{key} in two shards"
                    equal(content, (BALLAST_BYTES, key.rjust(20)), f"{key}")
                    found.add(key)
        equal(len(found), self.options.ballast, "keys written before all faults that are still there")

    def round(self, number, function):
        before = self.recorder.acknowledged()
        eventually(lambda: self.recorder.acknowledged() > before + 50, 60, "writes flow")
        r = Round(self, number, function)
        try:
            function(r)
            self.heal(r)
            before = self.recorder.acknowledged()
            eventually(lambda: self.recorder.acknowledged() > before + 50, 60, "writes flow again")
            self.recorder.pause()
            verdict = self.recorder.verify(self.excuses(r))
            self.compare_copies()
            assert not verdict.violations, "\n  ".join([f"{len(verdict.violations)} promises broken:", *verdict.violations[:12]])
        except BaseException:
            print(f"  round {number} {function.__name__} (seed {self.seed}) failed; it did: " + "; ".join(r.actions), flush=True)
            raise
        for name in ("excused", "excused_reads", "writes"):
            self.totals[name] += getattr(verdict, name)
        seconds = time.monotonic() - r.began
        print(
            f"  round {number} {function.__name__}: {verdict.writes} writes, {verdict.excused} lost and "
            f"{verdict.excused_reads} stale reads as the rules allow ({seconds:.1f} s)", flush=True,
        )  # fmt: skip
        self.recorder.resume()

    def end(self):
        self.recorder.stop()
        for server in self.cluster.servers:
            server.kill()


def ballast(number):
    key = f"ballast:{number}"
    return key_slot(key), ("SET", key, key.rjust(20).rjust(BALLAST_BYTES, "x"))




def contents_of(server):
    """Every key with enough of its content to tell copies apart; ballast by its length and end."""
    with server.client() as client:
        client.ok("READONLY")
        keys, cursor = set(), b"0"
        while True:
            cursor, some = client.ok("SCAN", cursor, "COUNT", 1000)
            keys.update(some)
            if cursor == b"0":
                break
        contents = {}
        plain = sorted(key for key in keys if key.startswith(b"ballast:"))
        replies = iter(client.pipeline([word for k in plain for word in (("STRLEN", k), ("GETRANGE", k, -20, -1))]))
        for key in plain:
            contents[key] = (next(replies), next(replies))
        rest = sorted(keys - set(plain))
        reads = [("GET", k) if k.startswith(b"register:") else ("LRANGE", k, 0, -1) for k in rest]
        for key, reply in zip(rest, client.pipeline(reads)):
            assert not isinstance(reply, Error), f"{server} {key}: {reply}"
            contents[key] = tuple(reply) if isinstance(reply, list) else reply
        return contents


# What CI has time for: the kinds that differ most.
SHORT = (
    primary_killed_for_long, primary_and_replica_killed, killed_during_aof_rewrite, primary_killed_during_full_sync,
    reshard_and_target_killed, killed_during_failover_by_hand, primary_frozen_longer_than_the_node_timeout,
)  # fmt: skip


@case
def rounds(options):
    functions = [f for f in FAULTS if not options.only or options.only in f.__name__]
    assert functions, f"no fault named {options.only}"
    chance = random.Random(options.seed)
    if options.rounds:
        plan = [chance.choice(functions) for _ in range(options.rounds)]
    else:
        plan = [f for f in SHORT if f in functions]
    test = Test(options)
    test.build()
    failed = []
    for number, function in enumerate(plan):
        try:
            test.round(number, function)
        except Exception as error:
            if not options.keep_going:
                raise
            failed.append(f"round {number} {function.__name__}: {error}")
            print(f"  FAILED {failed[-1][:3000]}", flush=True)
            logs = [f"{s} of {s.directory}" for s in test.cluster.servers]
            keep = f"/tmp/process-faults-{options.seed}-{number}"
            os.makedirs(keep, exist_ok=True)
            for server in test.cluster.servers:
                shutil.copy(server.log_path, keep)
            print(f"  logs in {keep}: {logs}", flush=True)
            test.end()
            test.build()
    print(f"  {len(plan)} rounds: {test.totals}; clients: {test.recorder.counts()}")
    test.end()
    assert not failed, "\n".join(failed)


if __name__ == "__main__":
    main(parser)
