"""Listens to the keyspace events of both servers, so that a test can compare them after each command or block of commands.

Expired keys are left out: the moment at which a server finds one is its own affair.
"""

from support.resp import Error

CLASSES = "KEg$lshzetdmn"


class Listeners:
    def __init__(self, pair):
        self.pair = pair
        self.clients = []
        self.open()

    def open(self):
        self.close()
        self.clients = list(self.pair.connect(2))
        for client in self.clients:
            client.ok("CONFIG", "SET", "notify-keyspace-events", CLASSES)
            client.ok("PSUBSCRIBE", "__key*@*__:*")

    def close(self):
        for client in self.clients:
            client.close()
        self.clients = []

    def take(self):
        """What each server has told since the last call, as a list of (channel, message)."""
        return [self._take(client) for client in self.clients]

    def _take(self, client):
        # What happened before the PING is told before its reply.
        client.send("PING")
        events = []
        while True:
            reply = client.read()
            if isinstance(reply, Error):
                raise ConnectionError(f"listener: {reply!r}")
            if reply[0] == b"pong":
                return events
            events.append((reply[2], reply[3]))

    def difference(self, wanted=None):
        """The first event that only one of them told, as text, or None; `wanted` chooses among them. A listener that was killed
        starts afresh."""
        try:
            a, b = (list(filter(wanted, events)) if wanted else events for events in self.take())
        except ConnectionError:
            self.open()
            return None
        if a == b:
            return None
        for position, (x, y) in enumerate(zip(a + [None] * len(b), b + [None] * len(a))):
            if x != y:
                return f"event {position + 1}\n    A {_text(x)}\n    B {_text(y)}"
        return None


def _text(event):
    return "nothing" if event is None else " ".join(ascii(part.decode("latin-1"))[1:-1] for part in event)
