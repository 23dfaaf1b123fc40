"""Clients that wait for elements of sorted sets: stories of waiting.py."""

SORTED_SET_STORIES = {
    "first come, first served from either end": """
        a: BZPOPMIN z 0
        b: BZPOPMAX z 0
        c: BZPOPMIN z 0
        d: ZADD z 1 x
        d: ZADD z 1 a 2 b 3 c
        d: ZRANGE z 0 -1 WITHSCORES
        d: EXISTS z
    """,
    "several at once": """
        a: BZMPOP 0 1 z MIN COUNT 2
        b: BZMPOP 0 2 y z MAX COUNT 10
        c: BZPOPMIN z 0
        d: ZADD z 1 a 2 b 3 c 4 d
        d: ZADD z 5 e
        d: EXISTS z
    """,
    "several sorted sets": """
        a: BZPOPMIN z1 z2 z3 0
        b: BZPOPMAX z3 z2 0
        d: ZADD z3 1 x
        d: ZADD z2 1.5 y -inf w
        d: KEYS *
        a: BZPOPMIN z1 z1 z1 0
        d: ZADD z1 inf x 0 y
        d: ZRANGE z1 0 -1 WITHSCORES
    """,
    "elements that come by other commands": """
        a: BZPOPMIN z 0
        d: ZADD src 1 x 2 y
        d: ZUNIONSTORE z 1 src
        a: BZPOPMIN z 0
        d: ZRANGESTORE z src 0 -1
        a: BZPOPMAX t 0
        d: RENAME z t
        a: BZPOPMAX t 0
        d: COPY src t
        a: BZPOPMIN u 0
        d: ZINCRBY u 2.5 m
        a: BZPOPMIN u 0
        d: GEOADD u 13.5 38.1 place
        a: BZPOPMIN v 0
        d: ZINTERSTORE v 2 src src
        a: BZPOPMIN w 0
        d: ZDIFFSTORE w 2 src none
        a: BZPOPMIN g 0
        d: GEOADD geo 13.5 38.1 place
        d: GEOSEARCHSTORE g geo FROMLONLAT 13.5 38 BYRADIUS 100 km
        d: KEYS *
    """,
    "other types under the name": """
        a: BZPOPMIN z 0
        d: SET z v
        d: DEL z
        d: RPUSH z a
        d: DEL z
        d: ZADD z 1 a
        b: BLPOP k 0
        c: BZPOPMIN k 0
        d: ZADD k 1 a
        d: RPUSH k a
    """,
    "what was added and taken in one transaction": """
        a: BZPOPMIN z 0
        b: BZPOPMIN z 0
        d: MULTI
        d: ZADD z 1 a
        d: ZREM z a
        d: EXEC
        d: MULTI
        d: ZADD z 5 e
        d: ZADD z 1 a 2 b
        d: ZPOPMIN z
        d: EXEC
        d: EXISTS z
    """,
    "sorted sets time out and clients are unblocked": """
        a: BZPOPMIN z 0.05
        b: BZPOPMAX z 0.05
        c: BZMPOP 0.05 1 z MIN
        %answered a b c
        a: BZPOPMIN z 0
        b: BZMPOP 0 1 z MAX
        c: BZPOPMAX z 0
        %unblock a
        %unblock b ERROR
        %kill c
        d: ZADD z 1 a
        d: ZCARD z
    """,
    "within a transaction nobody waits for a sorted set": """
        a: MULTI
        a: BZPOPMIN z 0
        a: ZADD z 1 x 2 y
        a: BZPOPMAX z 0
        a: BZMPOP 0 1 z MIN
        a: BZMPOP 0 1 z MIN
        a: EXEC
    """,
    "sorted sets and a change of role": """
        a: BZPOPMIN z 0
        %replicaof
        %primary
        d: ZADD z 1 x
        d: ZCARD z
    """,
}
