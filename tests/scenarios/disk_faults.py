#!/usr/bin/env python3
"""Real disks that fill up, turn read-only, lose their volume or refuse to sync; files with cut ends and wrong bytes."""

import argparse
import glob
import os
import random
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import node_id
from support.process import Server, temporary_directory
from support.resp import Error, encode
from support.scenario import Skip, case, contains, equal, main
from support.volume import Volume
from support.wait import eventually
from support.writer import Writer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rounds", type=int, default=3, help="of each kind of fault")
parser.add_argument("--damages", type=int, default=25, help="damaged files that a server is started on")
parser.add_argument("--seed", type=int, default=1)


def server_on(options, path, **more):
    server = Server(options.server, directory=path, **more)
    server.log_path = os.path.join(temporary_directory(), "log")
    return server


def refused(reply):
    return isinstance(reply, Error) and reply.code == "MISCONF"


def recovered(server, timeout_s=90):
    """Everything works again without anybody's help: writes, background saves, the AOF."""
    with server.client(timeout_s=90) as client:
        eventually(lambda: client("SET", "recovered", "yes") == b"OK", timeout_s, "writes are taken again")
        equal(client("PING"), b"PONG")

        def quiet():
            info = client.info("persistence")
            return (
                info["rdb_last_bgsave_status"] == info["aof_last_bgrewrite_status"] == info["aof_last_write_status"] == "ok"
                and info["aof_rewrite_in_progress"] == info["rdb_bgsave_in_progress"] == "0"
            )

        eventually(quiet, timeout_s, "all is well in INFO")


def refuses(server):
    """Writes are refused, asked on a connection of its own: with appendfsync always the write that meets the end waits."""
    try:
        with server.client(timeout_s=1) as client:
            return refused(client("SET", "probe", os.urandom(5000)))
    except TimeoutError:
        return False


def on_full_volume(options, kind, policy, **more):
    chance = random.Random(f"{options.seed} {kind} {policy}")
    volume = Volume(kind, 24)
    server = server_on(options, volume.path, appendonly="yes", appendfsync=policy, save="1 1",
                       auto_aof_rewrite_percentage=0, **more).start()  # fmt: skip
    cluster = more.get("cluster_enabled") == "yes"
    if cluster:
        server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

    def serving():
        return not cluster or b"cluster_state:ok" in server.call("CLUSTER", "INFO")

    eventually(serving, 30)
    for round in range(options.rounds):
        # A little room, so that the end comes at another byte each time and in the middle of other work.
        ballast = volume.fill()
        os.truncate(ballast, os.path.getsize(ballast) - chance.randrange(1, 1 << 17))
        writer = Writer(server.port, 0, first=round * 1_000_000, keys=2000)
        writer.start()
        with server.client(timeout_s=60) as client:
            work = chance.choice(["BGSAVE", "BGREWRITEAOF", "SAVE", "PING"])
            client(work)
            time.sleep(chance.uniform(0, 0.3))
            others = []

            def full():
                # A save or a rewrite that fails gives its room back: what counts is the end that comes after it.
                info = client.info("persistence")
                others.append(volume.fill(f"rest:{len(others)}"))
                return info["rdb_bgsave_in_progress"] == info["aof_rewrite_in_progress"] == "0" and refuses(server)

            eventually(full, 90, "writes are refused")
            assert refused(client("PING")), f"PING after {work}"
            assert client("DBSIZE") > 0, "reads go on"
            assert int(client("GET", next(iter(writer.sent))) or 0) >= 0
            if cluster:
                reply = client("CLUSTER", "SAVECONFIG")
                contains(str(reply), "error saving the cluster node config: No space left on device")
                client("CLUSTER", "BUMPEPOCH")  # must be on disk before anybody hears of it
                eventually(lambda: "silent on the cluster bus" in server.log(), 60)
            assert server.running()
            for path in [ballast, *others]:
                os.remove(path)
            recovered(server)
        writer.stopping = True
        writer.join(60)
        if cluster:
            eventually(lambda: server.call("CLUSTER", "SAVECONFIG") == b"OK", 60)
            epoch = server.call("CLUSTER", "INFO").split(b"cluster_current_epoch:")[1].split()[0]
        server.kill()
        server.start()
        eventually(serving, 30)
        with server.client() as client:
            for key, value in writer.acknowledged.items():
                found = client("GET", key)
                found = -1 if found is None else int(found)
                assert value <= found <= writer.sent[key], f"{key}: acknowledged {value}, found {found}"
        if cluster:
            contains(server.call("CLUSTER", "INFO"), b"cluster_current_epoch:" + epoch)
        server.call("FLUSHALL")
        server.call("BGREWRITEAOF")
        recovered(server)
    equal(server.terminate(), 0)


