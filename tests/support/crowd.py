"""Clients that mean no good, by the thousand, and what an established client notices of them.

Each kind of crowd is a process of its own: one Python could not both crowd and measure.
"""

import os
import resource
import select
import signal
import socket
import time

from .resp import encode


class Crowd:
    """A forked process that runs `work(report)`; the last text it reports is `result()` after it has ended by itself."""

    def __init__(self, work):
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self._read)
                raise_file_limit()
                work(lambda text: os.write(write, f"{text}\n".encode()))
                code = 0
            finally:
                os._exit(code)
        os.close(write)

    def result(self):
        with os.fdopen(self._read) as pipe:
            lines = pipe.read().splitlines()
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        assert status == 0, f"a crowd ended with status {status} after {lines[-3:]}"
        return lines[-1] if lines else ""

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._read)


def raise_file_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect(port, address="127.0.0.1"):
    """A connection whose end is a reset, so that thousands of them leave no TIME_WAIT behind."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.connect((address, port))
    return client


def storm(port, per_second, seconds, lifetime_s=0.05):
    """Connects at this rate, in turn from many addresses; every third asks PING, all stay for a moment. Reports the rate reached,
    how many were turned away, and how many were connected at once, so that they must be accepted in the end."""

    def work(report):
        begin = time.monotonic()
        open_clients, made, failed, connected = [], 0, 0, 0
        while (now := time.monotonic()) - begin < seconds:
            while open_clients and (now - open_clients[0][0] > lifetime_s or len(open_clients) > 4000):
                open_clients.pop(0)[1].close()
            for _ in range(min(200, int((now - begin) * per_second) - made - failed)):
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.setblocking(False)
                client.bind((f"127.0.{made % 200 + 1}.{os.getpid() % 250 + 1}", 0))
                error = client.connect_ex(("127.0.0.1", port))
                if error not in (0, 115):
                    failed += 1
                    client.close()
                    continue
                if made % 3 == 0 and error == 0:
                    client.send(b"PING\r\n")
                made += 1
                connected += error == 0
                open_clients.append((now, client))
            time.sleep(0.001)
        for _, client in open_clients:
            client.close()
        report(f"{made / (time.monotonic() - begin):.0f} {failed} {connected}")

    return work


def silent(port, count, seconds):
    """Connects and says nothing."""

    def work(report):
        clients = [connect(port) for _ in range(count)]
        report(len(clients))
        time.sleep(seconds)

    return work


def one_byte_a_second(port, count, request, reply):
    """Every client sends the request a byte a second; all must get the reply."""

    def work(report):
        clients = [connect(port) for _ in range(count)]
        for i in range(len(request)):
            for client in clients:
                client.send(request[i : i + 1])
            if i + 1 < len(request):
                time.sleep(1)
        answered = 0
        for client in clients:
            client.settimeout(20)
            answered += client.recv(100) == reply
        report(answered)

    return work


def slow_readers(port, count, command, seconds):
    """Each asks for a lot, again and again, and reads a little of it."""

    def work(report):
        clients = []
        for _ in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.setblocking(False)
            clients.append(client)
        dropped = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for client in list(clients):
                try:
                    client.send(encode(command))
                except BlockingIOError:
                    pass
                except ConnectionError:
                    clients.remove(client)
                    dropped += 1
            readable, _, _ = select.select(clients, [], [], 0.1) if clients else ([], [], [])
            for client in readable:
                try:
                    client.recv(100)
                except ConnectionError:
                    clients.remove(client)
                    dropped += 1
        report(dropped)

    return work


class Latencies:
    """Round trips of one established client, in milliseconds."""

    def __init__(self, client):
        self._client = client
        self._all = []

    def measure(self, seconds=None, until=None):
        end = time.monotonic() + (seconds or 0)
        while time.monotonic() < end if until is None else not until():
            start = time.monotonic()
            assert self._client("SET", "established", "x" * 100) == b"OK"
            self._all.append((time.monotonic() - start) * 1000)
            time.sleep(0.001)
        return self

    def part(self, share):
        return sorted(self._all)[min(len(self._all) - 1, int(len(self._all) * share))]

    def __str__(self):
        return f"{len(self._all)} calls, median {self.part(0.5):.2f} ms, p99 {self.part(0.99):.2f} ms, max {self.part(1):.1f} ms"
