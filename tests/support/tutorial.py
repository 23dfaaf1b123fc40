"""The tutorial, steps 2 to 12: six nodes that the stock redis-cli builds, breaks, grows and shrinks.

A client writes throughout. Every acknowledged write must be there after each planned step; after a failover, where
asynchronous replication may lose the last ones, losses are counted and reported. The nodes are those of the cluster given:
processes, or containers.
"""

import re

from .cluster import info_of, node_id, nodes_seen_by
from .cluster_client import ClusterClient, Writer
from .scenario import contains, equal
from .wait import eventually

OK_LINES = ("[OK] All nodes agree about slots configuration.", "[OK] All 16384 slots covered.")
THREE = ["0-5460", "5461-10922", "10923-16383"]


class Tutorial:
    def __init__(self, cluster, keys):
        self.cluster = cluster
        self.expected = {"k1": "v1", "k2": "v2", "k3": "v3", "k4": "v4"}
        self.expected.update((f"key:{i}", f"value {i}") for i in range(keys))
        self.writer = None
        self.lost = 0

    def step(self, number, text):
        print(f"  step {number}: {text}", flush=True)

    def server(self, number):
        """Node 1 to 8, as the tutorial counts."""
        return self.cluster.servers[number - 1]

    def settle(self):
        self.cluster.wait_until_agreed()
        self.cluster.wait_until_replicas_online()

    def check(self, primaries, slots_each=None):
        """redis-cli --cluster check is content and shows what the step must have led to."""
        output = self.cluster.check()
        for line in OK_LINES:
            contains(output, line)
        found = re.findall(r"^(\S+) \(\w+\.\.\.\) -> (\d+) keys \| (\d+) slots \| (\d+) slaves\.$", output, re.M)
        equal(len(found), primaries, "primaries in check")
        if slots_each:
            equal(sorted(int(f[2]) for f in found), sorted(slots_each), "slots per primary")
        return output

    def read_all(self, planned=True):
        """Every key reads as before, and no acknowledged write of the writer is gone."""
        client = ClusterClient([s.port for s in self.cluster.running()])
        wrong = []
        for key, value in self.expected.items():
            reply = client("GET", key)
            if reply != value.encode():
                wrong.append((key, reply))
        client.close()
        equal(wrong[:5], [], f"{len(wrong)} keys do not read as before")
        if self.writer:
            lost = self.writer.verify()
            if planned:
                equal(lost[:5], [], f"{len(lost)} acknowledged writes lost in a planned step")
            elif lost:
                self.lost += len(lost)
                print(f"    {len(lost)} acknowledged writes lost in the failover: {lost[:5]}")
            print(f"    {len(self.expected)} keys read as before; writer: {self.writer.report()}", flush=True)
            self.writer.resume(forgive=bool(lost))

    def primaries(self):
        return [n for n in self.cluster.nodes().values() if n.is_primary and not n.failed]

    def add_server(self):
        return self.cluster.add_server(self.server(1).binary)


def tells_all(server):
    """What CLUSTER INFO and CLUSTER NODES tell of the six nodes."""
    info = info_of(server)
    for name, value in {
        "cluster_state": "ok",
        "cluster_slots_assigned": "16384",
        "cluster_slots_ok": "16384",
        "cluster_slots_pfail": "0",
        "cluster_slots_fail": "0",
        "cluster_known_nodes": "6",
        "cluster_size": "3",
    }.items():
        equal(info[name], value, name)
    for name in ("cluster_current_epoch", "cluster_my_epoch", "total_cluster_links_buffer_limit_exceeded"):
        assert name in info, name
    for direction in ("sent", "received"):
        for kind in ("_ping", "_pong", ""):
            name = f"cluster_stats_messages{kind}_{direction}"
            assert int(info[name]) > 0, name
    nodes = nodes_seen_by(server)
    equal(len(nodes), 6)
    for node in nodes.values():
        equal(node.bus_port, node.port + 10000)
        equal(node.link, "connected")
        equal(node.host, server.address.rpartition(":")[0])
        assert ("slave" in node.flags) != ("master" in node.flags), node.flags
        equal("myself" in node.flags, node.port == server.port)


