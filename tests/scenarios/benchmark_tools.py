#!/usr/bin/env python3
"""The tools that come with Redis run through: redis-benchmark's tests, redis-cli's modes."""

import os
import re
import select
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import Cluster
from support.process import Server, run
from support.resp import encode
from support.scenario import Skip, case, contains, equal, main


def until_written(arguments, pattern, limit_s=60):
    """What a tool that does not end by itself has written until the pattern is in it; the tool is ended then."""
    process = subprocess.Popen(["stdbuf", "-oL", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text, end = "", time.monotonic() + limit_s
    try:
        while not re.search(pattern, text, re.M):
            left = end - time.monotonic()
            assert left > 0 and select.select([process.stdout], [], [], left)[0], f"no {pattern!r} from {arguments} in {limit_s} s:\n{text}"
            data = os.read(process.stdout.fileno(), 1 << 16)
            assert data, f"no {pattern!r} from {arguments}:\n{text}"
            text += data.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return text


@case
def redis_benchmark(options):
    server = Server(options.server).start()
    for extra in ([], ["-P", "16"], ["--threads", "2"], ["-k", "0", "-c", "20"]):
        output = run(["redis-benchmark", "-p", server.port, "-n", 4000, "-r", 1000, "-q", "-t", "ping,set,get,incr,mset", *extra])
        for test in ("PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"):
            contains(output.replace("\r", "\n"), f"{test}: ", f"redis-benchmark {extra}")
        found = re.findall(r"([\d.]+) requests per second", output.replace("\r", "\n"))
        assert len(found) >= 6 and all(float(rate) > 0 for rate in found), output[-500:]
        assert "rror" not in output, output[-500:]
    output = run(["redis-benchmark", "-p", server.port, "-n", 1000, "-q", "set", "k:__rand_int__", "v"])
    contains(output, "requests per second")
    run(["redis-benchmark", "-p", server.port, "-n", 1000, "--csv", "-t", "set,get"])
    run(["redis-benchmark", "-p", server.port, "-3", "-n", 1000, "-q", "-t", "set,get"])


TITLES = [
    "PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "RPUSH", "LPOP", "RPOP", "SADD", "HSET", "SPOP", "ZADD", "ZPOPMIN",
    "LPUSH (needed to benchmark LRANGE)", "LRANGE_100 (first 100 elements)", "LRANGE_300 (first 300 elements)",
    "LRANGE_500 (first 500 elements)", "LRANGE_600 (first 600 elements)", "MSET (10 keys)",
]  # fmt: skip
# Every name that -t knows, and the titles that it brings.
NAMES = {
    "ping": TITLES[:2], "ping_inline": TITLES[:1], "ping_mbulk": TITLES[1:2], "lrange": TITLES[14:19], "mset": TITLES[19:],
    **{title.lower(): [title] for title in TITLES[2:14]},
    **{f"lrange_{n}": [TITLES[14], f"LRANGE_{n} (first {n} elements)"] for n in (100, 300, 500, 600)},
}  # fmt: skip


def benchmark(server, *arguments):
    output = run(["redis-benchmark", "-p", server.port, "-q", *arguments]).replace("\r", "\n")
    assert "rror" not in output and "WRONGTYPE" not in output, output[-500:]
    # "SET: 38461.54 requests per second, p50=0.111 msec"
    found = re.findall(r"^(.+): ([\d.]+) requests per second", output, re.M)
    assert all(float(rate) > 0 for _, rate in found), output[-500:]
    return [title for title, _ in found]


def skip_without_types(server):
    """Every type that redis-benchmark uses must be there."""
    if None in server.call("COMMAND", "INFO", "LPUSH", "SADD", "HSET", "ZADD"):
        raise Skip("the server does not have all types yet")


@case
def redis_benchmark_default_list(options):
    for extra in (["-n", 1000], ["-n", 10_000, "-P", 16, "-r", 500], ["-n", 1000, "-3", "-d", 300, "-c", 7]):
        server = Server(options.server).start()
        skip_without_types(server)
        equal(benchmark(server, *extra), TITLES, f"redis-benchmark {extra}")
        server.kill()


@case
def redis_benchmark_every_name(options):
    server = Server(options.server).start()
    skip_without_types(server)
    for name, titles in NAMES.items():
        server.call("FLUSHALL")
        equal(benchmark(server, "-n", 1000, "-t", name, "-P", 8), titles, f"-t {name}")


@case
def redis_benchmark_in_cluster_mode(options):
    cluster = Cluster(options.server, 3, node_timeout_ms=15000)
    cluster.create(replicas=0)
    output = run(["redis-benchmark", "-p", cluster.servers[0].port, "--cluster", "-n", 2000, "-q", "-t", "set,get,hset,sadd"])
    contains(output, "Cluster has 3 master nodes")
    contains(output.replace("\r", "\n"), "GET: ")


@case
def redis_cli_modes(options):
    server = Server(options.server).start()
    port = server.port
    with server.client() as client:
        client.pipeline([("SET", f"key:{i}", "x" * (i + 1)) for i in range(500)])
    contains(run(["redis-cli", "-p", port, "--bigkeys"]), 'Biggest string found \'"key:499"\' has 500 bytes')
    contains(run(["redis-cli", "-p", port, "--memkeys"]), "Biggest string found")
    keys = run(["redis-cli", "-p", port, "--scan", "--pattern", "key:4??"]).split()
    equal(len(keys), 100)
    equal(set(keys), {f"key:{i}" for i in range(400, 500)})
    until_written(["redis-cli", "-p", port, "--latency", "--raw", "-i", "1"], r"^\d+ \d+ [\d.]+ \d+")
    until_written(["redis-cli", "-p", port, "--stat", "-i", "1"], r"^500 +[\d.]+[KMG] +\d+")
    equal(run(["redis-cli", "-p", port, "-r", "3", "incr", "n"]).split(), ["1", "2", "3"])
    equal(run(["redis-cli", "-p", port, "-n", "3", "dbsize"]).strip(), "0")
    equal(run(["redis-cli", "-p", port, "-x", "set", "piped"], input="from stdin").strip(), "OK")
    equal(run(["redis-cli", "-p", port, "get", "piped"]).strip(), "from stdin")
    equal(run(["redis-cli", "-3", "-p", port, "config", "get", "port"]).split(), ["port", str(port)])
    equal(run(["redis-cli", "-p", port, "--json", "mget", "n", "none"]).strip(), '["3",null]')
    contains(run(["redis-cli", "-p", port, "info", "server"]), "redis_version:7.")
    output = run(["redis-cli", "-p", port], input="multi\nset a 1\nget a\nexec\nselect 2\ndbsize\n")
    equal(output.split(), ["OK", "QUEUED", "QUEUED", "OK", "1", "OK", "0"])


@case
def redis_cli_pipe_and_rdb(options):
    server = Server(options.server).start()
    commands = "".join(encode(("SET", f"k{i}", i)).decode() for i in range(20_000))
    contains(run(["redis-cli", "-p", server.port, "--pipe"], input=commands), "errors: 0, replies: 20000")
    equal(server.call("DBSIZE"), 20_000)
    path = server.path("fetched.rdb")
    contains(run(["redis-cli", "-p", server.port, "--rdb", path]), "Transfer finished with success")
    contains(run(["redis-check-rdb", path]), "RDB looks OK!")


@case
def redis_cli_as_replica(options):
    """redis-cli --replica asks for the stream like a replica does and prints what arrives."""
    server = Server(options.server, repl_diskless_sync_delay=0).start()
    server.call("SET", "before", 1)
    until_written(["redis-cli", "-p", server.port, "--replica"], "SYNC with master, discarding")


@case
def redis_cli_with_a_password(options):
    server = Server(options.server, requirepass="secret").start()
    contains(run(["redis-cli", "-p", server.port, "ping"], check=False), "NOAUTH Authentication required.")
    contains(run(["redis-cli", "-p", server.port, "-a", "secret", "ping"]), "PONG")
    contains(run(["redis-cli", "-p", server.port, "--user", "default", "--pass", "secret", "ping"]), "PONG")
    contains(run(["redis-cli", "-u", f"redis://default:secret@127.0.0.1:{server.port}/3", "client", "list"]), "db=3")
    contains(run(["redis-cli", "-p", server.port, "-a", "wrong", "ping"], check=False), "WRONGPASS")


if __name__ == "__main__":
    main()