@case
def full_tmpfs(options):
    on_full_volume(options, "tmpfs", "everysec")


@case
def full_ext4_in_a_cluster(options):
    on_full_volume(options, "ext4", "always", cluster_enabled="yes")


@case
def sync_fails(options):
    """An ext4 in a sparse file on a full tmpfs takes writes into memory and fails when it must store them."""
    backing = Volume("tmpfs", 16)
    volume = Volume("ext4", 64, backing=backing.path)
    server = server_on(options, volume.path, appendonly="yes", appendfsync="always").start()
    with server.client() as client, server.client(timeout_s=60) as other:
        client.ok("SET", "before", "1")
        backing.fill()
        value = os.urandom(1 << 20)
        for i in range(24):
            client.socket.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\nlarge:%d\r\n$%d\r\n%s\r\n" % (len(f"large:{i}"), i, len(value), value))
            time.sleep(0.05)
            if refused(other("PING")):
                break
        eventually(lambda: refused(other("PING")), 60, "the failed sync shows")
        contains(str(other("SET", "x", "y")), "Errors writing to the AOF file")
        equal(other("GET", "before"), b"1", "reads go on")
        assert server.running()
        contains(server.log(), "Cannot sync the append-only file")
        os.remove(os.path.join(backing.path, "ballast"))
        # An ext4 that lost writes may have given up; then nothing but a new mount helps it.
        try:
            eventually(lambda: other("SET", "after", "1") == b"OK", 8)
        except AssertionError:
            if refused(other("PING")):
                print("  the file system did not recover; the server still answers")
                return
            other.ok("SET", "after", "1")
    server.kill()
    server.start()
    equal([server.call("GET", key) for key in ("before", "after")], [b"1", b"1"])


@case
def who_waits_for_a_failing_disk_is_told(options):
    """WAITAOF never vouches for what a full disk did not take, not even when the file is turned off."""
    volume = Volume("tmpfs", 16)
    server = server_on(options, volume.path, appendonly="yes", appendfsync="everysec").start()
    with server.client() as client, server.client() as other:
        client.ok("SET", "k", "1")
        equal(client("WAITAOF", 1, 0, 0), [1, 0])
        volume.fill()
        client.ok("SET", "k", os.urandom(1 << 20))
        client.socket.sendall(encode(("WAITAOF", 1, 0, 0)))
        eventually(lambda: server.info("clients")["blocked_clients"] == "1", 60, "it waits")
        eventually(lambda: refused(other("PING")), 60, "the full disk shows")
        other("CONFIG", "SET", "appendonly", "no")
        contains(str(client.read()), "WAITAOF cannot be used when numlocal is set but appendonly is disabled")
    server.kill()


