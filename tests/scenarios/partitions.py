#!/usr/bin/env python3
"""Partitions of every shape between nodes with addresses of their own, with writes going on, and their healing.

The nodes live in network namespaces (support/namespaces.py); the clients see all of them unless a shape says otherwise. A primary
that lost the majority must stop acknowledging within the node timeout, the majority must go on, and after healing all nodes must
agree and hold the same (support/fault_rounds.py).

    partitions.py --rounds 100 --seed 3            # at random, by hand
    partitions.py --rounds 10 --only one_way       # one kind
"""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import namespaces
from support.cluster import info_of, nodes_seen_by
from support.fault_rounds import Harness, parser
from support.resp import Client, Error
from support.scenario import case, main
from support.slots import key_slot
from support.wait import eventually

SHAPES = []


def shape(function):
    SHAPES.append(function)
    return function


class Probe:
    """Writes to one primary, and to nobody else, whatever the others say: when was its last acknowledgement?"""

    def __init__(self, r, server):
        self.server, self.acknowledged = server, []  # when those requests were sent that were acknowledged
        ranges = nodes_seen_by(server)[r.ids[server]].ranges  # the others may know less
        key = next(k for k in (f"probe:{n}" for n in range(10_000)) if any(a <= key_slot(k) <= b for a, b in ranges))
        self._stop = threading.Event()

        def run():
            number = 0
            while not self._stop.is_set():
                try:
                    with Client(server.port, host=server.host, timeout_s=1, connect_timeout_s=1) as client:
                        while not self._stop.wait(0.005):
                            sent, number = time.monotonic(), number + 1
                            if not isinstance(client("SET", key, number), Error):
                                self.acknowledged.append(sent)
                except OSError:
                    self._stop.wait(0.05)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        PROBES.append(self)
        eventually(lambda: self.acknowledged, 30, f"{server} acknowledges writes")

    def stop(self):
        self._stop.set()
        self._thread.join(30)


def hosts(*servers):
    return [NETWORK[server.host] for server in servers]


NETWORK = {}  # address: Host
PROBES = []  # of the round under way


class Cut:
    """What a shape does to the network, written down; and what must follow from it."""

    def __init__(self, r, network):
        self.r, self.network = r, network

    def __getattr__(self, fault):
        act = getattr(self.network, fault)

        def done(*arguments):
            self.r.say(f"{fault} {_told(arguments)}")
            act(*arguments)
            self.at = time.monotonic()

        return done

    def stops(self, *probes):
        """These primaries stop within the node timeout. No allowance: what counts is when an acknowledged request was sent."""
        for probe in probes:
            eventually(
                lambda: info_of(probe.server)["cluster_state"] == "fail" or not nodes_seen_by(probe.server)[self.r.ids[probe.server]].ranges,
                20 + 2 * self.r.timeout_s, f"{probe.server} refuses",
            )  # fmt: skip
            late = probe.acknowledged[-1] - self.at
            self.r.say(f"{probe.server} acknowledged for {late:.2f} s more")
            assert late <= self.r.timeout_s, f"{probe.server} acknowledged a write {late:.2f} s after it lost the majority"

    def goes_on(self, *probes):
        """These primaries acknowledge again, or still."""
        for probe in probes:
            now = time.monotonic()
            eventually(lambda: probe.acknowledged[-1] > now, 30 + 5 * self.r.timeout_s, f"{probe.server} acknowledges")


def _told(arguments):
    names = {host: address for address, host in NETWORK.items()}
    return str([[names.get(x, x) if not isinstance(x, tuple) else [names.get(y, y) for y in x] for x in a] if isinstance(a, list) else names.get(a, a) for a in arguments])  # fmt: skip


# ---- the shapes ----


@shape
def primary_alone(r, net):
    a, b, c = r.primaries()
    probes = [Probe(r, server) for server in (a, b, c)]
    rest = [s for s in r.cluster.servers if s is not a]
    net.split(hosts(a), hosts(*rest))
    net.stops(probes[0])
    r.wait_for_heir(a, witness=b)
    net.goes_on(*probes[1:], Probe(r, r.replica_of_before[a]))


@shape
def primary_alone_with_a_client(r, net):
    """Clients of the majority do not see it; its own does, here the test without a further connection."""
    a, b, _ = r.primaries()
    rest = [s for s in r.cluster.servers if s is not a]
    net.split(hosts(a), [*hosts(*rest), net.network.CLIENT])
    r.wait_for_heir(a, witness=b)
    net.goes_on(Probe(r, r.replica_of_before[a]))


