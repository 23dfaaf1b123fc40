"""Rounds of faults on a cluster under load: break something, heal it, hold what clients were promised against what is there.

A scenario gives a catalogue of functions `fault(round)`. Each round runs one, heals, waits until all nodes agree and replicas are
in step, and verifies: every promise of the clients' history (support/history.py), primaries against their replicas key by key, and
keys written before all faults. Loss is excused only in slots whose owner was replaced in that round without being asked, of writes
acknowledged since the round began, when replicas had all that was acknowledged before; and for whole keys only in slots that were
being moved while a shard failed over. Without a failover nothing may be lost.
"""

import argparse
import os
import random
import shutil
import threading
import time

from .cluster import Cluster, info_of, nodes_seen_by, redis_cli, signature
from .history import Excuse, Recorder
from .resp import Error, ReplyError
from .scenario import equal
from .slots import SLOTS, key_slot
from .wait import TimedOut, eventually

BALLAST_BYTES = 10_000


def parser(description, node_timeout_ms, ballast):
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--rounds", type=int, default=0, help="random rounds (default: those that CI has time for)")
    result.add_argument("--seed", type=int, default=1)
    result.add_argument("--only", help="only faults whose name contains this")
    result.add_argument("--node-timeout-ms", type=int, default=node_timeout_ms)
    result.add_argument("--ballast", type=int, default=ballast, help="keys of 10 kB, so that saving and synchronising take a while")
    result.add_argument("--keep-going", metavar="FOLDER", help="after a failed round keep the logs there and build a new cluster")
    return result


class Round:
    """One round: what it did, to whom, and what that excuses."""

    def __init__(self, harness, number):
        self.harness, self.cluster, self.ids = harness, harness.cluster, harness.ids
        self.chance = random.Random(f"{harness.options.seed}:{number}")
        self.timeout_s = harness.cluster.node_timeout_ms / 1000
        self.actions = []
        self.moved_slots = set()
        self.nothing_may_be_lost = False  # whatever happens: no failover is called for
        self.threads = []
        self.began = time.monotonic()
        self.cluster.wait_until_replicas_have_all(90)
        # A machine that lets a process wait longer than the node timeout makes failovers that no fault called for: between the
        # last verification and this moment too.
        self.before = harness.owners_verified
        self.excused_since = self.began if owners(self.cluster) == self.before else 0.0

    def say(self, text):
        self.actions.append(f"{time.monotonic() - self.began:.2f} {text}")

    def sleep(self, least_s, most_s):
        """The moment of the next fault: chance, not a wait for something."""
        time.sleep(self.chance.uniform(least_s, most_s))

    def some(self, servers):
        return self.chance.choice(sorted(servers, key=lambda server: server.port))

    def primaries(self):
        """In an order of the seed's choice."""
        found = sorted((s for s, primary in self.harness.roles().items() if primary is None), key=lambda s: s.port)
        self.chance.shuffle(found)
        return found

    def replica_of(self, primary):
        return next(server for server, of in self.harness.roles().items() if of is primary)

    def ask(self, server, *command):
        """A command whose reply may well not come; other threads go on meanwhile."""
        self.say(f"{server} {' '.join(map(str, command))}")

        def run():
            try:
                with server.client(timeout_s=10) as client:
                    client(*command)
            except Exception:
                pass

        self.background(run)

    def background(self, run):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)

    def wait_for_heir(self, *lost, witness=None):
        """Somebody takes over all slots of these primaries, within the time that detection and election may take."""
        ids = {self.ids[server] for server in lost}

        def taken():
            alive = witness or next(s for s in self.cluster.servers if s.running() and self.ids[s] not in ids)
            nodes = nodes_seen_by(alive)
            return not any(nodes[id].ranges for id in ids)

        eventually(taken, 30 + 10 * self.timeout_s, f"somebody takes over from {[str(server) for server in lost]}")
        self.say("an heir")


