"""What two correct servers may answer differently: hooks that take the freedom out of a reply, and the named differences
between the reference (Redis 7.0) and what Tessera follows (Redis 7.2)."""

import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.rdb import decode_dump

# Milliseconds by which the clocks of two servers may differ that get their commands at the same time.
_SLACK_MS = 1500
_began = time.monotonic()


def begin():
    """Both servers are empty: whatever depends on the clock is made from now on."""
    global _began
    _began = time.monotonic()


def slack_ms():
    """By how much moments may differ: one of the two may have been held up ever since the beginning."""
    return _SLACK_MS + (time.monotonic() - _began) * 1000


def same(a, b):
    return a == b


def any_order(a, b):
    """The same elements in whatever order, at every depth."""
    return _sorted(a) == _sorted(b)


def _sorted(frame):
    kind, payload = frame
    if not isinstance(payload, list):
        return frame
    items = [_sorted(item) for item in payload]
    if kind == "%":
        pairs = sorted(zip(items[::2], items[1::2]), key=repr)
        return kind, [item for pair in pairs for item in pair]
    return kind, sorted(items, key=repr)


def pairs(a, b):
    """A flat list of name, value, name, value in RESP2, a map in RESP3: order of the names is free."""
    return _pairs(a) == _pairs(b)


def _pairs(frame):
    kind, payload = frame
    if not isinstance(payload, list):
        return frame
    return kind, sorted(zip(payload[::2], payload[1::2]), key=repr)


def shape(a, b):
    """The same types all the way down, lists of one type compared by their first element only."""
    return _shape(a) == _shape(b)


def _shape(frame):
    kind, payload = frame
    if isinstance(payload, list):
        return kind, sorted({repr(_shape(item)) for item in payload})
    return kind, payload is None


def type_only(a, b):
    return a[0] == b[0] and (a[1] is None) == (b[1] is None)


def scan_step(a, b):
    """One step of SCAN: cursor and keys depend on each table's order; only errors and the form of the reply compare."""
    if a[0] != "*" or b[0] != "*":
        return a == b
    return [item[0] for item in a[1]] == [item[0] for item in b[1]]


def near(a, b, unit_ms=1):
    """Integers that depend on the clock; -1, -2 and 0 are exact."""
    if a == b:
        return True
    if a[0] != ":" or b[0] != ":":
        return False
    x, y = int(a[1]), int(b[1])
    return x > 0 and y > 0 and abs(x - y) * unit_ms <= slack_ms()


def near_s(a, b):
    return near(a, b, 1000)


def dump(a, b):
    """DUMP payloads of strings by what they hold: version, checksum and the compressor's choices are free. Other types: there
    is one; that each loads the other's is compared with RESTORE."""
    if a[0] != "$" or b[0] != "$" or a[1] is None or b[1] is None:
        return a == b
    held = decode_dump(a[1]), decode_dump(b[1])
    return held[0] == held[1] or 0 not in (held[0][0], held[1][0])


def scan(a, b):
    """A SCAN that came to its end found the same; one step of several depends on each table's order."""
    if a[0] != "*" or b[0] != "*":
        return a == b
    if a[1][0] == b[1][0] == ("$", b"0"):
        return any_order(a, b)
    return scan_step(a, b)


def pending(a, b):
    """XPENDING with a range: [id, consumer, milliseconds since, times] each."""
    return _without_idle(a) == _without_idle(b)


def _without_idle(frame):
    kind, payload = frame
    if not isinstance(payload, list):
        return frame
    rows = [row[1] if row[0] == "*" and isinstance(row[1], list) else row for row in payload]
    return kind, [[*row[:2], row[3]] if isinstance(row, list) and len(row) == 4 and row[2][0] == ":" else row for row in rows]


_MOMENTS = {b"idle", b"inactive", b"seen-time", b"active-time"}
_OF_THE_TREE = {b"radix-tree-keys", b"radix-tree-nodes"}


def stream_info(a, b):
    """XINFO: moments are free; 7.2 says of a consumer when it was active too; how a stream is kept in memory is free."""
    return _stream_info(a) == _stream_info(b)


def _stream_info(frame, name=None):
    kind, payload = frame
    if not isinstance(payload, list):
        return frame
    names = payload[::2]
    if len(payload) % 2 == 0 and payload and all(n[0] == "$" and n[1] is not None and n[1].islower() for n in names):
        kept = [(n[1], _stream_info(v, n[1])) for n, v in zip(names, payload[1::2]) if n[1] not in _MOMENTS | _OF_THE_TREE]
        return kind, kept
    if name in (b"pending", b"pel"):
        # [id, consumer, delivery time, count] of a group, [id, delivery time, count] of a consumer.
        return kind, [[*row[1][:-2], row[1][-1]] for row in payload]
    return kind, [_stream_info(item) for item in payload]