def walk(cluster, keys):
    t = Tutorial(cluster, keys)
    redis_cli = cluster.redis_cli

    t.step(2, "six equal nodes run")
    cluster.start()
    for server in cluster.servers:
        nodes = nodes_seen_by(server)
        equal([n.flags for n in nodes.values()], [["myself", "master"]])
        equal(info_of(server)["cluster_state"], "fail")
    equal(
        redis_cli("-p", t.server(1).port, "set", "k1", "v1").strip(), "CLUSTERDOWN Hash slot not served", "before the cluster exists"
    )

    t.step(3, "redis-cli --cluster create, answered with yes")
    output = cluster.create(replicas=1)
    for line in OK_LINES:
        contains(output, line)
    contains(output, "Can I set the above configuration? (type 'yes' to accept):")
    t.settle()
    t.check(3, [5461, 5462, 5461])
    equal([nodes_seen_by(t.server(1))[node_id(t.server(n))].range_text() for n in (1, 2, 3)], THREE)
    equal(sorted(n.primary_id for n in cluster.nodes().values() if not n.is_primary), sorted(node_id(t.server(n)) for n in (1, 2, 3)))

    t.step(4, "cluster info and cluster nodes")
    for server in cluster.servers:
        # A link is made anew when an answer was slow, and a node that was slow is suspected for a moment.
        eventually(lambda: tells_all(server) or True, 60, f"{server} tells all of the cluster", ignore=(AssertionError, OSError))

    t.step(5, "MOVED, and redis-cli -c follows it")
    first = t.server(1)
    third = t.server(3).address
    equal(redis_cli("-p", first.port, "set", "k1", "v1").strip(), f"MOVED 12706 {third}")
    interactive = redis_cli("-p", first.port, input="set k1 v1\n")
    contains(interactive, f"MOVED 12706 {third}")
    session = redis_cli("-c", "-p", first.port, input="set k1 v1\nset k2 v2\nset k3 v3\nset k4 v4\nget k1\nget k4\n")
    equal(
        [line for line in session.splitlines() if line],
        [
            f"-> Redirected to slot [12706] located at {third}",
            "OK",
            f"-> Redirected to slot [449] located at {first.address}",
            "OK",
            "OK",
            f"-> Redirected to slot [8455] located at {t.server(2).address}",
            "OK",
            f"-> Redirected to slot [12706] located at {third}",
            "v1",
            f"-> Redirected to slot [8455] located at {t.server(2).address}",
            "v4",
        ],
        "redis-cli -c",
    )
    for key, slot in {"k1": 12706, "k2": 449, "k3": 4576, "k4": 8455}.items():
        equal(redis_cli("-p", first.port, "cluster", "keyslot", key).strip(), str(slot))
    filler = ClusterClient([first.port])
    for key, value in t.expected.items():
        equal(filler("SET", key, value), b"OK")
    filler.close()
    t.writer = Writer([s.port for s in cluster.servers]).start()
    t.read_all()

    t.step(6, "redis-cli --cluster check")
    output = t.check(3, [5461, 5462, 5461])
    equal(len(re.findall(r"\| 1 slaves\.", output)), 3, "one replica each")
    contains(output, "keys in 3 masters.")

    t.step(7, "node 1 stops; its replica takes over")
    cluster.wait_until_replicas_online()
    first_id = node_id(first)
    replica = next(n for n in cluster.nodes().values() if n.primary_id == first_id)
    equal(first.terminate(), 0, "exit code after SIGTERM")

    def taken_over():
        nodes = cluster.nodes()
        heir, old = nodes[replica.id], nodes[first_id]
        if heir.is_primary and heir.range_text() == "0-5460" and old.failed:
            return old

    old = eventually(taken_over, 60, "the replica is primary of 0-5460")
    equal(old.flags, ["master", "fail"])
    eventually(lambda: all(nodes_seen_by(s)[first_id].link == "disconnected" for s in cluster.running()), 60)
    cluster.wait_until_agreed()
    t.read_all(planned=False)

    t.step(8, "node 1 starts again; it returns as replica of the new primary")
    first.start()

    def returned():
        for server in cluster.servers:
            node = nodes_seen_by(server)[first_id]
            if "slave" not in node.flags or node.failed or node.link != "connected" or node.primary_id != replica.id:
                return False
        return True

    eventually(returned, 60, "node 1 is a connected replica for everybody")
    t.settle()
    t.check(3, [5461, 5462, 5461])
    t.read_all()
    role = redis_cli("-p", first.port, "role").splitlines()
    equal((role[0], role[2], role[3]), ("slave", str(replica.port), "connected"), "role of node 1")

    t.step(9, "nodes 7 and 8 start; 7 joins")
    seventh, eighth = t.add_server(), t.add_server()
    output = redis_cli("--cluster", "add-node", seventh.address, first.address)
    contains(output, "[OK] New node added correctly.")
    eventually(lambda: node_id(seventh) in nodes_seen_by(first) and len(nodes_seen_by(seventh)) == 7, 60)
    # Node 8 runs but is no member yet, so it is left out of what must agree.
    cluster.servers.remove(eighth)
    t.settle()
    t.check(4, [0, 5461, 5462, 5461])
    t.read_all()

    t.step(10, "4096 slots of all go to 7")
    seventh_id = node_id(seventh)
    before = {n.id: n.ranges for n in t.primaries() if n.ranges}
    cluster.converse(
        ["--cluster", "reshard", first.address],
        [
            ("How many slots do you want to move (from 1 to 16384)? ", "4096"),
            ("What is the receiving node ID? ", seventh_id),
            ("Source node #1: ", "all"),
            ("Do you want to proceed with the proposed reshard plan (yes/no)? ", "yes"),
        ],
    )
    t.settle()
    t.check(4, [4096, 4096, 4096, 4096])
    nodes = cluster.nodes()
    taken = sorted(nodes[seventh_id].ranges)
    equal([a for a, _ in taken], [0, 5461, 10923], "the first of each range went")
    equal(sorted(b - a + 1 for a, b in taken), [1365, 1365, 1366])
    for id, ranges in before.items():
        equal(nodes[id].ranges[-1][1], ranges[-1][1], "the end of each range stayed")
    t.read_all()
    keys = int(redis_cli("-p", seventh.port, "dbsize"))
    assert keys > len(t.expected) // 5, f"only {keys} keys moved with their slots"

    t.step(11, "8 becomes replica of 7")
    cluster.servers.append(eighth)
    output = redis_cli(
        "--cluster", "add-node", eighth.address, seventh.address, "--cluster-slave", "--cluster-master-id", seventh_id
    )
    contains(output, "[OK] New node added correctly.")
    eventually(lambda: nodes_seen_by(first).get(node_id(eighth)) and nodes_seen_by(first)[node_id(eighth)].primary_id == seventh_id, 60)
    t.settle()
    output = t.check(4, [4096] * 4)
    equal(len(re.findall(r"\| 1 slaves\.", output)), 4, "one replica each")
    t.read_all()

    t.step(12, "8 leaves, 7 gives its slots back and leaves")
    eighth_id = node_id(eighth)
    redis_cli("--cluster", "del-node", first.address, eighth_id)
    leave(t, eighth, eighth_id)
    for number, heir in zip((1366, 1365, 1365), sorted(before, key=lambda id: nodes[id].port)):
        redis_cli(
            "--cluster", "reshard", first.address, "--cluster-from", seventh_id, "--cluster-to", heir,
            "--cluster-slots", number, "--cluster-yes",
        )  # fmt: skip
        t.settle()  # redis-cli refuses the next one until gossip has told everybody.
    equal(sum(n.slots for n in t.primaries() if n.id != seventh_id), 16384)
    t.read_all()
    eventually(lambda: nodes_seen_by(first)[seventh_id].slots == 0, 60)
    # Redis 7.2 turns a primary that lost its last slot into a replica of whoever took it; 7.0 does so too.
    redis_cli("--cluster", "del-node", t.server(2).address, seventh_id)
    leave(t, seventh, seventh_id)
    t.check(3)
    equal(len(cluster.nodes()), 6)
    t.read_all()

    t.step("12b", "rebalance and fix, the rest of redis-cli --cluster")
    first = t.server(1)
    heaviest, other = sorted(t.primaries(), key=lambda n: n.port)[:2]
    redis_cli(
        "--cluster", "reshard", first.address, "--cluster-from", heaviest.id, "--cluster-to", other.id,
        "--cluster-slots", 600, "--cluster-yes", "--cluster-pipeline", 50,
    )  # fmt: skip
    t.settle()
    redis_cli("--cluster", "rebalance", first.address, "--cluster-threshold", 1)
    t.settle()
    sizes = sorted(n.slots for n in t.primaries())
    assert sizes[-1] - sizes[0] <= 2, f"rebalanced to {sizes}"
    t.read_all()
    fix_open_slot(t)
    output = redis_cli("--cluster", "info", first.address)
    contains(output, "keys in 3 masters.")
    output = redis_cli("--cluster", "call", first.address, "ping")
    equal(output.count("PONG"), 6, "cluster call ping")
    t.writer.stop()
    t.read_all()
    print(f"  in all: {t.writer.report()}, {t.lost} acknowledged writes lost in the failover")