@case
def file_system_gives_up(options):
    """ext4 after an error: everything is EROFS from one moment to the next, also for files that are open."""
    volume = Volume("ext4", 32)
    server = server_on(options, volume.path, appendonly="yes", appendfsync="everysec", save="1 1", cluster_enabled="yes").start()
    server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    eventually(lambda: b"cluster_state:ok" in server.call("CLUSTER", "INFO"), 30)
    with server.client() as client:
        client.ok("SET", "before", "1")
        volume.remount("abort")
        eventually(lambda: refused(client("SET", "x", "y")), 60)
        assert refused(client("PING"))
        equal(client("GET", "before"), b"1")
        assert isinstance(client("CLUSTER", "SAVECONFIG"), Error)
        client("CLUSTER", "BUMPEPOCH")
        assert isinstance(client("SHUTDOWN"), Error)
        assert server.running()
        contains(server.log(), "Not shutting down, because data would be lost")
    eventually(lambda: "Cannot write the cluster configuration" in server.log(), 60)
    server.kill()
    # Read-only from the start: nothing can be appended, but an RDB file can be served.
    server.launch()
    assert server.wait(30) != 0, "an AOF that cannot be written must not be promised"
    contains(server.log(), "appendonly.aof")
    server.start(appendonly="no")
    assert isinstance(server.call("CLUSTER", "NODES"), bytes)
    assert server.running()
    server.kill()


@case
def volume_disappears(options):
    volume = Volume("tmpfs", 32)
    server = server_on(options, volume.path, appendonly="yes", appendfsync="always", save="1 1").start()
    with server.client(timeout_s=60) as client:
        client.ok("SET", "k", "1")
        shutil.rmtree(os.path.join(volume.path, "appendonlydir"))
        eventually(lambda: "removed under the server" in server.log(), 60)
        recovered(server)
        client.ok("SET", "k", "2")
        os.rename(os.path.join(volume.path, "appendonlydir"), os.path.join(volume.path, "elsewhere"))
        client.ok("SET", "k", "3")
        client("BGREWRITEAOF")
        equal(client("GET", "k"), b"3")
        os.rename(os.path.join(volume.path, "elsewhere"), os.path.join(volume.path, "appendonlydir"))
        client.ok("BGREWRITEAOF")
        recovered(server)
    server.kill()
    server.start()
    equal(server.call("GET", "k"), b"3")
    # The directory itself goes: no new file can be made in it any more.
    gone = os.path.join(temporary_directory(), "data")
    os.mkdir(gone)
    other = server_on(options, gone, appendonly="yes", save="1 1", cluster_enabled="yes").start()
    with other.client(timeout_s=60) as client:
        shutil.rmtree(gone)
        eventually(lambda: refused(client("PING")), 60)
        assert refused(client("SET", "k", "1")) or client("SET", "k", "1").code == "CLUSTERDOWN"
        assert isinstance(client("CLUSTER", "SAVECONFIG"), Error)
        assert isinstance(client("BGSAVE"), Error)
        assert isinstance(client("INFO"), bytes)
        assert other.running()


@case
def a_promotion_waits_for_the_disk(options):
    """It is decided, and not to be forgotten. Until the disk has it, the replica keeps what it is to reign with."""
    cluster = {"cluster_enabled": "yes", "cluster_node_timeout": 2000, "repl_diskless_sync_delay": 0}
    primary, replica = (Server(options.server, **cluster).start() for _ in range(2))
    nodes_conf = os.path.join(replica.directory, "nodes.conf")
    primary.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    replica.call("CLUSTER", "MEET", "127.0.0.1", primary.port)
    with primary.client() as writer, replica.client() as client:
        eventually(lambda: client("CLUSTER", "REPLICATE", node_id(primary)) == b"OK", 60)
        eventually(lambda: writer("SET", "k", "1") == b"OK" and writer("WAIT", 1, 1000) == 1, 60)
        os.remove(nodes_conf)
        os.mkdir(nodes_conf)  # nothing can be put in its place
        contains(client("CLUSTER", "FAILOVER", "TAKEOVER"), b"not on disk yet")
        equal(client.info("replication")["master_link_status"], "down")
        writer.ok("SET", "k", "2")
        writer.ok("FLUSHALL")
        equal(writer("WAIT", 1, 1500), 0)  # longer than the pause before a new attempt
        os.rmdir(nodes_conf)
        eventually(lambda: client.info("replication")["role"] == "master", 60, "the promotion took place")
        eventually(lambda: client("GET", "k") == b"1", 60, "with the data of its time")
        eventually(lambda: writer.info("replication")["role"] == "slave", 60, "the primary gives way")


