"""A TCP proxy whose links a test can cut, refuse, freeze or slow down."""

import selectors
import socket
import threading
import time

from .ports import free_port


class Proxy:
    """Forwards 127.0.0.1:port to the target. `cut` breaks the links of now; `refuse` also those of later, until `accept`."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.port = free_port()
        self._refusing = False
        self._frozen = False
        self._ended = False
        self._rate = None
        self._until_cut = None
        self._cuts_to_come = []
        self.cuts = 0  # of cut_after, so far
        self.from_target = 0  # bytes so far
        self._of_target = set()
        self._peer = {}
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def cut(self):
        with self._lock:
            for end in list(self._peer):
                self._drop(end)

    def refuse(self):
        self._refusing = True
        self.cut()

    def accept(self):
        self._refusing = False

    def freeze(self):
        """Bytes stop flowing, connections stay: what a partition looks like to the endpoints."""
        with self._lock:  # not a byte flows once this has returned
            self._frozen = True

    def thaw(self):
        self._frozen = False

    def limit(self, bytes_per_s):
        """What the target sends passes at this rate; None: freely again."""
        self._rate = bytes_per_s

    def cut_after(self, *counts):
        """The links break when the target has sent this many bytes more; then again after the next count. None: no more cuts."""
        with self._lock:
            self._cuts_to_come = list(counts)
            self._until_cut = self._cuts_to_come.pop(0) if counts else None

    def close(self):
        self._ended = True
        self._thread.join(2)
        self.cut()
        self._listener.close()

    def _drop(self, end):
        other = self._peer.pop(end, None)
        for one in (end, other):
            if one is not None:
                self._peer.pop(one, None)
                self._of_target.discard(one)
                try:
                    self._selector.unregister(one)
                except (KeyError, ValueError):
                    pass
                one.close()

    def _run(self):
        while not self._ended:
            for key, _ in self._selector.select(0.05):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._connect()
                    elif key.fileobj in self._peer and not self._frozen:
                        self._forward(key.fileobj)
            if self._frozen:
                threading.Event().wait(0.02)

    def _connect(self):
        client, _ = self._listener.accept()
        if self._refusing:
            client.close()
            return
        try:
            target = socket.create_connection(("127.0.0.1", self.target_port), 2)
        except OSError:
            client.close()
            return
        self._peer[client], self._peer[target] = target, client
        self._of_target.add(target)
        self._selector.register(client, selectors.EVENT_READ)
        self._selector.register(target, selectors.EVENT_READ)

    def _forward(self, source):
        try:
            if source not in self._of_target:
                data = source.recv(1 << 16)
                if data:
                    self._peer[source].sendall(data)
                    return
            elif self._forward_from_target(source):
                return
        except OSError:
            pass
        self._drop(source)

    def _forward_from_target(self, source):
        most = 1 << 16
        if self._rate:
            most = max(1, self._rate // 50)
            time.sleep(0.02)
        if self._until_cut is not None:
            most = min(most, self._until_cut)
        if not most:
            self._drop(source)
            self._until_cut = self._cuts_to_come.pop(0) if self._cuts_to_come else None
            self.cuts += 1
            return True
        data = source.recv(most)
        if not data:
            return False
        if self._until_cut is not None:
            self._until_cut -= len(data)
        self.from_target += len(data)
        self._peer[source].sendall(data)
        return True