class Harness:
    """`undo()` ends the faults of a round: starts and thaws processes, heals the network."""

    def __init__(self, options, undo, hosts=None):
        self.options, self.undo, self.hosts = options, undo, hosts
        self.totals = {"excused": 0, "excused_reads": 0, "writes": 0, "failovers": 0}
        self.build()

    def build(self):
        self.cluster = Cluster(
            self.options.server, 6, self.options.node_timeout_ms, first_port=7001 if self.hosts else None, hosts=self.hosts,
            repl_diskless_sync_delay=0, appendfsync="everysec",
        )  # fmt: skip
        self.cluster.create(replicas=1)
        self.cluster.wait_until_replicas_online()
        by_port = {server.port: server for server in self.cluster.servers}
        self.ids = {by_port[node.port]: id for id, node in self.cluster.nodes().items()}
        self.recorder = Recorder([(s.host, s.port) for s in self.cluster.servers], seed=self.options.seed)
        for number in range(self.options.ballast):
            key = f"ballast:{number}"
            replies, _ = self.recorder.reader.request(key_slot(key), ("SET", key, key.rjust(20).rjust(BALLAST_BYTES, "x")), attempts=50)
            equal(replies, [b"OK"])
        self.owners_verified = owners(self.cluster)
        self.recorder.start()

    def end(self):
        self.recorder.stop()
        for server in self.cluster.servers:
            server.kill()

    def roles(self):
        """{server: the server it replicates, None for a primary}."""
        servers = {id: server for server, id in self.ids.items()}
        nodes = self.cluster.nodes()
        return {server: None if nodes[id].is_primary else servers[nodes[id].primary_id] for server, id in self.ids.items()}

    def run(self, catalogue, short):
        """The rounds that the options ask for: drawn from the catalogue, or those of the short form."""
        options = self.options
        functions = [f for f in catalogue if not options.only or options.only in f.__name__]
        assert functions, f"no fault named {options.only}"
        chance = random.Random(options.seed)
        plan = [chance.choice(functions) for _ in range(options.rounds)] or [f for f in short if f in functions]
        failed = []
        for number, function in enumerate(plan):
            try:
                self.round(number, function)
            except Exception as error:
                if not options.keep_going:
                    raise
                failed.append(f"round {number} {function.__name__}: {error}")
                print(f"  FAILED {failed[-1][:3000]}", flush=True)
                folder = os.path.join(options.keep_going, f"{options.seed}-{number}")
                os.makedirs(folder, exist_ok=True)
                for server in self.cluster.servers:
                    shutil.copy(server.log_path, folder)
                self.undo()
                self.end()
                self.build()
        print(f"  {len(plan)} rounds: {self.totals}; clients: {self.recorder.counts()}")
        self.end()
        assert not failed, "\n".join(failed)

    def wait_for_writes(self, what):
        before = self.recorder.acknowledged()
        eventually(lambda: self.recorder.acknowledged() > before + 50, 60, what)

    def round(self, number, function):
        self.wait_for_writes("writes flow")
        self.cluster.wait_until_agreed(90)
        r = Round(self, number)
        try:
            function(r)
            self.heal(r)
            self.wait_for_writes("writes flow again")
            self.recorder.pause()
            self.cluster.wait_until_replicas_have_all(90)  # from here on no failover loses anything
            verdict = self.recorder.verify(self.excuses(r))
            self.compare_copies(r)
            assert not verdict.violations, "\n  ".join([f"{len(verdict.violations)} promises broken:", *verdict.violations[:12]])
        except BaseException:
            actions = "; ".join(r.actions)
            print(f"  round {number} {function.__name__} (seed {self.options.seed}) failed; it did: {actions}", flush=True)
            raise
        for name in ("excused", "excused_reads", "writes"):
            self.totals[name] += getattr(verdict, name)
        print(
            f"  round {number} {function.__name__}: {verdict.writes} writes, {verdict.excused} lost and {verdict.excused_reads} "
            f"stale reads as the rules allow ({time.monotonic() - r.began:.1f} s)", flush=True,
        )  # fmt: skip
        # A node that failed over while it got slots from another may be left with those, or follow the other: as in Redis, and
        # for an operator to change.
        roles = self.roles()
        if any(sum(of is primary for of in roles.values()) != 1 for primary in roles if roles[primary] is None):
            print("  the shards have other nodes now; starting anew", flush=True)
            self.end()
            self.build()
        else:
            self.recorder.resume()

    def heal(self, r):
        self.undo()
        for thread in r.threads:
            thread.join(120)
            assert not thread.is_alive(), "a command hangs although everything is well"
        if r.moved_slots:
            self.settle_open_slots()
        self.cluster.wait_until_agreed(90)
        self.cluster.wait_until_replicas_online(90)

    def settle_open_slots(self):
        """What an operator does after a move that broke off, once the cluster is well otherwise: a fix of a cluster in the midst
        of a failover would hand out the slots of the dead."""

        def well():
            servers = self.cluster.servers
            return all(info_of(s)["cluster_state"] == "ok" for s in servers) and len({signature(s)[0] for s in servers}) == 1

        eventually(well, 90, "all agree but for the slots that were being moved", interval_s=0.2, ignore=(OSError, ReplyError))
        address = self.cluster.servers[0].address

        outputs = []

        def settled():
            outputs.append(redis_cli("--cluster", "check", address, check=False))
            if "[OK] All 16384 slots covered" in outputs[-1] and "[ERR]" not in outputs[-1] and "[WARNING]" not in outputs[-1]:
                return True
            outputs.append(redis_cli("--cluster", "fix", address, "--cluster-replace", "--cluster-yes", check=False, timeout_s=120))
            return False

        try:
            eventually(settled, 180, "redis-cli --cluster fix settles the open slots", interval_s=0.5)
        except TimedOut as error:
            raise TimedOut("\n".join([str(error), *(output[:3000] for output in outputs[:2] + outputs[-2:])])) from error

    def excuses(self, r):
        after = self.owners_verified = owners(self.cluster)
        if r.nothing_may_be_lost:
            return []
        replaced = {slot for slot in range(SLOTS) if r.before[slot] != after[slot]}
        if r.moved_slots and {owner for owner, _ in r.before} == {owner for owner, _ in after}:
            return []  # moved slots change their owner, and owners of moved slots their epoch, without any failover
        if not replaced:
            return []
        self.totals["failovers"] += 1
        return [Excuse(replaced, "the owner was replaced", r.excused_since), Excuse(r.moved_slots, "moved", r.excused_since, whole_keys=True)]

    def compare_copies(self, r):
        """Primary and replicas of each shard at the same offset hold the same; all ballast is there, once."""
        found, contents, roles = set(), {}, self.roles()
        for primary in (server for server, of in roles.items() if of is None):
            contents[primary] = contents_of(primary, strays_allowed=bool(r.moved_slots))
            for key, content in contents[primary].items():
                if key.startswith(b"ballast:"):
                    assert key not in found, f"{key} in two shards"
                    equal(content, (BALLAST_BYTES, key.rjust(20)), f"{key}")
                    found.add(key)
        equal(len(found), self.options.ballast, "keys written before all faults that are still there")
        for replica, primary in ((server, of) for server, of in roles.items() if of is not None):

            def same():
                a, b = primary.info("replication"), replica.info("replication")
                return all(a[f] == b[f] for f in ("master_replid", "master_repl_offset"))

            eventually(same, 60, f"{replica} is where {primary} is")
            first, second = contents[primary], contents_of(replica, strays_allowed=bool(r.moved_slots))
            differ = [key for key in first.keys() | second.keys() if first.get(key) != second.get(key)]
            assert not differ, f"{primary} and {replica} differ in {len(differ)} keys, such as {sorted(differ)[:5]}"


