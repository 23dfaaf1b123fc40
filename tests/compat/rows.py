"""The command table of a running server, as COMMAND DOCS tells it: what the generator of random commands is fed with."""

from dataclasses import dataclass, field

# Groups whose commands read and write data.
DATA_GROUPS = {
    "string", "bitmap", "hyperloglog", "list", "set", "hash", "sorted-set", "geo", "stream", "generic", "transactions",
}  # fmt: skip
ALSO = {"PUBLISH", "SPUBLISH", "PUBSUB", "SWAPDB", "FLUSHDB", "FLUSHALL", "DBSIZE", "SELECT", "ECHO", "PING"}
# Not for a pair of servers that must stay alike: other processes, other clients, the time, internals of the encoding.
NEVER = {"MIGRATE", "WAIT", "WAITAOF", "PFDEBUG", "PFSELFTEST", "RESTORE-ASKING"}


@dataclass
class Argument:
    name: str
    type: str
    token: bytes | None
    optional: bool
    multiple: bool
    multiple_token: bool
    inner: list = field(default_factory=list)


@dataclass
class Row:
    words: list  # [b"XGROUP", b"CREATE"]
    group: str
    arguments: list

    @property
    def name(self):
        return b" ".join(self.words).decode()


def _argument(fields):
    flags = {bytes(flag) for flag in fields.get(b"flags", [])}
    token = fields.get(b"token")
    return Argument(
        name=fields[b"name"].decode().lower().replace("_", "-"),
        type=fields[b"type"].decode(),
        token=None if token is None else b"" if token == b'""' else token,
        optional=b"optional" in flags,
        multiple=b"multiple" in flags,
        multiple_token=b"multiple_token" in flags,
        inner=[_argument(inner) for inner in fields.get(b"arguments", [])],
    )


def read_rows(server):
    """Row by name ("XGROUP CREATE") of all data commands that the server knows."""
    with server.client(protocol=3) as client:
        docs = client.ok("COMMAND", "DOCS")
    rows = {}
    for name, fields in docs.items():
        name, group = name.decode().upper(), fields.get(b"group", b"").decode()
        if name in NEVER or (group not in DATA_GROUPS and name not in ALSO):
            continue
        group = "transactions" if group == "transactions" else group
        subcommands = fields.get(b"subcommands")
        for inner_name, inner in (subcommands or {name.encode(): fields}).items():
            words = inner_name.upper().split(b"|")
            if words[-1] == b"HELP":
                continue
            row = Row(words, group, [_argument(argument) for argument in inner.get(b"arguments", [])])
            rows[row.name] = row
    return rows
