#!/usr/bin/env python3
"""Crowds of clients that mean no good: storms of connects, silence, a byte a second, slow reading. The established client is
served, the limits hold, and everything is as before when they are gone. Long form: --seconds 60 --rate 10000 --crowd 3000."""

import argparse
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import nodes_seen_by
from support.crowd import Crowd, Latencies, connect, one_byte_a_second, raise_file_limit, silent, slow_readers, storm
from support.process import Server
from support.resp import Client, encode
from support.scenario import Skip, case, equal, main
from support.wait import eventually

MB = 1 << 20


def resident_kb(server):
    with open(f"/proc/{server.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def descriptors(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def both(options):
    """The server under test and the reference, where what is tested is the same for both."""
    return (options.server, options.reference)


def within_bounds(before, during):
    """The machine of a test may be busy with anything: a stall must be far beyond what that explains."""
    print(f"    before: {before}\n    during: {during}", flush=True)
    bound = max(400, 20 * before.part(0.99))
    assert during.part(0.99) <= bound, f"p99 {during.part(0.99):.1f} ms, more than {bound:.0f} ms"


@case
def established_clients_are_served(options):
    server = Server(options.server, client_output_buffer_limit=["normal", "8mb", "0", "0"]).start()
    client = server.client()
    client.ok("SET", "big", b"x" * 2 * MB)
    before = Latencies(client).measure(1)
    memory, files = resident_kb(server), descriptors(server)
    seconds = max(options.seconds, 14)
    request = encode(["PING"])
    with Crowd(silent(server.port, options.crowd, seconds)), \
         Crowd(one_byte_a_second(server.port, options.crowd // 4, request, b"+PONG\r\n")) as dripping, \
         Crowd(slow_readers(server.port, 30, ["GET", "big"], seconds)) as reading:  # fmt: skip
        eventually(lambda: int(client.info("clients")["connected_clients"]) > options.crowd, 60, "the crowd is there")
        storms = [Crowd(storm(server.port, options.rate // 2, options.seconds)) for _ in range(2)]
        during = Latencies(client).measure(options.seconds)
        rate, failed, connected = (sum(figures) for figures in zip(*(map(int, storming.result().split()) for storming in storms)))
        print(f"    {rate} connects a second ({failed} failed)", flush=True)
        assert rate > options.rate / 20 and failed == 0, f"{rate} connects a second, {failed} failed"
        used_kb = resident_kb(server) - memory
        # The silent cost a little, the slow readers what their limit allows and a reply beyond it.
        assert used_kb < 100_000 + 30 * 16_000 + options.crowd * 16, f"{used_kb} kB for the crowd"
        equal(int(dripping.result()), options.crowd // 4, "answered at a byte a second")
        during.measure(1)
        assert int(reading.result()) >= 0
    within_bounds(before, during)
    eventually(lambda: client.info("clients")["connected_clients"] == "1", 60, "the crowd is gone")
    # The library keeps what it needs to accept.
    eventually(lambda: descriptors(server) <= files + 2, 60, "no descriptor is left over")
    eventually(lambda: int(client.info("stats")["total_connections_received"]) >= connected, 60, "all of the storm were accepted")
    equal(client("GET", "established"), b"x" * 100)


@case
def peers_that_vanished_are_found_out(options):
    """Half-open connections: the peer's machine was cut off and started anew; its kernel knows nothing of them."""
    server = Server(options.server, tcp_keepalive=1).start()
    client = server.client()
    repair = 19  # TCP_REPAIR: closing in this mode tells the peer nothing
    vanished = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    eventually(lambda: client.info("clients")["connected_clients"] == "101", 60)
    for peer in vanished:
        try:
            peer.setsockopt(socket.IPPROTO_TCP, repair, 1)
        except PermissionError:
            raise Skip("CAP_NET_ADMIN is needed to leave without a word") from None
        peer.close()
    equal(client("PING"), b"PONG")
    eventually(lambda: client.info("clients")["connected_clients"] == "1", 60, "the half-open connections are closed")


@case
def maxclients_is_exact(options):
    for binary in both(options):
        server = Server(binary, maxclients=30).start()
        clients = [server.client()]
        eventually(lambda: clients[0].info("clients")["connected_clients"] == "1", 60)
        clients += [server.client() for _ in range(29)]
        for client in clients:
            equal(client("PING"), b"PONG")
        for _ in range(20):
            refused = server.client()
            equal(refused.read(), b"ERR max number of clients reached", binary)
            assert refused.at_end()
        equal(clients[0].info("clients")["connected_clients"], "30")
        assert int(clients[0].info("stats")["rejected_connections"]) >= 20
        # Each freed place is one place.
        for i in range(1, 6):
            clients[-i].close()
        eventually(lambda: clients[0].info("clients")["connected_clients"] == "25", 60)
        clients[25:] = [server.client() for _ in range(5)]
        for client in clients:
            equal(client("PING"), b"PONG")
        refused = server.client()
        equal(refused.read(), b"ERR max number of clients reached", binary)
        # Fewer from now on: nobody is thrown out, nobody is let in.
        equal(clients[0].ok("CONFIG", "SET", "maxclients", 10), b"OK")
        equal(clients[29]("PING"), b"PONG")
        equal(server.client().read(), b"ERR max number of clients reached", binary)
        server.kill()


@case
def the_bus_has_its_part_of_maxclients(options):
    for binary in both(options):
        a, b = (Server(binary, maxclients=20, cluster_enabled="yes").start() for _ in range(2))
        a.call("CLUSTER", "MEET", "127.0.0.1", b.port)
        keeper = a.client()

        def linked_both_ways():
            directions = sorted(dict(zip(link[::2], link[1::2]))[b"direction"] for link in keeper.ok("CLUSTER", "LINKS"))
            known = nodes_seen_by(a).values()
            return len(known) == 2 and not any("handshake" in n.flags for n in known) and directions == [b"from", b"to"]

        eventually(linked_both_ways, 60)
        eventually(lambda: keeper.info("clients")["connected_clients"] == "1", 60)
        clients = [a.client() for _ in range(17)]  # two connections belong to the other node
        for client in clients:
            equal(client("PING"), b"PONG", binary)
        equal(a.client().read(), b"ERR max number of clients + cluster connections reached", binary)
        a.kill()
        b.kill()


@case
def the_bus_works_while_clients_hold_every_place(options):
    raise_file_limit()
    servers = [Server(options.server, maxclients=200, cluster_enabled="yes", cluster_node_timeout=2000).start()
               for _ in range(3)]  # fmt: skip
    keepers = [server.client() for server in servers]
    for index, server in enumerate(servers):
        server.call("CLUSTER", "ADDSLOTSRANGE", *((0, 5460), (5461, 10922), (10923, 16383))[index])
        server.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
    for server in servers[1:]:
        servers[0].call("CLUSTER", "MEET", "127.0.0.1", server.port)
    ok = lambda: all(b"cluster_state:ok" in keeper("CLUSTER", "INFO") for keeper in keepers)
    eventually(ok, 90, "the cluster is ok")
    crowd = []
    for server in servers:
        crowd += [connect(server.port) for _ in range(250)]
        # Strangers who say nothing on the bus: only so many are put up with.
        crowd += [connect(server.port + 10000) for _ in range(500)]
    eventually(lambda: all(descriptors(server) < 200 + 64 + 64 for server in servers), 60, "strangers are let go")
    # A node that comes back finds a place on the bus.
    servers[2].kill()
    servers[2].start(timeout_s=60)
    keepers[2] = servers[2].client()
    eventually(ok, 90, "the cluster is ok again")
    for peer in crowd:
        peer.close()


@case
def query_buffers_are_bounded(options):
    filler = b"x" * MB
    for binary in both(options):
        server = Server(binary, client_query_buffer_limit="2mb").start()
        keeper = server.client()
        one_large = [b"*2\r\n$4\r\nECHO\r\n$100000000\r\n"] + [filler] * 6
        many_small = [b"*1000000\r\n"] + [b"$1\r\nx\r\n" * 100_000] * 8
        queued = [encode(["MULTI"])] + [encode(["SET", "k", filler[:500_000]])] * 8
        # The reference (7.0) does not count words that were read already, nor what is queued.
        for input_parts in (one_large, many_small, queued) if binary == options.server else (one_large,):
            client = server.client()
            try:
                for part in input_parts:
                    client.send_raw(part)
                gone = client.at_end(60)
            except ConnectionError:
                gone = True
            assert gone, f"{binary}: more than the limit is kept of {input_parts[0][:20]}"
            equal(keeper("PING"), b"PONG")
        # At the limit and complete is not beyond it.
        equal(keeper("ECHO", filler), filler)
        if binary == options.server:
            equal(keeper.info("stats")["client_query_buffer_limit_disconnections"], "3")
        server.kill()


def hoarder(server, *command):
    """A client that asks for something and reads none of it."""
    client = Client.__new__(Client)
    client.socket = socket.socket()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.socket.settimeout(30)
    client.socket.connect((server.host, server.port))
    client.send(*command)
    return client


@case
def output_buffers_are_bounded(options):
    for binary in both(options):
        hard = ["normal", "4mb", "0", "0", "pubsub", "4mb", "0", "0", "replica", "4mb", "0", "0"]
        soft = ["normal", "0", "1mb", "1", "pubsub", "0", "1mb", "1", "replica", "0", "1mb", "1"]
        for limits in (hard, soft):
            server = Server(binary, client_output_buffer_limit=limits, repl_diskless_sync_delay=0, repl_backlog_size="64kb").start()
            keeper = server.client()
            keeper.ok("SET", "big", b"x" * MB)
            clients = lambda kind: keeper("CLIENT", "LIST", "TYPE", kind).count(b"id=")
            # Normal: replies.
            reading = hoarder(server, "GET", "big")
            eventually(lambda: clients("normal") == 2, 60)
            try:
                for _ in range(30):
                    reading.send("GET", "big")
            except ConnectionError:
                pass
            eventually(lambda: clients("normal") == 1, 60, f"{binary} {limits[1:4]}: who reads nothing is dropped")
            # Listeners: what others say.
            listening = hoarder(server, "SUBSCRIBE", "news")
            eventually(lambda: clients("pubsub") == 1, 60)
            for _ in range(30):
                keeper("PUBLISH", "news", b"x" * MB)
            eventually(lambda: clients("pubsub") == 0, 60, f"{binary} {limits[1:4]}: who listens and reads nothing is dropped")
            # Replicas: what was written since their snapshot began, which is when the server gets to it.
            following = hoarder(server, "PSYNC", "?", "-1")
            eventually(lambda: clients("replica") == 1, 60)

            def dropped_while_writing():
                keeper.ok("SET", "k", b"x" * MB)
                return clients("replica") == 0

            eventually(dropped_while_writing, 60, f"{binary} {limits[1:4]}: a replica that reads nothing is dropped")
            if binary == options.server:
                equal(keeper.info("stats")["client_output_buffer_limit_disconnections"], "3")
            for client in (reading, listening, following):
                client.socket.close()
            server.kill()


@case
def a_soft_limit_waits_its_time(options):
    server = Server(options.server, client_output_buffer_limit=["pubsub", "0", "1mb", "4"]).start()
    keeper = server.client()
    patient, hoarding = server.client(timeout_s=60), hoarder(server, "SUBSCRIBE", "news")
    patient.ok("SUBSCRIBE", "news")
    eventually(lambda: keeper("PUBSUB", "NUMSUB", "news")[1] == 2, 60)
    begin = time.monotonic()
    for _ in range(12):
        keeper("PUBLISH", "news", b"x" * MB)
        equal(len(patient.read()[2]), MB)
    listeners = keeper("PUBSUB", "NUMSUB", "news")[1]
    if time.monotonic() - begin < 4:  # a slow machine must not decide this
        equal(listeners, 2, "listeners before the time is over")
    eventually(lambda: keeper("PUBSUB", "NUMSUB", "news")[1] == 1, 60, "the one that reads nothing is dropped")
    hoarding.socket.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="how long the storm lasts (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=10000, help="connects a second (default: %(default)s)")
    parser.add_argument("--crowd", type=int, default=800, help="clients that only stay (default: %(default)s)")
    raise_file_limit()
    main(parser)