def without_notes(a, b):
    """COMMAND INFO: the notes of key specifications are prose."""
    return _without_notes(a) == _without_notes(b)


def _without_notes(frame):
    kind, payload = frame
    if not isinstance(payload, list):
        return frame
    items = [_without_notes(item) for item in payload]
    if items and items[0] == ("$", b"notes"):
        items = items[2:]
    return kind, sorted(items, key=repr) if kind in "*~" else items


def hello(a, b):
    def without_free(frame):
        kind, payload = frame
        if not isinstance(payload, list):
            return frame
        fields = {name[1]: value for name, value in zip(payload[::2], payload[1::2])}
        return kind, [(name, None if name in (b"version", b"id") else value) for name, value in sorted(fields.items())]

    return without_free(a) == without_free(b)


def cluster_text(a, b):
    """CLUSTER NODES and the like: times are free, and so is the order of the lines."""

    def lines(frame):
        if not isinstance(frame[1], bytes):
            return frame
        text = frame[1].removeprefix(b"txt:") if frame[0] == "=" else frame[1]
        text = re.sub(rb" \d+ \d+ (\d+ (?:dis)?connected)", rb" T T \1", text)
        return frame[0], sorted(text.split(b"\n"))

    return lines(a) == lines(b)


def fields(a, b):
    """`name:value` lines: the same names, whatever the values."""

    def names(frame):
        return frame[0], {line.split(b":")[0] for line in frame[1].split(b"\r\n")} if isinstance(frame[1], bytes) else frame[1]

    return names(a) == names(b)


def monitor(a, b):
    """Lines of MONITOR without time and address."""

    def blank(frame):
        if isinstance(frame[1], list):
            return frame[0], [blank(item) for item in frame[1]]
        return frame[0], re.sub(rb"^\d+\.\d{6} \[(\d+) [0-9.:]+\]", rb"T [\1 A]", frame[1])

    return blank(a) == blank(b)


def client_flags(a, b):
    """Lines of CLIENT LIST by what they say of the client's state."""

    def lines(frame):
        return frame[0], re.findall(rb" (?:name|flags|db|sub|psub|ssub|multi|cmd|user|redir|resp)=\S*|\n", frame[1])

    return lines(a) == lines(b)


HOOKS = {
    "scan": scan, "stream": stream_info, "pending": pending,
    "same": same, "sorted": any_order, "row": without_notes, "pairs": pairs, "shape": shape, "type": type_only,
    "near": near, "dump": dump, "monitor": monitor, "flags": client_flags,
    "hello": hello, "cluster": cluster_text, "fields": fields, "skip": lambda a, b: True,
}  # fmt: skip

# By command, or by command and subcommand. A case may name another hook in front of its command.
DEFAULT_HOOKS = {
    "KEYS": any_order, "RANDOMKEY": type_only, "TTL": near_s, "PTTL": near, "EXPIRETIME": near_s, "PEXPIRETIME": near,
    "TIME": shape, "LASTSAVE": type_only, "SCAN": scan, "DUMP": dump, "INFO": type_only, "HELLO": hello,
    "OBJECT IDLETIME": type_only, "OBJECT FREQ": type_only, "OBJECT REFCOUNT": type_only, "MEMORY USAGE": type_only,
    "CLIENT ID": type_only, "CLIENT LIST": type_only, "CLIENT INFO": type_only, "CONFIG GET": pairs,
    "LOLWUT": type_only,
    "SUNION": any_order, "SINTER": any_order, "SDIFF": any_order, "SMEMBERS": any_order, "HGETALL": pairs, "HKEYS": any_order,
    "HVALS": any_order, "SPOP": shape, "SRANDMEMBER": shape, "HRANDFIELD": shape, "ZRANDMEMBER": shape,
    "XPENDING": pending, "XINFO STREAM": stream_info, "XINFO CONSUMERS": stream_info,
    "COMMAND LIST": type_only, "COMMAND COUNT": type_only, "COMMAND DOCS": shape, "COMMAND GETKEYSANDFLAGS": any_order,
    "CLUSTER NODES": cluster_text, "CLUSTER REPLICAS": cluster_text, "CLUSTER SHARDS": shape, "CLUSTER LINKS": shape,
    "CLUSTER INFO": type_only, "SLOWLOG GET": shape, "SLOWLOG LEN": type_only, "LATENCY LATEST": shape,
    # Help texts are written by each server's makers.
    "XINFO HELP": shape, "XGROUP HELP": shape, "PUBSUB HELP": shape, "CLIENT HELP": shape, "OBJECT HELP": shape, "CONFIG HELP": shape, "CLUSTER HELP": shape, "COMMAND HELP": shape,
    "MEMORY HELP": shape, "SLOWLOG HELP": shape,
}  # fmt: skip

