"""What random arguments are made of: by name and type of the argument, mostly sensible, sometimes nasty."""

LIMITS = [
    "9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809", "18446744073709551615",
    "4294967295", "4294967296", "2147483648", "-2147483649",
]  # fmt: skip
NOT_INTEGERS = ["+1", "-0", "01", "1.0", " 1", "1 ", "", "abc", "0x10", "1e3", "\x001"]
FLOATS = [
    "0", "1", "-1", "0.1", "3.0e3", "1e-5", "1.5", "-2.25", "1e308", "5e-324", "123456789.987654321", "10000000000000000000000",
    "3.141592653589793238", "-0.0", ".5", "5.", "0x1p3", "17179869184", "4503599627370497.5",
]  # fmt: skip
INFINITIES = ["inf", "-inf", "+inf", "Infinity", "-INF"]
NOT_FLOATS = ["nan", "1e309", "-1e400", "abc", "", " 1", "1 ", "1e", "1x", "\x001"]
# Around the sizes at which encodings change, and what a careless parser or printer would stumble over.
NASTY = [
    "", "0", "-0", "007", "1.5", "nan", "inf", "\x00\x01\xff", "\r\n", "a\x00b", "e" * 44, "e" * 45, "v" * 63, "w" * 64, "x" * 65, "z" * 1000,
    "abcabcabc" * 50, "0" * 21, "12345678901234567890", "%s%n", "*", "[a]", "\xe4\xf6", "hello world", "OK",
] + LIMITS  # fmt: skip
VERY_LONG = ["L" * 4096, "M" * 9000, "N" * 20000]
PATTERNS = ["*", "k?", "[a-k]1", "k[^1]", "\\*", "", "?1", "*1*", "{tag}*", "[", "k[0-", "?", "a", "[a-c]", "*\xff*", "m*"]
MEMBERS = ["a", "b", "c", "d", "e", "0", "1", "2", "3", "10", "-7"]
# Moments far from now, so that the few milliseconds between the two servers cannot decide anything.
FUTURE_S = range(100_000, 90_000_000, 997)
FAR_S = 4_000_000_000
PLACES = [
    ("13.361389", "38.115556"), ("15.087269", "37.502669"), ("2.349014", "48.864716"), ("-73.935242", "40.730610"), ("0", "0"),
    ("180", "85.05112878"), ("-180", "-85.05112878"), ("179.9999", "0.0001"), ("-179.9999", "-0.0001"), ("13.5", "38"),
]  # fmt: skip


