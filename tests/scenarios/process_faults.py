#!/usr/bin/env python3
"""Processes of a cluster are killed (-9) and frozen (SIGSTOP) under load, round after round, at the worst moments.

What is verified after each round, and which loss the rules of Redis excuse, is told in support/fault_rounds.py.

    process_faults.py --rounds 300 --seed 7        # hundreds, by hand
    process_faults.py --rounds 50 --only reshard   # one kind
"""

import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.fault_rounds import Harness, parser
from support.resp import ReplyError
from support.scenario import case, main
from support.wait import TimedOut, eventually

FAULTS = []


def fault(function):
    FAULTS.append(function)
    return function


def kill(r, *servers):
    for server in servers:
        r.say(f"kill {server}")
        server.kill()


def freeze(r, *servers):
    for server in servers:
        r.say(f"freeze {server}")
        server.stop()


def thaw(r, *servers):
    for server in servers:
        r.say(f"thaw {server}")
        server.cont()


def launch(r, *servers):
    for server in servers:
        r.say(f"start {server}")
        server.launch()


# ---- the catalogue ----


@fault
def primary_killed_and_back_at_once(r):
    victim = r.some(r.primaries())
    kill(r, victim)
    r.sleep(0, 0.3 * r.timeout_s)
    launch(r, victim)


@fault
def primary_killed_for_long(r):
    victim = r.some(r.primaries())
    kill(r, victim)
    r.wait_for_heir(victim)
    r.sleep(0, 1)


@fault
def primary_killed_comes_back_amid_the_election(r):
    victim = r.some(r.primaries())
    kill(r, victim)
    r.sleep(0.9 * r.timeout_s, 2 * r.timeout_s + 0.5)
    launch(r, victim)


@fault
def replica_killed(r):
    victim = r.replica_of(r.some(r.primaries()))
    kill(r, victim)
    r.sleep(0, 2 * r.timeout_s)
    launch(r, victim)
    r.sleep(0, 0.3)
    kill(r, victim)  # perhaps while it loads or synchronises


@fault
def primary_and_replica_killed(r):
    primary = r.some(r.primaries())
    both = [primary, r.replica_of(primary)]
    r.chance.shuffle(both)
    kill(r, both[0])
    r.sleep(0, 0.05)
    kill(r, both[1])
    r.sleep(0, 2.5 * r.timeout_s)
    r.chance.shuffle(both)
    launch(r, both[0])
    r.sleep(0, 2 * r.timeout_s)


@fault
def heir_killed_too(r):
    primary = r.some(r.primaries())
    replica = r.replica_of(primary)
    kill(r, primary)
    r.wait_for_heir(primary)
    launch(r, primary)
    r.sleep(0, 1)
    kill(r, replica)
    r.sleep(0, 3 * r.timeout_s)


@fault
def two_primaries_killed(r):
    victims = r.primaries()
    kill(r, *victims[:2])
    r.sleep(0, 2 * r.timeout_s)


@fault
def all_killed(r):
    servers = list(r.cluster.servers)
    r.chance.shuffle(servers)
    for server in servers:
        kill(r, server)
        r.sleep(0, 0.02)
    r.chance.shuffle(servers)
    for server in servers:
        launch(r, server)
        r.sleep(0, 0.3)


@fault
def killed_during_rdb_save(r):
    primary = r.some(r.primaries())
    victim = r.some([primary, r.replica_of(primary)])
    r.ask(victim, "BGSAVE")
    r.sleep(0, 0.15)
    kill(r, victim)
    r.sleep(0, 2 * r.timeout_s)


@fault
def killed_during_aof_rewrite(r):
    primary = r.some(r.primaries())
    victim = r.some([primary, r.replica_of(primary)])
    r.ask(victim, "BGREWRITEAOF")
    r.sleep(0, 0.15)
    kill(r, victim)
    r.sleep(0, 0.3 * r.timeout_s)
    launch(r, victim)
    r.sleep(0, 0.1)
    kill(r, victim)