# (name, reason, command, A's reply, B's reply): regular expressions on the command line and on both replies as text. A
# difference that fits is counted, not reported.
EXPECTED = [
    (
        "lists of streams in 7.2",
        "the text names the command as it was called, and what XREADGROUP wants",
        r"^XREAD(GROUP)?\b",
        r"^-ERR Unbalanced 'xread(group)?' list",
        r"^-ERR Unbalanced XREAD list",
    ),
    (
        "the last sequence number in 7.2",
        "no sequence number left is an id too small; 7.0 speaks of too large elements",
        r"^XADD\b",
        r"^-ERR The ID specified in XADD is equal or smaller",
        r"^-ERR Elements are too large",
    ),
    (
        "XSETID of 7.2",
        "an id below the youngest that was deleted is refused",
        r"^XSETID\b",
        r"^-ERR The ID specified in XSETID is smaller than current max_deleted",
        r"^(\+OK$|-ERR The (ID|entries_added) specified in XSETID is smaller than the target stream)",
    ),
    (
        "readers that wait in 7.2",
        "the command runs again and finds that key, type or group are gone",
        r"",
        r"^-(NOGROUP No such key|WRONGTYPE)",
        r"^-(UNBLOCKED the stream key|NOGROUP the consumer group this client)",
    ),
    (
        "readers of several streams in 7.2",
        "the command runs again and finds what came in all of them; 7.0 tells of the first stream",
        r"^EXEC$",
        r"^[*%]\[.*\$s, .*\$t, ",
        r"^[*%]\[.*\$[st], ",
    ),
    (
        "timeouts of 7.2",
        "a timeout beyond all clocks has an error of its own; 7.0 lets it overflow",
        r"^(B|WAIT|XREAD|CLIENT PAUSE)",
        r"^-ERR timeout is out of range",
        r".",
    ),
    (
        "encodings of 7.2",
        "short lists are listpacks; 7.0 calls all of them quicklists",
        r"^OBJECT ENCODING ",
        r"^\$listpack$",
        r"^\$quicklist$",
    ),
    (
        "COMMAND GETKEYS of 7.2",
        "7.2 takes commands without arguments and says what is wrong with them",
        r"^COMMAND GETKEYS",
        r"^-ERR (The command has no key|Invalid )",
        r"wrong number of arguments for 'command\|getkeys",
    ),
    (
        "HELLO of 7.2",
        "the text names <proto>; SETNAME takes effect only when authentication succeeded",
        r"^(HELLO|CLIENT GETNAME)",
        r"NOAUTH HELLO must|^\$good$",
        r"NOAUTH HELLO must|^\$other$",
    ),
    (
        "loglevel nothing",
        "7.2 added the level, so its list is longer",
        r"^CONFIG SET LOGLEVEL",
        r"warning, nothing$",
        r"notice, warning$",
    ),
    (
        "rows of 7.2",
        "tips and flags that 7.2 added; MIGRATE does not stop the server here, so it cannot run inside MULTI",
        r"^COMMAND INFO (RANDOMKEY|SCAN|WAIT|MIGRATE)$",
        r"response_policy|blocking|no_multi",
        r".",
    ),
    (
        "new in 7.2",
        "the reference does not know the command yet",
        r"^(WAITAOF|CLIENT (NO-TOUCH|SETINFO)|CLUSTER MYSHARDID)\b",
        r".",
        r"unknown (sub)?command",
    ),
    (
        "sets by the number of arguments",
        "7.2 chooses the encoding of a new set by how many members the command names, repeated ones too",
        r"^OBJECT ENCODING ",
        r"^\$(listpack|hashtable)$",
        r"^\$intset$",
    ),
    (
        "sorted sets by the number of arguments",
        "7.2 chooses the encoding of a new sorted set by how many members the command names, repeated ones too",
        r"^OBJECT ENCODING ",
        r"^\$skiplist$",
        r"^\$listpack$",
    ),
    (
        "HSCAN NOVALUES of 7.4",
        "came with the expiry of fields",
        r"^HSCAN .*\bNOVALUES\b",
        r".",
        r"syntax error",
    ),
    (
        "BITCOUNT and BITPOS of 7.2",
        "7.2 reads all arguments before it looks at the key",
        r"^(BITCOUNT|BITPOS)\b",
        r"^-ERR (syntax|value is not)",
        r"^(:|-WRONGTYPE)",
    ),
    (
        "least integers of 7.2",
        "7.2 refuses a count or rank that cannot be negated, 7.0 takes it",
        r"^(LREM \S+|LPOS .*RANK) -9223372036854775808\b",
        r"^-ERR value is out of range",
        r".",
    ),
    (
        "keys of a PFMERGE without sources",
        "the target is a key even if nothing is merged into it",
        r"^COMMAND GETKEYS(ANDFLAGS)? PFMERGE ",
        r"^\*\[(\$[^,]*|\*\[\$[^,]*, [*~]\[[^]]*\]\])\]$",
        r"^-ERR Invalid arguments",
    ),
    (
        "ZRANK WITHSCORE of 7.2",
        "the reference does not know the option",
        r"^Z(REV)?RANK \S* \S* .",
        r"^[*_]|^-ERR syntax",
        r"^-ERR wrong number of arguments",
    ),
    (
        "expiries of far future",
        "an expiry is kept in 48 bits of milliseconds: later than the year 10889 is cut to that",
        r"^(P?EXPIRETIME|P?TTL)\b",
        r"^:2[78]\d{10}(\d{3})?$",
        r"^:922\d{10,16}$",
    ),
    (
        "expiries of far future compared",
        "two expiries that are both cut to 48 bits are equal",
        r"^P?EXPIRE(AT)? .* 922337203685477\d* .*\b(GT|LT)\b",
        r"^:0$",
        r"^:1$",
    ),
    (
        "small sets of 7.2",
        "a small set with other members than integers is a listpack",
        r"^OBJECT ENCODING ",
        r"^\$listpack$",
        r"^\$hashtable$",
    ),
    (
        "INFO and CLIENT fields of 7.2",
        "7.2 adds fields such as lib-name; the reference has fewer",
        r"^CLIENT (INFO|LIST)",
        r".",
        r".",
    ),
]


