#!/usr/bin/env python3
"""Pub/sub in a cluster of our nodes and one of the reference, and between a primary and its replicas: who hears what, and
what becomes of listeners when a slot leaves."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import Cluster, info_of, node_id, nodes_seen_by
from support.process import Server
from support.resp import Error
from support.scenario import case, equal, main
from support.wait import eventually

# Slots: k2 449, k1 12706.


def heard(client):
    """Everything a RESP2 listener has been sent so far."""
    client.send("PING")
    messages = []
    # PING is answered as a message while the client listens to something.
    while (reply := client.read()) != b"PONG" and reply[0] != b"pong":
        messages.append(reply)
    return messages


def listener(server, command, *channels):
    client = server.client()
    client.send(command, *channels)
    for _ in channels:
        client.read()
    return client


def until_heard(clients, message, what):
    for index, client in enumerate(clients):
        got = []
        eventually(lambda: got.extend(heard(client)) or message in got, 60, f"{what}: listener {index} hears {message}")
        equal(got, [message], f"{what}: listener {index}")


def mixed_cluster(options):
    """Three primaries, ours, theirs, ours, and a replica of the first which is ours."""
    cluster = Cluster([options.server, options.reference, options.server], nodes=3, node_timeout_ms=15000, appendonly="no")
    cluster.create(replicas=0)
    replica = cluster.add_server(options.server)
    replica.call("CLUSTER", "MEET", "127.0.0.1", cluster.servers[0].port)
    first = node_id(cluster.servers[0])
    eventually(lambda: first in nodes_seen_by(replica), 60, "the replica knows its primary")
    eventually(lambda: replica.call("CLUSTER", "REPLICATE", first), 60, "the replica follows", ignore=(AssertionError, OSError))
    cluster.wait_until_agreed()
    cluster.wait_until_replicas_online()
    every_link_is_up(cluster.servers)
    return cluster


def every_link_is_up(servers):
    for server in servers:
        eventually(
            lambda: len(nodes_seen_by(server)) == len(servers)
            and all(n.link == "connected" and "handshake" not in n.flags for n in nodes_seen_by(server).values()),
            60, f"{server} has all links",
        )  # fmt: skip


@case
def messages_reach_every_node(options):
    cluster = mixed_cluster(options)
    clients = [listener(server, "SUBSCRIBE", "news") for server in cluster.servers]
    patterns = [listener(server, "PSUBSCRIBE", "n*s") for server in cluster.servers]
    for number, server in enumerate(cluster.servers):
        text = f"from {number} \0\r\n".encode() * (1 if number else 1000)
        equal(server.call("PUBLISH", "news", text), 2, "listeners counted")
        until_heard(clients, [b"message", b"news", text], str(server))
        until_heard(patterns, [b"pmessage", b"n*s", b"news", text], str(server))
    # In the order in which one node published them.
    for server in cluster.servers:
        with server.client() as client:
            client.pipeline([("PUBLISH", "news", i) for i in range(500)])
        for hearing in clients:
            got = []
            eventually(lambda: got.extend(heard(hearing)) or len(got) >= 500, 60, "all 500 are heard")
            equal([int(message[2]) for message in got], list(range(500)), "order")
        for hearing in patterns:
            eventually(lambda: heard(hearing) or True, 1, "drained")
    info = info_of(cluster.servers[2])
    assert int(info["cluster_stats_messages_publish_sent"]) > 500, info


@case
def shard_messages_stay_in_the_shard(options):
    cluster = mixed_cluster(options)
    ours, theirs, third, replica = cluster.servers
    clients = [listener(server, "SSUBSCRIBE", "k2") for server in (ours, replica)]
    for server in (ours, replica):
        equal(server.call("SPUBLISH", "k2", "x"), 1)
        until_heard(clients, [b"smessage", b"k2", b"x"], str(server))
    for server in (theirs, third):
        with server.client() as client:
            for command in (("SPUBLISH", "k2", "x"), ("SSUBSCRIBE", "k2")):
                reply = client(*command)
                assert isinstance(reply, Error) and reply == f"MOVED 449 {ours.address}".encode(), reply
    with ours.client() as client:
        reply = client("SSUBSCRIBE", "k2", "k1")
        assert isinstance(reply, Error) and reply.startswith(b"CROSSSLOT"), reply


@case
def a_slot_that_leaves_ends_its_shard_channels(options):
    cluster = mixed_cluster(options)
    ours, theirs, _, replica = cluster.servers
    clients = [listener(server, "SSUBSCRIBE", "k2") for server in (ours, replica)]
    stays = listener(ours, "SSUBSCRIBE", "{bar}")  # slot 5061, ours as well
    for server in (theirs, ours):
        server.call("CLUSTER", "SETSLOT", 449, "NODE", node_id(theirs))
    until_heard(clients, [b"sunsubscribe", b"k2", 0], "after the slot left")
    equal(heard(stays), [])
    equal(ours.call("PUBSUB", "SHARDNUMSUB", "k2", "{bar}"), [b"k2", 0, b"{bar}", 1])
    with clients[0] as client:  # no listener any more
        equal(client("PING"), b"PONG")


@case
def replicas_hear_their_primary(options):
    for primary_binary, replica_binary in (
        (options.server, options.server), (options.server, options.reference), (options.reference, options.server),
    ):  # fmt: skip
        primary = Server(primary_binary, appendonly="yes", appendfsync="always").start()
        replica = Server(replica_binary, replicaof=f"127.0.0.1 {primary.port}").start()
        eventually(lambda: replica.info("replication")["master_link_status"] == "up", 60, "the link is up")
        clients = [listener(server, "SUBSCRIBE", "c") for server in (primary, replica)]
        shards = [listener(server, "SSUBSCRIBE", "s") for server in (primary, replica)]
        primary.call("PUBLISH", "c", "x")
        until_heard(clients, [b"message", b"c", b"x"], "a message")
        primary.call("SPUBLISH", "s", "x")
        until_heard(shards, [b"smessage", b"s", b"x"], "a shard message")
        with primary.client() as client:
            client.pipeline([("MULTI",), ("SET", "k", "v"), ("PUBLISH", "c", "y"), ("EXEC",)])
        until_heard(clients, [b"message", b"c", b"y"], "within a transaction")
        equal(replica.call("GET", "k"), b"v")
        replica.call("PUBLISH", "c", "z")
        equal(heard(clients[0]), [], "a replica's own message stays there")
        # Nothing of it is in the append-only file.
        primary.kill()
        primary.start()
        equal(primary.call("GET", "k"), b"v")
        primary.kill()
        replica.kill()


@case
def listeners_that_do_not_read_are_given_up(options):
    server = Server(options.server, client_output_buffer_limit="pubsub 1mb 0 0").start()
    deaf = listener(server, "SUBSCRIBE", "c")
    payload = b"x" * 100_000
    with server.client() as client:
        for _ in range(400):
            if client("PUBLISH", "c", payload) == 0:
                break
        else:
            raise AssertionError("the listener was never given up")
        eventually(lambda: client("PUBSUB", "NUMSUB", "c") == [b"c", 0], 60, "nobody listens")
        equal(client.info("stats")["client_output_buffer_limit_disconnections"], "1")
    deaf.close()


if __name__ == "__main__":
    main()
