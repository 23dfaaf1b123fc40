#!/usr/bin/env python3
"""conf/create-cluster, which one-shot containers run: it makes a cluster once, goes on where it was interrupted, and keeps off
clusters that are made or others'."""

import os
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import Cluster, node_id, nodes_seen_by
from support.process import run, temporary_directory
from support.scenario import ROOT, case, contains, equal, main
from support.wait import eventually

CREATE = os.path.join(ROOT, "conf/create-cluster")
# What the creator of six nodes tells them: 6 epochs, 5 introductions, 3 replicas, 3 ranges of slots.
STEPS = 17
NODE_TIMEOUT_MS = 6000  # no failure needs to be noticed, and none may seem so; but who pings seldom learns slowly

# In the place of redis-cli: ends the creator as a kill -9 would, once it has given so many orders.
INTERRUPTING_CLI = """#!/bin/bash
case "$*" in *set-config-epoch*|*meet*|*replicate*|*addslotsrange*)
  echo >> "$ORDERS"
  if [ "$(wc -l < "$ORDERS")" -gt "$ORDERS_MAX" ]; then
    creator=$(ps -o sid= $$ | tr -d ' ')
    kill -9 "$creator"  # before this order fails, or it would end by itself
    pkill -9 -s "$creator"
  fi ;;
esac
exec redis-cli "$@"
"""


def create(servers, orders_max=None):
    """The creator's exit status and output. With `orders_max`, it is killed when it gives one order more."""
    environment = dict(os.environ, TESSERA_CREATE_TIMEOUT="120")
    if orders_max is not None:
        folder = temporary_directory()
        shim = os.path.join(folder, "redis-cli")
        with open(shim, "w") as file:
            file.write(INTERRUPTING_CLI.replace("exec redis-cli", f"exec {shutil.which('redis-cli')}"))
        os.chmod(shim, stat.S_IRWXU)
        open(os.path.join(folder, "orders"), "w").close()
        environment |= {"PATH": f"{folder}:{os.environ['PATH']}", "ORDERS": os.path.join(folder, "orders"), "ORDERS_MAX": str(orders_max)}
    done = subprocess.run(
        [CREATE, *(f"127.0.0.1:{server.port}" for server in servers)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, timeout=400,
    )  # fmt: skip
    return done.returncode, done.stdout


def shape(server):
    """Who is what: sorted (port, slots, replica of port)."""
    nodes = nodes_seen_by(server)
    ports = {node.id: node.port for node in nodes.values()}
    return sorted((node.port, node.range_text(), ports.get(node.primary_id)) for node in nodes.values())


def expected(servers):
    ports = [server.port for server in servers]
    ranges = ("0-5460", "5461-10922", "10923-16383")
    return sorted([(p, r, None) for p, r in zip(ports, ranges)] + [(p, "", q) for p, q in zip(ports[3:], ports)])


@case
def interrupted_anywhere_and_run_again(options):
    for orders in (3, 8, 11, 13, 15, STEPS):
        cluster = Cluster(options.server, node_timeout_ms=NODE_TIMEOUT_MS)
        code, output = create(cluster.servers, orders)
        equal(code, 0 if orders >= STEPS else -9, output)
        code, output = create(cluster.servers)
        equal(code, 0, f"after {orders} orders:\n{output}")
        for server in cluster.servers:
            equal(shape(server), expected(cluster.servers), f"after {orders} orders")
        for server in cluster.servers:
            server.kill()


@case
def a_cluster_that_is_made_is_left_alone(options):
    cluster = Cluster(options.server, node_timeout_ms=NODE_TIMEOUT_MS)
    equal(create(cluster.servers)[0], 0)
    # An operator's doings since: a fail-over and one node more.
    first, replica = cluster.servers[0], cluster.servers[3]
    cluster.wait_until_replicas_online()  # a first image may take longer than a failover by hand waits for
    replica.call("CLUSTER", "FAILOVER")
    eventually(lambda: (first.port, "", replica.port) in shape(first), 60, "handed over")
    seventh = cluster.add_server(options.server)
    first.call("CLUSTER", "MEET", "127.0.0.1", seventh.port)
    for server in cluster.servers:
        eventually(lambda: len(nodes_seen_by(server)) == 7 and (first.port, "", replica.port) in shape(server), 60, "all know")
    before = shape(first)
    code, output = create(cluster.servers[:6])
    equal(code, 0, output)
    contains(output, "a cluster already")
    equal(shape(first), before)
    # One of them leaves.
    left = cluster.servers[5]
    run(["redis-cli", "--cluster", "del-node", f"127.0.0.1:{first.port}", node_id(left)])
    eventually(lambda: len(nodes_seen_by(first)) == 6, 60, "it is gone")
    before = shape(first)
    code, output = create(cluster.servers[:6])
    equal(code, 0, output)
    contains(output, f"127.0.0.1:{left.port} is not in the cluster")
    equal(shape(first), before)
    equal(len(nodes_seen_by(left)), 1)


@case
def another_cluster_is_not_swallowed(options):
    cluster = Cluster(options.server, nodes=7, node_timeout_ms=NODE_TIMEOUT_MS)
    ours, other = cluster.servers[:6], cluster.servers[5:]
    other[1].call("CLUSTER", "MEET", "127.0.0.1", other[0].port)
    met = sorted(server.port for server in other)
    for server in other:
        eventually(lambda: sorted(node.port for node in nodes_seen_by(server).values() if "handshake" not in node.flags) == met, 60, "met")
    code, output = create(ours)
    equal(code, 1, output)
    contains(output, "which is none of these nodes")
    equal([len(nodes_seen_by(server)) for server in ours], [1] * 5 + [2])


if __name__ == "__main__":
    main()