# (name, reason, command): commands whose keyspace events differ.
EXPECTED_EVENTS = [
    ("XSETID of 7.2", "refused below the youngest id that was deleted", r"^XSETID\b"),
    ("BITCOUNT and BITPOS of 7.2", "refused before the key is looked at", r"^(BITCOUNT|BITPOS)\b"),
]


def expected_event(arguments):
    command = b" ".join(arguments).decode(errors="replace").upper()
    for name, _, pattern in EXPECTED_EVENTS:
        if re.search(pattern, command):
            return name
    return None


def _hook_of_sort(arguments):
    """Only where the order is free: BY something that is equal for several elements, a set as it lies, or ALPHA, for which a
    string ends at a NUL."""
    upper = [word.upper() for word in arguments]
    free = shape if b"LIMIT" in upper else any_order
    if b"BY" in upper:
        return free
    return (lambda a, b: a == b or ("\\x00" in text(a) + text(b) and free(a, b))) if b"ALPHA" in upper else same


def hook_for(arguments):
    words = [argument.decode(errors="replace").upper() for argument in arguments[:2]]
    if not words:
        return same
    if words[0] in ("SORT", "SORT_RO"):
        return _hook_of_sort(arguments)
    hook = DEFAULT_HOOKS.get(" ".join(words)) or DEFAULT_HOOKS.get(words[0]) or same
    if words[0].startswith(("Z", "BZ", "GEO")):
        return lambda a, b: hook(_numbers(a), _numbers(b))
    return hook


def _numbers(frame):
    """7.2 writes a double with the fewest digits that tell it from its neighbours, 7.0 with 17: the value counts. A small
    sorted set of the reference forgets the sign of a zero."""
    kind, payload = frame
    if isinstance(payload, list):
        return kind, [_numbers(item) for item in payload]
    if kind in (",", "$") and isinstance(payload, (bytes, str)):
        word = payload.decode(errors="replace") if isinstance(payload, bytes) else payload
        if re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", word):
            return kind, float(word) + 0.0
    return frame


def text(frame):
    """A reply on one line, types included."""
    kind, payload = frame
    if isinstance(payload, list):
        return f"{kind}[{', '.join(text(item) for item in payload)}]"
    if payload is None:
        return f"{kind}null"
    return kind + ascii(payload.decode("latin-1"))[1:-1]


def show(command):
    """A command as a line of a script for cases/."""
    words = []
    for word in command:
        text = "".join(chr(c) if 32 <= c < 127 and c not in b"\"\\" else f"\\x{c:02x}" for c in word)
        words.append(f'"{text}"' if not text or set(text) - set("*-_.:{}+") and not text.replace("_", "a").isalnum() else text)
    return " ".join(words)


def expected_difference(arguments, a, b):
    """The name of the expected difference that these replies are, or None."""
    command = b" ".join(arguments).decode(errors="replace").upper()
    for name, _, command_pattern, a_pattern, b_pattern in EXPECTED:
        if re.search(command_pattern, command, re.S) and re.search(a_pattern, text(a)) and re.search(b_pattern, text(b)):
            return name
    return None
