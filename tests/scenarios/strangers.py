#!/usr/bin/env python3
"""Who does not belong is not let in: raw bytes on the client's port, AUTH, protected mode, the cluster bus, and whoever answers
where a replica's primary should be. Outcomes are compared with the reference server's. Long form: --rounds 2000 (random bytes)."""

import argparse
import os
import random
import re
import select
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import bus
from support.cluster import info_of, nodes_seen_by
from support.process import Server
from support.resp import Client, encode
from support.scenario import Skip, case, equal, main
from support.wait import eventually

STRANGER = "f" * 40
# What a client that is not authenticated may be told of a command.
REFUSED = re.compile(
    rb"-(NOAUTH|EXECABORT Transaction discarded because of: (NOAUTH|wrong number)|ERR wrong number|ERR unknown (sub)?command|"
    rb"ERR Protocol error: unauthenticated multibulk length)[^\r\n]*\r\n"
)
MB = 1 << 20


def outcomes(server, inputs, quiet_s=0.2):
    """Per input, each on a connection of its own: the bytes that came back, and whether the server hung up. It is over when
    nothing has come for the time although the server has been round its loop many times since all was sent."""
    clients = []
    for data in inputs:
        client = socket.create_connection((server.host, server.port), 60)
        try:
            client.sendall(data)
        except ConnectionError:
            pass
        client.setblocking(False)
        clients.append(client)
    answers = {client: [b"", False] for client in clients}
    waiting = set(clients)
    attended = False
    while waiting:
        readable, _, _ = select.select(list(waiting), [], [], quiet_s)
        if not readable and attended:
            break
        if not readable:
            bus.attended(server)
        attended = not readable
        for client in readable:
            try:
                part = client.recv(1 << 16)
            except ConnectionError:
                part = b""
            answers[client][0] += part
            if not part:
                answers[client][1] = True
                waiting.discard(client)
    for client in clients:
        client.close()
    return [tuple(answers[client]) for client in clients]


def compare(options, inputs, **settings):
    """Both servers must answer alike, byte by byte; a server must be well afterwards."""
    ours = Server(options.server, **settings).start()
    reference = Server(options.reference, **settings).start()
    different = []
    for start in range(0, len(inputs), 200):
        part = inputs[start : start + 200]
        for data, here, there in zip(part, outcomes(ours, part), outcomes(reference, part)):
            here = (here[0].replace(b"HELLO <proto> AUTH", b"HELLO AUTH"), here[1])  # as 7.2 says it
            if here != there:
                different.append(f"{data[:120]!r}: here {here}, there {there}")
    assert not different, "\n".join(different[:20])
    for server in (ours, reference):
        server.kill()


HTTP = [
    b"POST / HTTP/1.1\r\nHost: localhost:6379\r\nContent-Length: 20\r\n\r\nSET stolen 1\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: x\r\n\r\nSET stolen 1\r\n",
    b"post / HTTP/1.0\r\n\r\nSET stolen 1\r\n",
    b"PING\r\nhost: x\r\nSET stolen 1\r\n",
    encode(["Host:", "x"]) + encode(["SET", "stolen", "1"]),
]
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(32)) + b"\x20" + bytes(32) + b"\x00\x02\x13\x01\x01\x00\r\n"
BROKEN = [
    *HTTP, TLS_HELLO, TLS_HELLO + b"\n", b"\x00\x01\x02\x03\r\n", b"\x80\x2e\x01\x00\x02\r\n", b"SSH-2.0-x\r\n", b"\r\n\r\n",
    b"*1\r\n:4\r\nPING\r\n", b"*1\r\n+PING\r\n", b"*1\r\n\r\n", b"*1\r\n$\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$-2\r\n", b"*1\r\n$1x\r\n",
    b"*1\r\n$4294967296\r\n", b"*1\r\n$99999999999999999999\r\n", b"*1\r\n$536870913\r\n", b"*x\r\n", b"*-1\r\nPING\r\n", b"*0\r\nPING\r\n",
    b"*2147483648\r\n", b"*99999999999999999999\r\n", b"*\r\n", b"* 1\r\n$4\r\nPING\r\n", b"*01\r\n$4\r\nPING\r\n", b"*1\r\n$04\r\nPING\r\n",
    b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n", b"*1\n$4\nPING\n", b"PING\n", b"PING\rPING\r\n", b"  PING  \r\n", b"\"PING\r\n", b"'PING'\r\n",
    b"PING \"a\"b\r\n", b"\"\"\r\n", b"x" * 65537, b"*" + b"1" * 65537, b"*1\r\n$" + b"1" * 65537, b"PING " + b"y" * 65000 + b"\r\n",
    encode([""]), encode(["a" * 500]), encode(["nothing", "b" * 300, "c"]), encode(["CLUSTER", "x" * 300]), encode(["PING", "\r\n"]),
    encode(["GET"]), encode(["SET", "a"]), b"QUIT\r\nPING\r\n", encode(["QUIT"]) + encode(["PING"]),
]  # fmt: skip