def synchronise_fully(r, primary):
    """The replica comes back without its data: all of it has to be sent."""
    replica = r.replica_of(primary)
    kill(r, replica)
    shutil.rmtree(replica.path("appendonlydir"))
    for name in os.listdir(replica.directory):
        if name.endswith(".rdb"):
            os.remove(replica.path(name))
    launch(r, replica)
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
    kill(r, primary)
    r.sleep(0, 3 * r.timeout_s)
    launch(r, primary)
    r.sleep(0, 0.3)


@fault
def replica_killed_during_full_sync(r):
    primary = r.some(r.primaries())
    replica = synchronise_fully(r, primary)
    r.sleep(0, 0.2)
    kill(r, replica)
    launch(r, replica)
    r.sleep(0, 0.5)
    kill(r, r.some([primary, replica]))
    r.sleep(0, 0.5 * r.timeout_s)


@fault
def primary_frozen_during_full_sync(r):
    primary = r.some(r.primaries())
    synchronise_fully(r, primary)
    r.sleep(0, 0.1)
    freeze(r, primary)
    r.sleep(0.5 * r.timeout_s, 2.5 * r.timeout_s)
    thaw(r, primary)


@fault
def killed_during_failover_by_hand(r):
    primary = r.some(r.primaries())
    replica = r.replica_of(primary)
    how = r.chance.choice([(), (), ("FORCE",), ("TAKEOVER",)])
    others = [server for server in r.cluster.servers if server not in (primary, replica)]
    r.ask(replica, "CLUSTER", "FAILOVER", *how)
    r.sleep(0, 0.25)
    kill(r, r.chance.choice([primary, replica, r.some(others)]))
    r.sleep(0, 2 * r.timeout_s)


@fault
def replica_killed_while_it_is_elected(r):
    primary = r.some(r.primaries())
    replica = r.replica_of(primary)
    kill(r, primary)
    r.sleep(r.timeout_s + 0.3, r.timeout_s + 2)
    kill(r, replica)
    r.sleep(0, 1)
    launch(r, replica)
    r.sleep(0, r.timeout_s)


@fault
def voter_killed_during_election(r):
    victim, voter, _ = r.primaries()
    kill(r, victim)
    r.sleep(r.timeout_s, r.timeout_s + 1.5)
    kill(r, voter)
    r.sleep(0, 1)
    launch(r, voter)
    r.sleep(0, 2 * r.timeout_s)


@fault
def primary_frozen_longer_than_the_node_timeout(r):
    victim = r.some(r.primaries())
    freeze(r, victim)
    r.wait_for_heir(victim)
    r.sleep(0, 1)
    thaw(r, victim)


@fault
def primary_frozen_about_the_node_timeout(r):
    victim = r.some(r.primaries())
    freeze(r, victim)
    r.sleep(0.5 * r.timeout_s, 2.5 * r.timeout_s)
    thaw(r, victim)


@fault
def replica_frozen_then_its_primary_killed(r):
    primary = r.some(r.primaries())
    replica = r.replica_of(primary)
    freeze(r, replica)
    r.sleep(0.5 * r.timeout_s, 2 * r.timeout_s)
    kill(r, primary)
    r.sleep(0, 0.2)
    thaw(r, replica)
    r.sleep(0, 3 * r.timeout_s)


@fault
def two_primaries_frozen(r):
    victims = r.primaries()
    freeze(r, *victims[:2])
    r.sleep(0.5 * r.timeout_s, 3 * r.timeout_s)
    thaw(r, *victims[:2])


@fault
def all_frozen(r):
    freeze(r, *r.cluster.servers)
    r.sleep(0.5 * r.timeout_s, 3 * r.timeout_s)
    servers = list(r.cluster.servers)
    r.chance.shuffle(servers)
    for server in servers:
        thaw(r, server)
        r.sleep(0, 0.2)