def damaged(chance, contents):
    at = chance.randrange(len(contents))
    if chance.random() < 0.3:
        return contents[:at], f"cut to {at} of {len(contents)} bytes"
    mask = chance.randrange(1, 256)
    return contents[:at] + bytes([contents[at] ^ mask]) + contents[at + 1 :], f"byte {at} of {len(contents)} xor {mask}"


@case
def damaged_files(options):
    """Each start is right, a beginning, or an error with the file and the place."""
    chance = random.Random(options.seed)
    server = Server(options.server, appendonly="yes", save="3600 1", cluster_enabled="yes").start()
    server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    eventually(lambda: b"cluster_state:ok" in server.call("CLUSTER", "INFO"), 30)
    with server.client() as client:
        for i in range(20):
            client.ok("SET", f"s{i}", "v" * i)
            client.ok("RPUSH", "list", i)
            client.ok("HSET", "hash", i, "x" * i)
            client.ok("ZADD", "zset", i, f"m{i}")
        client.ok("BGREWRITEAOF")
        recovered(server)
        for i in range(30):
            client.ok("INCR", "n")
        client.ok("SAVE")
        values = client.pipeline([("DEBUG", "DIGEST"), ("GET", "n"), ("LLEN", "list"), ("DBSIZE",)])[1:]
    equal(server.terminate(), 0)
    pristine = temporary_directory()
    shutil.copytree(server.directory, pristine, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.log", "*.lock"))
    kinds = {
        "dump.rdb": {"appendonly": "no"},
        "nodes.conf": {},
        "appendonlydir/appendonly.aof.manifest": {},
        **{os.path.relpath(path, pristine): {} for path in glob.glob(f"{pristine}/appendonlydir/*.base.*")},
        **{os.path.relpath(path, pristine): {} for path in glob.glob(f"{pristine}/appendonlydir/*.incr.*")},
    }
    started = stopped = 0
    for _ in range(options.damages):
        name, more = chance.choice(sorted(kinds.items()))
        directory = temporary_directory()
        shutil.copytree(pristine, directory, dirs_exist_ok=True)
        path = os.path.join(directory, name)
        with open(path, "rb") as file:
            bad, what = damaged(chance, file.read())
        with open(path, "wb") as file:
            file.write(bad)
        truncated = chance.choice(["yes", "no"])
        victim = Server(options.server, directory=directory, cluster_enabled="yes", aof_load_truncated=truncated,
                        **{"appendonly": "yes", **more}).launch()
        try:
            victim.wait_until_ready()
            started += 1
        except AssertionError:
            stopped += 1
            equal(victim.wait(10), 1, f"exit code, {name} {what}:\n{victim.log()[-2000:]}")
            log = victim.log()
            assert name in log and ("byte " in log or "line " in log), f"{name} {what}:\n{log[-2000:]}"
            continue
        with victim.client() as client:
            found = client.pipeline([("DBSIZE",)])
            if name.endswith(".incr.aof") and "cut" in what:
                assert found[0] <= values[-1]
            elif name == "nodes.conf" and "cut to 0" in what:
                contains(victim.log(), "is empty")
            else:
                eventually(lambda: b"cluster_state:ok" in client("CLUSTER", "INFO"), 30)
                equal(client.pipeline([("GET", "n"), ("LLEN", "list"), ("DBSIZE",)]), values, f"{name} {what}")
        victim.kill()
        shutil.rmtree(directory)
    print(f"  {started} started, {stopped} refused to")


if __name__ == "__main__":
    main(parser)