def owners(cluster):
    """(owner's id, its config epoch) of every slot."""
    table = [None] * SLOTS
    for node in cluster.nodes().values():
        for first, last in node.ranges:
            table[first : last + 1] = [(node.id, node.config_epoch)] * (last - first + 1)
    assert all(table), "slots without an owner"
    return table


def contents_of(server, strays_allowed):
    """Every key with enough of its content to tell copies apart; ballast by its length and end.

    Strays lie in slots of others. A replica has them that takes over from a primary in the midst of getting a slot, as in Redis."""
    with server.client() as client:
        client.ok("READONLY")
        keys, cursor = set(), None
        while cursor != b"0":
            cursor, some = client.ok("SCAN", cursor or 0, "COUNT", 1000)
            keys.update(some)
        ballast = sorted(key for key in keys if key.startswith(b"ballast:"))
        replies = client.pipeline([word for key in ballast for word in (("STRLEN", key), ("GETRANGE", key, -20, -1))])
        found = list(zip(ballast, zip(replies[::2], replies[1::2])))
        rest = sorted(keys - set(ballast))
        reads = [("LRANGE", key, 0, -1) if key.startswith(b"log:") else ("GET", key) for key in rest]
        found += [(key, tuple(r) if isinstance(r, list) else (r,)) for key, r in zip(rest, client.pipeline(reads))]
        contents = {}
        for key, content in found:
            error = next((part for part in content if isinstance(part, Error)), None)
            if error is None:
                contents[key] = content
            else:
                assert strays_allowed and error.code == "MOVED", f"{server} {key}: {error}"
        return contents