class Values:
    """One generator's source of arguments. `random` decides everything; `now_id` is the next stream id to be added."""

    def __init__(self, random, key_format="{}"):
        self.random = random
        self.key_format = key_format
        self.now_id = 1
        self.by_name = self._by_name()

    def pick(self, *choices):
        return self.random.choice(choices)

    def chance(self, probability):
        return self.random.random() < probability

    # ---- strings

    def member(self):
        chance = self.random.random()
        if chance < 0.75:
            return self.random.choice(MEMBERS)
        if chance < 0.86:
            return f"m{self.random.randrange(40)}"
        if chance < 0.93:
            return str(self.random.randrange(-50, 1000))
        return self.random.choice(NASTY) if chance < 0.995 else self.random.choice(VERY_LONG)

    def value(self):
        chance = self.random.random()
        if chance < 0.35:
            return str(self.random.randrange(-20, 120))
        if chance < 0.6:
            return self.random.choice(MEMBERS)
        return self.random.choice(NASTY) if chance < 0.85 else self.random.choice(FLOATS)

    def pattern(self):
        return self.random.choice(PATTERNS)

    # ---- numbers

    def integer(self, *usual):
        chance = self.random.random()
        if chance < 0.93:
            return self.random.choice(usual or (0, 1, -1, 2, 3, 7, 10, 100, -3))
        return self.random.choice(LIMITS) if chance < 0.97 else self.random.choice(NOT_INTEGERS)

    def index(self):
        return self.integer(0, 0, 1, 2, 3, 5, -1, -1, -2, -3, -5, 10, 100, -100, 1000)

    def count(self):
        return self.integer(1, 1, 2, 2, 3, 5, 10, 0, 100, -1)

    def double(self):
        chance = self.random.random()
        if chance < 0.6:
            return self.random.choice((0, 1, 2, 3, -1, 10, 2.5, -0.5))
        if chance < 0.88:
            return self.random.choice(FLOATS)
        return self.random.choice(INFINITIES) if chance < 0.95 else self.random.choice(NOT_FLOATS)

    def range_score(self):
        score = self.double() if self.chance(0.6) else self.pick("-inf", "+inf", "inf", "0", "1", "3", "10")
        return f"({score}" if self.chance(0.25) else score

    def range_lex(self):
        if self.chance(0.35):
            return self.pick("-", "+")
        return self.pick("[", "[", "(", "(", "", "-", "+x", "[[") + str(self.member()) if self.chance(0.97) else ""

    # ---- time

    def duration(self, ms):
        if self.chance(0.75):
            return self.random.choice(FUTURE_S) * (1000 if ms else 1)
        return self.pick(0, -1, -100000, "abc", "", "1.5", "9223372036854775807", "-9223372036854775808", "9223372036854775")

    def moment(self, ms):
        if self.chance(0.75):
            return (FAR_S + self.random.choice(FUTURE_S)) * (1000 if ms else 1)
        return self.pick(0, 1, -1, 1000, "abc", "9223372036854775807", "9223372036854775", "")

    def timeout_s(self):
        """For commands that may block: never so long that a run would stall, never 0 (that is for transactions)."""
        if self.chance(0.8):
            return self.pick("0.001", "0.001", "0.002", "1e-3")
        return self.pick("-1", "abc", "", "1e400", "nan", "inf", "-0.5", "9223372036854775807")

    # ---- streams

    def id(self):
        """An id that is likely to be there."""
        chance = self.random.random()
        if chance < 0.8:
            ms = max(1, self.now_id - int(self.random.expovariate(0.08)))
            return self.pick(f"{ms}", f"{ms}-0", f"{ms}-1", f"{ms}-0")
        if chance < 0.9:
            return self.pick("0", "0-0", "0-1", "1", "18446744073709551615-18446744073709551615", "18446744073709551615")
        return self.pick("-", "+", "$", ">", "*", "abc", "", "1-", "-1", "1-2-3", "1-x", "18446744073709551616", "5-*")

    def range_id(self):
        chance = self.random.random()
        if chance < 0.4:
            return self.pick("-", "+")
        return self.pick("(", "") + self.id() if chance < 0.6 else self.id()

    def new_id(self):
        self.now_id += self.random.choice((0, 1, 1, 1, 2))
        chance = self.random.random()
        if chance < 0.9:
            return self.pick(f"{self.now_id}-0", f"{self.now_id}", f"{self.now_id}-1", f"{self.now_id}-*", f"{self.now_id}-*")
        return self.id().replace("*", "0") if self.chance(0.7) else self.pick("0-0", "0-*", "18446744073709551615-*", "x-*")

    # ---- geography

    def longitude(self):
        return self.random.choice(PLACES)[0] if self.chance(0.95) else self.pick("181", "-180.0001", "abc", "", "nan", "inf")

    def latitude(self):
        return self.random.choice(PLACES)[1] if self.chance(0.95) else self.pick("86", "-85.06", "abc", "", "nan", "1e309")

    def distance(self):
        return self.pick(0, 1, 10, 100, 200, 500, 1000, 5000, 20000, "0.5", "1e7") if self.chance(0.95) else self.pick("-1", "abc", "", "inf", "nan", "1e309")

    # ---- bits

    def bit_offset(self):
        # 2^32 - 1 would be valid and make a string of 512 MiB.
        if self.chance(0.95):
            return self.pick(0, 1, 7, 8, 9, 63, 64, 100, 1000, 5000, self.random.randrange(9000))
        return self.pick("-1", "4294967296", "#1", "9223372036854775807", "9223372036854775808", "x", "", "1.0")

    def field_offset(self):
        if self.chance(0.96):
            return self.pick("0", "0", "1", "3", "7", "8", "10", "63", "64", "100", "#0", "#1", "#2", "#7", "#20", self.random.randrange(800))
        return self.pick("-1", "#-1", "#", "#x", "x", "", "4294967296", "+1", "01")

    def field_type(self):
        if self.chance(0.95):
            return self.pick("u", "i") + str(self.pick(1, 2, 3, 4, 5, 7, 8, 8, 8, 9, 12, 16, 24, 31, 32, 33, 48, 61, 62, 63))
        return self.pick("i64", "i64", "u64", "i65", "u0", "i0", "8", "x8", "", "u", "I8", "u-1", "u08")

    def field_value(self):
        power = 1 << self.random.randrange(64)
        return self.pick(0, 1, -1, 2, 10, -10, 100, -128, 127, 255, 256, power, -power, power - 1, power + 1, self.integer())

    # ---- by the name of the argument

    def _by_name(self):
        """{name or (command, name): maker}; the command's own comes first."""
        integer, index, count, member = self.integer, self.index, self.count, self.member
        table = {
            "count": count, "num-matches": count, "limit": count, "len": count, "maxlen": count, "rank": lambda: integer(1, 1, -1, 2, -2, 0),
            "index": index, "start": index, "stop": index, "end": index, "offset": index,
            "increment": lambda: integer(0, 1, -1, 5, 100, -100), "decrement": lambda: integer(0, 1, -1, 5, 100),
            "cursor": lambda: self.pick(0, 0, 0, 0, 0, 0, 0, "x", "", "18446744073709551616"),
            "db": lambda: self.pick(0, 0, 0, 0, 1, 15, 16, -1, "x"), "destination-db": lambda: self.pick(0, 1, 1, 15, 16, -1, "x"),
            "index1": lambda: self.pick(0, 1, 16, "x"), "index2": lambda: self.pick(0, 1, 15, -1, "y"),
            "seconds": lambda: self.duration(False), "milliseconds": lambda: self.duration(True),
            "unix-time-seconds": lambda: self.moment(False), "unix-time-milliseconds": lambda: self.moment(True),
            "timeout": self.timeout_s, "bit": lambda: self.pick(0, 1) if self.chance(0.9) else self.pick(2, -1, "x", "", "01", "+1"),
            "frequency": lambda: self.pick(0, 1, 255, 256, -1, "x"),
            "min-idle-time": lambda: self.pick(0, 0, 0, 0, 50_000_000, "-1", "x", "9223372036854775807"),
            "ms": lambda: self.pick(0, 100_000_000, "-1", "x"), "entriesadded": lambda: integer(0, 1, 5, 100), "entries-added": lambda: integer(0, 1, 5, 100),
            "entriesread": lambda: integer(0, 1, 5, -1, 100), "entries-read": lambda: integer(0, 1, 5, -1, 100),
            "weight": self.double, "score": self.double, "min": self.range_score, "max": self.range_score,
            "longitude": self.longitude, "latitude": self.latitude, "radius": self.distance, "width": self.distance, "height": self.distance,
            "member": member, "member1": member, "member2": member, "element": member, "field": member, "value": self.value, "pivot": member,
            "id": self.id, "last-id": self.id, "lastid": self.id, "group": lambda: self.pick("g1", "g1", "g1", "g2", "g2", "g3", ""),
            "consumer": lambda: self.pick("c1", "c1", "c2", "c3", ""), "newconsumer": lambda: self.pick("c1", "c2"),
            "encoding": self.field_type, "pattern": self.pattern, "comparator": member,
            "type": lambda: self.pick("string", "list", "set", "zset", "hash", "stream", "LIST", "nosuch", ""),
            "operation": lambda: self.pick("AND", "OR", "XOR", "NOT", "and", "nosuch"),
            "channel": lambda: self.pick("ch1", "ch2"), "shardchannel": lambda: self.key_format.format("ch"),
            "message": self.value,
        }  # fmt: skip
        for command in ("XADD",):
            table[command, "id"] = self.new_id
        for command in ("XRANGE", "XREVRANGE", "XPENDING"):
            table[command, "start"] = table[command, "end"] = self.range_id
        table["XAUTOCLAIM", "start"] = lambda: self.pick("0", "0-0", "-", self.id(), self.id(), "(" + self.id())
        for command in ("XREAD", "XREADGROUP"):
            # Blocking for ever belongs into transactions; see Generator.
            table[command, "milliseconds"] = lambda: self.pick(1, 1, 2, "-1", "x", "")
        table["XREAD", "id"] = lambda: self.pick("0", "0-0", "$", self.id(), self.id())
        table["XREADGROUP", "id"] = lambda: self.pick(">", ">", ">", ">", "0", self.id())
        table["XCLAIM", "unix-time-milliseconds"] = lambda: self.pick("1", "1600000000000", "0", "-1", "x")
        for command in ("XGROUP CREATE", "XGROUP SETID"):
            table[command, "id"] = lambda: self.pick("0", "0", "0-0", "$", self.id())
        for command in ("ZRANGEBYLEX", "ZREVRANGEBYLEX", "ZLEXCOUNT", "ZREMRANGEBYLEX"):
            table[command, "min"] = table[command, "max"] = self.range_lex
        for command in ("SETBIT", "GETBIT"):
            table[command, "offset"] = self.bit_offset
        for command in ("BITFIELD", "BITFIELD_RO"):
            table[command, "offset"] = self.field_offset
            table[command, "value"] = table[command, "increment"] = self.field_value
        table["SETBIT", "value"] = table["bit"]
        table["groupname"], table["consumername"] = table["group"], table["consumer"]
        table["SETRANGE", "offset"] = lambda: self.pick(0, 1, 5, 44, 100, 1000, -1, "536870912", "9223372036854775807", "abc")
        table["SORT", "pattern"] = table["SORT_RO", "pattern"] = lambda: self.pick("k*", "h*->a", "nosort", "#", "k*", "h*->1", "*", "none_*", "h*->", "x*->y")
        table["ZINCRBY", "increment"] = table["HINCRBYFLOAT", "increment"] = table["INCRBYFLOAT", "increment"] = self.double
        for command in ("SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER"):
            # A huge negative count is valid and asks for as many elements.
            table[command, "count"] = lambda: self.pick(0, 1, 2, 3, 5, 10, 100, -1, -2, -5, -20, "9223372036854775807", "-9223372036854775808", "x", "", "1.5")
        table["SPOP", "count"] = lambda: self.pick(0, 1, 2, 3, 5, 100, -1, "9223372036854775807", "x")
        table["RESTORE", "ttl"] = lambda: self.pick(0, 0, 0, self.random.choice(FUTURE_S) * 1000, -1, "abc")
        table["RESTORE", "seconds"] = integer
        return table

    def of(self, command, argument):
        maker = self.by_name.get((command, argument.name)) or self.by_name.get(argument.name)
        if maker:
            return maker()
        if argument.type == "integer":
            return self.integer()
        if argument.type == "double":
            return self.double()
        if argument.type == "unix-time":
            return self.moment("milli" in argument.name)
        if argument.type == "pattern":
            return self.pattern()
        return self.value()