@shape
def primary_and_its_replica(r, net):
    """Nobody is left to take over: the slots stay unserved."""
    r.nothing_may_be_lost = True
    a, b, c = r.primaries()
    probe = Probe(r, a)
    inside = [a, r.replica_of(a)]
    net.split(hosts(*inside), hosts(*[s for s in r.cluster.servers if s not in inside]))
    net.stops(probe)
    eventually(lambda: nodes_seen_by(b)[r.ids[a]].failed, 30, "the majority notices")


@shape
def primary_with_a_replica_of_another(r, net):
    a, b, _ = r.primaries()
    probe = Probe(r, a)
    inside = [a, r.replica_of(b)]
    net.split(hosts(*inside), hosts(*[s for s in r.cluster.servers if s not in inside]))
    net.stops(probe)
    r.wait_for_heir(a, witness=b)
    net.goes_on(Probe(r, b), Probe(r, r.replica_of_before[a]))


@shape
def two_against_one(r, net):
    """Three nodes each; the primaries decide which side goes on."""
    a, b, c = r.primaries()
    probe = Probe(r, c)
    side = [a, b, r.replica_of(c)]
    net.split(hosts(*side), hosts(*[s for s in r.cluster.servers if s not in side]))
    net.stops(probe)
    r.wait_for_heir(c, witness=a)
    net.goes_on(Probe(r, a), Probe(r, b), Probe(r, r.replica_of_before[c]))


@shape
def three_sides(r, net):
    """Nobody has a majority: all stop, and nobody takes over, not even when it heals."""
    r.nothing_may_be_lost = True
    primaries = r.primaries()
    probes = [Probe(r, server) for server in primaries]
    a, b, c = primaries
    net.split(hosts(a, r.replica_of(b)), hosts(b, r.replica_of(c)), hosts(c, r.replica_of(a)))
    net.stops(*probes)
    r.sleep(0, r.timeout_s)


@shape
def three_sides_that_join_again_one_by_one(r, net):
    a, b, c = r.primaries()
    probes = [Probe(r, server) for server in (a, b, c)]
    one, two, three = hosts(a, r.replica_of(b)), hosts(b, r.replica_of(c)), hosts(c, r.replica_of(a))
    net.split(one, two, three)
    net.stops(*probes)
    net.heal()
    net.split(one + two, three)
    r.wait_for_heir(c, witness=a)
    net.goes_on(*probes[:2])


@shape
def primaries_without_replicas(r, net):
    """All primaries on one side: they go on, the replicas stand by."""
    primaries = r.primaries()
    probes = [Probe(r, server) for server in primaries]
    replicas = [s for s in r.cluster.servers if s not in primaries]
    net.split(hosts(*primaries), hosts(*replicas))
    r.sleep(2 * r.timeout_s, 3 * r.timeout_s)
    net.goes_on(*probes)
    r.must_not_fail_over = True


@shape
def one_way_nobody_hears_the_primary(r, net):
    a, b, _ = r.primaries()
    probe = Probe(r, a)
    net.cut([(x, y) for x in hosts(a) for y in hosts(*r.cluster.servers) if x is not y])
    net.stops(probe)
    r.wait_for_heir(a, witness=b)


@shape
def one_way_the_primary_hears_nobody(r, net):
    a, b, _ = r.primaries()
    probe = Probe(r, a)
    net.cut([(y, x) for x in hosts(a) for y in hosts(*r.cluster.servers) if x is not y])
    net.stops(probe)
    r.wait_for_heir(a, witness=b)


@shape
def one_way_between_primaries(r, net):
    """The primary still hears the others and is heard by one of them: a majority, it goes on."""
    a, b, c = r.primaries()
    probe = Probe(r, a)
    net.cut([(x, y) for x in hosts(a) for y in hosts(b)])
    r.sleep(2 * r.timeout_s, 3 * r.timeout_s)
    net.goes_on(probe)
    r.must_not_fail_over = True


@shape
def two_primaries_apart(r, net):
    """Everybody else sees both: no majority suspects either."""
    a, b, c = r.primaries()
    probes = [Probe(r, server) for server in (a, b, c)]
    net.split(hosts(a), hosts(b))
    r.sleep(2 * r.timeout_s, 3 * r.timeout_s)
    net.goes_on(*probes)
    r.must_not_fail_over = True


@shape
def primary_apart_from_its_replica(r, net):
    a, *_ = r.primaries()
    probe = Probe(r, a)
    net.split(hosts(a), hosts(r.replica_of(a)))
    r.sleep(1.5 * r.timeout_s, 3 * r.timeout_s)
    net.goes_on(probe)
    r.must_not_fail_over = True


