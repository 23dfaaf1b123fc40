"""A cluster-aware client that counts what happens to its requests, and a writer thread that uses it without a break."""

import collections
import threading
import time

from .resp import Client, Error, ProtocolViolation, encode
from .slots import SLOTS, key_slot


class Unavailable(Exception):
    """The cluster did not serve the request within the allowed time."""


class ClusterClient:
    """Follows MOVED and ASK, waits out TRYAGAIN, asks another node when one is gone. `counts` tells how often each happened."""

    def __init__(self, ports, timeout_s=2.0, patience_s=30.0):
        self.seeds = list(ports)
        self.timeout_s = timeout_s
        self.patience_s = patience_s
        self.counts = collections.Counter()
        self._clients = {}
        self._owner = [None] * SLOTS

    def close(self):
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _client(self, port):
        client = self._clients.get(port)
        if client is None:
            client = self._clients[port] = Client(port, timeout_s=self.timeout_s)
        return client

    def _forget(self, port):
        client = self._clients.pop(port, None)
        if client is not None:
            client.close()

    def refresh(self):
        for port in list(self._clients) + self.seeds:
            try:
                for first, last, primary, *_ in self._client(port).ok("CLUSTER", "SLOTS"):
                    self._owner[first : last + 1] = [primary[1]] * (last - first + 1)
                return
            except Exception:
                self._forget(port)

    def __call__(self, *command, key=None):
        """The reply, after redirections. Raises Unavailable when patience ends; the request may then still have happened."""
        slot = key_slot(key if key is not None else command[1])
        deadline = time.monotonic() + self.patience_s
        asking = False
        port = self._owner[slot]
        while True:
            if port is None:
                self.refresh()
                port = self._owner[slot]
            try:
                if port is None:
                    raise ConnectionError("no owner known")
                client = self._client(port)
                if asking:
                    client.socket.sendall(encode(("ASKING",)) + encode(command))
                    client.read()
                    reply = client.read()
                else:
                    reply = client(*command)
            except (OSError, ProtocolViolation):
                self.counts["connection lost"] += 1
                self._forget(port)
                port, asking = None, False
                self._wait(deadline, "connection lost")
                continue
            asking = False
            if not isinstance(reply, Error):
                return reply
            if reply.code in ("MOVED", "ASK"):
                self.counts[reply.code] += 1
                port = int(reply.rsplit(b":", 1)[1])
                asking = reply.code == "ASK"
                if not asking:
                    self._owner[slot] = port
                self._wait(deadline, "redirected in a circle", 0)
            elif reply.code in ("TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN"):
                self.counts[reply.code] += 1
                if reply.code == "READONLY":
                    port = None
                self._wait(deadline, reply.decode())
                if reply.code != "TRYAGAIN":
                    port = None
            else:
                return reply

    def _wait(self, deadline, what, delay_s=0.05):
        if time.monotonic() > deadline:
            raise Unavailable(what)
        if delay_s:
            time.sleep(delay_s)


class Writer:
    """Writes numbered values to its own keys without a break until it is stopped.

    For each key it remembers the last acknowledged number and the last sent one: a read must give something between. With
    that, `verify` finds every acknowledged write that was lost, however often the keys are overwritten.
    """

    def __init__(self, ports, keys=500, prefix="writer"):
        self.client = ClusterClient(ports, patience_s=60)  # longer than any failover takes
        self.keys = [f"{prefix}:{index}" for index in range(keys)]
        self.acknowledged = {}
        self.sent = {}
        self.failures = collections.Counter()
        self.writes = 0
        self._stop = threading.Event()
        self._pause = threading.Event()
        self._paused = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def _run(self):
        number = 0
        while not self._stop.is_set():
            if self._pause.is_set():
                self._paused.set()
                time.sleep(0.01)
                continue
            self._paused.clear()
            number += 1
            key = self.keys[number % len(self.keys)]
            self.sent[key] = number
            try:
                reply = self.client("SET", key, number)
            except Exception as error:
                self.failures[f"{type(error).__name__}: {error}"] += 1
                continue
            if isinstance(reply, Error):
                self.failures[reply.decode()] += 1
            else:
                self.acknowledged[key] = number
                self.writes += 1

    def verify(self):
        """Pauses, reads all keys and returns those whose acknowledged write is gone, as (key, acknowledged, found)."""
        self._pause.set()
        self._paused.clear()
        if self._thread.is_alive():
            assert self._paused.wait(120), "the writer hangs"
        lost = []
        for key, number in self.acknowledged.items():
            value = self.client("GET", key)
            found = int(value) if value is not None and not isinstance(value, Error) else -1
            if found < number or found > self.sent[key]:
                lost.append((key, number, found))
        return lost

    def resume(self, forgive=False):
        """Goes on after `verify`; `forgive` forgets what was lost, so that it is not counted again."""
        if forgive:
            for key in list(self.acknowledged):
                value = self.client("GET", key)
                if value is None:
                    del self.acknowledged[key]
                else:
                    self.acknowledged[key] = min(self.acknowledged[key], int(value))
        self._pause.clear()

    def stop(self):
        self._stop.set()
        self._pause.clear()
        if self._thread.is_alive():
            self._thread.join(120)

    def report(self):
        redirected = dict(self.client.counts)
        return f"{self.writes} writes acknowledged, on the way {redirected or 'nothing'}, failed {dict(self.failures) or 'none'}"
