"""A client that writes as fast as it can and knows what was acknowledged."""

import threading

from .resp import Client, Error, encode


class Writer(threading.Thread):
    """Counts keys of its own upwards in pipelines until the connection ends; remembers what was acknowledged."""

    def __init__(self, port, number, first=0, depth=8, keys=100):
        super().__init__(daemon=True)
        self.port, self.number, self.depth, self.keys = port, number, depth, keys
        self.next = first
        self.acknowledged, self.sent, self.error, self.stopping = {}, {}, None, False

    def run(self):
        n = self.next
        try:
            with Client(self.port, timeout_s=30) as client:
                while not self.stopping:
                    batch = [(f"{{w{self.number}}}:{(n + i) % self.keys}", n + i) for i in range(self.depth)]
                    n += self.depth
                    self.sent.update(batch)
                    words = [("SET", key, value) for key, value in batch]
                    if n % 3 == 0:
                        words = [("MULTI",), *words, ("EXEC",)]
                    client.socket.sendall(b"".join(encode(word) for word in words))
                    replies = [client.read() for _ in words]
                    if any(isinstance(reply, Error) for reply in replies):
                        self.error = replies
                        return
                    self.acknowledged.update(batch)
        except (ConnectionError, OSError) as error:
            if isinstance(error, TimeoutError):
                self.error = error


def check(server, writers, what):
    with server.client() as client:
        for writer in writers:
            assert writer.error is None, f"{what}: {writer.error}"
            keys = sorted(writer.sent)
            for key, value in zip(keys, client.pipeline([("GET", key) for key in keys])):
                found = int(value) if value is not None else -1
                least, most = writer.acknowledged.get(key, -1), writer.sent[key]
                assert least <= found <= most, f"{what}, {key}: acknowledged {least}, found {found}, sent {most}"
