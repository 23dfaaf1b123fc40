"""A RESP2 and RESP3 client that keeps the exact type of every reply.

A reply is read as a *frame*: a tuple (type, payload), type being RESP's first byte. Payloads: bytes for + - $ ( = ! , and
:, a list of frames for * ~ > and a flat list k, v, k, v for %, None for null bulk and null array. `frame_value` turns a
frame into what tests like to compare: bytes, int, list, dict, None, `Simple` and `Error` (both bytes).
"""

import socket
import time


class Simple(bytes):
    """A simple string, distinguishable from a bulk string of the same text by its class."""


class Error(bytes):
    """An error reply; returned, not raised, except by Client.ok()."""

    @property
    def code(self):
        return self.split(b" ", 1)[0].decode()


class Push(list):
    """A RESP3 push message."""


class ReplyError(Exception):
    """An error reply where the test needed success."""


class ProtocolViolation(Exception):
    """The server sent something that is not RESP."""


class Incomplete(Exception):
    """The buffer ends before the reply does."""


_SCALARS = frozenset(b"+-:,(#_")
_BLOBS = frozenset(b"$=!")
_AGGREGATES = frozenset(b"*~>")


def parse_frame(buffer, position=0):
    """The frame at `position` and the position behind it; raises Incomplete when the buffer ends too early."""
    end = buffer.find(b"\r\n", position)
    if end < 0:
        raise Incomplete
    kind = buffer[position]
    line = bytes(buffer[position + 1 : end])
    position = end + 2
    if kind in _SCALARS:
        return (chr(kind), line), position
    try:
        count = int(line)
    except ValueError:
        raise ProtocolViolation(bytes(buffer[:200])) from None
    if kind in _BLOBS:
        if count < 0:
            return (chr(kind), None), position
        if len(buffer) < position + count + 2:
            raise Incomplete
        if buffer[position + count : position + count + 2] != b"\r\n":
            raise ProtocolViolation(f"no CRLF after a bulk of {count} bytes")
        return (chr(kind), bytes(buffer[position : position + count])), position + count + 2
    if kind in _AGGREGATES or kind in b"%|":
        if count < 0:
            return (chr(kind), None), position
        items = []
        for _ in range(count * 2 if kind in b"%|" else count):
            item, position = parse_frame(buffer, position)
            items.append(item)
        if kind == ord("|"):  # An attribute belongs to the reply behind it; tests look at the reply.
            return parse_frame(buffer, position)
        return (chr(kind), items), position
    raise ProtocolViolation(f"reply type {chr(kind)!r} in {bytes(buffer[max(0, position - 40):position + 40])!r}")


def frame_value(frame):
    kind, payload = frame
    if payload is None:
        return None
    if kind == "$":
        return payload
    if kind == "+":
        return Simple(payload)
    if kind in "-!":
        return Error(payload)
    if kind in ":(":
        return int(payload)
    if kind == "_":
        return None
    if kind == "#":
        return payload == b"t"
    if kind == ",":
        return float(payload)
    if kind == "=":
        return payload[4:]
    if kind == "%":
        values = [frame_value(item) for item in payload]
        return {_hashable(k): v for k, v in zip(values[::2], values[1::2])}
    values = [frame_value(item) for item in payload]
    return Push(values) if kind == ">" else values


def _hashable(value):
    return tuple(value) if isinstance(value, list) else value


def to_bytes(argument):
    if isinstance(argument, (bytes, bytearray)):
        return bytes(argument)
    return str(argument).encode()


def encode(arguments):
    """One request as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = to_bytes(argument)
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


class Client:
    """One blocking connection. Calling it sends a command and returns the reply's value:

        client = Client(6379); client("SET", "k", "v")   # Simple(b"OK")
    """

    def __init__(self, port=None, host="127.0.0.1", unix=None, protocol=2, timeout_s=30.0, connect_timeout_s=None):
        self.pushes = []
        self._buffer = bytearray()
        if unix is not None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(connect_timeout_s or timeout_s)
            self.socket.connect(unix)
        else:
            self.socket = socket.create_connection((host, port), connect_timeout_s or timeout_s)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout_s)
        self.protocol = protocol
        if protocol == 3:
            self.ok("HELLO", 3)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.socket.close()

    def send_raw(self, data):
        self.socket.sendall(data)

    def send(self, *arguments):
        self.socket.sendall(encode(arguments))

    def _fill(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer += data

    def read_frame(self):
        """The next reply as a frame; pushes are put aside in `pushes`."""
        while True:
            frame = self.read_any_frame()
            if frame[0] != ">":
                return frame
            self.pushes.append(frame_value(frame))

    def read_any_frame(self):
        """The next reply or push."""
        while True:
            if self._buffer:
                try:
                    frame, position = parse_frame(self._buffer)
                    del self._buffer[:position]
                    return frame
                except Incomplete:
                    pass
            self._fill()

    def read(self):
        return frame_value(self.read_frame())

    def read_until(self, suffix):
        """Raw bytes up to and including `suffix`; for comparing whole pipelines without parsing them."""
        while not self._buffer.endswith(suffix):
            self._fill()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def at_end(self, timeout_s=30.0):
        """True when the server closes the connection within the time; whatever it still sends is kept in the buffer."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionError:
                return True
            except TimeoutError:
                return False
            if not data:
                return True
            self._buffer += data
        return False

    def __call__(self, *arguments):
        self.send(*arguments)
        return self.read()

    def ok(self, *arguments):
        """Like a call, but an error reply is raised."""
        value = self(*arguments)
        if isinstance(value, Error):
            raise ReplyError(f"{' '.join(map(str, arguments))[:200]}: {value.decode(errors='replace')}")
        return value

    def pipeline(self, commands, window=2000):
        """Replies of many commands, sent `window` at a time so that neither side's buffers fill up."""
        commands = list(commands)
        replies = []
        for start in range(0, len(commands), window):
            chunk = commands[start : start + window]
            self.socket.sendall(b"".join(encode(command) for command in chunk))
            replies.extend(self.read_many(len(chunk)))
        return replies

    def read_many(self, count):
        """`count` replies, consuming the buffer once per receive instead of once per reply."""
        values = []
        position = 0
        while len(values) < count:
            try:
                frame, position = parse_frame(self._buffer, position)
                if frame[0] == ">":
                    self.pushes.append(frame_value(frame))
                else:
                    values.append(frame_value(frame))
            except Incomplete:
                del self._buffer[:position]
                position = 0
                self._fill()
        del self._buffer[:position]
        return values

    def info(self, section=None):
        """INFO as a dict of str."""
        text = self.ok("INFO", section) if section else self.ok("INFO")
        return parse_info(text)


def parse_info(text):
    """`name:value` lines, as INFO and CLUSTER INFO have them, as a dict."""
    fields = {}
    for line in text.decode().splitlines():
        if line and not line.startswith("#") and ":" in line:
            name, value = line.split(":", 1)
            fields[name] = value
    return fields