def leave(t, server, id):
    """After del-node: the node is forgotten by all and reset; the tutorial removes its container."""
    t.cluster.servers.remove(server)
    eventually(lambda: all(id not in nodes_seen_by(s) for s in t.cluster.servers), 60, "the node is forgotten by all")
    eventually(lambda: not server.running() or len(nodes_seen_by(server)) == 1, 60, "the node left is alone")
    server.kill()
    t.settle()


def fix_open_slot(t):
    """A reshard interrupted in the middle of a slot: check complains, fix finishes it."""
    redis_cli = t.cluster.redis_cli
    key = "k4"
    source = t.cluster.primary_of(8455)
    target = next(s for s in t.cluster.servers if s is not source and s.info("replication")["role"] == "master")
    source_id, target_id = node_id(source), node_id(target)
    target.call("CLUSTER", "SETSLOT", 8455, "IMPORTING", source_id)
    source.call("CLUSTER", "SETSLOT", 8455, "MIGRATING", target_id)
    contains(source.call("CLUSTER", "NODES").decode(), f"[8455->-{target_id}]")
    contains(target.call("CLUSTER", "NODES").decode(), f"[8455-<-{source_id}]")
    source.call("MIGRATE", "127.0.0.1", target.port, key, 0, 30000)
    equal(redis_cli("-p", source.port, "get", key).strip(), f"ASK 8455 {target.address}")
    equal(
        [line for line in redis_cli("-c", "-p", source.port, input=f"get {key}\n").splitlines() if line],
        [f"-> Redirected to slot [8455] located at {target.address}", "v4"],
    )
    output = redis_cli("--cluster", "check", source.address, check=False)
    contains(output, "[WARNING] The following slots are open: 8455")
    redis_cli("--cluster", "fix", source.address)
    t.settle()
    t.check(3)
    t.read_all()