@shape
def replica_alone(r, net):
    a, *_ = r.primaries()
    probe = Probe(r, a)
    replica = r.replica_of(a)
    net.split(hosts(replica), hosts(*[s for s in r.cluster.servers if s is not replica]))
    r.sleep(1.5 * r.timeout_s, 3 * r.timeout_s)
    net.goes_on(probe)
    r.must_not_fail_over = True


@shape
def primary_refused(r, net):
    """Resets instead of silence."""
    a, b, _ = r.primaries()
    probe = Probe(r, a)
    for other in r.cluster.servers:
        if other is not a:
            net.refuse(*hosts(a), *hosts(other))
    net.stops(probe)
    r.wait_for_heir(a, witness=b)


@shape
def cable_pulled(r, net):
    a, b, _ = r.primaries()
    net.unplug(*hosts(a))
    r.wait_for_heir(a, witness=b)
    net.goes_on(Probe(r, r.replica_of_before[a]))


@shape
def packets_lost(r, net):
    probe = Probe(r, r.primaries()[0])
    net.lose(r.chance.randint(20, 150))
    r.sleep(3 * r.timeout_s, 5 * r.timeout_s)
    net.goes_on(probe)


@shape
def one_host_loses_many_packets(r, net):
    net.lose(r.chance.randint(200, 700), hosts(r.some(r.cluster.servers)))
    r.sleep(3 * r.timeout_s, 5 * r.timeout_s)


@shape
def far_away(r, net):
    """Round trips of a tenth of the node timeout: slow, and no reason to fail over."""
    a, *_ = r.primaries()
    probe = Probe(r, a)
    net.delay(*hosts(a), r.chance.randint(50, 150), r.chance.randint(0, 50))
    r.sleep(3 * r.timeout_s, 4 * r.timeout_s)
    net.goes_on(probe)


@shape
def far_away_and_lossy(r, net):
    for server in r.cluster.servers:
        net.delay(*hosts(server), r.chance.randint(0, 60), r.chance.randint(0, 30))
    net.lose(r.chance.randint(0, 50))
    r.sleep(3 * r.timeout_s, 5 * r.timeout_s)


@shape
def flapping(r, net):
    a, *_ = r.primaries()
    rest = hosts(*[s for s in r.cluster.servers if s is not a])
    for _ in range(r.chance.randint(3, 6)):
        net.split(hosts(a), rest)
        r.sleep(0.1, 1.4 * r.timeout_s)
        net.heal()
        r.sleep(0.05, 0.7 * r.timeout_s)


@shape
def during_failover_by_hand(r, net):
    a, *_ = r.primaries()
    replica = r.replica_of(a)
    r.ask(replica, "CLUSTER", "FAILOVER", *r.chance.choice([(), ("FORCE",)]))
    r.sleep(0, 0.15)
    alone = r.chance.choice([a, replica])
    net.split(hosts(alone), hosts(*[s for s in r.cluster.servers if s is not alone]))
    r.sleep(r.timeout_s, 3 * r.timeout_s)


@shape
def any_paths(r, net):
    """Any set of one-way cuts, one after another."""
    everybody = hosts(*r.cluster.servers)
    for _ in range(r.chance.randint(1, 3)):
        share = r.chance.choice([0.1, 0.3, 0.6])
        net.cut([(x, y) for x in everybody for y in everybody if x is not y and r.chance.random() < share])
        r.sleep(0.3 * r.timeout_s, 2 * r.timeout_s)
        if r.chance.random() < 0.5:
            net.heal()


# What CI has time for.
SHORT = (primary_alone, two_against_one, three_sides, one_way_nobody_hears_the_primary, two_primaries_apart, far_away_and_lossy)


@case
def rounds(options):
    with namespaces.Network(6) as network:
        NETWORK.update({host.address: host for host in network.hosts})

        def undo():
            network.heal()
            while PROBES:
                PROBES.pop().stop()

        harness = Harness(options, undo, hosts=network.hosts)

        def with_network(function):
            def run(r):
                r.must_not_fail_over = False
                r.replica_of_before = {primary: replica for replica, primary in harness.roles().items() if primary}
                function(r, Cut(r, network))
                if r.must_not_fail_over:
                    roles = {primary: replica for replica, primary in harness.roles().items() if primary}
                    assert roles == r.replica_of_before, "a failover without need"

            run.__name__ = function.__name__
            return run

        catalogue = {function: with_network(function) for function in SHAPES}
        harness.run(list(catalogue.values()), [catalogue[function] for function in SHORT])


if __name__ == "__main__":
    namespaces.enter()
    main(parser(__doc__, node_timeout_ms=3000, ballast=300))
