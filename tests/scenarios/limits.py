#!/usr/bin/env python3
"""Limits and manners on the wire: maxclients, idle time, buffer limits, broken protocol, requests cut anywhere."""

import resource
import socket
import sys
import os
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.process import Server, temporary_directory
from support.resp import Client, encode
from support.scenario import case, equal, main
from support.wait import eventually


def resident_kb(server):
    with open(f"/proc/{server.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def cpu_seconds(server):
    with open(f"/proc/{server.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@case
def maxclients(options):
    server = Server(options.server, maxclients=20).start()
    clients = [server.client()]
    eventually(lambda: clients[0].info("clients")["connected_clients"] == "1", 60, "the start's connections are gone")
    clients += [server.client() for _ in range(19)]
    for client in clients:
        equal(client("PING"), b"PONG")
    refused = server.client()
    equal(refused.read(), b"ERR max number of clients reached")
    assert refused.at_end()
    clients.pop().close()

    def served():
        with server.client() as client:
            return client("PING") == b"PONG"

    eventually(served, 60, "room again")
    assert int(clients[0].info("stats")["rejected_connections"]) >= 1
    equal(clients[0].info("clients")["maxclients"], "20")


@case
def idle_clients_are_dropped(options):
    server = Server(options.server, timeout=1).start()
    idle, busy = server.client(), server.client()
    equal(idle("PING"), b"PONG")
    begun = heard = time.monotonic()
    limit = begun + 60
    while heard - begun < 4:
        try:
            equal(busy("PING"), b"PONG")
            heard = time.monotonic()
        except ConnectionError:
            # On a machine that held us up it has been idle as well.
            silent_s = time.monotonic() - heard
            assert silent_s >= 0.9 and time.monotonic() < limit, f"a client that was silent for {silent_s:.2f} s is dropped"
            busy = server.client()
            begun = heard = time.monotonic()
        time.sleep(0.2)
    assert idle.at_end(), "the idle client is still there"


@case
def slow_reader_hits_the_output_limit(options):
    server = Server(options.server, client_output_buffer_limit=["normal", "20mb", "0", "0"]).start()
    with server.client() as client:
        client.ok("SET", "big", b"x" * 5_000_000)
        before = resident_kb(server)
        slow = server.client()
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            for _ in range(200):
                slow.send("GET", "big")
        except ConnectionError:
            pass
        # Others are served meanwhile, and the memory stays near the limit instead of 1 GB of replies.
        for _ in range(200):
            equal(client("PING"), b"PONG")
        peak = resident_kb(server) - before
        assert peak < 200_000, f"{peak} kB for a reader that does not read"
        # Either the connection was dropped, as Redis does, or the server stopped reading from it.
        eventually(lambda: resident_kb(server) - before < 200_000, 60)
        equal(client("STRLEN", "big"), 5_000_000)
        slow.close()


@case
def limit_over_time_drops_the_slow_reader(options):
    server = Server(options.server, client_output_buffer_limit=["normal", "0", "1mb", "1"]).start()
    with server.client() as client:
        client.ok("SET", "big", b"x" * 5_000_000)
        slow = server.client()
        for _ in range(8):
            slow.send("GET", "big")
        eventually(lambda: b"name=" in client("CLIENT", "LIST") and client.info("clients")["connected_clients"] == "1", 60,
                   "the slow reader is dropped")  # fmt: skip


@case
def small_replies_are_within_any_output_limit(options):
    """As those that fit the fixed buffer of a Redis client, which nobody counts."""
    for binary in (options.server, options.reference):
        server = Server(binary, client_output_buffer_limit=["normal", "1", "0", "0"]).start()
        with server.client() as client, server.client() as other:
            client.ok("SET", "small", "x" * 10_000)
            client.ok("SET", "large", "x" * 1_000_000)
            equal(client.pipeline([("PING",), ("GET", "small"), ("PING",)])[1], b"x" * 10_000)
            other.socket.sendall(encode(("GET", "large")))
            assert len(other.socket.recv(1 << 20, socket.MSG_WAITALL)) < 1_000_000, "the limit holds"
        server.kill()


@case
def big_replies_to_a_fair_reader(options):
    server = Server(options.server).start()
    with server.client() as client:
        value = os.urandom(1 << 20) * 64
        client.ok("SET", "big", value)
        for _ in range(3):
            assert client("GET", "big") == value
        replies = client.pipeline([("GET", "big")] * 8)
        assert all(reply == value for reply in replies)


@case
def query_buffer_limit(options):
    server = Server(options.server, client_query_buffer_limit="2mb").start()
    client = server.client()
    try:
        client.send_raw(b"*2\r\n$4\r\nECHO\r\n$100000000\r\n")
        for _ in range(100):
            client.send_raw(b"x" * 1_000_000)
        dropped = False
    except ConnectionError:
        dropped = True
    assert dropped or client.at_end(), "a request beyond the query buffer's limit is still being read"
    with server.client() as other:
        equal(other("PING"), b"PONG")


@case
def inline_and_unauthenticated_limits(options):
    server = Server(options.server).start()
    client = server.client()
    try:
        client.send_raw(b"x" * 70_000)
    except ConnectionError:
        pass
    equal(client.read(), b"ERR Protocol error: too big inline request")
    assert client.at_end()
    client = server.client()
    client.send_raw(b"*" + b"1" * 70_000)
    equal(client.read(), b"ERR Protocol error: too big mbulk count string")
    assert client.at_end()
    client = server.client()
    client.send_raw(b"*1\r\n$" + b"1" * 70_000)
    equal(client.read(), b"ERR Protocol error: too big bulk count string")
    assert client.at_end()
    server.call("CONFIG", "SET", "requirepass", "secret")
    client = server.client()
    client.send_raw(b"*11\r\n")
    equal(client.read(), b"ERR Protocol error: unauthenticated multibulk length")
    assert client.at_end()
    client = server.client()
    client.send_raw(b"*2\r\n$4\r\nAUTH\r\n$16385\r\n")
    equal(client.read(), b"ERR Protocol error: unauthenticated bulk length")
    assert client.at_end()


@case
def requests_cut_at_every_byte(options):
    server = Server(options.server).start()
    request = (
        encode(("SET", "key", "value\r\n$5")) + b"\r\nping\r\n" + encode(("GET", "key")) + b"set  k2 \"a b\"\n" + b"*0\r\n"
        + encode(("MGET", "key", "k2", "none")) + encode(("ECHO", ""))
    )  # fmt: skip
    expected = [b"OK", b"PONG", b"value\r\n$5", b"OK", [b"value\r\n$5", b"a b", None], b""]
    with server.client() as client:
        for at in range(1, len(request)):
            client.send_raw(request[:at])
            if at % 3 == 0:
                time.sleep(0.001)  # Lets the server see the first part alone; correctness does not depend on it.
            client.send_raw(request[at:])
            equal(client.read_many(len(expected)), expected, f"cut at byte {at}")
        for byte in request:
            client.send_raw(bytes([byte]))
        equal(client.read_many(len(expected)), expected, "byte by byte")
    # A client that goes away in the middle of a request leaves nothing behind.
    for at in range(0, len(request), 7):
        with server.client() as client:
            client.send_raw(request[:at])
    eventually(lambda: server.info("clients")["connected_clients"] == "1", 60)


@case
def deep_pipeline_in_one_write(options):
    server = Server(options.server).start()
    with server.client() as client:
        count = 20_000
        client.socket.sendall(b"".join(encode(("INCR", "n")) for _ in range(count)))
        equal(client.read_many(count), list(range(1, count + 1)))


@case
def sockets(options):
    directory = temporary_directory()
    path = os.path.join(directory, "s")
    server = Server(options.server, unixsocket=path, unixsocketperm="700", bind=["127.0.0.1", "-::1"]).start()
    equal(os.stat(path).st_mode & 0o777, 0o700)
    with Client(unix=path) as client:
        equal(client("PING"), b"PONG")
    try:
        with Client(server.port, host="::1") as client:
            equal(client("PING"), b"PONG")
    except OSError as error:
        print(f"  no IPv6 here: {error}")
    server.terminate()
    assert not os.path.exists(path), "the socket's file is left behind"


@case
def half_closed_client_gets_its_answers(options):
    server = Server(options.server).start()
    with server.client() as client:
        client.socket.sendall(encode(("SET", "k", "v")) * 100)
        equal(client.read_many(100), [b"OK"] * 100)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.at_end()
    # The end comes together with the requests, also with more replies than a socket holds.
    server.call("SET", "big", b"x" * 1_000_000)
    with server.client() as client:
        client.socket.sendall(encode(("SET", "k", "v")) * 100 + encode(("GET", "big")) * 60)
        client.socket.shutdown(socket.SHUT_WR)
        equal(client.read_many(100), [b"OK"] * 100)
        equal({len(reply) for reply in client.read_many(60)}, {1_000_000})
        assert client.at_end()


@case
def empty_requests_between_others(options):
    server = Server(options.server).start()
    ping = encode(["PING"])
    with server.client() as client:
        for empty in (b"*0\r\n", b"\r\n", b"*-1\r\n"):
            for cut in range(1, len(ping)):
                client.socket.sendall(ping + empty + ping[:cut])
                equal(client.read(), b"PONG")
                client.socket.sendall(ping[cut:])
                equal(client.read(), b"PONG", f"cut {cut} behind {empty}")


@case
def out_of_descriptors(options):
    """Who cannot be accepted waits; the server neither spins nor ends, and goes on when there is room."""
    server = Server(options.server).start()
    with server.client() as client:
        used = len(os.listdir(f"/proc/{server.pid}/fd"))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (used + 5, used + 5))
        others = [server.client() for _ in range(20)]
        time.sleep(0.2)
        before = cpu_seconds(server)
        time.sleep(1)
        spent = cpu_seconds(server) - before
        assert spent < 0.3, f"{spent:.2f} s of CPU in one second of waiting"
        equal(client("PING"), b"PONG")
        for other in others[:10]:
            other.close()
        equal(others[12]("PING"), b"PONG")


@case
def many_connections_come_and_go(options):
    server = Server(options.server).start()
    for _ in range(20):
        clients = [server.client() for _ in range(100)]
        for client in clients:
            client.send("SET", "k", "v")
        for client in clients:
            equal(client.read(), b"OK")
        for client in clients:
            client.close()
    eventually(lambda: server.info("clients")["connected_clients"] == "1", 60)
    assert int(server.info("stats")["total_connections_received"]) >= 2000


@case
def graceful_shutdown(options):
    for number in (15, 2):
        server = Server(options.server, save="900 1").start()
        server.call("SET", "k", "v")
        server.signal(number)
        equal(server.wait(60), 0, f"exit code after signal {number}")
        server.start()
        equal(server.call("GET", "k"), b"v")
        with server.client() as client:
            client.send("SHUTDOWN", "NOSAVE")
            assert client.at_end()
        equal(server.wait(60), 0, "exit code after SHUTDOWN")


@case
def protected_mode(options):
    server = Server(options.server, bind=["127.0.0.1"], protected_mode="yes").start()
    equal(server.call("PING"), b"PONG")
    equal(server.call("CONFIG", "GET", "protected-mode"), [b"protected-mode", b"yes"])


if __name__ == "__main__":
    main()
