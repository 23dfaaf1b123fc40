#!/usr/bin/env python3
"""What monitoring sees: the page for Prometheus, the probes, Debian's redis_exporter pointed at the server, the queries of
well-known dashboards, lines of the log as JSON; and that nothing sent to the HTTP port disturbs the server."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import Cluster, info_of, redis_cli
from support.http import get, metrics, parse_metrics, value
from support.ports import free_port
from support.process import Server
from support.resp import encode
from support.scenario import Skip, case, contains, equal, main
from support.wait import eventually

EXPORTER = shutil.which("prometheus-redis-exporter") or shutil.which("redis_exporter")

# The queries of dashboards that users import, with the variables they are asked with left out.
# 763: redis_exporter's own, contrib/grafana_prometheus_redis_dashboard.json.
DASHBOARD_763 = [
    "redis_up",
    "max(max_over_time(redis_uptime_in_seconds[1m]))",
    "redis_connected_clients",
    "100 * (redis_memory_used_bytes / redis_memory_max_bytes)",
    "rate(redis_commands_processed_total[1m])",
    "irate(redis_keyspace_hits_total[5m])",
    "irate(redis_keyspace_misses_total[5m])",
    "redis_memory_used_bytes",
    "redis_memory_max_bytes",
    "rate(redis_net_input_bytes_total[5m])",
    "rate(redis_net_output_bytes_total[5m])",
    "sum (redis_db_keys) by (db)",
    "sum (redis_db_keys) - sum (redis_db_keys_expiring)",
    "sum (redis_db_keys_expiring)",
    "sum(rate(redis_expired_keys_total[5m])) by (instance)",
    "sum(rate(redis_evicted_keys_total[5m])) by (instance)",
    "topk(5, irate(redis_commands_total[1m]))",
]
# 11835 (helm stable/redis-ha) asks the same and these.
DASHBOARD_11835 = DASHBOARD_763 + ["redis_connected_slaves", "redis_blocked_clients", "redis_config_maxmemory"]
# The mixin's; its redis_memory_fragmentation_ratio is a name no exporter has any more (redis_mem_fragmentation_ratio).
DASHBOARD_MIXIN = [
    "avg(irate(redis_commands_total[1m])) by (cmd)",
    "avg(irate(redis_commands_duration_seconds_total[1m])) by (cmd) / avg(irate(redis_commands_total[1m])) by (cmd)",
    "sum(redis_memory_used_rss_bytes)",
    "redis_mem_fragmentation_ratio",
    "irate(redis_evicted_keys_total[1m])",
    "sum(redis_connected_clients)",
    "sum(redis_blocked_clients)",
    "sum(redis_connected_slaves) by (instance)",
    "redis_master_last_io_seconds_ago",
]
# Alerts of the mixin and of well-known collections.
ALERTS = [
    "redis_rejected_connections_total",
    "redis_rdb_last_save_timestamp_seconds",
    "redis_rdb_last_bgsave_status",
    "redis_master_link_up",
    "redis_connected_slave_lag_seconds",
    "redis_connected_slave_offset_bytes",
    "redis_cluster_slots_fail",
    "redis_cluster_slots_pfail",
    "redis_cluster_state",
    "redis_instance_info",
    "redis_slave_info",
    "redis_config_maxclients",
    "redis_master_repl_offset",
    "redis_slave_repl_offset",
    "redis_start_time_seconds",
    "redis_slowlog_length",
    "redis_latency_percentiles_usec",
]
# Labels that queries group by.
LABELS = {
    "redis_commands_total": {"cmd"},
    "redis_commands_duration_seconds_total": {"cmd"},
    "redis_db_keys": {"db"},
    "redis_db_keys_expiring": {"db"},
    "redis_errors_total": {"err"},
    "redis_latency_percentiles_usec": {"cmd", "quantile"},
    "redis_master_link_up": {"master_host", "master_port"},
    "redis_connected_slave_lag_seconds": {"slave_ip", "slave_port", "slave_state"},
    "redis_slave_info": {"master_host", "master_port", "read_only"},
}

# Of the exporter's names, those that are about the exporter itself.
OF_EXPORTER = re.compile(r"redis_(exporter_.*|target_scrape_request_errors_total|last_key_groups_scrape_duration_milliseconds)")


def names(samples):
    return {name for name, _, _ in samples if name.startswith("redis_") and not OF_EXPORTER.fullmatch(name)}


def monitored(binary, **options):
    server = Server(binary, metrics_port=free_port(), **options)
    server.http = server.options["metrics-port"]
    return server


def use(server):
    """A bit of everything, so that figures with labels have something to tell."""
    with server.client() as client:
        client("SET", "a", "1", "EX", "1000")
        client("SET", "b", "1")
        client("GET", "a")
        client("GET", "nothing")
        client("LPUSH", "a", "x")
        client("NOSUCH")


@case
def page_and_probes(options):
    server = monitored(options.server, maxmemory="100mb").start()
    use(server)
    samples = metrics(server.http)
    info = server.info("all")
    equal(value(samples, "redis_up"), 1)
    equal(value(samples, "redis_memory_max_bytes"), 100 * 1024 * 1024)
    equal(value(samples, "redis_db_keys", db="db0"), 2)
    equal(value(samples, "redis_db_keys_expiring", db="db0"), 1)
    equal(value(samples, "redis_commands_total", cmd="set"), 2)
    equal(value(samples, "redis_commands_failed_calls_total", cmd="lpush"), 1)
    equal(value(samples, "redis_errors_total", err="WRONGTYPE"), 1)
    equal(value(samples, "redis_keyspace_hits_total"), int(info["keyspace_hits"]))
    equal(value(samples, "redis_process_id"), server.pid)
    equal(value(samples, "redis_instance_info", role="master", run_id=info["run_id"], redis_mode="standalone"), 1)
    equal(get(server.http, "/healthz"), (200, "ok\n"))
    equal(get(server.http, "/readyz"), (200, "ready\n"))
    equal(get(server.http, "/nothing")[0], 404)
    equal(get(server.http, "/metrics", method="POST")[0], 405)
    equal(get(server.http, "/metrics", method="HEAD"), (200, ""))
    # Moved and switched off by CONFIG SET; a port that is taken is refused and the old one stays.
    other = free_port()
    server.call("CONFIG", "SET", "metrics-port", other)
    equal(get(other, "/healthz")[0], 200)
    with server.client() as client:
        contains(client("CONFIG", "SET", "metrics-port", server.port), b"Unable to listen for monitoring")
    equal(get(other, "/healthz")[0], 200)
    server.call("CONFIG", "SET", "metrics-port", 0)
    try:
        get(other, "/healthz")
        raise AssertionError("it still listens")
    except ConnectionRefusedError:
        pass


@case
def dashboards(options):
    primary = monitored(options.server, maxmemory="100mb", repl_diskless_sync_delay=0).start()
    use(primary)
    replica = monitored(options.server, replicaof=["127.0.0.1", primary.port]).start()
    eventually(lambda: get(replica.http, "/readyz")[0] == 200, 60, "the replica is ready")
    eventually(lambda: "state=online" in primary.info("replication").get("slave0", ""), 60, "the primary knows it")
    cluster = monitored(options.server, cluster_enabled="yes").start()
    redis_cli("-p", cluster.port, "cluster", "addslotsrange", 0, 16383)
    eventually(lambda: get(cluster.http, "/readyz")[0] == 200, 60, "the cluster is ready")
    everything = metrics(primary.http) + metrics(replica.http) + metrics(cluster.http)
    have = names(everything)
    for query in DASHBOARD_763 + DASHBOARD_11835 + DASHBOARD_MIXIN + ALERTS:
        for name in re.findall(r"redis_\w+", query):
            assert name in have, f"{query}: no data for {name}"
    for name, labels in LABELS.items():
        for sample in everything:
            if sample[0] == name:
                assert labels <= sample[1].keys(), sample
    equal(value(metrics(replica.http), "redis_master_link_up", master_port=str(primary.port)), 1)
    equal(value(metrics(primary.http), "redis_connected_slave_lag_seconds", slave_port=str(replica.port)) < 60, True)


def exported(server):
    """What redis_exporter makes of a server."""
    port = free_port()
    process = subprocess.Popen(
        [EXPORTER, "-redis.addr", f"redis://127.0.0.1:{server.port}", "-web.listen-address", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        samples = eventually(lambda: parse_metrics(get(port, "/metrics", 30)[1]), 60, "the exporter answers")
        equal(value(samples, "redis_exporter_last_scrape_error"), 0, f"the exporter scrapes {server}")
        equal(value(samples, "redis_up"), 1)
        return samples
    finally:
        process.kill()
        process.wait()


@case
def exporter(options):
    if EXPORTER is None:
        raise Skip("no prometheus-redis-exporter on this machine (apt install prometheus-redis-exporter)")
    for mode in ("no", "yes"):
        found = {}
        reference = Server(options.reference, cluster_enabled=mode).start()
        server = monitored(options.server, cluster_enabled=mode).start()
        for each in (reference, server):
            if mode == "yes":
                redis_cli("-p", each.port, "cluster", "addslotsrange", 0, 16383)
                eventually(lambda: info_of(each)["cluster_state"] == "ok", 30, "the cluster is ok")
            use(each)
            found[each] = names(exported(each))
        own = names(metrics(server.http))
        print(f"  cluster {mode}: {len(found[reference])} names from {options.reference}, {len(found[server])} from the server, "
              f"{len(own)} on its own page")
        equal(sorted(found[reference] - found[server]), [], "names the exporter finds in Redis only")
        equal(sorted(found[server] - own), [], "names the exporter finds here and the page does not have")


@case
def ready_means_loaded(options):
    server = monitored(options.server, appendonly="yes").start()
    with server.client(timeout_s=60) as client:
        for first in range(0, 300_000, 5000):
            client.socket.sendall(b"".join(encode(["SET", b"key:%d" % i, b"v" * 30]) for i in range(first, first + 5000)))
            client.read_until(b"+OK\r\n" * 5000)
    for _ in range(10):  # until we have been quick enough to see it load
        server.terminate()
        server.launch()
        seen = []

        def ready():
            seen.append(get(server.http, "/readyz"))
            equal(get(server.http, "/healthz"), (200, "ok\n"))
            return seen[-1] == (200, "ready\n")

        eventually(ready, 120, "ready", interval_s=0)
        equal(server.call("DBSIZE"), 300_000, "keys when ready")
        if seen[:-1]:
            break
    equal(set(seen[:-1]), {(503, "loading the dataset\n")})


@case
def ready_means_synchronised(options):
    primary = Server(options.server, repl_diskless_sync_delay=0)
    replica = monitored(options.server, replicaof=["127.0.0.1", primary.port]).start()
    equal(get(replica.http, "/readyz"), (503, f"not synchronised with the primary 127.0.0.1:{primary.port}\n"))
    equal(get(replica.http, "/healthz")[0], 200)
    primary.start()
    eventually(lambda: get(replica.http, "/readyz")[0] == 200, 60, "ready once synchronised")
    primary.kill()
    eventually(lambda: get(replica.http, "/readyz")[0] == 503, 60, "not ready without its primary")
    replica.call("REPLICAOF", "NO", "ONE")
    equal(get(replica.http, "/readyz")[0], 200)


@case
def ready_means_slots_served(options):
    cluster = Cluster(options.server, nodes=3, node_timeout_ms=6000, appendonly="no")
    for server in cluster.servers:
        server.http = free_port()
        server.call("CONFIG", "SET", "metrics-port", server.http)
        equal(get(server.http, "/readyz"), (503, "the cluster is down: 0 slots assigned, 0 of them served\n"))
        equal(get(server.http, "/healthz")[0], 200)
    cluster.create(replicas=0)
    for server in cluster.servers:
        eventually(lambda: get(server.http, "/readyz")[0] == 200, 60, "ready in a cluster that is ok")
        equal(value(metrics(server.http), "redis_cluster_known_nodes"), 3)
        eventually(lambda: value(metrics(server.http), "redis_cluster_state") == 1, 60, "the page says so")
    cluster.servers[2].kill()
    for server in cluster.servers[:2]:
        eventually(lambda: get(server.http, "/readyz")[0] == 503, 60, "not ready when slots are not served")
        equal(get(server.http, "/healthz")[0], 200)


@case
def not_ready_while_shutting_down(options):
    primary = monitored(options.server, repl_diskless_sync_delay=0, shutdown_timeout=60).start()
    replica = Server(options.server, replicaof=["127.0.0.1", primary.port]).start()
    eventually(lambda: replica.info("replication")["master_link_status"] == "up", 60, "the replica is synchronised")
    replica.stop()
    primary.call("SET", "a", "b")
    primary.signal(signal.SIGTERM)
    eventually(lambda: get(primary.http, "/readyz") == (503, "shutting down\n"), 50, "not ready while shutting down")
    replica.cont()
    equal(primary.wait(90), 0)


@case
def bad_http(options):
    server = monitored(options.server).start()
    chance = random.Random(5)
    good = b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"

    def connect():
        connection = socket.create_connection(("127.0.0.1", server.http), 30)
        connection.settimeout(30)
        return connection

    def answer(request):
        with connect() as connection:
            connection.sendall(request)
            text = b""
            try:
                while chunk := connection.recv(65536):
                    text += chunk
            except ConnectionError:
                pass
            return text

    contains(answer(encode(["PING"])), b"400 Bad Request")
    contains(answer(b"GET / HTTP/1.1\r\nA: " + b"x" * 20000 + b"\r\n\r\n"), b" 431 ")
    contains(answer(b"PUT /metrics HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"), b" 413 ")
    contains(answer(b"GET /../../etc/passwd HTTP/1.1\r\nConnection: close\r\n\r\n"), b"404 Not Found")
    for _ in range(300):
        request = bytearray(good[: chance.randint(1, len(good))])
        for _ in range(chance.randint(0, 5)):
            request[chance.randrange(len(request))] = chance.randrange(256)
        connection = connect()
        try:
            connection.sendall(request)
            if chance.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        except ConnectionError:
            pass
        connection.close()
    # Whoever sits on connections keeps nobody out, and takes few descriptors.
    sitting = [connect() for _ in range(100)]
    for connection in sitting:
        try:
            connection.sendall(b"GET /metrics HT")
        except ConnectionError:
            pass
    equal(get(server.http, "/healthz"), (200, "ok\n"))
    equal(server.call("PING"), b"PONG")
    eventually(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) < 60, 30, "few descriptors")
    for connection in sitting:
        connection.close()


@case
def log_formats(options):
    server = Server(options.server, log_format="json").start()
    server.call("CONFIG", "SET", "loglevel", "debug")
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert len(lines) >= 3, server.log()
    for line in lines:
        equal(sorted(line), ["level", "message", "pid", "role", "timestamp"])
        equal(line["pid"], server.pid)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"]), line
        assert line["level"] in ("debug", "verbose", "notice", "warning"), line
    server.call("CONFIG", "SET", "log-format", "logfmt")
    equal(server.terminate(), 0)
    last = server.log().splitlines()[-1]
    assert re.fullmatch(rf'pid={server.pid} role=primary timestamp="[^"]+" level=warning message="[^"]+"', last), last


if __name__ == "__main__":
    main()
