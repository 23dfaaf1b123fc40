"""Everything a server holds, read with each type's own commands and brought into one order: what two servers that hold the same
must have in common. Streams include their groups, consumers and pending entries."""

from .resp import Error

# Of the implementation or of the moment of asking, not of the contents.
_FREE_STREAM_FIELDS = {b"radix-tree-keys", b"radix-tree-nodes"}
_FREE_CONSUMER_FIELDS = {b"seen-time", b"active-time", b"idle", b"inactive"}


def _pairs(flat):
    if isinstance(flat, dict):
        return list(flat.items())
    return list(zip(flat[::2], flat[1::2]))


def _stream(entries, info):
    """Entries and XINFO STREAM FULL as plain tuples, delivery times, and what of it commands carry to a replica or a log: Redis
    does not tell them of consumers without entries, of what was read again, and of a group's number of entries read."""
    fields = dict(_pairs(info))
    by_name = {}
    head = tuple(sorted((k, v) for k, v in fields.items() if k not in _FREE_STREAM_FIELDS | {b"entries", b"groups"}))
    times, groups = [], []
    for group in fields.get(b"groups", []):
        group = dict(_pairs(group))
        consumers = []
        for consumer in group.pop(b"consumers"):
            consumer = {k: v for k, v in _pairs(consumer) if k not in _FREE_CONSUMER_FIELDS}
            pending = consumer.pop(b"pending", [])
            if not isinstance(pending, int):
                times += [entry[1] for entry in pending]
                pending = tuple((entry[0], entry[2]) for entry in pending)
            consumers.append((tuple(sorted(consumer.items(), key=repr)), pending))
        pending = group.pop(b"pending", [])
        if not isinstance(pending, int):
            times += [entry[2] for entry in pending]
            pending = tuple((entry[0], entry[1], entry[3]) for entry in pending)
        by_name[group[b"name"]] = group[b"last-delivered-id"], tuple(entry[:2] for entry in pending) if isinstance(pending, tuple) else pending
        groups.append((group[b"name"], tuple(sorted(group.items(), key=repr)), tuple(sorted(consumers, key=repr)), pending))
    entries = _frozen(entries)
    return ("stream", entries, head, tuple(sorted(groups, key=repr))), tuple(times), ("stream", entries, head, tuple(sorted(by_name.items())))


def _frozen(value):
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return tuple(sorted(_pairs(value))) if isinstance(value, dict) else value


_READS = {
    b"string": lambda key: [("GET", key)],
    b"list": lambda key: [("LRANGE", key, 0, -1)],
    b"set": lambda key: [("SMEMBERS", key)],
    b"hash": lambda key: [("HGETALL", key)],
    b"zset": lambda key: [("ZRANGE", key, 0, -1, "WITHSCORES")],
    b"stream": lambda key: [("XRANGE", key, "-", "+"), ("XINFO", "STREAM", key, "FULL", "COUNT", 0)],
}


def _content(kind, replies):
    """(comparable content, delivery times of streams, propagated content)."""
    if any(isinstance(reply, Error) for reply in replies):
        return (kind.decode(), tuple(replies)), (), (kind.decode(), tuple(replies))
    if kind == b"stream":
        return _stream(*replies)
    reply = replies[0]
    if kind == b"set":
        reply = sorted(reply)
    elif kind == b"hash":
        reply = sorted(_pairs(reply))
    elif kind == b"zset":
        # Versions write a double with the digits they like; a small sorted set forgets the sign of a zero.
        pairs = [tuple(pair) for pair in reply] if reply and isinstance(reply[0], list) else list(zip(reply[::2], reply[1::2]))
        reply = [word for member, score in pairs for word in (member, repr(float(score) + 0.0).encode())]
    content = kind.decode(), _frozen(reply)
    return content, (), content


# Tessera keeps an expiry in 48 bits.
_LAST_MOMENT_MS = (1 << 48) - 1


class Held:
    """One key: type and content, encoding, moment of expiry in ms (-1: none), delivery times of pending entries."""

    __slots__ = ("content", "encoding", "expires_at_ms", "times", "carried")

    def __init__(self, content, encoding, expires_at_ms, times, carried):
        self.content, self.encoding, self.expires_at_ms, self.times, self.carried = content, encoding, expires_at_ms, times, carried

    def exact(self):
        """For two servers of which one got its data from the other's file."""
        content = self.content
        return content, min(self.expires_at_ms, _LAST_MOMENT_MS), self.times

    def propagated(self):
        """The same, got as commands."""
        return self.carried, min(self.expires_at_ms, _LAST_MOMENT_MS)

    def rewritten(self):
        """The same, got as commands made from the contents: they cannot say that an entry is pending which is gone."""
        carried, expires_at_ms = self.propagated()
        if carried[0] == "stream" and len(carried) == 4:
            ids = {entry[0] for entry in carried[1]}
            groups = tuple((name, (last_id, tuple(entry for entry in pending if entry[0] in ids))) for name, (last_id, pending) in carried[3])
            carried = (*carried[:3], groups)
        return carried, expires_at_ms


def read_database(client):
    """{key: Held} of the selected database."""
    keys = sorted(client.ok("KEYS", "*"))
    kinds = client.pipeline([("TYPE", key) for key in keys])
    commands, plan = [], []
    for key, kind in zip(keys, kinds):
        if kind not in _READS:
            continue
        reads = _READS[kind](key)
        plan.append((key, kind, len(reads)))
        commands += [("PEXPIRETIME", key), ("OBJECT", "ENCODING", key), *reads]
    replies = iter(client.pipeline(commands))
    held = {}
    for key, kind, count in plan:
        expires_at_ms, encoding = next(replies), next(replies)
        content, times, carried = _content(kind, [next(replies) for _ in range(count)])
        # A key past its time may still be listed.
        if expires_at_ms != -2:
            held[key] = Held(content, encoding, expires_at_ms, times, carried)
    return held


def not_expired(held, now_ms):
    """Of views as read_all gives them, those whose moment has not come."""
    return {key: view for key, view in held.items() if not 0 <= view[1] <= now_ms}


def read_all(server, databases=16, view=Held.exact):
    """{(database, key): view} of a whole server."""
    held = {}
    with server.client() as client:
        for database in range(databases):
            client.ok("SELECT", database)
            held.update({(database, key): view(value) for key, value in read_database(client).items()})
    return held
