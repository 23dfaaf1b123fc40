"""Random and adversarial commands, made from the rows of a command table (rows.py) and the values of values.py.

What a generator gives are units: one command, or a few that belong together because only together they can be compared
(a random pick beside what it was picked from, a read whose order is free only in some encodings, a wait without end inside a
transaction). The same seed and rows give the same units.
"""

import random

import checks
from support.slots import key_slot
from values import MEMBERS, PATTERNS, Values

FAMILIES = {
    "string": "k", "bitmap": "b", "hyperloglog": "p", "list": "l", "set": "s", "hash": "h", "sorted-set": "z", "geo": "g", "stream": "x",
}  # fmt: skip
GENERAL = ("generic", "transactions", "pubsub", "server", "connection")
ODD_KEYS = ["", "a b", "\x00\xff", "*", "k" * 300]
# More of what fills, less of what empties. Everything else weighs 1.
WEIGHTS = {
    "LPUSH": 4, "RPUSH": 5, "LSET": 2, "LINSERT": 2, "LMOVE": 2, "SADD": 6, "HSET": 6, "HMSET": 2, "HSETNX": 2, "HINCRBY": 2, "ZADD": 8, "ZINCRBY": 2,
    "XADD": 10, "XGROUP CREATE": 7, "XREADGROUP": 9, "XCLAIM": 2, "XAUTOCLAIM": 2, "XPENDING": 2, "XACK": 1.5, "XINFO STREAM": 2, "XREAD": 2, "XGROUP DESTROY": 0.2, "XDEL": 0.6, "XGROUP DELCONSUMER": 0.4, "XSETID": 0.4,
    "XTRIM": 0.5, "GEOADD": 5, "PFADD": 4, "SET": 4, "APPEND": 2, "SETRANGE": 2, "SETBIT": 4, "BITFIELD": 3, "BITOP": 2, "DEL": 0.7, "UNLINK": 0.5,
    "SPOP": 0.7, "LTRIM": 0.4, "ZREMRANGEBYSCORE": 0.3, "ZREMRANGEBYRANK": 0.3, "ZREMRANGEBYLEX": 0.3, "FLUSHALL": 0.03, "FLUSHDB": 0.03,
    "SWAPDB": 0.1, "SELECT": 0.3, "MULTI": 1.5, "EXEC": 2.5, "DISCARD": 0.3, "OBJECT ENCODING": 3, "SORT": 2, "KEYS": 0.5, "SCAN": 0.5, "RESTORE": 1.5,
    "BLPOP": 0.5, "BRPOP": 0.5, "BLMOVE": 0.5, "BRPOPLPUSH": 0.5, "BLMPOP": 0.5, "BZPOPMIN": 0.5, "BZPOPMAX": 0.5, "BZMPOP": 0.5, "MOVE": 0.5,
    "PUBSUB CHANNELS": 0.1, "PUBSUB NUMPAT": 0.1, "PUBSUB NUMSUB": 0.1, "PUBSUB SHARDCHANNELS": 0.1, "PUBSUB SHARDNUMSUB": 0.1,
    "EXPIRE": 0.7, "PEXPIRE": 0.7, "EXPIREAT": 0.7, "PEXPIREAT": 0.7, "OBJECT FREQ": 0.2, "OBJECT IDLETIME": 0.2, "OBJECT REFCOUNT": 0.2,
}  # fmt: skip
BULK = {"LPUSH", "RPUSH", "SADD", "HSET", "HMSET", "ZADD", "PFADD", "GEOADD"}
NOT_SPOILT = {
    "SETRANGE", "SETBIT", "BITFIELD", "BITFIELD_RO", "SPOP", "SET", "SETEX", "PSETEX", "GETEX", "EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT", "RESTORE",
}  # fmt: skip
LEX = {"ZRANGEBYLEX", "ZREVRANGEBYLEX", "ZLEXCOUNT", "ZREMRANGEBYLEX"}
READS_OF_FREE_ORDER = {"HGETALL", "HKEYS", "HVALS", "SMEMBERS", "HSCAN", "SSCAN", "ZSCAN"}
def _readers(words):
    """(key, group, consumer) of an XREADGROUP."""
    upper = [str(word).upper() for word in words]
    if "STREAMS" not in upper or upper[1] != "GROUP":
        return []
    keys = words[upper.index("STREAMS") + 1 :]
    return [(key, *words[2:4]) for key in keys[: len(keys) // 2]]


CREATE_CONSUMERS = {"XREADGROUP": _readers, "XCLAIM": lambda words: [words[1:4]], "XAUTOCLAIM": lambda words: [words[1:4]]}
RANDOM_PICKS = {"SRANDMEMBER": ("SMEMBERS",), "HRANDFIELD": ("HGETALL",), "ZRANDMEMBER": ("ZRANGE", "0", "-1", "WITHSCORES")}
# Beyond every clock: an id given by the server after it is the next one and not the time.
FAR_STREAM_ID = "99999999999999-*"
# Configurations of a round: names both servers know, and those of one side only, which the other refuses.
SETTINGS = [
    {},
    {"hash-max-listpack-entries": 4, "hash-max-listpack-value": 8, "set-max-intset-entries": 4, "set-max-listpack-entries": 4,
     "set-max-listpack-value": 8, "zset-max-listpack-entries": 4, "zset-max-listpack-value": 8, "list-max-listpack-size": 3,
     "stream-node-max-entries": 3, "hll-sparse-max-bytes": 100},
    {"list-max-listpack-size": -1, "list-compress-depth": 1, "stream-node-max-bytes": 200, "hash-max-listpack-entries": 0,
     "zset-max-listpack-entries": 0, "set-max-intset-entries": 0, "set-max-listpack-entries": 0},
]  # fmt: skip
DEFAULT_SETTINGS = {
    "hash-max-listpack-entries": 128, "hash-max-listpack-value": 64, "set-max-intset-entries": 512, "set-max-listpack-entries": 128,
    "set-max-listpack-value": 64, "zset-max-listpack-entries": 128, "zset-max-listpack-value": 64, "list-max-listpack-size": -2,
    "stream-node-max-entries": 100, "hll-sparse-max-bytes": 3000, "list-compress-depth": 0, "stream-node-max-bytes": 4096,
}  # fmt: skip


# How often the dataset goes into a file and comes back.
RELOADS = 0.002


class Unit:
    __slots__ = ("commands", "check")

    def __init__(self, commands, check=None):
        self.commands = commands
        self.check = check


class _Context:
    """What arguments of one command must agree on."""

    def __init__(self, command):
        self.command = command
        self.keys = None  # how many, when something says so
        self.tokens = set()
        self.bulk = None


class Generator:
    def __init__(self, seed, rows, payloads=(), cluster=False, families=None, muted=()):
        self.random = random.Random(seed)
        self.cluster = cluster
        self.payloads = payloads
        chosen = list(families) if families else self.random.sample(sorted(FAMILIES), self.random.choice((1, 2, 2, 3, 9)))
        self.prefixes = [FAMILIES[family] for family in chosen]
        # All keys of a cluster in one slot of the first node, but for a few.
        tag = next("{{" + f"t{i}" + "}}" for i in range(100) if key_slot(f"t{i}") < 8192)
        self.key_format = tag + "{}" if cluster else "{}"
        self.values = Values(self.random, self.key_format)
        self.rows = [
            row for row in rows
            if row.name not in muted and row.name.split()[0] not in muted and (row.group in chosen or row.group in GENERAL)
        ]  # fmt: skip
        self.weights = [WEIGHTS.get(row.name, 1) * (0.25 if row.group in GENERAL else 1) for row in self.rows]
        self.settings = dict(self.random.choice(SETTINGS))
        self.reloaded = False

    def unit(self):
        # A stream forgets in a file how its nodes were filled, on which approximate trimming depends.
        if self.random.random() < RELOADS and "x" not in self.prefixes:
            self.reloaded = True
            return self._unit([("DEBUG", "RELOAD")])
        row = self.random.choices(self.rows, self.weights)[0]
        return self.unit_of(row)

    def unit_of(self, row):
        words = self.command(row)
        name, pick = row.name, self.random.random
        first = row.words[0].decode()
        if name in RANDOM_PICKS and len(words) > 1:
            source = RANDOM_PICKS[name]
            return self._unit([source[:1] + (words[1],) + source[1:], words], checks.picked_from(name))
        if name == "SPOP" and len(words) > 1:
            # The states may differ afterwards: what is left of the key goes too.
            return self._unit([("SMEMBERS", words[1]), words, ("SMEMBERS", words[1]), ("DEL", words[1])], checks.popped)
        if name in READS_OF_FREE_ORDER and len(words) > 1:
            # A table may come back from a file as a packed value, in the order of the table.
            return self._unit([("OBJECT", "ENCODING", words[1]), words], checks.in_any_order if self.reloaded else checks.ordered_when_packed)
        if (name in LEX or "BYLEX" in [str(word).upper() for word in words]) and len(words) > 1:
            # Between members of different scores the alphabet says nothing: all get the same.
            key = words[2] if name == "ZRANGESTORE" and len(words) > 2 else words[1]
            return self._unit([("ZUNIONSTORE", key, 1, key, "WEIGHTS", 0), words])
        if name in CREATE_CONSUMERS and len(words) > 3:
            # 7.2 creates the consumer even where there is nothing for it.
            commands = [("XGROUP", "CREATECONSUMER", key, *who) for key, *who in CREATE_CONSUMERS[name](words)]
            in_transaction = "BLOCK" in words and pick() < 0.3
            return self._unit(commands + ([("MULTI",), self._endless(words), ("EXEC",)] if in_transaction else [words]))
        if name in ("SORT", "SORT_RO"):
            # A number out of range in an earlier command, or among the scores of a small sorted set that becomes a large
            # one, makes the reference refuse a SORT by numbers until something clears its errno: reading a cursor does.
            first = [("SORT", words[1], "BY", "nothing", "LIMIT", 0, 0)] if len(words) > 1 else []
            return self._unit([*first, ("HSCAN", self.key_format.format("none"), 0), words])
        if name == "XSETID" and len(words) > 1:
            # 7.2 refuses an id below one that was deleted.
            return self._unit([words, ("DEL", words[1])])
        if name == "XADD" and "*" in words[2:-1]:
            words[1] = self.key_format.format("x9")
            return self._unit([("XADD", words[1], FAR_STREAM_ID, "a", "b"), words])
        if (first.startswith("B") and row.group in ("list", "sorted-set")) or "BLOCK" in words:
            if pick() < 0.3:
                return self._unit([("MULTI",), self._endless(words), ("EXEC",)])
        if pick() < 0.01 and len(words) > 1:
            return self._unit([["COMMAND", self.values.pick("GETKEYS", "GETKEYSANDFLAGS"), *words]])
        return self._unit([words])

    def _unit(self, commands, check=None):
        return Unit([[w if isinstance(w, bytes) else str(w).encode("latin-1") for w in words] for words in commands], check)

    def _endless(self, words):
        """The same command, waiting without end."""
        words = list(words)
        if "BLOCK" in words[:-1]:
            words[words.index("BLOCK") + 1] = 0
        elif words[0].upper() in ("BLMPOP", "BZMPOP"):
            words[1:2] = [0]
        else:
            words[-1] = 0
        return words

    # ---- one command from its row

    def command(self, row):
        context = _Context(row.name)
        if row.name in ("XREAD", "XREADGROUP"):
            context.keys = self.random.choice((1, 1, 1, 1, 2, 3))
        words = [word.decode() for word in row.words]
        words += [word(context) if callable(word) else word for word in self._sequence(row.arguments, context)]
        return _without_traps(row, self._spoilt(row, self._tamed(row, words)))

    def _sequence(self, arguments, context):
        """Words of all arguments; neighbouring optional ones in any order."""
        words, run = [], []
        shuffle = self.random.random() < 0.3
        for argument in [*arguments, None]:
            if argument is not None and argument.optional and shuffle:
                run.append(self._argument(argument, context))
                continue
            if run:
                self.random.shuffle(run)
                for piece in run:
                    words += piece
                run = []
            if argument is not None:
                words += self._argument(argument, context)
        return words

    def _argument(self, argument, context):
        draw = self.random.random
        if argument.name == "mkstream":
            return [self._token(b"MKSTREAM", context)] if draw() < 0.8 else []
        if argument.optional and draw() > (0.5 if argument.type == "block" else 0.3):
            return []
        times = 1
        if argument.multiple:
            times = self._times(argument, context)
        words = []
        for turn in range(times):
            if argument.token is not None and argument.type != "pure-token" and (turn == 0 or argument.multiple_token):
                words.append(self._token(argument.token, context))
            words += self._once(argument, context, turn)
        context.bulk = None
        return words

    def _times(self, argument, context):
        if context.keys is not None and (argument.type == "key" or argument.name in ("weight", "id")):
            return context.keys if self.random.random() < 0.97 else context.keys + 1
        if context.command in BULK and self.random.random() < 0.012:
            context.bulk = self.random.choice(("m{}", "{}", "{}", "f{}" + "x" * 20))
            return self.random.choice((20, 130, 140, 520, 600))
        return self.random.choice((1, 1, 1, 2, 2, 3, 5))

    def _once(self, argument, context, turn):
        kind = argument.type
        if kind == "oneof":
            return self._argument(self.random.choice(argument.inner), context)
        if kind == "block":
            bulk = context.bulk
            words = []
            for inner in argument.inner:
                context.bulk = bulk
                words += [bulk.format(turn)] if bulk and inner.name in ("member", "field", "element") else self._argument(inner, context)
            context.bulk = bulk
            return words
        if kind == "pure-token":
            return [self._token(argument.token or b"", context)]
        if kind == "key":
            return [self.key(context.command)]
        if context.bulk and kind == "string":
            return [context.bulk.format(turn)]
        name = argument.name
        if name == "numkeys":
            context.keys = self.random.choice((1, 1, 2, 2, 3))
            return [context.keys if self.random.random() < 0.96 else self.values.pick(0, -1, "x", context.keys + 1, "9223372036854775807", "")]
        if name == "serialized-value":
            return [self._payload()]
        if name == "threshold":
            return [self.values.id() if "MINID" in context.tokens else self.values.integer(0, 1, 2, 3, 5, 10, 20)]
        if name in ("start", "stop", "min", "max") and context.command in ("ZRANGE", "ZRANGESTORE"):
            return [self._bound]
        return [self.values.of(context.command, argument)]

    def _bound(self, context):
        """Bounds of ZRANGE come before the word that says what they bound."""
        if self.random.random() < 0.03:
            return self.values.value()
        if "BYLEX" in context.tokens:
            return self.values.range_lex()
        return self.values.range_score() if "BYSCORE" in context.tokens else self.values.index()

    def _token(self, token, context):
        word = token.decode()
        context.tokens.add(word)
        return word if self.random.random() < 0.93 else word.lower()

    def _payload(self):
        """Of DUMP; now and then damaged, which its checksum tells."""
        payload = self.random.choice(self.payloads) if self.payloads else b""
        chance = self.random.random()
        if chance < 0.08 and payload:
            at = self.random.randrange(len(payload))
            return payload[:at] + bytes([payload[at] ^ (1 << self.random.randrange(8))]) + payload[at + 1 :]
        return payload[: self.random.randrange(len(payload) + 1)] if chance < 0.1 else payload

    def key(self, command):
        draw = self.random.random()
        if draw < 0.015:
            name = self.random.choice(ODD_KEYS)
            return name if not self.cluster or self.random.random() < 0.2 else self.key_format.format(name)
        prefix = None
        if draw < 0.94:
            prefix = self._prefix_of(command)
        prefix = prefix or self.random.choice(self.prefixes)
        # What happens to a stream's groups takes several commands on the same key.
        name = f"{prefix}{self.random.choice((1, 1, 1, 1, 1, 2) if prefix == 'x' else (1, 1, 2, 2, 3, 4))}"
        if self.cluster and self.random.random() < 0.01:
            return name
        return self.key_format.format(name)

    def _prefix_of(self, command):
        for family, commands in _COMMANDS_OF.items():
            if command in commands:
                return FAMILIES[family] if FAMILIES[family] in self.prefixes else None
        return None

    def _tamed(self, row, words):
        """Takes away what two correct servers may answer differently for ever after."""
        if row.name in ("SORT", "SORT_RO"):
            upper = [str(word).upper() for word in words]
            # Elements with equal weights come in no particular order: they may be read, not stored.
            if "STORE" in upper and "BY" in upper:
                at = upper.index("STORE")
                del words[at : at + 2]
        if row.name == "ZADD" and "INCR" in words and self.random.random() < 0.8:
            # Takes one pair; more are refused.
            return words[: words.index("INCR") + 1] + [word for word in words[2:] if word in ("CH", "GT", "LT", "NX", "XX")][:1] + words[-2:]
        if row.name == "LCS":
            words[1:3] = [self.key_format.format(self.random.choice(("k1", "k2", "k3"))) for _ in words[1:3]]
        return words

    def _spoilt(self, row, words):
        chance = self.random.random()
        if chance < 0.1:
            words[0] = words[0].lower()
        if chance > 0.03 or row.name in ("SWAPDB", "FLUSHALL", "FLUSHDB", "SELECT", "SUBSCRIBE", "PSUBSCRIBE"):
            return words
        # Waits stay short, moments far and counts of random picks small, so those keep their arguments.
        kept = len(row.words) + 1
        if row.words[0].startswith(b"B") or b"RAND" in row.words[0] or "BLOCK" in words or row.name in NOT_SPOILT:
            return words[: self.random.randrange(len(row.words), len(words) + 1)]
        if len(words) <= kept or chance < 0.01:
            return words[: self.random.randrange(len(row.words), len(words) + 1)]
        at = self.random.randrange(kept, len(words))
        if chance < 0.015:
            return words[:at] + [self.values.value()] + words[at:]
        if chance < 0.02:
            words[at], words[-1] = words[-1], words[at]
        else:
            words[at] = self.values.value()
        return words


_COMMANDS_OF = {}


def _without_traps(row, words):
    """Arguments that 7.0 and 7.2 take differently become others."""
    if row.name in ("LREM", "LPOS"):  # 7.0 takes the least integer, which cannot be negated, and 7.2 refuses it
        return ["-9223372036854775807" if str(word) == "-9223372036854775808" else word for word in words]
    if row.name in ("ZRANK", "ZREVRANK"):  # 7.0 does not know WITHSCORE, and says so by the arity already
        return words[:3]
    return words


def learn_families(rows):
    """Says which commands belong to which family, by their rows."""
    for row in rows:
        if row.group in FAMILIES:
            _COMMANDS_OF.setdefault(row.group, set()).add(row.name)
