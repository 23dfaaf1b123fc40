#!/usr/bin/env python3
"""Clients are told other addresses than peers: cluster-announce-client-ipv4, -ipv6, -port, by the family they came with."""

import argparse
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import Cluster, node_id, parse_nodes
from support.process import run
from support.scenario import Skip, case, contains, equal, main
from support.wait import eventually

parser = argparse.ArgumentParser(description=__doc__)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@case
def by_the_family_of_the_connection(options):
    if not has_ipv6():
        raise Skip("no IPv6 on this machine")
    cluster = Cluster(options.server, 3, node_timeout_ms=15000, bind=["127.0.0.1", "::1"])
    cluster.create(replicas=0)
    first, second, third = cluster.servers

    def ask(*command, host="127.0.0.1"):
        return run(["redis-cli", "-h", host, "-p", first.port, *command]).strip()

    equal(second.client()("CONFIG", "SET", "cluster-announce-client-ipv4", "banana").startswith(b"ERR"), True)
    second.call("CONFIG", "SET", "cluster-announce-client-ipv4", "203.0.113.7")
    second.call("CONFIG", "SET", "cluster-announce-client-ipv6", "2001:db8::7")
    second.call("CONFIG", "SET", "cluster-announce-client-port", "30001")

    def told(host, name):
        return f" {name}:30001@{second.port + 10000} " in ask("cluster", "nodes", host=host)

    eventually(lambda: told("127.0.0.1", "203.0.113.7"), 60, "the others have heard of it")
    equal(told("::1", "2001:db8::7"), True)
    # k4 is in slot 8455, the second node's; k1 in 12706, the third's, whose addresses are as they were.
    equal(ask("get", "k4"), "MOVED 8455 203.0.113.7:30001")
    equal(ask("get", "k4", host="::1"), "MOVED 8455 2001:db8::7:30001")
    equal(ask("get", "k1", host="::1"), f"MOVED 12706 127.0.0.1:{third.port}")
    for what in ("slots", "shards"):
        contains(ask("cluster", what), "203.0.113.7")
        contains(ask("cluster", what), "30001")
        contains(ask("cluster", what, host="::1"), "2001:db8::7")
    # Peers go on as before, also when who was told starts anew with what its nodes.conf says.
    first.terminate()
    first.start()
    eventually(lambda: ask("cluster", "info").startswith("cluster_state:ok"), 60, "the cluster is ok again")
    equal(ask("get", "k4"), "MOVED 8455 203.0.113.7:30001")
    equal(parse_nodes(second.call("CLUSTER", "NODES"))[node_id(first)].port, first.port)
    second.call("CONFIG", "SET", "cluster-announce-client-ipv4", "", "cluster-announce-client-port", "0")
    eventually(lambda: ask("get", "k4") == f"MOVED 8455 127.0.0.1:{second.port}", 60, "and is taken back")


if __name__ == "__main__":
    main(parser)
