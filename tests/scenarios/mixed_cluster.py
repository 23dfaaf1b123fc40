#!/usr/bin/env python3
"""Three Tessera and three Redis nodes in one cluster, in every pairing of primary and replica.

Created with redis-cli, filled with every type, failed over by kill -9 and by CLUSTER FAILOVER (plain, FORCE, TAKEOVER) in both
directions, resharded in both directions under load, grown and shrunk, every node restarted. After each step `redis-cli --cluster
check` must be content, every key must be what it was, on its primary and on the replica, and no acknowledged write of a client that
goes on all the time may be gone. By default one layout, and of each kind of step some; `--long` takes all of them, `--layout all`
all four layouts, `--rounds N --seed S` adds random sequences of steps.
"""

import argparse
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import process
from support.all_types import commands_of_every_type, differences
from support.cluster import Cluster, node_id, nodes_seen_by, redis_cli
from support.cluster_client import Writer
from support.dataset import read_database
from support.resp import Client, Error, ReplyError
from support.scenario import Skip, case, equal, main
from support.slots import key_slot
from support.wait import eventually

NODE_TIMEOUT_MS = 5000
RESHARDED = 150  # slots at a time
# Kinds of (primary, replica) of the three shards: t is Tessera, r Redis.
LAYOUTS = {"a": ("tr", "rt", "tr"), "b": ("rt", "tr", "rt"), "c": ("tt", "tr", "rr"), "d": ("rr", "rt", "tt")}


