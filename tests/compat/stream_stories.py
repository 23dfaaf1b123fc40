"""Clients that wait for entries of streams: stories of waiting.py."""

STREAM_STORIES = {
    "readers of a stream all get the entry": """
        a: XREAD BLOCK 0 STREAMS s $
        b: XREAD BLOCK 0 COUNT 1 STREAMS s 0
        c: XREAD BLOCK 0 STREAMS s 5-0
        d: XADD s 1-0 f 1
        d: XADD s 2-0 f 2
        d: XADD s 6-0 f 3
        d: XLEN s
    """,
    "what is new is counted from the beginning of the wait": """
        d: XADD s 1-0 f 1
        a: XREAD BLOCK 0 STREAMS s $
        b: XREAD BLOCK 0 STREAMS s t $ $
        d: MULTI
        d: XADD s 2-0 f 2
        d: XADD s 3-0 f 3
        d: XADD t 1-0 g 1
        d: EXEC
        a: XREAD BLOCK 0 STREAMS s $
        d: DEL s
        d: XADD s 1-0 f 1
        d: XADD s 4-0 f 1
    """,
    "members of a group get one each": """
        d: XGROUP CREATE s g $ MKSTREAM
        d: XGROUP CREATECONSUMER s g a
        d: XGROUP CREATECONSUMER s g b
        d: XGROUP CREATECONSUMER s g c
        a: XREADGROUP GROUP g a BLOCK 0 COUNT 1 STREAMS s >
        b: XREADGROUP GROUP g b BLOCK 0 COUNT 1 STREAMS s >
        c: XREADGROUP GROUP g c BLOCK 0 STREAMS s >
        d: XINFO CONSUMERS s g
        d: XADD s 1-0 f 1
        d: MULTI
        d: XADD s 2-0 f 2
        d: XADD s 3-0 f 3
        d: XADD s 4-0 f 4
        d: EXEC
        d: XINFO STREAM s FULL
    """,
    "two groups and a reader": """
        d: XGROUP CREATE s g $ MKSTREAM
        d: XGROUP CREATE s h $
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        b: XREADGROUP GROUP h b BLOCK 0 NOACK STREAMS s >
        c: XREAD BLOCK 0 STREAMS s $
        d: XADD s 1-0 f 1
        d: XINFO STREAM s FULL
    """,
    "several streams of a group": """
        d: XGROUP CREATE s g $ MKSTREAM
        d: XGROUP CREATE t g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s t > >
        d: MULTI
        d: XADD t 1-0 f 1
        d: XADD s 1-0 f 1
        d: EXEC
    """,
    "one of several streams of a group": """
        d: XGROUP CREATE s g $ MKSTREAM
        d: XGROUP CREATE t g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s t > >
        d: XADD t 2-0 f 1
    """,
    "history never waits": """
        d: XGROUP CREATE s g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s 0
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s 18446744073709551615-18446744073709551615
        d: XADD s 1-0 f 1
    """,
    "the stream is deleted": """
        d: XGROUP CREATE s g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        b: XREAD BLOCK 0 STREAMS s $
        d: DEL s
        d: XADD s 1-0 f 1
        d: PING
    """,
    "the stream is deleted and comes back in one transaction": """
        d: XGROUP CREATE s g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        d: MULTI
        d: DEL s
        d: XGROUP CREATE s g $ MKSTREAM
        d: XADD s 1-0 f 1
        d: EXEC
    """,
    "one of several streams is deleted": """
        d: XGROUP CREATE s g $ MKSTREAM
        d: XGROUP CREATE t g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s t > >
        d: UNLINK t
        d: XADD s 1-0 f 1
    """,
    "the stream is renamed, moved, flushed": """
        d: XGROUP CREATE s g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        d: RENAME s t
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS t >
        d: MOVE t 1
        d: XGROUP CREATE s g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        d: FLUSHDB
        d: XGROUP CREATE s g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        d: SWAPDB 0 1
    """,
    "the stream expires": """
        d: XGROUP CREATE s g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        d: PEXPIRE s 50
        %answered a
        d: EXISTS s
    """,
    "another type takes its place": """
        d: XGROUP CREATE s g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        b: XREAD BLOCK 0 STREAMS s $
        d: SET s v
        d: DEL s
        d: XADD s 1-0 f 1
    """,
    "a stream takes another stream's place": """
        d: XGROUP CREATE s g $ MKSTREAM
        d: XGROUP CREATE t g $ MKSTREAM
        d: XADD u 5-0 f 1
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        b: XREAD BLOCK 0 STREAMS s $
        d: RENAME t s
        d: XADD s 1-0 f 1
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        b: XREAD BLOCK 0 STREAMS s $
        d: COPY u s REPLACE
        d: PING
    """,
    "the group is destroyed": """
        d: XGROUP CREATE s g $ MKSTREAM
        d: XGROUP CREATE s h $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        b: XREADGROUP GROUP h a BLOCK 0 STREAMS s >
        d: XGROUP DESTROY s g
        d: XADD s 1-0 f 1
        d: XGROUP DESTROY s g
    """,
    "the consumer is deleted": """
        d: XGROUP CREATE s g $ MKSTREAM
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        d: XGROUP DELCONSUMER s g a
        d: XADD s 1-0 f 1
        d: XPENDING s g - + 10
    """,
    "the group's place moves": """
        d: XADD s 1-0 f 1
        d: XGROUP CREATE s g $
        a: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        d: XGROUP SETID s g 0
        d: XADD s 2-0 f 2
        d: XPENDING s g - + 10
    """,
    "a stream is trimmed away": """
        a: XREAD BLOCK 0 STREAMS s 0
        d: XADD s 2-0 f 1
        a: XREAD BLOCK 0 STREAMS s $
        d: XTRIM s MAXLEN 0
        d: XADD s 3-0 f 1
    """,
    "timeouts of readers": """
        d: XGROUP CREATE s g $ MKSTREAM
        a: XREAD BLOCK 50 STREAMS s $
        b: XREADGROUP GROUP g a BLOCK 50 STREAMS s >
        %answered a b
        d: XADD s 1-0 f 1
        a: XREAD BLOCK 100 STREAMS s 0
    """,
    "unblocking readers": """
        d: XGROUP CREATE s g $ MKSTREAM
        a: XREAD BLOCK 0 STREAMS s $
        b: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        c: XREAD BLOCK 0 STREAMS s $
        %unblock a
        %unblock b ERROR
        %kill c
        d: XADD s 1-0 f 1
        d: XPENDING s g
    """,
    "readers and a change of role": """
        a: XREAD BLOCK 0 STREAMS s $
        %replicaof
        %primary
        d: XADD s 1-0 f 1
        d: XGROUP CREATE s g $
        b: XREADGROUP GROUP g a BLOCK 0 STREAMS s >
        %replicaof
        %primary
        d: XADD s 2-0 f 1
    """,
    "a pipeline of reads": """
        a: XREAD BLOCK 0 STREAMS s $
        a: XREAD BLOCK 0 STREAMS s $
        a: PING
        d: XADD s 1-0 f 1
        d: XADD s 2-0 f 1
    """,
    "restored and copied": """
        d: XADD t 1-0 f 1
        a: XREAD BLOCK 0 STREAMS s 0
        d: COPY t s
        b: XREAD BLOCK 0 STREAMS u 0
        d: RENAME t u
    """,
    "the id is set": """
        d: XADD s 1-0 f 1
        a: XREAD BLOCK 0 STREAMS s $
        d: XSETID s 9-0
        d: XADD s 10-0 f 1
    """,
    "readers in a transaction of their own": """
        a: MULTI
        a: XREAD BLOCK 0 STREAMS s $
        a: XADD s 1-0 f 1
        a: XREAD BLOCK 0 STREAMS s $
        a: XREAD BLOCK 0 STREAMS s 0
        a: EXEC
    """,
    "lists and streams under one name": """
        a: BLPOP k 0
        b: XREAD BLOCK 0 STREAMS k 0
        d: XADD k 1-0 f 1
        d: DEL k
        b: XREAD BLOCK 0 STREAMS k 0
        d: RPUSH k x
        d: XADD k 1-0 f 1
    """,
}