def reshard(r, source, target):
    """Moves slots with keys that clients are busy with, as redis-cli does, in the background."""
    ids, nodes = r.ids, r.cluster.nodes()
    mine = set()
    for first, last in nodes[ids[source]].ranges:
        mine.update(range(first, last + 1))
    slots = [slot for slot in r.harness.recorder.busy_slots() if slot in mine]
    r.chance.shuffle(slots)
    slots = slots[:12] + r.chance.sample(sorted(mine - set(slots)), 20)
    r.moved_slots = set(slots)
    r.say(f"moves {len(slots)} slots from {source} to {target}")
    others = [server for server in r.primaries() if server not in (source, target)]

    def move():
        try:
            with source.client(timeout_s=5) as here, target.client(timeout_s=5) as there:
                for slot in slots:
                    there.ok("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
                    here.ok("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
                    while keys := here.ok("CLUSTER", "GETKEYSINSLOT", slot, 3):
                        here.ok("MIGRATE", target.host, target.port, "", 0, 3000, "KEYS", *keys)
                    for client in (there, here):
                        client.ok("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
                    for other in others:
                        other.call("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        except Exception as error:
            r.say(f"the move ends: {error!r:.80}")

    r.background(move)


@fault
def reshard_and_source_killed(r):
    source, target, _ = r.primaries()
    reshard(r, source, target)
    r.sleep(0, 0.4)
    kill(r, source)
    r.sleep(0, 3 * r.timeout_s)


@fault
def reshard_and_target_killed(r):
    source, target, _ = r.primaries()
    reshard(r, source, target)
    r.sleep(0, 0.4)
    kill(r, target)
    r.sleep(0, 3 * r.timeout_s)


@fault
def reshard_and_both_killed_and_back(r):
    source, target, _ = r.primaries()
    reshard(r, source, target)
    r.sleep(0, 0.4)
    kill(r, source, target)
    r.sleep(0, 0.3 * r.timeout_s)
    launch(r, source, target)


@fault
def reshard_and_one_frozen(r):
    source, target, _ = r.primaries()
    reshard(r, source, target)
    r.sleep(0, 0.3)
    victim = r.some([source, target])
    freeze(r, victim)
    r.sleep(0.5 * r.timeout_s, 2.5 * r.timeout_s)
    thaw(r, victim)


@fault
def anything(r):
    """Several faults of all kinds, one over the other."""
    for _ in range(r.chance.randint(2, 6)):
        server = r.some(r.cluster.servers)
        what = r.chance.choice(["kill", "kill", "start", "freeze", "thaw", "BGSAVE", "BGREWRITEAOF", "failover"])
        if what == "kill":
            kill(r, server)
        elif what == "freeze" and server.running():
            freeze(r, server)
        elif what == "failover" and server.running():
            r.ask(server, "CLUSTER", "FAILOVER", *r.chance.choice([(), ("FORCE",)]))
        elif what in ("BGSAVE", "BGREWRITEAOF") and server.running():
            r.ask(server, what)
        elif what == "thaw":
            thaw(r, server)
        elif not server.running():
            launch(r, server)
        r.sleep(0, 1.2 * r.timeout_s)


# What CI has time for: the kinds that differ most.
SHORT = (
    primary_killed_for_long, primary_and_replica_killed, killed_during_aof_rewrite, primary_killed_during_full_sync,
    reshard_and_target_killed, killed_during_failover_by_hand, primary_frozen_longer_than_the_node_timeout,
)  # fmt: skip


def all_run(harness):
    for server in harness.cluster.servers:
        server.cont()
        if not server.running():
            server.launch()
    for server in harness.cluster.servers:
        server.wait_until_ready(60)


@case
def rounds(options):
    harness = Harness(options, lambda: all_run(harness))
    harness.run(FAULTS, SHORT)


if __name__ == "__main__":
    main(parser(__doc__, node_timeout_ms=2500, ballast=1500))