def chosen_tags(each):
    """Hash tags of slots that a reshard moves first (the low end of each third), and some anywhere."""
    low = [f"t{i}" for i in range(3000) if key_slot(f"t{i}") % 5461 < RESHARDED * 2 // 3]
    return [tag for third in range(3) for tag in [t for t in low if key_slot(t) // 5461 == third][:each]] + [f"any{i}" for i in range(each)]


class Mixed:
    def __init__(self, options, layout):
        self.options = options
        self.kinds = {"t": options.server, "r": options.reference}
        self.pairs = LAYOUTS[layout]
        self.tags = chosen_tags(3 if options.long else 1)
        binaries = [self.kinds[pair[0]] for pair in self.pairs] + [self.kinds[pair[1]] for pair in self.pairs]
        self.cluster = Cluster(binaries, 6, NODE_TIMEOUT_MS, repl_diskless_sync_delay=0, repl_backlog_size="8mb", cluster_allow_replica_migration="no")
        self.expected = {}
        self.writer = None

    def say(self, text):
        print(f"    {text}", flush=True)

    def server(self, port):
        return next(server for server in self.cluster.servers if server.port == port)

    def shards(self):
        """[(primary, replica)] now."""
        nodes = self.cluster.nodes()
        return [
            (self.server(nodes[n.primary_id].port), self.server(n.port))
            for n in nodes.values() if n.primary_id in nodes and not n.failed and nodes[n.primary_id].ranges
        ]  # fmt: skip

    def primaries(self):
        return [self.server(n.port) for n in self.cluster.nodes().values() if n.is_primary and n.ranges and not n.failed]

    def create(self):
        self.cluster.create(replicas=1)
        self.cluster.wait_until_replicas_online()
        # redis-cli pairs at will.
        servers, ids = self.cluster.servers, [node_id(server) for server in self.cluster.servers]
        for place in range(3):
            if nodes_seen_by(servers[place + 3])[ids[place + 3]].primary_id != ids[place]:
                servers[place + 3].call("CLUSTER", "REPLICATE", ids[place])
        self.cluster.wait_until_agreed()
        self.cluster.wait_until_replicas_online()
        equal({(p.port, r.port) for p, r in self.shards()}, {(servers[i].port, servers[i + 3].port) for i in range(3)})

    def fill(self):
        owner = {}
        with self.cluster.servers[0].client() as client:
            for first, last, primary, *_ in client.ok("CLUSTER", "SLOTS"):
                owner.update({slot: primary[1] for slot in range(first, last + 1)})
        by_port = {}
        for tag in self.tags:
            for key, command in commands_of_every_type("{%s}" % tag):
                by_port.setdefault(owner[key_slot(key)], []).append(command)
        for port, commands in by_port.items():
            with Client(port, timeout_s=60) as client:
                for command, reply in zip(commands, client.pipeline(commands, window=200)):
                    assert not isinstance(reply, Error), (command[:4], reply)
        for primary in self.primaries():
            if self.kind(primary) == "Redis":
                primary.call("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)")
        self.expected = {}
        for primary in self.primaries():
            self.expected.update(self.read(primary))
        equal(len(self.expected) % len(self.tags), 0, "the same keys for each tag")
        self.writer = Writer([s.port for s in self.cluster.servers])
        # Some of them in slots that move.
        self.writer.keys = [f"writer:{i}" if i % 3 else f"writer:{i}{{{self.tags[i % len(self.tags)]}}}" for i in range(300)]
        self.writer.start()
        eventually(lambda: self.writer.writes > 300, 60, "the writer writes")

    def read(self, server):
        with server.client(timeout_s=60) as client:
            client.ok("READONLY")
            held = read_database(client)
        # MIGRATE carries the remaining life, as clocks may differ: each move shifts the moment by what it took.
        return {
            key: (value.carried, round(value.expires_at_ms / 60_000)) for key, value in held.items() if not key.startswith(b"writer:")
        }

    def check(self, what):
        """What must be true after each step."""
        self.cluster.wait_until_agreed(90)
        self.cluster.wait_until_replicas_online(90)
        self.cluster.check()
        lost = self.writer.verify()
        equal(lost, [], f"acknowledged writes lost by {what}")
        ignored = (OSError, ReplyError)
        held = {}
        for primary in self.primaries():
            held.update(self.read(primary))
        found = differences(held, self.expected)
        assert not found, f"after {what}: {found}"
        for primary, replica in self.shards():
            eventually(lambda: self.read(replica) == self.read(primary), 60, f"{replica} holds what {primary} holds after {what}", ignore=ignored)
        self.writer.resume()
        self.say(f"{what}: {self.picture()}; {self.writer.writes} writes so far")

    def picture(self):
        return ", ".join(sorted(f"{self.kind(p)}->{self.kind(r)}" for p, r in self.shards()))

    def kind(self, server):
        return "Redis" if server.binary == self.options.reference else "Tessera"

    def quiesce(self):
        """Nothing is on its way to a replica: from here on nothing that a client was promised may be lost."""
        self.writer._pause.set()
        self.writer._paused.clear()
        assert self.writer._paused.wait(120), "the writer hangs"
        for primary, replica in self.shards():
            eventually(
                lambda: replica.info("replication")["slave_repl_offset"] == primary.info("replication")["master_repl_offset"], 60, f"{replica} has all"
            )

    def role(self, server):
        return server.info("replication")["role"]

    # ---- steps

    def fail_over(self, replica, how):
        if how:
            self.quiesce()  # these two take over from whatever the replica happens to have
        replica.call("CLUSTER", "FAILOVER", *([how] if how else []))
        eventually(lambda: self.role(replica) == "master", 60, f"CLUSTER FAILOVER {how} to {replica}")
        self.check(f"CLUSTER FAILOVER {how or '(plain)'} to {self.kind(replica)}")

    def kill_primary(self, primary, replica):
        self.quiesce()
        primary.kill()
        eventually(lambda: self.role(replica) == "master", 60, f"{replica} takes over from the killed {primary}")
        primary.start()
        eventually(lambda: self.role(primary) == "slave", 60, f"{primary} comes back as a replica", ignore=(OSError, ReplyError, KeyError))
        self.check(f"kill -9 of {self.kind(primary)}, taken over by {self.kind(replica)}")

    def reshard(self, source, target, slots=RESHARDED):
        self.writer.resume()
        before = self.writer.writes
        redis_cli("--cluster", "reshard", source.address, "--cluster-from", node_id(source), "--cluster-to", node_id(target),
                  "--cluster-slots", slots, "--cluster-yes")  # fmt: skip
        assert self.writer.writes > before, "no load during the reshard"
        self.check(f"reshard of {slots} slots from {self.kind(source)} to {self.kind(target)}")

    def add_and_remove(self, kind):
        """An empty primary that gets slots and gives them back, and a replica more; then both leave. redis-cli carries functions from
        the member to the new one."""
        member = next((p for p in self.primaries() if p.binary != self.kinds[kind]), self.primaries()[0])
        fresh = self.cluster.add_server(self.kinds[kind])
        redis_cli("--cluster", "add-node", fresh.address, member.address)
        equal([l[1] for l in fresh.call("FUNCTION", "LIST")], [l[1] for l in member.call("FUNCTION", "LIST")], "function libraries")
        self.check(f"add-node of {self.kind(fresh)}")
        self.reshard(member, fresh)
        spare = self.cluster.add_server(self.kinds[kind])
        redis_cli("--cluster", "add-node", spare.address, member.address, "--cluster-slave", "--cluster-master-id", node_id(fresh))
        eventually(lambda: self.role(spare) == "slave" and spare.info("replication")["master_link_status"] == "up", 60)
        self.check(f"add-node of {self.kind(spare)} as a replica")
        redis_cli("--cluster", "del-node", member.address, node_id(spare))
        self.retire(spare)
        self.check(f"del-node of the replica {self.kind(spare)}")
        self.reshard(fresh, member)
        redis_cli("--cluster", "del-node", member.address, node_id(fresh))
        self.retire(fresh)
        self.check(f"del-node of {self.kind(fresh)}")

    def retire(self, server):
        server.kill()
        self.cluster.servers.remove(server)
        eventually(lambda: all(len(nodes_seen_by(s)) == len(self.cluster.servers) for s in self.cluster.running()), 60, "forgotten by all")

    def restart(self, server, how):
        """A short absence: whoever it was, it may stay so."""
        self.quiesce()
        # Redis keeps what comes during an fsync in its buffer for up to two seconds, which a kill may take.
        eventually(lambda: server.info("persistence").get("aof_buffer_length", "0") == "0", 60, f"{server} has written its log")
        server.terminate() if how == "SIGTERM" else server.kill()
        server.start()
        self.check(f"restart of {self.kind(server)} by {how}")

    def end(self):
        if self.writer:
            self.writer.stop()
            self.say(self.writer.report())


def all_steps(mixed):
    long = mixed.options.long
    pairs = sorted(mixed.shards(), key=lambda pair: mixed.cluster.servers.index(pair[0]))
    for (primary, replica), how in zip(pairs, ("", "FORCE", "TAKEOVER")):
        mixed.fail_over(replica, how)
        if long or not how:
            mixed.fail_over(primary, how)
    for kind in ("Redis", "Tessera"):
        pair = next((pair for pair in mixed.shards() if mixed.kind(pair[0]) == kind), None)
        if pair:
            mixed.kill_primary(*pair)
    if len({mixed.kind(primary) for primary in mixed.primaries()}) == 1:
        mixed.fail_over(next(r for p, r in mixed.shards() if mixed.kind(r) != mixed.kind(p)), "")
    first, *others = mixed.primaries()
    other = next(p for p in others if mixed.kind(p) != mixed.kind(first))
    mixed.reshard(first, other)
    mixed.reshard(other, first)
    for kind in "tr" if long else "t":
        mixed.add_and_remove(kind)
    for number, server in enumerate(mixed.cluster.servers if long else mixed.cluster.servers[1:3]):
        mixed.restart(server, ("SIGTERM", "SIGKILL")[number % 2])


@case
def every_step(options):
    for layout in LAYOUTS if options.layout == "all" else [options.layout]:
        print(f"  layout {layout}: {LAYOUTS[layout]}", flush=True)
        mixed = Mixed(options, layout)
        try:
            mixed.create()
            mixed.fill()
            mixed.check("create")
            all_steps(mixed)
        finally:
            mixed.end()
        process.end_all()


def random_steps(options, seed):
    chance = random.Random(seed)
    layout = chance.choice(sorted(LAYOUTS))
    print(f"  seed {seed}: layout {layout}", flush=True)
    mixed = Mixed(options, layout)
    try:
        mixed.create()
        mixed.fill()
        mixed.check("create")
        for _ in range(12):
            step = chance.choice(("failover", "failover", "kill", "kill", "reshard", "reshard", "restart", "add", "replicate"))
            primary, replica = chance.choice(sorted(mixed.shards(), key=lambda pair: pair[0].port))
            if step == "failover":
                mixed.fail_over(replica, chance.choice(("", "FORCE", "TAKEOVER")))
            elif step == "kill":
                mixed.kill_primary(primary, replica)
            elif step == "reshard":
                others = [p for p in mixed.primaries() if p is not primary]
                mixed.reshard(primary, chance.choice(others), chance.randrange(1, 400))
            elif step == "restart":
                mixed.restart(chance.choice(mixed.cluster.servers), chance.choice(("SIGTERM", "SIGKILL")))
            elif step == "add":
                mixed.add_and_remove(chance.choice("tr"))
            else:
                # Two replicas change places.
                other_primary, other_replica = chance.choice([pair for pair in mixed.shards() if pair[0] is not primary])
                replica.call("CLUSTER", "REPLICATE", node_id(other_primary))
                other_replica.call("CLUSTER", "REPLICATE", node_id(primary))
                eventually(lambda: {(primary.port, other_replica.port), (other_primary.port, replica.port)} <=
                           {(p.port, r.port) for p, r in mixed.shards()}, 60, "changed places", ignore=(OSError, ReplyError))  # fmt: skip
                mixed.check("CLUSTER REPLICATE, two replicas changing places")
    finally:
        mixed.end()


@case
def random_sequences(options):
    if not options.rounds:
        raise Skip("long form only: --rounds")
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    for number in range(options.rounds):
        random_steps(options, seed + number)
        process.end_all()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", choices=[*LAYOUTS, "all"], default="a")
    parser.add_argument("--long", action="store_true", help="all steps of each kind, with more data")
    parser.add_argument("--rounds", type=int, default=0, help="random sequences after the cases")
    parser.add_argument("--seed", type=int, help="of the first round")
    main(parser)
