"""Comparing units of several commands whose replies may differ between two correct servers. Each check gets the commands and
the pairs of replies, and a function that compares one command's replies strictly; it returns what is wrong, or None."""

import normalise

_PACKED = {b"listpack", b"intset", b"ziplist"}


def _failed(frame):
    return frame[0] == "-" or frame == ("+", b"QUEUED")


def _null(frame):
    return frame[0] == "_" or frame[1] is None


def _items(frame):
    return frame[1] if isinstance(frame[1], list) else []


def same_number(a, b):
    """The same text, or the same double written with other digits."""
    if a == b:
        return True
    try:
        return float(a) == float(b)
    except ValueError:
        return False


def _pairs_of(frame):
    """(name, value) of a map, of a flat list of names and values, or of a list of pairs."""
    items = _items(frame)
    if items and isinstance(items[0][1], list):
        return [(pair[1][0][1], pair[1][1][1]) for pair in items]
    return [(name[1], value[1]) for name, value in zip(items[::2], items[1::2])]


def picked_from(name):
    """[read everything, pick at random]: as many on both sides, all of them members, none twice where that is promised."""

    def check(commands, replies, compare_one):
        outcome = normalise_sources(commands[0], replies[0], compare_one)
        if outcome:
            return outcome
        (everything, _), (a, b) = replies
        command = commands[1]
        if _failed(a) or _failed(b) or _failed(everything) or a[0] != b[0] or _null(a) != _null(b):
            return compare_one(command, a, b)
        if not isinstance(a[1], list):
            members = _members(name, everything)
            if not _null(a) and not (a[1] in members and b[1] in members):
                return f"{name} gave something that is not there: {a[1]!r}, {b[1]!r} of {members!r}"
            return None
        if len(a[1]) != len(b[1]):
            return f"{normalise.show(command)}: {len(a[1])} and {len(b[1])} elements"
        paired = command[-1].upper().startswith(b"WITH")
        if paired and [item[0] for item in a[1]] != [item[0] for item in b[1]]:
            return f"{normalise.show(command)}: {normalise.text(a)[:300]} and {normalise.text(b)[:300]}"
        members = dict(_pairs_of(everything)) if name != "SRANDMEMBER" else _members(name, everything)
        for reply in (a, b):
            picked = _pairs_of(reply) if paired else [item[1] for item in _items(reply)]
            if not all((p[0] in members and same_number(members[p[0]], p[1])) if paired else p in members for p in picked):
                return f"{normalise.show(command)} gave something that is not there: {picked!r} of {members!r}"
            if len(command) > 2 and not command[2].startswith(b"-") and len(set(picked)) != len(picked):
                return f"{normalise.show(command)} gave something twice: {picked!r}"
        return None

    return check


def normalise_sources(command, replies, compare_one):
    a, b = replies
    return None if normalise.any_order(a, b) or normalise.pairs(a, b) else compare_one(command, a, b)


def _members(name, everything):
    return {item[1] for item in _items(everything)} if name == "SRANDMEMBER" else {pair[0] for pair in _pairs_of(everything)}


def popped(commands, replies, compare_one):
    """[SMEMBERS, SPOP, SMEMBERS, DEL]: what was popped and what is left make what was there."""
    (before, before_b), (a, b), (left_a, left_b), (deleted_a, deleted_b) = replies
    outcome = normalise_sources(commands[0], (before, before_b), compare_one)
    if outcome or _failed(a) or _failed(b) or a[0] != b[0] or _null(a) != _null(b):
        return outcome or compare_one(commands[1], a, b)
    for reply, left in ((a, left_a), (b, left_b)):
        taken = [item[1] for item in _items(reply)] if isinstance(reply[1], list) else [] if _null(reply) else [reply[1]]
        rest = [item[1] for item in _items(left)]
        if sorted(taken + rest) != sorted(item[1] for item in _items(before)):
            return f"{normalise.show(commands[1])}: popped {taken!r}, left {rest!r} of {before!r}"
    if len(_items(a)) != len(_items(b)):
        return f"{normalise.show(commands[1])}: {len(_items(a))} and {len(_items(b))} elements"
    return compare_one(commands[3], deleted_a, deleted_b)


def in_any_order(commands, replies, compare_one):
    return ordered_when_packed(commands, replies, compare_one, packed=())


def ordered_when_packed(commands, replies, compare_one, packed=_PACKED):
    """[OBJECT ENCODING, read]: a packed encoding keeps the order of insertion or of the numbers, a table has none."""
    (encoding_a, encoding_b), (a, b) = replies
    outcome = compare_one(commands[0], encoding_a, encoding_b)
    if outcome or a == b:
        return outcome
    name = commands[1][0].upper()
    # A set kept as a table in 7.0 is a listpack in 7.2.
    ordered = encoding_a == encoding_b and encoding_b[1] in packed
    if ordered or _failed(a) or _failed(b):
        return compare_one(commands[1], a, b)
    if name.endswith(b"SCAN"):
        return None if normalise.scan_step(a, b) else compare_one(commands[1], a, b)
    if name == b"HGETALL":
        return None if normalise.pairs(a, b) else compare_one(commands[1], a, b)
    return None if normalise.any_order(a, b) else compare_one(commands[1], a, b)