@case
def broken_requests_are_answered_as_redis_does(options):
    compare(options, BROKEN)
    server = Server(options.server).start()
    outcomes(server, HTTP)
    equal(server.call("GET", "stolen"), None, "what a browser was made to send")
    eventually(lambda: "HTTP" in server.log(), 30, "it is mentioned")
    equal(server.log().count("HTTP"), 1, "mentioned once a minute")


@case
def random_bytes(options):
    chance = random.Random(options.seed)
    pieces = [encode(["SET", "k", "v"]), encode(["GET", "k"]), b"PING\r\n", b"*3\r\n", b"$3\r\n", b"\r\n", b"$-1\r\n", b"*2\r\n$4\r\nECHO\r\n$3\r\nabc\r\n"]
    inputs = []
    for _ in range(options.rounds):
        data = bytearray(b"".join(chance.choices(pieces, k=chance.randint(1, 5))))
        for _ in range(chance.randint(0, 3)):
            # No letters: what they make of a command's name is another test's.
            data[chance.randrange(len(data))] = chance.choice(b"\r\n*$-0123456789 \"'")
        inputs.append(bytes(data))
    compare(options, inputs)


@case
def before_authentication(options):
    password = "right"
    requests = [
        encode(["AUTH", "wrong"]), encode(["AUTH", "default", "wrong"]), encode(["AUTH", "nobody", password]), encode(["AUTH", ""]),
        encode(["AUTH"]), encode(["AUTH", "a", "b", "c"]), encode(["AUTH", password + "x"]), encode(["AUTH", password[:-1]]),
        encode(["AUTH", password]) + encode(["PING"]), encode(["AUTH", "default", password]) + encode(["SET", "k", "v"]),
        encode(["HELLO"]), encode(["HELLO", "3"]), encode(["HELLO", "3", "AUTH", "default", "wrong"]), encode(["HELLO", "9"]),
        encode(["HELLO", "3", "SETNAME", "x"]), encode(["RESET"]) + encode(["PING"]), encode(["QUIT"]), encode(["PING"]),
        encode(["AUTH", password]) + encode(["RESET"]) + encode(["GET", "k"]),
        encode(["AUTH", password]) + encode(["AUTH", "wrong"]) + encode(["PING"]),
        encode(["MULTI"]) + encode(["SET", "k", "v"]) + encode(["EXEC"]), encode(["nothing"]), encode(["GET"]), encode(["CONFIG", "GET", "*"]),
        b"PING\r\n", b"SET k v\r\n", b"*10\r\n" + b"$1\r\na\r\n" * 10, b"*11\r\n" + b"$1\r\na\r\n" * 11, b"*2\r\n$4\r\nAUTH\r\n$16384\r\n" + b"x" * 16384 + b"\r\n",
        b"*2\r\n$4\r\nAUTH\r\n$16385\r\n" + b"x" * 16385 + b"\r\n", encode(["AUTH", password]) + b"*2\r\n$4\r\nECHO\r\n$16385\r\n" + b"x" * 16385 + b"\r\n",
        encode(["AUTH", password]) + encode(["ECHO", "1"]) + encode(["DEL"] + ["k"] * 30), *HTTP,
    ]  # fmt: skip
    compare(options, requests, requirepass=password)

    # Every command there is, with as many words as it wants: nobody but AUTH, HELLO, QUIT and RESET does anything.
    ours = Server(options.server, requirepass=password, cluster_enabled="yes").start()
    with ours.client() as client:
        client.ok("AUTH", password)
        client.ok("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        commands = [(row[0].decode(), row[1], row[9] if len(row) > 9 else []) for row in client.ok("COMMAND")]
        rows = [(name.split("|"), arity) for name, arity, _ in commands]
        for _, _, subcommands in commands:
            rows += [(row[0].decode().split("|"), row[1]) for row in subcommands]
    assert len(rows) > 250, len(rows)
    open_to_all = {"auth", "hello", "quit", "reset"}
    inputs, names = [], []
    for words, arity in rows:
        for extra in (0, 1, 3):
            names.append(words)
            inputs.append(encode(words + ["x"] * (max(0, abs(arity) - len(words)) + extra)))
    answers = []
    for start in range(0, len(inputs), 200):
        answers += outcomes(ours, inputs[start : start + 200])
    for words, (answer, _) in zip(names, answers):
        if words[0] in open_to_all:
            assert answer.startswith((b"-", b"+OK", b"+RESET")), (words, answer)
        else:
            assert REFUSED.fullmatch(answer), (words, answer)
    with ours.client() as client:
        client.ok("AUTH", password)
        equal(client("DBSIZE"), 0)


@case
def a_password_that_comes_and_goes(options):
    for binary in (options.server, options.reference):
        server = Server(binary).start()
        early, admin = server.client(), server.client()
        admin.ok("CONFIG", "SET", "requirepass", "one")
        late = server.client()
        equal(early("PING"), b"PONG", "who was in stays in")
        equal(late("PING"), b"NOAUTH Authentication required.")
        equal(late("AUTH", "one"), b"OK")
        admin.ok("CONFIG", "SET", "requirepass", "two")
        equal(late("PING"), b"PONG")
        other = server.client()
        assert other("AUTH", "one").startswith(b"WRONGPASS")
        equal(other("PING"), b"NOAUTH Authentication required.")
        admin.ok("CONFIG", "SET", "requirepass", "")
        equal(other("PING"), b"PONG", f"{binary}: no password is needed any more")
        equal(other("ECHO", "x" * 20000), b"x" * 20000)
        admin.ok("CONFIG", "SET", "requirepass", "three")
        equal(other("PING"), b"NOAUTH Authentication required.", f"{binary}: it never gave one")
        server.kill()


def own_address():
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            raise Skip("this machine has no address but loopback") from None
        return probe.getsockname()[0]


@case
def protected_mode(options):
    outside = own_address()
    for binary in (options.server, options.reference):
        server = Server(binary, bind=["*"], protected_mode="yes").start()
        here = server.client()

        def stranger():
            return Client(server.port, host=outside)

        refused = stranger()
        equal(refused.read().split()[0], b"DENIED", binary)
        assert refused.at_end()
        refused = stranger()
        try:
            refused.send_raw(encode(["SET", "stolen", "1"]))
        except ConnectionError:
            pass
        assert refused.at_end()
        equal(here("GET", "stolen"), None)
        equal(here("CONFIG", "SET", "requirepass", "x"), b"OK")
        equal(stranger()("PING"), b"NOAUTH Authentication required.")
        equal(here("CONFIG", "SET", "requirepass", ""), b"OK")
        equal(stranger().read().split()[0], b"DENIED", binary)
        equal(here("CONFIG", "SET", "protected-mode", "no"), b"OK")
        equal(stranger()("PING"), b"PONG")
        equal(here("CONFIG", "SET", "protected-mode", "yes"), b"OK")
        equal(stranger().read().split()[0], b"DENIED", binary)
        server.kill()
    # With a password from the start everybody may knock.
    server = Server(options.server, bind=["*"], protected_mode="yes", requirepass="x").start()
    equal(Client(server.port, host=outside)("PING"), b"NOAUTH Authentication required.")


def two_nodes(binary):
    a, b = (Server(binary, cluster_enabled="yes", cluster_node_timeout=60000).start() for _ in range(2))
    a.call("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
    b.call("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
    b.call("CLUSTER", "SET-CONFIG-EPOCH", 2)
    a.call("CLUSTER", "SET-CONFIG-EPOCH", 1)
    a.call("CLUSTER", "MEET", "127.0.0.1", b.port)
    for server in (a, b):
        eventually(lambda: info_of(server)["cluster_state"] == "ok" and info_of(server)["cluster_known_nodes"] == "2", 30)
    return a, b


def seen(server):
    """What of a node's view of the cluster does not change by itself."""
    nodes = sorted((n.id, n.port, tuple(n.flags), n.primary_id, n.config_epoch, tuple(n.ranges)) for n in nodes_seen_by(server).values())
    return nodes, info_of(server)["cluster_current_epoch"], info_of(server)["cluster_state"]


@case
def strangers_on_the_bus_are_not_heard(options):
    told = {}
    for binary in (options.server, options.reference):
        a, b = two_nodes(binary)
        a_id, b_id = a.call("CLUSTER", "MYID").decode(), b.call("CLUSTER", "MYID").decode()
        listener = a.client()
        listener.ok("SUBSCRIBE", "news")
        shard_listener = a.client()
        shard_listener.ok("SSUBSCRIBE", "b")  # slot 3300
        before = seen(a)
        claim = {"epoch": 1000, "config_epoch": 1000, "slots": bus.ALL_SLOTS}
        about = bus.gossip(b_id, b"10.9.9.9", 7, bus.PRIMARY | 8) + bus.gossip("e" * 40, b"10.9.9.9", 7)
        attempts = {
            "ping": bus.message(bus.PING, STRANGER, about, count=2, **claim),
            "pong": bus.message(bus.PONG, STRANGER, about, count=2, **claim),
            "replica's ping": bus.message(bus.PING, STRANGER, primary=a_id.encode(), flags=bus.REPLICA, **claim),
            "fail": bus.message(bus.FAIL, STRANGER, b_id.encode(), **claim),
            "publish": bus.message(bus.PUBLISH, STRANGER, bus.publish(b"news", b"false"), **claim),
            "publishshard": bus.message(bus.PUBLISHSHARD, STRANGER, bus.publish(b"b", b"false"), **claim),
            "vote": bus.message(bus.AUTH_REQUEST, STRANGER, primary=b_id.encode(), flags=bus.REPLICA, force=True, **claim),
            "ack": bus.message(bus.AUTH_ACK, STRANGER, **claim),
            "update": bus.message(bus.UPDATE, STRANGER, bus.update(1000, b_id, bus.ALL_SLOTS), **claim),
            "mfstart": bus.message(bus.MFSTART, STRANGER, primary=a_id.encode(), flags=bus.REPLICA, **claim),
            "module": bus.message(bus.MODULE, STRANGER, bytes(13), **claim),
            "no such type": bus.message(99, STRANGER, **claim),
            "gossip cut short": bus.message(bus.PING, STRANGER, about, count=60, **claim),
            "absurd counts": bus.message(bus.PING, STRANGER, count=65535, extensions=65535, **claim),
            "absurd lengths": bus.message(bus.PUBLISH, STRANGER, b"\xff" * 8 + b"news", **claim),
            "another version": bus.message(bus.PING, STRANGER, version=0, **claim),
            "another signature": bus.message(bus.PING, STRANGER, signature=b"RCmx", **claim),
            "too short": bus.message(bus.PING, STRANGER, length=100, **claim),
            "no length": bus.message(bus.PING, STRANGER, length=0, **claim),
            "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
            "redis": encode(["SET", "k", "v"]) * 100,
            "noise": bytes(range(256)) * 20,
        }
        if binary == options.server:  # Redis believes it
            attempts["from ourselves"] = bus.message(bus.FAIL, a_id, b_id.encode())
        told[binary] = {}
        for name, data in attempts.items():
            peer = bus.Peer(a)
            peer.send(data)
            told[binary][name] = peer.answers(a)
            peer.close()
            assert seen(a) == before, f"{binary}: {name} changed {before} to {seen(a)}"
        for client, text in ((listener, "news"), (shard_listener, "b")):
            assert not client.at_end(0.2) and not client._buffer, f"{binary}: a stranger's message on {text} was delivered"
        # To ask to be met is what anybody may do (an operator keeps strangers away from this port): a handshake, no more.
        peer = bus.Peer(a)
        peer.send(bus.message(bus.MEET, STRANGER, about, count=2, port=1, bus_port=1, **claim))
        told[binary]["meet"] = peer.answers(a)
        strangers = [n for n in nodes_seen_by(a).values() if n.id not in (a_id, b_id)]
        equal([n.flags for n in strangers], [["handshake"]], binary)
        equal(info_of(a)["cluster_current_epoch"], before[1])
        peer.close()
        a.kill()
        b.kill()
    different = {name: (told[options.server][name], told[options.reference][name])
                 for name in told[options.reference] if told[options.server][name] != told[options.reference][name]}  # fmt: skip
    assert not different, f"(here, there): {different}"


@case
def known_peers_may_not_lie_about_everything(options):
    """A message in the name of a node of the cluster is believed, as in Redis; what it cannot mean is not."""
    a, b = two_nodes(options.server)
    a_id, b_id = a.call("CLUSTER", "MYID").decode(), b.call("CLUSTER", "MYID").decode()
    slots = bytes(1024) + b"\xff" * 1024
    as_b = {"epoch": 2, "config_epoch": 2, "slots": slots, "port": b.port, "bus_port": b.port + 10000}
    before = seen(a)
    for data in (
        bus.message(bus.FAIL, b_id, a_id.encode(), **as_b),  # that we are dead
        bus.message(bus.FAIL, b_id, STRANGER.encode(), **as_b),  # somebody nobody knows
        bus.message(bus.UPDATE, b_id, bus.update(9, a_id, bytes(2048)), **as_b),  # about ourselves
        bus.message(bus.UPDATE, b_id, bus.update(9, STRANGER, bus.ALL_SLOTS), **as_b),
        bus.message(bus.AUTH_REQUEST, b_id, **as_b),  # a primary asks for a vote
        bus.message(bus.AUTH_ACK, b_id, **as_b),  # nobody asked
        bus.message(bus.MFSTART, b_id, **as_b),  # not our replica
        bus.message(bus.PING, b_id, bus.gossip("not hexadecimal".ljust(40), b"1.2.3.4", 7), count=1, **as_b),
        bus.message(bus.PING, b_id, bus.gossip("d" * 40, b"1.2.3.4\n" + b"5" * 8, 7, flags=64), count=1, **as_b),
    ):
        peer = bus.Peer(a)
        peer.send(data)
        peer.answers(a)
        peer.close()
        equal(seen(a), before)
    # An address that is not one word would stand in nodes.conf, and the node could not start again.
    peer = bus.Peer(a)
    peer.send(bus.message(bus.PING, b_id, bus.gossip("d" * 40, b"1.2.3.4 evil", 7), count=1, ip=b"1 2\n3", **as_b))
    peer.answers(a)
    a.call("CLUSTER", "SAVECONFIG")
    a.kill()
    a.start()
    eventually(lambda: info_of(a)["cluster_state"] == "ok", 30)
    equal({n.id for n in nodes_seen_by(a).values()}, {a_id, b_id})


@case
def large_messages_of_strangers_are_not_awaited(options):
    a, _ = two_nodes(options.server)
    peers = []
    for length in (2 * MB, 1 << 30, 0xFFFFFFFF):
        peer = bus.Peer(a)
        peer.send(bus.message(bus.PUBLISH, STRANGER, length=length))
        equal(peer.heard(30), ["closed"], f"a message of {length} bytes")
    for _ in range(50):
        peer = bus.Peer(a)
        try:
            peer.send(bus.message(bus.PUBLISH, STRANGER, length=MB) + bytes(900_000))
        except ConnectionError:  # hung up on before it was all said
            pass
        peers.append(peer)
    with open(f"/proc/{a.pid}/status") as file:
        resident_kb = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    assert resident_kb < 200_000, f"{resident_kb} kB"
    equal(info_of(a)["cluster_state"], "ok")


class Liar:
    """Listens where a primary should be, and says what it was told to."""

    def __init__(self, chunks):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sent, self.hung_up = 0, threading.Event()
        threading.Thread(target=self._talk, args=(chunks,), daemon=True).start()

    def _talk(self, chunks):
        peer, _ = self.listener.accept()
        try:
            for chunk in chunks:
                peer.sendall(chunk)
                self.sent += len(chunk)
            while peer.recv(4096):
                pass
        except ConnectionError:
            pass
        self.hung_up.set()
        peer.close()
        self.listener.close()


@case
def who_is_no_primary(options):
    handshake = b"+PONG\r\n+OK\r\n+OK\r\n"
    id_ = b"a" * 40
    endless = [b"x" * MB] * 64
    server = Server(options.server).start()
    server.call("SET", "mine", "1")
    for chunks in (
        endless,
        [handshake, *endless],
        [handshake + b"+FULLRESYNC " + id_ + b" 1\r\n$", *endless],
        [handshake + b"+FULLRESYNC " + id_ + b" -5\r\n$5\r\nREDIS"],
        [handshake + b"+FULLRESYNC " + id_ + b" 9223372036854775807\r\n$5\r\nREDIS"],
        [handshake + b"+FULLRESYNC short 5\r\n$5\r\nREDIS"],
        [handshake + b"+CONTINUE\r\n" + encode(["FLUSHALL"])],
        [handshake + b"+FULLRESYNC " + id_ + b" 5\r\n$12x\r\nREDIS"],
        [b"-NOAUTH x\r\n-ERR x\r\n-ERR x\r\n-ERR no\r\n"],
        [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    ):
        liar = Liar(chunks)
        server.call("REPLICAOF", "127.0.0.1", liar.port)
        assert liar.hung_up.wait(90), f"the replica still listens to {chunks[0][:60]}"
        assert liar.sent < 16 * MB, f"{liar.sent} bytes were read of {chunks[0][:60]}"
        server.call("REPLICAOF", "NO", "ONE")
        equal(server.call("GET", "mine"), b"1", f"{chunks[0][:60]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="random inputs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    main(parser)
